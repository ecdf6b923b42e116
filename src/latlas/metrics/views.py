"""What a simple method is given of each item: its code, its PCA code, its raw values."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from latlas.data import Split
from latlas.metrics.classifier import small
from latlas.models import Model

PART = 1000  # items read at a time: bounds memory
MOST_VALUES = 1024
STARTS = 4
SEED = 0


@dataclass(frozen=True)
class View:
    """Items as numbers: `train` (M, F) and `test` (N, F)."""

    train: np.ndarray
    test: np.ndarray


def pca_codes(pca: Model, split: Split, rows: np.ndarray) -> np.ndarray:
    """Codes (N, D) of rows of a split."""
    return np.concatenate([pca.encode(np.asarray(split.x[part])) for part in _parts(rows)])


def raw_values(model: Model, split: Split, rows: np.ndarray) -> np.ndarray:
    """Rows of a split on the model's scale, as vectors (N, F), F at most 1,024.

    Images are averaged down to 32 x 32 at most; what then has more values is projected to 1,024 at random, which
    nearly keeps distances (Achlioptas 2003).
    """
    parts = []
    for part in _parts(rows):
        x = model.to_tensor(np.asarray(split.x[part])).cpu().float()
        parts.append((small(x) if x.ndim == 4 else x).flatten(1).numpy())
    values = np.concatenate(parts)
    return values if values.shape[1] <= MOST_VALUES else _projected(values)


def _projected(values: np.ndarray) -> np.ndarray:
    from sklearn.random_projection import SparseRandomProjection

    projection = SparseRandomProjection(MOST_VALUES, dense_output=True, random_state=SEED)
    return projection.fit_transform(values)


def clustered(values: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The cluster of each item (N, F) by k-means with `count` clusters, the best of four starts: (N,)."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    means = KMeans(count, n_init=STARTS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different items than clusters
        return means.fit_predict(values)


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + PART] for start in range(0, len(rows), PART)]
