"""Training on rows in memory: by the one loop, with the weights of its best epoch, in a run folder or without one."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latlas import experiment, optimizers, pca, training
from latlas.brought import Brought
from latlas.build import build, description, item_of, objective_of, resolve, statistics
from latlas.checkpoints import Progress
from latlas.data import Dataset, Raw, load
from latlas.data.batches import Batches
from latlas.data.order import steps_per_epoch
from latlas.errors import InputError
from latlas.machine import choose_device
from latlas.models import Model
from latlas.progress import Observer
from latlas.runs import Run
from latlas.selection import Selection
from latlas.settings import Config
from latlas.weights import unlike

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Trained:
    """A trained model on the CPU with its best weights, and the description from which it is built again.

    `history` holds, at each validation, the `step`, the mean `loss` since the one before and the `score`, NaN without
    one. `run` is None where nothing was written.
    """

    model: Model
    about: Mapping[str, Any]
    history: Mapping[str, np.ndarray]
    steps: int
    epochs: int
    run: Run | None = None


@dataclass
class _Session:
    """The state of a training in memory."""

    model: Model
    config: Config
    dataset: Dataset
    device: torch.device
    observer: Observer
    progress: Progress = field(default_factory=Progress)
    rows: list[tuple[int, float | None, float | None]] = field(default_factory=list)

    def batches(self, split: str) -> Batches:
        return Batches(self.dataset.split(split), self.dataset.scaling, self.device, self.model.dtype)


@dataclass(frozen=True)
class _Kept:
    """Where training stood at the end of an epoch: to go back to after a setback."""

    weights: Weights
    optimizer: Mapping[str, object]
    progress: Progress


def in_memory(config: Config, raw: Raw, observer: Observer, start: Weights | None = None) -> Trained:
    """Trains on rows in memory and writes nothing; the weights are those that `in_folder` ends with.

    `start` are weights to start from. Raises InputError for an error in configuration or data and for weights that do
    not fit, LatlasError where training fails.
    """
    device = choose_device(config.training.device)
    dataset = load(config.data, observer.progress, raw)
    config, notes = resolve(config, dataset)
    for note in (*dataset.notes, *notes):
        observer.note(note)
    model = build(config, item_of(dataset), statistics(dataset))
    if start is not None:
        _start_from(model, start)
    session = _Session(model.to(device), config, dataset, device, observer)
    if config.training.method == "pca":
        pca.check(config, dataset)
        pca.solve(model, dataset, config.seed)
    else:
        _optimise(session)
    about = description(config, model, dataset.binary)
    return _trained(
        model.cpu().eval(), about, session.rows, session.progress.step, config, len(dataset.train)
    )


def in_folder(config: Config, raw: Raw, folder: Path, observer: Observer) -> Trained:
    """Trains on rows in memory in a new run folder, with all that comes after.

    Raises InputError for an error in configuration or data and for a folder that exists, LatlasError where training
    fails.
    """
    run = experiment.train(config, folder, observer, Brought(data=raw))
    model, data, resolved = run.model(), run.info["data"], run.config
    rows = [(row["step"], row["train"]["loss"], row["score"]) for row in run.log() if row["kind"] == "epoch"]
    about = description(resolved, model, data["binary"])
    trained = _trained(model, about, rows, run.progress.step, resolved, data["train"])
    return replace(trained, run=run)


def _start_from(model: Model, start: Weights) -> None:
    if wrong := unlike(model.state_dict(), start):
        raise InputError(f"the weights of the fit before do not fit: {'; '.join(wrong)}", field="warm_start")
    model.load_state_dict(start)


def _optimise(session: _Session) -> None:
    """Trains to the end, through setbacks, and loads the weights of the best epoch."""
    model, config = session.model, session.config
    data, valid = session.batches("train"), session.batches("valid")
    objective, length = objective_of(config, session.dataset.shape), training.plan(config, len(data))
    selection = Selection(config, objective, length)
    optimizer = optimizers.optimizer_for(config, model)
    last = _keep(model, optimizer, session.progress)
    best = last.weights
    over = False
    while not over:
        over = True
        for event in training.train(model, data, objective, optimizer, config, session.progress):
            if isinstance(event, training.SetBack):
                optimizer, over = _go_back(session, last), False
                break
            if isinstance(event, training.Noted):
                session.observer.note(event.text)
            if isinstance(event, training.Logged):
                detail = f"loss {event.values['loss']:.2f}"
                session.observer.progress("training", event.step, length.steps, detail)
            if isinstance(event, training.EpochEnded):
                verdict = selection.judge(model, valid, event, session.progress)
                session.rows.append((event.step, event.values["loss"], verdict.score))
                last = _keep(model, optimizer, session.progress)
                best = last.weights if verdict.better else best
                if reason := selection.is_over(session.progress):
                    session.observer.note(f"{reason}: stopped early")
                    break
    model.load_state_dict(best)


def _keep(model: Model, optimizer: torch.optim.Optimizer, progress: Progress) -> _Kept:
    weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return _Kept(weights, copy.deepcopy(optimizer.state_dict()), copy.deepcopy(progress))


def _go_back(session: _Session, last: _Kept) -> torch.optim.Optimizer:
    """Goes back to the end of the last whole epoch, or to the start, with half the learning rate."""
    session.progress = training.after_setback(copy.deepcopy(last.progress), session.progress)
    session.model.load_state_dict(last.weights)
    optimizer = optimizers.optimizer_for(session.config, session.model)
    optimizer.load_state_dict(copy.deepcopy(dict(last.optimizer)))
    return optimizer


def _trained(
    model: Model, about: Mapping[str, Any], rows: Sequence[tuple[int, float | None, float | None]], steps: int,
    config: Config, n: int,
) -> Trained:  # fmt: skip
    step, loss, score = zip(*rows, strict=True) if rows else ((), (), ())
    history = {"step": np.array(step, int), "loss": np.array(loss, float), "score": np.array(score, float)}
    per_epoch = steps_per_epoch(n, config.training.batch_size)
    return Trained(model, about, history, steps, -(-steps // per_epoch))
