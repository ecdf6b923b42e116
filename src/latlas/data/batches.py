"""Batches: rows of an array in memory or on disk, scaled on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from latlas.data import windows
from latlas.data.dataset import Scaling, Split
from latlas.data.order import WindowOrder, epoch_rows
from latlas.data.stored import Stored

Rows = np.ndarray | torch.Tensor  # of a batch; a tensor where the items are on an accelerator

LARGEST_RESIDENT = 4 * 2**30  # bytes that are kept on an accelerator; larger splits are copied batch by batch


class Batches:
    """Items of a split by row, as the model sees them: (B, C, ...) or (B, D) on the device.

    8-bit data stay as they are until a batch is on the device; anything else goes through `Scaling.apply`. Images
    keep the channels last in memory, which is how convolutions run fastest. `augment` is a function that changes items
    of training batches alone; training calls it. Of data on disk, the rows that `epoch` gives are read already. Where
    the items are kept on an accelerator (`resident`), so are the rows: once an epoch.
    """

    def __init__(
        self,
        split: Split,
        scaling: Scaling,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        augment: Callable[..., torch.Tensor] | None = None,
    ) -> None:
        self.stored = split.x
        self.scaling = scaling
        self.device = device
        self.dtype = dtype
        self.augment = augment
        own = None if split.target is None else replace(split, x=split.target, target=None)
        self.targets = None if own is None else Batches(own, scaling, device, dtype)
        self.bytes = split.x.dtype == np.uint8 and scaling.kind in ("none", "integer")
        self.ahead: tuple[np.ndarray, np.ndarray] | None = None  # rows, and what was read of them
        self.resident: torch.Tensor | None = None
        if device.type != "cpu" and isinstance(split.x, np.ndarray) and split.x.nbytes <= LARGEST_RESIDENT:
            self.reside()

    def reside(self) -> None:
        """Keeps all items on the device, with their targets."""
        self.resident = self._read(slice(None)).to(self.device)
        if self.targets is not None and self.targets.resident is None:
            self.targets.reside()

    def __len__(self) -> int:
        return len(self.stored)

    def epoch(self, seed: int, epoch: int, batch_size: int, first: int = 0) -> Iterator[Rows]:
        """The rows of each batch of an epoch, from batch `first` on: every row once, in an order by seed and epoch."""
        if not isinstance(self.stored, Stored):
            batches = epoch_rows(seed, epoch, len(self), batch_size)[first:]
            if self.resident is None:
                yield from batches
            elif batches:
                order = torch.from_numpy(np.concatenate(batches)).to(self.device)
                yield from order.split([len(rows) for rows in batches])
            return
        try:
            for ahead in windows.batches(self.stored, self._order, seed, epoch, batch_size, first):
                self.ahead = ahead
                yield ahead[0]
        finally:
            self.ahead = None

    @cached_property
    def _order(self) -> WindowOrder:
        assert isinstance(self.stored, Stored)
        return WindowOrder(np.asarray(self.stored.rows), self.stored.file.row_bytes, self.stored.shuffled)

    def __call__(self, rows: Rows) -> torch.Tensor:
        """The given rows, in the given order."""
        if self.resident is not None:
            there = torch.from_numpy(rows).to(self.device) if isinstance(rows, np.ndarray) else rows
            x = self.resident.index_select(0, there)
        else:
            assert isinstance(rows, np.ndarray)
            x = self._read(rows).to(self.device, non_blocking=True)
        x = x.to(self.dtype)
        if self.bytes and self.scaling.kind == "integer":
            x = x.div_(self.scaling.scale[0])
        return x.movedim(-1, 1) if x.ndim > 2 else x

    def targets_of(self, rows: Rows) -> torch.Tensor | None:
        """The targets of the given rows; None where these are the items themselves."""
        return None if self.targets is None else self.targets(rows)

    def _read(self, rows: np.ndarray | slice) -> torch.Tensor:
        part = self._read_ahead(rows)
        part = np.array(self.stored[rows]) if part is None else part
        # Scaled in the data's own precision: a large offset would leave nothing of a column in float32.
        return (
            torch.from_numpy(part)
            if self.bytes
            else torch.from_numpy(self.scaling.apply(part)).to(self.dtype)
        )

    def _read_ahead(self, rows: np.ndarray | slice) -> np.ndarray | None:
        """The given rows as items, where all of them were read ahead."""
        if self.ahead is None or isinstance(rows, slice):
            return None
        assert isinstance(self.stored, Stored)
        there, read = self.ahead
        if rows is not there:  # a share of the batch
            by_row = np.argsort(there)
            at = by_row[np.searchsorted(there, rows, sorter=by_row).clip(max=len(there) - 1)]
            if not np.array_equal(there[at], rows):
                return None
            read = read[at]
        return np.ascontiguousarray(self.stored.finished(read))
