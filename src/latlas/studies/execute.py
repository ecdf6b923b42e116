"""A study carried out: its runs trained or resumed, in turn or at the same time, then compared by whoever is last."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from latlas import invocation
from latlas._version import __version__
from latlas.errors import LatlasError
from latlas.progress import Observer
from latlas.runs import Run
from latlas.studies import budget as budgets
from latlas.studies import leases, results, study_json, work
from latlas.studies.board import Board, time_left_text, title
from latlas.studies.parallel import LOOK, Crew, train_by_executor
from latlas.studies.prepare import Plan, Planned, run_seconds
from latlas.studies.study import seeds_of
from latlas.studies.work import Job, run_state
from latlas.text import counted

COMPARING = "comparison"  # the name of the lease of the process that compares the runs


class Interrupted(KeyboardInterrupt):
    """A study was asked to stop; the same call continues it."""


@dataclass
class State:
    """What became of the runs so far: the reason, by folder, of those that `failed`; and of their comparison."""

    failed: dict[str, str] = field(default_factory=dict)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    results: dict[str, Any] | None = None


def _trained_share(plan: Plan, planned: Planned) -> float:
    """How much of a run is trained, from 0 to 1; the log of one that was begun says where it stands."""
    state = run_state(plan.out, planned)
    rows = Run(plan.out / planned.folder).log() if state == "begun" else []
    return min(1.0, rows[-1]["step"] / max(1, planned.size.steps)) if rows else float(state == "finished")


def _seconds(plan: Plan, shares: Iterable[tuple[Planned, float]]) -> float | None:
    """What shares of runs take to train, by what the finished ones took; None where nothing tells."""
    finished = ((run, run_seconds(plan.out / run.folder)) for run in plan.runs)
    done = [(run.kind, plan.work(run), seconds) for run, seconds in finished if seconds]
    todo = [(run.kind, share * plan.work(run)) for run, share in shares]
    return budgets.time_left(todo, done, plan.measured)


def time_left(plan: Plan, runs: Iterable[Planned]) -> float | None:
    """Seconds that these runs still have to be trained, one after the other; None where nothing tells."""
    return _seconds(plan, ((run, 1 - _trained_share(plan, run)) for run in runs))


def carry_out(plan: Plan, observer: Observer, executor: Executor | None = None) -> dict[str, Any]:
    """Trains what is not trained yet, compares all of it, and writes study.html, results.csv, seeds.csv and study.json.

    Other processes may carry out the same study in the same folder at the same time: each run is trained by one of
    them, and the last one compares. A run that fails is left out of the comparison, and the others go on. Gives what
    study.json holds, without results where a part of a study is over before the others. Raises Interrupted when asked
    to stop, LatlasError at the end where runs failed.
    """
    state, before = State(), study_json.read(plan.out, plan.study.info.name)
    state.created = before.get("created", state.created)
    if _unchanged(plan, before):
        observer.note(f"{plan.out}: finished already; nothing has changed")
        return record(plan, state) | before
    study_json.write(plan.out, record(plan, state))
    job = _job(plan)
    board = Board(plan, job.since, observer, lambda: _write(plan, state, board.failed))
    try:
        _train_all(job, board, observer, executor)
        _write(plan, state, board.failed)  # before the look that tells who is last
        board.update()
        values = _compared(plan, board, state, observer)
    except KeyboardInterrupt:
        _write(plan, state, board.failed)
        raise Interrupted("stopped; what is trained is kept; the same call continues it") from None
    finally:
        work.forget_data()
        leases.request_stop(plan.out, job.session).unlink(missing_ok=True)
    _refuse_failures(plan, state, board)
    return values


def _write(plan: Plan, state: State, failed: dict[str, str]) -> None:
    """Writes study.json, unless another process has written the results of this plan there."""
    state.failed = failed
    if not _unchanged(plan, study_json.read(plan.out, plan.study.info.name)):
        study_json.write(plan.out, record(plan, state))


def _job(plan: Plan) -> Job:
    share = plan.share
    return Job(
        out=plan.out,
        runs=share,
        others=tuple(run for run in plan.runs if run not in share),
        threads=plan.threads,
        where={name: getattr(plan.options, name) for name in ("threads", "device", "data_dir")},
        since=leases.begin(plan.out),
        session=secrets.token_hex(8),
        command=invocation.command(),
        folder=str(Path.cwd()),
    )


def _train_all(job: Job, board: Board, observer: Observer, executor: Executor | None) -> None:
    """Trains all that is to be trained; a part leaves alone what others train, else theirs is waited for, and gone on
    with where their process dies.
    """
    said = False
    while True:
        if executor is not None:
            train_by_executor(job, executor, board)
        elif (board.plan.options.jobs or 1) > 1:
            Crew(job, board.plan.options.jobs or 1, board, observer).train()
        else:
            _train_in_turn(job, board, observer)
        board.update()
        if board.plan.options.part or not board.open:
            return
        if not said:
            observer.note(f"waiting for {counted(len(board.open), 'run')} that other processes train")
            said = True
        while board.open and not board.free:
            time.sleep(LOOK)
            board.look()


def _compared(plan: Plan, board: Board, state: State, observer: Observer) -> dict[str, Any]:
    """What study.json holds once all runs have ended, compared by this process or another; before that, its plan."""
    state.failed = {n: why for n, why in leases.failures(plan.out).items() if n not in board.finished}
    open_ = [run for run in plan.runs if run.folder not in board.finished and run.folder not in state.failed]
    if open_:
        ended = counted(len(plan.runs) - len(open_), "run")
        observer.note(f"{ended} of {len(plan.runs)} have ended; whoever ends the last one writes the page")
        return record(plan, state)
    said = False
    while (lease := leases.take(plan.out, COMPARING)) is None:
        if not said:
            observer.note("another process is comparing the runs")
            said = True
        time.sleep(LOOK)
    with lease:
        values = study_json.read(plan.out, plan.study.info.name)
        if not _unchanged(plan, values):
            state.results = results.write(plan, set(state.failed), _failures(state), observer)
            values = record(plan, state)
            study_json.write(plan.out, values)
    if not state.failed:
        leases.clear(plan.out)
    return values


def _refuse_failures(plan: Plan, state: State, board: Board) -> None:
    """Raises LatlasError that names the first run that failed."""
    failed = state.failed if state.results else board.failed
    if not failed:
        return
    folder, reason = next(iter(failed.items()))
    where = (
        f"left out of {plan.out / results.PAGE}" if state.results else "left out; the same call tries again"
    )
    raise LatlasError(
        f"{len(failed)} of {counted(len(plan.runs), 'run')} failed and {'is' if len(failed) == 1 else 'are'} {where}:"
        f" {plan.out / folder}: {reason}"
    )


def _unchanged(plan: Plan, before: dict[str, Any]) -> bool:
    """Whether study.json has the results of exactly this plan, and all files are there."""
    if not before.get("results"):
        return False
    now = record(plan, State())
    keys = ("about", "latlas", "budget", "cuts")
    return (
        all(before.get(key) == now[key] for key in keys)
        and [row["folder"] for row in before["runs"]] == [row["folder"] for row in now["runs"]]
        and all(row["state"] == "finished" for row in now["runs"])
        and all((plan.out / name).is_file() for name in (results.PAGE, results.TABLE, results.SEEDS))
    )


def _train_in_turn(job: Job, board: Board, observer: Observer) -> None:
    """Trains the open runs of a board in this process, one after the other."""
    plan = board.plan
    numbers = {run.folder: number for number, run in enumerate(plan.runs, 1)}
    for place, planned in enumerate(job.runs):
        label = f"run {numbers[planned.folder]} of {len(plan.runs)}"
        if run_state(plan.out, planned) == "finished":
            observer.note(f"{label}: {title(planned)}: finished already")
            continue
        _train(job, planned, label, (plan, job.runs[place + 1 :]), observer)
        board.update()
        board.on_end()
    for planned in (run for run in board.free if run not in job.runs):
        _train(job, planned, f"run {numbers[planned.folder]} of {len(plan.runs)}", (plan, ()), observer)


def _train(
    job: Job, planned: Planned, place: str, later: tuple[Plan, tuple[Planned, ...]], observer: Observer
) -> None:
    plan, runs_later = later
    left = time_left(plan, (planned, *runs_later))
    observer.note(f"{place}, {time_left_text(left)}: {title(planned)}")
    whole = _seconds(plan, [(planned, 1.0)])
    outcome = work.train(job, planned, _RunObserver(observer, place, whole, time_left(plan, runs_later)))
    if outcome == "failed":
        observer.note(f"{place} failed: {leases.failures(job.out).get(planned.folder, '')}")
    elif outcome == "held":
        observer.note(f"{place}: another process trains it")


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
            "state": "failed" if error else run_state(plan.out, run),
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
        "runs": [{**row(run), "state": run_state(plan.out, run)} for run in plan.runs],
        "cuts": list(plan.cuts),
        "estimate_seconds": tenths(plan.total),
    }


def headline(plan: Plan) -> str:
    """Where the study is, how many runs it has or its part, and how long those that are left take."""
    share, part, jobs = plan.share, plan.options.part, plan.options.jobs or 1
    left = time_left(plan, share)
    each = f"{jobs} at a time with {counted(plan.threads, 'CPU thread')} each" if jobs > 1 else ""
    which = f"part {part[0]} of {part[1]}: {len(share)} of " if part else ""
    text = time_left_text(None if left is None else left / min(jobs, max(1, len(share))))
    return f"{plan.out}: " + ", ".join(filter(None, [f"{which}{counted(len(plan.runs), 'run')}", each, text]))
