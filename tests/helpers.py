"""Small models and data sets that several tests build on."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latlas import config as configuration
from latlas import training
from latlas.build import build, item_of, resolve, statistics
from latlas.data import Dataset, Scaling, Split
from latlas.data.batches import Batches
from latlas.models import Model
from latlas.settings import Config

CPU = torch.device("cpu")


def split(x: np.ndarray, labels: np.ndarray | None = None) -> Split:
    return Split(x, labels, np.arange(len(x)))


def images(n: int = 200, height: int = 8, width: int = 6, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Grey ramps of random direction and strength, uint8: easy to learn, and not 0/1."""
    rng = np.random.default_rng(seed)
    across = np.linspace(0, 1, width)[None, None, :, None]
    down = np.linspace(0, 1, height)[None, :, None, None]
    a, b = rng.random((2, n, 1, 1, channels))
    return np.round(255 * (a * across + b * down) / 2).astype(np.uint8)


def image_dataset(n: int = 200, **shape: int) -> Dataset:
    x = images(n, **shape)
    labels = np.arange(n) % 3
    cuts = [int(0.8 * n), int(0.9 * n)]
    parts = [split(part, y) for part, y in zip(np.split(x, cuts), np.split(labels, cuts), strict=True)]
    model_shape = (x.shape[3], x.shape[1], x.shape[2])
    scaling = Scaling("integer", (0.0,), (255.0,))
    return Dataset("ramps", "ramps", "image", model_shape, False, scaling, *parts, classes=("a", "b", "c"))


def table_dataset(x: np.ndarray) -> Dataset:
    """A table whose three splits are the same rows, standardised by nothing (shift 0, scale 1)."""
    scaling = Scaling("standard", (0.0,) * x.shape[1], (1.0,) * x.shape[1])
    return Dataset("table", "table", "table", (x.shape[1],), False, scaling, split(x), split(x), split(x))


def configured(dataset: Dataset, **settings: Any) -> Config:
    """The vae recipe with dotted settings (`__` for the dot), resolved for the data set."""
    changes = {key.replace("__", "."): value for key, value in settings.items()}
    return resolve(configuration.override(configuration.recipe("vae"), changes, "test"), dataset)[0]


def made(dataset: Dataset, **settings: Any) -> tuple[Config, Model]:
    config = configured(dataset, **settings)
    return config, build(config, item_of(dataset), statistics(dataset))


def batches(dataset: Dataset, name: str, model: Model) -> Batches:
    return Batches(dataset.split(name), dataset.scaling, CPU, model.dtype)


def poison(monkeypatch: pytest.MonkeyPatch, steps: Collection[int], above: float = 0.0) -> None:
    """Makes the batches of these steps, counted from 1, NaN while the learning rate is higher than `above`."""
    at, begin, stepper = [0], training.Noise.begin, training._stepper

    def remember(noise: training.Noise, step: int, *rest: Any) -> None:
        at[0] = step + 1
        begin(noise, step, *rest)

    def poisoned(*arguments: Any) -> Any:
        step = stepper(*arguments)

        def one(x: Tensor, scheduled: tuple[float, float, float], *rest: Any) -> Tensor:
            bad = at[0] in steps and scheduled[0] > above
            return step(x * math.nan if bad else x, scheduled, *rest)

        return one

    monkeypatch.setattr(training.Noise, "begin", remember)
    monkeypatch.setattr(training, "_stepper", poisoned)


def start(*arguments: object) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    command = [sys.executable, "-m", "latlas", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code and what it printed, once it has ended."""
    out, err = process.communicate(timeout=540)
    return process.returncode, out, err
