"""Rules on the latent space: posterior collapse, ignored codes, holes in the prior, too few or too many dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from latlas.diagnosis.evidence import ACTIVE, Evidence, Latents
from latlas.diagnosis.finding import Finding, rounded, short
from latlas.diagnosis.rule import FEW_STEPS, SOME_STEPS, rule, standard_errors
from latlas.diagnosis.training_rules import moved, underfits
from latlas.text import counted

COLLAPSED = 0.25  # least share of inactive dimensions that is reported where a setting explains them
TOO_MANY = 0.6  # the same where no setting does: they do no harm, and half of a default run's are inactive
STRONG = 1.5  # from this weight, or this sigma over the calibrated one, settings explain inactive dimensions
CLEAR = 2.0  # a mode this many times the weight is encoded in theory; if it is not, training failed
BELOW_LIMIT = 0.9  # share of the largest beta that encodes a mode: at the limit itself the mode's rate is 0
LEAST_GAIN = 0.1  # nats of distortion per nat of rate: a decoder that uses its codes gains more than 1
LEAST_RATE = 0.5  # nats per item: with less there is nothing to decode
OF_SPREAD = (
    0.01  # of the distortion of the mean item, where there is no rate: a decoder that reads codes saves more
)
HOLE, HOLE_SHARE = 1.0, 0.15  # nats per code, and share of the rate, by which a density must beat the prior
LIGHT = 0.5  # below this weight, codes that leave the prior cost little
AS_GOOD = (
    0.8  # share of PCA's explained variance that a trained model reaches; its residuals are at draws of z
)
PLOTTED = 2  # dimensions that are chosen for plots, however much they leave out
TOO_FEW = 0.75  # share of the active modes' variance; Fashion-MNIST: 0.68 with 1 dimension, 0.91 with 2, 1.08 with 16


@rule("activity 0.01, which an active dimension does not fall below by chance", test=20, steps=FEW_STEPS)
def collapsed(e: Evidence) -> Finding | None:
    """Posterior collapse: q(z | x) is the prior in every dimension."""
    if e.latents is None or not e.variational or (e.latents.activity > ACTIVE).any():
        return None
    settled = _explained(e, 0)
    if not settled and (e.trained_steps < SOME_STEPS or not moved(e)):
        return None  # before training codes carry nothing
    rate = e.scores["test"].rate or 0.0
    cause, remedy, settings = _why_inactive(e, 0)
    return Finding(
        "posterior-collapse",
        "The codes carry no information: the whole posterior has collapsed onto the prior",
        1.0,
        f"None of the {len(e.latents.activity)} latent dimensions differs between {e.unit}s (activity below 0.01), and"
        f" the rate is {short(abs(rate))} nats per {e.unit}. Every reconstruction is the same mean {e.unit}.",
        cause,
        remedy,
        settings,
        settled=settled,
        about="dimensions",
        dimensions=_inactive(e.latents),
    )


@rule("activity 0.01, as above", test=20, steps=FEW_STEPS)
def partly_collapsed(e: Evidence) -> Finding | None:
    """Several dimensions are inactive because of the weight, the noise or a missing warm-up."""
    if e.latents is None or not _some_inactive(e, e.latents):
        return None
    active, count = int(e.latents.active.sum()), len(e.latents.activity)
    if not _strong_settings(e) and not _collapsed_early(e, active):
        return None
    cause, remedy, settings = _why_inactive(e, active)
    return Finding(
        "dimensions-collapsed",
        f"{count - active} of {count} latent dimensions have collapsed onto the prior",
        0.6,
        f"Only {counted(active, 'dimension')} differ{'s' * (active == 1)} between {e.unit}s; activity, largest"
        f" first: {_listed(e.latents.activity)}.",
        cause,
        remedy,
        settings,
        settled=_explained(e, active),
        about="dimensions",
        dimensions=_inactive(e.latents),
    )


def _inactive(latents: Latents) -> tuple[int, ...]:
    return tuple(np.flatnonzero(~latents.active).tolist())


def _some_inactive(e: Evidence, latents: Latents) -> bool:
    active, count = int(latents.active.sum()), len(latents.activity)
    return e.variational and active > 0 and count - active >= max(1, COLLAPSED * count)


def _strong_settings(e: Evidence) -> bool:
    sigma_too_large = e.fixed_sigma is not None and e.noise is not None and e.noise.factor > STRONG
    return e.weight > STRONG or sigma_too_large


def _collapsed_early(e: Evidence, active: int) -> bool:
    """Whether, without warm-up, far fewer dimensions are active than the theory allows."""
    possible = min(int((e.modes > CLEAR * e.weight).sum()), e.latents.activity.size if e.latents else 0)
    return e.config.objective.schedule == "constant" and possible >= 2 * max(1, active)


def _why_inactive(e: Evidence, active: int) -> tuple[str, str, dict[str, Any]]:
    """Cause, remedy and settings for inactive dimensions, by the theory of linear VAEs where it explains them."""
    size = len(e.latents.activity) if e.latents is not None else 1
    if not _explained(e, active):
        return _training_failed(e)
    most = min(size, len(e.modes))
    if e.fixed_sigma is not None:
        return _lower_sigma(e, active, most, e.fixed_sigma)
    return _lower_beta(e, active, most)


def _explained(e: Evidence, active: int) -> bool:
    """Whether by the theory of linear VAEs the settings allow no further dimension than the active ones."""
    return len(e.modes) > active and bool(e.modes[active] <= CLEAR * e.weight)


def _threshold(e: Evidence, active: int, numbers: str) -> str:
    return (
        "A VAE encodes a principal direction of the data only if its variance exceeds beta * sigma^2. This is exact for"
        f" linear VAEs (Lucas et al. 2019) and a good guide for others. {numbers} So the model can encode"
        f" {e.active_modes} of the data's directions, and encodes {active}."
    )


def _limits(first: float, last: float, active: int, most: int) -> str:
    """Below which values of a setting the model can encode one more direction, and `most` of them."""
    text = f"below {short(first)} the model can encode {'one more' if active else 'the first'} direction"
    return text if most == active + 1 else f"{text}, below {short(last)} it can encode {most}"


def _lower_sigma(e: Evidence, active: int, most: int, sigma: float) -> tuple[str, str, dict[str, Any]]:
    first, last = (sigma * float(np.sqrt(e.modes[k - 1] / e.weight)) for k in (active + 1, most))
    product = e.weight * sigma**2
    cause = _threshold(e, active, f"Here beta * sigma^2 = {short(e.weight)} * {short(sigma)}^2 = {short(product)}, and"
                       f" the variance of direction {active + 1} of the data is"
                       f" {short(e.modes[active] * sigma**2)}.")  # fmt: skip
    remedy = (
        "Learn sigma, which sets it to the noise of the data. If you give sigma as a number:"
        f" {_limits(first, last, active, most)}."
    )
    settings: dict[str, Any] = {"likelihood.sigma": "learned"}
    if e.weight > STRONG:
        remedy += " Lower beta to 1 as well."
        settings["objective.beta"] = 1.0
    return cause, remedy, settings


def _lower_beta(e: Evidence, active: int, most: int) -> tuple[str, str, dict[str, Any]]:
    first, last = beta_limit(e, active + 1), beta_limit(e, most)
    noise = "the learned sigma" if e.likelihood.has_sigma else f"the {e.likelihood.title}"
    cause = _threshold(
        e, active, f"Here beta is {short(e.weight)}, and the variance of direction {active + 1} of the data is"
        f" {short(e.modes[active])} times the noise variance of {noise}.",
    )  # fmt: skip
    beta = 1.0 if last > 1 and e.weight > 1 else rounded(BELOW_LIMIT * last)
    return cause, f"Lower beta: {_limits(first, last, active, most)}.", e.objective.with_rate_weight(beta)


def beta_limit(e: Evidence, k: int) -> float:
    """The beta below which a linear VAE encodes k modes.

    With a fixed sigma it is modes[k-1]. A learned sigma adapts to k encoded modes, sigma^2 = sum(i > k) l_i /
    (d - beta k), and the limit is beta = l_k d / (sum(i > k) l_i + k l_k).
    """
    if not e.likelihood.has_sigma or e.fixed_sigma is not None:
        return float(e.modes[k - 1])
    rest, last = float(e.modes[k:].sum()), float(e.modes[k - 1])
    return last * e.values / max(rest + k * last, 1e-300)


def _training_failed(e: Evidence) -> tuple[str, str, dict[str, Any]]:
    strongest = e.modes[0] if len(e.modes) else 0.0
    reason = (
        f"The settings allow {e.active_modes} directions of the data to be encoded (the variance of the strongest is"
        f" {short(strongest)} times the noise variance, and beta is {short(e.weight)}), so training lost them."
    )
    if e.config.objective.schedule == "constant":
        return (
            f"{reason} The rate had its full weight from the first step, before the decoder had learned to use the"
            " codes. Giving up the codes was cheapest then.",
            "Warm beta up: raise it from 0 over the first steps.",
            {"objective.schedule": "linear"},
        )
    return (
        f"{reason} Either the steps were too large and the decoder lost its input, or the warm-up was too short.",
        "Lower the learning rate, clip the gradient, and warm beta up for longer.",
        {"optimizer.lr": rounded(e.config.optimizer.lr / 5), "optimizer.clip": 100.0,
         "objective.warmup": max(1, e.plan.steps // 2)},
    )  # fmt: skip


@rule("the rise plus 3 standard errors has to stay small", test=20, steps=FEW_STEPS)
def ignored(e: Evidence) -> Finding | None:
    """The decoder does as well with shuffled codes as with the right ones."""
    if e.latents is None or "test" not in e.scores or not e.gradient:
        return None
    rise, error, rate = e.latents.shuffled, e.latents.shuffled_stderr, e.scores["test"].rate
    if e.has_density and (rate or 0) < LEAST_RATE:
        return None  # there is nothing to decode: that is collapse
    # A rise that is not significant is no evidence that there is none: the largest one that fits has to be small.
    if rise + standard_errors(e.scores["test"].items) * error > _least_rise(e, rate):
        return None
    at_rate = f", at a rate of {short(rate)} nats" if e.has_density and rate else ""
    lr = rounded(e.config.optimizer.lr / 5)
    return Finding(
        "codes-ignored",
        "The decoder ignores the codes",
        0.95,
        f"With shuffled codes, each {e.unit} decoded from the code of another, the distortion rises by only"
        f" {short(rise)} ± {short(error)} nats{at_rate}. Every code gives the same output.",
        "The decoder has lost its connection to the codes. The usual reason is a step that was far too large early in"
        " training, after which the decoder's units no longer react.",
        "Train again with a lower learning rate and gradient clipping.",
        {"optimizer.lr": lr, "optimizer.clip": 100.0},
    )


def _least_rise(e: Evidence, rate: float | None) -> float:
    """The rise of the distortion, in nats, below which the decoder does not read the codes."""
    if e.has_density and rate:
        return LEAST_GAIN * rate
    return OF_SPREAD * e.values * e.noise.spread / (2 * e.noise.variance) if e.noise is not None else 0.0


@rule(
    "3 standard errors, over half the test items",
    test=50,
    steps=SOME_STEPS,
)
def holes(e: Evidence) -> Finding | None:
    """A density fitted to training codes describes test codes much better than the prior does."""
    if e.gap is None or not e.gradient:
        return None
    rate = e.scores["test"].rate if "test" in e.scores else None
    share = e.gap.nats / rate if rate else 1.0
    measured = e.scores["test"].items // 2 if "test" in e.scores else 0
    if e.gap.nats < max(HOLE, standard_errors(measured) * e.gap.stderr) or share < HOLE_SHARE:
        return None
    cause, remedy, settings = _why_holes(e)
    of_rate = f", {share:.0%} of the rate" if rate and share < 1 else ""
    return Finding(
        "prior-mismatch",
        "The codes do not follow the prior: samples come from holes in the latent space",
        0.45 + 0.3 * min(1.0, share),
        f"{e.gap.what[0].upper()}{e.gap.what[1:]} fitted to the training codes gives the codes of test {e.unit}s a"
        f" log-density {short(e.gap.nats)} ± {short(e.gap.stderr)} nats higher than the prior does{of_rate}.",
        cause,
        f"{remedy} Or, without training again, sample from a density fitted to the codes.",
        settings,
        f"latlas sample RUN --density {'mixture' if e.gap.is_mixture else 'full'}",
        about="places",
    )


def _why_holes(e: Evidence) -> tuple[str, str, dict[str, Any]]:
    short_training, stronger_mmd = underfits(e), e.objective.stronger_prior_match
    if short_training is not None and e.weight >= LIGHT:
        return (
            "Training was short: the codes spread out before they approach the prior.",
            "Train for longer before you judge the prior.",
            dict(short_training.settings),
        )
    if stronger_mmd:
        return (
            "The weight of the MMD is too small to pull the codes to the prior.",
            "Raise it.",
            {key: rounded(value) for key, value in stronger_mmd.items()},
        )
    if e.weight < LIGHT:
        return (
            f"With beta = {short(e.weight)}, codes that leave the prior cost almost nothing.",
            "Raise beta to 1.",
            {"objective.beta": 1.0},
        )
    if e.gap is not None and not e.gap.is_mixture:
        return (
            "The codes follow one Gaussian that differs from the prior in its mean, scale or axes.",
            "Train for longer; if that does not help, raise beta.",
            {"training.epochs": 2 * e.plan.epochs},
        )
    return (
        "The codes follow a distribution that one Gaussian cannot describe.",
        "Learn the prior together with the codes (a VampPrior).",
        {"prior.name": "vamp"},
    )


@rule("activity 0.01, as above", test=20, steps=SOME_STEPS)
def too_many(e: Evidence) -> Finding | None:
    """Many dimensions are inactive, and no setting is to blame."""
    if e.latents is None or not e.gradient or not e.prior.standard_normal:
        return None
    active, count = int(e.latents.active.sum()), len(e.latents.activity)
    if count - active < max(1, TOO_MANY * count) or not active or partly_collapsed(e) is not None:
        return None
    return Finding(
        "too-many-dimensions",
        f"{count - active} of {count} latent dimensions are inactive: {active} would be enough",
        0.2,
        f"{counted(count - active, 'dimension')} {'carries' if count - active == 1 else 'carry'} only the prior's"
        " noise (activity below 0.01), or the decoder does not read"
        " them.",
        "The model describes these data with fewer dimensions than it has: the others would save less distortion than"
        " their rate costs. This does not harm the ELBO, but traversals along inactive dimensions show nothing.",
        "Use about as many dimensions as are active.",
        {"model.latent": active},
        about="dimensions",
        dimensions=_inactive(e.latents),
    )


@rule(
    "PCA with as many dimensions: a model that does worse is not at its limit",
    train=200,
    test=20,
    steps=SOME_STEPS,
)
def too_few(e: Evidence) -> Finding | None:
    """All dimensions are active, and the reconstructions miss much of the active modes' variance."""
    if e.latents is None or e.noise is None or not e.gradient or not e.latents.active.all():
        return None
    count, possible = len(e.latents.activity), _share_of_modes(e, e.active_modes)
    explained = 1 - e.noise.largest / e.noise.spread if e.noise.spread else 1.0
    if count == PLOTTED or e.active_modes <= count or explained >= TOO_FEW * possible:
        return None
    if explained < AS_GOOD * _share_of_modes(e, count):
        return None
    return Finding(
        "too-few-dimensions",
        f"{count} latent {'dimension is' if count == 1 else 'dimensions are'} too few for these data",
        0.4,
        f"Every dimension is active. The reconstructions explain {explained:.0%} of the data's variance; the"
        f" {e.active_modes} principal directions above the likelihood's noise hold {possible:.0%}, in units of that"
        " noise.",
        "What the codes cannot hold is left to the likelihood's noise: reconstructions blur.",
        "Give the model more latent dimensions; those that the data do not need stay inactive at no cost.",
        {"model.latent": min(e.active_modes, 2 * count)},
    )


def _share_of_modes(e: Evidence, count: int) -> float:
    """The share of the data's variance that its first `count` modes hold, in units of the noise."""
    total = float(e.modes.sum())
    return float(e.modes[:count].sum()) / total if total > 0 else 0.0


def _listed(values: np.ndarray, most: int = 8) -> str:
    ordered = np.sort(values)[::-1]
    shown = ", ".join(f"{v:.2f}" for v in ordered[:most])
    return shown + (", ..." if len(ordered) > most else "")
