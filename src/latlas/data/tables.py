"""Tables of numbers, whatever holds them, and those in text files (CSV, TSV)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latlas.data.arrays import orient
from latlas.data.dataset import Split
from latlas.data.delimited import counts_up, read_delimited
from latlas.data.image_list import first_few
from latlas.data.options import DataOptions
from latlas.data.ranges import MOST_NAMED
from latlas.data.row_names import ID, names_of_rows, refuse_stray, summary_note
from latlas.data.splits import Raw, code_labels
from latlas.errors import InputError, Settings, unknown
from latlas.text import counted, csv_cell

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = frozenset((".csv", ".tsv"))
TEXT_OPTIONS = ("header", "separator", "decimal", "encoding")  # that only tables in text files have
COLUMN_OPTIONS = ("label", "drop", "columns")  # that only what has columns has
_NUMERIC = frozenset(
    ("boolean", "decimal", "integer", "floating", "mixed-integer-float")
)  # of Python objects


@dataclass(frozen=True)
class Table:
    """A table as read: numbers or texts by column, its notes, a column as labels or as it is written, and the place of
    a row.
    """

    frame: pd.DataFrame
    notes: list[str]
    labels: Callable[[str], pd.Series]
    texts: Callable[[str], pd.Series]
    row: Callable[[int], str]
    index: Sequence[str] = ()  # columns that are the rows' names by the file's own word
    typed: bool = False  # whether the file says the type of each column


def read_table(path: Path, name: str, options: DataOptions, columns: Sequence[str] | None = None) -> Raw:
    """A table of numbers in a text file, one row an item, with at most one column of labels.

    With `columns`, those that a trained model takes, the table has these and no others, in any order; columns that were
    left out in training, and that of labels, may be there or not.

    Raises InputError for a file that cannot be read, and for columns missing, unknown, not numeric or not complete.
    """
    known = None if columns is None else [one_line(c) for c in columns]
    try:
        text = read_delimited(path, options, known)
    except InputError:
        raise
    except Exception as error:  # on damaged bytes, pandas raises anything
        why = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read as a table ({why})") from None
    table = Table(text.frame, text.notes, text.labels, text.texts, lambda i: f"line {text.lines[i]}")
    return raw_of(table, str(path), name, options, known)


def raw_of(
    table: Table, where: str, name: str, options: DataOptions, known: Sequence[str] | None = None
) -> Raw:
    """The items and labels of a table, as `read_table` gives them."""
    # A column of the model's whose name latlas wrote as a cell that is no formula is that column.
    written = {csv_cell(c): c for c in known or () if c not in table.frame.columns}
    table = replace(table, frame=table.frame.rename(columns=written))
    frame, notes, options = table.frame, list(table.notes), _with_names_onone_line(options)
    names = list(frame.columns)
    doubled = sorted({c for c in names if names.count(c) > 1}) if len(set(names)) < len(names) else []
    if doubled:
        raise InputError(f"{where}: more than one column called {_quoted(doubled)}; give each its own name")
    labels, classes = None, None
    if options.label and (known is None or options.label in names):
        if options.label not in names:
            raise unknown(f"label column in {where}:", options.label, names)
        given = table.labels(options.label)
        (labels,), classes = code_labels([as_labels(given)], f"{where}: label column {options.label!r}")
    chosen = (
        _matched(table, where, options, known) if known is not None else _chosen(table, where, options, notes)
    )
    others = [c for c in names if c not in chosen]
    frame = frame[chosen]
    if not (table.typed or options.header == "no"):  # without a header the first row may be one
        refuse_stray(frame, where, table.row)
    summary = summary_note(frame, table.frame[others], where, table.row)
    _check_columns(table, frame, where, options, known is not None)
    ids = _ids(frame)
    named_by, rows = _row_names(table, others, ids, options)
    notes += [*filter(None, [summary, _ids_note(ids)]), *[f"rows are named by {named_by!r}"] * bool(named_by)]
    # Column by column: a frame of bools and numbers would become Python objects.
    x = np.column_stack([_numbers(frame[c]) for c in frame])
    if options.image_size is not None:
        x = orient(x, "ND", options.image_size, where)
    columns = tuple(frame.columns) if x.ndim == 2 else None
    items = Split(x, labels, np.arange(len(x)), names=rows)
    return Raw(name, where, {"train": items}, classes, columns, tuple(notes))


def _row_names(
    table: Table, others: Sequence[str], ids: Sequence[str], options: DataOptions
) -> tuple[str, np.ndarray | None]:
    """The column that names the rows: of those left out, by the order of the options, else of those that number"
    " rows."""
    left = [c for c in (*options.drop, *others) if c != options.label and c in others]
    index = [c for c in table.index if c in left]
    found = names_of_rows(table.frame, table.texts, index, list(dict.fromkeys(left)))
    return found if found[0] else names_of_rows(table.frame, table.texts, (), ids)


def one_line(name: str) -> str:
    """A column's name as it is written and matched."""
    return " ".join(name.split())


def _with_names_onone_line(options: DataOptions) -> DataOptions:
    lists = {"drop": options.drop, "columns": options.columns}
    changes = {field: tuple(map(one_line, names)) for field, names in lists.items()}
    return options.model_copy(update={"label": one_line(options.label), **changes})


def as_labels(labels: pd.Series) -> np.ndarray:
    """Labels of any type of pandas as an array that may hold None for a missing one."""
    if labels.dtype.kind in "buif" and isinstance(labels.dtype, np.dtype):
        return labels.to_numpy()
    return labels.astype(object).to_numpy()


def _chosen(table: Table, where: str, options: DataOptions, notes: list[str]) -> list[str]:
    """The columns to train on, in the file's order."""
    names = list(table.frame.columns)
    for field, given in (("data.drop", options.drop), ("data.columns", options.columns)):
        for column in given:
            if column not in names:
                error = unknown(f"column in {where}:", column, names)
                raise InputError(error.message, field=field)
    if options.label in options.drop:
        raise InputError(
            f"{options.label!r} is the column of labels as well; name it once", field="data.drop"
        )
    index = [c for c in table.index if c not in (*options.columns, *options.drop, options.label)]
    if index:
        notes.append(f"left out, as the file says that it names the rows: {_quoted(index)}")
    if options.drop:
        notes.append(f"left out: {_quoted(list(dict.fromkeys(options.drop)))}")
    out = {options.label, *options.drop, *index}
    chosen = [c for c in names if c not in out and (not options.columns or c in options.columns)]
    if options.columns:
        notes.append(f"{counted(len(chosen), 'column')} chosen of {len(names):,}")
    if not chosen:
        raise InputError(f"{where}: no column is left to train on: it has {_quoted(names)}")
    return chosen


def _matched(table: Table, where: str, options: DataOptions, known: Sequence[str]) -> list[str]:
    """The columns of a trained model, in its order.

    Raises InputError where one is missing, and for others unless the run chose its columns by name.
    """
    names = list(table.frame.columns)
    missing = [c for c in known if c not in names]
    if missing:
        raise InputError(
            f"{where}: without column{'s' * (len(missing) > 1)} {_quoted(missing)} that the model needs"
        )
    own = {*known, options.label, *options.drop}
    others = [c for c in names if c not in own and c not in table.index]
    if others and not options.columns:
        raise InputError(
            f"{where}: column{'s' * (len(others) > 1)} {_quoted(others)} that the model was not trained on; remove"
            f" {'them' if len(others) > 1 else 'it'} from the table"
        )
    return list(known)


def _check_columns(table: Table, frame: pd.DataFrame, where: str, options: DataOptions, used: bool) -> None:
    """Raises InputError that names every column that cannot be trained on, and the settings that leave them out."""
    if not len(frame):
        raise InputError(f"{where}: no rows")
    wrong = _wrong_columns(frame)
    if not wrong:
        return
    texts = wrong.get("not numbers", [])
    bad = [c for c in map(str, frame) if any(c in columns for columns in wrong.values())]
    described = {c: _described(frame[c], table.row) for c in bad}
    problems = [
        f"{what} in column{'s' * (len(columns) > 1)} {first_few([described[c] for c in columns])}"
        for what, columns in wrong.items()
    ]
    advice = "fill what is missing" if "missing values" in wrong else "give numbers"
    line = f"{where}: {'; '.join(problems)}; {advice}"
    good = [c for c in map(str, frame) if c not in bad]
    if used or not good:
        raise InputError(line)
    raise InputError(
        f"{line}, or leave out what is not a feature", remedy=_remedies(frame, bad, good, texts, options)
    )


def _wrong_columns(frame: pd.DataFrame) -> dict[str, list[str]]:
    """The columns that cannot be trained on, by what they hold."""
    wrong: dict[str, list[str]] = {}
    for name in map(str, frame):
        column = frame[name]
        what = ""
        if not _is_numeric(column):
            what = "not numbers"
        elif column.isna().any():
            what = "missing values"
        elif not np.isfinite(_numbers(column)).all():
            what = "infinite values"
        elif _is_too_precise(column):
            what = "whole numbers above 2^53, as ids are, that float64 cannot tell apart,"
        if what:
            wrong.setdefault(what, []).append(name)
    return wrong


def _remedies(
    frame: pd.DataFrame, bad: list[str], good: list[str], texts: list[str], options: DataOptions
) -> list[Settings]:
    """The settings that leave out these columns; where no labels are named, also those that make one of them labels."""

    def without(columns: list[str]) -> Settings:
        if options.columns:
            return {"data.columns": good}
        return {"data.drop": list(dict.fromkeys((*options.drop, *columns)))} if columns else {}

    if len(good if options.columns else bad) > MOST_NAMED:
        return []
    kinds = {c: frame[c].map(str).nunique() for c in texts}  # bytes that are no UTF-8 among them
    # A column of labels says the same of many rows.
    labels = [c for c in texts if 1 < kinds[c] <= max(2, len(frame) // 2)]
    if options.label or not labels:
        return [without(bad)]
    label = min(labels, key=lambda c: kinds[c])
    return [{"data.label": label, **without([c for c in bad if c != label])}, without(bad)]


def _is_numeric(column: pd.Series) -> bool:
    from pandas.api.types import infer_dtype, is_bool_dtype, is_complex_dtype, is_numeric_dtype

    if column.dtype == object:
        return infer_dtype(column, skipna=True) in _NUMERIC
    return is_bool_dtype(column) or (is_numeric_dtype(column) and not is_complex_dtype(column))


def _numbers(column: pd.Series) -> np.ndarray:
    """The values of a numeric column without missing ones; that they are unsigned does not make pixels of them."""
    if not isinstance(column.dtype, np.dtype) or column.dtype == object:
        return column.to_numpy(dtype=np.float64)
    values = column.to_numpy()
    if values.dtype.kind != "u":
        return values
    return values.astype(np.float64 if values.max(initial=0) > np.iinfo(np.int64).max else np.int64)


def _is_too_precise(column: pd.Series) -> bool:
    """Whether float64 takes different whole numbers for one."""
    from pandas.api.types import infer_dtype

    if infer_dtype(column) != "integer":
        return False
    values = column.unique()
    real = values.astype(np.float64)
    return bool(np.abs(real).max() > 2**53 and len(np.unique(real)) < len(values))


def _described(column: pd.Series, row: Callable[[int], str]) -> str:
    """The name of a column, with how many values are missing, its type, or the first of few cells that are texts."""
    import pandas as pd

    name = repr(column.name)
    if _is_numeric(column):
        missing = int(column.isna().sum())
        return f"{name} ({missing:,} of {counted(len(column), 'row')})" if missing else name
    if not pd.api.types.is_string_dtype(column):
        return f"{name} ({column.dtype})"
    wrong = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy()
    if not wrong.any():
        return f"{name} (numbers as texts)"
    if wrong.sum() > len(column) // 2:
        return name
    place, others = int(np.argmax(wrong)), int(wrong.sum()) - 1
    return f"{name} ({str(column.iloc[place])!r} in {row(place)}{f' and {others:,} more' if others else ''})"


def _ids(frame: pd.DataFrame) -> list[str]:
    """The columns that count the rows or give each a number of its own."""
    return [c for c in map(str, frame) if _numbers_rows(frame[c], c)]


def _ids_note(found: Sequence[str]) -> str:
    """A line on these columns; "" if there are none."""
    if not found:
        return ""
    one = len(found) == 1
    return (
        f"column{'' if one else 's'} {_quoted(found)} number{'s' if one else ''} the rows, each differently, and"
        f" {'is' if one else 'are'} used for training too; leave out with data.drop what is not a feature"
    )


def _numbers_rows(column: pd.Series, name: str) -> bool:
    """Whether a column looks like an id: whole numbers that all differ, and that count, are huge, or are called so."""
    values = _numbers(column)
    if values.dtype.kind != "i" or len(values) < 2 or not column.is_unique:
        return False
    return counts_up(column) or abs(float(values.max())) > 2**53 or bool(ID.fullmatch(name))


def _quoted(names: Sequence[str]) -> str:
    return first_few([repr(n) for n in names])
