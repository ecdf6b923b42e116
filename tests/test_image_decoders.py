"""Pillow held against tifffile and imagecodecs: right, or refused with the reason, and never silently wrong."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latlas.data.image_files import decode, inspect
from latlas.errors import InputError

tifffile = pytest.importorskip("tifffile")
imagecodecs = pytest.importorskip("imagecodecs")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (16, 24)).astype(np.uint8)
RGB = RNG.integers(0, 256, (16, 24, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (16, 24)).astype(np.uint16)
DEEP_RGB = RNG.integers(0, 65536, (16, 24, 3)).astype(np.uint16)
COLOURS = RNG.integers(0, 65536, (3, 256)).astype(np.uint16)
FORMS = ("", "zlib", "lzw", "packbits", "zstd", "lzma", "jpeg")


def with_band(x: np.ndarray, band: np.ndarray) -> np.ndarray:
    return np.concatenate([x if x.ndim == 3 else x[..., None], band[..., None]], axis=-1)


def over_white(x: np.ndarray) -> np.ndarray:
    """Of values on [0, 1] with alpha last."""
    return x[..., :-1] * x[..., -1:] + 1 - x[..., -1:]


def premultiplied(x: np.ndarray) -> np.ndarray:
    top = np.iinfo(x.dtype).max
    return np.concatenate([(x[..., :-1] / top * x[..., -1:]).astype(x.dtype), x[..., -1:]], axis=-1)


def turned(x: np.ndarray, orientation: int) -> np.ndarray:
    """The stored picture as it is to be shown, by the table of the TIFF specification."""
    return {
        1: lambda: x,
        2: lambda: x[:, ::-1],
        3: lambda: x[::-1, ::-1],
        4: lambda: x[::-1],
        5: lambda: x.swapaxes(0, 1),
        6: lambda: np.rot90(x, -1),
        7: lambda: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda: np.rot90(x),
    }[orientation]()


def shown(path: Path) -> np.ndarray:
    """What latlas makes of a file: RGB (H, W, 3) on [0, 1]."""
    x = decode(path, None, "crop", False)
    header = inspect(path)
    assert x.shape[:2] == (header.height, header.width)
    assert (x.dtype == np.uint8) == (header.bits == 8)
    return x / (2 ** (header.bits or 16) - 1)


def rgb(x: np.ndarray) -> np.ndarray:
    return np.repeat(x.reshape(*x.shape[:2], 1), 3, axis=-1) if x.ndim == 2 or x.shape[2] == 1 else x


# By name: what is stored, how tifffile writes it, and what is shown of it, on [0, 1], RGB or grey.
PICTURES: dict[str, tuple[np.ndarray, dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = {
    "1 bit": (GREY > 127, {"photometric": "minisblack"}, lambda x: x * 1.0),
    "1 bit, white is zero": (GREY > 127, {"photometric": "miniswhite"}, lambda x: 1.0 - x),
    "8 bits": (GREY, {"photometric": "minisblack"}, lambda x: x / 255),
    "8 bits, white is zero": (GREY, {"photometric": "miniswhite"}, lambda x: 1 - x / 255),
    "16 bits": (DEEP, {"photometric": "minisblack"}, lambda x: x / 65535),
    "16 bits, white is zero": (DEEP, {"photometric": "miniswhite"}, lambda x: 1 - x / 65535),
    "12 bits, packed": (DEEP // 16, {"photometric": "minisblack", "bitspersample": 12}, lambda x: x / 4095),
    "palette": (GREY, {"photometric": "palette", "colormap": COLOURS}, lambda x: (COLOURS // 256 / 255).T[x]),
    "RGB": (RGB, {"photometric": "rgb"}, lambda x: x / 255),
    "RGB, 16 bits": (DEEP_RGB, {"photometric": "rgb"}, lambda x: x / 65535),
    "RGBA": (
        with_band(RGB, GREY),
        {"photometric": "rgb", "extrasamples": ["unassalpha"]},
        lambda x: over_white(x / 255),
    ),
    "RGBA, premultiplied": (
        premultiplied(with_band(RGB, GREY)),
        {"photometric": "rgb", "extrasamples": ["assocalpha"]},
        lambda x: x[..., :3] / 255 + 1 - x[..., 3:] / 255,
    ),
    "RGBA, 16 bits": (
        with_band(DEEP_RGB, DEEP),
        {"photometric": "rgb", "extrasamples": ["unassalpha"]},
        lambda x: over_white(x / 65535),
    ),
    "RGBA, 16 bits, premultiplied": (
        premultiplied(with_band(DEEP_RGB, DEEP)),
        {"photometric": "rgb", "extrasamples": ["assocalpha"]},
        lambda x: x[..., :3] / 65535 + 1 - x[..., 3:] / 65535,
    ),
    "RGB and infrared": (
        with_band(RGB, GREY),
        {"photometric": "rgb", "extrasamples": ["unspecified"]},
        lambda x: x[..., :3] / 255,
    ),
    "RGB and infrared, 16 bits": (
        with_band(DEEP_RGB, DEEP),
        {"photometric": "rgb", "extrasamples": ["unspecified"]},
        lambda x: x[..., :3] / 65535,
    ),
    "grey and alpha": (
        with_band(GREY, RGB[..., 0]),
        {"photometric": "minisblack", "extrasamples": ["unassalpha"]},
        lambda x: over_white(x / 255),
    ),
    "grey and alpha, premultiplied": (
        premultiplied(with_band(GREY, RGB[..., 0])),
        {"photometric": "minisblack", "extrasamples": ["assocalpha"]},
        lambda x: x[..., :1] / 255 + 1 - x[..., 1:] / 255,
    ),
    "CMYK": (
        with_band(RGB, GREY),
        {"photometric": "separated"},
        lambda x: (1 - x[..., :3] / 255) * (1 - x[..., 3:] / 255),
    ),
}
# Big-endian ones that Pillow does not open.
UNKNOWN = {("16 bits, white is zero", ">"), ("12 bits, packed", ">")}


def write(path: Path, name: str, form: str, orientation: int, **how: Any) -> np.ndarray | None:
    """What is to be shown of a picture written so; None where tifffile does not write it."""
    x, about, view = PICTURES[name]
    tags = [(274, 3, 1, orientation, True)]
    how |= {"compression": form or None, "metadata": None, "extratags": tags}
    if form == "jpeg" and (
        x.dtype != np.uint8 or x.shape[-1] == 4 or x.shape[-1] == 2 or "colormap" in about
    ):
        return None
    if how.get("predictor") and (x.dtype == bool or form not in ("zlib", "lzw", "zstd", "lzma")):
        return None
    try:
        tifffile.imwrite(path, x, **about, **how)
    except (ValueError, NotImplementedError):
        return None
    read = tifffile.imread(path)
    return rgb(turned(view(read), orientation))


@pytest.mark.parametrize("name", list(PICTURES))
def test_tiffs_of_every_compression_and_orientation(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    written = 0
    for form in FORMS:
        for orientation in range(1, 9) if form in ("", "lzw", "jpeg") else (6,):
            truth = write(path, name, form, orientation)
            if truth is None:
                continue
            written += 1
            error = np.abs(shown(path) - truth)
            assert error.max() <= (0.02 if form == "jpeg" else 1.01 / 255), (form, orientation)
    assert written >= 8


@pytest.mark.parametrize("name", list(PICTURES))
def test_tiffs_of_either_byte_order_in_tiles_and_with_predictor(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    for form in FORMS:
        for order in "<>":
            ways = ({}, {"tile": (16, 16)}, {"predictor": 2}, {"rowsperstrip": 3}, {"bigtiff": order == "<"})
            for how in ways if form in ("", "lzw") else ways[:1]:
                truth = write(path, name, form, 6, byteorder=order, **how)
                if truth is None:
                    continue
                if (name, order) in UNKNOWN:
                    with pytest.raises(InputError, match="which Pillow cannot read; save it as"):
                        decode(path, None, "crop", False)
                    continue
                error = np.abs(shown(path) - truth)
                assert error.max() <= (0.02 if form == "jpeg" else 1.01 / 255), (form, order, how)


def packed(values: np.ndarray, bits: int, order: str) -> bytes:
    """Rows of unsigned integers as a TIFF stores them."""
    if bits in (8, 16, 32):
        return values.astype(f"{order}u{bits // 8}").tobytes()
    ones = (values[..., None].astype(np.uint64) >> np.arange(bits - 1, -1, -1, dtype=np.uint64)) & 1
    return np.packbits(ones.astype(np.uint8).reshape(len(values), -1), axis=1).tobytes()


def tiff(
    path: Path, x: np.ndarray, photometric: int, bits: int = 8, order: str = "<", planes: int = 1,
    deflate: bool = False, more: Sequence[tuple[int, Sequence[int]]] = (),
) -> Path:  # fmt: skip
    """A TIFF of one strip for each plane, of the tags given and no others; it is as odd as they are."""
    x = x if x.ndim == 3 else x[..., None]
    height, width, samples = x.shape
    rows = [x[..., i] for i in range(samples)] if planes == 2 else [x.reshape(height, -1)]
    strips = [zlib.compress(packed(r, bits, order)) if deflate else packed(r, bits, order) for r in rows]
    starts = np.cumsum([8, *(len(s) + len(s) % 2 for s in strips)])
    tags = [(256, [width]), (257, [height]), (258, [bits] * samples), (259, [8 if deflate else 1]),
            (262, [photometric]), (273, starts[:-1].tolist()), (277, [samples]), (278, [height]),
            (279, [len(s) for s in strips]), (284, [planes]), *more]  # fmt: skip
    late, entries, at = b"", b"", int(starts[-1]) + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags):
        kind, letter = (4, "I") if tag in (273, 279) else (3, "H")
        field = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(field) > 4:
            late, field = late + field, struct.pack(f"{order}I", at + len(late))
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + field.ljust(4, b"\0")
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, int(starts[-1]))
    body = b"".join(s + b"\0" * (len(s) % 2) for s in strips)
    path.write_bytes(head + body + struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4 + late)
    return path


def layouts() -> dict[str, tuple[np.ndarray, int, int, tuple[tuple[int, Sequence[int]], ...], np.ndarray]]:
    """By name: what is stored, photometric interpretation, bits, further tags, and what is to be shown."""
    found: dict[str, Any] = {}
    for bits in (1, 2, 4, 6, 8, 10, 12, 14, 16, 32):
        top = 2**bits - 1
        values = (GREY.astype(np.uint64) * top // 255).astype(np.uint32)
        found[f"{bits} bits"] = (values, 1, bits, (), values / top)
        found[f"{bits} bits, white is zero"] = (values, 0, bits, (), 1 - values / top)
    four, five = with_band(RGB, GREY), with_band(with_band(RGB, GREY), GREY[::-1])
    deep = with_band(DEEP_RGB, DEEP)
    for what, x, bits in (("", four, 8), (", 16 bits", deep, 16)):
        colour = x[..., :3] / (2**bits - 1)
        found[f"four samples{what}"] = (x, 2, bits, (), colour)
        found[f"four, one unspecified{what}"] = (x, 2, bits, ((338, [0]),), colour)
        found[f"four, one alpha{what}"] = (x, 2, bits, ((338, [2]),), over_white(x / (2**bits - 1)))
        found[f"three{what}"] = (x[..., :3], 2, bits, (), colour)
    found["five samples"] = (five, 2, 8, (), RGB / 255)
    found["five, two unspecified"] = (five, 2, 8, ((338, [0, 0]),), RGB / 255)
    found["five, alpha and another"] = (five, 2, 8, ((338, [2, 0]),), over_white(four / 255))
    found["five, another and alpha"] = (
        five,
        2,
        8,
        ((338, [0, 2]),),
        over_white(five[..., [0, 1, 2, 4]] / 255),
    )
    two = with_band(GREY, GREY[::-1])
    found["grey and a band"] = (two, 1, 8, ((338, [0]),), GREY / 255)
    found["grey and an unnamed band"] = (two, 1, 8, (), GREY / 255)
    found["grey and alpha"] = (two, 1, 8, ((338, [2]),), over_white(two / 255))
    found["grey and alpha, white is zero"] = (two, 0, 8, ((338, [2]),), over_white(np.stack(
        [1 - two[..., 0] / 255, two[..., 1] / 255], -1)))  # fmt: skip
    for bits in (1, 2, 4, 8):
        index, table = GREY >> (8 - bits), COLOURS[:, : 2**bits]
        shown = (table // 256 / 255).T[index]
        found[f"palette, {bits} bits"] = (index, 3, bits, ((320, table.ravel().tolist()),), shown)
    narrow = COLOURS // 256
    found["palette of bytes"] = (GREY, 3, 8, ((320, narrow.ravel().tolist()),), (narrow / 255).T[GREY])
    found["signed"] = (GREY, 1, 8, ((339, [2]),), (GREY.view(np.int8) / 255.0 + 128 / 255))
    found["signed, 16 bits"] = (DEEP, 1, 16, ((339, [2]),), DEEP.view(np.int16) / 65535.0 + 32768 / 65535)
    found["CMYK"] = (four, 5, 8, (), (1 - four[..., :3] / 255) * (1 - four[..., 3:] / 255))
    found["reversed bits"] = (GREY, 1, 8, ((266, [2]),), (np.packbits(
        np.unpackbits(GREY[..., None], axis=-1)[..., ::-1], axis=-1)[..., 0]) / 255)  # fmt: skip
    # JFIF's conversion, of full range.
    y, blue, red = (RGB[..., i].astype(float) - (128 if i else 0) for i in range(3))
    colour = np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], axis=-1)
    found["YCbCr"] = (RGB, 6, 8, ((530, [1, 1]),), colour.round().clip(0, 255) / 255)
    return found


# What is right at least, in every byte order, compression and arrangement of planes in which it is not refused.
RIGHT = ("1 bits", "1 bits, white is zero", "8 bits", "8 bits, white is zero", "16 bits", "16 bits, white is zero",
         "12 bits", "three", "three, 16 bits", "four samples", "four samples, 16 bits", "four, one unspecified",
         "four, one unspecified, 16 bits", "four, one alpha", "palette, 4 bits", "palette of bytes",
         "CMYK")  # fmt: skip


def shown_or_refused(path: Path) -> np.ndarray | str:
    try:
        return shown(path)
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("name", list(layouts()))
def test_layouts_of_tiff_are_right_or_refused(tmp_path: Path, name: str) -> None:
    x, photometric, bits, more, truth = layouts()[name]
    right = 0
    for order in "<>":
        for deflate in (False, True) if name != "reversed bits" else (False,):
            for planes in (1, 2):
                path = tiff(tmp_path / "a.tif", x, photometric, bits, order, planes, deflate, more)
                found = shown_or_refused(path)
                if isinstance(found, str):
                    assert "\n" not in found
                    assert "Pillow" in found or "no known range" in found
                    continue
                right += 1
                limit = (2.01 if name == "four, one alpha, 16 bits" else 1.01) / 255
                assert np.abs(found - rgb(truth)).max() <= limit, (order, deflate, planes)
    assert right >= (name in RIGHT)


def test_an_uncompressed_tiff_of_subsampled_colours_is_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", RGB, 6)  # 2 x 2 is the default
    with pytest.raises(InputError, match="uncompressed TIFF of subsampled YCbCr, which Pillow reads wrongly"):
        decode(path, None, "crop", False)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_that_lists_a_part_of_its_strips_is_refused(tmp_path: Path, order: str) -> None:
    path = tiff(tmp_path / "a.tif", GREY, 1, order=order)
    said = struct.pack(f"{order}HHIH", 278, 3, 1, len(GREY))  # all rows in one strip
    assert path.read_bytes().count(said) == 1
    path.write_bytes(path.read_bytes().replace(said, struct.pack(f"{order}HHIH", 278, 3, 1, 1)))
    with pytest.raises(InputError, match=rf"lists 1 of its {len(GREY)} strips; it is damaged"):
        decode(path, None, "crop", False)


def png(x: np.ndarray, colour: int, bits: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of unfiltered rows, with chunks before and after the pixels."""
    height, width = x.shape[:2]
    rows = x.reshape(height, -1)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    pixels = b"".join(b"\0" + packed(rows[i : i + 1], bits, ">") for i in range(height))
    body = before + chunk(b"IDAT", zlib.compress(pixels)) + after
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_pngs_of_every_depth(tmp_path: Path, bits: int) -> None:
    x, path = DEEP >> (16 - bits), tmp_path / "a.png"
    path.write_bytes(png(x, 0, bits))
    np.testing.assert_allclose(shown(path), rgb(x / (2**bits - 1)), atol=0.5 / 255)
    assert inspect(path).grey
    clear = int(x[3, 5])
    path.write_bytes(png(x, 0, bits, chunk(b"tRNS", struct.pack(">H", clear))))
    truth = np.where(x == clear, 1, x / (2**bits - 1))
    np.testing.assert_allclose(shown(path), rgb(truth), atol=0.5 / 255)


@pytest.mark.parametrize(("colour", "bits"), [(2, 8), (2, 16), (4, 8), (4, 16), (6, 8), (6, 16)])
def test_pngs_of_colour_and_alpha(tmp_path: Path, colour: int, bits: int) -> None:
    """All 16 bits of every channel are read, where Pillow gives the upper eight."""
    stored = {2: DEEP_RGB, 4: with_band(DEEP, DEEP[::-1]), 6: with_band(DEEP_RGB, DEEP)}[colour] >> (
        16 - bits
    )
    path = tmp_path / "a.png"
    path.write_bytes(png(stored, colour, bits))
    if bits == 8:
        np.testing.assert_array_equal(imagecodecs.png_decode(path.read_bytes()), stored)
    on_one = stored / (2**bits - 1)
    truth = on_one if colour == 2 else over_white(on_one)
    np.testing.assert_allclose(shown(path), rgb(truth), atol=1.01 / (2**bits - 1))
    assert inspect(path).grey == (colour == 4)
    if colour == 2:
        clear = stored[3, 5]
        path.write_bytes(png(stored, colour, bits, chunk(b"tRNS", struct.pack(">3H", *clear.tolist()))))
        truth = np.where((stored == clear).all(-1, keepdims=True), 1, on_one)
        np.testing.assert_allclose(shown(path), truth, atol=0.5 / (2**bits - 1))


def test_palettes_of_png(tmp_path: Path) -> None:
    path, table = tmp_path / "a.png", (COLOURS // 256).T.astype(np.uint8)
    for bits in (1, 2, 4, 8):
        index, count = GREY >> (8 - bits), 2**bits
        alpha = RNG.integers(0, 256, count).astype(np.uint8)
        colours = chunk(b"PLTE", table[:count].tobytes())
        path.write_bytes(png(index, 3, bits, colours))
        np.testing.assert_allclose(shown(path), table[index] / 255)
        path.write_bytes(png(index, 3, bits, colours + chunk(b"tRNS", alpha.tobytes())))
        truth = over_white(with_band(table[index], alpha[index]) / 255)
        np.testing.assert_allclose(shown(path), truth, atol=1.01 / 255)


def exif(orientation: int) -> bytes:
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 274, 3, 1, orientation, 0, 0)


def xmp(orientation: int, element: bool) -> bytes:
    about = f"><tiff:Orientation>{orientation}</tiff:Orientation></rdf:Description>"
    attribute = f' tiff:Orientation="{orientation}"/>'
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
        f"{about if element else attribute}</rdf:RDF></x:xmpmeta>"
    ).encode()


def with_metadata(orientation: int) -> dict[str, bytes]:
    """Files that say the orientation in every way that a picture of 16x24 can."""
    files = {}
    raw = f"\nexif\n{len(exif(orientation)):8}\n{exif(orientation).hex()}\n".encode("latin-1")
    text = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw))
    for bits, x in ((8, RGB), (16, DEEP_RGB)):
        late = chunk(b"eXIf", exif(orientation))
        files[f"eXIf, {bits}"] = png(x, 2, bits, late)
        files[f"late eXIf, {bits}"] = png(x, 2, bits, after=late)
        files[f"ImageMagick's, {bits}"] = png(x, 2, bits, text)
        for element in (False, True):
            packet = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(orientation, element))
            files[f"XMP {element}, {bits}"] = png(x, 2, bits, packet)
            files[f"late XMP {element}, {bits}"] = png(x, 2, bits, after=packet)
    for form, options in (
        ("jpeg", {"quality": 100, "subsampling": 0}),
        ("webp", {"lossless": True}),
        ("avif", {"quality": 100, "subsampling": "4:4:4"}),
        ("tiff", {}),
        ("tiff", {"compression": "tiff_lzw"}),
    ):
        head = b"Exif\0\0" if form == "jpeg" else b""
        for name, packet in (("exif", head + exif(orientation)), ("xmp", xmp(orientation, True))):
            if form == "tiff" and name == "exif":
                continue  # tested above
            how = options | ({"tiffinfo": {700: packet}} if form == "tiff" else {name: packet})
            file = io.BytesIO()
            Image.fromarray(RGB).save(file, form, **how)
            files[f"{form} {name} {options.get('compression')}"] = file.getvalue()
    return files


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_by_any_metadata(tmp_path: Path, orientation: int) -> None:
    for name, data in with_metadata(orientation).items():
        path = tmp_path / "picture"
        path.write_bytes(data)
        truth = turned(DEEP_RGB / 65535 if "16" in name else RGB / 255, orientation)
        found = shown(path)
        assert found.shape == truth.shape, name
        assert np.abs(found - truth).max() <= (0.05 if "jpeg" in name or "avif" in name else 1e-4), name


def test_lossy_formats_agree_with_other_decoders(tmp_path: Path) -> None:
    smooth = np.stack(np.meshgrid(np.arange(48) * 5, np.arange(32) * 7), -1)
    x = np.concatenate([smooth, 255 - smooth[..., :1]], -1).astype(np.uint8)
    grey = np.ascontiguousarray(x[..., 0])
    files = {
        "jpeg": (imagecodecs.jpeg8_encode(x, level=90), imagecodecs.jpeg8_decode),
        "grey jpeg": (imagecodecs.jpeg8_encode(grey, level=90), imagecodecs.jpeg8_decode),
        "webp": (imagecodecs.webp_encode(x, level=90), imagecodecs.webp_decode),
        "avif": (imagecodecs.avif_encode(x, level=90), imagecodecs.avif_decode),
        "jp2": (imagecodecs.jpeg2k_encode(x, level=0), imagecodecs.jpeg2k_decode),
        "grey jp2": (imagecodecs.jpeg2k_encode(grey, level=0), imagecodecs.jpeg2k_decode),
    }
    for name, (data, other) in files.items():
        path = tmp_path / "picture"
        path.write_bytes(data)
        np.testing.assert_allclose(shown(path), rgb(other(data) / 255), atol=3 / 255, err_msg=name)


def test_cmyk_jpegs_of_photoshop_are_stored_inverted(tmp_path: Path) -> None:
    cmyk = np.stack(np.meshgrid(np.arange(32) * 7, np.arange(24) * 9), -1).astype(np.uint8)
    cmyk = np.concatenate([cmyk, cmyk[..., ::-1] // 2], -1)
    path = tmp_path / "a.jpg"
    Image.fromarray(cmyk, "CMYK").save(path, quality=100, subsampling=0)  # Pillow writes Adobe's marker
    stored = imagecodecs.jpeg8_decode(path.read_bytes(), outcolorspace="CMYK")
    assert np.abs(255.0 - stored - cmyk).max() < 12
    truth = (1 - cmyk[..., :3] / 255) * (1 - cmyk[..., 3:] / 255)
    np.testing.assert_allclose(shown(path), truth, atol=12 / 255)


def test_deep_formats_beside_png_and_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.jp2"
    for bits in (10, 12, 14, 16):
        x = DEEP >> (16 - bits)
        path.write_bytes(imagecodecs.jpeg2k_encode(x, level=0, reversible=True, bitspersample=bits))
        np.testing.assert_array_equal(decode(path, None, "crop", True)[..., 0], x)
        assert inspect(path).bits == (None if bits == 16 else bits)
    for x in (DEEP_RGB, DEEP >> 7, (DEEP >> 12).astype(np.uint8)):  # Pillow's white is black, or a light grey
        depth = int(x.max()).bit_length()
        path.write_bytes(imagecodecs.jpeg2k_encode(x, level=0, reversible=True, bitspersample=depth))
        with pytest.raises(InputError, match=f"a JPEG 2000 of {depth} bits, which Pillow reads wrongly"):
            decode(path, None, "crop", False)
    for depth in (10, 12):
        x = (np.add.outer(np.arange(32), np.arange(48))[..., None] * (1, 5, 12) % 2**depth).astype(np.uint16)
        x = np.sort(x, axis=1)
        path.write_bytes(imagecodecs.avif_encode(x, level=100, bitspersample=depth))
        np.testing.assert_allclose(
            shown(path), imagecodecs.avif_decode(path.read_bytes()) / (2**depth - 1), atol=1 / 255
        )
    for top, bits in ((65535, None), (4095, 16), (1000, 16)):
        x = (DEEP.astype(np.uint64) * top // 65535).astype(">u2")
        path.write_bytes(b"P5\n# a comment\n24 16\n%d\n" % top + x.tobytes())
        np.testing.assert_allclose(shown(path), rgb(x / top), atol=1e-4)
        assert inspect(path).bits == bits
    path.write_bytes(b"P5 24 16 200\n" + (GREY % 201).tobytes())
    np.testing.assert_allclose(shown(path), rgb(GREY % 201 / 200), atol=1 / 255)
    path.write_bytes(b"P4 24 16\n" + np.packbits(GREY > 127, axis=1).tobytes())
    np.testing.assert_array_equal(shown(path), rgb(1.0 * (GREY <= 127)))
    path.write_bytes(b"P2 3 1 9\n0 3 9\n")
    np.testing.assert_array_equal(shown(path)[0, :, 0], [0, 85 / 255, 1])


@pytest.mark.parametrize("size", [(7, 9), (16, 24), (40, 30)])
@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_deep_pictures_are_resized_as_those_of_eight_bits_are(
    tmp_path: Path, size: tuple[int, int], resize: str
) -> None:
    smooth = np.hypot(*np.meshgrid(np.linspace(-1, 1, 24), np.linspace(-1, 1, 16)))
    eight = (smooth / smooth.max() * 255).astype(np.uint8)
    for name, x in (("8", eight), ("16", eight.astype(np.uint16) * 257)):
        Image.fromarray(x).save(tmp_path / f"{name}.png")
    for grey in (True, False):
        narrow, wide = (decode(tmp_path / f"{n}.png", size, resize, grey) for n in ("8", "16"))
        assert wide.dtype == np.uint16
        np.testing.assert_allclose(wide / 257, narrow, atol=4)
    edge = np.where(GREY > 127, 4095, 0).astype(np.uint16)
    Image.fromarray(edge).save(tmp_path / "edge.png")
    assert decode(tmp_path / "edge.png", size, resize, True).max() <= 4095  # an overshoot would be a bit more
