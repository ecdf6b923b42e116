"""Tables in text files, CSV and its kin: every decision about their form is made by evidence, and said."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas.data.image_list import first_few
from latlas.data.options import DataOptions
from latlas.data.room import AS_NPY, refuse_beyond_room
from latlas.errors import InputError
from latlas.limits import LIMITS
from latlas.text import counted, csv_cell

if TYPE_CHECKING:
    import pandas as pd

_BOMS = {  # those of UTF-32 first: that of UTF-16 is how they begin
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_EDGES = frozenset(",;|")  # no cell that is split rightly begins or ends with one
_SAMPLE = 200  # lines that the separator is found by
TEXT_COPIES = 10  # times the bytes of a text that reading it takes: as lines, records and a frame
_SPACES = " \u00a0\u202f'’"  # between thousands
# Texts that stand for a missing value: those of pandas, and that of many tables of the UCI repository.
MISSING = frozenset(
    ("", "#N/A", "#NA", "-nan", "-NaN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "?")
)


def _number(thousands: str, decimal: str) -> str:
    grouped = rf"[1-9]\d{{0,2}}(?:[{thousands}{_SPACES}]\d{{3}})+"
    return rf"[+-]?(?:(?:{grouped}|\d+)(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?"


_NUMBER = {".": _number(",", r"\."), ",": _number(r"\.", ",")}  # by the decimal mark
_LONG = r"\d{20,}"  # digits that no number holds: an id's
_ANY_NUMBER = re.compile(f"(?:{_NUMBER['.']}|{_NUMBER[',']})")


@dataclass(frozen=True)
class Body:
    """The records of a text table, without comments and blanks, and the line that each begins in."""

    path: Path
    separator: str
    records: list[str]
    lines: list[int]
    width: int

    def frame(self, **how: Any) -> pd.DataFrame:
        """The records as a frame, its columns called 0, 1, ..."""
        import pandas as pd

        if not self.records:
            return pd.DataFrame({i: [] for i in range(self.width)})
        return pd.read_csv(
            io.StringIO("\n".join(self.records)), sep=self.separator, header=None, names=list(range(self.width)),
            index_col=False, low_memory=False, skipinitialspace=True, skip_blank_lines=False, **how,
        )  # fmt: skip

    def cells(self, record: int) -> list[str]:
        """The cells of one record, on one line each."""
        row = next(_rows(self.records[record].splitlines(keepends=True), self.separator))
        return [" ".join(cell.split()) for cell in row][: self.width] + [""] * (self.width - len(row))

    def after_first(self) -> Body:
        return replace(self, records=self.records[1:], lines=self.lines[1:])


@dataclass(frozen=True)
class TextTable:
    """A table in a text file: numbers in a column where every cell is one, else text; what was decided of its form."""

    frame: pd.DataFrame
    notes: list[str]
    body: Body
    places: list[int]
    decimal: str

    @property
    def lines(self) -> list[int]:
        """The line of each row."""
        return self.body.lines

    def texts(self, column: str) -> pd.Series:
        """A column as it is written; only an empty cell is missing."""
        place = self.places[list(self.frame.columns).index(column)]
        cells = self.body.frame(dtype=str, keep_default_na=False, usecols=[place])[place].str.strip()
        return cells.mask(cells == "")

    def labels(self, column: str) -> pd.Series:
        """A column in which a text that usually stands for a missing value is a label; an empty cell is missing.

        In a column of numbers such a text is a missing value all the same.
        """
        cells = self.texts(column)
        numbers = as_numbers(cells.mask(cells.isin(MISSING)), self.decimal)
        return cells if numbers is None else numbers


def read_delimited(path: Path, options: DataOptions, known: Sequence[str] | None = None) -> TextTable:
    """The table in a text file: encoding, separator, header and decimal mark by evidence, or as the options say.

    `known` are the names of the columns that a trained model takes: a first row that has them all is a header.

    Raises InputError for a file that is no table, for rows longer or shorter than the first, and where the evidence
    does not decide.
    """
    text, notes = _decoded(path, options.encoding)
    lines, comments, separator = _lines(text)
    separator = options.separator or separator or _separator(lines, path)
    notes.append(f"separated by {_SEPARATORS.get(separator, repr(separator))}")
    if separator == " ":
        lines, comments, separator = _tabbed(lines), _tabbed(comments), "\t"
    body, omitted = _records(path, lines, separator, len(comments))
    below = body.after_first()
    frame, decimal = _with_numbers(below, options.decimal)
    first = body.cells(0)
    header = _has_header(first, frame, options, known)
    names = [] if header else _names_in_comment(comments, body, header)
    positions = known is None or all(name.isdecimal() for name in known)
    if (header is None and not names) or (header is False and not positions):
        raise _undecided(path, body.lines[0], known)
    if not header:
        below = body
        frame, decimal = _with_numbers(body, options.decimal)
    where = (
        f"line {body.lines[0]} is"
        if header
        else f"the comment in line {comments[-1][0]} is"
        if names
        else "no"
    )
    notes.insert(0, f"{where} the header" if header or names else "no header row: columns named 0, 1, ...")
    notes += ["decimal commas"] * (decimal == ",") + omitted
    return _named(first if header else names, TextTable(frame, notes, below, [], decimal))


def _decoded(path: Path, encoding: str) -> tuple[str, list[str]]:
    """The text of a file, and a note where its encoding is not UTF-8."""
    refuse_beyond_room(TEXT_COPIES * path.stat().st_size, str(path), "a table in text, read at once", AS_NPY)
    raw = path.read_bytes()
    try:
        if encoding:
            return raw.decode(encoding).removeprefix("\ufeff"), [f"encoding {encoding}"]
        marked = next((name for mark, name in _BOMS.items() if raw.startswith(mark)), None)
        if marked:
            return raw.decode(marked), [marked.upper()] if marked != "utf-8-sig" else []
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: cannot be read as a table (it is not {error.encoding}: {error.reason})"
        ) from None
    if b"\0" in raw:
        zeros = [raw[start::2].count(0) for start in (0, 1)]
        guess = f"utf-16-{'le' if zeros[1] > zeros[0] else 'be'}"
        wide = sum(zeros) > len(raw) / 4
        raise InputError(
            f"{path}: cannot be read as a table (it holds zero bytes){'; if it is UTF-16, read it' if wide else ''}",
            remedy=[{"data.encoding": guess}] if wide else [],
        )
    try:
        return raw.decode("utf-8"), []
    except UnicodeDecodeError:
        pass
    try:
        return raw.decode("cp1252"), ["not UTF-8: read as Windows-1252 (data.encoding sets another encoding)"]
    except UnicodeDecodeError:
        return raw.decode("latin-1"), ["not UTF-8: read as Latin-1 (data.encoding sets another encoding)"]


Line = tuple[int, str]  # its number and text


def _lines(text: str) -> tuple[list[Line], list[Line], str]:
    """The lines that are not blank, the comments that precede them, and the separator that Excel's first line names."""
    texts = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    excel = re.fullmatch(r'"?sep=(.)"?[,;\t|]*', texts[0].strip(" "), re.IGNORECASE)
    lines: list[Line] = []
    quoted = False
    for number, line in enumerate(texts, 1):
        if (quoted or line.strip()) and not (excel and number == 1):
            lines.append((number, line))
        quoted ^= bool(line.count('"') % 2)
    start = next((i for i, (_, line) in enumerate(lines) if not line.lstrip().startswith("#")), 0)
    return lines[start:], lines[:start], excel[1] if excel else ""


def _rows(lines: Sequence[str], separator: str) -> Any:
    return csv.reader(lines, delimiter=separator, skipinitialspace=True)


def _tabbed(lines: Sequence[Line]) -> list[Line]:
    """Lines with a tab in place of each run of spaces between values, and none around them."""
    pattern = re.compile(r'("[^"]*")|^[ \t]+|[ \t]+$|([ \t]+)', re.MULTILINE)
    text = "\n".join(line for _, line in lines)
    tabbed = pattern.sub(lambda run: run[1] or ("\t" if run[2] else ""), text).split("\n")
    return [(number, line) for (number, _), line in zip(lines, tabbed, strict=bool(lines))]


def _separator(lines: Sequence[Line], path: Path) -> str:
    """The character that splits lines into the same number of cells, above one, most of which are numbers."""
    sample = [line for line in lines[:_SAMPLE] if not line[1].lstrip().startswith("#")] or lines[:_SAMPLE]
    scores = {}
    for separator in ("\t", *_SEPARATORS) if path.suffix.lower() == ".tsv" else _SEPARATORS:
        split, sign = (_tabbed(sample), "\t") if separator == " " else (sample, separator)
        rows = list(_rows([line for _, line in split], sign))
        # A separator at the end of rows but not of the header, or the other way round, makes no other width.
        bare = [row[:-1] if row and not row[-1].strip() else row for row in rows]
        ways = [Counter(map(len, way)).most_common(1)[0] for way in (rows, bare) if way]
        width, count = max(ways, key=lambda way: way[1], default=(1, 0))
        if width > 1:
            cells = [cell.strip() for row in rows for cell in row]
            numbers = sum(cell in MISSING or bool(_ANY_NUMBER.fullmatch(cell)) for cell in cells)
            torn = sum(cell[:1] in _EDGES or cell[-1:] in _EDGES for cell in cells if cell)
            scores[separator] = (numbers - torn) / len(cells) + 0.5 * (count == len(rows))
    return max(scores, key=lambda separator: scores[separator], default=",")


def _records(path: Path, lines: Sequence[Line], separator: str, comments: int) -> tuple[Body, list[str]]:
    """The records that hold anything, all of one width, and a note on what is left out.

    Raises InputError for rows longer or shorter than the first.
    """
    spans, empty, before, start = [], 0, 0, 0
    reader = _rows([line for _, line in lines], separator)
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                spans.append((start, reader.line_num, len(cells), not cells[-1].strip()))
            else:
                empty += 1
            before, start = start, reader.line_num
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as a table (line {lines[start][0]}: {error})") from None
    if start - before > 1 and sum(line.count('"') for _, line in lines[before:]) % 2:
        raise InputError(
            f"{path}: cannot be read as a table (a quotation mark after line {lines[before][0] - 1} is not closed)"
        )
    if not spans:
        raise InputError(f"{path}: cannot be read as a table (it holds no values)")
    usual = Counter(span[2] for span in spans).most_common(1)[0][0]
    rows = [s for s in spans if s[2] == usual or not lines[s[0]][1].lstrip().startswith("#")]
    records = ["\n".join(line for _, line in lines[first:last]) for first, last, _, _ in rows]
    body = Body(path, separator, records, [lines[s[0]][0] for s in rows], rows[-1][2])
    _check_widths(body, [s[2] for s in rows], [s[3] for s in rows])
    notes = [f"{counted(empty, 'empty row')} left out"] if empty else []
    comments += len(spans) - len(rows)
    return body, notes + [f"{counted(comments, 'comment')} left out"] * bool(comments)


def _check_widths(body: Body, widths: Sequence[int], ends: Sequence[bool]) -> None:
    """Raises InputError unless all rows are as long as the first, or all but it end in one separator more (or less)."""
    first, width = widths[0], body.width
    if max(first, width) > (most := LIMITS["columns"].most):
        raise InputError(f"{body.path}: {max(first, width):,} columns; at most {most:,} are read")
    others = [i for i, w in enumerate(widths) if w != first]
    if not others:
        return
    if len(others) == len(widths) - 1 and set(widths[1:]) == {width}:
        if first == width - 1 and all(ends[1:]):
            return
        header = body.records[0].rstrip(" ")  # and no tab, which may be the separator
        if first == width + 1 and ends[0] and header.endswith(body.separator):
            body.records[0] = header[:-1]
            return
    named = [f"line {body.lines[i]} ({widths[i]})" for i in others]
    decimals = first == 1 and body.separator == ","
    raise InputError(
        f"{body.path}: the first row (line {body.lines[0]}) has {counted(first, 'value')}, but"
        f" {len(others):,} of {counted(len(widths) - 1, 'row')} {'have' if len(others) > 1 else 'has'} more or fewer:"
        f" {first_few(named)}; separated by {_SEPARATORS.get(body.separator, repr(body.separator))}, each row needs as"
        " many values; one that holds a separator stands in quotation marks"
        + ("; if the commas are decimal marks, read it" if decimals else ""),
        remedy=[{"data.separator": ";"}] if decimals else [],
    )


def _with_numbers(body: Body, mark: str) -> tuple[pd.DataFrame, str]:
    """The records with numbers in every column whose cells are numbers by the decimal mark, and that mark.

    Raises InputError for cells of both marks, and for those that either may have made.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    plain = body.frame()
    texts = [c for c in range(body.width) if not is_numeric_dtype(plain[c])]
    decimal = _decimal(body, plain, texts) if mark == "auto" else mark
    raw = body.frame(dtype=str) if decimal == "," else plain
    for c in (c for c in raw if c in texts or decimal == ","):
        numbers = as_numbers(raw[c].map(str, na_action="ignore"), decimal)
        if numbers is not None:
            plain[c] = numbers
        elif c not in texts and not is_bool_dtype(plain[c]):
            _check_mark(body, raw[c], decimal)
    return plain, decimal


def as_numbers(cells: pd.Series, decimal: str) -> pd.Series | None:
    """Texts as numbers, with thousands apart or not; None unless all are numbers that are not missing."""
    import pandas as pd

    filled = cells.dropna()
    if filled.empty:  # and then not of texts
        return None
    filled = filled.str.strip()
    if not filled.str.fullmatch(_NUMBER[decimal]).all() or filled.str.fullmatch(_LONG).any():
        return None
    thousands = {".": ",", ",": "."}[decimal]
    bare = cells.str.strip().str.replace(f"[{thousands}{_SPACES}]", "", regex=True)
    return pd.to_numeric(bare.str.replace(",", "."))


def _decimal(body: Body, frame: pd.DataFrame, texts: Sequence[int]) -> str:
    """The decimal mark by the cells that only one mark allows."""
    commas: list[int] = []
    either: list[int] = []
    points: list[int] = []
    for c in texts:
        cells = frame[c].map(str, na_action="ignore").dropna().str.strip()
        by_point, by_comma = (cells.str.fullmatch(_NUMBER[mark]) for mark in (".", ","))
        if not len(cells) or not (by_point | by_comma).all():
            continue
        commas += cells.index[by_comma & ~by_point].tolist()
        points += cells.index[by_point & ~by_comma].tolist()
        either += cells.index[by_point & by_comma & cells.str.contains(",", regex=False)].tolist()
    if commas and points:
        raise InputError(
            f"{body.path}: decimal commas (line {body.lines[min(commas)]}) and decimal points (line"
            f" {body.lines[min(points)]}) in one table; write all numbers with one of them"
        )
    floats = [c for c in range(body.width) if frame[c].dtype.kind == "f"]
    if commas or points or not either or _has_points(body, floats):
        return "," if commas else "."
    raise InputError(
        f"{body.path}: the comma in line {body.lines[min(either)]} may be a decimal mark or stand between thousands;"
        " say so",
        remedy=[{"data.decimal": ","}, {"data.decimal": "."}],
    )


def _has_points(body: Body, columns: Sequence[int]) -> bool:
    """Whether a number of these columns has a point that can only be a decimal mark."""
    if not columns:
        return False
    cells = body.frame(dtype=str, usecols=columns)
    filled = [cells[c].dropna() for c in columns]
    return any(len(f) and not f.str.strip().str.fullmatch(_NUMBER[","]).all() for f in filled)


def _check_mark(body: Body, cells: pd.Series, decimal: str) -> None:
    """Raises InputError for a number with the other decimal mark."""
    filled = cells.dropna()
    wrong = filled if filled.empty else filled[~filled.str.strip().str.fullmatch(_NUMBER[decimal])]
    if wrong.empty:
        return
    raise InputError(
        f"{body.path}: {wrong.iloc[0]!r} in line {body.lines[wrong.index[0]]} is no number with a decimal comma, as the"
        " table's others are; write all numbers with one decimal mark"
    )


def _has_header(
    first: Sequence[str], below: pd.DataFrame, options: DataOptions, known: Sequence[str] | None
) -> bool | None:
    """Whether the first row names the columns; None where the cells do not tell."""
    from pandas.api.types import is_numeric_dtype

    if known and set(map(csv_cell, known)) <= set(map(csv_cell, first)):
        return True
    if options.header != "auto":
        return options.header == "yes"
    numbers = [is_value(cell) for cell in first]
    texts = [cell not in MISSING and not number for cell, number in zip(first, numbers, strict=True)]
    called = {options.label, *options.drop, *options.columns}
    if any(text and cell in called for text, cell in zip(texts, first, strict=True)):
        return True
    if any(texts) and all(text or cell == "" for text, cell in zip(texts, first, strict=True)):
        return True
    numeric = [bool(is_numeric_dtype(below[c])) and bool(below[c].notna().any()) for c in below]
    names = [text and (cell[0].isalpha() or cell[0] == "_") for text, cell in zip(texts, first, strict=True)]
    # Years may be names of columns; a number with decimals among names is a value.
    fractions = [number and not cell.isdecimal() for cell, number in zip(first, numbers, strict=True)]
    if any(name and column for name, column in zip(names, numeric, strict=True)) and not any(fractions):
        return True
    if first[0] == "" and counts_up(below[0]):  # an index, as pandas writes it
        return True
    # A text that comes again below is a value, not a name.
    if any(text and (below[i] == first[i]).any() for i, text in enumerate(texts)):
        return False
    return False if known and all(name.isdecimal() for name in known) else None


def is_value(cell: str) -> bool:
    """Whether a cell is a number or a truth value, and so no name by itself."""
    return bool(_ANY_NUMBER.fullmatch(cell)) or cell.lower().lstrip("+-") in (
        "inf",
        "infinity",
        "true",
        "false",
    )


def counts_up(column: pd.Series) -> bool:
    """Whether a column counts rows: whole numbers without a gap, each once."""
    if column.dtype.kind not in "iu" or len(column) < 2:
        return False
    return bool(column.is_unique) and int(column.max()) - int(column.min()) == len(column) - 1


def _names_in_comment(comments: Sequence[Line], body: Body, header: bool | None) -> list[str]:
    """The names in the last comment before the first row, if it has one for each column, as NumPy writes them."""
    if not comments or header is False:
        return []
    names: list[str] = next(_rows([comments[-1][1].lstrip("#\t ")], body.separator), [])
    names = [" ".join(name.split()) for name in names]
    different = len(set(names)) == len(names) == body.width > 1 and "" not in names
    return names if different and not any(map(_ANY_NUMBER.fullmatch, names)) else []


def _undecided(path: Path, line: int, known: Sequence[str] | None) -> InputError:
    if known:
        return InputError(
            f"{path}: no header that names the columns of the model: {first_few([repr(c) for c in known])}; write their"
            " names as the first line"
        )
    return InputError(
        f"{path}: line {line} may name the columns or be the first row of values: it has numbers, as the rows below"
        " have; say which",
        remedy=[{"data.header": "yes"}, {"data.header": "no"}],
    )


def _named(names: Sequence[str], table: TextTable) -> TextTable:
    """The table with the names of its columns, without columns that have neither name nor values."""
    frame, width, notes = table.frame, table.body.width, table.notes
    empty = [c for c in range(width) if not frame[c].notna().any()]
    if names:
        nothing = [c for c in empty if not names[c]]
        called = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
    else:
        nothing = [c for c in empty if c == width - 1]
        called = [str(i) for i in range(width)]
    if len(frame) and nothing:
        notes.append(f"{counted(len(nothing), 'column')} without name and values left out")
    places = [c for c in range(width) if not len(frame) or c not in nothing]
    unnamed = [f"column {c + 1} has no name: called {called[c]!r}" for c in places if names and not names[c]]
    notes += [first_few(unnamed)] * bool(unnamed)
    frame = frame[places]
    frame.columns = [called[c] for c in places]
    return replace(table, frame=frame, places=places, notes=["; ".join(notes)])
