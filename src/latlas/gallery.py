"""The pictures of a run: FIGURES maps each name to how it is drawn and its caption, in the report's order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from latlas import densities, figures
from latlas.build import has_prior, item_of, unit_of
from latlas.corruption import describe
from latlas.data.dataset import SPLITS, UNLABELLED, Dataset, Kind, Split
from latlas.data.memory import Units
from latlas.data.stored import Items
from latlas.metrics import Context, context_of
from latlas.metrics.reconstruction import restore
from latlas.models import Model
from latlas.progress import SILENT, Observer
from latlas.runs import Run, dataset_of
from latlas.settings import Config, CorruptionConfig
from latlas.text import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ACROSS = 10  # most items side by side
TRAVERSED_IMAGES, TRAVERSED_COLUMNS = 16, 12  # latent dimensions in a picture of traversals
MORPH_STEPS, TRAVERSAL_STEPS = 11, 13
MOST_OUTSIDE = (
    0.4  # share of test codes outside the quantiles of the prior: above it the plane follows the codes
)


@dataclass(frozen=True)
class Settings:
    """Settings of a run's pictures.

    `prior` says whether the codes were trained towards the model's prior. Those of a plain autoencoder were not: its
    pictures use the range of its codes, and it has no samples. `size` (rows, columns) and `span` are the grid of the
    manifold and its range on both axes; None takes quantiles of the prior. `densities` names the densities that are
    fitted to the training codes and sampled. `corruption` is that of a denoising model's inputs. `dots` is the largest
    number of test items in the scatter.
    """

    prior: bool = True
    size: tuple[int, int] = (20, 20)
    span: tuple[float, float] | None = None
    densities: tuple[str, ...] = ()
    corruption: CorruptionConfig = CorruptionConfig()
    dots: int = 5000
    seed: int = 0


def settings_of(config: Config) -> Settings:
    """The settings that a configuration gives for its run's pictures."""
    pictures = config.pictures
    return Settings(has_prior(config), pictures.grid, pictures.span, pictures.densities, config.corruption)


@dataclass(frozen=True)
class Drawing:
    """The inputs of all pictures of a run: its model and data, the test `items` shown and their mean `codes` (N, D).

    The `run` supplies the log and the snapshots; it is None for a model without a run folder.
    """

    model: Model
    data: Dataset
    settings: Settings
    items: Split
    codes: np.ndarray
    run: Run | None = None

    @property
    def table(self) -> bool:
        return self.data.kind == "table"

    @property
    def units(self) -> Units:
        """The units that items are drawn in: a table's own, else the model's scale, on which images lie in [0, 1]."""
        return "data" if self.table else "model"

    @property
    def pictorial(self) -> bool:
        """Whether items are images."""
        return self.data.kind == "image"

    @property
    def pictured(self) -> bool:
        """Whether an item is drawn as a picture of its own: an image, a signal's curve, a slice of a volume."""
        return self.data.kind not in ("table", "vector")

    @property
    def column_names(self) -> list[str]:
        names = self.data.columns or tuple(f"column {i + 1}" for i in range(self.data.shape[0]))
        return [str(name) for name in names]

    @property
    def columns(self) -> int:
        """The number of items side by side: ten, or fewer if they are wide."""
        height, width = self.images(self.scaled(self.items.x[:1])).shape[1:3]
        return int(np.clip(round(MOST_ACROSS * height / width), 2, MOST_ACROSS))

    @property
    def sample_count(self) -> int:
        """The number of samples in a picture; for a table, as many as there are items to compare with."""
        return {"image": 64, "table": len(self.items)}.get(self.data.kind, 24)

    @cached_property
    def density_codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Training codes, to which densities are fitted, and test codes, on which they are evaluated."""
        train, test = self.data.train.x, self.data.split(self.data.measured).x
        return densities.codes_of(self.model, train, test, self.settings.seed)

    def scaled(self, x: Items) -> np.ndarray:
        """Stored items on the scale of the model's outputs: images in [0, 1], tables unchanged."""
        return np.asarray(x, float) if self.table else self.data.scaling.apply(np.asarray(x))

    def images(self, x: np.ndarray) -> np.ndarray:
        """Items in [0, 1] as images (..., H, W, C): of vectors flat strips, of signals curves, of volumes the middle
        slice.
        """
        drawn = {"image": lambda items: items, "signal": figures.traces, "volume": figures.middle_slice}
        return drawn.get(self.data.kind, figures.strips)(x)

    def plain(self, rows: np.ndarray) -> np.ndarray:
        """These rows of `items`, on the scale of the model's outputs."""
        return self.scaled(self.items.x[rows])

    def original(self, rows: np.ndarray) -> np.ndarray:
        """These rows of `items` as images (N, H, W, C)."""
        return self.images(self.plain(rows))

    def reconstruction(self, rows: np.ndarray) -> np.ndarray:
        """Reconstructions of these rows of `items`, on the scale of the model's outputs."""
        return np.asarray(self.model.reconstruct(self.items.take(rows), self.units))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decodes codes (..., D) into items (..., item)."""
        flat = self.model.decode(codes.reshape(-1, codes.shape[-1]).astype(np.float32), self.units)
        return np.asarray(flat).reshape(*codes.shape[:-1], *flat.shape[1:])

    @property
    def drawn(self) -> str:
        """What samples are: means of p(x | z); of a table draws, as means are narrower than the data by their noise."""
        return "Draws from p(x|z), with its noise," if self.table else "Means of p(x|z)"

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Samples of items from the prior: `drawn` says what they are."""
        return self.model.sample(count, seed, self.table, self.units)

    def samples_at(self, codes: np.ndarray) -> np.ndarray:
        """Samples of items at codes (N, D): `drawn` says what they are."""
        if not self.table:
            return self.decode(codes)
        z = torch.from_numpy(codes).to(self.model.device, self.model.dtype)
        noise = torch.Generator(self.model.device).manual_seed(self.settings.seed + 1)
        return self.model.to_numpy(self.model.means(z, noise), self.units)

    def class_names(self, rows: np.ndarray) -> list[str] | None:
        """The class names of these rows of `items`, a dash for an item without a label; None without classes."""
        if self.data.classes is None or self.items.labels is None:
            return None
        names = [*self.data.classes, "–"]  # UNLABELLED is the last place
        return [names[int(label)] for label in self.items.labels[rows]]

    def varied_rows(self, count: int) -> np.ndarray:
        """Random rows of `items`, taken from every class in turn; those without a label come last."""
        order = np.random.default_rng(self.settings.seed).permutation(len(self.items))
        labels = self.items.labels
        if labels is None or not np.issubdtype(labels.dtype, np.integer):
            return order[:count]
        turn = np.zeros(len(order), int)
        for label in np.unique(labels):
            members = np.flatnonzero(labels[order] == label)
            turn[members] = np.arange(len(members)) + (len(order) if label == UNLABELLED else 0)
        by_class = len(np.unique(labels)) <= count
        within_turn = labels[order] if by_class else np.arange(len(order))
        return order[np.lexsort((within_turn, turn))][:count]


def drawing_of(context: Context, settings: Settings = Settings(), run: Run | None = None) -> Drawing:
    """The inputs of a model's pictures; every model of these data shows the same test items."""
    rows = np.sort(context.test.drawn_rows(settings.dots, settings.seed))
    codes = context.codes_of(rows).astype(float)
    return Drawing(context.model, context.dataset, settings, context.test.take(rows), codes, run)


def draw(run: Run, context: Context, settings: Settings) -> list[Path]:
    """Draws every picture that the run has the data for into its folder `figures`, and gives the paths.

    The data are the test split and the run's snapshots and log. Each file is written whole or not at all.
    """
    run.check_writable()
    drawing, paths = drawing_of(context, settings, run), []
    for done, (name, entry) in enumerate(FIGURES.items()):
        context.observer.progress("drawing pictures", done, len(FIGURES), name)
        figure = entry.draw(drawing)
        if figure is not None:
            path = run.path / "figures" / f"{name}.png"
            paths.append(figures.save(figure, path, caption(name, context.dataset.kind)))
    context.observer.progress("drawing pictures", len(FIGURES), len(FIGURES))
    return paths


def redraw(
    run: Run,
    grid: tuple[int, int] | None,
    span: tuple[float, float] | None,
    data_dir: str = "",
    observer: Observer = SILENT,
) -> list[Path]:
    """Draws a trained run's pictures anew, the manifold over another grid if given. Returns their paths.

    Raises InputError when the run's data are missing.
    """
    dataset = dataset_of(run, data_dir, observer.progress)
    settings = settings_of(run.config)
    settings = replace(settings, size=grid or settings.size, span=span or settings.span)
    return draw(run, context_of(run, run.model(), dataset, observer=observer), settings)


def caption(name: str, kind: Kind) -> str:
    """The caption of a picture, for this kind of data."""
    return FIGURES[name].by_kind.get(kind, FIGURES[name].caption)


def _reconstructions(drawing: Drawing) -> Figure:
    if drawing.table:
        shown = drawing.items.take(slice(0, 1000))
        reconstruction = np.asarray(drawing.model.reconstruct(shown, drawing.units))
        return figures.column_reconstructions(drawing.scaled(shown.x), reconstruction, drawing.column_names)
    rows = drawing.varied_rows(2 * drawing.columns)
    return figures.image_rows(
        [("original", drawing.plain(rows)), ("reconstruction", drawing.reconstruction(rows))],
        "Originals and their reconstructions",
        "Test items the model has not been trained on, decoded from their mean code.",
        drawing.class_names(rows),
        drawing.columns,
        drawing.images,
    )


def _restored(drawing: Drawing) -> Figure | None:
    corruption, targets = drawing.settings.corruption, drawing.items.target
    if (corruption.name == "none" and targets is None) or drawing.table:
        return None
    rows = drawing.varied_rows(drawing.columns)
    pair = restore(drawing.model, drawing.items.x[rows], corruption, units=drawing.units)
    corrupted, restored = pair
    clean = drawing.plain(rows) if targets is None else drawing.scaled(targets[rows])
    first, second = ("clean", "corrupted") if targets is None else ("target", "input")
    return figures.image_rows(
        [(first, clean), (second, corrupted), ("restored", restored)],
        f"{first.capitalize()}, {second} and restored",
        f"Test items the model has not been trained on. {describe(corruption)}".strip(),
        drawing.class_names(rows),
        drawing.columns,
        drawing.images,
    )


def _samples(drawing: Drawing) -> Figure | None:
    if not drawing.settings.prior:
        return None
    samples = np.asarray(drawing.sample(drawing.sample_count, drawing.settings.seed))
    subtitle = f"{drawing.drawn} for codes z drawn from the prior."
    return _sample_figure(drawing, samples, "Samples from the prior", subtitle)


def _pseudo_inputs(drawing: Drawing) -> Figure | None:
    inputs = drawing.model.pseudo_inputs(drawing.units)
    if inputs is None or drawing.table:
        return None
    shown = inputs[figures.evenly_spaced(len(inputs), drawing.sample_count)]
    number = f"{len(shown)} of {len(inputs)}" if len(shown) < len(inputs) else f"All {len(inputs)}"
    subtitle = f"{number}, learned: the prior is the mean of their posteriors."
    return figures.image_grid(drawing.images(shown), "Pseudo-inputs of the VampPrior", subtitle)


def _density_samples(drawing: Drawing, name: str) -> Figure | None:
    """Samples from a density fitted to the training codes; None if there are too few codes."""
    if name not in drawing.settings.densities:
        return None
    codes, test_codes = drawing.density_codes
    if densities.refusal(name, codes):
        return None
    density = densities.fit(name, codes, drawing.settings.seed)
    total = len(drawing.data.train)
    fitted_to = f"{len(codes):,} of {total:,}" if len(codes) < total else f"{len(codes):,}"
    score = f"{density.log_prob(test_codes).mean():.2f}".replace("-", "−")
    subtitle = (
        f"{drawing.drawn} for z from {density.what}, fitted to the codes of {fitted_to} training items."
    )
    subtitle += f" Log-density of test codes: {score} nats per code."
    samples = drawing.samples_at(density.sample(drawing.sample_count, drawing.settings.seed))
    return _sample_figure(drawing, samples, f"Samples from {density.what}", subtitle)


def _sample_figure(drawing: Drawing, samples: np.ndarray, title: str, subtitle: str) -> Figure:
    if drawing.table:
        data, names = drawing.scaled(drawing.items.x), drawing.column_names
        return figures.column_samples(data, samples, names, subtitle=subtitle)
    return figures.image_grid(drawing.images(samples), title, subtitle)


def _latent(drawing: Drawing) -> Figure | None:
    codes, total = drawing.codes, len(drawing.data.split(drawing.data.measured))
    latent, labels, classes = codes.shape[1], drawing.items.labels, drawing.data.classes
    number = f"{len(codes):,} of {total:,} items" if len(codes) < total else counted(total, "item")
    subtitle = f"Mean codes of {number} of the {SPLITS[drawing.data.measured]} split."
    if latent == 1:
        return figures.latent_histogram(codes, labels, classes, f"{subtitle} The one latent dimension.")
    if latent == 2:
        return figures.latent_scatter(codes, labels, classes, f"{subtitle} The two latent dimensions.")
    if len(codes) < 3:
        return None
    plane, projection = figures.project(codes)
    names = ("first principal component", "second principal component")
    return figures.latent_scatter(plane, labels, classes, f"{subtitle} {projection}", axis_names=names)


def manifold_grid(settings: Settings, codes: np.ndarray) -> tuple[figures.Grid, str]:
    """The codes that a manifold of one or two latent dimensions decodes, and a sentence on them.

    `codes` (N, 1) or (N, 2) are those of the test items, whose quantiles are taken for a model without a prior.
    """
    fitted_to = None if settings.prior else codes
    grid = figures.manifold_codes(settings.size, settings.span, fitted_to, latent=codes.shape[1])
    if settings.span is not None:
        low, high = (f"{end:g}".replace("-", "−") for end in settings.span)
        return grid, f"Codes evenly spaced from {low} to {high}."
    source = "the prior" if settings.prior else "the test items' own codes"
    return grid, f"Codes at evenly spaced quantiles of {source}."


def _outside(grid: figures.Grid, codes: np.ndarray) -> float:
    """The share of codes (N, 1) or (N, 2) that lie outside the range of a grid."""
    ends = grid.codes.min((0, 1)), grid.codes.max((0, 1))
    return float(((codes < ends[0]) | (codes > ends[1])).any(1).mean())


def _manifold(drawing: Drawing) -> Figure | None:
    latent = drawing.codes.shape[1]
    if latent > 2 or not drawing.pictorial:
        return None
    grid, subtitle = manifold_grid(drawing.settings, drawing.codes)
    outside = _outside(grid, drawing.codes)
    if outside > MOST_OUTSIDE and drawing.settings.span is None:
        grid, subtitle = manifold_grid(replace(drawing.settings, prior=False), drawing.codes)
        subtitle += f" Of these, {outside:.0%} lie outside the middle of the prior."
    title = "The latent plane, decoded" if latent == 2 else "The latent line, decoded"
    return figures.manifold(drawing.decode(grid.codes), grid.across, grid.up, title, subtitle)


def _traversals(drawing: Drawing) -> Figure | None:
    codes, prior = drawing.codes, drawing.settings.prior
    latent = codes.shape[1]
    if latent < 3:
        return None
    variance = codes.var(axis=0)
    most = TRAVERSED_IMAGES if drawing.pictured else TRAVERSED_COLUMNS
    shown = np.argsort(-variance, kind="stable")[:most]
    offsets = np.linspace(-3, 3, TRAVERSAL_STEPS)
    paths = np.tile(codes[drawing.varied_rows(1)[0]], (len(shown), TRAVERSAL_STEPS, 1))
    for row, d in enumerate(shown):
        paths[row, :, d] = offsets if prior else codes[:, d].mean() + offsets * codes[:, d].std()
    names = [f"z{d + 1}  (var {variance[d]:{'.2f' if variance[d] < 100 else '.0f'}})" for d in shown]
    title = "What each latent dimension does"
    span = "−3 to 3" if prior else "−3 to 3 standard deviations of the codes about their mean"
    item = f"{SPLITS[drawing.data.measured]} item"
    subtitle = f"The code of one {item}, one dimension at a time moved from {span}."
    subtitle += " In brackets: the variance of the mean codes."
    if len(shown) < latent:
        subtitle += f" The {len(shown)} of {latent} dimensions with the largest variance."
    decoded = drawing.decode(paths)
    if drawing.pictured:
        seen = drawing.images(decoded.reshape(-1, *decoded.shape[2:]))
        decoded = seen.reshape(*decoded.shape[:2], *seen.shape[1:])
        return figures.traversals(decoded, offsets, names, title, subtitle, unit="" if prior else " sd")
    if drawing.table:
        data = drawing.scaled(drawing.items.x)
        decoded = (decoded - data.mean(0)) / np.where(data.std(0) > 0, data.std(0), 1)
        subtitle += " Up: the column, in its standard deviations."
    return figures.column_traversals(decoded, offsets, names, drawing.column_names, title, subtitle)


def _morph(drawing: Drawing) -> Figure | None:
    rows = drawing.varied_rows(8)
    rows = rows[: len(rows) // 2 * 2]
    if not drawing.pictorial or not len(rows):
        return None
    ends = drawing.codes[rows].reshape(-1, 2, 1, drawing.codes.shape[1])
    t = np.linspace(0, 1, MORPH_STEPS)
    paths = ends[:, 0] * (1 - t[:, None]) + ends[:, 1] * t[:, None]
    originals = drawing.original(rows)
    return figures.morph(
        drawing.decode(paths),
        t,
        originals.reshape(-1, 2, *originals.shape[1:]),
        f"Morphs between two {SPLITS[drawing.data.measured]} images",
        "Codes on the straight line between the two images' mean codes, decoded.",
    )


def _snapshots(drawing: Drawing) -> Figure | None:
    taken = [] if drawing.run is None or drawing.table else drawing.run.snapshots(item=item_of(drawing.data))
    if not taken:
        return None
    return figures.snapshots(
        [(step, drawing.images(figures.to_unit_range(samples))) for step, samples in taken],
        "The same noise, decoded over training",
        "Each panel decodes the same codes, after so many optimisation steps.",
    )


def _losses(drawing: Drawing) -> Figure | None:
    log = [] if drawing.run is None else drawing.run.log()
    if not any(row["kind"] in ("step", "epoch") for row in log):
        return None
    return figures.losses(log, unit_of(drawing.data.kind))


@dataclass(frozen=True)
class FigureEntry:
    """A picture of a run. `draw` gives None if the run lacks the data for it.

    `caption` says how to read the picture; `by_kind` holds other captions for tables or vectors.
    """

    draw: Callable[[Drawing], Figure | None]
    caption: str
    by_kind: Mapping[Kind, str] = field(default_factory=dict)


def _density_entry(name: str, caption: str) -> FigureEntry:
    return FigureEntry(partial(_density_samples, name=name), caption, {"table": SAMPLED_COLUMNS})


SAMPLED_COLUMNS = (
    "Samples are draws with the likelihood's noise, as the data have theirs: where the line leaves the grey area, they"
    " follow another distribution than the data."
)
MOVED_COLUMNS = (
    "A steep line is a column that this dimension changes; a dimension with only flat lines is unused."
)

FIGURES: dict[str, FigureEntry] = {
    "reconstructions": FigureEntry(
        _reconstructions,
        "The closer a lower image is to the one above, the more of it the code keeps.",
        {"table": "Dots on the line are exact; a flat cloud is a column that the codes leave out."},
    ),
    "restored": FigureEntry(
        _restored,
        "A good model removes the corruption and keeps the item: the restored image has the smaller error.",
    ),
    "samples": FigureEntry(
        _samples,
        "Items that the model makes up: good ones look like the data and differ from each other.",
        {"table": SAMPLED_COLUMNS},
    ),
    "pseudo-inputs": FigureEntry(
        _pseudo_inputs,
        "Codes drawn from the prior lie near the codes of these inputs. Each kind of item should have some of its own;"
        " if all are alike, the prior has only one component.",
    ),
    "samples-factored": _density_entry(
        "factored",
        "Codes are drawn with independent dimensions. If the dimensions depend on each other, samples fall between the"
        " data, and a richer density gives test codes a higher log-density.",
    ),
    "samples-full": _density_entry(
        "full",
        "Codes follow one Gaussian: codes between the classes are drawn as often as codes of the classes.",
    ),
    "samples-mixture": _density_entry(
        "mixture",
        "Codes are drawn from the clusters that they form. Higher log-density of test codes is better; compare it"
        " among densities of the same run alone.",
    ),
    "samples-flow": _density_entry(
        "flow",
        "Codes follow a flow, which fits a cloud of any shape. Higher log-density of test codes is better; compare it"
        " among densities of the same run alone.",
    ),
    "latent": FigureEntry(
        _latent,
        "Items with similar codes lie near each other; a class on an island of its own can be recognised by its code.",
    ),
    "manifold": FigureEntry(
        _manifold,
        "A map of what the model can draw: each place shows the decoded code of that place.",
    ),
    "traversals": FigureEntry(
        _traversals,
        "What changes along a row is what that dimension stands for; without a change the dimension is unused.",
        {"table": MOVED_COLUMNS, "vector": MOVED_COLUMNS},
    ),
    "morph": FigureEntry(
        _morph,
        "In a good latent space every step in between could be in the data.",
    ),
    "snapshots": FigureEntry(
        _snapshots,
        "Follow one place from panel to panel: the same code, after more training.",
    ),
    "losses": FigureEntry(
        _losses,
        "Distortion is what the decoder misses, rate is what the codes hold, and the ELBO is minus their sum: higher is"
        " better. Validation much worse than training means overfitting.",
    ),
}
