"""Rules on training: what broke off, over- and underfitting, the learning rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from latlas.build import GOOD_STEPS
from latlas.diagnosis import training_curves
from latlas.diagnosis.evidence import Evidence
from latlas.diagnosis.finding import Finding, rounded, short
from latlas.networks import HIDDEN

OVERFIT = 0.15  # share of the training items' gain that unseen items do not get; 8,000 images of Fashion-MNIST: 0.05
CERTAIN = 3.0  # standard errors
WORSE = 0.05  # share of what validation had gained, and lost again by the last epoch
FALLING = (
    0.06  # share of all the gain that came in the last quarter: of a cosine that has levelled off, under 0.03
)
FEW_ROWS = 4  # epochs that a trend needs
STRAIGHT = 0.5  # the bend (`training_curves.bend`) above which a cost has not begun to level off
TRAVEL = (
    0.02  # the sum of all learning rates: half of what a weight of a layer with 784 inputs begins with, 1/28
)
USUAL_LR = 1e-3  # from here on Adam's rate is not what makes training slow
SHORT_STEPS = GOOD_STEPS // 5  # fewer steps than these and a straight curve: training was short, not slow
SPIKE = 0.2  # of the gain, that one row lies above the best before it: no noise of a batch does that
USELESS = 0.02  # of the cost without codes: a gain below it, where the data have clear directions, is none
CLIPPED = 20.0  # times the bound, of the median gradient: Adam forgives a bound that scales all steps alike
STANDING = 2.0  # a mode so many times the weight is clear enough for any model to find


def not_finite(e: Evidence) -> Finding | None:
    """Numbers that are not finite, in the model or on the way to it."""
    diverged = not e.finite
    if not diverged and (e.finished or e.weights):
        return None
    last = e.steps[-1]["step"] if e.steps else 0
    where = (
        f"What the model gives for some {e.unit}s is not a finite number."
        if diverged
        else f"There are no weights: training broke off within the first epoch, after logged step {last:,} of"
        f" {e.plan.steps:,}."
    )
    return Finding(
        "diverged",
        "Training has diverged" if diverged else "Training broke off before the first epoch was over",
        1.0,
        where,
        f"Most likely a step was too large: the learning rate is {short(e.config.optimizer.lr)}"
        f" and {_bound(e)}."
        + ("" if diverged else " (An interrupted run is continued with latlas train --resume.)"),
        _how_smaller(e),
        _smaller_steps(e),
    )


def unfinished(e: Evidence) -> Finding | None:
    """A run that stands still before its end."""
    if e.finished or not e.weights or not e.gradient:
        return None
    last = e.steps[-1]["step"] if e.steps else 0
    return Finding(
        "unfinished",
        "The run has not reached its end",
        0.5,
        f"The log ends at step {last:,} of {e.plan.steps:,}, and there are no final numbers.",
        "It was interrupted, or it is training still, or it met a loss that is not finite (then it said so).",
        "Continue it; where it breaks off again, begin anew with a lower learning rate.",
        {},
        "latlas train --resume RUN",
    )


def _bound(e: Evidence) -> str:
    clip = e.config.optimizer.clip
    return "gradients are not bounded" if clip is None else f"gradients are bounded at {short(clip)}"


def _smaller_steps(e: Evidence) -> dict[str, Any]:
    slower = {"optimizer.lr": min(2e-3, rounded(e.config.optimizer.lr / 5))}
    return slower if e.config.optimizer.clip is not None else {**slower, "optimizer.clip": 100.0}


def _how_smaller(e: Evidence) -> str:
    bound = " and bound the gradient" if e.config.optimizer.clip is None else ""
    return f"Lower the learning rate{bound}."


def overfits(e: Evidence) -> Finding | None:
    """The model serves training items better than unseen ones, or validation has got worse."""
    held = "valid" if "valid" in e.scores else "test"
    if not e.gradient or "train" not in e.scores or held not in e.scores:
        return None
    train, other = e.scores["train"], e.scores[held]
    gap = train.gain - other.gain
    share = gap / train.gain if train.gain > 0 else 0.0
    sure = gap > CERTAIN * float(np.hypot(train.gain_stderr, other.gain_stderr))
    lost, since = _worsening(e)
    if not (sure and share > OVERFIT) and lost < WORSE:
        return None
    name = "validation" if held == "valid" else "test"
    limit = e.config.data.limit
    limited = "" if limit is None else f" data.limit = {limit:,} keeps the others away."
    worse = (
        f" Validation has got worse since epoch {since}, by {lost:.0%} of all it had gained."
        if lost >= WORSE
        else ""
    )
    return Finding(
        "overfitting",
        "The model knows the training data better than the data at large",
        0.4 + min(0.5, max(share, lost)),
        f"Beside the mean {e.unit}, training {e.unit}s gain {short(train.gain)} nats each and {name} {e.unit}s"
        f" {short(other.gain)} ± {short(other.gain_stderr)}: {max(0.0, share):.0%} less.{worse}",
        f"{e.counts['train']:,} training {e.unit}s were seen {e.plan.epochs:,} times each: they are too few for a model"
        f" of this size, or for that many passes.{limited}",
        "More data help most. Else stop when validation is best, take a smaller network, or let weights decay more"
        " (optimizer.weight_decay); corrupted inputs (corruption.name=gaussian) help too.",
        ({"training.patience": 5} if e.counts["valid"] else {})
        | (_smaller_network(e) if not limited else {"data.limit": None}),
    )


def _worsening(e: Evidence) -> tuple[float, int]:
    """The share of validation's gain that was lost again, and the epoch since when."""
    curve = training_curves.validation(e)
    if len(curve) < FEW_ROWS:
        return 0.0, 0
    rows = [row for row in e.epochs if row.get("valid")]
    return curve.worsened(training_curves.baseline(e, "valid")), int(rows[int(curve.cost.argmin())]["epoch"])


def _smaller_network(e: Evidence) -> dict[str, Any]:
    if "hidden" not in e.network.reads:
        return {}
    hidden = e.config.network.hidden or HIDDEN
    return {"network.hidden": [max(16, width // 4) for width in hidden]}


def underfits(e: Evidence) -> Finding | None:
    """The validation score was still getting better at the end."""
    if not e.gradient or not e.finished or rate_too_low(e) is not None:
        return None
    by_epoch = training_curves.validation(e)
    curve, split = (
        (by_epoch, "valid") if len(by_epoch) >= FEW_ROWS else (training_curves.training(e), "train")
    )
    if len(curve) < FEW_ROWS:
        return _short(e)
    share = curve.late(training_curves.baseline(e, split))
    if share < FALLING or not gained(e):
        return None
    return Finding(
        "underfitting",
        "Training was over too soon: the score was still getting better",
        0.4 + min(0.4, share),
        f"The last quarter of the {e.plan.steps:,} steps brought {share:.0%} of all the gain, on {_named(split)}.",
        "A model that is done gains next to nothing in the last quarter.",
        "Train for longer.",
        {"training.epochs": 3 * e.plan.epochs},
    )


def gained(e: Evidence) -> bool:
    """Whether training gained anything that is certain: shares of a gain of nothing are noise."""
    train = e.scores.get("train")
    return train is None or train.gain > CERTAIN * train.gain_stderr


def _named(split: str) -> str:
    return "validation" if split == "valid" else "training items"


def _short(e: Evidence) -> Finding | None:
    if e.plan.steps >= SHORT_STEPS:
        return None
    return Finding(
        "underfitting",
        "Training was over too soon",
        0.4,
        f"It took {e.plan.steps:,} steps in all, too few for the log to show a trend.",
        f"Small data sets need about {GOOD_STEPS:,} steps with the default learning rate before they stop getting"
        " better quickly.",
        "Train for longer.",
        {"training.epochs": max(2, round(GOOD_STEPS / e.plan.per_epoch))},
    )


def rate_too_high(e: Evidence) -> Finding | None:
    """Spikes of the cost, or a model that has learned nothing from data with clear directions."""
    if not e.gradient or not e.finite or "train" not in e.scores:
        return None
    spikes = int((training_curves.rises(e) > SPIKE).sum()) if gained(e) else 0
    lost = _learned_nothing(e) and rate_too_low(e) is None and (e.latents is None or not e.variational)
    if not spikes and not lost:
        return None
    said = (
        f"{spikes} of {len(training_curves.training(e))} logged means lie above the best one before them by more than"
        f" {SPIKE:.0%} of all that training gained."
        if spikes
        else f"The model is no better than the mean {e.unit}: its gain is {short(e.scores['train'].gain)} nats of"
        f" {short(e.scores['train'].baseline)}."
    )
    return Finding(
        "learning-rate-too-high",
        "The learning rate is too high: the cost jumps"
        if spikes
        else "Training has learned nothing; most likely its steps were too large",
        0.75,
        said,
        f"At {short(e.config.optimizer.lr)}, steps overshoot; {_bound(e)}.",
        _how_smaller(e),
        _smaller_steps(e),
    )


def _learned_nothing(e: Evidence) -> bool:
    clear = len(e.modes) > 0 and e.modes[0] > STANDING * max(e.weight, 1.0)
    train = e.scores["train"]
    return clear and train.gain < USELESS * abs(train.baseline)


def clipped(e: Evidence) -> Finding | None:
    """The bound on the gradient rules the step more often than not."""
    clip, norms = e.config.optimizer.clip, training_curves.norms(e)
    if clip is None or len(norms) < FEW_ROWS or not e.gradient:
        return None
    usual = float(np.median(norms))
    if usual < CLIPPED * clip:
        return None
    return Finding(
        "always-clipped",
        "The bound on the gradient is far below the usual gradient",
        0.3,
        f"optimizer.clip is {short(clip)}, and the logged gradient norms have the median {short(usual)}.",
        "A bound is for the rare step that explodes. Under one that always acts, every batch counts the same, however"
        " wrong the model is on it.",
        "Raise the bound to a few times the usual norm; where the cost jumps then, lower the learning rate.",
        {"optimizer.clip": rounded(4 * usual)},
    )


def rate_too_low(e: Evidence) -> Finding | None:
    """Weights that could hardly move, or a cost that fell along a straight line, though training was not short."""
    if not e.gradient or e.plan.steps < SHORT_STEPS or not e.steps:
        return None
    travel, bend = training_curves.travel(e), training_curves.bend(e)
    if travel < TRAVEL:
        said = (
            f"In {e.plan.steps:,} steps a weight could move by about {short(travel)} at the most: Adam moves it by no"
            " more than the learning rate in a step. Networks start with weights about as large as that, or larger."
        )
    elif _straight(e, bend):
        said = (
            f"Over {e.plan.steps:,} steps the second half of all learning brought {bend:.0%} of what the first half"
            " did: the cost still fell along a straight line."
        )
    else:
        return None
    return Finding(
        "learning-rate-too-low",
        "The learning rate is too low: training had hardly begun when it was over",
        0.9 if travel < TRAVEL else 0.75,
        said,
        f"The learning rate is {short(e.config.optimizer.lr)}, with the schedule {e.config.optimizer.schedule}: its"
        " steps are too small to get anywhere in this time.",
        "Raise the learning rate; 0.001 to 0.004 suit most networks here.",
        {"optimizer.lr": 2e-3},
    )


def _straight(e: Evidence, bend: float | None) -> bool:
    """Whether the cost fell along a straight line to the end, at a rate that can be raised."""
    if bend is None or bend < STRAIGHT or e.config.optimizer.lr >= USUAL_LR or not gained(e):
        return False
    return training_curves.training(e).late(training_curves.baseline(e)) > FALLING


def nothing_held_out(e: Evidence) -> Finding | None:
    """No validation split."""
    if e.counts["valid"] or not e.gradient:
        return None
    return Finding(
        "no-validation",
        "Nothing was held out for validation",
        0.15,
        f"The validation split is empty; the {e.counts['train']:,} training {e.unit}s were all trained on.",
        "Without it the newest weights are kept rather than the best, and overfitting shows on test data alone.",
        "Hold a share of the training data out.",
        {"data.validation": 0.1},
    )
