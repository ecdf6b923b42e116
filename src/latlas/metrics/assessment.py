"""A trained run, measured: its ELBO on any items, and every other number as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from latlas.build import has_prior, unit_of
from latlas.build import items as plural
from latlas.config import override
from latlas.data import Dataset, Split
from latlas.data.batches import Batches
from latlas.data.binarise import settled
from latlas.errors import InputError
from latlas.files import write_json
from latlas.metrics import METRICS, Context, Effort, Value, ais, elbo, measure
from latlas.models import Model
from latlas.progress import SILENT, Observer
from latlas.runs import Run
from latlas.settings import CorruptionConfig

MOST_DRAWS = 1_000_000
LOOSE = 1.0  # nats between the bounds of annealing from which it says so


def evaluate(
    run: Run,
    model: Model,
    items: Split,
    samples: int = 1,
    seed: int = elbo.EVALUATION_SEED,
    corruption: CorruptionConfig | None = None,
    observer: Observer = SILENT,
) -> dict[str, Any]:
    """The numbers of `elbo.evaluate` for a run's model, as plain values.

    With them come those of `elbo.restoration` under a corruption, the run's own unless another is given.
    """
    if not 1 <= samples <= 10_000:
        raise InputError("at least 1 is needed, and at most 10,000 are taken", field="samples", value=samples)
    if not 0 <= seed < 2**63:
        raise InputError("expected a whole number from 0 to 2^63 - 1", field="seed", value=seed)
    batches = Batches(items, model.item.scaling, model.device, model.dtype)
    done = lambda n, total: observer.progress("evaluating", n, total)  # noqa: E731
    result = elbo.evaluate(model, batches, samples, seed, done)
    metrics = run.metrics
    extra = {
        "samples": samples,
        "seed": seed,
        "unit": unit_of(run.info["data"]["kind"]),
        "normalised": metrics.get("normalised"),
        "finished": run.finished,
    }
    given = run.config.corruption if corruption is None else corruption
    if given.name == "none":
        return asdict(result) | extra
    done = lambda n, total: observer.progress("restoring", n, total)  # noqa: E731
    restored = elbo.restoration(model, batches, given, seed, done)
    return asdict(result) | restored.to_dict() | extra | {"corruption": given.model_dump()}


def corruption(run: Run, name: str = "", strength: float | None = None) -> CorruptionConfig:
    """What the run's inputs suffer, with another name or strength where one is given.

    Raises InputError for an unknown name, a strength that does not go with it, or one with nothing to go with.
    """
    own = run.config.corruption
    if strength is not None and (name or own.name) == "none":
        raise InputError(
            "of what? choose to corrupt by gaussian or masking", field="strength", value=strength
        )
    changes: dict[str, Any] = {"corruption.name": name or own.name}
    if strength is not None:
        changes["corruption.strength"] = strength
    return override(run.config, changes, "corrupt, strength").corruption


def effort(run: Run, importance: int | None = None, limit: int | None = None) -> Effort:
    """How much is spent on costly numbers: as the run's configuration says; on every item where draws or a limit
    on the items are asked for.

    Raises InputError for a number of draws out of range.
    """
    if importance is not None and not 1 <= importance <= MOST_DRAWS:
        raise InputError(
            f"at least 1 draw is needed, and at most {MOST_DRAWS:,} are taken",
            field="draws",
            value=importance,
        )
    own = run.config.evaluation
    whole = importance is not None or limit is not None
    return Effort(importance or own.draws, None if whole else own.items)


def context(
    run: Run, model: Model, dataset: Dataset, items: Split | None = None, effort: Effort | None = None,
    observer: Observer = SILENT,
) -> Context:  # fmt: skip
    """What the numbers of a run's model are taken of: its test split, or other items in its place.

    Training items that are drawn anew at every step stand as drawn once: 0 and 1, as the test items beside them.
    """
    own = run.config.evaluation
    train = settled(dataset.train, dataset.scaling, run.config.data, "train")
    return Context(
        model,
        replace(dataset, train=train),
        has_prior(run.config),
        effort=effort or Effort(own.draws, own.items),
        observer=observer,
        items_given=items,
    )


def assess(context: Context, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The numbers called `names` of a context's model, on its test items, by name: each with its `value`, `stderr`, the
    `items` and `draws` that it came from, `unit`, `group`, and what it is called.

    Numbers without a meaning are left out. Raises as `measures.measure`.
    """
    done = lambda n, total: context.observer.progress("measuring", n, total)  # noqa: E731
    readings = measure(context, names, done)
    return {name: _described(name, r, context.dataset.kind) for name, r in readings.items() if r is not None}


def _described(name: str, reading: Value, kind: str) -> dict[str, Any]:
    about, one = METRICS[name], plural(kind)[:-1]
    return {
        "title": about.title,
        "group": about.group,
        "unit": about.unit.replace("{item}", one),
        "better": about.better,
        "decimals": about.decimals,
        "why": about.why.replace("{item}", one),
        **reading.to_dict(),
    }


def annealed(
    run: Run,
    model: Model,
    items: Split,
    chains: int,
    temperatures: int,
    seed: int,
    observer: Observer = SILENT,
) -> dict[str, dict[str, Any]]:
    """log p(x) by annealed importance sampling, which needs no encoder, as numbers like those of `assess`.

    Raises as `ais.compared`.
    """
    found = ais.compared(run.config, model, items, chains, temperatures, seed, observer)
    loose = (
        "the bounds from both sides are far apart: more temperatures would bring them together"
        if found["gap"] > LOOSE
        else ""
    )
    with_encoder = {"with the encoder": found["importance"]} if found["importance"] is not None else {}
    bounds = {"lower": found["lower"], "upper": found["upper"]}
    readings = {
        "annealed_log_px": Value(
            found["log_px"], found["stderr"], found["images"], chains, with_encoder, warning=loose
        ),
        "annealed_gap": Value(found["gap"], None, found["simulated"], chains, bounds),
    }
    if found["hidden"] is not None:
        readings["hidden"] = Value(found["hidden"], None, found["images"], chains)
    unit = unit_of(run.info["data"]["kind"])
    about = {"group": "likelihood", "unit": unit, "decimals": 2}
    return {
        name: {**about, **ANNEALED[name], "why": ANNEALED[name]["why"].format(temperatures), **r.to_dict()}
        for name, r in readings.items()
    }


ANNEALED = {
    "annealed_log_px": {
        "title": "log p(x), annealed",
        "better": "higher",
        "why": "By annealed importance sampling from the prior, {:,} temperatures: a lower bound, free of the encoder.",
    },
    "annealed_gap": {
        "title": "annealed, both sides",
        "better": "lower",
        "why": "Of items that the model made itself, whose codes are known: upper minus lower bound; the lower one can"
        " be off by as much.",
    },
    "hidden": {
        "title": "hidden by the encoder",
        "better": "lower",
        "why": "log p(x), annealed, minus importance sampling of the same items with the encoder's draws.",
    },
}


def keep(run: Run, numbers: Mapping[str, Any]) -> None:
    """Adds numbers of a finished run's own test split to its metrics.json; those of the same name are replaced."""
    metrics = run.metrics
    write_json(run.path / "metrics.json", metrics | {"numbers": {**metrics.get("numbers", {}), **numbers}})
