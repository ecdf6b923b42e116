"""The calls that scripts and notebooks make; the command line calls the same."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latlas import compare, diagnosis, experiment, html, metrics
from latlas import config as configuration
from latlas.console import Console
from latlas.errors import InputError
from latlas.files import write_atomic
from latlas.runs import Run, dataset_of, find, load
from latlas.settings import Config

__all__ = ["compare_runs", "diagnose", "evaluate", "load", "resume", "train"]

# Short names for what people change most, and the configuration's keys that they stand for.
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
    "label": "data.label",
    "strict": "data.strict",
    "data_dir": "data.data_dir",
    "device": "training.device",
    "threads": "training.threads",
    "patience": "training.patience",
}


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
    changed = configuration.override(base, settings, "--set") if settings else base
    given = {k: v for k, v in (options or {}).items() if v is not None}
    flags = {SHORT[name]: value for name, value in given.items()}
    if "data.data_dir" in flags:
        flags["data.data_dir"] = str(Path(flags["data.data_dir"]).expanduser().absolute())
    if source:
        flags["data.source"] = source
    names = {key: name for name, key in SHORT.items()}
    where = ", ".join(f"--{names[k].replace('_', '-')}" for k in flags if k in names) or "configuration"
    return configuration.override(changed, flags, where) if flags else changed


def train(
    source: str | os.PathLike[str] = "",
    recipe: str = "vae",
    *,
    out: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Trains a recipe on a data set and gives the run: its folder, configuration, log and numbers.

    `source` is a named set, a folder of images, an array or a table (else the recipe's, or fashion-mini);
    `options` are the short names latent, epochs, steps, batch_size, lr, beta, seed, limit, image_size,
    layout, label, strict, data_dir, device, threads and patience; `settings` takes any key of the
    configuration, as {"likelihood.sigma": 0.1}.

    Raises InputError for anything wrong with the call or the data, before anything is written.
    """
    unknown_names = sorted(set(options) - set(SHORT))
    if unknown_names:
        raise TypeError(f"train() got an unknown option {unknown_names[0]!r} (known: {', '.join(SHORT)})")
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f"source: expected a name or a path, got {type(source).__name__}; save arrays with numpy.save"
        )
    config = configure(os.fspath(source), recipe, None, settings, options)
    with Console(quiet) as console:
        return experiment.train(config, Path(out) if out is not None else None, console)


def resume(path: str | os.PathLike[str], *, data_dir: str = "", quiet: bool = False) -> Run:
    """Continues a run to its end, as if it had never stopped; a finished one is returned as it is."""
    with Console(quiet) as console:
        return experiment.resume(Path(path), console, data_dir=data_dir)


def evaluate(
    run: Run | str | os.PathLike[str],
    measures: Sequence[str] = ("all",),
    *,
    draws: int | None = None,
    data_dir: str = "",
    quiet: bool = False,
) -> dict[str, dict[str, Any]]:
    """What a run is worth on its test split: numbers by name, each with `value`, `stderr`, `unit`, the `items` and
    `draws` that it came from, and what stands `beside` it.

    `measures` are names of `latlas.metrics.METRICS`, or groups of them; `draws` of z per item for log p(x), then of
    every item. Raises InputError for an unknown measure, and data that are missing or have changed.
    """
    found = run if isinstance(run, Run) else find(run)
    effort = metrics.effort_of(found, draws)
    with Console(quiet) as console:
        dataset = dataset_of(found, data_dir, console.progress)
        context = metrics.context_of(found, found.model(), dataset, effort=effort, observer=console)
        return metrics.numbers(context, measures)


def diagnose(
    run: Run | str | os.PathLike[str], *, data_dir: str = "", quiet: bool = False
) -> list[diagnosis.Finding]:
    """What is wrong with a run, the weightiest first: each finding with `title`, `evidence`, `cause`, `remedy` and the
    `settings` to change; empty where nothing is.

    Raises InputError for data that are missing or have changed, and a run without weights.
    """
    found = run if isinstance(run, Run) else find(run)
    with Console(quiet) as console:
        dataset = dataset_of(found, data_dir, console.progress)
        context = metrics.context_of(found, found.model(), dataset, observer=console)
        return diagnosis.of(found, dataset, context, found.finished)


def compare_runs(
    runs: Sequence[Run | str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    *,
    pca: bool = True,
    measures: Sequence[str] = (),
    data_dir: str = "",
    quiet: bool = False,
) -> compare.Comparison:
    """Compares finished runs, a row each, and writes the page to `out` where one is given.

    `pca` adds rows of PCA at the runs' latent sizes; `measures` are names of `latlas.metrics.METRICS`. Raises
    InputError for an `out` that exists, an unfinished run, one given twice, an unknown measure, and data that are
    missing.
    """
    path = None if out is None else html.new_page(out)
    found = [run if isinstance(run, Run) else find(run) for run in runs]
    with Console(quiet) as console:
        result = compare.gather(
            compare.by_name(found), pca=pca, measures=measures, data_dir=data_dir, pictures=out is not None,
            observer=console,
        )  # fmt: skip
    if path is not None:
        write_atomic(path, compare.page([result], compare.title_of(result)))
    return result
