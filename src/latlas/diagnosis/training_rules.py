"""Rules on training: divergence, interruption, over- and underfitting, the learning rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from latlas.build import GOOD_STEPS
from latlas.diagnosis import training_curves
from latlas.diagnosis.evidence import Evidence
from latlas.diagnosis.finding import Finding, rounded, short
from latlas.networks import HIDDEN

OVERFIT = 0.15  # least share of the training gain that unseen items miss; 8,000 images of Fashion-MNIST: 0.05
SIGNIFICANT = 3.0  # standard errors that a difference needs
WORSE = 0.05  # least share of validation's gain that was lost again by the last epoch
FALLING = 0.06  # least share of the gain in the last quarter; under 0.03 for a cosine that has levelled off
FEW_ROWS = 4  # epochs that a trend needs
STRAIGHT = 0.5  # least bend (`training_curves.bend`) of a cost that has not begun to level off
TRAVEL = 0.02  # least sum of learning rates: half the initial weights of a layer with 784 inputs, 1/28
USUAL_LR = 1e-3  # from this learning rate on, Adam is not too slow
SHORT_STEPS = GOOD_STEPS // 5  # with fewer steps, a straight curve means short training, not slow training
SPIKE = 0.2  # share of the gain by which a row exceeds the best before it: more than the noise of batches
USELESS = 0.02  # share of the cost without codes: a smaller gain, on data with clear directions, is no gain
CLIPPED = 20.0  # median gradient norm over the bound: Adam tolerates a bound that scales all steps alike
CLEAR = 2.0  # a mode this many times the weight is clear enough for any model to encode


def not_finite(e: Evidence) -> Finding | None:
    """The model's outputs are not finite, or training broke off before there was a model."""
    diverged = not e.finite
    if not diverged and (e.finished or e.weights):
        return None
    last = e.steps[-1]["step"] if e.steps else 0
    evidence = (
        f"The model's outputs for some {e.unit}s are not finite."
        if diverged
        else f"There are no weights: training broke off within the first epoch, after logged step {last:,} of"
        f" {e.plan.steps:,}."
    )
    return Finding(
        "diverged",
        "Training has diverged" if diverged else "Training broke off before the first epoch was over",
        1.0,
        evidence,
        f"Most likely a step was too large: the learning rate is {short(e.config.optimizer.lr)}"
        f" and {_clipping(e)}."
        + ("" if diverged else " (An interrupted run is continued with latlas train --resume.)"),
        _smaller_steps(e),
        _smaller_step_settings(e),
    )


def unfinished(e: Evidence) -> Finding | None:
    """The run stopped before its end."""
    if e.finished or not e.weights or not e.gradient:
        return None
    last = e.steps[-1]["step"] if e.steps else 0
    return Finding(
        "unfinished",
        "The run is unfinished",
        0.5,
        f"The log ends at step {last:,} of {e.plan.steps:,}, and there are no final numbers.",
        "The run was interrupted, is still training, or stopped at a loss that was not finite (with a message).",
        "Continue the run; if it breaks off again, start a new one with a lower learning rate.",
        {},
        "latlas train --resume RUN",
    )


def _clipping(e: Evidence) -> str:
    clip = e.config.optimizer.clip
    return "gradients are not clipped" if clip is None else f"gradients are clipped at {short(clip)}"


def _smaller_step_settings(e: Evidence) -> dict[str, Any]:
    slower = {"optimizer.lr": min(2e-3, rounded(e.config.optimizer.lr / 5))}
    return slower if e.config.optimizer.clip is not None else {**slower, "optimizer.clip": 100.0}


def _smaller_steps(e: Evidence) -> str:
    clip = " and clip the gradient" if e.config.optimizer.clip is None else ""
    return f"Lower the learning rate{clip}."


def overfits(e: Evidence) -> Finding | None:
    """The model does better on training items than on unseen ones, or validation has got worse."""
    held_out = "valid" if "valid" in e.scores else "test"
    if not e.gradient or "train" not in e.scores or held_out not in e.scores:
        return None
    train, unseen = e.scores["train"], e.scores[held_out]
    gap = train.gain - unseen.gain
    share = gap / train.gain if train.gain > 0 else 0.0
    significant = gap > SIGNIFICANT * float(np.hypot(train.gain_stderr, unseen.gain_stderr))
    lost, since = _worsening(e)
    if not (significant and share > OVERFIT) and lost < WORSE:
        return None
    name = "validation" if held_out == "valid" else "test"
    limit = e.config.data.limit
    limited = "" if limit is None else f" data.limit = {limit:,} leaves out the others."
    worse = (
        f" Validation has got worse since epoch {since}, by {lost:.0%} of its gain." if lost >= WORSE else ""
    )
    return Finding(
        "overfitting",
        "The model overfits: it does better on training data than on unseen data",
        0.4 + min(0.5, max(share, lost)),
        f"Over the mean {e.unit}, training {e.unit}s gain {short(train.gain)} nats each and {name} {e.unit}s"
        f" {short(unseen.gain)} ± {short(unseen.gain_stderr)}: {max(0.0, share):.0%} less.{worse}",
        f"The model saw {e.counts['train']:,} training {e.unit}s {e.plan.epochs:,} times each: too few {e.unit}s for"
        f" its size, or too many passes.{limited}",
        "More data help most. Otherwise stop at the best validation score, use a smaller network, or raise"
        " optimizer.weight_decay; corrupted inputs (corruption.name=gaussian) help too.",
        ({"training.patience": 5} if e.counts["valid"] else {})
        | (_smaller_network(e) if not limited else {"data.limit": None}),
    )


def _worsening(e: Evidence) -> tuple[float, int]:
    """The share of validation's gain that was lost again, and the epoch after which it was lost."""
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
    """The score was still improving at the end of training."""
    if not e.gradient or not e.finished or rate_too_low(e) is not None:
        return None
    by_epoch = training_curves.validation(e)
    curve, split = (
        (by_epoch, "valid") if len(by_epoch) >= FEW_ROWS else (training_curves.training(e), "train")
    )
    if len(curve) < FEW_ROWS:
        return _few_steps(e)
    share = curve.late(training_curves.baseline(e, split))
    if share < FALLING or not gained(e):
        return None
    return Finding(
        "underfitting",
        "Training ended too early: the score was still improving",
        0.4 + min(0.4, share),
        f"The last quarter of the {e.plan.steps:,} steps brought {share:.0%} of the whole gain on"
        f" {'validation' if split == 'valid' else 'training'} {e.unit}s.",
        "A converged model gains almost nothing in the last quarter.",
        "Train for longer.",
        {"training.epochs": 3 * e.plan.epochs},
    )


def gained(e: Evidence) -> bool:
    """Whether the gain of training is significant; shares of no gain are noise."""
    train = e.scores.get("train")
    return train is None or train.gain > SIGNIFICANT * train.gain_stderr


def _few_steps(e: Evidence) -> Finding | None:
    if e.plan.steps >= SHORT_STEPS:
        return None
    return Finding(
        "underfitting",
        "Training ended too early",
        0.4,
        f"Training took {e.plan.steps:,} steps, too few for the log to show a trend.",
        f"With the default learning rate, small data sets need about {GOOD_STEPS:,} steps before the score levels off.",
        "Train for longer.",
        {"training.epochs": max(2, round(GOOD_STEPS / e.plan.per_epoch))},
    )


def rate_too_high(e: Evidence) -> Finding | None:
    """The cost has spikes, or the model has learned nothing from data with clear directions."""
    if not e.gradient or not e.finite or "train" not in e.scores:
        return None
    spikes = int((training_curves.rises(e) > SPIKE).sum()) if gained(e) else 0
    failed = _learned_nothing(e) and rate_too_low(e) is None and (e.latents is None or not e.variational)
    if not spikes and not failed:
        return None
    evidence = (
        f"{spikes} of {len(training_curves.training(e))} logged means exceed the best one before them by more than"
        f" {SPIKE:.0%} of the whole gain of training."
        if spikes
        else f"The model is no better than the mean {e.unit}: its gain is {short(e.scores['train'].gain)} nats of"
        f" {short(e.scores['train'].baseline)}."
    )
    return Finding(
        "learning-rate-too-high",
        "The learning rate is too high: the cost jumps"
        if spikes
        else "The model has learned nothing; most likely the steps were too large",
        0.75,
        evidence,
        f"At a learning rate of {short(e.config.optimizer.lr)} steps overshoot; {_clipping(e)}.",
        _smaller_steps(e),
        _smaller_step_settings(e),
    )


def _learned_nothing(e: Evidence) -> bool:
    clear = len(e.modes) > 0 and e.modes[0] > CLEAR * max(e.weight, 1.0)
    train = e.scores["train"]
    return clear and train.gain < USELESS * abs(train.baseline)


def clipped(e: Evidence) -> Finding | None:
    """Gradient clipping acts on most steps."""
    clip, norms = e.config.optimizer.clip, training_curves.norms(e)
    if clip is None or len(norms) < FEW_ROWS or not e.gradient:
        return None
    usual = float(np.median(norms))
    if usual < CLIPPED * clip:
        return None
    return Finding(
        "always-clipped",
        "The gradient is almost always clipped",
        0.3,
        f"optimizer.clip is {short(clip)}, and the logged gradient norms have the median {short(usual)}.",
        "Clipping is meant for rare steps that explode. If it always acts, every batch counts the same, however large"
        " its error.",
        "Raise the bound to a few times the median norm; if the cost then jumps, lower the learning rate.",
        {"optimizer.clip": rounded(4 * usual)},
    )


def rate_too_low(e: Evidence) -> Finding | None:
    """Weights could hardly move, or the cost fell along a straight line, although training was not short."""
    if not e.gradient or e.plan.steps < SHORT_STEPS or not e.steps:
        return None
    travel, bend = training_curves.travel(e), training_curves.bend(e)
    if travel < TRAVEL:
        evidence = (
            f"In {e.plan.steps:,} steps a weight could move by about {short(travel)} at most: Adam moves it by no more"
            " than the learning rate in a step. The initial weights of networks are about as large, or larger."
        )
    elif _straight(e, bend):
        evidence = (
            f"Over {e.plan.steps:,} steps the second half of all learning lowered the cost by {bend:.0%} of what the"
            " first half did: the cost still fell along a straight line."
        )
    else:
        return None
    return Finding(
        "learning-rate-too-low",
        "The learning rate is too low: training ended when it had hardly begun",
        0.9 if travel < TRAVEL else 0.75,
        evidence,
        f"The learning rate is {short(e.config.optimizer.lr)}, with the schedule {e.config.optimizer.schedule}: the"
        " steps are too small to reach a good model in this time.",
        "Raise the learning rate; 0.001 to 0.004 suit most networks here.",
        {"optimizer.lr": 2e-3},
    )


def _straight(e: Evidence, bend: float | None) -> bool:
    """Whether the cost fell along a straight line to the end, at a learning rate that can be raised."""
    if bend is None or bend < STRAIGHT or e.config.optimizer.lr >= USUAL_LR or not gained(e):
        return False
    return training_curves.training(e).late(training_curves.baseline(e)) > FALLING


def nothing_held_out(e: Evidence) -> Finding | None:
    """There is no validation split."""
    if e.counts["valid"] or not e.gradient:
        return None
    return Finding(
        "no-validation",
        "Nothing was held out for validation",
        0.15,
        f"The validation split is empty; the model was trained on all {e.counts['train']:,} training {e.unit}s.",
        "Without it the newest weights are kept, not the best, and overfitting shows only on test data.",
        "Hold out a share of the training data.",
        {"data.validation": 0.1},
    )
