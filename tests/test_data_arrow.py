"""Parquet as the hub writes it: images in a column, names of classes in the schema, shards and splits in a folder."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz.damage import damaged
from fuzz.originals import parquet
from helpers import images
from PIL import Image

import latlas
from latlas import cli
from latlas.data import DataOptions, Dataset, load
from latlas.errors import InputError

X = images(40, 8, 6)[..., 0]
Y = np.sort(np.arange(40) % 4)
SORTED = ("ant", "bee", "cat", "dog")
NAMES = ("T-shirt", "ankle boot", "bag", "coat")  # in no order of letters


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path_factory.mktemp("cache")))


def encoded(x: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(x).save(stream, "PNG")
    return stream.getvalue()


def cells(x: np.ndarray = X, first: int = 0) -> list[dict[str, Any]]:
    return [{"bytes": encoded(item), "path": f"{first + i:02}.png"} for i, item in enumerate(x)]


def by_the_hub(table: pa.Table, names: tuple[str, ...] = NAMES, column: str = "label") -> pa.Table:
    features = {"image": {"_type": "Image"}, column: {"names": list(names), "_type": "ClassLabel"}}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write(path: Path, columns: dict[str, Any], hub: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    pq.write_table(by_the_hub(table) if hub else table, path)
    return path


def read(path: Path, **options: Any) -> Dataset:
    return load(DataOptions(source=str(path), **options))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same images as files, in a folder for each class."""
    for i, (x, y) in enumerate(zip(X, Y, strict=True)):
        (tmp_path / "files" / SORTED[y]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(tmp_path / "files" / SORTED[y] / f"{i:02}.png")
    return tmp_path / "files"


@pytest.mark.parametrize("kind", ["struct", "bytes", "large bytes", "paths"])
def test_images_in_a_column_are_those_in_a_folder(folder: Path, tmp_path: Path, kind: str) -> None:
    column: Any = cells()
    if kind == "bytes":
        column = [cell["bytes"] for cell in column]
    elif kind == "large bytes":
        column = pa.array([cell["bytes"] for cell in column], pa.large_binary())
    elif kind == "paths":
        column = [{"bytes": None, "path": f"files/{SORTED[y]}/{i:02}.png"} for i, y in enumerate(Y)]
        column = pa.array(column, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    path = tmp_path / "data.parquet"
    table = pa.table({"image": column, "label": Y, "caption": ["text"] * 40})
    pq.write_table(by_the_hub(table, SORTED), path)
    data, files = read(path), read(folder)
    assert data.fingerprint == files.fingerprint
    assert data.classes == SORTED == files.classes
    assert data.shape == (1, 8, 6)
    assert data.notes[:2] == (
        "images from column 'image', labels from 'label'",
        "columns not used: 'caption'",
    )
    resized = read(path, image_size=(5, 4), drop=("label",))
    assert (resized.shape, resized.classes) == ((1, 5, 4), None)


def test_labels_of_a_column_in_parquet(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.parquet", {"img": cells(), "target": Y * 1.5, "other": Y}, hub=False)
    data = read(plain)
    assert data.classes is None
    assert data.train.labels is not None
    assert data.train.labels.max() == 4.5
    assert read(plain, label="other").classes == ("0", "1", "2", "3")
    with pytest.raises(InputError, match=r"unknown label column in .*a\.parquet: 'klass'"):
        read(plain, label="klass")
    missing = np.where(np.arange(40) % 5, Y, -1)  # as the hub has them in test splits
    data = read(write(tmp_path / "b.parquet", {"image": cells(), "label": missing}))
    assert data.classes == NAMES
    assert any(note.startswith("labels: 32 of 40 items have one (of 4 classes)") for note in data.notes)
    table = pa.table({"image": cells(), "coarse": Y // 2, "fine": Y})
    features = {c: {"names": list(NAMES), "_type": "ClassLabel"} for c in ("coarse", "fine")}
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}),
        tmp_path / "c.parquet",
    )
    data = read(tmp_path / "c.parquet")
    assert "no labels: 'coarse' and 'fine' are classes; data.label names one" in data.notes
    assert read(tmp_path / "c.parquet", label="fine").classes == NAMES


def test_classes_of_a_table_are_labels_by_the_hubs_word(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(size=40), "b": rng.normal(size=40), "label": Y}
    path = write(tmp_path / "t.parquet", columns)
    data = read(path)
    assert (data.columns, data.classes) == (("a", "b"), NAMES)
    assert "labels from 'label', which are classes by the file's own word" in data.notes
    assert read(path, columns=("a", "label")).columns == ("a", "label")
    assert read(write(tmp_path / "u.parquet", columns, hub=False)).columns == ("a", "b", "label")


def test_which_column_holds_the_images_is_asked_for_where_it_is_unclear(tmp_path: Path) -> None:
    path = write(tmp_path / "two.parquet", {"photo": cells(), "mask": cells(255 - X), "label": Y})
    with pytest.raises(
        InputError, match=r"images in 'photo' and 'mask'; choose one column with data.columns"
    ):
        read(path)
    assert read(path, columns=("photo",)).fingerprint == read(path, drop=("mask",)).fingerprint
    assert read(path, columns=("mask",)).fingerprint != read(path, columns=("photo",)).fingerprint
    with pytest.raises(InputError, match=r"data\.columns: .*images are in 'photo' and 'mask'; name one"):
        read(path, columns=("label",))
    with pytest.raises(InputError, match=r"data\.columns: unknown column in .*'foto'"):
        read(path, columns=("foto",))
    with pytest.raises(InputError, match=r"data\.layout = NHW: has no meaning"):
        read(path, columns=("photo",), layout="NHW")


def test_rows_without_an_image_and_broken_ones_are_left_out_and_said(tmp_path: Path) -> None:
    column: list[Any] = cells()
    column[3], column[5] = None, {"bytes": b"broken", "path": "five.png"}
    path = write(tmp_path / "a.parquet", {"image": column, "label": Y})
    data = read(path)
    assert len(data.train) + len(data.valid) + len(data.test) == 38
    assert "1 row of train without an image is left out" in data.notes
    assert any(note.startswith("left out 1 broken file: five.png") for note in data.notes)
    with pytest.raises(InputError, match="1 row of train without an image is left out; mend them"):
        read(path, strict=True)
    none = pa.array([None] * 40, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    with pytest.raises(InputError, match="no row has an image in 'image'"):
        read(write(tmp_path / "b.parquet", {"image": none, "label": Y}))


NAMED = {
    "shards": ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"),
    "in a folder of data": (
        "data/train-00000-of-00002-abc1", "data/train-00001-of-00002-abc2", "data/test-00000-of-00001-abc3",
    ),
    "converted": ("default/train/0000", "default/train/0001", "default/test/0000"),
}  # fmt: skip


@pytest.mark.parametrize("names", list(NAMED))
def test_a_folder_of_shards(tmp_path: Path, names: str) -> None:
    cuts = ((0, 15), (15, 30), (30, 40))
    for name, (start, end) in zip(NAMED[names], cuts, strict=True):
        columns = {"image": cells(X[start:end], start), "label": Y[start:end]}
        write(tmp_path / "hub" / f"{name}.parquet", columns)
    (tmp_path / "hub" / "README.md").write_text("A data set.")
    np.savez(tmp_path / "a.npz", train=X[:30], train_y=Y[:30], test=X[30:], test_y=Y[30:])
    data = read(tmp_path / "hub")
    assert data.fingerprint == read(tmp_path / "a.npz").fingerprint
    assert data.classes == NAMES
    assert "official splits: train 30, test 10" in data.notes


def test_shards_that_are_no_data_set(tmp_path: Path) -> None:
    write(tmp_path / "a" / "train.parquet", {"image": cells(), "label": Y})
    write(tmp_path / "a" / "test.parquet", {"image": cells(), "class": Y})
    with pytest.raises(InputError, match=r"test\.parquet: other columns than the first table .*'label'"):
        read(tmp_path / "a")
    write(tmp_path / "b" / "test-00000-of-00001.parquet", {"image": cells(), "label": Y})
    with pytest.raises(InputError, match="nothing to train on"):
        read(tmp_path / "b")
    for name in ("big", "small"):
        write(tmp_path / "d" / name / "train.parquet", {"image": cells(), "label": Y})
    with pytest.raises(
        InputError, match="'big' and 'small' hold splits of several data sets; give one of them"
    ):
        read(tmp_path / "d")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "0000.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"0000\.parquet: cannot be read as a table"):
        read(tmp_path / "c")


def test_a_trained_run_takes_parquet_with_images_of_any_size(tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path / "a.parquet", {"image": cells(), "label": Y})
    settings = ["--set", "pictures.draw=false", "--set", "network.hidden=[8]", "--quick", "--quiet"]
    words = ["train", str(path), "--steps", "2", "--latent", "2", "--out", str(tmp_path / "run"), *settings]
    assert cli.run(words) == 0
    run = latlas.Run(tmp_path / "run")
    whole = latlas.encode(run, path, quiet=True)
    np.testing.assert_allclose(whole.arrays["mean"], run.model().encode(X), atol=1e-6)
    assert whole.arrays["labels"].tolist() == Y.tolist()
    large = np.repeat(np.repeat(X, 2, 1), 2, 2)
    for part in ("train", "test"):
        write(tmp_path / "hub" / f"{part}.parquet", {"image": cells(large[:10]), "text": ["a"] * 10})
    latlas.encode(run, tmp_path / "hub")
    said = capsys.readouterr().err
    assert "10 of 10 image files resized" in said
    assert "its test split, 10 items" in said


def test_a_damaged_file_is_refused_by_name_or_read(tmp_path: Path) -> None:
    content = parquet(compression="none", use_dictionary=False)
    messages = set()
    for number in range(150):
        (tmp_path / "t.parquet").write_bytes(damaged(content, Random(number)))
        try:
            load(DataOptions(source=str(tmp_path / "t.parquet"), label="kind"))
        except InputError as error:
            messages.add(str(error).partition(" (")[0].removeprefix(f"{tmp_path}/"))
    assert "t.parquet: cannot be read as Parquet" in messages


def test_columns_of_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    columns = {"a": pa.array([1.0 * i for i in range(20)]), "b": pa.array([b"\xff\x00"] * 20)}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="'b'"):
        load(DataOptions(source=str(tmp_path / "t.parquet")))


def test_categories_are_read_once_and_not_with_every_few_rows(tmp_path: Path) -> None:
    from latlas.data.arrow import _whole_file

    count, kinds = 20_000, [f"a category with a long name, number {i:,}" for i in range(2_000)]
    categories = pa.DictionaryArray.from_arrays(pa.array(np.arange(count) % len(kinds)), pa.array(kinds))
    texts = pa.array([f"row {i}" for i in range(count)])
    columns = {"a.b": np.arange(count), "kind": categories, "name": texts, "on": np.arange(count) % 2 == 0}
    path = tmp_path / "x.parquet"
    pq.write_table(table := pa.table(columns), path)
    before = pa.total_allocated_bytes()
    whole = _whole_file(pq.ParquetFile(path), path)
    assert pa.total_allocated_bytes() - before < 2 * table.nbytes
    assert whole.schema == pq.ParquetFile(path).schema_arrow
    assert whole.to_pandas().equals(table.to_pandas())
    twice = pa.table([texts, texts], names=["name", "name"])
    pq.write_table(twice, path)
    assert _whole_file(pq.ParquetFile(path), path).equals(twice)
