"""A training run from start to end: trains, validates, logs and saves; then measures, diagnoses, draws and reports."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.optim import Optimizer

from latlas import (
    checkpoints,
    continuing,
    densities,
    diagnosis,
    gallery,
    invocation,
    metrics,
    pacing,
    pca,
    probing,
    report,
    runs,
    snapshots,
    training,
)
from latlas import data as sources
from latlas._version import __version__
from latlas.brought import NOTHING, OF_TRAINING, Brought, check_brought, shown
from latlas.build import build, description, item_of, objective_of, resolve, statistics, unit_of
from latlas.checkpoints import Progress
from latlas.config import override, settings_of, to_toml
from latlas.data import Dataset
from latlas.data.batches import Batches
from latlas.data.room import within_memory
from latlas.diagnosis.wording import described
from latlas.distributed import Lost, World
from latlas.errors import InputError
from latlas.files import write_atomic, write_json
from latlas.machine import environment, give_back, interruptible, prepare, slow_precision
from latlas.metrics import Context, display
from latlas.metrics.elbo import Evaluation
from latlas.models import Model
from latlas.objectives import Objective
from latlas.optimizers import optimizer_for
from latlas.progress import SILENT, Observer
from latlas.runs import Run
from latlas.selection import Selection
from latlas.settings import Config
from latlas.trackers import Followers, Tracker, own, replay

T = TypeVar("T")
SHOWN = 8  # images that trackers get at each epoch
QUICK = {"evaluation.groups": (), "evaluation.diagnose": False}  # enough to try things out


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and has saved its state: `run` can be resumed."""

    def __init__(self, run: Run, step: int) -> None:
        super().__init__(f"stopped at step {step:,}; continue with: {run.continued_by}")
        self.run = run


@dataclass
class Session:
    """The state of one process that trains a run."""

    run: Run
    config: Config
    dataset: Dataset
    model: Model
    optimizer: Optimizer
    observer: Observer
    device: torch.device
    progress: Progress = field(default_factory=Progress)
    started: float = field(default_factory=time.perf_counter)
    before: float = 0.0
    explained: bool = False
    trackers: Followers = field(default_factory=Followers)
    quick: bool = False
    world: World = field(default_factory=World)

    @property
    def seconds(self) -> float:
        """How long the run has taken, in this process and `before` it was resumed."""
        return self.before + time.perf_counter() - self.started

    def explain(self, numbers: Mapping[str, Any]) -> None:
        """Notes, once, what a number means whose sign surprises."""
        sign = display.on_sign(numbers)
        if sign and not self.explained:
            self.observer.note(sign)
        self.explained = self.explained or bool(sign)

    @property
    def objective(self) -> Objective:
        return objective_of(self.config, self.dataset.shape, self.run.brought)

    def batches(self, split: str) -> Batches:
        whole, training_ = self.dataset.split(split), split == "train"
        items, augment = (whole, self.run.brought.augment) if training_ else (whole.some, None)
        return Batches(items, self.dataset.scaling, self.device, self.model.dtype, augment)


def train(
    config: Config, out: Path | None = None, observer: Observer = SILENT, brought: Brought = NOTHING,
    tracker: Sequence[Tracker] = (), dataset: Dataset | None = None, world: World | None = None,
) -> Run:  # fmt: skip
    """Trains a configuration in a new run folder, then writes its numbers, pictures and report; each `tracker` follows.

    Each process of a `world` computes its share of every batch; the first one alone writes. Those that their launcher
    restarts go on with the run that they began.

    A `dataset` that was read by this configuration before is not read again. Nothing is written before both are
    checked. Raises InputError for an error in either, Interrupted when asked to stop (the run can be resumed),
    LatlasError when training fails.
    """
    started, world = time.perf_counter(), world or World()
    if begun := world.earlier_run():
        observer.note(f"restarted: going on with {begun}")
        return resume(Run(Path(begun), brought), observer, where_of(config, world), tracker=tracker)
    runs.refuse_existing(out)
    densities.check(config.pictures.densities)
    device = world.on(prepare(config.training))
    if dataset is None:
        dataset = world.first(lambda: sources.load(config.data, observer.progress, brought.data))
    config, notes = resolve(config, dataset, brought)
    for note in (*dataset.notes, *notes):
        observer.note(note)
    if config.training.method == "pca":
        pca.check(config, dataset)
    model = build(config, item_of(dataset), statistics(dataset), brought)
    config, brought = probed(config, dataset, model, brought)
    shared = training.check_shared(world, config, model, device, dataset)
    shared += slow_precision(config.training, device)
    if config.training.budget:
        config, note = pacing.within_budget(config, dataset, model, device, brought, observer)
        shared += [note]
    for note in shared:
        observer.note(note)
    contents: dict[str, str | bytes | dict[str, Any]] = {
        "config.toml": to_toml(config),
        "model.json": description(config, model, dataset.binary),
        "run.json": (info := _info(dataset, device, [*dataset.notes, *notes, *shared], world)),
    }
    if config.training.start:
        info["start"] = continuing.load_start(config, model)
        observer.note(continuing.start_text(info["start"]))
    model, optimizer = _on_device(model, config, device, world)
    if config.training.start or brought.has_parts:
        # The run has to go on from here even where the other one is gone, or one's own parts have other weights.
        contents[checkpoints.LAST] = checkpoints.to_content(model, optimizer, Progress())
    run = Run(runs.create_once(world, out, f"{dataset.name}-{config.recipe.name}", contents), brought)
    observer.note(f"run folder: {run.path}")
    session = Session(run, config, dataset, model, optimizer, observer, device, started=started, world=world)
    return _run(session, tracker)


def where_of(config: Config, world: World) -> dict[str, Any]:
    """Where a configuration trains, as `resume` takes it."""
    return config.training.model_dump(include={"threads", "device"}) | {"world": world}


def probed(config: Config, dataset: Dataset, model: Model, brought: Brought) -> tuple[Config, Brought]:
    """Probes parts of one's own on training items; gives both with what is found out about an objective.

    Raises InputError for a part that is missing, and as `probing.probe` does.
    """
    check_brought(config, brought, OF_TRAINING)
    if not brought.has_parts:
        return config, brought
    rows = dataset.train.even_rows(probing.PROBED)
    x = Batches(dataset.train, dataset.scaling, model.device, model.dtype)(rows)
    if brought.augment is not None:
        probing.probe_augment(brought.augment, x, config.augment)
    objective = probing.probe(model, objective_of(config, dataset.shape, brought), x)
    if brought.objective is None:
        return config, brought
    matches = bool(objective.needs["prior_draws"]) or objective.matches_prior
    found = {"own.rate_weight": float(objective.rate_weight), "own.matches_prior": matches}
    return override(config, found, "objective"), replace(brought, objective=objective)


def _info(dataset: Dataset, device: torch.device, notes: list[str], world: World) -> dict[str, Any]:
    """run.json: command, versions, machine and data at the start of the run, and the notes on its configuration."""
    return {
        "format": 1,
        "command": invocation.command(),
        "latlas": __version__,
        **environment(),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "processes": world.size,
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "data": {
            "name": dataset.name,
            "source": dataset.source,
            "kind": dataset.kind,
            "shape": list(dataset.shape),
            "binary": dataset.binary,
            "classes": dataset.classes,
            "columns": dataset.columns,
            "fingerprint": dataset.fingerprint,
            **{name: len(dataset.split(name)) for name in ("train", "valid", "test")},
        },
        "notes": notes,
    }


def resume(
    path: Run | str | Path,
    observer: Observer = SILENT,
    where: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
    quick: bool = False,
    tracker: Sequence[Tracker] = (),
    dataset: Dataset | None = None,
) -> Run:
    """Continues a run from its newest checkpoint, or from step 0 where there is none.

    `where` has the device, threads and data_dir to go on with, as before unless given, and the `world` of processes.
    With `changes`, settings by dotted key, it is trained further: see `continuing`. Without any, a finished run is
    returned unchanged. `quick` measures and diagnoses as little as `QUICK` says, this time. A `dataset` that was read
    before is not read again.

    Raises InputError when the run's data are missing or have changed, and for a setting that cannot change.
    """
    run, world = runs.find(path), (where or {}).get("world") or World()
    further, waiting = continuing.further(run, changes or {}), continuing.waiting(run)
    if run.finished and further is None and not waiting:
        observer.note(f"{run.path}: finished already; train it further with more epochs or steps")
        if world.leads:
            checkpoints.restore_weights(run.path)
            if not (run.path / "report.html").exists():
                report.write_report(run.path)
        return run
    config, info, where = further or continuing.config_of(run), run.info, where or {}
    machine = {
        "training.threads": where.get("threads") or info["threads"],
        "training.device": where.get("device") or config.training.device,
    }
    on = world.on(prepare(override(config, machine, "device, threads").training))
    same = {"torch": torch.__version__, "device": on.type, "threads": torch.get_num_threads()}
    for key, now in (same | {"processes": world.size}).items():
        if (was := info.get(key, 1)) != now:
            observer.note(f"{key} was {was} and is {now}: the run goes on, but not bit for bit")
    # Rows come in another order in windows: data that were in memory are read into it again.
    memory = "resident" if run.config.data.memory == "auto" else run.config.data.memory
    if dataset is None:
        at = where.get("data_dir") or ""
        dataset = world.first(lambda: runs.dataset_of(run, at, observer.progress, memory=memory))
    with run.allowance():
        model = build(config, item_of(dataset), statistics(dataset), run.brought)
    run = replace(run, brought=probed(config, dataset, model, run.brought)[1])
    for note in training.check_shared(world, config, model, on, dataset):
        observer.note(note)
    model, optimizer = _on_device(model, config, on, world)
    session = Session(run, config, dataset, model, optimizer, observer, on, quick=quick, world=world)
    return _run(session, tracker, further is not None or waiting)


def _on_device(model: Model, config: Config, device: torch.device, world: World) -> tuple[Model, Optimizer]:
    give_back()
    return (moved := world.normalising_together(model.to(device))), optimizer_for(config, moved)


def _run(session: Session, tracker: Sequence[Tracker], further: bool = False) -> Run:
    world, run = session.world, session.run
    session.trackers = Followers([*own(), *tracker] if world.leads else [], session.observer)
    world.wait()  # all have read the folder before it changes
    with run.held() if world.leads else contextlib.nullcontext(), _resumable(session), session.trackers:
        with interruptible(world.leads) as world.stop:
            if world.leads:
                _restore(session, further)
                now = session.progress
                run.cut_back(now.step, now.setbacks, start=now.start)
            _agree(session)
            if session.progress.step:
                session.observer.note(f"continuing at step {session.progress.step:,}")
            session.before = session.progress.wall
            if session.config.training.method == "pca":
                world.decided(lambda: _solve(session))
            else:
                while (step := _train(session)) is not None:
                    if world.leads:
                        _go_back(session, step)
                    _agree(session)
            if world.decided(world.stop):
                raise Interrupted(run, session.progress.step)
        world.decided(lambda: finish(session))
    return run


def _agree(session: Session) -> None:
    """Gives all processes the weights, the optimiser's state and the progress of the first one."""
    world, model, optimizer = session.world, session.model, session.optimizer
    if world.alone:
        return
    content = world.told(checkpoints.to_content(model, optimizer, session.progress) if world.leads else b"")
    if not world.leads:
        path = session.run.path / checkpoints.LAST
        session.progress = checkpoints.load_content(content, path, model, optimizer)


def _restore(session: Session, further: bool) -> None:
    """Brings the session to where the run stands; `further` makes it one that is trained further."""
    run, config = session.run, session.config
    if further:
        session.progress, what = continuing.begin(run, config, session.model, session.optimizer)
        session.observer.note(what)
        return
    session.progress = checkpoints.restore(run.path, session.model, session.optimizer)
    lost = session.progress == Progress() and not (run.path / checkpoints.LAST).exists()
    if config.training.start and lost:
        begun = "missing, and with it the weights that this run started from; begin a new run"
        raise InputError(f"{run.path / checkpoints.LAST}: {begun}")
    if config != run.config:  # a process was killed between writing run.json and config.toml
        write_atomic(run.path / "config.toml", to_toml(config))


@contextlib.contextmanager
def _resumable(session: Session) -> Iterator[None]:
    """Turns any KeyboardInterrupt into Interrupted, and says how to continue, as where another process is lost."""
    try:
        with within_memory("training", f"free some, and go on with: {session.run.continued_by}"):
            yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(session.run, session.progress.step) from None
    except Lost as error:
        raise Lost(f"{error}; continue from the last checkpoint with: {session.run.continued_by}") from None


def _follow(session: Session) -> None:
    """Tells the trackers where training begins, goes on, or went back to."""
    session.trackers.start(settings_of(session.config, ()), replay.about(session.run, session.progress.step))


def _solve(session: Session) -> None:
    """Fits PCA in closed form instead of the training loop; its weights are the best ones."""
    _follow(session)
    begun = time.perf_counter()
    pca.solve(session.model, session.dataset, session.config.seed)
    session.progress = Progress(
        seconds=time.perf_counter() - begun, images=len(session.dataset.train), best_step=0
    )
    checkpoints.save(session.run.path, session.model, session.optimizer, session.progress)


def _train(session: Session) -> int | None:
    """Trains to the end, or to a setback, whose step it gives."""
    config, progress, run, world = session.config, session.progress, session.run, session.world
    data = session.batches("train")
    length = training.plan(config, len(data), progress.start)
    objective = session.objective
    selection = Selection(config, objective, length, _scores(run, progress.start) if world.leads else [])
    _follow(session)
    if world.decided(lambda: selection.is_over(progress)):
        return None
    if config.training.snapshot_weights and progress.step == progress.start and not progress.setbacks:
        count = len(training.snapshot_steps(config, length)) + (progress.step == 0)
        session.observer.note(snapshots.weights_text(session.model, count))
    for event in training.train(session.model, data, objective, session.optimizer, config, progress, world):
        progress.wall = session.seconds
        if isinstance(event, training.SetBack):
            return event.step
        over = ""
        if not isinstance(event, training.Logged | training.Skipped):  # which the others need not wait for
            over = world.decided(lambda event=event: _keep(session, event, selection))  # type: ignore[misc]
        elif world.leads:
            _keep(session, event, selection)
        if isinstance(event, training.Stopped):
            raise Interrupted(run, event.step)
        if over:
            session.observer.note(f"{over}: stopped early")
            return None
    return None


def _keep(session: Session, event: training.Event, selection: Selection) -> str:
    """Logs and saves what an event says; gives why training is over, "" where it is not."""
    run, progress = session.run, session.progress
    if isinstance(event, training.SnapshotDue):
        snapshots.keep(run, session.config, session.model, session.dataset, event.step)
    elif isinstance(event, training.Logged):
        _log_step(session, event, selection.length)
    elif isinstance(event, training.Skipped):
        _log_skipped(session, event, selection.length)
    elif isinstance(event, training.EpochEnded):
        _end_epoch(session, event, selection)
        return selection.is_over(progress)
    elif isinstance(event, training.Noted):
        session.observer.note(event.text)
    else:
        checkpoints.save(run.path, session.model, session.optimizer, progress, stopped=True)
    return ""


def _log_step(session: Session, event: training.Logged, length: training.Plan) -> None:
    row = {"kind": "step", "step": event.step, "epoch": round(event.epoch, 4), **event.values}
    row |= {"beta": event.beta, "lr": event.lr, "images_per_second": event.images_per_second}
    session.run.append_log(row)
    session.trackers.step(event.step, replay.values(row))
    detail = f"epoch {math.ceil(event.epoch)}/{length.epochs}  loss {event.values['loss']:.2f}"
    session.observer.progress("training", event.step, length.steps, detail)


def _log_skipped(session: Session, event: training.Skipped, length: training.Plan) -> None:
    """Logs a skipped step; of many, the 1st, 2nd, 4th, 8th and so on are noted as well."""
    epoch = round(event.step / length.per_epoch, 4)
    session.run.append_log({"kind": "skipped", "step": event.step, "epoch": epoch, "term": event.term})
    so_far = session.progress.skipped
    if so_far & (so_far - 1) == 0:
        count = f" ({so_far:,} steps so far)" if so_far > 1 else ""
        session.observer.note(f"step {event.step:,} is skipped: its {event.term} is not finite{count}")


def _go_back(session: Session, step: int) -> None:
    """Goes back to the checkpoint of the last whole epoch, or to the start, and halves the learning rate.

    The log is written before the checkpoint that counts the setback: a process killed between them does it again.
    """
    config, dataset, run, before = session.config, session.dataset, session.run, session.progress
    model = build(config, item_of(dataset), statistics(dataset), run.brought)
    session.model, session.optimizer = _on_device(model, config, session.device, session.world)
    kept = checkpoints.restore(run.path, session.model, session.optimizer, (checkpoints.LAST,))
    session.progress = now = training.after_setback(kept, before)
    lr = config.optimizer.lr * 0.5**now.setbacks
    epoch = round(now.step / training.plan(config, len(dataset.train)).per_epoch, 4)
    counts = {"skipped": now.skipped, "setbacks": now.setbacks, "lr": lr}
    row = {"kind": "setback", "step": now.step, "epoch": epoch, "from": step, **counts}
    run.cut_back(now.step, now.setbacks, row, start=now.start)
    checkpoints.save(run.path, session.model, session.optimizer, now)
    session.observer.note(
        f"{training.REPEATED} of the last {training.WITHIN} steps were skipped, the last at step {step:,}: back to step"
        f" {now.step:,} with half the learning rate, {lr:.3g}"
    )


def _scores(run: Run, start: int) -> list[tuple[int, float]]:
    """(step, score) of each validation since the run was trained further from a step, as its log has them."""
    rows = (row for row in run.log() if row["kind"] == "epoch" and row["step"] > start)
    return [(row["step"], row["score"]) for row in rows if row.get("score") is not None]


def _end_epoch(session: Session, event: training.EpochEnded, selection: Selection) -> None:
    """Validates, logs and saves a checkpoint."""
    progress, run, length = session.progress, session.run, selection.length
    verdict = selection.judge(session.model, session.batches("valid"), event, progress)
    valid = verdict.valid
    speed = progress.images / progress.seconds
    row = {
        "kind": "epoch",
        "step": event.step,
        "epoch": event.epoch,
        "train": event.values,
        "valid": valid and valid.to_dict(),
        "lr": event.lr,
        "seconds": round(progress.seconds, 3),
        "images_per_second": speed,
        "score": verdict.score,
        "best": verdict.better,
    }
    run.append_log(row)
    _show_epoch(session, row)
    checkpoints.save(run.path, session.model, session.optimizer, progress)
    left = progress.seconds / event.step * (length.steps - event.step)
    session.observer.epoch(_epoch_line(event, length, valid, speed, left))
    if valid is not None:
        session.explain(valid.to_dict())


def _show_epoch(session: Session, row: Mapping[str, Any]) -> None:
    """Gives the trackers an epoch's values and, of images, the first measured ones over their reconstructions."""
    trackers, model = session.trackers, session.model
    if not trackers:
        return
    trackers.epoch(row["step"], replay.values(row))
    if model.item.kind == "image" and model.item.shape[0] in (1, 3):
        data = session.batches(session.dataset.measured)
        x = data(np.arange(min(SHOWN, len(data))))
        lines = [torch.cat(list(images), dim=2) for images in (x, model.reconstruct(x, units="model"))]
        picture = torch.cat(lines, dim=1).clamp(0, 1).cpu().permute(1, 2, 0)
        trackers.picture(
            row["step"], "originals over reconstructions", (255 * picture).round().byte().numpy()
        )


def _epoch_line(
    event: training.EpochEnded, length: training.Plan, valid: Evaluation | None, speed: float, left: float
) -> str:
    loss = event.values["loss"]
    parts = [f"epoch {event.epoch}/{length.epochs}", "no step taken" if loss is None else f"loss {loss:.2f}"]
    if valid is not None:
        name, value = ("distortion", valid.distortion) if valid.elbo is None else ("ELBO", valid.elbo)
        parts.append(f"validation {name} {value:.2f}")
    return "  ".join([*parts, f"{speed:,.0f} items/s", f"{left:.0f} s left"])


def finish(session: Session) -> None:
    """Measures, diagnoses, draws and reports a run whose training is over, with its best weights."""
    run, dataset, observer = session.run, session.dataset, session.observer
    config, model = session.config, run.model().to(session.device)
    context = metrics.context_of(run, model, dataset, observer=observer)
    contexts = {"valid": replace(context, items_given=context.dataset.valid)} if len(dataset.valid) else {}
    splits = {name: metrics.of_split(own) for name, own in (contexts | {dataset.measured: context}).items()}
    values = _metrics(session, model, splits)

    def keep(**more: Any) -> None:
        # Written at once, so that a later failure does not lose the results of training.
        values.update(more)
        write_json(run.path / "metrics.json", values | {"finished": False})

    keep()
    evaluation = override(config, QUICK if session.quick else {}, "quick").evaluation
    if evaluation.groups:
        names = metrics.of_unseen(evaluation.groups, dataset.measured)
        compute = lambda: metrics.numbers(context, names)  # noqa: E731
        failure, command = "not everything could be measured", f"latlas evaluate {run.word}"
        keep(numbers=_or_note(compute, failure, command, observer) or {})
    if evaluation.diagnose:
        diagnose = lambda: _findings(run, dataset, context)  # noqa: E731
        failure, command = "the run could not be diagnosed", f"latlas diagnose {run.word}"
        keep(findings=_or_note(diagnose, failure, command, observer) or [])
    if config.pictures.draw:
        draw = lambda: gallery.draw(run, context, gallery.settings_of(config))  # noqa: E731
        failure, command = "the pictures could not be drawn", f"latlas report --redraw {run.word}"
        _or_note(draw, failure, command, observer)
    if config.training.keep == "best":
        checkpoints.drop(run.path)
    write_json(run.path / "metrics.json", values | {"seconds": round(session.seconds, 3)})
    report.write_report(run.path)
    if session.trackers:
        replay.pictures(run, session.trackers, session.progress.step)
        session.trackers.end(replay.numbers(values))
    _note_result(run, values, observer)
    session.explain(splits[dataset.measured])


def _metrics(session: Session, model: Model, splits: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """metrics.json: what was trained, for how long, and the numbers of each split; `seconds` are set at the end."""
    config, dataset, progress = session.config, session.dataset, session.progress
    per_epoch = training.plan(config, len(dataset.train)).per_epoch
    return {
        "run": session.run.name,
        "data": dataset.name,
        "recipe": config.recipe.name,
        "network": shown(config, "network"),
        "likelihood": shown(config, "likelihood"),
        "latent": config.model.latent,
        "parameters": model.parameter_count,
        "epochs": round(progress.step / per_epoch, 3),
        "steps": progress.step,
        "skipped_steps": progress.skipped,
        "setbacks": progress.earlier_setbacks + progress.setbacks,
        "best_step": progress.best_step,
        "seconds": None,
        "training_seconds": round(progress.seconds, 3),
        "images_per_second": round(progress.images / progress.seconds, 1) if progress.seconds else None,
        "unit": unit_of(dataset.kind),
        "normalised": model.likelihood.normalised(dataset.binary),
        "measured": dataset.measured,
        "splits": {name: dict(numbers) for name, numbers in splits.items()},
        "finished": True,
    }


def _or_note(work: Callable[[], T], failure: str, command: str, observer: Observer) -> T | None:
    """The result of the work; where it fails, None and a note with the command to try, so that the run goes on."""
    try:
        return work()
    except Exception as error:
        observer.note(f"{failure} ({error}); try: {command}")
        return None


def _findings(run: Run, dataset: Dataset, context: Context) -> list[dict[str, Any]]:
    return [described(finding, run.path) for finding in diagnosis.of(run, dataset, context, True)]


def _note_result(run: Run, values: dict[str, Any], observer: Observer) -> None:
    split, test = runs.measured_numbers(values)
    for sentence in display.skipped(values):
        observer.note(sentence)
    if values.get("findings") == []:
        observer.note("diagnosis: nothing wrong was found")
    for finding in values.get("findings", []):
        observer.note(f"{finding['level']}: {finding['title']} (latlas diagnose {run.word})")
    score = f"distortion {test['distortion']:.2f}" if test["elbo"] is None else f"ELBO {test['elbo']:.2f}"
    observer.note(f"{split} {score} {values['unit']}  report: {run.path / 'report.html'}")
