"""What the numbers of one model share, each made when it is first asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latlas import densities
from latlas.data import Dataset, Split
from latlas.data.batches import Batches
from latlas.errors import InputError, LatlasError
from latlas.metrics.classifier import has_classes
from latlas.metrics.disentanglement import Dci, dci
from latlas.metrics.elbo import Importance, log_likelihood
from latlas.metrics.information import Aggregate, aggregate, divergence
from latlas.metrics.quality import Errors, reconstruction_errors
from latlas.metrics.views import View, clustered, pca_codes, raw_values
from latlas.models import Model
from latlas.pca import Probabilistic, fit, probabilistic
from latlas.posteriors import PosteriorValue
from latlas.progress import SILENT, Observer

MOST_ITEMS = 5000
PART = 1000
SIDE = 20


@dataclass(frozen=True)
class Effort:
    """How much is spent on costly numbers: `draws` of z per item in importance sampling, on at most `items` test
    items, evenly spaced; all of them where None.
    """

    draws: int = 100
    items: int | None = 1000


@dataclass(frozen=True)
class Context:
    """A model, its data, and what several numbers need of both.

    `prior` says whether the codes were trained towards the model's prior. Those of a plain autoencoder were not: the
    Gaussian with its codes' mean and covariance stands in for the prior where codes are drawn.
    """

    model: Model
    dataset: Dataset
    prior: bool = True
    seed: int = 0
    effort: Effort = Effort()
    observer: Observer = SILENT
    items_given: Split | None = None

    @property
    def test(self) -> Split:
        """The items that numbers are of: the test split, or others given in its place."""
        return self.dataset.test if self.items_given is None else self.items_given

    @cached_property
    def binary(self) -> bool:
        """Whether these items are 0 or 1 throughout, as the model sees them."""
        if self.items_given is None or not self.dataset.binary:
            return self.dataset.binary
        rows = range(0, len(self.test), PART)
        parts = (self.batches(self.test)(np.arange(r, min(r + PART, len(self.test)))) for r in rows)
        return all(bool(((x == 0) | (x == 1)).all()) for x in parts)

    def noise(self, *shape: int) -> Tensor:
        """From N(0, I), on the CPU: the same for a seed on any device."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(shape, generator=generator, dtype=self.model.dtype)

    def batches(self, split: Split) -> Batches:
        """A split as the model sees it."""
        return Batches(split, self.dataset.scaling, self.model.device, self.model.dtype)

    @cached_property
    def made(self) -> dict[str, Any]:
        """What measures of one group keep for each other."""
        return {}

    @cached_property
    def rows(self) -> np.ndarray:
        """Test items drawn by the seed, in a random order: at most 5,000."""
        return np.random.default_rng(self.seed).permutation(len(self.test))[:MOST_ITEMS]

    @cached_property
    def few(self) -> Split:
        """The test items that costly numbers take, evenly spaced."""
        most = self.effort.items
        return self.test if most is None else self.test.evenly(most)

    @cached_property
    def q(self) -> PosteriorValue:
        """The posteriors of `rows`."""
        return self.model.posterior(np.asarray(self.test.x[self.rows]))

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

    @cached_property
    def divergence(self) -> np.ndarray | None:
        """KL(q(z | x), p(z)) of `rows`, (N, D) or (N,): see `information.divergence`; None without a prior."""
        if not self.prior:
            return None
        with torch.no_grad():
            prior = self.model.prior_value()
        return divergence(self.q, prior, self.draws)

    @cached_property
    def aggregate(self) -> Aggregate | None:
        """Densities of the draws under the aggregate posterior; None for posteriors without one."""
        return aggregate(self.q, self.draws)

    @cached_property
    def items(self) -> Tensor:
        """The test items of `rows` as the model sees them: (N, *shape)."""
        return self.batches(self.test)(self.rows)

    @cached_property
    def importance(self) -> Importance | None:
        """log p(x) of `few` by importance sampling; None for a posterior without a density."""
        if not self.model.posterior_family.has_density:
            return None
        done = lambda n, total: self.observer.progress("weighing draws", n, total)  # noqa: E731
        return log_likelihood(self.model, self.batches(self.few), self.effort.draws, progress=done)

    @property
    def codes(self) -> np.ndarray:
        """Mean codes of `rows`: (N, D)."""
        return self.posterior[0].numpy()

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Classes of `rows` (N,), None where items have none."""
        test = self.test
        return np.asarray(test.labels)[self.rows] if has_classes(test) else None

    @cached_property
    def training_labels(self) -> np.ndarray | None:
        """Classes of `training_rows` (M,), None where items have none."""
        train = self.dataset.train.take(self.training_rows)
        return train.labels if has_classes(train) else None

    @cached_property
    def factors(self) -> np.ndarray | None:
        """What `rows` were made from (N, F), integers; None where that is not known."""
        factors = self.test.factors
        return None if factors is None else factors[self.rows]

    @cached_property
    def dci(self) -> tuple[Dci | None, Dci | None]:
        """How the codes stand for the factors, and how those of PCA do; None where there is nothing to say."""
        if self.factors is None:
            return None, None
        beside = None if self.pca_codes is None else dci(self.pca_codes, self.factors, self.seed)
        return dci(self.codes, self.factors, self.seed), beside

    @cached_property
    def training_rows(self) -> np.ndarray:
        """Training items drawn by the seed, in a random order: at most 5,000."""
        return np.random.default_rng(self.seed).permutation(len(self.dataset.train))[:MOST_ITEMS]

    @cached_property
    def training_codes(self) -> np.ndarray:
        """Mean codes of `training_rows`: (N, D) in double precision."""
        q = self.model.posterior(np.asarray(self.dataset.train.x[self.training_rows]))
        with torch.no_grad():
            return finite(q.mean.cpu().double(), "codes").numpy()

    @cached_property
    def pca(self) -> Model | None:
        """PCA of the training split with as many components; None where it has fewer than that."""
        try:
            return fit(self.dataset, self.model.latent)
        except InputError:
            return None

    @cached_property
    def views(self) -> dict[str, View]:
        """Training and test items as their codes, and what these are to be compared with: "PCA" codes of the same
        size, where there are as many, and "raw values".
        """
        splits = (self.dataset.train, self.training_rows), (self.test, self.rows)
        found = {"codes": View(self.training_codes, self.codes)}
        if self.pca is not None:
            found["PCA"] = View(*(pca_codes(self.pca, *split) for split in splits))
        found["raw values"] = View(*(raw_values(self.model, *split) for split in splits))
        return found

    @cached_property
    def clusters(self) -> dict[str, np.ndarray]:
        """The cluster of each of `rows` in every view, with as many clusters as the test items have classes."""
        assert self.labels is not None
        count = len(np.unique(self.labels))
        return {name: clustered(view.test, count, self.seed) for name, view in self.views.items()}

    @property
    def pca_codes(self) -> np.ndarray | None:
        """PCA's codes of `rows` (N, D), where it has as many components."""
        return self.views["PCA"].test if "PCA" in self.views else None

    @cached_property
    def probabilistic_pca(self) -> Probabilistic | None:
        """Its density, with as many components as the model has latent dimensions; None where it has none."""
        return None if self.pca is None else probabilistic(self.pca, self.dataset)

    @cached_property
    def errors(self) -> Errors:
        """How far the reconstructions of `rows` are from them."""
        found = reconstruction_errors(self.model, self.batches(self.test), self.rows)
        finite(torch.from_numpy(found.squared), "reconstructions")
        return found

    @cached_property
    def pca_errors(self) -> Errors | None:
        """The same of PCA with as many components."""
        if self.pca is None:
            return None
        data = Batches(self.test, self.dataset.scaling, self.pca.device, self.pca.dtype)
        return reconstruction_errors(self.pca, data, self.rows)

    def prior_draws(self, n: int) -> Tensor:
        """Codes (n, D) from the model's prior, on the CPU in double precision."""
        like = next(self.model.parameters())
        with torch.no_grad():
            prior = self.model.prior_value()
            return prior.sample(n, torch.Generator().manual_seed(self.seed + 1), like).cpu().double()

    @cached_property
    def grid(self) -> Tensor:
        """400 codes that stand for the latent space: (400, D).

        In two dimensions the quantiles (i + 1/2) / 20 of the standard normal on either axis, else draws from the
        prior. Without a prior these are taken to the mean and covariance of the mean codes.
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
        """Codes (n, D) as somebody draws new items: from the prior; of a plain autoencoder, from the Gaussian with
        its training codes' mean and covariance (its diagonal, for too few codes; the code, where all are one).
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
        """What the grid decodes to, (400, C, H, W)."""
        return self.decode(self.grid)

    def decode(self, codes: Tensor) -> Tensor:
        """Means of p(x | z) on the model's scale, on the CPU: codes (N, D) -> (N, *shape)."""
        return finite(self.model.decode(codes.to(self.model.dtype)).float(), "decoded items")


def finite(values: Tensor, what: str) -> Tensor:
    """The values themselves.

    Raises LatlasError where one is not finite.
    """
    if not values.isfinite().all():
        raise LatlasError(
            f"the model's {what} are not finite: it has diverged; train with a lower learning rate"
        )
    return values
