"""Snapshots of a model during training: samples from fixed noise, codes of fixed test items, the decoded plane, and on
request the weights.
"""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np

from latlas import gallery, reading
from latlas.build import has_prior
from latlas.data import UNLABELLED, Dataset
from latlas.data.dataset import Split
from latlas.data.memory import Units
from latlas.data.room import LARGEST_SHARE, free_memory
from latlas.errors import InputError, LatlasError
from latlas.files import write_atomic
from latlas.models import Model
from latlas.reading import Expected
from latlas.runs import Run, described_model
from latlas.settings import Config
from latlas.text import counted, size
from latlas.weights import to_bytes

SAMPLES = 64
ITEMS, CODE_VALUES, ITEM_VALUES = 2000, 2**16, 2**26  # most test items, numbers in their codes, values read
GRID, GRID_VALUES = 20, 2**19  # most rows and columns of the plane, and most values in it, for large images
WEIGHTS = ".safetensors"  # of the files beside snapshots that hold their weights
SHARED = "items.npz"  # rows and labels of the test items, which all snapshots share


def keep(run: Run, config: Config, model: Model, dataset: Dataset, step: int) -> None:
    """Writes snapshots/<step>.npz and, once, items.npz with the rows and labels of the test items.

    A snapshot holds `codes`, the mean codes (N, D) float32 of the same test items, at most 2,000. If the codes are
    trained towards a prior it holds `samples`, decoded from the same 64 draws. For images with two latent dimensions it
    holds `manifold` (R, C, H, W, C'), the decoded plane. Images are uint8. With training.snapshot_weights
    snapshots/<step>.safetensors holds the weights. Raises LatlasError if it cannot be written.
    """
    items, arrays = _items(dataset, model.latent), {}
    units: Units = "data" if dataset.kind == "table" else "model"
    arrays["codes"] = codes = model.encode(items).astype(np.float32)
    if has_prior(config):
        arrays["samples"] = _stored(model.sample(SAMPLES, seed=config.seed, units=units), dataset)
    if model.latent == 2 and dataset.kind == "image" and np.isfinite(codes).all():
        side = min(GRID, max(4, math.isqrt(GRID_VALUES // math.prod(dataset.shape))))
        rows, columns = (min(side, n) for n in config.pictures.grid)
        settings = replace(gallery.settings_of(config), size=(rows, columns))
        plane = gallery.manifold_grid(settings, codes)[0].codes
        decoded = _stored(model.decode(plane.reshape(-1, 2), units), dataset)
        arrays["manifold"] = decoded.reshape(rows, columns, *decoded.shape[1:])
    folder = run.path / "snapshots"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise LatlasError(f"{folder}: cannot be made: {error.strerror}") from None
    if not (folder / SHARED).exists():
        labels = {} if items.labels is None else {"labels": items.labels}
        write_atomic(folder / SHARED, _npz({"index": np.asarray(items.index)} | labels))
    if config.training.snapshot_weights:
        write_atomic(folder / f"{step:08d}{WEIGHTS}", to_bytes(model.state_dict(), {"format": "pt"}))
    write_atomic(folder / f"{step:08d}.npz", _npz(arrays))


def weights_text(model: Model, count: int) -> str:
    """What the weights of so many snapshots take, in words."""
    each = sum(tensor.nbytes for tensor in model.state_dict().values())
    return (
        f"the weights of {counted(count, 'snapshot')} are kept (training.snapshot_weights): {size(each)} each,"
        f" {size(count * each)} in all; latlas prune removes them"
    )


def model_at(run: Run, step: int) -> Model:
    """The model on the CPU with the weights of a snapshot.

    Raises InputError if they are missing or damaged.
    """
    return described_model(run.path, "model.json", f"snapshots/{step:08d}{WEIGHTS}", run.brought)


def labels(run: Run, count: int | None = None) -> np.ndarray | None:
    """Labels (N,) of the test items whose codes the snapshots hold, `count` of them where it is given; None without
    labels.

    Raises InputError if they are damaged.
    """
    found = _shared(run, "labels", Expected("iuf", (count,)))
    classes = run.info["data"].get("classes")
    if found is not None and classes and not ((found >= UNLABELLED) & (found < len(classes))).all():
        raise InputError(
            f"{run.path / 'snapshots' / SHARED}: damaged: labels of other classes than the {len(classes)} of run.json;"
            f" {reading.REMOVE}"
        )
    return found


def rows(run: Run) -> np.ndarray | None:
    """Rows (N,) in the source of the test items whose codes the snapshots hold; None where they are not kept.

    Raises InputError if they are damaged.
    """
    return _shared(run, "index", Expected("iu", (None,)))


def _shared(run: Run, name: str, expected: Expected) -> np.ndarray | None:
    if not (run.path / "snapshots" / SHARED).exists():
        return None
    room = LARGEST_SHARE * free_memory()
    return reading.arrays(run.path, f"snapshots/{SHARED}", {name: expected}, room).get(name)


def _items(dataset: Dataset, latent: int) -> Split:
    """Random test items, the same at every call; fewer if items are large or codes are long."""
    most = min(ITEMS, CODE_VALUES // latent, ITEM_VALUES // math.prod(dataset.shape))
    measured = dataset.split(dataset.measured)
    return measured.take(np.sort(measured.drawn_rows(max(1, most))))


def _stored(x: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Items as a snapshot stores them: images as bytes, others unchanged."""
    if dataset.kind != "image":
        return x
    return np.rint(np.clip(np.nan_to_num(x), 0, 1) * 255).astype(np.uint8)


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    # Not compressed: that would take longer than everything else here, and save only a third.
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()
