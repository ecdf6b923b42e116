"""Options that commands share, and how a result is printed.

A command's parameters have the names of the call's arguments, so that an error about `draws` names the option for it
(see `latlas.cli.run`).
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from latlas.text import printable_lines

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or its name under runs/.")]
OtherRun = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="Another run, to show beside it.", show_default=False)
]
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
        help="train, valid or test; of other data also all. [default: test]",
    ),
]
SplitOrAll = Annotated[
    str, option("--split", metavar="NAME", help="train, valid, test or all. [default: test]")
]
Measures = Annotated[
    list[str] | None,
    option(
        "--measure",
        metavar="NAME",
        help="Further numbers by name or group, as often as you like or with commas: likelihood, codes,"
        " reconstruction, samples, downstream, disentanglement; all; none.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes, no progress.")]
DataDir = Annotated[str, option(metavar="DIR", help="Where named sets are (else LATLAS_DATA).")]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")]
Threads = Annotated[int | None, option(metavar="N", min=1, help="CPU threads.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the draws.")]
Draws = Annotated[
    int | None,
    option("--importance", metavar="K", min=1, help="Also log p(x) of every item, by K draws of z each."),
]
Samples = Annotated[int, typer.Option(metavar="N", help="Draws of z per item for the ELBO.")]
Seconds = Annotated[float, typer.Option(metavar="S", help="How long the film is.")]
Count = Annotated[int, typer.Option("-n", "--count", metavar="N", help="How many.")]
TrainLimit = Annotated[int | None, option(metavar="N", min=1, help="Train on the first N items only.")]
Set = Annotated[
    list[str] | None,
    option("--set", metavar="KEY=VALUE", help="Any setting (latlas recipes show vae lists them)."),
]
Out = Annotated[str, option(metavar="FILE", help="The file to write; by default one in the run folder.")]


def examples(*commands: str) -> str:
    """The end of a command's help: each example on a line of its own, as it is typed."""
    # Click leaves a paragraph's lines as they are if it begins with \b.
    return "\n".join(
        ["\b", f"Example{'s' * (len(commands) > 1)}:", *(f"  {command}" for command in commands)]
    )


def names_of(given: list[str] | None) -> list[str] | None:
    """Names of an option that is repeated, or that has commas between them; None if it is not there."""
    return (
        None
        if given is None
        else [name.strip() for part in given for name in part.split(",") if name.strip()]
    )


def show(value: Any, as_json: bool, text: str) -> None:
    """Prints the result on standard output, as JSON or as text, whose names are `printable`."""
    print(as_ascii(value) if as_json else printable_lines(text))
    sys.stdout.flush()


def as_ascii(value: Any) -> str:
    """The value as JSON of printable characters: it escapes all others, but for the delete character."""
    return json.dumps(value, indent=2, allow_nan=False).replace("\x7f", "\\u007f")


def number(value: float | None, digits: int = 2) -> str:
    """A number with thousands separated; a dash for no number."""
    return "-" if value is None else f"{value:,.{digits}f}"


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Rows under a head, in columns as wide as their longest cell."""
    from latlas.text import aligned

    return aligned([head, *[tuple(str(c) for c in row) for row in rows]])
