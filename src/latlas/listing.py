"""Lists of runs, data sets, recipes and studies, as plain values."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas import config, data, studies
from latlas.console import Console
from latlas.errors import InputError, unknown

if TYPE_CHECKING:
    from latlas.runs import Run


def list_runs(root: str | os.PathLike[str] = "runs", *, quiet: bool = False) -> list[dict[str, Any]]:
    """The runs in a folder, oldest first: the path, data, recipe, numbers and size in bytes of each.

    Numbers are of the `split` test, or of validation or training where nothing was held out for testing. Damaged runs
    and links are left out, with a note unless `quiet`.
    """
    from latlas import runs

    rows = []
    with Console(quiet) as console:
        for run in runs.runs(Path(root)):
            try:
                rows.append(_row(run))
            except InputError as error:
                console.note(f"left out: {error}")
    return rows


def _row(run: Run) -> dict[str, Any]:
    from latlas.runs import measured_numbers

    if run.path.is_symlink():  # a folder from a stranger says nothing of what lies outside it
        raise InputError(f"{run.path} is a link: name the folder to which it leads")
    metrics, settings, info = run.metrics, run.config, run.info
    split, test = measured_numbers(metrics)
    return {
        "run": str(run.path),
        "name": run.name,
        "data": info["data"]["name"],
        "recipe": settings.recipe.name,
        "latent": settings.model.latent,
        "epochs": metrics.get("epochs", "-"),
        "split": split,
        "elbo": test.get("elbo"),
        "distortion": test.get("distortion"),
        "rate": test.get("rate"),
        "mse": test.get("mse"),
        "created": info.get("created", ""),
        "finished": run.finished,
        "bytes": run.bytes,
    }


def list_data(data_dir: str = "") -> list[dict[str, Any]]:
    """Every named data set, as `data_info` gives it."""
    return [data_info(name, data_dir) for name in data.sources()]


def data_info(name: str, data_dir: str = "") -> dict[str, Any]:
    """One named data set: title, sizes, licence, folder, files with their SHA-256, and whether it is `present`.

    Raises InputError for an unknown name.
    """
    return data.source_info(name, data_dir)


def fetch_data(name: str, data_dir: str = "", *, quiet: bool = False) -> Path:
    """Downloads a named data set, checks its SHA-256 sums, and gives the folder where training finds it.

    Raises InputError for an unknown name or a set that is part of latlas, LatlasError if no mirror has a file.
    """
    with Console(quiet) as console:
        return data.fetch(name, data_dir, console.progress)


def list_recipes() -> list[dict[str, Any]]:
    """All recipes (for `train`) and studies (for `study`): name, kind, ids, data and summary."""
    entries = [
        {"name": r.name, "kind": "recipe", "ids": list(r.ids), "data": r.data, "summary": r.summary}
        for r in (config.recipe(name).recipe for name in config.recipe_names())
    ]
    for info in (studies.read(name).info for name in studies.study_names()):
        about = {"ids": list(info.ids), "data": ", ".join(info.data), "summary": info.summary}
        entries.append({"name": info.name, "kind": "study", **about})
    return entries


@dataclass(frozen=True)
class Recipe:
    """A recipe or a study: its `values`, and the `text` of its TOML file, in which settings are explained."""

    values: dict[str, Any]
    text: str


def show_recipe(name: str) -> Recipe:
    """The recipe or study of that name.

    Raises InputError that names the nearest known one.
    """
    if name in studies.study_names():
        text = studies.source_text(name)
        return Recipe(tomllib.loads(text), text.rstrip())
    if name not in config.recipe_names():
        raise unknown("recipe or study", name, [*config.recipe_names(), *studies.study_names()])
    recipe = config.recipe(name)
    return Recipe(recipe.model_dump(mode="json"), config.to_toml(recipe, comments=True).rstrip())
