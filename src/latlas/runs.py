"""The run folder: configuration, log, checkpoints, weights, numbers and pictures, as docs/run-folder.md describes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latlas import config as configuration
from latlas.brought import NOTHING, Brought, resume_call
from latlas.build import from_description, item_from
from latlas.data import DataOptions, Dataset
from latlas.data import load as read_data
from latlas.data.dataset import SPLITS
from latlas.data.load import Item
from latlas.data.options import MEMORY
from latlas.distributed import World
from latlas.errors import InputError, LatlasError
from latlas.files import Contents, exclusively, write_atomic, write_folder, write_json
from latlas.models import Model
from latlas.places import expanded, reachable
from latlas.progress import OnProgress
from latlas.settings import Config, OwnConfig
from latlas.temporaries import tidy
from latlas.weights import load_weights, read_tensors, to_bytes

ROOT = Path("runs")
WEIGHTS = "model.safetensors"
LAST, BEST = "checkpoints/last.safetensors", "checkpoints/best.safetensors"
STOPPED = "checkpoints/stopped.safetensors"  # of a run that was stopped inside an epoch
# In a row of the log: where it stands and its groups of numbers, and what there is of training.
PLACE = ("kind", "step", "epoch", "train", "valid")
TERMS = ("loss", "grad_norm", "distortion", "rate", "log_pz", "log_qz", "elbo")
END = "checkpoints/end.json"  # what is kept of the last checkpoint of a finished run, whose weights are the best ones


@dataclass
class Progress:
    """The progress of training, which a checkpoint holds beside the weights, with the sums of the current epoch.

    `start` is the step from which a run is trained further, 0 for one that is not. `seconds` and `images` count only
    training, `wall` counts all time. `skipped` counts the steps whose loss or gradient was not finite,
    `recently_skipped` has the last of them; `setbacks` counts how often training went back because of them since
    `start`, and `earlier_setbacks` before it.
    """

    step: int = 0
    start: int = 0
    seconds: float = 0.0
    wall: float = 0.0
    images: int = 0
    epoch_sums: dict[str, float] = field(default_factory=dict)
    log_sums: dict[str, float] = field(default_factory=dict)
    best_step: int | None = None
    best_score: float | None = None
    epochs_without_better: int = 0
    skipped: int = 0
    recently_skipped: list[int] = field(default_factory=list)
    setbacks: int = 0
    earlier_setbacks: int = 0


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder, with what was brought along to train it or to open it."""

    path: Path
    brought: Brought = NOTHING

    # By the folder alone: latlas.api adds calls to this class, and theirs is the same run.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Config:
        """The resolved configuration."""
        return configuration.read(self.path / "config.toml")

    @property
    def has_own_parts(self) -> bool:
        """Whether it has parts of one's own, which no file holds."""
        return (self.path / "config.toml").is_file() and self.config.own != OwnConfig()

    @property
    def info(self) -> dict[str, Any]:
        """run.json: versions, machine, threads and data."""
        return read_json(self.path / "run.json", "data", "threads")

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json; empty before the run is evaluated."""
        path = self.path / "metrics.json"
        values = read_json(path) if path.exists() else {}
        remedy = f"remove it, and latlas train --resume {self.word} writes it again"
        for key in ("splits", "numbers"):
            part = values.get(key, {})
            if not isinstance(part, dict) or not all(isinstance(value, dict) for value in part.values()):
                raise InputError(f"{path}: damaged: {key} must be objects of numbers; {remedy}")
        findings = values.get("findings", [])
        if not isinstance(findings, list) or not all(isinstance(finding, dict) for finding in findings):
            raise InputError(f"{path}: damaged: findings must be a list; {remedy}")
        split = values.get("measured", "test")
        if values.get("finished") and split not in values.get("splits", {}):
            raise InputError(
                f"{path}: damaged: it has no numbers of the {SPLITS.get(split, split)} split; {remedy}"
            )
        return values

    @property
    def measured(self) -> str:
        """The split that is measured and drawn, as `Dataset.measured` says."""
        counts = self.info["data"]
        return next((name for name in ("test", "valid") if counts.get(name)), "train")

    def data_options(self, data_dir: str = "") -> DataOptions:
        """The options to read the run's data; `data_dir`, if given, is where named sets are."""
        options = self.config.data
        return options if not data_dir else options.model_copy(update={"data_dir": data_dir})

    @property
    def in_memory(self) -> bool:
        """Whether the run was trained on data in memory, which no file holds."""
        return (self.path / "config.toml").exists() and self.config.data.source == MEMORY

    @property
    def continued_by(self) -> str:
        """The command that continues the run, or the call where it takes what no file holds."""
        call = resume_call(os.fspath(self.path), self.config) if (self.path / "config.toml").is_file() else ""
        return call or f"latlas train --resume {self.word}"

    @property
    def word(self) -> str:
        """The folder as a word of a command line."""
        return shlex.quote(os.fspath(self.path))

    @property
    def finished(self) -> bool:
        return bool(self.metrics.get("finished"))

    def log(self) -> list[dict[str, Any]]:
        """The rows of log.jsonl without an incomplete row, which a killed process may leave."""
        path = self.path / "log.jsonl"
        rows = []
        for line in path.read_text("utf-8", "replace").splitlines() if path.exists() else []:
            with contextlib.suppress(json.JSONDecodeError):
                rows.append(json.loads(line))
        return [row for row in rows if isinstance(row, dict) and {"kind", "step"} <= set(row)]

    def append_log(self, row: dict[str, Any]) -> None:
        """Adds a row to log.jsonl.

        Raises LatlasError when the disk is full.
        """
        try:
            with (self.path / "log.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            raise LatlasError(f"{self.path / 'log.jsonl'}: cannot be written: {error.strerror}") from None

    def cut_back(self, step: int, setbacks: int, *more: dict[str, Any], start: int = 0) -> None:
        """Removes log rows and snapshots after a checkpoint of that step and number of setbacks since `start`, which
        training will write again; `more` are rows to add.
        """
        rows = [
            row
            for row in self.log()
            if row["step"] <= step and (row["step"] < start or row.get("setbacks", 0) <= setbacks)
        ]
        rows += more
        write_atomic(self.path / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        for suffix in (".npz", ".safetensors"):
            for at, path in self.snapshot_files(suffix):
                if at > step:
                    path.unlink()

    def snapshot_files(self, suffix: str = ".npz") -> list[tuple[int, Path]]:
        """(step, file) of each snapshot, in order; of those that were kept, the files of weights by `.safetensors`."""
        files = (self.path / "snapshots").glob(f"*{suffix}")
        return sorted((int(path.stem), path) for path in files if path.stem.isdigit())

    def snapshots(self, key: str = "samples") -> list[tuple[int, np.ndarray]]:
        """(step, array) of each snapshot that has this array, in order.

        Keys are `samples`, decoded from the same noise; `codes`, mean codes of the same test items; `manifold`, the
        decoded plane.
        """
        snapshots = []
        for step, path in self.snapshot_files():
            arrays = read_arrays(path)
            if key in arrays:
                snapshots.append((step, arrays[key]))
        return snapshots

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(path.lstat().st_size for path in self.path.rglob("*") if path.is_file())

    @property
    def progress(self) -> Progress:
        """How far training is, by the newest checkpoint or by what is kept of it after the end; else that of step 0.

        Raises InputError if the file is damaged.
        """
        return _newest(self, (LAST, STOPPED))[1]

    @property
    def has_weights(self) -> bool:
        """Whether the run has trained weights."""
        return (self.path / WEIGHTS).exists()

    @property
    def item(self) -> Item:
        """What one item of the run's model is.

        Raises InputError if model.json is damaged.
        """
        try:
            return item_from(read_json(self.path / "model.json", "item")["item"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path / 'model.json'}: damaged ({error})") from None

    def model(self) -> Model:
        """The model on the CPU, with its best weights by validation, or the newest without validation data.

        Raises InputError if the folder is no run or has no weights yet, and for parts of one's own that were not
        brought along or do not fit the weights.
        """
        weights = self.path / WEIGHTS
        if not weights.exists():
            if self.finished:
                raise InputError(f"{weights}: missing, though the run is finished; remove the folder")
            raise InputError(f"{self.path}: no weights yet; train them with: {self.continued_by}")
        return described_model(self.path / "model.json", weights, self.brought)


def described_model(about: Path, weights: Path, brought: Brought = NOTHING) -> Model:
    """The model that a JSON file describes, on the CPU, with the weights of a safetensors file.

    Raises InputError if one of them is missing or damaged, or the two do not fit together.
    """
    model = from_description(read_json(about, "config", "item"), about, brought)
    load_weights(model, read_tensors(weights)[0], weights)
    return model.eval()


def values_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row of the log by name: `train/loss` and the other terms of training, `valid/elbo` and the other
    numbers of the validation split, and `lr`, `beta`, `seconds` and their like; what the row lacks is left out.
    """
    own = {f"train/{key}" if key in TERMS else key: value for key, value in row.items() if key not in PLACE}
    groups = {
        f"{group}/{key}": value
        for group in ("train", "valid")
        for key, value in (row.get(group) or {}).items()
    }
    return {key: value for key, value in (own | groups).items() if isinstance(value, int | float)}


def measured_numbers(metrics: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Of metrics.json, what the measured split is called (test, validation or training), and its numbers; both empty
    before the run is evaluated.
    """
    name = metrics.get("measured", "test")
    numbers = metrics.get("splits", {}).get(name)
    return (SPLITS[name], numbers) if numbers else ("", {})


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a run's .npz file.

    Raises InputError if it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
        raise InputError(f"{path}: damaged, or not written by latlas; remove it") from None


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, finished or not."""
    return (folder / "config.toml").is_file() and (folder / "model.json").is_file()


def find(path: Run | str | os.PathLike[str], root: Path | None = None) -> Run:
    """The run in that folder, or of that name under `root`; a run is itself.

    Raises InputError that says where it looked, or that this is neither a run nor a path.
    """
    if isinstance(path, Run):
        return path
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"expected a Run, its folder or its name, got {type(path).__name__}", field="run")
    root = root or ROOT
    with reachable(path, "run"):
        for folder in (expanded(path), root / path):
            if is_run(folder):
                return Run(folder)
        if expanded(path).is_dir():
            raise InputError(f"{path}: not a run folder (config.toml and model.json are missing)")
    names = [run.name for run in runs(root)]
    hint = f"; runs here: {', '.join(names[-5:])}" if names else ""
    raise InputError(f"run {path}: neither a folder nor a name under {root}/{hint}")


def runs(root: Path | None = None) -> list[Run]:
    """The runs under a folder, oldest first."""
    root = root or ROOT
    # One that is being made, or whose making was interrupted, is hidden.
    folders = [p.parent for p in root.glob("[!.]*/config.toml") if is_run(p.parent)]
    return sorted(map(Run, folders), key=lambda run: (_created(run), run.name))


def _created(run: Run) -> str:
    try:
        return str(run.info.get("created", ""))
    except InputError:
        return ""


def dataset_of(run: Run, data_dir: str = "", progress: OnProgress | None = None, **changes: Any) -> Dataset:
    """Reads the data that a run was started with, by its options with these changes.

    Raises InputError if they are missing or have changed.
    """
    options = run.data_options(data_dir).model_copy(update=changes)
    if options.source == MEMORY and run.brought.data is None:
        raise InputError(
            f"{run.path} was trained on data in memory, and no file holds them: pass them again in Python, as"
            f" latlas.evaluate({os.fspath(run.path)!r}, data=x)"
        )
    try:
        dataset = read_data(options, progress, run.brought.data)
    except InputError as error:
        if {"data.header": "no"} not in error.remedy:
            raise
        # Runs from before this was asked took a first row of numbers for values.
        dataset = read_data(options.model_copy(update={"header": "no"}), progress)
    if dataset.fingerprint != run.info["data"]["fingerprint"]:
        what = f"{dataset.source}: these data are not those that {run.path} was started with"
        raise InputError(what if run.brought.data is None else f"{what}, or have been changed since")
    return dataset


def refuse_existing(out: Path | None) -> None:
    """Raises InputError if the folder for a new run exists."""
    if out is None:
        return
    with reachable(out, "out"):
        if out.exists() or out.is_symlink():
            raise InputError(
                "exists already; choose another folder, or resume the run in it", field="out", value=out
            )


def create(out: Path | None, stem: str, contents: Contents) -> Run:
    """Makes a new run folder with these files, whole or not at all, at `out` or at runs/<stem>-<n>.

    Raises InputError if `out` exists, LatlasError if the folder cannot be written.
    """
    refuse_existing(out)
    parent = out.parent if out else ROOT
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LatlasError(f"{parent}: cannot be written: {error.strerror}") from None
    return Run(write_folder(parent, contents, lambda temporary: _rename(temporary, out, parent, stem)))


def create_once(world: World, out: Path | None, stem: str, contents: Contents) -> Path:
    """The new run folder of `create`, made by the first process once no other one has failed."""
    world.wait()
    path = world.decided(lambda: str(create(out, stem, contents).path))
    world.remember(path)
    return Path(path)


def _rename(temporary: Path, out: Path | None, parent: Path, stem: str) -> Path:
    taken = [int(m[1]) for p in parent.iterdir() if (m := re.fullmatch(rf"{re.escape(stem)}-(\d+)", p.name))]
    number = max(taken, default=0) + 1
    while True:
        target = out or parent / f"{stem}-{number}"
        try:
            # Renaming onto a folder with something in it fails, so two processes never share one.
            return temporary.rename(target)
        except OSError as error:
            if out is not None or not target.exists():
                raise LatlasError(f"{target}: cannot be made: {error.strerror}") from None
            number += 1


def save_checkpoint(
    run: Run, model: Model, optimizer: torch.optim.Optimizer, progress: Progress, stopped: bool = False
) -> None:
    """Writes checkpoints/last.safetensors: weights, optimiser state and progress in one file.

    If this step is the best so far, best.safetensors gets the same bytes and model.safetensors the weights. A run that
    is `stopped` inside an epoch writes stopped.safetensors instead: a setback goes to the end of an epoch, whether the
    run was stopped or not. Raises LatlasError if the disk is full; earlier checkpoints stay.
    """
    content = checkpoint(model, optimizer, progress)
    folder = run.path / "checkpoints"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise LatlasError(f"{folder}: cannot be made: {error.strerror}") from None
    write_atomic(run.path / (STOPPED if stopped else LAST), content)
    if not stopped:
        (run.path / STOPPED).unlink(missing_ok=True)
    if progress.best_step == progress.step:
        write_atomic(run.path / BEST, content)
    # Before the first validation the newest weights are the best there are.
    if progress.best_step in (None, progress.step):
        write_atomic(run.path / WEIGHTS, to_bytes(model.state_dict(), {"format": "pt"}))


def checkpoint(model: Model, optimizer: torch.optim.Optimizer, progress: Progress) -> bytes:
    """The content of a checkpoint: weights, optimiser state and progress."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    return to_bytes(tensors, {"progress": json.dumps(vars(progress))})


def restore_checkpoint(
    run: Run, model: Model, optimizer: torch.optim.Optimizer, names: Sequence[str] = (LAST, STOPPED)
) -> Progress:
    """Loads the newest checkpoint of these names into model and optimiser, and gives its progress; without one, that of
    step 0.

    If a process was killed between writing `last` and `best`, the best checkpoint is written again. A run whose
    training is over may have its best weights alone, without the optimiser's state.
    """
    path, progress = _newest(run, names)
    if path is None:
        if (run.path / END).exists():
            load_weights(model, read_tensors(run.path / WEIGHTS)[0], run.path / WEIGHTS)
        return progress
    load_checkpoint(path, model, optimizer)
    if progress.best_step == progress.step:
        save_checkpoint(run, model, optimizer, progress)
    return progress


def load_checkpoint(
    path: Path, model: Model, optimizer: torch.optim.Optimizer, content: bytes | None = None
) -> Progress:
    """Loads the weights and the optimiser's state of a checkpoint, a file or its `content`, and gives its progress.

    Raises InputError if the file is damaged or does not fit.
    """
    tensors, about = read_tensors(path, content=content)
    load_weights(
        model, {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}, path
    )
    states: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            states.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            # Fused optimisers read memory linearly: moments need the memory format of their parameter.
            like = parameter if value.shape == parameter.shape else value
            state[key] = torch.empty_like(like, dtype=value.dtype).copy_(value)
    return _progress_in(about.get("progress", ""), path)


def _newest(run: Run, names: Sequence[str]) -> tuple[Path | None, Progress]:
    """The newest checkpoint of these names, and how far training is by it; without one, None and what is kept of it
    after the end, else step 0.
    """
    end, found = run.path / END, []
    for name in names:
        if (path := run.path / name).exists():
            found.append((path, _progress_in(read_tensors(path, names=())[1].get("progress", ""), path)))
    # A process that was killed may have left a stopped.safetensors from before the last whole epoch or setback.
    if found:
        return max(found, key=lambda pair: (pair[1].setbacks, pair[1].step))
    return None, _progress_in(end.read_text("utf-8", "replace"), end) if end.exists() else Progress()


def _progress_in(text: str, path: Path) -> Progress:
    try:
        return Progress(**json.loads(text))
    except (ValueError, TypeError):
        raise InputError(f"{path}: damaged: it does not say how far training is; remove it") from None


def drop_checkpoints(run: Run) -> None:
    """Removes the checkpoints of a run whose training is over; what they say of its progress is kept in `END`.

    The best weights are in model.safetensors. Raises LatlasError if the disk is full.
    """
    folder, progress = run.path / "checkpoints", run.progress
    if not folder.is_dir() or folder.is_symlink() or progress.best_step is None:
        return
    write_json(run.path / END, vars(progress))
    for path in folder.iterdir():
        if path.name != Path(END).name and path.is_file():
            path.unlink()


def check_prunable(run: Run) -> None:
    """Raises InputError for a run that is unfinished or has no weights beside its checkpoints."""
    if not run.finished:
        raise InputError(
            f"{run.path}: unfinished: it needs its checkpoint; finish it with: {run.continued_by}"
        )
    if not run.has_weights:
        raise InputError(f"{run.path / WEIGHTS}: missing, though the run is finished; its checkpoint is kept")


def prune(run: Run) -> tuple[int, int]:
    """Removes what a finished run needs no longer, its checkpoints and the weights of its snapshots, and gives its size
    in bytes before and after.

    Raises InputError as `check_prunable`, and for a run that is being trained.
    """
    check_prunable(run)
    with exclusively(run.path):
        before = run.bytes
        tidy(run.path)
        drop_checkpoints(run)
        for _, path in run.snapshot_files(".safetensors"):
            path.unlink()
        return before, run.bytes


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    """The weights of a trained run by name.

    Raises InputError if it has none yet, or the file is damaged.
    """
    if not run.has_weights:
        raise InputError(f"{run.path}: no weights yet; train them with: {run.continued_by}")
    return read_tensors(run.path / WEIGHTS)[0]


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """The object in a JSON file, with the keys that are needed.

    Raises InputError for anything else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not isinstance(value, dict) or not set(needed) <= set(value):
        raise InputError(f"{path}: expected a JSON object with {', '.join(needed) or 'keys'}")
    return value
