"""What a number is: its value with what it came from, and its definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from latlas.metrics.context import Context

# What the numbers are about, in the order in which they are shown.
GROUPS = {
    "likelihood": "Likelihood",
    "codes": "Codes",
    "reconstruction": "Reconstruction",
    "samples": "Samples",
    "downstream": "Downstream tasks",
    "disentanglement": "Disentanglement",
}


@dataclass(frozen=True)
class Value:
    """One number of one model: its `value`, the standard error over `items` (None where none is known), the
    `draws` of z per item that it came from, where there were any; `what` the items are called.

    `beside` holds the same number of what it is to be compared with, by name ("PCA", "raw values"); `by` names what
    judged, where something learned did; `warning` says why it is not to be trusted. `parts` is the same for each
    latent dimension.
    """

    value: float
    stderr: float | None = None
    items: int = 0
    draws: int | None = None
    beside: Mapping[str, float] = field(default_factory=dict)
    what: str = "items"
    by: str = ""
    warning: str = ""
    parts: tuple[float, ...] = ()

    @property
    def finite(self) -> bool:
        """Whether all of it are finite numbers."""
        known = (self.value, self.stderr or 0.0, *self.beside.values(), *self.parts)
        return all(math.isfinite(number) for number in known)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; what there is not is left out."""
        all_of: dict[str, Any] = {
            "value": self.value,
            "stderr": self.stderr,
            "items": self.items,
            "draws": self.draws,
        }
        told: dict[str, Any] = {"beside": dict(self.beside), "by": self.by, "warning": self.warning}
        told |= {"parts": list(self.parts), "what": self.what if self.what != "items" else ""}
        return {k: v for k, v in all_of.items() if v is not None} | {k: v for k, v in told.items() if v}


@dataclass(frozen=True)
class Metric:
    """A number's name for people, its group, its unit ("{item}" stands for image or row), which of two values is
    the better one, what it says, how it comes about, and the decimals to show.
    """

    title: str
    group: str
    unit: str
    better: Literal["higher", "lower", ""]
    why: str
    compute: Callable[[Context], Value | None]
    decimals: int = 3


def mean_of(values: np.ndarray, **about: Any) -> Value:
    """The mean of one value per item (N,), with the standard error std / sqrt(N) over the items."""
    values = np.asarray(values, np.float64)
    stderr = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return Value(float(values.mean()), stderr, len(values), **about)


def share_of(hits: np.ndarray, **about: Any) -> Value:
    """The share of items for which something holds (N,), with its binomial standard error; where it holds for all or
    for none, that of Agresti and Coull (1998), which is not 0.
    """
    found = mean_of(np.asarray(hits, np.float64), **about)
    if found.value not in (0, 1):
        return found
    wider = found.items + 4
    share = (found.items * found.value + 2) / wider
    return replace(found, stderr=math.sqrt(share * (1 - share) / wider))
