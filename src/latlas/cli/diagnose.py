"""latlas diagnose"""

from __future__ import annotations

import typer

from latlas.cli.common import DataDir, Device, Json, Quiet, RunArgument, Threads, examples, show


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples("latlas diagnose runs/fashion-mini-vae-1"))(diagnose)


def diagnose(
    run: RunArgument,
    data_dir: DataDir = "",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what is wrong with a run: the evidence, the cause, and the setting to change."""
    import shutil

    from latlas import api, diagnosis, runs
    from latlas.diagnosis.wording import as_text, described

    opened = runs.find(run)
    findings = api.diagnose(opened, data_dir=data_dir, device=device, threads=threads, quiet=quiet)
    result = {
        "run": str(opened.path),
        "findings": [described(finding, opened.path) for finding in findings],
        "looked_at": diagnosis.LOOKED_AT,
    }
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    show(result, as_json, as_text(findings, opened.path, width))
