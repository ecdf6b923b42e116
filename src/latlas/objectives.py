"""What training minimises: functions of a Pass to a scalar, in nats per image, averaged over the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from latlas.models import Pass
from latlas.settings import ObjectiveConfig

Objective = Callable[[Pass, float], Tensor]


def reconstruction(p: Pass, beta: float = 1.0) -> Tensor:
    """The distortion alone, -mean log p(x | z): an autoencoder's objective; beta has no term to weigh."""
    return p.distortion.mean()


def elbo(p: Pass, beta: float = 1.0, kl: str = "analytic", free_bits: float = 0.0) -> Tensor:
    """The negative evidence lower bound with a weight on the rate: mean of distortion + beta * rate.

    `kl`: `analytic` takes the closed form where the Pass has one, `monte-carlo` log q(z | x) - log p(z) at
    the draws; equal in expectation (Kingma and Welling 2014). beta: Higgins et al. 2017. `free_bits` lambda:
    each dimension's batch mean KL enters as max(lambda, KL) (Kingma et al. 2016); it needs the analytic KL.
    """
    if free_bits and p.kl is not None:
        return p.distortion.mean() + beta * p.kl.mean(0).clamp(min=free_bits).sum()
    rate = p.rate if kl == "analytic" else p.sampled_rate
    if rate is None:
        raise ValueError("the ELBO needs a posterior with a density; a point posterior has none")
    return (p.distortion + beta * rate).mean()


def build(options: ObjectiveConfig) -> Objective:
    """The objective that the options name."""
    if options.name == "reconstruction":
        return reconstruction
    return partial(elbo, kl=options.kl, free_bits=options.free_bits)
