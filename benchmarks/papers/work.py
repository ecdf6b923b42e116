"""What every experiment needs: runs that can be stopped and resumed, numbers of them, and rows of a table."""

from __future__ import annotations

import json
import math
import platform
import statistics
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.throughput import processor
from latlas import config, experiment, inference, runs
from latlas.console import Console
from latlas.data import Split
from latlas.data.batches import Batches
from latlas.files import write_json
from latlas.machine import choose_device
from latlas.metrics.context import EVALUATION_SEED
from latlas.metrics.importance import log_likelihood
from latlas.models import Model
from latlas.runs import Run

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Row:
    """One number beside what was published, or what theory says exactly; `published` None where there is neither.

    `stderr` is the standard error of ours over test images; `claim` a statement instead of a number, with `held`.
    """

    what: str
    ours: float
    published: float | None = None
    stderr: float | None = None
    source: str = ""
    claim: str = ""
    held: bool | None = None
    digits: int = 2


@dataclass
class Work:
    """Where runs are, and how much of an experiment is done: all of it, or a smoke test of `steps` and `limit`."""

    runs: Path
    name: str
    device: str = "auto"
    threads: int | None = None
    steps: int | None = None
    limit: int | None = None
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return self.steps is None and self.limit is None

    def few(self, number: int, most: int) -> int:
        """The number, at most `most` in a smoke test."""
        return number if self.whole else min(number, most)

    def trained(self, label: str, file: str, changes: dict[str, Any]) -> Run:
        """The run `label` of this experiment: trained, resumed where it was stopped, or found finished."""
        path, begun = self.runs / f"{self.name}-{label}", time.process_time()
        with Console() as console:
            try:
                if runs.is_run(path):
                    run = experiment.resume(path, console, {"threads": self.threads})
                else:
                    run = experiment.train(self._config(label, file, changes), path, console)
            finally:
                self._add_time(label, time.process_time() - begun)
        self.seconds[label] = run.metrics["training_seconds"]
        return run

    def _config(self, label: str, file: str, changes: dict[str, Any]) -> config.Config:
        asked = {"recipe.name": f"{self.name}-{label}", "training.device": self.device,
                 "training.threads": self.threads, **changes}  # fmt: skip
        if self.limit is not None:
            asked["data.limit"] = self.limit
        if self.steps is not None:
            asked |= {"training.epochs": None, "training.steps": self.steps}
        return config.override(config.read(HERE / file), asked, file)

    def _add_time(self, label: str, seconds: float) -> None:
        """Processor time over all the processes that trained a run, kept beside it."""
        path = self.runs / f"{self.name}-{label}.time.json"
        before = json.loads(path.read_text())["cpu_seconds"] if path.exists() else 0.0
        self.cpu_seconds[label] = before + seconds
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cpu_seconds": self.cpu_seconds[label]}) + "\n")

    def items(self, run: Run, model: Model, images: int) -> Split:
        """So many test items, spaced evenly."""
        return inference.items(run, model, "test").evenly(self.few(images, 20))

    def log_likelihood(self, run: Run, images: int, samples: int, parts: int = 1) -> dict[str, Any]:
        """log p(x) of so many test images by importance sampling with so many draws each, kept beside the run.

        `log_px` and `elbo` are means, `stderr` is over images. `parts` are the means of so many equal parts of the
        images, each spread over all of them: two runs compare pair by pair, on the same images.
        """
        created = run.info["created"].replace(":", "-")
        path = self.runs / f"{run.name}.{created}.{images}-images-{samples}-draws-{parts}-parts.json"
        if path.exists():
            kept: dict[str, Any] = json.loads(path.read_text())
            return kept
        model = run.model().to(choose_device(self.device))
        items, found = self.items(run, model, images), []
        with Console() as console:
            for part in range(parts):
                some = items.take(slice(part, None, parts))
                data = Batches(some, model.item.scaling, model.device, model.dtype)
                done = partial(console.progress, f"log p(x) of {run.name}, part {part + 1} of {parts}")
                seed = EVALUATION_SEED + part
                found.append(log_likelihood(model, data, self.few(samples, 5), seed, progress=done))
        errors = [part.stderr or 0.0 for part in found]
        values = {
            "log_px": statistics.fmean(part.log_px for part in found),
            "elbo": statistics.fmean(part.elbo for part in found),
            "stderr": math.sqrt(statistics.fmean(e**2 for e in errors) / parts),
            "parts": [part.log_px for part in found],
        }
        write_json(path, values)
        return values

    def about(self) -> dict[str, Any]:
        """Date, machine and time, as they go beside the rows."""
        return {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else processor(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "training_seconds": {k: round(v, 1) for k, v in self.seconds.items()},
            "cpu_seconds": {k: round(v, 1) for k, v in self.cpu_seconds.items()},
        }
