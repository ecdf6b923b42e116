"""Standard output and standard error of the command line, to which any text can be written at any time.

Notes and progress are worth no work: where standard error is closed, full or has lost its reader, they go nowhere and
the command goes on. A result that cannot be written is an error; a reader who has seen enough, as `head`, is none.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any

from latlas.errors import LatlasError

# What stands for a sign in an encoding that lacks it; any other becomes an escape.
_SPELT = {
    "±": "+/-", "−": "-", "–": "-", "—": "-", "×": "x", "·": "|", "…": "...", "→": "->", "≈": "~", "²": "^2", "’": "'",
    "█": "#", "░": ".", "━": "-", "╸": "-", "╺": "-",
}  # fmt: skip


def _spelt(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of codecs: replaces what an encoding lacks by what it has."""
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    escaped = (_SPELT.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in missing)
    return "".join(escaped), error.end


def register() -> None:
    """Makes `latlas` a way of encoding errors."""
    codecs.register_error("latlas", _spelt)


class _Stream(io.FileIO):
    """A standard stream. Once it cannot be written, what follows goes nowhere; the first time is an error where what is
    written `matters`: BrokenPipeError without a reader, else LatlasError.
    """

    def __init__(self, number: int, matters: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.matters = matters

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if not self.matters:
                return len(content)
            if isinstance(error, BrokenPipeError):
                raise
            raise LatlasError(f"standard output: cannot be written: {error.strerror}") from None


def prepare() -> None:
    """Makes both streams of this process such."""
    for number in range(3):
        try:
            os.fstat(number)
        except (
            OSError
        ):  # closed: the next file to be opened would stand in its place, and get what is printed
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    register()
    sys.stdout = _prepared(sys.stdout, 1)
    sys.stderr = _prepared(sys.stderr, 2)


def _prepared(stream: object, number: int) -> io.TextIOWrapper:
    if os.name != "posix" and isinstance(stream, io.TextIOWrapper):  # a console there is no file
        stream.reconfigure(errors="latlas")
        return stream
    encoding = getattr(stream, "encoding", None) or "utf-8"
    raw = _Stream(number, matters=number == 1)
    by_line = number == 2 or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "latlas", line_buffering=by_line)
