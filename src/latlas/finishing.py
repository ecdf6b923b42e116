"""What comes after training: numbers with the best weights, what is wrong, pictures, the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from latlas import diagnosis, gallery, records, report, runs
from latlas.data import Dataset
from latlas.data.batches import Batches
from latlas.diagnosis.text import described
from latlas.files import write_json
from latlas.metrics import assessment
from latlas.metrics.elbo import Evaluation, Restoration, evaluate, restoration
from latlas.models import Model
from latlas.progress import SILENT, Observer
from latlas.runs import Progress, Run

T = TypeVar("T")


def finish(
    run: Run, dataset: Dataset, device: torch.device, progress: Progress, seconds: Callable[[], float],
    observer: Observer = SILENT,
) -> None:  # fmt: skip
    """Measures, diagnoses, draws and reports a run whose training is over; `seconds` says how long all of it took."""
    config, model = run.config, run.model().to(device)
    batches = {
        name: Batches(dataset.split(name), dataset.scaling, device, model.dtype)
        for name in ("valid", "test")
        if len(dataset.split(name))
    }
    splits = {name: _evaluated(name, model, data, observer) for name, data in batches.items()}
    restored = _restorations(run, model, batches)
    metrics = records.metrics(run, dataset, model, progress, splits, restored)

    def keep(**more: Any) -> None:
        # At once, and kept whatever becomes of the rest: training took the longest.
        metrics.update(more)
        write_json(run.path / "metrics.json", metrics | {"finished": False})

    keep()
    if config.evaluation.groups:
        context = assessment.context(run, model, dataset, observer=observer)
        told = ("not everything could be measured", f"latlas evaluate {run.path}")
        keep(
            numbers=_or_say(lambda: assessment.assess(context, config.evaluation.groups), told, observer)
            or {}
        )
    if config.evaluation.diagnose:
        told = ("what is wrong could not be found out", f"latlas diagnose {run.path}")
        keep(findings=_or_say(lambda: _findings(run, model, dataset, observer), told, observer) or [])
    if config.pictures.draw:
        observer.note("drawing pictures")
        settings = gallery.settings_of(config)
        told = ("the pictures could not be drawn", f"latlas report --redraw {run.path}")
        _or_say(lambda: gallery.draw(run, model, dataset, settings), told, observer)
    write_json(run.path / "metrics.json", metrics | {"seconds": round(seconds(), 3)})
    report.write_report(run.path)
    _tell(run, splits["test"], metrics, observer)


def _evaluated(name: str, model: Model, data: Batches, observer: Observer) -> Evaluation:
    return evaluate(model, data, progress=lambda n, total: observer.progress(f"evaluating {name}", n, total))


def _restorations(run: Run, model: Model, batches: dict[str, Batches]) -> dict[str, Restoration]:
    """What the run's corruption does to these splits and the model makes of it; nothing where it has none."""
    corruption = run.config.corruption
    if corruption.name == "none":
        return {}
    return {name: restoration(model, data, corruption) for name, data in batches.items()}


def _or_say(work: Callable[[], T], told: tuple[str, str], observer: Observer) -> T | None:
    """What the work gives; None, and a note of what failed and what to try, where it fails: the run is not lost."""
    try:
        return work()
    except Exception as error:
        observer.note(f"{told[0]} ({error}); try: {told[1]}")
        return None


def _findings(run: Run, model: Model, dataset: Dataset, observer: Observer) -> list[dict[str, Any]]:
    return [described(finding, run.path) for finding in diagnosis.of(run, model, dataset, True, observer)]


def _tell(run: Run, test: Evaluation, metrics: dict[str, Any], observer: Observer) -> None:
    if metrics.get("findings") == []:
        observer.note("diagnosis: nothing wrong was found")
    for finding in metrics.get("findings", []):
        observer.note(f"{finding['level']}: {finding['title']} (latlas diagnose {run.path})")
    score = f"distortion {test.distortion:.2f}" if test.elbo is None else f"ELBO {test.elbo:.2f}"
    observer.note(f"test {score} {metrics['unit']}  report: {run.path / 'report.html'}")


def redraw(
    run: Run,
    grid: tuple[int, int] | None,
    span: tuple[float, float] | None,
    data_dir: str = "",
    observer: Observer = SILENT,
) -> list[Path]:
    """Draws a trained run's pictures anew, the manifold over another grid if given; the paths written.

    Raises InputError when the run's data are missing.
    """
    dataset = runs.dataset_of(run, data_dir, observer.progress)
    settings = gallery.settings_of(run.config)
    settings = replace(settings, size=grid or settings.size, span=span or settings.span)
    return gallery.draw(run, run.model(), dataset, settings)
