"""Rules on the network's units, and on test items that are not like the training data."""

from __future__ import annotations

import math

from latlas.diagnosis.evidence import Evidence
from latlas.diagnosis.finding import Finding, rounded, short

MANY_DEAD, MOST_DEAD = (
    0.2,
    0.5,
)  # shares of a layer's units: a few dead ones are usual with ReLU, and harmless
CERTAIN = 5.0  # standard errors, of ten blocks: few blocks make a wide-tailed error
UNLIKE_MMD = (
    0.02  # MMD^2 of the standardised axes: a shift of one axis by a standard deviation gives about this
)
UNLIKE_COST = 0.15  # of the gain on validation, that test items get less


def dead_units(e: Evidence) -> Finding | None:
    """Units that give one value for every item."""
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
        0.8 if share > 0.95 else 0.45 if share >= MOST_DEAD else 0.25,
        f"Units that give the same value for each of the test {e.unit}s: {listed}.",
        "One step too large moves a unit to where its activation is flat; there it has no gradient, and never comes"
        " back." + (" A ReLU is flat over half its range." if relu else ""),
        "Lower the learning rate" + (" and take an activation that is flat nowhere." if relu else "."),
        {"optimizer.lr": rounded(e.config.optimizer.lr / 3)}
        | ({"network.activation": "silu"} if relu and "activation" in e.network.reads else {}),
    )


def unlike_test(e: Evidence) -> Finding | None:
    """Test items come from another law than the training items."""
    if e.drift is None or not e.gradient:
        return None
    drifted = e.drift.mmd > max(UNLIKE_MMD, CERTAIN * e.drift.stderr)
    worse = _costs_more(e)
    if not drifted and worse is None:
        return None
    told = (
        f" Test {e.unit}s cost {short(worse)} nats more than validation {e.unit}s."
        if worse is not None
        else ""
    )
    return Finding(
        "test-unlike-training",
        "The test data are not like the training data",
        0.65,
        f"Along the first principal axes the two differ by MMD² {short(e.drift.mmd)} ± {short(e.drift.stderr)} (0 for"
        f" equal laws), and a mean is shifted by {short(e.drift.shift)} standard deviations.{told}",
        "They were taken, prepared or selected in another way; numbers on them say how the model does elsewhere.",
        f"Look at a few of both; if they ought to be alike, mix the {e.unit}s before they are split.",
    )


def _costs_more(e: Evidence) -> float | None:
    """By how much test items cost more than validation items, where that is certain and much."""
    if not {"valid", "test"} <= set(e.scores):
        return None
    valid, test = e.scores["valid"], e.scores["test"]
    more = test.cost - valid.cost
    sure = more > CERTAIN * math.hypot(valid.stderr, test.stderr)
    return more if sure and more > UNLIKE_COST * max(valid.gain, 0.0) else None
