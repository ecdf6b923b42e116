"""Pictures of tables: columns instead of pixels, in the units of the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latlas.errors import InputError
from latlas.figures.style import (
    BLUE,
    CLASS_COLOURS,
    CONTENT,
    DPI,
    LINE,
    MARGIN,
    ORANGE,
    characters,
    legend,
    page,
    panel,
    shorten,
    tidy,
    write,
)

MOST_PANELS = 12  # columns, or latent dimensions, in one picture


def column_reconstructions(
    original: np.ndarray,
    reconstruction: np.ndarray,
    columns: Sequence[str],
    title: str = "Each column, reconstructed",
) -> Figure:
    """Reconstruction (N, D) against original (N, D), with a panel for each of the first 12 columns.

    Exact reconstructions lie on the line. Each panel shows R^2 = 1 - sum (x - x')^2 / sum (x - mean x)^2.
    """
    _check(original, columns)
    _check(reconstruction, columns)
    figure, panels = _panels(
        len(columns), title, "Horizontal: original; vertical: reconstruction." + _first_columns(len(columns))
    )
    for d, axes in enumerate(panels):
        x, y = original[:, d].astype(float), reconstruction[:, d].astype(float)
        spread = np.square(x - x.mean()).sum()
        tidy(axes, title=_panel_title(columns[d], axes))
        axes.scatter(x, y, s=9, color=BLUE, alpha=0.45, linewidths=0)
        ends = (min(x.min(), y.min()), max(x.max(), y.max()))
        axes.plot(ends, ends, color=ORANGE, linewidth=1.2)
        if spread > 0:
            fit = f"R² = {1 - np.square(x - y).sum() / spread:.2f}".replace("-", "−")
            write(axes, (0.03, 0.95), fit, 8.0, ha="left", va="top", transform=axes.transAxes)
    return figure


def column_samples(
    data: np.ndarray,
    samples: np.ndarray,
    columns: Sequence[str],
    title: str = "Samples beside the data",
    subtitle: str = "",
) -> Figure:
    """Histograms of data (N, D) and samples (M, D), for each of the first 12 columns; areas are equal."""
    _check(data, columns)
    _check(samples, columns)
    figure, panels = _panels(len(columns), title, (subtitle + _first_columns(len(columns))).strip(), 170)
    for d, axes in enumerate(panels):
        x, y = data[:, d].astype(float), samples[:, d].astype(float)
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        edges = np.linspace(low, high if high > low else low + 1, 31)
        tidy(axes, title=_panel_title(columns[d], axes))
        axes.stairs(np.histogram(x, edges, density=True)[0], edges, fill=True, color=LINE, label="test data")
        axes.stairs(
            np.histogram(y, edges, density=True)[0], edges, color=BLUE, linewidth=1.8, label="samples"
        )
        axes.set_yticks([])
    legend(panels[min(3, len(panels) - 1)], loc="upper left", bbox_to_anchor=(1.06, 1.0))
    return figure


def column_traversals(
    values: np.ndarray,
    positions: Sequence[float] | np.ndarray,
    names: Sequence[str],
    columns: Sequence[str],
    title: str = "What each latent dimension does",
    subtitle: str = "",
) -> Figure:
    """Decoded columns (K, S, D), on one scale: panel k moves dimension k through `positions` (S,).

    At most 12 dimensions are drawn, and the ten columns that change most.
    """
    if values.ndim != 3 or values.shape != (len(names), len(positions), len(columns)):
        raise InputError(
            f"traversals: expected shape {(len(names), len(positions), len(columns))}, got {values.shape}"
        )
    moves = np.ptp(values, axis=1).max(axis=0)
    shown = sorted(np.argsort(-moves, kind="stable")[: len(CLASS_COLOURS)].tolist())
    note = (
        "" if len(shown) == len(columns) else f" The {len(shown)} of {len(columns)} columns that move most."
    )
    figure, panels = _panels(len(names), title, f"{subtitle}{note}".strip(), 210)
    for k, axes in enumerate(panels):
        tidy(axes, title=_panel_title(names[k], axes))
        for place, d in enumerate(shown):
            axes.plot(
                positions,
                values[k, :, d],
                color=CLASS_COLOURS[place],
                linewidth=1.8,
                label=shorten(columns[d], 18),
            )
        axes.margins(x=0.02)
    legend(panels[min(3, len(panels) - 1)], loc="upper left", bbox_to_anchor=(1.06, 1.0))
    return figure


def _check(values: np.ndarray, columns: Sequence[str]) -> None:
    if (
        values.ndim != 2
        or values.shape[1] != len(columns)
        or not len(values)
        or not np.isfinite(values).all()
    ):
        raise InputError(f"expected finite numbers of shape (N, {len(columns)}), got shape {values.shape}")


def _panel_title(name: str, axes: Axes) -> str:
    """The name, shortened to the width of its panel."""
    width = axes.get_position().width * axes.figure.get_size_inches()[0] * DPI  # type: ignore[union-attr]
    return shorten(name, characters(width, 10))


def _first_columns(count: int) -> str:
    return f" The first {MOST_PANELS} of {count} columns." if count > MOST_PANELS else ""


def _panels(count: int, title: str, subtitle: str, right: int = 0) -> tuple[Figure, list[Axes]]:
    """A page of at most 12 small panels, four in a row."""
    count = min(count, MOST_PANELS)
    across = min(count, 4)
    rows = -(-count // across)
    width = max(CONTENT // max(across, 3), 220)
    height, gap = 190, 84
    figure, top = page(
        (width * across + right, max(rows * (height + gap), 380 if right else 0)), title, subtitle
    )
    boxes = [
        (MARGIN + 44 + (i % across) * width, top + 36 + (i // across) * (height + gap), width - 70, height)
        for i in range(count)
    ]
    return figure, [panel(figure, box) for box in boxes]
