"""Frames of a film: panels side by side under a header, with the mark of the frame and a bar for the time passed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from latlas.figures.latents import colouring, drawing_order, spans
from latlas.figures.style import BLUE, DPI, FONT, INK, LINE, MUTED, plain, points, tidy

# All lengths are in units: pixels of a film whose longer side has 960. They scale with the film's size.
SIZE, EDGE, GAP, GUTTER = 960, 26, 24, 30
HEAD, TITLE, NOTE, TICKS, ENTRY = 62, 24, 15, 26, 21


@dataclass(frozen=True)
class Sheet:
    """A panel with one picture per frame: pixels (T, H, W, 3) uint8."""

    title: str
    note: str
    pixels: np.ndarray


@dataclass(frozen=True)
class Dots:
    """A panel of moving dots on fixed axes: codes (T, N, 2), coloured as in `latent_scatter`."""

    title: str
    note: str
    codes: np.ndarray
    labels: np.ndarray | None = None
    classes: Sequence[str] | None = None


Panel = Sheet | Dots


@dataclass(frozen=True)
class _Layout:
    """The layout in units: the page's size, the panels' side, and their top and left edges."""

    width: float
    height: float
    side: float
    top: float
    lefts: tuple[float, ...]

    def box(self, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Converts a box in units from the top left corner to shares of the page from the bottom left corner."""
        across, up = width / self.width, height / self.height
        return left / self.width, 1 - top / self.height - up, across, up


def film(
    title: str, panels: Sequence[Panel], marks: Sequence[str], size: int = SIZE
) -> Iterator[Image.Image]:
    """Draws one frame for each of `marks`, which name its time; the longer side of a frame has `size` pixels."""
    handles = [h for p in panels if isinstance(p, Dots) for h in _colours(p)[1]]
    layout, unit = _layout_of(panels, handles), size / SIZE
    figure = Figure(
        (layout.width / DPI, layout.height / DPI), dpi=DPI * unit, facecolor="white", edgecolor="white"
    )
    canvas = FigureCanvasAgg(figure)
    mark, bar = _header(figure, layout, title)
    moving = [
        (_panel(figure, layout, left, p), left, p) for left, p in zip(layout.lefts, panels, strict=True)
    ]
    if handles:
        _legend(figure, layout, handles)
    for at, text in enumerate(marks):
        mark.set_text(plain(text))
        bar.set_width((1 - 2 * EDGE / layout.width) * at / max(1, len(marks) - 1))
        for dots, _, p in moving:
            if dots is not None and isinstance(p, Dots):
                dots.set_offsets(p.codes[at][_order(p)])
        canvas.draw()
        frame = Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
        for _, left, p in moving:
            if isinstance(p, Sheet):
                picture = fitted(p.pixels[at], round(layout.side * unit))
                place = left * unit + (layout.side * unit - picture.width) / 2
                frame.paste(picture, (round(place), round(layout.top * unit)))
        yield frame


def fitted(pixels: np.ndarray, side: int) -> Image.Image:
    """The picture (H, W, 3) uint8 scaled to a longer side of `side`; enlarged pixels keep sharp edges."""
    height, width = pixels.shape[:2]
    ratio = side / max(height, width)
    zoom = int(ratio)
    if zoom > 1:
        pixels = pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)


def _layout_of(panels: Sequence[Panel], handles: Sequence[Line2D]) -> _Layout:
    """The layout with the largest square panels for which the page's longer side is SIZE."""
    gutter = sum(isinstance(p, Dots) for p in panels) * GUTTER
    across = 2 * EDGE + GAP * (len(panels) - 1) + gutter
    side = (SIZE - across) / len(panels)
    # Notes wrap at the panels' width and the legend at the page's: their heights follow from it.
    for _ in range(3):
        lines = max(len(_wrapped(p.note, side)) for p in panels)
        top = EDGE + HEAD + TITLE + NOTE * lines + 6
        rows = -(-len(handles) // _columns(handles, across + len(panels) * side)) if handles else 0
        below = (TICKS if gutter else 6) + ENTRY * rows + EDGE
        side = min(side, SIZE - top - below)
    lefts, x = [], float(EDGE)
    for p in panels:
        lefts.append(x + (GUTTER if isinstance(p, Dots) else 0))
        x = lefts[-1] + side + GAP
    return _Layout(across + len(panels) * side, top + side + below, side, top, tuple(lefts))


def _wrapped(note: str, side: float) -> list[str]:
    return textwrap.wrap(note, max(12, int(side / 6.3)))


def _columns(handles: Sequence[Line2D], width: float) -> int:
    """The number of legend entries in a row, chosen so that the rows are about equally long."""
    longest = max(len(str(h.get_label())) for h in handles)
    fitting = max(1, int((width - 2 * EDGE) / (30 + 7.5 * longest)))
    return -(-len(handles) // -(-len(handles) // fitting))


def _order(dots: Dots) -> np.ndarray:
    return drawing_order(dots.labels, dots.codes.shape[1])


def _colours(dots: Dots) -> tuple[str | np.ndarray | list[str], list[Line2D]]:
    """The colour of each dot in the order of drawing, and the legend."""
    labels = None if dots.labels is None else np.asarray(dots.labels)[_order(dots)]
    _, _, colours, handles = colouring(labels, dots.classes)
    return colours, handles


def _text(figure: Figure, layout: _Layout, x: float, y: float, text: str, size: float, **style: Any) -> Text:
    left, bottom, _, _ = layout.box(x, y, 0, 0)
    options: dict[str, Any] = {"color": INK, "va": "top", "family": FONT, "fontsize": points(size)}
    return figure.text(left, bottom, plain(text), **options | style)


def _header(figure: Figure, layout: _Layout, title: str) -> tuple[Text, Rectangle]:
    """Draws the title; gives the mark and the bar, which change in every frame."""
    _text(figure, layout, EDGE, EDGE - 4, title, 18, fontweight="bold")
    mark = _text(figure, layout, layout.width - EDGE, EDGE - 3, "", 15, ha="right")
    left, bottom, whole, height = layout.box(EDGE, EDGE + 30, layout.width - 2 * EDGE, 3)
    where: dict[str, Any] = {"transform": figure.transFigure, "linewidth": 0}
    figure.add_artist(Rectangle((left, bottom), whole, height, facecolor=LINE, **where))
    bar = Rectangle((left, bottom), 0, height, facecolor=BLUE, **where)
    figure.add_artist(bar)
    return mark, bar


def _panel(figure: Figure, layout: _Layout, left: float, panel: Panel) -> PathCollection | None:
    """Draws a panel's title and note; for dots also their axes, and gives the dots to move in every frame."""
    _text(figure, layout, left, EDGE + HEAD - 8, panel.title, 14)
    for i, line in enumerate(_wrapped(panel.note, layout.side)):
        _text(figure, layout, left, EDGE + HEAD + TITLE - 10 + NOTE * i, line, 11, color=MUTED)
    if not isinstance(panel, Dots):
        return None
    axes = tidy(figure.add_axes(layout.box(left, layout.top, layout.side, layout.side), facecolor="white"))
    axes.tick_params(labelsize=points(10.5), length=0, pad=3)
    across, up = spans(panel.codes.reshape(-1, 2), None)
    axes.set(xlim=across, ylim=up)
    count = panel.codes.shape[1]
    area = float(np.clip(layout.side**2 / (8 * count), 10, 60)) * points(1) ** 2
    x, y = panel.codes[0][_order(panel)].T
    return axes.scatter(x, y, s=area, c=_colours(panel)[0], alpha=0.72, linewidths=0)


def _legend(figure: Figure, layout: _Layout, handles: list[Line2D]) -> None:
    columns = _columns(handles, layout.width)
    x, y, width, _ = layout.box(EDGE, layout.top + layout.side + TICKS + 2, layout.width - 2 * EDGE, 0)
    figure.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(x + width / 2, y), ncols=columns, frameon=False,
        labelcolor=INK, prop=FontProperties(family=FONT, size=points(12)), borderaxespad=0.0, borderpad=0.0,
        markerscale=0.62, handletextpad=0.1, columnspacing=1.6, labelspacing=0.5,
    )  # fmt: skip
