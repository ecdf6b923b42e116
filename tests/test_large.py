"""Data larger than memory: the order of rows, what is read and when, and that nothing else depends on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import latlas
from latlas import experiment, training
from latlas.data import DataOptions, Dataset, Scaling, load, order, room, stored
from latlas.data.batches import Batches
from latlas.data.order import WindowOrder, epoch_rows, steps_per_epoch
from latlas.data.splits import as_split
from latlas.data.stored import All, ArrayFile, Stored, npy_file
from latlas.distributed import World
from latlas.errors import InputError, LatlasError
from latlas.experiment import Interrupted

BYTES = Scaling("integer", scale=(255.0,))


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Windows of 8 chunks of rows of 25 bytes, and a cache of its own."""
    for name, value in {"CHUNK": 64, "SHUFFLED_CHUNK": 128, "LEAST_CHUNKS": 8, "WINDOW": 512}.items():
        monkeypatch.setattr(order, name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def written(folder: Path, count: int, shape: tuple[int, ...] = (5, 5), name: str = "x.npy") -> Path:
    """Items that differ, with their number in the first bytes."""
    x = np.random.default_rng(1).integers(0, 256, (count, *shape)).astype(np.uint8)
    x.reshape(count, -1)[:, :4] = np.arange(count, dtype="<u4")[:, None].view(np.uint8)
    np.save(folder / name, x)
    return folder / name


def on_disk(path: Path) -> Stored:
    file = npy_file(path)
    assert file is not None
    return Stored(file)


def test_all_places_are_an_array_that_is_made_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "PIECE", 7)
    places, known, rng = All(40), np.arange(40, dtype=np.int32), np.random.default_rng(0)
    for rows in (
        slice(3, None, 2),
        slice(None),
        slice(-5, 99),
        rng.permutation(40)[:9],
        rng.random(40) < 0.3,
    ):
        assert places[rows].dtype == np.int32
        np.testing.assert_array_equal(places[rows], known[rows])
    np.testing.assert_array_equal(np.asarray(places), known)
    assert len(places) == 40
    for wrong in (np.array([40]), np.array([-1]), np.ones(39, bool)):
        with pytest.raises(IndexError):
            places[wrong]


def test_rows_of_all_items_on_disk_go_out_as_an_array(tmp_path: Path) -> None:
    given = {"memory": "windows", "test": 0, "validation": 0, "kind": "image", "layout": "NHW"}
    settings = {f"data.{key}": value for key, value in given.items()} | {"pictures.draw": False}
    run = latlas.train(written(tmp_path, 300), steps=2, latent=2, quick=True, quiet=True, settings=settings,
                       out=tmp_path / "run")  # fmt: skip
    index = latlas.reconstruct(run, split="train", quiet=True).arrays["index"]
    assert isinstance(index, np.ndarray)
    assert index[:3].tolist() == [0, 1, 2]


def in_windows(x: Stored) -> Batches:
    flat = x.changed(lambda part: part.reshape(len(part), 25))
    return Batches(as_split(flat), BYTES, torch.device("cpu"))


def numbers(x: torch.Tensor) -> np.ndarray:
    """The numbers of items of `written`, from what the model sees of them."""
    values = np.rint(x.flatten(1)[:, :4].numpy() * 255).astype(np.uint8)
    return np.ascontiguousarray(values).view("<u4")[:, 0]


def options(path: Path | str, **more: Any) -> DataOptions:
    return DataOptions(source=str(path), **{"memory": "windows", **more})


# The order of rows


@pytest.mark.parametrize("count", [2, 3, 31, 32, 33, 127, 300])
@pytest.mark.parametrize("batch", [1, 7, 32, 200])
@pytest.mark.parametrize("share", ["all", "sorted", "scattered"])
def test_every_item_comes_once_an_epoch_and_alike_from_any_step(
    count: int, batch: int, share: str, tmp_path: Path
) -> None:
    x = on_disk(written(tmp_path, count + 20))
    places = np.random.default_rng(3).permutation(count + 20)[:count]
    if share != "all":
        x = x.part(places if share == "scattered" else np.sort(places))
    data, steps = in_windows(x), steps_per_epoch(len(x), batch)
    whole = [rows.copy() for rows in data.epoch(5, 1, batch)]
    assert [len(rows) for rows in whole] == [len(rows) for rows in epoch_rows(5, 1, len(x), batch)]
    assert np.array_equal(np.sort(np.concatenate(whole)), np.arange(len(x)))
    for first in {1, steps // 3, steps - 1} & set(range(steps)):
        rest = list(data.epoch(5, 1, batch, first))
        assert len(rest) == steps - first
        assert all(np.array_equal(a, b) for a, b in zip(rest, whole[first:], strict=True))
    if count >= 31:
        others = [np.concatenate(list(data.epoch(*by, batch))) for by in ((5, 2), (6, 1))]
        assert not any(np.array_equal(other, np.concatenate(whole)) for other in others)


def test_batches_hold_the_items_of_their_rows(tmp_path: Path) -> None:
    x = on_disk(written(tmp_path, 203)).part(np.random.default_rng(0).permutation(203)[:150])
    data = in_windows(x)
    for rows in data.epoch(0, 0, 16):
        assert np.array_equal(numbers(data(rows)), x.rows[rows])
        share = rows[1::2]  # as one process of several takes it
        assert np.array_equal(numbers(data(share)), x.rows[share])
    rows = np.array([149, 0, 3, 3])
    assert np.array_equal(numbers(data(rows)), x.rows[rows])


def test_a_first_step_reads_no_window_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, read = on_disk(written(tmp_path, 2000)), []
    rows = ArrayFile.rows
    monkeypatch.setattr(ArrayFile, "rows", lambda self, at: (read.append(len(at)), rows(self, at))[1])
    late = in_windows(x).epoch(0, 0, 10, 195)
    next(late)
    assert sum(read) <= 3 * 32
    assert len(read) <= 2


@pytest.mark.parametrize("classes", [2, 10])
def test_windows_of_many_chunks_mix_sorted_classes(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # windows as they are
    count, batch = 400_000, 128
    labels = np.arange(count) * classes // count
    made = WindowOrder(np.arange(count, dtype=np.int32), 784)
    batches = [
        window.rows[window.order[start : start + batch]]
        for window, _ in made.windows(0, 0)
        for start in range(0, len(window.order) - batch, batch)
    ]
    assert min(len(window.order) for window, _ in made.windows(0, 0)) >= 512 * made.chunk_rows
    counts = np.array([np.bincount(labels[rows], minlength=classes) for rows in batches])
    expected = batch / classes
    chi2 = ((counts - expected) ** 2 / expected).sum(1) / (classes - 1)
    assert chi2.mean() < 1.3
    assert (counts[0] > 0).all()
    assert abs(counts.mean(0) / expected - 1).max() < 0.05


def test_the_order_in_memory_is_what_it_was() -> None:
    resident = Batches(as_split(np.zeros((103, 4, 4, 1), np.uint8)), BYTES, torch.device("cpu"))
    expected = np.random.default_rng([7, 0, 3]).permutation(103)
    assert np.array_equal(np.concatenate(list(resident.epoch(7, 3, 10))), expected)
    assert np.array_equal(np.concatenate(list(resident.epoch(7, 3, 10, 4))), expected[40:])


# Reading


KEYS: dict[str, Any] = {
    "slice": slice(5, 40, 3), "rows": np.array([88, 3, 3, 60]),
    "mask": np.arange(90) % 7 == 0, "none": np.array([], int),
    "one": 4,
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("gap", [0, 100, 10**6])
def test_items_on_disk_are_indexed_as_an_array(
    key: Any, gap: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "GAP", gap)
    path = written(tmp_path, 100)
    some = np.random.default_rng(2).permutation(100)[:90]
    x, array = on_disk(path).part(some), np.load(path)[some]
    changed = x.changed(lambda part: part[..., None].astype(np.float32) / 2)
    assert np.array_equal(x[key], array[key])
    assert np.array_equal(changed[key], array[..., None][key].astype(np.float32) / 2)
    assert np.array_equal(np.asarray(x), array)
    assert x.limits == (array.min(), array.max())
    assert (changed.shape, changed.dtype, len(changed.part(slice(3)))) == ((90, 5, 5, 1), np.float32, 3)


def test_a_read_ahead_that_dies_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = in_windows(on_disk(written(tmp_path, 300)))
    expected = [numbers(data(rows)) for rows in data.epoch(0, 0, 16)]
    rows, killed = ArrayFile.rows, []

    def dying(self: ArrayFile, at: np.ndarray) -> np.ndarray:
        if threading.current_thread().name == "read-ahead":
            killed.append(1)
            raise SystemExit
        return rows(self, at)

    monkeypatch.setattr(ArrayFile, "rows", dying)
    found = [numbers(data(rows)) for rows in data.epoch(0, 0, 16)]
    assert killed
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_file_that_became_shorter_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, 300)
    data = in_windows(on_disk(path))
    with path.open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(LatlasError, match=r"x\.npy: has become shorter"):
        list(data.epoch(0, 0, 16))


def test_no_thread_and_no_window_is_left(tmp_path: Path) -> None:
    data = in_windows(on_disk(written(tmp_path, 300)))
    batches = data.epoch(0, 0, 16)
    next(batches)
    batches.close()  # as when training is stopped
    for thread in threading.enumerate():
        if thread.name == "read-ahead":
            thread.join(5)
            assert not thread.is_alive()
    assert data.ahead is None


def test_two_windows_are_in_memory_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the arrays that are alive when another is read."""
    alive: list[Any] = []
    most = 0
    rows = ArrayFile.rows

    class Counted(np.ndarray):
        pass

    def counting(self: ArrayFile, at: np.ndarray) -> np.ndarray:
        nonlocal most
        import weakref

        found = rows(self, at).view(Counted)
        alive.append(weakref.ref(found))
        most = max(most, sum(ref() is not None for ref in alive))
        return found

    monkeypatch.setattr(ArrayFile, "rows", counting)
    for _ in in_windows(on_disk(written(tmp_path, 2000))).epoch(0, 0, 10):
        pass
    assert len(alive) > 20
    assert most <= 3


# Data sets


def same(a: Dataset, b: Dataset) -> None:
    """The same items, labels, names and splits, whatever holds them."""
    assert (a.fingerprint, a.kind, a.shape, a.binary, a.classes, a.columns) == (
        b.fingerprint, b.kind, b.shape, b.binary, b.classes, b.columns,
    )  # fmt: skip
    assert a.scaling.kind == b.scaling.kind
    np.testing.assert_allclose(
        [a.scaling.shift, a.scaling.scale], [b.scaling.shift, b.scaling.scale], rtol=1e-9
    )
    for name in ("train", "valid", "test"):
        for field in ("x", "labels", "index", "names"):
            one, other = (getattr(each.split(name), field) for each in (a, b))
            assert (one is None) == (other is None), (name, field)
            if one is not None:
                np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def folder_of_images(root: Path) -> Path:
    for number in range(40):
        label = "ab"[number % 2]
        (root / "images" / label).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / label / f"{number:03}.png")
    return root / "images"


def arrays(folder: Path, kind: str) -> Path:
    rng = np.random.default_rng(0)
    x = {
        "bytes": rng.integers(0, 256, (90, 5, 6)).astype(np.uint8),
        "channels first": rng.integers(0, 256, (90, 3, 6, 6)).astype(np.uint8),
        "floats": rng.random((90, 5, 6)).astype(np.float32),
        "other endian": rng.random((90, 5, 6)).astype(">f8") * 7 - 2,
        "16 bits": rng.integers(0, 4000, (90, 5, 6)).astype(np.uint16),
        "integers": rng.integers(0, 256, (90, 5, 6)),
        "binary": rng.integers(0, 2, (90, 12)),
        "table": rng.normal(3, 2, (90, 7)).astype(np.float32),
        "by columns": np.asfortranarray(rng.normal(3, 2, (90, 7))),
    }[kind]
    np.save(folder / "a.npy", x)
    return folder / "a.npy"


KINDS = [
    "bytes",
    "channels first",
    "floats",
    "other endian",
    "16 bits",
    "integers",
    "binary",
    "table",
    "by columns",
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_array_on_disk_is_the_same_data_set(kind: str, tmp_path: Path) -> None:
    path = arrays(tmp_path, kind)
    large, small = load(options(path)), load(options(path, memory="auto"))
    assert large.on_disk
    assert not small.on_disk
    same(large, small)


def parquet(folder: Path, kind: str, row_group: int = 11) -> tuple[Path, np.ndarray]:
    """A file of 90 items with labels, and the items."""
    x = np.random.default_rng(0).integers(0, 256, (90, 30)).astype(np.uint8)
    cells: Any
    if kind == "fixed-size bytes":
        cells = pa.array([row.tobytes() for row in x], pa.binary(30))
    elif kind == "list":
        cells = pa.array(list(x), pa.list_(pa.uint8()))
    elif kind == "fixed-size list":
        cells = pa.array(list(x), pa.list_(pa.uint8(), 30))
    elif kind == "nested list":
        cells, x = pa.array(x.reshape(90, 5, 6).tolist(), pa.list_(pa.list_(pa.uint8()))), x.reshape(90, 5, 6)
    else:
        cells = pa.FixedShapeTensorArray.from_numpy_ndarray(x.reshape(90, 5, 6))
        x = x.reshape(90, 5, 6)
    table = pa.table({"pixels": cells, "label": ["ab"[i % 2] for i in range(90)]})
    pq.write_table(table, folder / "a.parquet", row_group_size=row_group)
    return folder / "a.parquet", x


CELLS = ["fixed-size bytes", "list", "fixed-size list", "nested list", "tensor"]


@pytest.mark.parametrize("kind", CELLS)
def test_a_parquet_column_of_arrays_is_its_array(kind: str, tmp_path: Path) -> None:
    path, x = parquet(tmp_path, kind)
    np.save(tmp_path / "x.npy", x)
    more = {"kind": "vector"} if x.ndim == 2 else {"kind": "image"}
    array = load(options(tmp_path / "x.npy", **more, layout="auto" if x.ndim == 2 else "NHW"))
    large, small = (load(options(path, memory=how, **more)) for how in ("windows", "resident"))
    assert large.on_disk
    assert not small.on_disk
    assert large.classes == ("a", "b")
    same(large, small)
    assert np.array_equal(np.asarray(large.train.x), np.asarray(array.train.x))
    assert array.train.labels is None
    assert large.train.labels is not None


def test_a_large_parquet_table_is_the_same_data_set(tmp_path: Path) -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(size=90), "b c": rng.integers(0, 9, 90), "y": rng.choice(["u", "v", "w"], 90)}
    folder = tmp_path / "shards"
    folder.mkdir()
    frame = pd.DataFrame({**columns, "left": rng.normal(size=90)})
    for name, rows in {
        "train-0-of-2": slice(0, 40),
        "train-1-of-2": slice(40, 75),
        "test": slice(75, 90),
    }.items():
        frame[rows].to_parquet(folder / f"{name}.parquet", index=False, row_group_size=9)
    about = {"label": "y", "drop": ("left",)}
    large, small = (load(options(folder, memory=how, **about)) for how in ("windows", "resident"))
    assert large.on_disk
    assert len(large.test) == 15
    assert large.columns == ("a", "b c")
    same(large, small)
    caches = list((tmp_path / "cache").rglob("*.npy"))
    load(options(folder, **about))
    assert list((tmp_path / "cache").rglob("*.npy")) == caches
    assert len(caches) == 1


def test_a_folder_lies_shuffled_in_the_cache_and_nobody_sees_it(tmp_path: Path) -> None:
    folder = folder_of_images(tmp_path)
    large, small = load(options(folder)), load(options(folder, memory="auto"))
    assert large.on_disk
    assert isinstance(large.train.x, Stored)
    assert large.train.x.shuffled
    same(large, small)
    # By name: every item is that of its file.
    names, x = small.train.names, np.asarray(large.train.x)
    assert names is not None
    for name, item in zip(names, x, strict=True):
        assert np.array_equal(np.asarray(Image.open(folder / str(name))), item[..., 0])
    places = large.train.x.rows
    assert (np.diff(places) < 0).sum() > len(places) // 4


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digits", "has no meaning for a named set"),
        ("x.npz", r"only an \.npy file"),
        ("x.csv", "no meaning for a table"),
    ],
)
def test_what_cannot_stay_on_disk_is_refused(source: str, message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((9, 4)))
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,4\n")
    given = source if source == "digits" else tmp_path / source
    with pytest.raises(InputError, match=message):
        load(options(given))


def test_memory_decides_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, 300)
    assert not load(options(path, memory="auto")).on_disk
    monkeypatch.setattr(room, "free_memory", lambda: 10_000.0)
    large = load(options(path, memory="auto"))
    assert large.on_disk
    assert any("stay on disk and are read in windows (7" in note for note in large.notes)
    assert not load(options(path, memory="resident")).on_disk
    assert 0 < room.free_memory() <= room.total_memory()


# Whole runs


def trained(path: Path, out: Path, **more: Any) -> latlas.Run:
    settings = {
        "data.memory": "windows", "evaluation.groups": [], "evaluation.diagnose": False, "pictures.draw": False,
        "training.batch_size": 16, **more,
    }  # fmt: skip
    return latlas.train(path, out=out, latent=2, steps=30, quiet=True, settings=settings)


def weights(run: latlas.Run) -> list[torch.Tensor]:
    return [p.detach() for p in run.model().parameters()]


def test_runs_on_npy_and_parquet_are_the_same_run(tmp_path: Path) -> None:
    path, x = parquet(tmp_path, "fixed-size bytes")
    np.save(tmp_path / "x.npy", x)
    runs = [trained(each, tmp_path / each.suffix[1:]) for each in (path, tmp_path / "x.npy")]
    assert runs[0].config.data.memory == "windows"
    assert all(torch.equal(a, b) for a, b in zip(*map(weights, runs), strict=True))


@pytest.mark.parametrize(("before", "later", "memory"), [(100.0, 1e12, "windows"), (1e12, 100.0, "auto")])
def test_a_stopped_run_goes_on_exactly_whatever_memory_is_free(
    before: float, later: float, memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The model is small enough for memory of which nothing is free.
    path, auto = written(tmp_path, 130), {"data.memory": "auto", "network.name": "linear"}
    monkeypatch.setattr(room, "free_memory", lambda: before)
    whole = trained(path, tmp_path / "whole", **auto)
    step_of, stop_at = training.train, 13  # within an epoch of 7 steps, and within a window

    def stopping(*args: Any) -> Iterator[Any]:
        return step_of(*args[:-1], World(stop=lambda: args[5].step >= stop_at))

    monkeypatch.setattr(experiment.training, "train", stopping)
    with pytest.raises(Interrupted):
        trained(path, tmp_path / "stopped", **auto)
    monkeypatch.setattr(experiment.training, "train", step_of)
    monkeypatch.setattr(room, "free_memory", lambda: later)
    resumed = latlas.resume(tmp_path / "stopped", quiet=True)
    assert resumed.config.data.memory == memory
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


@pytest.mark.parametrize("kind", ["bytes", "table"])
def test_a_run_on_disk_can_be_used(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, codes and scores of all items, none of which were read whole."""
    path = arrays(tmp_path, kind)
    run = trained(path, tmp_path / "run")
    monkeypatch.setattr(Stored, "__array__", None)
    record = latlas.evaluate(run, ["elbo"], quiet=True)
    assert record["elbo"] is not None
    assert latlas.evaluate(run, ["elbo"], source=path, quiet=True)["elbo"]["value"] is not None
    codes = latlas.encode(run, split="train", quiet=True).arrays["mean"]
    other = latlas.encode(run, source=path, quiet=True).arrays["mean"]
    index = latlas.encode(run, split="train", quiet=True).arrays["index"]
    np.testing.assert_allclose(codes, other[index], rtol=1e-5, atol=1e-6)
    assert len(latlas.score(run, source=path, quiet=True).frame) == 90  # type: ignore[arg-type]


# Elsewhere


def test_a_header_that_is_damaged_is_refused_in_windows_as_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((100, 8, 8), np.uint8))
    path.write_bytes(path.read_bytes().replace(b"}", b"(", 1))
    for memory in ("windows", "resident"):
        with pytest.raises(InputError, match=r"x\.npy"):
            load(options(path, memory=memory))


def test_an_address_is_read_as_its_file(tmp_path: Path) -> None:
    import fsspec

    path, x = parquet(tmp_path, "fixed-size bytes")
    system = fsspec.filesystem("memory")
    for target in ("/one/a.parquet", "/many/train-0-of-2.parquet", "/many/train-1-of-2.parquet"):
        system.pipe(target, path.read_bytes())
    system.pipe("/many/notes.txt", b"nothing")
    one, local = load(options("memory://one/a.parquet")), load(options(path))
    same(one, local)
    assert one.source == "memory://one/a.parquet"
    many = load(options("memory://many"))
    assert sum(len(many.split(name)) for name in ("train", "valid", "test")) == 2 * len(x)
    copies = list((tmp_path / "cache").rglob("a.parquet"))
    assert len(copies) == 1
    load(options("memory://one/a.parquet"))
    assert list((tmp_path / "cache").rglob("a.parquet")) == copies
    for copy in ("a.parquet", "train-1-of-2.parquet"):  # damaged since: copied again
        (damaged,) = (tmp_path / "cache").rglob(copy)
        damaged.write_bytes(damaged.read_bytes()[:-9] + b"123456789")
    same(load(options("memory://one/a.parquet")), local)
    same(load(options("memory://many")), many)


def test_a_server_that_lists_files_elsewhere_writes_none_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe("/many/a.parquet", parquet(tmp_path, "fixed-size bytes")[0].read_bytes())
    find = type(system).find
    listed = "/many/../../../../escaped.parquet"
    monkeypatch.setattr(type(system), "find", lambda self, path, **more: [*find(self, path, **more), listed])
    monkeypatch.setattr(type(system), "size", lambda self, path: 1)
    monkeypatch.setattr(type(system), "ukey", lambda self, path: path)
    monkeypatch.setattr(type(system), "open", lambda self, path, mode: BytesIO(b"x"))
    with pytest.raises(InputError, match=r"lists '/many/\S*escaped\.parquet', which does not lie in it"):
        load(options("memory://many"))
    assert not list(tmp_path.rglob("escaped.parquet"))


@pytest.mark.parametrize(
    "address", ["memory://nowhere/a.parquet", "nonsense://a/b.parquet", "memory://empty"]
)
def test_an_address_that_leads_nowhere_is_refused(address: str) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/empty/notes.txt", b"nothing")
    with pytest.raises(InputError, match=address):
        load(options(address))
