"""Which image formats are read, and the pages of a file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import cast

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from latlas.data import tiff_tags
from latlas.data.image_source import Held, ImageSource, opened
from latlas.limits import LIMITS

# Pillow's formats that it decodes itself, with the suffixes of each. Without those that it hands to another program
# (EPS, WMF), that have no decoder of their own (BUFR, GRIB, HDF5, MPEG), whose content may be of any format (IPTC),
# and FITS, which holds measured values without a range.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),  # MPO: several JPEGs in one file
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm", ".pfm"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "BLP": (".blp",),
    "CUR": (".cur",),
    "DCX": (".dcx",),
    "DDS": (".dds",),
    "DIB": (".dib",),
    "FLI": (".fli", ".flc"),
    "FTEX": (".ftc", ".ftu"),
    "GBR": (".gbr",),
    "ICNS": (".icns",),
    "ICO": (".ico",),
    "IM": (".im",),
    "MSP": (".msp",),
    "PCD": (".pcd",),
    "PCX": (".pcx",),
    "PIXAR": (".pxr",),
    "PSD": (".psd",),
    "QOI": (".qoi",),
    "SGI": (".bw", ".rgb", ".rgba", ".sgi"),
    "SUN": (".ras",),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
    "XBM": (".xbm",),
    "XPM": (".xpm",),
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
_STACKS = frozenset(("TIFF", "DCX", "IM"))  # whose pages are pictures of their own, and no animation
_ONE_PICTURE = frozenset(("MPO", "PSD", "ICO", "ICNS", "CUR"))  # the rest are previews, layers or other sizes
_HEAD = 1 << 20  # bytes of a file in which its code stream begins


def open_image(file: ImageSource, page: int | None = None) -> ImageFile:
    """The file at a page, its first unless said, opened by its content as one of `FORMATS` and not yet decoded; of a
    picture of Pillow a copy.
    """
    if isinstance(file, Held) and isinstance(file.content, Image.Image):
        # No ImageFile, but nothing asks a picture without a format for how its file is laid out.
        copied = file.content.copy()
        if exif := dict(file.content.getexif()):  # which a copy does not have where it was set by hand
            copied.getexif().update(exif)
        return cast(ImageFile, copied)
    image = Image.open(file if isinstance(file, Path) else opened(file), formats=_readable())
    try:
        if page is not None:
            turn_to(image, page)
        elif isinstance(image, TiffImageFile):
            turn_to(image, page_numbers(image)[0])
        if image.format == "JPEG2000":
            _check_jpeg2000(image, file)
        # Without a name it is read, not mapped into memory: mapped, a rotated TIFF takes its width for its height.
        image.filename = ""
    except Exception:
        image.close()
        raise
    return image


def _check_jpeg2000(image: ImageFile, source: ImageSource) -> None:
    """Notes the bits of a sample, which stand in the head of the code stream (marker SIZ), as `info["bits"]`.

    Raises ValueError for those that Pillow reads wrongly: its rounding to 8 bits turns white into black.
    """
    with opened(source) as file:
        head = file.read(_HEAD)
    start = head.find(b"\xff\x4f\xff\x51")
    image.info["bits"] = depth = (head[start + 42] & 0x7F) + 1 if 0 <= start < len(head) - 42 else 8
    if depth != 8 and image.mode != "I;16":
        raise ValueError(f"a JPEG 2000 of {depth} bits, which Pillow reads wrongly; save it as PNG or TIFF")


@cache
def _readable() -> tuple[str, ...]:
    """Those of `FORMATS` that this version of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def page_numbers(image: ImageFile) -> list[int]:
    """Where the pages of a stack or the frames of an animation are: without reduced copies and masks.

    Raises ValueError for too many.
    """
    if image.format in _ONE_PICTURE or not getattr(image, "is_animated", False):
        return [0]
    count = getattr(image, "n_frames", 1)
    if count > (most := LIMITS["pages"].most):
        raise ValueError(f"it says that it holds {count:,} pages; at most {most:,} are read")
    frames = list(range(count))
    if not isinstance(image, TiffImageFile):
        return frames
    return [frame for frame in frames if tiff_tags.is_picture(image, frame)] or [0]


def is_stack(image: ImageFile) -> bool:
    """Whether pages of such a file are pictures of their own, and not the frames of an animation."""
    return image.format in _STACKS


def turn_to(image: ImageFile, page: int) -> None:
    """Selects a page.

    Raises ValueError for one that Pillow would read wrongly.
    """
    if page != image.tell():
        image.seek(page)
    if isinstance(image, TiffImageFile):
        tiff_tags.check(image)
