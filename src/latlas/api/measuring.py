"""Numbers, findings, pages and films of trained runs, as calls."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from latlas import animation, compare, diagnosis, evaluation, gallery, html, machine, metrics, report
from latlas.api.opening import PathLike, RunLike, Where, check, model_of, open_run, path_of, with_data
from latlas.build import check_grid
from latlas.console import Console
from latlas.errors import InputError, check_number, one_or_many
from latlas.files import check_output, write_atomic
from latlas.notebook import Findings, Numbers
from latlas.runs import Run, dataset_of, find

COMPARISON = "compare.html"
TABLES = {"csv": ".csv", "latex": ".tex"}  # the files that a comparison's table may go to


class EvaluateOptions(Where, total=False):
    """The options of `Where`, and the fields of `latlas.evaluation.Request`."""

    source: Any
    split: str
    limit: int | None
    draws: int | None
    samples: int
    seed: int | None
    ais: int | None
    chains: int
    temperatures: int
    corrupt: str
    strength: float | None


def evaluate(
    run: RunLike, measures: Sequence[str] | str | None = ("all",), **options: Unpack[EvaluateOptions]
) -> Numbers:
    """Measures a run: a dictionary of numbers by name, each with `value`, `stderr`, `unit`, the numbers of `items` and
    `draws`, and the values of other models or baselines `beside` it; `to_frame()` gives them as a DataFrame.

    `measures` are names of `latlas.metrics.METRICS` or of groups; None takes the groups of the run's configuration, and
    "bound" is the group of the ELBO and its terms. The items are those of the test split, of another `split`, or of
    another `source`: of its test split where it has official splits, or of its `split`, which may be all; `limit` takes
    so many of them, evenly spaced. `draws` is the number of draws of z per item for log p(x), which is then measured on
    every item; `samples` is that for the ELBO, drawn by `seed`. `ais` is the number of items for annealed importance
    sampling with `chains` and `temperatures`. `corrupt` ("gaussian" or "masking") and `strength` are the corruption of
    items to restore. Further options are those of `Where`.

    Raises InputError for an unknown measure, a value out of range, and data that are missing, have changed or do not
    fit.
    """
    return Numbers(evaluation_of(run, measures, **options).get("numbers", {}))


def evaluation_of(
    run: RunLike,
    measures: Sequence[str] | str | None = None,
    *,
    keep: bool = False,
    **options: Unpack[EvaluateOptions],
) -> dict[str, Any]:
    """The record that `latlas evaluate --json` prints: the ELBO of a run with its terms, `numbers` by name, and with
    `draws` all results of `importance` sampling.

    The options are those of `evaluate`. `keep` adds numbers of the whole test split to the run's metrics.json and its
    report.
    """
    names = {field.name for field in fields(evaluation.Request)}
    given = {key: value for key, value in options.items() if key in names and value is not None}
    with open_run(run, options, EvaluateOptions) as call:
        request = evaluation.Request(measures, **given)  # type: ignore[arg-type]
        return evaluation.evaluate(call.run, call.model, request, call.data_dir, keep, call.observer)


def diagnose(run: RunLike, **where: Unpack[Where]) -> Findings:
    """The findings on a run, the most serious first: a list, empty if nothing is wrong.

    Each finding has `title`, `evidence`, `cause`, `remedy` and the `settings` to change; `to_frame()` gives them as a
    DataFrame.

    Raises InputError for data that are missing or have changed.
    """
    check(where, Where)
    with Console(where.get("quiet", False)) as console:
        opened = with_data(run, where.get("data"), console)
        dataset = dataset_of(opened, where.get("data_dir", ""), console.progress)
        model = model_of(opened, where) if opened.has_weights else None
        context = None if model is None else metrics.context_of(opened, model, dataset, observer=console)
        return Findings(diagnosis.of(opened, dataset, context, opened.finished), opened.path)


def write_report(
    run: RunLike,
    *,
    redraw: bool = False,
    grid: tuple[int, int] | None = None,
    span: tuple[float, float] | None = None,
    **where: Unpack[Where],
) -> Path:
    """Writes report.html again from the run folder and gives its path.

    `redraw` draws the pictures again from the data, as does a `grid` (rows, columns) or a `span` (low, high) of the
    latent manifold. Further options are those of `Where`. Raises InputError if the data are missing.
    """
    check(where, Where)
    machine.use_threads(where.get("threads"))
    with Console(where.get("quiet", False)) as console:
        opened = with_data(run, where.get("data"), console)
        _check_manifold(opened, grid, span)
        if redraw or grid or span:
            gallery.redraw(opened, grid, span, os.fspath(where.get("data_dir") or ""), console)
    return report.write_report(opened.path)


def _check_manifold(run: Run, grid: tuple[int, int] | None, span: tuple[float, float] | None) -> None:
    """Raises InputError for a grid or a span that is none, or of a run whose latent manifold is not drawn."""
    for field, pair, whole in (("grid", grid, True), ("span", span, False)):
        if pair is None:
            continue
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise InputError("expected two numbers", field=field, value=pair)
        for number in pair:
            check_number(number, field, whole)
        latent, kind = run.config.model.latent or 0, run.info["data"]["kind"]
        if latent > 2 or kind != "image":
            why = (
                f"this run has {latent} latent dimensions" if latent > 2 else f"this run's items are {kind}s"
            )
            raise InputError(
                f"has no effect: the manifold is drawn of images with 1 or 2 latent dimensions, and {why}",
                field=field,
            )
    if span is not None and not span[0] < span[1]:
        raise InputError("expected the lower end first, as (-4, 4)", field="span", value=span)
    if grid is not None:
        if min(grid) < 1:
            raise InputError("expected at least one row and one column", field="grid", value=grid)
        check_grid(grid, tuple(run.info["data"]["shape"]), "grid")


def animate(
    run: RunLike,
    out: PathLike | None = None,
    what: str = "all",
    *,
    seconds: float = 8.0,
    size: int = 960,
    threads: int | None = None,
    quiet: bool = False,
) -> animation.Animation:
    """Writes a run's snapshots in order as a film; `what` is all, samples, codes or manifold.

    `out` is a .webp or .gif, by default animation.webp in the run folder. The film is `seconds` long, and the longer
    side of its frames has `size` pixels. A report in the same folder shows it.

    Raises InputError for a run with fewer than two snapshots or without the requested panel.
    """
    machine.use_threads(threads)
    opened = find(run)
    check_number(seconds, "seconds", whole=False)
    check_number(size, "size")
    path = path_of(out or None, "out")
    with Console(quiet) as console:
        film = animation.animate(opened, path, what, seconds, size, console)
    if film.path.parent.resolve() == opened.path.resolve() and (opened.path / "report.html").exists():
        report.write_report(opened.path)
    return film


class CompareOptions(TypedDict, total=False):
    """Options of `Where`: `data`, `data_dir`, `threads` and `quiet`; and files for the table, `csv` and `latex`."""

    data: Any
    data_dir: str
    threads: int | None
    quiet: bool
    csv: PathLike | None
    latex: PathLike | None


def compare_runs(
    runs: Sequence[RunLike] | RunLike,
    out: PathLike | None = None,
    *,
    pca: bool = True,
    measures: Sequence[str] | str = (),
    **options: Unpack[CompareOptions],
) -> compare.Comparison:
    """Compares finished runs, one row each, and writes the page to `out` unless it is None.

    "" is compare.html in the current folder. `pca` adds rows of PCA at the runs' latent sizes; `measures` are names of
    `latlas.metrics.METRICS`. `csv` and `latex` are files for the table, a .csv and a .tex. `data` are those of all runs
    that were trained on data in memory and are given by their folders. The result shows itself as that table;
    `to_frame()` and `to_latex()` give it. Raises InputError for an unfinished run, a run given twice, an unknown
    measure, and missing data.
    """
    check(options, CompareOptions)
    machine.use_threads(options.get("threads"))
    tables = {field: _table_path(options.get(field), field) for field in TABLES}
    wanted = path_of(out, "out")
    path = None if wanted is None else html.page_path(wanted) if os.fspath(out or "") else Path(COMPARISON)
    if isinstance(runs, str | os.PathLike | Run):
        runs = [runs]
    if not isinstance(runs, Iterable):
        raise InputError(f"expected runs, got {type(runs).__name__}", field="runs")
    measures = one_or_many(measures, "measures")
    with Console(options.get("quiet", False)) as console:
        opened = _with_data(runs, options.get("data"), console)
        result = compare.gather(
            compare.by_name(opened), pca=pca, measures=measures, data_dir=os.fspath(options.get("data_dir") or ""),
            pictures=path is not None, observer=console,
        )  # fmt: skip
    if path is not None:
        write_atomic(path, compare.page([result], compare.title_of(result)))
    for field, file in tables.items():
        if file is not None:
            write_atomic(file, result.to_latex() if field == "latex" else compare.to_csv(result))
    return result


def _with_data(runs: Iterable[RunLike], data: Any, console: Console) -> list[Run]:
    """The runs; those that lack their data in memory have `data`, which are converted once."""
    opened, first = [find(run) for run in runs], None
    for i, run in enumerate(opened):
        if data is None or not run.in_memory or run.brought.data is not None:
            continue
        if first is None or run.info["data"]["fingerprint"] != first.info["data"]["fingerprint"]:
            first = with_data(run, data, console)
        opened[i] = replace(run, brought=replace(run.brought, data=first.brought.data))
    return opened


def _table_path(out: Any, field: str) -> Path | None:
    """The file for a table, checked before anything is computed; "" and None are none."""
    path = path_of(out or None, field)
    if path is not None:
        check_output(path, (TABLES[field],), field=field)
    return path
