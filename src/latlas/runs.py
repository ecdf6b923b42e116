"""A run is a folder: configuration, log, checkpoints, weights, numbers and pictures. docs/run-folder.md
describes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from latlas import config as configuration
from latlas.build import from_description
from latlas.data import DataOptions, Dataset
from latlas.data import load as read_data
from latlas.errors import InputError, LatlasError
from latlas.files import write_atomic, write_json
from latlas.models import Model
from latlas.progress import OnProgress
from latlas.settings import Config

ROOT = Path("runs")


@dataclass
class Progress:
    """What a checkpoint holds beside the weights: how far training is, and sums over what is under way.

    `seconds` and `images` count training alone, `wall` everything.
    """

    step: int = 0
    seconds: float = 0.0
    wall: float = 0.0
    images: int = 0
    epoch_sums: dict[str, float] = field(default_factory=dict)
    log_sums: dict[str, float] = field(default_factory=dict)
    best_step: int | None = None
    best_score: float | None = None
    epochs_without_better: int = 0


@dataclass(frozen=True)
class Run:
    """A run folder."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Config:
        """The resolved configuration."""
        return configuration.read(self.path / "config.toml")

    @property
    def info(self) -> dict[str, Any]:
        """run.json: versions, machine, threads and data."""
        return _read_json(self.path / "run.json", "data", "threads")

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json; empty while the run is unfinished."""
        path = self.path / "metrics.json"
        values = _read_json(path) if path.exists() else {}
        anew = f"take it away, and latlas train --resume {self.path} writes it anew"
        for key in ("splits", "numbers"):
            part = values.get(key, {})
            if not isinstance(part, dict) or not all(isinstance(value, dict) for value in part.values()):
                raise InputError(f"{path}: damaged: {key} are to be objects of numbers; {anew}")
        findings = values.get("findings", [])
        if not isinstance(findings, list) or not all(isinstance(finding, dict) for finding in findings):
            raise InputError(f"{path}: damaged: findings are to be a list; {anew}")
        if values.get("finished") and "test" not in values.get("splits", {}):
            raise InputError(f"{path}: damaged: it has no numbers of the test split; {anew}")
        return values

    def data_options(self, data_dir: str = "") -> DataOptions:
        """How the run's data are read; named sets are looked for in `data_dir` where one is given."""
        options = self.config.data
        return options if not data_dir else options.model_copy(update={"data_dir": data_dir})

    @property
    def finished(self) -> bool:
        return bool(self.metrics.get("finished"))

    def log(self) -> list[dict[str, Any]]:
        """The rows of log.jsonl; half a row, left by a killed process, is left out."""
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

    def cut_back(self, step: int) -> None:
        """Takes away log rows and snapshots of steps after the checkpoint, which will be made again."""
        rows = [row for row in self.log() if row["step"] <= step]
        write_atomic(self.path / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        for at, path in self.snapshot_files():
            if at > step:
                path.unlink()

    def snapshot_files(self) -> list[tuple[int, Path]]:
        """(step, file) of each snapshot, in order."""
        return sorted((int(p.stem), p) for p in (self.path / "snapshots").glob("*.npz") if p.stem.isdigit())

    def snapshots(self, key: str = "samples") -> list[tuple[int, np.ndarray]]:
        """(step, array) of each snapshot that has this one, in order: `samples` decoded from the same noise,
        mean `codes` of the same test items, or the decoded plane, `manifold`.
        """
        found = []
        for step, path in self.snapshot_files():
            arrays = read_arrays(path)
            if key in arrays:
                found.append((step, arrays[key]))
        return found

    @property
    def has_weights(self) -> bool:
        """Whether anything is trained yet."""
        return (self.path / "model.safetensors").exists()

    def model(self) -> Model:
        """The model with its best weights by validation (the newest where nothing was held out), on the CPU.

        Raises InputError when the folder is no run or nothing was trained yet.
        """
        weights = self.path / "model.safetensors"
        if not weights.exists():
            if self.finished:
                raise InputError(f"{weights}: missing, though the run is finished; take the folder away")
            raise InputError(
                f"{self.path}: no weights yet; train them with: latlas train --resume {self.path}"
            )
        model = from_description(_read_json(self.path / "model.json", "config", "item"))
        _load_weights(model, _read_tensors(weights)[0], weights)
        return model.eval()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a run's .npz file.

    Raises InputError where it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
        raise InputError(f"{path}: damaged, or not written by latlas; take it away") from None


def load(path: str | os.PathLike[str]) -> Model:
    """The trained model of a run folder, ready for encode, decode, sample and reconstruct.

    Raises InputError when the folder is no run, or a file in it is damaged.
    """
    return find(path).model()


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, begun at least."""
    return (folder / "config.toml").is_file() and (folder / "model.json").is_file()


def find(path: str | os.PathLike[str], root: Path | None = None) -> Run:
    """The run in that folder, or of that name under `runs`.

    Raises InputError saying where it looked.
    """
    root = root or ROOT
    for folder in (Path(path), root / path):
        if is_run(folder):
            return Run(folder)
    if Path(path).is_dir():
        raise InputError(f"{path}: not a run folder (config.toml and model.json are missing)")
    known = [run.name for run in runs(root)]
    hint = f"; runs here: {', '.join(known[-5:])}" if known else ""
    raise InputError(f"run {path}: neither a folder nor a name under {root}/{hint}")


def runs(root: Path | None = None) -> list[Run]:
    """The runs under a folder, oldest first."""
    root = root or ROOT
    folders = [p.parent for p in root.glob("*/config.toml") if is_run(p.parent)]
    return sorted(map(Run, folders), key=lambda run: (_created(run), run.name))


def _created(run: Run) -> str:
    try:
        return str(run.info.get("created", ""))
    except InputError:
        return ""


def dataset_of(run: Run, data_dir: str = "", progress: OnProgress | None = None) -> Dataset:
    """The data that a run was started with, read again.

    Raises InputError when they are missing or have changed.
    """
    dataset = read_data(run.data_options(data_dir), progress)
    if dataset.fingerprint != run.info["data"]["fingerprint"]:
        raise InputError(f"{dataset.source}: these data are not those that {run.path} was started with")
    return dataset


def refuse_existing(out: Path | None) -> None:
    """Raises InputError when the folder for a new run exists."""
    if out is not None and (out.exists() or out.is_symlink()):
        raise InputError(
            "exists already; choose another folder, or resume the run in it", field="out", value=out
        )


def create(out: Path | None, stem: str, contents: dict[str, str | dict[str, Any]]) -> Run:
    """A new run folder with these files in it, whole or not at all: `out`, else runs/<stem>-<n>.

    Raises InputError when `out` exists, LatlasError when the folder cannot be written.
    """
    refuse_existing(out)
    parent = out.parent if out else ROOT
    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    except OSError as error:
        raise LatlasError(f"{parent}: cannot be written: {error.strerror}") from None
    try:
        for name, content in contents.items():
            write = write_atomic if isinstance(content, str) else write_json
            write(temporary / name, content)  # type: ignore[arg-type]
        temporary.chmod(0o755)
        return Run(_rename(temporary, out, parent, stem))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


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


def save_checkpoint(run: Run, model: Model, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Writes checkpoints/last.safetensors: weights, optimiser state and progress in one file; best ones are
    kept too.

    When the progress says that this step is the best, the same bytes become best.safetensors and the weights
    model.safetensors. Raises LatlasError when the disk is full; the checkpoints that were there stay.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    content = _to_bytes(tensors, {"progress": json.dumps(vars(progress))})
    folder = run.path / "checkpoints"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise LatlasError(f"{folder}: cannot be made: {error.strerror}") from None
    write_atomic(folder / "last.safetensors", content)
    if progress.best_step == progress.step:
        write_atomic(folder / "best.safetensors", content)
    # Before the first validation the newest weights are the best there are.
    if progress.best_step in (None, progress.step):
        write_atomic(run.path / "model.safetensors", _to_bytes(model.state_dict(), {"format": "pt"}))


def _to_bytes(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    return save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata)


def restore_checkpoint(run: Run, model: Model, optimizer: torch.optim.Optimizer) -> Progress:
    """Puts the newest checkpoint into model and optimiser; progress at step 0 where there is none yet.

    A process killed between writing `last` and `best` left the best one behind: it is written again here.
    """
    path = run.path / "checkpoints" / "last.safetensors"
    if not path.exists():
        return Progress()
    tensors, metadata = _read_tensors(path)
    progress = Progress(**json.loads(metadata["progress"]))
    _load_weights(
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
            # Fused optimisers walk memory flat: moments must lie as their parameter does, channels last or not.
            like = parameter if value.shape == parameter.shape else value
            state[key] = torch.empty_like(like, dtype=value.dtype).copy_(value)
    if progress.best_step == progress.step:
        save_checkpoint(run, model, optimizer, progress)
    return progress


def _load_weights(model: Model, tensors: dict[str, torch.Tensor], path: Path) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"{path}: the weights do not fit the model: {str(error).splitlines()[-1].strip()}"
        ) from None


def _read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as stream:
            return {key: stream.get_tensor(key) for key in stream.keys()}, stream.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file: {error}") from None


def _read_json(path: Path, *needed: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not isinstance(value, dict) or not set(needed) <= set(value):
        raise InputError(f"{path}: expected a JSON object with {', '.join(needed) or 'keys'}")
    return value
