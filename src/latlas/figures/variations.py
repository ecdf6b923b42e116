"""Variations on one image: the image, its reconstruction, and images like it."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from latlas.figures.images import GAP, fitting_columns, join, mosaic, resize, rgb, sheet, side_for
from latlas.figures.style import CONTENT, INK, board, write

APART = 14 * GAP  # pixels between the image and what is made of it


def variations(
    original: np.ndarray, reconstruction: np.ndarray, images: np.ndarray, title: str, subtitle: str = ""
) -> Figure:
    """An image (H, W, C) over its reconstruction, and beside them the images (N, H, W, C) like it."""
    pixels, note = rgb(np.concatenate([[original], [reconstruction], images]), 1)
    count, height, width = len(images), *pixels.shape[1:3]
    columns = min(fitting_columns(count, height, width) + 1, -(-count // 2), 20)
    rows = max(2, -(-count // columns))
    pixels = resize(
        pixels, side_for(pixels, (CONTENT - 140 - APART) // (columns + 1) - GAP, min(200, CONTENT / rows))
    )
    height, width = pixels.shape[1:3]
    blank = np.full((rows * columns - count, height, width, 3), 255, np.uint8)
    grid = mosaic(sheet(np.concatenate([pixels[2:], blank]), columns))
    pair = np.full((len(grid), width + APART, 3), 255, np.uint8)
    pair[:height, :width], pair[height + GAP : 2 * height + GAP, :width] = pixels[:2]
    figure, axes = board(np.concatenate([pair, grid], axis=1), title, join(subtitle, note), (140, 0, 0, 0))
    for row, name in enumerate(("original", "reconstruction")):
        write(axes, (-14, row * (height + GAP) + height / 2), name, 8.0, ha="right", color=INK)
    return figure
