"""Several models in one picture: the same items, through each of them and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from latlas.errors import InputError
from latlas.figures.images import GAP, fitting, join, mosaic, resize, rgb, side_for
from latlas.figures.style import CONTENT, INK, MUTED, board, characters, error_text, shorten, write

NAME = 24  # characters of a model's name that are shown
BELOW = 30  # pixels under each image, for its error


def reconstructions_of(
    original: np.ndarray,
    models: Sequence[tuple[str, np.ndarray]],
    labels: Sequence[str] | None = None,
    title: str = "The same items, by each model",
    subtitle: str = "",
) -> Figure:
    """Originals (N, H, W, C) in a row, and below it a row for each model: its name and reconstructions (N, H, W, C).

    Under each stands its mean squared error, the smallest of a column in bold. Raises InputError where shapes
    differ.
    """
    top, note = rgb(original, 1, "originals")
    for name, images in models:
        if np.shape(images) != np.shape(original):
            raise InputError(
                f"originals {np.shape(original)} and reconstructions {np.shape(images)} of {name} differ in shape"
            )
    names = [shorten(name, NAME) for name, _ in models]
    left = 30 + 9 * max(map(len, [*names, "original"]))
    side = side_for(top, (CONTENT - left) // len(top) - GAP, 112)
    rows = resize(np.stack([top, *(rgb(images, 1)[0] for _, images in models)]), side)
    height, width = rows.shape[2:4]
    framed = np.full((*rows.shape[:2], height + BELOW, width, 3), 255, np.uint8)
    framed[:, :, :height] = rows
    classes = fitting(labels, characters(width + GAP, 7.0))
    how = join(
        subtitle, "Below each: its mean squared error per pixel, the smallest of a column in bold.", note
    )
    figure, axes = board(mosaic(framed), title, how, (left, 28 if classes else 0, 0, 0))
    for i, name in enumerate(classes or ()):
        write(axes, (i * (width + GAP) + width / 2, -14), name, 7.0, color=INK)
    step = height + BELOW + GAP
    for row, name in enumerate(["original", *names]):
        colour = INK if row else MUTED
        write(axes, (-16, row * step + height / 2), name, 8.0, ha="right", color=colour)
    errors = [np.square(np.asarray(images, float) - original).mean(axis=(1, 2, 3)) for _, images in models]
    for (row, i), error in np.ndenumerate(np.stack(errors)):
        best = len(models) > 1 and error == min(e[i] for e in errors)
        style = {"color": INK, "fontweight": "bold"} if best else {}
        place = (i * (width + GAP) + width / 2, (row + 1) * step + height + BELOW / 2)
        write(axes, place, error_text(error), 7.0, **style)
    return figure
