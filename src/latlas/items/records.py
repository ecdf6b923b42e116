"""Lines of items, one column each for name, row, label, split and numbers, and the files that hold them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latlas.data import Split
from latlas.files import write_atomic
from latlas.text import csv_cell

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, np.ndarray]


def about(items: Split, split: str = "", classes: Sequence[str] | None = None) -> Columns:
    """What is known of items: their `name`, `row` in the source, `label` and `split`; columns without a value are left
    out.

    Labels with `classes` are the names of these, others are numbers.
    """
    columns: Columns = {} if items.names is None else {"name": items.names}
    columns["row"] = np.asarray(items.index)
    if items.labels is not None:
        columns["label"] = items.labels if classes is None else class_names(items.labels, classes)
    return columns | ({"split": np.full(len(items), split, object)} if split else {})


def class_names(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The names (N,) of class codes (N,); None for a code without a class."""
    # What is no UTF-8 fits into no file of text.
    names = [name.encode("utf-8", "backslashreplace").decode() for name in classes]
    return np.array([names[c] if 0 <= c < len(names) else None for c in labels.tolist()], dtype=object)


def joined(parts: Sequence[Columns]) -> Columns:
    """The lines of several parts below each other, with the columns that all of them have."""
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def title_of(item: Split) -> str:
    """The name of a single item, or its row."""
    return f"row {item.index[0]}" if item.names is None else str(item.names[0])


def lines(columns: Columns, rows: np.ndarray) -> list[dict[str, Any]]:
    """Some lines as plain values by column."""
    chosen = {name: column[rows].tolist() for name, column in columns.items()}
    return [dict(zip(chosen, values, strict=True)) for values in zip(*chosen.values(), strict=True)]


def frame(columns: Columns) -> pd.DataFrame:
    """The columns (N,) as a DataFrame."""
    import pandas as pd

    return pd.DataFrame({name: column.tolist() if column.dtype == object else column
                         for name, column in columns.items()})  # fmt: skip


def codes_frame(arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The codes of `inference.encode` as a DataFrame: name, row, label, split, mean_0, ..., std_0, ..."""
    classes = arrays["classes"].tolist() if "classes" in arrays else None
    items = Split(arrays["mean"], arrays.get("labels"), arrays["index"], names=arrays.get("names"))
    columns = about(items, classes=classes)
    if "split" in arrays:
        columns["split"] = arrays["split"]
    for key in ("mean", "std"):
        if key in arrays:
            columns |= {f"{key}_{d}": column for d, column in enumerate(arrays[key].T)}
    return frame(columns)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Writes a table as .parquet, or as .csv in UTF-8; a number keeps all its digits, a text is a `csv_cell`."""
    if path.suffix.lower() == ".parquet":
        content = io.BytesIO()
        table.to_parquet(content, index=False)
        write_atomic(path, content.getvalue())
    else:
        from pandas.api.types import is_numeric_dtype

        cells = table.copy()
        for at, (_, column) in enumerate(table.items()):
            if not is_numeric_dtype(column.dtype):
                cells.isetitem(at, column.map(csv_cell).to_numpy())
        heads = [str(csv_cell(str(name))) for name in table]
        write_atomic(path, cells.to_csv(index=False, header=heads, lineterminator="\n"))
