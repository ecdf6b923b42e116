"""Processes that are stopped: politely, impolitely, and in the middle of anything."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import finish, images, start

EPOCHS = 10
SETTINGS = [
    "--latent", "2", "--batch-size", "16", "--threads", "1", "--set", "network.hidden=[32]", "--set",
    "pictures.draw=false", "--set", "evaluation.groups=[]", "--set", "evaluation.diagnose=false", "--set",
    "training.snapshot_weights=true",
]  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "ramps.npy"
    np.save(path, images(1500))
    return path


@pytest.fixture(scope="module")
def uninterrupted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run that nobody disturbed, and the seconds it trained for."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    begun = time.monotonic()
    code, _, err = finish(start("train", source, "--out", out, "--epochs", EPOCHS, *SETTINGS))
    assert code == 0, err
    return out, time.monotonic() - begun


def wait_for(path: Path, process: subprocess.Popen[str], size: int = 0) -> None:
    """Waits until the path is there, with at least so many bytes."""
    while not (path.exists() and path.stat().st_size >= size):
        assert process.poll() is None, finish(process)[2]
        time.sleep(0.002)


def killed_again_and_again(source: Path, out: Path, kills: int, longest: float, seed: int) -> int:
    """Starts a run, kills it at random moments after its folder is there, resumes; the kills that met it alive."""
    rng, met = random.Random(seed), 0
    process = start("train", source, "--out", out, "--epochs", EPOCHS, *SETTINGS)
    for kill in range(kills):
        wait_for(out, process)
        # The first kill falls right after the folder appears; resumed processes first have to import.
        time.sleep(rng.uniform(0, 0.3) if kill == 0 else rng.uniform(0.5, longest))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            met += 1
        finish(process)
        process = start("train", "--resume", out)
    code, _, err = finish(process)
    assert code == 0, err
    return met


def untimed(line: str) -> dict[str, Any]:
    return {k: v for k, v in json.loads(line).items() if k not in ("images_per_second", "seconds")}


def assert_same_run(run: Path, other: Path) -> None:
    assert (run / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert (run / "checkpoints" / "end.json").exists()
    assert not list((run / "checkpoints").glob("*.safetensors"))
    logs = [[untimed(line) for line in (f / "log.jsonl").read_text().splitlines()] for f in (run, other)]
    assert logs[0] == logs[1]
    kept = [{p.name: p.read_bytes() for p in (f / "snapshots").glob("[!.]*")} for f in (run, other)]
    assert len(kept[0]) > 3
    assert kept[0] == kept[1]
    assert [p for folder in (run, run.parent) for p in folder.rglob(".*") if p.name != ".lock"] == []


@pytest.mark.slow
def test_eight_kills_change_nothing(source: Path, uninterrupted: tuple[Path, float], tmp_path: Path) -> None:
    whole, seconds = uninterrupted
    assert killed_again_and_again(source, tmp_path / "run", 8, 0.8 * seconds, seed=1) >= 3
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop_it_keeps_its_state_and_says_how_to_go_on(
    source: Path, uninterrupted: tuple[Path, float], tmp_path: Path, number: signal.Signals
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("whoever started these tests has this signal ignored, and so have their processes")
    out = tmp_path / "run"
    process = start("train", source, "--out", out, "--epochs", EPOCHS, *SETTINGS)
    wait_for(out / "log.jsonl", process, size=1)
    os.kill(process.pid, number)
    code, stdout, err = finish(process)
    assert code == 130, err
    assert stdout == ""
    assert "Traceback" not in err
    assert f"latlas train --resume {out}" in err.splitlines()[-1]
    assert (out / "checkpoints" / "stopped.safetensors").exists()
    assert (out / "model.safetensors").exists()
    assert not (out / "metrics.json").exists()
    code, _, err = finish(start("train", "--resume", out))
    assert code == 0, err
    assert "continuing at step" in err
    assert_same_run(out, uninterrupted[0])


@pytest.mark.slow
def test_interrupted_before_the_run_begins_nothing_is_left(source: Path, tmp_path: Path) -> None:
    process = start("train", source, "--out", tmp_path / "run", *SETTINGS)
    time.sleep(0.4)
    os.kill(process.pid, signal.SIGINT)
    code, _, err = finish(process)
    if (tmp_path / "run").exists():
        pytest.skip("this machine was faster than the interruption")
    assert code in (130, -signal.SIGINT), err
    assert list(tmp_path.iterdir()) == []
