"""What the rules look at: plain numbers about a run, gathered once (`gathering`), each with its unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latlas.build import items, objective_of
from latlas.likelihoods import LIKELIHOODS, Likelihood
from latlas.networks import NETWORKS, Network
from latlas.objectives import Objective
from latlas.posteriors import POSTERIORS
from latlas.priors import PRIORS, Prior
from latlas.settings import Config
from latlas.training import Plan

ACTIVE = 0.01  # the share of a dimension's variance that must tell items apart (Burda et al. 2016 take 0.01)
REACH = 1e-3  # of the widest dimension's effect on the decoder: below it a dimension is cut off


@dataclass(frozen=True)
class Scores:
    """Of at most 1,000 items of a split, with one draw of z each, in nats per item.

    `cost` = distortion + weight * rate; `baseline` is the distortion of a model without
    codes, which gives the training mean for every item; `gain` = baseline - cost. Cost and gain have standard errors
    over the items.
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
    """Per latent dimension (D,), from test items.

    `activity` is Var(mean codes) / Var(draws), the share of the variance that tells items apart; `reach` is the
    standard deviation of the draws times the norm of the decoder's first weights, as a share of the largest;
    `rate` the mean KL in nats, None where it has no closed form. `shuffled` is how many nats per item the distortion
    rises when codes are dealt to other items, with its standard error.
    """

    activity: np.ndarray
    reach: np.ndarray
    rate: np.ndarray | None
    shuffled: float
    shuffled_stderr: float

    @property
    def active(self) -> np.ndarray:
        """Which dimensions the encoder fills and the decoder reads: (D,) of bool."""
        return (self.activity > ACTIVE) & (self.reach > REACH)


@dataclass(frozen=True)
class Noise:
    """Variances per value, on the model's scale, of training items: what the likelihood says, `variance`, and the
    `residual` mean |x - m|^2 at draws of z, m the mean of p(x | z); `spread` is that of the training mean in place of
    m. `best_sigma` is the sigma of greatest likelihood for these residuals, and `lost` how many nats per value the
    likelihood's own costs beside it; None where there is no closed form.
    """

    variance: float
    residual: float
    spread: float
    best_sigma: float | None = None
    lost: float | None = None

    @property
    def factor(self) -> float:
        """By which factor the likelihood's standard deviation is too large; below 1, too small."""
        return float(np.sqrt(self.variance / self.residual)) if self.residual > 0 else float("inf")


@dataclass(frozen=True)
class Gap:
    """How much better the density called `what`, fitted to draws of training codes, describes draws of test codes
    than the prior does: `nats` per code, with the standard error. It estimates KL(aggregate posterior, prior) from
    below. `shaped` says whether it is a mixture of several Gaussians.
    """

    what: str
    nats: float
    stderr: float
    shaped: bool = False


@dataclass(frozen=True)
class Layer:
    """A layer of activations: its name, its units (channels), and how many give the same value for every item; `flat`
    says whether its activation has no gradient over half its range, as a ReLU.
    """

    name: str
    units: int
    dead: int
    flat: bool = False


@dataclass(frozen=True)
class Drift:
    """Test against training items along the training data's first principal axes, in standard deviations: MMD^2 of
    the two (no unit), its standard error over blocks, and the largest shift of a mean.
    """

    mmd: float
    stderr: float
    shift: float


@dataclass(frozen=True)
class Evidence:
    """All that the rules know of a run. What could not be measured is None or empty; every rule then stays silent.

    `steps` and `epochs` are the rows of log.jsonl of these kinds; `weights` says whether there is a model, and `finite`
    whether what it gives are numbers. `modes` (R,) are the data's principal variances in
    units of the likelihood's noise at the training mean: a linear decoder revives mode i exactly where modes[i] is
    above the weight of the rate. `outside` is the share of the reconstructions' values outside the data's range.
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

    @property
    def weight(self) -> float:
        """What the rate is weighed with, once that has risen; 0 without a rate."""
        return self.objective.rate_weight

    @property
    def gradient(self) -> bool:
        """Whether the model was trained step by step; PCA's closed form was not."""
        return self.config.training.method == "gradient"

    @property
    def variational(self) -> bool:
        """Whether the posterior has a density, and the loss a rate."""
        return self.has_density and self.weight > 0

    @property
    def has_density(self) -> bool:
        """Whether the posterior has a density."""
        return POSTERIORS[self.config.posterior.name].has_density

    @property
    def network(self) -> Network:
        return NETWORKS[self.config.network.name]

    @property
    def prior(self) -> type[Prior]:
        return PRIORS[self.config.prior.name]

    @property
    def likelihood(self) -> type[Likelihood]:
        return LIKELIHOODS[self.config.likelihood.name]

    @property
    def objective(self) -> Objective:
        return objective_of(self.config, (self.values,))

    @property
    def fixed_sigma(self) -> float | None:
        """The likelihood's sigma where it is a given number."""
        sigma = self.config.likelihood.sigma
        return sigma if self.likelihood.has_sigma and not isinstance(sigma, str) else None

    @property
    def unit(self) -> str:
        """What one item is called: image or row."""
        return items(self.kind)[:-1]

    @property
    def living(self) -> int:
        """How many modes of the data the theory of linear VAEs lets live at this weight and noise."""
        return int((self.modes > self.weight).sum())
