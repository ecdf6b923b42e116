"""latlas log"""

from __future__ import annotations

from typing import Annotated

import typer

from latlas.cli.common import Json, Quiet, RunArgument, examples, option, show
from latlas.text import printable


def register(app: typer.Typer) -> None:
    """Adds the command."""
    run = "runs/fashion-mini-vae-1"
    app.command(
        epilog=examples(
            f"latlas log {run} --to mlflow --uri mlruns", f"latlas log {run} --to tensorboard --uri boards"
        )
    )(log)


def log(
    run: RunArgument,
    to: Annotated[str, option(metavar="NAME", help="mlflow or tensorboard.")],
    uri: Annotated[
        str,
        option(
            metavar="PLACE",
            help="A folder; for MLflow also sqlite:///FILE or a server (else what MLFLOW_TRACKING_URI says).",
        ),
    ] = "",
    experiment: Annotated[str, option(metavar="NAME", help="The experiment in MLflow (else latlas).")] = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Copy a run to another tracker: its configuration, log, numbers and pictures."""
    from latlas import api

    result = api.log(run, to, uri=uri, experiment=experiment, quiet=quiet)
    counts = ", ".join(f"{result[name]:,} {name}" for name in ("steps", "epochs", "pictures", "numbers"))
    place = f" at {result['uri']}" if result["uri"] else ""
    show(result, as_json, printable(f"{result['run']} is in {result['to']}{place}: {counts}"))
