"""What a run writes down about itself: run.json at its beginning, metrics.json at its end."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import torch

from latlas import training
from latlas._version import __version__
from latlas.build import unit_of
from latlas.data import Dataset
from latlas.models import Model
from latlas.runs import Progress, Run


def info(dataset: Dataset, device: torch.device, notes: list[str]) -> dict[str, Any]:
    """run.json: the versions, the machine and the data that a run began with, and the choices that were made."""
    return {
        "format": 1,
        "latlas": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "data": {
            "name": dataset.name,
            "source": dataset.source,
            "kind": dataset.kind,
            "shape": list(dataset.shape),
            "binary": dataset.binary,
            "classes": dataset.classes,
            "columns": dataset.columns,
            "fingerprint": dataset.fingerprint,
            **{name: len(dataset.split(name)) for name in ("train", "valid", "test")},
        },
        "notes": notes,
    }


def metrics(
    run: Run,
    dataset: Dataset,
    model: Model,
    progress: Progress,
    splits: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """metrics.json: what was trained, for how long, and the numbers of each split; `seconds` is left to the caller."""
    config = run.config
    per_epoch = training.plan(config, len(dataset.train)).per_epoch
    return {
        "run": run.name,
        "data": dataset.name,
        "recipe": config.recipe.name,
        "network": config.network.name,
        "likelihood": config.likelihood.name,
        "latent": config.model.latent,
        "parameters": model.parameter_count,
        "epochs": round(progress.step / per_epoch, 3),
        "steps": progress.step,
        "best_step": progress.best_step,
        "seconds": None,
        "training_seconds": round(progress.seconds, 3),
        "images_per_second": round(progress.images / progress.seconds, 1) if progress.seconds else None,
        "unit": unit_of(dataset.kind),
        "normalised": model.likelihood.normalised(dataset.binary),
        "splits": {name: dict(numbers) for name, numbers in splits.items()},
        "finished": True,
    }
