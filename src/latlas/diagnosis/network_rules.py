"""Rules on dead units, and on test items that differ from the training data."""

from __future__ import annotations

import math

from latlas.diagnosis.evidence import Evidence
from latlas.diagnosis.finding import Finding, rounded, short
from latlas.diagnosis.rule import rule

MANY_DEAD = 0.2  # share of a layer's units: a few dead ones are usual with ReLU
# From this share on a layer passes nothing on. Below, it is a notice: on Fashion-MNIST 317 of 512 units were dead, and
# a third of the learning rate kept all of them and cost 1.5 nats.
MOST_DEAD = 0.95
SIGNIFICANT = 5.0  # standard errors, over only ten blocks: their distribution has wide tails
FEW = 50  # items of a split whose standard error is trusted that far out
UNLIKE_MMD = 0.02  # MMD^2 along standardised axes: about that of one axis shifted by a standard deviation
UNLIKE_COST = 0.15  # share of validation's gain by which test items must cost more


@rule("a ten-thousandth of the widest range in the layer", test=50)
def dead_units(e: Evidence) -> Finding | None:
    """Units that give the same value for every item."""
    worst = max(e.layers, key=lambda layer: layer.dead / layer.units, default=None)
    if worst is None or worst.dead / worst.units < MANY_DEAD:
        return None
    share = worst.dead / worst.units
    bad = [layer for layer in e.layers if layer.dead / layer.units >= MANY_DEAD]
    listed = ", ".join(f"{layer.dead:,} of {layer.units:,} in {layer.name}" for layer in bad)
    relu = any(layer.flat for layer in bad)
    return Finding(
        "dead-units",
        f"{share:.0%} of the units of a hidden layer are dead",
        0.8 if share > MOST_DEAD else 0.25,
        f"Units that give the same value for each of the test {e.unit}s: {listed}.",
        "One step that is too large moves a unit to where its activation is flat. There its gradient is zero, and it"
        " never recovers." + (" A ReLU is flat over half its range." if relu else ""),
        "The others do the work. If they are too few, lower the learning rate"
        + (" and use an activation that is flat nowhere." if relu else "."),
        {"optimizer.lr": rounded(e.config.optimizer.lr / 3)}
        | ({"network.activation": "silu"} if relu and "activation" in e.reads else {}),
    )


@rule("5 standard errors", test=50)
def unlike_test(e: Evidence) -> Finding | None:
    """Test items follow another distribution than the training items."""
    if e.drift is None or not e.gradient:
        return None
    drifted = e.drift.mmd > max(UNLIKE_MMD, SIGNIFICANT * e.drift.stderr)
    extra = _extra_cost(e)
    if not drifted and extra is None:
        return None
    cost = (
        f" Test {e.unit}s cost {short(extra)} nats more than validation {e.unit}s."
        if extra is not None
        else ""
    )
    return Finding(
        "test-unlike-training",
        "The test data differ from the training data",
        0.65,
        f"Along the first principal axes MMD² between them is {short(e.drift.mmd)} ± {short(e.drift.stderr)} (0 for"
        f" equal distributions), and the largest shift of a mean is {short(e.drift.shift)} standard deviations.{cost}",
        "They were collected, prepared or selected differently, so test numbers describe the model on other data.",
        f"Compare a few of both. If they should be alike, shuffle the {e.unit}s before splitting them.",
    )


def _extra_cost(e: Evidence) -> float | None:
    """The cost of test items above that of validation items, in nats; None if it is small or uncertain."""
    if not {"valid", "test"} <= set(e.scores):
        return None
    valid, test = e.scores["valid"], e.scores["test"]
    more = test.cost - valid.cost
    significant = min(valid.items, test.items) >= FEW and more > SIGNIFICANT * math.hypot(
        valid.stderr, test.stderr
    )
    return more if significant and more > UNLIKE_COST * max(valid.gain, 0.0) else None
