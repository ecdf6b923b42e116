"""Rules on p(x | z): a sigma that is not the data's noise, a likelihood for other data, a loss on a wrong scale."""

from __future__ import annotations

import math
from typing import Any

from latlas.diagnosis.evidence import Evidence
from latlas.diagnosis.finding import Finding, short
from latlas.diagnosis.latent_rules import collapsed

OFF = 1.5  # the factor by which sigma may miss the residual: at 1.5, about a tenth of a nat per value
FAR_OFF = 3.0  # from here a serious matter: a third of a nat per value at least
GREY_NOISE = 10.0  # a Bernoulli's variance over the residual's; Fashion-MNIST has 4, and looks well with it
OUTSIDE = 0.01  # share of the values outside [0, 1] by more than one of 255 steps
LIGHT, HEAVY = 0.05, 20.0  # weights of the rate beyond these are as good as none, and as good as nothing else


def noise_off(e: Evidence) -> Finding | None:
    """The likelihood's sigma is not the best one for what reconstructions leave over."""
    if not e.variational or e.noise is None or e.noise.best_sigma is None or e.noise.lost is None:
        return None
    sigma, best = math.sqrt(e.noise.variance), e.noise.best_sigma
    factor, per_pixel = sigma / best, e.config.likelihood.sigma == "per-pixel"
    if 1 / OFF <= factor <= OFF or (per_pixel and factor > 1):
        return None
    said = (
        f"too large by a factor of {short(factor)}"
        if factor > 1
        else f"too small by a factor of {short(1 / factor)}"
    )
    return Finding(
        "sigma-miscalibrated",
        f"The likelihood's sigma is {said}",
        0.75 if max(factor, 1 / factor) > FAR_OFF else 0.4,
        f"sigma is {short(sigma)}, and the best one for what reconstructions of training {e.unit}s leave over is"
        f" {short(best)}. That alone costs {short(e.values * e.noise.lost)} nats per {e.unit}.",
        _why_off(e, factor),
        _what_to_do(e, best, factor),
        _learn(e),
    )


def _what_to_do(e: Evidence, best: float, factor: float) -> str:
    if e.fixed_sigma is None:
        return "Train for longer."
    less = "; a model trained with it will need less still." if factor > 1 else "."
    return (
        "Let sigma be learned: it then becomes what is left over. As a number,"
        f" {short(best)} fits the model as it is{less}"
    )


def _why_off(e: Evidence, factor: float) -> str:
    if e.fixed_sigma is None:
        return "Sigma is learned and has not arrived: training was too short for it, or its steps too small."
    if factor > 1:
        return (
            "A sigma this large says that the data are noise for the most part: details are not worth a nat,"
            " reconstructions blur, and codes collapse. In its effect on training it is a beta"
            f" {short(factor**2)} times as large."
        )
    return (
        "A sigma this small says that every residual matters: the rate weighs next to nothing beside it. In its effect"
        f" on training it is a beta {short(1 / factor**2)} times as small."
    )


def _learn(e: Evidence) -> dict[str, Any]:
    if e.fixed_sigma is not None:
        return {"likelihood.sigma": "learned"}
    return {"training.epochs": 3 * e.plan.epochs}


def bernoulli_on_grey(e: Evidence) -> Finding | None:
    """The noise of a cross-entropy hides what grey values differ by."""
    if e.likelihood.normalised(e.binary) or e.noise is None or e.noise.residual <= 0:
        return None
    ratio, title = e.noise.variance / e.noise.residual, e.likelihood.title
    if ratio < GREY_NOISE:
        return None
    return Finding(
        "bernoulli-on-grey",
        f"A {title} likelihood drowns the differences between these grey values",
        0.4,
        f"Values are not 0 or 1; the {title} takes them to have a noise variance of {short(e.noise.variance)}, and"
        f" reconstructions leave over {short(e.noise.residual)}, {short(ratio)} times less.",
        f"A {title} has no sigma: its noise m (1 - m) is that of a coin, largest for mid-grey. It weighs errors of"
        " low-contrast pictures far too little, and its numbers do not rank against Gaussians.",
        "Take a Gaussian with a learned sigma.",
        {"likelihood.name": "gaussian", "likelihood.sigma": "learned"},
    )


def density_on_binary(e: Evidence) -> Finding | None:
    """A density on 0/1 data."""
    if e.likelihood.scale != "density" or not (e.binary and e.variational):
        return None
    return Finding(
        "density-on-binary",
        f"The data are 0 or 1, and the likelihood is a density ({e.likelihood.title})",
        0.4,
        "Every value of the training split is 0 or 1.",
        "A density on two points grows without bound as it narrows: its nats say little, and rank with nothing.",
        "Take a Bernoulli, which is a probability on such data.",
        {"likelihood.name": "bernoulli", "likelihood.output": "sigmoid"},
    )


def outside_range(e: Evidence) -> Finding | None:
    """Reconstructions leave [0, 1], where the data are."""
    # A network without activations is there to be compared with PCA, which has no bounds either.
    if e.kind == "table" or e.config.likelihood.output != "identity" or not e.layers:
        return None
    if e.outside <= OUTSIDE:
        return None
    return Finding(
        "output-outside-range",
        "The decoder gives values outside [0, 1], where all data lie",
        0.35,
        f"{e.outside:.1%} of the values of reconstructions are below 0 or above 1.",
        "likelihood.output = identity does not bound the mean of p(x | z).",
        "Bound it.",
        {"likelihood.output": "sigmoid"},
    )


def loss_scale(e: Evidence) -> Finding | None:
    """The rate's weight is as good as none, or drowns the distortion; often a mean where a sum belongs."""
    objective = e.config.objective
    if not e.variational or objective.capacity is not None or "test" not in e.scores:
        return None
    if e.weight < LIGHT:
        return _light(e)
    mean_not_sum = e.fixed_sigma is not None and 0.25 < e.fixed_sigma**2 / (e.values / 2) < 4 and e.values > 8
    if mean_not_sum or (e.weight > HEAVY and collapsed(e) is None):
        return _heavy(e, mean_not_sum)
    return None


def _light(e: Evidence) -> Finding | None:
    scores = e.scores["test"]
    rate = scores.rate or 0.0
    batch = e.config.training.batch_size
    near_batch = 0.4 < e.weight * batch < 2.5
    hint = (
        f" It is about 1 / {batch}, the batch size: so it comes out where a sum over a batch stands beside a mean."
        if near_batch
        else " It comes out like this where a distortion summed over a batch or over values stands beside a mean rate."
    )
    return Finding(
        "rate-without-weight",
        "The rate has almost no weight: this is an autoencoder with noise",
        0.7,
        f"beta is {short(e.weight)}: the rate of {short(rate)} nats per {e.unit} weighed"
        f" {short(e.weight * rate)} beside a distortion of {short(scores.distortion)}.",
        "Nothing holds the codes to the prior, so the ELBO (always reported at beta 1) suffers by the rate, and samples"
        f" from the prior are not what the decoder knows.{hint}",
        "Set beta to 1, and warm it up if codes collapse then.",
        {"objective.beta": 1.0},
    )


def _heavy(e: Evidence, mean_not_sum: bool) -> Finding:
    settings: dict[str, Any] = {"likelihood.sigma": "learned"} if mean_not_sum else {"objective.beta": 1.0}
    said = (
        f"sigma^2 = {short((e.fixed_sigma or 0) ** 2)} is about half the number of values, {e.values:,}: the squared"
        " error enters as a mean over values, and the rate as a sum over dimensions."
        if mean_not_sum
        else f"beta is {short(e.weight)}, and an item has {e.values:,} values. Where the distortion is a mean over"
        " values, as in many tutorials, such a beta is small; here distortion and rate are sums, in nats."
    )
    return Finding(
        "distortion-without-weight",
        "The distortion has almost no weight beside the rate",
        0.7,
        said,
        "Codes that cost this much are used for the coarsest differences alone; the rest blurs.",
        "Weigh both as the evidence lower bound does.",
        settings,
    )
