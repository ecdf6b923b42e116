"""What one asks a trained run: reconstruct, encode, report."""

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
    open_run,
    out_path,
    show,
)
from latlas.cli.train import parse_size


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    run = "runs/fashion-mini-vae-1"
    app.command(epilog=f"Example: latlas reconstruct {run} ./my-photos --out photos.npz")(reconstruct)
    app.command(epilog=f"Example: latlas encode {run} --split train --out codes.npz")(encode)
    app.command(epilog=f"Example: latlas report {run} --redraw --grid 8x8 --span -8 8")(report)


def reconstruct(
    run: RunArgument,
    source: SourceArgument = "",
    split: Split = "test",
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Reconstruct a split or other data, at the posterior's mean."""
    from latlas import inference
    from latlas.console import Console

    with Console(quiet) as console:
        found, model = open_run(run, device)
        items = inference.items(found, model, split, source, data_dir, console)
        arrays = inference.reconstruct(model, items)
    path = inference.save(
        out_path(out, found, "reconstructions.npz"), arrays, "reconstruction", "Reconstructions"
    )
    result = {"run": str(found.path), "out": str(path), "items": len(items)}
    show(result, as_json, f"{len(items):,} reconstructions: {path}")


def encode(
    run: RunArgument,
    source: SourceArgument = "",
    split: Split = "test",
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the codes of a split or of other data: posterior means and standard deviations."""
    from latlas import inference
    from latlas.console import Console

    with Console(quiet) as console:
        found, model = open_run(run, device)
        items = inference.items(found, model, split, source, data_dir, console)
        arrays = inference.encode(model, items)
    path = inference.save(out_path(out, found, "codes.npz"), arrays)
    result = {"run": str(found.path), "out": str(path), "items": len(items), "latent": model.latent}
    show(result, as_json, f"{len(items):,} codes of {model.latent} dimensions: {path}")


def report(
    run: RunArgument,
    redraw: Annotated[bool, typer.Option("--redraw", help="Draw the pictures anew, from the data.")] = False,
    grid: Annotated[
        str,
        typer.Option(metavar="RxC", help="Rows and columns of the manifold (redraws).", show_default=False),
    ] = "",
    span: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LO HI",
            help="The manifold's range (redraws); else the prior's quantiles.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write report.html again from the run folder, with new pictures if asked."""
    from latlas import finishing, runs
    from latlas import report as pages
    from latlas.console import Console

    found = runs.find(run)
    if redraw or grid or span:
        with Console(quiet) as console:
            finishing.redraw(found, parse_size(grid, "--grid"), span, data_dir, console)
    path = pages.write_report(found.path)
    show({"run": str(found.path), "report": str(path)}, as_json, f"report: {path}")
