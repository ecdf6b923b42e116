"""Numbers on what a model is worth, beside its ELBO: each with its definition and what it came from, on test items."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from latlas.data import Dataset
from latlas.errors import InputError, LatlasError, unknown
from latlas.measures.codes import CODES
from latlas.measures.critic import share_of_plausible
from latlas.measures.factors import FACTORS
from latlas.measures.likelihood import LIKELIHOOD
from latlas.measures.reading import GROUPS, Measure, Reading
from latlas.measures.reconstruction import RECONSTRUCTION
from latlas.measures.samples import SAMPLES
from latlas.measures.scene import Effort, Scene
from latlas.measures.use import USE

__all__ = [
    "GROUPS",
    "MEASURES",
    "Effort",
    "Measure",
    "Reading",
    "Scene",
    "measure",
    "named",
    "plausible_share",
]

MEASURES: dict[str, Measure] = {**LIKELIHOOD, **CODES, **RECONSTRUCTION, **SAMPLES, **USE, **FACTORS}


def named(names: Sequence[str]) -> tuple[str, ...]:
    """Names of MEASURES, each once; a group stands for its members and "all" for every one.

    Raises InputError with the nearest known name.
    """
    for name in names:
        if name not in (*MEASURES, *GROUPS, "all"):
            raise unknown("measure", name, [*MEASURES, *GROUPS, "all"])
    wanted = {"all", *names} if "all" in names else set(names)
    return tuple(n for n, m in MEASURES.items() if {n, m.group} & wanted or "all" in wanted)


def measure(
    scene: Scene, names: Sequence[str] = ("all",), progress: Callable[[int, int], None] | None = None
) -> dict[str, Reading | None]:
    """The numbers called `names` of a scene's model, on its test items; None for those without a meaning.

    `progress` is told (done, total). docs/numbers.md defines each number.

    Raises InputError for an unknown name or an empty test split, LatlasError for a model that has diverged.
    """
    names = named(names)
    if not len(scene.test):
        raise InputError("measures are of test items, and the test split is empty")
    values: dict[str, Reading | None] = {}
    for done, name in enumerate(names, 1):
        values[name] = _computed(name, scene)
        if progress is not None:
            progress(done, len(names))
    return values


def _computed(name: str, scene: Scene) -> Reading | None:
    """A number; None, and a note, where it cannot be taken or is not finite: the others are not lost for it."""
    try:
        found = MEASURES[name].compute(scene)
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
    scene.observer.note(f"{name} could not be measured: {why}")
    return None


def plausible_share(dataset: Dataset, images: np.ndarray) -> float | None:
    """Share of images (N, H, W, C) in [0, 1] that a small classifier, trained on the data's own, takes for real ones.

    None where it cannot judge: of what has no pictures or no classes, or where it knows too few of the real ones.
    """
    found = share_of_plausible(dataset, torch.from_numpy(np.asarray(images, np.float32)).movedim(-1, 1))
    return None if found is None else found.value
