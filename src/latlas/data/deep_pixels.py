"""Pixels of more than 8 bits: all bits of them, where Pillow gives 8 of a colour, and on their own scale."""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from latlas.data import tiff_tags
from latlas.data.image_formats import open_image
from latlas.data.image_source import ImageSource

WHITE = 65535
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's conversion to grey


def is_deep(image: ImageFile) -> bool:
    """Whether an image, not yet decoded, has more than 8 bits a value that can be had."""
    if image.mode.startswith("I;16"):
        return True
    if image.mode == "I":
        return image.format in ("PNG", "PPM")
    return image.format in ("PNG", "TIFF") and image.mode in ("RGB", "RGBA") and ";16" in rawmode(image)


def stated_bits(image: ImageFile) -> int | None:
    """Bits of the scale that the file states; None for 16 bits, which may hold a camera's 10, 12 or 14."""
    if isinstance(image, TiffImageFile) and tiff_tags.bits(image) < 16:
        return tiff_tags.bits(image)
    if image.format == "JPEG2000" and image.info["bits"] < 16:
        return image.info["bits"]
    # Pillow scales the values by the greatest one that a PGM names, unless that is 65,535.
    return 16 if image.format == "PPM" and image.tile and image.tile[0][0] == "ppm" else None


def is_deep_grey(image: ImageFile) -> bool:
    """Whether a deep image has grey values only."""
    return image.mode.startswith("I") or rawmode(image).startswith("LA")


def deep_values(image: ImageFile, file: ImageSource) -> np.ndarray:
    """The values (H, W, 1 or 3) uint16 of a deep image, not yet decoded: upright, transparency over white."""
    clear = image.info.get("transparency")
    if image.mode.startswith("I"):
        values = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)[..., None]
        if image.format == "JPEG2000":
            values >>= 16 - image.info["bits"]  # which Pillow shifted up
        if isinstance(image, TiffImageFile) and tiff_tags.is_inverted(image):
            values = WHITE - values
    else:
        values = _colours(image, file)
    if clear is not None:
        values[(values == np.asarray(clear)).all(axis=-1)] = WHITE
    return values


def _colours(image: ImageFile, file: ImageSource) -> np.ndarray:
    """All bits of RGB, RGBA or grey with alpha."""
    layout, page = rawmode(image), image.tell()
    tiff = image if isinstance(image, TiffImageFile) else None
    no_alpha = tiff is not None and tiff_tags.alpha_is_a_band(tiff)
    premultiplied = tiff is not None and tiff_tags.is_premultiplied(tiff)
    if layout.startswith("LA"):
        both = _unpacked(image, "RGBA").astype(np.uint16)  # the four bytes of a pixel: grey and alpha
        values = both[..., ::2] << 8 | both[..., 1::2]
    else:
        # Pillow keeps one byte of each value: the upper one, or in the other byte order the lower one.
        name, order = layout[:-1].replace("RGBa", "RGBA"), layout[-1]
        if order == "N":
            order = "L" if sys.byteorder == "little" else "B"
        high = _unpacked(image, name + order).astype(np.uint16)
        with open_image(file, page) as again:
            values = high << 8 | _unpacked(again, name + ("B" if order == "L" else "L"))
    if image.mode == "RGB" or no_alpha:
        return values[..., :3]
    return _over_white(values[..., :-1], values[..., -1:], premultiplied)


def _unpacked(image: ImageFile, layout: str) -> np.ndarray:
    """The decoded image, upright, with the bytes of the file taken as those of another mode."""
    image.tile = [
        type(tile)(*tile[:3], layout if isinstance(tile[3], str) else (layout, *(tile[3] or ())[1:]))
        for tile in image.tile
    ]
    return np.asarray(ImageOps.exif_transpose(image))


def _over_white(colour: np.ndarray, alpha: np.ndarray, premultiplied: bool) -> np.ndarray:
    wide, share = colour.astype(np.int64), alpha.astype(np.int64)
    behind = WHITE - share
    if not premultiplied:
        wide = (wide * share + WHITE // 2) // WHITE
    return np.minimum(wide + behind, WHITE).astype(np.uint16)


def deep_grey(values: np.ndarray) -> np.ndarray:
    """Grey values (H, W, 1) of colours (H, W, 3)."""
    return np.rint(values @ np.asarray(_LUMA)).astype(np.uint16)[..., None]


def deep_resized(values: np.ndarray, size: tuple[int, int], resize: str) -> np.ndarray:
    """Values (H, W, C) at another size (height, width), as `image_files.decode` resizes 8 bits.

    Sharp edges do not overshoot: a value beyond those of the image would seem to be a wider scale.
    """
    bands = [_band(values[..., i], (size[1], size[0]), resize) for i in range(values.shape[-1])]
    return np.rint(np.stack(bands, -1).clip(values.min(), values.max())).astype(np.uint16)


def _band(values: np.ndarray, size: tuple[int, int], resize: str) -> np.ndarray:
    band = Image.fromarray(values.astype(np.float32))
    if resize == "squash":
        return np.asarray(band.resize(size, Image.Resampling.BICUBIC))
    return np.asarray(ImageOps.fit(band, size, Image.Resampling.BICUBIC))


def rawmode(image: ImageFile) -> str:
    """How the bytes of the file are laid out, in Pillow's words; '' once it is decoded."""
    arguments = image.tile[0][3] if image.tile else ""
    return arguments if isinstance(arguments, str) else str((arguments or ("",))[0])
