"""latlas animate"""

from __future__ import annotations

from typing import Annotated

import typer

from latlas.cli.common import Json, Quiet, RunArgument, Seconds, Threads, examples, option, show
from latlas.text import counted, printable


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples("latlas animate fashion-mini-vae-1 --out training.gif --seconds 6"))(animate)


def animate(
    run: RunArgument,
    what: Annotated[str, typer.Option(metavar="PANEL", help="all, samples, codes or manifold.")] = "all",
    out: Annotated[str, option(metavar="FILE", help="A .webp or .gif; else animation.webp in the run.")] = "",
    seconds: Seconds = 8.0,
    size: Annotated[int, typer.Option(metavar="PIXELS", help="The longer side of a frame.")] = 960,
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Play a run's snapshots in order: samples, codes and the latent plane, from before training to its end."""
    from latlas import api, runs

    opened = runs.find(run)
    film = api.animate(opened, out or None, what, seconds=seconds, size=size, threads=threads, quiet=quiet)
    value = {
        "run": str(opened.path), "out": str(film.path), "panels": list(film.panels), "frames": len(film.steps),
        "steps": list(film.steps), "seconds": film.seconds, "width": film.width, "height": film.height,
        "bytes": film.path.stat().st_size,
    }  # fmt: skip
    show(
        value,
        as_json,
        f"{counted(len(film.steps), 'frame')} of {', '.join(film.panels)}: {printable(film.path)}",
    )
