"""Columns of Arrow tables whose cells are arrays of one shape: lists of numbers, or bytes of fixed size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from latlas.data.options import DataOptions
from latlas.errors import InputError
from latlas.text import listed

if TYPE_CHECKING:
    import pyarrow as pa


def array_column(schema: pa.Schema, options: DataOptions, where: str) -> str:
    """The column whose cells are items; "" where there is none.

    Raises InputError where there are several.
    """
    found = [field.name for field in schema if _is_array(field.type) and field.name not in options.drop]
    if options.columns:
        found = [name for name in found if name in options.columns]
    if len(found) > 1:
        raise InputError(
            f"{where}: arrays in {listed(list(map(repr, found)))}; choose one column",
            remedy=[{"data.columns": [name]} for name in found[:3]],
        )
    return found[0] if found else ""


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_array(kind: pa.DataType) -> bool:
    import pyarrow as pa
    import pyarrow.types as types

    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if types.is_fixed_size_binary(kind):
        return True
    if not _is_list(kind):
        return False
    while _is_list(kind):
        kind = kind.value_type
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def arrays_of(column: pa.Array | pa.ChunkedArray, where: str) -> np.ndarray:
    """The cells of a column as one array (N, ...); fixed-size bytes are uint8.

    Raises InputError for an empty cell, and for cells of different lengths.
    """
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        parts = [arrays_of(chunk, where) for chunk in column.chunks if len(chunk)]
        if len({part.shape[1:] for part in parts}) > 1:
            raise InputError(f"{where}: arrays of different lengths; bring them to one")
        return np.concatenate(parts) if parts else np.empty((0, 0))
    if column.null_count:
        raise InputError(f"{where}: {column.null_count:,} cells are empty; fill them or leave them out")
    if isinstance(column, pa.ExtensionArray):
        shape = getattr(column.type, "shape", None)
        found = arrays_of(column.storage, where)
        return found if shape is None else found.reshape(len(found), *shape)
    return _of_plain(column, where)


def _of_plain(column: pa.Array, where: str) -> np.ndarray:
    import pyarrow.compute as pc
    import pyarrow.types as types

    if types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        whole = np.frombuffer(column.buffers()[1], np.uint8)
        return whole[column.offset * width : (column.offset + len(column)) * width].reshape(-1, width)
    if not _is_list(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    lengths = pc.min_max(pc.list_value_length(column)).as_py()
    if lengths["min"] != lengths["max"]:
        raise InputError(
            f"{where}: arrays of {lengths['min']:,} to {lengths['max']:,} values; bring them to one length"
        )
    inside = arrays_of(column.flatten(), where)
    return inside.reshape(len(column), lengths["max"] or 0, *inside.shape[1:])
