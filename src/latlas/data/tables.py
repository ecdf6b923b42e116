"""Numeric tables in CSV, TSV and Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latlas.data.arrays import orient
from latlas.data.dataset import Split
from latlas.data.folders import first_few
from latlas.data.options import DataOptions
from latlas.data.splits import Raw, code_labels
from latlas.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = frozenset((".csv", ".tsv", ".parquet", ".pq"))


def read_table(path: Path, name: str, options: DataOptions, columns: Sequence[str] | None = None) -> Raw:
    """A table of numbers, one row an item, with at most one column of labels.

    With `columns`, only these, by name; the label column may then be absent.

    Raises InputError for a file that cannot be read, and for columns missing, not numeric or not complete.
    """
    frame, notes = _frame(path)
    labels, classes = None, None
    if options.label and (columns is None or options.label in frame.columns):
        if options.label not in frame.columns:
            raise unknown(f"label column in {path}:", options.label, frame.columns)
        labels, classes = _labels(frame.pop(options.label), path)
    if columns is not None:
        missing = [c for c in columns if c not in frame.columns]
        if missing:
            raise InputError(
                f"{path}: without column{'s' * (len(missing) > 1)} {_quoted(missing)} that the model needs"
            )
        frame = frame[list(columns)]
    _check_columns(frame, path)
    # Column by column: a frame of bools and numbers would become Python objects.
    x = np.column_stack([frame[c].to_numpy() for c in frame])
    if options.image_size is not None:
        x = orient(x, "ND", options.image_size, str(path))
    names = tuple(frame.columns) if x.ndim == 2 else None
    return Raw(name, str(path), {"train": Split(x, labels, np.arange(len(x)))}, classes, names, tuple(notes))


def _frame(path: Path) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd

    notes: list[str] = []
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
        else:
            separator = _separator(path)
            frame = pd.read_csv(path, sep=separator, low_memory=False)
            if len(frame.columns) and all(_is_number(str(c)) for c in frame.columns):
                frame = pd.read_csv(path, sep=separator, header=None, low_memory=False)
                notes.append("no header row: columns named 0, 1, ...")
    except Exception as error:  # on damaged bytes, pandas and pyarrow raise anything
        why = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read as a table ({why})") from None
    frame.columns = pd.Index([str(c) for c in frame.columns], dtype=object)
    if frame.columns[0].startswith("Unnamed: 0"):
        notes.append("the first column has no name: it is used as it is; leave it out if it only counts rows")
    doubled = [str(c) for c in frame.columns[frame.columns.duplicated()]]
    if doubled:
        raise InputError(f"{path}: more than one column called {_quoted(doubled)}")
    return frame, notes


def _separator(path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    return max(",;\t", key=first.count)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels(column: pd.Series, path: Path) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    missing = int(column.isna().sum())
    if missing:
        raise InputError(
            f"{path}: label column {column.name!r} is empty in {missing:,} of {len(column):,} rows"
        )
    values = column.to_numpy()
    if values.dtype.kind not in "buif":
        values = column.astype(str).to_numpy(dtype=str)
    (codes,), classes = code_labels([values], f"{path}: label column {column.name!r}")
    return codes, classes


def _check_columns(frame: pd.DataFrame, path: Path) -> None:
    from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

    if frame.shape[1] == 0 or len(frame) == 0:
        raise InputError(f"{path}: no rows or no columns of numbers")
    numeric = {
        c: is_bool_dtype(t) or (is_numeric_dtype(t) and not is_complex_dtype(t))
        for c, t in frame.dtypes.items()
    }
    texts = [str(c) for c, good in numeric.items() if not good]
    if texts:
        raise InputError(
            f"{path}: not numbers in column{'s' * (len(texts) > 1)} {_quoted(texts)}; "
            f"take labels out with data.label = {texts[0]!r}, leave other columns out or turn them into numbers"
        )
    missing = frame.isna().sum()
    if missing.any():
        gaps = first_few([f"{c!r} ({n:,} of {len(frame):,} rows)" for c, n in missing[missing > 0].items()])
        raise InputError(f"{path}: missing values in column{'s' * (', ' in gaps)} {gaps}; fill or drop them")
    infinite = [str(c) for c in frame if not np.isfinite(frame[c].to_numpy(dtype=np.float64)).all()]
    if infinite:
        raise InputError(f"{path}: infinite values in column{'s' * (len(infinite) > 1)} {_quoted(infinite)}")


def _quoted(names: Sequence[str]) -> str:
    return first_few([repr(n) for n in names])
