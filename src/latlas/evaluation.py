"""Evaluation of a trained run on its own data or on other items: the ELBO and all requested numbers in one record."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from latlas import inference, metrics, report
from latlas.build import has_prior, unit_of
from latlas.errors import InputError, check_number
from latlas.metrics import Annealing, Context, named
from latlas.metrics.ais import AIS, check
from latlas.metrics.context import EVALUATION_SEED
from latlas.metrics.likelihood import importance
from latlas.models import Model
from latlas.progress import SILENT, Observer
from latlas.runs import Run, dataset_of


@dataclass(frozen=True)
class Request:
    """The numbers to measure, and the items to measure them on.

    `measures` are names of METRICS or of groups; None takes the groups of the run's configuration. The items are those
    of a `split` of the run's own data, by default test, or of another `source`, whose `split` it then is; `limit` takes
    so many items, evenly spaced. `draws` is the number of draws of z per item for log p(x), which is then measured on
    every item. `samples` is the number for the ELBO, with their `seed`. `ais` is the number of evenly spaced items for
    annealed importance sampling with so many `chains` and `temperatures`. `corrupt` and `strength` are the corruption
    of items to restore; by default it is that of training.
    """

    measures: Sequence[str] | str | None = None
    source: Any = ""
    split: str = ""
    limit: int | None = None
    draws: int | None = None
    samples: int = 1
    seed: int = EVALUATION_SEED
    ais: int | None = None
    chains: int = Annealing.chains
    temperatures: int = Annealing.temperatures
    corrupt: str = ""
    strength: float | None = None

    @property
    def own_split(self) -> str:
        """The split of the run's own data; empty with a source."""
        return "" if inference.has_source(self.source) else self.split or "test"

    @property
    def annealing(self) -> Annealing | None:
        return None if self.ais is None else Annealing(self.ais, self.chains, self.temperatures, self.seed)

    def check(self, run: Run) -> None:
        """Raises InputError for values that contradict each other or do not fit the run."""
        for name in ("limit", "draws", "samples", "seed", "ais", "chains", "temperatures"):
            if getattr(self, name) is not None:
                check_number(getattr(self, name), name)
        if self.strength is not None:
            check_number(self.strength, "strength", whole=False)
        if self.ais is None:
            for name in ("chains", "temperatures"):
                if getattr(self, name) != getattr(Annealing, name):
                    raise InputError(
                        "has no effect without annealed importance sampling; give the number of items for it as ais",
                        field=name,
                        value=getattr(self, name),
                    )
        if self.limit is not None and self.limit < 1:
            raise InputError("at least 1 item is needed", field="limit", value=self.limit)
        if self.annealing is not None:
            check(self.annealing, has_prior(run.config))


def evaluate(
    run: Run,
    model: Model,
    request: Request,
    data_dir: str = "",
    keep: bool = False,
    observer: Observer = SILENT,
) -> dict[str, Any]:
    """The ELBO with its terms and standard errors, and the requested `numbers` by name, as JSON values.

    With `draws` the record also holds all results of `importance` sampling. `keep` adds numbers of the whole test split
    of a finished run to its metrics.json and its report. Raises InputError for an unknown name, a value out of range,
    and data that are missing, have changed or do not fit.
    """
    request.check(run)
    if request.own_split:
        request = replace(request, split=inference.split_of(run, request.split, observer))
    if not run.finished:
        observer.note("the run is unfinished: these are the numbers of its best weights so far")
    names = _names(run, request, observer)
    context = _context(run, model, request, bool(names), data_dir, observer)
    values = metrics.of_split(context) | {
        "samples": request.samples, "seed": request.seed, "unit": unit_of(run.info["data"]["kind"]),
        "normalised": run.metrics.get("normalised"), "finished": run.finished,
    }  # fmt: skip
    if context.corruption.name != "none":
        values["corruption"] = context.corruption.model_dump()
    values |= _measured(context, request, names)
    whole = request.own_split == run.measured and request.limit is None
    if keep and whole and run.finished and "numbers" in values:
        if os.access(run.path, os.W_OK):
            metrics.keep(run, values["numbers"])
            observer.note(f"kept in {run.path / 'metrics.json'} and {report.write_report(run.path)}")
        else:
            observer.note(f"{run.path} cannot be written: these numbers are shown, and kept nowhere")
    about = {
        "run": str(run.path),
        "split": request.own_split or request.split or None,
        "source": _name_of(request.source) if inference.has_source(request.source) else None,
    }
    values |= inference.outside(context.test, model, scored=True)
    return {**about, **values}


def _name_of(source: Any) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else type(source).__name__


def _names(run: Run, request: Request, observer: Observer) -> tuple[str, ...]:
    """The names of the requested numbers; with `draws` these are the likelihood's, unless measures are named."""
    groups = ["likelihood"] if request.draws else run.config.evaluation.groups
    names = named(groups if request.measures is None else request.measures)
    without_tasks = metrics.of_unseen(names, request.own_split) if request.own_split else names
    if without_tasks != names:
        observer.note("downstream tasks are left out: they need items that the model was not trained on")
    return without_tasks


def _context(
    run: Run, model: Model, request: Request, numbers: bool, data_dir: str, observer: Observer
) -> Context:
    """The context of the requested items and effort; it has the run's own data if `numbers` are measured."""
    corruption = metrics.corruption_of(run, request.corrupt, request.strength)
    effort = metrics.effort_of(
        run,
        request.draws,
        request.limit is not None,
        samples=request.samples,
        seed=request.seed,
        annealing=request.annealing,
    )
    data = (
        dataset_of(run, data_dir, observer.progress)
        if numbers or not inference.has_source(request.source)
        else None
    )
    items = inference.items(run, model, request.split, request.source, data_dir, observer, data)
    items = items if request.limit is None else items.evenly(request.limit)
    return metrics.context_of(run, model, data, items, effort, observer, corruption)


def _measured(context: Context, request: Request, names: tuple[str, ...]) -> dict[str, Any]:
    """The requested `numbers` by name and, with `draws`, all results of `importance` sampling."""
    values: dict[str, Any] = {}
    if names:
        estimate = context.once(importance) if request.draws else None
        if request.draws and estimate is None:
            raise InputError(
                "posterior.name = point has no density, so this model has no log p(x)", field="draws"
            )
        values["numbers"] = metrics.numbers(context, names)
        if estimate is not None:
            values["importance"] = estimate.to_dict()
        missing = [name for name in names if name not in values["numbers"] and name not in AIS]
        if request.measures is not None and missing:
            context.observer.note(f"not defined for this run and its data: {', '.join(missing)}")
    if request.ais is not None:
        values["numbers"] = {**values.get("numbers", {}), **metrics.numbers(context, tuple(AIS))}
    return values
