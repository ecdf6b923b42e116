"""Nearest items, by standardised codes and by values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from latlas.data import Split
from latlas.data.batches import Batches
from latlas.errors import InputError
from latlas.inference import refuse_not_finite
from latlas.items.records import Columns, about, joined
from latlas.models import Model, evaluating
from latlas.posteriors import joined as joined_posteriors
from latlas.progress import SILENT, Observer

NEAREST = 10  # training codes whose mean distance says how far away a code lies
FLOOR = 1e-6  # least standard deviation of a dimension, as a share of the largest
MOST_NEIGHBOURS = 1000


@dataclass(frozen=True)
class CodeSpace:
    """The mean codes of training items (M, D), and the standard deviation of each dimension over draws from their
    posteriors, `scale` (D,): scale_d^2 = Var(mean_d) + E[std_d^2].

    By this scale a dimension that the encoder does not use counts for nothing, instead of for as much as any other.
    """

    codes: np.ndarray
    scale: np.ndarray

    @staticmethod
    def of(mean: np.ndarray, std: np.ndarray | None) -> CodeSpace:
        """The space of posteriors with mean and standard deviation (M, D); None for a point posterior."""
        within = 0.0 if std is None else np.square(np.asarray(std, np.float64)).mean(0)
        scale = np.sqrt(np.asarray(mean, np.float64).var(0) + within)
        return CodeSpace(
            np.asarray(mean, np.float64), np.maximum(scale, FLOOR * scale.max()) + (scale.max() == 0)
        )

    @cached_property
    def _index(self) -> Any:
        from sklearn.neighbors import NearestNeighbors

        return NearestNeighbors().fit(self.codes / self.scale)

    def nearest(
        self, codes: np.ndarray, k: int, own: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The distances to the k nearest training codes, and their rows, nearest first: codes (N, D) -> (N, k) each.

        The distance is Euclidean after each dimension is divided by `scale`. `own` (N,) is the row of each item itself,
        which is left out; -1 if it is none of them.
        """
        more = min(len(self.codes), k + (own is not None))
        distances, rows = self._index.kneighbors(np.asarray(codes, np.float64) / self.scale, more)
        if own is None:
            return distances, rows
        # Its own row goes to the end, and where it is not, the farthest stands there: the end is cut off.
        order = np.argsort(rows == own[:, None], axis=1, kind="stable")[:, :k]
        return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)

    def distance(self, codes: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        """The mean distance to the 10 nearest training codes: (N, D) -> (N,)."""
        return self.nearest(codes, min(NEAREST, len(self.codes) - 1), own)[0].mean(1)


def nearest_items(
    model: Model,
    item: Split,
    train: Split,
    n: int = 10,
    values: bool = False,
    own: int = -1,
    observer: Observer = SILENT,
) -> tuple[Columns, np.ndarray]:
    """The `n` training items nearest to one item, nearest first, and their rows in `train`.

    Columns are `space` (codes, and values too if asked), `place` from 1, `distance`, and name, row and label. By codes
    it is the distance of `CodeSpace`, by values the root mean squared difference on the model's scale. `own` is the row
    of the item itself, which is left out. Raises InputError for an `n` out of range, LatlasError for codes that are not
    finite.
    """
    if not 1 <= n <= MOST_NEIGHBOURS:
        raise InputError(f"at least 1 is needed, and at most {MOST_NEIGHBOURS:,}", field="n", value=n)
    k = min(n, len(train) - (own >= 0))
    code, _ = _posterior(model, item)
    distances, rows = CodeSpace.of(*_posterior(model, train)).nearest(code, k, np.array([own]))
    found = {"codes": (distances[0], rows[0])}
    if values:
        differences = _differences(model, item, train, observer)
        order = np.argsort(differences, kind="stable")
        order = order[order != own][:k]
        found["values"] = differences[order], order
    lines = [
        {"space": np.full(k, name, object), "place": np.arange(1, k + 1), "distance": distance}
        | about(train.take(at), classes=model.item.classes)
        for name, (distance, at) in found.items()
    ]
    return joined(lines), np.concatenate([at for _, at in found.values()])


def _posterior(model: Model, items: Split) -> tuple[np.ndarray, np.ndarray | None]:
    """Means and standard deviations (N, D) of the posteriors of items.

    Raises LatlasError for codes that are not finite.
    """
    data = Batches(items, model.item.scaling, model.device, model.dtype)
    with torch.no_grad(), evaluating(model):
        q = joined_posteriors(
            [model.infer(data(np.arange(r.start, r.stop))) for r in model.chunks(len(items))]
        )
        mean, std = q.mean.cpu().numpy(), None if q.stddev is None else q.stddev.cpu().numpy()
    refuse_not_finite(model, "codes", *(part for part in (mean, std) if part is not None))
    return mean, std


def _differences(model: Model, item: Split, train: Split, observer: Observer) -> np.ndarray:
    """The root mean squared difference of one item to each training item, on the model's scale: (M,)."""
    one, data = (Batches(s, model.item.scaling, model.device, model.dtype) for s in (item, train))
    x, parts = one(np.arange(1)), []
    for rows in model.chunks(len(train)):
        difference = (data(np.arange(rows.start, rows.stop)) - x).flatten(1).double()
        parts.append(difference.square().mean(1).sqrt().cpu().numpy())
        observer.progress("comparing values", rows.stop, len(train))
    return np.concatenate(parts)
