"""Event files for TensorBoard, written to the run folder if TensorBoard is installed."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latlas.data.batches import Batches
from latlas.models import Model

TERMS = (
    "loss",
    "distortion",
    "rate",
    "elbo",
    "log_pz",
    "log_qz",
    "beta",
    "lr",
    "grad_norm",
    "images_per_second",
)
SHOWN = 8


class Board:
    """Writes a run's event files: terms of the loss per logged step, validation terms and a picture per epoch.

    The picture shows originals above their reconstructions. Without TensorBoard nothing is written.
    """

    def __init__(self, run: Path, step: int) -> None:
        self.writer: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            # TensorBoard takes no path that is not UTF-8.
            with contextlib.suppress(UnicodeEncodeError):
                # purge_step hides events that an interrupted process wrote after the checkpoint.
                self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def terms(self, row: dict[str, Any]) -> None:
        """Writes the terms of the loss at a step."""
        self._scalars("train", {name: row[name] for name in TERMS}, row["step"])

    def epoch(self, row: dict[str, Any], model: Model, test: Batches) -> None:
        """Writes validation terms, and the reconstructions of the same test images, at the end of an epoch."""
        if self.writer is None:
            return
        self._scalars("valid", row["valid"] or {}, row["step"])
        if model.item.kind == "image" and model.item.shape[0] in (1, 3):
            x = test(np.arange(min(SHOWN, len(test))))
            rows = [torch.cat(list(images), dim=2) for images in (x, model.reconstruct(x, units="model"))]
            picture = torch.cat(rows, dim=1).clamp(0, 1).cpu()
            self.writer.add_image("originals over reconstructions", picture, row["step"])
        self.writer.flush()

    def _scalars(self, group: str, values: dict[str, float | None], step: int) -> None:
        if self.writer is None:
            return
        for name, value in values.items():
            if value is not None:
                self.writer.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Closes the event file."""
        if self.writer is not None:
            self.writer.close()
