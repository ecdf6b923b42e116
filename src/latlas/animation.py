"""A run's snapshots played in order, as one animated WebP or GIF: samples, codes by class, the decoded plane."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from latlas import figures, gallery, snapshots
from latlas.build import steps_per_epoch
from latlas.errors import InputError
from latlas.figures.images import arrange, fitting_columns, mosaic, rgb
from latlas.files import write_atomic
from latlas.progress import SILENT, Observer
from latlas.runs import Run

PANELS = ("samples", "codes", "manifold")
FORMATS = {".webp": "WEBP", ".gif": "GIF"}
SHORTEST_FRAME, LONGEST_HOLD = 0.04, 2.0  # seconds: of one frame, and of the last one's stay
MOST_PIXELS = 2**27  # in all frames together, held in memory
SMALLEST, LARGEST = 240, 2400


@dataclass(frozen=True)
class Animation:
    """What was written: the steps that the frames show, the panels, and the size of a frame in pixels."""

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
    """Writes the run's snapshots as a film, `animation.webp` in its folder unless `out` says another file.

    `what` is all, samples, codes or manifold; `seconds` is the film's length, in which the last frame stays a
    while; `size` is the longer side of a frame in pixels. Where there are more snapshots than frames, evenly
    chosen ones are shown. Raises InputError for a run with fewer than two snapshots, or without what was asked
    for, and for other endings than .webp and .gif.
    """
    path = out or run.path / "animation.webp"
    _check(path, what, seconds, size)
    hold = min(LONGEST_HOLD, seconds / 4)
    most = max(2, min(1 + int((seconds - hold) / SHORTEST_FRAME), MOST_PIXELS // size**2))
    steps, kept = _kept(run, what, most)
    marks = [_mark(step, _per_epoch(run)) for step in steps]
    panels = [_MAKERS[name](run, kept) for name in kept]
    frames = []
    for frame in figures.film(run.path.resolve().name, panels, marks, size):
        frames.append(frame)
        observer.progress("drawing frames", len(frames), len(marks))
    each = round(100 * (seconds - hold) / (len(frames) - 1)) * 10
    durations = [*[each] * (len(frames) - 1), round(100 * hold) * 10]
    write_atomic(path, _encoded(frames, durations, FORMATS[path.suffix.lower()]))
    return Animation(path, tuple(steps), tuple(kept), *frames[0].size, sum(durations) / 1000)


def _check(path: Path, what: str, seconds: float, size: int) -> None:
    if path.suffix.lower() not in FORMATS:
        raise InputError("expected a name ending in .webp or .gif", field="out", value=path)
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist", field="out", value=path)
    if what not in ("all", *PANELS):
        raise InputError(f"expected all, {', '.join(PANELS)}", field="what", value=what)
    if not 0.5 <= seconds <= 120:
        raise InputError("expected 0.5 to 120", field="seconds", value=seconds)
    if not SMALLEST <= size <= LARGEST:
        raise InputError(f"expected {SMALLEST} to {LARGEST} pixels", field="size", value=size)


def _kept(run: Run, what: str, most: int) -> tuple[list[int], dict[str, np.ndarray]]:
    """The steps to show, and by panel what they have, (T, ...): what the last snapshot has and can be drawn."""
    found = {name: dict(run.snapshots(name)) for name in (PANELS if what == "all" else (what,))}
    kind = run.info["data"].get("kind")
    last = max((step for of in found.values() for step in of), default=None)
    shown = {n: of for n, of in found.items() if last in of and not (n == "samples" and kind == "table")}
    if not shown:
        raise _nothing(run, what, kind)
    if "codes" in shown and not all(np.isfinite(codes).all() for codes in shown["codes"].values()):
        raise InputError(f"{run.path}: its snapshots hold codes that are not finite; the training diverged")
    steps = sorted(set.intersection(*(set(of) for of in shown.values())))
    if len(steps) < 2:
        raise InputError(
            f"{run.path}: one snapshot only, and a film needs two; train with more, as by"
            " training.snapshot_every = 50"
        )
    chosen = [steps[i] for i in figures.evenly_spaced(len(steps), most)]
    return chosen, {name: np.stack([of[step] for step in chosen]) for name, of in shown.items()}


def _nothing(run: Run, what: str, kind: str | None) -> InputError:
    """Why there is nothing to show."""
    if not run.snapshot_files():
        return InputError(
            f"{run.path}: no snapshots; a run keeps them while it trains, and one by training.method = pca never"
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


def _samples(run: Run, kept: Mapping[str, np.ndarray]) -> figures.Panel:
    images = _images(run, kept["samples"])
    columns = fitting_columns(*images.shape[1:4])
    pixels = np.stack([mosaic(arrange(step, columns), 2) for step in images])
    return figures.Sheet("Samples", "The same draws from the prior, decoded.", pixels)


def _codes(run: Run, kept: Mapping[str, np.ndarray]) -> figures.Panel:
    codes, classes = kept["codes"], run.info["data"].get("classes")
    steps, items, latent = codes.shape
    note = f"Mean codes of {items:,} test items"
    if latent == 1:
        heights = np.random.default_rng(0).uniform(-1, 1, items) * np.abs(codes).max() / 2
        codes = np.concatenate([codes, np.broadcast_to(heights[None, :, None], codes.shape)], axis=2)
        note += ": one latent dimension across; heights are random."
    elif latent > 2:
        plane, how = figures.project(codes.reshape(-1, latent), codes[-1])
        codes = plane.reshape(steps, items, 2)
        note += f". {how.rstrip('.')} of the last frame."
    else:
        note += ": the two latent dimensions."
    return figures.Dots("Latent space", note, codes, snapshots.labels(run), classes)


def _manifold(run: Run, kept: Mapping[str, np.ndarray]) -> figures.Panel:
    note = gallery.manifold_grid(gallery.settings_of(run.config), np.zeros((1, 2)))[1]
    images = _images(run, kept["manifold"])
    return figures.Sheet("The latent plane, decoded", note, np.stack([mosaic(step, 0) for step in images]))


_MAKERS: dict[str, Callable[[Run, Mapping[str, np.ndarray]], figures.Panel]] = {
    "samples": _samples,
    "codes": _codes,
    "manifold": _manifold,
}


def _images(run: Run, kept: np.ndarray) -> np.ndarray:
    """Images as RGB bytes, vectors as flat strips."""
    images = figures.to_unit_range(kept)
    if run.info["data"].get("kind") != "image":
        images = figures.strips(images)
    return rgb(images, images.ndim - 3)[0]


def _encoded(frames: list[Image.Image], durations: list[int], kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "GIF":
        frames = [frame.quantize(256) for frame in frames]
        options = {"optimize": False, "disposal": 1}
    else:
        options = {"quality": 88, "method": 4}
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return out.getvalue()
