"""The pictures of a comparison: the same items through each model, the same noise, each latent space."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from latlas import figures, gallery
from latlas.compare.ranking import Entry, Part, Picture
from latlas.gallery import Scene
from latlas.metrics import Context
from latlas.text import listed

DOTS = 2000  # test items in each scatter
GRID = (15, 15)  # of each manifold
SAMPLES = 36
MOST_ITEMS = 10

RECONSTRUCTED = "Down a column the item is the same: the closer to the original, the more its code keeps."
SAMPLED = "Good samples look like the data and differ from each other."


@dataclass(frozen=True)
class Shown:
    """A row and what its pictures are drawn from."""

    entry: Entry
    scene: Scene


def scene(entry: Entry, context: Context) -> Shown:
    """What the pictures of a row are drawn from; rows of the same data show the same test items."""
    settings = gallery.Settings(prior=context.prior, size=GRID, dots=DOTS)
    return Shown(entry, gallery.scene_of(context.model, context.dataset, settings, context))


def draw(shown: Sequence[Shown], progress: Callable[[int, int], None]) -> tuple[Picture, ...]:
    """All pictures, part by part; rows of different data have pictures of their own."""
    sets: dict[str, list[Shown]] = {}
    for one in shown:
        sets.setdefault(one.entry.data, []).append(one)
    made: list[Picture] = []
    for group in sets.values():
        title = group[0].entry.data_name
        twins = sum(other[0].entry.data_name == title for other in sets.values()) > 1
        about = "" if len(sets) == 1 else listed([one.entry.name for one in group]) if twins else title
        if group[0].scene.table:
            made += [p for one in group for p in _own(one, "reconstructions", "reconstructions")]
            made += [p for one in group for p in _own(one, "samples", "samples")]
        else:
            made.append(
                Picture("reconstructions", about, figures.png(_reconstructions(group)), RECONSTRUCTED)
            )
            if any(one.scene.settings.prior for one in group):
                made.append(Picture("samples", about, figures.png(_samples(group)), SAMPLED))
    for done, one in enumerate(shown):
        progress(done, len(shown))
        made += _own(one, "latent", "latent")
        made += _own(one, "manifold", "decoded") or _own(one, "traversals", "decoded")
    progress(len(shown), len(shown))
    return tuple(made)


def _own(one: Shown, name: str, part: Part) -> list[Picture]:
    """A picture of one row alone, where it has the parts for it."""
    figure = gallery.picture(one.scene, name)
    if figure is None:
        return []
    # Dots need few colours, and a page has many such pictures.
    png = _in_few_colours(figure) if part == "latent" else figures.png(figure)
    return [Picture(part, one.entry.name, png, one.scene.reading(name))]


def _in_few_colours(figure: Figure) -> bytes:
    """The figure as a PNG with a palette: a third of the bytes."""
    out, info = io.BytesIO(), PngInfo()
    info.add_itxt("Title", str(figure.get_label()))
    with Image.open(io.BytesIO(figures.png(figure))) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def _reconstructions(group: Sequence[Shown]) -> Figure:
    scene = group[0].scene
    rows = scene.varied(scene.across(MOST_ITEMS))
    x = scene.items.x[rows]
    models = [(one.entry.name, scene.images(np.asarray(one.scene.model.reconstruct(x)))) for one in group]
    return figures.reconstructions_of(
        scene.images(scene.stored(x)),
        models,
        scene.class_names(rows),
        subtitle="Test items that no model has been trained on, decoded from their mean codes.",
    )


def _samples(group: Sequence[Shown]) -> Figure:
    able = [one for one in group if one.scene.settings.prior]
    unable = [one.entry.name for one in group if not one.scene.settings.prior]
    count = SAMPLES if able[0].scene.pictorial else SAMPLES // 2
    panels = [(o.entry.name, o.scene.images(np.asarray(o.scene.model.sample(count, seed=0)))) for o in able]
    how = "Means of p(x|z) for codes z from the prior, drawn with one seed: from the same noise."
    if unable:
        how += f" There are none of {listed(unable)}: no prior was trained, from which codes could be drawn."
    return figures.image_panels(panels, "Samples from the prior, by each model", how)
