"""What metrics, diagnosis and pictures of one model share: its test items, their posteriors, and PCA."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from latlas import densities
from latlas.data import Dataset, Split
from latlas.data.batches import Batches
from latlas.errors import InputError, LatlasError
from latlas.models import Model
from latlas.pca import fit
from latlas.posteriors import PosteriorValue, selected
from latlas.progress import SILENT, Observer
from latlas.settings import CorruptionConfig

T = TypeVar("T")

EVALUATION_SEED = 20_000  # of the draws for ELBO, log p(x) and corruptions
NO_CORRUPTION = CorruptionConfig()
MOST_ITEMS = 5000
MOST_ENCODED = 2**26  # values of all posteriors of a split, above which they are not cached
PART = 1000
SIDE = 20


@dataclass(frozen=True)
class Annealing:
    """The effort of annealed importance sampling: `chains` chains of `temperatures` steps each, for `items` evenly
    spaced test items.
    """

    items: int
    chains: int = 16
    temperatures: int = 300
    seed: int = EVALUATION_SEED


@dataclass(frozen=True)
class Effort:
    """How much is spent on costly numbers: importance sampling takes `draws` of z per item, on at most `items` evenly
    spaced test items (None: all). The ELBO takes `samples` draws of z per item by `seed`. Annealed importance sampling
    runs only with `annealing`.
    """

    draws: int = 100
    items: int | None = 1000
    samples: int = 1
    seed: int = EVALUATION_SEED
    annealing: Annealing | None = None


@dataclass(frozen=True)
class Context:
    """A model, its data, and what several numbers or pictures need of both, each computed once when first used.

    `prior` says whether the codes were trained towards the model's prior. Those of a plain autoencoder were not: where
    codes are drawn, the Gaussian with its codes' mean and covariance takes the prior's place. `corruption` is that of a
    denoising model's inputs.
    """

    model: Model
    dataset: Dataset
    prior: bool = True
    seed: int = 0
    effort: Effort = Effort()
    observer: Observer = SILENT
    items_given: Split | None = None
    corruption: CorruptionConfig = NO_CORRUPTION

    @cached_property
    def _cache(self) -> dict[Callable[[Context], Any], Any]:
        return {}

    def once(self, make: Callable[[Context], T]) -> T:
        """`make(self)`, computed at the first call and cached."""
        if make not in self._cache:
            self._cache[make] = make(self)
        return self._cache[make]

    @property
    def test(self) -> Split:
        """The items that are measured: those given, else the test split, or what `Dataset.measured` has for it."""
        return self.dataset.split(self.dataset.measured) if self.items_given is None else self.items_given

    @cached_property
    def binary(self) -> bool:
        """Whether these items are 0 or 1 throughout, as the model sees them."""
        if self.items_given is None or not self.dataset.binary:
            return self.dataset.binary
        return all(bool(((x == 0) | (x == 1)).all()) for x in self.parts())

    def parts(self) -> Iterator[Tensor]:
        """The test items, or their targets, as the model sees them, 1,000 at a time: (B, *shape)."""
        data = self.batches(self.test)
        data = data.targets or data
        return (data(rows) for rows in np.split(np.arange(len(data)), range(PART, len(data), PART)))

    def noise(self, *shape: int) -> Tensor:
        """Draws from N(0, I), on the CPU: the same for a seed on any device."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(shape, generator=generator, dtype=self.model.dtype)

    def batches(self, split: Split) -> Batches:
        """A split as the model sees it."""
        return Batches(split, self.dataset.scaling, self.model.device, self.model.dtype)

    @cached_property
    def rows(self) -> np.ndarray:
        """Test items drawn by the seed, in a random order: at most 5,000."""
        return self.test.drawn_rows(MOST_ITEMS, self.seed)

    @cached_property
    def few(self) -> Split:
        """The evenly spaced test items for costly numbers."""
        return self.test.take(self.few_rows)

    @property
    def few_rows(self) -> np.ndarray:
        """The rows of `few` in the test split."""
        return self.test.even_rows(self.effort.items or len(self.test))

    @cached_property
    def encoded(self) -> PosteriorValue | None:
        """The posterior of every test item, each encoded once; None where there are too many to cache."""
        outputs = self.model.posterior_family.outputs
        return self.model.posterior(self.test) if 0 < len(self.test) * outputs <= MOST_ENCODED else None

    def posteriors(self, rows: np.ndarray) -> PosteriorValue:
        """The posteriors of these test items."""
        if self.encoded is None:
            return self.model.posterior(self.test.take(rows))
        return selected(self.encoded, torch.from_numpy(rows).to(self.model.device))

    def codes_of(self, rows: np.ndarray) -> np.ndarray:
        """The mean codes of these test items: (N, D)."""
        q = self.posteriors(rows)
        with torch.no_grad():
            return q.mean.cpu().numpy()

    @cached_property
    def q(self) -> PosteriorValue:
        """The posteriors of `rows`."""
        return self.posteriors(self.rows)

    @cached_property
    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean codes, and one draw from each posterior: both (N, D), on the CPU in double precision."""
        noise = self.noise(1, len(self.rows), self.model.latent).to(self.model.device)
        with torch.no_grad():
            codes = [part.cpu().double() for part in (self.q.mean, self.q.rsample(noise)[0])]
        return finite(codes[0], "codes"), finite(codes[1], "codes")

    @property
    def draws(self) -> Tensor:
        """One draw from the posterior of each of `rows`, as the model computes: (N, D), on its device."""
        return self.posterior[1].to(self.model.device, self.model.dtype)

    @property
    def codes(self) -> np.ndarray:
        """Mean codes of `rows`: (N, D)."""
        return self.posterior[0].numpy()

    @cached_property
    def items(self) -> Tensor:
        """The test items of `rows` as the model sees them: (N, *shape)."""
        return self.batches(self.test)(self.rows)

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Classes of `rows` (N,), UNLABELLED where an item has none; None where items have no classes."""
        test = self.test.take(self.rows)
        return test.labels if test.has_classes else None

    @cached_property
    def training_rows(self) -> np.ndarray:
        """Training items drawn by the seed, in a random order: at most 5,000."""
        return self.dataset.train.drawn_rows(MOST_ITEMS, self.seed)

    @cached_property
    def training_labels(self) -> np.ndarray | None:
        """Classes of `training_rows` (M,), UNLABELLED where an item has none; None where items have no classes."""
        train = self.dataset.train.take(self.training_rows)
        return train.labels if train.has_classes else None

    @cached_property
    def training_codes(self) -> np.ndarray:
        """Mean codes of `training_rows`: (N, D) in double precision."""
        q = self.model.posterior(self.dataset.train.take(self.training_rows))
        with torch.no_grad():
            return finite(q.mean.cpu().double(), "codes").numpy()

    @cached_property
    def pca(self) -> Model | None:
        """PCA of the training split with as many components; None where it has fewer than that."""
        try:
            return fit(self.dataset, self.model.latent)
        except InputError:
            return None

    def prior_draws(self, n: int) -> Tensor:
        """Codes (n, D) from the model's prior, on the CPU in double precision."""
        like = next(self.model.parameters())
        with torch.no_grad():
            prior = self.model.prior_value()
            return prior.sample(n, torch.Generator().manual_seed(self.seed + 1), like).cpu().double()

    @cached_property
    def grid(self) -> Tensor:
        """400 codes that cover the latent space: (400, D).

        In two dimensions the quantiles (i + 1/2) / 20 of the standard normal on either axis, else draws from the
        prior. Without a prior these are mapped to the mean and covariance of the mean codes.
        """
        latent, normal = self.model.latent, self.model.prior.standard_normal
        if self.prior and not normal:
            return self.prior_draws(SIDE**2)
        if latent == 2:
            axis = torch.special.ndtri((torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE)
            base = torch.cartesian_prod(axis, axis)
        else:
            base = self.noise(SIDE**2, latent).double()
        if self.prior:
            return base
        codes = self.posterior[0]
        spread = (codes - codes.mean(0)) / math.sqrt(max(1, len(codes) - 1))
        _, scale, axes = torch.linalg.svd(spread, full_matrices=False)
        return codes.mean(0) + base[:, : len(scale)] * scale @ axes

    def sampled_codes(self, n: int) -> Tensor:
        """Codes (n, D) for new items: from the prior; for a plain autoencoder from the Gaussian with its training
        codes' mean and covariance (for too few codes the diagonal; for codes that are all equal, that code).
        """
        if self.prior:
            return self.prior_draws(n)
        codes = self.training_codes
        name = next((n for n in ("full", "factored") if not densities.refusal(n, codes)), None)
        if name is None:
            return torch.from_numpy(codes[:1]).expand(n, -1)
        return torch.from_numpy(densities.fit(name, codes, self.seed).sample(n, self.seed + 1))

    @cached_property
    def images(self) -> Tensor:
        """The decoded grid, (400, C, H, W)."""
        return self.decode(self.grid)

    def decode(self, codes: Tensor) -> Tensor:
        """Means of p(x | z) on the model's scale, on the CPU: codes (N, D) -> (N, *shape)."""
        return finite(
            self.model.means(codes.to(self.model.device, self.model.dtype)).cpu().float(), "decoded items"
        )


def finite(values: Tensor, what: str) -> Tensor:
    """Returns the values; raises LatlasError where one is not finite."""
    if not values.isfinite().all():
        raise LatlasError(
            f"the model's {what} are not finite: it has diverged; train with a lower learning rate"
        )
    return values
