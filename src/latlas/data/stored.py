"""Arrays that stay on disk, because they are larger than what memory should hold: read in pieces."""

from __future__ import annotations

import math
import os
import threading
import tokenize
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from latlas.errors import LatlasError

Change = Callable[[np.ndarray], np.ndarray]
A = TypeVar("A", bound="np.ndarray | Stored")
GAP = 16 * 2**10  # bytes between two rows that are read along, as a second call would take longer
RUN = 4 * 2**20  # bytes that are read at once
PIECE = 1 << 21  # values that are worked on at once


# By the version of NumPy's format; what is plain numbers is of none of the others.
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class ArrayFile:
    """Rows of one size, one after the other, in a file, from byte `offset` on: (`count`, *`shape`) of `dtype`.

    `note` is a line on how the file was made, "" where there is nothing to say.
    """

    path: Path
    offset: int
    count: int
    shape: tuple[int, ...]
    dtype: np.dtype
    note: str = ""

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize  # in Python's numbers, which do not overflow

    @cached_property
    def _lock(self) -> threading.Lock:
        return threading.Lock()

    @cached_property
    def _open(self) -> FileIO:
        try:
            file = FileIO(self.path, "rb")
        except OSError as error:
            raise LatlasError(f"{self.path}: cannot be read: {error.strerror}") from None
        weakref.finalize(self, file.close)
        if hasattr(os, "posix_fadvise"):  # the kernel would read far more than the rows that are wanted
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        return file

    def read(self, start: int, stop: int) -> np.ndarray:
        """The rows from start to stop.

        Raises LatlasError where they cannot be read, or the file has become shorter.
        """
        rows = np.empty((stop - start, *self.shape), self.dtype)
        left = memoryview(rows.data).cast("B") if rows.size else memoryview(b"")
        with self._lock:
            try:
                self._open.seek(self.offset + start * self.row_bytes)
                while len(left):
                    done = self._open.readinto(left)
                    if not done:
                        raise LatlasError(f"{self.path}: has become shorter while it was read; start again")
                    left = left[done:]
            except OSError as error:
                raise LatlasError(f"{self.path}: cannot be read: {error.strerror or error}") from None
        return rows

    def rows(self, places: np.ndarray) -> np.ndarray:
        """The rows at these places, in their order; those near each other are read at once."""
        if not len(places):
            return np.empty((0, *self.shape), self.dtype)
        order = None if len(places) < 2 or bool((places[1:] >= places[:-1]).all()) else np.argsort(places)
        ordered = places if order is None else places[order]
        found = np.empty((len(places), *self.shape), self.dtype)
        runs = self._runs(ordered)
        self._announce(ordered, runs)
        for first, last in runs:
            start = int(ordered[first])
            read = self.read(start, int(ordered[last - 1]) + 1)
            part = read if len(read) == last - first else read[ordered[first:last] - start]
            if order is None:
                found[first:last] = part
            else:
                found[order[first:last]] = part
        return found

    def _runs(self, ordered: np.ndarray) -> list[tuple[int, int]]:
        """The parts of sorted places that are read at once."""
        size = max(1, self.row_bytes)
        apart = np.diff(ordered) > max(1, GAP // size)
        apart |= np.diff(ordered // max(1, RUN // size)) > 0
        cuts = [0, *(np.flatnonzero(apart) + 1).tolist(), len(ordered)]
        return list(pairwise(cuts))

    def _announce(self, ordered: np.ndarray, runs: list[tuple[int, int]]) -> None:
        """Tells the kernel what will be read, so that a disk can serve many reads at once."""
        if len(runs) < 2 or not hasattr(os, "posix_fadvise"):
            return
        size, handle = self.row_bytes, self._open.fileno()
        for first, last in runs:
            start, stop = int(ordered[first]), int(ordered[last - 1]) + 1
            os.posix_fadvise(
                handle, self.offset + start * size, (stop - start) * size, os.POSIX_FADV_WILLNEED
            )


class All:
    """The places 0, 1, ... of all rows of a file, as an array that is made where it is needed: of many rows it
    takes as much memory as everything else.
    """

    def __init__(self, count: int) -> None:
        self.count, self.dtype = count, np.dtype(np.int32 if count < 2**31 else np.int64)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The places at a slice, at integers from 0 on, or where bools (N,) are true. Raises IndexError for others."""
        if isinstance(rows, slice):
            return np.arange(*rows.indices(self.count), dtype=self.dtype)
        rows = np.asarray(rows)
        if rows.dtype != bool:
            if rows.size and not 0 <= rows.min() <= rows.max() < self.count:
                raise IndexError(f"places from {rows.min()} to {rows.max()} of {self.count}")
            return rows.astype(self.dtype)
        if rows.shape != (self.count,):
            raise IndexError(f"bools {rows.shape} for {self.count} places")
        found, done = np.empty(np.count_nonzero(rows), self.dtype), 0
        for start in range(0, self.count, PIECE):
            places = np.flatnonzero(rows[start : start + PIECE])
            found[done : done + len(places)] = places + start
            done += len(places)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.arange(self.count, dtype=dtype or self.dtype)


def shuffled(count: int, seed: int | tuple[int, ...]) -> np.ndarray:
    """The places 0, 1, ..., count - 1 in the order that NumPy's `permutation` draws, in half of its memory."""
    places = np.asarray(All(count))
    np.random.default_rng(seed).shuffle(places)
    return places


class Stored:
    """Items (N, ...) of a file, at the places `rows` in it, in that order; None for all of it.

    `x[rows]` reads and gives an array; `part` and `changed` read nothing. `changes` are made of what is read, item by
    item. `shuffled` says that the items lie in the file in a random order.
    """

    def __init__(
        self,
        file: ArrayFile,
        rows: np.ndarray | All | None = None,
        changes: tuple[Change, ...] = (),
        shuffled: bool = False,
    ) -> None:
        every = All(file.count)
        self.file, self.changes, self.shuffled = file, changes, shuffled
        self.rows: np.ndarray | All = every if rows is None else rows
        if isinstance(rows, np.ndarray):
            self.rows = rows.astype(every.dtype, copy=False)
        none = self.finished(np.empty((0, *file.shape), file.dtype))
        self.dtype, self.shape = none.dtype, (len(self.rows), *none.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def finished(self, read: np.ndarray) -> np.ndarray:
        """Rows of the file as items."""
        for change in self.changes:
            read = change(read)
        return read

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The items of these rows: a slice, integers (B,), bools (N,), or one integer."""
        if isinstance(rows, int | np.integer):
            return self[np.asarray([rows])][0]
        return self.finished(self.file.rows(self.rows[rows]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole, start = np.empty(self.shape, self.dtype), 0
        order = np.argsort(np.asarray(self.rows), kind="stable")
        for piece in self.part(order).pieces():
            whole[order[start : start + len(piece)]] = piece
            start += len(piece)
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def pieces(self) -> Iterator[np.ndarray]:
        """All items, in their order, a few at a time."""
        step = max(1, PIECE // max(1, int(np.prod(self.shape[1:], dtype=np.int64))))
        return (self[start : start + step] for start in range(0, len(self), step))

    def part(self, rows: np.ndarray | slice) -> Stored:
        """The items of these rows, still on disk."""
        return Stored(self.file, self.rows[rows], self.changes, self.shuffled)

    def changed(self, change: Change) -> Stored:
        """The items with a change that is made when they are read; it must take any number of items, each by itself."""
        return Stored(self.file, self.rows, (*self.changes, change), self.shuffled)

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Least and greatest value."""
        ordered = self.part(np.argsort(np.asarray(self.rows))) if self.shuffled else self
        pairs = [(piece.min(), piece.max()) for piece in ordered.pieces()]
        return float(min(p[0] for p in pairs)), float(max(p[1] for p in pairs))


Items = np.ndarray | Stored


def each(x: A, change: Change) -> A:
    """A change of items, each by itself: at once of those in memory, of those on disk when they are read."""
    found = x.changed(change) if isinstance(x, Stored) else change(np.asarray(x))
    return cast(A, found)


def npy_file(path: Path) -> ArrayFile | None:
    """The rows of an .npy file; None for one that does not hold rows of numbers one after the other.

    Raises OSError and ValueError for a file that cannot be read or is none.
    """
    with path.open("rb") as file:
        read = HEADERS.get(np.lib.format.read_magic(file))
        if read is None:
            return None
        try:
            shape, fortran, dtype = read(file)
        except tokenize.TokenError:  # numpy takes a broken header for one that Python 2 wrote
            raise ValueError("its header is damaged") from None
        if dtype.hasobject or dtype.kind not in "buif" or len(shape) < 2 or (fortran and len(shape) > 1):
            return None
        found = ArrayFile(path, file.tell(), shape[0], tuple(shape[1:]), dtype)
        if path.stat().st_size != found.offset + found.count * found.row_bytes:
            return None
        return found
