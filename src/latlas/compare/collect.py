"""From run folders to a comparison: numbers as the runs wrote them, PCA beside them, measures and pictures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev
from typing import Any

from latlas.build import has_prior, items, unit_of
from latlas.compare import pictures as drawing
from latlas.compare.ranking import Better, Column, Comparison, Entry, Value, listed
from latlas.config import settings_of
from latlas.data import Dataset
from latlas.data.batches import Batches
from latlas.errors import InputError
from latlas.html import terms
from latlas.metrics import METRICS, Context, assessment, measure, named
from latlas.metrics.elbo import evaluate
from latlas.models import Model
from latlas.pca import fit
from latlas.progress import SILENT, Observer
from latlas.runs import Run, dataset_of

MOST_PCA = 6  # latent sizes that get a row of PCA
NUMBERS = ("elbo", "distortion", "rate", "mse", "restored_mse")  # of the test split
BETTER: dict[str, Better] = {"elbo": "higher", "distortion": "lower", "mse": "lower", "restored_mse": "lower"}

Wanted = tuple[Sequence[str], tuple[str, ...]]  # further columns, measures


@dataclass(frozen=True)
class _Subject:
    """What is drawn and measured of a row."""

    entry: Entry
    model: Model
    dataset: Dataset
    prior: bool


def gather(
    groups: Mapping[str, Sequence[Run]],
    *,
    pca: bool = True,
    measures: Sequence[str] = (),
    columns: Sequence[str] = (),
    data_dir: str = "",
    pictures: bool = True,
    observer: Observer = SILENT,
) -> Comparison:
    """Compares groups of runs by name: a row for each group, the mean over its runs, which differ in their seed only.

    `pca` adds a row of PCA for each latent size, six at most, fitted to the runs' own training split.
    `measures` are names of `latlas.metrics.METRICS`, or "all"; `columns` further numbers in metrics.json. Numbers
    are those of each run's metrics.json, on the test split; pictures are of each group's first run. Raises InputError
    for no run, one given twice, an unfinished one, groups that differ in more than the seed or have a seed twice, an
    unknown measure and data that are missing or have changed.
    """
    wanted = named(measures)
    _check(groups)
    sets: dict[str, Dataset] = {}
    subjects = []
    for name, runs in groups.items():
        fingerprint = runs[0].info["data"]["fingerprint"]
        if fingerprint not in sets:
            sets[fingerprint] = dataset_of(runs[0], data_dir, observer.progress)
        subjects.append(_subject(name, runs, sets[fingerprint], (columns, wanted), observer))
    notes: list[str] = []
    if pca:
        subjects += _baselines(subjects, wanted, notes, observer)
    entries = tuple(s.entry for s in subjects)
    kinds = dict.fromkeys(dataset.kind for dataset in sets.values())
    kind = next(iter(kinds)) if len(kinds) == 1 else "image"
    title = listed(list(dict.fromkeys(dataset.name for dataset in sets.values())))
    unit = unit_of(kind) if len(kinds) == 1 else "nats per item"
    drawn: tuple[Any, ...] = ()
    if pictures:
        shown = [drawing.shown(s.entry, s.model, s.dataset, s.prior) for s in subjects]
        drawn = drawing.draw(shown, lambda n, total: observer.progress("drawing", n, total))
    return Comparison(
        title, unit, entries, _columns(entries, unit, kind, (columns, wanted)), drawn, tuple(notes)
    )


def by_name(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """A group for each run, by its folder's name; by its path where two have the same name.

    Raises InputError for a run that is given twice.
    """
    names = [run.path.resolve().name for run in runs]
    found: dict[str, list[Run]] = {}
    for run, name in zip(runs, names, strict=True):
        label = name if names.count(name) == 1 else str(run.path)
        found.setdefault(label, []).append(run)
    _refuse_twins([run for group in found.values() for run in group])
    return found


def _refuse_twins(runs: Sequence[Run]) -> None:
    places = Counter(run.path.resolve() for run in runs)
    for run in runs:
        if places[run.path.resolve()] > 1:
            raise InputError(f"{run.path}: given twice; a run compares with others")


def _check(groups: Mapping[str, Sequence[Run]]) -> None:
    if not groups or not all(groups.values()):
        raise InputError("nothing to compare: at least one run is needed, in each group")
    runs = [run for group in groups.values() for run in group]
    _refuse_twins(runs)
    for run in runs:
        if not run.finished or not run.metrics.get("splits", {}).get("test"):
            raise InputError(f"{run.path}: unfinished; finish it with: latlas train --resume {run.path}")
    for name, group in groups.items():
        _check_row(name, group)


def _check_row(name: str, runs: Sequence[Run]) -> None:
    """Runs of one row differ in their seed, each from each, and in nothing else: their number is that of seeds."""
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
    name: str, runs: Sequence[Run], dataset: Dataset, wanted: Wanted, observer: Observer
) -> _Subject:
    first, config = runs[0], runs[0].config
    columns, measures = wanted
    rows, prior = [], has_prior(config)
    model = first.model()
    for run in runs:
        context = assessment.context(run, model if run is first else run.model(), dataset, observer=observer)
        asked = _measured(context, measures, name)
        rows.append(_numbers(run, columns) | asked)
    test = first.metrics["splits"]["test"]
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
    scale = "density" if config.likelihood.name == "gaussian" else "probability"
    entry = Entry(
        name=name, values=values, data=first.info["data"]["fingerprint"], data_name=dataset.name,
        scale="cross-entropy" if first.metrics.get("normalised") is False else scale,
        scaling=model.item.scaling, spread=spread,
        stderrs=_errors({**test, **rows[0]}, values) if len(runs) == 1 else {},
        runs=tuple(str(run.path) for run in runs), settings=settings,
    )  # fmt: skip
    return _Subject(entry, model, dataset, prior)


def _numbers(run: Run, columns: Sequence[str]) -> dict[str, Value]:
    """A run's own numbers, as it wrote them."""
    metrics, config = run.metrics, run.config
    test = metrics["splits"]["test"]
    return {
        **{key: test.get(key) for key in (*NUMBERS, *columns)},
        "latent": config.model.latent,
        "parameters": metrics.get("parameters"),
        "training_seconds": metrics.get("training_seconds"),
        "images_per_second": metrics.get("images_per_second"),
        "likelihood": config.likelihood.name,
        "recipe": config.recipe.name,
        "seed": config.seed,
    }


def _errors(numbers: Mapping[str, Any], keys: Iterable[str]) -> dict[str, float]:
    """The standard errors over the items of a split that a run wrote beside its numbers, as KEY_stderr."""
    found = {key: numbers.get(f"{key}_stderr") for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def _mean(values: list[Value]) -> Value:
    """The mean of numbers; what all share of anything else, and None where one has none."""
    if all(value == values[0] for value in values):
        return values[0]
    if any(value is None or isinstance(value, str) for value in values):
        return None
    return fmean(values)  # type: ignore[arg-type]


def _measured(context: Context, measures: tuple[str, ...], name: str) -> dict[str, Value]:
    """Measures by name, and their standard errors over the items as NAME_stderr."""
    if not measures:
        return {}
    found = measure(context, measures, partial(context.observer.progress, f"measuring {name}"))
    values: dict[str, Value] = {key: None if r is None else r.value for key, r in found.items()}
    return values | {f"{key}_stderr": r.stderr for key, r in found.items() if r is not None}


def _baselines(
    subjects: Sequence[_Subject], measures: tuple[str, ...], notes: list[str], observer: Observer
) -> list[_Subject]:
    """PCA at each latent size of the runs; why it is left out, where it is, goes to `notes`."""
    entries = [s.entry for s in subjects]
    if len({entry.data for entry in entries}) > 1:
        notes.append(
            "PCA is left out: it is fitted to one training split, and the data of these runs differ."
        )
        return []
    there = {e.values["latent"] for e in entries if e.settings.get("training.method") == "pca"}
    sizes = sorted({int(e.values["latent"] or 1) for e in entries} - {int(t or 1) for t in there})
    if len(sizes) > MOST_PCA:
        kept = [sizes[round(i * (len(sizes) - 1) / (MOST_PCA - 1))] for i in range(MOST_PCA)]
        notes.append(f"PCA is shown at {listed([str(s) for s in kept])} of {len(sizes)} latent sizes.")
        sizes = kept
    found = []
    for done, size in enumerate(sizes):
        observer.progress("fitting PCA", done, len(sizes))
        try:
            found.append(_baseline(size, subjects[0].dataset, measures, observer))
        except InputError as error:
            notes.append(f"PCA at {size} dimensions is left out: {error}.")
    if found:
        observer.progress("fitting PCA", len(sizes), len(sizes))
        notes.append(
            "PCA has no likelihood and no prior here, hence no ELBO; where codes are drawn, a Gaussian stands in."
        )
    return found


def _baseline(latent: int, dataset: Dataset, measures: tuple[str, ...], observer: Observer) -> _Subject:
    started = time.perf_counter()
    model = fit(dataset, latent)
    seconds = round(time.perf_counter() - started, 3)
    test = Batches(dataset.test, dataset.scaling, model.device, model.dtype)
    name = f"PCA (latent {latent})"
    measured = _measured(Context(model, dataset, prior=False, observer=observer), measures, name)
    found = evaluate(model, test).to_dict()
    values: dict[str, Value] = {
        "mse": found["mse"],
        "latent": latent,
        "parameters": model.parameter_count,
        "training_seconds": seconds,
        "recipe": "pca",
        **{key: value for key, value in measured.items() if not key.endswith("_stderr")},
    }
    errors = _errors({**found, **measured}, values)
    entry = Entry(name, values, dataset.fingerprint, dataset.name, "", model.item.scaling, stderrs=errors)
    return _Subject(entry, model, dataset, False)


def _columns(entries: Sequence[Entry], unit: str, kind: str, wanted: Wanted) -> tuple[Column, ...]:
    """The columns in which at least one row has a value."""
    further, measures = wanted
    known = {key: (title, decimals, why) for key, title, _, decimals, why in terms(unit, kind)}
    columns = []
    for key in dict.fromkeys((*NUMBERS, *further)):
        title, decimals, why = known.get(key, (key.replace("_", " "), 4, ""))
        shown = unit if key in NUMBERS[:3] else ""
        columns.append(Column(key, title, shown, decimals, BETTER.get(key, ""), why))
    for name in measures:
        title, about = METRICS[name].title, METRICS[name]
        capital = title[:1].upper() + title[1:] if title[1:2].islower() else title  # k-NN stays as it is
        one = items(kind)[:-1]
        why, unit_ = (text.replace("{item}", one) for text in (about.why, about.unit))
        columns.append(Column(name, capital, unit_, about.decimals, about.better, why))
    columns += [
        Column("latent", "Latent", "dimensions", 0, ""),
        Column("parameters", "Parameters", "", 0, ""),
        Column("training_seconds", "Training", "", 1, ""),
        Column("images_per_second", "Speed", f"{items(kind)}/s", 0, ""),
    ]
    return tuple(c for c in columns if any(e.values.get(c.key) is not None for e in entries))
