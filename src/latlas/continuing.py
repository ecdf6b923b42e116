"""Runs that go on: one trained further with other settings, and a new one that starts from the weights of another."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from latlas import checkpoints, invocation, reading, runs
from latlas.build import steps_of
from latlas.checkpoints import Progress
from latlas.config import override, settings_of, to_toml
from latlas.data.order import steps_per_epoch
from latlas.errors import InputError
from latlas.files import write_atomic, write_json
from latlas.models import Model
from latlas.networks import HIDDEN
from latlas.runs import Run
from latlas.settings import Config
from latlas.text import counted, setting
from latlas.training import plan
from latlas.weights import load_weights, unlike

# What may change when a run is trained further; everything else decides what its log and numbers are of.
FURTHER = ("training.epochs", "training.steps", "training.patience", "optimizer.lr", "optimizer.schedule",
           "optimizer.clip", "optimizer.weight_decay")  # fmt: skip
LENGTHS = ("training.steps", "training.epochs")
# What a new run takes over from the run whose weights it starts from.
TAKEN_OVER = ("recipe", "model", "network", "posterior", "prior", "likelihood", "objective", "own",
              "corruption")  # fmt: skip


def config_of(run: Run) -> Config:
    """The run's configuration, with what run.json has of its parts: a process may be killed between the two."""
    return _with_parts(run, run.info.get("parts", []))


def _with_parts(run: Run, parts: Sequence[Mapping[str, Any]]) -> Config:
    config = run.config
    for part in parts:
        config = override(config, part["settings"], "run.json")
    return config


def waiting(run: Run) -> bool:
    """Whether a process was killed after it wrote a new part of the run and before the checkpoint that this starts
    from.
    """
    parts = run.info.get("parts", [])
    return bool(parts) and parts[-1]["step"] > run.progress.start


def further(run: Run, changes: Mapping[str, Any]) -> Config | None:
    """The configuration of a run that is trained further with these settings by dotted key; None where nothing changes.

    Raises InputError for a setting that cannot change, and for a length that is trained already.
    """
    config, progress, images = config_of(run), run.progress, run.info["data"]["train"]
    wanted = override(config, changes, ", ".join(changes))
    before, after = settings_of(config, ()), settings_of(wanted, ())
    changed = {key: after[key] for key in after if after[key] != before.get(key)}
    if not changed:
        return None
    if config.training.method == "pca":
        raise InputError(
            "training.method = pca is a closed form: it cannot be trained further", field=next(iter(changed))
        )
    for key in changed:
        if key not in FURTHER:
            raise InputError(
                f"cannot change while a run is trained further ({', '.join(FURTHER)} can); a new run can start from"
                f" these weights: latlas train DATA --from {run.word}",
                field=key,
                value=setting(after[key]),
            )
    per_epoch = steps_per_epoch(images, config.training.batch_size)
    step, steps = max(progress.step, run.metrics.get("steps", 0)), steps_of(wanted, images)
    if steps <= step:
        key = next((key for key in LENGTHS if changed.get(key)), next(iter(changed)))
        if key not in LENGTHS:
            raise InputError(
                f"the run has trained all of its {counted(step, 'step')} ({counted(step / per_epoch, 'epoch')}): it"
                " also needs more of"
                " them, as",
                field=key,
                value=setting(after[key]),
                remedy=[{"training.epochs": 2 * math.ceil(step / per_epoch)}],
            )
        raise InputError(
            f"the run has trained {counted(step, 'step')} ({counted(step / per_epoch, 'epoch')}) already, and would"
            " end after"
            f" {steps:,}; train it for more of them",
            field=key,
            value=setting(after[key]),
        )
    # Its default depends on the length: the weight of the rate, once full, would fall again.
    warmup = {"objective.warmup": plan(config, images).warmup} if config.objective.warmup is None else {}
    return override(wanted, warmup, "objective.warmup")


def begin(run: Run, config: Config, model: Model, optimizer: torch.optim.Optimizer) -> tuple[Progress, str]:
    """Makes a run one that is trained further by this configuration; gives its progress, and a sentence on it.

    A finished run goes on from its best weights, a stopped one from its newest. run.json is written first, and the
    checkpoint that the part starts from after it, so that a run whose process is killed anywhere goes on to the same
    bits. The caller holds the run's lock.
    """
    info = run.info
    parts = info.get("parts", [])
    left = parts[-1] if waiting(run) else None
    earlier = parts[:-1] if left else parts
    weights = left["weights"] if left else "best" if run.finished else "newest"
    progress = checkpoints.restore(run.path, model, optimizer)
    if weights == "best" and (run.path / checkpoints.BEST).exists():
        checkpoints.load(run.path, checkpoints.BEST, model, optimizer)
    before, after = settings_of(_with_parts(run, earlier), ()), settings_of(config, ())
    part = {
        "step": progress.step,
        "epoch": round(progress.step / steps_per_epoch(info["data"]["train"], config.training.batch_size), 3),
        "settings": {key: value for key, value in after.items() if value != before.get(key)},
        "weights": weights,
        "weights_step": progress.best_step if weights == "best" else progress.step,
        "optimizer": "goes on" if optimizer.state else "begins anew",
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "command": invocation.command(),
    }
    progress = replace(
        progress, start=progress.step, epochs_without_better=0, setbacks=0, recently_skipped=[],
        earlier_setbacks=progress.earlier_setbacks + progress.setbacks,
    )  # fmt: skip
    if left is None or left["settings"] != part["settings"]:
        write_json(run.path / "run.json", info | {"parts": [*earlier, part]})
    else:
        part = left
    (run.path / "metrics.json").unlink(missing_ok=True)
    checkpoints.save(run.path, model, optimizer, progress)
    write_atomic(run.path / "config.toml", to_toml(config))
    return progress, described(part)


def described(part: Mapping[str, Any]) -> str:
    """A part of run.json in a sentence."""
    settings = ", ".join(f"{key} = {setting(value)}" for key, value in part["settings"].items())
    return (
        f"trained further from epoch {part['epoch']:g} (step {part['step']:,}): {settings}; from the {part['weights']}"
        f" weights, those of step {part['weights_step']:,}, and the optimiser {part['optimizer']}"
    )


def history(info: Mapping[str, Any]) -> list[str]:
    """What run.json says of where a run started and how it went on, a sentence each."""
    start = info.get("start")
    return ([start_text(start)] if start else []) + [described(part) for part in info.get("parts", [])]


def base_of(run: Run, base: Config) -> Config:
    """The configuration `base` with the model, the objective and the size of images of a run to start from."""
    settings = {
        key: value
        for key, value in settings_of(run.config, ()).items()
        if key.partition(".")[0] in TAKEN_OVER
    }
    settings["data.image_size"] = run.config.data.image_size
    settings["data.resize"] = run.config.data.resize
    if (
        run.config.network.name == "mlp" and run.config.network.hidden is None
    ):  # an older run, which left it out
        settings["network.hidden"] = HIDDEN
    return override(base, settings | {"training.start": str(run.path.absolute())}, "training.start")


def load_start(config: Config, model: Model) -> dict[str, Any]:
    """Loads the weights of the run at training.start into a model, and gives what run.json keeps of it.

    Raises InputError, which names all that does not fit, with both shapes and the settings that differ.
    """
    path = Path(config.training.start)
    try:
        run = runs.find(path)
        weights = runs.weights_of(run)
    except InputError as error:
        raise InputError(str(error), field="training.start") from None
    own = model.state_dict()
    if wrong := unlike(own, weights):
        raise InputError(
            f"the weights of {run.path} do not fit: {'; '.join(wrong)}{_take_over(run, config, model)}",
            field="training.start",
        )
    load_weights(model, weights, run.path / checkpoints.WEIGHTS)
    content = reading.content(run.path, checkpoints.WEIGHTS, reading.MOST_OF_WEIGHTS)
    return {
        "run": str(path),
        "data": run.info["data"]["name"],
        "step": run.metrics.get("best_step"),
        "sha256": hashlib.sha256(content).hexdigest(),
        "same_scale": run.item.scaling == model.item.scaling,
    }


def start_text(start: Mapping[str, Any]) -> str:
    """What run.json keeps of the run whose weights training started from, in a sentence."""
    step = "" if start["step"] is None else f", of step {start['step']:,}"
    scale = "" if start["same_scale"] else "; values are scaled by these data, not by those"
    return f"weights start from those of {start['run']}{step}, trained on {start['data']}{scale}"


def _take_over(run: Run, config: Config, model: Model) -> str:
    """The settings of the run to take over, or how the items differ, as the end of a sentence."""
    there, here = (settings_of(c, ("recipe", "objective", "corruption")) for c in (run.config, config))
    differing = [
        f"{key} = {setting(there[key])}"
        for key in there
        if key.partition(".")[0] in TAKEN_OVER and there[key] != here.get(key)
    ]
    shapes = ["x".join(map(str, item.shape)) for item in (run.item, model.item)]
    items = [f"items are {shapes[0]} there and {shapes[1]} here"] if shapes[0] != shapes[1] else []
    return f"; take over {', '.join(differing)}" * bool(differing) + f"; {', '.join(items)}" * bool(items)
