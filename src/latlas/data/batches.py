"""Batches: rows of a resident or memory-mapped array, scaled on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from latlas.data.dataset import Scaling, Split

LARGEST_RESIDENT = 4 * 2**30  # bytes that are kept on an accelerator; larger splits are copied batch by batch


class Batches:
    """Items of a split by row, as the model sees them: (B, C, ...) or (B, D) on the device.

    8-bit data stay as they are until a batch is on the device; anything else goes through `Scaling.apply`. Images
    keep the channels last in memory, which is how convolutions run fastest. `augment` is a function that changes items
    of training batches alone; training calls it.
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
        self.resident: torch.Tensor | None = None
        if device.type != "cpu" and split.x.nbytes <= LARGEST_RESIDENT:
            self.resident = self._read(slice(None)).to(device)

    def __len__(self) -> int:
        return len(self.stored)

    def __call__(self, rows: np.ndarray) -> torch.Tensor:
        """The given rows, in the given order."""
        if self.resident is not None:
            x = self.resident[torch.from_numpy(rows).to(self.device)]
        else:
            x = self._read(rows).to(self.device, non_blocking=True)
        x = x.to(self.dtype)
        if self.bytes and self.scaling.kind == "integer":
            x = x.div_(self.scaling.scale[0])
        return x.movedim(-1, 1) if x.ndim > 2 else x

    def targets_of(self, rows: np.ndarray) -> torch.Tensor | None:
        """The targets of the given rows; None where these are the items themselves."""
        return None if self.targets is None else self.targets(rows)

    def _read(self, rows: np.ndarray | slice) -> torch.Tensor:
        part = np.array(self.stored[rows])
        # Scaled in the data's own precision: a large offset would leave nothing of a column in float32.
        return (
            torch.from_numpy(part)
            if self.bytes
            else torch.from_numpy(self.scaling.apply(part)).to(self.dtype)
        )
