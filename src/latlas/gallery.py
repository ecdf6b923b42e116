"""The pictures of one run: what a model makes of its test items, drawn into the run's `figures` folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure

from latlas import figures
from latlas.data.dataset import Dataset, Split

LATENTS = 16  # rows of the picture of traversals
PANELS = 12  # the same, for columns
MORPH, TRAVERSAL = 11, 13  # steps along each

# How to read each picture; it is kept in the file and shown beneath the picture in the report.
READING = {
    "reconstructions": "The closer a lower image is to the one above, the more of it the code keeps.",
    "samples": "Items that the model makes up: good ones look like the data and differ from each other.",
    "snapshots": "Follow one place from panel to panel: the same code, after more training.",
    "latent": "Items with similar codes lie near each other; a class on its own island is known by its code.",
    "manifold": "A map of what the model can draw: each place shows what its code decodes to.",
    "traversals": "What changes along a row is what that dimension stands for; no change: it is unused.",
    "morph": "In a good latent space every step in between could be in the data.",
    "losses": "ELBO up is better: distortion is what the decoder misses, rate what the codes hold. "
    "Validation far below training means overfitting.",
}
COLUMN_READING = {
    "reconstructions": "Dots on the line are exact; a flat cloud is a column that the codes leave out.",
    "samples": "Where the line leaves the grey, samples are distributed otherwise than the data.",
    "traversals": "A steep line is a column that this dimension moves; only flat lines: it is unused.",
}


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
    def reconstruct(self, x: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Settings:
    """How to draw a run.

    `prior`: the codes were trained towards the model's prior; a plain autoencoder's were not, so its
    pictures use the range of its own codes and it has no samples. `size` and `span`: rows and columns of
    the manifold, and its range on both axes (None: quantiles of the prior). `dots`: how many test
    items the scatter shows at most. `unit`: of the loss curves.
    """

    prior: bool = True
    size: tuple[int, int] = (20, 20)
    span: tuple[float, float] | None = None
    dots: int = 5000
    seed: int = 0
    unit: str = "nats per image"


def draw(
    run: Path,
    model: Codec,
    data: Dataset,
    log: Iterable[Mapping[str, Any]] = (),
    settings: Settings = Settings(),
) -> list[Path]:
    """Draws the pictures that the run has the parts for into `run/figures`; the paths written.

    Uses the test split, `run/snapshots/*.npz` (key `samples`) and the rows of log.jsonl. Each file is
    written whole or not at all.
    """
    rng = np.random.default_rng(settings.seed)
    chosen = rng.permutation(len(data.test))[: settings.dots]
    items = data.test.take(np.sort(chosen))
    scene = _Scene(model, data, settings, items, np.asarray(model.encode(items.x), float))
    pictures = {
        "reconstructions": _reconstructions(scene),
        "samples": _samples(scene),
        "snapshots": _snapshots(scene, run / "snapshots"),
        "latent": _latent(scene),
        "manifold": _manifold(scene),
        "traversals": _traversals(scene),
        "morph": _morph(scene),
        "losses": _losses(list(log), settings.unit),
    }
    return [
        figures.save(figure, run / "figures" / f"{name}.png", scene.reading(name))
        for name, figure in pictures.items()
        if figure is not None
    ]


@dataclass(frozen=True)
class _Scene:
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
        return COLUMN_READING.get(name, READING[name]) if columns else READING[name]

    def stored(self, x: np.ndarray) -> np.ndarray:
        """Items as stored, on the scale that the model puts out: images on [0, 1], tables as they are."""
        return np.asarray(x, float) if self.table else self.data.scaling.apply(x)

    def images(self, x: np.ndarray) -> np.ndarray:
        """Items on [0, 1] as images (..., H, W, C): vectors as flat strips."""
        return x if self.pictorial else figures.strips(x)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decodes codes (..., D) into items (..., item)."""
        flat = self.model.decode(codes.reshape(-1, codes.shape[-1]).astype(np.float32))
        return np.asarray(flat).reshape(*codes.shape[:-1], *flat.shape[1:])

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


def _reconstructions(scene: _Scene) -> Figure | None:
    if scene.table:
        x = scene.items.x[:1000]
        return figures.column_reconstructions(
            scene.stored(x), np.asarray(scene.model.reconstruct(x)), scene.columns
        )
    height, width = scene.images(scene.stored(scene.items.x[:1])).shape[1:3]
    columns = int(np.clip(round(10 * height / width), 2, 10))
    rows = scene.varied(2 * columns)
    x = scene.items.x[rows]
    labels = None
    if scene.data.classes is not None and scene.items.labels is not None:
        labels = [scene.data.classes[int(label)] for label in scene.items.labels[rows]]
    return figures.reconstructions(
        scene.images(scene.stored(x)),
        scene.images(np.asarray(scene.model.reconstruct(x))),
        labels,
        subtitle="Test items the model has not been trained on, decoded from their mean code.",
        columns=columns,
    )


def _samples(scene: _Scene) -> Figure | None:
    if not scene.settings.prior:
        return None
    how = "Means of p(x|z) for codes z drawn from the prior."
    if scene.table:
        samples = np.asarray(scene.model.sample(len(scene.items), seed=scene.settings.seed))
        return figures.column_samples(scene.stored(scene.items.x), samples, scene.columns, subtitle=how)
    count = 64 if scene.pictorial else 24
    samples = scene.images(np.asarray(scene.model.sample(count, seed=scene.settings.seed)))
    return figures.image_grid(samples, "Samples from the prior", how)


def _snapshots(scene: _Scene, folder: Path) -> Figure | None:
    files = sorted((p for p in folder.glob("*.npz") if p.stem.isdigit()), key=lambda p: int(p.stem))
    if scene.table or not files:
        return None
    taken = []
    for path in [files[i] for i in figures.some(len(files), 16)]:
        with np.load(path) as archive:
            samples = archive["samples"]
        samples = samples / 255 if samples.dtype == np.uint8 else samples.astype(float)
        taken.append((int(path.stem), scene.images(samples)))
    how = "Each panel decodes the same codes, after so many optimisation steps."
    return figures.snapshots(taken, "The same noise, decoded over training", how)


def _latent(scene: _Scene) -> Figure | None:
    codes, total = scene.codes, len(scene.data.test)
    drawn = f"{len(codes):,} of {total:,}" if len(codes) < total else f"{total:,}"
    labels, classes = scene.items.labels, scene.data.classes
    who = f"Mean codes of {drawn} items of the test split."
    if codes.shape[1] == 1:
        figure = figures.latent_histogram(codes, labels, classes, f"{who} The one latent dimension.")
    elif codes.shape[1] == 2:
        figure = figures.latent_scatter(codes, labels, classes, f"{who} The two latent dimensions.")
    else:
        if len(codes) < 3:
            return None
        plane, how = figures.project(codes)
        names = ("first principal component", "second principal component")
        figure = figures.latent_scatter(plane, labels, classes, f"{who} {how}", names=names)
    return figure


def _manifold(scene: _Scene) -> Figure | None:
    dimensions = scene.codes.shape[1]
    if dimensions > 2 or not scene.pictorial:
        return None
    settings = scene.settings
    from_codes = not settings.prior and settings.span is None
    if dimensions == 1:
        axis = figures.manifold_codes(
            (1, settings.size[1]), settings.span, scene.codes if from_codes else None
        ).across
        grid = figures.Grid(axis[None, :, None], axis, np.zeros(0))
    else:
        grid = figures.manifold_codes(settings.size, settings.span, scene.codes if from_codes else None)
    if settings.span is not None:
        ends = [f"{end:g}".replace("-", "−") for end in settings.span]
        how = f"Codes evenly spaced from {ends[0]} to {ends[1]}."
    elif settings.prior:
        how = "Codes at evenly spaced quantiles of the prior."
    else:
        how = "Codes at evenly spaced quantiles of the test items' own codes."
    what = "The latent plane, decoded" if dimensions == 2 else "The latent line, decoded"
    return figures.manifold(scene.images(scene.decode(grid.codes)), grid.across, grid.up, what, how)


def _traversals(scene: _Scene) -> Figure | None:
    codes, prior = scene.codes, scene.settings.prior
    dimensions = codes.shape[1]
    if dimensions < 3:
        return None
    variance = codes.var(axis=0)
    shown = np.argsort(-variance, kind="stable")[: LATENTS if scene.pictorial else PANELS]
    base = codes[scene.varied(1)[0]]
    offsets = np.linspace(-3, 3, TRAVERSAL)
    paths = np.tile(base, (len(shown), TRAVERSAL, 1))
    for row, d in enumerate(shown):
        paths[row, :, d] = offsets if prior else codes[:, d].mean() + offsets * codes[:, d].std()
    names = [f"z{d + 1}  (var {variance[d]:{'.2f' if variance[d] < 100 else '.0f'}})" for d in shown]
    title = "What each latent dimension does"
    where = "−3 to 3" if prior else "−3 to 3 standard deviations of the codes about their mean"
    how = f"The code of one test item, one dimension at a time moved from {where}."
    how += " In brackets: the variance of the mean codes."
    if len(shown) < dimensions:
        how += f" The {len(shown)} of {dimensions} dimensions with the largest variance."
    decoded = scene.decode(paths)
    if scene.pictorial:
        unit = "" if prior else " sd"
        return figures.traversals(scene.images(decoded), offsets, names, title, how, unit)
    if scene.table:
        data = scene.stored(scene.items.x)
        decoded = (decoded - data.mean(0)) / np.where(data.std(0) > 0, data.std(0), 1)
        how += " Up: the column, in its standard deviations."
    return figures.column_traversals(decoded, offsets, names, scene.columns, title, how)


def _morph(scene: _Scene) -> Figure | None:
    rows = scene.varied(8)
    rows = rows[: len(rows) // 2 * 2]
    if not scene.pictorial or not len(rows):
        return None
    ends = scene.codes[rows].reshape(-1, 2, 1, scene.codes.shape[1])
    t = np.linspace(0, 1, MORPH)
    paths = ends[:, 0] * (1 - t[:, None]) + ends[:, 1] * t[:, None]
    originals = scene.images(scene.stored(scene.items.x[rows]))
    return figures.morph(
        scene.images(scene.decode(paths)),
        t,
        originals.reshape(-1, 2, *originals.shape[1:]),
        "Morphs between two test images",
        "Codes on the straight line between the two images' mean codes, decoded.",
    )


def _losses(log: list[Mapping[str, Any]], unit: str) -> Figure | None:
    if not any(row.get("kind") in ("step", "epoch") for row in log):
        return None
    return figures.losses(log, unit)
