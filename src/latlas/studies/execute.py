"""A study carried out: its runs trained or gone on with in turn, then compared."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from latlas import experiment
from latlas._version import __version__
from latlas.errors import InputError, LatlasError
from latlas.progress import Observer
from latlas.runs import Run
from latlas.studies import records, results
from latlas.studies.budget import about, left
from latlas.studies.prepare import Plan, Planned
from latlas.studies.study import seeds_of


class Interrupted(KeyboardInterrupt):
    """A study was asked to stop; the same call goes on with it."""


@dataclass
class State:
    """What became of the runs so far: seconds by folder, and the reason by folder of those that failed.

    `done` holds (kind, estimate, seconds) of the runs trained from beginning to end by this process.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    done: list[tuple[str, float, float]] = field(default_factory=list)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    results: dict[str, Any] | None = None


def run_state(plan: Plan, planned: Planned) -> str:
    """finished, begun or new."""
    folder = plan.out / planned.folder
    if not folder.exists():
        return "new"
    return "finished" if Run(folder).finished else "begun"


def remaining(plan: Plan, planned: Planned) -> float:
    """The estimate of what is still to do of a run; its place is that of the last log row."""
    state = run_state(plan, planned)
    if state == "finished":
        return plan.speeds[planned.kind].compare
    rows = Run(plan.out / planned.folder).log() if state == "begun" else []
    share = rows[-1]["step"] / planned.size.steps if rows and planned.size.steps else 0.0
    return (1 - min(1.0, share)) * plan.seconds(planned)


def carry_out(plan: Plan, observer: Observer) -> dict[str, Any]:
    """Trains what is not trained yet, compares all of it, and writes study.html, results.csv and study.json.

    A run that fails is left out of the comparison, and the others go on. Gives what study.json holds. Raises
    Interrupted when asked to stop, LatlasError at the end where runs failed.
    """
    state, before = State(), records.read(plan.out, plan.study.info.name)
    state.created = before.get("created", state.created)
    if _unchanged(plan, before):
        observer.note(f"{plan.out}: finished already; nothing has changed")
        return before
    records.write(plan.out, record(plan, state))
    try:
        for number in range(len(plan.runs)):
            _train(plan, state, number, observer)
            records.write(plan.out, record(plan, state))
        state.results = results.write(plan, set(state.failed), _failures(state), observer)
    except KeyboardInterrupt:
        records.write(plan.out, record(plan, state))
        raise Interrupted("stopped; what is trained is kept; the same call goes on with it") from None
    values = record(plan, state)
    records.write(plan.out, values)
    if state.failed:
        first = next(iter(state.failed.items()))
        raise LatlasError(
            f"{len(state.failed)} of {len(plan.runs)} runs failed and are left out of {plan.out / results.PAGE}:"
            f" {plan.out / first[0]}: {first[1]}"
        )
    return values


def _unchanged(plan: Plan, before: dict[str, Any]) -> bool:
    """Whether study.json holds the results of this very plan, and everything that was written is there."""
    asked = record(plan, State())
    keys = ("about", "latlas", "budget", "cuts")
    return (
        bool(before.get("results"))
        and all(before.get(key) == asked[key] for key in keys)
        and [row["folder"] for row in before["runs"]] == [row["folder"] for row in asked["runs"]]
        and all(row["state"] == "finished" for row in asked["runs"])
        and all((plan.out / name).is_file() for name in (results.PAGE, results.TABLE))
    )


def _train(plan: Plan, state: State, number: int, observer: Observer) -> None:
    planned = plan.runs[number]
    folder = plan.out / planned.folder
    was = run_state(plan, planned)
    ahead = [(p.kind, remaining(plan, p)) for p in plan.runs[number + 1 :]] + [("", plan.baselines)]
    here = [(planned.kind, remaining(plan, planned))]
    inner = _Inner(observer, f"run {number + 1} of {len(plan.runs)}", ahead, here, state.done)
    if was == "finished":
        state.seconds[planned.folder] = Run(folder).metrics.get("seconds") or 0.0
        observer.note(f"{inner.place}: {title(planned)}: finished already")
        return
    observer.note(f"{inner.place}, {inner.left(0.0)}: {title(planned)}")
    begun = time.perf_counter()
    try:
        if was == "begun":
            run = experiment.resume(
                folder, inner, plan.options.threads, plan.options.device, plan.options.data_dir
            )
        else:
            run = experiment.train(planned.config, folder, inner)
    except InputError:
        raise
    except LatlasError as error:
        observer.note(f"{inner.place} failed: {error}")
        state.failed[planned.folder] = str(error)
        return
    if was == "new":
        estimate = plan.seconds(planned) - plan.speeds[planned.kind].compare
        state.done.append((planned.kind, estimate, time.perf_counter() - begun))
    state.seconds[planned.folder] = run.metrics["seconds"]


def title(planned: Planned) -> str:
    """A run in words."""
    return f"{planned.data}, {planned.name}, seed {planned.seed}"


class _Inner:
    """What a run says, as a part of a study: its progress with the study's place; its notes are in its report."""

    def __init__(
        self, observer: Observer, place: str, ahead: Sequence[tuple[str, float]],
        here: Sequence[tuple[str, float]], done: Sequence[tuple[str, float, float]],
    ) -> None:  # fmt: skip
        self.observer, self.place, self.ahead, self.here, self.done = observer, place, ahead, here, done

    def left(self, share: float) -> str:
        """How long the study still takes when that share of this run is over."""
        now = left(self.ahead, self.done) + (1 - share) * left(self.here, self.done)
        return f"about {about(now)} left"

    def note(self, text: str) -> None: ...

    def epoch(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None:
        if what == "training":
            self.observer.progress(what, done, total, f"{self.place}, {self.left(done / max(total, 1))}")
            return
        share = 1.0 if what.startswith("evaluating") else 0.0
        # By a name of its own: each run's is over at once, or speaks for itself.
        self.observer.progress(f"{self.place}: {what}", done, total, self.left(share))


def _failures(state: State) -> list[str]:
    return [f"{folder} failed and is left out: {reason}" for folder, reason in state.failed.items()]


def record(plan: Plan, state: State) -> dict[str, Any]:
    """study.json: the plan, the estimate, what was cut, what became of each run, and the results."""
    cut, info = plan.cut, plan.study.info
    wanted, rows = seeds_of(info, plan.options.seeds), []
    for run in plan.runs:
        failed = state.failed.get(run.folder)
        rows.append({
            **row(plan, run),
            "state": "failed" if failed else run_state(plan, run),
            "seconds": state.seconds.get(run.folder),
            **({"error": failed} if failed else {}),
        })  # fmt: skip
    return {
        "format": 1,
        "study": info.name,
        "title": info.title,
        "about": info.model_dump(mode="json"),
        "latlas": __version__,
        "created": state.created,
        "data": list(dict.fromkeys(run.data for run in plan.runs)),
        "seeds": list(dict.fromkeys(run.seed for run in plan.runs)),
        "asked_seeds": plan.options.seeds,
        "budget": cut and {"seconds": plan.budget, **vars(cut), "of_seeds": len(wanted)},
        "cuts": list(plan.cuts),
        "estimate_seconds": round(plan.total, 1),
        "baseline_seconds": round(plan.baselines, 1),
        "speeds": {kind: vars(speed) for kind, speed in plan.speeds.items()},
        "runs": rows,
        "results": state.results,
    }


def row(plan: Plan, run: Planned) -> dict[str, Any]:
    """A planned run as plain values."""
    return {
        "name": run.name,
        "data": run.data,
        "seed": run.seed,
        "folder": run.folder,
        "steps": run.size.steps,
        "planned_steps": run.whole.steps,
        "estimate_seconds": round(plan.seconds(run), 1),
    }


def listed(plan: Plan) -> dict[str, Any]:
    """The plan as plain values: its runs with how far each is, what a budget cut, and the seconds of all of it."""
    return {
        "study": plan.study.info.name,
        "folder": str(plan.out),
        "runs": [{**row(plan, run), "state": run_state(plan, run)} for run in plan.runs],
        "cuts": list(plan.cuts),
        "estimate_seconds": round(plan.total, 1),
    }


def headline(plan: Plan) -> str:
    """Where the study is, how many runs it has, and how long what is left of them takes."""
    return f"{plan.out}: {len(plan.runs)} runs, about {about(sum(remaining(plan, run) for run in plan.runs))}"


__all__ = [
    "Interrupted",
    "carry_out",
    "headline",
    "listed",
    "record",
    "remaining",
    "row",
    "run_state",
    "title",
]
