"""Folders of images: order, labels, splits, broken files, and the cache that must never be wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
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
    assert any("1 other file not read (.txt)" in n for n in dataset.notes)
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


LAYOUTS = {
    # Files per split and class, in the order of splits; None where there are no classes.
    "training_set/{a,b} test_set/{a,b}": {"train": "ab", "test": "ab"},
    "Training/{a,b} Testing/{a,b}": {"train": "ab", "test": "ab"},
    "wrap/in/{train,test}/{a,b}": {"train": "ab", "test": "ab"},
    "seg_train/seg_train/{a,b} seg_test/seg_test/{a,b}": {"train": "ab", "test": "ab"},
    "train/images/{a,b} valid/images/{a,b} test/images": {"train": "ab", "valid": "ab", "test": None},
    "{a,b}/{train,test}": {"train": "ab", "test": "ab"},
    "train/{a,b} test": {"train": "ab", "test": None},
    "train test/{a,b}": {"train": None, "test": "ab"},
    "train/a test/{a,b}": {"train": "a", "test": "ab"},
    "train/a test/a": {"train": None, "test": None},
    "train dev eval": {"train": None, "valid": None, "test": None},
    "train/{a,b}": {"train": "ab"},
}


def folders_of(pattern: str) -> list[str]:
    """x/{a,b}/y as x/a/y and x/b/y."""
    match = re.search(r"\{([^}]*)\}", pattern)
    if not match:
        return [pattern]
    return [
        f
        for name in match[1].split(",")
        for f in folders_of(pattern[: match.start()] + name + pattern[match.end() :])
    ]


def laid_out(root: Path, layout: str, count: int = 6) -> Path:
    for number, folder in enumerate(f for pattern in layout.split() for f in folders_of(pattern)):
        for i in range(count):
            picture(root / folder / f"{i}.png", 20 * number + i)
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    listing = list_images(laid_out(tmp_path, layout))
    found: dict[str, set[str | None]] = {}
    for i, part in enumerate(listing.parts or ["train"] * len(listing.files)):
        found.setdefault(part, set()).add(listing.classes[i] if listing.classes else None)
    expected = {part: set(classes) if classes else {None} for part, classes in LAYOUTS[layout].items()}
    assert found == expected
    assert list(found) == list(expected)
    dataset = read(tmp_path)
    for part, classes in LAYOUTS[layout].items():
        labels = dataset.split(part).labels
        assert (labels is None) == (classes is None)
        if labels is not None and classes is not None:
            assert {(dataset.classes or ())[code] for code in labels} == set(classes)
    assert dataset.notes[0].startswith(
        "official splits from sub-folders: train " if listing.parts else "2 classes from sub-folders"
    )


def test_what_was_taken_for_what_is_said(tmp_path: Path) -> None:
    laid_out(tmp_path, "training_set/{a,b} test_set")
    notes = read(tmp_path).notes
    assert notes[:3] == (
        "official splits from sub-folders: train 12 (training_set), test 6 (test_set)",
        "2 classes from sub-folders: a, b",
        "files of train: a 6, b 6",
    )
    assert "no labels of test: numbers that need them are left out" in notes
    laid_out(tmp_path / "many", " ".join(f"class{i}" for i in range(30)), 1)
    notes = read(tmp_path / "many").notes
    assert "30 classes from sub-folders: class0, class1, class2, class3, class4 and 25 more" in notes
    assert next(n for n in notes if n.startswith("files: ")).endswith("class11 1 and 18 more")
    laid_out(tmp_path / "new", "train/{a,b} test/{a,c}")
    assert "test has classes that train lacks: c" in read(tmp_path / "new").notes
    picture(tmp_path / "new" / "train" / "loose.png", 1)
    (tmp_path / "new" / "valid").mkdir()
    notes = read(tmp_path / "new").notes
    assert "1 image beside these folders has no label" in notes
    assert "no images in 1 folder: valid" in notes


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("train test unlabeled", "'unlabeled' beside them is none of train, valid and test"),
        ("train test bus", "'bus' beside them is none of"),
        ("train/{good,bad} test/{good,bad} ground_truth/bad", "'ground_truth' beside them"),
        ("train training test", "'train' and 'training' all name the train split"),
        ("test valid", "nothing to train on: by name it only has valid and test"),
        ("test", "nothing to train on: by name it only has test"),
        ("wrap/test", "nothing to train on"),
        (
            "{a,b}/{train,test} c",
            "test, train inside the other folders look like splits, but c holds images in none",
        ),
        ("DATA/{train,test} docs", "test, train inside the other folders look like splits, but docs holds"),
        ("DATA/{train,test} docs/img", "'img' beside them is none of"),
        ("a/deep/{train,test} b/deep", "the folders in a/deep look like splits, but not of all images"),
        ("train/{a,b} test/{train,test}", "the folders in test look like splits"),
    ],
)
def test_what_looks_like_splits_is_never_classes(tmp_path: Path, layout: str, message: str) -> None:
    laid_out(tmp_path, layout)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_files_named_as_splits_are_refused(tmp_path: Path) -> None:
    for i in range(6):
        picture(tmp_path / f"train_{i}.png", i)
    assert len(read(tmp_path).train) > 0
    picture(tmp_path / "test_1.png", 7)
    picture(tmp_path / "stray.png", 7)
    with pytest.raises(
        InputError, match=r"names of files look like splits \(test_1.png, train_0.png\); put the files"
    ):
        read(tmp_path)
    for i in range(7):
        picture(tmp_path / f"other{i}.png", 7)  # most of them do not speak of splits
    assert len(read(tmp_path).train) > 0


def test_a_class_called_train_is_said(tmp_path: Path) -> None:
    dataset = read(laid_out(tmp_path, "bus car train"))
    assert dataset.classes == ("bus", "car", "train")
    assert "train is taken for a class, as no other folder is a split" in dataset.notes


@pytest.mark.parametrize("stray", ["stray.png", "wrap/stray.png", "README.txt"])
def test_a_stray_file_beside_the_splits_is_left_out(tmp_path: Path, stray: str) -> None:
    laid_out(tmp_path, "wrap/{train,test}")
    (picture if stray.endswith("png") else touch)(tmp_path / stray, 9)
    dataset = read(tmp_path)
    assert (len(dataset.train) + len(dataset.valid), len(dataset.test)) == (6, 6)
    said = (
        "left out 1 image beside the splits: " + stray
        if stray.endswith("png")
        else "1 other file not read (.txt)"
    )
    assert said in dataset.notes


def touch(path: Path, _: int) -> None:
    path.write_text("text")


def test_a_stray_image_beside_classes_has_no_label_and_is_said(tmp_path: Path) -> None:
    laid_out(tmp_path, "a b")
    picture(tmp_path / "loose.png", 3)
    dataset = read(tmp_path)
    assert dataset.classes == ("a", "b")
    labels = np.concatenate([s.labels for s in (dataset.train, dataset.valid, dataset.test)])  # type: ignore[misc]
    assert np.unique(labels, return_counts=True)[1].tolist() == [1, 6, 6]
    assert "1 image beside these folders has no label" in dataset.notes
    assert any(note.startswith("labels: 12 of 13 items have one") for note in dataset.notes)


def test_linked_splits_and_classes_count(tmp_path: Path) -> None:
    root, store = tmp_path / "root", laid_out(tmp_path / "store", "photos/{a,b} c")
    laid_out(root, "test/{a,b}")
    (root / "train").symlink_to(store / "photos")
    dataset = read(root)
    assert (len(dataset.train) + len(dataset.valid), len(dataset.test)) == (12, 12)
    assert dataset.classes == ("a", "b")
    (root / "train").unlink()
    (root / "train").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"root \(train is a broken link\): nothing to train on"):
        read(root)
    classes = laid_out(tmp_path / "classes", "a")
    (classes / "b").symlink_to(store / "c")
    (classes / "x.png").symlink_to("nowhere.png")
    (classes / "a" / "loop").symlink_to("..")
    dataset = read(classes)
    assert dataset.classes == ("a", "b")
    assert "files: a 6, b 6" in dataset.notes
    assert "left out 1 broken link: x.png" in dataset.notes
    assert "passed over 1 link to what is read already: a/loop (the same as .)" in dataset.notes


def test_what_is_no_data_is_passed_over_and_said(tmp_path: Path) -> None:
    laid_out(tmp_path, "a b a/@eaDir __MACOSX/a")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "b" / "zero.png").symlink_to("/dev/zero")
    dataset = read(tmp_path)
    assert "files: a 6, b 6" in dataset.notes
    assert "passed over 2 hidden or system files and folders (@eaDir, __MACOSX)" in dataset.notes
    assert any(
        n.startswith("left out 2 special files: ") and "a/pipe.png (a pipe)" in n for n in dataset.notes
    )


@pytest.mark.parametrize(
    "name", [b"br\xe9ken", b"a\nb", b"\x1b[31mred", b"<b>&amp;", "\u202eevil".encode(), b"$\\frac{"]
)
def test_any_name_is_printable_in_notes_and_classes(tmp_path: Path, name: bytes) -> None:
    folder = laid_out(tmp_path, "plain") / os.fsdecode(name)
    photos(folder, 6)
    (folder / os.fsdecode(name + b".png")).write_bytes(b"broken")
    for _ in ("decoded", "from the cache"):
        dataset = read(tmp_path)
        assert dataset.classes is not None
        for text in (*dataset.notes, *dataset.classes):
            assert text.isprintable()
            text.encode()
        assert any("left out 1 broken file: " in note for note in dataset.notes)


def test_accents_written_in_two_ways_are_one_class(tmp_path: Path) -> None:
    laid_out(tmp_path, "train/{caf\u00e9,b} test/{cafe\u0301,b}")
    assert read(tmp_path).classes == ("b", "caf\u00e9")


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
    np.asarray(first.x)[:] = 7
    assert decode_files(tmp_path, files, ImageFormat()).x[0][0, 0, 0] == 0


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


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_labels_in_a_table_beside_the_images(tmp_path: Path, suffix: str) -> None:
    root = tmp_path / "set"
    for i in range(12):
        picture(root / ("train" if i < 8 else "test") / f"{i}.png", 20 * i)
    for part, numbers in (("train", range(8)), ("test", range(8, 12))):
        kinds = [("cat", "dog", "NA")[i % 3] for i in numbers]
        table = pd.DataFrame({"file_name": [f"{i}.png" for i in numbers], "text": "a, b", "label": kinds})
        table = table.iloc[:-1]  # one image has no row
        path = root / part / f"metadata.{suffix}"
        if suffix == "csv":
            table.to_csv(path, index=False)
        elif suffix == "jsonl":
            path.write_text(table.to_json(orient="records", lines=True))
        else:
            table.to_parquet(path)
    data = read(root)
    assert data.classes == ("NA", "cat", "dog")
    assert f"labels from 'label' of metadata.{suffix}, 3 classes: NA, cat, dog" in data.notes
    assert f"columns of metadata.{suffix} not used: 'text'" in data.notes
    assert "labels: 10 of 12 items have one (of 3 classes); the others are trained on without" in data.notes
    assert not any("other files" in note for note in data.notes)
    assert data.test.labels is not None
    assert data.test.labels.tolist() == [0, 1, 2, -1]
    assert read(root, label="text").classes == ("a, b",)


def test_tables_beside_images_that_do_not_fit_them(tmp_path: Path) -> None:
    for i in range(6):
        picture(tmp_path / "ab"[i % 2] / f"{i}.png", 20 * i)
    table = tmp_path / "metadata.csv"
    table.write_text("file_name,size\na/0.png,3\nb/1.png,4\n")
    assert read(tmp_path).classes == ("a", "b")  # it says nothing of labels
    with pytest.raises(InputError, match=r"unknown label column in .*metadata\.csv: 'klass'"):
        read(tmp_path, label="klass")
    assert read(tmp_path, label="size").classes == ("3", "4")
    table.write_text("file_name,label\na/0.png,x\nb/1.png,y\nb/9.png,y\n")
    data = read(tmp_path)
    assert data.classes == ("x", "y")
    assert any("1 row names no image here: b/9.png" in note for note in data.notes)
    assert "sub-folders are no labels, as the table beside the images has some" in data.notes
    with pytest.raises(InputError, match=r"1 row names no image here: b/9\.png; mend them"):
        read(tmp_path, strict=True)
    table.write_text("name,label\na/0.png,x\n")
    assert "metadata.csv is not used: no column 'file_name' names the images" in read(tmp_path).notes
    with pytest.raises(InputError, match="no column 'file_name' that names the images; add it"):
        read(tmp_path, label="label")
    table.rename(tmp_path / "metadata.jsonl")
    with pytest.raises(InputError, match=r"metadata\.jsonl: cannot be read as a table"):
        read(tmp_path)
    (tmp_path / "metadata.jsonl").unlink()
    with pytest.raises(
        InputError, match=r"data\.label = kind: .*has no meaning for a folder without metadata.csv"
    ):
        read(tmp_path, label="kind")
