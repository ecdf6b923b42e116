"""Reads the named sets from their files."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from latlas.data.cache import decode_files
from latlas.data.catalogue import EMBEDDED, NAMED, Named, data_home, named
from latlas.data.dataset import Split
from latlas.data.idx import idx_files, read_idx, shape_text, unpack_ahead
from latlas.data.image_list import file_names, refuse_broken
from latlas.data.image_plan import ImageFormat
from latlas.data.options import DataOptions
from latlas.data.shapes import FACTORS, read_shapes
from latlas.data.splits import Raw, as_split
from latlas.errors import InputError, LatlasError
from latlas.progress import OnProgress
from latlas.text import counted


def read_named(options: DataOptions, progress: OnProgress | None = None) -> Raw:
    """A named set as found on this machine.

    Raises InputError where its files are missing, damaged or only a part of the set.
    """
    entry = named(options.source)
    if options.image_size is not None and not entry.images:
        size = shape_text(entry.shape[1:])
        resizable = ", ".join(name for name, other in NAMED.items() if other.images)
        raise InputError(
            f"{entry.name}: images are {size}; image_size is for folders, {resizable} and flat vectors"
        )
    return READERS[entry.reader](entry, options, progress)


def read_ahead(source: str, data_dir: str = "") -> None:
    """Begins to unpack the files of a named set while something else is done, such as importing PyTorch.

    Whatever is wrong with them is for `read_named` to say.
    """
    entry = NAMED.get(source)
    if entry is None or entry.reader != "idx":
        return
    with contextlib.suppress(LatlasError, OSError):
        sizes: dict[Path, int] = {}
        for part, roles in idx_files(data_home(data_dir) / entry.folder).items():
            count = entry.items[2 if part == "test" else 0]
            pixels = count * math.prod(entry.shape[1:])
            heads = {"images": 16 + pixels, "labels": 8 + count}
            sizes |= {path: heads[role] for role, path in roles.items()}
        unpack_ahead(sizes)


def _raw(entry: Named, parts: dict[str, Split], **about: Any) -> Raw:
    return Raw(entry.name, entry.name, parts, entry.classes, **about)


def _embedded(entry: Named, options: DataOptions, progress: OnProgress | None) -> Raw:
    """An .npz file inside the package with `train_x`, `train_y`, `test_x` and `test_y`, grey images (N, H, W)."""
    with np.load(EMBEDDED / f"{entry.name.replace('-', '_')}.npz", allow_pickle=False) as file:
        parts = {
            part: as_split(file[f"{part}_x"][..., None], file[f"{part}_y"].astype(np.int64))
            for part in ("train", "test")
        }
    return _raw(entry, parts)


def _digits(entry: Named, options: DataOptions, progress: OnProgress | None) -> Raw:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.images[..., None] / 16).astype(np.float32)
    return _raw(entry, {"train": as_split(x, bunch.target.astype(np.int64))})


def _shapes(entry: Named, options: DataOptions, progress: OnProgress | None) -> Raw:
    return _raw(entry, read_shapes(), factor_names=FACTORS)


def _idx(entry: Named, options: DataOptions, progress: OnProgress | None) -> Raw:
    """Grey images and labels for training and testing in four IDX files."""
    folder = _complete_folder(entry, options)
    parts = {}
    files = idx_files(folder)
    for part, count in (("train", entry.items[0]), ("test", entry.items[2])):
        x, y = read_idx(files[part]["images"]), read_idx(files[part]["labels"])
        full_shape = (count, *entry.shape[1:])
        if x.shape != full_shape or y.shape != (count,):
            raise InputError(
                f"{entry.name}: {folder} holds {part} images {shape_text(x.shape)} and {counted(len(y), 'label')},"
                f" the whole set has {shape_text(full_shape)};"
                f" to train on these files give the folder itself: {folder}"
            )
        parts[part] = as_split(x[..., None], y.astype(np.int64))
    return _raw(entry, parts)


def _flowers(entry: Named, options: DataOptions, progress: OnProgress | None) -> Raw:
    """Numbered photographs, with MATLAB tables that say the split and class of each."""
    folder = _complete_folder(entry, options)
    numbers, labels = _flower_tables(entry, folder)
    image_format = ImageFormat(options.image_size or entry.shape[1:], options.resize, grey=False)
    files = entry.image_files(folder)
    decoded = decode_files(folder, files, image_format, progress)
    refuse_broken(folder, decoded, strict=True)
    everything = Split(decoded.x, labels, np.arange(len(labels)), names=file_names(folder, files))
    parts = {part: everything.take(i - 1) for part, i in numbers.items()}
    how = "short side resized, centre cropped" if options.resize == "crop" else "squashed"
    notes = (f"photographs {how} to {shape_text(decoded.x.shape[1:3])}", *decoded.notes)
    return _raw(entry, parts, notes=notes)


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


# By the name that the catalogue gives: an entry, the options and progress to what was read.
READERS: dict[str, Callable[[Named, DataOptions, OnProgress | None], Raw]] = {
    "embedded": _embedded,
    "digits": _digits,
    "shapes": _shapes,
    "idx": _idx,
    "flowers": _flowers,
}


def missing_files(entry: Named, folder: Path) -> str:
    """Which files of a set its folder lacks, in a few words; empty where it has all."""
    if not entry.images:
        roles = idx_files(folder) if folder.is_dir() else {}
        missing = [
            f"{p} {r}" for p in ("train", "test") for r in ("images", "labels") if r not in roles.get(p, {})
        ]
        return f"no {', '.join(missing)}" if missing else ""
    images = entry.image_files(folder)
    count = sum(path.is_file() for path in images)
    if count != len(images):
        return f"{count:,} of {len(images):,} images ({images[0].relative_to(folder).as_posix()} ...)"
    tables = [file for file in entry.files if not is_archive(file)]
    return next((f"no {file}" for file in tables if not (folder / file).is_file()), "")


def is_archive(file: str) -> bool:
    """Whether a file of a set holds its images and is unpacked."""
    return file.endswith((".tgz", ".tar.gz"))


def _complete_folder(entry: Named, options: DataOptions) -> Path:
    folder = data_home(options.data_dir) / entry.folder
    missing = missing_files(entry, folder)
    if missing:
        raise InputError(
            f"{entry.name}: {missing} in {folder}; run `latlas data fetch {entry.name}`, or put its files into"
            f" {entry.folder} under data.data_dir or LATLAS_DATA"
        )
    return folder


def sources() -> list[str]:
    """The names of all named sets."""
    return list(NAMED)


def source_info(name: str, data_dir: str = "") -> dict[str, Any]:
    """What is known of a named set, and whether it is on this machine.

    Raises InputError for an unknown name.
    """
    entry = named(name)
    info = entry.model_dump(exclude={"items", "reader", "images"})
    info["train"], info["valid"], info["test"] = entry.items
    info["folder"], info["missing"] = "", ""
    if entry.files:
        try:
            folder = data_home(data_dir) / entry.folder
            info["folder"], info["missing"] = str(folder), missing_files(entry, folder)
        except LatlasError as error:  # where nothing can be, nothing is
            info["missing"] = str(error)
    info["present"] = not info["missing"]
    return info
