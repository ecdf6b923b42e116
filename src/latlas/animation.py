"""The snapshots of a run in order as an animated WebP or GIF: samples, codes by class, the decoded plane."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from latlas import figures, gallery, snapshots
from latlas.data.order import steps_per_epoch
from latlas.errors import InputError
from latlas.files import check_output, write_atomic
from latlas.limits import LIMITS
from latlas.progress import SILENT, Observer
from latlas.runs import Run

PANELS = ("samples", "codes", "manifold")
FORMATS = {".webp": "WEBP", ".gif": "GIF"}
SHORTEST_FRAME, LONGEST_HOLD = 0.04, 2.0  # seconds of a frame, and of the last frame
MOST_PIXELS = LIMITS["film"].most
SMALLEST, LARGEST = 240, 2400


@dataclass(frozen=True)
class Animation:
    """A film that was written: its file, the steps of the frames, the panels, and the size of a frame in pixels."""

    path: Path
    steps: tuple[int, ...]
    panels: tuple[str, ...]
    width: int
    height: int
    seconds: float


def animate(
    run: Run, out: Path | None = None, what: str = "all", seconds: float = 8.0, size: int = 960,
    observer: Observer = SILENT,
) -> Animation:  # fmt: skip
    """Writes the run's snapshots as a film to `out`, by default `animation.webp` in the run's folder.

    `what` is all, samples, codes or manifold. `seconds` is the film's length; the last frame stays longer than the
    others. `size` is the longer side of a frame in pixels. If there are more snapshots than frames, evenly chosen ones
    are shown. Raises InputError for a run with fewer than two snapshots or without the requested panel, and for other
    endings than .webp and .gif.
    """
    path = out or run.path / "animation.webp"
    _check(path, what, seconds, size)
    hold = min(LONGEST_HOLD, seconds / 4)
    most = max(2, min(1 + int((seconds - hold) / SHORTEST_FRAME), MOST_PIXELS // size**2))
    steps, arrays = _arrays(run, what, most)
    marks = [_mark(step, _per_epoch(run)) for step in steps]
    panels = [_PANELS[name](run, arrays) for name in arrays]
    frames = []
    for frame in figures.film(run.path.resolve().name, panels, marks, size):
        frames.append(frame)
        observer.progress("drawing frames of the film", len(frames), len(marks))
    milliseconds = round(100 * (seconds - hold) / (len(frames) - 1)) * 10
    durations = [*[milliseconds] * (len(frames) - 1), round(100 * hold) * 10]
    write_atomic(path, _encoded(frames, durations, FORMATS[path.suffix.lower()]))
    return Animation(path, tuple(steps), tuple(arrays), *frames[0].size, sum(durations) / 1000)


def there_and_back(
    path: Path,
    images: np.ndarray,
    title: str,
    seconds: float = 4.0,
    size: int = 480,
    observer: Observer = SILENT,
) -> None:
    """Writes images (T, H, W, C) in [0, 1] as a film of that length, which runs there and back and begins again.

    Raises InputError for another length than 0.5 to 120 seconds, and more images than there is time for.
    """
    check_seconds(seconds)
    there = list(range(len(images)))
    order = [*there, *there[-2:0:-1]]
    milliseconds = round(100 * seconds / len(order)) * 10
    if milliseconds < 1000 * SHORTEST_FRAME or len(order) * size**2 > MOST_PIXELS:
        most = min(int(seconds / SHORTEST_FRAME), MOST_PIXELS // size**2) // 2 + 1
        raise InputError(
            f"a film of {seconds:g} seconds shows {most} at most", field="steps", value=len(images)
        )
    sheet = figures.Sheet(
        "Decoded codes",
        "On the straight line between the codes of two items.",
        figures.rgb(images, 1)[0][order],
    )
    marks = [f"t = {i / (len(images) - 1):.2f}" for i in order]
    frames = []
    for frame in figures.film(title, [sheet], marks, size):
        frames.append(frame)
        observer.progress("drawing frames of the film", len(frames), len(marks))
    write_atomic(path, _encoded(frames, [milliseconds] * len(frames), FORMATS[path.suffix.lower()]))


def check_seconds(seconds: float) -> None:
    """Raises InputError for a film that is too short or too long."""
    if not 0.5 <= seconds <= 120:
        raise InputError("expected 0.5 to 120", field="seconds", value=seconds)


def _check(path: Path, what: str, seconds: float, size: int) -> None:
    check_output(path, tuple(FORMATS))
    if what not in ("all", *PANELS):
        raise InputError(f"expected all, {', '.join(PANELS)}", field="what", value=what)
    check_seconds(seconds)
    if not SMALLEST <= size <= LARGEST:
        raise InputError(f"expected {SMALLEST} to {LARGEST} pixels", field="size", value=size)


def _arrays(run: Run, what: str, most: int) -> tuple[list[int], dict[str, np.ndarray]]:
    """The steps to show and, by panel, the arrays (T, ...); panels that the last snapshot lacks are left out."""
    requested = {name: dict(run.snapshots(name)) for name in (PANELS if what == "all" else (what,))}
    kind = run.info["data"].get("kind")
    last = max((step for by_step in requested.values() for step in by_step), default=None)
    shown = {
        name: by_step
        for name, by_step in requested.items()
        if last in by_step and not (name == "samples" and kind == "table")
    }
    if not shown:
        raise _nothing_to_show(run, what, kind)
    if "codes" in shown and not all(np.isfinite(codes).all() for codes in shown["codes"].values()):
        raise InputError(f"{run.path}: its snapshots hold codes that are not finite; the training diverged")
    steps = sorted(set.intersection(*map(set, shown.values())))
    if len(steps) < 2:
        raise InputError(
            f"{run.path}: one snapshot only, and a film needs two; train with more, as by"
            " training.snapshot_every = 50"
        )
    chosen = [steps[i] for i in figures.evenly_spaced(len(steps), most)]
    return chosen, {name: np.stack([by_step[step] for step in chosen]) for name, by_step in shown.items()}


def _nothing_to_show(run: Run, what: str, kind: str | None) -> InputError:
    """The error for a run without the requested panel, with the reason."""
    if not run.snapshot_files():
        return InputError(
            f"{run.path}: no snapshots; a run writes them while it trains, but not with training.method = pca"
        )
    reasons = {
        "all": "its snapshots hold nothing that can be drawn",
        "samples": "rows of a table are not drawn"
        if kind == "table"
        else "a plain autoencoder has no prior to sample",
        "codes": "its snapshots are of an earlier version, which kept no codes",
        "manifold": "only images with two latent dimensions (model.latent = 2) have one in their snapshots",
    }
    return InputError(f"nothing to show in {run.path}: {reasons[what]}", field="what", value=what)


def _per_epoch(run: Run) -> int:
    return steps_per_epoch(run.info["data"]["train"], run.config.training.batch_size)


def _mark(step: int, per_epoch: int) -> str:
    if step == 0:
        return "before training"
    return f"step {step:,}  ·  epoch {step / per_epoch:.{0 if step % per_epoch == 0 else 1}f}"


def _samples(run: Run, arrays: Mapping[str, np.ndarray]) -> figures.Panel:
    images = _images(run, arrays["samples"])
    columns = figures.fitting_columns(*images.shape[1:4])
    pixels = np.stack([figures.mosaic(figures.arrange(step, columns), 2) for step in images])
    return figures.Sheet("Samples", "The same draws from the prior, decoded.", pixels)


def _codes(run: Run, arrays: Mapping[str, np.ndarray]) -> figures.Panel:
    codes, classes = arrays["codes"], run.info["data"].get("classes")
    steps, items, latent = codes.shape
    note = f"Mean codes of {items:,} test items"
    if latent == 1:
        heights = np.random.default_rng(0).uniform(-1, 1, items) * np.abs(codes).max() / 2
        codes = np.concatenate([codes, np.broadcast_to(heights[None, :, None], codes.shape)], axis=2)
        note += ": one latent dimension across; heights are random."
    elif latent > 2:
        plane, projection = figures.project(codes.reshape(-1, latent), codes[-1])
        codes = plane.reshape(steps, items, 2)
        note += f". {projection.rstrip('.')} of the last frame."
    else:
        note += ": the two latent dimensions."
    return figures.Dots("Latent space", note, codes, snapshots.labels(run, items), classes)


def _manifold(run: Run, arrays: Mapping[str, np.ndarray]) -> figures.Panel:
    note = gallery.manifold_grid(gallery.settings_of(run.config), np.zeros((1, 2)))[1]
    images = _images(run, arrays["manifold"])
    return figures.Sheet(
        "The latent plane, decoded", note, np.stack([figures.mosaic(step, 0) for step in images])
    )


_PANELS: dict[str, Callable[[Run, Mapping[str, np.ndarray]], figures.Panel]] = {
    "samples": _samples,
    "codes": _codes,
    "manifold": _manifold,
}


def _images(run: Run, items: np.ndarray) -> np.ndarray:
    """Items as RGB bytes; vectors become flat strips."""
    images = figures.to_unit_range(items)
    if run.info["data"].get("kind") != "image":
        images = figures.strips(images)
    return figures.rgb(images, images.ndim - 3)[0]


def _encoded(frames: list[Image.Image], durations: list[int], kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "GIF":
        frames = [frame.quantize(256) for frame in frames]
        options = {"optimize": False, "disposal": 1}
    else:
        options = {"quality": 88, "method": 4}
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return out.getvalue()
