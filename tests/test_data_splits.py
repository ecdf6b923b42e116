"""Splits: disjoint, covering, official first, the same for the same seed; test never trains."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.data import DataOptions, Split, is_labelled
from latlas.data.splits import Raw, as_split, assemble, code_labels, split_parts
from latlas.errors import InputError


def raw(**counts: int) -> Raw:
    """Parts of the given sizes; each item's value says where it came from."""
    parts = {
        part: as_split(np.arange(n, dtype=float)[:, None] + 1000 * i, np.arange(n))
        for i, (part, n) in enumerate(counts.items())
    }
    return Raw("x", "x.npy", parts)


def options(**fields: object) -> DataOptions:
    return DataOptions(source="x.npy", **fields)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(5, 400),
    st.one_of(st.none(), st.floats(0, 0.6)),
    st.floats(0.01, 0.3),
    st.integers(0, 5),
)
def test_a_pool_is_split_whole_and_disjoint(n: int, validation: float | None, test: float, seed: int) -> None:
    parts, notes = split_parts(raw(train=n), options(validation=validation, test=test, seed=seed))
    indices = [parts[p].index for p in ("train", "valid", "test")]
    assert sorted(np.concatenate(indices).tolist()) == list(range(n))
    for index in indices:
        assert (np.diff(index) > 0).all()  # in the source's order
    assert len(parts["test"]) == max(1, round(test * n))
    rest = n - len(parts["test"])
    share = 0.1 if validation is None else validation
    count = 0 if validation == 0 else max(1, round(share * rest))
    # One draw of all, one of the rest: runs of any version have the same splits.
    drawn = np.random.default_rng((seed, 1)).permutation(n)[: len(parts["test"])]
    np.testing.assert_array_equal(parts["test"].index, np.sort(drawn))
    left = np.setdiff1d(np.arange(n), drawn)
    drawn = left[np.random.default_rng((seed, 2)).permutation(rest)[:count]]
    np.testing.assert_array_equal(parts["valid"].index, np.sort(drawn))
    assert notes
    for split in parts.values():
        np.testing.assert_array_equal(split.x[:, 0], split.index)
        np.testing.assert_array_equal(split.labels, split.index)


def test_nothing_is_held_out_for_testing_where_none_is_asked_for() -> None:
    """What stands in the place of the test split is said, and the other splits cover the pool."""
    parts, notes = split_parts(raw(train=40), options(test=0))
    assert [len(parts[part]) for part in ("train", "valid", "test")] == [36, 4, 0]
    assert any(
        "nothing is held out; numbers and pictures are of the validation items" in note for note in notes
    )
    dataset = assemble(raw(train=40), options(test=0, validation=0))
    assert (len(dataset.train), dataset.measured) == (40, "train")
    assert any("of the training items" in note for note in dataset.notes)
    assert assemble(raw(train=40), options(test=0)).measured == "valid"
    assert assemble(raw(train=40), options()).measured == "test"
    official, notes = split_parts(raw(train=40, test=9), options(test=0))
    assert len(official["test"]) == 9
    assert any("stay out whatever data.test is" in note for note in notes)


def test_seeds_repeat_and_differ_and_test_ignores_validation() -> None:
    a, b, c = (split_parts(raw(train=200), options(seed=s))[0] for s in (0, 0, 1))
    np.testing.assert_array_equal(a["train"].index, b["train"].index)
    assert a["test"].index.tolist() != c["test"].index.tolist()
    d, _ = split_parts(raw(train=200), options(validation=0.5))
    np.testing.assert_array_equal(a["test"].index, d["test"].index)
    e, _ = split_parts(raw(train=200, test=5), options())
    assert len(np.intersect1d(a["test"].index, e["valid"].index)) < 10  # not the same draw


@pytest.mark.parametrize("validation", [None, 0, 0.25])
@pytest.mark.parametrize("official", [("test",), ("valid",), ("valid", "test"), ()])
def test_official_splits_come_first(validation: float | None, official: tuple[str, ...]) -> None:
    counts = {"train": 100} | dict.fromkeys(official, 20)
    source = raw(**counts)
    parts, notes = split_parts(source, options(validation=validation))
    train = 100
    if "test" in official:
        assert parts["test"] is source.parts["test"]
    else:
        assert len(parts["test"]) == 10
        train -= 10
    if validation == 0:
        assert len(parts["valid"]) == 0
        assert parts["valid"].x.shape == (0, 1)
    elif "valid" in official and validation is None:
        assert parts["valid"] is source.parts["valid"]
    else:
        held = round(train * (validation or 0.1))
        assert len(parts["valid"]) == held
        train -= held
    assert len(parts["train"]) == train
    assert len(notes) == ("test" not in official) + (validation is not None or "valid" not in official)


def test_limit_takes_the_first_after_validation_is_held_out() -> None:
    full, _ = split_parts(raw(train=100, test=20), options())
    cut, notes = split_parts(raw(train=100, test=20), options(limit=7))
    np.testing.assert_array_equal(cut["train"].index, full["train"].index[:7])
    np.testing.assert_array_equal(cut["valid"].index, full["valid"].index)
    np.testing.assert_array_equal(cut["test"].index, full["test"].index)
    assert "training on the first 7 of 90 items" in notes
    more, _ = split_parts(raw(train=100, test=20), options(limit=1000))
    assert len(more["train"]) == 90


@pytest.mark.parametrize(
    ("counts", "fields", "message"),
    [
        ({"train": 1}, {}, "1 item is too few to hold 1 out for test and train on at least 2"),
        ({"train": 2}, {}, "2 items are too few to hold 1 out for test"),
        ({"train": 3}, {}, "2 items are too few to hold 1 out for validation"),
        ({"train": 1, "test": 5}, {"validation": 0}, "1 training item; at least 2"),
        (
            {"train": 10, "test": 5},
            {"validation": 0.99},
            "10 items are too few to hold 10 out for validation",
        ),
        ({"train": 10}, {"limit": 1}, "1 training item; at least 2"),
    ],
)
def test_too_few_items(counts: dict[str, int], fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"^x.npy: {message}"):
        split_parts(raw(**counts), options(**fields))


def test_three_items_are_enough_without_validation() -> None:
    parts, _ = split_parts(raw(train=3), options(validation=0))
    assert (len(parts["train"]), len(parts["test"])) == (2, 1)


def test_the_fingerprint_follows_content_and_split() -> None:
    def of(source: Raw, **fields: object) -> str:
        return assemble(source, options(**fields)).fingerprint

    source = raw(train=50)
    first = of(source)
    assert first == of(raw(train=50))
    assert len(first) == 64
    changed = source.parts["train"].x.copy()
    changed[17] += 1e-9
    assert of(Raw("x", "x.npy", {"train": as_split(changed, np.arange(50))})) != first
    assert of(Raw("x", "x.npy", {"train": as_split(source.parts["train"].x)})) != first
    assert of(source, seed=1) != first


def test_parts_must_fit_together() -> None:
    parts = {
        "train": as_split(np.random.default_rng(0).normal(size=(20, 3))),
        "test": as_split(np.zeros((5, 4))),
    }
    with pytest.raises(InputError, match="test items of 4, training items of 3"):
        assemble(Raw("x", "x.npy", parts), options())
    x = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(InputError, match="20 train items but 19 labels"):
        assemble(Raw("x", "x.npy", {"train": Split(x, np.arange(19), np.arange(20))}), options())
    parts = {"train": as_split(x), "test": as_split(x[:0])}
    with pytest.raises(InputError, match=r"x.npy, test: empty"):
        assemble(Raw("x", "x.npy", parts), options())


@pytest.mark.parametrize(
    ("labels", "codes", "classes"),
    [
        ([5, 3, 5], [1, 0, 1], ("3", "5")),
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
        ([True, False, True], [1, 0, 1], ("False", "True")),
    ],
)
def test_labels_become_codes(labels: list[object], codes: list[int], classes: tuple[str, ...]) -> None:
    (found,), names = code_labels([np.array(labels)], "x")
    assert found is not None
    assert found.dtype == np.int64
    assert (found.tolist(), names) == (codes, classes)


@pytest.mark.parametrize(
    ("labels", "codes", "classes"),
    [
        (np.array([b"b", b"a", b""]), [1, 0, -1], ("a", "b")),
        (np.array(["b", "", "a"]), [1, -1, 0], ("a", "b")),
        (np.array([b"b\xff", None], object), [0, -1], ("b\\xff",)),
        (np.array([True, None, False], object), [1, -1, 0], ("False", "True")),
        (np.array([3, np.nan, 1], object), [1, -1, 0], ("1", "3")),
        (np.array([3, np.nan, 1]), [1, -1, 0], ("1", "3")),
        (np.array([3.5, np.nan, 1]), [3.5, np.nan, 1], None),
        (np.array([Decimal("0.5"), None], object), [0.5, np.nan], None),
        (np.array(["nan", "None", "NA"]), [2, 1, 0], ("NA", "None", "nan")),
        (np.array([None, None]), [-1, -1], ()),
        (np.array([np.nan, *np.arange(300.0)]), [np.nan, *np.arange(300.0)], None),
    ],
)
def test_labels_may_be_missing(
    labels: np.ndarray, codes: list[float], classes: tuple[str, ...] | None
) -> None:
    (found,), names = code_labels([labels], "x")
    assert names == classes
    assert found is not None
    np.testing.assert_array_equal(found, codes)
    known = is_labelled(found)
    assert known.sum() == np.sum([c == c and c != -1 for c in codes])
    assert Split(np.zeros(len(found)), found, np.arange(len(found))).has_classes == (len(classes or ()) > 1)


def test_missing_labels_are_counted_and_labels_that_all_are_left_out() -> None:
    x = np.random.default_rng(0).normal(size=(30, 2))
    labels = np.where(np.arange(30) % 3, -1, np.arange(30) % 2)
    parts = {"train": as_split(x[:20], labels[:20]), "test": as_split(x[20:], labels[20:])}
    dataset = assemble(Raw("a", "a", parts, ("no", "yes")), DataOptions())
    assert (
        "labels: 10 of 30 items have one (of 2 classes); the others are trained on without" in dataset.notes
    )
    parts = {part: replace(split, labels=np.full(len(split), np.nan)) for part, split in parts.items()}
    dataset = assemble(Raw("a", "a", parts), DataOptions())
    assert "labels: every one is missing" in dataset.notes
    assert (dataset.train.labels, dataset.valid.labels, dataset.test.labels) == (None, None, None)


def test_labels_that_are_numbers_missing_or_shared() -> None:
    (found,), names = code_labels([np.array([0.5, 2.0])], "x")
    assert names is None
    assert found is not None
    assert found.dtype == np.float64
    (found,), names = code_labels([np.arange(300)], "x")
    assert names is None
    assert code_labels([None], "x") == ([None], None)
    (a, b, c), names = code_labels([np.array([2, 9]), None, np.array([4])], "x")
    assert names == ("2", "4", "9")
    assert (a.tolist(), b, c.tolist()) == ([0, 2], None, [1])  # type: ignore[union-attr]
    for bad in (np.array([np.inf, 1]), np.zeros((3, 2)), np.array([1j])):
        with pytest.raises(InputError, match="labels"):
            code_labels([bad], "x")
