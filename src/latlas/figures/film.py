"""Frames of a film: panels side by side under one header, each frame with its own mark and the time passed."""

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

from latlas.figures.latents import colouring, spans
from latlas.figures.style import BLUE, DPI, FONT, INK, LINE, MUTED, plain, points, tidy

# In units: pixels of a film whose longer side has 960; everything grows with its size.
SIZE, EDGE, GAP, GUTTER = 960, 26, 24, 30
HEAD, TITLE, NOTE, TICKS, ENTRY = 62, 24, 15, 26, 21


@dataclass(frozen=True)
class Sheet:
    """A panel of pictures, one a frame: pixels (T, H, W, 3) uint8."""

    title: str
    note: str
    pixels: np.ndarray


@dataclass(frozen=True)
class Dots:
    """A panel of moving dots: codes (T, N, 2), coloured as in `latent_scatter`, on axes that stand still."""

    title: str
    note: str
    codes: np.ndarray
    labels: np.ndarray | None = None
    classes: Sequence[str] | None = None


Panel = Sheet | Dots


@dataclass(frozen=True)
class _Plan:
    """Where everything is, in units: the page, the panels' side, top and left edges."""

    width: float
    height: float
    side: float
    top: float
    lefts: tuple[float, ...]

    def box(self, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
        """A box from the page's top left corner as matplotlib's shares of the page from its bottom left one."""
        across, up = width / self.width, height / self.height
        return left / self.width, 1 - top / self.height - up, across, up


def film(
    title: str, panels: Sequence[Panel], marks: Sequence[str], size: int = SIZE
) -> Iterator[Image.Image]:
    """The frames, one for each of `marks`, which say when it was; their longer side has `size` pixels."""
    handles = [h for p in panels if isinstance(p, Dots) for h in _colours(p)[1]]
    plan, unit = _planned(panels, handles), size / SIZE
    figure = Figure(
        (plan.width / DPI, plan.height / DPI), dpi=DPI * unit, facecolor="white", edgecolor="white"
    )
    canvas = FigureCanvasAgg(figure)
    mark, bar = _header(figure, plan, title)
    moving = [(_panel(figure, plan, left, p), left, p) for left, p in zip(plan.lefts, panels, strict=True)]
    if handles:
        _legend(figure, plan, handles)
    for at, text in enumerate(marks):
        mark.set_text(plain(text))
        bar.set_width((1 - 2 * EDGE / plan.width) * at / max(1, len(marks) - 1))
        for dots, _, p in moving:
            if dots is not None and isinstance(p, Dots):
                dots.set_offsets(p.codes[at][_order(p)])
        canvas.draw()
        frame = Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
        for _, left, p in moving:
            if isinstance(p, Sheet):
                picture = fitted(p.pixels[at], round(plan.side * unit))
                place = left * unit + (plan.side * unit - picture.width) / 2
                frame.paste(picture, (round(place), round(plan.top * unit)))
        yield frame


def fitted(pixels: np.ndarray, side: int) -> Image.Image:
    """The picture (H, W, 3) uint8 with its longer side at `side`; much larger ones keep their pixels' edges."""
    height, width = pixels.shape[:2]
    ratio = side / max(height, width)
    zoom = int(ratio)
    if zoom > 1:
        pixels = pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)


def _planned(panels: Sequence[Panel], handles: Sequence[Line2D]) -> _Plan:
    """The largest square panels for which the page's longer side is SIZE."""
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
    return _Plan(across + len(panels) * side, top + side + below, side, top, tuple(lefts))


def _wrapped(note: str, side: float) -> list[str]:
    return textwrap.wrap(note, max(12, int(side / 6.3)))


def _columns(handles: Sequence[Line2D], width: float) -> int:
    """How many entries of the legend stand in a row, the rows being about equally long."""
    longest = max(len(str(h.get_label())) for h in handles)
    fitting = max(1, int((width - 2 * EDGE) / (30 + 7.5 * longest)))
    return -(-len(handles) // -(-len(handles) // fitting))


def _order(dots: Dots) -> np.ndarray:
    """A random order of drawing, so that no class lies on top of all others."""
    return np.random.default_rng(0).permutation(dots.codes.shape[1])


def _colours(dots: Dots) -> tuple[str | np.ndarray | list[str], list[Line2D]]:
    """The colour of each dot in the order of drawing, and the legend."""
    labels = None if dots.labels is None else np.asarray(dots.labels)[_order(dots)]
    _, _, colours, handles = colouring(labels, dots.classes)
    return colours, handles


def _text(figure: Figure, plan: _Plan, x: float, y: float, text: str, size: float, **style: Any) -> Text:
    left, bottom, _, _ = plan.box(x, y, 0, 0)
    options: dict[str, Any] = {"color": INK, "va": "top", "family": FONT, "fontsize": points(size)}
    return figure.text(left, bottom, plain(text), **options | style)


def _header(figure: Figure, plan: _Plan, title: str) -> tuple[Text, Rectangle]:
    """Title, mark, and a line that grows with time: the two that change in every frame."""
    _text(figure, plan, EDGE, EDGE - 4, title, 18, fontweight="bold")
    mark = _text(figure, plan, plan.width - EDGE, EDGE - 3, "", 15, ha="right")
    left, bottom, whole, height = plan.box(EDGE, EDGE + 30, plan.width - 2 * EDGE, 3)
    where: dict[str, Any] = {"transform": figure.transFigure, "linewidth": 0}
    figure.add_artist(Rectangle((left, bottom), whole, height, facecolor=LINE, **where))
    bar = Rectangle((left, bottom), 0, height, facecolor=BLUE, **where)
    figure.add_artist(bar)
    return mark, bar


def _panel(figure: Figure, plan: _Plan, left: float, panel: Panel) -> PathCollection | None:
    """A panel's title and note, and, of dots, their axes; the dots, to be moved in every frame."""
    _text(figure, plan, left, EDGE + HEAD - 8, panel.title, 14)
    for i, line in enumerate(_wrapped(panel.note, plan.side)):
        _text(figure, plan, left, EDGE + HEAD + TITLE - 10 + NOTE * i, line, 11, color=MUTED)
    if not isinstance(panel, Dots):
        return None
    axes = tidy(figure.add_axes(plan.box(left, plan.top, plan.side, plan.side), facecolor="white"))
    axes.tick_params(labelsize=points(10.5), length=0, pad=3)
    across, up = spans(panel.codes.reshape(-1, 2), None)
    axes.set(xlim=across, ylim=up)
    count = panel.codes.shape[1]
    area = float(np.clip(plan.side**2 / (8 * count), 10, 60)) * points(1) ** 2
    x, y = panel.codes[0][_order(panel)].T
    return axes.scatter(x, y, s=area, c=_colours(panel)[0], alpha=0.72, linewidths=0)


def _legend(figure: Figure, plan: _Plan, handles: list[Line2D]) -> None:
    columns = _columns(handles, plan.width)
    x, y, width, _ = plan.box(EDGE, plan.top + plan.side + TICKS + 2, plan.width - 2 * EDGE, 0)
    figure.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(x + width / 2, y), ncols=columns, frameon=False,
        labelcolor=INK, prop=FontProperties(family=FONT, size=points(12)), borderaxespad=0.0, borderpad=0.0,
        markerscale=0.62, handletextpad=0.1, columnspacing=1.6, labelspacing=0.5,
    )  # fmt: skip
