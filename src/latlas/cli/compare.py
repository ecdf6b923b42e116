"""latlas compare"""

from __future__ import annotations

from typing import Annotated

import typer

from latlas.cli.common import DataDir, Json, Quiet, show

DEFAULT = "compare.html"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    epilog = "Example: latlas compare runs/fashion-mini-vae-1 runs/fashion-mini-vae-2 --measures all"
    app.command(epilog=epilog)(compare)


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders, or names under runs/.")],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="FILE",
            show_default=False,
            help=f"The page; must not exist. Unless said: {DEFAULT} here, written over.",
        ),
    ] = "",
    no_pca: Annotated[bool, typer.Option("--no-pca", help="Leave out the rows of PCA.")] = False,
    measures: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="More numbers: all, or names with commas between.", show_default=False
        ),
    ] = "",
    data_dir: DataDir = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put runs side by side: one table that ranks what can be ranked, and one page of pictures."""
    from pathlib import Path

    from latlas import html

    path = html.new_page(out) if out else Path(DEFAULT)
    wanted = tuple(name.strip() for name in measures.split(",") if name.strip())

    from latlas.compare import by_name, gather, page, text_table, title_of, to_dict
    from latlas.console import Console
    from latlas.files import write_atomic
    from latlas.runs import find

    groups = by_name([find(run) for run in runs])
    with Console(quiet) as console:
        comparison = gather(groups, pca=not no_pca, measures=wanted, data_dir=data_dir, observer=console)
    write_atomic(path, page([comparison], title_of(comparison)))
    result = to_dict(comparison) | {"page": str(path)}
    show(result, as_json, f"{text_table(comparison)}\npage: {path}")
