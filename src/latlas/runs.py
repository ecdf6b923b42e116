"""The run folder: configuration, log, checkpoints, weights, numbers and pictures, as docs/run-folder.md describes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latlas import checkpoints, formats, reading
from latlas import config as configuration
from latlas.brought import NOTHING, Brought, resume_call
from latlas.build import from_description, item_from
from latlas.checkpoints import WEIGHTS, Progress
from latlas.data import DataOptions, Dataset
from latlas.data import load as read_data
from latlas.data.dataset import SPLITS
from latlas.data.load import Item
from latlas.data.options import MEMORY
from latlas.data.room import LARGEST_SHARE, free_memory
from latlas.distributed import World
from latlas.errors import InputError, LatlasError
from latlas.files import Contents, exclusively, write_atomic, write_folder
from latlas.models import Model
from latlas.places import expanded, reachable
from latlas.progress import OnProgress
from latlas.reading import Expected
from latlas.settings import Config, OwnConfig
from latlas.temporaries import tidy
from latlas.weights import Allowance, declared, load_weights, read_tensors

ROOT = Path("runs")
# In a row of the log: where it stands and its groups of numbers, and what there is of training.
PLACE = ("kind", "step", "epoch", "train", "valid")
TERMS = ("loss", "grad_norm", "distortion", "rate", "log_pz", "log_qz", "elbo")
MENDED = "mend it by hand, or train the run again"
REBUILT = "nothing else describes the model: train it again"
# What of a run's folder is opened by its name to be written, or has files written into it.
WRITTEN = (".lock", "log.jsonl", "checkpoints", "snapshots", "figures", "tensorboard")


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
        return configuration.read_kept(self.path, "config.toml")

    @property
    def has_own_parts(self) -> bool:
        """Whether it has parts of one's own, which no file holds."""
        return (self.path / "config.toml").is_file() and self.config.own != OwnConfig()

    @property
    def info(self) -> dict[str, Any]:
        """run.json: versions, machine, threads and data."""
        return reading.json_of(formats.About, self.path, "run.json", MENDED)

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json; empty before the run is evaluated."""
        path = self.path / "metrics.json"
        if not path.exists():
            return {}
        remedy = f"remove it, and latlas train --resume {self.word} writes it again"
        values = reading.json_of(formats.Metrics, self.path, "metrics.json", remedy)
        split = values.get("measured", "test")
        if values.get("finished") and split not in values.get("splits", {}):
            raise InputError(f"{path}: damaged: it has no numbers of the {SPLITS[split]} split; {remedy}")
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
        """The rows of log.jsonl without an incomplete last row, which a killed process may leave.

        Raises InputError that names the line which is damaged.
        """
        if not (self.path / "log.jsonl").exists():
            return []
        return reading.rows(self.path, "log.jsonl", formats.LogRow, "remove that line")

    def append_log(self, row: dict[str, Any]) -> None:
        """Adds a row to log.jsonl.

        Raises LatlasError when the disk is full.
        """
        try:
            with reading.inside(self.path, "log.jsonl").open("a", encoding="utf-8") as stream:
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
        return sorted((int(path.stem), path) for path in files if re.fullmatch("[0-9]{1,18}", path.stem))

    def snapshots(self, key: str = "samples", item: Item | None = None) -> list[tuple[int, np.ndarray]]:
        """(step, array) of each snapshot that has this array, in order.

        Keys are `samples`, decoded from the same noise; `codes`, mean codes of the same test items; `manifold`, the
        decoded plane. Raises InputError for one that is not of an `item` of the run's model, by default as model.json
        describes it, and for one that is damaged.
        """
        found: list[tuple[int, np.ndarray]] = []
        room = LARGEST_SHARE * free_memory()
        files = self.snapshot_files()
        expected = self._snapshot_shape(key, item) if files else Expected("", ())
        for step, path in files:
            array = reading.arrays(self.path, f"snapshots/{path.name}", {key: expected}, room).get(key)
            if array is None:
                continue
            if found and found[0][1].shape != array.shape:
                shapes = (
                    f"{key} of shape {array.shape}, and those of step {found[0][0]:,} are {found[0][1].shape}"
                )
                raise InputError(f"{path}: damaged: {shapes}; {reading.REMOVE}")
            room -= array.nbytes
            found.append((step, array))
        return found

    def _snapshot_shape(self, key: str, item: Item | None) -> Expected:
        """What an array of a snapshot has to be: pictures are bytes."""
        if key == "codes":
            return Expected("f", (None, self.config.model.latent))
        item = item or self.item
        several = (None,) if key == "samples" else (None, None)
        return Expected("u" if item.kind == "image" else "f", (*several, *item.outside))

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(path.lstat().st_size for path in self.path.rglob("*") if path.is_file())

    @property
    def progress(self) -> Progress:
        """How far training is, by the newest checkpoint or by what is kept of it after the end; else that of step 0.

        Raises InputError if the file is damaged.
        """
        return checkpoints.newest(self.path)[1]

    @property
    def has_weights(self) -> bool:
        """Whether the run has trained weights."""
        return (self.path / WEIGHTS).exists()

    @property
    def item(self) -> Item:
        """What one item of the run's model is.

        Raises InputError if model.json is damaged.
        """
        about = reading.json_of(formats.Description, self.path, "model.json", REBUILT)
        return item_from(about["item"])

    def check_writable(self) -> None:
        """Raises InputError where a link leads out of the folder, so that writing would change what lies elsewhere."""
        reading.check_writable(self.path, WRITTEN)

    def allowance(self) -> contextlib.AbstractContextManager[object]:
        """A block in which the model of config.toml is built, no larger than weights that the run has."""
        there = next((name for name in (*checkpoints.NEWEST, WEIGHTS) if (self.path / name).exists()), "")
        if not there:
            return contextlib.nullcontext()
        with checkpoints.rescuing(self.path, there):
            return _allowance(self.path, "config.toml", there)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the run, so that one process at a time writes it, and removes what a killed one left.

        Raises InputError as `check_writable`, Busy when another process holds it.
        """
        self.check_writable()
        with exclusively(self.path):
            tidy(self.path)
            yield

    def model(self) -> Model:
        """The model on the CPU, with its best weights by validation, or the newest without validation data.

        Raises InputError if the folder is no run or has no weights yet, and for parts of one's own that were not
        brought along or do not fit the weights.
        """
        if not self.has_weights:
            if self.finished and not checkpoints.with_weights(self.path):
                raise InputError(
                    f"{self.path / WEIGHTS}: missing, though the run is finished; remove the folder"
                )
            raise InputError(f"{self.path}: no weights yet; train them with: {self.continued_by}")
        with checkpoints.rescuing(self.path, WEIGHTS):
            return described_model(self.path, "model.json", WEIGHTS, self.brought)


def described_model(folder: Path, about: str, weights: str, brought: Brought = NOTHING) -> Model:
    """The model that a JSON file of a folder describes, on the CPU, with the weights of a safetensors file.

    Nothing is allocated that the weights do not fill. Raises InputError if one of them is missing or damaged, or the
    two do not fit together.
    """
    description = reading.json_of(formats.Description, folder, about, REBUILT)
    with _allowance(folder, about, weights):
        model = from_description(description, folder / about, brought)
    load_weights(model, read_tensors(folder, weights)[0], folder / weights)
    return model.eval()


def _allowance(folder: Path, about: str, weights: str) -> Allowance:
    """A block in which a model may be built that these weights fill."""
    larger = f"{folder / about}: describes a larger model than the weights in {weights} are of; {REBUILT}"
    return Allowance(declared(folder, weights), larger)


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
    with run.held():
        before = run.bytes
        checkpoints.drop(run.path)
        for _, path in run.snapshot_files(".safetensors"):
            path.unlink()
        return before, run.bytes


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    """The weights of a trained run by name.

    Raises InputError if it has none yet, or the file is damaged.
    """
    if not run.has_weights:
        raise InputError(f"{run.path}: no weights yet; train them with: {run.continued_by}")
    return checkpoints.read(run.path, WEIGHTS)[0]
