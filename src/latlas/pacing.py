"""How many steps fit into the time that a run is given, by steps that are taken for the sake of the clock."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import torch

from latlas import optimizers, snapshots, training
from latlas.brought import Brought
from latlas.build import MOST_EPOCHS, most_epochs, objective_of
from latlas.checkpoints import Progress
from latlas.config import override
from latlas.data import Dataset
from latlas.data.batches import Batches
from latlas.data.order import steps_per_epoch
from latlas.distributed import LOOK, World
from latlas.durations import duration_text, parse_duration
from latlas.errors import InputError
from latlas.models import Model
from latlas.progress import Observer
from latlas.runs import Run
from latlas.selection import Selection
from latlas.settings import Config
from latlas.temporaries import scratch

SHARE, MOST_SECONDS = 0.05, 5.0  # of the budget, which the clock is tried for
# Looks at the clock while steps take longer than later, and the fewest steps that are worth a run.
FIRST, LEAST = 5, 10
SLOW = 4  # steps of which the last two are measured, where they take longer than there is time for measuring
SNAPSHOTS = 0.1  # the share of what is left that snapshots may take, where nobody said how many there are
MARGIN = 0.97  # the share of what is left that the plan takes; the next minute may be slower than this one
VALIDATED = 1000  # validation items, spread over all of them, by which validating all is timed
ENDLESS = 10**9
ENOUGH = 1800  # steps from which on a higher rate gains a nat at most (benchmarks/results/ablations.md)


@dataclass(frozen=True)
class Pace:
    """Seconds of an optimiser step, of a validation, and of a snapshot, on this machine."""

    step: float
    validation: float
    snapshot: float

    def seconds(self, config: Config, images: int) -> float:
        """What training takes with this configuration, its validations and snapshots among it."""
        length = training.plan(config, images)
        validations = -(-length.steps // length.validated)
        many = len(training.snapshot_steps(config, length)) + 1
        return length.steps * self.step + validations * self.validation + many * self.snapshot


def within_budget(
    config: Config, dataset: Dataset, model: Model, device: torch.device, brought: Brought, observer: Observer
) -> tuple[Config, str]:
    """The configuration with as many steps as fit into its budget, and a note on them.

    The time for measuring counts. Raises InputError where not even ten steps fit, and for a closed form.
    """
    if config.training.method == "pca":
        raise InputError("pca is a closed form without steps; leave the budget out", field="training.budget")
    budget, began = parse_duration(config.training.budget, "training.budget"), perf_counter()
    observer.progress("measuring", 0, 1, "how long a step takes")
    tried = copy.deepcopy(model).to(device)
    pace = measured(config, dataset, tried, brought, min(SHARE * budget, MOST_SECONDS))
    observer.progress("measuring", 1, 1)
    left, images = MARGIN * (budget - (perf_counter() - began)), len(dataset.train)
    planned = partial(_planned, config, snapshots=max(1, int(SNAPSHOTS * left / max(pace.snapshot, 1e-6))))
    steps = _most_steps(planned, images, pace, left)
    if steps < LEAST:
        need = pace.seconds(planned(LEAST), images) / MARGIN + budget - left / MARGIN
        raise InputError(
            f"too short for {LEAST} steps of {1000 * pace.step:.3g} ms, and for what is kept of them; give"
            f" {duration_text(need)} at the least",
            field="training.budget",
            value=config.training.budget,
        )
    why = f"a budget of {config.training.budget}, {1000 * pace.step:.3g} ms a step as measured here"
    most = most_epochs(config, dataset.kind)
    # A network that starts near its best: neither more steps nor larger ones bring it further.
    if most < MOST_EPOCHS:
        enough = most * steps_per_epoch(images, config.training.batch_size)
        if enough < steps:
            why = f"{config.network.name} overfits {images:,} images in more than {most} epochs"
        steps = min(enough, steps)
        return planned(steps), f"training.steps = {steps} ({why})"
    return _hurried(planned(steps), f"training.steps = {steps} ({why})")


def _hurried(config: Config, note: str) -> tuple[Config, str]:
    """The planned configuration with the learning rate for its number of steps, and the note with that."""
    options, steps = config.optimizer, config.training.steps
    assert steps is not None
    lr = float(f"{options.lr * min(options.short_factor, max(1.0, ENOUGH / steps)):.2g}")
    if lr <= options.lr:
        return config, note
    why = f"of few steps larger ones get further; optimizer.short_factor = 1 keeps {options.lr:g}"
    return override(config, {"optimizer.lr": lr}, "training.budget"), f"{note}; optimizer.lr = {lr:g} ({why})"


def measured(config: Config, dataset: Dataset, tried: Model, brought: Brought, seconds: float) -> Pace:
    """The pace of a model, which this trains for so many seconds and a few steps at the least."""
    progress, marks = Progress(), [(perf_counter(), 0)]
    config = _planned(config, ENDLESS)
    objective = objective_of(config, dataset.shape, brought)
    part = dataset.valid.evenly(VALIDATED)
    train, few = (
        Batches(items, dataset.scaling, tried.device, tried.dtype, augment)
        for items, augment in ((dataset.train, brought.augment), (part, None))
    )

    # To wait for a GPU after each step would measure how long it takes to begin one.
    cuda = tried.device.type == "cuda"
    every, least = (LOOK, 3) if cuda else (1, SLOW)

    def mark() -> None:
        if cuda:
            torch.cuda.synchronize()
        marks.append((perf_counter(), progress.step))

    def enough() -> bool:
        if progress.step % every:
            return False
        mark()
        return len(marks) > least and marks[-1][0] - marks[0][0] > seconds

    optimizer = optimizers.optimizer_for(config, tried)
    for _ in training.train(tried, train, objective, optimizer, config, progress, World(stop=enough)):
        pass
    if progress.step > marks[-1][1]:  # the first losses are not finite, and it would go back
        mark()
    (start, before), (end, after) = marks[min(FIRST, (len(marks) - 1) // 2)], marks[-1]
    step = (end - start) / (after - before)
    selection = Selection(config, objective, training.plan(config, len(dataset.train)))
    ended = training.EpochEnded(1, 1, {}, 0.0)
    with scratch() as folder:
        validation = _seconds(lambda: selection.judge(tried, few, ended, Progress()), seconds)
        snapshot = _seconds(lambda: snapshots.keep(Run(folder), config, tried, dataset, 0), seconds)
    return Pace(step, validation * dataset.valid.held / max(1, len(part)), snapshot)


def _seconds(work: Callable[[], object], most: float) -> float:
    """How long the work takes the second time; the first one warms up, and counts where it takes more than `most` and
    .3 s, so that nothing long is done twice.
    """
    for _ in range(2):
        began = perf_counter()
        work()
        took = perf_counter() - began
        if took > max(most, 0.3):
            break
    return took


def _planned(config: Config, steps: int, snapshots: int | None = None) -> Config:
    """The configuration with so many steps, and with at most so many snapshots in them unless it says when."""
    changes: dict[str, object] = {"training.steps": steps, "training.budget": ""}
    options = config.training
    if snapshots is not None and options.snapshot_every is None and options.snapshot_epochs is None:
        usual = len(training.snapshot_steps(config, training.Plan(steps, steps, 0)))
        if snapshots < usual:
            changes["training.snapshot_every"] = -(-steps // snapshots)
    return override(config, changes, "training.budget")


def _most_steps(planned: Callable[[int], Config], images: int, pace: Pace, seconds: float) -> int:
    """The most steps that take no longer than that, as they are planned; 0 where none do."""
    low, high = 0, max(1, int(seconds / pace.step)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        fits = pace.seconds(planned(middle), images) <= seconds
        low, high = (middle, high) if fits else (low, middle)
    return low
