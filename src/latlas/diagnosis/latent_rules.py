"""Rules on the latent space: collapse, a decoder that ignores it, too few or too many dimensions, holes."""

from __future__ import annotations

from typing import Any

import numpy as np

from latlas.diagnosis.evidence import ACTIVE, Evidence, Latents
from latlas.diagnosis.finding import Finding, rounded, short
from latlas.diagnosis.training_rules import rate_too_low, underfits

UNUSED = 0.25  # of the dimensions, idle by a setting: fewer are not worth a word
TOO_MANY = (
    0.6  # of the dimensions, idle by themselves: they do no harm, and a default run has half of them idle
)
PRESSED = (
    1.5  # a weight, or a sigma over the calibrated one, from which settings are to blame for idle dimensions
)
CLEAR = 2.0  # a mode so far above the weight lives in theory whatever the details; if it does not, training failed
CHEAP = 0.9  # of the largest weight or sigma at which a mode lives: exactly there its rate is 0 still
READ = (
    0.1  # nats of distortion for a nat of rate: a decoder that reads its codes gains more than a nat for each
)
SOME_RATE = 0.5  # nats per item: less rate than this is none to read
TELLING = 3.0  # standard errors that a difference must have
HOLE, HOLE_SHARE = 1.0, 0.15  # nats per code, and share of the rate, by which a density must beat the prior
LIGHT = 0.5  # a weight below it lets codes leave the prior for little
PLANE = 2  # dimensions that one chooses to look at, however much they leave out
TOO_FEW = (
    0.75  # of what living modes carry; Fashion-MNIST: 0.68 with one dimension, 0.91 with two, 1.08 with 16
)


def collapsed(e: Evidence) -> Finding | None:
    """Every dimension of a variational posterior is the prior's noise."""
    if e.latents is None or not e.variational or (e.latents.activity > ACTIVE).any():
        return None
    if rate_too_low(e) is not None:
        return None  # no code tells anything before training
    rate = e.scores["test"].rate or 0.0
    cause, remedy, settings = _why_idle(e, 0)
    return Finding(
        "posterior-collapse",
        "The codes tell nothing: the whole posterior has collapsed onto the prior",
        1.0,
        f"None of the {len(e.latents.activity)} latent dimensions differs between {e.unit}s (activity below 0.01), and"
        f" the rate is {short(abs(rate))} nats per {e.unit}. Every reconstruction is the same mean {e.unit}.",
        cause,
        remedy,
        settings,
    )


def partly_collapsed(e: Evidence) -> Finding | None:
    """Several dimensions are idle, and the weight or the noise is the reason."""
    if e.latents is None or not _idle(e, e.latents):
        return None
    active, count = int(e.latents.active.sum()), len(e.latents.activity)
    if not _pressed(e) and not _fell_early(e, active):
        return None
    cause, remedy, settings = _why_idle(e, active)
    return Finding(
        "dimensions-collapsed",
        f"{count - active} of {count} latent dimensions have collapsed onto the prior",
        0.6,
        f"Only {active} dimensions differ between {e.unit}s; activity, largest first: {_listed(e.latents.activity)}.",
        cause,
        remedy,
        settings,
    )


def _idle(e: Evidence, latents: Latents) -> bool:
    active, count = int(latents.active.sum()), len(latents.activity)
    return e.variational and active > 0 and count - active >= max(1, UNUSED * count)


def _pressed(e: Evidence) -> bool:
    too_wide = e.fixed_sigma is not None and e.noise is not None and e.noise.factor > PRESSED
    return e.weight > PRESSED or too_wide


def _fell_early(e: Evidence, active: int) -> bool:
    """Without warm-up, many fewer dimensions live than the theory allows."""
    able = min(int((e.modes > CLEAR * e.weight).sum()), e.latents.activity.size if e.latents else 0)
    return e.config.objective.schedule == "constant" and able >= 2 * max(1, active)


def _why_idle(e: Evidence, active: int) -> tuple[str, str, dict[str, Any]]:
    """Cause, remedy and settings for dimensions that do not live, by the theory of linear VAEs where it explains it."""
    size = len(e.latents.activity) if e.latents is not None else 1
    if len(e.modes) <= active or e.modes[active] > CLEAR * e.weight:
        return _training_failed(e)
    wanted = min(size, len(e.modes))
    if e.fixed_sigma is not None:
        return _lower_sigma(e, active, wanted, e.fixed_sigma)
    return _lower_beta(e, active, wanted)


def _threshold(e: Evidence, active: int, words: str) -> str:
    return (
        f"A direction of the data lives in the codes only where its variance is above beta * sigma^2: this is exact"
        f" for linear VAEs (Lucas et al. 2019), and a good guide for all. {words} By that"
        f" {e.living or 'none'} of the data's directions can live here, and {active or 'none'} {_do(active)}."
    )


def _do(count: int) -> str:
    return "does" if count == 1 else "do"


def _next(active: int) -> str:
    return "one more direction" if active else "the first direction"


def _all_of(wanted: int) -> str:
    return "it" if wanted == 1 else f"as many as the model has dimensions, {wanted},"


def _lower_sigma(e: Evidence, active: int, wanted: int, sigma: float) -> tuple[str, str, dict[str, Any]]:
    limits = [sigma * float(np.sqrt(e.modes[k - 1] / e.weight)) for k in (active + 1, wanted)]
    product = e.weight * sigma**2
    cause = _threshold(e, active, f"Here beta * sigma^2 = {short(e.weight)} * {short(sigma)}^2 = {short(product)}, and"
                       f" direction {active + 1} of the data has the variance"
                       f" {short(e.modes[active] * sigma**2)}.")  # fmt: skip
    remedy = (
        "Let sigma be learned, which sets it to the data's own noise; as a number, below"
        f" {short(limits[0])} {_next(active)} lives, below {short(limits[1])} {_all_of(wanted)} can."
    )
    settings: dict[str, Any] = {"likelihood.sigma": "learned"}
    if e.weight > PRESSED:
        remedy += " Lower beta to 1 as well."
        settings["objective.beta"] = 1.0
    return cause, remedy, settings


def _lower_beta(e: Evidence, active: int, wanted: int) -> tuple[str, str, dict[str, Any]]:
    one, all_of = weights_for(e, active + 1), weights_for(e, wanted)
    noise = "the learned sigma's" if e.likelihood.has_sigma else f"the {e.likelihood.title}'s"
    cause = _threshold(
        e, active, f"Here beta is {short(e.weight)}, and direction {active + 1} of the data has"
        f" {short(e.modes[active])} times {noise} noise variance.",
    )  # fmt: skip
    beta = 1.0 if all_of > 1 and e.weight > 1 else rounded(CHEAP * all_of)
    remedy = (
        f"Lower the weight: below beta = {short(one)} {_next(active)} lives,"
        f" below {short(all_of)} {_all_of(wanted)} can."
    )
    return cause, remedy, e.objective.lighter(beta)


def weights_for(e: Evidence, k: int) -> float:
    """The beta below which k modes live.

    With sigma given, modes[k-1]; with sigma learned, where k modes live at their own sigma^2 = sum(i > k) l_i /
    (d - beta k), beta = l_k d / (sum(i > k) l_i + k l_k).
    """
    if not e.likelihood.has_sigma or e.fixed_sigma is not None:
        return float(e.modes[k - 1])
    rest, last = float(e.modes[k:].sum()), float(e.modes[k - 1])
    return last * e.values / max(rest + k * last, 1e-300)


def _training_failed(e: Evidence) -> tuple[str, str, dict[str, Any]]:
    strongest = e.modes[0] if len(e.modes) else 0.0
    told = (
        f"The settings leave room for {e.living} directions of the data (the strongest has {short(strongest)} times the"
        f" noise, and beta is {short(e.weight)}), so it is training that lost them."
    )
    if e.config.objective.schedule == "constant":
        return (
            f"{told} The rate had its full weight from the first step, before the decoder had learned to use codes:"
            " it is cheapest then to give them up.",
            "Let beta rise from 0 over the first steps.",
            {"objective.schedule": "linear"},
        )
    return (
        f"{told} Either the steps were too large and the decoder lost its input, or warm-up was too short.",
        "Lower the learning rate, bound the gradient, and let beta rise for longer.",
        {"optimizer.lr": rounded(e.config.optimizer.lr / 5), "optimizer.clip": 100.0,
         "objective.warmup": max(1, e.plan.steps // 2)},
    )  # fmt: skip


def ignored(e: Evidence) -> Finding | None:
    """Codes of other items serve the decoder as well as an item's own."""
    if e.latents is None or "test" not in e.scores or not e.gradient:
        return None
    rise, error, rate = e.latents.shuffled, e.latents.shuffled_stderr, e.scores["test"].rate
    if e.has_density and (rate or 0) < SOME_RATE:
        return None  # nothing to read: that is collapse
    if rise > max(TELLING * error, READ * rate if e.has_density and rate else 0):
        return None
    told = f" at a rate of {short(rate)} nats" if e.has_density and rate else ""
    lr = rounded(e.config.optimizer.lr / 5)
    return Finding(
        "codes-ignored",
        "The decoder ignores the codes",
        0.95,
        f"With the codes dealt to other {e.unit}s, the distortion rises by {short(rise)} ± {short(error)} nats"
        f" only{told}: any code gives the same output.",
        "The decoder has lost its connection to the codes, most often by a step far too large early in training, after"
        " which its units no longer react.",
        "Train again with a lower learning rate and a bound on the gradient.",
        {"optimizer.lr": lr, "optimizer.clip": 100.0},
    )


def holes(e: Evidence) -> Finding | None:
    """A density fitted to codes describes new codes much better than the prior."""
    if e.gap is None or not e.gradient:
        return None
    rate = e.scores["test"].rate if "test" in e.scores else None
    share = e.gap.nats / rate if rate else 1.0
    if e.gap.nats < max(HOLE, TELLING * e.gap.stderr) or share < HOLE_SHARE:
        return None
    cause, remedy, settings = _fill(e)
    told = f", {share:.0%} of the rate" if rate else ""
    return Finding(
        "prior-mismatch",
        "The codes do not lie where the prior is: samples come from holes",
        0.45 + 0.3 * min(1.0, share),
        f"{e.gap.what[0].upper()}{e.gap.what[1:]} fitted to the training codes describes the codes of test {e.unit}s by"
        f" {short(e.gap.nats)} ± {short(e.gap.stderr)} nats each better than the prior does{told}.",
        cause,
        f"{remedy} Without training again, sample from a density fitted to the codes.",
        settings,
        f"latlas sample RUN --density {'mixture' if e.gap.shaped else 'full'}",
    )


def _fill(e: Evidence) -> tuple[str, str, dict[str, Any]]:
    early, nearer = underfits(e), e.objective.nearer_to_prior
    if early is not None and e.weight >= LIGHT:
        return (
            "Training was short: codes spread out before they settle on the prior.",
            "Train for longer before you judge it.",
            dict(early.settings),
        )
    if nearer:
        return (
            "The weight of the MMD is too small to draw the codes to the prior.",
            "Raise it.",
            {key: rounded(value) for key, value in nearer.items()},
        )
    if e.weight < LIGHT:
        return (
            f"With beta = {short(e.weight)} it costs next to nothing to leave the prior.",
            "Raise beta to 1.",
            {"objective.beta": 1.0},
        )
    if e.gap is not None and not e.gap.shaped:
        return (
            "The codes fill one Gaussian, and the prior is another: their place, scale or directions differ.",
            "Train for longer; where that does not help, raise beta.",
            {"training.epochs": 2 * e.plan.epochs},
        )
    return (
        "The encoder fills a shape that a single Gaussian does not have.",
        "Learn the prior with the codes (a VampPrior).",
        {"prior.name": "vamp"},
    )


def too_many(e: Evidence) -> Finding | None:
    """Idle dimensions without any fault of the settings."""
    if e.latents is None or not e.gradient or not e.prior.standard_normal:
        return None
    active, count = int(e.latents.active.sum()), len(e.latents.activity)
    if count - active < max(1, TOO_MANY * count) or not active or partly_collapsed(e) is not None:
        return None
    return Finding(
        "too-many-dimensions",
        f"{active} latent dimensions would do: {count - active} of {count} are idle",
        0.2,
        f"{count - active} dimensions hold no more than the prior's noise (activity below 0.01), or do not reach the"
        " decoder.",
        "The decoder says what it can of these data with fewer dimensions than it has, and what the others could add is"
        " not worth its rate. It does no harm to the bound; walks along idle dimensions show nothing.",
        "Take about as many dimensions as are active.",
        {"model.latent": active},
    )


def too_few(e: Evidence) -> Finding | None:
    """All dimensions are full, and most of what the data's living modes carry is missing."""
    if e.latents is None or e.noise is None or not e.gradient or not e.latents.active.all():
        return None
    if underfits(e) is not None:  # what it has learned so far says nothing of what it could hold
        return None
    count, carried = len(e.latents.activity), _carried(e)
    explained = 1 - e.noise.residual / e.noise.spread if e.noise.spread else 1.0
    if count == PLANE or e.living <= count or explained >= TOO_FEW * carried:
        return None
    more = min(e.living, max(2 * count, int(np.sqrt(e.living * count))))
    return Finding(
        "too-few-dimensions",
        f"{count} latent {'dimension is' if count == 1 else 'dimensions are'} too few for these data",
        0.4,
        f"Every dimension is in use, and reconstructions explain {explained:.0%} of the data's variance, where the"
        f" {e.living} directions above the likelihood's noise carry {carried:.0%}, in units of that noise.",
        "What does not fit into the codes is left to the likelihood's noise, as blur.",
        "Give the model more dimensions; those that the data do not need stay idle at no cost.",
        {"model.latent": more},
    )


def _carried(e: Evidence) -> float:
    """The share of the variance, in units of the noise, that living modes carry."""
    total = float(e.modes.sum())
    return float(e.modes[: e.living].sum()) / total if total > 0 else 0.0


def _listed(values: np.ndarray, most: int = 8) -> str:
    ordered = np.sort(values)[::-1]
    shown = ", ".join(f"{v:.2f}" for v in ordered[:most])
    return shown + (", ..." if len(ordered) > most else "")
