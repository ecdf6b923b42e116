"""Tables beside the images of a folder that say more of them, as the hub's `imagefolder` has them: metadata.csv."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latlas.data.delimited import read_delimited
from latlas.data.image_list import first_few
from latlas.data.options import DataOptions
from latlas.data.splits import code_labels
from latlas.data.tables import as_labels
from latlas.errors import InputError, unknown
from latlas.text import printable

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
LABELS = ("label", "labels", "class", "target", "y")  # what a column of labels beside images is called
Labels = tuple[np.ndarray, tuple[str, ...] | None]


def is_metadata(name: str) -> bool:
    """Whether a file is called as such tables are."""
    return Path(name).name.lower() in NAMES


def labels_in(
    root: Path, tables: Sequence[str], images: Sequence[str], options: DataOptions, asked: bool = True
) -> tuple[Labels | None, list[str]]:
    """The labels (N,) of images in the tables beside them, as codes with names or as real numbers, and notes; None
    where no column of the tables is one of labels. A table names images by their path from its own folder.

    Raises InputError for a table that cannot be read, and where one is `asked` for, for a column that is not there.
    """
    found: dict[str, Any] = {}
    columns, unused, notes = list[str](), dict[str, None](), list[str]()
    for name in tables:
        frame = _read(root / name)
        files = _file_column(frame)
        if not files and not (options.label and asked):
            notes.append(printable(f"{name} is not used: no column 'file_name' names the images"))
            continue
        if not files:
            raise InputError(f"{root / name}: no column 'file_name' that names the images; add it")
        label = _label_column(frame, root / name, options.label, asked)
        unused |= dict.fromkeys(c for c in frame.columns if c not in (files, label))
        paths = [
            os.path.normpath(Path(name).parent / str(file)).replace(os.sep, "/") for file in frame[files]
        ]
        absent = [path for path in paths if path not in set(images)] if label else []
        if absent:
            rows = "1 row names" if len(absent) == 1 else f"{len(absent):,} rows name"
            text = f"{root / name}: {rows} no image here: {first_few(absent)}"
            if options.strict:
                raise InputError(f"{text}; mend them, or leave data.strict false")
            notes.append(printable(text))
        if label:
            columns.append(label)
            found |= dict(zip(paths, as_labels(frame[label]).tolist(), strict=True))
    if unused:
        notes.append(f"columns of {Path(tables[0]).name} not used: {first_few(list(map(repr, unused)))}")
    if not columns:
        return None, notes
    values = np.empty(len(images), dtype=object)
    values[:] = [found.get(image) for image in images]
    (codes,), classes = code_labels([values], f"{root / tables[0]}: label column {columns[0]!r}")
    assert codes is not None
    kinds = "real numbers" if classes is None else f"{len(classes)} classes: {first_few(classes)}"
    notes.insert(0, f"labels from {columns[0]!r} of {Path(tables[0]).name}, {kinds}")
    return (codes, classes), notes


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.suffix.lower() == ".csv":
            table = read_delimited(path, DataOptions(header="yes", separator=","), None)
            return pd.DataFrame({c: table.labels(c) for c in table.frame.columns})
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        lines = path.read_text(encoding="utf-8").splitlines()
        return pd.DataFrame.from_records([json.loads(line) for line in lines if line.strip()])
    except InputError:
        raise
    except Exception as error:  # on damaged bytes, pandas and pyarrow raise anything
        why = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read as a table ({why})") from None


def _file_column(frame: pd.DataFrame) -> str:
    """The column of the images' paths; "" without one."""
    names = [str(c) for c in frame.columns]
    ends = [c for c in names if c.endswith("file_name")]
    return "file_name" if "file_name" in names else ends[0] if len(ends) == 1 else ""


def _label_column(frame: pd.DataFrame, path: Path, label: str, asked: bool) -> str:
    names = [str(c) for c in frame.columns]
    if label in names:
        return label
    if label and asked:
        raise unknown(f"label column in {path}:", label, names)
    return next((c for c in LABELS if c in names), "")
