"""latlas train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from latlas.cli.common import Json, Quiet, number, show
from latlas.errors import InputError

EXAMPLES = """Examples: latlas train fashion-mini --latent 2 ·
latlas train ./my-photos --image-size 64x64 --epochs 50 --set likelihood.name=gaussian ·
latlas train table.csv --label species · latlas train --resume runs/fashion-mini-vae-1"""
DATA, MODEL, RUN = "Data", "Model and training", "Run"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=EXAMPLES)(train)


def _option(panel: str, name: str, text: str, metavar: str | None = None, **more: Any) -> Any:
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=panel, show_default=False, **more)


def train(
    source: Annotated[
        str,
        typer.Argument(
            metavar="[DATA]",
            show_default=False,
            help="A named set (latlas data), a folder of images, an .npy, .npz, .csv or .parquet file.",
        ),
    ] = "",
    recipe: Annotated[
        str, _option(MODEL, "--recipe", "A recipe (latlas recipes); vae unless said.", "NAME")
    ] = "",
    config: Annotated[Path | None, _option(MODEL, "--config", "A TOML file of settings.", "FILE")] = None,
    latent: Annotated[int | None, _option(MODEL, "--latent", "Latent dimensions.", "N")] = None,
    epochs: Annotated[int | None, _option(MODEL, "--epochs", "Passes over the training images.", "N")] = None,
    steps: Annotated[
        int | None, _option(MODEL, "--steps", "Optimiser steps, instead of epochs.", "N")
    ] = None,
    batch_size: Annotated[int | None, _option(MODEL, "--batch-size", "Images per step.", "N")] = None,
    lr: Annotated[float | None, _option(MODEL, "--lr", "Learning rate.", "X")] = None,
    beta: Annotated[float | None, _option(MODEL, "--beta", "Weight of the rate.", "X")] = None,
    seed: Annotated[int | None, _option(MODEL, "--seed", "Seed of weights, order and noise.", "N")] = None,
    patience: Annotated[
        int | None,
        _option(MODEL, "--patience", "Stop after N epochs in which validation got no better.", "N"),
    ] = None,
    setting: Annotated[
        list[str] | None,
        _option(MODEL, "--set", "Any setting (latlas recipes show vae lists them).", "KEY=VALUE"),
    ] = None,
    limit: Annotated[int | None, _option(DATA, "--limit", "Train on the first N images only.", "N")] = None,
    image_size: Annotated[str, _option(DATA, "--image-size", "Resize images to this.", "HxW")] = "",
    layout: Annotated[
        str | None, _option(DATA, "--layout", "Axes of an array: NHWC, NCHW, NHW or ND.", "AXES")
    ] = None,
    label: Annotated[str | None, _option(DATA, "--label", "A table's column of labels.", "COLUMN")] = None,
    strict: Annotated[bool, _option(DATA, "--strict", "Refuse a folder with broken files.")] = False,
    data_dir: Annotated[str | None, _option(DATA, "--data-dir", "Where named sets are.", "DIR")] = None,
    out: Annotated[Path | None, _option(RUN, "--out", "Run folder; must not exist.", "DIR")] = None,
    resume: Annotated[str, _option(RUN, "--resume", "Continue this run to its end.", "RUN")] = "",
    device: Annotated[str | None, _option(RUN, "--device", "auto, cpu, cuda, cuda:1 or mps.", "NAME")] = None,
    threads: Annotated[int | None, _option(RUN, "--threads", "CPU threads.", "N", min=1)] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on your data: numbers, pictures and a report go to the run folder."""
    options = {
        "latent": latent, "epochs": epochs, "steps": steps, "batch_size": batch_size, "lr": lr, "beta": beta,
        "seed": seed, "patience": patience, "limit": limit, "image_size": parse_size(image_size),
        "layout": layout, "label": label, "strict": strict or None,
    }  # fmt: skip
    if resume:
        others = {"DATA": source, "recipe": recipe, "config": config, "set": setting, "out": out}
        _refuse_beside_resume(options | {name: value or None for name, value in others.items()})
    from latlas import api, experiment
    from latlas.config import assignments
    from latlas.console import Console

    with Console(quiet) as console:
        if resume:
            run = experiment.resume(resume, console, threads, device or "", data_dir or "")
        else:
            settings = assignments(setting or [])
            config_ = api.configure(
                source,
                recipe,
                config,
                settings,
                options | {"device": device, "threads": threads, "data_dir": data_dir},
            )
            run = experiment.train(config_, out, console)
    show(result(run.path, run.metrics), as_json, summary(run.path, run.metrics))


def _refuse_beside_resume(options: dict[str, Any]) -> None:
    given = [name.replace("_", "-") for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"--resume continues the run as it was begun; leave out {', '.join(given)}")


def parse_size(text: str, flag: str = "--image-size") -> tuple[int, int] | None:
    """HxW as two whole numbers; one number is a square.

    Raises InputError for anything else.
    """
    parts = text.lower().split("x")
    if not text:
        return None
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"{flag} {text}: expected two whole numbers, as 28x28")
    return int(parts[0]), int(parts[-1])


def result(path: Path, metrics: dict[str, Any]) -> dict[str, Any]:
    """What train --json prints."""
    keys = ("data", "recipe", "network", "likelihood", "latent", "parameters", "epochs", "steps", "seconds",
            "images_per_second", "training_seconds", "unit", "normalised")  # fmt: skip
    splits = metrics["splits"]
    return {"run": str(path), **{k: metrics[k] for k in keys}, **{name: splits[name] for name in splits}}


def summary(path: Path, metrics: dict[str, Any]) -> str:
    """The same for people."""
    test = metrics["splits"]["test"]
    elbo = "" if test["elbo"] is None else f"ELBO {number(test['elbo'])} = -(distortion + rate), "
    rate = "" if test["rate"] is None else f", rate {number(test['rate'])}"
    restored = ""
    if "restored_mse" in test:
        restored = f", restored mse {test['restored_mse']:.5f} of corrupted {test['corrupted_mse']:.5f}"
    return (
        f"test: {elbo}distortion {number(test['distortion'])}{rate} {metrics['unit']}, "
        f"mse {test['mse']:.5f}{restored}\n"
        f"report: {path / 'report.html'}"
    )
