"""What several commands share: options and output."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from latlas.models import Model
    from latlas.runs import Run

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or its name under runs/.")]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="[SOURCE]", help="Other data; left out: a split of the run's own.", show_default=False
    ),
]
Split = Annotated[str, typer.Option(help="Split of the run's own data: train, valid or test.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes, no progress.")]
DataDir = Annotated[
    str,
    typer.Option(
        "--data-dir", metavar="DIR", help="Where named sets are (else LATLAS_DATA).", show_default=False
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")]
Threads = Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads.", show_default=False)]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the noise.")]
Out = Annotated[
    str,
    typer.Option(
        "--out", metavar="FILE", help="Where to; a name in the run folder unless said.", show_default=False
    ),
]


def show(value: Any, as_json: bool, text: str) -> None:
    """Prints the result on standard output: JSON, or words."""
    print(json.dumps(value, indent=2, allow_nan=False) if as_json else text)
    sys.stdout.flush()


def open_run(name: str, device: str = "auto", threads: int | None = None) -> tuple[Run, Model]:
    """The run and its model, on the device."""
    import torch

    from latlas import machine, runs

    run = runs.find(name)
    if threads is not None:
        torch.set_num_threads(threads)
    return run, run.model().to(machine.choose_device(device))


def out_path(text: str, run: Run, default: str) -> Path:
    """Where the result goes: --out, else a file in the run folder."""
    from pathlib import Path

    return Path(text).expanduser() if text else run.path / default


def number(value: float | None, digits: int = 2) -> str:
    """A number for people; a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Rows under a head, in columns as wide as their longest cell."""
    from latlas.text import aligned

    return aligned([head, *[tuple(str(c) for c in row) for row in rows]])
