"""Makes the embedded set fashion-mini, class-balanced, drawn by seed 0 from the parts of Fashion-MNIST, and its
plausibility classifier.

Run as: LATLAS_DATA=FOLDER python scripts/make_fashion_mini.py
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from latlas.data import load
from latlas.data.catalogue import EMBEDDED
from latlas.data.idx import read_idx_folder
from latlas.data.options import DataOptions
from latlas.metrics import classifier

TARGET = EMBEDDED / "fashion_mini.npz"


def choose(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """`per_class` rows of each class, in the source's order."""
    rows = [rng.permutation(np.flatnonzero(labels == c))[:per_class] for c in np.unique(labels)]
    return np.sort(np.concatenate(rows))


def main() -> None:
    """Writes both files beside the package's data module."""
    parts = read_idx_folder(Path(os.environ["LATLAS_DATA"]) / "FashionMNIST" / "raw")
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for part, per_class in (("train", 800), ("test", 200)):
        x, y = parts[part]
        assert y is not None
        rows = choose(y, per_class, rng)
        arrays |= {f"{part}_x": x[rows], f"{part}_y": y[rows], f"{part}_index": rows.astype(np.int32)}
    np.savez_compressed(TARGET, **arrays)
    dataset = load(DataOptions(source="fashion-mini"))
    judge = EMBEDDED / classifier.file_name(dataset)
    classifier.write(classifier.fit(dataset), judge)
    for path in (TARGET, judge):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
