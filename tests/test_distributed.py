"""Several processes that train one run end where one process ends, however they are disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ranks
import torch
from helpers import images
from safetensors.torch import load_file

import latlas
from latlas import cli, distributed, training
from latlas.augmentation import augmented
from latlas.config import override, recipe
from latlas.corruption import corrupt
from latlas.distributed import World
from latlas.draws import Draws, Share, bernoulli
from latlas.errors import InputError
from latlas.settings import AugmentConfig, CorruptionConfig

ITEMS = 11
SHAPES = [(1, 6, 4), (3, 6, 4), (2, 9), (5,)]
SIZES = (1, 2, 3, 4, 20)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("items", [1, 2, 7, 100])
def test_shares_are_the_batch_and_differ_by_one_item(items: int, size: int) -> None:
    shares = [Share.of(rank, size, items) for rank in range(size)]
    assert [row for s in shares for row in range(s.start, s.stop)] == list(range(items))
    counts = [s.stop - s.start for s in shares]
    assert max(counts) - min(counts) <= 1
    assert sum(s.weight for s in shares) == pytest.approx(1)
    assert all(0 <= s.rows.start < s.rows.stop <= items for s in shares)


def items_of(shape: tuple[int, ...]) -> torch.Tensor:
    x = torch.rand(ITEMS, *shape[1:], shape[0], generator=torch.Generator().manual_seed(3))
    return x.movedim(-1, 1) if len(shape) > 1 else x


CHANGES: dict[str, Any] = {
    "binarised": bernoulli,
    "noise": lambda x, g: corrupt(x, CorruptionConfig(name="gaussian", strength=0.3), g),
    "masking": lambda x, g: corrupt(x, CorruptionConfig(name="masking", strength=0.5), g),
    "moved": lambda x, g: augmented(x, AugmentConfig(flip=True, shift=2), None, g),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("change", CHANGES)
def test_what_happens_to_a_share_is_cut_from_what_happens_to_the_batch(
    change: str, shape: tuple[int, ...]
) -> None:
    if change == "moved" and len(shape) == 1:
        pytest.skip("columns have no places")
    x, work = items_of(shape), CHANGES[change]
    whole = work(x, torch.Generator().manual_seed(5))
    assert torch.equal(work(x, Draws().manual_seed(5)), whole)
    for size in SIZES:
        for rank in range(size):
            draws = Draws()
            draws.share = share = Share.of(rank, size, ITEMS)
            assert torch.equal(work(x[share.rows], draws.manual_seed(5)), whole[share.rows])


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_PORT, MASTER_ADDR is not set"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "1"}, "MASTER_ADDR is not set"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_PORT": "1", "MASTER_ADDR": "a"}, "RANK = 2: expected a number below"),
        ({"WORLD_SIZE": "two", "RANK": "0", "MASTER_PORT": "1", "MASTER_ADDR": "a"}, "WORLD_SIZE = two: expected"),
    ],
)  # fmt: skip
def test_an_environment_that_says_half_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said):
        distributed.ranks()


def test_one_process_alone_joins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    with distributed.joined() as world:
        assert (world.size, world.alone, world.leads, world.share(3)) == (1, True, True, None)
    assert not torch.distributed.is_initialized()


def test_processes_that_read_other_data_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "decided", lambda self, work: "resident")
    World().agree("data.memory", "resident")
    with pytest.raises(
        InputError, match=r"data.memory: differs .* here it is windows, on the first one resident"
    ):
        World().agree("data.memory", "windows")


def test_processes_that_share_a_run_compare_data_and_order(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: dict[str, str] = {}
    monkeypatch.setattr(World, "agree", lambda self, field, value: compared.update({field: value}))
    dataset: Any = SimpleNamespace(fingerprint="abc", on_disk=True, train=range(100))
    config, model = override(recipe("vae"), {"training.epochs": 1}, "test"), torch.nn.Linear(1, 1)
    training.check_shared(World(0, 2), config, model, torch.device("cpu"), dataset)  # type: ignore[arg-type]
    assert compared == {"data.source": "abc", "data.memory": "windows"}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two and three processes have after training each of the cases."""
    out = tmp_path_factory.mktemp("cases")
    started = [ranks.start(ranks.all_cases, size, list(ranks.CASES), out) for size in (2, 3)]
    assert [ranks.codes(processes) for processes in started] == [[0, 0], [0, 0, 0]]
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", ranks.CASES)
def test_the_same_batches_give_the_same_run(cases: Path, name: str) -> None:
    alone = ranks.trained(name, World())
    for size in (2, 3):
        found = [torch.load(cases / f"{name}-{size}-{rank}.pt") for rank in range(size)]
        for key, weights in alone["weights"].items():
            torch.testing.assert_close(found[0]["weights"][key], weights, rtol=1e-10, atol=1e-12)
            assert all(torch.equal(f["weights"][key], found[0]["weights"][key]) for f in found), key
        for other in found:
            assert other["events"] == alone["events"]
            for mine, its in zip(alone["logged"], other["logged"], strict=True):
                assert {k: v for k, v in its.items() if v is not None} == pytest.approx(
                    {k: v for k, v in mine.items() if v is not None}, rel=1e-9
                )


@pytest.mark.slow
def test_a_process_group_that_is_there_is_joined(tmp_path: Path) -> None:
    names = ["elbo", "infovae"]
    assert ranks.codes(ranks.start(ranks.in_a_group, 2, names, tmp_path)) == [0, 0]
    for name in names:
        weights = [torch.load(tmp_path / f"{name}-2-{rank}.pt")["weights"] for rank in range(2)]
        for key, value in ranks.trained(name, World())["weights"].items():
            assert torch.equal(weights[0][key], weights[1][key])
            torch.testing.assert_close(weights[0][key], value, rtol=1e-10, atol=1e-12)


# Whole runs.
LENGTH = 12
SETTINGS = [
    "--latent", "2", "--batch-size", "16", "--threads", "1", "--set", "network.hidden=[32]", "--set",
    "pictures.draw=false", "--set", "evaluation.groups=[]", "--set", "evaluation.diagnose=false", "--set",
    "training.precision=float64",
]  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "ramps.npy"
    np.save(path, images(700))
    return path


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that one process trained, and nobody disturbed."""
    out = tmp_path_factory.mktemp("alone") / "run"
    assert cli.run(["train", str(source), "--out", str(out), "--epochs", str(LENGTH), "-q", *SETTINGS]) == 0
    return out


def train(size: int, folder: Path, *arguments: object, **environment: str) -> list[BaseProcess]:
    return ranks.start(ranks.command, size, ["train", *map(str, arguments)], folder, environment)


def printed(folder: Path, kind: str) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob(f"[0-9].{kind}"))]


def assert_same_run(run: Path, other: Path) -> None:
    weights = [load_file(folder / "model.safetensors") for folder in (run, other)]
    assert list(weights[0]) == list(weights[1])
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], rtol=1e-8, atol=1e-10)
    logs = [latlas.open_run(folder).log() for folder in (run, other)]
    assert [(row["kind"], row["step"]) for row in logs[0]] == [(row["kind"], row["step"]) for row in logs[1]]
    for mine, its in zip(*logs, strict=True):
        for key in {"loss", "elbo", "grad_norm", "rate"} & set(its):
            assert mine[key] == pytest.approx(its[key], rel=1e-7)
    assert json.loads((run / "metrics.json").read_text())["finished"]
    assert (run / "report.html").exists()
    names = [{p.name for p in (f / "snapshots").glob("[!.]*")} for f in (run, other)]
    assert names[0] == names[1]


def wait_for(path: Path, processes: list[BaseProcess], size: int = 0) -> None:
    while not (path.exists() and path.stat().st_size >= size):
        assert all(process.is_alive() for process in processes)
        time.sleep(0.002)


@pytest.mark.slow
def test_asked_to_stop_all_stop_at_one_step_and_another_number_goes_on(
    source: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """Two processes, of which the second gets a signal; three go on to the end."""
    out = tmp_path / "run"
    processes = train(2, tmp_path, source, "--out", out, "--epochs", LENGTH, *SETTINGS)
    wait_for(out / "log.jsonl", processes, 1)
    os.kill(processes[1].pid or 0, signal.SIGTERM)
    assert ranks.codes(processes) == [130, 130]
    assert (out / "checkpoints" / "stopped.safetensors").exists()
    assert printed(tmp_path, "out") == ["", ""]
    last = [
        line for text in printed(tmp_path, "err") for line in text.splitlines() if "stopped at step" in line
    ]
    assert len(last) == 1
    assert f"latlas train --resume {out}" in last[0]
    assert latlas.open_run(out).info["processes"] == 2
    for path in tmp_path.glob("[0-9].*"):
        path.unlink()
    assert ranks.codes(train(3, tmp_path, "--resume", out)) == [0, 0, 0]
    text, *silent = printed(tmp_path, "err")
    assert "3 processes train this run" in text
    assert "processes was 2 and is 3: the run goes on, but not bit for bit" in text
    assert silent == ["", ""]
    assert [bool(text) for text in printed(tmp_path, "out")] == [True, False, False]
    assert_same_run(out, undisturbed)


def errors(folder: Path) -> list[str]:
    return [line for text in printed(folder, "err") for line in text.splitlines() if line.startswith("error")]


NORMALISED = ["{source}", "--set", "network.name=conv", "--set", "network.batch_norm=true"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{source}", "--epochs", "none"], "--epochs"),
        (["nowhere.npy"], "nowhere.npy"),
        (NORMALISED, "batch normalisation needs whole batches"),
    ],
)
def test_an_error_of_all_is_printed_once(
    source: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    given = [argument.format(source=source) for argument in arguments]
    assert ranks.codes(train(2, tmp_path, *given, "--out", tmp_path / "run")) == [2, 2]
    assert len(errors(tmp_path)) == 1
    assert said in errors(tmp_path)[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_error_of_one_ends_all_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    processes = train(
        2, tmp_path, "fashion-mnist", "--out", tmp_path / "run", LATLAS_DATA=str(tmp_path / "no")
    )
    assert ranks.codes(processes) == [2, 2]
    assert len(errors(tmp_path)) == 1
    assert "latlas data fetch fashion-mnist" in errors(tmp_path)[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_the_others_with_one_line(
    source: Path, undisturbed: Path, tmp_path: Path, victim: int
) -> None:
    out = tmp_path / "run"
    processes = train(2, tmp_path, source, "--out", out, "--epochs", LENGTH, *SETTINGS)
    wait_for(out / "log.jsonl", processes, 1)
    os.kill(processes[victim].pid or 0, signal.SIGKILL)
    assert sorted(ranks.codes(processes), key=str) == [-signal.SIGKILL, 1]
    assert len(errors(tmp_path)) == 1
    assert (
        "is gone: it was killed, or its machine stopped; continue from the last checkpoint with: latlas train"
        in (errors(tmp_path)[0])
    )
    assert cli.run(["train", "--resume", str(out), "-q"]) == 0
    assert_same_run(out, undisturbed)


def children(pid: int) -> list[int]:
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(child) for child in done.stdout.split()]


@pytest.mark.slow
def test_torchrun_restarts_them_and_they_go_on(source: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Killed twice at random moments after training has begun; the folder has the name that latlas gave it."""
    rng, out = random.Random(0), tmp_path / "runs" / "ramps-vae-1"
    launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "5", "-m", "latlas"]
    command = [sys.executable, "-m", *launcher, "train", str(source), "--epochs", str(LENGTH), *SETTINGS]
    with (tmp_path / "log").open("wb") as log:
        agent = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    for _ in range(2):
        while not (out / "log.jsonl").exists() or len(children(agent.pid)) < 2:
            assert agent.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 5))
        if agent.poll() is None and (alive := children(agent.pid)):
            os.kill(rng.choice(alive), signal.SIGKILL)
            time.sleep(1)
    assert agent.wait(300) == 0, (tmp_path / "log").read_text()
    assert f"restarted: going on with runs/{out.name}" in (tmp_path / "log").read_text()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [out.name]
    assert_same_run(out, undisturbed)
