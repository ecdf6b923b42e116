"""Arrays that are made once, block by block, and then read from the cache folder: what other formats hold."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latlas.data.catalogue import cache_home
from latlas.data.stored import ArrayFile, npy_file
from latlas.data.sums import is_whole, seal
from latlas.errors import LatlasError
from latlas.progress import OnProgress
from latlas.temporaries import temporary
from latlas.text import size

_VERSION = 2  # part of the key: raise it when what is written changes


def key_of(files: Sequence[Path], *more: object) -> str:
    """A key of files, by their paths, sizes and times of change, and of what is made of them."""
    stats = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr((_VERSION, stats, more)).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def spooled(
    key: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    blocks: Iterable[np.ndarray],
    progress: OnProgress | None = None,
) -> ArrayFile:
    """The array that these blocks make together, from the cache where it was made before.

    Raises LatlasError where there is no room for it, or it cannot be written.
    """
    folder = cache_home() / "arrays"
    path = folder / f"{key}.npy"
    record = path.with_suffix(".sums")
    there = path.exists()
    found = npy_file(path) if is_whole(record, [path]) else None
    if found is not None and (found.count, *found.shape, found.dtype) == (*shape, dtype):
        return found
    needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise LatlasError(
                f"{folder}: {size(needed)} are needed for data that stay on disk, and {size(free)} are free; make"
                " room, or let XDG_CACHE_HOME name a folder elsewhere"
            )
        with temporary(folder) as new:
            with new.open("wb") as file:
                _write(file, shape, dtype, blocks, progress)
            new.rename(path)
        seal(record, [path])
    except OSError as error:
        raise LatlasError(f"{folder}: cannot be written: {error.strerror or error}") from None
    written = npy_file(path)
    assert written is not None
    note = f"the copy of the data in {path} was damaged: made again" if there else ""
    return replace(written, note=note)


def _write(
    file: BinaryIO,
    shape: tuple[int, ...],
    dtype: np.dtype,
    blocks: Iterable[np.ndarray],
    progress: OnProgress | None,
) -> None:
    np.lib.format.write_array_header_1_0(
        file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    done = 0
    for block in blocks:
        file.write(np.ascontiguousarray(block, dtype).data)
        done += len(block)
        if progress is not None:
            progress("copying to the cache", done, shape[0])
    if done != shape[0]:
        raise OSError(f"{done:,} of {shape[0]:,} items were there")
    file.flush()
    os.fsync(file.fileno())
