"""How long runs take, from measured seconds, and how a budget cuts the plan of a study."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from latlas.durations import duration_text, duration_words, rounded
from latlas.errors import InputError

LEAST_SHARE = 0.1  # of its steps, which a run keeps whatever the budget
MARGIN = 0.9  # the share of a budget that the plan may take; measurements of a second are not exact


@dataclass(frozen=True)
class Speed:
    """Seconds on this machine: of a run whatever its length, from its `start` to its row in the comparison; per
    optimiser `step`; and per `epoch` for what comes at its end.
    """

    start: float
    step: float
    epoch: float


@dataclass(frozen=True)
class Size:
    """How long a run is: optimiser steps (0 for a closed form), those between two validations, which are those of an
    epoch unless epochs are very many, and those between two snapshots (None where their number does not grow with the
    run).
    """

    steps: int
    per_epoch: int
    snapshot_every: int | None = None

    def at(self, share: float) -> int:
        """That share of the steps, in whole ones."""
        return min(self.steps, max(1, int(share * self.steps + 1e-9)))

    @property
    def least_share(self) -> float:
        """The smallest share of the steps that a budget leaves: a tenth of them, and an epoch."""
        return min(1.0, max(LEAST_SHARE, self.per_epoch / self.steps)) if self.steps else 0.0


def seconds(size: Size, speed: Speed, share: float = 1.0) -> float:
    """What a run takes at that share of its steps; a snapshot is taken to cost as much as the end of an epoch."""
    steps = size.at(share)
    snapshots = steps // size.snapshot_every if size.snapshot_every else 0
    return speed.start + steps * speed.step + (-(-steps // size.per_epoch) + snapshots) * speed.epoch


@dataclass(frozen=True)
class Cut:
    """The part of a study that a budget leaves: the same share of every run's steps, and the first so many seeds."""

    share: float
    seeds: int


def wall(seconds_of_runs: Sequence[float], jobs: int) -> float:
    """What runs take of which so many are trained at a time: their share of the sum, and the longest at the least."""
    return max(sum(seconds_of_runs) / jobs, max(seconds_of_runs)) if jobs > 1 else sum(seconds_of_runs)


def fit(
    work: Sequence[Sequence[tuple[Size, Speed]]], budget: float, spent: float = 0.0, jobs: int = 1
) -> Cut:
    """The largest part of the work that fits into nine tenths of the budget less the seconds `spent` elsewhere; `work`
    holds the runs of each seed, of which so many `jobs` are trained at a time.

    Steps are cut first, in equal proportion and never below an epoch or a tenth of any run's, then seeds.
    Raises InputError with the smallest budget that would do.
    """
    least = max(size.least_share for runs in work for size, _ in runs)
    least = min(1.0, math.ceil(round(1000 * least, 6)) / 1000)
    room = MARGIN * budget - spent
    for seeds in range(len(work), 0, -1):
        runs = [run for part in work[:seeds] for run in part]

        def total(share: float, runs: list[tuple[Size, Speed]] = runs) -> float:
            return wall([seconds(size, speed, share) for size, speed in runs], jobs)

        # In thousandths, so that the share in the messages is exactly the share that is trained.
        low, high = round(1000 * least), 1000
        if total(1.0) <= room:
            return Cut(1.0, seeds)
        if total(low / 1000) > room:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if total(middle / 1000) <= room else (low, middle)
        return Cut(low / 1000, seeds)
    need = (wall([seconds(size, speed, least) for size, speed in work[0]], jobs) + spent) / MARGIN
    raise InputError(
        f"too short; with {100 * least:.3g} % of its steps and one seed the study"
        f" takes about {rounded(need)}, measuring among it: the smallest budget that would do is {duration_text(need)}",
        field="budget",
        value=duration_text(budget),
    )


def time_left(
    todo: Iterable[tuple[str, float]], done: Sequence[tuple[str, float, float]], in_seconds: bool
) -> float | None:
    """Seconds that the runs `todo`, each (kind, work), still take by what those `done`, (kind, work, seconds), took.

    Work is counted in expected seconds where these are known (`in_seconds`), else in steps. What a unit of it took is
    the mean over the runs of the same kind or, where none of them is done, over all. None where nothing is known yet.
    """
    if not done and not in_seconds:
        return None

    def seconds_per_unit(rows: Sequence[tuple[str, float, float]]) -> float:
        return sum(row[2] for row in rows) / sum(row[1] for row in rows)

    overall = seconds_per_unit(done) if done else 1.0
    by_kind = {kind: seconds_per_unit([row for row in done if row[0] == kind]) for kind, _, _ in done}
    return sum(work * by_kind.get(kind, overall) for kind, work in todo)


def cut_notes(cut: Cut, sizes: Mapping[str, Size], seeds: int, budget: float) -> list[str]:
    """What a cut took away, a sentence each; `sizes` are those of the runs by name, `seeds` as planned."""
    because = f"because of the budget of {duration_words(budget)}"
    notes = []
    if cut.share < 1:
        runs_by_steps: dict[str, list[str]] = {}
        for name, size in sizes.items():
            if size.steps:
                steps = f"{size.at(cut.share):,} of {size.steps:,}"
                runs_by_steps.setdefault(steps, []).append(name)
        lists = {s: ", ".join(n) if len(n) <= 3 else f"{len(n)} runs" for s, n in runs_by_steps.items()}
        parts = [steps if len(lists) == 1 else f"{names}: {steps}" for steps, names in lists.items()]
        notes.append(f"each run trains {100 * cut.share:.3g} % of its steps ({'; '.join(parts)}), {because}")
    if cut.seeds < seeds:
        notes.append(f"{cut.seeds} of {seeds} seeds {'is' if cut.seeds == 1 else 'are'} trained, {because}")
    return notes
