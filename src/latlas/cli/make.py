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
    Seconds,
    Seed,
    Split,
    Threads,
    examples,
    option,
    show,
)
from latlas.errors import InputError
from latlas.text import counted, printable, whole_number


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    run = "runs/fashion-mini-vae-1"
    app.command(
        epilog=examples(
            f"latlas sample {run} -n 64 --seed 0 --out samples.png",
            f"latlas sample {run} --class sneaker -n 100 --out sneakers",
            "latlas sample runs/fashion-mini-ae-1 --density mixture",
        )
    )(sample)
    app.command(epilog=examples(f"latlas decode {run} codes.npz --out images.png"))(decode)
    app.command(
        epilog=examples(
            f"latlas morph {run} --from 3 --to 17",
            f"latlas morph {run} ./one.jpg ./other.jpg --out morph.gif --seconds 5",
        )
    )(morph)
    app.command(
        epilog=examples(f"latlas vary {run} ./photo.jpg -n 8 --scale 2", f"latlas vary {run} --row 17")
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
    class_name: Annotated[
        str,
        option("--class", metavar="NAME", help="Fit it to this class's codes alone; by default full."),
    ] = "",
    plausible: Annotated[
        bool,
        typer.Option("--plausible", help="Report the share that a classifier of real images takes for real."),
    ] = False,
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw new items from the prior, or from a density fitted to the codes, and decode them."""
    from latlas import api

    output = api.sample(
        run, n, seed=seed, noise=noise, density=density, class_name=class_name, plausible=plausible, out=out,
        data_dir=data_dir, device=device, threads=threads, quiet=quiet,
    )  # fmt: skip
    text, about = output.title, output.about
    if "codes" in about:
        text += f", {counted(about['codes'], 'code')}"
    if about.get("test_log_density") is not None:
        text += f"; mean log-density of test codes {about['test_log_density']:.2f} nats"
    if plausible:
        text += f", {about['plausible_share']:.1%} plausible"
    result = {"run": str(output.run.path), **about, "out": str(output.path)}
    show(result, as_json, printable(f"{text}: {output.path}"))


def decode(
    run: RunArgument,
    codes: Annotated[
        str, typer.Argument(metavar="CODES", help="An .npy of codes (N, D), or an .npz with mean or z.")
    ],
    out: Out = "",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Decode codes into the means of p(x given z)."""
    from latlas import api

    output = api.decode(run, codes, out=out, device=device, threads=threads)
    items = len(output.arrays["decoded"])
    result = {"run": str(output.run.path), "out": str(output.path), "items": items}
    show(result, as_json, printable(f"{counted(items, 'item')}: {output.path}"))


def morph(
    run: RunArgument,
    items: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ITEM ITEM | SOURCE]",
            help="Two image files, names in the data or rows of the split; with --from and --to, other data.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        str, option("--from", metavar="ROW", help="First item: a row, or a name in the data.")
    ] = "",
    end: Annotated[str, option("--to", metavar="ROW", help="Last item: a row, or a name in the data.")] = "",
    split: Split = "",
    steps: Annotated[
        int | None, option(metavar="N", help="Images on the way, both ends included: 11, of a film 31.")
    ] = None,
    seconds: Seconds = 4.0,
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decode the straight line between the codes of two items, as a picture or a film."""
    from latlas import api

    first, last, source = _ends(items or [], start, end)
    output = api.morph(
        run, first, last, source=source, split=split, steps=steps, seconds=seconds, out=out,
        data_dir=data_dir, device=device, threads=threads, quiet=quiet,
    )  # fmt: skip
    result = {
        "run": str(output.run.path), "out": str(output.path), "from": _row_or_name(first), "to": _row_or_name(last),
        "steps": len(output.arrays["t"]),
    }  # fmt: skip
    show(result, as_json, printable(f"morph from {first} to {last}: {output.path}"))


def _row_or_name(item: str) -> int | str:
    number = whole_number(item)
    return item if number is None else number


def _ends(items: list[str], start: str, end: str) -> tuple[str, str, str]:
    """The two ends of a morph, and the other data that they are in."""
    if not start and not end and len(items) == 2:
        return items[0], items[1], ""
    if start and end and len(items) <= 1:
        return start, end, "".join(items)
    raise InputError("expected two items, as two files, or as --from ROW --to ROW", field="items")


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
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make variations of one item: draws from its posterior, decoded.

    An autoencoder's code has no noise; it gets noise with the standard deviations of the training codes.
    """
    from latlas import api

    output = api.vary(
        run, image, row, split=split, n=n, scale=scale, seed=seed, out=out,
        data_dir=data_dir, device=device, threads=threads, quiet=quiet,
    )  # fmt: skip
    result = {"run": str(output.run.path), "out": str(output.path), "image": image or None, "row": row,
              "split": split or (None if image else output.run.measured),
              "samples": n, "scale": scale, "seed": seed}  # fmt: skip
    show(result, as_json, printable(f"{output.title}: {output.path}"))
