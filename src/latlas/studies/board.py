"""How far the runs of a study are, whoever trains them: what their folders and leases say, and the time left."""

from __future__ import annotations

from collections.abc import Callable

from latlas.durations import rounded
from latlas.progress import Observer
from latlas.runs import Run
from latlas.studies import budget as budgets
from latlas.studies import leases
from latlas.studies.prepare import Plan, Planned
from latlas.studies.work import run_state
from latlas.text import counted


def title(planned: Planned) -> str:
    """A run in words."""
    return f"{planned.data}, {planned.name}, seed {planned.seed}"


def time_left_text(seconds: float | None) -> str:
    """The time that is left, as a part of a sentence."""
    if seconds is None:
        return "time left unknown, measuring with the first run"
    return f"about {rounded(seconds)} of training left"


class Board:
    """The states of a plan's runs; `look` brings them up to date, notes what ended, and shows one progress for all.

    `since` is when the call began, by the clock of the file system; `on_end` is called when runs have ended.
    """

    def __init__(self, plan: Plan, since: float, observer: Observer, on_end: Callable[[], None]) -> None:
        self.plan, self.since, self.observer, self.on_end = plan, since, observer, on_end
        self.failed: dict[str, str] = {}
        self.leases: dict[str, leases.Seen] = {}
        self.finished: set[str] = set()
        self._done: list[tuple[str, float, float]] = []
        self._told: set[str] = set()
        self.update()
        self._told = self.finished | set(self.failed)

    @property
    def open(self) -> list[Planned]:
        """The runs of the share that are to be trained, and those of others whose process died."""
        own = {run.folder for run in self.plan.share}
        return [
            run
            for run in self.plan.runs
            if run.folder not in self.finished
            and run.folder not in self.failed
            and (run.folder in own or self._state(run) == "dead")
        ]

    @property
    def free(self) -> list[Planned]:
        """Those of the `open` runs that no living process holds."""
        return [run for run in self.open if self._state(run) != "held"]

    @property
    def held(self) -> list[Planned]:
        """The runs that a living process trains."""
        return [
            run for run in self.plan.runs if run.folder not in self.finished and self._state(run) == "held"
        ]

    def _state(self, run: Planned) -> leases.State:
        seen = self.leases.get(run.folder)
        return seen.state if seen else "released"

    def held_by(self, pid: int) -> Planned | None:
        """The run whose newest lease is of the process of that number on this machine."""
        own = (run for run in self.plan.runs if run.folder not in self.finished)
        return next((r for r in own if (seen := self.leases.get(r.folder)) and seen.pid == pid
                     and seen.state != "released"), None)  # fmt: skip

    def share_trained(self, run: Planned) -> float:
        """How much of a run is trained, from 0 to 1."""
        if run.folder in self.finished:
            return 1.0
        seen = self.leases.get(run.folder)
        if seen and seen.total:
            return min(1.0, seen.done / seen.total)
        rows = Run(self.plan.out / run.folder).log()
        return min(1.0, rows[-1]["step"] / max(1, run.size.steps)) if rows else 0.0

    def update(self) -> None:
        """Reads the states."""
        out = self.plan.out
        self.leases = leases.look(
            out, [run.folder for run in self.plan.runs if run.folder not in self.finished]
        )
        self.failed = {
            n: why for n, why in leases.failures(out, self.since).items() if n not in self.finished
        }
        for run in self.plan.runs:
            if run.folder not in self.finished and run_state(out, run) == "finished":
                self.finished.add(run.folder)
                seconds = Run(out / run.folder).metrics.get("seconds")
                if seconds:
                    self._done.append((run.kind, self.plan.work(run), seconds))

    def seconds_left(self) -> float | None:
        """Seconds until the share is trained, by what finished runs took and how many are trained at a time."""
        todo = [
            run
            for run in self.plan.share
            if run.folder not in self.finished and run.folder not in self.failed
        ]
        work = [(run.kind, (1 - self.share_trained(run)) * self.plan.work(run)) for run in todo]
        at_a_time = min(len(todo), max(self.plan.options.jobs or 1, len(self.held)))
        left = budgets.time_left(work, self._done, self.plan.measured)
        return left if left is None else left / max(1, at_a_time)

    def look(self) -> None:
        """Brings the states up to date, notes the runs that ended meanwhile, and shows how far all are."""
        self.update()
        numbers = {run.folder: number for number, run in enumerate(self.plan.runs, 1)}
        ended = (self.finished | set(self.failed)) - self._told
        left = time_left_text(self.seconds_left())
        for run in self.plan.runs:
            if run.folder not in ended:
                continue
            self._told.add(run.folder)
            place = f"run {numbers[run.folder]} of {len(self.plan.runs)}"
            if run.folder in self.failed:
                self.observer.note(f"{place} failed: {title(run)}: {self.failed[run.folder]}")
            else:
                self.observer.note(f"{place} is trained, {left}: {title(run)}")
        if ended:
            self.on_end()
        total = sum(self.plan.work(run) for run in self.plan.share)
        done = sum(self.share_trained(run) * self.plan.work(run) for run in self.plan.share)
        trained = sum(run.folder in self.finished for run in self.plan.share)
        detail = f"{trained} of {counted(len(self.plan.share), 'run')}, {len(self.held)} at a time, {left}"
        self.observer.progress("training", round(done), max(1, round(total)), detail)
