"""Folders of images: order, labels, splits, broken files, and the cache that must never be wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latlas.data import DataOptions, Dataset, cache, load
from latlas.data.cache import decode_files
from latlas.data.folders import list_images
from latlas.data.image_plan import ImageFormat
from latlas.errors import InputError


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LATLAS_CACHE", str(folder))
    return folder / "decoded"


def picture(path: Path, value: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
    """A picture of one grey value; size is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (size[1], size[0]), value).convert(mode).save(path)
    return path


def photos(root: Path, count: int = 12, **how: object) -> list[Path]:
    return [picture(root / f"img{i}.png", min(255, 20 * i), **how) for i in range(count)]  # type: ignore[arg-type]


def read(root: Path, **options: object) -> Dataset:
    return load(DataOptions(source=str(root), **options))  # type: ignore[arg-type]


def everything(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Items and their index of all splits, in the source's order."""
    splits = (dataset.train, dataset.valid, dataset.test)
    index = np.concatenate([s.index for s in splits])
    order = np.argsort(index)
    return np.concatenate([s.x for s in splits])[order], index[order]


def test_natural_order_and_hidden_files(tmp_path: Path) -> None:
    photos(tmp_path / "a")
    picture(tmp_path / ".hidden.png", 0)
    picture(tmp_path / ".thumbs" / "a.png", 0)
    (tmp_path / "a" / "notes.txt").write_text("hello")
    (tmp_path / "a" / "SHOUT.PNG").write_bytes((tmp_path / "a" / "img1.png").read_bytes())
    listing = list_images(tmp_path)
    assert [p.stem for p in listing.files] == [f"img{i}" for i in range(12)] + ["SHOUT"]
    assert listing.others == ("a/notes.txt",)
    assert listing.classes is None
    dataset = read(tmp_path)
    assert any("1 other files not read (.txt)" in n for n in dataset.notes)
    x, index = everything(dataset)
    np.testing.assert_array_equal(index, np.arange(13))
    np.testing.assert_array_equal(x[:12, 0, 0, 0], 20 * np.arange(12))


def test_sub_folders_are_classes_in_natural_order(tmp_path: Path) -> None:
    for name, count in (("cat 10", 6), ("cat 2", 8)):
        photos(tmp_path / name / "deep", count)
    dataset = read(tmp_path)
    assert dataset.classes == ("cat 2", "cat 10")
    labels = np.concatenate([s.labels for s in (dataset.train, dataset.valid, dataset.test)])  # type: ignore[misc]
    assert np.bincount(labels).tolist() == [8, 6]
    assert any("2 classes from sub-folders: cat 2, cat 10" in n for n in dataset.notes)
    picture(tmp_path / "loose.png", 3)
    assert read(tmp_path).classes is None


@pytest.mark.parametrize("names", [("train", "test"), ("train", "val", "test"), ("Train", "VALID", "Test")])
def test_official_splits_from_sub_folders(tmp_path: Path, names: tuple[str, ...]) -> None:
    counts = dict(zip(("train", "valid", "test"), (9, 5, 4), strict=True))
    for part, name in zip(
        ("train", "valid", "test") if len(names) == 3 else ("train", "test"), names, strict=True
    ):
        for c in ("a", "b"):
            photos(tmp_path / name / c, counts[part])
    dataset = read(tmp_path)
    assert len(dataset.test) == 8
    assert dataset.classes == ("a", "b")
    assert np.bincount(dataset.test.labels).tolist() == [4, 4]  # type: ignore[arg-type]
    if len(names) == 3:
        assert (len(dataset.train), len(dataset.valid)) == (18, 10)
        assert isinstance(dataset.train.x.base, np.ndarray)  # a slice of the mapped file
        assert len(read(tmp_path, validation=0.5).train) == 9
    else:
        assert len(dataset.train) + len(dataset.valid) == 18
    files = list_images(tmp_path).files
    for split, part in ((dataset.train, "train"), (dataset.test, "test")):
        assert {files[i].relative_to(tmp_path).parts[0].lower() for i in split.index} == {part}


def test_train_and_test_beside_others_are_classes(tmp_path: Path) -> None:
    for name in ("train", "test", "bus"):
        photos(tmp_path / name, 5)
    assert read(tmp_path).classes == ("bus", "test", "train")


def test_size_and_channels_are_chosen_and_said(tmp_path: Path) -> None:
    photos(tmp_path / "same", mode="L")
    dataset = read(tmp_path / "same")
    assert dataset.shape == (1, 12, 10)
    assert "images of 12x10, as the files are" in dataset.notes
    assert "grey, as every file is" in dataset.notes
    assert read(tmp_path / "same", image_size=(9, 7)).shape == (1, 9, 7)
    picture(tmp_path / "same" / "z.png", 7, size=(30, 11))
    dataset = read(tmp_path / "same")
    assert dataset.shape == (3, 64, 64)
    assert any("resized to 64x64 (short side, then centre crop; files of 2 sizes" in n for n in dataset.notes)
    photos(tmp_path / "large", 5, size=(300, 300))
    dataset = read(tmp_path / "large")
    assert dataset.shape == (3, 64, 64)
    assert any("files of 300x300; data.image_size" in n for n in dataset.notes)


def test_broken_files_are_named_or_refused(tmp_path: Path) -> None:
    paths = photos(tmp_path)
    paths[3].write_bytes(b"")
    paths[7].write_bytes(paths[8].read_bytes()[:45])
    for _ in ("decoded", "from the cache"):
        dataset = read(tmp_path)
        note = next(n for n in dataset.notes if "broken" in n)
        assert note.startswith("left out 2 broken files: img3.png (")
        assert "img7.png (" in note
        assert not any("memory" in n for n in dataset.notes)
        x, index = everything(dataset)
        assert index.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
        np.testing.assert_array_equal(x[:, 0, 0, 0], 20 * index)
        with pytest.raises(InputError, match=r"2 broken files: img3.png"):
            read(tmp_path, strict=True)
    for path in paths:
        path.write_bytes(b"no image")
    with pytest.raises(
        InputError, match=r"none of 12 image files can be read \(first: img0.png: not an image"
    ):
        read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_a_broken_one(tmp_path: Path) -> None:
    photos(tmp_path)[0].chmod(0)
    assert any("img0.png (Permission denied)" in n for n in read(tmp_path).notes)


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no image files .*found: nothing"):
        read(tmp_path)
    (tmp_path / "a.heic").write_bytes(b"")
    with pytest.raises(InputError, match=r"found: \.heic"):
        read(tmp_path)


def test_the_cache_is_used_and_follows_the_content(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = photos(tmp_path / "a")
    first = read(tmp_path / "a")
    assert len(list(cache_folder.iterdir())) == 1
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr(cache, "decode", None)  # a moved folder of the same content needs no decoding
        assert read(tmp_path / "b").fingerprint == first.fingerprint
    stat = paths[5].stat()
    Image.new("RGB", (10, 12), (101,) * 3).save(tmp_path / "new.png")
    data = (tmp_path / "new.png").read_bytes()
    assert len(data) == stat.st_size  # the same size and time: only the bytes differ
    paths[5].write_bytes(data)
    os.utime(paths[5], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    x, _ = everything(read(tmp_path / "a"))
    assert x[5, 0, 0, 0] == 101
    paths[0].rename(paths[0].with_name("zzz.png"))
    x, _ = everything(read(tmp_path / "a"))
    assert x[11, 0, 0, 0] == 0


def test_a_change_to_the_array_never_reaches_the_cache(tmp_path: Path) -> None:
    photos(tmp_path)
    files = list_images(tmp_path).files
    first = decode_files(tmp_path, files, ImageFormat())
    first.x[:] = 7
    assert decode_files(tmp_path, files, ImageFormat()).x[0, 0, 0, 0] == 0


@pytest.mark.parametrize("damage", ["cut", "about", "gone", "rows"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, cache_folder: Path, damage: str) -> None:
    photos(tmp_path)
    first = read(tmp_path)
    (entry,) = cache_folder.iterdir()
    if damage == "cut":
        data = (entry / "images.npy").read_bytes()
        (entry / "images.npy").write_bytes(data[:-100])
    elif damage == "about":
        (entry / "about.json").write_text("{")
    elif damage == "rows":
        about = json.loads((entry / "about.json").read_text())
        (entry / "about.json").write_text(json.dumps(about | {"rows": [1, 2]}))
    else:
        (entry / "images.npy").unlink()
    assert read(tmp_path).fingerprint == first.fingerprint
    assert [p.name for p in cache_folder.iterdir()] == [entry.name]


def test_a_stopped_decoding_leaves_nothing(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path)
    real = cache.decode

    def stop(path: Path, *args: object) -> np.ndarray:
        if path.stem == "img6":
            raise KeyboardInterrupt
        return real(path, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(cache, "decode", stop)
        with pytest.raises(KeyboardInterrupt):
            read(tmp_path)
    assert list(cache_folder.iterdir()) == []
    assert len(everything(read(tmp_path))[0]) == 12


def test_a_killed_decoding_leaves_no_bad_cache(tmp_path: Path, cache_folder: Path) -> None:
    photos(tmp_path, 40)
    code = (
        "import sys, time; from latlas.data import DataOptions, cache, load\n"
        "real = cache.decode\n"
        "def slow(path, *rest):\n"
        "    if path.stem == 'img20':\n"
        "        print('half', flush=True); time.sleep(60)\n"
        "    return real(path, *rest)\n"
        "cache.decode = slow\n"
        f"load(DataOptions(source={str(tmp_path)!r}))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (left,) = cache_folder.iterdir()
    assert ".tmp-" in left.name
    assert len(everything(read(tmp_path))[0]) == 40
    old = time.time() - 2 * 86400
    os.utime(left, (old, old))
    photos(tmp_path, 41)
    read(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize("when", ["at once", "halfway"])
def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    paths = photos(tmp_path)
    paths[3].write_bytes(b"")
    if when == "at once":
        cache_folder.parent.rmdir()
        cache_folder.parent.write_text("a file, not a folder")
    else:

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(cache.os, "fsync", full)
    dataset = read(tmp_path)
    note = next(n for n in dataset.notes if "kept in memory" in n)
    assert "cannot be written" in note
    assert ("No space left" in note) == (when == "halfway")
    assert everything(dataset)[1].tolist() == [0, 1, 2, *range(4, 12)]
    if when == "halfway":
        assert list(cache_folder.iterdir()) == []


def test_progress_is_told(tmp_path: Path) -> None:
    photos(tmp_path, 5)
    told: list[tuple[str, int, int]] = []
    load(DataOptions(source=str(tmp_path)), lambda *step: told.append(step))
    assert ("checking files", 5, 5) in told
    assert ("decoding images", 5, 5) in told


def test_a_mixed_folder(tmp_path: Path) -> None:
    """Every format and oddity in one folder becomes one array."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(tmp_path / "a.jpg", exif=exif)
    rgb.convert("CMYK").save(tmp_path / "b.jpeg")
    rgb.convert("L").save(tmp_path / "c.jpg")
    rgb.save(tmp_path / "d.webp")
    rgb.save(tmp_path / "e.bmp")
    rgb.quantize(16).save(tmp_path / "f.gif")
    rgb.convert("RGBA").save(tmp_path / "g.tiff")
    rgb.quantize(16).save(tmp_path / "h.png", transparency=3)
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(40, 30) * 50).save(tmp_path / "i.png")
    (tmp_path / "j.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:300])
    (tmp_path / "k.png").write_bytes(b"")
    (tmp_path / "l.webp").write_text("text")
    dataset = read(tmp_path)
    assert dataset.shape == (3, 64, 64)
    assert dataset.train.x.dtype == np.uint8
    assert everything(dataset)[1].tolist() == list(range(9))
    assert any(n.startswith("left out 3 broken files: j.jpg (") for n in dataset.notes)
