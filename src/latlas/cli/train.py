"""latlas train"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from latlas.cli.common import (
    DataDir,
    Device,
    Json,
    Quiet,
    Set,
    Threads,
    TrainLimit,
    examples,
    number,
    option,
    show,
)
from latlas.errors import InputError
from latlas.text import printable, whole_number

EXAMPLES = examples(
    "latlas train fashion-mini --latent 2",
    "latlas train ./my-photos --image-size 64x64 --epochs 50 --set likelihood.name=gaussian",
    "latlas train table.csv --label species",
    "latlas train fashion-mnist --budget 60s",
    "latlas train fashion-mnist --device cuda --set training.precision=bfloat16",
    "latlas train --resume runs/fashion-mini-vae-1",
    "latlas train --resume runs/fashion-mini-vae-1 --epochs 80",
    "latlas train ./my-photos --from runs/photos-vae-1 --lr 5e-4",
)
PRUNE = examples("latlas prune runs/fashion-mini-vae-1 runs/fashion-mini-vae-2")

# The options of train.
Data = Annotated[
    str,
    typer.Argument(
        metavar="[DATA]",
        show_default=False,
        help="A named set (latlas data), a folder of images, an .npy, .npz, .csv or .parquet file.",
    ),
]
Recipe = Annotated[str, option(metavar="NAME", help="A recipe (latlas recipes); by default vae.")]
ConfigFile = Annotated[Path | None, option(metavar="FILE", help="A TOML file of settings.")]
Latent = Annotated[int | None, option(metavar="N", help="Latent dimensions.")]
Epochs = Annotated[int | None, option(metavar="N", help="Passes over the training items.")]
Budget = Annotated[
    str, option(metavar="TIME", help="How long to train, as 60s or 10m: as many steps as fit.")
]
Steps = Annotated[int | None, option(metavar="N", help="Optimiser steps, instead of epochs.")]
BatchSize = Annotated[int | None, option(metavar="N", help="Items per step.")]
Lr = Annotated[float | None, option(metavar="X", help="Learning rate.")]
Beta = Annotated[float | None, option(metavar="X", help="Weight of the rate.")]
Seed = Annotated[int | None, option(metavar="N", help="Seed of weights, order and noise.")]
Patience = Annotated[
    int | None, option(metavar="N", help="Stop after N epochs in which validation got no better.")
]
ImageSize = Annotated[str, option(metavar="HxW", help="Resize images to this.")]
Layout = Annotated[str | None, option(metavar="AXES", help="Axes of an array: NHWC, NCHW, NHW or ND.")]
Kind = Annotated[str | None, option(metavar="NAME", help="Of an array or a table: image, vector or table.")]
Pages = Annotated[
    str | None, option(metavar="WHICH", help="Of files with several pages: all, each an item, or first.")
]
Label = Annotated[str | None, option(metavar="COLUMN", help="A table's column of labels.")]
Header = Annotated[
    str | None, option(metavar="yes|no", help="Whether a text table's first row names its columns.")
]
Drop = Annotated[
    list[str] | None, option(metavar="COLUMN", help="A table's column to leave out; may be repeated.")
]
Columns = Annotated[str | None, option(metavar="A,B,C", help="A table's columns to train on, and no others.")]
Strict = Annotated[bool, option("--strict", help="Refuse a folder with broken files.")]
RunFolder = Annotated[Path | None, option(metavar="DIR", help="Run folder; must not exist.")]
Quick = Annotated[
    bool, option("--quick", help="No diagnosis, and no numbers but the ELBO, its terms and the mse.")
]
Resume = Annotated[
    str,
    option(
        metavar="RUN",
        help="Continue this run to its end; with --epochs, --steps, --lr or --patience train it further.",
    ),
]
From = Annotated[str, option("--from", metavar="RUN", help="Start from this run's weights, with its model.")]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=EXAMPLES)(train)
    app.command(epilog=PRUNE)(prune)


def train(
    source: Data = "",
    recipe: Recipe = "",
    config: ConfigFile = None,
    latent: Latent = None,
    epochs: Epochs = None,
    steps: Steps = None,
    budget: Budget = "",
    batch_size: BatchSize = None,
    lr: Lr = None,
    beta: Beta = None,
    seed: Seed = None,
    patience: Patience = None,
    settings: Set = None,
    limit: TrainLimit = None,
    image_size: ImageSize = "",
    layout: Layout = None,
    kind: Kind = None,
    pages: Pages = None,
    label: Label = None,
    header: Header = None,
    drop: Drop = None,
    columns: Columns = None,
    strict: Strict = False,
    data_dir: DataDir = "",
    out: RunFolder = None,
    quick: Quick = False,
    resume: Resume = "",
    from_run: From = "",
    device: Device = "",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on your data: numbers, pictures and a report go to the run folder."""
    options: dict[str, Any] = {
        "latent": latent, "epochs": epochs, "steps": steps,
        "budget": budget or None, "batch_size": batch_size, "lr": lr, "beta": beta,
        "seed": seed, "patience": patience, "limit": limit, "image_size": parse_size(image_size, "image_size"),
        "layout": layout, "kind": kind, "pages": pages, "label": label, "header": header, "drop": drop or None,
        "columns": columns,
        "strict": strict or None,
    }  # fmt: skip
    where: Any = {"data_dir": data_dir or None, "device": device or None, "threads": threads}
    if resume:
        _refuse_with_resume({"DATA": source, "recipe": recipe, "config": config, "out": out,
                             "from": from_run})  # fmt: skip
    if (
        os.environ.get("WORLD_SIZE", "1") != "1"
    ):  # torch writes pages on standard error where a process is lost
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if source and not (config or any(one.startswith("data.") for one in settings or ())):
        from latlas.data import named

        named.read_ahead(source, data_dir)  # beside the import of PyTorch, which comes with the next line
    from latlas import api
    from latlas.config import assignments
    from latlas.distributed import leads

    changes = assignments(settings or [])
    if resume:
        run = api.resume(resume, settings=changes, quick=quick, quiet=quiet, **options, **where)
    else:
        run = api.train(
            source,
            recipe,
            config=config,
            out=out,
            settings=changes,
            quick=quick,
            quiet=quiet,
            from_run=from_run or None,
            **options,
            **where,
        )
    if not leads():
        return
    metrics = run.metrics
    show(result(run.path, metrics), as_json, summary(run.path, metrics))


def prune(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders, or names under runs/.")],
    as_json: Json = False,
) -> None:
    """Remove checkpoints and weights of snapshots of finished runs; best weights, numbers and pictures stay."""
    from latlas import api
    from latlas.text import size

    rows = api.prune(*runs)
    lines = [f"{printable(r['run'])}: {size(r['before'])} before, {size(r['after'])} after" for r in rows]
    show(rows, as_json, "\n".join(lines))


def _refuse_with_resume(options: dict[str, Any]) -> None:
    given = [
        name if name.isupper() else "--" + name.replace("_", "-") for name, value in options.items() if value
    ]
    if given:
        raise InputError(
            f"--resume continues the run on its own data and model; leave out {', '.join(given)}"
        )


def parse_size(text: str, field: str) -> tuple[int, int] | None:
    """HxW as two whole numbers; one number is a square.

    Raises InputError for anything else.
    """
    parts = text.lower().split("x")
    if not text:
        return None
    numbers = [whole_number(part) or 0 for part in parts]
    if len(parts) > 2 or min(numbers) < 1:
        raise InputError("expected two whole numbers, as 28x28", field=field, value=text[:60])
    return numbers[0], numbers[-1]


def result(path: Path, metrics: dict[str, Any]) -> dict[str, Any]:
    """The record that train --json prints."""
    keys = ("data", "recipe", "network", "likelihood", "latent", "parameters", "epochs", "steps", "seconds",
            "images_per_second", "training_seconds", "unit", "normalised")  # fmt: skip
    splits = metrics["splits"]
    return {"run": str(path), **{k: metrics[k] for k in keys}, **{name: splits[name] for name in splits}}


def summary(path: Path, metrics: dict[str, Any]) -> str:
    """The same as text."""
    from latlas.metrics.display import on_outlier
    from latlas.runs import measured_numbers

    split, test = measured_numbers(metrics)
    lone = on_outlier(test, metrics["unit"].rpartition(" ")[2])
    stderr = "" if test.get("elbo_stderr") is None else f" ± {number(test['elbo_stderr'])}"
    elbo = "" if test["elbo"] is None else f"ELBO {number(test['elbo'])}{stderr} = -(distortion + rate), "
    rate = "" if test["rate"] is None else f", rate {number(test['rate'])}"
    restored = ""
    if "restored_mse" in test:
        restored = f", restored mse {test['restored_mse']:.5f} of corrupted {test['corrupted_mse']:.5f}"
    return (
        f"{split}: {elbo}distortion {number(test['distortion'])}{rate} {metrics['unit']}, "
        f"mse {test['mse']:.5f}{restored}\n"
        + (f"{lone}\n" if lone else "")
        + f"report: {printable(path / 'report.html')}"
    )
