"""A denoising model's picture: clean images, corrupted ones, and what is restored from those."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from latlas.errors import InputError
from latlas.figures.images import GAP, fitting, join, mosaic, resize, rgb, sheet, side_for
from latlas.figures.style import CONTENT, INK, board, characters, error_text, write

ERROR = 28  # pixels beneath an image, for its error
BETWEEN = 22  # more pixels between one row of triplets and the next


def restored(
    clean: np.ndarray,
    corrupted: np.ndarray,
    restored: np.ndarray,
    labels: Sequence[str] | None = None,
    title: str = "Clean, corrupted and restored",
    subtitle: str = "",
    columns: int = 10,
) -> Figure:
    """Clean images (N, H, W, C), what became of them and what was restored, each with its mean squared error.

    Errors are of the values as they are; only the drawing clips them to [0, 1]. `labels` are written above
    where they fit. Raises InputError where the shapes differ.
    """
    given = [np.asarray(images, float) for images in (clean, corrupted, restored)]
    if len({images.shape for images in given}) > 1:
        raise InputError(f"clean, corrupted and restored differ in shape: {[i.shape for i in given]}")
    pixels, note = rgb(np.stack(given), 2)
    count = len(given[0])
    columns = min(columns, count)
    drawn = resize(pixels, side_for(pixels, (CONTENT - 120) // columns - GAP, 160))
    height, width = drawn.shape[2:4]
    names = fitting(labels, characters(width + GAP, 7.0))
    above = 0 if names is None else 26
    space = [np.full((count, high, width, 3), 255, np.uint8) for high in (above, GAP, ERROR, ERROR + BETWEEN)]
    stacked = [space[0], drawn[0], space[1], drawn[1], space[2], drawn[2], space[3]]
    whole = mosaic(sheet(np.concatenate(stacked, axis=1), columns))
    how = join(subtitle, "Below each image: its mean squared error per pixel.", note)
    figure, axes = board(whole[above : -BETWEEN - ERROR], title, how, (120, above, 0, ERROR))
    tops = np.cumsum([0, height + GAP, height + ERROR])  # of the three images, from the first one's top
    bank = above + tops[2] + height + ERROR + BETWEEN + GAP
    for i in range(count):
        x, y = (i % columns) * (width + GAP) + width / 2, (i // columns) * bank
        for top, images in zip(tops[1:], given[1:], strict=True):
            error = np.square(images[i] - given[0][i]).mean()
            write(axes, (x, y + top + height + 14), error_text(error), 7.0)
        if names is not None:
            write(axes, (x, y - 13), names[i], 7.0, color=INK)
    for row in range(-(-count // columns)):
        for top, name in zip(tops, ("clean", "corrupted", "restored"), strict=True):
            write(axes, (-14, row * bank + top + height / 2), name, 8.0, ha="right")
    return figure
