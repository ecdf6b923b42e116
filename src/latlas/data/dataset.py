"""What every source becomes: arrays as stored, the scaling that models see them through, and three splits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from latlas.data.stored import All, Items, Stored, shuffled
from latlas.errors import InputError

Kind = Literal["image", "signal", "volume", "vector", "table"]
UNLABELLED = -1  # the class of an item without a label; among real labels it is NaN
ScalingKind = Literal["none", "integer", "minmax", "standard"]
# Of a split that stays on disk so many items, and bytes, are held in memory to measure and to draw.
LEAST_HELD, MOST_HELD, HELD_BYTES = 2_000, 50_000, 2**25
SPLITS = {"train": "training", "valid": "validation", "test": "test"}  # the splits, and what they are called


@dataclass(frozen=True)
class Scaling:
    """Maps data units, those of the training data, to the model's scale by (x - shift) / scale, along the last axis.

    `none`: 0/1 data, and floats inside [0, 1], taken as they are. `integer`: unsigned integers divided by
    their largest value. `minmax`: numbers by the least and greatest value of the training split. `standard`: table
    columns by the training split's means and standard deviations. Nothing is clipped: what lies beyond the
    training range lies outside [0, 1].
    """

    kind: ScalingKind = "none"
    shift: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Data units to the model's scale, as float32 (float64 stays float64); uint8 are always bytes."""
        double = x.dtype.kind == "f" and x.dtype.itemsize == 8
        real = x.astype(np.float64 if double else np.float32)
        if self.kind == "none":
            return real
        if self.kind == "integer":
            return real / np.asarray(self.largest(x.dtype), real.dtype)
        return (real - np.asarray(self.shift, real.dtype)) / np.asarray(self.scale, real.dtype)

    @property
    def own_range(self) -> bool:
        """Whether values have a range of their own, and so an offset that may be large beside it."""
        return self.kind in ("minmax", "standard")

    def largest(self, dtype: np.dtype) -> float:
        """The stored value of this dtype that is 1 on the model's scale, of `none` and `integer`."""
        if self.kind != "integer":
            return 1.0
        return 255.0 if dtype == np.uint8 else self.scale[0]

    def invert(self, x: np.ndarray) -> np.ndarray:
        """The model's scale back to data units: the inverse of `apply`; table rows as float64."""
        if self.kind == "none":
            return x
        if self.kind == "integer":
            return x * np.asarray(self.scale[0], x.dtype)
        # A column's offset may be large beside its spread: in float32 nothing of it would be left.
        real = x.astype(np.float64) if self.kind == "standard" else x
        return real * np.asarray(self.scale, real.dtype) + np.asarray(self.shift, real.dtype)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(d: dict[str, Any]) -> Scaling:
        """A scaling that was written. Raises KeyError, TypeError and ValueError for what is none."""
        found = Scaling(d["kind"], tuple(map(float, d["shift"])), tuple(map(float, d["scale"])))
        if found.kind not in get_args(ScalingKind) or not (
            np.all(np.isfinite(found.shift)) and min(found.scale) > 0
        ):
            raise ValueError(f"scaling {d}")
        return found


@dataclass(frozen=True)
class Split:
    """Items of one split: `x` (N, ..., C) or (N, D) as stored, `labels` and `index` (N,), `factors` (N, F).

    `labels` is None where there are none; of an item without one it is UNLABELLED among classes, NaN among real
    numbers. `index` holds the items' rows in the source. `factors` are integers that say what each item was made from,
    None where that is not known. `names` (N,) are texts that tell items apart, as the paths of image files in their
    folder; None where items have none. `target` is what the model's outputs are compared with, shaped and scaled as x;
    None where that is x itself.
    """

    x: Items
    labels: np.ndarray | None
    index: np.ndarray | All
    factors: np.ndarray | None = None
    names: np.ndarray | None = None
    target: np.ndarray | None = None

    @property
    def on_disk(self) -> bool:
        """Whether the items are read when they are used, as they are larger than what memory should hold."""
        return isinstance(self.x, Stored)

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: np.ndarray | slice) -> Split:
        """The given rows, in the given order, in memory."""
        return replace(self._beside(rows), x=self.x[rows])

    def part(self, rows: np.ndarray | slice) -> Split:
        """The given rows, in the given order; of items on disk nothing is read."""
        if not isinstance(self.x, Stored):
            return self.take(rows)
        x = self.x.part(rows)
        # Of many items the numbers of rows take memory as well: where both are the same they are one array.
        return replace(self._beside(rows, x.rows if self.index is self.x.rows else None), x=x)

    def _beside(self, rows: np.ndarray | slice, index: np.ndarray | All | None = None) -> Split:
        """All but the items of the given rows, whose numbers are the `index`, if they are known already."""
        optional = (self.labels, self.factors, self.names, self.target)
        labels, factors, names, target = (None if a is None else a[rows] for a in optional)
        index = self.index[rows] if index is None else index
        return replace(self, labels=labels, index=index, factors=factors, names=names, target=target)

    @property
    def clean(self) -> Items:
        """What the model's outputs are compared with, as stored: the targets, or x."""
        return self.x if self.target is None else self.target

    def evenly(self, most: int) -> Split:
        """At most so many items, spaced evenly over the split."""
        return self if most >= len(self) and not self.on_disk else self.take(self.even_rows(most))

    @property
    def some(self) -> Split:
        """Of items on disk evenly spaced ones, as many as memory should hold; all of others."""
        return self.evenly(self.held)

    @property
    def held(self) -> int:
        """The number of items that `some` has."""
        if not isinstance(self.x, Stored):
            return len(self)
        return min(
            len(self), max(LEAST_HELD, min(MOST_HELD, HELD_BYTES * len(self) // max(1, self.x.nbytes)))
        )

    def even_rows(self, most: int) -> np.ndarray:
        """At most so many rows, spaced evenly over the split, in its order."""
        if most >= len(self):
            return np.arange(len(self))
        return np.linspace(0, len(self) - 1, most).round().astype(np.int64)

    def drawn_rows(self, most: int, seed: int = 0) -> np.ndarray:
        """At most so many rows drawn by the seed, in a random order; fewer are the first of more."""
        return shuffled(len(self), seed)[:most].astype(np.int64)

    @property
    def has_classes(self) -> bool:
        """Whether the items have labels that are classes, and two of them at the least."""
        labels = self.labels
        if labels is None or not np.issubdtype(labels.dtype, np.integer):
            return False
        return len(np.unique(labels[is_labelled(labels)])) > 1


def is_labelled(labels: np.ndarray) -> np.ndarray:
    """Which items have a label: (N,) for classes or real labels (N,)."""
    return ~np.isnan(labels) if labels.dtype.kind == "f" else labels != UNLABELLED


@dataclass(frozen=True)
class Dataset:
    """A data set ready to train on.

    `shape` is one item as the model sees it: (C, H, W) for images, (C, L) for signals, (C, D, H, W) for volumes, (D,)
    for vectors and tables. `binary`: all
    values are 0 or 1 (of a dynamically binarised training split: once drawn). `classes` names the label values 0, 1,
    ...; with labels and no classes the labels are real numbers. `factor_names` names the columns of the splits'
    factors. `fingerprint` identifies the content (hex SHA-256 of the stored items, labels and factors of all splits).
    `notes` are the choices made while loading, one printable line each.
    """

    name: str
    source: str
    kind: Kind
    shape: tuple[int, ...]
    binary: bool
    scaling: Scaling
    train: Split
    valid: Split
    test: Split
    classes: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    fingerprint: str = ""
    notes: tuple[str, ...] = ()
    factor_names: tuple[str, ...] | None = None

    @property
    def on_disk(self) -> bool:
        """Whether training items are read in windows, as they are larger than what memory should hold."""
        return self.train.on_disk

    @property
    def measured(self) -> str:
        """The split that is measured and drawn: test; where it is empty, valid; where that is empty too, train."""
        return next((name for name in ("test", "valid") if len(self.split(name))), "train")

    def in_memory(self) -> Dataset:
        """The data set with evenly spaced items of each split that is on disk, enough to measure and to draw."""
        if not self.on_disk:
            return self
        return replace(self, train=self.train.some, valid=self.valid.some, test=self.test.some)

    def split(self, name: str) -> Split:
        """The split called train, valid or test."""
        if name not in SPLITS:
            raise InputError("expected train, valid or test", field="split", value=name)
        return getattr(self, name)
