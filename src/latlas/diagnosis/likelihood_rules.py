"""Rules on p(x | z): a miscalibrated sigma, a likelihood that does not fit the data, a loss on the wrong scale."""

from __future__ import annotations

import math
from typing import Any

from latlas.diagnosis.evidence import Evidence
from latlas.diagnosis.finding import Finding, short
from latlas.diagnosis.rule import rule
from latlas.text import counted

OFF = 1.5  # factor between sigma and the best one that is tolerated: about a tenth of a nat per value
FAR_OFF = 3.0  # factor from which the finding is serious: at least a third of a nat per value
GREY_NOISE = (
    10.0  # a Bernoulli's variance over the residual variance; Fashion-MNIST has 4 and looks good with it
)
OUTSIDE = 0.01  # share of reconstructed values outside [0, 1] by more than 1/255
MANY = 64  # values per item from which half their number is no sigma^2 that one would choose
LIGHT, HEAVY = 0.05, 20.0  # below and above these weights the rate, or the distortion, hardly counts


@rule("the residuals of training items; for a sigma that is too large, of test items too", train=20)
def noise_off(e: Evidence) -> Finding | None:
    """The likelihood's sigma does not fit the residuals."""
    if not e.variational or e.noise is None or e.noise.best_sigma is None or e.noise.excess is None:
        return None
    sigma, best = math.sqrt(e.noise.variance), e.noise.best_sigma
    factor, per_pixel = sigma / best, e.config.likelihood.sigma == "per-pixel"
    if 1 / OFF <= factor <= OFF or (per_pixel and factor > 1):
        return None
    if factor > 1 and e.noise.variance <= OFF**2 * e.noise.largest:
        return None
    size = (
        f"too large by a factor of {short(factor)}"
        if factor > 1
        else f"too small by a factor of {short(1 / factor)}"
    )
    return Finding(
        "sigma-miscalibrated",
        f"The likelihood's sigma is {size}",
        0.75 if max(factor, 1 / factor) > FAR_OFF else 0.4,
        f"sigma is {short(sigma)}; the best sigma for the residuals of training {e.unit}s is {short(best)}."
        f" The difference costs {short(e.values * e.noise.excess)} nats per {e.unit}.",
        _why_miscalibrated(e, factor),
        _calibrate(e, best, factor),
        _calibrating_settings(e, factor),
        # Training only makes residuals smaller.
        settled=e.fixed_sigma is not None and factor > 1,
    )


def _calibrate(e: Evidence, best: float, factor: float) -> str:
    if e.fixed_sigma is None:
        return "Train for longer."
    smaller = "; a model trained with it will need a still smaller one." if factor > 1 else "."
    number = f"As a number, {short(best)} fits this model{smaller}"
    if not _beta_makes_up_for(e, factor):
        return f"Learn sigma: it then follows the residuals. {number}"
    return (
        f"Learn sigma and set beta to 1, both at once: with the right sigma alone, beta = {short(e.weight)} would weigh"
        f" {'too little' if factor > 1 else 'too much'}. {number}"
    )


def _beta_makes_up_for(e: Evidence, factor: float) -> bool:
    """Whether beta is on the other side of 1 than sigma is of the best one, so that one makes up for the other."""
    return e.fixed_sigma is not None and (e.weight - 1) * (factor - 1) < 0 and e.config.objective.beta != 1


def _why_miscalibrated(e: Evidence, factor: float) -> str:
    if e.fixed_sigma is None:
        return "Sigma is learned but has not converged: training was too short, or its steps were too small."
    if _beta_makes_up_for(e, factor):
        return (
            f"beta = {short(e.weight)} makes up for a part of it: training is affected as by the right sigma with a"
            f" beta of {short(e.calibrated_weight)}. But log p(x | z), and so the ELBO, are those of the wrong sigma."
        )
    if factor > 1:
        return (
            "So large a sigma treats most of the data as noise: details gain almost no likelihood, reconstructions"
            f" blur, and codes collapse. Training is affected as by a beta {short(factor**2)} times as large."
        )
    return (
        "So small a sigma makes every residual count: the rate has almost no weight against the distortion. Training is"
        f" affected as by a beta {short(1 / factor**2)} times as small."
    )


def _calibrating_settings(e: Evidence, factor: float) -> dict[str, Any]:
    if e.fixed_sigma is None:
        return {"training.epochs": 3 * e.plan.epochs}
    return {"likelihood.sigma": "learned"} | (
        {"objective.beta": 1.0} if _beta_makes_up_for(e, factor) else {}
    )


@rule("the larger residual of training and test items", train=20)
def bernoulli_on_grey(e: Evidence) -> Finding | None:
    """A cross-entropy assumes far more noise than these grey values have."""
    if e.owns("likelihood") or e.likelihood.normalised(e.binary) or e.noise is None or e.noise.largest <= 0:
        return None
    ratio, title = e.noise.variance / e.noise.largest, e.likelihood.title
    if ratio < GREY_NOISE:
        return None
    return Finding(
        "bernoulli-on-grey",
        f"A {title} likelihood assumes too much noise for these grey values",
        0.4,
        f"The values are not all 0 or 1. The {title} assumes a noise variance of {short(e.noise.variance)}; the"
        f" residual variance is {short(e.noise.largest)}, {short(ratio)} times smaller.",
        f"A {title} has no sigma: its variance m (1 - m) is that of a coin toss, largest for mid-grey. It gives errors"
        " in low-contrast images far too little weight, and its numbers do not rank against Gaussians.",
        "Use a Gaussian with a learned sigma.",
        {"likelihood.name": "gaussian", "likelihood.sigma": "learned"},
    )


@rule("none: it reads settings and data")
def density_on_binary(e: Evidence) -> Finding | None:
    """The likelihood is a density, and the data are 0 or 1."""
    if e.likelihood.scale != "density" or not (e.binary and e.variational):
        return None
    return Finding(
        "density-on-binary",
        f"The data are 0 or 1, and the likelihood is a density ({e.likelihood.title})",
        0.4,
        "Every value of the training split is 0 or 1.",
        "On two points a density grows without bound as it narrows: its nats mean little and do not compare.",
        "Use a Bernoulli, which is a probability on such data.",
        {"likelihood.name": "bernoulli", "likelihood.output": "sigmoid"},
        settled=True,
    )


@rule("1 % of all values", test=5)
def outside_range(e: Evidence) -> Finding | None:
    """Reconstructions leave [0, 1], the range of the data."""
    # A network without activations is trained for comparison with PCA, which has no bounds either.
    if e.kind == "table" or e.config.likelihood.output != "identity" or not e.layers:
        return None
    if e.outside <= OUTSIDE:
        return None
    return Finding(
        "output-outside-range",
        "The decoder gives values outside [0, 1], the range of the data",
        0.35,
        f"{e.outside:.1%} of the reconstructed values are below 0 or above 1.",
        "likelihood.output = identity does not bound the mean of p(x | z).",
        "Bound it with a sigmoid.",
        {"likelihood.output": "sigmoid"},
    )


@rule("none: it reads settings, sigma beside the residuals")
def loss_scale(e: Evidence) -> Finding | None:
    """The rate or the distortion has almost no weight, often because one is a mean and the other a sum."""
    objective = e.config.objective
    if not e.variational or objective.capacity is not None or "test" not in e.scores:
        return None
    if e.weight < LIGHT and e.calibrated_weight < LIGHT:
        return _light_rate(e)
    mean_not_sum = (
        e.fixed_sigma is not None and 0.25 < e.fixed_sigma**2 / (e.values / 2) < 4 and e.values >= MANY
    )
    if mean_not_sum or (e.weight > HEAVY and e.calibrated_weight > HEAVY):
        return _light_distortion(e, mean_not_sum)
    return None


def _light_rate(e: Evidence) -> Finding:
    scores = e.scores["test"]
    rate = scores.rate or 0.0
    batch = e.config.training.batch_size
    near_batch = 0.4 < e.weight * batch < 2.5
    hint = (
        f" beta is about 1 / {batch}, the batch size: one term may be a sum over the batch and the other a mean."
        if near_batch
        else " The distortion may be a sum over the batch or over values, and the rate a mean."
    )
    evidence = (
        f"beta is {short(e.weight)}: the rate of {short(rate)} nats per {e.unit} counts as"
        f" {short(e.weight * rate)} in the loss, against a distortion of {short(scores.distortion)}."
    )
    remedy = "Set beta to 1; if the codes then collapse, warm it up."
    settings: dict[str, Any] = {"objective.beta": 1.0}
    if e.fixed_sigma is not None and not 1 / OFF <= math.sqrt(e.calibrated_weight / e.weight) <= OFF:
        evidence += (
            f" sigma = {short(e.fixed_sigma)} does not fit the residuals; with the sigma that does, beta would be"
            f" {short(e.calibrated_weight)}."
        )
        remedy = (
            f"Set beta to 1 and learn sigma, both at once: the right sigma alone leaves beta at {short(e.weight)}, and"
            f" beta = 1 alone would weigh as {short(e.calibrated_weight / e.weight)}."
        )
        settings |= {"likelihood.sigma": "learned"}
    return Finding(
        "rate-without-weight",
        "The rate has almost no weight: this is an autoencoder with noise",
        0.8,
        evidence,
        "Nothing keeps the codes near the prior. The ELBO, always reported at beta 1, loses the whole rate, and the"
        f" decoder has not learned to decode samples from the prior.{hint}",
        remedy,
        settings,
        settled=True,
    )


def _light_distortion(e: Evidence, mean_not_sum: bool) -> Finding:
    settings: dict[str, Any] = {"likelihood.sigma": "learned"} if mean_not_sum else {"objective.beta": 1.0}
    evidence = (
        f"sigma^2 = {short((e.fixed_sigma or 0) ** 2)} is about half the number of values, {e.values:,}: the squared"
        " error enters as a mean over values, and the rate as a sum over dimensions."
        if mean_not_sum
        else f"beta is {short(e.weight)}, and an item has {counted(e.values, 'value')}. In tutorials the distortion"
        " is often"
        " a mean over values, and such a beta is small; here distortion and rate are sums, in nats."
    )
    return Finding(
        "distortion-without-weight",
        "The distortion has almost no weight beside the rate",
        0.7,
        evidence,
        "Codes this expensive hold only the coarsest differences; everything else blurs.",
        "Weigh both terms as the ELBO does.",
        settings,
        settled=True,
    )
