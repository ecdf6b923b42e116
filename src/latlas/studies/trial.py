"""What a kind of run takes on this machine: a short run of it, trained as any run, and a row of the comparison."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from latlas import compare, config, experiment
from latlas.errors import InputError, LatlasError
from latlas.runs import Run
from latlas.settings import Config
from latlas.studies.budget import Size, Speed
from latlas.studies.study import StudyInfo
from latlas.temporaries import scratch

LEAST_STEPS = 15  # a run of so many steps has every snapshot that a longer one has
ENOUGH_SECONDS = 1.0  # of training, which tell how long a step takes


class _EpochClock:
    """An observer that times the ends of epochs: from the line of an epoch's last step to that of the epoch."""

    def __init__(self) -> None:
        self.last_step = 0.0
        self.seconds: list[float] = []

    def note(self, text: str) -> None: ...

    def epoch(self, text: str) -> None:
        self.seconds.append(time.perf_counter() - self.last_step)

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None:
        if what == "training":
            self.last_step = time.perf_counter()


@contextlib.contextmanager
def short_run(settings: Config, size: Size) -> Iterator[tuple[Run | None, Speed]]:
    """A short run with these settings, which is gone after the block, and the speed that it shows.

    A first one has the fewest steps; where it is over at once, which tells little, a second one trains for about a
    second. A run that fails, and will fail when its turn comes, is None. Raises KeyboardInterrupt with a message of
    its own where it is interrupted, InputError as `experiment.train` does.
    """
    try:
        with scratch() as folder:
            run, speed = _train(settings, min(size.steps, LEAST_STEPS), folder / "first")
            if run is not None and run.metrics["training_seconds"] < ENOUGH_SECONDS:
                per_step = speed.step + speed.epoch / size.per_epoch
                steps = max(LEAST_STEPS, int(ENOUGH_SECONDS / per_step)) if per_step else 0
                run, speed = _train(settings, min(size.steps, steps), folder / "second")
            yield run, speed
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped while measuring; no run of the study was started") from None


def _train(settings: Config, steps: int, folder: Path) -> tuple[Run | None, Speed]:
    """A run of so many steps in that folder; a closed form, which has none, is solved as a whole."""
    # Over fewer steps the learning rate would rise faster than it is to, and might diverge: next to none takes as long.
    changes = {"training.steps": max(1, steps), "optimizer.lr": 1e-12}
    clock, started = _EpochClock(), time.perf_counter()
    try:
        run = experiment.train(config.override(settings, changes, "short run"), folder, clock)
    except InputError:
        raise
    except LatlasError:
        return None, Speed(time.perf_counter() - started, 0.0, 0.0)
    metrics = run.metrics
    training, steps = metrics["training_seconds"], metrics["steps"]
    epoch = statistics.median(clock.seconds) if clock.seconds else 0.0
    rest = metrics["seconds"] - sum(clock.seconds)
    return run, Speed(rest - training, training / steps, epoch) if steps else Speed(rest, 0.0, 0.0)


def row_seconds(run: Run, info: StudyInfo) -> float:
    """Seconds that a row of the study's comparison takes, the data read anew among them; its second time, since the
    first one imports, and trains what measures keep for a whole data set.
    """
    for _ in range(2):
        started = time.perf_counter()
        compare.gather({"short run": [run]}, pca=False, measures=(*info.measures, *info.columns))
    return time.perf_counter() - started
