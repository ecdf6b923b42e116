"""How long a study takes, from measured seconds, and how a budget cuts its plan."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from latlas.errors import InputError

LEAST_SHARE = 0.1  # of its steps that a run keeps whatever the budget
MARGIN = 0.9  # of a budget that is planned for; measurements of a second are not exact


@dataclass(frozen=True)
class Speed:
    """Seconds on this machine: per optimiser `step`, per image of an `evaluation`, per `epoch` for what is kept at
    its end, per `snapshot`, to `start` a run, and to `compare` one.
    """

    step: float
    evaluation: float
    epoch: float
    snapshot: float
    start: float
    compare: float = 0.0


@dataclass(frozen=True)
class Size:
    """How much work a run is: optimiser steps (none for a closed form), those in an epoch, the images of the two
    splits that are evaluated, and snapshots.
    """

    steps: int
    per_epoch: int
    valid: int
    test: int
    snapshots: int = 0

    def at(self, share: float) -> int:
        """That share of the steps, in whole ones."""
        return min(self.steps, max(1, int(share * self.steps + 1e-9)))

    @property
    def least(self) -> float:
        """The smallest share: a tenth of the steps, and an epoch."""
        return min(1.0, max(LEAST_SHARE, self.per_epoch / self.steps)) if self.steps else 0.0


def seconds(size: Size, speed: Speed, share: float = 1.0) -> float:
    """What a run takes at that share of its steps: training, an evaluation per epoch and the last ones."""
    steps = size.at(share)
    epochs = -(-steps // size.per_epoch)
    passes = epochs * size.valid + size.valid + size.test
    kept = epochs * speed.epoch + size.snapshots * speed.snapshot
    return speed.start + steps * speed.step + kept + passes * speed.evaluation + speed.compare


@dataclass(frozen=True)
class Cut:
    """What of a study is carried out: the same share of every run's steps, and the first so many seeds."""

    share: float
    seeds: int


def fit(work: Sequence[Sequence[tuple[Size, Speed]]], budget: float, spent: float = 0.0) -> Cut:
    """The largest part of the work that fits into nine tenths of the budget beside the seconds `spent` elsewhere;
    `work` holds the runs of each seed.

    Fewer steps first, in equal proportion and never below an epoch or a tenth of any run's, then fewer seeds.
    Raises InputError with the smallest budget that would do.
    """
    least = max(size.least for runs in work for size, _ in runs)
    least = min(1.0, math.ceil(round(1000 * least, 6)) / 1000)
    room = MARGIN * budget - spent
    for seeds in range(len(work), 0, -1):
        runs = [run for part in work[:seeds] for run in part]

        def total(share: float, runs: list[tuple[Size, Speed]] = runs) -> float:
            return sum(seconds(size, speed, share) for size, speed in runs)

        # In thousandths, so that the share that is told is the share that was taken.
        low, high = round(1000 * least), 1000
        if total(1.0) <= room:
            return Cut(1.0, seeds)
        if total(low / 1000) > room:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if total(middle / 1000) <= room else (low, middle)
        return Cut(low / 1000, seeds)
    need = (sum(seconds(size, speed, least) for size, speed in work[0]) + spent) / MARGIN
    raise InputError(
        f"too short; with {100 * least:.3g} % of its steps and one seed the study takes"
        f" about {about(need)}, measuring among it: the smallest budget that would do is {exactly(need)}",
        field="budget",
        value=exactly(budget),
    )


def left(todo: Iterable[tuple[str, float]], done: Sequence[tuple[str, float, float]]) -> float:
    """Seconds that are left, from estimates of what is to do, mended by what was done in reality.

    `todo` holds (kind, estimate), `done` (kind, estimate, seconds): an estimate is multiplied by how far those
    of its kind were off, or of all kinds where none of its own is done yet.
    """

    def ratio(rows: list[tuple[str, float, float]]) -> float | None:
        expected = sum(row[1] for row in rows)
        return sum(row[2] for row in rows) / expected if expected else None

    everything = ratio(list(done)) or 1.0
    return sum(
        estimate * (ratio([row for row in done if row[0] == kind]) or everything) for kind, estimate in todo
    )


def duration(text: str) -> float:
    """Seconds of a duration such as 90s, 10m, 2h or 1h30m.

    Raises InputError for anything else.
    """
    parts = re.fullmatch(
        r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?", text.strip()
    )
    total = (
        sum(float(n or 0) * unit for n, unit in zip(parts.groups(), (3600, 60, 1), strict=True))
        if parts
        else 0
    )
    if total <= 0:
        raise InputError("expected a duration, as 90s, 10m, 2h or 1h30m", field="budget", value=text)
    return float(total)


def exactly(time_: float) -> str:
    """A duration as `duration` reads it, rounded up to the second."""
    return "".join(f"{n}{unit}" for n, unit in _parts(time_, ("h", "m", "s"))) or "0s"


def spelt(time_: float) -> str:
    """A duration to the second, in words."""
    return " ".join(f"{n} {unit}" for n, unit in _parts(time_, ("h", "min", "s"))) or "0 s"


def _parts(time_: float, units: tuple[str, str, str]) -> list[tuple[int, str]]:
    whole = math.ceil(time_ - 1e-6)
    numbers = (whole // 3600, whole % 3600 // 60, whole % 60)
    return [(n, unit) for n, unit in zip(numbers, units, strict=True) if n]


def about(time_: float) -> str:
    """A duration as people say it."""
    if time_ < 90:
        return f"{max(1, round(time_))} s" if time_ < 20 else f"{5 * round(time_ / 5)} s"
    minutes = round(time_ / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def told(cut: Cut, sizes: Mapping[str, Size], seeds: int, budget: float) -> list[str]:
    """What a cut took away, a sentence each; `sizes` are those of the runs by name, `seeds` as planned."""
    because = f"because of the budget of {spelt(budget)}"
    lines = []
    if cut.share < 1:
        steps: dict[str, list[str]] = {}
        for name, size in ((name, size) for name, size in sizes.items() if size.steps):
            steps.setdefault(f"{size.at(cut.share):,} of {size.steps:,}", []).append(name)
        whose = {p: ", ".join(n) if len(n) <= 3 else f"{len(n)} runs" for p, n in steps.items()}
        each = "; ".join(p if len(steps) == 1 else f"{names}: {p}" for p, names in whose.items())
        lines.append(f"each run trains {100 * cut.share:.3g} % of its steps ({each}), {because}")
    if cut.seeds < seeds:
        lines.append(f"{cut.seeds} of {seeds} seeds {'is' if cut.seeds == 1 else 'are'} trained, {because}")
    return lines
