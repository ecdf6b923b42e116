"""What is wrong with a run, and what to change."""

from __future__ import annotations

import typer

from latlas.cli.common import DataDir, Device, Json, Quiet, RunArgument, Threads, show


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog="Example: latlas diagnose runs/fashion-mini-vae-1")(diagnose)


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

    from latlas import diagnosis, metrics, runs
    from latlas.cli.common import open_run
    from latlas.console import Console
    from latlas.diagnosis import text

    with Console(quiet) as console:
        found = runs.find(run)
        dataset = runs.dataset_of(found, data_dir, console.progress)
        model = open_run(run, device, threads)[1] if (found.path / "model.safetensors").exists() else None
        context = None if model is None else metrics.context_of(found, model, dataset, observer=console)
        findings = diagnosis.of(found, dataset, context, found.finished)
    result = {
        "run": str(found.path),
        "findings": [text.described(finding, found.path) for finding in findings],
        "looked_at": diagnosis.LOOKED_AT,
    }
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    show(result, as_json, text.told(findings, found.path, width))
