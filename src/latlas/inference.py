"""What a trained run is used for, from its folder alone: codes, reconstructions and morphs as arrays."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from latlas import evaluation, figures
from latlas.data import Split, load_items
from latlas.data.batches import Batches
from latlas.errors import InputError
from latlas.files import write_atomic
from latlas.models import Model
from latlas.observer import SILENT, Observer
from latlas.runs import Run, dataset_of

Arrays = dict[str, np.ndarray]


def items(
    run: Run,
    model: Model,
    split: str = "test",
    source: str = "",
    data_dir: str = "",
    observer: Observer = SILENT,
) -> Split:
    """A split of the run's own data, whole and in its order, or every item of another source that fits the
    model.

    Raises InputError when data are missing, have changed, or do not fit.
    """
    if source:
        return load_items(source, model.item, run.data_options(data_dir), observer.progress)
    chosen = dataset_of(run, data_dir, observer.progress).split(split)
    if not len(chosen):
        raise InputError(f"--split {split}: empty in this run (data.validation = 0)")
    return chosen


def evaluate(
    run: Run,
    model: Model,
    items: Split,
    samples: int = 1,
    seed: int = evaluation.EVALUATION_SEED,
    observer: Observer = SILENT,
) -> dict[str, Any]:
    """The numbers of `evaluation.evaluate` for a run's model, as plain values."""
    if not 1 <= samples <= 10_000:
        raise InputError(f"--samples {samples}: at least 1 is needed, and at most 10,000 are taken")
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed {seed}: expected a whole number from 0 to 2^63 - 1")
    batches = Batches(items, model.item.scaling, model.device, model.dtype)
    done = lambda n, total: observer.progress("evaluating", n, total)  # noqa: E731
    result = evaluation.evaluate(model, batches, samples, seed, done)
    metrics = run.metrics
    extra = {
        "samples": samples,
        "seed": seed,
        "unit": metrics.get("unit"),
        "normalised": metrics.get("normalised"),
    }
    return asdict(result) | extra


def encode(model: Model, items: Split) -> Arrays:
    """`mean` (N, D), `std` (N, D) where the posterior has one, `labels` where the data have them, `index`
    (N,).
    """
    posterior = model.posterior(np.asarray(items.x))
    arrays = {"mean": posterior.mean.cpu().numpy()}
    if posterior.stddev is not None:
        arrays["std"] = posterior.stddev.cpu().numpy()
    if items.labels is not None:
        arrays["labels"] = items.labels
    return arrays | {"index": items.index}


def reconstruct(model: Model, items: Split) -> Arrays:
    """`original` and `reconstruction` at the posterior's mean: images (N, H, W, C) in [0, 1], tables in data
    units.
    """
    x = np.asarray(items.x)
    original = x if model.item.kind == "table" else model.item.scaling.apply(x).astype(np.float32)
    return {"original": original, "reconstruction": model.reconstruct(x), "index": items.index}


def read_codes(path: Path) -> np.ndarray:
    """Codes (N, D) from an .npy, or from `mean` or `z` of an .npz.

    Raises InputError for anything else.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        why = "not NumPy's format, or Python objects" if "pickle" in str(error) else error
        raise InputError(f"{path}: cannot be read as .npy or .npz ({why})") from None
    if not isinstance(loaded, np.ndarray):
        key = next((k for k in ("mean", "z") if k in loaded), None)
        if key is None:
            raise InputError(f"{path}: has {', '.join(loaded) or 'nothing'}; expected codes named mean or z")
        loaded = loaded[key]
    if loaded.ndim != 2 or not np.issubdtype(loaded.dtype, np.number) or np.iscomplexobj(loaded):
        raise InputError(
            f"{path}: codes of shape {loaded.shape} and type {loaded.dtype}; expected real numbers (N, D)"
        )
    return loaded


def morph(model: Model, items: Split, start: int, end: int, steps: int = 11) -> Arrays:
    """`images` decoded at `z` on the straight line between two rows' codes, at `t`; `ends`, the originals.

    Raises InputError for a row outside the split.
    """
    for name, row in (("--from", start), ("--to", end)):
        if not 0 <= row < len(items):
            raise InputError(f"{name} {row}: rows of this split are 0 to {len(items) - 1}")
    if steps < 2:
        raise InputError(f"--steps {steps}: at least 2 are needed")
    ends = np.asarray(items.x[np.array([start, end])])
    first, last = model.encode(ends)
    share = np.linspace(0, 1, steps, dtype=first.dtype)[:, None]
    codes = (1 - share) * first + share * last
    return {
        "images": model.decode(codes),
        "z": codes,
        "t": share[:, 0],
        "ends": model.to_numpy(model.to_tensor(ends)),
    }


def save(path: Path, arrays: Arrays, picture: str = "", title: str = "") -> Path:
    """Writes the arrays as .npz, or, where `picture` names one that holds images, as a .png of them.

    Raises InputError for another ending, or a folder that does not exist.
    """
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: the folder {path.parent} does not exist")
    ending = path.suffix.lower()
    if ending == ".png" and picture:
        images = arrays[picture]
        if images.ndim != 4:
            raise InputError(f"--out {path}: these items are not images; use .npz")
        return figures.save(figures.image_grid(images, title=title), path)
    if ending != ".npz":
        kinds = ".npz or .png" if picture else ".npz"
        raise InputError(f"--out {path}: expected a name ending in {kinds}")
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_atomic(path, content.getvalue())
    return path
