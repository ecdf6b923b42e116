"""Tables: numbers in, labels beside them, and clear words for everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latlas.data import DataOptions, Dataset, load
from latlas.errors import InputError

RNG = np.random.default_rng(0)


def frame(rows: int = 40) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "height": RNG.normal(170, 10, rows),
            "weight": RNG.normal(70, 12, rows),
            "age": RNG.integers(1, 90, rows),
            "kind": np.where(np.arange(rows) % 3 == 0, "cat", "dog"),
        }
    )


def write(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix in (".parquet", ".pq"):
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def read(path: Path, **options: object) -> Dataset:
    return load(DataOptions(source=str(path), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "pq", "CSV"])
def test_a_table_with_labels(tmp_path: Path, suffix: str) -> None:
    table = frame()
    dataset = read(write(table, tmp_path / f"my table.{suffix}"), label="kind")
    assert (dataset.kind, dataset.shape, dataset.name) == ("table", (3,), "my-table")
    assert dataset.columns == ("height", "weight", "age")
    assert dataset.classes == ("cat", "dog")
    values = table.drop(columns="kind").to_numpy()
    for split in (dataset.train, dataset.valid, dataset.test):
        np.testing.assert_allclose(split.x, values[split.index])
        np.testing.assert_array_equal(split.labels, (table["kind"] == "dog").to_numpy()[split.index])
    np.testing.assert_allclose(dataset.scaling.shift, values[dataset.train.index].mean(0))
    np.testing.assert_allclose(dataset.scaling.scale, values[dataset.train.index].std(0))


@pytest.mark.parametrize("label", ["height", "age", "kind"])
def test_label_types(tmp_path: Path, label: str) -> None:
    table = frame()
    if label != "kind":
        table = table.drop(columns="kind")
    dataset = read(write(table, tmp_path / "a.csv"), label=label)
    assert dataset.train.labels is not None
    assert (dataset.classes is None) == (label == "height")
    assert dataset.train.labels.dtype == (np.float64 if label == "height" else np.int64)
    assert dataset.columns is not None
    assert label not in dataset.columns


def test_odd_but_good_tables(tmp_path: Path) -> None:
    table = frame().drop(columns="kind")
    table.to_csv(tmp_path / "a.csv", index=False, sep=";")
    assert read(tmp_path / "a.csv").columns == ("height", "weight", "age")
    table.to_csv(tmp_path / "b.csv", index=False, header=False)
    dataset = read(tmp_path / "b.csv")
    assert dataset.columns == ("0", "1", "2")
    assert len(dataset.train) + len(dataset.valid) + len(dataset.test) == 40
    assert "no header row: columns named 0, 1, ..." in dataset.notes
    nullable = table.astype({"age": "Int64"}).assign(tall=table["height"] > 170)
    nullable.to_parquet(tmp_path / "c.parquet")
    dataset = read(tmp_path / "c.parquet")
    assert dataset.train.x.dtype == np.float64
    assert dataset.shape == (4,)
    table.astype(np.float32).to_parquet(tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet").train.x.dtype == np.float32


def test_zeros_and_ones_are_binary_and_pixels_images(tmp_path: Path) -> None:
    bits = pd.DataFrame(RNG.integers(0, 2, (40, 6)), columns=list("abcdef"))
    bits["e"] = 0  # constant, and allowed in 0/1 data
    dataset = read(write(bits, tmp_path / "bits.csv"))
    assert (dataset.kind, dataset.binary, dataset.columns) == ("vector", True, tuple("abcdef"))
    pixels = pd.DataFrame(RNG.integers(0, 256, (40, 12)), columns=[f"pixel{i}" for i in range(12)])
    pixels["pixel0"] = 0
    pixels.insert(0, "label", np.arange(40) % 10)
    dataset = read(write(pixels, tmp_path / "mnist.csv"), label="label", image_size=(4, 3))
    assert (dataset.kind, dataset.shape, dataset.train.x.dtype) == ("image", (1, 4, 3), np.uint8)
    assert dataset.classes == tuple("0123456789")
    assert dataset.columns is None


def test_the_constant_column_is_named(tmp_path: Path) -> None:
    path = write(frame().drop(columns="kind").assign(flag=7), tmp_path / "a.csv")
    with pytest.raises(InputError, match="column 'flag' constant in training; leave out"):
        read(path)


BAD = {
    "text": (frame(), {}, "not numbers in column 'kind'; take labels out with data.label = 'kind'"),
    "dates": (
        frame().drop(columns="kind").assign(day=pd.Timestamp("2024-01-01"), b="x"),
        {},
        "not numbers in columns 'day', 'b'",
    ),
    "gaps": (
        frame().drop(columns="kind").assign(height=[np.nan] * 3 + [1.0] * 37, age=[np.nan] + [2] * 39),
        {},
        r"missing values in columns 'height' \(3 of 40 rows\), 'age' \(1 of 40 rows\)",
    ),
    "infinite": (
        frame().drop(columns="kind").assign(height=[np.inf] + [1.0] * 39),
        {},
        "infinite values in column 'height'",
    ),
    "no such label": (frame(), {"label": "kid"}, "unknown label column in .*: 'kid'; did you mean 'kind'"),
    "missing labels": (
        frame().assign(kind=[None] * 4 + ["a"] * 36),
        {"label": "kind"},
        "label column 'kind' is empty in 4 of 40 rows",
    ),
    "labels only": (frame()[["kind"]], {"label": "kind"}, "no rows or no columns of numbers"),
    "no rows": (frame(0).drop(columns="kind"), {}, "no rows or no columns of numbers"),
    "layout": (frame(), {"label": "kind", "layout": "NHW"}, "data.layout = NHW: has no meaning for a table"),
    "image size": (
        frame().drop(columns="kind"),
        {"image_size": (2, 2)},
        "3 values an item do not make images of 2x2",
    ),
}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("case", list(BAD))
def test_bad_tables(tmp_path: Path, suffix: str, case: str) -> None:
    table, options, message = BAD[case]
    path = write(table, tmp_path / f"a.{suffix}")
    with pytest.raises(InputError, match=message) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"a,b\n1,2\n1,2,3,4\n"),
        ("a.csv", b"\xff\xfe\x00a,b\n"),
        ("a.parquet", b"nonsense"),
        ("a.parquet", b""),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: cannot be read as a table") as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_columns_of_one_name(tmp_path: Path) -> None:
    table = frame()[["height", "weight"]]
    table.columns = pd.Index(["a", "b"])
    path = write(table, tmp_path / "a.csv")
    path.write_text(path.read_text().replace("a,b", "a,a", 1))
    assert read(path).columns == ("a", "a.1")


TYPES = ("uint8", "int16", "int64", "uint16", "float32", "float64")


def test_a_table_of_small_numbers_is_one_data_set_whatever_holds_it(tmp_path: Path) -> None:
    table = pd.DataFrame(np.random.default_rng(0).integers(0, 256, (60, 5)), columns=list("abcde"))
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    for name in TYPES:
        table.astype(name).to_parquet(tmp_path / f"{name}.parquet")
        np.save(tmp_path / f"{name}.npy", table.to_numpy().astype(name))
        np.save(tmp_path / f"big-{name}.npy", table.to_numpy().astype(np.dtype(name).newbyteorder(">")))
    read = {path.name: load(DataOptions(source=str(path))) for path in sorted(tmp_path.iterdir())}
    assert len(read) == 2 + 3 * len(TYPES)
    assert {(d.kind, d.scaling.kind, d.fingerprint) for d in read.values()} == {
        ("table", "standard", read["t.csv"].fingerprint)
    }
    assert "a table of 5 columns, standardised" in read["uint8.npy"].notes[0]
    assert "data.kind = vector" in read["uint8.npy"].notes[0]
