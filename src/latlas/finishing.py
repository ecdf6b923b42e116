"""What comes after training: numbers with the best weights, what is wrong, pictures, the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from latlas import diagnosis, gallery, metrics, records, report, runs
from latlas.data import Dataset
from latlas.diagnosis.text import described
from latlas.files import write_json
from latlas.metrics import Context
from latlas.progress import SILENT, Observer
from latlas.runs import Progress, Run

T = TypeVar("T")


def finish(
    run: Run, dataset: Dataset, device: torch.device, progress: Progress, seconds: Callable[[], float],
    observer: Observer = SILENT,
) -> None:  # fmt: skip
    """Measures, diagnoses, draws and reports a run whose training is over; `seconds` says how long all of it took."""
    config, model = run.config, run.model().to(device)
    context = metrics.context_of(run, model, dataset, observer=observer)
    contexts = {"valid": replace(context, items_given=dataset.valid), "test": context}
    splits = {name: metrics.of_split(of) for name, of in contexts.items() if len(of.test)}
    values = records.metrics(run, dataset, model, progress, splits)

    def keep(**more: Any) -> None:
        # At once, and kept whatever becomes of the rest: training took the longest.
        values.update(more)
        write_json(run.path / "metrics.json", values | {"finished": False})

    keep()
    if config.evaluation.groups:
        told = ("not everything could be measured", f"latlas evaluate {run.path}")
        keep(
            numbers=_or_say(lambda: metrics.numbers(context, config.evaluation.groups), told, observer) or {}
        )
    if config.evaluation.diagnose:
        told = ("what is wrong could not be found out", f"latlas diagnose {run.path}")
        keep(findings=_or_say(lambda: _findings(run, dataset, context), told, observer) or [])
    if config.pictures.draw:
        settings = gallery.settings_of(config)
        told = ("the pictures could not be drawn", f"latlas report --redraw {run.path}")
        _or_say(lambda: gallery.draw(run, context, settings), told, observer)
    write_json(run.path / "metrics.json", values | {"seconds": round(seconds(), 3)})
    report.write_report(run.path)
    _tell(run, splits["test"], values, observer)


def _or_say(work: Callable[[], T], told: tuple[str, str], observer: Observer) -> T | None:
    """What the work gives; None, and a note of what failed and what to try, where it fails: the run is not lost."""
    try:
        return work()
    except Exception as error:
        observer.note(f"{told[0]} ({error}); try: {told[1]}")
        return None


def _findings(run: Run, dataset: Dataset, context: Context) -> list[dict[str, Any]]:
    return [described(finding, run.path) for finding in diagnosis.of(run, dataset, context, True)]


def _tell(run: Run, test: Mapping[str, Any], values: dict[str, Any], observer: Observer) -> None:
    if values.get("findings") == []:
        observer.note("diagnosis: nothing wrong was found")
    for finding in values.get("findings", []):
        observer.note(f"{finding['level']}: {finding['title']} (latlas diagnose {run.path})")
    score = f"distortion {test['distortion']:.2f}" if test["elbo"] is None else f"ELBO {test['elbo']:.2f}"
    observer.note(f"test {score} {values['unit']}  report: {run.path / 'report.html'}")


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
    return gallery.draw(run, metrics.context_of(run, run.model(), dataset, observer=observer), settings)
