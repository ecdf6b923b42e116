"""latlas export"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from latlas.cli.common import DataDir, Json, OtherRun, Quiet, RunArgument, Threads, examples, option, show


def register(app: typer.Typer) -> None:
    """Adds the command."""
    run = "runs/fashion-mini-vae-1"
    app.command(
        epilog=examples(
            f"latlas export {run} --onnx onnx",
            f"latlas export {run} --torch model.pt2 --hub fashion-vae",
            f"latlas export {run} --html atlas.html",
        )
    )(export)


def export(
    run: RunArgument,
    other: OtherRun = None,
    onnx: Annotated[
        str | None, option(metavar="DIR", help="A new folder for encoder.onnx and decoder.onnx.")
    ] = None,
    hub: Annotated[
        str | None,
        option(metavar="DIR", help="A new folder as on the Hugging Face hub: weights, settings, a card."),
    ] = None,
    torch: Annotated[
        str | None, option(metavar="FILE", help="A .pt2 file for a program that torch.export.load reads.")
    ] = None,
    html: Annotated[
        str | None,
        option(
            metavar="FILE", help="A page to walk through latent space, of RUN or of both; it opens offline."
        ),
    ] = None,
    data_dir: DataDir = "",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write encoder and decoder for use without latlas: as ONNX, as a torch program, for the hub, inside a page.

    Programs take any number of items. Each is compared with the model before it is written, and must agree to 1e-5.
    """
    from latlas import api
    from latlas.exports import BATCHES
    from latlas.text import printable, size

    places: dict[str, Any] = {"onnx": onnx, "hub": hub, "torch": torch, "html": html}
    exported = api.export(run, other, **places, data_dir=data_dir, threads=threads, quiet=quiet)
    lines = []
    for name, written in exported.formats.items():
        lines.append(f"{name}: {', '.join(map(printable, written.files))}")
        if name == "html":
            lines[-1] += f" ({size(written.path.stat().st_size)})"
        elif written.checked_by:
            sizes = f"batches of {', '.join(map(str, BATCHES[:-1]))} and {BATCHES[-1]}"
            worst = ", ".join(f"{output} {value:.1e}" for output, value in written.differences.items())
            lines.append(f"  largest differences from the model, {sizes}, by {written.checked_by}: {worst}")
    result: dict[str, Any] = {
        "run": str(exported.run),
        **{name: written.to_dict() for name, written in exported.formats.items()},
    }
    result |= {"batches": list(BATCHES), "left_out": list(exported.left_out)}
    show(result, as_json, "\n".join(lines))
