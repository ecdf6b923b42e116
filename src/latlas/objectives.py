"""What training minimises: each objective takes a Pass to a scalar, in nats per image, averaged over the batch.

It says what `Model.forward` has to supply, how the epochs of a run are scored, and how much it weighs the rate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from latlas.divergences import KERNELS, mmd
from latlas.models import Pass
from latlas.settings import ObjectiveConfig


@dataclass(frozen=True)
class Objective(ABC):
    """An objective with `samples` draws of z per image and the weight `beta`, once that has risen.

    `prior_draws` says whether `Model.forward` has to supply them; `scored_by_bound` whether epochs are scored by the
    importance-weighted bound, `matches_prior` whether codes are drawn to the prior even without a rate.
    """

    samples: int = 1
    beta: float = 1.0

    prior_draws: ClassVar[bool] = False
    scored_by_bound: ClassVar[bool] = False
    matches_prior: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def from_config(cls, options: ObjectiveConfig, values: int) -> Self:
        """The objective that options name, for items of so many `values`."""

    @abstractmethod
    def loss(self, p: Pass, beta: float = 1.0, capacity: float = 0.0) -> Tensor:
        """What is minimised, a mean over images, at a step's weight `beta` and `capacity` in nats."""

    @abstractmethod
    def score(self, distortion: float, rate: float | None, bound: float | None = None) -> float | None:
        """What validation ranks epochs by, higher is better: minus the objective at its full weight and capacity, from
        a split's means. None where no mean over images gives it: there the newest weights are the model.
        """

    @property
    def needs(self) -> dict[str, Any]:
        """What the model is to be called with, so that its Pass holds all that the loss needs."""
        return {"samples": self.samples, "prior_draws": self.prior_draws}

    @property
    def rate_weight(self) -> float:
        """The weight of the rate beside the distortion, once it has risen."""
        return self.beta

    def lighter(self, beta: float) -> dict[str, float]:
        """Settings under which the rate weighs no more than `beta`."""
        return {"objective.beta": beta}

    @property
    def nearer_to_prior(self) -> dict[str, float]:
        """Settings that draw codes harder to the prior without the rate; nothing where only the rate does."""
        return {}


@dataclass(frozen=True)
class Reconstruction(Objective):
    """The distortion alone, -mean log p(x | z): an autoencoder's objective; beta has no term to weigh."""

    @classmethod
    def from_config(cls, options: ObjectiveConfig, values: int) -> Self:
        return cls(options.samples)

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

    `kl`: `analytic` takes the closed form where the Pass has one, `monte-carlo` log q(z | x) - log p(z) at
    the draws; equal in expectation (Kingma and Welling 2014). beta: Higgins et al. 2017. `free_bits` lambda:
    each dimension's batch mean KL enters as max(lambda, KL) (Kingma et al. 2016); it needs the analytic KL, and scores
    leave it aside. With a `capacity` C it is mean distortion + beta |mean rate - C|, C raised step by step (Burgess et
    al. 2018).
    """

    kl: str = "analytic"
    free_bits: float = 0.0
    capacity: float | None = None

    @classmethod
    def from_config(cls, options: ObjectiveConfig, values: int) -> Self:
        return cls(options.samples, options.beta, options.kl, options.free_bits, options.capacity)

    def loss(self, p: Pass, beta: float = 1.0, capacity: float = 0.0) -> Tensor:
        if self.capacity is not None:
            return p.distortion.mean() + beta * (_rate(p, self.kl).mean() - capacity).abs()
        if self.free_bits and p.kl is not None:
            return p.distortion.mean() + beta * p.kl.mean(0).clamp(min=self.free_bits).sum()
        return (p.distortion + beta * _rate(p, self.kl)).mean()

    def score(self, distortion: float, rate: float | None, bound: float | None = None) -> float:
        off = rate or 0.0
        if self.capacity is not None:
            off = abs(off - self.capacity)
        return -(distortion + self.beta * off)

    @property
    def rate_weight(self) -> float:
        """1 for a capacity, which holds the rate at a value whatever its weight."""
        return self.beta if self.capacity is None else 1.0


@dataclass(frozen=True)
class InfoVae(Objective):
    """mean distortion + beta [(1 - alpha) mean rate + (alpha + lambda - 1) MMD^2(codes, prior)] (Zhao et al. 2017).

    At alpha 1 it is the MMD-VAE, with a point posterior the WAE-MMD (Tolstikhin et al. 2018). `kernel` and `estimator`
    are the MMD's, which compares the first draw of each image's code with as many draws from the prior. It is of a
    whole batch and no mean over images, so that epochs have no score.
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

    def lighter(self, beta: float) -> dict[str, float]:
        return {"objective.alpha": 1.0}

    @property
    def nearer_to_prior(self) -> dict[str, float]:
        return {"objective.info_lambda": 10 * max(self.info_lambda, 1.0)}


@dataclass(frozen=True)
class Iwae(Objective):
    """The negative importance-weighted bound: mean of -log 1/K sum_k w_k, at beta 1 with w_k = p(x | z_k) p(z_k) /
    q(z_k | x) (Burda et al. 2016); below it, while a schedule rises, log w_k = log p(x | z_k) + beta (log p(z_k) -
    log q(z_k | x)). With one draw it is the ELBO.

    Each draw counts by its share of the weights, v_k = w_k / sum_j w_j. `gradient`: `standard` is that of the bound
    as it stands; `dreg` is equal to it in expectation, with less noise for the encoder: sum_k v_k (1 - beta + beta
    v_k) d log w_k/dz_k dz_k/dphi with q's own parameters held (Tucker et al. 2018, at beta 1: v_k^2), for all other
    parameters the standard one. It is marked on p.z: a Pass serves one such loss.
    """

    gradient: str = "standard"

    scored_by_bound: ClassVar[bool] = True

    @classmethod
    def from_config(cls, options: ObjectiveConfig, values: int) -> Self:
        return cls(options.samples, options.beta, options.gradient)

    def loss(self, p: Pass, beta: float = 1.0, capacity: float = 0.0) -> Tensor:
        doubly = self.gradient == "dreg"
        bound, log_w = p.bound(beta, held=doubly), p.log_weights(beta)
        if bound is None or log_w is None:
            raise ValueError("the importance-weighted bound needs a posterior with a density")
        if doubly and p.z.requires_grad:
            share = log_w.detach().softmax(0)[..., None]
            # What arrives at z has the decoder's factor v_k already.
            p.z.register_hook(lambda arrived: arrived * (1 - beta + beta * share))
        return -bound.mean()

    def score(self, distortion: float, rate: float | None, bound: float | None = None) -> float | None:
        return bound


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
