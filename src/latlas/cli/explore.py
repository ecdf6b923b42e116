"""latlas explore"""

from __future__ import annotations

from typing import Annotated

import typer

from latlas.cli.common import DataDir, Device, OtherRun, Quiet, RunArgument, Threads, examples, option


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        epilog=examples(
            "latlas explore fashion-mini-vae-1",
            "latlas explore fashion-mini-vae-1 fashion-mini-vae-2 --port 8000",
        )
    )(explore)


def explore(
    run: RunArgument,
    other: OtherRun = None,
    port: Annotated[int, option(metavar="N", help="The port to serve at; else a free one.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    data_dir: DataDir = "",
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Walk through the latent space of a run in the browser: a map that decodes under the pointer.

    Nothing leaves this machine: the page is served to it alone, until Ctrl-C.
    """
    from latlas import api

    api.explore(
        run, other, port=port, browser=browser, data_dir=data_dir, device=device, threads=threads, quiet=quiet
    )
