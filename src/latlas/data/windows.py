"""Batches of data on disk, by windows; while one is trained on, a thread reads the next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np

from latlas.data.order import Window, WindowOrder, steps_per_epoch
from latlas.data.stored import Stored


class Ahead:
    """An array that a thread of its own reads; where the thread ends without it, the caller does."""

    def __init__(self, read: Callable[[], np.ndarray]) -> None:
        self.read = read
        self.found: np.ndarray | None = None
        self.thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.found = self.read()
        except BaseException:  # the caller reads again, and meets it where it can be said
            self.found = None

    def get(self) -> np.ndarray:
        """The array."""
        self.thread.join()
        return self.read() if self.found is None else self.found


def batches(
    stored: Stored, order: WindowOrder, seed: int, epoch: int, batch_size: int, first: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of each batch of an epoch, from batch `first` on, and what is read of them.

    Two windows are in memory at most: the one in use, and the next.
    """
    last, step = steps_per_epoch(len(stored), batch_size) - 1, first
    left = (np.empty(0, np.int64), stored.file.read(0, 0))
    for window, skip, read in _windows(stored, order.windows(seed, epoch, first * batch_size)):
        at = skip
        while step < last and len(left[0]) + len(window.order) - at >= batch_size:
            stop = at + batch_size - len(left[0])
            yield _joined(left, window, read, slice(at, stop))
            left, at, step = (left[0][:0], left[1][:0]), stop, step + 1
        left = _joined(left, window, read, slice(at, None))
        del window, read  # before the next is taken
    yield left


def _windows(
    stored: Stored, windows: Iterator[tuple[Window, int]]
) -> Iterator[tuple[Window, int, np.ndarray]]:
    """Each window with what is read of it, the next one being read meanwhile."""

    def ahead() -> tuple[Window, int, Ahead] | None:
        found = next(windows, None)
        if found is None:
            return None
        window, skip = found
        return window, skip, Ahead(lambda: stored.file.rows(stored.rows[window.rows]))

    coming = ahead()
    while coming is not None:
        window, skip, read = coming
        array = read.get()
        del read
        coming = ahead()
        yield window, skip, array
        del array  # before the one after the next is read


def _joined(
    left: tuple[np.ndarray, np.ndarray], window: Window, read: np.ndarray, part: slice
) -> tuple[np.ndarray, np.ndarray]:
    """What is left of the window before, and a part of this one."""
    chosen = window.order[part]
    rows, items = window.rows[chosen], read[chosen]
    if not len(left[0]):
        return rows, items
    return np.concatenate([left[0], rows]), np.concatenate([left[1], items])
