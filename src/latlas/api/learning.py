"""Training as a call: configure, train, resume."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from latlas import config as configuration
from latlas import experiment
from latlas.api.opening import PathLike, RunLike, Where, check, path_of, run_of
from latlas.api.scoring import Run
from latlas.console import Console
from latlas.data import as_source
from latlas.errors import InputError
from latlas.settings import Config

# Short names of the settings that are changed most often, with the configuration's keys.
SHORT = {
    "latent": "model.latent",
    "epochs": "training.epochs",
    "steps": "training.steps",
    "batch_size": "training.batch_size",
    "lr": "optimizer.lr",
    "beta": "objective.beta",
    "seed": "seed",
    "limit": "data.limit",
    "image_size": "data.image_size",
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
}

QUICK = {"evaluation.groups": (), "evaluation.diagnose": False}


def configure(
    source: str = "", recipe: str = "", file: Path | None = None,
    settings: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None,
) -> Config:  # fmt: skip
    """The configuration of a recipe, then a file, then settings by dotted key, then options by short name.

    Options that are None count as not given. Raises InputError for an unknown recipe, key or value.
    """
    base = configuration.recipe(recipe or "vae")
    if base.recipe.data:
        base = configuration.override(base, {"data.source": base.recipe.data}, recipe)
    if file is not None:
        base = configuration.read(file, base)
    changed = configuration.override(base, settings, "settings") if settings else base
    given = {name: value for name, value in (options or {}).items() if value is not None}
    if "data_dir" in given:
        given["data_dir"] = str(Path(path_of(given["data_dir"], "data_dir") or "").absolute())
    changes = {SHORT[name]: value for name, value in given.items()}
    if source:
        changes["data.source"] = source
    try:
        return configuration.override(changed, changes, ", ".join(given) or "source") if changes else changed
    except InputError as error:
        # Of several options only those are blamed whose settings are named.
        blamed = [name for name in given if f"{SHORT[name]} = " in error.message]
        raise InputError(error.message, field=", ".join(blamed) or error.field) from None


def train(
    source: PathLike = "",
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

    `source` is a named set, a folder of images, an array or a table; by default it is the recipe's data set or
    fashion-mini. `options` are the short names latent, epochs, steps, batch_size, lr, beta, seed, limit, image_size,
    layout, kind, pages, label, header, drop, columns, strict, data_dir, device, threads and patience. `settings` takes
    any key of the configuration, as {"likelihood.sigma": 0.1}, and `config` is a TOML file of them. `out` is the run
    folder, which must not exist; by default it is runs/<data>-<recipe>-<n>. `quick` leaves out the diagnosis and all
    numbers but the ELBO, its terms and the squared error, which is enough to try things out.

    Raises InputError for anything wrong with the call or the data, before anything is written.
    """
    unknown_names = sorted(set(options) - set(SHORT))
    if unknown_names:
        raise TypeError(f"train() got an unknown option {unknown_names[0]!r} (known: {', '.join(SHORT)})")
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f"source: expected a name or a path, got {type(source).__name__}; save arrays with numpy.save"
        )
    if settings is not None and not isinstance(settings, Mapping):
        raise InputError(
            f'expected keys with values, as {{"likelihood.sigma": 0.1}}, got {type(settings).__name__}',
            field="settings",
        )
    file, folder = path_of(config, "config"), path_of(out, "out")
    with Console(quiet) as console:
        settings = (QUICK if quick else {}) | dict(settings or {})
        resolved = configure(as_source(source), recipe, file, settings, options)
        return Run(experiment.train(resolved, folder, console).path)


def resume(path: RunLike, **where: Unpack[Where]) -> Run:
    """Continues a run to its end as if it had never stopped; a finished run is returned unchanged.

    Device and threads are those of the run unless others are given. Raises InputError for data that are missing or have
    changed.
    """
    check(where, Where)
    folder = run_of(path).path
    with Console(where.get("quiet", False)) as console:
        options = (where.get("threads"), where.get("device", ""), where.get("data_dir", ""))
        return Run(experiment.resume(folder, console, *options).path)
