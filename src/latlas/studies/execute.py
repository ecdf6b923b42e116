"""A study carried out: its runs trained or resumed in turn, then compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from latlas import experiment
from latlas._version import __version__
from latlas.durations import rounded
from latlas.errors import InputError, LatlasError
from latlas.progress import Observer
from latlas.runs import Run
from latlas.studies import budget as budgets
from latlas.studies import results, study_json
from latlas.studies.prepare import Plan, Planned, run_seconds
from latlas.studies.study import seeds_of
from latlas.text import counted


class Interrupted(KeyboardInterrupt):
    """A study was asked to stop; the same call continues it."""


@dataclass
class State:
    """What became of the runs so far: the reason, by folder, of those that `failed`; and of their comparison."""

    failed: dict[str, str] = field(default_factory=dict)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    results: dict[str, Any] | None = None


def run_state(plan: Plan, planned: Planned) -> str:
    """finished, begun or new."""
    folder = plan.out / planned.folder
    if not folder.exists():
        return "new"
    return "finished" if Run(folder).finished else "begun"


def _trained_share(plan: Plan, planned: Planned) -> float:
    """How much of a run is trained, from 0 to 1; the log of one that was begun says where it stands."""
    state = run_state(plan, planned)
    rows = Run(plan.out / planned.folder).log() if state == "begun" else []
    return min(1.0, rows[-1]["step"] / max(1, planned.size.steps)) if rows else float(state == "finished")


def _seconds(plan: Plan, shares: Iterable[tuple[Planned, float]]) -> float | None:
    """What shares of runs take to train, by what the finished ones took; None where nothing tells."""
    finished = ((run, run_seconds(plan.out / run.folder)) for run in plan.runs)
    done = [(run.kind, plan.work(run), seconds) for run, seconds in finished if seconds]
    todo = [(run.kind, share * plan.work(run)) for run, share in shares]
    return budgets.time_left(todo, done, plan.measured)


def time_left(plan: Plan, runs: Iterable[Planned]) -> float | None:
    """Seconds that these runs still have to be trained; None where nothing tells."""
    return _seconds(plan, ((run, 1 - _trained_share(plan, run)) for run in runs))


def time_left_text(seconds: float | None) -> str:
    """The time that is left, as a part of a sentence."""
    if seconds is None:
        return "time left unknown, measuring with the first run"
    return f"about {rounded(seconds)} of training left"


def carry_out(plan: Plan, observer: Observer) -> dict[str, Any]:
    """Trains what is not trained yet, compares all of it, and writes study.html, results.csv, seeds.csv and study.json.

    A run that fails is left out of the comparison, and the others go on. Gives what study.json holds. Raises
    Interrupted when asked to stop, LatlasError at the end where runs failed.
    """
    state, before = State(), study_json.read(plan.out, plan.study.info.name)
    state.created = before.get("created", state.created)
    if _unchanged(plan, before):
        observer.note(f"{plan.out}: finished already; nothing has changed")
        return before
    study_json.write(plan.out, record(plan, state))
    try:
        for number in range(len(plan.runs)):
            _train(plan, state, number, observer)
            study_json.write(plan.out, record(plan, state))
        state.results = results.write(plan, set(state.failed), _failures(state), observer)
    except KeyboardInterrupt:
        study_json.write(plan.out, record(plan, state))
        raise Interrupted("stopped; what is trained is kept; the same call continues it") from None
    values = record(plan, state)
    study_json.write(plan.out, values)
    if state.failed:
        first = next(iter(state.failed.items()))
        raise LatlasError(
            f"{len(state.failed)} of {counted(len(plan.runs), 'run')} failed and"
            f" {'is' if len(state.failed) == 1 else 'are'} left out of {plan.out / results.PAGE}:"
            f" {plan.out / first[0]}: {first[1]}"
        )
    return values


def _unchanged(plan: Plan, before: dict[str, Any]) -> bool:
    """Whether study.json has the results of exactly this plan, and all files are there."""
    now = record(plan, State())
    keys = ("about", "latlas", "budget", "cuts")
    return (
        bool(before.get("results"))
        and all(before.get(key) == now[key] for key in keys)
        and [row["folder"] for row in before["runs"]] == [row["folder"] for row in now["runs"]]
        and all(row["state"] == "finished" for row in now["runs"])
        and all((plan.out / name).is_file() for name in (results.PAGE, results.TABLE, results.SEEDS))
    )


def _train(plan: Plan, state: State, number: int, observer: Observer) -> None:
    planned, options = plan.runs[number], plan.options
    folder, place = plan.out / planned.folder, f"run {number + 1} of {len(plan.runs)}"
    status = run_state(plan, planned)
    if status == "finished":
        observer.note(f"{place}: {title(planned)}: finished already")
        return
    left = time_left(plan, plan.runs[number:])
    observer.note(f"{place}, {time_left_text(left)}: {title(planned)}")
    whole, later = _seconds(plan, [(planned, 1.0)]), time_left(plan, plan.runs[number + 1 :])
    inner = _RunObserver(observer, place, whole, later)
    try:
        if status == "begun":
            where = {name: getattr(options, name) for name in ("threads", "device", "data_dir")}
            experiment.resume(folder, inner, where)
        else:
            experiment.train(planned.config, folder, inner)
    except InputError:
        raise
    except LatlasError as error:
        observer.note(f"{place} failed: {error}")
        state.failed[planned.folder] = str(error)


def title(planned: Planned) -> str:
    """A run in words."""
    return f"{planned.data}, {planned.name}, seed {planned.seed}"


class _RunObserver:
    """Passes on a run's progress with that of the study; its notes are left out, for its report has them.

    `whole` and `later` are the seconds that this run and those after it take to train, None where unknown.
    """

    def __init__(self, observer: Observer, place: str, whole: float | None, later: float | None) -> None:
        self.observer, self.place, self.whole, self.later = observer, place, whole, later

    def time_left(self, share: float) -> str:
        """How long the study still trains when that share of this run is over."""
        if self.whole is None or self.later is None:
            return time_left_text(None)
        return time_left_text((1 - share) * self.whole + self.later)

    def note(self, text: str) -> None: ...

    def epoch(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None:
        if what == "training":
            self.observer.progress(what, done, total, f"{self.place}, {self.time_left(done / max(total, 1))}")
            return
        share = 1.0 if what.startswith("evaluating") else 0.0
        # Named by its run: the console shows what lasts, and one run's must not be taken for the next one's.
        self.observer.progress(f"{self.place}: {what}", done, total, self.time_left(share))


def _failures(state: State) -> list[str]:
    return [f"{folder} failed and is left out: {reason}" for folder, reason in state.failed.items()]


def record(plan: Plan, state: State) -> dict[str, Any]:
    """The content of study.json: the plan, the estimate, what was cut, the state of each run, and the results."""
    cut, info = plan.cut, plan.study.info
    rows = []
    for run in plan.runs:
        error = state.failed.get(run.folder)
        rows.append({
            **row(run),
            "state": "failed" if error else run_state(plan, run),
            "seconds": run_seconds(plan.out / run.folder),
            **({"error": error} if error else {}),
        })  # fmt: skip
    of_seeds = len(seeds_of(info, plan.options.seeds))
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
        "budget": cut and {"seconds": plan.budget, **vars(cut), "of_seeds": of_seeds},
        "cuts": list(plan.cuts),
        "estimate_seconds": tenths(plan.total),
        "baseline_seconds": round(plan.baselines, 1),
        "runs": rows,
        "results": state.results,
    }


def row(run: Planned) -> dict[str, Any]:
    """A planned run as plain values; seconds that are not known are None."""
    return {
        "name": run.name,
        "data": run.data,
        "seed": run.seed,
        "folder": run.folder,
        "steps": run.size.steps,
        "planned_steps": run.whole.steps,
        "estimate_seconds": tenths(run.estimate),
    }


def tenths(seconds: float | None) -> float | None:
    """Seconds as study.json has them."""
    return None if seconds is None else round(seconds, 1)


def listed(plan: Plan) -> dict[str, Any]:
    """The plan as plain values: its runs with the state of each, what a budget cut, and the seconds of all of it."""
    return {
        "study": plan.study.info.name,
        "folder": str(plan.out),
        "runs": [{**row(run), "state": run_state(plan, run)} for run in plan.runs],
        "cuts": list(plan.cuts),
        "estimate_seconds": tenths(plan.total),
    }


def headline(plan: Plan) -> str:
    """Where the study is, how many runs it has, and how long those that are left take."""
    return f"{plan.out}: {counted(len(plan.runs), 'run')}, {time_left_text(time_left(plan, plan.runs))}"
