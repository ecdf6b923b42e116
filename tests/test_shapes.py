"""The shapes: every combination once, drawn as the factors say; and factors that travel with their items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latlas.data import DataOptions, Dataset, Like, load, load_items
from latlas.data.arrays import MOST_VALUES
from latlas.data.shapes import COLOURS, COUNTS, FACTORS, PLACES, SHAPES, SIZES, draw
from latlas.errors import InputError


@pytest.fixture(scope="module")
def shapes() -> Dataset:
    return load(DataOptions(source="shapes", validation=0))


def drawn(**factors: int) -> np.ndarray:
    """One image (32, 32, 3) as floats; factors that are not given are in the middle."""
    middle = {name: count // 2 for name, count in zip(FACTORS, COUNTS, strict=True)} | factors
    return draw(np.array([[middle[name] for name in FACTORS]]))[0].astype(float)


def test_every_combination_is_there_once_and_both_parts_hold_all_values(shapes: Dataset) -> None:
    assert (shapes.kind, shapes.shape, shapes.classes) == ("image", (3, 32, 32), SHAPES)
    assert shapes.factor_names == FACTORS
    train, test = shapes.train, shapes.test
    assert (len(train), len(test)) == (3686, 922)
    both = np.concatenate([train.factors, test.factors])
    assert len(np.unique(both, axis=0)) == len(both) == np.prod(COUNTS)
    for split in (train, test):
        assert [len(np.unique(v)) for v in split.factors.T] == list(COUNTS)
        np.testing.assert_array_equal(split.labels, split.factors[:, 0])
        np.testing.assert_array_equal(np.ravel_multi_index(tuple(split.factors.T), COUNTS), split.index)
        np.testing.assert_array_equal(split.x[:50], draw(split.factors[:50]))
    assert len({image.tobytes() for part in (train.x, test.x) for image in part}) == np.prod(COUNTS)


def test_it_is_the_same_set_each_time(shapes: Dataset) -> None:
    again = load(DataOptions(source="shapes", validation=0, seed=1))
    assert again.fingerprint == shapes.fingerprint  # the test split is part of the set, whatever the seed
    assert load(DataOptions(source="shapes")).fingerprint != shapes.fingerprint


def test_each_factor_moves_what_its_name_says() -> None:
    rows, columns = np.mgrid[:32, :32] + 0.5
    for i, place in enumerate(PLACES):
        for shape in (0, 1):  # the heart's middle is that of its height, not of its mass
            image = drawn(shape=shape, x=i, y=2).sum(2)
            middle = [(image * grid).sum() / image.sum() for grid in (columns, rows)]
            assert middle == pytest.approx([place, PLACES[2]])
    for i, size in enumerate(SIZES):
        for shape in range(len(SHAPES)):
            image = drawn(shape=shape, size=i, colour=0)[..., 0] / COLOURS[0][0]
            assert image.sum() == pytest.approx(4 * size**2, rel=0.02)
    for i, colour in enumerate(COLOURS):
        np.testing.assert_array_equal(drawn(colour=i)[16, 16], colour)
    np.testing.assert_array_equal(drawn(shape=2, x=3), drawn(shape=2, x=4)[:, ::-1])
    heart = drawn(shape=2, size=3, y=3).sum(2) + drawn(shape=2, size=3, y=4).sum(2)
    assert heart[:16].sum() > heart[16:].sum()  # two lobes above, a point below


def test_shapes_are_smooth_and_stay_inside() -> None:
    corners = np.array([[s, 0, 3, x, y] for s in range(3) for x in (0, 7) for y in (0, 7)])
    images = draw(corners)
    assert images[:, [0, 31]].max() == 0
    assert set(np.unique(drawn(shape=1, colour=0)[..., 0])) > {
        0,
        COLOURS[0][0],
    }  # values between at the edges
    whole = draw(np.array([[1, 0, 3, 3, 3]]))[0].astype(int).sum()
    assert images[corners[:, 0] == 1].astype(int).sum((1, 2, 3)) == pytest.approx(whole, rel=0.02)


def test_a_bad_option_is_refused() -> None:
    with pytest.raises(InputError, match="shapes: images are 32x32; image_size is for"):
        load(DataOptions(source="shapes", image_size=(16, 16)))


def test_items_for_a_trained_model_keep_their_factors(shapes: Dataset) -> None:
    like = Like(shapes.kind, shapes.shape, shapes.scaling, classes=shapes.classes)
    np.testing.assert_array_equal(load_items("shapes", like, DataOptions()).factors, shapes.test.factors)


# Factors of one's own


def arrays(n: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.random((n, 3)), "factors": np.stack([np.arange(n) % 4, np.arange(n) // 10], axis=1)}


def read(path: Path, **content: np.ndarray) -> Dataset:
    np.savez(path / "mine.npz", **content)
    return load(DataOptions(source=str(path / "mine.npz")))


def test_factors_in_an_npz_follow_their_items(tmp_path: Path) -> None:
    given = arrays()
    dataset = read(tmp_path, **given, factor_names=np.array(["hue", "place"]))
    assert dataset.factor_names == ("hue", "place")
    assert not any("not used" in note for note in dataset.notes)
    for split in (dataset.train, dataset.valid, dataset.test):
        np.testing.assert_array_equal(split.factors, given["factors"][split.index])
    first = dataset.train.take(slice(0, 3))
    np.testing.assert_array_equal(first.factors, given["factors"][first.index])
    assert read(tmp_path, **given).factor_names == ("0", "1")
    small = given | {"factors": given["factors"].astype(np.uint8)}
    assert read(tmp_path, **small).fingerprint == read(tmp_path, **given).fingerprint


def test_factors_of_official_parts(tmp_path: Path) -> None:
    a, b = arrays(), arrays(20)
    parts = {"train": a["x"], "train_factors": a["factors"], "test": b["x"], "test_factors": b["factors"]}
    dataset = read(tmp_path, **parts)
    np.testing.assert_array_equal(dataset.test.factors, b["factors"])
    del parts["test_factors"]
    assert read(tmp_path, **parts).test.factors is None
    with pytest.raises(InputError, match="train_factors, test_factors have different numbers of columns"):
        read(tmp_path, **parts, test_factors=b["factors"][:, :1])


def test_without_factors_nothing_changes(tmp_path: Path) -> None:
    dataset = load(DataOptions(source="digits"))
    assert dataset.factor_names is None
    assert dataset.train.factors is None
    # The fingerprint before there were factors: runs made then are still of the same data.
    assert dataset.fingerprint == "86dd64ec522c736472a804e0bac508743d16a07155172815af30e5ea628476da"
    given = arrays()
    plain = read(tmp_path, x=given["x"], factor_names=np.array(["a", "b"]))
    assert plain.train.factors is None
    assert "arrays not used: factor_names" in plain.notes
    other = given | {"factors": given["factors"][:, ::-1]}
    assert len({d.fingerprint for d in (plain, read(tmp_path, **given), read(tmp_path, **other))}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": np.arange(40)}, "factors of shape 40; expected 40 rows, one column for each factor"),
        ({"factors": np.zeros((39, 2), int)}, "factors of shape 39x2; expected 40 rows"),
        ({"factors": np.zeros((40, 0), int)}, "factors of shape 40x0; expected 40 rows"),
        ({"factors": np.zeros((40, 2))}, "factors: values of type float64; expected integers"),
        ({"factors": np.full((40, 1), "red")}, "factors: values of type <U3; expected integers"),
        ({"factor_names": np.array(["a"])}, "factor_names must be 2 different texts"),
        ({"factor_names": np.array(["a", "a"])}, "factor_names must be 2 different texts"),
        ({"factor_names": np.array([1, 2])}, "factor_names must be 2 different texts"),
    ],
)
def test_bad_factors_are_refused(tmp_path: Path, change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=f"mine.npz: {message}") as caught:
        read(tmp_path, **(arrays() | change))
    assert "\n" not in str(caught.value)


def test_a_row_number_is_no_factor(tmp_path: Path) -> None:
    n = MOST_VALUES + 1
    with pytest.raises(InputError, match=f"a column has {n} values; a factor has at most {MOST_VALUES}"):
        read(tmp_path, x=arrays(n)["x"], factors=np.arange(n)[:, None])
