"""Image files: every format upright, in 8 bits, at the size asked for."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latlas.data.image_files import decode, decode_pages, inspect
from latlas.data.image_formats import FORMATS, SUFFIXES
from latlas.errors import InputError

RGB = np.zeros((6, 8, 3), np.uint8)
RGB[:3] = (200, 40, 90)
RGB[3:, :4] = (20, 160, 250)
GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "gif"])
def test_lossless_formats_are_exact(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    rgb = save(tmp_path / f"rgb.{suffix}", Image.fromarray(RGB), **options)
    np.testing.assert_array_equal(decode(rgb, None, "crop", False), RGB)
    grey = save(tmp_path / f"grey.{suffix}", Image.fromarray(GREY), **options)
    np.testing.assert_array_equal(decode(grey, None, "crop", True)[..., 0], GREY)
    assert inspect(grey).grey == (suffix != "webp")  # WebP knows colours only
    assert inspect(rgb) == inspect(rgb).__class__(6, 8, False)


def test_jpeg_is_close(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(RGB).resize((80, 60), 0), quality=95, subsampling=0)
    assert np.abs(decode(path, (6, 8), "squash", False).astype(int) - RGB).max() < 40
    assert np.abs(decode(path, None, "crop", False)[10, 10].astype(int) - RGB[1, 1]).max() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "jpg"])
def test_exif_rotation(tmp_path: Path, orientation: int, suffix: str) -> None:
    """Stored so that the tag undoes it, every picture comes out the same."""
    upright = Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8)))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"exif": exif}
    if suffix == "webp":
        options["lossless"] = True
    if suffix == "jpg":
        options |= {"quality": 95, "subsampling": 0}
    path = save(tmp_path / f"a.{suffix}", stored, **options)
    found = inspect(path)
    assert (found.height, found.width) == (48, 64)
    x = decode(path, None, "crop", False)
    assert np.abs(x.astype(int) - np.asarray(upright)).max() <= (6 if suffix == "jpg" else 0)
    small = decode(path, (6, 8), "crop", False)
    assert np.abs(small.astype(int)[1, 1] - RGB[1, 1]).max() < 40


def test_palettes_grey_and_coloured_with_and_without_transparency(tmp_path: Path) -> None:
    colours = Image.fromarray(RGB).quantize(8)
    path = save(tmp_path / "p.png", colours)
    assert not inspect(path).grey
    np.testing.assert_array_equal(decode(path, None, "crop", False), RGB)
    grey = Image.fromarray(GREY).convert("P")
    path = save(tmp_path / "g.png", grey)
    assert inspect(path).grey
    np.testing.assert_array_equal(decode(path, None, "crop", True)[..., 0], GREY)
    index = colours.getpixel((0, 0))
    path = save(tmp_path / "t.png", colours, transparency=index)
    x = decode(path, None, "crop", False)
    assert (x[:3] == 255).all()
    np.testing.assert_array_equal(x[3:, :4], RGB[3:, :4])
    alphas = bytes([128] * 256)
    x = decode(save(tmp_path / "b.png", colours, transparency=alphas), None, "crop", False)
    assert np.abs(x[0, 0].astype(int) - (np.array((200, 40, 90)) * 128 + 255 * 127) / 255).max() < 2


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_alpha_lies_over_white(tmp_path: Path, suffix: str) -> None:
    alpha = np.full((6, 8, 1), 255, np.uint8)
    alpha[:, 4:] = 0
    alpha[0, 0] = 51
    image = Image.fromarray(np.concatenate([RGB, alpha], -1))
    path = save(
        tmp_path / f"a.{suffix}", image, **({"lossless": True, "exact": True} if suffix == "webp" else {})
    )
    x = decode(path, None, "crop", False)
    assert (x[:, 4:] == 255).all()
    np.testing.assert_array_equal(x[1:, :4], RGB[1:, :4])
    assert np.abs(x[0, 0].astype(int) - (0.2 * RGB[0, 0] + 0.8 * 255)).max() <= 1


def test_grey_with_alpha_and_one_bit(tmp_path: Path) -> None:
    both = np.stack([GREY, np.where(GREY > 100, 255, 0).astype(np.uint8)], -1)
    path = save(tmp_path / "la.png", _la(both))
    assert inspect(path).grey
    x = decode(path, None, "crop", True)[..., 0]
    np.testing.assert_array_equal(x, np.where(GREY > 100, GREY, 255))
    bits = Image.fromarray((GREY > 100).astype(np.uint8) * 255).convert("1")
    path = save(tmp_path / "1.png", bits)
    assert inspect(path).grey
    np.testing.assert_array_equal(decode(path, None, "crop", True)[..., 0], np.where(GREY > 100, 255, 0))


def _la(both: np.ndarray) -> Image.Image:
    return Image.merge("LA", [Image.fromarray(both[..., 0]), Image.fromarray(both[..., 1])])


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(RGB).resize((80, 60), 0).convert("CMYK")
    path = save(tmp_path / f"c.{suffix}", image, **({"quality": 95} if suffix == "jpg" else {}))
    assert not inspect(path).grey
    x = decode(path, None, "crop", False)
    assert np.abs(x[10, 10].astype(int) - RGB[1, 1]).max() < 8
    assert np.abs(x[45, 10].astype(int) - RGB[4, 1]).max() < 8


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_keep_their_range(tmp_path: Path, suffix: str) -> None:
    wide = np.linspace(0, 65535, 48).reshape(6, 8).astype(np.uint16)
    path = save(tmp_path / f"w.{suffix}", Image.fromarray(wide))
    assert inspect(path).grey
    x = decode(path, None, "crop", True)[..., 0]
    assert x.dtype == np.uint16
    np.testing.assert_array_equal(x, wide)
    assert decode(path, (3, 4), "squash", False).shape == (3, 4, 3)


def test_pixels_without_a_range_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "f.tiff", Image.fromarray(GREY.astype(np.float32)))
    with pytest.raises(InputError, match=r"f.tiff: a TIFF of 32-bit floats, which have no known range"):
        decode(path, None, "crop", True)


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((6, 8, 3), v, np.uint8)) for v in (10, 250)]
    for suffix in ("gif", "webp", "png", "tiff"):
        options = {"lossless": True} if suffix == "webp" else {}
        path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
        assert (decode(path, None, "crop", False) == 10).all()


def test_crop_keeps_the_centre_and_squash_keeps_all(tmp_path: Path) -> None:
    wide = np.zeros((20, 60), np.uint8)
    wide[:, 20:40] = 200
    path = save(tmp_path / "a.png", Image.fromarray(wide))
    assert (abs(decode(path, (10, 10), "crop", True).astype(int) - 200)[:, 1:-1] <= 2).all()
    squashed = decode(path, (10, 12), "squash", True)[..., 0]
    assert squashed.shape == (10, 12)
    assert (squashed[:, :2] == 0).all()
    assert (abs(squashed[:, 5:7].astype(int) - 200) <= 5).all()
    assert (squashed[:, 10:] == 0).all()
    tall = save(tmp_path / "b.png", Image.fromarray(wide.T.copy()))
    assert (abs(decode(tall, (10, 10), "crop", True).astype(int) - 200)[1:-1] <= 2).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3), (500, 400)])
@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("target", [(28, 20), (7, 64), (1, 1)])
def test_any_size_to_any_size(
    tmp_path: Path, size: tuple[int, int], resize: str, target: tuple[int, int]
) -> None:
    for suffix in ("png", "jpg"):
        path = save(tmp_path / f"a.{suffix}", Image.new("RGB", (size[1], size[0]), (90, 90, 90)))
        x = decode(path, target, resize, False)
        assert x.shape == (*target, 3)
        assert np.abs(x.astype(int) - 90).max() <= 1


def test_broken_files_say_why(tmp_path: Path) -> None:
    whole = {}
    for suffix in ("jpg", "png", "webp", "bmp", "gif", "tiff"):
        buffer = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(noise).save(buffer, {"jpg": "jpeg"}.get(suffix, suffix))
        whole[suffix] = buffer.getvalue()
    for suffix, data in whole.items():
        for cut in (0, 1, 10, 30, len(data) // 2):
            path = tmp_path / f"cut.{suffix}"
            path.write_bytes(data[:cut])
            with pytest.raises(InputError) as caught:
                decode(path, (8, 8), "crop", False)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) > len(f"{path}: ") + 5
    text = tmp_path / "text.jpg"
    text.write_text("this is no image")
    for call in (lambda: decode(text, None, "crop", False), lambda: inspect(text)):
        with pytest.raises(InputError, match="not an image"):
            call()


UNREAD = {
    "EPS": "needs Ghostscript", "WMF": "needs Windows", "BUFR": "no decoder", "GRIB": "no decoder",
    "HDF5": "no decoder", "MPEG": "no decoder", "IPTC": "any other format inside", "FITS": "values without a range",
    "PALM": "only written", "PDF": "only written",
}  # fmt: skip


def test_every_format_that_pillow_decodes_itself_is_read() -> None:
    Image.init()
    known: dict[str, set[str]] = {}
    for suffix, name in Image.registered_extensions().items():
        known.setdefault(name, set()).add(suffix)
    known["JPEG"] |= known.pop("MPO")  # which the JPEG plugin opens
    assert set(known) == set(FORMATS) | set(UNREAD)
    assert {name: set(suffixes) for name, suffixes in FORMATS.items()} == {
        name: suffixes for name, suffixes in known.items() if name in FORMATS
    }
    assert all(name in Image.OPEN for name in FORMATS)
    assert len(SUFFIXES) == sum(map(len, FORMATS.values()))


@pytest.mark.filterwarnings("ignore:IM image format is deprecated")
@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_files_of_every_suffix_are_read(tmp_path: Path, suffix: str) -> None:
    """Where Pillow writes the format; the others are opened by the same call."""
    path = tmp_path / f"a{suffix}"
    grey = suffix in (".pgm", ".pnm", ".msp", ".xbm", ".pbm")
    image = Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8))).convert("L" if grey else "RGB")
    if suffix in (".pbm", ".xbm", ".msp"):
        image = image.convert("1")
    if suffix == ".pfm":
        pytest.skip("floats, which have no known range")
    try:
        image.save(path)
    except (KeyError, ValueError, OSError):
        pytest.skip("Pillow does not write it")
    x = decode(path, (48, 64), "squash", False)
    wanted = np.asarray(image.convert("RGB").resize((64, 48)))
    assert np.abs(x.astype(int) - wanted)[10:20, 10:50].mean() < 8


def test_what_needs_another_program_is_not_opened_under_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import EpsImagePlugin

    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "eps")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("Ghostscript was called"))
    with pytest.raises(InputError, match=r"a.png: not an image that Pillow can read"):
        decode(tmp_path / "a.png", None, "crop", False)


def test_lab_is_converted(tmp_path: Path) -> None:
    """White, black and a pure red of sRGB, in CIE L*a*b* with its white at D50."""
    lab = np.zeros((4, 6, 3), np.uint8)
    lab[:, :2], lab[:, 2:4], lab[:, 4:] = (255, 0, 0), (0, 0, 0), (138, 81, 70)
    path = save(tmp_path / "a.tif", Image.fromarray(lab, "LAB"))
    x = decode(path, None, "crop", False).astype(int)
    assert np.abs(x[0, 0] - 255).max() <= 2
    assert x[0, 2].max() <= 2
    assert np.abs(x[0, 5] - (255, 0, 0)).max() <= 6


def stack(path: Path, pages: list[np.ndarray], **options: object) -> Path:
    first, *rest = map(Image.fromarray, pages)
    first.save(path, save_all=True, append_images=rest, **options)
    return path


@pytest.mark.parametrize("suffix", ["tiff", "gif", "webp", "png", "avif"])
def test_every_page_can_be_read(tmp_path: Path, suffix: str) -> None:
    pages = [np.full((16, 24, 3), v, np.uint8) for v in (10, 90, 250)]
    options = {"lossless": True} if suffix == "webp" else {}
    path = stack(tmp_path / f"a.{suffix}", pages, **options)
    found = list(decode_pages(path, (8, 8), "crop", True))
    assert [round(float(np.asarray(x).mean())) for x in found] == pytest.approx([10, 90, 250], abs=2)
    header = inspect(path)
    assert (header.pages, header.stack) == (3, suffix == "tiff")


def test_pages_of_a_tiff_are_its_pictures(tmp_path: Path) -> None:
    """Reduced copies and masks are none, wherever they stand, and each page has its own orientation and depth."""
    small, large = GREY[:3, :4].copy(), GREY
    for order, kinds in (((small, large), (1, 0)), ((large, small, small), (0, 1, 4))):
        path = tmp_path / "a.tif"
        _tagged([(x, {254: kind}) for x, kind in zip(order, kinds, strict=True)], path)
        assert inspect(path) == inspect(path).__class__(6, 8, True)
        np.testing.assert_array_equal(decode(path, None, "crop", True)[..., 0], large)
    _tagged([(GREY, {274: 1}), (GREY, {274: 6}), (GREY, {274: 3})], path)
    pages = list(decode_pages(path, None, "crop", True))
    assert inspect(path).pages == 3
    for page, truth in zip(pages, (GREY, np.rot90(GREY, -1), GREY[::-1, ::-1]), strict=True):
        np.testing.assert_array_equal(np.asarray(page)[..., 0], truth)
    deep = np.linspace(0, 4095, 48).reshape(6, 8).astype(np.uint16)
    _tagged([(deep, {}), (GREY.astype(np.float32), {})], path)
    first, second = decode_pages(path, None, "crop", True)
    np.testing.assert_array_equal(np.asarray(first)[..., 0], deep)
    assert isinstance(second, str)
    assert second.startswith("page 2: a TIFF of 32-bit floats")


def _tagged(pages: list[tuple[np.ndarray, dict[int, int]]], path: Path) -> None:
    from PIL.TiffImagePlugin import AppendingTiffWriter, ImageFileDirectory_v2

    path.unlink(missing_ok=True)
    with AppendingTiffWriter(str(path), True) as file:
        for x, tags in pages:
            directory = ImageFileDirectory_v2()
            for tag, value in tags.items():
                directory[tag] = value
            Image.fromarray(x).save(file, format="TIFF", tiffinfo=directory)
            file.newFrame()


def test_a_stack_of_imagej_with_one_directory_is_refused(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.tif", Image.fromarray(GREY), tiffinfo={270: "ImageJ=1.53t\nimages=5\nslices=5\n"}
    )
    with pytest.raises(InputError, match="ImageJ stack of 5 images, listed as 1; save them as pages"):
        decode(path, None, "crop", True)


def test_mpo_is_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    frames = [Image.fromarray(np.full((16, 24, 3), v, np.uint8)) for v in (10, 250)]
    frames[0].save(path, "MPO", save_all=True, append_images=frames[1:])
    assert inspect(path).pages == 1
    assert len(list(decode_pages(path, None, "crop", True))) == 1
    assert (decode(path, None, "crop", True) == 10).all()


def test_the_documentation_lists_the_suffixes() -> None:
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    table = page.partition("### Image formats")[2].partition("Formats that need")[0]
    assert set(re.findall(r"`(\.\w+)`", table)) == SUFFIXES
