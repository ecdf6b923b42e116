"""What long work tells the person who waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

OnProgress = Callable[[str, int, int], None]
"""Called with the name of the work, how much of it is done, and how much there is."""


class Observer(Protocol):
    """Takes notes and progress; the command line shows them, a silent one drops them."""

    def note(self, text: str) -> None:
        """A line worth reading: a choice made, a place, a result."""

    def epoch(self, text: str) -> None:
        """A line at the end of an epoch."""

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None:
        """How far the work named `what` is."""


class Once:
    """An observer that takes a note only once, of work that is done several times."""

    def __init__(self, observer: Observer) -> None:
        self.epoch, self.progress, self._note = observer.epoch, observer.progress, observer.note
        self._said: set[str] = set()

    def note(self, text: str) -> None:
        """A line worth reading, the first time."""
        if text not in self._said:
            self._said.add(text)
            self._note(text)


class _Silent:
    def note(self, text: str) -> None: ...

    def epoch(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None: ...


SILENT: Observer = _Silent()
