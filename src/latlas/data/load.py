"""One call from a source to a data set, or to items that fit a trained model."""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from latlas.data.arrays import orient, read_array
from latlas.data.binarise import drawn_once
from latlas.data.cache import decode_files
from latlas.data.catalogue import NAMED, named
from latlas.data.dataset import UNLABELLED, Dataset, Kind, Scaling, Split
from latlas.data.folders import broken_notes, label_codes, list_images, read_folder, refuse_broken
from latlas.data.idx import idx_files, read_idx, read_idx_folder, shape_text
from latlas.data.image_files import inspect
from latlas.data.image_formats import SUFFIXES as IMAGE_SUFFIXES
from latlas.data.image_plan import ImageFormat
from latlas.data.named import read_named
from latlas.data.options import DataOptions
from latlas.data.ranges import check_fit, check_numeric
from latlas.data.splits import Raw, as_split, assemble, code_labels
from latlas.data.tables import OPTIONS as TABLE_OPTIONS
from latlas.data.tables import SUFFIXES as TABLE_SUFFIXES
from latlas.data.tables import read_table
from latlas.errors import InputError
from latlas.progress import OnProgress

_NO_TABLE = {field: DataOptions.model_fields[field].default for field in TABLE_OPTIONS}


@dataclass(frozen=True)
class Like:
    """What a trained model takes: kind, shape as it sees items, scaling, and names of columns and classes."""

    kind: Kind
    shape: tuple[int, ...]
    scaling: Scaling
    columns: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None


def load(options: DataOptions, progress: OnProgress | None = None) -> Dataset:
    """The data set that `options.source` names: a named set, a folder, an array or a table.

    Raises InputError for a source that is unknown, missing, cannot be read or does not make a data set.
    """
    return assemble(_read(options, progress), options)


def _read(options: DataOptions, progress: OnProgress | None) -> Raw:
    if options.source in NAMED:
        _refuse_unused(options, (*TABLE_OPTIONS, "layout"), "a named set")
        return read_named(options, progress)
    path = find(options.source)
    name = safe_name(path)
    suffix = path.suffix.lower()
    if path.is_dir():
        _refuse_unused(options, (*TABLE_OPTIONS, "layout"), "a folder")
        folder = _idx_home(path)
        if folder is not None:
            return _read_idx_folder(folder, name, options)
        return read_folder(path, name, options, progress)
    if suffix in (".npy", ".npz"):
        _refuse_unused(options, TABLE_OPTIONS, "an array (labels are its y)")
        return read_array(path, name, options)
    if suffix in TABLE_SUFFIXES:
        _refuse_unused(options, ("layout",), "a table")
        return read_table(path, name, options)
    if suffix in IMAGE_SUFFIXES:
        _refuse_unused(options, ("label", "layout"), "image files")
        return _read_stack(path, name, options, progress)
    if "idx" in path.name:
        x = _idx_items(read_idx(path), options, path)
        return Raw(name, str(path), {"train": as_split(x)})
    raise InputError(
        f"{path}: files of type {suffix or '(none)'} cannot be read;"
        " expected .npy, .npz, .csv, .tsv, .parquet, an IDX file or a folder of images"
    )


def find(source: str) -> Path:
    """The absolute path of a source that is not a named set.

    Raises InputError, with the nearest name as a hint, where nothing is there.
    """
    path = Path(source).expanduser().absolute()
    if source and path.exists():
        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            raise InputError(f"{path}: cannot be read (Permission denied)")
        return path
    near = get_close_matches(source, NAMED, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(
        f"{source!r} is neither a named set ({', '.join(NAMED)}) nor an existing file or folder{hint}"
    )


def safe_name(path: Path) -> str:
    """A short name for a path, fit to be part of a folder's name."""
    if path.name == "raw" and path.is_dir():
        path = path.parent  # torchvision keeps IDX files in NAME/raw
    stem = path.name if path.is_dir() else path.name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:40] or "data"


def _refuse_unused(options: DataOptions, fields: tuple[str, ...], what: str) -> None:
    for field in fields:
        if getattr(options, field) != DataOptions.model_fields[field].default:
            value = getattr(options, field)
            raise InputError(f"has no meaning for {what}; leave it out", field=f"data.{field}", value=value)


def _idx_home(path: Path) -> Path | None:
    """The folder itself or its `raw`, whichever holds IDX files."""
    return next((p for p in (path, path / "raw") if p.is_dir() and idx_files(p)), None)


def _idx_items(x: np.ndarray, options: DataOptions, path: Path) -> np.ndarray:
    """Three axes are many grey images, however narrow: that is what IDX image files hold."""
    layout = "NHW" if x.ndim == 3 and options.layout == "auto" else options.layout
    return orient(x, layout, options.image_size, str(path))


def _read_idx_folder(folder: Path, name: str, options: DataOptions) -> Raw:
    arrays = read_idx_folder(folder)
    labels, classes = code_labels([y for _, y in arrays.values()], str(folder))
    parts = {
        part: as_split(_idx_items(x, options, folder), y)
        for (part, (x, _)), y in zip(arrays.items(), labels, strict=True)
    }
    counts = ", ".join(f"{part} {len(split):,}" for part, split in parts.items())
    return Raw(name, str(folder), parts, classes, notes=(f"IDX files: {counts}",))


def _read_stack(path: Path, name: str, options: DataOptions, progress: OnProgress | None) -> Raw:
    """The pages of one image file, each an item."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata
        header = inspect(path)
    if options.pages == "first" or header.pages == 1 or not (header.stack or options.pages):
        pages = "" if header.pages == 1 else f", or data.pages = all to take its {header.pages:,} pages"
        raise InputError(f"{path}: a single image; give the folder that holds all of them{pages}")
    image_format = ImageFormat(options.image_size, options.resize, pages=options.pages, bits=options.bits)
    decoded = decode_files(path.parent, [path], image_format, progress)
    refuse_broken(path, decoded, options.strict)
    notes = (*decoded.notes, *broken_notes(decoded))
    return Raw(name, str(path), {"train": as_split(decoded.x)}, notes=notes, bits=decoded.bits)


def load_items(source: str, like: Like, options: DataOptions, progress: OnProgress | None = None) -> Split:
    """Every item of a source, in its order, read so that it fits a trained model.

    Of a source with an official test split, that split. Image files are resized to the model's height and
    width and made grey or RGB as it needs; arrays must have its shape; a table's columns are matched by name.
    Labels are coded by the model's classes where they all occur there, and left out otherwise.

    Where the model's data were binarised, so are these, as a test split.

    Raises InputError for a source that cannot be read or does not fit.
    """
    changes = {"source": source, "limit": None, "image_size": None, "binarise": "none"}
    items = _items(source, like, options.model_copy(update=changes), progress)
    if options.binarise == "none":
        return items
    return drawn_once(items, like.scaling, options.binarise_seed, "test")


def _items(source: str, like: Like, options: DataOptions, progress: OnProgress | None) -> Split:
    if source in NAMED:
        return _named_items(options, like, progress)
    path = find(source)
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        decoded = decode_files(path.parent, [path], _image_needs(like, options, str(path)), keep=False)
        x = _fit(decoded.x, like, str(path), image_files=True)
        return Split(x, None, np.arange(len(x)))
    if path.is_dir() and _idx_home(path) is None:
        return _folder_items(path, like, options, progress)
    if path.suffix.lower() in TABLE_SUFFIXES:
        raw = read_table(path, safe_name(path), options, like.columns)
    else:
        # The run's layout holds for arrays only.
        layout = "auto" if path.is_dir() else options.layout
        raw = _read(options.model_copy(update={**_NO_TABLE, "layout": layout}), progress)
    split = raw.parts.get("test", raw.parts["train"])
    x = _fit(split.x, like, str(path))
    return replace(split, x=x, labels=_recode(split.labels, raw.classes, like.classes))


def _named_items(options: DataOptions, like: Like, progress: OnProgress | None) -> Split:
    size = like.shape[1:] if named(options.source).images and like.kind == "image" else None
    dataset = load(options.model_copy(update={**_NO_TABLE, "image_size": size, "layout": "auto"}), progress)
    x = _fit(dataset.test.x, like, options.source)
    return replace(dataset.test, x=x, labels=_recode(dataset.test.labels, dataset.classes, like.classes))


def _folder_items(path: Path, like: Like, options: DataOptions, progress: OnProgress | None) -> Split:
    image_format = _image_needs(like, options, str(path))
    listing = list_images(path)
    has_test = listing.parts is not None and "test" in listing.parts
    rows = np.flatnonzero(np.asarray(listing.parts) == "test") if has_test else np.arange(len(listing.files))
    files = [listing.files[i] for i in rows]
    decoded = decode_files(path, files, image_format, progress)
    refuse_broken(path, decoded, options.strict)
    index = rows[decoded.rows]
    labels, classes = label_codes(listing, index)
    x = _fit(decoded.x, like, str(path), image_files=True)
    return Split(x, _recode(labels, classes, like.classes), index)


def _image_needs(like: Like, options: DataOptions, where: str) -> ImageFormat:
    if like.kind != "image" or like.shape[0] not in (1, 3) or like.scaling.kind == "minmax":
        shape = "x".join(map(str, like.shape))
        units = " in units of its own" if like.scaling.kind == "minmax" else ""
        raise InputError(
            f"{where}: image files do not fit this model, which takes {like.kind}s of {shape}{units}"
        )
    white = int(like.scaling.scale[0]) if like.scaling.kind == "integer" else 255
    size, grey = (like.shape[1], like.shape[2]), like.shape[0] == 1
    return ImageFormat(size, options.resize, grey, options.pages or "stack", options.bits, white)


def _recode(
    labels: np.ndarray | None, own: tuple[str, ...] | None, model: tuple[str, ...] | None
) -> np.ndarray | None:
    if labels is None or own is None or model is None:
        return labels if own is None or model is None else None
    if not set(own) <= set(model):
        return None
    # An item without a label has -1, the last place.
    return np.asarray([*map(model.index, own), UNLABELLED], dtype=np.int64)[labels]


def _fit(x: np.ndarray, like: Like, where: str, image_files: bool = False) -> np.ndarray:
    """Items with the shape and range that the model takes; pixels of image files are scaled to [0, 1] where it
    takes floats.
    """
    check_numeric(x, where)
    shape = (*like.shape[1:], like.shape[0]) if like.kind == "image" else like.shape
    if like.kind == "image" and like.shape[0] == 1 and x.shape[1:] == (shape[0] * shape[1],):
        x = x.reshape(len(x), *shape)
    if x.shape[1:] != shape:
        raise InputError(
            f"{where}: items of {shape_text(x.shape[1:])}, but the model was trained on {shape_text(shape)}"
        )
    if x.dtype == bool or (image_files and like.scaling.kind == "none"):
        x = x.astype(np.float32) / (255 if image_files else 1)
    return check_fit(x, like.scaling, where)
