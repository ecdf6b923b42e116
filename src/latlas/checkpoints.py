"""Checkpoints: weights, the optimiser's state and how far training is; and what is whole beside a damaged one."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pydantic
import torch

from latlas import reading
from latlas.errors import InputError, LatlasError
from latlas.files import write_atomic, write_json
from latlas.formats import Count, Many, Number, Text
from latlas.models import Model
from latlas.optimizers import state_of
from latlas.weights import Damaged, load_weights, metadata, read_tensors, tensors_in, to_bytes

WEIGHTS = "model.safetensors"
LAST, BEST = "checkpoints/last.safetensors", "checkpoints/best.safetensors"
STOPPED = "checkpoints/stopped.safetensors"  # of a run that was stopped inside an epoch
END = "checkpoints/end.json"  # what is kept of the last checkpoint of a finished run, whose weights are the best ones
NEWEST = (LAST, STOPPED)
Seconds = Annotated[Number, pydantic.Field(ge=0)]


@dataclass
class Progress:
    """The progress of training, which a checkpoint holds beside the weights, with the sums of the current epoch.

    `start` is the step from which a run is trained further, 0 for one that is not. `seconds` and `images` count only
    training, `wall` counts all time. `skipped` counts the steps whose loss or gradient was not finite,
    `recently_skipped` has the last of them; `setbacks` counts how often training went back because of them since
    `start`, and `earlier_setbacks` before it.
    """

    step: Count = 0
    start: Count = 0
    seconds: Seconds = 0.0
    wall: Seconds = 0.0
    images: Count = 0
    epoch_sums: dict[Text, float] = field(default_factory=dict)
    log_sums: dict[Text, float] = field(default_factory=dict)
    best_step: Count | None = None
    best_score: float | None = None
    epochs_without_better: Count = 0
    skipped: Count = 0
    recently_skipped: Many[Count] = field(default_factory=list)
    setbacks: Count = 0
    earlier_setbacks: Count = 0


def _field(one: Field[Any]) -> Any:
    made: Any = one.default_factory
    default = pydantic.Field(default_factory=made) if one.default is MISSING else one.default
    return get_type_hints(Progress, include_extras=True)[one.name], default


_FIELDS: dict[str, Any] = {one.name: _field(one) for one in fields(Progress)}
_STORED = pydantic.create_model(
    "Progress", __config__=pydantic.ConfigDict(strict=True, extra="forbid"), **_FIELDS
)


def save(
    folder: Path, model: Model, optimizer: torch.optim.Optimizer, progress: Progress, stopped: bool = False
) -> None:
    """Writes checkpoints/last.safetensors of a run's folder: weights, optimiser state and progress in one file.

    If this step is the best so far, best.safetensors gets the same bytes and model.safetensors the weights. A run that
    is `stopped` inside an epoch writes stopped.safetensors instead: a setback goes to the end of an epoch, whether the
    run was stopped or not. Raises LatlasError if the disk is full; earlier checkpoints stay.
    """
    content = to_content(model, optimizer, progress)
    try:
        (folder / LAST).parent.mkdir(exist_ok=True)
    except OSError as error:
        raise LatlasError(f"{(folder / LAST).parent}: cannot be made: {error.strerror}") from None
    write_atomic(folder / (STOPPED if stopped else LAST), content)
    if not stopped:
        (folder / STOPPED).unlink(missing_ok=True)
    if progress.best_step == progress.step:
        write_atomic(folder / BEST, content)
    # Before the first validation the newest weights are the best there are.
    if progress.best_step in (None, progress.step):
        _write_weights(folder, model.state_dict())


def _write_weights(folder: Path, weights: Mapping[str, torch.Tensor]) -> None:
    write_atomic(folder / WEIGHTS, to_bytes(weights, {"format": "pt"}))


def to_content(model: Model, optimizer: torch.optim.Optimizer, progress: Progress) -> bytes:
    """The content of a checkpoint: weights, optimiser state and progress."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    return to_bytes(tensors, {"progress": json.dumps(vars(progress))})


def restore(
    folder: Path, model: Model, optimizer: torch.optim.Optimizer, names: Sequence[str] = NEWEST
) -> Progress:
    """Loads the newest checkpoint of these names into model and optimiser, and gives its progress; without one, that of
    step 0.

    If a process was killed between writing `last` and `best`, the best checkpoint is written again. A run whose
    training is over may have its best weights alone, without the optimiser's state. Raises InputError for a damaged
    one, with what is whole and how to go on.
    """
    name, progress = newest(folder, names)
    if name is None:
        if (folder / END).exists():
            load_weights(model, read(folder, WEIGHTS)[0], folder / WEIGHTS)
        return progress
    load(folder, name, model, optimizer)
    if progress.best_step == progress.step:
        save(folder, model, optimizer, progress)
    restore_weights(folder)
    return progress


def restore_weights(folder: Path) -> None:
    """Writes model.safetensors again where it is missing and a checkpoint holds its weights.

    Raises InputError where that is damaged.
    """
    if not (folder / WEIGHTS).exists() and (name := with_weights(folder)):
        _write_weights(folder, _of_model(read(folder, name)[0]))


def with_weights(folder: Path) -> str:
    """The checkpoint with the weights of model.safetensors: the best or, before there is one, the last; "" without."""
    return next((name for name in (BEST, LAST) if (folder / name).exists()), "")


def load(folder: Path, name: str, model: Model, optimizer: torch.optim.Optimizer) -> Progress:
    """Loads the weights and the optimiser's state of a checkpoint, and gives its progress.

    Raises InputError if the file is damaged, with what is whole and how to go on, or does not fit.
    """
    with rescuing(folder, name):
        return _into(model, optimizer, *read_tensors(folder, name), folder / name)


def load_content(content: bytes, path: Path, model: Model, optimizer: torch.optim.Optimizer) -> Progress:
    """Does as `load` with the `content` of a checkpoint that another process has read; `path` names it in errors."""
    return _into(model, optimizer, *tensors_in(content, path), path)


def _into(
    model: Model, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str],
    path: Path,
) -> Progress:  # fmt: skip
    progress = _progress_in(about.get("progress", ""), path)
    states = _states(optimizer, tensors, path)
    load_weights(model, _of_model(tensors), path)
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            # Fused optimisers read memory linearly: moments need the memory format of their parameter.
            like = parameter if value.shape == parameter.shape else value
            state[key] = torch.empty_like(like, dtype=value.dtype).copy_(value)
    return progress


def _of_model(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}


def _states(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], path: Path
) -> dict[int, dict[str, torch.Tensor]]:
    """The optimiser's state by the place of its parameter.

    Raises InputError where it is not of that parameter's shape and type: fused Adam would read and write beyond it.
    """
    expected = state_of(optimizer)
    states: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if not name.startswith("optimizer."):
            continue
        _, index, key = (*name.split(".", 2), "", "")[:3]
        if not (index.isascii() and index.isdecimal() and len(index) < 9 and int(index) < len(expected)):
            raise Damaged(f"{path}: does not fit the model: {reading.shown(name)} is of no parameter of it")
        shape, dtype = expected[int(index)].get(key, ((), torch.float32))
        fits = key in expected[int(index)] and tuple(tensor.shape) == shape and tensor.dtype == dtype
        if not fits or (key == "step" and not 0 <= float(tensor) < float("inf")):
            raise Damaged(
                f"{path}: damaged: {reading.shown(name)} is {tensor.dtype} of shape {tuple(tensor.shape)}; expected"
                f" {dtype} of shape {shape}"
            )
        states.setdefault(int(index), {})[key] = tensor
    for index_, state in states.items():
        if missing := set(expected[index_]) - set(state):
            raise Damaged(f"{path}: damaged: optimizer.{index_}.{sorted(missing)[0]} is missing")
    return states


def newest(folder: Path, names: Sequence[str] = NEWEST) -> tuple[str | None, Progress]:
    """The name of the newest checkpoint of these, and how far training is by it.

    Where `last` was taken away, as it was damaged, the best one stands in its place. Without any, None and what is kept
    of the last one after the end, else step 0.
    """
    found = [(name, progress_of(folder, name)) for name in names if (folder / name).exists()]
    # A process that was killed may have left a stopped.safetensors from before the last whole epoch or setback.
    if found:
        return max(found, key=lambda pair: (pair[1].setbacks, pair[1].step))
    if (folder / END).exists():
        return None, _progress_in(reading.content(folder, END), folder / END)
    if (folder / BEST).exists() and STOPPED in names:
        return BEST, progress_of(folder, BEST)
    return None, Progress()


def progress_of(folder: Path, name: str) -> Progress:
    """How far training is by a checkpoint.

    Raises InputError if it is damaged, with what is whole and how to go on.
    """
    with rescuing(folder, name):
        return _progress_in(metadata(folder, name).get("progress", ""), folder / name)


def _progress_in(text: str | bytes, path: Path) -> Progress:
    where, remedy = f"{path}: progress", "it does not say how far training is"
    # Sums of an epoch may be infinite where a term was.
    try:
        value = reading.parsed(text, where, finite=False, remedy=remedy)
        return Progress(**vars(reading.validated(_STORED, value, where, remedy)))
    except InputError as error:
        raise Damaged(str(error)) from None


def read(folder: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a checkpoint, or of a run's weights.

    Raises InputError if it is damaged, with what is whole and how to go on.
    """
    with rescuing(folder, name):
        return read_tensors(folder, name)


@contextlib.contextmanager
def rescuing(folder: Path, name: str) -> Iterator[None]:
    """Adds to an error of a damaged file what is whole beside it."""
    try:
        yield
    except Damaged as error:
        raise InputError(f"{error}; {whole(folder, name)}") from None


def whole(folder: Path, damaged: str) -> str:
    """What is whole of a run beside a damaged file, and how to go on."""
    found: dict[str, int] = {}
    run, config = (shlex.quote(os.fspath(path)) for path in (folder, folder / "config.toml"))
    for name in (LAST, STOPPED, BEST):
        if name != damaged and (folder / name).exists():
            try:
                about = read_tensors(folder, name)[1]
                found[name] = _progress_in(about.get("progress", ""), folder / name).step
            except InputError:
                continue
    if damaged == WEIGHTS and (same := with_weights(folder)) in found:
        again = f"latlas train --resume {run} writes it again"
        return f"{same} holds these weights: remove {WEIGHTS}, and {again}"
    if damaged != WEIGHTS and found:
        name, step = max(found.items(), key=lambda pair: pair[1])
        return (
            f"{name} is whole: remove {damaged}, and latlas train --resume {run} goes on from there, at step"
            f" {step:,}"
        )
    if damaged != WEIGHTS:
        try:
            read_tensors(folder, WEIGHTS)
        except InputError:
            pass
        else:
            return (
                f"the weights in {WEIGHTS} are whole, the optimiser's state is not: latlas train DATA --from {run}"
                " starts a new run from them"
            )
    return f"nothing else holds its weights: train it again, by latlas train --config {config}"


def drop(folder: Path) -> None:
    """Removes the checkpoints of a run whose training is over; what they say of its progress is kept in `END`.

    The best weights are in model.safetensors. Raises LatlasError if the disk is full.
    """
    place, progress = (folder / END).parent, newest(folder)[1]
    if not place.is_dir() or place.is_symlink() or progress.best_step is None:
        return
    score = progress.best_score
    finite = score if score is not None and math.isfinite(score) else None
    # Of an epoch that is over there are no sums, and one from elsewhere may say that they are infinite.
    write_json(folder / END, vars(progress) | {"epoch_sums": {}, "log_sums": {}, "best_score": finite})
    for path in place.iterdir():
        if path.name != Path(END).name and path.is_file():
            path.unlink()
