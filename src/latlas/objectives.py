"""Objectives of training: each maps a Pass to a scalar, in nats per image, averaged over the batch.

An objective says what `Model.forward` has to supply, how epochs are scored, and what weight the rate has.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from latlas.divergences import KERNELS, mmd
from latlas.models import Pass
from latlas.settings import ObjectiveConfig

_TERMS = ("log_px", "log_pz", "log_qz", "kl")
PARTS = (*_TERMS, "z", "raw", "q", "prior_draws")


@dataclass(frozen=True)
class Objective(ABC):
    """An objective with `samples` draws of z per image and the weight `beta` after warm-up.

    `prior_draws` says whether `Model.forward` has to supply draws from the prior, `scored_by_bound` whether epochs are
    scored by the importance-weighted bound, `scored_by_loss` whether by the loss of validation items, and
    `matches_prior` whether codes are pulled to the prior without a rate.

    One of your own needs `loss` alone; a function of a Pass does as well (`OwnObjective`).
    """

    samples: int = 1
    beta: float = 1.0

    prior_draws: ClassVar[bool] = False
    scored_by_bound: ClassVar[bool] = False
    scored_by_loss: ClassVar[bool] = False
    matches_prior: ClassVar[bool] = False

    @property
    def across_items(self) -> Collection[str]:
        """The parts of a Pass of which the loss needs those of all items of a batch at once; none for a mean over
        items. Of one that several processes share, these are gathered, by default all.
        """
        return PARTS

    @classmethod
    def from_config(cls, options: ObjectiveConfig, values: int) -> Self:
        """The objective of the options, for items of `values` values."""
        return cls(options.samples, options.beta)

    @abstractmethod
    def loss(self, p: Pass, beta: float = 1.0, capacity: float = 0.0) -> Tensor:
        """The loss, a mean over images, at the step's weight `beta` and `capacity` in nats."""

    def score(self, distortion: float, rate: float | None, bound: float | None = None) -> float | None:
        """The score of an epoch from a split's means, higher is better: minus the objective at full weight.

        `bound` is the importance-weighted bound, or minus the loss, where epochs are scored by these. None if the
        objective is no mean over images; the newest weights are then the model.
        """
        return None

    @property
    def needs(self) -> dict[str, Any]:
        """The arguments of the model's call that make its Pass sufficient for the loss."""
        return {"samples": self.samples, "prior_draws": self.prior_draws}

    @property
    def rate_weight(self) -> float:
        """The weight of the rate in the loss after warm-up."""
        return self.beta

    def with_rate_weight(self, beta: float) -> dict[str, float]:
        """Settings with which the weight of the rate is at most `beta`."""
        return {"objective.beta": beta}

    @property
    def stronger_prior_match(self) -> dict[str, float]:
        """Settings that pull codes harder to the prior without the rate; empty if only the rate pulls them."""
        return {}

    @property
    def settings(self) -> dict[str, Any] | None:
        """The settings, by dotted key, that make it; None for one's own."""
        name = next((name for name, family in OBJECTIVES.items() if family is type(self)), None)
        own = {f"objective.{key}": value for key, value in vars(self).items()}
        return None if name is None else {"objective.name": name} | own


@dataclass(frozen=True)
class Reconstruction(Objective):
    """The distortion, -mean log p(x | z): the objective of an autoencoder, without a rate."""

    @classmethod
    def from_config(cls, options: ObjectiveConfig, values: int) -> Self:
        return cls(options.samples)

    @property
    def across_items(self) -> Collection[str]:
        return ()

    def loss(self, p: Pass, beta: float = 1.0, capacity: float = 0.0) -> Tensor:
        return p.distortion.mean()

    def score(self, distortion: float, rate: float | None, bound: float | None = None) -> float:
        return -distortion

    @property
    def rate_weight(self) -> float:
        return 0.0


@dataclass(frozen=True)
class Elbo(Objective):
    """The negative evidence lower bound with a weight on the rate: mean of distortion + beta * rate.

    With `kl` = `analytic` the rate is the closed form if the Pass has one, with `monte-carlo` it is log q(z | x) - log
    p(z) at the draws; both are equal in expectation (Kingma and Welling 2014). beta: Higgins et al. 2017. With
    `free_bits` lambda each dimension's batch mean KL enters as max(lambda, KL) (Kingma et al. 2016); this needs the
    analytic KL, and scores ignore it. With a `capacity` C the loss is mean distortion + beta |mean rate - C|, where C
    rises step by step (Burgess et al. 2018).
    """

    kl: str = "analytic"
    free_bits: float = 0.0
    capacity: float | None = None

    @classmethod
    def from_config(cls, options: ObjectiveConfig, values: int) -> Self:
        return cls(options.samples, options.beta, options.kl, options.free_bits, options.capacity)

    @property
    def across_items(self) -> Collection[str]:
        return _TERMS if self.capacity is not None or self.free_bits else ()

    def loss(self, p: Pass, beta: float = 1.0, capacity: float = 0.0) -> Tensor:
        if self.capacity is not None:
            return p.distortion.mean() + beta * (_rate(p, self.kl).mean() - capacity).abs()
        if self.free_bits and p.kl is not None:
            return p.distortion.mean() + beta * p.kl.mean(0).clamp(min=self.free_bits).sum()
        return (p.distortion + beta * _rate(p, self.kl)).mean()

    def score(self, distortion: float, rate: float | None, bound: float | None = None) -> float:
        penalty = rate or 0.0
        if self.capacity is not None:
            penalty = abs(penalty - self.capacity)
        return -(distortion + self.beta * penalty)

    @property
    def rate_weight(self) -> float:
        """beta; 1 with a capacity, which holds the rate at a value for any beta."""
        return self.beta if self.capacity is None else 1.0


@dataclass(frozen=True)
class InfoVae(Objective):
    """mean distortion + beta [(1 - alpha) mean rate + (alpha + lambda - 1) MMD^2(codes, prior)] (Zhao et al. 2017).

    At alpha 1 it is the MMD-VAE, with a point posterior the WAE-MMD (Tolstikhin et al. 2018). `kernel` and `estimator`
    are those of the MMD, which compares the first draw of each image's code with as many draws from the prior. The MMD
    belongs to a whole batch and is no mean over images, so epochs have no score.
    """

    kl: str = "analytic"
    alpha: float = 1.0
    info_lambda: float = 1.0
    kernel: str = "authors"
    estimator: str = "biased"

    prior_draws: ClassVar[bool] = True
    matches_prior: ClassVar[bool] = True

    @classmethod
    def from_config(cls, options: ObjectiveConfig, values: int) -> Self:
        strength = values if options.info_lambda is None else options.info_lambda
        return cls(options.samples, options.beta, options.kl, options.alpha, strength, options.kernel,
                   options.estimator)  # fmt: skip

    @property
    def across_items(self) -> Collection[str]:
        return (*_TERMS, "z", "prior_draws")

    def loss(self, p: Pass, beta: float = 1.0, capacity: float = 0.0) -> Tensor:
        if p.prior_draws is None:
            raise ValueError("MMD needs draws from the prior: call the model with prior_draws=True")
        weight = self.alpha + self.info_lambda - 1
        distance = mmd(p.z[0], p.prior_draws, KERNELS[self.kernel], self.estimator)
        loss = p.distortion.mean() + beta * weight * distance
        return loss if self.alpha == 1 else loss + beta * (1 - self.alpha) * _rate(p, self.kl).mean()

    def score(self, distortion: float, rate: float | None, bound: float | None = None) -> None:
        return None

    @property
    def rate_weight(self) -> float:
        return self.beta * (1 - self.alpha)

    def with_rate_weight(self, beta: float) -> dict[str, float]:
        return {"objective.alpha": 1.0}

    @property
    def stronger_prior_match(self) -> dict[str, float]:
        return {"objective.info_lambda": 10 * max(self.info_lambda, 1.0)}


@dataclass(frozen=True)
class Iwae(Objective):
    """The negative importance-weighted bound: mean of -log 1/K sum_k w_k (Burda et al. 2016).

    At beta 1, w_k = p(x | z_k) p(z_k) / q(z_k | x). During warm-up log w_k = log p(x | z_k) + beta (log p(z_k) -
    log q(z_k | x)). With one draw it is the ELBO.

    Each draw counts by its share of the weights, v_k = w_k / sum_j w_j. `gradient` = `standard` is the gradient of the
    bound. `dreg` equals it in expectation and has less noise for the encoder: sum_k v_k (1 - beta + beta v_k) d log
    w_k/dz_k dz_k/dphi with q's own parameters constant (Tucker et al. 2018, at beta 1: v_k^2); other parameters get the
    standard gradient. It registers a hook on p.z, so a Pass serves only one such loss.
    """

    gradient: str = "standard"

    scored_by_bound: ClassVar[bool] = True

    @classmethod
    def from_config(cls, options: ObjectiveConfig, values: int) -> Self:
        return cls(options.samples, options.beta, options.gradient)

    @property
    def across_items(self) -> Collection[str]:
        return ()

    def loss(self, p: Pass, beta: float = 1.0, capacity: float = 0.0) -> Tensor:
        reparameterised = self.gradient == "dreg"
        bound, log_w = p.bound(beta, freeze_q=reparameterised), p.log_weights(beta)
        if bound is None or log_w is None:
            raise ValueError("the importance-weighted bound needs a posterior with a density")
        if reparameterised and p.z.requires_grad:
            share = log_w.detach().softmax(0)[..., None]
            # The gradient at z already has the factor v_k.
            p.z.register_hook(lambda gradient: gradient * (1 - beta + beta * share))
        return -bound.mean()

    def score(self, distortion: float, rate: float | None, bound: float | None = None) -> float | None:
        return bound


@dataclass(frozen=True)
class OwnObjective(Objective):
    """A function of one's own: of a Pass to a scalar, or of a Pass and beta where `takes_beta`.

    `draws` says whether it asks for draws from the prior, and `is_mean` whether it is a mean over items: its value on
    validation items then scores an epoch. `weight` is that of the rate, by the loss's gradient. `probing` finds out all
    three.
    """

    function: Callable[..., Tensor] | None = None
    takes_beta: bool = False
    draws: bool = False
    is_mean: bool = False
    weight: float = 1.0

    @classmethod
    def of(cls, function: Callable[..., Tensor], options: ObjectiveConfig) -> Self:
        """The objective of a function, with the options that hold for it."""
        return cls(options.samples, options.beta, function, takes(function, "beta"))

    @property
    def needs(self) -> dict[str, Any]:
        return {"samples": self.samples, "prior_draws": self.draws}

    @property
    def across_items(self) -> Collection[str]:
        return () if self.is_mean else PARTS

    @property
    def scored_by_loss(self) -> bool:  # type: ignore[override]
        return self.is_mean

    @property
    def rate_weight(self) -> float:
        return self.weight

    def with_rate_weight(self, beta: float) -> dict[str, float]:
        return {}

    def loss(self, p: Pass, beta: float = 1.0, capacity: float = 0.0) -> Tensor:
        assert self.function is not None  # who opens a run without it only asks what it says of itself
        return self.function(p, beta=beta) if self.takes_beta else self.function(p)

    def score(self, distortion: float, rate: float | None, bound: float | None = None) -> float | None:
        return bound


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of that name."""
    try:
        return name in inspect.signature(getattr(function, "forward", function)).parameters
    except (TypeError, ValueError):  # some that are written in C do not say
        return False


def _rate(p: Pass, kl: str) -> Tensor:
    rate = p.rate if kl == "analytic" else p.sampled_rate
    if rate is None:
        raise ValueError("the rate needs a posterior with a density; a point posterior has none")
    return rate


OBJECTIVES: dict[str, type[Objective]] = {
    "reconstruction": Reconstruction,
    "elbo": Elbo,
    "infovae": InfoVae,
    "iwae": Iwae,
}
