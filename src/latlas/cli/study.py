"""latlas study"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latlas.cli.common import DataDir, Device, Json, Quiet, Threads, show

if TYPE_CHECKING:
    from latlas.studies.prepare import Plan

EXAMPLES = """Examples: latlas study ae-vs-pca --budget 10m · latlas study my-study.toml ./my-photos --seeds 3 ·
latlas study elbo-vs-mmd --dry-run"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=EXAMPLES)(study)


def study(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE.toml", help="A study (latlas recipes lists them), or a file.")
    ],
    data: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DATA]...", help="Other data than the study's.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder of the runs and the page (else studies/NAME).",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            metavar="TIME",
            help="Fit into this time, as 90s, 10m or 1h30m: fewer steps, then fewer seeds.",
            show_default=False,
        ),
    ] = "",
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", metavar="N", min=1, help="Train each run N times.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="Train on the first N images only.", show_default=False
        ),
    ] = None,
    threads: Threads = None,
    device: Device = "",
    data_dir: DataDir = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure and list the runs; train nothing.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a list of runs and compare them on one page; the same command goes on where it stopped."""
    from latlas import studies
    from latlas.console import Console
    from latlas.studies import budget as budgets
    from latlas.studies import execute, prepare

    options = prepare.Options(
        data=tuple(data or ()), out=out, budget=budgets.parse_duration(budget) if budget else None,
        seeds=seeds, limit=limit, threads=threads, device=device, data_dir=data_dir, measure=dry_run,
        again=_again(name, data or [], {"--out": out, "--budget": budget, "--seeds": seeds, "--limit": limit,
                                        "--threads": threads, "--device": device, "--data-dir": data_dir}),
    )  # fmt: skip
    wanted = studies.read(name)
    with Console(quiet) as console:
        plan = prepare.plan(wanted, options, console)
        if not dry_run:
            console.note(execute.headline(plan))
            for line in plan.cuts:
                console.note(line)
            values = execute.carry_out(plan, console)
    if dry_run:
        listed = execute.listed(plan)
        show(listed, as_json, "\n".join([_listing(listed["runs"]), execute.headline(plan), *plan.cuts]))
    else:
        show(_result(plan, values), as_json, _summary(plan, values))


def _again(name: str, data: list[str], options: dict[str, Any]) -> str:
    given = [word for key, value in options.items() if value for word in (key, str(value))]
    return shlex.join(["latlas", "study", name, *data, *given])


def _listing(rows: list[dict[str, Any]]) -> str:
    """The runs for people, a line each."""
    from latlas.cli.common import table
    from latlas.studies.budget import rounded

    head = ("run", "data", "seed", "steps", "time", "")
    cells = [
        (r["name"], r["data"], r["seed"], f"{r['steps']:,}", rounded(r["estimate_seconds"]), r["state"])
        for r in rows
    ]
    return table(head, cells)


def _result(plan: Plan, values: dict[str, Any]) -> dict[str, Any]:
    """What study --json prints."""
    from latlas.studies.results import PAGE, TABLE

    keys = ("study", "title", "data", "seeds", "budget", "cuts", "estimate_seconds", "runs", "results")
    places = {"folder": plan.out, "page": plan.out / PAGE, "table": plan.out / TABLE}
    return {**{k: values[k] for k in keys}, **{k: str(v) for k, v in places.items()}}


def _summary(plan: Plan, values: dict[str, Any]) -> str:
    """The same for people."""
    from latlas.studies.results import PAGE

    tables = [f"{name}\n{result['text']}" for name, result in values["results"].items()]
    return "\n\n".join([*tables, *([". ".join(plan.cuts)] if plan.cuts else []), f"page: {plan.out / PAGE}"])
