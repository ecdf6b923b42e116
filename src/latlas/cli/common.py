"""Options that commands share, and how a result is printed.

A command's parameters have the names of the call's arguments, so that an error about `draws` names the option for it
(see `latlas.cli.run`).
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from latlas.text import printable

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or its name under runs/.")]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="[SOURCE]", help="Other data; left out: a split of the run's own.", show_default=False
    ),
]


def option(*names: str, **about: Any) -> Any:
    """An option whose help does not show the default."""
    return typer.Option(*names, show_default=False, **about)


Split = Annotated[
    str,
    option(
        metavar="NAME",
        help="train, valid or test, of the run's data or of SOURCE; of SOURCE also all. [default: test]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes, no progress.")]
DataDir = Annotated[str, option(metavar="DIR", help="Where named sets are (else LATLAS_DATA).")]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")]
Threads = Annotated[int | None, option(metavar="N", min=1, help="CPU threads.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the noise.")]
Count = Annotated[int, typer.Option("-n", "--count", metavar="N", help="How many.")]
TrainLimit = Annotated[int | None, option(metavar="N", min=1, help="Train on the first N images only.")]
Out = Annotated[str, option(metavar="FILE", help="The file to write; by default one in the run folder.")]


def show(value: Any, as_json: bool, text: str) -> None:
    """Prints the result on standard output, as JSON or as text."""
    lines = (printable(line) for line in text.split("\n"))
    print(json.dumps(value, indent=2, allow_nan=False) if as_json else "\n".join(lines))
    sys.stdout.flush()


def number(value: float | None, digits: int = 2) -> str:
    """A number with thousands separated; a dash for no number."""
    return "-" if value is None else f"{value:,.{digits}f}"


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Rows under a head, in columns as wide as their longest cell."""
    from latlas.text import aligned

    return aligned([head, *[tuple(str(c) for c in row) for row in rows]])
