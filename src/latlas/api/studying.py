"""Studies as calls: the plan of one, and its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    seconds or as "10m"; the number of `seeds`; the `limit` on training images; and `settings` by dotted key, which hold
    for every run.
    """

    out: PathLike | None
    budget: float | str | None
    seeds: int | None
    limit: int | None
    settings: Mapping[str, Any] | None


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


def study(name: PathLike, data: Sequence[str] | str = (), **options: Unpack[StudyOptions]) -> StudyResults:
    """Trains the runs of a study and compares them on one page; after an interruption the same call continues.

    The result is a dictionary of the `runs`, the `cuts` of a budget and the `results` by data set; `folder`, `page` and
    `table` are paths. `to_frame()` gives its tables as a DataFrame. Raises InputError as `plan_study` does, and
    LatlasError at the end if runs failed.
    """
    check(options, StudyOptions)
    with Console(options.get("quiet", False)) as console:
        plan = _plan(name, data, options, console)
        for line in (execute.headline(plan), *plan.cuts):
            console.note(line)
        values = execute.carry_out(plan, console)
    keys = ("study", "title", "data", "seeds", "budget", "cuts", "estimate_seconds", "runs", "results")
    places = {"folder": plan.out, "page": plan.out / results.PAGE, "table": plan.out / results.TABLE}
    return StudyResults({key: values[key] for key in keys} | {key: str(path) for key, path in places.items()})


def _plan(
    name: PathLike, data: Sequence[str] | str, options: StudyOptions, console: Console, measure: bool = False
) -> prepare.Plan:
    budget, seeds, out = options.get("budget"), options.get("seeds"), path_of(options.get("out"), "out")
    for field in ("seeds", "limit"):
        if options.get(field) is not None:
            check_number(options[field], field)
    if budget is not None and not isinstance(budget, str):
        check_number(budget, "budget", whole=False)
    if seeds is not None and seeds < 1:
        raise InputError("at least 1 is needed", field="seeds", value=seeds)
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
    )
    return prepare.plan(studies.read(str(path_of(name, "name"))), requested, console)
