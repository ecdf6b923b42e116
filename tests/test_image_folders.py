"""Folders of images with more than 8 bits, of several pages and of mixed kinds: one scale, nothing dropped unsaid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latlas.build import item_of
from latlas.data import DataOptions, Dataset, Scaling, load, load_items
from latlas.errors import InputError

RNG = np.random.default_rng(0)
SCENES = RNG.integers(0, 4096, (12, 10, 8)).astype(np.uint16)
SCENES[:, 0, 0] = 4000


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LATLAS_CACHE", str(folder))
    return folder / "decoded"


def folder(root: Path, images: np.ndarray, suffix: str = "png", start: int = 0) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images, start):
        Image.fromarray(image).save(root / f"img{i}.{suffix}")
    return root


def stacks(root: Path, images: np.ndarray, pages: int = 3, suffix: str = "tif") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for i in range(0, len(images), pages):
        first, *rest = map(Image.fromarray, images[i : i + pages])
        first.save(root / f"stack{i // pages}.{suffix}", save_all=True, append_images=rest)
    return root


def read(root: Path, **options: object) -> Dataset:
    return load(DataOptions(source=str(root), **options))  # type: ignore[arg-type]


def on_one(dataset: Dataset) -> np.ndarray:
    """All items on the model's scale, in the source's order."""
    splits = (dataset.train, dataset.valid, dataset.test)
    order = np.argsort(np.concatenate([s.index for s in splits]), kind="stable")
    return dataset.scaling.apply(np.concatenate([s.x for s in splits]))[order]


def use(source: Path, dataset: Dataset, **options: object) -> np.ndarray:
    """Items of another source on the scale of a model that was trained on a data set."""
    like = item_of(dataset)
    return like.scaling.apply(load_items(str(source), like, DataOptions(**options)).x)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_a_camera_of_twelve_bits_is_not_near_black(tmp_path: Path, suffix: str) -> None:
    dataset = read(folder(tmp_path / "a", SCENES, suffix))
    assert dataset.scaling == Scaling("integer", scale=(4095.0,))
    np.testing.assert_allclose(on_one(dataset)[..., 0], SCENES / 4095, rtol=1e-6)
    assert any(n.startswith("16-bit integers read as 12 bits, divided by 4,095") for n in dataset.notes)
    again = read(tmp_path / "a")
    assert (again.scaling, again.fingerprint) == (dataset.scaling, dataset.fingerprint)
    # An array of the same values is the same data.
    np.save(tmp_path / "a.npy", SCENES)
    assert read(tmp_path / "a.npy", layout="NHW").scaling == dataset.scaling
    assert read(tmp_path / "a", bits=16).scaling.scale == (65535.0,)
    assert read(tmp_path / "a", bits=14).scaling.scale == (16383.0,)
    with pytest.raises(InputError, match=r"data.bits = 10: .*values up to 4,\d+, more than fit"):
        read(tmp_path / "a", bits=10)


def test_colours_of_twelve_bits_keep_all_of_them(tmp_path: Path) -> None:
    from test_image_decoders import png

    for i, scene in enumerate(SCENES):
        (tmp_path / f"{i}.png").write_bytes(png(np.stack([scene, scene[::-1], scene // 2], -1), 2, 16))
    dataset = read(tmp_path)
    assert (dataset.shape, dataset.scaling.scale) == ((3, 10, 8), (4095.0,))
    np.testing.assert_allclose(on_one(dataset)[..., 1], SCENES[:, ::-1] / 4095, rtol=1e-6)


@pytest.mark.parametrize("dark", [1, 8])
def test_a_scale_that_the_files_state_is_theirs(tmp_path: Path, dark: int) -> None:
    """Of 12 bits that are packed, and of a PGM with its greatest value, the brightness is known."""
    tifffile = pytest.importorskip("tifffile")
    for kind in ("tif", "pgm"):
        (tmp_path / kind).mkdir()
        for i, scene in enumerate(SCENES // dark):
            path = tmp_path / kind / f"{i}.{kind}"
            if kind == "tif":
                tifffile.imwrite(path, scene, bitspersample=12, photometric="minisblack")
            else:
                path.write_bytes(b"P5 8 10 4095\n" + scene.astype(">u2").tobytes())
        dataset = read(tmp_path / kind)
        np.testing.assert_allclose(on_one(dataset)[..., 0], SCENES // dark / 4095, atol=2e-5)
    both = read(tmp_path)  # two scales that are known: of all in 8 bits
    np.testing.assert_allclose(
        on_one(both)[..., 0] * 2, np.concatenate([SCENES // dark / 4095 * 2] * 2), atol=0.005
    )
    assert any("24 files of more than 8 bits reduced to 8" in n for n in both.notes)


def test_files_of_8_and_16_bits_meet_only_where_white_is_known(tmp_path: Path) -> None:
    full = SCENES * 16
    root = folder(folder(tmp_path / "a", full), (SCENES // 16).astype(np.uint8), start=12)
    dataset = read(root)
    assert dataset.train.x.dtype == np.uint8
    np.testing.assert_allclose(on_one(dataset)[..., 0], np.concatenate([SCENES / 4096] * 2), atol=0.005)
    root = folder(folder(tmp_path / "b", SCENES), (SCENES // 16).astype(np.uint8), start=12)
    with pytest.raises(
        InputError,
        match=r"16-bit files with values up to 4,\d+ only .*, and others have 8: what the largest value",
    ):
        read(root)
    np.testing.assert_allclose(
        on_one(read(root, bits=12))[..., 0], np.concatenate([SCENES / 4096] * 2), atol=0.005
    )
    with pytest.raises(InputError, match=r"data.bits = 12: no image file here has 16 bits"):
        read(folder(tmp_path / "c", (SCENES // 16).astype(np.uint8)), bits=12)


def test_other_items_are_on_the_scale_of_the_run(tmp_path: Path) -> None:
    deep, full = folder(tmp_path / "deep", SCENES), folder(tmp_path / "full", SCENES * 16)
    narrow = folder(tmp_path / "narrow", (SCENES // 16).astype(np.uint8))
    dark = folder(tmp_path / "dark", SCENES // 9)
    camera, screen = read(deep), read(narrow)
    for source in (deep, dark, narrow):
        truth = (
            SCENES / 4095 if source == deep else SCENES // 9 / 4095 if source == dark else SCENES // 16 / 255
        )
        np.testing.assert_allclose(use(source, camera)[..., 0], truth, atol=2e-4)
        np.testing.assert_allclose(use(source / "img3.png", camera)[0, ..., 0], truth[3], atol=2e-4)
    np.testing.assert_allclose(use(full, screen)[..., 0], SCENES / 4096, atol=0.005)
    with pytest.raises(InputError, match=r"this model takes integers from 0 to 4095"):
        use(full, camera)
    for source in (deep, deep / "img3.png"):
        with pytest.raises(
            InputError,
            match=r"up to 4,?\d+ only .*, and the model was trained on 8 bits: what the largest value",
        ):
            use(source, screen)
    np.testing.assert_allclose(use(deep, screen, bits=12)[..., 0], SCENES / 4095, atol=0.005)


def test_resizing_leaves_the_scale_alone(tmp_path: Path) -> None:
    sharp = np.where(SCENES > 2000, 4095, 0).astype(np.uint16)
    dataset = read(folder(tmp_path / "a", sharp), image_size=(17, 23))
    assert dataset.scaling.scale == (4095.0,)
    assert on_one(dataset).max() <= 1


@pytest.mark.parametrize("names", ["one", "two"])
def test_stacks_are_refused_until_it_is_said_which_pages(tmp_path: Path, names: str) -> None:
    root = stacks(tmp_path / "cells", SCENES, 3 if names == "two" else 12)
    more = ", and 3 more files have several" if names == "two" else ""
    with pytest.raises(InputError) as caught:
        read(root)
    assert caught.value.field == "data.pages"
    count = 3 if names == "two" else 12
    assert (
        f"cells/stack0.tif is a stack of {count} pages{more}; say all (every page is an item) or first"
        in str(caught.value)
    )
    dataset = read(root, pages="all")
    found, wanted = on_one(dataset).reshape(12, -1), (SCENES / 4095).reshape(12, -1)
    np.testing.assert_allclose(np.unique(found, axis=0), np.unique(wanted, axis=0), rtol=1e-6)
    assert any("12 pages of" in n and "each an item" in n for n in dataset.notes)


def test_first_pages_and_labels_of_pages(tmp_path: Path) -> None:
    for name, part in (("cat", SCENES[:6]), ("dog", SCENES[6:])):
        stacks(tmp_path / "few" / name, part, 2)
    dataset = read(tmp_path / "few", pages="all")
    labels = np.concatenate([s.labels for s in (dataset.train, dataset.valid, dataset.test)])  # type: ignore[misc]
    assert np.bincount(labels).tolist() == [6, 6]
    first = read(tmp_path / "few", pages="first")
    np.testing.assert_allclose(on_one(first)[..., 0], SCENES[::2] / 4095, rtol=1e-6)
    assert any("the first of several pages or frames in 6 files" in n for n in first.notes)


def test_one_stack_is_a_data_set(tmp_path: Path) -> None:
    path = stacks(tmp_path, SCENES, 12) / "stack0.tif"
    with pytest.raises(InputError, match="is a stack of 12 pages; say all"):
        read(path)
    dataset = read(path, pages="all")
    np.testing.assert_allclose(on_one(dataset)[..., 0], SCENES / 4095, rtol=1e-6)
    for pages in (None, "all"):
        np.testing.assert_allclose(use(path, dataset, pages=pages)[..., 0], SCENES / 4095, rtol=1e-6)
    assert len(use(path, dataset, pages="first")) == 1
    with pytest.raises(
        InputError, match=r"a single image; give the folder .*, or data.pages = all to take its 12 pages"
    ):
        read(path, pages="first")
    folder(tmp_path / "one", SCENES[:1])
    with pytest.raises(
        InputError, match=r"img0.png: a single image; give the folder that holds all of them$"
    ):
        read(tmp_path / "one" / "img0.png", pages="all")


def test_animations_give_their_first_frame_unless_said(tmp_path: Path) -> None:
    frames = (SCENES // 16).astype(np.uint8)
    root = stacks(tmp_path / "a", np.repeat(frames, 2, axis=0), 8, "gif")
    folder(root, frames, "png")
    dataset = read(root)
    assert len(on_one(dataset)) == 15
    assert any("the first of several pages or frames in 3 files" in n for n in dataset.notes)
    assert len(use(root, dataset)) == 15  # as in training
    assert len(on_one(read(root, pages="all"))) > 15


def test_bands_that_are_left_out_are_said(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    bands = RNG.integers(0, 256, (12, 10, 8, 4)).astype(np.uint8)
    for i, x in enumerate(bands):
        tifffile.imwrite(tmp_path / f"{i}.tif", x, photometric="rgb", extrasamples=["unspecified"])
    dataset = read(tmp_path)
    np.testing.assert_allclose(on_one(dataset), bands[..., :3] / 255, rtol=1e-6)
    assert "bands beyond colour and alpha, as infrared, left out in 12 files" in dataset.notes


def test_what_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path / "a", (SCENES // 16).astype(np.uint8))
    Image.fromarray(SCENES[0].astype(np.float32)).save(root / "f.tif")
    note = next(n for n in read(root).notes if n.startswith("left out"))
    assert "f.tif (a TIFF of 32-bit floats, which have no known range; save it" in note


def test_sets_of_eight_bits_are_what_they_were(tmp_path: Path) -> None:
    """Their fingerprint is that of earlier versions, so that their runs find the same data."""
    values = np.arange(12 * 10 * 8 * 3).reshape(12, 10, 8, 3) % 251
    root = folder(tmp_path / "a", values.astype(np.uint8))
    assert read(root).fingerprint == "a4ef28929a4f31287787b027600a887a5d2340673f4a90d31c69972c248ba861"
    assert (
        read(root, image_size=(5, 4)).fingerprint
        == "acddd318d22af2163ffb5aaf6bf54cceb62c2708f41c59a126ffae40476e940d"
    )


def test_what_is_black_is_known_where_0_is_white(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    for name, scenes in (("camera", SCENES), ("full", SCENES * 16)):
        (tmp_path / name).mkdir()
        for i, scene in enumerate(scenes):
            tifffile.imwrite(tmp_path / name / f"{i}.tif", scene, photometric="miniswhite")
    np.testing.assert_allclose(on_one(read(tmp_path / "full"))[..., 0], 1 - SCENES * 16 / 65535, atol=1e-4)
    with pytest.raises(
        InputError, match=r"values up to 4,\d+ only \(as .*\), and 0 is white: what the largest value"
    ):
        read(tmp_path / "camera")
    camera = read(tmp_path / "camera", bits=12)
    np.testing.assert_allclose(on_one(camera)[..., 0], 1 - SCENES / 4095, atol=1e-4)
    np.testing.assert_allclose(use(tmp_path / "camera", camera)[..., 0], 1 - SCENES / 4095, atol=1e-4)
    with pytest.raises(InputError, match=r"none of 12 .*values up to 4,\d+, more than the 10 bits"):
        read(tmp_path / "camera", bits=10)
