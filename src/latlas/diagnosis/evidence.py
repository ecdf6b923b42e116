"""The evidence that the rules read: plain numbers about a run, gathered once by `measurements`, each with its unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latlas.brought import NOTHING, Brought, own_title
from latlas.build import has_density, items, objective_of
from latlas.likelihoods import LIKELIHOODS, Likelihood
from latlas.networks import NETWORKS
from latlas.objectives import Objective, OwnObjective
from latlas.priors import PRIORS, Prior
from latlas.settings import Config
from latlas.training import Plan

ACTIVE = 0.01  # least activity of an active dimension (Burda et al. 2016 use 0.01 as well)
REACH = 1e-3  # least effect on the decoder, as a share of the largest; below it the decoder does not read a dimension


@dataclass(frozen=True)
class Scores:
    """Means over at most 1,000 items of a split, with one draw of z per item, in nats per item.

    `cost` = distortion + weight * rate. `baseline` is the distortion of a model without codes, which predicts the
    training mean for every item. `gain` = baseline - cost. `stderr` and `gain_stderr` are the standard errors of cost
    and gain.
    """

    items: int
    distortion: float
    rate: float | None
    cost: float
    stderr: float
    baseline: float
    gain: float
    gain_stderr: float


@dataclass(frozen=True)
class Latents:
    """Numbers of each latent dimension (D,), from test items.

    `activity` is Var(mean codes) / Var(draws): the share of the variance that differs between items. `reach` is the
    standard deviation of the draws times the norm of the decoder's first weights, as a share of the largest. `rate` is
    the mean KL in nats; None without a closed form. `shuffled` is the rise of the distortion with shuffled codes, in
    nats per item, with its standard error.
    """

    activity: np.ndarray
    reach: np.ndarray
    rate: np.ndarray | None
    shuffled: float
    shuffled_stderr: float

    @property
    def active(self) -> np.ndarray:
        """The dimensions that the encoder fills and the decoder reads, as booleans (D,)."""
        return (self.activity > ACTIVE) & (self.reach > REACH)


@dataclass(frozen=True)
class Noise:
    """Variances per value of training items, on the model's scale.

    `variance` is the variance of the likelihood. `residual` is the mean of (x - m)^2 at draws of z, where m is the mean
    of p(x | z); `spread` is the same with the training mean as m. `best_sigma` is the sigma of maximum likelihood for
    these residuals, and `excess` the nats per value that the model's own sigma costs more; both are None without a
    closed form. `unseen` is the residual of test items; None for fewer than 5. A model that knows its training items by
    heart leaves no residual there, and a sigma that fits unseen items is not too large.
    """

    variance: float
    residual: float
    spread: float
    best_sigma: float | None = None
    excess: float | None = None
    unseen: float | None = None

    @property
    def largest(self) -> float:
        """The larger residual of training and unseen items."""
        return max(self.residual, self.unseen or 0.0)

    @property
    def factor(self) -> float:
        """The likelihood's standard deviation over the residuals': above 1 it is too large, below 1 too small."""
        return float(np.sqrt(self.variance / self.residual)) if self.residual > 0 else float("inf")


@dataclass(frozen=True)
class Gap:
    """The gap between the prior and a density fitted to draws of training codes, called `what`.

    `nats` is the mean of log density(z) - log p(z) over draws of test codes, with its standard error: a lower bound, in
    expectation, of KL(aggregate posterior, prior). `is_mixture` says whether the density is a mixture of several
    Gaussians.
    """

    what: str
    nats: float
    stderr: float
    is_mixture: bool = False


@dataclass(frozen=True)
class Layer:
    """A layer of activations with `units` units (channels), of which `dead` give the same value for every item.

    `flat` says whether the activation has zero gradient over half its range, as a ReLU has.
    """

    name: str
    units: int
    dead: int
    flat: bool = False


@dataclass(frozen=True)
class Drift:
    """The difference between test and training items, along the training data's first principal axes.

    `mmd` is MMD^2 between the two (no unit) and `stderr` its standard error over blocks. `shift` is the largest shift
    of a mean, in standard deviations.
    """

    mmd: float
    stderr: float
    shift: float


@dataclass(frozen=True)
class Evidence:
    """All numbers that the rules read about a run; those that could not be measured are None or empty.

    `steps` and `epochs` are the rows of log.jsonl of these kinds. `weights` says whether the run has a model, and
    `finite` whether the model's outputs are finite. `modes` (R,) are the principal variances of the data in units of
    the likelihood's noise variance at the training mean: a linear VAE encodes mode i exactly if modes[i] exceeds the
    weight of the rate (Lucas et al. 2019). `outside` is the share of reconstructed values outside the data's range.
    `brought` holds parts of one's own.
    """

    config: Config
    kind: str
    values: int
    binary: bool
    counts: Mapping[str, int]
    plan: Plan
    finished: bool
    steps: tuple[dict[str, Any], ...] = ()
    epochs: tuple[dict[str, Any], ...] = ()
    weights: bool = True
    finite: bool = True
    scores: Mapping[str, Scores] = field(default_factory=dict)
    latents: Latents | None = None
    noise: Noise | None = None
    modes: np.ndarray = field(default_factory=lambda: np.zeros(0))
    gap: Gap | None = None
    outside: float = 0.0
    layers: tuple[Layer, ...] = ()
    drift: Drift | None = None
    brought: Brought = NOTHING

    @property
    def weight(self) -> float:
        """The weight of the rate in the loss after warm-up; 0 without a rate."""
        return self.objective.rate_weight

    @property
    def calibrated_weight(self) -> float:
        """The weight that the rate would have with the sigma that fits: beta * sigma^2 / best sigma^2.

        A fixed sigma scales the distortion by 1 / sigma^2, so that beta alone does not say how heavy the rate is.
        """
        best = self.noise.best_sigma if self.noise is not None else None
        if self.fixed_sigma is None or not best:
            return self.weight
        return self.weight * (self.fixed_sigma / best) ** 2

    @property
    def trained_steps(self) -> int:
        """The steps of training that the log shows; of a finished run without a log, those that were planned."""
        logged = [int(row["step"]) for row in (*self.steps, *self.epochs)]
        return max(logged, default=self.plan.steps if self.finished else 0)

    @property
    def gradient(self) -> bool:
        """Whether the model was trained by gradient steps, not by PCA's closed form."""
        return self.config.training.method == "gradient"

    @property
    def variational(self) -> bool:
        """Whether the posterior has a density and the loss has a rate."""
        return self.has_density and self.weight > 0

    @property
    def has_density(self) -> bool:
        """Whether the posterior has a density."""
        return has_density(self.config)

    def owns(self, section: str) -> bool:
        """Whether the part of this section is one's own, which no setting changes."""
        return bool(own_title(self.config, section))

    @property
    def reads(self) -> tuple[str, ...]:
        """The settings that the network reads."""
        return () if self.owns("network") else NETWORKS[self.config.network.name].reads

    @property
    def prior(self) -> type[Prior] | Prior:
        own = self.brought.prior
        return PRIORS.get(self.config.prior.name, Prior) if own is None else own

    @property
    def likelihood(self) -> type[Likelihood] | Likelihood:
        own = self.brought.likelihood
        return LIKELIHOODS.get(self.config.likelihood.name, Likelihood) if own is None else own

    @property
    def objective(self) -> Objective:
        """The objective; of one's own at least what its run says of it."""
        if self.owns("objective"):
            return OwnObjective(weight=self.config.own.rate_weight)
        return objective_of(self.config, (self.values,))

    @property
    def fixed_sigma(self) -> float | None:
        """The likelihood's sigma if the configuration gives a number; None if it is learned or absent."""
        sigma = self.config.likelihood.sigma
        return sigma if self.likelihood.has_sigma and not isinstance(sigma, str) else None

    @property
    def unit(self) -> str:
        """The word for one item: image or row."""
        return items(self.kind)[:-1]

    @property
    def active_modes(self) -> int:
        """The number of modes of the data that a linear VAE encodes at this weight and noise."""
        return int((self.modes > self.weight).sum())
