"""The metrics of a trained model on test items: their table, and how they are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from latlas.build import has_prior
from latlas.config import override
from latlas.data import Dataset, Split
from latlas.data.binarise import settled
from latlas.errors import InputError, LatlasError, one_or_many, unknown
from latlas.files import write_json
from latlas.metrics.ais import AIS
from latlas.metrics.codes import CODES
from latlas.metrics.context import Annealing, Context, Effort
from latlas.metrics.disentanglement import DISENTANGLEMENT
from latlas.metrics.downstream import DOWNSTREAM
from latlas.metrics.elbo import ELBO, outlier, terms_of_items
from latlas.metrics.likelihood import LIKELIHOOD
from latlas.metrics.metric import GROUPS, Metric, Value
from latlas.metrics.reconstruction import RECONSTRUCTION, restoration_of
from latlas.metrics.samples import SAMPLES
from latlas.models import Model
from latlas.progress import SILENT, Observer
from latlas.runs import Run
from latlas.settings import OLD_GROUPS, CorruptionConfig

__all__ = [
    "GROUPS",
    "METRICS",
    "Annealing",
    "Context",
    "Effort",
    "Metric",
    "Value",
    "measure",
    "named",
    "numbers",
]

METRICS: dict[str, Metric] = {
    **ELBO, **LIKELIHOOD, **AIS, **CODES, **RECONSTRUCTION, **SAMPLES, **DOWNSTREAM, **DISENTANGLEMENT,
}  # fmt: skip
# metrics.json has these numbers for every split; all others for the test split alone.
OF_SPLITS = ("elbo", "distortion", "rate", "mse", "corrupted_mse", "restored_mse")
# Numbers in the runs and calls of earlier versions.
OLD_NAMES = {"reconstruction_mse": "mse", "effective_draws": "effective_sample_size"}
MOST_DRAWS, MOST_SAMPLES = 1_000_000, 10_000


def named(names: Sequence[str] | str) -> tuple[str, ...]:
    """Names of METRICS, each once; a text is one name. A group means all its members, "all" every metric but the terms
    of the evidence lower bound. Old names are accepted.

    Raises InputError with the nearest known name.
    """
    current = [OLD_GROUPS.get(name, OLD_NAMES.get(name, name)) for name in one_or_many(names, "measures")]
    for name in current:
        if name not in (*METRICS, *GROUPS, "all"):
            raise unknown("measure", name, [*METRICS, *GROUPS, "all"])
    requested = {*current, *(group for group in GROUPS if "all" in current and group != "bound")}
    return tuple(name for name, metric in METRICS.items() if {name, metric.group} & requested)


def measure(context: Context, names: Sequence[str] = ("all",)) -> dict[str, Value | None]:
    """Computes the numbers called `names` on a context's test items; None for those without a meaning.

    docs/numbers.md defines each number. Raises InputError for an unknown name or an empty test split, LatlasError for a
    model that has diverged.
    """
    names = named(names)
    if not len(context.test):
        raise InputError("metrics need test items, and the test split is empty")
    values: dict[str, Value | None] = {}
    for done, name in enumerate(names):
        context.observer.progress("measuring", done, len(names), METRICS[name].title)
        values[name] = _computed(name, context)
    if names:
        context.observer.progress("measuring", len(names), len(names))
    return values


def _computed(name: str, context: Context) -> Value | None:
    """Computes one number. Where that fails or the number is not finite: None, and a note; the others are kept."""
    try:
        value = METRICS[name].compute(context)
    except LatlasError as error:
        if not isinstance(error, InputError):
            raise
        why = str(error)
    except (ArithmeticError, ValueError, RuntimeError, MemoryError) as error:
        why = f"{type(error).__name__}: {error}"
    else:
        if value is None or value.finite:
            return value
        why = "it is not finite"
    context.observer.note(f"{name} could not be measured: {why}")
    return None


def context_of(
    run: Run, model: Model, dataset: Dataset | None, items: Split | None = None, effort: Effort | None = None,
    observer: Observer = SILENT, corruption: CorruptionConfig | None = None,
) -> Context:  # fmt: skip
    """The context that measures a run's model on its test split, or on other `items`.

    Training items that are binarised at random at every step are binarised once here, as test items are. Without the
    run's `dataset`, a data set of the items alone takes its place, which is enough for the terms of the ELBO. Of splits
    on disk evenly spaced items are measured (`Dataset.in_memory`); `items` all are.
    """
    config = run.config
    if dataset is None:
        assert items is not None
        item, empty = model.item, items.take(slice(0, 0))
        dataset = Dataset("", "", item.kind, item.shape, False, item.scaling, items, empty, items)
    dataset = dataset.in_memory()
    train = settled(dataset.train, dataset.scaling, config.data, "train")
    return Context(
        model,
        replace(dataset, train=train),
        has_prior(config),
        effort=effort or effort_of(run),
        observer=observer,
        items_given=items,
        corruption=corruption or config.corruption,
    )


def effort_of(run: Run, draws: int | None = None, whole: bool = False, **more: Any) -> Effort:
    """How much is spent on costly numbers: by default what the run's configuration says. They take every item where
    `draws` are given or `whole` is true. `more` are other fields of Effort.

    Raises InputError for a number out of range.
    """
    config = run.config.evaluation
    items = None if whole or draws is not None else config.items
    effort = Effort(config.draws if draws is None else draws, items, **more)
    if not 1 <= effort.draws <= MOST_DRAWS:
        raise InputError(
            f"at least 1 draw is needed, and at most {MOST_DRAWS:,} are taken", field="draws", value=draws
        )
    if not 1 <= effort.samples <= MOST_SAMPLES:
        raise InputError(
            f"at least 1 is needed, and at most {MOST_SAMPLES:,} are taken",
            field="samples",
            value=effort.samples,
        )
    if not 0 <= effort.seed < 2**63:
        raise InputError("expected a whole number from 0 to 2^63 - 1", field="seed", value=effort.seed)
    return effort


def corruption_of(run: Run, name: str = "", strength: float | None = None) -> CorruptionConfig:
    """The corruption of the run's inputs, with another name or strength where given.

    Raises InputError for an unknown name, a strength out of its range, or a strength without a corruption.
    """
    trained = run.config.corruption
    if strength is not None and (name or trained.name) == "none":
        raise InputError(
            "a strength needs a corruption: gaussian or masking", field="strength", value=strength
        )
    changes: dict[str, Any] = {"corruption.name": name or trained.name}
    if strength is not None:
        changes["corruption.strength"] = strength
    return override(run.config, changes, "corrupt, strength").corruption


def of_unseen(names: Sequence[str], split: str) -> tuple[str, ...]:
    """Names of METRICS without downstream tasks where a split is the one that the model was trained on: they need
    unseen items.
    """
    return tuple(name for name in named(names) if split != "train" or METRICS[name].group != "downstream")


def of_split(context: Context) -> dict[str, Any]:
    """The numbers that metrics.json has for each split, of a context's test items: the ELBO and its terms, the
    `outlier` where a single item weighs more than their noise, and the errors of restored items where inputs are
    corrupted.

    Raises LatlasError where they are not finite.
    """
    found, restoration, lone = (
        context.once(terms_of_items).summary,
        context.once(restoration_of),
        outlier(context),
    )
    return (
        found.to_dict()
        | ({} if lone is None else {"outlier": asdict(lone)})
        | ({} if restoration is None else restoration.to_dict())
    )


def numbers(context: Context, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Computes the numbers called `names` on a context's test items, by name: each with its `value`, `stderr`, `items`,
    `draws`, `unit`, `group` and `title`.

    Numbers without a meaning are left out. Raises as `measure`.
    """
    values = measure(context, names)
    kind = context.dataset.kind
    return {name: _described(name, value, kind) for name, value in values.items() if value is not None}


def _described(name: str, value: Value, kind: str) -> dict[str, Any]:
    metric = METRICS[name]
    return {
        "title": metric.title,
        "group": metric.group,
        "unit": metric.words(metric.unit, kind),
        "better": metric.better,
        "decimals": metric.decimals,
        "why": metric.words(metric.why, kind),
        **value.to_dict(),
    }


def keep(run: Run, numbers: Mapping[str, Any]) -> None:
    """Adds numbers of a finished run's own test split to its metrics.json; those of the same name are replaced."""
    metrics = run.metrics
    write_json(run.path / "metrics.json", metrics | {"numbers": {**metrics.get("numbers", {}), **numbers}})
