"""latlas compare"""

from __future__ import annotations

from typing import Annotated

import typer

from latlas.cli.common import DataDir, Json, Measures, Quiet, Threads, examples, names_of, option, show
from latlas.places import expanded
from latlas.text import printable


def register(app: typer.Typer) -> None:
    """Adds the command."""
    pair = "runs/fashion-mini-vae-1 runs/fashion-mini-vae-2"
    app.command(
        epilog=examples(
            f"latlas compare {pair} --measure all",
            f"latlas compare {pair} --measure log_px,active_units --out page.html",
            f"latlas compare {pair} --csv table.csv --latex table.tex",
        )
    )(compare)


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders, or names under runs/.")],
    out: Annotated[
        str,
        option(
            metavar="FILE",
            help="The page; by default compare.html here.",
        ),
    ] = "",
    csv: Annotated[str, option(metavar="FILE", help="Also write the table to this .csv file.")] = "",
    latex: Annotated[
        str, option(metavar="FILE", help="Also write the table to this .tex file, for LaTeX with booktabs.")
    ] = "",
    no_pca: Annotated[bool, typer.Option("--no-pca", help="Leave out the rows of PCA.")] = False,
    measures: Measures = None,
    data_dir: DataDir = "",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put runs side by side: one table that ranks what can be ranked, and one page of pictures."""
    from latlas import api
    from latlas.api import measuring
    from latlas.compare import text_table, to_dict

    comparison = api.compare_runs(
        runs,
        out,
        pca=not no_pca,
        measures=names_of(measures) or (),
        csv=csv,
        latex=latex,
        data_dir=data_dir,
        threads=threads,
        quiet=quiet,
    )
    page = str(expanded(out or measuring.COMPARISON))
    tables = {name: str(expanded(file)) for name, file in (("csv", csv), ("latex", latex)) if file}
    places = "".join(f"\n{name}: {printable(file)}" for name, file in {"page": page, **tables}.items())
    show(to_dict(comparison) | {"page": page} | tables, as_json, f"{text_table(comparison)}{places}")
