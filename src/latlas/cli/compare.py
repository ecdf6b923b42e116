"""latlas compare"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latlas.cli.common import DataDir, Json, Quiet, option, show


def register(app: typer.Typer) -> None:
    """Adds the command."""
    epilog = "Example: latlas compare runs/fashion-mini-vae-1 runs/fashion-mini-vae-2 --measures all"
    app.command(epilog=epilog)(compare)


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders, or names under runs/.")],
    out: Annotated[
        str,
        option(
            metavar="FILE",
            help="The page; must not exist. By default compare.html here, which is overwritten.",
        ),
    ] = "",
    no_pca: Annotated[bool, typer.Option("--no-pca", help="Leave out the rows of PCA.")] = False,
    measures: Annotated[
        str, option(metavar="NAMES", help="More numbers: all, or names with commas between.")
    ] = "",
    data_dir: DataDir = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put runs side by side: one table that ranks what can be ranked, and one page of pictures."""
    from latlas import api
    from latlas.api import measuring
    from latlas.compare import text_table, to_dict

    names = [name.strip() for name in measures.split(",") if name.strip()]
    comparison = api.compare_runs(runs, out, pca=not no_pca, measures=names, data_dir=data_dir, quiet=quiet)
    page = str(Path(out or measuring.COMPARISON).expanduser())
    show(to_dict(comparison) | {"page": page}, as_json, f"{text_table(comparison)}\npage: {page}")
