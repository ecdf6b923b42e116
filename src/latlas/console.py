"""Shows notes and progress: on a terminal a bar with time left, in a notebook one line that is written anew, else plain
lines on standard error.
"""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from latlas import invocation
from latlas.text import duration, printable

PLAIN_EVERY = 5.0  # seconds between plain lines of one piece of work
CELL_EVERY, CELL_AFTER = 0.25, 0.5  # seconds between two states of a notebook's line, and until its first
BAR = 20  # characters


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class Cell:
    """The output of a notebook's cell: the notes, and below them one line of progress, which goes at the end."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.output: Any = None
        self.begun: dict[str, tuple[float, int]] = {}
        self.shown = 0.0
        self.bar = ""

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._show()

    def epoch(self, text: str) -> None:
        self._progress(text)

    def progress(self, what: str, done: int, total: int, detail: str) -> None:
        now = time.monotonic()
        start, first = self.begun.setdefault(what, (now, done))
        full = round(BAR * done / max(total, 1))
        self.bar = f"{what} {'█' * full}{'░' * (BAR - full)} {done / max(total, 1):4.0%}"
        if done >= total:
            del self.begun[what]
        if now - start >= CELL_AFTER:
            left = duration((now - start) / (done - first) * (total - done)) if done > first else None
            self._progress("  ".join(filter(None, [detail, left and f"{left} left"])))

    def _progress(self, text: str) -> None:
        if time.monotonic() - self.shown >= CELL_EVERY:
            self._show(f"{self.bar}  {text}".strip())

    def _show(self, line: str = "") -> None:
        from IPython.display import display

        self.shown = time.monotonic()
        lines = {"text/plain": "\n".join([*self.notes, *([line] if line else [])])}
        if self.output is None:
            self.output = display(lines, raw=True, display_id=True)
        else:
            self.output.update(lines, raw=True)

    def close(self) -> None:
        """Takes the line of progress away."""
        if self.output is not None:
            self._show()


class _Rich(RichConsole):
    """A terminal whose reader may leave: nothing that is said there is worth ending the work."""

    def on_broken_pipe(self) -> None:
        """Does not end the process."""


class Console:
    """An Observer for people. `quiet` leaves out everything but what went wrong; `notes` keeps all notes."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.notes: list[str] = []
        self.rich = _Rich(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        self.bars: Progress | None = None
        self.cell = Cell() if not quiet and in_notebook() else None
        self.tasks: dict[str, TaskID] = {}
        self.spoken: dict[str, float] = {}

    def __enter__(self) -> Console:
        if not self.quiet and self.cell is None and self.rich.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}", markup=False),
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
        if self.cell is not None:
            self.cell.close()

    def note(self, text: str) -> None:
        """A line worth reading."""
        self.notes.append(printable(text))
        if self.cell is not None:
            self.cell.note(self.notes[-1])
        else:
            self._print(invocation.words()(self.notes[-1]))

    def _print(self, line: str) -> None:
        if not self.quiet:
            with contextlib.suppress(OSError):
                self.rich.print(line, markup=False)

    def epoch(self, text: str) -> None:
        """A line at the end of an epoch."""
        self.spoken["training"], text = time.monotonic(), printable(text)
        if self.cell is not None:
            self.cell.epoch(text)
        else:
            self._print(text)

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None:
        """Moves the bar of that work; plain: a line every few seconds, none for work that is over at once."""
        if self.quiet:
            return
        what, detail = printable(what), printable(detail)
        if self.cell is not None:
            self.cell.progress(what, done, total, detail)
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
            self._print(f"{what} {done:,}/{total:,} {detail}".rstrip())
