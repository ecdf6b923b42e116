"""A fitted model in use: rows as scikit-learn has them, to and from the items of a latlas model."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from latlas.build import from_description
from latlas.data.ranges import check_fit
from latlas.data.splits import as_split
from latlas.errors import InputError
from latlas.items.records import Columns
from latlas.items.scores import Request, measured
from latlas.machine import choose_device
from latlas.models import Model

SAMPLES = 16  # draws of z per item for its ELBO, the same for every item
MOST_CHANNELS = 4


@dataclass(frozen=True)
class ImageAxes:
    """The axes of the image that a row holds: (H, W, C), or (C, H, W) where the channels come `first`."""

    shape: tuple[int, int, int]
    first: bool = False

    @classmethod
    def of(cls, shape: Any, columns: int) -> ImageAxes:
        """The axes of (height, width), (height, width, channels) or (channels, height, width).

        Raises InputError where these are not that, or do not have so many values.
        """
        sizes = shape.tolist() if isinstance(shape, np.ndarray) else shape
        whole = isinstance(sizes, Sequence) and all(isinstance(s, int | np.integer) and s > 0 for s in sizes)
        if not whole or len(sizes) not in (2, 3):
            expected = "expected (height, width) or (height, width, channels)"
            raise InputError(expected, field="image_shape", value=repr(shape))
        if math.prod(sizes) != columns:
            raise InputError(
                f"that is {math.prod(sizes):,} values, and X has {columns:,} columns",
                field="image_shape",
                value=repr(shape),
            )
        a, b, c = (*map(int, sizes), 1)[:3]
        return cls((a, b, c), c > MOST_CHANNELS >= a)

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Rows (N, D) as images (N, H, W, C)."""
        items = rows.reshape(len(rows), *self.shape)
        return np.moveaxis(items, 1, -1) if self.first else items

    def rows(self, images: np.ndarray) -> np.ndarray:
        """Images (N, H, W, C) as rows (N, D)."""
        items = np.moveaxis(images, -1, 1) if self.first else images
        return items.reshape(len(items), -1)


class Fitted:
    """A trained model with the axes of its images; `about` is the description from which it is built again."""

    def __init__(self, model: Model, about: Mapping[str, Any], axes: ImageAxes | None) -> None:
        self.model, self.about, self.axes = model, about, axes

    # Arrays and plain values: they outlive versions of torch, and joblib maps them into memory.
    def __getstate__(self) -> dict[str, Any]:
        weights = {name: tensor.numpy() for name, tensor in self.model.state_dict().items()}
        return {"about": self.about, "axes": self.axes, "weights": weights}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.about, self.axes = state["about"], state["axes"]
        self.model = from_description(dict(self.about), "a pickled estimator").eval()
        self.model.load_state_dict({name: torch.tensor(array) for name, array in state["weights"].items()})

    def model_on(self, device: str) -> Model:
        """A copy in double precision, in which a row's numbers do not depend on the rows beside it."""
        chosen = choose_device(device)
        # Apple's accelerator has no double precision.
        return copy.deepcopy(self.model).double().to("cpu" if chosen.type == "mps" else chosen)

    def items(self, X: np.ndarray) -> np.ndarray:
        """Rows as the model's items, in double precision.

        Raises InputError for values that its scale does not have.
        """
        x = X.astype(np.float64)
        x = self.axes.images(x) if self.axes else x
        # By each value alone: what is taken must not depend on the rows beside it.
        return (
            check_fit(x, self.model.item.scaling, "X")
            if self.model.item.scaling.kind in ("none", "integer")
            else x
        )

    def rows(self, items: np.ndarray) -> np.ndarray:
        """Items in data units as rows (N, D)."""
        return self.axes.rows(items) if self.axes else items

    def encode(self, X: np.ndarray, device: str) -> np.ndarray:
        """The codes of rows, their posterior's means: (N, latent)."""
        return self.model_on(device).encode(as_split(self.items(X)))

    def decode(self, codes: np.ndarray, device: str) -> np.ndarray:
        """The means of p(x | z) at codes (N, latent), as rows (N, D)."""
        return self.rows(self.model_on(device).decode(codes))

    def sample(self, n: int, seed: int, noise: bool, device: str) -> np.ndarray:
        """Rows (n, D) from the prior: means of p(x | z), or draws from it with `noise`."""
        return self.rows(self.model_on(device).sample(n, seed, noise))

    def numbers(self, X: np.ndarray, device: str) -> Columns:
        """The numbers of each row, by the same draws of z for every one."""
        return measured(self.model_on(device), as_split(self.items(X)), Request(SAMPLES))
