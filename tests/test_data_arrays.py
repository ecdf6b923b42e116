"""Arrays: which axis is which, and files that are refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fuzz.containers import npy, zipped
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from latlas.build import resolve
from latlas.config import override, recipe
from latlas.data import UNLABELLED, DataOptions, Dataset, load
from latlas.data.arrays import orient
from latlas.errors import InputError

RNG = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def read(path: Path, **options: object) -> Dataset:
    return load(DataOptions(source=str(path), **options))  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40), st.integers(1, 4))
def test_both_layouts_give_the_same_images(n: int, height: int, width: int, channels: int) -> None:
    x = RNG.integers(0, 256, (n, height, width, channels))
    planes = np.moveaxis(x, -1, 1)
    for array, layout in ((x, "NHWC"), (planes, "NCHW")):
        np.testing.assert_array_equal(orient(array, layout, None, "x"), x)
    if height > 4:
        np.testing.assert_array_equal(orient(x, "auto", None, "x"), x)
    if width > 4:
        np.testing.assert_array_equal(orient(planes, "auto", None, "x"), x)
    if height <= 4:
        with pytest.raises(InputError, match=r"data\.layout"):
            orient(x, "auto", None, "x")


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 30), st.integers(5, 30), st.integers(5, 30))
def test_without_a_channel_axis_four_axes_are_refused(a: int, b: int, c: int) -> None:
    with pytest.raises(InputError, match=f"2x{a}x{b}x{c} has no channel axis of 1 to 4; say data.layout"):
        orient(np.zeros((2, a, b, c)), "auto", None, "x")
    assert orient(np.zeros((2, a, b, c)), "NHWC", None, "x").shape == (2, a, b, c)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 12), st.integers(1, 12))
def test_flat_images(n: int, height: int, width: int) -> None:
    assume(n * height * width > 0)
    x = RNG.integers(0, 256, (n, height * width))
    images = orient(x, "auto", (height, width), "x")
    assert images.shape == (n, height, width, 1)
    np.testing.assert_array_equal(images.reshape(n, -1), x)
    with pytest.raises(InputError, match="do not make images"):
        orient(x, "auto", (height, width + 1), "x")


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((30, 28, 20), {}, (1, 28, 20)),
        ((30, 28, 20, 1), {}, (1, 28, 20)),
        ((30, 1, 28, 20), {}, (1, 28, 20)),
        ((30, 3, 28, 20), {}, (3, 28, 20)),
        ((30, 4, 9, 5), {}, (4, 9, 5)),
        ((30, 28, 3), {"layout": "NHW"}, (1, 28, 3)),
        ((30, 3, 4, 2), {"layout": "NHWC"}, (2, 3, 4)),
        ((30, 3, 4, 2), {"layout": "NCHW"}, (3, 4, 2)),
        ((30, 9, 9, 7), {"layout": "NHWC"}, (7, 9, 9)),
        ((30, 12), {}, (12,)),
        ((30, 12), {"image_size": (4, 3)}, (1, 4, 3)),
        ((30, 4, 3), {"layout": "NHW", "image_size": (4, 3)}, (1, 4, 3)),
    ],
)
def test_shapes(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, object], expected: tuple[int, ...]
) -> None:
    np.save(tmp_path / "x.npy", pixels(*shape))
    dataset = read(tmp_path / "x.npy", **options)
    assert dataset.shape == expected
    assert len(dataset.train) + len(dataset.valid) + len(dataset.test) == 30
    assert dataset.name == "x"


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((30, 3, 28, 3), {}, "30x3x28x3 may be NCHW or NHWC; say which with data.layout"),
        ((30, 28, 3), {}, "30x28x3 may be one image, many, or signals; say data.layout = NHW"),
        ((30, 9, 9, 9), {}, "no channel axis"),
        ((30,), {}, "an array of 1 axes"),
        ((3, 2, 2, 2, 2), {}, "may be NCDHW or NDHWC"),
        ((3, 2, 2, 2, 2, 2), {}, "an array of 6 axes"),
        ((), {}, "a single number"),
        ((30, 28, 20), {"layout": "NHWC"}, "layout NHWC needs 4 axes, the array is 30x28x20"),
        ((30, 28, 20), {"image_size": (10, 10)}, "images are 28x20, not 10x10; arrays are not resized"),
        ((30, 12), {"image_size": (5, 3)}, "12 values an item do not make images of 5x3"),
        ((30, 12), {"label": "y"}, "data.label = y: has no meaning for an array"),
    ],
)
def test_shapes_refused(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, object], message: str
) -> None:
    np.save(tmp_path / "x.npy", pixels(*shape))
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / "x.npy", **options)
    assert "\n" not in str(caught.value)


def test_npz_with_one_pool(tmp_path: Path) -> None:
    x, y = pixels(30, 6, 5), np.arange(30) % 3 + 10
    np.savez(tmp_path / "a.npz", x=x, y=y[:, None], index=y)
    dataset = read(tmp_path / "a.npz")
    assert dataset.classes == ("10", "11", "12")
    assert "arrays not used: index" in dataset.notes
    for split in (dataset.train, dataset.valid, dataset.test):
        np.testing.assert_array_equal(split.x[..., 0], x[split.index])
        np.testing.assert_array_equal(split.labels, split.index % 3)
    np.savez(tmp_path / "b.npz", photos=x)
    assert read(tmp_path / "b.npz").shape == (1, 6, 5)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array([b"cat", b"dog", b""] * 10), ("cat", "dog")),
        (np.array([0, 1, np.nan] * 10), ("0", "1")),
        (np.array(["cat", "NA", ""] * 10), ("NA", "cat")),
    ],
)
def test_labels_of_an_npz_may_be_bytes_and_missing(
    tmp_path: Path, y: np.ndarray, classes: tuple[str, ...]
) -> None:
    np.savez(tmp_path / "a.npz", x=pixels(30, 6, 5), y=y)
    dataset = read(tmp_path / "a.npz")
    assert dataset.classes == classes
    assert (
        "labels: 20 of 30 items have one (of 2 classes); the others are trained on without" in dataset.notes
    )
    for part in (dataset.train, dataset.valid, dataset.test):
        assert part.labels is not None
        np.testing.assert_array_equal(part.labels == UNLABELLED, part.index % 3 == 2)


def test_npz_with_official_parts(tmp_path: Path) -> None:
    arrays = {"train": pixels(20, 6), "valid": pixels(9, 6), "test": pixels(7, 6)}
    names = np.array(["cat", "dog"])
    labels = {f"{k}_y": names[np.arange(len(v)) % 2] for k, v in arrays.items()}
    np.savez_compressed(tmp_path / "a.npz", **arrays, **labels)
    dataset = read(tmp_path / "a.npz")
    for part, x in arrays.items():
        np.testing.assert_array_equal(dataset.split(part).x, x)
        np.testing.assert_array_equal(dataset.split(part).labels, np.arange(len(x)) % 2)
    assert dataset.classes == ("cat", "dog")
    np.savez(tmp_path / "b.npz", train=arrays["train"], test=arrays["test"])
    dataset = read(tmp_path / "b.npz")
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (18, 2, 7)


KEYS = {
    # Names of arrays, by what they are: (split, role).
    "x_train y_train x_test y_test": ("train X", "train Y", "test X", "test Y"),
    "train_images train_labels val_images val_labels test_images test_labels": (
        "train X", "train Y", "valid X", "valid Y", "test X", "test Y"),
    "X_train Y_train X_val X_test": ("train X", "train Y", "valid X", "test X"),
    "Xtrain ytrain Xtest ytest": ("train X", "train Y", "test X", "test Y"),
    "trainX trainY testX testY": ("train X", "train Y", "test X", "test Y"),
    "train val test": ("train X", "valid X", "test X"),
    "train dev": ("train X", "valid X"),
    "training_set test_set": ("train X", "test X"),
    "train_data train_target": ("train X", "train Y"),
    "x target": ("train X", "train Y"),
    "data target": ("train X", "train Y"),
    "images labels": ("train X", "train Y"),
    "X Y": ("train X", "train Y"),
    "features label": ("train X", "train Y"),
    "x y val y_val": ("train X", "train Y", "valid X", "valid Y"),
    "x test": ("train X", "test X"),
    "train trainlabels": ("train X", "train Y"),
}  # fmt: skip


@pytest.mark.parametrize("keys", KEYS)
def test_usual_names_of_arrays(tmp_path: Path, keys: str) -> None:
    count = {"train": 20, "valid": 9, "test": 7}
    expected = dict(zip(keys.split(), (text.split() for text in KEYS[keys]), strict=True))
    arrays = {
        key: pixels(count[part], 6) if role == "X" else np.arange(count[part]) % 2
        for key, (part, role) in expected.items()
    }
    np.savez(tmp_path / "a.npz", **arrays, index=np.arange(20))  # type: ignore[arg-type]
    dataset = read(tmp_path / "a.npz")
    for key, (part, role) in expected.items():
        split = dataset.split(part)
        np.testing.assert_array_equal(split.x if role == "X" else split.labels, arrays[key][split.index])
    for part in ("valid", "test"):
        official = [part, "X"] in expected.values()
        assert (len(dataset.split(part)) == count[part]) == official
    note = next((n for n in dataset.notes if n.startswith("arrays: ")), "arrays: train from x with labels y")
    assert all(f" {key}" in note for key in expected)
    assert "arrays not used: index" in dataset.notes


def test_labels_of_some_splits_only_are_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train=pixels(20, 6), y_train=np.arange(20) % 2, test=pixels(7, 6))
    dataset = read(tmp_path / "a.npz")
    assert dataset.test.labels is None
    assert dataset.train.labels is not None
    assert "no labels of test: numbers that need them are left out" in dataset.notes


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    x = pixels(30, 6, 5)
    np.save(tmp_path / "whole.npy", x)
    data = (tmp_path / "whole.npy").read_bytes()
    np.savez_compressed(tmp_path / "whole.npz", x=x, y=np.arange(30))
    packed = (tmp_path / "whole.npz").read_bytes()
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "|u1", "fortran_order": False, "shape": (10**15, 3)})
    bad: dict[str, bytes] = {"huge.npy": huge.getvalue()}
    bad |= {
        "empty.npy": b"",
        "cut.npy": data[:-5],
        "head.npy": data[:20],
        "text.npy": b"hello",
        "cut.npz": packed[:400],
    }
    flipped = bytearray(packed)
    flipped[200] ^= 255
    bad |= {"flipped.npz": bytes(flipped), "empty.npz": b""}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)
    with zipfile.ZipFile(tmp_path / "none.npz", "w"):
        pass
    with pytest.raises(InputError, match="holds no arrays"):
        read(tmp_path / "none.npz")


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}, None] * 9, dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=objects)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InputError, match="holds Python objects"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": 1, "b": 2}, r"holds a, b; expected 'x'\[, 'y'\] or 'train'"),
        ({"x": 1, "train": 1}, "both 'x' and 'train'"),
        ({"test": 1, "valid": 1}, "nothing to train on: by name it only has valid and test"),
        ({"x_train": 1, "train": 1}, "both 'x_train' and 'train'"),
        ({"train": 1, "training": 1}, "both 'training' and 'train'; keep one"),
        ({"images": 1, "data": 1}, "both 'images' and 'data'"),
        ({"x": 1, "y_test": 1}, "'y_test', but no items of a split 'test'"),
        ({"x": 1, "test_factors": 1}, "'test_factors', but no items of a split 'test'"),
        (
            {"x": 1, "fine_labels": 1, "coarse_labels": 1},
            "'coarse_labels' and 'fine_labels' may be labels; call what",
        ),
    ],
)
def test_npz_of_other_names(tmp_path: Path, arrays: dict[str, int], message: str) -> None:
    np.savez(tmp_path / "a.npz", **{k: pixels(30, 6, 5) for k in arrays})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.npz")


def test_labels_of_another_length(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=pixels(30, 6, 5), y=np.arange(29))
    with pytest.raises(InputError, match="30 items in 'x' but 29 labels"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(30, 3, 200), (30, 12, 100), (30, 100, 12)])
def test_what_is_plainly_signals_is_read_as_such_and_said(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "x.npy", RNG.normal(size=shape))
    dataset = read(tmp_path / "x.npy")
    assert (dataset.kind, dataset.shape) == ("signal", (min(shape[1:]), max(shape[1:])))
    assert "30 signals (N, C, L)" in dataset.notes[0]


@pytest.mark.parametrize("shape", [(30, 5, 30), (30, 1, 50), (30, 20, 100), (30, 2, 5)])
def test_signals_are_not_silently_grey_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "x.npy", RNG.normal(size=shape))
    said = r"may be signals, with channels along the shorter axis, or grey images.*data\.layout = NHW"
    with pytest.raises(InputError, match=said):
        read(tmp_path / "x.npy")
    dataset = read(tmp_path / "x.npy", layout="NHW")
    assert dataset.shape == (1, *shape[1:])
    resolved, _ = resolve(override(recipe("vae"), {"data.source": "x"}, "test"), dataset)
    assert resolved.likelihood.name == "gaussian"


def test_what_three_axes_were_taken_for_is_said(tmp_path: Path) -> None:
    for shape, x in (((30, 12, 100), pixels(30, 12, 100)), ((30, 28, 20), RNG.normal(size=(30, 28, 20)))):
        np.save(tmp_path / "x.npy", x)
        axes = "x".join(map(str, shape))
        expected = f"an array of {axes} read as 30 grey images of {shape[1]}x{shape[2]}"
        assert read(tmp_path / "x.npy").notes[0] == expected


@pytest.mark.parametrize("memory", ["auto", "windows"])
def test_an_array_of_more_than_its_header_promises_is_refused(tmp_path: Path, memory: str) -> None:
    whole = npy(pixels(30, 8, 6))
    lost = whole.replace(b"(30, 8, 6)", b"(20, 8, 6)")
    for content in (whole + b"\0", lost, whole + whole):
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(InputError, match="holds more than one array, or is damaged"):
            read(tmp_path / "x.npy", memory=memory)
    (tmp_path / "x.npz").write_bytes(zipped([("x.npy", lost)]))
    with pytest.raises(InputError, match=r"x\.npz: x: .*holds more than one array, or is damaged"):
        read(tmp_path / "x.npz")


def test_a_header_of_a_shape_that_no_machine_holds_is_refused_in_windows_too(tmp_path: Path) -> None:
    whole = npy(pixels(30, 8, 6))
    huge = f"(30, {2**40}, {2**40}), }}".encode()
    content = whole.replace(b"(30, 8, 6), }" + b" " * (len(huge) - 13), huge)
    assert len(content) == len(whole)
    assert content != whole
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npy: .*which no machine holds"):
        read(tmp_path / "x.npy", memory="windows")


def test_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    x = npy(pixels(30, 8, 6))
    for members in ([("x.npy", x), ("x.npy", x)], [("x", b"text"), ("x.npy", x)]):
        (tmp_path / "x.npz").write_bytes(zipped(members))
        with pytest.raises(InputError, match="more than one entry called 'x'"):
            read(tmp_path / "x.npz")
