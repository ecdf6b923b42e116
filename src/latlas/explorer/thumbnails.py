"""Small pictures of many items in one, which the map draws from."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from PIL import Image

from latlas.explorer.blocks import Store
from latlas.figures.images import rgb

LARGEST, SIDE = 4096, 64  # pixels of the whole picture's side, and of one item's
LOSSLESS = 2**20  # pixels up to which nothing is lost
QUALITY = 75


def side_for(size: tuple[int, ...], count: int, most: int = SIDE) -> int:
    """The longer side of each picture (H, W) such that `count` of them fit into one."""
    return max(4, min(max(size), most, LARGEST // math.ceil(math.sqrt(max(count, 1)))))


def pictures_in_one(images: np.ndarray, side: int, columns: int) -> tuple[bytes, tuple[int, int]]:
    """Images (N, H, W, C) in [0, 1] as one WebP, row by row, each with its longer side `side`; and each one's size."""
    height, width = images.shape[1:3]
    ratio = side / max(height, width)
    tile = max(1, round(width * ratio)), max(1, round(height * ratio))
    rows = math.ceil(len(images) / columns)
    whole = np.zeros((rows * tile[1], columns * tile[0], 3), np.uint8)
    for at in range(len(images)):
        pixels = rgb(np.nan_to_num(images[at]), 0)[0]
        if tile != (width, height):
            pixels = np.asarray(
                Image.fromarray(pixels).resize(
                    tile, Image.Resampling.BOX if ratio < 1 else Image.Resampling.NEAREST
                )
            )
        top, left = at // columns * tile[1], at % columns * tile[0]
        whole[top : top + tile[1], left : left + tile[0]] = pixels
    content = io.BytesIO()
    small = whole.shape[0] * whole.shape[1] <= LOSSLESS
    Image.fromarray(whole).save(content, "WEBP", lossless=small, quality=QUALITY, method=4)
    return content.getvalue(), tile


def atlas(store: Store, name: str, images: np.ndarray, side: int, columns: int = 0) -> dict[str, Any]:
    """The pictures as the page's data has them, in as many columns as rows unless given."""
    columns = columns or max(1, math.ceil(math.sqrt(len(images))))
    content, tile = pictures_in_one(images, side, columns)
    return {"image": store.put(name, content), "tile": list(tile), "columns": columns}
