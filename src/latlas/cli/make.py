"""What a trained run makes: sample, decode, morph, vary."""

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
            help="Draw codes not from the prior but from a density fitted to the run's training codes: "
            "factored, full, mixture or flow.",
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
    from latlas import api

    made = api.sample(
        run, n, seed=seed, noise=noise, density=density, plausible=plausible, out=out,
        data_dir=data_dir, device=device, quiet=quiet,
    )  # fmt: skip
    told, about = made.title, made.about
    if density:
        told += f", {about['codes']:,} codes; test codes {about['test_log_density']:.2f} nats per code"
    if plausible:
        told += f", {about['plausible_share']:.1%} plausible"
    show({"run": str(made.run.path), **about, "out": str(made.path)}, as_json, f"{told}: {made.path}")


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

    made = api.decode(run, codes, out=out, device=device)
    items = len(made.arrays["decoded"])
    result = {"run": str(made.run.path), "out": str(made.path), "items": items}
    show(result, as_json, f"{items:,} items: {made.path}")


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
    from latlas import api

    made = api.morph(
        run, start, end, source=source, split=split, steps=steps, out=out,
        data_dir=data_dir, device=device, quiet=quiet,
    )  # fmt: skip
    result = {"run": str(made.run.path), "out": str(made.path), "from": start, "to": end, "steps": steps}
    show(result, as_json, f"morph from {start} to {end}: {made.path}")


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
    split: Split = "test",
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
    """Make new items like one item: draws from around its code, decoded.

    An autoencoder gives a code without noise: it gets that of the training codes, their standard deviations.
    """
    from latlas import api

    made = api.vary(
        run, image, row, split=split, n=n, scale=scale, seed=seed, out=out,
        data_dir=data_dir, device=device, quiet=quiet,
    )  # fmt: skip
    result = {"run": str(made.run.path), "out": str(made.path), "image": image or None, "row": row, "split": split,
              "samples": n, "scale": scale, "seed": seed}  # fmt: skip
    show(result, as_json, f"{made.title}: {made.path}")
