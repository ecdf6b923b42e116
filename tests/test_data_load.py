"""Items of another source, read so that they fit a trained model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_data_idx import write_set

from latlas.data import DataOptions, Dataset, Like, Scaling, as_source, load, load_items
from latlas.errors import InputError

RNG = np.random.default_rng(0)
INTEGER = Scaling("integer", scale=(255.0,))
GREY = Like("image", (1, 6, 5), INTEGER)
COLOUR = Like("image", (3, 6, 5), INTEGER)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path_factory.mktemp("cache")))


def like(dataset: Dataset) -> Like:
    return Like(dataset.kind, dataset.shape, dataset.scaling, dataset.columns, dataset.classes)


def picture(path: Path, value: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (20, 30), value).convert(mode).save(path)


@pytest.mark.parametrize("model", [GREY, COLOUR])
def test_a_folder_is_made_to_fit(tmp_path: Path, model: Like) -> None:
    for i, mode in enumerate(("RGB", "L", "RGB", "RGBA")):
        picture(tmp_path / f"{i}.png", 60 * i, mode)
    (tmp_path / "2.png").write_bytes(b"")
    options = DataOptions(source="x", limit=1)
    split = load_items(str(tmp_path), model, options)
    assert split.x.shape == (3, 6, 5, model.shape[0])
    assert split.index.tolist() == [0, 1, 3]
    assert split.x[:, 0, 0, 0].tolist() == [0, 60, 180]
    assert split.x.dtype == np.uint8
    with pytest.raises(InputError, match="1 broken file"):
        load_items(str(tmp_path), model, options.model_copy(update={"strict": True}))


def test_one_image_file(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 100)
    split = load_items(str(tmp_path / "a.jpg"), COLOUR, DataOptions())
    assert split.x.shape == (1, 6, 5, 3)
    assert (split.x == 100).all()
    with pytest.raises(InputError, match="a single image; give the folder"):
        load(DataOptions(source=str(tmp_path / "a.jpg")))


def test_files_for_a_model_trained_on_floats(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 51)
    floats = Like("image", (1, 6, 5), Scaling())
    np.testing.assert_allclose(load_items(str(tmp_path), floats, DataOptions()).x, 0.2)
    with pytest.raises(InputError, match="in units of its own"):
        load_items(str(tmp_path), Like("image", (1, 6, 5), Scaling("minmax")), DataOptions())


@pytest.mark.parametrize(
    "model", [Like("table", (4,), Scaling("standard")), Like("image", (2, 6, 5), INTEGER)]
)
def test_images_for_a_model_of_something_else(tmp_path: Path, model: Like) -> None:
    picture(tmp_path / "a.png", 51)
    for source in (tmp_path, tmp_path / "a.png"):
        with pytest.raises(InputError, match="image files do not fit this model"):
            load_items(str(source), model, DataOptions())


def test_labels_speak_the_models_classes(tmp_path: Path) -> None:
    for name in ("dog", "cat"):
        for i in range(2):
            picture(tmp_path / "x" / name / f"{i}.png", 10 * i)
    options = DataOptions()
    own = load_items(str(tmp_path / "x"), COLOUR, options)
    assert own.labels is not None
    assert own.labels.tolist() == [0, 0, 1, 1]
    model = Like("image", (3, 6, 5), INTEGER, classes=("ape", "dog", "cat"))
    labels = load_items(str(tmp_path / "x"), model, options).labels
    assert labels is not None
    assert labels.tolist() == [2, 2, 1, 1]
    (tmp_path / "x" / "cat").rename(tmp_path / "x" / "cow")
    assert load_items(str(tmp_path / "x"), model, options).labels is None


class Noted:
    """An observer that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None: ...


@pytest.fixture(params=["folder", "npz", "idx"])
def with_splits(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Like, dict[str, np.ndarray]]:
    """A source with training and test items, what fits them, and the first pixel of each."""
    if request.param == "folder":
        for part in ("train", "test"):
            for i in range(4):
                picture(tmp_path / part / f"{i}.png", 10 * i + (part == "test"))
        return str(tmp_path), GREY, {"train": 10 * np.arange(4), "test": 10 * np.arange(4) + 1}
    if request.param == "npz":
        x = RNG.integers(0, 256, (9, 6, 5)).astype(np.uint8)
        np.savez(tmp_path / "a.npz", x_train=x[:5], x_test=x[5:])
        return str(tmp_path / "a.npz"), GREY, {"train": x[:5, 0, 0], "test": x[5:, 0, 0]}
    arrays = write_set(tmp_path)
    x = {
        part: arrays[f"{name}-images-idx3-ubyte"][:, 0, 0]
        for part, name in (("train", "train"), ("test", "t10k"))
    }
    return str(tmp_path), Like("image", (1, 5, 4), INTEGER), x


@pytest.mark.parametrize("split", ["", "train", "test", "all"])
def test_the_split_of_a_source(with_splits: tuple[str, Like, dict[str, np.ndarray]], split: str) -> None:
    source, model, first = with_splits
    noted = Noted()
    items = load_items(source, model, DataOptions(), noted, split)
    every = np.concatenate([first["train"], first["test"]])
    expected = every if split == "all" else first[split or "test"]
    np.testing.assert_array_equal(items.x[:, 0, 0, 0], expected)
    assert len(np.unique(items.index)) == len(items)
    chosen, other = (split or "test"), ("test" if split == "train" else "train")
    count = len(first[other])
    said = f"its {chosen} split, {len(expected)} items; split = {other} or all takes others ({other} {count})"
    assert any(said in note for note in noted.notes) == (split != "all")


def test_a_split_that_a_source_lacks(
    with_splits: tuple[str, Like, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    source, model, _ = with_splits
    with pytest.raises(
        InputError, match=r"split = valid: .* has the splits train \(\d+ items\), test \(\d+ items\)"
    ):
        load_items(source, model, DataOptions(), split="valid")
    np.save(tmp_path / "pool.npy", np.zeros((9, 6, 5), np.uint8))
    for split in ("", "all"):
        assert len(load_items(str(tmp_path / "pool.npy"), GREY, DataOptions(), split=split)) == 9
    with pytest.raises(InputError, match=r"split = train: .*pool.npy has no splits of its own; leave it out"):
        load_items(str(tmp_path / "pool.npy"), GREY, DataOptions(), split="train")


def test_a_source_of_one_split_is_used_but_not_trained_on(tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / "test" / f"{i}.png", i)
    assert len(load_items(str(tmp_path), GREY, DataOptions())) == 4
    with pytest.raises(InputError, match="nothing to train on"):
        load(DataOptions(source=str(tmp_path)))


def test_labels_of_other_classes_are_left_out_and_said(tmp_path: Path) -> None:
    for name in ("dog", "cow"):
        picture(tmp_path / name / "0.png", 10)
    noted = Noted()
    model = Like("image", (3, 6, 5), INTEGER, classes=("ape", "dog"))
    assert load_items(str(tmp_path), model, DataOptions(), noted).labels is None
    assert "labels are left out: the model was trained without classes called cow" in noted.notes
    assert "2 classes from sub-folders: cow, dog" in noted.notes


@pytest.mark.parametrize("name", ["pipe", "pipe.npy", "pipe.npz", "pipe.csv", "pipe.tsv", "pipe.parquet", "pipe.png",
                                  "pipe-idx3-ubyte", "digits"])  # fmt: skip
@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_special_files_are_never_waited_for(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    for use in (
        lambda: load(DataOptions(source=str(path))),
        lambda: load_items(str(path), GREY, DataOptions()),
    ):
        with pytest.raises(InputError, match=f"{name}: {kind}, not a file; write its contents to a file"):
            use()


def test_a_broken_link_as_a_source(tmp_path: Path) -> None:
    (tmp_path / "a.npy").symlink_to("gone.npy")
    with pytest.raises(InputError, match=r"a.npy: a link to gone.npy, which is not there"):
        load(DataOptions(source=str(tmp_path / "a.npy")))


@pytest.mark.parametrize("source", ["a\0b", "x" * 5000, "~nobody-of-this-name/x", ""])
def test_what_is_no_path(source: str) -> None:
    with pytest.raises(InputError) as caught:
        load(DataOptions(source=source))
    assert str(caught.value).isprintable()


def test_a_path_is_a_path_and_a_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        picture(tmp_path / "digits" / f"{i}.png", 10 * i)
    for source in (
        "./digits",
        "digits/",
        as_source(Path("digits")),
        as_source(Path("digits/")),
        str(tmp_path / "digits"),
    ):
        assert load(DataOptions(source=source)).shape == (3, 30, 20)
        assert len(load_items(source, GREY, DataOptions())) == 12
    noted, note = Noted(), "digits is the named set; what lies here under that name is ./digits"
    dataset = load(DataOptions(source="digits"))
    assert dataset.shape == (1, 8, 8)
    assert note in dataset.notes
    assert len(load_items("digits", like(dataset), DataOptions(), noted)) == 1797
    assert note in noted.notes
    assert as_source("digits") == "digits"
    monkeypatch.chdir("/")
    assert not any("named set" in n for n in load(DataOptions(source="digits")).notes)


def test_a_path_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"br\xe9ken \n%41 dir")
    for i in range(12):
        picture(folder / f"{i}.png", 10 * i)
    first = load(DataOptions(source=str(folder)))
    options = DataOptions(source=str(folder))
    assert options.source.startswith("file:///")
    assert options.source == first.source == DataOptions(source=first.source).source
    assert first.source.isascii()
    assert load(DataOptions(source=first.source)).fingerprint == first.fingerprint
    assert len(load_items(str(folder), COLOUR, DataOptions())) == 12
    assert DataOptions(source="file:///x", data_dir="plain").data_dir == "plain"
    with pytest.raises(InputError, match=r"br\\xe9ken \\n%41 dir/no: no image|neither") as caught:
        load(DataOptions(source=str(folder / "no")))
    assert str(caught.value).isprintable()


def test_arrays(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (9, 6, 5)).astype(np.uint8)
    np.save(tmp_path / "a.npy", x)
    np.save(tmp_path / "flat.npy", x.reshape(9, -1))
    np.save(tmp_path / "wide.npy", x.astype(np.int64))
    np.savez(tmp_path / "parts.npz", train=x[:5], test=x[5:], test_y=np.arange(4))
    for name in ("a", "flat", "wide"):
        split = load_items(str(tmp_path / f"{name}.npy"), GREY, DataOptions())
        np.testing.assert_array_equal(split.x[..., 0], x)
        assert split.x.dtype == np.uint8
        assert split.index.tolist() == list(range(9))
    split = load_items(str(tmp_path / "parts.npz"), GREY, DataOptions())
    np.testing.assert_array_equal(split.x[..., 0], x[5:])
    assert split.labels is not None
    np.save(tmp_path / "bits.npy", x > 100)
    with pytest.raises(InputError, match=r"True and False; .* multiply them by 255"):
        load_items(str(tmp_path / "bits.npy"), GREY, DataOptions())
    planes = RNG.integers(0, 256, (9, 3, 6, 3)).astype(np.uint8)
    np.save(tmp_path / "planes.npy", planes)
    split = load_items(
        str(tmp_path / "planes.npy"), Like("image", (3, 6, 3), INTEGER), DataOptions(layout="NCHW")
    )
    np.testing.assert_array_equal(split.x, np.moveaxis(planes, 1, -1))


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((9, 7, 5), np.uint8))
    with pytest.raises(InputError, match=r"items of shape \(7, 5, 1\), and this model takes \(6, 5, 1\)"):
        load_items(str(tmp_path / "a.npy"), GREY, DataOptions())
    np.save(tmp_path / "b.npy", RNG.normal(size=(9, 6, 5)) * 5)
    with pytest.raises(InputError, match=r"values from .* this model takes whole numbers from 0 to 255"):
        load_items(str(tmp_path / "b.npy"), GREY, DataOptions())
    np.save(tmp_path / "c.npy", np.full((9, 6, 5), np.nan))
    with pytest.raises(InputError, match="NaN"):
        load_items(str(tmp_path / "c.npy"), GREY, DataOptions())
    with pytest.raises(InputError, match="neither a named set"):
        load_items(str(tmp_path / "d.npy"), GREY, DataOptions())


def test_table_columns_are_matched_by_name(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": RNG.normal(size=30), "b": RNG.normal(size=30), "kind": ["x", "y", "z"] * 10})
    table.to_csv(tmp_path / "train.csv", index=False)
    options = DataOptions(source=str(tmp_path / "train.csv"), label="kind")
    model = like(load(options))
    other = table[["kind", "b", "a"]].iloc[:4]
    other.to_csv(tmp_path / "other.csv", index=False)
    split = load_items(str(tmp_path / "other.csv"), model, options)
    np.testing.assert_allclose(split.x, table[["a", "b"]].to_numpy()[:4])
    assert split.labels is not None
    assert split.labels.tolist() == [0, 1, 2, 0]
    other.drop(columns="kind").to_csv(tmp_path / "bare.csv", index=False)
    assert load_items(str(tmp_path / "bare.csv"), model, options).labels is None
    other.drop(columns="a").to_csv(tmp_path / "less.csv", index=False)
    with pytest.raises(InputError, match="without column 'a' that the model needs"):
        load_items(str(tmp_path / "less.csv"), model, options)


def test_named_sets_and_idx_folders_give_their_test_split(tmp_path: Path) -> None:
    model = like(load(DataOptions()))
    split = load_items("fashion-mini", model, DataOptions(source="other", limit=3, label="y"))
    assert len(split) == 2000
    assert split.x.dtype == np.uint8
    with pytest.raises(InputError, match=r"items of shape \(8, 8, 1\), and this model takes \(28, 28, 1\)"):
        load_items("digits", model, DataOptions())
    arrays = write_set(tmp_path)
    split = load_items(str(tmp_path), Like("image", (1, 5, 4), INTEGER), DataOptions(layout="NHWC"))
    np.testing.assert_array_equal(split.x[..., 0], arrays["t10k-images-idx3-ubyte"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.txt", r"files of type \.txt cannot be read; expected \.npy"),
        ("a", r"files of type \(none\) cannot be read"),
    ],
)
def test_files_of_other_types(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match=message):
        load(DataOptions(source=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("my photos (2)", "my-photos-2"), ("...", "data"), ("grüße.v2", "gr-e.v2"), ("x" * 90, "x" * 40)],
)
def test_names_are_fit_for_folders(tmp_path: Path, name: str, expected: str) -> None:
    from latlas.data.load import safe_name

    (tmp_path / "in" / name).mkdir(parents=True)
    assert safe_name(tmp_path / "in" / name) == expected
