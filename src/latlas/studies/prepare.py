"""From a study to its runs: data read, configurations resolved, time measured, and cut to a budget."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import torch

from latlas import config as configuration
from latlas import data as sources
from latlas import metrics, pca, training
from latlas.build import build, item_of, resolve, statistics
from latlas.data import Dataset
from latlas.errors import InputError
from latlas.machine import prepare as prepare_machine
from latlas.progress import Observer
from latlas.runs import Run, is_run
from latlas.settings import Config
from latlas.studies import budget as budgets
from latlas.studies import probe, records
from latlas.studies.budget import Cut, Size, Speed
from latlas.studies.study import Study, seeds_of, slug, unique

ROOT = Path("studies")
# What does not change a run's speed; everything else makes a combination of its own.
SPEED_FREE = ("seed", "recipe", "training.epochs", "training.steps", "optimizer", "objective.beta",
              "objective.schedule", "objective.warmup", "pictures")  # fmt: skip
LENGTH = ("training.steps", "training.epochs", "objective.warmup")  # what a budget decides
# What may differ in a run that is gone on with: it does not change what the study compares.
RUN_FREE = (*configuration.ASIDE, "recipe")


Probe = tuple[Config, Dataset, float]  # and the seconds that reading the data took


@dataclass(frozen=True)
class Options:
    """What a call adds to a study."""

    data: tuple[str, ...] = ()
    out: Path | None = None
    budget: float | None = None
    seeds: int | None = None
    limit: int | None = None
    threads: int | None = None
    device: str = ""
    data_dir: str = ""


@dataclass(frozen=True)
class Planned:
    """One run of a study: `name` is its row in the comparison, `kind` the combination that decides its speed.

    `whole` is its size before a budget cut it.
    """

    name: str
    data: str
    seed: int
    folder: str
    config: Config
    size: Size
    whole: Size
    kind: str
    fingerprint: str


@dataclass(frozen=True)
class Plan:
    """What is going to be done in the folder `out`: `runs` as cut, in their order, and how long each takes.

    `baselines` are the seconds that the rows of PCA take. `cuts` says in words what the budget took away.
    """

    study: Study
    out: Path
    runs: tuple[Planned, ...]
    speeds: dict[str, Speed]
    baselines: float
    budget: float | None
    cut: Cut | None
    cuts: tuple[str, ...]
    options: Options = field(default_factory=Options)

    def seconds(self, run: Planned) -> float:
        """The estimate of a run, as it was cut."""
        return budgets.seconds(run.size, self.speeds[run.kind])

    @property
    def total(self) -> float:
        """The estimate of the study, from its beginning."""
        return sum(map(self.seconds, self.runs)) + self.baselines


def plan(study: Study, options: Options, observer: Observer) -> Plan:
    """The runs of a study on their data, each found good, and how long they will take.

    A folder that was begun keeps its measurements, its budget and what that cut, unless another is given.
    Raises InputError for wrong settings or data, a run in the folder that was trained otherwise, or a budget
    that is too short; nothing is written.
    """
    begun = time.perf_counter()
    out = options.out or ROOT / study.info.name
    before = records.read(out, study.info.name)
    if options.seeds is None:
        options = replace(options, seeds=before.get("asked_seeds"))
    measures_of(study)
    known = {kind: Speed(**values) for kind, values in before.get("speeds", {}).items()}
    runs, to_measure = _runs(study, options, known, observer)
    for run in runs:
        _check_folder(run, out / run.folder, (*RUN_FREE, *LENGTH))
    speeds, baselines = _measured(study, to_measure, observer)
    speeds, baselines = known | speeds, max(baselines, before.get("baseline_seconds", 0.0))
    seeds = seeds_of(study.info, options.seeds)
    stored = before.get("budget") or {}
    budget = stored.get("seconds") if options.budget is None else options.budget
    cut, cuts = None, []
    if budget is not None:
        if stored.get("seconds") == budget:
            whole = stored["seeds"] == stored.get("of_seeds")  # further ones are wanted, whatever they cost
            cut = Cut(stored["share"], len(seeds) if whole else min(stored["seeds"], len(seeds)))
        else:
            work = [[(r.size, speeds[r.kind]) for r in runs if r.seed == seed] for seed in seeds]
            cut = budgets.fit(work, budget, time.perf_counter() - begun + baselines)
        runs = [_cut(r, cut.share) for r in runs if r.seed in seeds[: cut.seeds]]
        cuts = _told(cut, runs, len(seeds), budget)
    for run in runs:
        _check_folder(run, out / run.folder, RUN_FREE)
    return Plan(study, out, tuple(runs), speeds, baselines, budget, cut, tuple(cuts), options)


def measures_of(study: Study) -> tuple[str, ...]:
    """The names of the measures that the study asks for.

    Raises InputError for one that there is not.
    """
    try:
        return metrics.named(study.info.measures)
    except InputError as error:
        raise InputError(f"{study.where}: study.measures: {error}") from None


def _measured(
    study: Study, to_measure: Mapping[str, Probe], observer: Observer
) -> tuple[dict[str, Speed], float]:
    """The speed of each kind, and the seconds that the rows of PCA take."""
    names, pca = measures_of(study), study.info.pca
    rows: dict[str, tuple[float, float]] = {}
    sizes: dict[str, set[int | None]] = {}
    speeds = {}
    for done, (kind, (config, data, reading)) in enumerate(to_measure.items()):
        observer.progress("measuring", done, len(to_measure), "how long a step takes")
        if data.fingerprint not in rows:
            rows[data.fingerprint] = probe.comparing(config, data, names, pca)
        sizes.setdefault(data.fingerprint, set()).add(config.model.latent)
        speeds[kind] = replace(probe.measure(config, data, reading), compare=rows[data.fingerprint][0])
    if to_measure:
        observer.progress("measuring", len(to_measure), len(to_measure))
    return speeds, sum(len(sizes[key]) * baseline for key, (_, baseline) in rows.items())


def _runs(
    study: Study, options: Options, known: Mapping[str, Speed], observer: Observer
) -> tuple[list[Planned], dict[str, Probe]]:
    """Every run, those of a data set together, seed by seed; and of each kind that is not known one to measure."""
    wanted = options.data or study.info.data
    if not wanted:
        raise InputError(f"{study.where}: no data: name them: latlas study {study.info.name} DATA")
    twins = [source for source in wanted if wanted.count(source) > 1]
    if twins:
        raise InputError(f"{study.where}: {twins[0]}: given twice; each data set gets all runs once")
    seeds = seeds_of(study.info, options.seeds)
    slugs = dict(
        zip((e.name for e in study.entries), unique(slug(e.name) for e in study.entries), strict=True)
    )
    loaded = [_load(study, source, options, observer) for source in wanted]
    names = unique(datasets[0][1].name for datasets in loaded)
    runs: list[Planned] = []
    to_measure: dict[str, Probe] = {}
    for name, datasets in zip(names, loaded, strict=True):
        for seed, (entry, (config, data, reading)) in product(
            seeds, zip(study.entries, datasets, strict=True)
        ):
            config = configuration.override(config, {"seed": seed}, study.where)
            length = training.plan(config, len(data.train))
            steps = 0 if config.training.method == "pca" else length.steps
            kept = len(training.snapshot_steps(config, length)) + 1 if steps else 0
            size = Size(steps, length.per_epoch, len(data.valid), len(data.test), kept)
            kind = _kind(config, data)
            folder = f"{name}-{slugs[entry.name]}-seed{seed}"
            runs.append(Planned(entry.name, name, seed, folder, config, size, size, kind, data.fingerprint))
            if kind not in known:
                to_measure.setdefault(kind, (config, data, reading))
    return runs, to_measure


def _load(
    study: Study, source: str, options: Options, observer: Observer
) -> list[tuple[Config, Dataset, float]]:
    """For each entry its resolved configuration, its data and how long they took to read; built once on trial."""
    folder = str(Path(options.data_dir).expanduser().absolute()) if options.data_dir else ""
    given = {
        "data.source": source,
        "data.data_dir": folder,
        "data.limit": options.limit,
        "training.threads": options.threads,
        "training.device": options.device,
    }
    changes = {key: value for key, value in given.items() if value not in (None, "")}
    kept: dict[str, tuple[Dataset, float]] = {}
    found = []
    for entry in study.entries:
        config = configuration.override(entry.config, changes, f"{study.where}: {entry.name}")
        prepare_machine(config.training)
        key = config.data.model_dump_json()
        if key not in kept:
            begun = time.perf_counter()
            kept[key] = sources.load(config.data, observer.progress), time.perf_counter() - begun
        dataset, reading = kept[key]
        try:
            resolved, _ = resolve(config, dataset)
            if resolved.training.method == "pca":
                pca.check(resolved, dataset)
            build(resolved, item_of(dataset), statistics(dataset))
        except InputError as error:
            raise InputError(f"{study.where}: {entry.name}, on {dataset.name}: {error}") from None
        found.append((resolved, dataset, reading))
    return found


def _kind(config: Config, data: Dataset) -> str:
    free = configuration.settings_of(config, SPEED_FREE)
    free |= {"threads": torch.get_num_threads(), "items": len(data.train)}
    return hashlib.sha256(json.dumps(free, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _cut(run: Planned, share: float) -> Planned:
    """The run with that share of its steps; a warm-up that was given in steps is shortened alike."""
    if share >= 1 or not run.size.steps:
        return run
    steps, warmup = run.size.at(share), run.config.objective.warmup
    changes = {"training.steps": steps}
    if warmup:
        changes["objective.warmup"] = max(1, round(share * warmup))
    return replace(
        run,
        config=configuration.override(run.config, changes, "budget"),
        size=replace(run.size, steps=steps),
    )


def _told(cut: Cut, runs: Sequence[Planned], seeds: int, budget: float) -> list[str]:
    several = len({run.data for run in runs}) > 1
    sizes = {f"{r.name} on {r.data}" if several else r.name: r.whole for r in runs}
    return budgets.told(cut, sizes, seeds, budget)


def _check_folder(planned: Planned, folder: Path, free: Sequence[str]) -> None:
    """Raises InputError where the folder holds something else than this run, naming the first key that differs and
    is not `free`.
    """
    if not folder.exists():
        return
    advice = "choose another folder for the study, or take this one away"
    if not is_run(folder):
        raise InputError(f"{folder}: exists already and is no run; {advice}")
    run = Run(folder)
    there, wanted = (configuration.settings_of(config, free) for config in (run.config, planned.config))
    for key in (*(key for key in LENGTH if key in wanted), *wanted):
        value = wanted[key]
        if there.get(key) != value and key in LENGTH:
            raise InputError(
                f"{folder}: was trained for another number of steps, by another budget; leave the budget out to go on"
                f" with it, or {advice}"
            )
        if there.get(key) != value:
            raise InputError(
                f"{folder}: was trained with {key} = {there.get(key)}, and now it would be {value}; {advice}"
            )
    if run.info["data"]["fingerprint"] != planned.fingerprint:
        raise InputError(f"{folder}: was trained on other data of that name ({planned.data}); {advice}")
