"""Arrow tables, from Parquet files and from memory: numbers, or images in a column as the hub writes them."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latlas.data.array_columns import array_column, arrays_of
from latlas.data.arrays import orient
from latlas.data.image_list import ImageList, raw_of_images
from latlas.data.image_plan import ImageFormat
from latlas.data.image_source import Held, ImageSource
from latlas.data.metadata import LABELS
from latlas.data.options import DataOptions
from latlas.data.parts import ORDER, splits_among
from latlas.data.room import AS_NPY, refuse_array, refuse_beyond_room
from latlas.data.splits import MOST_CLASSES, Raw, as_split, code_labels, in_parts
from latlas.data.stored import Items
from latlas.data.tables import Table, as_labels, one_line, raw_of
from latlas.data.walk import natural_key
from latlas.errors import InputError, unknown
from latlas.progress import OnProgress
from latlas.text import counted, listed

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

PARQUET = (".parquet", ".pq")
ROWS_AT_ONCE = 1024  # of columns whose values may be of any length
_SHARD = re.compile(r"[-_.]?\d+[-_]of[-_]\d+.*$")  # what follows a split's name: -00000-of-00002
_HUB = b"huggingface"  # the key of the schema's metadata under which the hub writes what columns are


@dataclass(frozen=True)
class Columns:
    """The official splits of a data set as Arrow tables of the same columns; images without bytes of their own are
    files below `folder`.
    """

    tables: Mapping[str, pa.Table]
    where: str
    name: str
    folder: Path | None = None

    @property
    def first(self) -> pa.Table:
        return next(iter(self.tables.values()))

    @property
    def sizes(self) -> dict[str, int]:
        return {part: table.num_rows for part, table in self.tables.items()}

    @cached_property
    def features(self) -> dict[str, Any]:
        """What the hub says of columns, by name; empty for other tables."""
        try:
            return dict(json.loads(self.first.schema.metadata[_HUB])["info"]["features"])
        except (KeyError, TypeError, ValueError):
            return {}

    @property
    def class_columns(self) -> list[str]:
        """The columns that are classes by the hub's word."""
        names = self.first.column_names
        return [name for name, about in self.features.items() if name in names and _class_names(about)]

    def class_names(self, column: str) -> tuple[str, ...]:
        """The names of a column's classes 0, 1, ... by the hub's word; empty without it."""
        return _class_names(self.features.get(column))

    @cached_property
    def image_columns(self) -> list[str]:
        """The columns that hold image files: as bytes, or with a path beside them."""
        return [field.name for field in self.first.schema if self._holds_images(field.name, field.type)]

    def _holds_images(self, name: str, kind: pa.DataType) -> bool:
        import pyarrow.types as types

        if types.is_struct(kind):
            return {field.name for field in kind} >= {"bytes", "path"}
        binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
        if not binary or self.first.column_names.count(name) > 1:
            return False
        values = (value.as_py() for value in self.first.column(name))
        return _is_image(next((value for value in values if value), b""))


def _class_names(about: object) -> tuple[str, ...]:
    names = about.get("names") if isinstance(about, Mapping) else None
    return tuple(map(str, names)) if isinstance(names, Sequence) and not isinstance(names, str) else ()


def _is_image(content: bytes) -> bool:
    from latlas.data.image_formats import open_image

    try:
        open_image(Held("value", content)).close()
    except Exception:  # Pillow's plugins raise anything at all on other bytes
        return False
    return True


def arrow_of(given: Any, where: str, classes: Mapping[str, Sequence[str]] | None = None) -> pa.Table | None:
    """The Arrow table that an object is or gives by a protocol of data frames; None for other objects. `classes` are
    the names of numbered classes by column.

    Raises InputError for one that gives none after all.
    """
    import pyarrow as pa

    try:
        if isinstance(given, pa.Table):
            table = given
        elif isinstance(given, pa.RecordBatch) or (
            hasattr(given, "__arrow_c_stream__")
            and (hasattr(given, "columns") or hasattr(given, "column_names"))
        ):
            table = pa.table(given)
        elif hasattr(given, "__dataframe__"):
            from pyarrow.interchange import from_dataframe

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pandas is leaving this protocol
                table = from_dataframe(given)
        else:
            return None
    except Exception as error:  # the data frame's own code
        why = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where}: a {type(given).__name__} that cannot be read ({why})") from None
    if not classes:
        return table
    features = {column: {"names": list(names), "_type": "ClassLabel"} for column, names in classes.items()}
    metadata = {_HUB: json.dumps({"info": {"features": features}})}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})


def parquet_files(names: Sequence[str]) -> dict[str, list[str]]:
    """The files of each official split, in natural order, of Parquet files by their paths: shards are numbered
    (train-00000-of-00002), or lie in the folder of a split (train/0000). All are for training where no name is a split.

    Raises InputError for names that look like splits and cannot be used as such.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(names, key=natural_key):
        path = Path(name)
        stem = _SHARD.sub("", path.stem)
        groups.setdefault(path.parent.name if stem.isdecimal() or not stem else stem, []).append(name)
    parts = splits_among(groups)
    if not parts:
        return {"train": list(chain.from_iterable(groups.values()))}
    for names_of_one in groups.values():
        folders = sorted({Path(name).parent.as_posix() for name in names_of_one})
        if len(folders) > 1:
            raise InputError(
                f"{listed(list(map(repr, folders)))} hold splits of several data sets; give one of them"
            )
    return {part: groups[name] for part in ORDER for name, own in parts.items() if own == part}


def read_parquet(files: Mapping[str, Sequence[Path]], where: Path, name: str) -> Columns:
    """The splits in Parquet files.

    Raises InputError for a file that cannot be read, or that has other columns than the first one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables: dict[str, pa.Table] = {}
    first: pa.Table | None = None
    for part, paths in files.items():
        own: list[pa.Table] = []
        for path in paths:
            try:
                table = _whole_file(pq.ParquetFile(path), path)
            except InputError:
                raise
            except Exception as error:  # on damaged bytes, pyarrow raises anything
                why = getattr(error, "strerror", None) or " ".join(str(error).split())
                raise InputError(
                    f"{path}: cannot be read as a table ({why or type(error).__name__})"
                ) from None
            first = table if first is None else first
            refuse_other_columns(table.column_names, first.column_names, str(path))
            own.append(table if not own else table.select(own[0].column_names))
        tables[part] = own[0] if len(own) == 1 else pa.concat_tables(own, promote_options="permissive")
    return Columns(tables, str(where), name, where if where.is_dir() else where.parent)


def _whole_file(file: pq.ParquetFile, path: Path) -> pa.Table:
    """All rows of a Parquet file.

    Raises InputError where what it declares does not fit into memory, or what is read of it: a page of a few bytes can
    stand for a million long texts.
    """
    import pyarrow as pa
    import pyarrow.types as types

    rows, groups = file.metadata.num_rows, range(file.metadata.num_row_groups)
    declared = sum(file.metadata.row_group(i).total_byte_size for i in groups)
    schema = file.schema_arrow
    # Read a few rows at a time, categories would come again with each of them.
    widths = {
        f.name: f.type.bit_width for f in schema if types.is_primitive(f.type) or types.is_dictionary(f.type)
    }
    what = f"{counted(rows, 'row')} of {counted(len(schema), 'column')}"
    refuse_array(max(declared, rows * sum(widths.values()) / 8), str(path), what)
    texts = [name for name in schema.names if name not in widths]
    if not texts:
        return file.read()
    batches, read = list[pa.RecordBatch](), 0
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=texts):
        batches.append(batch)
        read += batch.nbytes
        refuse_beyond_room(
            max(0, read - declared), str(path), f"the first {sum(map(len, batches)):,} rows", AS_NPY
        )
    if not batches or len(set(schema.names)) < len(schema):
        return file.read()
    own, others = pa.Table.from_batches(batches), file.read(columns=list(widths))
    columns = [(others if name in widths else own).column(name) for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)


def refuse_other_columns(names: Sequence[str], first: Sequence[str], where: str) -> None:
    """Raises InputError for a table of a data set whose columns are not those of its first table."""
    missing, others = sorted(set(first) - set(names)), sorted(set(names) - set(first))
    if missing or others:
        found = [f"without {listed(list(map(repr, missing)))}"] if missing else []
        found += [f"with {listed(list(map(repr, others)))}"] if others else []
        raise InputError(f"{where}: other columns than the first table of these data: {' and '.join(found)}")


def raw_of_columns(
    columns: Columns,
    options: DataOptions,
    image_format: ImageFormat,
    known: Sequence[str] | None = None,
    progress: OnProgress | None = None,
) -> Raw:
    """The items and labels of Arrow tables: of the column that holds images, else of all columns, as numbers.

    With `known`, the columns that a trained model takes, it is a table of these. Labels are in the column that is named
    so; of images also in the one that is classes by the hub's word, or is called `label`.

    Raises InputError as `raw_of` does, and where it is unclear which column holds the images.
    """
    if known is None and columns.image_columns:
        return _images(columns, options, image_format, progress)
    if known is None and (column := array_column(columns.first.schema, options, columns.where)):
        return _arrays(columns, column, options)
    known = None if known is None else [one_line(c) for c in known]
    notes, classes = [], columns.class_columns
    if known is None and not options.label and len(classes) == 1:
        label = classes[0]
        if label not in (*options.drop, *options.columns):
            options = options.model_copy(update={"label": label})
            notes.append(f"labels from {label!r}, which are classes by the file's own word")
    raw = raw_of(_whole(columns), columns.where, columns.name, options, known)
    raw = in_parts(named_classes(raw, columns.class_names(options.label)), columns.sizes)
    return replace(raw, notes=(*raw.notes, *notes))


def named_classes(raw: Raw, names: Sequence[str]) -> Raw:
    """With the names of classes that the labels are the numbers of."""
    if raw.classes is None or not all(c.isdecimal() and int(c) < len(names) for c in raw.classes):
        return raw
    return replace(raw, classes=tuple(names[int(c)] for c in raw.classes))


def _whole(columns: Columns) -> Table:
    """The rows of all splits."""
    import pandas as pd

    frames = [to_pandas(table) for table in columns.tables.values()]
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    written = (columns.first.schema.pandas_metadata or {}).get("index_columns", [])
    index = [one_line(c) for c in written if isinstance(c, str)]
    index = [c for c in index if c in set(frame.columns)]

    def labels(name: str) -> pd.Series:
        return _labels(frame[name], columns.class_names(name))

    return Table(frame, [], labels, lambda c: frame[c], lambda i: f"row {i}", index, typed=True)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """All columns as they are: pandas' own metadata would make something else of index columns, and of columns of one
    name.
    """
    frame = table.rename_columns([str(i) for i in range(table.num_columns)]).to_pandas(ignore_metadata=True)
    frame.columns = [one_line(c) for c in table.column_names]
    return frame


def _labels(column: pd.Series, names: Sequence[str]) -> pd.Series:
    """A column of labels; of numbered classes those below 0 are missing, and of very many the names are taken."""
    if not names or column.dtype.kind not in "iuf":
        return column
    named = column.where(column >= 0) if (column < 0).any() else column
    if len(names) <= MOST_CLASSES:
        return named
    return named.map(lambda number: names[int(number)] if 0 <= number < len(names) else None)


def _images(
    columns: Columns, options: DataOptions, image_format: ImageFormat, progress: OnProgress | None
) -> Raw:
    notes: list[str] = []
    column = _image_column(columns, options)
    label = label_column(columns, options, notes)
    others = [c for c in columns.first.column_names if c not in (column, label, *options.drop)]
    if others:
        notes.append(f"columns not used: {listed(list(map(repr, others)))}")
    files, parts, rows = list[ImageSource](), list[str](), []
    for part, table in columns.tables.items():
        sources = [_source(columns, i, value) for i, value in enumerate(table.column(column))]
        there = np.asarray([i for i, source in enumerate(sources) if source is not None], dtype=np.int64)
        notes += _left_out(columns, part, len(sources) - len(there), options.strict)
        files += [source for source in sources if source is not None]
        parts += [part] * len(there)
        rows.append(there)
    codes, classes = label_codes(columns, label, rows) if label else (None, None)
    images = ImageList(files, parts, codes, classes, np.concatenate(rows))
    if not files:
        raise InputError(f"{columns.where}: no row has an image in {column!r}")
    where = Path(columns.where)
    raw = raw_of_images(where, columns.name, images, image_format, options, progress)
    start = [f"images from column {column!r}" + (f", labels from {label!r}" if label else "")]
    if len(columns.tables) > 1:
        start.append(
            "official splits: " + ", ".join(f"{part} {count:,}" for part, count in columns.sizes.items())
        )
    return replace(raw, notes=(*start, *notes, *raw.notes))


def _arrays(columns: Columns, column: str, options: DataOptions) -> Raw:
    """The items in a column of arrays."""
    notes: list[str] = []
    label = label_column(columns, options, notes)
    read = [arrays_of(table.column(column), columns.where) for table in columns.tables.values()]
    rows = [np.arange(len(part)) for part in read]
    coded = label_codes(columns, label, rows) if label else (None, None)
    if len({part.shape[1:] for part in read if len(part)}) > 1:
        raise InputError(f"{columns.where}: arrays of different lengths in {column!r}; bring them to one")
    raw = raw_of_array_column(columns, np.concatenate(read), column, (label, *coded), options)
    return replace(in_parts(raw, columns.sizes), notes=(*raw.notes, *notes))


def raw_of_array_column(
    columns: Columns,
    items: Items,
    column: str,
    labels: tuple[str, np.ndarray | None, tuple[str, ...] | None],
    options: DataOptions,
) -> Raw:
    """The arrays in a column as items; `labels` are the column of labels, their codes, and the names of classes."""
    label, codes, classes = labels
    x = orient(items, "auto", options.image_size, f"{columns.where}: {column}", options.kind)
    notes = [f"items from column {column!r}" + (f", labels from {label!r}" if label else "")]
    others = [c for c in columns.first.column_names if c not in (column, label, *options.drop)]
    if others:
        notes.append(f"columns not used: {listed(list(map(repr, others)))}")
    return Raw(columns.name, columns.where, {"train": as_split(x, codes)}, classes, notes=tuple(notes))


def _left_out(columns: Columns, part: str, empty: int, strict: bool) -> list[str]:
    """A note on rows without an image, if there are any.

    Raises InputError for them with `strict`.
    """
    rows = "1 row" if empty == 1 else f"{empty:,} rows"
    line = f"{rows} of {part} without an image {'is' if empty == 1 else 'are'} left out"
    if empty and strict:
        raise InputError(f"{columns.where}: {line}; mend them, or leave data.strict false")
    return [line] if empty else []


def _image_column(columns: Columns, options: DataOptions) -> str:
    """The column that holds the images.

    Raises InputError where there are several, or the columns that were asked for are others.
    """
    found = [c for c in columns.image_columns if c not in options.drop]
    for field, names in (("data.columns", options.columns), ("data.drop", options.drop)):
        for name in names:
            if name not in columns.first.column_names:
                error = unknown(f"column in {columns.where}:", name, columns.first.column_names)
                raise InputError(error.message, field=field)
    if options.columns:
        found = [c for c in found if c in options.columns]
        if len(options.columns) > 1 or not found:
            raise InputError(
                f"{columns.where}: images are in {listed(list(map(repr, columns.image_columns)))}; name one of them",
                field="data.columns",
            )
    if len(found) != 1:
        raise InputError(
            f"{columns.where}: images in {listed(list(map(repr, columns.image_columns)))}; choose one column",
            remedy=[{"data.columns": [c]} for c in columns.image_columns[:3]],
        )
    return found[0]


def label_column(columns: Columns, options: DataOptions, notes: list[str]) -> str:
    """The column of labels; "" without one.

    Raises InputError for one that is not there.
    """
    import pyarrow.types as types

    names = columns.first.column_names
    if options.label:
        if options.label not in names:
            raise unknown(f"label column in {columns.where}:", options.label, names)
        return options.label
    classes = [c for c in columns.class_columns if c not in options.drop]
    if len(classes) == 1:
        return classes[0]
    if len(classes) > 1:
        notes.append(f"no labels: {listed(list(map(repr, classes)))} are classes; data.label names one")
        return ""
    kinds = {field.name: field.type for field in columns.first.schema}
    plain = [c for c in LABELS if c in kinds and c not in options.drop and not types.is_nested(kinds[c])]
    return next((c for c in plain if c not in columns.image_columns), "")


def label_codes(
    columns: Columns, label: str, rows: Sequence[np.ndarray]
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Codes, or real numbers, of the rows of each split, and what the codes are called."""
    names = columns.class_names(label)
    read = [
        as_labels(_labels(to_pandas(table.select([label])).iloc[own, 0], names))
        for table, own in zip(columns.tables.values(), rows, strict=True)
    ]
    codes, classes = code_labels(read, f"{columns.where}: label column {label!r}")
    found = np.concatenate([c for c in codes if c is not None])
    raw = named_classes(Raw("", "", {}, classes), names)
    return found, raw.classes


def _source(columns: Columns, row: int, value: Any) -> ImageSource | None:
    """The image in a cell; None for an empty one."""
    path = ""
    if hasattr(value, "as_buffer"):
        content = value
    elif value.is_valid:
        path, content = value["path"].as_py() or "", value["bytes"]
    else:
        return None
    if content.is_valid and (buffer := content.as_buffer()) is not None and buffer.size:
        return Held(path or str(row), buffer)
    return (columns.folder or Path()) / path if path else None
