"""The command line or the call that the present work was asked for by, which run.json keeps, and its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_COMMAND: ContextVar[str] = ContextVar("command", default="")
_WORDS: ContextVar[Callable[[str], str]] = ContextVar("words", default=str)


def command() -> str:
    """The command line or call; empty where nothing said it."""
    return _COMMAND.get()


@contextmanager
def invoked_by(text: str) -> Iterator[None]:
    """Inside the block `command` gives this text, or that of the block around this one: what the user wrote."""
    token = _COMMAND.set(_COMMAND.get() or text)
    try:
        yield
    finally:
        _COMMAND.reset(token)


def words() -> Callable[[str], str]:
    """How notes are worded where they are shown."""
    return _WORDS.get()


@contextmanager
def worded(words: Callable[[str], str]) -> Iterator[None]:
    """Inside the block notes are shown in other words: the command line has options in place of settings."""
    token = _WORDS.set(words)
    try:
        yield
    finally:
        _WORDS.reset(token)
