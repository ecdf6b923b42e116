"""Pictures of images (..., H, W, C) in [0, 1]: grids, pairs, snapshots, manifolds, traversals, morphs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from latlas.errors import InputError
from latlas.figures.style import CONTENT, INK, board, characters, error_text, number, shorten, some, write

GAP = 4  # pixels between neighbouring images


def rgb(images: np.ndarray, axes: int, what: str = "images") -> tuple[np.ndarray, str]:
    """Images (..., H, W, C) in [0, 1] as uint8 RGB (..., H, W, 3), and a note on channels that are not shown.

    One channel is grey (0 black, 1 white), three are RGB; of two the first is shown, of more than three the
    first three. `axes` counts the leading axes. Values outside [0, 1] are clipped.

    Raises InputError for another number of axes, an empty array or values that are not finite.
    """
    images = np.asarray(images)
    if images.ndim != axes + 3 or 0 in images.shape:
        raise InputError(
            f"{what}: expected {axes + 3} axes ending in height, width, channels, got shape {images.shape}"
        )
    if not np.isfinite(images).all():
        raise InputError(f"{what}: values must be finite, to be drawn")
    channels = images.shape[-1]
    note = {1: "", 2: "First of 2 channels.", 3: ""}.get(channels, f"First 3 of {channels} channels, as RGB.")
    shown = images[..., :3] if channels >= 3 else np.repeat(images[..., :1], 3, axis=-1)
    return np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8), note


def unit(images: np.ndarray) -> np.ndarray:
    """Images kept as bytes, on [0, 1]; real numbers as they are."""
    return images / 255 if images.dtype == np.uint8 else images.astype(float)


def resize(images: np.ndarray, side: int) -> np.ndarray:
    """Images (..., H, W, 3) uint8 with the longer side near `side` pixels; larger by repeating pixels."""
    height, width = images.shape[-3:-1]
    ratio = side / max(height, width)
    zoom = int(ratio + (0.35 if ratio >= 1 else 0.2))  # a little too large is better than much too small
    if zoom >= 1:
        return images.repeat(zoom, axis=-3).repeat(zoom, axis=-2)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    flat = [
        np.asarray(Image.fromarray(i).resize(size, Image.Resampling.LANCZOS))
        for i in images.reshape(-1, height, width, 3)
    ]
    return np.stack(flat).reshape(*images.shape[:-3], size[1], size[0], 3)


def side_for(images: np.ndarray, cell: float, tallest: float) -> int:
    """The longer side of images (..., H, W, 3) drawn at most `cell` pixels wide and `tallest` pixels high."""
    height, width = images.shape[-3:-1]
    return int(max(height, width) * min(cell / width, tallest / height))


def mosaic(images: np.ndarray, gap: int = GAP) -> np.ndarray:
    """Images (R, C, H, W, 3) uint8 as one array, with white gaps between them."""
    rows, columns, height, width, _ = images.shape
    sheet = np.full((rows, columns, height + gap, width + gap, 3), 255, np.uint8)
    sheet[:, :, :height, :width] = images
    whole = sheet.transpose(0, 2, 1, 3, 4).reshape(rows * (height + gap), columns * (width + gap), 3)
    return whole[: whole.shape[0] - gap, : whole.shape[1] - gap]


def sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, H, W, 3) as rows (R, C, H, W, 3); the last row is filled up with white."""
    count = len(images)
    rows = -(-count // columns)
    full = np.full((rows * columns, *images.shape[1:]), 255, np.uint8)
    full[:count] = images
    return full.reshape(rows, columns, *images.shape[1:])


def fitting_columns(count: int, height: int, width: int) -> int:
    """How many columns make a grid of so many images about square."""
    return int(np.clip(round((count * height / width) ** 0.5), 1, count))


def image_grid(images: np.ndarray, title: str, subtitle: str = "", columns: int | None = None) -> Figure:
    """Images (N, H, W, C) in reading order; without `columns` the grid is about square."""
    pixels, note = rgb(images, 1)
    columns = min(columns or fitting_columns(*pixels.shape[:3]), len(pixels))
    rows = -(-len(pixels) // columns)
    pixels = resize(pixels, side_for(pixels, CONTENT // columns - GAP, min(224, CONTENT / rows)))
    return board(mosaic(sheet(pixels, columns)), title, join(subtitle, note))[0]


def reconstructions(
    original: np.ndarray,
    reconstruction: np.ndarray,
    labels: Sequence[str] | None = None,
    title: str = "Originals and their reconstructions",
    subtitle: str = "",
    columns: int = 10,
) -> Figure:
    """Originals (N, H, W, C) over their reconstructions, pair by pair, each with its mean squared error.

    `labels` are written above where they fit. Raises InputError where the two shapes differ.
    """
    top, note = rgb(original, 1, "originals")
    bottom, _ = rgb(reconstruction, 1, "reconstructions")
    if top.shape != bottom.shape:
        raise InputError(
            f"originals {np.shape(original)} and reconstructions {np.shape(reconstruction)} differ in shape"
        )
    errors = np.square(np.asarray(original, float) - np.asarray(reconstruction, float)).mean(axis=(1, 2, 3))
    columns = min(columns, len(top))
    side = side_for(top, (CONTENT - 140) // columns - GAP, 160)
    upper, lower = resize(top, side), resize(bottom, side)
    height, width = upper.shape[1:3]
    names = fitting(labels, characters(width + GAP, 7.0))
    head = 30 if names is None else 56  # room above each pair, for the number of the pair above and the name
    blank = np.full((len(top), head, width, 3), 255, np.uint8)
    pairs = np.concatenate([blank, upper, blank[:, :GAP], lower], axis=1)
    how = join(subtitle, "Below each pair: its mean squared error per pixel.", note)
    figure, axes = board(mosaic(sheet(pairs, columns))[head:], title, how, (140, head - 30, 0, 26))
    step = pairs.shape[1] + GAP
    for i, error in enumerate(errors):
        x, y = (i % columns) * (width + GAP) + width / 2, (i // columns) * step
        write(axes, (x, y + 2 * height + GAP + 14), error_text(error), 7.0)
        if names is not None:
            write(axes, (x, y - 13), names[i], 7.0, color=INK)
    for row in range(-(-len(pairs) // columns)):
        write(axes, (-14, row * step + height / 2), "original", 8.0, ha="right")
        write(axes, (-14, row * step + height * 1.5 + GAP), "reconstruction", 8.0, ha="right")
    return figure


def fitting(labels: Sequence[str] | None, room: int) -> list[str] | None:
    """The labels cut to `room` characters; None where less than two thirds of one would be left."""
    if labels is None or max(map(len, labels)) > 1.5 * room:
        return None
    return [shorten(label, room) for label in labels]


def snapshots(
    taken: Sequence[tuple[int, np.ndarray]],
    title: str = "Samples from the same noise over training",
    subtitle: str = "",
) -> Figure:
    """A small grid of samples (N, H, W, C) for each step, first to last; at most 16, evenly chosen."""
    chosen = [taken[i] for i in some(len(taken), 16)]
    return image_panels([(f"step {step:,}", images) for step, images in chosen], title, subtitle)


def image_panels(panels: Sequence[tuple[str, np.ndarray]], title: str, subtitle: str = "") -> Figure:
    """A small grid of images (N, H, W, C) for each name, four a row."""
    pixels, note = rgb(np.stack([images for _, images in panels]), 2, "panels")
    across = 4 if len(panels) > 4 else len(panels)
    columns = fitting_columns(*pixels.shape[1:4])
    side = min(CONTENT // across - 16, 360) // columns - 1
    grids = np.stack([mosaic(sheet(resize(images, max(side, 1)), columns), 1) for images in pixels])
    label, gap = 34, 14
    height, width = grids.shape[1:3]
    framed = np.full((len(grids), height + label, width, 3), 255, np.uint8)
    framed[:, label:] = grids
    figure, axes = board(mosaic(sheet(framed, across), gap), title, join(subtitle, note))
    for i, (name, _) in enumerate(panels):
        x, y = (i % across) * (width + gap), (i // across) * (height + label + gap) + label / 2 + 4
        write(axes, (x, y), shorten(name, characters(width, 8.0)), 8.0, ha="left", color=INK)
    return figure


def manifold(
    images: np.ndarray,
    across: Sequence[float] | np.ndarray,
    up: Sequence[float] | np.ndarray = (),
    title: str = "The latent plane, decoded",
    subtitle: str = "",
) -> Figure:
    """Decoded codes (R, C, H, W, C): first dimension `across` (C,), second `up` (R,) from the top row down.

    One row and no `up` shows a single latent dimension.
    """
    pixels, note = rgb(images, 2)
    rows, columns, height, width = pixels.shape[:4]
    side = max(height, width) * CONTENT // max(columns * width, rows * height)
    pixels = mosaic(resize(pixels, max(1, min(side, 160))), 0)
    cell_h, cell_w = pixels.shape[0] / rows, pixels.shape[1] / columns
    figure, axes = board(pixels, title, join(subtitle, note), (110 if len(up) else 0, 0, 0, 64))
    for i in ticks(columns, cell_w, 52):
        write(axes, ((i + 0.5) * cell_w, pixels.shape[0] + 16), number(across[i]), 7.0)
    write(axes, (pixels.shape[1] / 2, pixels.shape[0] + 48), "latent dimension 1", 9.0)
    for i in ticks(rows, cell_h, 40) if len(up) else []:
        write(axes, (-10, (i + 0.5) * cell_h), number(up[i]), 7.0, ha="right")
    if len(up):
        write(axes, (-92, pixels.shape[0] / 2), "latent dimension 2", 9.0, rotation=90)
    return figure


def ticks(count: int, cell: float, room: float) -> list[int]:
    """Which of `count` neighbouring cells to label, every so many, so that each label has `room` pixels."""
    least = int(np.ceil(room / cell))
    # A stride that ends on the last cell is nicer, if one is near.
    stride = next((s for s in range(least, 2 * least + 1) if (count - 1) % s == 0), least)
    return list(range(0, count, stride))


def traversals(
    images: np.ndarray,
    values: Sequence[float] | np.ndarray,
    names: Sequence[str],
    title: str = "What each latent dimension does",
    subtitle: str = "",
    unit: str = "",
) -> Figure:
    """Decoded codes (D, S, H, W, C): row d moves dimension d alone through `values` (S,)."""
    pixels, note = rgb(images, 2)
    steps = pixels.shape[1]
    left = 20 + max(len(str(n)) for n in names) * 10
    pixels = resize(pixels, side_for(pixels, (CONTENT - left) // steps - GAP, 112))
    height, width = pixels.shape[2:4]
    figure, axes = board(mosaic(pixels), title, join(subtitle, note), (left, 0, 0, 36))
    for row, name in enumerate(names):
        write(axes, (-14, row * (height + GAP) + height / 2), shorten(name, 40), 8.0, ha="right")
    bottom = len(names) * (height + GAP) + 16
    for i in ticks(steps, width + GAP, 24 + 10 * (4 + len(unit))):
        write(axes, (i * (width + GAP) + width / 2, bottom), number(values[i]) + unit, 8.0)
    return figure


def morph(
    images: np.ndarray,
    positions: Sequence[float] | np.ndarray,
    ends: np.ndarray | None = None,
    title: str = "Morphs between two images",
    subtitle: str = "",
) -> Figure:
    """Decoded codes (R, S, H, W, C), a path a row, at `positions` t (S,), between `ends` (R, 2, H, W, C)."""
    pixels, note = rgb(images, 2)
    steps = pixels.shape[1]
    side = side_for(pixels, CONTENT // (steps + (3 if ends is not None else 0)) - GAP, 160)
    pixels = resize(pixels, side)
    width = pixels.shape[3]
    strip, aside = mosaic(pixels), 0
    if ends is not None:
        aside = width + 5 * GAP
        space = np.full((len(strip), 5 * GAP, 3), 255, np.uint8)
        outer = resize(rgb(ends, 2, "originals")[0], side)
        strip = np.concatenate([mosaic(outer[:, :1]), space, strip, space, mosaic(outer[:, 1:])], axis=1)
    figure, axes = board(strip, title, join(subtitle, note), (0, 0, 0, 34))
    for i in ticks(steps, width + GAP, 64):
        write(
            axes, (aside + i * (width + GAP) + width / 2, len(strip) + 17), "t = " + number(positions[i]), 7.5
        )
    for x in (width / 2, strip.shape[1] - width / 2) if ends is not None else ():
        write(axes, (x, len(strip) + 17), "original", 7.5, color=INK)
    return figure


def join(*sentences: str) -> str:
    """The sentences that are not empty, as one line."""
    return " ".join(s for s in sentences if s)
