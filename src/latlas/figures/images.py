"""Pictures of images (..., H, W, C) in [0, 1]: grids, rows to compare, snapshots, manifolds, traversals, morphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from latlas.errors import InputError
from latlas.figures.style import (
    CLASS_COLOURS,
    CONTENT,
    INK,
    MUTED,
    characters,
    error_text,
    evenly_spaced,
    image_page,
    number,
    shorten,
    write,
)

GAP = 4  # pixels between neighbouring images
THIN = 2  # the same where many small images make one picture
ERROR = 28  # height in pixels of the error beneath an image
ERROR_WIDTH = 52  # largest width in pixels of an error
BETWEEN = 12  # extra pixels between blocks of rows
APART = 14 * GAP  # pixels between an image and its variations
NAME = 24  # most characters of a row's name


def rgb(images: np.ndarray, axes: int, what: str = "images") -> tuple[np.ndarray, str]:
    """Images (..., H, W, C) in [0, 1] as uint8 RGB (..., H, W, 3), with a note on channels that are not shown.

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


def to_unit_range(images: np.ndarray) -> np.ndarray:
    """Images as real numbers in [0, 1]: bytes are divided by 255, other numbers are kept."""
    return images / 255 if images.dtype == np.uint8 else images.astype(float)


def strips(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, D) as flat images (N, H, D, 1) whose pixels are the values, for the pictures of images."""
    height = max(1, round(vectors.shape[1] / 12))
    return np.repeat(vectors[:, None, :, None], height, axis=1)


TRACE = (64, 128)  # height and width of a signal's picture, in pixels


def traces(signals: np.ndarray) -> np.ndarray:
    """Signals (N, L, C) in [0, 1] as images (N, 64, 128, 3) of their curves, light on dark; channels by colour."""
    height, width = TRACE
    count, length, channels = signals.shape
    at = np.linspace(0, length - 1, width)
    low = np.floor(at).astype(int).clip(0, max(length - 2, 0))
    share = (at - low)[None, :, None]
    values = signals[:, low] * (1 - share) + signals[:, np.minimum(low + 1, length - 1)] * share
    heights = (1 - np.nan_to_num(values).clip(0, 1)) * (height - 1)
    before = np.concatenate([heights[:, :1], heights[:, :-1]], 1)
    top, bottom = np.minimum(heights, before) - 0.5, np.maximum(heights, before) + 0.5
    rows = np.arange(height)[None, :, None, None]
    on = (rows >= np.floor(top)[:, None]) & (rows <= np.ceil(bottom)[:, None])  # (N, H, W, C)
    colours = np.asarray([to_rgb(CLASS_COLOURS[i % len(CLASS_COLOURS)]) for i in range(channels)])
    colours = np.ones((1, 3)) if channels == 1 else colours
    images = np.zeros((count, height, width, 3))
    for channel in range(channels):
        images[on[..., channel]] = colours[channel]
    return images


def middle_slice(volumes: np.ndarray) -> np.ndarray:
    """Volumes (N, D, H, W, C) as images (N, H, W, C), of the middle of the first axis; the first of many channels."""
    images = volumes[:, volumes.shape[1] // 2]
    return images if images.shape[-1] in (1, 3) else images[..., :1]


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
    whole = np.full((rows, columns, height + gap, width + gap, 3), 255, np.uint8)
    whole[:, :, :height, :width] = images
    whole = whole.transpose(0, 2, 1, 3, 4).reshape(rows * (height + gap), columns * (width + gap), 3)
    return whole[: whole.shape[0] - gap, : whole.shape[1] - gap]


def arrange(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, H, W, 3) as rows (R, C, H, W, 3); the last row is filled up with white."""
    count = len(images)
    rows = -(-count // columns)
    full = np.full((rows * columns, *images.shape[1:]), 255, np.uint8)
    full[:count] = images
    return full.reshape(rows, columns, *images.shape[1:])


def fitting_columns(count: int, height: int, width: int) -> int:
    """The number of columns that makes a grid of `count` images about square."""
    return int(np.clip(round((count * height / width) ** 0.5), 1, count))


def image_grid(images: np.ndarray, title: str, subtitle: str = "", columns: int | None = None) -> Figure:
    """Images (N, H, W, C) in reading order; without `columns` the grid is about square."""
    pixels, note = rgb(images, 1)
    columns = min(columns or fitting_columns(*pixels.shape[:3]), len(pixels))
    rows = -(-len(pixels) // columns)
    pixels = resize(pixels, side_for(pixels, CONTENT // columns - GAP, min(224, CONTENT / rows)))
    return image_page(mosaic(arrange(pixels, columns)), title, join_sentences(subtitle, note))[0]


def image_rows(
    rows: Sequence[tuple[str, np.ndarray]],
    title: str,
    subtitle: str = "",
    labels: Sequence[str] | None = None,
    columns: int = 10,
    seen: Callable[[np.ndarray], np.ndarray] = lambda items: items,
) -> Figure:
    """Draws rows of images of the same N items under one another; each row is a name and its images (N, H, W, C), or
    items (N, ...) that are `seen` as such.

    Under each image is its mean squared error from the first row's image, before values are clipped to [0, 1]. With
    several errors per item, the smallest is bold. After `columns` items the rows continue below. `labels` of the items
    are written above if they fit. Raises InputError if shapes differ.
    """
    names = [shorten(name, NAME) for name, _ in rows]
    arrays = [np.asarray(images, float) for _, images in rows]
    for name, images in zip(names, arrays, strict=True):
        if images.shape != arrays[0].shape:
            raise InputError(f"{names[0]} {arrays[0].shape} and {name} {images.shape} differ in shape")
    pixels, note = rgb(np.stack([seen(items) for items in arrays]), 2)
    errors = np.stack([np.square(items - arrays[0]).reshape(len(items), -1).mean(1) for items in arrays[1:]])
    columns = min(columns, pixels.shape[1])
    left = 20 + 9 * max(map(len, names))
    tallest = min(160, CONTENT // len(rows))
    pixels = resize(pixels, side_for(pixels, (CONTENT - left) // columns - GAP, tallest))
    height, cell = pixels.shape[2], max(pixels.shape[3], ERROR_WIDTH)
    labels = fitting_labels(labels, characters(cell + GAP, 7.0))
    blocks, tops = _stacked(pixels, cell, 26 if labels else 0)
    several = len(rows) > 2
    below = f"Below each{'' if several else ' pair'}: its mean squared error per pixel"
    below += ", the smallest of an item in bold." if several else "."
    drawn = mosaic(arrange(blocks, columns))
    figure, axes = image_page(drawn, title, join_sentences(subtitle, below, note), (left, 0, 0, 0))
    step = blocks.shape[1] + GAP
    for i, item_errors in enumerate(errors.T):
        x, y = (i % columns) * (cell + GAP) + cell / 2, (i // columns) * step
        if labels:
            write(axes, (x, y + 13), labels[i], 7.0, color=INK)
        for top, error in zip(tops[1:], item_errors, strict=True):
            best = several and error == item_errors.min()
            style = {"color": INK, "fontweight": "bold"} if best else {}
            write(axes, (x, y + top + height + ERROR / 2), error_text(error), 7.0, **style)
    for y, row in product(range(0, len(drawn), step), range(len(rows))):
        place = (-14, y + tops[row] + height / 2)
        write(axes, place, names[row], 8.0, ha="right", color=INK if row else MUTED)
    return figure


def _stacked(pixels: np.ndarray, cell: int, above: int) -> tuple[np.ndarray, list[int]]:
    """Blocks (N, H', cell, 3), one per item, of images (R, N, H, W, 3), and the top of each image in a block.

    The R images of an item are centred under one another.
    """
    rows, count, height, width, _ = pixels.shape
    after_first = GAP if rows == 2 else ERROR  # a pair stands close together
    tops = [above, *(above + height + after_first + i * (height + ERROR) for i in range(rows - 1))]
    blocks = np.full((count, tops[-1] + height + ERROR + BETWEEN, cell, 3), 255, np.uint8)
    left = (cell - width) // 2
    for top, images in zip(tops, pixels, strict=True):
        blocks[:, top : top + height, left : left + width] = images
    return blocks, tops


def fitting_labels(labels: Sequence[str] | None, room: int) -> list[str] | None:
    """The labels shortened to `room` characters; None if less than two thirds of a label would be left."""
    if labels is None or max(map(len, labels)) > 1.5 * room:
        return None
    return [shorten(label, room) for label in labels]


def variations(
    original: np.ndarray, reconstruction: np.ndarray, images: np.ndarray, title: str, subtitle: str = ""
) -> Figure:
    """Draws an image (H, W, C) above its reconstruction, and its variations (N, H, W, C) to the right."""
    pixels, note = rgb(np.concatenate([[original], [reconstruction], images]), 1)
    count, height, width = len(images), *pixels.shape[1:3]
    columns = min(fitting_columns(count, height, width) + 1, -(-count // 2), 20)
    rows = max(2, -(-count // columns))
    pixels = resize(
        pixels, side_for(pixels, (CONTENT - 140 - APART) // (columns + 1) - GAP, min(200, CONTENT / rows))
    )
    height, width = pixels.shape[1:3]
    blank = np.full((rows * columns - count, height, width, 3), 255, np.uint8)
    grid = mosaic(arrange(np.concatenate([pixels[2:], blank]), columns))
    pair = np.full((len(grid), width + APART, 3), 255, np.uint8)
    pair[:height, :width], pair[height + GAP : 2 * height + GAP, :width] = pixels[:2]
    figure, axes = image_page(
        np.concatenate([pair, grid], axis=1), title, join_sentences(subtitle, note), (140, 0, 0, 0)
    )
    for row, name in enumerate(("original", "reconstruction")):
        write(axes, (-14, row * (height + GAP) + height / 2), name, 8.0, ha="right", color=INK)
    return figure


def neighbours(
    item: np.ndarray, images: np.ndarray, spaces: np.ndarray, distances: np.ndarray, title: str
) -> Figure:
    """Draws an image (H, W, C) and its neighbours (N, H, W, C), nearest first, in a row for each of `spaces` (N,), with
    the distance below each; at most 20 in a row.
    """
    pixels, note = rgb(np.concatenate([item[None], images]), 1)
    names = list(dict.fromkeys(spaces.tolist()))
    chosen = [np.flatnonzero(spaces == name)[:20] for name in names]
    left, columns = 150, 1 + max(map(len, chosen))
    pixels = resize(pixels, side_for(pixels, (CONTENT - left) // columns - GAP, 160))
    height, width = pixels.shape[1:3]
    cell = max(width, ERROR_WIDTH)
    blocks = np.full((len(names), columns, height + ERROR, cell, 3), 255, np.uint8)
    start = (cell - width) // 2
    for row, rows in enumerate(chosen):
        blocks[row, : len(rows) + 1, :height, start : start + width] = pixels[[0, *(rows + 1)]]
    figure, axes = image_page(
        mosaic(blocks), title, join_sentences("First the item itself.", note), (left, 0, 0, 0)
    )
    for row, (name, rows) in enumerate(zip(names, chosen, strict=True)):
        top = row * (height + ERROR + GAP)
        write(axes, (-14, top + height / 2), f"by {name}", 8.0, ha="right", color=INK)
        for column, text in enumerate(["item", *map(error_text, distances[rows].tolist())]):
            write(axes, (column * (cell + GAP) + cell / 2, top + height + ERROR / 2), text, 7.0)
    return figure


def snapshots(
    taken: Sequence[tuple[int, np.ndarray]],
    title: str = "Samples from the same noise over training",
    subtitle: str = "",
) -> Figure:
    """Draws a small grid of samples (N, H, W, C) for each step; at most 16 steps, evenly chosen."""
    chosen = [taken[i] for i in evenly_spaced(len(taken), 16)]
    return image_panels([(f"step {step:,}", images) for step, images in chosen], title, subtitle)


def image_panels(panels: Sequence[tuple[str, np.ndarray]], title: str, subtitle: str = "") -> Figure:
    """Draws a small grid of images (N, H, W, C) under each name, four in a row."""
    pixels, note = rgb(np.stack([images for _, images in panels]), 2, "panels")
    across = 4 if len(panels) > 4 else len(panels)
    columns = fitting_columns(*pixels.shape[1:4])
    side = min(CONTENT // across - 16, 360) // columns - 1
    grids = np.stack([mosaic(arrange(resize(images, max(side, 1)), columns), 1) for images in pixels])
    label, gap = 34, 14
    height, width = grids.shape[1:3]
    framed = np.full((len(grids), height + label, width, 3), 255, np.uint8)
    framed[:, label:] = grids
    figure, axes = image_page(mosaic(arrange(framed, across), gap), title, join_sentences(subtitle, note))
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
    """Draws decoded codes (R, C, H, W, C): the first dimension is `across` (C,), the second `up` (R,) from the top.

    With one row and no `up` the latent space has one dimension.
    """
    pixels, note = rgb(images, 2)
    rows, columns, height, width = pixels.shape[:4]
    side = max(height, width) * CONTENT // max(columns * width, rows * height)
    pixels = mosaic(resize(pixels, max(1, min(side, 160))), THIN)
    cell_h, cell_w = pixels.shape[0] / rows, pixels.shape[1] / columns
    figure, axes = image_page(
        pixels, title, join_sentences(subtitle, note), (110 if len(up) else 0, 0, 0, 64)
    )
    for i in ticks(columns, cell_w, 52):
        write(axes, ((i + 0.5) * cell_w, pixels.shape[0] + 16), number(across[i]), 7.0)
    write(axes, (pixels.shape[1] / 2, pixels.shape[0] + 48), "latent dimension 1", 9.0)
    for i in ticks(rows, cell_h, 40) if len(up) else []:
        write(axes, (-10, (i + 0.5) * cell_h), number(up[i]), 7.0, ha="right")
    if len(up):
        write(axes, (-92, pixels.shape[0] / 2), "latent dimension 2", 9.0, rotation=90)
    return figure


def ticks(count: int, cell: float, room: float) -> list[int]:
    """Indices of the cells to label, of `count` cells of `cell` pixels, so that each label has `room` pixels."""
    least = int(np.ceil(room / cell))
    # Prefer a stride that ends on the last cell.
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
    """Draws decoded codes (D, S, H, W, C): row d changes only dimension d, through `values` (S,)."""
    pixels, note = rgb(images, 2)
    steps = pixels.shape[1]
    left = 20 + max(len(str(n)) for n in names) * 10
    pixels = resize(pixels, side_for(pixels, (CONTENT - left) // steps - GAP, 112))
    height, width = pixels.shape[2:4]
    figure, axes = image_page(mosaic(pixels), title, join_sentences(subtitle, note), (left, 0, 0, 36))
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
    """Draws decoded codes (R, S, H, W, C), one path per row, at `positions` t (S,) between `ends` (R, 2, H, W, C)."""
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
    figure, axes = image_page(strip, title, join_sentences(subtitle, note), (0, 0, 0, 34))
    for i in ticks(steps, width + GAP, 64):
        write(
            axes, (aside + i * (width + GAP) + width / 2, len(strip) + 17), "t = " + number(positions[i]), 7.5
        )
    for x in (width / 2, strip.shape[1] - width / 2) if ends is not None else ():
        write(axes, (x, len(strip) + 17), "original", 7.5, color=INK)
    return figure


def join_sentences(*sentences: str) -> str:
    """The non-empty sentences as one line."""
    return " ".join(s for s in sentences if s)
