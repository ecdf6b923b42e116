"""Image files: every format upright, in 8 bits, at the size asked for."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latlas.data.image_files import decode, inspect
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
