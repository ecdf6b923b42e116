"""From a study to its runs: data read, configurations resolved and, for a budget, time measured and steps cut."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from latlas import config as configuration
from latlas import data as sources
from latlas import machine, metrics, pca, reading, training
from latlas.build import build, item_of, resolve, statistics
from latlas.data import Dataset
from latlas.data.room import refuse_beyond_room
from latlas.durations import duration_text
from latlas.errors import InputError
from latlas.places import expanded
from latlas.progress import Observer
from latlas.runs import Run, is_run
from latlas.settings import Config
from latlas.studies import budget as budgets
from latlas.studies import study_json, trial
from latlas.studies.budget import Cut, Size, Speed
from latlas.studies.study import Study, check_runs, for_all, seeds_of, slug, unique
from latlas.text import briefly, whole_number

ROOT = Path("studies")
# Settings that do not change how long a run takes; any other makes it a kind of its own.
WITHOUT_TIME = ("seed", "recipe", "optimizer", "objective.beta", "objective.schedule", "objective.warmup")
PROCESS = 2e8  # bytes that a process with torch takes at the least
LENGTH = ("training.steps", "training.epochs", "objective.warmup")  # what a budget decides
# Settings that may differ in a run that is continued: they do not change what the study compares.
UNCOMPARED = (*configuration.ASIDE, "recipe")


@dataclass(frozen=True)
class Options:
    """What a call adds to a study. `measure`: say how long the runs take even where no budget asks for it; `jobs`: how
    many runs are trained at a time, None where an executor decides it; `part`: (k, n), the k-th of n parts of the runs.
    """

    data: tuple[str, ...] = ()
    out: Path | None = None
    budget: float | None = None
    seeds: int | None = None
    limit: int | None = None
    threads: int | None = None
    device: str = ""
    data_dir: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    measure: bool = False
    jobs: int | None = 1
    part: tuple[int, int] | None = None


@dataclass(frozen=True)
class Planned:
    """One run of a study: `name` is its row in the comparison; runs of one `kind` take equally long.

    `whole` is its size before a budget cut it; `estimate`, where it is known, the seconds of the run and its row.
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
    estimate: float | None = None


@dataclass(frozen=True)
class Plan:
    """What is going to be done in the folder `out`: the runs in their order, as cut, then their comparison.

    `baselines` are the seconds that its rows of PCA take, 0 where they were not measured; `cuts` say in words what the
    budget took away; `threads` are the CPU threads of each run that is trained.
    """

    study: Study
    out: Path
    runs: tuple[Planned, ...]
    baselines: float
    budget: float | None
    cut: Cut | None
    cuts: tuple[str, ...]
    options: Options
    threads: int

    @property
    def share(self) -> tuple[Planned, ...]:
        """The runs that this call trains: all of them, or every n-th beginning with the k-th."""
        k, n = self.options.part or (1, 1)
        return self.runs[k - 1 :: n]

    @property
    def measured(self) -> bool:
        """Whether the seconds of every run are known."""
        return all(run.estimate is not None for run in self.runs)

    @property
    def total(self) -> float | None:
        """The seconds that the study takes from its beginning; None where they are not known."""
        return sum(run.estimate or 0.0 for run in self.runs) + self.baselines if self.measured else None

    def work(self, run: Planned) -> float:
        """How much of the study a run is: its seconds where those of every run are known, else its steps.

        A closed form, which has no steps, counts as an epoch.
        """
        return (run.estimate or 0.0) if self.measured else run.size.steps or run.size.per_epoch


def plan(study: Study, options: Options, observer: Observer) -> Plan:
    """The checked runs of a study on their data; with a budget also how long they take, and what it cuts.

    A folder that was begun keeps its budget and what that cut, unless another is given. Raises InputError for wrong
    settings or data, a run in the folder that was trained otherwise, or a budget that is too short; nothing is written.
    """
    before = options.threads or torch.get_num_threads()
    machine.use_threads(options.threads or max(1, before // (options.jobs or before)))
    try:
        return _plan(study, options, observer, torch.get_num_threads())
    finally:
        machine.use_threads(before)


def _plan(study: Study, options: Options, observer: Observer, threads: int) -> Plan:
    started = time.perf_counter()
    out = options.out or ROOT / study.info.name
    stored = study_json.Written.model_validate(study_json.read(out, study.info.name))
    if options.seeds is None:
        options = replace(options, seeds=stored.asked_seeds)
    measures_of(study)
    runs = _runs(study, options, observer)
    jobs = min(options.jobs or 1, len(runs))
    refuse_beyond_room(
        (jobs - 1) * PROCESS,
        "",
        "each is a process of its own",
        "take fewer",
        field="jobs",
        value=options.jobs,
    )
    for run in runs:
        _check_folder(run, out / run.folder, (*UNCOMPARED, *LENGTH))
    seeds = seeds_of(study.info, options.seeds)
    budget, cut = _stored_cut(options, stored, len(seeds))
    runs = _shortened(runs, cut, seeds)
    speeds, baselines = _known_speeds(runs, out, stored), stored.baseline_seconds
    if budget is not None and cut is None:
        if options.part:
            raise InputError(
                "is measured and cut by one process, which parts cannot agree on; leave it out, or the parts",
                field="budget",
                value=duration_text(budget),
            )
        speeds, baselines = _measured(study, runs, observer)
        work = [[(run.size, speeds[run.kind]) for run in runs if run.seed == seed] for seed in seeds]
        cut = budgets.fit(work, budget, time.perf_counter() - started + baselines, options.jobs or 1)
        runs = _shortened(runs, cut, seeds)
    elif options.measure:
        measured, more = _measured(study, [run for run in runs if run.kind not in speeds], observer)
        speeds, baselines = speeds | measured, max(baselines, more)
    for run in runs:
        _check_folder(run, out / run.folder, UNCOMPARED)
    cuts = _cut_notes(cut, runs, len(seeds), budget) if cut and budget else []
    estimated = (
        replace(run, estimate=budgets.seconds(run.size, speeds[run.kind])) if run.kind in speeds else run
        for run in runs
    )
    return Plan(study, out, tuple(estimated), baselines, budget, cut, tuple(cuts), options, threads)


def parse_part(part: object) -> tuple[int, int]:
    """(k, n) of a part of a study, given as "k/n" or as the two numbers.

    Raises InputError for anything else, and unless 1 <= k <= n.
    """
    given = part.split("/") if isinstance(part, str) else part
    read = [whole_number(str(n).strip()) for n in given] if isinstance(given, list | tuple) else []
    numbers = [n for n in read if n is not None and n >= 0]
    if not isinstance(given, list | tuple) or len(given) != 2 or len(numbers) != 2:
        raise InputError("expected K/N, as 2/4: the second of four parts", field="part", value=briefly(part))
    k, n = numbers
    if not 1 <= k <= n:
        raise InputError(f"parts are counted from 1 to N, as 1/{max(n, 1)}", field="part", value=part)
    return k, n


def measures_of(study: Study) -> tuple[str, ...]:
    """The names of the measures that the study asks for, and of those that decide its claims.

    Raises InputError for one that there is not.
    """
    decisive = [claim.number for claim in study.info.claims if claim.number not in ("", *metrics.OF_SPLITS)]
    try:
        return metrics.named([*study.info.measures, *study.info.columns, *decisive])
    except InputError as error:
        raise InputError(f"{study.where}: study.measures: {error}") from None


def _stored_cut(options: Options, stored: study_json.Written, seeds: int) -> tuple[float | None, Cut | None]:
    """The budget, given now or before, and what it cut when the folder was begun; no cut where it is a new one."""
    before = stored.budget
    budget = options.budget or (before.seconds if before else None)
    if before is None or before.seconds != budget:
        return budget, None
    # Where no seed was cut, the seeds of now are trained, however many they are.
    count = seeds if before.seeds == before.of_seeds else min(before.seeds, seeds)
    return budget, Cut(before.share, count)


def _known_speeds(runs: Sequence[Planned], out: Path, stored: study_json.Written) -> dict[str, Speed]:
    """By kind, the seconds that study.json expects of a run or, where it does not, that a finished one took."""
    expected = {row.folder: row.estimate_seconds for row in stored.runs}
    known = ((run.kind, expected.get(run.folder) or run_seconds(out / run.folder)) for run in runs)
    return {kind: Speed(seconds, 0.0, 0.0) for kind, seconds in known if seconds is not None}


def run_seconds(folder: Path) -> float | None:
    """The seconds that a finished run took; None while it is not finished."""
    return Run(folder).metrics.get("seconds")


def _measured(study: Study, runs: Sequence[Planned], observer: Observer) -> tuple[dict[str, Speed], float]:
    """By kind how fast its runs are, the row of the comparison among what comes with each; and the seconds that the
    rows of PCA take.
    """
    kinds = {run.kind: run for run in runs}
    rows: dict[str, float] = {}
    speeds = {}
    for done, (kind, run) in enumerate(kinds.items()):
        observer.progress("measuring", done, len(kinds), f"how long {run.name} takes")
        with trial.short_run(run.config, run.size) as (short, speed):
            if short is not None and run.data not in rows:
                rows[run.data] = trial.row_seconds(short, study.info)
        speeds[kind] = replace(speed, start=speed.start + rows.get(run.data, 0.0))
    if kinds:
        observer.progress("measuring", len(kinds), len(kinds))
    baselines = {(run.data, run.config.model.latent) for run in runs} if study.info.pca else ()
    return speeds, sum(rows.get(data, 0.0) for data, _ in baselines)


def _runs(study: Study, options: Options, observer: Observer) -> list[Planned]:
    """Every run at its whole length, those of a data set together, seed by seed."""
    sources_ = options.data or study.info.data
    if not sources_:
        raise InputError(f"{study.where}: no data: name them: latlas study {study.info.name} DATA")
    twice = [source for source in sources_ if sources_.count(source) > 1]
    if twice:
        raise InputError(f"{study.where}: {twice[0]}: given twice; each data set gets all runs once")
    seeds = seeds_of(study.info, options.seeds)
    check_runs(
        len(study.entries) * len(sources_) * len(seeds), study.where, "fewer seeds, data or rows are needed"
    )
    slugs = dict(
        zip((e.name for e in study.entries), unique(slug(e.name) for e in study.entries), strict=True)
    )
    loaded = [_load(study, source, options, observer) for source in sources_]
    names = unique(pairs[0][1].name for pairs in loaded)
    runs: list[Planned] = []
    for name, pairs in zip(names, loaded, strict=True):
        entries = list(zip(study.entries, pairs, strict=True))
        for seed, (entry, (config, data)) in product(seeds, entries):
            config = configuration.override(config, {"seed": seed}, study.where)
            size, kind = _size(config, data), _kind(config, data)
            folder = f"{name}-{slugs[entry.name]}-seed{seed}"
            runs.append(Planned(entry.name, name, seed, folder, config, size, size, kind, data.fingerprint))
    return runs


def _load(study: Study, source: str, options: Options, observer: Observer) -> list[tuple[Config, Dataset]]:
    """For each entry its resolved configuration and its data; its model is built once, to see that it can be."""
    folder = str(expanded(options.data_dir).absolute()) if options.data_dir else ""
    given = {
        "data.source": source,
        "data.data_dir": folder,
        "data.limit": options.limit,
        "training.threads": options.threads,
        "training.device": options.device,
    }
    changes = {key: value for key, value in given.items() if value not in (None, "")} | for_all(
        study, options.settings
    )
    datasets: dict[str, Dataset] = {}
    pairs = []
    for entry in study.entries:
        config = configuration.override(entry.config, changes, f"{study.where}: {entry.name}")
        machine.prepare(config.training)
        key = config.data.model_dump_json()
        if key not in datasets:
            datasets[key] = sources.load(config.data, observer.progress)
        dataset = datasets[key]
        try:
            resolved, _ = resolve(config, dataset)
            if resolved.training.method == "pca":
                pca.check(resolved, dataset)
            build(resolved, item_of(dataset), statistics(dataset))
        except InputError as error:
            raise InputError(f"{study.where}: {entry.name}, on {dataset.name}: {error}") from None
        pairs.append((resolved, dataset))
    return pairs


def _size(config: Config, data: Dataset) -> Size:
    length, options = training.plan(config, len(data.train)), config.training
    every = options.snapshot_epochs and options.snapshot_epochs * length.per_epoch
    steps = 0 if options.method == "pca" else length.steps
    return Size(steps, length.validated, every or options.snapshot_every)


def _kind(config: Config, data: Dataset) -> str:
    settings = configuration.settings_of(config, WITHOUT_TIME)
    settings |= {"threads": torch.get_num_threads(), "items": len(data.train)}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _shortened(runs: Sequence[Planned], cut: Cut | None, seeds: Sequence[int]) -> list[Planned]:
    """The runs that a cut leaves, each with its share of the steps; all of them where there is none."""
    if cut is None:
        return list(runs)
    return [_with_share(run, cut.share) for run in runs if run.seed in seeds[: cut.seeds]]


def _with_share(run: Planned, share: float) -> Planned:
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


def _cut_notes(cut: Cut, runs: Sequence[Planned], seeds: int, budget: float) -> list[str]:
    several = len({run.data for run in runs}) > 1
    sizes = {f"{r.name} on {r.data}" if several else r.name: r.whole for r in runs}
    return budgets.cut_notes(cut, sizes, seeds, budget)


def _check_folder(planned: Planned, folder: Path, without: Sequence[str]) -> None:
    """Raises InputError where the folder holds something else than this run, naming the first key that differs and
    is not in `without`.
    """
    reading.inside(folder.parent, folder.name)
    if not folder.exists():
        return
    advice = "choose another folder for the study, or take this one away"
    if not is_run(folder):
        raise InputError(f"{folder}: exists already and is no run; {advice}")
    run = Run(folder)
    trained, now = (configuration.settings_of(config, without) for config in (run.config, planned.config))
    for key in (*(key for key in LENGTH if key in now), *now):
        if trained.get(key) == now[key]:
            continue
        if key in LENGTH:
            raise InputError(
                f"{folder}: was trained for another number of steps, by another budget; leave the budget out to go on"
                f" with it, or {advice}"
            )
        raise InputError(
            f"{folder}: was trained with {key} = {trained.get(key)}, and now it would be {now[key]}; {advice}"
        )
    if run.info["data"]["fingerprint"] != planned.fingerprint:
        raise InputError(f"{folder}: was trained on other data of that name ({planned.data}); {advice}")
