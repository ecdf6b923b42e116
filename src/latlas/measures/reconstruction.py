"""Numbers on reconstruction: how near an item comes back, beside PCA with as many components."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from latlas.measures.reading import Measure, Reading, mean_of
from latlas.measures.scene import Scene
from latlas.models import Model


def squared_errors(model: Model, items: Tensor) -> np.ndarray:
    """Squared error of each item's reconstruction, a mean over its values: items (N, *shape) -> (N,)."""
    restored = model.reconstruct(items)
    return (restored - items).flatten(1).square().mean(1).cpu().double().numpy()


def _mse(scene: Scene) -> Reading:
    items = scene.items
    beside = {"PCA": float(squared_errors(scene.pca, items.to(scene.pca.dtype)).mean())} if scene.pca else {}
    return mean_of(squared_errors(scene.model, items), beside=beside)


RECONSTRUCTION: dict[str, Measure] = {
    "reconstruction_mse": Measure(
        "mean squared error", "reconstruction", "per value", "lower",
        "Between each {item} and what is decoded from its mean code.",
        _mse, 5,
    ),
}  # fmt: skip
