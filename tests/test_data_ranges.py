"""What dtype and values are taken for, and that only the training split decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.data import DataOptions, Dataset, Scaling, Split
from latlas.data.ranges import Beyond, beyond, beyond_note, check_fit, check_numeric, convert, decide
from latlas.data.splits import Raw, as_split, assemble
from latlas.errors import InputError

RNG = np.random.default_rng(0)
BITS = RNG.integers(0, 2, (40, 6, 5, 1))


def build(x: np.ndarray, test: np.ndarray | None = None, **options: object) -> Dataset:
    parts = {"train": as_split(x)} | ({} if test is None else {"test": as_split(test)})
    return assemble(Raw("x", "x.npy", parts), DataOptions(source="x.npy", **options))  # type: ignore[arg-type]


CASES = {
    "bool images": (BITS.astype(bool), "image", True, "none", np.uint8),
    "0/1 uint8 images": (BITS.astype(np.uint8), "image", True, "none", np.uint8),
    "0/1 float images": (BITS.astype(np.float32), "image", True, "none", np.uint8),
    "0/1 int64 vectors": (BITS.reshape(40, -1), "vector", True, "none", np.uint8),
    "0/1 float vectors": (BITS.reshape(40, -1) * 1.0, "vector", True, "none", np.uint8),
    "uint8 images": ((BITS * 7).astype(np.uint8), "image", False, "integer", np.uint8),
    "a uint8 table": ((BITS * 7).astype(np.uint8).reshape(40, -1), "table", False, "standard", np.float64),
    "uint16 images": ((BITS * 700).astype(np.uint16), "image", False, "integer", np.uint16),
    "big-endian uint16 images": ((BITS * 700).astype(">u2"), "image", False, "integer", np.uint16),
    "uint16 images of bytes": ((BITS * 7).astype(np.uint16), "image", False, "integer", np.uint8),
    "int64 images of bytes": (BITS * 255, "image", False, "integer", np.uint8),
    "int64 images beyond bytes": (BITS * 256, "image", False, "minmax", np.float32),
    "negative int images": (-BITS, "image", False, "minmax", np.float32),
    "float images in [0, 1]": (BITS * 0.5, "image", False, "none", np.float32),
    "float16 images in [0, 1]": ((BITS * 0.5).astype(np.float16), "image", False, "none", np.float32),
    "float images outside": (BITS * 1.5 - 0.5, "image", False, "minmax", np.float32),
    "a float32 table": (RNG.normal(size=(40, 3)).astype(np.float32), "table", False, "standard", np.float32),
    "a float64 table": (RNG.normal(size=(40, 3)), "table", False, "standard", np.float64),
    "an int table": (RNG.integers(0, 200, (40, 3)), "table", False, "standard", np.float64),
    "floats in [0, 1], (N, D)": (RNG.uniform(size=(40, 3)), "table", False, "standard", np.float64),
}


@pytest.mark.parametrize("case", list(CASES))
def test_kind_scaling_and_dtype(case: str) -> None:
    x, kind, binary, scaling, dtype = CASES[case]
    dataset = build(x)
    assert (dataset.kind, dataset.binary, dataset.scaling.kind) == (kind, binary, scaling)
    assert dataset.train.x.dtype == dtype
    assert dataset.shape == ((x.shape[3], *x.shape[1:3]) if x.ndim == 4 else x.shape[1:])
    y = dataset.scaling.apply(dataset.train.x)
    if kind != "table":
        assert y.min() >= 0
        assert y.max() <= 1
    if scaling in ("minmax",):
        assert (y.min(), y.max()) == (0, 1)
    if kind == "table":
        np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(y.std(0), 1, atol=1e-5)


def test_exact_values_on_the_models_scale() -> None:
    x = (BITS * 51).astype(np.uint8)
    assert build(x).scaling.apply(x).max() == np.float32(0.2)
    wide = (BITS * 13107).astype(np.uint16)
    np.testing.assert_allclose(build(wide, bits=16).scaling.apply(wide).max(), 0.2, rtol=1e-6)
    assert build(BITS.astype(bool)).scaling.apply(build(BITS).train.x).max() == 1  # not divided by 255


@pytest.mark.parametrize(("bits", "highest"), [(8, 200), (8, 255), (9, 256), (10, 1023), (12, 4095), (12, 2048),
                                                (14, 16000), (16, 32768), (16, 65535)])  # fmt: skip
@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_values_in_sixteen_bits_are_on_the_scale_that_holds_them(bits: int, highest: int, dtype: str) -> None:
    """Of a camera's 10, 12 or 14 bits the brightest are white, whatever is stored around them."""
    x = RNG.integers(0, highest + 1, (40, 6, 5, 1)).astype(dtype)
    x[:, 0, 0] = highest  # in every split
    for items in (x, x.reshape(40, -1)):
        dataset = build(items, kind="image" if items.ndim == 4 else "vector")
        assert dataset.scaling == Scaling("integer", scale=(2.0**bits - 1,))
        np.testing.assert_allclose(
            dataset.scaling.apply(dataset.train.x), items[dataset.train.index] / (2**bits - 1), rtol=1e-6
        )
        assert any(f"read as {bits} bits, divided by {2**bits - 1:,}" in n for n in dataset.notes)
    assert build(x, bits=16).scaling.scale == (65535.0,)
    dark = x // 2
    assert build(dark, bits=bits).scaling == build(x).scaling
    # Eight bits of the model are its own; wide values stay on the scale of the training data.
    scaling = build(x).scaling
    assert scaling.apply(check_fit(x[:1] // 2, scaling, "x")).max() == pytest.approx(
        highest // 2 / (2**bits - 1)
    )
    if bits < 16:
        with pytest.raises(InputError, match=f"takes whole numbers from 0 to {2**bits - 1}"):
            check_fit(x * 0 + 2**bits, scaling, "x")


def test_the_scale_of_sixteen_bits_comes_from_the_training_data() -> None:
    x = (RNG.integers(0, 2048, (40, 6, 5, 1))).astype(np.uint16)
    x[:, 0, 0] = 2000
    brighter = x.copy()
    brighter[3, 0, 0] = 4095  # wherever it is held out, the items come from one source
    for seed in range(12):
        assert build(brighter, seed=seed).scaling.scale == (4095.0,)
    assert build(x, test=x // 2).scaling.scale == (2047.0,)
    with pytest.raises(InputError, match=r"test: uint16 values .* to 8[0-9]+, .* 0 to 2047; data.bits = 16"):
        build(x, test=x * 4)
    assert build(x, test=x * 4, bits=16).scaling.scale == (65535.0,)


def test_bits_that_do_not_fit_are_refused() -> None:
    x = (RNG.integers(0, 5000, (40, 6, 5, 1))).astype(np.uint16)
    with pytest.raises(InputError, match=r"data.bits = 12: x.npy: values up to 4,\d+, more than fit"):
        build(x, bits=12)
    for other in (x / 5000, (x // 20).astype(np.uint8), x.astype(np.int64)):
        with pytest.raises(InputError, match=r"data.bits = 12: x.npy: only unsigned 16-bit values have it"):
            build(other, bits=12)


@settings(max_examples=40, deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(1e-2, 1e4), st.integers(0, 9))
def test_scaling_comes_from_training_alone(shift: float, width: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = (rng.uniform(size=(20, 3, 2, 1)) * width + shift).astype(np.float32)
    images[:, 0, :, 0] = shift, shift + width  # so that no split lies inside [0, 1] while another does not
    table = rng.normal(size=(20, 3)) * width + shift
    for x in (images, table):
        low, high = float(x.min()), float(x.max())
        tests = [np.clip(rng.permutation(x), low, high), x * 0 + high]
        if x is images and build(x, tests[0]).scaling.kind == "minmax":
            tests.append(np.concatenate([x[:12], x[12:] + width * 7]))
        a, *others = [build(x, t, validation=0.2) for t in tests]
        for b in others:
            assert a.scaling == b.scaling
            np.testing.assert_array_equal(a.train.x, b.train.x)
            np.testing.assert_array_equal(a.train.index, b.train.index)
        seen = a.train.x
        if a.scaling.kind == "minmax":
            assert (a.scaling.shift[0], a.scaling.shift[0] + a.scaling.scale[0]) == pytest.approx(
                (float(seen.min()), float(seen.max())), rel=1e-5
            )
        if a.scaling.kind == "standard":
            np.testing.assert_allclose(a.scaling.shift, seen.mean(0))
            np.testing.assert_allclose(a.scaling.scale, seen.std(0))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            BITS.astype(np.uint8),
            (BITS * 3).astype(np.uint8),
            "test: values from 0 to 3, but the training values are",
        ),
        (BITS * 0.5, BITS * 2.0, r"test: values from 0 to 2, but the training values lie inside \[0, 1\]"),
        (
            (BITS * 9).astype(np.uint8),
            BITS * 0.5,
            "test: float64 values .* training has integers from 0 to 255",
        ),
        (BITS * 9, BITS * 300, "test: int64 values from 0 to 300, training has integers"),
    ],
)
def test_a_test_split_of_another_range_is_refused(train: np.ndarray, test: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(train, test)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((20, 3, 3, 1), np.uint8), "x.npy: every training value is 0"),
        (np.full((20, 3), 0.5), "every training value is 0.5"),
        (np.ones((20, 3), bool), "every training value is 1"),
        (np.stack([np.arange(20.0), np.ones(20)], 1), "x.npy: column 1 constant in training"),
        (np.stack([np.arange(20.0)] + [np.ones(20)] * 7, 1), "columns 1, 2, 3, 4, 5 and 2 more constant"),
        (np.zeros((20, 3)) * 1j, "complex"),
        (np.array([["a"]] * 20), "values of type <U1"),
        (np.zeros((20, 3), "datetime64[s]"), "values of type datetime64"),
        (np.zeros((20, 3), object), "values of type object"),
        (np.zeros((0, 3)), "empty, of shape 0x3"),
        (np.zeros((20, 0)), "empty, of shape 20x0"),
        (np.where(np.arange(60).reshape(20, 3) == 21, np.nan, 1.0), r"1 of 20 items \(first: item 7\)"),
        (np.full((20, 3), np.inf), "20 of 20 items"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(x: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build(x)
    assert "\n" not in str(caught.value)


def test_what_never_varies_may_be_kept() -> None:
    x = np.stack([np.arange(20.0), np.full(20, 0.1)], 1)
    dataset = build(x, constant="keep")
    assert (dataset.scaling.shift[1], dataset.scaling.scale[1]) == (0.1, 1.0)
    np.testing.assert_array_equal(dataset.scaling.apply(dataset.train.x)[:, 1], 0)
    assert any("1 of them never vary in training" in note for note in dataset.notes)


def test_choices_are_said() -> None:
    assert any("scaled to [0, 1] by that range" in n for n in build(BITS * 3.0 - 1).notes)
    assert any("read as uint8" in n for n in build(BITS * 9).notes)
    assert any("a table of 3 columns" in n for n in build(RNG.normal(size=(40, 3))).notes)


@pytest.mark.parametrize("name", ["uint8", "int32", "int64", "float32", ">f8", ">i2"])
def test_flattened_images_are_told_from_tables_by_their_values(name: str) -> None:
    pixels = np.minimum(255, np.random.default_rng(0).integers(0, 400, (50, 64)))
    dataset, same = (build(pixels.astype(dtype)) for dtype in (name, "uint8"))
    assert (dataset.kind, dataset.scaling) == ("vector", Scaling("integer", scale=(255.0,)))
    assert dataset.fingerprint == same.fingerprint
    assert "read as pixels; data.kind = table" in dataset.notes[0]
    for table in (pixels[:, :63], pixels // 3, pixels * 2, np.where(np.arange(64) < 40, pixels // 3, pixels)):
        assert build(table.astype(name) if table.max() < 256 else table).kind == "table"


@pytest.mark.parametrize("name", [">u2", ">i4", ">f4", ">f8"])
def test_byte_order_does_not_matter(name: str) -> None:
    x = (BITS * 300 + RNG.integers(0, 99, BITS.shape)).astype(name)
    for items in (x, x.reshape(40, -1), x / x.dtype.type(400)):
        one, other = build(items), build(items.astype(items.dtype.newbyteorder("=")))
        assert (one.fingerprint, one.scaling, one.kind) == (other.fingerprint, other.scaling, other.kind)
        assert one.train.x.dtype.isnative


@pytest.mark.parametrize(
    ("x", "kind", "expected", "scaling"),
    [
        (RNG.integers(0, 200, (40, 3)), "vector", "vector", "integer"),
        (RNG.integers(0, 200, (40, 3)) * 1.0, "vector", "vector", "integer"),
        (RNG.uniform(size=(40, 3)), "vector", "vector", "none"),
        (RNG.normal(size=(40, 3)), "vector", "vector", "minmax"),
        (BITS.reshape(40, -1), "table", "table", "standard"),
        (BITS.reshape(40, -1), "vector", "vector", "none"),
        (BITS, "image", "image", "none"),
    ],
)
def test_the_kind_may_be_said(x: np.ndarray, kind: str, expected: str, scaling: str) -> None:
    dataset = build(x, kind=kind)
    assert (dataset.kind, dataset.scaling.kind) == (expected, scaling)


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (BITS, "table", "data.kind = table: x.npy: the items are images"),
        (BITS, "vector", "data.kind = vector: x.npy: the items are images"),
        (RNG.normal(size=(40, 3)), "image", "say data.image_size = HxW"),
    ],
)
def test_a_kind_that_the_data_are_not(x: np.ndarray, kind: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(x, kind=kind)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "scaling",
    [
        Scaling(), Scaling("integer", scale=(255.0,)), Scaling("integer", scale=(65535.0,)),
        Scaling("minmax", (-1.0,), (2.0,)), Scaling("standard", (5.0, 1.7e9, 0.0), (0.1, 30.0, 2.0)),
    ],
)  # fmt: skip
def test_the_models_scale_and_back(scaling: Scaling, dtype: type) -> None:
    y = np.random.default_rng(0).uniform(-3, 4, (9, 3)).astype(dtype)
    np.testing.assert_allclose(scaling.apply(scaling.invert(y)), y, rtol=1e-5, atol=1e-5)


def test_values_beyond_the_training_range_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latlas.data.ranges._BLOCK", 7)
    x, unit = np.zeros((50, 4, 1, 1)), Scaling("minmax", (-1.0,), (2.0,))
    assert beyond(x, unit) == Beyond(0, 0)
    x[3, 1], x[3, 2], x[40, 0], x[41, 0] = 5, -2, 1.5, 1 + 1e-6  # the last is rounding
    assert beyond(x, unit) == Beyond(3, 2, 5.0)
    assert beyond_note(x, unit) == (
        "3 values in 2 of 50 items beyond the training range -1 to 1 (farthest: 5); not clipped"
    )
    rows, columns = np.zeros((50, 2)), Scaling("standard", (0.0, 0.0), (1.0, 3.0))
    rows[7], rows[8, 0] = (-11, 29), 9
    assert beyond(rows, columns) == Beyond(1, 1, -11.0, 0)
    assert "(farthest: -11 in column 'a'); not clipped" in beyond_note(rows, columns, ("a", "b"))
    assert beyond(x, Scaling()) == beyond(x, INTEGER) == Beyond(0, 0)


def test_a_held_out_split_beyond_the_training_range_is_said() -> None:
    x = RNG.uniform(-1, 1, (40, 3, 3, 1))
    test = x[:10].copy()
    test[2, 0, 0] = 7
    notes = build(x, test).notes
    assert any(n.startswith("test: 1 value in 1 of 10 items beyond the training range") for n in notes)


def test_large_arrays_are_checked_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latlas.data.ranges._BLOCK", 7)
    x = np.zeros((50, 4))
    x[49, 3] = np.nan
    with pytest.raises(InputError, match="1 of 50 items"):
        check_numeric(x, "x")
    x[49, 3] = 2
    assert not decide(np.ascontiguousarray(x[:, None, :, None]), "x").binary
    x[49, 3] = 1
    assert decide(x, "x").binary


def test_conversion_leaves_fitting_values_alone() -> None:
    x = (BITS * 9).astype(np.uint8)
    assert convert(x, decide(x, "x"), "x") is x
    assert convert(x[:0], decide(x, "x"), "x").shape == (0, 6, 5, 1)


INTEGER, WIDE = Scaling("integer", scale=(255.0,)), Scaling("integer", scale=(65535.0,))


@pytest.mark.parametrize(
    ("x", "scaling", "dtype"),
    [
        (np.array([[0, 255]], np.uint8), INTEGER, np.uint8),
        (np.array([[0, 255]]), INTEGER, np.uint8),
        (np.array([[0, 200.5]]), INTEGER, np.float64),
        (np.array([[0, 1]]), INTEGER, np.uint8),
        (np.array([[0, 65535]]), WIDE, np.uint16),
        (np.array([[0, 1]], np.uint8), Scaling(), np.float32),
        (np.array([[-3.0, 8]]), Scaling("minmax", (0.0,), (2.0,)), np.float64),
        (np.array([[-3, 8]]), Scaling("standard", (0.0, 0.0), (1.0, 1.0)), np.float64),
    ],
)
def test_items_for_a_trained_model_keep_their_values(x: np.ndarray, scaling: Scaling, dtype: type) -> None:
    y = check_fit(x, scaling, "x")
    assert y.dtype == dtype
    np.testing.assert_array_equal(x, y)
    scaling.apply(y)


@pytest.mark.parametrize(
    ("x", "scaling", "message"),
    [
        (np.array([[0, 256]]), INTEGER, "whole numbers from 0 to 255"),
        (np.array([[0, -1]]), WIDE, "whole numbers from 0 to 65535"),
        (np.array([[0, 0.5]]), INTEGER, r"floats inside \[0, 1\]; .* multiply them by 255"),
        (np.array([[False, True]]), INTEGER, "True and False; .* multiply them by 255"),
        (np.array([[0, 255]], np.uint8), WIDE, "8-bit values; .* multiply them by 257"),
        (np.array([[0, 9]]), Scaling(), r"1 of 2 outside; this model takes values inside \[0, 1\]$"),
        (np.array([[0, 255]]), Scaling(), r"values inside \[0, 1\]; divide them by 255$"),
    ],
)
def test_items_of_another_range_are_refused(x: np.ndarray, scaling: Scaling, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_fit(x, scaling, "x")


def test_split_take() -> None:
    split = Split(np.arange(6).reshape(3, 2), np.arange(3), np.arange(3))
    assert split.take(np.array([2, 0])).index.tolist() == [2, 0]
