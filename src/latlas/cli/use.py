"""latlas reconstruct and report"""

from __future__ import annotations

from typing import Annotated

import typer

from latlas.cli.common import (
    DataDir,
    Device,
    Json,
    Out,
    Quiet,
    RunArgument,
    SourceArgument,
    Split,
    Threads,
    examples,
    option,
    show,
)
from latlas.cli.train import parse_size
from latlas.text import counted, printable


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    run = "runs/fashion-mini-vae-1"
    app.command(epilog=examples(f"latlas reconstruct {run} ./my-photos --out photos.npz"))(reconstruct)
    app.command(epilog=examples(f"latlas report {run} --redraw --grid 8x8 --span -8 8"))(report)


def reconstruct(
    run: RunArgument,
    source: SourceArgument = "",
    split: Split = "",
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Reconstruct a split or other data, at the posterior's mean."""
    from latlas import api

    output = api.reconstruct(
        run, source, split=split, out=out, data_dir=data_dir, device=device, threads=threads, quiet=quiet
    )
    items = len(output.arrays["index"])
    result = {"run": str(output.run.path), "out": str(output.path), "items": items, **output.about}
    show(result, as_json, printable(f"{counted(items, 'reconstruction')}: {output.path}"))


def report(
    run: RunArgument,
    redraw: Annotated[bool, typer.Option("--redraw", help="Draw the pictures again from the data.")] = False,
    grid: Annotated[str, option(metavar="RxC", help="Rows and columns of the manifold (redraws).")] = "",
    span: Annotated[
        tuple[float, float] | None,
        option(metavar="LO HI", help="The manifold's range (redraws); by default the prior's quantiles."),
    ] = None,
    data_dir: DataDir = "",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write report.html again from the run folder, with new pictures if requested."""
    from latlas import api

    size = parse_size(grid, "grid")
    path = api.write_report(
        run, redraw=redraw, grid=size, span=span, data_dir=data_dir, threads=threads, quiet=quiet
    )
    show({"run": str(path.parent), "report": str(path)}, as_json, f"report: {printable(path)}")
