"""Several processes that train together, forked from a server that has imported everything already."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from helpers import image_dataset
from torch import Tensor

from latlas import cli, distributed, optimizers, training
from latlas import config as configuration
from latlas.brought import bring
from latlas.build import build, item_of, objective_of, resolve, statistics
from latlas.checkpoints import Progress
from latlas.data import Dataset
from latlas.data.batches import Batches
from latlas.distributed import World
from latlas.models import Pass

SERVER = multiprocessing.get_context("forkserver")
# The first optimiser imports torch's compiler, which takes seconds: once in the server, not in all that collect tests.
SERVER.set_forkserver_preload(["ranks", "torch._dynamo"])
Environment = Mapping[str, str]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(work: Callable[..., None], size: int, *arguments: Any) -> list[BaseProcess]:
    """Starts `work(rank, environment, *arguments)` in so many processes that find each other."""
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = []
    for rank in range(size):
        environment = common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = SERVER.Process(target=work, args=(rank, environment, *arguments))
        process.start()
        started.append(process)
    return started


def codes(processes: list[BaseProcess], seconds: float = 240) -> list[int | None]:
    """The exit codes, as soon as all have ended."""
    for process in processes:
        process.join(seconds)
    found = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return found


def command(rank: int, environment: Environment, arguments: list[str], out: Path, more: Environment) -> None:
    """Runs a command line; what it prints goes to out/<rank>.out and out/<rank>.err. `more` is rank 1's environment."""
    os.environ |= environment | (more if rank == 1 else {})
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(out / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["latlas", *arguments]
    cli.main()


def batch_loss(p: Pass) -> Tensor:
    """No mean over items, and of all that a Pass has."""
    assert p.q is not None
    assert p.raw is not None
    mean = p.q.mean
    covariance = (mean - mean.mean(0)).T @ (mean - mean.mean(0)) / len(mean)
    return -p.log_px.mean() + (covariance - torch.eye(len(covariance))).square().sum() + p.raw.std()


def mixed(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each item with a part of another one, by the generator."""
    other = torch.randperm(len(x), generator=generator)
    return 0.9 * x + 0.1 * x[other]


OWN = {"batch_loss": batch_loss, "mixed": mixed}
MMD = {"objective__name": "infovae", "objective__alpha": 0.5, "objective__info_lambda": 10.0}
# Settings of trainings, with `__` for the dot; `own` are parts of one's own.
CASES: dict[str, dict[str, Any]] = {
    "elbo": {},
    "beta": {"objective__beta": 4.0, "optimizer__clip": 1.0},
    "free bits": {"objective__free_bits": 0.5},
    "capacity": {"objective__capacity": 2.0, "objective__beta": 10.0},
    "infovae": MMD,
    "wae": {"objective__name": "infovae", "posterior__name": "point", "objective__info_lambda": 10.0},
    "unbiased mmd": {"objective__name": "infovae", "objective__estimator": "unbiased", "objective__kernel": "imq"},
    "iwae": {"objective__name": "iwae", "objective__samples": 3},
    "dreg": {"objective__name": "iwae", "objective__samples": 3, "objective__gradient": "dreg"},
    "vamp": {"prior__name": "vamp", "prior__components": 5},
    "vamp, mmd": {"prior__name": "vamp", "prior__components": 5} | MMD,
    "mixture, mmd": {"prior__name": "mixture", "prior__components": 3} | MMD,
    "flow": {"posterior__name": "flow"},
    "full": {"posterior__name": "full-gaussian", "likelihood__name": "gaussian"},
    "noise": {"corruption__name": "gaussian", "corruption__strength": 0.3},
    "masking": {"corruption__name": "masking", "corruption__strength": 0.3, "network__name": "conv"},
    "binarised": {"data__binarise": "dynamic"},
    "moved": {"augment__flip": True, "augment__shift": 1},
    "own loss": {"own": {"objective": "batch_loss"}},
    "own augmentation": {"own": {"augment": "mixed"}},
}  # fmt: skip


def trained(name: str, world: World, steps: int = 9) -> dict[str, Any]:
    """The weights, the progress and the events of a short training, with a last batch of two items."""
    settings = dict(CASES[name])
    own = {key: OWN[value] for key, value in settings.pop("own", {}).items()}
    brought, parts = bring(own)
    quick = {"model__latent": 2, "network__hidden": (8,), "training__batch_size": 13, "training__log_every": 1,
             "training__precision": "float64", "training__steps": steps}  # fmt: skip
    dataset: Dataset = image_dataset(35)  # 28 to train on: batches of 13, 13 and 2
    changes = parts | {key.replace("__", "."): value for key, value in (quick | settings).items()}
    config = resolve(configuration.override(configuration.recipe("vae"), changes, name), dataset, brought)[0]
    model = build(config, item_of(dataset), statistics(dataset), brought)
    data = Batches(dataset.train, dataset.scaling, world.on(model.device), model.dtype, brought.augment)
    objective = objective_of(config, dataset.shape, brought)
    progress = Progress()
    events = list(
        training.train(
            model, data, objective, optimizers.optimizer_for(config, model), config, progress, world
        )
    )
    logged = [event.values for event in events if isinstance(event, training.Logged)]
    return {"weights": model.state_dict(), "logged": logged, "events": [type(e).__name__ for e in events]}


def all_cases(rank: int, environment: Environment, names: list[str], out: Path) -> None:
    """Trains the cases one after the other, and keeps what each process has."""
    os.environ |= environment
    torch.set_num_threads(1)
    for name in names:
        with distributed.joined() as world:
            torch.save(trained(name, world), out / f"{name}-{world.size}-{rank}.pt")


def in_a_group(rank: int, environment: Environment, names: list[str], out: Path) -> None:
    """The same in a process group that is there already, as Ray Train begins one; it stays."""
    os.environ |= environment
    torch.distributed.init_process_group("gloo")
    for name in environment:
        if name != "RANK":
            del os.environ[name]
    all_cases(rank, {}, names, out)
    assert torch.distributed.is_initialized()
