"""What one does with a trained run: evaluate, sample, reconstruct, encode, decode, morph, report."""

from __future__ import annotations

from typing import Annotated

import typer

from latlas.cli.common import (
    DataDir,
    Device,
    Json,
    Quiet,
    RunArgument,
    Seed,
    SourceArgument,
    Split,
    Threads,
    number,
    open_run,
    out_path,
    show,
)
from latlas.cli.train import parse_size

Out = Annotated[
    str,
    typer.Option(
        "--out", metavar="FILE", help="Where to; a name in the run folder unless said.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    run = "runs/fashion-mini-vae-1"
    app.command(epilog=f"Example: latlas evaluate {run} --split valid --json")(evaluate)
    app.command(epilog=f"Example: latlas sample {run} -n 64 --seed 0 --out samples.png")(sample)
    app.command(epilog=f"Example: latlas reconstruct {run} ./my-photos --out photos.npz")(reconstruct)
    app.command(epilog=f"Example: latlas encode {run} --split train --out codes.npz")(encode)
    app.command(epilog=f"Example: latlas decode {run} codes.npz --out images.png")(decode)
    app.command(epilog=f"Example: latlas morph {run} --from 3 --to 17")(morph)
    app.command(epilog=f"Example: latlas report {run} --redraw --grid 8x8 --span -8 8")(report)


def evaluate(
    run: RunArgument,
    source: SourceArgument = "",
    split: Split = "test",
    samples: Annotated[int, typer.Option(metavar="N", help="Draws of z per image.")] = 1,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Seed of the draws.", show_default=False)
    ] = None,
    data_dir: DataDir = "",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure ELBO, distortion, rate and reconstruction error on a whole split."""
    from latlas import inference
    from latlas.console import Console
    from latlas.evaluation import EVALUATION_SEED

    with Console(quiet) as console:
        found, model = open_run(run, device, threads)
        items = inference.items(found, model, split, source, data_dir, console)
        values = inference.evaluate(
            found, model, items, samples, EVALUATION_SEED if seed is None else seed, console
        )
    result = {"run": str(found.path), "split": None if source else split, "source": source or None, **values}
    text = (
        f"{source or split}, {values['images']:,} items: ELBO {number(values['elbo'])}"
        f" ± {number(values['elbo_stderr'])}, distortion {number(values['distortion'])},"
        f" rate {number(values['rate'])}"
        f" {values['unit'] or ''}, mse {values['mse']:.5f}"
    )
    show(result, as_json, text)


def sample(
    run: RunArgument,
    count: Annotated[int, typer.Option("-n", "--count", metavar="N", help="How many.")] = 64,
    seed: Seed = 0,
    noise: Annotated[bool, typer.Option("--noise", help="Draw from p(x given z), not its mean.")] = False,
    out: Out = "",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Draw new items from the prior and decode them."""
    from latlas import inference

    found, model = open_run(run, device)
    images = model.sample(count, seed, noise)
    default = "samples.png" if images.ndim == 4 else "samples.npz"
    path = inference.save(out_path(out, found, default), {"samples": images}, "samples", f"{count} samples")
    result = {"run": str(found.path), "out": str(path), "samples": count, "seed": seed, "noise": noise}
    show(result, as_json, f"{count} samples: {path}")


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


def decode(
    run: RunArgument,
    codes: Annotated[
        str, typer.Argument(metavar="CODES", help="An .npy of codes (N, D), or an .npz with mean or z.")
    ],
    out: Out = "",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Decode codes into the means of p(x given z)."""
    from pathlib import Path

    from latlas import inference

    found, model = open_run(run, device)
    decoded = model.decode(inference.read_codes(Path(codes)))
    path = inference.save(
        out_path(out, found, "decoded.npz"), {"decoded": decoded}, "decoded", "Decoded codes"
    )
    show(
        {"run": str(found.path), "out": str(path), "items": len(decoded)},
        as_json,
        f"{len(decoded):,} items: {path}",
    )


def morph(
    run: RunArgument,
    start: Annotated[int, typer.Option("--from", metavar="ROW", help="First row of the split.")],
    end: Annotated[int, typer.Option("--to", metavar="ROW", help="Last row of the split.")],
    source: SourceArgument = "",
    split: Split = "test",
    steps: Annotated[int, typer.Option(metavar="N", help="Images on the way, both ends included.")] = 11,
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Walk in a straight line between the codes of two items."""
    from latlas import figures, inference
    from latlas.console import Console

    with Console(quiet) as console:
        found, model = open_run(run, device)
        items = inference.items(found, model, split, source, data_dir, console)
    arrays = inference.morph(model, items, start, end, steps)
    picture = arrays["images"].ndim == 4
    path = out_path(out, found, f"morph-{start}-{end}.{'png' if picture else 'npz'}")
    if path.suffix.lower() == ".png" and picture:
        figures.save(figures.morph(arrays["images"][None], arrays["t"], arrays["ends"][None]), path)
    else:
        inference.save(path, arrays)
    result = {"run": str(found.path), "out": str(path), "from": start, "to": end, "steps": steps}
    show(result, as_json, f"morph from {start} to {end}: {path}")


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
    from latlas import experiment, runs
    from latlas import report as pages
    from latlas.console import Console

    found = runs.find(run)
    if redraw or grid or span:
        with Console(quiet) as console:
            experiment.redraw(found, parse_size(grid, "--grid"), span, data_dir, console)
    path = pages.write_report(found.path)
    show({"run": str(found.path), "report": str(path)}, as_json, f"report: {path}")
