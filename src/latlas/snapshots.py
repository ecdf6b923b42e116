"""Snapshots: what a model makes of the same noise, the same test items and the same plane while it trains."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np

from latlas import gallery
from latlas.build import has_prior
from latlas.data import Dataset
from latlas.data.dataset import Split
from latlas.errors import LatlasError
from latlas.files import write_atomic
from latlas.models import Model
from latlas.runs import Run, read_arrays
from latlas.settings import Config

SAMPLES = 64
ITEMS, CODE_VALUES, ITEM_VALUES = 2000, 2**16, 2**26  # most test items, numbers in their codes, values read
GRID, GRID_VALUES = 20, 2**19  # most rows and columns of the plane; most values in it, for large images
SHARED = "items.npz"  # beside the snapshots: what is the same for all of them


def keep(run: Run, config: Config, model: Model, dataset: Dataset, step: int) -> None:
    """Writes snapshots/<step>.npz, and items.npz with the rows and labels of the test items where it is missing.

    `samples`, where codes are trained towards a prior: decoded from the same 64 draws. `codes`: mean codes
    (N, D) float32 of the same test items, 2,000 at most. `manifold` (R, C, H, W, C'), of images with two
    latent dimensions. Images are uint8. Raises LatlasError where they cannot be written.
    """
    items, arrays = _items(dataset, model.latent), {}
    arrays["codes"] = codes = model.encode(items.x).astype(np.float32)
    if has_prior(config):
        arrays["samples"] = _kept(model.sample(SAMPLES, seed=config.seed), dataset)
    if model.latent == 2 and dataset.kind == "image" and np.isfinite(codes).all():
        side = min(GRID, max(4, math.isqrt(GRID_VALUES // math.prod(dataset.shape))))
        rows, columns = (min(side, n) for n in config.pictures.grid)
        settings = replace(gallery.settings_of(config), size=(rows, columns))
        plane = gallery.manifold_grid(settings, codes)[0].codes
        decoded = _kept(model.decode(plane.reshape(-1, 2)), dataset)
        arrays["manifold"] = decoded.reshape(rows, columns, *decoded.shape[1:])
    folder = run.path / "snapshots"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise LatlasError(f"{folder}: cannot be made: {error.strerror}") from None
    if not (folder / SHARED).exists():
        labels = {} if items.labels is None else {"labels": items.labels}
        write_atomic(folder / SHARED, _packed({"index": items.index} | labels))
    write_atomic(folder / f"{step:08d}.npz", _packed(arrays))


def labels(run: Run) -> np.ndarray | None:
    """Labels (N,) of the test items whose codes the snapshots hold; None where there are none."""
    path = run.path / "snapshots" / SHARED
    if not path.exists():
        return None
    return read_arrays(path).get("labels")


def _items(dataset: Dataset, latent: int) -> Split:
    """The same test items every time, drawn at random: fewer of large ones and of long codes."""
    most = min(ITEMS, CODE_VALUES // latent, ITEM_VALUES // math.prod(dataset.shape))
    rows = np.random.default_rng(0).permutation(len(dataset.test))[: max(1, most)]
    return dataset.test.take(np.sort(rows))


def _kept(x: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Images as bytes; rows as they are."""
    if dataset.kind != "image":
        return x
    return np.rint(np.clip(np.nan_to_num(x), 0, 1) * 255).astype(np.uint8)


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    # Not compressed: that would take longer than all else here, and save a third.
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()
