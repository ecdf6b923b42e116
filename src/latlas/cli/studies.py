"""latlas study"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from latlas.cli.common import (
    DataDir,
    Device,
    Json,
    Quiet,
    Set,
    Threads,
    TrainLimit,
    examples,
    option,
    show,
    table,
)
from latlas.text import printable

EXAMPLES = examples(
    "latlas study ae-vs-pca --budget 10m",
    "latlas study my-study.toml ./my-photos --seeds 3",
    "latlas study elbo-vs-mmd --dry-run",
    "latlas study latent-size --seeds 20 --jobs 8",
)


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
        Path | None, option(metavar="DIR", help="Folder of the runs and the page (default: studies/NAME).")
    ] = None,
    budget: Annotated[
        str,
        option(
            metavar="TIME", help="Fit into this time, as 90s, 10m or 1h30m: fewer steps, then fewer seeds."
        ),
    ] = "",
    seeds: Annotated[int | None, option(metavar="N", min=1, help="Train each run N times.")] = None,
    jobs: Annotated[
        int | None, option(metavar="N", min=1, help="Train N runs at a time, each in a process of its own.")
    ] = None,
    part: Annotated[
        str | None, option(metavar="K/N", help="Train the K-th of N parts of the runs, for job arrays.")
    ] = None,
    limit: TrainLimit = None,
    settings: Set = None,
    threads: Threads = None,
    device: Device = "",
    data_dir: DataDir = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure and list the runs; train nothing.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a list of runs and compare them on one page; the same command continues an interrupted study."""
    from latlas import api
    from latlas.config import assignments
    from latlas.studies import execute

    options: Any = {"out": out, "budget": budget or None, "seeds": seeds, "jobs": jobs, "part": part,
                    "limit": limit, "threads": threads, "device": device, "data_dir": data_dir,
                    "settings": assignments(settings or [])}  # fmt: skip
    if dry_run:
        plan = api.plan_study(name, data or (), quiet=quiet, **options)
        listed = execute.listed(plan)
        show(listed, as_json, "\n".join([_listing(listed["runs"]), execute.headline(plan), *plan.cuts]))
        return
    try:
        values = api.study(name, data or (), quiet=quiet, **options)
    except execute.Interrupted:
        again = _again(name, data or [], options | {"settings": None}, settings or [])
        raise KeyboardInterrupt(f"stopped; what is trained is kept; go on with: {again}") from None
    show(values, as_json, _summary(values))


def _again(name: str, data: list[str], options: dict[str, Any], settings: list[str]) -> str:
    given = [
        word for key, value in options.items() if value for word in (f"--{key.replace('_', '-')}", str(value))
    ]
    given += [word for pair in settings for word in ("--set", pair)]
    return shlex.join(["latlas", "study", name, *data, *given])


def _listing(rows: list[dict[str, Any]]) -> str:
    """The runs as text, one line each."""
    from latlas.durations import rounded

    head = ("run", "data", "seed", "steps", "time", "")
    return table(head, [
        (r["name"], r["data"], r["seed"], f"{r['steps']:,}", rounded(r["estimate_seconds"]), r["state"]) for r in rows
    ])  # fmt: skip


def _summary(values: dict[str, Any]) -> str:
    """The results of a study as text."""
    if not values["results"]:
        ended = sum(row["state"] in ("finished", "failed") for row in values["runs"])
        return f"{ended} of {len(values['runs'])} runs of the study have ended, and all of this part"
    tables = [f"{printable(name)}\n{result['text']}" for name, result in values["results"].items()]
    return "\n\n".join(
        [*tables, *filter(None, [". ".join(values["cuts"])]), f"page: {printable(values['page'])}"]
    )
