"""Builds a comparison from run folders: the runs' own numbers, further metrics, rows of PCA, and pictures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from latlas.brought import shown
from latlas.build import items, unit_of
from latlas.compare import pictures as drawing
from latlas.compare.ranking import VALIDATION, Column, Comparison, Entry, Value
from latlas.config import settings_of
from latlas.data import Dataset
from latlas.data.dataset import SPLITS
from latlas.errors import InputError
from latlas.metrics import METRICS, Context, context_of, measure, named
from latlas.metrics.display import on_sign
from latlas.metrics.elbo import terms_of_items
from latlas.pca import fit
from latlas.progress import SILENT, Observer
from latlas.runs import Run, dataset_of, measured_numbers
from latlas.text import counted, listed

MOST_PCA = 6  # latent sizes that get a row of PCA
OF_VALIDATION = ("elbo", "distortion", "mse")
NUMBERS = ("elbo", "distortion", "rate", "mse", "restored_mse")  # of the measured split


@dataclass(frozen=True)
class _Subject:
    """A row, and the model and data that its pictures are drawn from."""

    entry: Entry
    context: Context


def gather(
    groups: Mapping[str, Sequence[Run]],
    *,
    pca: bool = True,
    measures: Sequence[str] = (),
    data_dir: str = "",
    pictures: bool = True,
    observer: Observer = SILENT,
) -> Comparison:
    """Compares groups of runs by name: a row for each group, the mean over its runs, which differ in their seed only.

    `pca` adds a row of PCA for each latent size, six at most, fitted to the runs' own training split.
    `measures` are names of `latlas.metrics.METRICS`, or "all". Other numbers are those of each run's metrics.json, on
    the test split; pictures are of each group's first run. Raises InputError for no run, one given twice, an unfinished
    one, groups that differ in more than the seed or have a seed twice, an unknown measure and data that are missing or
    have changed.
    """
    measure_names = named(measures)
    _check(groups)
    sets: dict[str, Dataset] = {}
    subjects = []
    for name, runs in groups.items():
        fingerprint = runs[0].info["data"]["fingerprint"]
        if fingerprint not in sets:
            sets[fingerprint] = dataset_of(runs[0], data_dir, observer.progress)
        subjects.append(_subject(name, runs, sets[fingerprint], measure_names, observer))
    notes = [
        f"Nothing is held out for testing in {dataset.name}: its numbers are of {SPLITS[dataset.measured]} items."
        for dataset in sets.values()
        if dataset.measured != "test"
    ]
    if pca:
        subjects += _baselines(subjects, measure_names, notes, observer)
    entries = tuple(s.entry for s in subjects)
    kinds = dict.fromkeys(dataset.kind for dataset in sets.values())
    kind = next(iter(kinds)) if len(kinds) == 1 else "image"
    title = listed(list(dict.fromkeys(dataset.name for dataset in sets.values())))
    unit = unit_of(kind) if len(kinds) == 1 else "nats per item"
    drawings: tuple[Any, ...] = ()
    if pictures:
        shown = [drawing.shown(s.entry, s.context) for s in subjects]
        drawings = drawing.draw(shown, lambda n, total: observer.progress("drawing", n, total))
    shown_columns = _columns(entries, unit, kind, measure_names)
    signs = [on_sign(entry.values) for entry in entries]
    notes += dict.fromkeys(filter(None, signs))
    splits = {SPLITS[dataset.measured] for dataset in sets.values()}
    measured = splits.pop() if len(splits) == 1 else ""
    return Comparison(title, unit, entries, shown_columns, drawings, tuple(notes), measured)


def by_validation(comparison: Comparison) -> Comparison:
    """The comparison, in which ELBO, distortion and squared error rank by validation items where every run has some.

    The columns of the test split stand after those; a note says which split ranks. Where nothing is held out for
    testing, the numbers are of the validation split already.
    """
    if comparison.measured in ("validation", "training"):
        return comparison
    runs = comparison.runs
    if any(entry.number(f"{VALIDATION}mse") is None for entry in runs):
        note = "Ranked by the test items: not every run has a validation split."
        return replace(comparison, notes=(*comparison.notes, note))
    # Where every run has an ELBO, its distortion alone ranks nothing.
    chosen = {"elbo", "mse"} | (set() if all(e.number("elbo") is not None for e in runs) else {"distortion"})
    split: list[Column] = []
    for column in comparison.columns:
        if column.key in chosen:
            title = f"Validation {column.title if column.title.isupper() else column.title.lower()}"
            split.append(replace(column, key=f"{VALIDATION}{column.key}", title=title, why=""))
        split.append(replace(column, better="") if column.key in OF_VALIDATION else column)
    note = (
        "ELBO, distortion and squared error rank by validation items, so that the test items beside them choose"
        " nothing; other numbers are of test items alone, and rank by them."
    )
    return replace(comparison, columns=tuple(split), notes=(*comparison.notes, note))


def by_name(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """A group for each run, by its folder's name; by its path where two have the same name.

    Raises InputError for a run that is given twice.
    """
    names = [run.path.resolve().name for run in runs]
    groups: dict[str, list[Run]] = {}
    for run, name in zip(runs, names, strict=True):
        label = name if names.count(name) == 1 else str(run.path)
        groups.setdefault(label, []).append(run)
    _refuse_duplicates([run for group in groups.values() for run in group])
    return groups


def _refuse_duplicates(runs: Sequence[Run]) -> None:
    places = Counter(run.path.resolve() for run in runs)
    for run in runs:
        if places[run.path.resolve()] > 1:
            raise InputError(f"{run.path}: given twice; a run compares with others")


def _check(groups: Mapping[str, Sequence[Run]]) -> None:
    if not groups or not all(groups.values()):
        raise InputError("nothing to compare: at least one run is needed, in each group")
    runs = [run for group in groups.values() for run in group]
    _refuse_duplicates(runs)
    for run in runs:
        if not run.finished or not measured_numbers(run.metrics)[1]:
            raise InputError(f"{run.path}: unfinished; finish it with: {run.continued_by}")
    for name, group in groups.items():
        _check_row(name, group)


def _check_row(name: str, runs: Sequence[Run]) -> None:
    """Raises InputError unless the runs of a row have a seed each, and differ in nothing else."""
    first, *others = (settings_of(run.config) for run in runs)
    for run, other in zip(runs[1:], others, strict=True):
        differing = [key for key in first if key != "seed" and first[key] != other[key]]
        if differing:
            raise InputError(
                f"{name}: {runs[0].path} and {run.path} differ in {', '.join(differing)}; runs of one row"
                " differ in their seed only"
            )
        if run.info["data"]["fingerprint"] != runs[0].info["data"]["fingerprint"]:
            raise InputError(f"{name}: {runs[0].path} and {run.path} are of different data")
    seed, times = Counter(run.config.seed for run in runs).most_common(1)[0]
    if times > 1:
        raise InputError(f"{name}: {times} runs have the seed {seed}; the spread over seeds needs each once")


def _subject(
    name: str, runs: Sequence[Run], dataset: Dataset, measures: tuple[str, ...], observer: Observer
) -> _Subject:
    first, config = runs[0], runs[0].config
    rows = []
    context = context_of(first, first.model(), dataset, observer=observer)
    for run in runs:
        own = context if run is first else context_of(run, run.model(), dataset, observer=observer)
        rows.append(_numbers(run) | _measured(own, measures))
    valid = first.metrics["splits"].get("valid", {})
    known = {**measured_numbers(first.metrics)[1], **_of_validation(valid, True)}
    settings = settings_of(config)
    values = {key: _mean([row[key] for row in rows]) for key in rows[0] if not key.endswith("_stderr")}
    spread: dict[str, float] = {}
    if len(runs) > 1:
        values["seed"] = ", ".join(str(row["seed"]) for row in rows)
        settings.pop("seed")
        several = {
            key: [row[key] for row in rows] for key, value in values.items() if isinstance(value, int | float)
        }
        spread = {key: stdev(float(v or 0) for v in numbers) for key, numbers in several.items()}
    likelihood = context.model.likelihood
    entry = Entry(
        name=name, values=values, data=first.info["data"]["fingerprint"], data_name=dataset.name,
        scale=likelihood.scale if likelihood.normalised(first.info["data"]["binary"]) else "cross-entropy",
        scaling=context.model.item.scaling, spread=spread, likelihood=likelihood.title,
        stderrs=_errors({**known, **rows[0]}, values) if len(runs) == 1 else {},
        runs=tuple(str(run.path) for run in runs), settings=settings, by_seed=tuple(rows),
    )  # fmt: skip
    return _Subject(entry, context)


def _numbers(run: Run) -> dict[str, Value]:
    """The numbers in the run's own metrics.json, and its settings that are shown."""
    metrics, config = run.metrics, run.config
    test = measured_numbers(metrics)[1]
    return {
        **{key: test.get(key) for key in NUMBERS},
        **_of_validation(metrics["splits"].get("valid", {})),
        "latent": config.model.latent,
        "parameters": metrics.get("parameters"),
        "training_seconds": metrics.get("training_seconds"),
        "images_per_second": metrics.get("images_per_second"),
        "likelihood": shown(config, "likelihood"),
        "recipe": config.recipe.name,
        "seed": config.seed,
    }


def _of_validation(numbers: Mapping[str, Any], errors: bool = False) -> dict[str, Value]:
    """The numbers of a validation split that may rank, or all of its numbers with standard errors, as valid_NAME."""
    keys = numbers if errors else [key for key in OF_VALIDATION if key in numbers]
    return {f"{VALIDATION}{key}": numbers[key] for key in keys}


def _errors(numbers: Mapping[str, Any], keys: Iterable[str]) -> dict[str, float]:
    """By key, the standard errors over the items, which are KEY_stderr in `numbers` where they are known."""
    errors = {key: numbers.get(f"{key}_stderr") for key in keys}
    return {key: value for key, value in errors.items() if value is not None}


def _mean(values: list[Value]) -> Value:
    """The mean of numbers; of other values their common value, else None."""
    if all(value == values[0] for value in values):
        return values[0]
    if any(value is None or isinstance(value, str) for value in values):
        return None
    return fmean(values)  # type: ignore[arg-type]


def _measured(context: Context, measures: tuple[str, ...]) -> dict[str, Value]:
    """Measures by name, and their standard errors over the items as NAME_stderr."""
    if not measures:
        return {}
    measured = measure(context, measures)
    values: dict[str, Value] = {key: None if v is None else v.value for key, v in measured.items()}
    return values | {f"{key}_stderr": v.stderr for key, v in measured.items() if v is not None}


def _baselines(
    subjects: Sequence[_Subject], measures: tuple[str, ...], notes: list[str], observer: Observer
) -> list[_Subject]:
    """PCA at each latent size of the runs; where it is left out, adds the reason to `notes`."""
    entries = [s.entry for s in subjects]
    if len({entry.data for entry in entries}) > 1:
        notes.append(
            "PCA is left out: it is fitted to one training split, and these runs have different data."
        )
        return []
    pca_runs = {e.values["latent"] for e in entries if e.settings.get("training.method") == "pca"}
    sizes = sorted({int(e.values["latent"] or 1) for e in entries} - {int(size or 1) for size in pca_runs})
    if len(sizes) > MOST_PCA:
        chosen = [sizes[round(i * (len(sizes) - 1) / (MOST_PCA - 1))] for i in range(MOST_PCA)]
        notes.append(f"PCA is shown at {listed([str(s) for s in chosen])} of {len(sizes)} latent sizes.")
        sizes = chosen
    baselines = []
    for done, size in enumerate(sizes):
        observer.progress("fitting PCA", done, len(sizes))
        try:
            baselines.append(_baseline(size, subjects[0].context.dataset, measures, observer))
        except InputError as error:
            notes.append(f"PCA at {counted(size, 'dimension')} is left out: {error}.")
    if baselines:
        observer.progress("fitting PCA", len(sizes), len(sizes))
        notes.append(
            "PCA has no likelihood and no prior here, hence no ELBO; codes are drawn from a Gaussian instead."
        )
    return baselines


def _baseline(latent: int, dataset: Dataset, measures: tuple[str, ...], observer: Observer) -> _Subject:
    started = time.perf_counter()
    model = fit(dataset, latent)
    seconds = round(time.perf_counter() - started, 3)
    name = f"PCA (latent {latent})"
    context = Context(model, dataset, prior=False, observer=observer)
    measured = _measured(context, measures)
    summary: dict[str, Any] = context.once(terms_of_items).summary.to_dict()
    held = replace(context, items_given=dataset.valid)
    if len(dataset.valid):
        summary |= _of_validation(held.once(terms_of_items).summary.to_dict(), True)
    values: dict[str, Value] = {
        **({f"{VALIDATION}mse": summary[f"{VALIDATION}mse"]} if len(dataset.valid) else {}),
        "mse": summary["mse"],
        "latent": latent,
        "parameters": model.parameter_count,
        "training_seconds": seconds,
        "recipe": "pca",
        **{key: value for key, value in measured.items() if not key.endswith("_stderr")},
    }
    errors = _errors({**summary, **measured}, values)
    entry = Entry(name, values, dataset.fingerprint, dataset.name, "", model.item.scaling, stderrs=errors)
    return _Subject(entry, context)


def _columns(entries: Sequence[Entry], unit: str, kind: str, measures: tuple[str, ...]) -> tuple[Column, ...]:
    """The columns in which at least one row has a value."""
    columns = []
    for key in dict.fromkeys((*NUMBERS, *measures)):
        metric = METRICS[key]
        shown = unit if metric.group == "bound" else "" if key in NUMBERS else metric.words(metric.unit, kind)
        why = metric.words(metric.why, kind)
        columns.append(Column(key, metric.heading, shown, metric.decimals, metric.better, why))
    columns += [
        Column("latent", "Latent", "dimensions", 0, ""),
        Column("parameters", "Parameters", "", 0, ""),
        Column("training_seconds", "Training", "", 1, ""),
        Column("images_per_second", "Speed", f"{items(kind)}/s", 0, ""),
    ]
    return tuple(c for c in columns if any(e.values.get(c.key) is not None for e in entries))
