"""One image file to arrays: any raster format, upright, grey or RGB, on its own scale, at the size asked for."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from latlas.data import tiff_tags
from latlas.data.deep_pixels import (
    deep_grey,
    deep_resized,
    deep_values,
    is_deep,
    is_deep_grey,
    rawmode,
    stated_bits,
)
from latlas.data.image_formats import is_stack, open_image, page_numbers, turn_to
from latlas.data.image_source import ImageSource, opened
from latlas.errors import InputError

_ORIENTATION = 0x0112  # EXIF tag; values 5 to 8 swap width and height
_GREY = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"))


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded: height and width once upright, and whether it is grey.

    `bits` are those of the values' own scale, white being 2^bits - 1; None where values of 16 bits may be a camera's
    10, 12 or 14. `pages` is the number of pictures, of a `stack` or else of an animation. `extra` counts bands, such as
    an infrared one, that are left out. `inverted`: 0 is white, and `decode` takes it for the opposite of 65,535, as
    bits is None.
    """

    height: int
    width: int
    grey: bool
    bits: int | None = 8
    pages: int = 1
    stack: bool = False
    extra: int = 0
    inverted: bool = False


def inspect(file: ImageSource) -> Header:
    """The header of an image file, or what is known as much of a picture of Pillow.

    Raises InputError for a file that is no readable image.
    """
    try:
        with open_image(file) as image:
            pages = page_numbers(image)
            turn_to(image, pages[0])
            tiff = image if isinstance(image, TiffImageFile) else None
            # Of a TIFF, some versions of Pillow give the size once upright.
            width, height = image.size if tiff is None else tiff_tags.stored_size(tiff)
            # Before what may decode the picture: metadata may stand behind its pixels.
            bits, grey = (stated_bits(image), is_deep_grey(image)) if is_deep(image) else (8, None)
            if _orientation(image, file) in (5, 6, 7, 8):
                width, height = height, width
            grey = _is_grey(image) if grey is None else grey
            extra = 0 if tiff is None else tiff_tags.extra_bands(tiff)
            stack = len(pages) > 1 and is_stack(image)
            inverted = bits is None and tiff is not None and tiff_tags.is_inverted(tiff)
            return Header(height, width, grey, bits, len(pages), stack, extra, inverted)
    except Exception as error:  # Pillow's plugins raise anything at all on broken bytes
        raise InputError(f"{file}: {reason(error, file)}") from None


def decode(file: ImageSource, size: tuple[int, int] | None, resize: str, grey: bool) -> np.ndarray:
    """Pixels (H, W, 1 or 3) of a file's first picture, uint8, or uint16 for values of more bits: upright, transparency
    over white.

    `size` is (height, width): `crop` scales the picture to cover it and cuts the centre out, `squash` scales both
    sides.

    Raises InputError for a file that is broken, that Pillow reads wrongly, or whose pixels have no known range.
    """
    try:
        with open_image(file) as image:
            return _pixels(image, file, size, resize, grey)
    except Exception as error:  # as above
        raise InputError(f"{file}: {reason(error, file)}") from None


def decode_pages(
    file: ImageSource, size: tuple[int, int] | None, resize: str, grey: bool
) -> Iterator[np.ndarray | str]:
    """The pixels of every page or frame of a file, as `decode` gives them, or why a page has none."""
    try:
        with open_image(file) as image:
            for number, page in enumerate(page_numbers(image), 1):
                try:
                    turn_to(image, page)
                    yield _pixels(image, file, size, resize, grey)
                except Exception as error:
                    yield f"page {number}: {reason(error, file)}"
    except Exception as error:
        yield reason(error, file)


def _pixels(
    image: ImageFile, file: ImageSource, size: tuple[int, int] | None, resize: str, grey: bool
) -> np.ndarray:
    if is_deep(image):
        values = deep_values(image, file)
        if grey and values.shape[-1] == 3:
            values = deep_grey(values)
        if size is not None and values.shape[:2] != size:
            values = deep_resized(values, size, resize)
        return values if grey or values.shape[-1] == 3 else np.repeat(values, 3, axis=-1)
    if size is not None:
        image.draft(None, _draft_size(image, size))
    plain = _plain(image).convert("L" if grey else "RGB")
    if size is not None and plain.size != (size[1], size[0]):
        plain = _resized(plain, (size[1], size[0]), resize)
    return np.asarray(plain).reshape(plain.height, plain.width, -1)


def reason(error: Exception, file: ImageSource) -> str:
    """In a few words, why a file could not be decoded."""
    if isinstance(error, UnidentifiedImageError):
        return tiff_tags.why_unknown(file) or "not an image that Pillow can read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (struct.error, SyntaxError, EOFError, IndexError)):
        return f"broken file ({error})"
    return " ".join(str(error).split()) or type(error).__name__


def _orientation(image: ImageFile, file: ImageSource) -> int:
    if image.format == "PNG" and "exif" not in image.info and not _has_late_chunks(file):
        # Pillow would decode the whole picture to look for EXIF behind it.
        return Image.Image.getexif(image).get(_ORIENTATION, 1)
    return image.getexif().get(_ORIENTATION, 1)


def _has_late_chunks(source: ImageSource) -> bool:
    """Whether a PNG has metadata behind its pixels."""
    with opened(source) as file:
        file.seek(8)
        behind = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            behind |= kind == b"IDAT"
            if behind and kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                return True
            file.seek(length + 4, 1)
    return False


def _is_grey(image: Image.Image) -> bool:
    if image.mode not in ("P", "PA"):
        return image.mode in _GREY
    colours = np.asarray(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _draft_size(image: ImageFile, size: tuple[int, int]) -> tuple[int, int]:
    """The smallest size to decode a JPEG at: twice the final size, so that the last reduction is filtered."""
    need = 2 * max(size) / min(image.size)
    return (math.ceil(image.width * need), math.ceil(image.height * need))


def _plain(image: Image.Image) -> Image.Image:
    """The decoded image, upright, of 8 bits a channel and without transparency."""
    if image.mode in ("I", "F"):
        kind = "integers" if image.mode == "I" else "floats"
        raise ValueError(
            f"32-bit {kind} have no known range; save them with 8 or 16 bits, or as an .npy array"
        )
    if (
        isinstance(image, ImageFile)
        and image.format == "PNG"
        and rawmode(image) in ("L;2", "L;4")
        and "transparency" in image.info
    ):
        # Pillow brings the values to 8 bits, and not the one that is transparent.
        image.info["transparency"] *= {"L;2": 85, "L;4": 17}[rawmode(image)]
    no_alpha = isinstance(image, TiffImageFile) and tiff_tags.alpha_is_a_band(image)
    upright = ImageOps.exif_transpose(image)
    if no_alpha:
        return upright.convert("RGB")
    if upright.mode == "La":
        upright = upright.convert("LA")
    if upright.mode in ("LA", "RGBA", "RGBa", "PA") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
    return upright


def _resized(image: Image.Image, size: tuple[int, int], resize: str) -> Image.Image:
    if resize == "squash":
        return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return ImageOps.fit(image, size, Image.Resampling.BICUBIC)
