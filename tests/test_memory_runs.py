"""Runs on data in memory: they carry the data, or take them again and refuse others; their folder says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import images
from test_data_given import SPARSE, AnnData, Hub, Items

import latlas
from latlas import cli
from latlas.data.options import MEMORY
from latlas.errors import InputError

X, Y = images(60, 8, 6), np.arange(60) % 3
SMALL: dict[str, Any] = {"latent": 2, "steps": 4, "quiet": True, "threads": 1}
SETTINGS = {"pictures.draw": False, "network.hidden": [8]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> latlas.Run:
    return latlas.train((X, Y), out=tmp_path_factory.mktemp("work") / "run", settings=SETTINGS, **SMALL)


@pytest.fixture
def copied(run: latlas.Run, tmp_path: Path) -> Path:
    shutil.copytree(run.path, tmp_path / "run")
    return tmp_path / "run"


Call = Callable[..., Any]
NEED_DATA: dict[str, Call] = {
    "evaluate": lambda run, **data: latlas.evaluate(run, ["mse"], **data),
    "evaluation_of": lambda run, **data: latlas.evaluation_of(run, ["mse"], **data),
    "diagnose": latlas.diagnose,
    "encode": lambda run, **data: latlas.encode(run, split="all", **data),
    "score": latlas.score,
    "neighbours": lambda run, **data: latlas.neighbours(run, 2, 3, **data),
    "reconstruct": latlas.reconstruct,
    "morph": lambda run, **data: latlas.morph(run, 0, 1, steps=3, **data),
    "vary": lambda run, **data: latlas.vary(run, row=1, **data),
    "sample of a density": lambda run, **data: latlas.sample(run, 3, density="full", **data),
    "compare_runs": lambda run, **data: latlas.compare_runs([run], pca=False, **data),
    "write_report": lambda run, **data: latlas.write_report(run, grid=(2, 2), **data),
    "resume": lambda run, **data: latlas.resume(run, steps=6, **data),
}
SLOW = ("write_report", "diagnose")
NEED_NONE: dict[str, Call] = {
    "sample": lambda run, **data: latlas.sample(run, 3, **data),
    "decode": lambda run, **data: latlas.decode(run, [[0.0, 1.0]], **data),
    "write_report": latlas.write_report,
    "load": lambda run, quiet, **data: latlas.load(run),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in NEED_DATA]
)
def test_a_call_on_a_folder_takes_the_data_again_and_no_others(name: str, copied: Path) -> None:
    call = NEED_DATA[name]
    with pytest.raises(InputError, match=r"was trained on data in memory.* pass them again .*data=x\)"):
        call(copied, quiet=True)
    other = X.copy()
    other[7, 3, 3] ^= 1
    for wrong in ((other, Y), X, (X, Y[::-1])) if name == "evaluate" else (X,):
        with pytest.raises(InputError, match="data in memory: these data are not those that"):
            call(copied, data=wrong, quiet=True)
    call(copied, data=(X, Y), quiet=True)


@pytest.mark.parametrize("name", list(NEED_NONE))
def test_what_needs_no_data_works_without(name: str, copied: Path) -> None:
    NEED_NONE[name](copied, quiet=True)


def test_the_run_that_training_gives_carries_its_data(run: latlas.Run) -> None:
    for name in ("evaluate", "encode", "score", "compare_runs"):
        NEED_DATA[name](run, quiet=True)
    assert len(run.encode(split="all", quiet=True)) == len(X)
    assert run.score(quiet=True)["elbo"].notna().all()


def test_other_types_that_hold_the_same_data_are_the_same_data(copied: Path, tmp_path: Path) -> None:
    value = latlas.evaluate(copied, ["mse"], data=(X, Y), quiet=True)["mse"]["value"]
    np.savez(tmp_path / "x.npz", x=X, y=Y)
    for data in ((torch.from_numpy(X), pd.Series(Y)), {"images": X, "labels": Y}, tmp_path / "x.npz"):
        assert latlas.evaluate(copied, ["mse"], data=data, quiet=True)["mse"]["value"] == value


def test_data_that_are_changed_afterwards_are_refused(tmp_path: Path) -> None:
    x = X.copy()
    run = latlas.train(x, out=tmp_path / "run", settings=SETTINGS, **SMALL)
    x[3] //= 2
    with pytest.raises(InputError, match="started with, or have been changed since"):
        latlas.evaluate(run, ["mse"], quiet=True)


def test_a_stopped_run_goes_on_to_the_same_bits(copied: Path) -> None:
    """With nothing of its training kept, from step 0."""
    whole = (copied / "model.safetensors").read_bytes()
    for name in ("metrics.json", "model.safetensors"):
        (copied / name).unlink()
    shutil.rmtree(copied / "checkpoints", ignore_errors=True)
    with pytest.raises(
        InputError, match=r"no weights yet; train them with: latlas.resume\('.*run', data=x\)"
    ):
        latlas.load(copied)
    again = latlas.resume(copied, data=(X, Y), quiet=True)
    assert (copied / "model.safetensors").read_bytes() == whole
    assert len(again.encode(quiet=True)) == 6


def test_the_folder_says_what_the_data_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = latlas.train((X, Y), settings=SETTINGS, latent=2, steps=2, threads=1)
    assert run.path == Path("runs/data-vae-1")
    said = "data in memory: ndarray (60, 8, 6, 1) of uint8, with labels"
    assert said in capsys.readouterr().err
    assert said in (run.path / "report.html").read_text()
    assert "latlas.evaluate(&#39;data-vae-1&#39;, data=x)" in (run.path / "report.html").read_text()
    assert run.config.data.source == MEMORY == run.info["data"]["source"]
    assert run.info["command"].startswith("latlas.train(x, recipe='vae', settings=")
    assert latlas.resume(run, data=(X, Y), steps=3, quiet=True).info["parts"][0]["command"] == (
        "latlas.resume('runs/data-vae-1', steps=3, data=x)"
    )


WORDS = (
    "evaluate",
    "diagnose",
    "encode",
    "score",
    "reconstruct",
    "compare",
    "report --redraw",
    "neighbours R 1",
)


@pytest.mark.parametrize("words", WORDS)
def test_the_command_line_says_that_no_file_holds_the_data(
    words: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *options = words.replace(" R ", " ").split()
    assert cli.run([command, str(copied), *options]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert "was trained on data in memory, and no file holds them: pass them again in Python" in said


def test_the_command_line_does_what_needs_no_data(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["sample", str(copied), "-n", "4", "--out", str(tmp_path / "s.png")]) == 0
    assert cli.run(["report", str(copied)]) == 0
    assert cli.run(["train", "--resume", str(copied)]) == 0  # finished
    assert cli.run(["train", "--config", str(copied / "config.toml")]) == 2
    assert "data in memory: no file holds them; in Python they are passed again" in capsys.readouterr().err


def test_other_data_for_a_run_in_every_type(tmp_path: Path) -> None:
    """A run on a sparse matrix of named columns, as an AnnData has them, and codes back into it."""

    cells = AnnData(SPARSE)
    run = latlas.train(cells, label="kind", out=tmp_path / "run", settings=SETTINGS, **SMALL)
    model = run.model()
    cells.obsm["X_latlas"] = model.encode(cells)
    assert cells.obsm["X_latlas"].shape == (SPARSE.shape[0], 2)
    expected = model.encode(SPARSE.toarray())
    for given in (cells, SPARSE, Items(SPARSE.toarray()), pd.DataFrame(SPARSE.toarray(), columns=cells.var_names),
                  Hub({name: SPARSE.toarray()[:, i].tolist() for i, name in enumerate(cells.var_names)})):  # fmt: skip
        np.testing.assert_allclose(model.encode(given), expected, atol=1e-6)
        np.testing.assert_allclose(latlas.encode(run, given, quiet=True).arrays["mean"], expected, atol=1e-6)
    assert latlas.score(run, cells, quiet=True).frame["name"].tolist() == cells.obs_names
    assert run.neighbours("cell3", 2, quiet=True)["name"].str.startswith("cell").all()
