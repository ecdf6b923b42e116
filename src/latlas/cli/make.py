"""latlas sample, decode, morph and vary"""

from __future__ import annotations

from typing import Annotated

import typer

from latlas.cli.common import (
    Count,
    DataDir,
    Device,
    Json,
    Out,
    Quiet,
    RunArgument,
    Seed,
    SourceArgument,
    Split,
    option,
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
    n: Count = 64,
    seed: Seed = 0,
    noise: Annotated[bool, typer.Option("--noise", help="Draw from p(x given z), not its mean.")] = False,
    density: Annotated[
        str,
        option(
            metavar="NAME",
            help="Draw codes from a density fitted to the run's training codes, not from the prior: "
            "factored, full, mixture or flow.",
        ),
    ] = "",
    plausible: Annotated[
        bool,
        typer.Option("--plausible", help="Report the share that a classifier of real images takes for real."),
    ] = False,
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw new items from the prior, or from a density fitted to the codes, and decode them."""
    from latlas import api

    output = api.sample(
        run, n, seed=seed, noise=noise, density=density, plausible=plausible, out=out,
        data_dir=data_dir, device=device, quiet=quiet,
    )  # fmt: skip
    text, about = output.title, output.about
    if density:
        text += f", {about['codes']:,} codes; test codes {about['test_log_density']:.2f} nats per code"
    if plausible:
        text += f", {about['plausible_share']:.1%} plausible"
    show({"run": str(output.run.path), **about, "out": str(output.path)}, as_json, f"{text}: {output.path}")


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
    from latlas import api

    output = api.decode(run, codes, out=out, device=device)
    items = len(output.arrays["decoded"])
    result = {"run": str(output.run.path), "out": str(output.path), "items": items}
    show(result, as_json, f"{items:,} items: {output.path}")


def morph(
    run: RunArgument,
    start: Annotated[int, typer.Option("--from", metavar="ROW", help="First row of the split.")],
    end: Annotated[int, typer.Option("--to", metavar="ROW", help="Last row of the split.")],
    source: SourceArgument = "",
    split: Split = "",
    steps: Annotated[int, typer.Option(metavar="N", help="Images on the way, both ends included.")] = 11,
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decode the straight line between the codes of two items."""
    from latlas import api

    output = api.morph(
        run, start, end, source=source, split=split, steps=steps, out=out,
        data_dir=data_dir, device=device, quiet=quiet,
    )  # fmt: skip
    result = {"run": str(output.run.path), "out": str(output.path), "from": start, "to": end, "steps": steps}
    show(result, as_json, f"morph from {start} to {end}: {output.path}")


def vary(
    run: RunArgument,
    image: Annotated[
        str,
        typer.Argument(
            metavar="[IMAGE]", help="An image file, or other data; left out: --row.", show_default=False
        ),
    ] = "",
    row: Annotated[
        int | None, option(metavar="N", help="Row of the split, or of IMAGE if it holds many.")
    ] = None,
    split: Split = "",
    n: Count = 8,
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
    """Make variations of one item: draws from its posterior, decoded.

    An autoencoder's code has no noise; it gets noise with the standard deviations of the training codes.
    """
    from latlas import api

    output = api.vary(
        run, image, row, split=split, n=n, scale=scale, seed=seed, out=out,
        data_dir=data_dir, device=device, quiet=quiet,
    )  # fmt: skip
    result = {"run": str(output.run.path), "out": str(output.path), "image": image or None, "row": row,
              "split": split or (None if image else output.run.measured),
              "samples": n, "scale": scale, "seed": seed}  # fmt: skip
    show(result, as_json, f"{output.title}: {output.path}")
