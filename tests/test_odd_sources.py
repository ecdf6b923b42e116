"""Whole runs on folders as people have them: odd names, a test split without labels, splits of other data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import latlas
from latlas import cli
from latlas.data import DataOptions, load
from latlas.errors import InputError
from latlas.runs import find

ODD = (b"br\xe9ken", b"a\nb", b"\x1b[31mred", b"<b>&amp;[bold]", "a\u202egnp".encode(), b"$\\frac{")
SMALL = {"latent": 2, "steps": 8, "quiet": True, "threads": 1}
PLAIN = {**SMALL, "settings": {"pictures.draw": False}}


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path_factory.mktemp("cache")))


def photos(folder: Path, count: int, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (10, 8)).astype(np.uint8)).save(folder / f"{i}.png")


def test_odd_names_go_from_training_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The names are those of classes and broken files, and all of them together those of the source and the run."""
    monkeypatch.chdir(tmp_path)
    names = [os.fsdecode(name) for name in ODD]
    whole = " ".join(names)
    source = tmp_path / whole
    for i, name in enumerate(names):
        photos(source / name, 8, i)
        (source / name / f"{name}.png").write_bytes(b"broken")
    run = latlas.train(source, out=Path("runs") / whole, **PLAIN)  # type: ignore[arg-type]
    assert any("left out 6 broken files: " in note for note in run.info["notes"])
    assert len(set(run.info["data"]["classes"])) == 6
    (run.path / "metrics.json").unlink()  # unfinished again, as after a kill
    (run.path / "report.html").unlink()
    assert cli.run(["train", "--resume", str(run.path)]) == 0
    assert cli.run(["report", str(run.path), "--redraw"]) == 0
    assert (run.path / "figures" / "latent.png").exists()
    assert cli.run(["evaluate", str(run.path), str(source), "--measure", "none"]) == 0
    assert cli.run(["encode", str(run.path), str(source)]) == 0
    assert cli.run(["runs"]) == 0
    assert cli.run(["encode", str(run.path), str(source / "none")]) == 2
    printed = "".join(capfd.readouterr())
    assert all(line.isprintable() for line in printed.split("\n"))
    for file in run.path.iterdir():
        if file.suffix in (".toml", ".json", ".jsonl", ".html"):
            file.read_text(encoding="utf-8")
    assert find(run.path).finished
    assert "<b>&" not in (run.path / "report.html").read_text(encoding="utf-8")


@pytest.mark.measured
def test_unlabelled_test_images_beside_labelled_training_images(tmp_path: Path) -> None:
    for i, part in enumerate(("train/cat", "train/dog", "test")):
        photos(tmp_path / "pets" / part, 30, i)
    run = latlas.train(tmp_path / "pets", out=tmp_path / "run", **PLAIN)  # type: ignore[arg-type]
    assert run.info["data"]["classes"] == ["cat", "dog"]
    said = "no labels of test: numbers that need them are left out"
    assert said in run.info["notes"]
    numbers = run.metrics["numbers"]
    assert "mse" in numbers
    assert not {"probe_accuracy", "knn_accuracy", "nmi"} & set(numbers)
    assert "labels" not in latlas.encode(run, quiet=True).arrays
    assert "labels" in latlas.encode(run, split="train", quiet=True).arrays
    assert not any("could not" in note or "not everything" in note for note in run.info["notes"])
    latlas.diagnose(run, quiet=True)


def test_the_split_of_a_source_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "data"
    for part, count in (("training_set", 12), ("test_set", 8)):
        photos(source / part, count, count)
    run = latlas.train(source, out=tmp_path / "run", **PLAIN)  # type: ignore[arg-type]
    out = str(tmp_path / "codes.npz")
    for split, count in (("", 8), ("test", 8), ("train", 12), ("all", 20)):
        given = ["--split", split] if split else []
        assert cli.run(["encode", str(run.path), str(source), *given, "--out", out, "--json"]) == 0
        printed, said = capsys.readouterr()
        value = json.loads(printed)
        assert value["items"] == count
        note = f"its {'train' if split == 'train' else 'test'} split, {count} items"
        assert (note in said) == (split != "all")
        assert any(note in line for line in value["notes"]) == (split != "all")
        evaluated = latlas.api.evaluation_of(run, [], source=source, split=split, quiet=True)
        assert (evaluated["images"], evaluated["split"]) == (count, split or None)
        about = latlas.encode(run, source, split=split, quiet=True).about
        assert (
            "official splits from sub-folders: train 12 (training_set), test 8 (test_set)" in about["notes"]
        )
    assert cli.run(["encode", str(run.path), str(source), "--split", "valid"]) == 2
    assert "has the splits train (12 items), test (8 items); or all" in capsys.readouterr().err
    assert cli.run(["encode", str(run.path), str(source / "test_set"), "--split", "test"]) == 2
    assert "--split test: " in capsys.readouterr().err
    with pytest.raises(InputError) as caught:
        latlas.encode(run, source / "test_set", split="train", quiet=True)
    assert (caught.value.field, caught.value.value) == ("split", "train")


@pytest.mark.parametrize("command", ["decode RUN FIFO", "encode RUN FIFO", "train FIFO", "train digits --config FIFO",
                                     "study FIFO", "vary RUN FIFO"])  # fmt: skip
@pytest.mark.parametrize("suffix", ["", ".npy", ".png", ".csv", ".toml"])
def test_no_command_waits_for_a_pipe(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str], command: str, suffix: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "pipes"
    if not folder.exists():
        photos(folder / "data", 12)
        latlas.train(folder / "data", out=folder / "run", **PLAIN)  # type: ignore[arg-type]
    pipe = folder / f"pipe{suffix}"
    if not pipe.exists():
        os.mkfifo(pipe)
    words = command.replace("RUN", str(folder / "run")).replace("FIFO", str(pipe)).split()
    assert cli.run(words) == 2
    assert "a pipe, not a file; write its contents to a file" in capsys.readouterr().err


# Inputs that people reported, each with what is right.

G = np.arange(192, dtype="u1").reshape(12, 16)


def grey(path: Path, n: int = 8) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        Image.fromarray(np.roll(G, i, 1)).save(path / f"{i}.png")


def linked_train(root: Path) -> None:
    grey(root / "elsewhere")
    grey(root / "data" / "test", 6)
    (root / "data" / "train").symlink_to(root / "elsewhere")


def two(first: str, second: str, classes: bool) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for name, n in ((first, 8), (second, 6)):
            for part in ("a", "b") if classes else ("",):
                grey(root / "data" / name / part, n)

    return make


def stored_class(root: Path) -> None:
    grey(root / "store")
    grey(root / "data" / "a")
    (root / "data" / "b").symlink_to(root / "store")


def indexed(root: Path) -> None:
    grey(root / "data" / "a")
    grey(root / "data" / "@eaDir")


@pytest.mark.parametrize(
    ("make", "train", "test", "classes"),
    [
        (linked_train, 8, 6, None),
        (two("training_set", "test_set", True), 16, 12, ("a", "b")),
        (two("Training", "Testing", False), 8, 6, None),
        (two("Train", "Test", True), 16, 12, ("a", "b")),
        (stored_class, 14, 2, ("a", "b")),
        (indexed, 7, 1, None),
    ],
)
def test_reported_folders_are_what_they_look_like(
    tmp_path: Path, make: Callable[[Path], None], train: int, test: int, classes: tuple[str, ...] | None
) -> None:
    make(tmp_path)
    data = load(DataOptions(source=str(tmp_path / "data")))
    assert (len(data.train) + len(data.valid), len(data.test), data.classes) == (train, test, classes)


def test_a_split_without_labels_to_train_on_is_no_class(tmp_path: Path) -> None:
    for name in ("train", "test", "unlabeled"):
        grey(tmp_path / name)
    with pytest.raises(InputError, match="unlabeled"):
        load(DataOptions(source=str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "label", "message"),
    [
        (
            "time,volt\n" + "1,2,3\n" * 9,
            "",
            r"the first row \(line 1\) has 2 values, but 9 of 9 rows have more",
        ),
        ("a,b,a\n" + "1,2,3\n4,5,6\n7,8,9\n", "", "more than one column called 'a'"),
        (
            "id,a,kind\n" + "".join(f"x{i},{i},{'uv'[i % 2]}\n" for i in range(30)),
            "kind",
            r"data.drop = \['id'\]$",
        ),
        (
            "id,a,kind\n" + "".join(f"x{i},{i},{'uv'[i % 2]}\n" for i in range(30)),
            "id",
            r"data.drop = \['kind'\]$",
        ),
    ],
)
def test_reported_tables_are_refused_with_what_is_right(
    tmp_path: Path, text: str, label: str, message: str
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        load(DataOptions(source=str(tmp_path / "t.csv"), label=label))


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ("a,b\n" + "".join(f"{i},{i * i},\n" for i in range(20)), 20, ("a", "b")),
        ("a,b,\n" + "".join(f"{i},{i * i},\n" for i in range(20)), 20, ("a", "b")),
    ],
)
def test_reported_tables_are_read(tmp_path: Path, text: str, rows: int, columns: tuple[str, ...]) -> None:
    (tmp_path / "t.csv").write_text(text)
    data = load(DataOptions(source=str(tmp_path / "t.csv")))
    parts = (data.train, data.valid, data.test)
    x = np.concatenate([p.x for p in parts])[np.argsort(np.concatenate([p.index for p in parts]))]
    assert (len(x), data.columns) == (rows, columns)
    np.testing.assert_array_equal(x[:, 1], np.arange(20) ** 2)
