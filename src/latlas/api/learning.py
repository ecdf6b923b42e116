"""Training as a call: configure, train, resume."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from latlas import config as configuration
from latlas import continuing, experiment, runs
from latlas.api import tracking
from latlas.api.bringing import agree, open_run, parts_of
from latlas.api.opening import PathLike, RunLike, Where, check, checked_settings, path_of, with_data
from latlas.api.scoring import Run
from latlas.brought import OF_TRAINING, bring, title_of
from latlas.console import Console
from latlas.data import as_source
from latlas.data.given import raw_of_given
from latlas.data.options import MEMORY
from latlas.distributed import joined
from latlas.errors import InputError
from latlas.invocation import invoked_by
from latlas.settings import OWN, Config

# Short names of the settings that are changed most often, with the configuration's keys.
SHORT = {
    "latent": "model.latent",
    "epochs": "training.epochs",
    "steps": "training.steps",
    "budget": "training.budget",
    "batch_size": "training.batch_size",
    "lr": "optimizer.lr",
    "beta": "objective.beta",
    "seed": "seed",
    "limit": "data.limit",
    "image_size": "data.image_size",
    "layer": "data.layer",
    "layout": "data.layout",
    "kind": "data.kind",
    "pages": "data.pages",
    "label": "data.label",
    "header": "data.header",
    "drop": "data.drop",
    "columns": "data.columns",
    "strict": "data.strict",
    "data_dir": "data.data_dir",
    "device": "training.device",
    "threads": "training.threads",
    "patience": "training.patience",
    "from_run": "training.start",
}


def configure(
    source: str = "", recipe: str = "", file: Path | None = None,
    settings: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None,
    parts: Mapping[str, Any] | None = None,
) -> Config:  # fmt: skip
    """The configuration of a recipe, then of a person's own parts, then a file, then settings by dotted key, then
    options by short name.

    With the option `from_run` the recipe's model and objective are those of that run. Options that are None count as
    not given. Raises InputError for an unknown recipe, key or value.
    """
    base = configuration.recipe(recipe or "vae")
    if base.recipe.data:
        base = configuration.override(base, {"data.source": base.recipe.data}, recipe)
    options = {name: value for name, value in (options or {}).items() if value is not None}
    if "from_run" in options:
        if not (source or file or "data.source" in (settings or {})):
            raise InputError("name the data to train on; the run gives the weights alone", field="source")
        base = continuing.base_of(_start(options.pop("from_run"), recipe), base)
    if "budget" in options and (other := {"epochs", "steps"} & set(options)):
        raise InputError("a budget decides the number of steps; leave it or the budget out", field=min(other))
    if file is not None:
        base = configuration.read(file, base)
    if parts:
        base = configuration.override(base, _replaced(parts), _sections(parts))
    changed = (
        configuration.override(base, configuration.keeping_rate(settings), "settings") if settings else base
    )
    changes = configuration.keeping_rate(_by_key(options))
    if source:
        changes["data.source"] = source
    try:
        return (
            configuration.override(changed, changes, ", ".join(options) or "source") if changes else changed
        )
    except InputError as error:
        # Of several options only those are blamed whose settings are named.
        blamed = [name for name in options if f"{SHORT[name]} = " in error.message]
        raise InputError(error.message, field=", ".join(blamed) or error.field) from None


def _replaced(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for parts: the section of one of one's own keeps nothing of what was set for another one."""
    return {key.removesuffix(".name"): {} for key, value in parts.items() if value == OWN} | dict(parts)


def _sections(parts: Mapping[str, Any]) -> str:
    return ", ".join(key.removesuffix(".name") for key in parts if key.endswith(".name"))


def _by_key(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by short name as settings by dotted key; those that are None are not given."""
    given = {SHORT[name]: value for name, value in options.items() if value is not None}
    if "data.data_dir" in given:
        given["data.data_dir"] = str(Path(path_of(given["data.data_dir"], "data_dir") or "").absolute())
    return given


def _start(run: RunLike, recipe: str) -> runs.Run:
    """The run to start from.

    Raises InputError if there is none, or with a recipe of another model.
    """
    if recipe not in ("", "vae"):
        raise InputError(
            "the model is that of the run whose weights training starts from; leave the recipe out",
            field="recipe",
            value=recipe,
        )
    try:
        return runs.find(run)
    except InputError as error:
        raise InputError(str(error), field="training.start") from None


def train(
    source: Any = "",
    recipe: str = "vae",
    *,
    config: PathLike | None = None,
    out: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    quick: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Trains a recipe on a data set and gives the run: its folder, configuration, log and numbers.

    `source` is a named set, the path of a folder of images, an array or a table, or data in memory: an array, a
    tensor, a data frame, a sparse matrix, a list of pictures, a data set of PyTorch or of the hub, an AnnData, (items,
    labels), or splits by their names. By default it is the recipe's data set or fashion-mini. `options` are the short
    names latent, epochs, steps, budget (as 60s), batch_size, lr, beta, seed, limit, image_size, layout, layer,
    kind, pages, label, header, drop, columns, strict, data_dir, device, threads and patience, and `from_run`, a run
    whose weights training starts from, with its model and objective unless others are given; and the parts of one's
    own, `network`, `posterior`, `prior`, `likelihood`, `objective` and `augment` (docs/own-parts.md). `settings`
    takes any key of the configuration, as {"likelihood.sigma": 0.1}, and `config` is a TOML file of them. `out` is
    the run folder, which must not exist; by default it is runs/<data>-<recipe>-<n>. `quick` leaves out the
    diagnosis and all numbers but the ELBO, its terms and the squared error, which is enough to try things out. A
    `tracker` follows the training: mlflow or tensorboard, an object with the methods of `latlas.Tracker`, or a list
    of them. Processes that a launcher started together train one run: each makes this call (docs/several-processes.md).

    Raises InputError for anything wrong with the call or the data, before anything is written.
    """
    followed = tracking.chosen(options.pop("tracker", None))
    unknown_names = sorted(set(options) - {*SHORT, *OF_TRAINING})
    if unknown_names:
        known = ", ".join((*SHORT, *OF_TRAINING))
        raise TypeError(f"train() got an unknown option {unknown_names[0]!r} (known: {known})")
    held = not isinstance(source, str | os.PathLike)
    settings = checked_settings(settings)
    file, folder = path_of(config, "config"), path_of(out, "out")
    shown = {"recipe": recipe, "config": config, "out": out, "settings": settings, "quick": quick} | options
    call = _call("train", "x" if held else _written(source), shown)
    with joined() as world, Console(quiet or not world.leads) as console, invoked_by(call):
        settings = (experiment.QUICK if quick else {}) | dict(settings)
        given = {name: options.pop(name) for name in OF_TRAINING if name in options}
        brought, parts = bring(parts_of(options.get("from_run")) | given)
        agree(parts, settings | _by_key({k: v for k, v in options.items() if k != "from_run"}))
        named = MEMORY if held else as_source(source)
        resolved = configure(named, recipe, file, settings, options, parts)
        if not world.earlier_run():
            runs.refuse_existing(folder)
        if held:
            brought = replace(brought, data=raw_of_given(source, resolved.data, console.progress))
        return Run.of(experiment.train(resolved, folder, console, brought, followed, world=world))


def resume(
    path: RunLike,
    *,
    settings: Mapping[str, Any] | None = None,
    quick: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Continues a run to its end as if it had never stopped, or trains it further.

    `options` are the short names of `train`. Device, threads and data_dir are where it is trained, by default as
    before; `data` are those of a run that was trained on data in memory and is given by its folder. With epochs,
    steps, lr or patience (`settings` by dotted key: those that `continuing.FURTHER` lists) a stopped or a finished run
    is trained further, from the newest or from its best weights, in a new cycle of the learning rate. Without any a
    finished run is returned unchanged. `quick` is that of `train`, for the numbers at the end of this call, and so is
    a `tracker`. Parts of one's own that the run does not carry are given as to `open_run`. Raises InputError for data
    and parts that are missing or have changed, for a setting that cannot change and for a length that is trained
    already.
    """
    followed = tracking.chosen(options.pop("tracker", None))
    parts = {name: options.pop(name) for name in OF_TRAINING if name in options}
    known = dict.fromkeys((*Where.__annotations__, *SHORT, *OF_TRAINING))
    for name in options:
        if name not in known:
            raise TypeError(f"resume() got an unknown option {name!r} (known: {', '.join(known)})")
    settings = checked_settings(settings)
    where = {name: options.get(name) for name in ("threads", "device", "data_dir", "data")}
    check(where, Where)
    changes = dict(settings) | _by_key({k: v for k, v in options.items() if k not in where})
    shown = {"settings": settings, "quick": quick} | options | parts
    # All else stands inside: an error of one process has to end the others.
    with (
        joined() as world,
        Console(quiet or not world.leads) as console,
        invoked_by(_call("resume", _written(runs.find(path)), shown)),
    ):
        run = with_data(path, where["data"], console)
        run = open_run(run, **parts) if parts else run
        again = experiment.resume(run, console, where | {"world": world}, changes, quick, followed)
    return Run.of(again)


def _call(name: str, first: str, options: Mapping[str, Any]) -> str:
    """A call as it is written in Python, without options at their defaults."""
    held = ["data=x"] if options.get("data") is not None else []
    given = [f"{key}={_written(value)}" for key, value in options.items() if key != "data" and value] + held
    return f"latlas.{name}({', '.join([first, *given])})"


def _written(value: object) -> str:
    value = value.path if isinstance(value, runs.Run) else value
    if isinstance(value, tuple) and value and callable(value[0]):
        return f"({', '.join(map(_written, value))})"
    if callable(value):  # a part of one's own: what it is called, not how Python shows it
        return title_of(value).rpartition(".")[2]
    return repr(os.fspath(value) if isinstance(value, os.PathLike) else value)


def prune(*paths: RunLike) -> list[dict[str, Any]]:
    """Removes what finished runs need no longer, their checkpoints and the weights of their snapshots: `run`, `before`
    and `after` in bytes for each.

    The best weights, log, numbers and pictures stay, and the runs can still be trained further. Raises InputError,
    before anything is removed, for no run, and for one that is unfinished or being trained.
    """
    if not paths:
        raise InputError("name the runs to prune")
    chosen = [runs.find(path) for path in paths]
    for run in chosen:
        runs.check_prunable(run)
    sizes = [runs.prune(run) for run in chosen]
    return [
        {"run": str(run.path), "before": before, "after": after}
        for run, (before, after) in zip(chosen, sizes, strict=True)
    ]
