"""Tiny and degenerate data: numbers where they mean something, "too few" where they do not, and no library's warnings.

Warnings are errors here, as everywhere in these tests; where one would be caught and noted, the notes are looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latlas import cli
from latlas.api.exploring import opened_of
from latlas.console import Console
from latlas.explorer import server

# What stands in a line only where something went wrong that nobody foresaw.
WRONG = re.compile(
    r"unexpected|Traceback|[A-Z]\w+(Error|Warning)\b|\bnan\b|could not be drawn", re.IGNORECASE
)


def pixels(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 8, 8), dtype=np.uint8)


def rows(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 3))


ARRAYS: dict[str, dict[str, np.ndarray]] = {
    **{f"{n} images, each its class": {"x": pixels(n), "y": np.arange(n)} for n in (1, 2, 3, 4, 5, 6, 10)},
    **{f"{n} images": {"x": pixels(n)} for n in (4, 7)},
    "one class": {"x": pixels(8), "y": np.zeros(8, int)},
    "60 images, each its class": {"x": pixels(60), "y": np.arange(60)},
    "one of another class": {"x": pixels(60), "y": (np.arange(60) == 30).astype(int)},
    "all equal": {"x": np.repeat(pixels(1), 40, 0), "y": np.arange(40) % 3},
    "constant images": {"x": np.full((40, 8, 8), 7, np.uint8), "y": np.arange(40) % 2},
    "black": {"x": np.zeros((10, 8, 8), np.uint8), "y": np.arange(10) % 2},
    "real labels": {"x": pixels(6), "y": rows(6)[:, 0]},
    "equal real labels": {"x": pixels(6), "y": np.full(6, 0.5)},
    "constant factors": {"x": pixels(40), "factors": np.zeros((40, 2), int)},
    "different factors": {"x": pixels(6), "factors": np.arange(12).reshape(6, 2)},
    "splits of one": {"train": pixels(5), "train_y": np.arange(5), "valid": pixels(1), "valid_y": np.zeros(1, int),
                      "test": pixels(1), "test_y": np.ones(1, int)},
    "splits of two": {"train": pixels(40), "train_y": np.arange(40) % 2, "valid": pixels(2),
                      "valid_y": np.zeros(2, int), "test": pixels(2), "test_y": np.ones(2, int)},
}  # fmt: skip
TABLES: dict[str, pd.DataFrame] = {
    **{f"{n} rows": pd.DataFrame(rows(n), columns=list("abc")) for n in (1, 2, 3, 4, 6, 10)},
    "rows, each its class": pd.DataFrame(rows(20), columns=list("abc")).assign(
        label=[f"k{i}" for i in range(20)]
    ),
    "rows of one class": pd.DataFrame(rows(6), columns=list("abc")).assign(label="k"),
    "equal rows": pd.DataFrame(np.repeat(rows(1), 20, 0), columns=list("abc")),
    "a constant column": pd.DataFrame(rows(20), columns=list("abc")).assign(b=3.0),
    "one row is another": pd.DataFrame(np.full((30, 3), 3.0), columns=list("abc")).assign(
        a=[1.0] + [3.0] * 29
    ),
    "one column": pd.DataFrame(rows(12)[:, :1], columns=["a"]),
}
TOO_FEW = ("1 images", "2 images", "3 images", "1 rows", "2 rows", "3 rows")
# In one, two and three dimensions there are other pictures; each set of data has one of them.
# The rest of them are much like others, and take minutes.
ALIKE = ("5 images, each", "10 images, each", "4 images-", "real labels", "equal real", "different factors",
         "splits of two", "6 rows", "10 rows", "rows of one", "one of another", "7 images")  # fmt: skip
LITTLE = [
    (name, 1 + at % 3)
    for at, name in enumerate(n for n in (*ARRAYS, *TABLES) if not n.startswith((*TOO_FEW, *ALIKE)))
]


def written(folder: Path, name: str) -> list[str]:
    """The file of a data set, and the options for it."""
    if name in ARRAYS:
        np.savez(folder / "x.npz", **ARRAYS[name])
        return [str(folder / "x.npz")]
    TABLES[name].to_csv(folder / "x.csv", index=False)
    label = ["--label", "label"] if "label" in TABLES[name] else []
    return [str(folder / "x.csv"), *label, "--set", "data.constant=keep"]


Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Runs a command in this process: its exit code, which is that of success or of a wrong input, and its lines."""

    def run(*arguments: object) -> tuple[int, str]:
        code = cli.run(list(map(str, arguments)))
        out, err = capsys.readouterr()
        assert code in (0, 2), (arguments, err)
        assert not WRONG.search(err), (arguments, err)
        assert "NaN" not in out, (arguments, out)
        return code, out if code == 0 else err

    return run


def test_items_that_each_have_a_class_of_their_own(
    tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = tmp_path / "run", written(tmp_path, "60 images, each its class")
    assert call("train", *file, "--latent", 2, "--steps", 2, "--out", run, "--quick", "--quiet")[0] == 0
    assert cli.run(["evaluate", str(run), "--measure", "downstream", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["numbers"] == {}
    assert (
        "probe_accuracy could not be measured: too few items: 49 labelled training items of 49 classes" in err
    )


@pytest.mark.parametrize("name", [n for n in (*ARRAYS, *TABLES) if n.startswith(TOO_FEW)])
def test_too_few_items_to_train_on_are_refused(tmp_path: Path, call: Call, name: str) -> None:
    code, text = call("train", *written(tmp_path, name), "--out", tmp_path / "run", "--quiet")
    assert code == 2
    assert re.search(r"too few to hold 1 out for (test|validation) and train on at least 2", text)


def commands(run: Path, other: Path) -> list[list[object]]:
    """Every command on a run, with all that it can measure and draw."""
    out = run.parent
    return [
        ["evaluate", run, "--measure", "all", "--json"],
        ["diagnose", run], ["report", run, "--redraw", "--quiet"],
        ["encode", run, "--split", "all", "--out", out / "codes.csv", "--quiet"],
        *(["score", run, "--split", split, "--out", out / f"{split}.csv", "--quiet"] for split in ("train", "test")),
        ["neighbours", run, 0, "--split", "train", "--quiet"],
        ["morph", run, "--from", 0, "--to", 1, "--split", "train", "--out", out / "morph.npz", "--quiet"],
        *(["sample", run, "-n", 3, "--out", out / "s.npz", "--quiet", *density] for density in (
            [], ["--density", "factored"], ["--density", "full"], ["--density", "mixture"])),
        ["vary", run, "--row", 0, "--split", "train", "--out", out / "vary.npz", "--quiet"],
        ["animate", run, "--seconds", 1, "--out", out / "film.gif", "--quiet"],
        ["export", run, "--html", out / "atlas.html", "--quiet"],
        ["compare", run, other, "--out", out / "compare.html"],
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize(("name", "latent"), LITTLE)
def test_every_command_on_little_data(tmp_path: Path, call: Call, name: str, latent: int) -> None:
    run, other, file = tmp_path / "run", tmp_path / "other", written(tmp_path, name)
    some = [
        "--steps",
        4,
        "--set",
        "training.snapshot_every=2",
        "--set",
        "pictures.grid=[3,3]",
        "--latent",
        latent,
    ]
    code, text = call("train", *file, *some, "--out", run)
    if code:
        assert "there is nothing to learn" in text
        return
    undrawn = ["--quick", "--quiet", "--set", "pictures.draw=false"]
    assert call("train", *file, *some, "--out", other, *undrawn)[0] == 0
    for command in commands(run, other):
        if command[0] not in ("diagnose", "report"):  # training has done both
            call(*command)
    with Console(quiet=True) as console:
        server.live(opened_of(run, None, {"quiet": True}, console))


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize("name", ["6 images, each its class", "all equal", "4 rows"])
def test_a_study_of_little_data(tmp_path: Path, call: Call, name: str) -> None:
    source = written(tmp_path, name)[0]
    constant = "" if name in ARRAYS else '"data.constant" = "keep"\n'
    (tmp_path / "s.toml").write_text(
        f'[study]\nname = "s"\nseeds = [0, 1]\nmeasures = ["all"]\n[settings]\n"training.steps" = 2\n{constant}'
        '[[runs]]\nname = "a"\n"model.latent" = 1\n[[runs]]\nname = "b"\n"model.latent" = 3\n'
    )
    assert call("study", tmp_path / "s.toml", source, "--out", tmp_path / "study", "--quiet")[0] == 0


@pytest.mark.slow
@pytest.mark.measured
def test_classes_by_the_thousand(tmp_path: Path, call: Call) -> None:
    run, n = tmp_path / "run", 13_000
    frame = pd.DataFrame(rows(n), columns=list("abc")).assign(label=[f"k{i // 2}" for i in range(n)])
    frame.to_csv(tmp_path / "x.csv", index=False)
    some = ["--latent", 2, "--steps", 4, "--set", "training.snapshot_every=2"]
    assert call("train", tmp_path / "x.csv", "--label", "label", *some, "--out", run)[0] == 0
    for command in commands(run, run)[:-1]:
        call(*command)
