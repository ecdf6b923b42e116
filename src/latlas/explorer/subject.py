"""A run as the explorer looks at it: its model, the test items that are shown, and what is computed of them once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from latlas import snapshots
from latlas.data import Split
from latlas.data.memory import Units
from latlas.metrics import Context
from latlas.metrics.context import finite
from latlas.metrics.elbo import Terms, terms, terms_of_items
from latlas.models import Model, evaluating
from latlas.posteriors import PosteriorValue, joined
from latlas.progress import Observer
from latlas.runs import Run

UNITS: dict[bool, Units] = {True: "model", False: "data"}  # of images, and of rows of numbers
MEASURED = 2000  # items of which distances to the training codes are measured


@dataclass(frozen=True)
class Subject:
    """A run, and the `rows` of its measured split that are shown, in order."""

    run: Run
    context: Context
    rows: np.ndarray

    def at(self, step: int, rows: np.ndarray) -> Subject:
        """These rows of its items, with the weights of a snapshot.

        Raises InputError if they are damaged.
        """
        model = snapshots.model_at(self.run, step).to(self.model.device)
        items = self.items.take(rows)
        return Subject(self.run, replace(self.context, model=model, items_given=items), np.arange(len(rows)))

    @property
    def model(self) -> Model:
        return self.context.model

    @property
    def observer(self) -> Observer:
        return self.context.observer

    @property
    def name(self) -> str:
        return self.run.path.resolve().name

    @property
    def pictorial(self) -> bool:
        """Whether items are images; all others are rows of numbers."""
        return self.model.item.kind == "image"

    @property
    def shape(self) -> list[int]:
        """One item in the page: [H, W, C] of images, else [D]."""
        shape = self.model.item.shape
        return [*shape[1:], shape[0]] if self.pictorial else [int(np.prod(shape))]

    @cached_property
    def items(self) -> Split:
        return self.context.test.take(self.rows)

    @cached_property
    def q(self) -> PosteriorValue:
        """The posteriors of the items."""
        return self.context.posteriors(self.rows)

    @cached_property
    def codes(self) -> np.ndarray:
        """Their mean codes (N, D), float32."""
        with torch.no_grad():
            return finite(self.q.mean.cpu().float(), "codes").numpy()

    @cached_property
    def deviations(self) -> np.ndarray | None:
        """Their standard deviations (N, D); None where the posterior has none."""
        return None if self.q.stddev is None else self.q.stddev.detach().cpu().float().numpy()

    @cached_property
    def drawn(self) -> np.ndarray:
        """A draw from each posterior: (N, D)."""
        noise = self.context.noise(1, len(self.rows), self.model.latent).to(self.model.device)
        with torch.no_grad():
            return self.q.rsample(noise)[0].cpu().float().numpy()

    @cached_property
    def kl(self) -> np.ndarray | None:
        """KL of each item and dimension in nats, (N, D); None without a closed form."""
        with torch.no_grad():
            found = self.model.prior_value().kl(self.q) if self.context.prior else None
        return None if found is None else found.cpu().float().numpy()

    @cached_property
    def terms(self) -> Terms:
        """The terms of the ELBO of each item, as those of the report where all items are shown."""
        context = self.context
        if len(self.rows) == len(context.test):
            return context.once(terms_of_items)
        effort = context.effort
        return terms(
            self.model, context.batches(self.items), effort.samples, effort.seed, self.q, self._evaluated
        )

    def _evaluated(self, done: int, total: int) -> None:
        self.observer.progress("evaluating", done, total)

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Classes (N,) as int32, -1 without one; None where items have no classes."""
        return (
            self.items.labels.astype(np.int32)
            if self.context.test.has_classes and self.items.labels is not None
            else None
        )

    @cached_property
    def sample(self) -> np.ndarray:
        """Mean codes of at most 5,000 training items: (M, D)."""
        return self.context.training_codes.astype(np.float32)

    @cached_property
    def distances(self) -> np.ndarray:
        """Distances of test codes to the nearest training code that is another one, at most 2,000 of them, in order.

        Where nothing is held out, an item is its own nearest.
        """
        codes = self.codes[self.items.even_rows(MEASURED)]
        near = nearest(self.sample, codes, 2)[0]
        apart = np.where(near[:, 0] > 0, near[:, 0], near[:, -1])
        return np.sort(apart[apart > 0]) if (apart > 0).any() else np.ones(1)

    def parts(self) -> Iterator[np.ndarray]:
        """The values of all items, some at a time."""
        for rows in self.model.chunks(len(self.items)):
            yield self.values(self.items.take(rows))

    def values(self, items: Split) -> np.ndarray:
        """Items as the page shows them: images in [0, 1], (N, H, W, C); else data units, (N, D)."""
        if self.pictorial:
            return self.model.item.scaling.apply(np.asarray(items.x)).astype(np.float32)
        return np.asarray(items.x, np.float64).reshape(len(items), -1).astype(np.float32)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Such values on the model's scale, flat: (N, values)."""
        item = self.model.item
        if not self.pictorial:
            values = item.scaling.apply(values.astype(np.float64).reshape(len(values), *item.outside))
        return values.reshape(len(values), -1).astype(np.float32)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes (N, D) to items as `values` gives them."""
        found = self.model.decode(np.asarray(codes, np.float32), UNITS[self.pictorial])
        return np.asarray(found, np.float32).reshape(len(codes), *self.shape)

    def encode(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Items as `values` gives them to mean and standard deviation (N, D), zero where the posterior has none.

        What a decoder without bounds makes may lie outside [0, 1], and is encoded as it is.
        """
        shaped = values.reshape(len(values), *self.model.item.outside)
        model, units = self.model, UNITS[self.pictorial]
        with torch.no_grad(), evaluating(model):
            q = joined(
                [model.infer(model.to_tensor(shaped[rows], units)) for rows in model.chunks(len(shaped))]
            )
            moments: list[Tensor] = [q.mean, torch.zeros_like(q.mean) if q.stddev is None else q.stddev]
            mean, std = (each.cpu().float().numpy() for each in moments)
        return mean, std


def nearest(points: np.ndarray, asked: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the nearest of `points` and their rows, nearest first: both (N, count)."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=min(count, len(points))).fit(points).kneighbors(asked)
    return found[0], found[1]


def weighted(points: np.ndarray, values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The neighbour rule: for a place, the mean of the values of the 4 nearest points, with weights 1 / distance."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=min(4, len(points))).fit(points)

    def at(asked: np.ndarray) -> np.ndarray:
        distances, rows = index.kneighbors(np.asarray(asked, points.dtype))
        weights = 1 / np.maximum(distances, 1e-9)
        return ((weights[..., None] * values[rows]).sum(1) / weights.sum(1, keepdims=True)).astype(np.float32)

    return at
