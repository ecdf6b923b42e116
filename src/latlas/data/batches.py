"""Batches: rows of a resident or memory-mapped array, scaled on the device."""

from __future__ import annotations

import numpy as np
import torch

from latlas.data.dataset import Scaling, Split

LARGEST_RESIDENT = 4 * 2**30  # bytes that are kept on an accelerator; larger splits are copied batch by batch


class Batches:
    """Items of a split by row, as the model sees them: (B, C, H, W) or (B, D) on the device.

    Arrays stay as stored (uint8 where they came as uint8). Images keep the channels last in memory, which is
    how convolutions run fastest.
    """

    def __init__(
        self, split: Split, scaling: Scaling, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.stored = split.x
        self.scaling = scaling
        self.device = device
        self.dtype = dtype
        self.resident: torch.Tensor | None = None
        if device.type != "cpu" and split.x.nbytes <= LARGEST_RESIDENT and split.x.dtype != np.uint16:
            self.resident = torch.from_numpy(np.array(split.x)).to(device)

    def __len__(self) -> int:
        return len(self.stored)

    def __call__(self, rows: np.ndarray) -> torch.Tensor:
        """The given rows, in the given order."""
        if self.resident is not None:
            x = self.resident[torch.from_numpy(rows).to(self.device)].to(self.dtype)
        else:
            part = np.asarray(self.stored[rows])
            # torch knows few operations on uint16: widen it first.
            part = part.astype(np.int32) if part.dtype == np.uint16 else part
            x = torch.from_numpy(part).to(self.device, non_blocking=True).to(self.dtype)
        x = self._scaled(x)
        return x.permute(0, 3, 1, 2) if x.ndim == 4 else x

    def _scaled(self, x: torch.Tensor) -> torch.Tensor:
        if self.scaling.kind == "none" or (
            self.scaling.kind == "integer" and not np.issubdtype(self.stored.dtype, np.integer)
        ):
            return x
        if self.scaling.kind in ("integer", "minmax"):
            return x.sub_(self.scaling.shift[0]).div_(self.scaling.scale[0])
        shift, scale = (
            torch.tensor(v, dtype=self.dtype, device=self.device)
            for v in (self.scaling.shift, self.scaling.scale)
        )
        return (x - shift) / scale
