"""Curves of training from the log, and the numbers that rules compute from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from latlas.diagnosis.evidence import Evidence

Row = tuple[int, Mapping[str, Any]]
WINDOW = 50  # least number of steps in a point of the training curve


@dataclass(frozen=True)
class Curve:
    """The cost over the steps, both (N,): distortion + weight * rate at the full weight, in nats per item."""

    steps: np.ndarray
    cost: np.ndarray

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, share: float) -> float:
        """The cost after a share of the steps, interpolated between rows."""
        return float(np.interp(share * self.steps[-1], self.steps, self.cost))

    @property
    def noise(self) -> float:
        """The standard deviation of a point from a smooth curve, by second differences over the later half.

        By their median, so that single spikes do not hide themselves.
        """
        bends = np.abs(np.diff(self.cost[len(self.cost) // 2 :], 2))
        return float(np.median(bends) / (0.6745 * np.sqrt(6))) if len(bends) else 0.0

    def late(self, start: float, since: float = 0.75) -> float:
        """The share of the decrease from `start` to the end that came after a share `since` of the steps; 0 if the cost
        did not decrease."""
        whole = start - float(self.cost[-1])
        return self.late_nats(since) / whole if whole > 0 else 0.0

    def late_nats(self, since: float = 0.75) -> float:
        """The decrease after a share `since` of the steps."""
        return self.at(since) - float(self.cost[-1])

    def worsened(self) -> float:
        """The final cost above the least cost, in nats."""
        return float(self.cost[-1] - self.cost.min())


def training(e: Evidence) -> Curve:
    """The training cost, from the rows of kind step as `whole_rows` joins them."""
    return _curve(e, whole_rows(e))


def whole_rows(e: Evidence) -> list[Row]:
    """The rows of kind step with their steps, joined until each covers at least 50 steps.

    Each row of the log is a mean over the steps since the row before; one of a few batches jumps by chance. A last row
    that covers less than half as many steps as usual is dropped.
    """
    joined: list[tuple[int, Mapping[str, Any]]] = []
    pending: list[tuple[int, Mapping[str, Any]]] = []
    covered = before = 0
    for row in e.steps:
        pending.append((row["step"] - before, row))
        covered, before = covered + row["step"] - before, row["step"]
        if covered >= WINDOW:
            joined.append((covered, _averaged(pending)))
            pending, covered = [], 0
    if pending:
        joined.append((covered, _averaged(pending)))
    usual = np.median([width for width, _ in joined]) if joined else 0
    return [(row["step"], row) for width, row in joined if width >= usual / 2]


def _averaged(rows: list[tuple[int, Mapping[str, Any]]]) -> Mapping[str, Any]:
    """The mean of rows, weighted by the steps that each covers; step and learning rate are those of the last."""
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
    """The validation cost of each epoch after warm-up; empty with a capacity, whose rate rises on purpose."""
    if e.config.objective.capacity is not None:
        return _curve(e, [])
    rows = [row for row in e.epochs if row.get("valid") and row["step"] > e.plan.warmup]
    return _curve(e, [(row["step"], row["valid"]) for row in rows])


def _curve(e: Evidence, rows: list[Row]) -> Curve:
    costs = [row["distortion"] + e.weight * (row.get("rate") or 0.0) for _, row in rows]
    return Curve(np.array([step for step, _ in rows], float), np.array(costs, float))


def norms(e: Evidence) -> np.ndarray:
    """The mean gradient norm of each row, before clipping: (N,)."""
    return np.array([row.get("grad_norm") or 0.0 for _, row in whole_rows(e)], float)


def rises(e: Evidence) -> np.ndarray:
    """The rise of each row's cost above the least cost before it, as a share of the whole gain of training: (N,).

    Rows before the end of warm-up are left out: there the rate may rise, because its weight is small, and the cost,
    which has the full weight, rises with it.
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
    """The cost of a model without codes on a split, in nats per item; if not measured, the first logged cost."""
    if split in e.scores:
        return e.scores[split].baseline
    return float(training(e).cost[0]) if e.steps else 0.0


def travel(e: Evidence) -> float:
    """The sum of the learning rates of all steps: about the largest distance that a weight can move."""
    widths = np.diff([row["step"] for row in e.steps], prepend=0)
    return float(sum(row["lr"] * width for row, width in zip(e.steps, widths, strict=True)))


def bend(e: Evidence) -> float | None:
    """The decrease of the cost in the second half of all learning, as a share of that in the first half.

    Halves are of the sum of the learning rates. It is about 1 if the cost still falls along a straight line, and near 0
    if it has levelled off. None for too few rows, or a cost that did not fall.
    """
    curve = training(e)
    if len(curve) < 6:
        return None
    learning_rates = np.array([row["lr"] for _, row in whole_rows(e)], float)
    learned = np.cumsum(learning_rates * np.diff(curve.steps, prepend=0.0))
    half = float(np.interp(learned[-1] / 2, learned, curve.cost))
    first, second = float(curve.cost[0]) - half, half - float(curve.cost[-1])
    return None if first <= 0 else second / first
