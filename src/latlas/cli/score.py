"""latlas encode, score and neighbours"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from latlas.cli.common import (
    DataDir,
    Device,
    Draws,
    Json,
    Out,
    Quiet,
    RunArgument,
    Samples,
    Seed,
    SourceArgument,
    Split,
    SplitOrAll,
    Threads,
    examples,
    number,
    option,
    show,
    table,
)
from latlas.text import counted, printable

# The columns of the most unusual items that a terminal shows, with their decimals.
SHOWN = {"elbo": 2, "log_px": 2, "squared_error": 5, "code_distance": 2}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    run = "runs/fashion-mini-vae-1"
    app.command(
        epilog=examples(
            f"latlas encode {run} --split train --out codes.npz",
            f"latlas encode {run} --split all --out codes.csv",
            f"latlas encode {run} ./my-photos --out codes.parquet",
        )
    )(encode)
    app.command(
        epilog=examples(
            f"latlas score {run} --top 20 --page unusual.html",
            f"latlas score {run} ./my-photos --importance 200 --by log_px --out scores.csv",
        )
    )(score)
    app.command(
        epilog=examples(
            f"latlas neighbours {run} 17 --out neighbours.png",
            f"latlas neighbours {run} ./photo.jpg -n 5 --values --out neighbours.csv",
        )
    )(neighbours)


def encode(
    run: RunArgument,
    source: SourceArgument = "",
    split: SplitOrAll = "",
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the codes of a split or of other data: posterior means and standard deviations.

    A .csv or .parquet file has a line for each item, with its name, row, label and split; an .npz has arrays.
    """
    from latlas import api

    output = api.encode(
        run, source, split=split, out=out, data_dir=data_dir, device=device, threads=threads, quiet=quiet
    )
    items, latent = output.arrays["mean"].shape
    result = {"run": str(output.run.path), "out": str(output.path), "items": items, "latent": latent}
    result |= output.about
    what = f"{counted(items, 'code')} of {counted(latent, 'dimension')}"
    show(result, as_json, f"{what}: {printable(output.path)}")


def score(
    run: RunArgument,
    source: SourceArgument = "",
    split: SplitOrAll = "",
    by: Annotated[
        str,
        option(
            metavar="NAME",
            help="The number that says which items are unusual: elbo, log_px, distortion, rate, squared_error or"
            " code_distance; by default elbo, of an autoencoder squared_error.",
        ),
    ] = "",
    draws: Draws = None,
    samples: Samples = 16,
    seed: Seed = 0,
    top: Annotated[int, typer.Option(metavar="N", min=0, help="Print the N most unusual items.")] = 10,
    page: Annotated[
        str | None, option(metavar="FILE", help="A page that shows these with their reconstructions, .html.")
    ] = None,
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score each item: ELBO, squared error, distance of its code, and its ranks among the training items.

    The file has a line for each item in its order; the terminal shows the most unusual ones first.
    """
    from latlas import api

    output = api.score(
        run, source, split=split, by=by, draws=draws, samples=samples, seed=seed, top=top, page=page, out=out,
        data_dir=data_dir, device=device, threads=threads, quiet=quiet,
    )  # fmt: skip
    items = len(output.arrays["row"])
    result = {"run": str(output.run.path), "out": str(output.path), "items": items, **output.about}
    lines = [_most_unusual(output.about["most_unusual"])] if output.about["most_unusual"] else []
    lines += [f"page: {printable(output.about['page'])}"] if output.about["page"] else []
    show(result, as_json, "\n".join([*lines, printable(f"{output.title}: {output.path}")]))


def _most_unusual(items: list[dict[str, Any]]) -> str:
    """The most unusual items as text, each rank as a share."""
    names = [name for name in SHOWN if name in items[0]]
    head = ("", "item", *(key for key in ("label", "split") if key in items[0]), *names)
    rows = []
    for item in items:
        known = ["-" if item[key] is None else item[key] for key in ("label", "split") if key in item]
        title = item.get("name", f"row {item['row']}")
        rows.append((item["place"], title, *known, *(_value(item, name) for name in names)))
    return table(head, rows)


def _value(item: dict[str, Any], name: str) -> str:
    rank = item.get(f"{name}_rank")
    return number(item[name], SHOWN[name]) + ("" if rank is None else f" ({100 * rank:.1f}%)")


def neighbours(
    run: RunArgument,
    item: Annotated[
        str, typer.Argument(metavar="ITEM", help="A row of the split, an image file, or a name in the data.")
    ],
    source: Annotated[
        str, typer.Argument(metavar="[SOURCE]", help="Other data that the item is in.", show_default=False)
    ] = "",
    split: Split = "",
    n: Annotated[int, typer.Option("-n", "--count", metavar="N", help="How many.")] = 10,
    values: Annotated[
        bool, typer.Option("--values", help="Also the nearest by the values themselves, as pixels.")
    ] = False,
    out: Out = "",
    data_dir: DataDir = "",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the training items nearest to one item, by their codes."""
    from latlas import api

    output = api.neighbours(
        run, item, n, values=values, source=source, split=split, out=out,
        data_dir=data_dir, device=device, threads=threads, quiet=quiet,
    )  # fmt: skip
    lines = output.about["neighbours"]
    result = {"run": str(output.run.path), "item": item, "out": str(output.path), "neighbours": lines}
    result |= {"notes": output.about["notes"]} if "notes" in output.about else {}
    rows = [tuple(number(v, 3) if key == "distance" else v for key, v in line.items()) for line in lines]
    show(result, as_json, f"{table(tuple(lines[0]), rows)}\n{printable(f'{output.title}: {output.path}')}")
