"""What a trained run makes: sample, decode, morph, vary."""

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
    Seed,
    SourceArgument,
    Split,
    open_run,
    out_path,
    show,
)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    run = "runs/fashion-mini-vae-1"
    app.command(
        epilog=f"Examples: latlas sample {run} -n 64 --seed 0 --out samples.png · "
        "latlas sample runs/fashion-mini-ae-1 --density mixture"
    )(sample)
    app.command(epilog=f"Example: latlas decode {run} codes.npz --out images.png")(decode)
    app.command(epilog=f"Example: latlas morph {run} --from 3 --to 17")(morph)
    app.command(
        epilog=f"Examples: latlas vary {run} ./photo.jpg -n 8 --scale 2 · latlas vary {run} --row 17"
    )(vary)


def sample(
    run: RunArgument,
    count: Annotated[int, typer.Option("-n", "--count", metavar="N", help="How many.")] = 64,
    seed: Seed = 0,
    noise: Annotated[bool, typer.Option("--noise", help="Draw from p(x given z), not its mean.")] = False,
    density: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Draw codes not from the prior but from a density fitted to the run's training codes: "
            "factored, full, mixture or flow.",
            show_default=False,
        ),
    ] = "",
    plausible: Annotated[
        bool, typer.Option("--plausible", help="Say which share a classifier of real ones takes for real.")
    ] = False,
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw new items from the prior, or from a density fitted to the codes, and decode them."""
    from latlas import inference
    from latlas.console import Console

    inference.check_count(count, seed)
    found, model = open_run(run, device)
    images = model.item.kind == "image"
    path = out_path(out, found, f"samples{'-' * bool(density)}{density}.{'png' if images else 'npz'}")
    inference.check_path(path, images=images)
    result = {"run": str(found.path), "samples": count, "seed": seed, "noise": noise}
    if density:
        with Console(quiet) as console:
            fit = inference.fitted(found, model, density, seed, data_dir, console)
        arrays = inference.sample_density(model, fit.density, count, seed, noise)
        title = f"{count} samples from {fit.density.what}"
        result |= {"density": density, "codes": fit.codes, "test_log_density": fit.test}
        told = f", {fit.codes:,} codes; test codes {fit.test:.2f} nats per code"
    else:
        arrays, title, told = inference.sample(found, model, count, seed, noise), f"{count} samples", ""
    if plausible:
        with Console(quiet) as console:
            share = inference.plausible(found, arrays["samples"], data_dir, console)
        result["plausible_share"], told = share, f"{told}, {share:.1%} plausible"
    inference.save(path, arrays, "samples", title)
    show(result | {"out": str(path)}, as_json, f"{title}{told}: {path}")


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
    draw = lambda: figures.morph(arrays["images"][None], arrays["t"], arrays["ends"][None])  # noqa: E731
    inference.save(path, arrays, "images", draw=draw)
    result = {"run": str(found.path), "out": str(path), "from": start, "to": end, "steps": steps}
    show(result, as_json, f"morph from {start} to {end}: {path}")


def vary(
    run: RunArgument,
    image: Annotated[
        str,
        typer.Argument(
            metavar="[IMAGE]", help="An image file, or other data; left out: --row.", show_default=False
        ),
    ] = "",
    row: Annotated[
        int | None,
        typer.Option(metavar="N", help="Row of the split, or of IMAGE if it holds many.", show_default=False),
    ] = None,
    split: Split = "test",
    count: Annotated[int, typer.Option("-n", "--count", metavar="N", help="How many.")] = 8,
    scale: Annotated[
        float,
        typer.Option(
            metavar="X", help="Times the posterior's noise; 0: the reconstruction, 2: twice as far."
        ),
    ] = 1.0,
    seed: Seed = 0,
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make new items like one item: draws from around its code, decoded.

    An autoencoder gives a code without noise: it gets that of the training codes, their standard deviations.
    """
    from latlas import figures, inference
    from latlas.console import Console

    inference.check_variations(count, scale, seed)
    found, model = open_run(run, device)
    with Console(quiet) as console:
        items = inference.items(found, model, split, image, data_dir, console)
        item = inference.one(items, row, image or f"the {split} split")
        point = found.config.posterior.name == "point"
        spread = inference.spread(found, model, data_dir, console) if point else None
    arrays = inference.vary(model, item, count, scale, seed, spread)
    how = (
        f"its code plus noise, {scale:g} times the standard deviations of the training codes"
        if point
        else f"draws from its posterior, the noise times {scale:g}"
    )
    pictorial = arrays["images"].ndim == 4
    path = out_path(out, found, f"vary.{'png' if pictorial else 'npz'}")
    first, subtitle = (arrays["original"][0], arrays["reconstruction"][0]), f"On the right, decoded: {how}."
    draw = lambda: figures.variations(*first, arrays["images"], "Variations on an image", subtitle)  # noqa: E731
    inference.save(path, arrays, "images", draw=draw)
    result = {"run": str(found.path), "out": str(path), "image": image or None, "row": row, "split": split,
              "samples": count, "scale": scale, "seed": seed}  # fmt: skip
    show(result, as_json, f"{count} variation{'s' * (count > 1)}, {how}: {path}")
