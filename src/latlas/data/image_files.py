"""One image file to one array: any common format, upright, 8 bits, grey or RGB, at the size asked for."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from latlas.errors import InputError

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff")
)
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257  # tags
_ORIENTATION = 0x0112  # EXIF tag; values 5 to 8 swap width and height
_GREY = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"))


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded: height and width once upright, and whether it is grey."""

    height: int
    width: int
    grey: bool


def inspect(path: Path) -> Header:
    """The header of an image file.

    Raises InputError for a file that is no readable image.
    """
    try:
        with Image.open(path) as image:
            width, height = _stored_size(image)
            # For PNG, asking for EXIF would decode the whole picture; it is in `info` where there is any.
            may_turn = image.format != "PNG" or "exif" in image.info
            if may_turn and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
                width, height = height, width
            return Header(height, width, _is_grey(image))
    except Exception as error:  # Pillow's plugins raise anything at all on broken bytes
        raise InputError(f"{path}: {reason(error)}") from None


def decode(path: Path, size: tuple[int, int] | None, resize: str, grey: bool) -> np.ndarray:
    """Pixels (H, W, 1 or 3) uint8, upright, transparency over white, 16 bits reduced to 8.

    `size` is (height, width): `crop` scales the picture to cover it and cuts the centre out, `squash` scales
    both sides. Of an animation, the first frame.

    Raises InputError for a file that is broken, or whose pixels have no known range.
    """
    try:
        with Image.open(path) as image:
            return _pixels(image, size, resize, grey)
    except Exception as error:  # as above
        raise InputError(f"{path}: {reason(error)}") from None


def decode_image(image: Image.Image, size: tuple[int, int], resize: str, grey: bool) -> np.ndarray:
    """The pixels of a picture in memory, as `decode` gives those of a file; the picture stays as it is."""
    try:
        held = image.copy()
        held.format = image.format
        return _pixels(held, size, resize, grey)
    except Exception as error:  # as above
        raise InputError(f"picture: {reason(error)}") from None


def _pixels(image: Image.Image, size: tuple[int, int] | None, resize: str, grey: bool) -> np.ndarray:
    if size is not None:
        image.draft(None, _draft_size(image, size))
    upright = ImageOps.exif_transpose(image)
    plain = _plain(upright, image.format).convert("L" if grey else "RGB")
    if size is not None and plain.size != (size[1], size[0]):
        plain = _resized(plain, (size[1], size[0]), resize)
    return np.asarray(plain).reshape(plain.height, plain.width, -1)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height before any rotation: of a TIFF, some versions of Pillow give the size once upright."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2[_TIFF_WIDTH]), int(image.tag_v2[_TIFF_HEIGHT])
    return image.size


def reason(error: Exception) -> str:
    """In a few words, why a file could not be decoded."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow can read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (struct.error, SyntaxError, EOFError, IndexError)):
        return f"broken file ({error})"
    return " ".join(str(error).split()) or type(error).__name__


def _is_grey(image: Image.Image) -> bool:
    if image.mode not in ("P", "PA"):
        return image.mode in _GREY
    colours = np.asarray(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _draft_size(image: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """The smallest size to decode a JPEG at: twice the final size, so that the last reduction is filtered."""
    need = 2 * max(size) / min(image.size)
    return (math.ceil(image.width * need), math.ceil(image.height * need))


def _plain(image: Image.Image, file_format: str | None) -> Image.Image:
    """8 bits a channel, without transparency."""
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PNG"):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}) have no known range; save it with 8 or 16 bits")
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
    return image


def _resized(image: Image.Image, size: tuple[int, int], resize: str) -> Image.Image:
    if resize == "squash":
        return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return ImageOps.fit(image, size, Image.Resampling.BICUBIC)
