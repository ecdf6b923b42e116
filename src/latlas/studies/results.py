"""The results of a study: one page, one table as CSV, and the same numbers as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from latlas import compare
from latlas.compare import denoising, rows
from latlas.errors import LatlasError
from latlas.files import write_atomic
from latlas.progress import Observer
from latlas.runs import Run
from latlas.studies import claims
from latlas.studies.prepare import Plan, measures_of
from latlas.text import Table, sentence

if TYPE_CHECKING:
    from latlas.compare import Comparison

PAGE, TABLE, SEEDS = "study.html", "results.csv", "seeds.csv"


def write(plan: Plan, failed: set[str], notes: Sequence[str], observer: Observer) -> dict[str, Any]:
    """Compares the runs that did not fail, a comparison per data set, and writes page and table.

    Gives, by data set, `compare.to_dict` of it and its `text`. Raises LatlasError where no run is left.
    """
    info, names = plan.study.info, measures_of(plan.study)
    comparisons: dict[str, Comparison] = {}
    for data, groups in groups_of(plan, failed).items():
        observer.note(f"comparing {len(groups)} on {data}")
        gathered = compare.gather(
            groups,
            pca=info.pca,
            measures=names,
            data_dir=plan.options.data_dir,
            observer=observer,
        )
        comparisons[data] = compare.by_validation(gathered)
    if not comparisons:
        raise LatlasError(f"{plan.out}: every run failed; {notes[0] if notes else ''}")
    told = [*claims.lines(info.claims, comparisons), *(sentence(line) for line in plan.cuts), *notes]
    found = {name: {**compare.to_dict(c), "text": compare.text_table(c)} for name, c in comparisons.items()}
    restored = _restorations(plan, failed, found, observer) if info.table == "restoration" else {}
    page = compare.page(list(comparisons.values()), info.title or info.name, info.intro, told, restored)
    write_atomic(plan.out / PAGE, page)
    write_atomic(plan.out / TABLE, table(found))
    write_atomic(plan.out / SEEDS, seeds(comparisons))
    return found


def _restorations(
    plan: Plan, failed: set[str], found: dict[str, dict[str, Any]], observer: Observer
) -> dict[str, Table]:
    """Adds to what was `found` on each data set the errors of its denoising runs and plain ones, as `restoration`
    and to its `text`; gives them as tables.
    """
    tables = {}
    for data, groups in groups_of(plan, failed).items():
        runs = [run for group in groups.values() for run in group]
        errors = denoising.restoration_table(runs, plan.options.data_dir, observer)
        found[data]["restoration"] = [row.to_dict() for row in errors]
        found[data]["text"] += f"\n\n{denoising.text_table(errors)}"
        tables[data] = denoising.table(errors)
    return tables


def groups_of(plan: Plan, failed: set[str]) -> dict[str, dict[str, list[Run]]]:
    """The runs by data set and row, one for each seed, in the study's order."""
    groups: dict[str, dict[str, list[Run]]] = {}
    for run in plan.runs:
        if run.folder not in failed:
            groups.setdefault(run.data, {}).setdefault(run.name, []).append(Run(plan.out / run.folder))
    order = [entry.name for entry in plan.study.entries]
    return {data: {name: rows[name] for name in order if name in rows} for data, rows in groups.items()}


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Every row as CSV, as `compare.rows.lines` has them."""
    return rows.csv_text(*rows.lines(found))


def seeds(comparisons: dict[str, Comparison]) -> str:
    """Every run as CSV, one for each seed: its data set, the name of its row, its folder and its values."""
    lines = [
        {"data": data, "name": entry.name, "run": run, **values}
        for data, comparison in comparisons.items()
        for entry in comparison.entries
        for run, values in zip(entry.runs, entry.by_seed, strict=True)
    ]
    keys = dict.fromkeys(key for line in lines for key, value in line.items() if value is not None)
    return rows.csv_text(list(keys), lines)
