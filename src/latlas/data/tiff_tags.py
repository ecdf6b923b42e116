"""What the tags of a TIFF say of its pixels that Pillow does not heed: wrong ones are mended or refused."""

from __future__ import annotations

import re

from PIL import ImagePalette
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from latlas.data.image_source import ImageSource, opened

_SUBFILE, _OLD_SUBFILE = 254, 255
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_FILL_ORDER, _DESCRIPTION, _SAMPLES, _PLANES, _COLORMAP = 266, 270, 277, 284, 320
_STRIPS, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT, _TILES = 273, 278, 322, 323, 324
_EXTRA, _FORMAT, _SUBSAMPLING = 338, 339, 530
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_UNSIGNED, _SIGNED = 1, 2
_COLOURS = {_RGB: 3, 5: 4, _YCBCR: 3, 8: 3}  # samples of a colour, by photometric interpretation
_SAVE = "save it with 8 or 16 unsigned bits, or all of them as an .npy array"


def stored_size(image: TiffImageFile) -> tuple[int, int]:
    """Width and height before any rotation: some versions of Pillow give the size once upright."""
    return int(image.tag_v2[_WIDTH]), int(image.tag_v2[_HEIGHT])


def is_picture(image: TiffImageFile, frame: int) -> bool:
    """Whether a frame is a page of its own, neither a reduced copy nor a mask; selects it."""
    try:
        image.seek(frame)
    except Exception:  # a page that cannot be read is a page, and is reported when it is decoded
        return True
    return not image.tag_v2.get(_SUBFILE, 0) & 0b101 and image.tag_v2.get(_OLD_SUBFILE, 1) != 2


def bits(image: TiffImageFile) -> int:
    """Bits of a sample."""
    return max(image.tag_v2.get(_BITS, (1,)))


def is_inverted(image: TiffImageFile) -> bool:
    """Whether 0 is white, which Pillow heeds up to 8 bits only."""
    return image.tag_v2.get(_PHOTOMETRIC, _WHITE_IS_ZERO) == _WHITE_IS_ZERO


def is_premultiplied(image: TiffImageFile) -> bool:
    """Whether colours are multiplied with alpha already."""
    return 1 in image.tag_v2.get(_EXTRA, ())


def extra_bands(image: TiffImageFile) -> int:
    """The number of bands, such as an infrared one, that are neither colour nor, by ExtraSamples, alpha."""
    tags = image.tag_v2
    extra = tags.get(_SAMPLES, 1) - _COLOURS.get(tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO), 1)
    return max(0, extra - sum(kind in (1, 2, 999) for kind in tags.get(_EXTRA, ())))


def alpha_is_a_band(image: TiffImageFile) -> bool:
    """Whether what Pillow takes for alpha, as it is a fourth sample, is not said to be that."""
    return image.mode == "RGBA" and _EXTRA not in image.tag_v2


def check(image: TiffImageFile) -> None:
    """Raises ValueError for pixels that have no known range or that Pillow would read wrongly; mends a palette."""
    tags = image.tag_v2
    wrong = _range_fault(image) or _layout_fault(image) or _missing_fault(image)
    if wrong:
        raise ValueError(wrong)
    images = _images_of_imagej(tags.get(_DESCRIPTION))
    if images > 1 and images > image.n_frames:
        raise ValueError(
            f"an ImageJ stack of {images:,} images, listed as {image.n_frames:,}; save them as pages"
        )
    if image.mode in ("P", "PA") and max(tags[_COLORMAP]) < 256:
        # Written by mistake with 8 bits where 16 are due: all colours would be black.
        image.palette = ImagePalette.raw("RGB;L", bytes(tags[_COLORMAP]))


def _range_fault(image: TiffImageFile) -> str:
    kinds = set(image.tag_v2.get(_FORMAT, (_UNSIGNED,)))
    depth = bits(image)
    if kinds != {_UNSIGNED}:
        kind = "signed integers" if _SIGNED in kinds else "floats"
        return f"a TIFF of {depth}-bit {kind}, which have no known range; {_SAVE}"
    return f"a TIFF of {depth}-bit integers, which have no known range; {_SAVE}" if depth > 16 else ""


def _layout_fault(image: TiffImageFile) -> str:
    tags = image.tag_v2
    photometric, samples = tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO), tags.get(_SAMPLES, 1)
    raw, depth, extra = tags.get(_COMPRESSION, 1) == 1, bits(image), tags.get(_EXTRA, ())
    reversed_bits = tags.get(_FILL_ORDER, 1) == 2
    if tags.get(_PLANES, 1) == 2 and (raw or samples > 1):
        grey = samples == 1 and photometric in (_BLACK_IS_ZERO, _PALETTE)
        colour = photometric == _RGB and ((samples, extra) in ((3, ()), (4, (2,))) or (raw and samples == 4))
        if depth != 8 or not (grey or colour) or reversed_bits:
            return f"a TIFF of {samples} x {depth} bits in separate planes, which Pillow reads wrongly; save it as one"
    if photometric == _YCBCR and raw and tuple(tags.get(_SUBSAMPLING, (2, 2))) != (1, 1):
        return "an uncompressed TIFF of subsampled YCbCr, which Pillow reads wrongly; save it as RGB"
    if reversed_bits and depth > 8:
        return f"a TIFF of {depth} bits in reversed order, which Pillow reads wrongly; save it in the usual order"
    return ""


def _missing_fault(image: TiffImageFile) -> str:
    """Strips or tiles that cover a part of the picture only: Pillow leaves the rest as it was in memory."""
    tags = image.tag_v2
    width, height = stored_size(image)
    if _TILES in tags:
        kind, listed = "tiles", len(tags[_TILES])
        across, down = (tags.get(tag) or 1 for tag in (_TILE_WIDTH, _TILE_HEIGHT))
    else:
        kind, listed = "strips", len(tags.get(_STRIPS, ()))
        across, down = width, tags.get(_ROWS_PER_STRIP) or height
    planes = tags.get(_SAMPLES, 1) if tags.get(_PLANES, 1) == 2 else 1
    due = -(-width // across) * -(-height // down) * planes
    return f"a TIFF that lists {listed:,} of its {due:,} {kind}; it is damaged" if listed < due else ""


def _images_of_imagej(description: object) -> int:
    """How many images a stack of ImageJ says that it holds; it may have a directory for the first one alone."""
    found = re.match(r"ImageJ=.*?^images=(\d+)", str(description), re.DOTALL | re.MULTILINE)
    return int(found[1]) if found else 0


def why_unknown(source: ImageSource) -> str:
    """What kind of TIFF a file is that Pillow does not open; '' for any other file."""
    try:
        with opened(source) as file:
            head = file.read(8)
            if head[:4] == b"MM\0+":
                return "a big-endian BigTIFF, which Pillow cannot read; save it as TIFF"
            if head[:4] not in (b"II*\0", b"MM\0*"):
                return ""
            tags = ImageFileDirectory_v2(head)
            file.seek(tags.next)
            tags.load(file)
        depths = "/".join(map(str, dict.fromkeys(tags.get(_BITS, (1,)))))
        return (
            f"a TIFF of {tags.get(_SAMPLES, 1)} x {depths} bits, photometric interpretation"
            f" {tags.get(_PHOTOMETRIC, 'unknown')}, which Pillow cannot read; save it as 8- or 16-bit grey or RGB"
        )
    except Exception:
        return ""
