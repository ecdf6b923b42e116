"""What the log tells of training, as arrays and the few numbers that rules compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from latlas.diagnosis.evidence import Evidence

Row = tuple[int, Mapping[str, Any]]
WINDOW = 50  # steps that a point of the training curve covers at least


@dataclass(frozen=True)
class Curve:
    """A cost in nats per item, distortion + weight * rate at the rate's full weight, over steps: both (N,)."""

    steps: np.ndarray
    cost: np.ndarray

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, share: float) -> float:
        """The cost at a share of the steps, between rows."""
        return float(np.interp(share * self.steps[-1], self.steps, self.cost))

    def late(self, start: float) -> float:
        """The share of the fall from `start` to the end that came in the last quarter of the steps."""
        return (self.at(0.75) - float(self.cost[-1])) / max(start - float(self.cost[-1]), 1e-9)

    def worsened(self, start: float) -> float:
        """How far the cost ends above its least value, as a share of the fall from `start` to that."""
        least = float(self.cost.min())
        return (float(self.cost[-1]) - least) / max(start - least, 1e-9)


def training(e: Evidence) -> Curve:
    """By the rows of kind step, as `whole_rows` joins them."""
    return _curve(e, whole_rows(e))


def whole_rows(e: Evidence) -> list[Row]:
    """The rows of kind step, means over the steps since the row before, each with its step and joined with the next
    ones until they cover 50 steps: a row of a few batches jumps by chance. What is left at the end is left out where
    it covers less than half of what the others do.
    """
    joined: list[tuple[int, Mapping[str, Any]]] = []
    kept: list[tuple[int, Mapping[str, Any]]] = []
    covered = before = 0
    for row in e.steps:
        kept.append((row["step"] - before, row))
        covered, before = covered + row["step"] - before, row["step"]
        if covered >= WINDOW:
            joined.append((covered, _averaged(kept)))
            kept, covered = [], 0
    if kept:
        joined.append((covered, _averaged(kept)))
    usual = np.median([width for width, _ in joined]) if joined else 0
    return [(row["step"], row) for width, row in joined if width >= usual / 2]


def _averaged(rows: list[tuple[int, Mapping[str, Any]]]) -> Mapping[str, Any]:
    """The mean of rows over the steps that each covers; step and rate of learning are the last one's."""
    last = rows[-1][1]
    if len(rows) == 1:
        return last
    weights = [width for width, _ in rows]
    means = {
        key: float(np.average([row.get(key) or 0.0 for _, row in rows], weights=weights))
        for key in ("distortion", "rate", "grad_norm")
        if last.get(key) is not None
    }
    return {**last, **means}


def validation(e: Evidence) -> Curve:
    """By the epochs that were validated; of a capacity, whose rate rises to it, none."""
    if e.config.objective.capacity is not None:
        return _curve(e, [])
    return _curve(e, [(row["step"], row["valid"]) for row in e.epochs if row.get("valid")])


def _curve(e: Evidence, rows: list[Row]) -> Curve:
    costs = [row["distortion"] + e.weight * (row.get("rate") or 0.0) for _, row in rows]
    return Curve(np.array([step for step, _ in rows], float), np.array(costs, float))


def norms(e: Evidence) -> np.ndarray:
    """The mean gradient norm of each row, before clipping: (N,)."""
    return np.array([row.get("grad_norm") or 0.0 for _, row in whole_rows(e)], float)


def rises(e: Evidence) -> np.ndarray:
    """How far the cost of each row lies above the least before it, as a share of all that training gained: (N,).

    Rows before the end of warm-up count as nothing, nor is anything compared with them: at a small weight the rate
    rises, and at its full weight, which the cost has, that looks like a loss.
    """
    curve = training(e)
    if len(curve) < 3:
        return np.zeros(len(curve))
    start = baseline(e)
    after = curve.steps > e.plan.warmup
    best = np.minimum.accumulate(np.where(after, curve.cost, np.inf))
    gained = max(start - float(curve.cost.min()), 1e-9)
    above = np.where(np.isfinite(best[:-1]), curve.cost[1:] - best[:-1], 0.0) / gained
    return np.concatenate([[0.0], above])


def baseline(e: Evidence, split: str = "train") -> float:
    """The cost of a model without codes on a split, in nats per item; where none was measured, the first logged."""
    if split in e.scores:
        return e.scores[split].baseline
    return float(training(e).cost[0]) if e.steps else 0.0


def travel(e: Evidence) -> float:
    """The sum of the learning rates of all steps: about the farthest that Adam can move a weight."""
    widths = np.diff([row["step"] for row in e.steps], prepend=0)
    return float(sum(row["lr"] * width for row, width in zip(e.steps, widths, strict=True)))


def bend(e: Evidence) -> float | None:
    """The slope of the cost over the second half of all learning (steps times their rate), as a share of that over
    the first half: about 1 where the cost still falls along a straight line, near 0 where it has levelled off.

    None for too few rows, or a cost that did not fall.
    """
    curve = training(e)
    if len(curve) < 6:
        return None
    rates = np.array([row["lr"] for _, row in whole_rows(e)], float)
    learned = np.cumsum(rates * np.diff(curve.steps, prepend=0.0))
    half = float(np.interp(learned[-1] / 2, learned, curve.cost))
    first, second = float(curve.cost[0]) - half, half - float(curve.cost[-1])
    return None if first <= 0 else second / first
