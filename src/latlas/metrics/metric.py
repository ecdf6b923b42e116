"""A metric: its definition, and its value for one model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from latlas.build import items
from latlas.metrics.context import Context

# What the numbers are about, in the order in which they are shown.
GROUPS = {
    "bound": "Evidence lower bound",
    "likelihood": "Likelihood",
    "codes": "Codes",
    "reconstruction": "Reconstruction",
    "samples": "Samples",
    "downstream": "Downstream tasks",
    "disentanglement": "Disentanglement",
}


@dataclass(frozen=True)
class Value:
    """One number of one model: its `value`, the standard error over `items` (None where unknown), the `draws` of z per
    item (None without draws); `what` the items are called.

    `beside` holds the same number for what it is compared with, by name ("PCA", "raw values"), and `beside_sd` the
    standard deviation of those that are means of several ("pure noise"); `by` names the
    classifier or the settings that it depends on; `warning` says why not to trust it; `parts` has a value for each
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
    beside_sd: Mapping[str, float] = field(default_factory=dict)

    @property
    def finite(self) -> bool:
        """Whether all its numbers are finite."""
        numbers = (
            self.value,
            self.stderr or 0.0,
            *self.beside.values(),
            *self.beside_sd.values(),
            *self.parts,
        )
        return all(math.isfinite(number) for number in numbers)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without empty fields."""
        numbers: dict[str, Any] = {
            "value": self.value,
            "stderr": self.stderr,
            "items": self.items,
            "draws": self.draws,
        }
        details: dict[str, Any] = {"beside": dict(self.beside), "by": self.by, "warning": self.warning}
        details |= {"beside_sd": dict(self.beside_sd)}
        details |= {"parts": list(self.parts), "what": self.what if self.what != "items" else ""}
        return {k: v for k, v in numbers.items() if v is not None} | {k: v for k, v in details.items() if v}


@dataclass(frozen=True)
class Metric:
    """A number's `title`, its `group`, its `unit` ("{item}" stands for image or row), which end is `better`, `why`
    it is of interest, the function that computes it, and the decimals to show.
    """

    title: str
    group: str
    unit: str
    better: Literal["higher", "lower", ""]
    why: str
    compute: Callable[[Context], Value | None]
    decimals: int = 3

    @property
    def heading(self) -> str:
        """The title with a capital letter; a name such as k-NN stays as it is."""
        return self.title[:1].upper() + self.title[1:] if self.title[1:2].islower() else self.title

    def words(self, text: str, kind: str) -> str:
        """A unit or explanation with {item} and {scale} filled in for this kind of data."""
        scale = "in standardised units" if kind == "table" else "on a scale from 0 to 1"
        return text.replace("{item}", items(kind)[:-1]).replace("{scale}", scale)


def standard_error(values: np.ndarray) -> float | None:
    """std / sqrt(N) of one value per item (N,): the standard error of their mean; None for one item."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def mean_of(values: np.ndarray, **about: Any) -> Value:
    """The mean of one value per item (N,), with the standard error std / sqrt(N) over the items."""
    values = np.asarray(values, np.float64)
    return Value(float(values.mean()), standard_error(values), len(values), **about)


def share_of(hits: np.ndarray, **about: Any) -> Value:
    """The share of items for which something holds (N,), with its binomial standard error; where it holds for all or
    for none, that of Agresti and Coull (1998), which is not 0.
    """
    share = mean_of(np.asarray(hits, np.float64), **about)
    if share.value not in (0, 1):
        return share
    wider = share.items + 4
    centre = (share.items * share.value + 2) / wider
    return replace(share, stderr=math.sqrt(centre * (1 - centre) / wider))
