"""Small pictures of many items in one, which the map draws from."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from latlas import figures
from latlas.explorer.blocks import Store

LARGEST, SIDE = 4096, 64  # pixels of the whole picture's side, and of one item's
LOSSLESS = 2**17  # pixels up to which nothing is lost
QUALITY = 75
Pictures = tuple[bytes, dict[str, Any]]


def side_for(size: Sequence[int], count: int, most: int = SIDE) -> int:
    """The longer side of each picture (H, W) such that `count` of them fit into one."""
    return max(4, min(max(size), most, LARGEST // math.ceil(math.sqrt(max(count, 1)))))


def pictures_in_one(
    parts: Iterable[np.ndarray], count: int, side: int, columns: int = 0, lossless: int = LOSSLESS
) -> Pictures:
    """`count` images in [0, 1], (n, H, W, C) at a time, as one WebP, row by row, each with its longer side `side`; and
    how they stand in it, in as many columns as rows unless given. Up to so many pixels it is `lossless`.
    """
    columns = columns or max(1, math.ceil(math.sqrt(count)))
    whole, tile, at = np.zeros((0, 0, 3), np.uint8), (1, 1), 0
    for part in parts:
        height, width = part.shape[1:3]
        ratio = side / max(height, width)
        tile = max(1, round(width * ratio)), max(1, round(height * ratio))
        if not at:
            whole = np.zeros((math.ceil(count / columns) * tile[1], columns * tile[0], 3), np.uint8)
        how = Image.Resampling.BOX if ratio < 1 else Image.Resampling.NEAREST
        for pixels in figures.rgb(np.nan_to_num(part), 1)[0]:
            if tile != (width, height):
                pixels = np.asarray(Image.fromarray(pixels).resize(tile, how))
            top, left = at // columns * tile[1], at % columns * tile[0]
            whole[top : top + tile[1], left : left + tile[0]] = pixels
            at += 1
    content = io.BytesIO()
    small = whole.shape[0] * whole.shape[1] <= lossless
    Image.fromarray(whole).save(content, "WEBP", lossless=small, quality=QUALITY, method=4)
    return content.getvalue(), {"tile": list(tile), "columns": columns}


def atlas(store: Store, name: str, made: Pictures) -> dict[str, Any]:
    """Pictures in one as the page's data has them."""
    content, about = made
    return {"image": store.put(name, content), **about}
