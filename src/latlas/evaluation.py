"""What a trained run is worth on its own data or on other items: one record of the ELBO and every number asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from latlas import inference, report
from latlas.errors import InputError
from latlas.metrics import METRICS, ais, assessment, named
from latlas.metrics.ais import CHAINS, TEMPERATURES
from latlas.metrics.elbo import EVALUATION_SEED
from latlas.models import Model
from latlas.progress import SILENT, Observer
from latlas.runs import Run, dataset_of

# Terms of the record of `evaluate` that are numbers by themselves, and whether they are in nats.
TERMS = {
    "elbo": True,
    "distortion": True,
    "rate": True,
    "mse": False,
    "corrupted_mse": False,
    "restored_mse": False,
}


@dataclass(frozen=True)
class Asked:
    """What an evaluation is to say, and of which items.

    `measures` are names of METRICS or groups of them (None: as the run's configuration says); `source` other data than
    the run's `split`; `limit` so many items, evenly spaced. `draws` of z per item are for log p(x), then of every item;
    `samples` of z per item and their `seed` are for the ELBO. `ais` is the number of items, evenly spaced, that take
    annealed importance sampling by so many `chains` and `temperatures`; `corrupt` and `strength` what the items suffer
    before they are restored (else as in training).
    """

    measures: Sequence[str] | None = None
    source: str = ""
    split: str = "test"
    limit: int | None = None
    draws: int | None = None
    samples: int = 1
    seed: int = EVALUATION_SEED
    ais: int | None = None
    chains: int = CHAINS
    temperatures: int = TEMPERATURES
    corrupt: str = ""
    strength: float | None = None

    def check(self, run: Run) -> None:
        """Raises InputError for what does not go together, or with the run."""
        if self.source and self.split != "test":
            raise InputError(
                "splits are of the run's own data; leave it out, or the source",
                field="split",
                value=self.split,
            )
        for name in ("limit", "ais"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError("at least 1 is needed", field=name, value=value)
        if self.ais is not None:
            ais.check(run.config, self.chains, self.temperatures, self.seed)

    def names(self, run: Run) -> tuple[str, ...]:
        """The numbers that are asked for, by name; log p(x) where draws for it are."""
        if self.measures is not None:
            return named(self.measures)
        return named(["likelihood"] if self.draws else run.config.evaluation.groups)


def evaluate(
    run: Run, model: Model, asked: Asked, data_dir: str = "", keep: bool = False, observer: Observer = SILENT
) -> dict[str, Any]:
    """The ELBO with its terms and errors, `numbers` by name where there are any, and the whole of `importance` sampling
    where its draws are asked for, as JSON values.

    `keep` adds numbers of the whole test split of a finished run to its metrics.json and its report. Raises InputError
    for an unknown name, a value out of range, and data that are missing, have changed or do not fit.
    """
    corruption = assessment.corruption(run, asked.corrupt, asked.strength)
    effort = assessment.effort(run, asked.draws, asked.limit)
    names = asked.names(run)
    asked.check(run)
    if not run.finished:
        observer.note("the run is unfinished: these are the numbers of its best weights so far")
    if asked.split == "train" and not asked.source:
        names = _unseen(names, observer)
    data = dataset_of(run, data_dir, observer.progress) if names or not asked.source else None
    items = inference.items(run, model, asked.split, asked.source, data_dir, observer, data)
    items = items if asked.limit is None else items.evenly(asked.limit)
    values = assessment.evaluate(run, model, items, asked.samples, asked.seed, corruption, observer)
    if names and data is not None:
        context = assessment.context(run, model, data, items, effort, observer)
        if asked.draws and context.importance is None:
            raise InputError(
                "posterior.name = point has no density, so this model has no log p(x)", field="draws"
            )
        values["numbers"] = assessment.assess(context, names)
        if asked.draws and context.importance:
            values["importance"] = context.importance.to_dict()
        _say_what_is_missing(asked, names, values["numbers"], observer)
    if asked.ais is not None:
        few = items.evenly(asked.ais)
        annealed = assessment.annealed(
            run, model, few, asked.chains, asked.temperatures, asked.seed, observer
        )
        values["numbers"] = {**values.get("numbers", {}), **annealed}
    whole = not asked.source and asked.split == "test" and asked.limit is None
    if keep and whole and run.finished and "numbers" in values:
        assessment.keep(run, values["numbers"])
        observer.note(f"kept in {run.path / 'metrics.json'} and {report.write_report(run.path)}")
    about = {
        "run": str(run.path),
        "split": None if asked.source else asked.split,
        "source": asked.source or None,
    }
    return {**about, **values}


def _unseen(names: tuple[str, ...], observer: Observer) -> tuple[str, ...]:
    """Without the numbers that judge training items by training items."""
    kept = tuple(name for name in names if METRICS[name].group != "use")
    if kept != names:
        observer.note("use of the codes is left out: it is of items that were not trained on")
    return kept


def _say_what_is_missing(
    asked: Asked, names: tuple[str, ...], numbers: dict[str, Any], observer: Observer
) -> None:
    """Of what was asked for by name, which numbers these items or this model have no meaning for."""
    missing = [name for name in names if name not in numbers]
    if asked.measures is not None and missing:
        observer.note(f"without a meaning for this run and its data: {', '.join(missing)}")


def numbers_of(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All numbers of a record of `evaluate` by name, the ELBO's terms among them, each with `value` and `items`."""
    terms = {}
    for name, nats in TERMS.items():
        if record.get(name) is not None:
            about = {"value": record[name], "stderr": record.get(f"{name}_stderr"), "items": record["images"]}
            terms[name] = about | (
                {"unit": record["unit"], "draws": record["samples"]} if nats else {"unit": ""}
            )
    return {**terms, **record.get("numbers", {})}
