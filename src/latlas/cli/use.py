"""What one asks a trained run: evaluate, reconstruct, encode, report."""

from __future__ import annotations

from typing import Annotated, Any

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
    number,
    open_run,
    out_path,
    show,
)
from latlas.cli.train import parse_size


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    run = "runs/fashion-mini-vae-1"
    app.command(
        epilog=f"Examples: latlas evaluate {run} --split valid --json · "
        f"latlas evaluate {run} --corrupt gaussian --strength 0.5 · "
        f"latlas evaluate {run} --importance 1000 --limit 500 · "
        f"latlas evaluate {run} --ais 20"
    )(evaluate)
    app.command(epilog=f"Example: latlas reconstruct {run} ./my-photos --out photos.npz")(reconstruct)
    app.command(epilog=f"Example: latlas encode {run} --split train --out codes.npz")(encode)
    app.command(epilog=f"Example: latlas report {run} --redraw --grid 8x8 --span -8 8")(report)


def evaluate(
    run: RunArgument,
    source: SourceArgument = "",
    split: Split = "test",
    samples: Annotated[int, typer.Option(metavar="N", help="Draws of z per image.")] = 1,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Seed of the draws.", show_default=False)
    ] = None,
    corrupt: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Also corrupt the items and restore them: gaussian, masking, none; else as in training.",
            show_default=False,
        ),
    ] = "",
    strength: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Standard deviation of the noise, or share of masked values; else as in training.",
            show_default=False,
        ),
    ] = None,
    importance: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=1,
            help="Also log p(x) by importance sampling, K draws per item.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Only N items, evenly spaced over the split.", show_default=False
        ),
    ] = None,
    ais: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Also log p(x) without the encoder, by annealed importance sampling, of N items spread evenly.",
            show_default=False,
        ),
    ] = None,
    chains: Annotated[int, typer.Option(metavar="N", help="Chains per item (--ais).")] = 16,
    temperatures: Annotated[int, typer.Option(metavar="N", help="Steps of annealing (--ais).")] = 300,
    data_dir: DataDir = "",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure ELBO, distortion, rate and errors of reconstruction and restoration on a whole split."""
    from latlas import annealing, inference
    from latlas.console import Console
    from latlas.evaluation import EVALUATION_SEED

    with Console(quiet) as console:
        found, model = open_run(run, device, threads)
        corruption = inference.corruption(found, corrupt, strength)
        items = inference.items(found, model, split, source, data_dir, console)
        items = items if limit is None else inference.some(items, limit)
        seed = EVALUATION_SEED if seed is None else seed
        weighed = inference.importance(model, items, importance, seed, console) if importance else None
        values = inference.evaluate(found, model, items, samples, seed, corruption, console)
        if ais:
            few = inference.some(items, ais)
            values["annealed"] = annealing.compared(
                found.config, model, few, chains, temperatures, seed, console
            )
    if weighed is not None:
        values["importance"] = weighed
    result = {"run": str(found.path), "split": None if source else split, "source": source or None, **values}
    text = f"{source or split}, {values['images']:,} items: distortion {number(values['distortion'])}"
    if values["elbo"] is not None:
        text += f", rate {number(values['rate'])}, ELBO {number(values['elbo'])} ± {number(values['elbo_stderr'])}"
    text += f" {values['unit'] or ''}, mse {values['mse']:.5f}"
    if corruption.name != "none":
        text += (
            f"\n{corruption.name} {corruption.strength:g}: corrupted mse {values['corrupted_mse']:.5f},"
            f" restored mse {values['restored_mse']:.5f}"
        )
    if weighed is not None:
        text += (
            f"\n{importance:,} draws: log p(x) {number(weighed['log_px'])} ± {number(weighed['stderr'])},"
            f" {number(weighed['gap'])} above the ELBO of these draws, {number(weighed['elbo'])};"
            f" effective draws {weighed['effective']:.1%}"
            f"{' (more draws would raise it)' if weighed['effective'] < 0.1 else ''}"
        )
    text += _annealed_text(values["annealed"]) if ais else ""
    show(result, as_json, text)


def _annealed_text(values: dict[str, Any]) -> str:
    text = (
        f"\nannealed, {values['images']:,} items: log p(x) {number(values['log_px'])} ± {number(values['stderr'])};"
        f" of {values['simulated']} simulated items between {number(values['lower'])} and"
        f" {number(values['upper'])}, a gap of {number(values['gap'])}"
        f"{' (more --temperatures would close it)' if values['gap'] > 1 else ''}"
    )
    if values["hidden"] is not None:
        text += (
            f"\nimportance sampling of the same items: {number(values['importance'])};"
            f" the encoder hides {number(values['hidden'])}"
        )
    return text


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
    from latlas import experiment, runs
    from latlas import report as pages
    from latlas.console import Console

    found = runs.find(run)
    if redraw or grid or span:
        with Console(quiet) as console:
            experiment.redraw(found, parse_size(grid, "--grid"), span, data_dir, console)
    path = pages.write_report(found.path)
    show({"run": str(found.path), "report": str(path)}, as_json, f"report: {path}")
