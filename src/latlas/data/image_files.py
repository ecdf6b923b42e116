"""One image file to arrays: any raster format, upright, grey or RGB, on its own scale, at the size asked for."""

from __future__ import annotations

import errno
import math
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
from latlas.data.idx import shape_text
from latlas.data.image_formats import is_stack, open_image, page_numbers, turn_to
from latlas.data.image_source import ImageSource, opened
from latlas.data.room import free_memory, is_shortage
from latlas.errors import InputError, LatlasError
from latlas.limits import LIMITS
from latlas.text import size as size_text

LARGE = 2**24  # pixels of an image that is decoded while no other is
# Bytes a pixel while it is decoded: a few copies of four, or of deep ones wide integers.
PLAIN_BYTES, DEEP_BYTES = 20, 112
_ONE_AT_A_TIME = threading.Lock()
_PASSING = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EAGAIN))
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
        raise _failure(error, file) from None


def decode(file: ImageSource, size: tuple[int, int] | None, resize: str, grey: bool) -> np.ndarray:
    """Pixels (H, W, 1 or 3) of a file's first picture, uint8, or uint16 for values of more bits: upright, transparency
    over white.

    `size` is (height, width): `crop` scales the picture to cover it and cuts the centre out, `squash` scales both
    sides.

    Raises InputError for a file that is broken, that Pillow reads wrongly, that is too large, or whose pixels have no
    known range; Passing where it may be read another time.
    """
    try:
        with open_image(file) as image:
            return _pixels(image, file, size, resize, grey)
    except Exception as error:  # as above
        raise _failure(error, file) from None


def decode_pages(
    file: ImageSource, size: tuple[int, int] | None, resize: str, grey: bool
) -> Iterator[np.ndarray | str]:
    """The pixels of every page or frame of a file, as `decode` gives them, or why a page has none.

    Raises Passing as `decode` does.
    """
    try:
        with open_image(file) as image:
            for number, page in enumerate(page_numbers(image), 1):
                try:
                    turn_to(image, page)
                    yield _pixels(image, file, size, resize, grey)
                except Exception as error:
                    yield f"page {number}: {_lasting(error, file)}"
    except Passing:
        raise
    except Exception as error:
        yield _lasting(error, file)


def _pixels(
    image: ImageFile, file: ImageSource, size: tuple[int, int] | None, resize: str, grey: bool
) -> np.ndarray:
    deep = is_deep(image)
    if size is not None and not deep:
        image.draft(None, _draft_size(image, size))
    with _room_for(image, deep):
        return _decoded(image, file, size, resize, grey)


@contextmanager
def _room_for(image: ImageFile, deep: bool) -> Iterator[None]:
    """Large images are decoded one at a time.

    Raises ValueError for one that is too large, MemoryError where it does not fit into memory now.
    """
    pixels, most = math.prod(image.size), LIMITS["pixels"].most
    if pixels > most:
        raise ValueError(
            f"{shape_text(image.size[::-1])} pixels; at most {most:,} are decoded at once, save it smaller"
        )
    if pixels <= LARGE:
        yield
        return
    with _ONE_AT_A_TIME:
        needed, free = pixels * (DEEP_BYTES if deep else PLAIN_BYTES), free_memory()
        if needed > free:
            raise MemoryError(
                f"{shape_text(image.size[::-1])} pixels take {size_text(needed)} to decode, and {size_text(free)} of"
                " memory are free; free some, or save it smaller"
            )
        yield


def _decoded(
    image: ImageFile, file: ImageSource, size: tuple[int, int] | None, resize: str, grey: bool
) -> np.ndarray:
    if is_deep(image):
        values = deep_values(image, file)
        if grey and values.shape[-1] == 3:
            values = deep_grey(values)
        if size is not None and values.shape[:2] != size:
            values = deep_resized(values, size, resize)
        return values if grey or values.shape[-1] == 3 else np.repeat(values, 3, axis=-1)
    plain = _plain(image).convert("L" if grey else "RGB")
    if size is not None and plain.size != (size[1], size[0]):
        plain = _resized(plain, (size[1], size[0]), resize)
    return np.asarray(plain).reshape(plain.height, plain.width, -1)


class Passing(LatlasError):
    """An image that may be read another time, as memory or open files ran out: nothing that is known of the file."""


def _failure(error: Exception, file: ImageSource) -> LatlasError:
    """The error for a file that could not be read."""
    if is_shortage(error) or (isinstance(error, OSError) and error.errno in _PASSING):
        why = str(error) if isinstance(error, MemoryError) else getattr(error, "strerror", "")
        return Passing(f"{file}: {why or 'memory ran out'}: start again")
    return InputError(f"{file}: {reason(error, file)}")


def _lasting(error: Exception, file: ImageSource) -> str:
    """Why a file could not be read; raises Passing."""
    failure = _failure(error, file)
    if isinstance(failure, Passing):
        raise failure from None
    return reason(error, file)


def reason(error: Exception, file: ImageSource) -> str:
    """In a few words, why a file could not be decoded."""
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than twice {LIMITS['pixels'].most:,}; save it smaller"
    if isinstance(error, UnidentifiedImageError):
        return tiff_tags.why_unknown(file) or "not an image that Pillow can read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (struct.error, SyntaxError, EOFError, IndexError)):
        return f"broken file ({error})"
    return " ".join(str(error).split()) or type(error).__name__


def _orientation(image: ImageFile, file: ImageSource) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        # Pillow decodes the whole picture to look for EXIF behind it.
        if not _has_late_chunks(file):
            return Image.Image.getexif(image).get(_ORIENTATION, 1)
        with _room_for(image, is_deep(image)):
            return image.getexif().get(_ORIENTATION, 1)
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
