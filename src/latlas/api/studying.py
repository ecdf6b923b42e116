"""Studies as calls: the plan of one, and its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Unpack

from latlas import studies
from latlas.api.opening import Common, PathLike, check, checked_settings, path_of
from latlas.console import Console
from latlas.durations import parse_duration
from latlas.errors import InputError, check_number, one_or_many
from latlas.notebook import StudyResults
from latlas.studies import execute, prepare, results


class StudyOptions(Common, total=False):
    """The options of `Common`; the folder `out` of the runs and the page (default: studies/NAME); the time `budget` in
    seconds or as "10m"; the number of `seeds`; the `limit` on training images; `settings` by dotted key, which hold
    for every run; the number of `jobs`, runs that are trained at a time, each in a process of its own with its share of
    the CPU threads unless `threads` says how many; and a `part` of the runs, as "k/n", for calls that share a folder.
    """

    out: PathLike | None
    budget: float | str | None
    seeds: int | None
    limit: int | None
    settings: Mapping[str, Any] | None
    jobs: int | None
    part: str | tuple[int, int] | None


class ExecutedOptions(StudyOptions, total=False):
    """The options of `StudyOptions`; an `executor` of `concurrent.futures`, of dask, loky or mpi4py, that trains the
    runs in place of `jobs`, each with one CPU thread unless `threads` says how many. Its processes share the folder.
    """

    executor: Executor | None


def plan_study(
    name: PathLike, data: Sequence[str] | str = (), **options: Unpack[StudyOptions]
) -> prepare.Plan:
    """The runs of a study with their estimated times, measured on this machine; nothing is trained or written.

    `name` is the name of a study or a TOML file; `data` replaces the study's data sets. Raises InputError for wrong
    settings or data, a folder that holds something else, and a budget that is too short.
    """
    check(options, StudyOptions)
    with Console(options.get("quiet", False)) as console:
        return _plan(name, data, options, console, measure=True)


def study(name: PathLike, data: Sequence[str] | str = (), **options: Unpack[ExecutedOptions]) -> StudyResults:
    """Trains the runs of a study and compares them on one page; after an interruption the same call continues.

    Calls at the same time, in any number of processes and on any machines that share the folder, work together: a run
    is trained by one of them, goes on in another where that one dies, and the last one writes the page. A `part` ends
    when its own runs have, and has no `results` before all have.

    The result is a dictionary of the `runs`, the `cuts` of a budget and the `results` by data set; `folder`, `page` and
    `table` are paths. `to_frame()` gives its tables as a DataFrame. Raises InputError as `plan_study` does, and
    LatlasError at the end if runs failed.
    """
    check(options, ExecutedOptions)
    executor = options.get("executor")
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise InputError(
            f"expected an Executor of concurrent.futures, got {type(executor).__name__}", field="executor"
        )
    with Console(options.get("quiet", False)) as console:
        plan = _plan(name, data, options, console)
        for line in (execute.headline(plan), *plan.cuts):
            console.note(line)
        values = execute.carry_out(plan, console, executor)
    keys = ("study", "title", "data", "seeds", "budget", "cuts", "estimate_seconds", "runs", "results")
    places = {"folder": plan.out, "page": plan.out / results.PAGE, "table": plan.out / results.TABLE}
    return StudyResults({key: values[key] for key in keys} | {key: str(path) for key, path in places.items()})


def _plan(
    name: PathLike,
    data: Sequence[str] | str,
    options: StudyOptions | ExecutedOptions,
    console: Console,
    measure: bool = False,
) -> prepare.Plan:
    budget, seeds, out = options.get("budget"), options.get("seeds"), path_of(options.get("out"), "out")
    for field in ("seeds", "limit", "jobs"):
        if options.get(field) is not None:
            check_number(options[field], field)
    if budget is not None and not isinstance(budget, str):
        check_number(budget, "budget", whole=False)
    if seeds is not None and seeds < 1:
        raise InputError("at least 1 is needed", field="seeds", value=seeds)
    jobs, part = options.get("jobs"), options.get("part")
    if jobs is not None and jobs < 1:
        raise InputError("at least 1 is needed", field="jobs", value=jobs)
    if jobs is not None and options.get("executor") is not None:
        raise InputError("an executor decides how many at a time; leave it out", field="jobs", value=jobs)
    requested = prepare.Options(
        data=tuple(one_or_many(data, "data")),
        out=out,
        budget=parse_duration(budget) if isinstance(budget, str) else budget,
        seeds=seeds,
        limit=options.get("limit"),
        threads=options.get("threads"),
        device=options.get("device", ""),
        data_dir=options.get("data_dir", ""),
        settings=checked_settings(options.get("settings")),
        measure=measure,
        jobs=None if options.get("executor") is not None else jobs or 1,
        part=None if part is None else prepare.parse_part(part),
    )
    return prepare.plan(studies.read(str(path_of(name, "name"))), requested, console)
