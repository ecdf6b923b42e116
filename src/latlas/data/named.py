"""Reads the named sets from their files."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from latlas.data.cache import Wanted, decode_files
from latlas.data.catalogue import NAMED, Named, data_home, named
from latlas.data.dataset import Split
from latlas.data.folders import refuse_broken
from latlas.data.idx import idx_files, read_idx, shape_text
from latlas.data.options import DataOptions
from latlas.data.progress import Progress
from latlas.data.shapes import FACTORS, read_shapes
from latlas.data.splits import Raw, whole
from latlas.errors import InputError

EMBEDDED = Path(__file__).parent / "embedded" / "fashion_mini.npz"


def read_named(options: DataOptions, progress: Progress | None = None) -> Raw:
    """A named set as found on this machine.

    Raises InputError where its files are missing, damaged or only a part of the set.
    """
    entry = named(options.source)
    if options.image_size is not None and entry.name != "flowers102":
        size = shape_text(entry.shape[1:])
        raise InputError(
            f"{entry.name}: images are {size}; image_size is for folders, flowers102 and flat vectors"
        )
    if entry.name == "flowers102":
        return _flowers(entry, options, progress)
    if entry.name == "shapes":
        return Raw(entry.name, entry.name, read_shapes(), entry.classes, factor_names=FACTORS)
    if entry.name == "fashion-mini":
        parts = _fashion_mini()
    elif entry.name == "digits":
        parts = _digits()
    else:
        parts = _mnist_like(entry, data_home(options.data_dir))
    return Raw(entry.name, entry.name, parts, classes=entry.classes)


def _fashion_mini() -> dict[str, Split]:
    with np.load(EMBEDDED, allow_pickle=False) as file:
        return {
            part: whole(file[f"{part}_x"][..., None], file[f"{part}_y"].astype(np.int64))
            for part in ("train", "test")
        }


def _digits() -> dict[str, Split]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return {"train": whole((bunch.images[..., None] / 16).astype(np.float32), bunch.target.astype(np.int64))}


def absent(entry: Named, folder: Path) -> str:
    """What of a set's files is not in its folder, in a few words; empty where all are."""
    if entry.name == "flowers102":
        return _absent_flowers(entry, folder)
    found = idx_files(folder) if folder.is_dir() else {}
    gone = [f"{p} {r}" for p in ("train", "test") for r in ("images", "labels") if r not in found.get(p, {})]
    return f"no {', '.join(gone)}" if gone else ""


def _absent_flowers(entry: Named, folder: Path) -> str:
    count = len(list((folder / "jpg").glob("image_*.jpg")))
    if count != sum(entry.items):
        return f"{count:,} of {sum(entry.items):,} images (jpg/image_00001.jpg ...)"
    for file in ("setid.mat", "imagelabels.mat"):
        if not (folder / file).is_file():
            return f"no {file}"
    return ""


def _check_there(entry: Named, folder: Path) -> None:
    gone = absent(entry, folder)
    if gone:
        raise InputError(
            f"{entry.name}: {gone} in {folder}; run `latlas data fetch {entry.name}`, or put its files into"
            f" {entry.folder} under data.data_dir or LATLAS_DATA"
        )


def _mnist_like(entry: Named, home: Path) -> dict[str, Split]:
    folder = home / entry.folder
    _check_there(entry, folder)
    parts = {}
    found = idx_files(folder)
    for part, count in (("train", entry.items[0]), ("test", entry.items[2])):
        x, y = read_idx(found[part]["images"]), read_idx(found[part]["labels"])
        whole_shape = (count, *entry.shape[1:])
        if x.shape != whole_shape or y.shape != (count,):
            raise InputError(
                f"{entry.name}: {folder} holds {part} images {shape_text(x.shape)} and {len(y):,} labels,"
                f" the whole set has {shape_text(whole_shape)};"
                f" to train on these files give the folder itself: {folder}"
            )
        parts[part] = whole(x[..., None], y.astype(np.int64))
    return parts


def _flowers(entry: Named, options: DataOptions, progress: Progress | None) -> Raw:
    folder = data_home(options.data_dir) / entry.folder
    _check_there(entry, folder)
    ids, labels = _flower_tables(entry, folder)
    files = [folder / "jpg" / f"image_{i:05d}.jpg" for i in range(1, sum(entry.items) + 1)]
    wanted = Wanted(options.image_size or entry.shape[1:], options.resize, grey=False)
    decoded = decode_files(folder, files, wanted, progress)
    refuse_broken(folder, decoded, strict=True)
    parts = {part: Split(decoded.x[i - 1], labels[i - 1], i - 1) for part, i in ids.items()}
    how = "short side resized, centre cropped" if options.resize == "crop" else "squashed"
    notes = (f"photographs {how} to {shape_text(decoded.x.shape[1:3])}", *decoded.notes)
    return Raw(entry.name, entry.name, parts, entry.classes, notes=notes)


def _flower_tables(entry: Named, folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Image numbers (from 1) of each split and each image's class (from 0), as published."""
    from scipy.io import loadmat

    for file in ("setid.mat", "imagelabels.mat"):
        if hashlib.sha256((folder / file).read_bytes()).hexdigest() != entry.files[file]:
            raise InputError(
                f"{folder / file}: not the published file (SHA-256); move it away and run"
                f" `latlas data fetch {entry.name}`"
            )
    sets = loadmat(folder / "setid.mat", squeeze_me=True)
    names = {"train": "trnid", "valid": "valid", "test": "tstid"}
    labels = loadmat(folder / "imagelabels.mat", squeeze_me=True)["labels"].astype(np.int64) - 1
    return {part: sets[key].astype(np.int64) for part, key in names.items()}, labels


def sources() -> list[str]:
    """The names of all named sets."""
    return list(NAMED)


def source_info(name: str, data_dir: str = "") -> dict[str, Any]:
    """What is known of a named set, and whether it is on this machine.

    Raises InputError for an unknown name.
    """
    entry = named(name)
    info = {k: v for k, v in asdict(entry).items() if k != "items"}
    info["train"], info["valid"], info["test"] = entry.items
    info["folder"] = str(data_home(data_dir) / entry.folder) if entry.files else ""
    info["missing"] = absent(entry, Path(info["folder"])) if entry.files else ""
    info["present"] = not info["missing"]
    return info
