"""The order of rows in training: a pure function of seed, epoch and step, for data in memory and on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CHUNK = 32 * 2**10  # bytes of neighbouring rows that are read at once
SHUFFLED_CHUNK = 2**18  # of a file in a random order, whose neighbours are as good as any
LEAST_CHUNKS = 1024  # of a window, so that sorted classes mix; each window has half as many at the least
WINDOW = 32 * 2**20  # bytes of a window


def steps_per_epoch(n: int, batch_size: int) -> int:
    """The number of batches in one pass over n items; a last batch of one item joins the batch before it.

    A single item has no variance, and batch normalisation would divide by it.
    """
    full, rest = divmod(n, batch_size)
    return max(1, full + (rest > 1))


def epoch_rows(seed: int, epoch: int, images: int, batch_size: int) -> list[np.ndarray]:
    """The rows of each batch of an epoch: every image once, in a new order each epoch."""
    order = np.random.default_rng([seed, 0, epoch]).permutation(images)
    cuts = [i * batch_size for i in range(1, steps_per_epoch(images, batch_size))]
    return np.split(order, cuts)


@dataclass(frozen=True)
class Window:
    """Rows that are in memory at once, by their places on disk: `rows` (W,), and the order (W,) in which they come."""

    rows: np.ndarray
    order: np.ndarray


class WindowOrder:
    """The order of N rows at `places` of a file, of so many bytes each: every row once an epoch.

    The file is cut into chunks of neighbouring rows. Chunks in a random order make windows, and the rows of a window
    come in a random order: both by seed and epoch. A window is found without those before it.
    """

    def __init__(self, places: np.ndarray, row_bytes: int, shuffled: bool = False) -> None:
        self.by_place = None if _ascending(places) else np.argsort(places)
        ordered = places if self.by_place is None else places[self.by_place]
        size = max(1, row_bytes)
        self.chunk_rows = max(1, (SHUFFLED_CHUNK if shuffled else CHUNK) // size)
        least = 1 if shuffled else LEAST_CHUNKS
        self.chunks = max(least, WINDOW // (self.chunk_rows * size))
        edges = np.arange(0, int(ordered[-1]) + self.chunk_rows + 1, self.chunk_rows)
        starts = np.searchsorted(ordered, edges.astype(ordered.dtype, copy=False))
        full = np.flatnonzero(np.diff(starts))
        self.starts, self.counts = starts[full], np.diff(starts)[full]

    def windows(self, seed: int, epoch: int, skip: int = 0) -> Iterator[tuple[Window, int]]:
        """The windows of an epoch from that on in which row number `skip` comes, and how many rows of each come before
        that one.
        """
        drawn = np.random.default_rng([seed, 0, epoch]).permutation(len(self.starts))
        start = 0
        for number, chunks in enumerate(np.array_split(drawn, -(-len(drawn) // self.chunks))):
            count = int(self.counts[chunks].sum())
            if start + count > skip:
                order = np.random.default_rng([seed, 0, epoch, number + 1]).permutation(count)
                yield Window(self._rows(np.sort(chunks)), order), max(0, skip - start)
            start += count

    def _rows(self, chunks: np.ndarray) -> np.ndarray:
        """The rows of these chunks, by their places."""
        counts = self.counts[chunks]
        ends = np.cumsum(counts)
        at = np.arange(ends[-1]) + np.repeat(self.starts[chunks] - (ends - counts), counts)
        return at if self.by_place is None else self.by_place[at]


def _ascending(places: np.ndarray) -> bool:
    """Whether each place is above the one before; by parts, which bounds memory."""
    size = 2**20
    parts = (places[start : start + size + 1] for start in range(0, len(places), size))
    return all(bool((part[1:] > part[:-1]).all()) for part in parts)
