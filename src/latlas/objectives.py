"""What training minimises: functions of a Pass to a scalar, in nats per image, averaged over the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from latlas.divergences import KERNELS, mmd
from latlas.models import Pass
from latlas.settings import ObjectiveConfig

Objective = Callable[[Pass, float, float], Tensor]


def reconstruction(p: Pass, beta: float = 1.0, capacity: float = 0.0) -> Tensor:
    """The distortion alone, -mean log p(x | z): an autoencoder's objective; beta has no term to weigh."""
    return p.distortion.mean()


def elbo(
    p: Pass, beta: float = 1.0, capacity: float = 0.0, kl: str = "analytic", free_bits: float = 0.0
) -> Tensor:
    """The negative evidence lower bound with a weight on the rate: mean of distortion + beta * rate.

    `kl`: `analytic` takes the closed form where the Pass has one, `monte-carlo` log q(z | x) - log p(z) at
    the draws; equal in expectation (Kingma and Welling 2014). beta: Higgins et al. 2017. `free_bits` lambda:
    each dimension's batch mean KL enters as max(lambda, KL) (Kingma et al. 2016); it needs the analytic KL.
    """
    if free_bits and p.kl is not None:
        return p.distortion.mean() + beta * p.kl.mean(0).clamp(min=free_bits).sum()
    return (p.distortion + beta * _rate(p, kl)).mean()


def at_capacity(p: Pass, beta: float = 1.0, capacity: float = 0.0, kl: str = "analytic") -> Tensor:
    """mean distortion + beta |mean rate - capacity|: the rate is drawn to `capacity` nats, which training
    raises step by step (Burgess et al. 2018).
    """
    return p.distortion.mean() + beta * (_rate(p, kl).mean() - capacity).abs()


def infovae(
    p: Pass, beta: float = 1.0, capacity: float = 0.0, kl: str = "analytic", alpha: float = 1.0,
    weight: float = 1.0, estimator: tuple[str, str] = ("authors", "biased"),
) -> Tensor:  # fmt: skip
    """mean distortion + beta [(1 - alpha) mean rate + weight MMD^2(codes, prior)], weight = alpha + lambda - 1
    (Zhao et al. 2017).

    At alpha 1 it is the MMD-VAE, with a point posterior the WAE-MMD (Tolstikhin et al. 2018). `estimator`
    names kernel and estimator of the MMD, which compares the first draw of each image's code with as many
    draws from the prior.
    """
    if p.prior_draws is None:
        raise ValueError("MMD needs draws from the prior: call the model with prior_draws=True")
    kernel, bias = estimator
    loss = p.distortion.mean() + beta * weight * mmd(p.z[0], p.prior_draws, KERNELS[kernel], bias)
    return loss if alpha == 1 else loss + beta * (1 - alpha) * _rate(p, kl).mean()


def iwae(p: Pass, beta: float = 1.0, capacity: float = 0.0, gradient: str = "standard") -> Tensor:
    """The negative importance-weighted bound: mean of -log 1/K sum_k w_k, at beta 1 with w_k = p(x | z_k) p(z_k) /
    q(z_k | x) (Burda et al. 2016); below it, while a schedule rises, log w_k = log p(x | z_k) + beta (log p(z_k) -
    log q(z_k | x)). With one draw it is the ELBO.

    Each draw counts by its share of the weights, v_k = w_k / sum_j w_j. `gradient`: `standard` is that of the bound
    as it stands; `dreg` is equal to it in expectation, with less noise for the encoder: sum_k v_k (1 - beta + beta
    v_k) d log w_k/dz_k dz_k/dphi with q's own parameters held (Tucker et al. 2018, at beta 1: v_k^2), for all other
    parameters the standard one. It is marked on p.z: a Pass serves one such loss.
    """
    doubly = gradient == "dreg"
    bound, log_w = p.bound(beta, held=doubly), p.log_weights(beta)
    if bound is None or log_w is None:
        raise ValueError("the importance-weighted bound needs a posterior with a density")
    if doubly and p.z.requires_grad:
        share = log_w.detach().softmax(0)[..., None]
        # What arrives at z has the decoder's factor v_k already.
        p.z.register_hook(lambda arrived: arrived * (1 - beta + beta * share))
    return -bound.mean()


def needs(options: ObjectiveConfig) -> dict[str, Any]:
    """What the model is to be called with, so that its Pass holds all that the objective needs."""
    return {
        "samples": options.samples,
        "prior_draws": options.name == "infovae",
    }


def worth(
    options: ObjectiveConfig, distortion: float, rate: float | None, bound: float | None = None
) -> float | None:
    """What validation ranks epochs by: minus the objective at its full weight and capacity, from a split's means,
    of iwae the `bound`; free bits, which forgive a part of the rate, are left aside.

    None for infovae, whose MMD is of a whole batch and no mean over images: there the newest weights are the model.
    """
    if options.name == "infovae":
        return None
    if options.name == "iwae":
        return bound
    if options.name == "reconstruction" or rate is None:
        return -distortion
    if options.capacity is not None:
        return -(distortion + options.beta * abs(rate - options.capacity))
    return -(distortion + options.beta * rate)


def _rate(p: Pass, kl: str) -> Tensor:
    rate = p.rate if kl == "analytic" else p.sampled_rate
    if rate is None:
        raise ValueError("the rate needs a posterior with a density; a point posterior has none")
    return rate


def build(options: ObjectiveConfig, values: int) -> Objective:
    """The objective that the options name; `values` of an item are infovae's lambda where none is given."""
    if options.name == "reconstruction":
        return reconstruction
    if options.name == "infovae":
        strength = values if options.info_lambda is None else options.info_lambda
        return partial(
            infovae,
            kl=options.kl,
            alpha=options.alpha,
            weight=options.alpha + strength - 1,
            estimator=(options.kernel, options.estimator),
        )
    if options.name == "iwae":
        return partial(iwae, gradient=options.gradient)
    if options.capacity is not None:
        return partial(at_capacity, kl=options.kl)
    return partial(elbo, kl=options.kl, free_bits=options.free_bits)
