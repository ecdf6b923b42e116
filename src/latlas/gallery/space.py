"""Pictures of the latent space: where the items lie, and what the space between them decodes to."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from latlas import figures
from latlas.gallery.scene import Scene, Settings

LATENTS = 16  # rows of the picture of traversals
PANELS = 12  # the same, for columns
MORPH, TRAVERSAL = 11, 13  # steps along each


def latent(scene: Scene) -> Figure | None:
    codes, total = scene.codes, len(scene.data.test)
    drawn = f"{len(codes):,} of {total:,}" if len(codes) < total else f"{total:,}"
    labels, classes = scene.items.labels, scene.data.classes
    who = f"Mean codes of {drawn} items of the test split."
    if codes.shape[1] == 1:
        figure = figures.latent_histogram(codes, labels, classes, f"{who} The one latent dimension.")
    elif codes.shape[1] == 2:
        figure = figures.latent_scatter(codes, labels, classes, f"{who} The two latent dimensions.")
    else:
        if len(codes) < 3:
            return None
        plane, how = figures.project(codes)
        names = ("first principal component", "second principal component")
        figure = figures.latent_scatter(plane, labels, classes, f"{who} {how}", names=names)
    return figure


def manifold(scene: Scene) -> Figure | None:
    dimensions = scene.codes.shape[1]
    if dimensions > 2 or not scene.pictorial:
        return None
    grid, how = plane(scene.settings, scene.codes)
    what = "The latent plane, decoded" if dimensions == 2 else "The latent line, decoded"
    return figures.manifold(scene.images(scene.decode(grid.codes)), grid.across, grid.up, what, how)


def plane(settings: Settings, codes: np.ndarray) -> tuple[figures.Grid, str]:
    """The codes that a manifold of one or two latent dimensions decodes, and a sentence that says which; `codes`
    (N, 1) or (N, 2) are the test items' own.
    """
    own = codes if not settings.prior and settings.span is None else None
    if codes.shape[1] == 1:
        axis = figures.manifold_codes((1, settings.size[1]), settings.span, own).across
        grid = figures.Grid(axis[None, :, None], axis, np.zeros(0))
    else:
        grid = figures.manifold_codes(settings.size, settings.span, own)
    if settings.span is not None:
        ends = [f"{end:g}".replace("-", "−") for end in settings.span]
        return grid, f"Codes evenly spaced from {ends[0]} to {ends[1]}."
    whose = "the prior" if settings.prior else "the test items' own codes"
    return grid, f"Codes at evenly spaced quantiles of {whose}."


def traversals(scene: Scene) -> Figure | None:
    codes, prior = scene.codes, scene.settings.prior
    dimensions = codes.shape[1]
    if dimensions < 3:
        return None
    variance = codes.var(axis=0)
    shown = np.argsort(-variance, kind="stable")[: LATENTS if scene.pictorial else PANELS]
    base = codes[scene.varied(1)[0]]
    offsets = np.linspace(-3, 3, TRAVERSAL)
    paths = np.tile(base, (len(shown), TRAVERSAL, 1))
    for row, d in enumerate(shown):
        paths[row, :, d] = offsets if prior else codes[:, d].mean() + offsets * codes[:, d].std()
    names = [f"z{d + 1}  (var {variance[d]:{'.2f' if variance[d] < 100 else '.0f'}})" for d in shown]
    title = "What each latent dimension does"
    where = "−3 to 3" if prior else "−3 to 3 standard deviations of the codes about their mean"
    how = f"The code of one test item, one dimension at a time moved from {where}."
    how += " In brackets: the variance of the mean codes."
    if len(shown) < dimensions:
        how += f" The {len(shown)} of {dimensions} dimensions with the largest variance."
    decoded = scene.decode(paths)
    if scene.pictorial:
        unit = "" if prior else " sd"
        return figures.traversals(scene.images(decoded), offsets, names, title, how, unit)
    if scene.table:
        data = scene.stored(scene.items.x)
        decoded = (decoded - data.mean(0)) / np.where(data.std(0) > 0, data.std(0), 1)
        how += " Up: the column, in its standard deviations."
    return figures.column_traversals(decoded, offsets, names, scene.columns, title, how)


def morph(scene: Scene) -> Figure | None:
    rows = scene.varied(8)
    rows = rows[: len(rows) // 2 * 2]
    if not scene.pictorial or not len(rows):
        return None
    ends = scene.codes[rows].reshape(-1, 2, 1, scene.codes.shape[1])
    t = np.linspace(0, 1, MORPH)
    paths = ends[:, 0] * (1 - t[:, None]) + ends[:, 1] * t[:, None]
    originals = scene.images(scene.stored(scene.items.x[rows]))
    return figures.morph(
        scene.images(scene.decode(paths)),
        t,
        originals.reshape(-1, 2, *originals.shape[1:]),
        "Morphs between two test images",
        "Codes on the straight line between the two images' mean codes, decoded.",
    )
