"""The pictures of a comparison: the same items through each model, the same noise, each latent space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latlas import figures, gallery
from latlas.compare.ranking import Entry, Part, Picture
from latlas.gallery import FIGURES, Drawing
from latlas.metrics import Context
from latlas.text import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS = 2000  # test items in each scatter
GRID = (15, 15)  # of each manifold
SAMPLES = 36

RECONSTRUCTED = "Each column is one item: the closer to the original, the more its code keeps."
SAMPLED = "Good samples look like the data and differ from each other."


@dataclass(frozen=True)
class Shown:
    """A row, and the drawing that its pictures come from."""

    entry: Entry
    drawing: Drawing


def shown(entry: Entry, context: Context) -> Shown:
    """The drawing of a row; rows of the same data show the same test items."""
    settings = gallery.Settings(prior=context.prior, size=GRID, dots=DOTS)
    return Shown(entry, gallery.drawing_of(context, settings))


def draw(rows: Sequence[Shown], progress: Callable[[int, int], None]) -> tuple[Picture, ...]:
    """All pictures, part by part; rows of different data have pictures of their own."""
    by_data: dict[str, list[Shown]] = {}
    for row in rows:
        by_data.setdefault(row.entry.data, []).append(row)
    pictures: list[Picture] = []
    for group in by_data.values():
        title = group[0].entry.data_name
        ambiguous = sum(other[0].entry.data_name == title for other in by_data.values()) > 1
        name = "" if len(by_data) == 1 else listed([row.entry.name for row in group]) if ambiguous else title
        pictures += _of_columns(group) if group[0].drawing.table else _of_images(group, name)
    for done, row in enumerate(rows):
        progress(done, len(rows))
        pictures += _of_one(row, "latent", "latent")
        pictures += _of_one(row, "manifold", "decoded") or _of_one(row, "traversals", "decoded")
    progress(len(rows), len(rows))
    return tuple(pictures)


def _of_columns(group: Sequence[Shown]) -> list[Picture]:
    """Reconstructed and sampled columns: each row has pictures of its own."""
    parts: tuple[Part, ...] = ("reconstructions", "samples")
    return [picture for part in parts for row in group for picture in _of_one(row, part, part)]


def _of_images(group: Sequence[Shown], name: str) -> list[Picture]:
    """Reconstructed and sampled images: one picture of all rows."""
    pictures = [Picture("reconstructions", name, figures.png(_reconstructions(group)), RECONSTRUCTED)]
    if any(row.drawing.settings.prior for row in group):
        pictures.append(Picture("samples", name, figures.png(_samples(group)), SAMPLED))
    return pictures


def _of_one(row: Shown, name: str, part: Part) -> list[Picture]:
    """One of FIGURES for a single row; empty where the figure does not apply."""
    figure = FIGURES[name].draw(row.drawing)
    if figure is None:
        return []
    # Fewer colours make smaller files, and a page has many scatter plots.
    png = figures.png(figure, colours=256 if part == "latent" else None)
    return [Picture(part, row.entry.name, png, gallery.caption(name, row.drawing.data.kind))]


def _reconstructions(group: Sequence[Shown]) -> Figure:
    first = group[0].drawing
    items = first.varied_rows(first.columns)
    reconstructions = [(row.entry.name, row.drawing.reconstruction(items)) for row in group]
    return figures.image_rows(
        [("original", first.plain(items)), *reconstructions],
        "The same items, by each model",
        "Test items that no model has been trained on, decoded from their mean codes.",
        first.class_names(items),
        seen=first.images,
    )


def _samples(group: Sequence[Shown]) -> Figure:
    with_prior = [row for row in group if row.drawing.settings.prior]
    without_prior = [row.entry.name for row in group if not row.drawing.settings.prior]
    count = SAMPLES if with_prior[0].drawing.pictorial else SAMPLES // 2
    panels = [
        (row.entry.name, row.drawing.images(np.asarray(row.drawing.sample(count)))) for row in with_prior
    ]
    subtitle = "Means of p(x|z) for codes z from the prior, all from the same noise."
    if without_prior:
        subtitle += f" There are none of {listed(without_prior)}: no prior was trained to draw codes from."
    return figures.image_panels(panels, "Samples from the prior, by each model", subtitle)
