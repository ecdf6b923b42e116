"""Items of another source, read so that they fit a trained model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_data_idx import write_set

from latlas.data import DataOptions, Dataset, Like, Scaling, load, load_items
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


def test_a_folder_with_an_official_test_gives_that(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for i in range(6):
            picture(tmp_path / part / f"{i}.png", 10 * i)
    split = load_items(str(tmp_path), GREY, DataOptions())
    assert split.index.tolist() == list(range(6, 12))
    assert split.x[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]


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
    bits = load_items(str(tmp_path / "bits.npy"), GREY, DataOptions()).x
    assert INTEGER.apply(bits).max() == 1
    planes = RNG.integers(0, 256, (9, 3, 6, 3)).astype(np.uint8)
    np.save(tmp_path / "planes.npy", planes)
    split = load_items(
        str(tmp_path / "planes.npy"), Like("image", (3, 6, 3), INTEGER), DataOptions(layout="NCHW")
    )
    np.testing.assert_array_equal(split.x, np.moveaxis(planes, 1, -1))


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((9, 7, 5), np.uint8))
    with pytest.raises(InputError, match="items of 7x5x1, but the model was trained on 6x5x1"):
        load_items(str(tmp_path / "a.npy"), GREY, DataOptions())
    np.save(tmp_path / "b.npy", RNG.normal(size=(9, 6, 5)) * 5)
    with pytest.raises(
        InputError, match=r"this model takes floats inside \[0, 1\] or integers from 0 to 255"
    ):
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
    with pytest.raises(InputError, match="items of 8x8x1, but the model was trained on 28x28x1"):
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
