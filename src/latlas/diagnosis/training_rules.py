"""Rules on training: divergence, interruption, over- and underfitting, the learning rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from latlas.build import GOOD_STEPS, most_epochs
from latlas.diagnosis import training_curves
from latlas.diagnosis.evidence import Evidence
from latlas.diagnosis.finding import Finding, rounded, short
from latlas.diagnosis.rule import FEW_STEPS, SIGNIFICANT, SOME_STEPS, rule, standard_errors
from latlas.networks import HIDDEN
from latlas.text import counted

OVERFIT = 0.15  # least share of the training gain that unseen items miss; 8,000 images of Fashion-MNIST: 0.05
WORSE = 0.05  # least share of validation's gain that was lost again by the last epoch
FALLING = (
    0.1  # least share of the gain in the last quarter; up to 0.08 where twice the steps gain nothing more
)
ENOUGH = 20  # held-out items whose curve tells a trend
FEW_ROWS = 4  # epochs that a trend needs
STRAIGHT = 0.5  # least bend (`training_curves.bend`) of a cost that has not begun to level off
TRAVEL = 0.02  # least sum of learning rates: half the initial weights of a layer with 784 inputs, 1/28
MOVED = 0.1  # least sum of learning rates after which a VAE has left the state that it starts in, where codes are idle
USUAL_LR = 1e-3  # from this learning rate on, Adam is not too slow
SHORT_STEPS = GOOD_STEPS // 5  # with fewer steps, a straight curve means short training, not slow training
SPIKE = 0.2  # share of the gain by which a row exceeds the best before it: more than the noise of batches
OFTEN = 0.03  # share of rows with spikes that is no accident, though each of them is over at once
SCATTER = 5.0  # times the scatter of the rows that a spike exceeds
USELESS = 0.02  # share of the cost without codes: a smaller gain, on data with clear directions, is no gain
CLIPPED = 20.0  # median gradient norm over the bound: Adam tolerates a bound that scales all steps alike
CLEAR = 2.0  # a mode this many times the weight is clear enough for any model to encode


@rule("one number that is not finite is enough")
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


@rule("none: it reads the log")
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


@rule("3 standard errors of the gains; of a validation that gets worse, that of its gain", train=5)
def overfits(e: Evidence) -> Finding | None:
    """The model does better on training items than on unseen ones, or validation has got worse."""
    held_out = _held_out(e)
    if not e.gradient or not held_out or not gained(e):
        return None
    train, unseen = e.scores["train"], e.scores[held_out]
    gap = train.gain - unseen.gain
    share = gap / train.gain
    significant = gap > _least(train.items, unseen.items) * float(
        np.hypot(train.gain_stderr, unseen.gain_stderr)
    )
    worse = _worsening(e)
    if not (significant and share > OVERFIT) and not worse:
        return None
    name = "validation" if held_out == "valid" else "test"
    limit = e.config.data.limit
    limited = "" if limit is None else f" data.limit = {limit:,} leaves out the others."
    lost = f": {share:.0%} less" if 0 < unseen.gain < train.gain else ""
    return Finding(
        "overfitting",
        "The model overfits: it does better on training data than on unseen data",
        0.4 + min(0.5, max(share, 0.0)),
        f"Over the mean {e.unit}, training {e.unit}s gain {short(train.gain)} nats each and {name} {e.unit}s"
        f" {short(unseen.gain)} ± {short(unseen.gain_stderr)}{lost}.{worse}",
        f"The model saw {e.counts['train']:,} training {e.unit}s {_passes(e):,} times each: too few {e.unit}s for"
        f" its size, or too many passes.{limited}",
        "More data help most. Otherwise stop at the best validation score, use a smaller network, or raise"
        " optimizer.weight_decay; corrupted inputs (corruption.name=gaussian) help too.",
        ({"training.patience": 5} if e.counts["valid"] else {})
        | (_smaller_network(e) if not limited else {"data.limit": None}),
    )


def _passes(e: Evidence) -> int:
    return -(-e.trained_steps // e.plan.per_epoch)


def _held_out(e: Evidence) -> str:
    """The split of unseen items to compare training items with: validation, unless it is small and test is larger."""
    if "train" not in e.scores:
        return ""
    counts = {name: e.scores[name].items for name in ("valid", "test") if name in e.scores}
    if counts.get("valid", 0) >= ENOUGH:
        return "valid"
    return max(counts, key=lambda name: counts[name], default="")


def _least(*items: int) -> float:
    """The standard errors that a difference between means over so many items needs."""
    return standard_errors(min(items))


def _worsening(e: Evidence) -> str:
    """That validation has got worse, and since which epoch; empty where it has not, or not by more than chance."""
    curve = training_curves.validation(e)
    if len(curve) < FEW_ROWS or "valid" not in e.scores:
        return ""
    valid = e.scores["valid"]
    lost, gain = curve.worsened(), training_curves.baseline(e, "valid") - float(curve.cost.min())
    # The same items twice differ by less than their cost varies, so this asks for more than it needs to.
    noise = max(SIGNIFICANT * np.sqrt(2) * curve.noise, _least(valid.items) * valid.gain_stderr / SIGNIFICANT)
    if gain <= _least(valid.items) * valid.gain_stderr or lost < WORSE * gain or lost < noise:
        return ""
    epoch = next(row["epoch"] for row in e.epochs if row["step"] == curve.steps[curve.cost.argmin()])
    return f" Validation has got worse since epoch {epoch}, by {lost / gain:.0%} of its gain."


def _smaller_network(e: Evidence) -> dict[str, Any]:
    if "hidden" not in e.reads:
        return {}
    hidden = e.config.network.hidden or HIDDEN
    return {"network.hidden": [max(16, width // 4) for width in hidden]}


@rule("3 times the scatter of the curve")
def underfits(e: Evidence) -> Finding | None:
    """Training was too short to have an effect, or the score was still improving at its end."""
    if not e.gradient or not e.finished:
        return None
    brief = _passes(e) < most_epochs(e.config, e.kind)
    few = e.trained_steps < FEW_STEPS or (e.trained_steps < SOME_STEPS and gained(e))
    if brief and (few or (e.trained_steps < SHORT_STEPS and not moved(e))):
        return _few_steps(e)
    by_epoch, items = training_curves.validation(e), e.scores["valid"].items if "valid" in e.scores else 0
    curve, split = (
        (by_epoch, "valid")
        if len(by_epoch) >= FEW_ROWS and items >= ENOUGH
        else (training_curves.training(e), "train")
    )
    if len(curve) < FEW_ROWS:
        return _few_steps(e) if brief and e.trained_steps < SHORT_STEPS and gained(e) else None
    share = curve.late(training_curves.baseline(e, split))
    if share < FALLING or not gained(e) or curve.late_nats() < SIGNIFICANT * np.sqrt(2) * curve.noise:
        return None
    return Finding(
        "underfitting",
        "Training ended too early: the score was still improving",
        0.4 + min(0.4, share),
        f"The last quarter of the {e.trained_steps:,} steps brought {share:.0%} of the whole gain on"
        f" {'validation' if split == 'valid' else 'training'} {e.unit}s.",
        "A converged model gains almost nothing in the last quarter.",
        "Train for longer.",
        {"training.epochs": 3 * e.plan.epochs},
    )


def gained(e: Evidence) -> bool:
    """Whether the gain of training is significant; shares of no gain are noise."""
    train = e.scores.get("train")
    return train is None or train.gain > _least(train.items) * train.gain_stderr


def moved(e: Evidence) -> bool:
    """Whether the weights could leave their initial values; True where the log does not tell."""
    return not e.steps or training_curves.travel(e) >= MOVED


def _few_steps(e: Evidence) -> Finding:
    none = e.trained_steps < FEW_STEPS
    epochs = max(2 * e.plan.epochs, round(GOOD_STEPS / e.plan.per_epoch))
    return Finding(
        "underfitting",
        "This is hardly any training" if none else "Training ended too early",
        0.9 if none else 0.5,
        f"Training took {counted(e.trained_steps, 'step')}: too few to tell anything of the model."
        if none
        else f"Training took {e.trained_steps:,} steps, too few for a gain or a trend to show.",
        f"With the default learning rate, small data sets need about {GOOD_STEPS:,} steps before the score levels off."
        " Until then codes, reconstructions and samples say nothing about the settings.",
        "Train for longer.",
        {"training.epochs": min(most_epochs(e.config, e.kind), epochs)},
    )


@rule(
    "5 times the scatter of the curve; of a gain that is missing, 3 standard errors",
    train=5,
    steps=FEW_STEPS,
)
def rate_too_high(e: Evidence) -> Finding | None:
    """The cost has spikes, or the model has learned nothing from data with clear directions."""
    if not e.gradient or not e.finite or "train" not in e.scores:
        return None
    spikes = _spikes(e) if gained(e) else 0
    # Of a VAE that learned nothing, collapse says more; at a small rate, steps are not too large.
    failed = _learned_nothing(e) and not e.variational and e.config.optimizer.lr >= USUAL_LR
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


def _spikes(e: Evidence) -> int:
    """How many rows lie above the best before them by more than a share of the gain, and more than they scatter.

    None where these are single rows, and few: one batch with an item far out costs a lot and changes nothing.
    """
    curve = training_curves.training(e)
    gain = training_curves.baseline(e) - float(curve.cost.min()) if len(curve) else 0.0
    least = max(SPIKE, SCATTER * curve.noise / gain) if gain > 0 else np.inf
    high = training_curves.rises(e) > least
    lasting = bool((high[1:] & high[:-1]).any()) or bool(high[-1:].any())
    return int(high.sum()) if lasting or high.mean() > OFTEN else 0


def _learned_nothing(e: Evidence) -> bool:
    clear = len(e.modes) > 0 and e.modes[0] > CLEAR * max(e.weight, 1.0)
    train = e.scores["train"]
    # That nothing was gained is known only where a gain would have shown.
    most = train.gain + _least(train.items) * train.gain_stderr
    return clear and e.trained_steps >= SHORT_STEPS and most < USELESS * abs(train.baseline)


@rule("the median of the log's rows", steps=FEW_STEPS)
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


@rule("none for the sum of learning rates; six rows for the bend of the curve", steps=SHORT_STEPS)
def rate_too_low(e: Evidence) -> Finding | None:
    """Weights could hardly move, or the cost fell along a straight line, although training was not short."""
    if not e.gradient or not e.steps:
        return None
    travel, bend = training_curves.travel(e), training_curves.bend(e)
    if travel < TRAVEL:
        evidence = (
            f"In {e.plan.steps:,} steps a weight could move by about {short(travel)} at most: it moves by no more"
            " than about the learning rate in a step. The initial weights of networks are about as large, or larger."
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
    # A schedule that ends at 0 leaves nothing to the last quarter, so that the whole second half is looked at.
    return training_curves.training(e).late(training_curves.baseline(e), 0.5) > FALLING


@rule("none: it counts")
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
