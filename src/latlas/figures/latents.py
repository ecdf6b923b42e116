"""Pictures of codes in latent space, by class, and projections of codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from latlas.data.dataset import UNLABELLED, is_labelled
from latlas.errors import InputError
from latlas.figures.style import (
    BLUE,
    CLASS_COLOURS,
    FONT,
    INK,
    MARGIN,
    MUTED,
    NO_LABEL,
    OTHERS,
    legend,
    names_of,
    page,
    panel,
    plain,
    shorten,
    tidy,
    write,
)
from latlas.text import counted

Limits = tuple[float, float] | tuple[tuple[float, float], tuple[float, float]]
COLOURS = "viridis"
WITHOUT = "without a label"


def latent_scatter(
    codes: np.ndarray,
    labels: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    subtitle: str = "The two latent dimensions.",
    limits: Limits | None = None,
    axis_names: tuple[str, str] = ("latent dimension 1", "latent dimension 2"),
) -> Figure:
    """Draws codes (N, 2) as dots, coloured by class (integer labels), by value (real labels) or not at all.

    Dots without a label (`latlas.data.UNLABELLED`, NaN) are grey and lie below the others.

    `subtitle` names the two coordinates. `limits` is one range for both axes or one for each; without it the axes show
    every dot, on one scale. With more than ten classes the ten most frequent are coloured, and the picture says so.

    Raises InputError if codes are not (N, 2) or not finite.
    """
    codes = np.asarray(codes, float)
    if codes.ndim != 2 or codes.shape[1] != 2 or not len(codes) or not np.isfinite(codes).all():
        raise InputError(f"codes: expected finite numbers of shape (N, 2), got shape {codes.shape}")
    order = drawing_order(labels, len(codes))
    labels = _any_labels(labels)
    codes, labels = codes[order], None if labels is None else labels[order]
    title, extra, colours, handles = colouring(labels, classes)
    ranges = spans(codes, limits)
    outside = int(((codes < [r[0] for r in ranges]) | (codes > [r[1] for r in ranges])).any(1).sum())
    notes = [subtitle, extra, f"{outside:,} of {len(codes):,} dots lie outside the axes." if outside else ""]
    side = 880
    right = 40 if labels is None else 60 + _legend_width(handles)
    figure, top = page((92 + side + right, side + 70), title, " ".join(n for n in notes if n))
    axes = tidy(panel(figure, (MARGIN + 92, top, side, side)), *(plain(name) for name in axis_names))
    size = float(np.clip(20_000 / len(codes), 7, 30))
    axes.scatter(codes[:, 0], codes[:, 1], s=size, c=colours, alpha=0.72, linewidths=0)
    axes.set(xlim=ranges[0], ylim=ranges[1])
    if handles and labels is not None:
        legend(
            axes,
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(1.03, 1.0),
            labelspacing=0.7,
            handletextpad=0.3,
        )
        if len(np.unique(labels[is_labelled(labels)])) <= len(CLASS_COLOURS):
            _name_clusters(axes, codes, labels, handles)
    elif labels is not None:
        _colour_bar(figure, labels, (MARGIN + 92 + side + 28, top, 20, side))
    return figure


def latent_histogram(
    codes: np.ndarray,
    labels: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    subtitle: str = "The one latent dimension.",
) -> Figure:
    """Draws a histogram of codes (N,) of one latent dimension for each of the ten most frequent classes, and for the
    items without a label.
    """
    codes = np.asarray(codes, float).reshape(-1)
    if not len(codes) or not np.isfinite(codes).all():
        raise InputError("codes: expected finite numbers of shape (N,)")
    groups, extra = _groups(labels, classes, len(codes))
    by_class = len(groups) > 1 or bool(groups[0][0])
    left = 40 + 11 * max(len(shorten(name, 18)) for name, _ in groups) if by_class else 20
    height = 84 if by_class else 420
    title = "The data in latent space" + (", by class" if by_class else "")
    figure, top = page((1080, height * len(groups) + 70), title, " ".join(s for s in (subtitle, extra) if s))
    low, high = _padded(codes)
    edges = np.linspace(low, high, 81)
    for i, (name, members) in enumerate(groups):
        axes = tidy(panel(figure, (MARGIN + left, top + i * height, 1060 - left, height - 8)))
        counts, _ = np.histogram(codes[members], edges)
        colour = BLUE if not by_class else NO_LABEL if name == WITHOUT else CLASS_COLOURS[i]
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.85)
        axes.set(xlim=(low, high), ylim=(0, max(1, counts.max()) * 1.08), yticks=[])
        axes.spines["left"].set_visible(False)
        write(axes, (-0.015, 0.3), shorten(name, 18), 9, color=INK, ha="right", transform=axes.transAxes)
        axes.tick_params(labelbottom=i == len(groups) - 1, length=0)
    axes.set_xlabel("latent dimension 1", fontsize=9, color=MUTED, family=FONT)
    return figure


def _groups(
    labels: np.ndarray | None, classes: Sequence[str] | None, count: int
) -> tuple[list[tuple[str, np.ndarray]], str]:
    """The most frequent classes with their members, and a note; without classes one group without a name."""
    labels = _any_labels(labels)
    if labels is None or not np.issubdtype(labels.dtype, np.integer):
        return [("", np.ones(count, bool))], ""
    shown, total = _most_frequent(labels)
    names = names_of(classes, int(labels.max()) + 1)
    note = "" if total <= len(shown) else f"The {len(shown)} most frequent of {total} classes."
    groups = [(names[c] or str(c), labels == c) for c in shown]
    missing = ~is_labelled(labels)
    return groups + [(WITHOUT, missing)] * bool(missing.any()), note


def _any_labels(labels: np.ndarray | None) -> np.ndarray | None:
    """The labels, None if every one is missing."""
    return None if labels is None or not is_labelled(np.asarray(labels)).any() else np.asarray(labels)


def drawing_order(labels: np.ndarray | None, count: int) -> np.ndarray:
    """The order in which dots are drawn: random, so that no class covers others, and those without a label first."""
    order = np.random.default_rng(0).permutation(count)
    if labels is None:
        return order
    known = is_labelled(np.asarray(labels)[order])
    return np.concatenate([order[~known], order[known]])


def _most_frequent(labels: np.ndarray, most: int = len(CLASS_COLOURS)) -> tuple[list[int], int]:
    """The most frequent labels in ascending order, and the number of different labels."""
    values, counts = np.unique(labels[labels != UNLABELLED], return_counts=True)
    frequent = values[np.argsort(-counts, kind="stable")[:most]]
    return sorted(int(v) for v in frequent), len(values)


def colouring(
    labels: np.ndarray | None, classes: Sequence[str] | None
) -> tuple[str, str, str | np.ndarray | list[str], list[Line2D]]:
    """The title, a note, the colour of each dot, and the legend's entries."""
    labels = _any_labels(labels)
    if labels is None:
        return "The data in latent space", "", BLUE, []
    missing = int((~is_labelled(labels)).sum())
    if not np.issubdtype(labels.dtype, np.integer):
        from matplotlib import colormaps

        colours = colormaps[COLOURS].with_extremes(bad=NO_LABEL)(_norm(labels)(np.ma.masked_invalid(labels)))
        note = f"Grey: {missing:,} {WITHOUT}." if missing else ""
        return "The data in latent space, by label", note, colours, []
    shown, total = _most_frequent(labels)
    names = names_of(classes, int(labels.max()) + 1)
    palette = {c: CLASS_COLOURS[i] for i, c in enumerate(shown)}
    entries = [(names[c], palette[c]) for c in shown]
    note = ""
    if total > len(shown):
        note = f"Coloured: the {len(shown)} most frequent of {total} classes."
        entries.append((counted(total - len(shown), "other class"), OTHERS))
    if missing:
        entries.append((f"{missing:,} {WITHOUT}", NO_LABEL))
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=7, color=colour, label=shorten(name, 24))
        for name, colour in entries
    ]
    palette[UNLABELLED] = NO_LABEL
    return "The data in latent space, by class", note, [palette.get(int(c), OTHERS) for c in labels], handles


def _norm(labels: np.ndarray) -> Normalize:
    finite = labels[np.isfinite(labels)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    return Normalize(low, high if high > low else low + 1)


def _padded(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    pad = 0.04 * (high - low) or 0.5
    return low - pad, high + pad


def spans(codes: np.ndarray, limits: Limits | None) -> list[tuple[float, float]]:
    """The range of each axis."""
    if limits is None:
        ranges = [_padded(codes[:, 0]), _padded(codes[:, 1])]
        half = max(high - low for low, high in ranges) / 2
        return [((low + high) / 2 - half, (low + high) / 2 + half) for low, high in ranges]
    first, second = limits
    if isinstance(first, tuple) and isinstance(second, tuple):
        return [first, second]
    if isinstance(first, tuple) or isinstance(second, tuple):
        raise InputError(f"limits {limits}: expected (low, high), or one such pair for each axis")
    return [(float(first), float(second))] * 2


def _legend_width(handles: list[Line2D]) -> int:
    return 40 + 12 * max((len(str(h.get_label())) for h in handles), default=6)


def _colour_bar(figure: Figure, labels: np.ndarray, box: tuple[float, float, float, float]) -> None:
    bar = figure.colorbar(ScalarMappable(_norm(labels), COLOURS), cax=panel(figure, box))
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, labelsize=8, length=3, labelfontfamily=FONT)
    bar.ax.set_title("label", fontsize=9, color=MUTED, family=FONT, pad=10)


def _densest(codes: np.ndarray) -> np.ndarray:
    """The code (2,) at the densest place."""
    distances = np.square(codes[:, None] - codes[None]).sum(-1)
    near = 0.05 * distances.max() or 1.0
    return codes[np.exp(-distances / near).sum(1).argmax()]


def _name_clusters(axes: Axes, codes: np.ndarray, labels: np.ndarray, handles: list[Line2D]) -> None:
    """Writes each class's name where its dots are densest, without overlap, for readers who cannot tell colours."""
    middles = [_densest(codes[labels == c][:400]) for c in _most_frequent(labels)[0]]
    names = [str(h.get_label()) for h in handles[: len(middles)]]
    places = axes.transData.transform(np.array(middles))
    widths = np.array([13.0 * len(name) for name in names])
    for _ in range(200):
        for i in range(len(places)):
            for j in range(i):
                gap = places[i] - places[j]
                overlap = 28 - abs(gap[1])
                if overlap > 0 and abs(gap[0]) < (widths[i] + widths[j]) / 2:
                    shift = overlap / 2 * (1 if gap[1] >= 0 else -1)
                    places[i, 1] += shift
                    places[j, 1] -= shift
    for name, place in zip(names, axes.transData.inverted().transform(places), strict=True):
        halo = [withStroke(linewidth=4, foreground="white")]
        write(axes, tuple(place), name, 9.0, color=INK, fontweight="bold", path_effects=halo)


def project(codes: np.ndarray, fitted_to: np.ndarray | None = None) -> tuple[np.ndarray, str]:
    """Codes (N, D) projected on two principal components, (N, 2), and a sentence on the projection.

    The components are those of the codes `fitted_to` (M, D) if given, else of the codes themselves. One code has none:
    it is shown by its first two dimensions.
    """
    spread = codes if fitted_to is None else fitted_to
    if len(spread) < 2:
        return codes[
            :, :2
        ], f"The first two of {counted(codes.shape[1], 'dimension')}: one item has no spread."
    # By NumPy: to import scikit-learn for two components would take two seconds of the end of a run.
    middle = spread.mean(0, dtype=np.float64)
    _, lengths, axes = np.linalg.svd(spread - middle, full_matrices=False)
    lengths = lengths / max(lengths.max(), np.finfo(float).tiny)  # whose squares might not be finite
    share = (lengths[:2] ** 2).sum() / max((lengths**2).sum(), np.finfo(float).tiny)
    what = f"PCA of {counted(codes.shape[1], 'dimension')} ({share:.0%} of the variance)."
    # The largest entry of each axis is made positive: no picture is another one's mirror image.
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    return (codes - middle) @ np.where(largest < 0, -axes, axes)[:2].T, what
