"""What the pictures of a run share: the model's face, how to draw, and the test items drawn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from latlas import figures
from latlas.data.dataset import Dataset, Split
from latlas.metrics import Context


class Codec(Protocol):
    """What the pictures need of a model, numpy in and out.

    Items in are as stored; items out are images (N, H, W, C) in [0, 1], vectors (N, D), or tables in data
    units.
    """

    @property
    def latent(self) -> int: ...
    def encode(self, x: np.ndarray, /) -> np.ndarray: ...
    def decode(self, z: np.ndarray, /) -> np.ndarray: ...
    def sample(self, n: int, /, seed: int = 0) -> np.ndarray: ...
    def posterior(self, x: np.ndarray, /) -> Any: ...
    def reconstruct(self, x: np.ndarray, /) -> np.ndarray: ...
    def pseudo_inputs(self) -> np.ndarray | None: ...


@dataclass(frozen=True)
class Settings:
    """How to draw a run.

    `prior`: the codes were trained towards the model's prior; a plain autoencoder's were not, so its
    pictures use the range of its own codes and it has no samples. `size` and `span`: rows and columns of
    the manifold, and its range on both axes (None: quantiles of the prior). `dots`: how many test
    items the scatter shows at most. `unit`: of the loss curves. `restore`: of a denoising model, items as
    stored to corrupted and restored ones as the model puts them out, and `damage` says what they suffer.
    `densities`: names of those to fit to the training codes and draw samples from.
    """

    prior: bool = True
    size: tuple[int, int] = (20, 20)
    span: tuple[float, float] | None = None
    dots: int = 5000
    seed: int = 0
    unit: str = "nats per image"
    restore: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    damage: str = ""
    densities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """What the pictures of a run share: the test items drawn from, and their mean codes (N, D)."""

    model: Codec
    data: Dataset
    settings: Settings
    items: Split
    codes: np.ndarray

    @property
    def table(self) -> bool:
        return self.data.kind == "table"

    @property
    def pictorial(self) -> bool:
        """Whether an item can be looked at as an image."""
        return self.data.kind == "image"

    @property
    def columns(self) -> list[str]:
        names = self.data.columns or tuple(f"column {i + 1}" for i in range(self.data.shape[0]))
        return [str(n) for n in names]

    def reading(self, name: str) -> str:
        """How to read that picture of this run."""
        columns = self.table or (name == "traversals" and not self.pictorial)
        return figures.reading(name, columns)

    def stored(self, x: np.ndarray) -> np.ndarray:
        """Items as stored, on the scale that the model puts out: images on [0, 1], tables as they are."""
        return np.asarray(x, float) if self.table else self.data.scaling.apply(x)

    def images(self, x: np.ndarray) -> np.ndarray:
        """Items on [0, 1] as images (..., H, W, C): vectors as flat strips."""
        return x if self.pictorial else figures.strips(x)

    def across(self, most: int = 10) -> int:
        """How many items stand side by side: at most so many, fewer where they are wide."""
        height, width = self.images(self.stored(self.items.x[:1])).shape[1:3]
        return int(np.clip(round(most * height / width), 2, most))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decodes codes (..., D) into items (..., item)."""
        flat = self.model.decode(codes.reshape(-1, codes.shape[-1]).astype(np.float32))
        return np.asarray(flat).reshape(*codes.shape[:-1], *flat.shape[1:])

    def class_names(self, rows: np.ndarray) -> list[str] | None:
        """The classes of these rows of `items` by name; None where they have none."""
        if self.data.classes is None or self.items.labels is None:
            return None
        return [self.data.classes[int(label)] for label in self.items.labels[rows]]

    def varied(self, count: int) -> np.ndarray:
        """Rows of `items`, drawn at random but taken from every class in turn."""
        order = np.random.default_rng(self.settings.seed).permutation(len(self.items))
        labels = self.items.labels
        if labels is None or not np.issubdtype(labels.dtype, np.integer):
            return order[:count]
        turn = np.zeros(len(order), int)
        for label in np.unique(labels):
            members = np.flatnonzero(labels[order] == label)
            turn[members] = np.arange(len(members))
        few = len(np.unique(labels)) <= count
        second = labels[order] if few else np.arange(len(order))
        return order[np.lexsort((second, turn))][:count]


def scene_of(
    model: Codec, data: Dataset, settings: Settings = Settings(), context: Context | None = None
) -> Scene:
    """The test items that a model's pictures show, the same for every model of these data, and their codes."""
    rows = np.sort(data.test.drawn_rows(settings.dots, settings.seed))
    items = data.test.take(rows)
    codes = np.asarray(model.encode(items.x) if context is None else context.codes_of(rows), float)
    return Scene(model, data, settings, items, codes)
