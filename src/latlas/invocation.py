"""The command line or the call that the present work was asked for by; run.json keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_COMMAND: ContextVar[str] = ContextVar("command", default="")


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
