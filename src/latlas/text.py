"""Numbers, lists and tables for people, on a terminal and in pages."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

MOST_NAMES = 6  # most names in the list of a sentence
# Wide and unbreakable spaces, and what joins letters and emoji: not printable by Python's word, and no danger.
_HARMLESS = frozenset("\u00a0\u2002\u2003\u2009\u202f\u3000\u200c\u200d")


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its `text`, a smaller `note` (a unit, an uncertainty), and a `style`.

    Styles are best and within (of a rank), wins, name and baseline (of a model), code, and key (dotted).
    """

    text: str
    note: str = ""
    style: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.note}".rstrip()


@dataclass(frozen=True)
class Row:
    """A row of a table with its explanation `why`, its `key` in metrics.json, and a `warning`."""

    cells: Sequence[Cell]
    why: str = ""
    key: str = ""
    warning: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under a head; the columns at `numeric` hold numbers, which are aligned to the right."""

    head: Sequence[Cell]
    rows: Sequence[Row]
    numeric: Container[int] = ()


def printable(text: object) -> str:
    """The text on one line as it can be shown and stored anywhere: control and unknown characters become escapes.

    Bytes of a file name that are not UTF-8 read \\xe9, a line break reads \\n.
    """
    return "".join(c if c.isprintable() or c in _HARMLESS else _escape(c) for c in str(text))


def printable_lines(text: str) -> str:
    """The text with its lines as they are, each of them `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def visible(text: str) -> str:
    """The text with its lines as they are, as a page shows it: what is unseen, or turns the order of what stands around
    it, becomes an escape.
    """
    return _UNSEEN.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # what Python makes of a byte of a file name that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


# Control characters but tab and line breaks, signs that turn the direction of writing, and halves of characters.
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def csv_cell(value: object) -> object:
    """A value as a cell of a CSV file: a text that a spreadsheet program would run as a formula gets an apostrophe.

    Such a text begins with = + - @, their wide forms, a tab or a line break, and is no number; numbers stay.
    """
    risky = isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if risky else value


def transposed(grid: Iterable[Sequence[Cell]]) -> list[list[Cell]]:
    """The columns of rows of cells."""
    return [list(column) for column in zip(*grid, strict=True)]


def aligned(rows: Sequence[Sequence[str]], right: Container[int] = ()) -> str:
    """Rows of cells as text, in columns as wide as their longest cell; those at `right` are aligned to the right.

    A row is a line, whatever its cells hold: they are made `printable`.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def rounded(value: object, decimals: int) -> str:
    """A number with separated thousands and a true minus sign, but none before zero; a dash for no number."""
    if not isinstance(value, int | float):
        return "–"
    return f"{value:z,.{decimals}f}".replace("-", "−")


def error(value: float) -> str:
    """An uncertainty with two decimals below 1, else one."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"


def count(value: float | None) -> str | None:
    """A count; with one decimal if it is not whole."""
    return None if value is None else rounded(value, 0 if value == int(value) else 1)


def counted(number: float, noun: str, plural: str = "") -> str:
    """A number with its noun: 1 row, 1,000 rows, 2.5 epochs."""
    if number == 1:
        return f"1 {noun}"
    many = plural or noun + ("es" if noun.endswith(("s", "x", "tch")) else "s")
    return f"{int(number):,} {many}" if number == int(number) else f"{number:,.4g} {many}"


def duration(seconds: float | None) -> str | None:
    """A time as hours and minutes, minutes and seconds, or seconds."""
    if seconds is None:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
    )


def briefly(value: object, most: int = 200) -> str:
    """How Python writes a value; of a long one the start, and how long it is."""
    try:
        written = repr(value)
    except ValueError:  # of whole numbers Python writes 4,300 digits at most
        return "a number of too many digits"
    return written if len(written) <= most else f"{written[: most // 2]}… ({len(written):,} characters)"


def shortened(text: str, most: int = 200) -> str:
    """The text, or of a long one the start."""
    return text if len(text) <= most else f"{text[:most]}…"


def clauses(reasons: Sequence[str], count: int | None = None, room: int = 1200) -> str:
    """Reasons in one line of about so many characters, at least one of them, and how many more there are; `reasons`
    may be the first ones of `count`.
    """
    shown: list[str] = []
    for reason in reasons:
        if shown and sum(map(len, shown)) + len(reason) > room:
            break
        shown.append(reason)
    rest = (count or len(reasons)) - len(shown)
    return "; ".join(shown) + (f"; and {rest:,} more" if rest else "")


def whole_number(text: str) -> int | None:
    """The whole number that a text is, of at most 18 digits; None for any other text."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None


def setting(value: object) -> str:
    """The value of a setting as text; a dash for no value."""
    if value is None or value == "" or value == []:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def size(count: float) -> str:
    """Bytes as people read them: 5.1 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def listed(parts: Sequence[str]) -> str:
    """The names as "a, b and c"; of many only the first few."""
    if len(parts) > MOST_NAMES:
        return f"{', '.join(parts[: MOST_NAMES - 1])} and {len(parts) - MOST_NAMES + 1} others"
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
