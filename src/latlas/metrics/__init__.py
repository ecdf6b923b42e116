"""Numbers on what a model is worth, beside its ELBO: each with its definition and what it came from, on test items."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from latlas.data import Dataset
from latlas.errors import InputError, LatlasError, unknown
from latlas.metrics.codes import CODES
from latlas.metrics.context import Context, Effort
from latlas.metrics.disentanglement import FACTORS
from latlas.metrics.downstream import USE
from latlas.metrics.likelihood import LIKELIHOOD
from latlas.metrics.metric import GROUPS, Metric, Value
from latlas.metrics.plausibility import share_of_plausible
from latlas.metrics.reconstruction import RECONSTRUCTION
from latlas.metrics.samples import SAMPLES
from latlas.settings import OLD_GROUPS

__all__ = [
    "GROUPS",
    "METRICS",
    "Context",
    "Effort",
    "Metric",
    "Value",
    "measure",
    "named",
    "plausible_share",
]

METRICS: dict[str, Metric] = {**LIKELIHOOD, **CODES, **RECONSTRUCTION, **SAMPLES, **USE, **FACTORS}


def named(names: Sequence[str]) -> tuple[str, ...]:
    """Names of METRICS, each once; a group, also by its old name, stands for its members and "all" for every one.

    Raises InputError with the nearest known name.
    """
    names = [OLD_GROUPS.get(name, name) for name in names]
    for name in names:
        if name not in (*METRICS, *GROUPS, "all"):
            raise unknown("measure", name, [*METRICS, *GROUPS, "all"])
    wanted = {"all", *names} if "all" in names else set(names)
    return tuple(n for n, m in METRICS.items() if {n, m.group} & wanted or "all" in wanted)


def measure(
    context: Context, names: Sequence[str] = ("all",), progress: Callable[[int, int], None] | None = None
) -> dict[str, Value | None]:
    """The numbers called `names` of a context's model, on its test items; None for those without a meaning.

    `progress` is told (done, total). docs/numbers.md defines each number.

    Raises InputError for an unknown name or an empty test split, LatlasError for a model that has diverged.
    """
    names = named(names)
    if not len(context.test):
        raise InputError("measures are of test items, and the test split is empty")
    values: dict[str, Value | None] = {}
    for done, name in enumerate(names, 1):
        values[name] = _computed(name, context)
        if progress is not None:
            progress(done, len(names))
    return values


def _computed(name: str, context: Context) -> Value | None:
    """A number; None, and a note, where it cannot be taken or is not finite: the others are not lost for it."""
    try:
        found = METRICS[name].compute(context)
    except LatlasError as error:
        if not isinstance(error, InputError):
            raise
        why = str(error)
    except (ArithmeticError, ValueError, RuntimeError, MemoryError) as error:
        why = f"{type(error).__name__}: {error}"
    else:
        if found is None or found.finite:
            return found
        why = "it is not finite"
    context.observer.note(f"{name} could not be measured: {why}")
    return None


def plausible_share(dataset: Dataset, images: np.ndarray) -> float | None:
    """Share of images (N, H, W, C) in [0, 1] that a small classifier, trained on the data's own, takes for real ones.

    None where it cannot judge: of what has no pictures or no classes, or where it knows too few of the real ones.
    """
    found = share_of_plausible(dataset, torch.from_numpy(np.asarray(images, np.float32)).movedim(-1, 1))
    return None if found is None else found.value
