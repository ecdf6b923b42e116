"""The look of every picture: page, header and palette; without pyplot and without changes of global state."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from latlas.errors import LatlasError
from latlas.files import write_atomic
from latlas.text import printable, visible

DPI = 150
MARGIN = 36  # pixels of white around everything
CONTENT = 1120  # largest width in pixels of a picture's content, if its items allow
FONT = "DejaVu Sans"
INK, MUTED, LINE = "#1b1f27", "#5f6775", "#d9dde4"
BLUE, ORANGE, GREEN, ROSE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # Okabe and Ito (2008)

# Paul Tol's "muted" scheme, told apart under the common colour-vision deficiencies; its pale grey is dark
# here, for dots on white.
CLASS_COLOURS = (
    "#332288",
    "#88CCEE",
    "#CC6677",
    "#DDCC77",
    "#117733",
    "#AA4499",
    "#44AA99",
    "#882255",
    "#999933",
    "#222222",
)
OTHERS = "#d3d6dc"
NO_LABEL = "#bfc4cd"


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=FONT))).get_charmap())


def plain(text: object) -> str:
    """The text as matplotlib draws it literally: on one line, without mathematics, unknown glyphs as a box."""
    line = " ".join(str(text).split())
    return "".join(c if ord(c) in _glyphs() else "□" for c in line).replace("$", r"\$")


def shorten(text: object, width: int) -> str:
    """The text in at most `width` characters, cut in the middle because names often differ at the end."""
    line = " ".join(str(text).split())
    if len(line) <= width:
        return plain(line)
    end = max(0, (width - 1) // 2)
    return plain(line[: max(1, width - 1 - end)].rstrip() + "…" + (line[-end:].lstrip() if end else ""))


def number(value: float) -> str:
    """A number for an axis: at most two decimals, a true minus sign, no minus before zero."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "0", "") else text.replace("-", "−")


def error_text(value: float) -> str:
    """A mean squared error beneath an image: three decimals, or two digits if it is large."""
    return f"{value:.3f}" if value < 1 else f"{value:.2g}"


def points(pixels: float) -> float:
    """Converts pixels of the page to typographic points."""
    return pixels * 72 / DPI


def characters(pixels: float, size: float) -> int:
    """The number of characters in a font of `size` points that fit in `pixels`, on average."""
    return max(1, int(pixels / (0.53 * size * DPI / 72)))


def page(size: tuple[int, int], title: str, subtitle: str = "") -> tuple[Figure, int]:
    """A white page with a header above a content of `size` (width, height) pixels, and the header's height.

    The title also becomes the figure's label, which `save` writes into the file.
    """
    title, subtitle = printable(title), printable(subtitle)
    width = max(size[0] + 2 * MARGIN, 760)
    titles = textwrap.wrap(title, characters(width - 2 * MARGIN, 14.5)) or [""]
    lines = textwrap.wrap(subtitle, characters(width - 2 * MARGIN, 9.5))
    head = MARGIN + 36 * len(titles) + 25 * len(lines) + 18
    height = head + size[1] + MARGIN
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white", edgecolor="white")
    FigureCanvasAgg(figure)
    figure.set_label(title)
    rows = [(line, 13.0, "bold", INK, 36) for line in titles] + [
        (line, 9.5, "normal", MUTED, 25) for line in lines
    ]
    y = float(MARGIN)
    for line, points_high, weight, colour, step in rows:
        figure.text(
            MARGIN / width,
            1 - y / height,
            plain(line),
            fontsize=points_high,
            fontweight=weight,
            color=colour,
            family=FONT,
            va="top",
        )
        y += step
    return figure, head


def panel(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Axes at (left, top, width, height) in pixels from the page's top left corner."""
    width, height = figure.get_size_inches() * DPI
    left, top, w, h = box
    return figure.add_axes((left / width, 1 - (top + h) / height, w / width, h / height), facecolor="white")


def image_page(
    pixels: np.ndarray, title: str, subtitle: str = "", margins: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> tuple[Figure, Axes]:
    """A page that shows an RGB array (H, W, 3) uint8 pixel for pixel, with `margins` (left, top, right,
    bottom).

    The axes count in pixels of the array, from its top left corner.
    """
    height, width = pixels.shape[:2]
    left, above, right, below = margins
    figure, top = page((left + width + right, above + height + below), title, subtitle)
    axes = panel(figure, (MARGIN + left, top + above, width, height))
    axes.imshow(pixels, interpolation="nearest", aspect="auto", extent=(0, width, height, 0))
    axes.set_axis_off()
    return figure, axes


def write(axes: Axes, place: tuple[float, float], text: str, size: float = 8.0, **options: object) -> None:
    """Writes muted text at a place in the axes' coordinates; it may lie outside the axes."""
    style: dict[str, object] = {
        "color": MUTED,
        "ha": "center",
        "va": "center",
        "family": FONT,
        "clip_on": False,
    }
    axes.text(place[0], place[1], text, fontsize=size, **(style | options))  # type: ignore[arg-type]


def tidy(axes: Axes, xlabel: str = "", ylabel: str = "", title: str = "") -> Axes:
    """Styles axes: two light spines, small grey tick labels, a faint grid, and plain labels."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(LINE)
    axes.tick_params(colors=MUTED, labelcolor=MUTED, labelsize=8, length=3, width=0.8, labelfontfamily=FONT)
    axes.grid(True, color=LINE, linewidth=0.6, alpha=0.6)
    axes.set_axisbelow(True)
    for offset in (axes.xaxis.get_offset_text(), axes.yaxis.get_offset_text()):
        offset.set(color=MUTED, fontsize=7.5, family=FONT)
    axes.set_xlabel(xlabel, fontsize=9, color=MUTED, family=FONT)
    axes.set_ylabel(ylabel, fontsize=9, color=MUTED, family=FONT)
    axes.set_title(title, fontsize=10, color=INK, family=FONT, loc="left", pad=8, fontweight="normal")
    return axes


def legend(axes: Axes, **options: Any) -> None:
    """Adds a legend without a frame."""
    axes.legend(
        frameon=False,
        labelcolor=INK,
        prop=FontProperties(family=FONT, size=8.5),
        borderaxespad=0.0,
        **options,
    )


def png(figure: Figure, caption: str = "", colours: int | None = None) -> bytes:
    """The figure as a compact PNG that carries its title and a caption as text.

    `colours` reduces the palette to so many, at most 256: dots need few, and the file shrinks to a third.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    if colours is not None:
        image = image.quantize(colours, dither=Image.Dither.NONE)
    info = PngInfo()
    info.add_itxt("Title", visible(str(figure.get_label())))
    info.add_itxt("Description", visible(caption))
    out = io.BytesIO()
    image.save(out, "PNG", dpi=(DPI, DPI), pnginfo=info)
    return out.getvalue()


def save(figure: Figure, path: Path, caption: str = "") -> Path:
    """Writes the figure as a PNG, whole or not at all, and makes the folder if it is missing.

    Raises LatlasError if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LatlasError(f"{path.parent}: cannot be made: {error.strerror}") from None
    write_atomic(path, png(figure, caption))
    return path


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0 ... count-1, evenly spaced, with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted({round(i) for i in np.linspace(0, count - 1, most)}) if most > 1 else [count - 1]


def names_of(classes: Sequence[str] | None, count: int) -> list[str]:
    """The names of `count` classes; a class without a name gets its number."""
    return [printable(classes[i]) if classes and i < len(classes) else str(i) for i in range(count)]
