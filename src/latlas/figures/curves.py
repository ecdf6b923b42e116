"""The course of training, from the rows of log.jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latlas.errors import InputError
from latlas.figures.style import BLUE, GREEN, MARGIN, ORANGE, ROSE, legend, page, panel, tidy

Row = Mapping[str, Any]


def losses(rows: Iterable[Row], unit: str = "nats per image", title: str = "How training went") -> Figure:
    """ELBO, distortion and rate of training and validation, learning rate and beta, over the steps of a log.

    `rows` are those of log.jsonl, of kind `step` and `epoch`. Terms that the run does not have (ELBO and
    rate with a point posterior) are left out. Raises InputError if there is no row to draw.
    """
    rows = list(rows)
    steps, epochs = ([r for r in rows if r.get("kind") == kind] for kind in ("step", "epoch"))
    if not steps and not epochs:
        raise InputError("the log has no steps and no epochs: nothing to draw")
    terms = [
        t
        for t in (("elbo", "ELBO"), ("distortion", "distortion"), ("rate", "rate"))
        if _has_values(rows, t[0])
    ]
    note = (
        " A few extreme values lie outside the axes." if any(_range(steps, key) for key, _ in terms) else ""
    )
    width, half, tall, low = 1160, 470, 440, 170
    figure, top = page(
        (width, 34 + tall + 112 + low + 56), title, f"In {unit}, against optimisation steps.{note}"
    )
    left, right, y = MARGIN + 74, MARGIN + width - half - 4, top + 34
    if len(terms) > 1:
        short = (tall - 112) // 2
        boxes = [(left, y, half, tall), (right, y, half, short), (right, y + short + 112, half, short)]
    else:
        boxes = [(left, y, width - 78, tall)]
    for i, ((key, name), box) in enumerate(zip(terms, boxes, strict=False)):
        axes = _term(panel(figure, box), steps, epochs, key, name)
        if i == 0 and axes.get_legend_handles_labels()[0]:
            legend(axes, loc="lower right" if key == "elbo" else "upper right")
    y += tall + 112
    _setting(panel(figure, (left, y, half, low)), steps, "lr", "learning rate", GREEN)
    _setting(panel(figure, (right, y, half, low)), steps, "beta", "beta, the weight of the rate", ROSE)
    return figure


def _value(row: Row, key: str, part: str | None = None) -> float:
    """A number of a row, or of its train or valid part; NaN if it is absent."""
    source = row if part is None else (row.get(part) or {})
    value = source.get(key)
    return float("nan") if value is None else float(value)


def _has_values(rows: Sequence[Row], key: str) -> bool:
    parts = (None, "train", "valid")
    return any(np.isfinite(_value(row, key, part)) for row in rows for part in parts)


def _series(rows: Sequence[Row], key: str, part: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(float(row["step"]), _value(row, key, part)) for row in rows]
    finite = np.array([p for p in pairs if np.isfinite(p[1])], float).reshape(-1, 2)
    return finite[:, 0], finite[:, 1]


def _range(rows: Sequence[Row], key: str) -> tuple[float, float] | None:
    """The range of the values without the steep start, if that would flatten the rest; else None."""
    _, y = _series(rows, key)
    if len(y) < 10:
        return None
    low, high = np.quantile(y, [0.04, 0.96])
    spread = high - low
    if spread <= 0 or (y.min() > low - 0.6 * spread and y.max() < high + 0.6 * spread):
        return None
    return float(low - 0.25 * spread), float(high + 0.25 * spread)


def _term(axes: Axes, steps: Sequence[Row], epochs: Sequence[Row], key: str, name: str) -> Axes:
    """Draws one term over training: the logged batches faintly, and the means of the epochs over them."""
    tidy(axes, "step", "", name)
    x, y = _series(steps, key)
    if len(x):
        axes.plot(x, y, color=BLUE, alpha=0.35, linewidth=1.0, label="training, by batch")
    for part, colour, label in (("train", BLUE, "training, by epoch"), ("valid", ORANGE, "validation")):
        x, y = _series(epochs, key, part)
        if len(x):
            axes.plot(
                x, y, color=colour, linewidth=1.8, marker="o", markersize=4 if len(x) < 60 else 0, label=label
            )
    if (limits := _range(steps, key)) is not None:
        axes.set_ylim(*limits)
    axes.margins(x=0.02)
    return axes


def _setting(axes: Axes, steps: Sequence[Row], key: str, name: str, colour: str) -> None:
    x, y = _series(steps, key)
    tidy(axes, "step", "", name)
    axes.plot(x, y, color=colour, linewidth=1.8)
    axes.margins(x=0.02, y=0.1)
    if len(y):
        axes.set_ylim(bottom=0, top=max(float(y.max()) * 1.12, 1e-12))
