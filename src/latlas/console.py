"""Shows notes and progress on standard error: a bar with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from latlas import invocation
from latlas.text import printable

PLAIN_EVERY = 5.0  # seconds between plain lines of one piece of work


class Console:
    """An Observer for people. `quiet` leaves out everything but what went wrong; `notes` keeps all notes."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.notes: list[str] = []
        self.rich = RichConsole(stderr=True, highlight=False, soft_wrap=True)
        self.bars: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        self.spoken: dict[str, float] = {}

    def __enter__(self) -> Console:
        if not self.quiet and self.rich.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
            )
            self.bars = Progress(*columns, console=self.rich, transient=True)
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.stop()
            self.bars = None

    def note(self, text: str) -> None:
        """A line worth reading."""
        self.notes.append(printable(text))
        self._print(invocation.words()(self.notes[-1]))

    def _print(self, line: str) -> None:
        if not self.quiet:
            self.rich.print(line, markup=False)

    def epoch(self, text: str) -> None:
        """A line at the end of an epoch."""
        self.spoken["training"] = time.monotonic()
        self._print(text)

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None:
        """Moves the bar of that work; plain: a line every few seconds, none for work that is over at once."""
        if self.quiet:
            return
        if self.bars is not None:
            if what not in self.tasks:
                self.tasks[what] = self.bars.add_task(what, total=total, detail=detail)
            self.bars.update(self.tasks[what], completed=done, total=total, detail=detail)
            if done >= total:
                self.bars.remove_task(self.tasks.pop(what))
            return
        now = time.monotonic()
        # Epochs have lines of their own: between them training speaks only when one takes long.
        every = 6 * PLAIN_EVERY if what == "training" else PLAIN_EVERY
        if now - self.spoken.setdefault(what, now) >= every:
            self.spoken[what] = now
            print(f"{what} {done:,}/{total:,} {detail}".rstrip(), file=sys.stderr)
