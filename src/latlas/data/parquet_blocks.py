"""Parquet files that are larger than memory should hold: copied once, block by block, into one array on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latlas.data.array_columns import array_column, arrays_of
from latlas.data.arrow import (
    Columns,
    label_codes,
    label_column,
    raw_of_array_column,
    raw_of_columns,
)
from latlas.data.image_plan import ImageFormat
from latlas.data.options import DataOptions
from latlas.data.room import stays_on_disk, windows_notes
from latlas.data.splits import Raw, as_split, in_parts
from latlas.data.spool import key_of, spooled
from latlas.data.stored import Stored
from latlas.errors import InputError
from latlas.progress import OnProgress
from latlas.text import shortened

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BLOCK = 65_536  # rows that are decoded at once; fewer where a file's row groups are smaller
HEAD = 1000  # rows by which it is seen what the columns are


@dataclass(frozen=True)
class Shards:
    """The Parquet files of each official split, opened."""

    files: Mapping[str, Sequence[Path]]
    opened: Mapping[str, Sequence[pq.ParquetFile]]
    where: Path
    name: str

    @property
    def paths(self) -> list[Path]:
        return [path for paths in self.files.values() for path in paths]

    @property
    def sizes(self) -> dict[str, int]:
        return {part: sum(f.metadata.num_rows for f in files) for part, files in self.opened.items()}

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        first = next(file for files in self.opened.values() for file in files)
        return list(first.schema_arrow.names)

    def only(self, parts: Collection[str]) -> Shards:
        """The files of these splits."""
        files, opened = ({part: own[part] for part in parts} for own in (self.files, self.opened))
        return replace(self, files=files, opened=opened)

    def tables(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows, so many at a time.

        Raises InputError for a file whose rows cannot be read.
        """
        import pyarrow as pa

        chosen = None if columns is None else list(columns)
        for path, file in zip(self.paths, (f for files in self.opened.values() for f in files), strict=True):
            try:
                for batch in file.iter_batches(rows, columns=chosen):
                    yield pa.Table.from_batches([batch])
            except (OSError, pa.ArrowException) as error:
                why = shortened(" ".join(str(error).split()))
                raise InputError(f"{path}: cannot be read as Parquet ({why})") from None

    def columns(self, tables: Mapping[str, pa.Table]) -> Columns:
        folder = self.where if self.where.is_dir() else self.where.parent
        return Columns(tables, str(self.where), self.name, folder)


def read_blocks(
    shards: Shards,
    options: DataOptions,
    known: Sequence[str] | None = None,
    progress: OnProgress | None = None,
) -> Raw | None:
    """The splits in Parquet files as items that stay on disk; None where they are held in memory.

    Raises InputError as `raw_of_columns` does.
    """
    head = next(shards.tables(HEAD), None)
    if head is None or not head.num_rows:
        return None
    first, where = shards.columns({"train": head}), str(shards.where)
    if first.image_columns and known is None:  # files in a column are decoded into the cache
        return None
    column = array_column(head.schema, options, where) if known is None else ""
    width = arrays_of(head.column(column), where)[0].nbytes if column else 8 * head.num_columns
    if not stays_on_disk(width * sum(shards.sizes.values()), options):
        return None
    if column:
        return _of_arrays(shards, first, column, options, progress)
    return _of_table(shards, first, options, known, progress)


def shards_of(files: Mapping[str, Sequence[Path]], where: Path, name: str) -> Shards | None:
    """Parquet files, opened; None where one cannot be read, or has other columns: reading all says what is wrong."""
    import pyarrow.parquet as pq

    try:
        opened = {part: [pq.ParquetFile(path) for path in paths] for part, paths in files.items()}
    except Exception:  # on damaged bytes, pyarrow raises anything
        return None
    shards = Shards(files, opened, where, name)
    every = [set(file.schema_arrow.names) for each in opened.values() for file in each]
    return shards if all(names == every[0] for names in every) else None


def _labels(shards: Shards, label: str) -> tuple[Any, tuple[str, ...] | None]:
    import pyarrow as pa

    whole = shards.columns({"train": pa.concat_tables(shards.tables(BLOCK, [label]))})
    return label_codes(whole, label, [np.arange(whole.first.num_rows)])


def _of_arrays(
    shards: Shards, first: Columns, column: str, options: DataOptions, progress: OnProgress | None
) -> Raw:
    notes: list[str] = []
    label = label_column(first, options, notes)
    where = f"{shards.where}, column {column!r}"
    one = arrays_of(first.first.column(column), where)
    count = sum(shards.sizes.values())
    rows = max(1, min(BLOCK, 2**25 // one[0].nbytes))

    def blocks() -> Iterator[np.ndarray]:
        for table in shards.tables(rows, [column]):
            block = arrays_of(table.column(0), where)
            if block.shape[1:] != one.shape[1:]:
                raise InputError(f"{where}: arrays of different lengths; bring them to one")
            yield block

    file = spooled(key_of(shards.paths, column), (count, *one.shape[1:]), one.dtype, blocks(), progress)
    codes, classes = _labels(shards, label) if label else (None, None)
    raw = raw_of_array_column(first, Stored(file), column, (label, codes, classes), options)
    notes += windows_notes(Stored(file), options)
    return replace(in_parts(raw, shards.sizes), notes=(*raw.notes, *notes))


def _of_table(
    shards: Shards, first: Columns, options: DataOptions, known: Sequence[str] | None, progress: OnProgress | None
) -> Raw:  # fmt: skip
    head = raw_of_columns(first, options.model_copy(update={"image_size": None}), ImageFormat(), known)
    columns = head.columns or ()
    plain = options.model_copy(update={"label": "", "drop": (), "image_size": None, "columns": columns})
    x = np.asarray(head.parts["train"].x)
    dtype = np.dtype(np.float64) if x.dtype.kind in "fiu" and x.dtype.itemsize == 8 else x.dtype
    names = {column: number for number, column in enumerate(first.first.column_names)}
    read = [c for c in names if " ".join(c.split()) in columns]

    def blocks() -> Iterator[np.ndarray]:
        for table in shards.tables(BLOCK, read):
            block = raw_of_columns(shards.columns({"train": table}), plain, ImageFormat(), columns)
            yield np.asarray(block.parts["train"].x, dtype)

    count = sum(shards.sizes.values())
    key = key_of(shards.paths, columns, str(dtype))
    stored = Stored(spooled(key, (count, len(columns)), dtype, blocks(), progress))
    label = options.label or (first.class_columns[0] if len(first.class_columns) == 1 else "")
    coded = _labels(shards, label) if head.parts["train"].labels is not None and label else (None, None)
    raw = replace(head, parts={"train": as_split(stored, coded[0])}, classes=coded[1])
    return replace(in_parts(raw, shards.sizes), notes=(*head.notes, *windows_notes(stored, options)))
