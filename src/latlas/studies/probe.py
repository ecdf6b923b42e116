"""What a combination of data, model and batch size costs on this machine: a second of it, tried."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from latlas import objectives, snapshots, training
from latlas.build import build, has_prior, item_of, statistics
from latlas.data import Dataset
from latlas.data.batches import Batches
from latlas.errors import LatlasError
from latlas.machine import prepare
from latlas.metrics.elbo import evaluate, trained_bound
from latlas.models import Model
from latlas.runs import Progress, Run, save_checkpoint
from latlas.settings import Config
from latlas.studies.budget import Speed
from latlas.tensorboard import Board

PROBE_SECONDS = 1.0  # of training steps
WARM_STEPS = 3  # not counted
PROBE_IMAGES = 1000


def measure(config: Config, dataset: Dataset, loading: float) -> Speed:
    """Trains, evaluates and writes for about a second with a resolved configuration; nothing of it is kept.

    `loading` is how long the data took to read. Raises InputError where network and data cannot go together.
    """
    begun = time.perf_counter()
    device = prepare(config.training)
    model = build(config, item_of(dataset), statistics(dataset)).to(device)
    start = loading + time.perf_counter() - begun

    def batches(split: str) -> Batches:
        return Batches(dataset.split(split), dataset.scaling, device, model.dtype)

    test = dataset.test.take(slice(0, PROBE_IMAGES))
    part = Batches(test, dataset.scaling, device, model.dtype)

    def evaluation() -> float:
        seconds = 0.0
        for _ in range(2):  # the first one allocates
            begun = time.perf_counter()
            with contextlib.suppress(LatlasError):  # as in training
                evaluate(model, part)
                trained_bound(model, part, config.objective)
            seconds = time.perf_counter() - begun
        return seconds / len(test)

    if config.training.method == "pca":
        from latlas import pca

        solving = _seconds(lambda: pca.solve(model, dataset, config.seed))
        return Speed(0.0, evaluation(), 0.0, 0.0, start + solving)
    with tempfile.TemporaryDirectory(prefix="latlas-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is not finite, as in training
        step, epoch = _train(model, batches("train"), batches("test"), config, Path(folder))
        snapshots.keep(Run(Path(folder)), config, model, dataset, 0)
        snapshot = _seconds(lambda: snapshots.keep(Run(Path(folder)), config, model, dataset, 1))
    return Speed(step, evaluation(), epoch, snapshot, start)


def _train(model: Model, data: Batches, test: Batches, config: Config, folder: Path) -> tuple[float, float]:
    """Seconds per step, with what is logged of it, and per epoch for what is kept at its end."""
    times = [time.perf_counter()]

    def enough() -> bool:
        # The first steps allocate, and a process's very first one imports: the clock starts after them.
        times.append(time.perf_counter())
        first = min(WARM_STEPS, len(times) - 2)
        return times[-1] - times[first] > PROBE_SECONDS and first > 0

    optimizer, progress, row = training.optimizer_for(config, model), Progress(), {"step": 1, "valid": None}
    board = Board(folder, 0)
    objective = objectives.build(config.objective, math.prod(model.item.shape))
    # A loss that is not finite ends the run when its turn comes; how fast it is can be told all the same.
    with contextlib.suppress(LatlasError):
        for event in training.train(model, data, objective, optimizer, config, progress, enough):
            if isinstance(event, training.Logged):
                rest = {"beta": event.beta, "lr": event.lr, "images_per_second": event.images_per_second}
                board.terms({**event.values, **rest, "step": event.step})
            if isinstance(event, training.Stopped):
                break
    # The clock is read once more after the loop's end, which waits for the device.
    first = min(WARM_STEPS, len(times) - 2)
    step = (time.perf_counter() - times[first]) / (len(times) - 1 - first)

    def keep() -> None:
        save_checkpoint(Run(folder), model, optimizer, progress)
        board.epoch(row, model, test)

    progress.best_step = progress.step
    keep()
    epoch = _seconds(keep)
    board.close()
    return step, epoch


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def comparing(config: Config, dataset: Dataset, names: Sequence[str], pca: bool) -> tuple[float, float]:
    """Seconds that a row of the comparison takes, by an untrained model: pictures and the measures called `names`;
    and a row of PCA, 0 where there is none.

    What measures keep for a whole data set, their classifier, is trained on the way, and not counted.
    """
    from latlas.compare import pictures
    from latlas.compare.ranking import Entry
    from latlas.metrics import Context
    from latlas.metrics import measure as take

    model, prior = build(config, item_of(dataset), statistics(dataset)).eval(), has_prior(config)
    if names:
        take(Context(model, dataset, prior), names)
    entry = Entry(
        "a row", {"latent": config.model.latent}, dataset.fingerprint, dataset.name, "", dataset.scaling
    )

    def row() -> None:
        take(Context(model, dataset, prior), names)
        pictures.draw([pictures.shown(entry, model, dataset, prior)], lambda done, total: None)

    seconds = _seconds(row)
    if not pca:
        return seconds, 0.0
    from latlas.pca import fit

    return seconds, seconds + _seconds(lambda: fit(dataset, 1))
