"""One call from a source to a data set, or to items that fit a trained model."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from latlas.data.arrays import orient, read_array
from latlas.data.binarise import drawn_once
from latlas.data.cache import ImageFormat, decode_files
from latlas.data.catalogue import NAMED, named
from latlas.data.dataset import UNLABELLED, Dataset, Kind, Scaling, Split
from latlas.data.folders import broken_notes, label_codes, list_images, read_folder, refuse_broken
from latlas.data.idx import idx_files, read_idx, read_idx_folder, shape_text
from latlas.data.image_files import SUFFIXES as IMAGE_SUFFIXES
from latlas.data.image_files import decode, inspect
from latlas.data.named import read_named
from latlas.data.options import DataOptions
from latlas.data.ranges import check_fit, check_numeric, native
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


def _silent(note: str) -> None: ...


def load(options: DataOptions, progress: OnProgress | None = None) -> Dataset:
    """The data set that `options.source` names: a named set, a folder, an array or a table.

    Raises InputError for a source that is unknown, missing, cannot be read or does not make a data set.
    """
    return assemble(_read(options, progress), options)


def _read(options: DataOptions, progress: OnProgress | None) -> Raw:
    if options.source in NAMED:
        _refuse_unused(options, (*TABLE_OPTIONS, "layout", "kind"), "a named set")
        return read_named(options, progress)
    path = find(options.source)
    name = safe_name(path)
    suffix = path.suffix.lower()
    if path.is_dir():
        _refuse_unused(options, (*TABLE_OPTIONS, "layout", "kind"), "a folder")
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
        raise InputError(f"{path}: a single image; give the folder that holds all of them")
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


def load_items(
    source: str,
    like: Like,
    options: DataOptions,
    progress: OnProgress | None = None,
    note: Callable[[str], None] = _silent,
) -> Split:
    """Every item of a source, in its order, read so that it fits a trained model.

    Of a source with an official test split, that split. Image files are resized to the model's height and
    width and made grey or RGB as it needs; arrays must have its shape; a table's columns are matched by name.
    Labels are coded by the model's classes where they all occur there, and left out otherwise.

    Where the model's data were binarised, so are these, as a test split. `note` takes a line on each change.

    Raises InputError for a source that cannot be read or does not fit.
    """
    changes = {"source": source, "limit": None, "image_size": None, "binarise": "none"}
    items = _items(source, like, options.model_copy(update=changes), progress, note)
    return drawn_as(items, like, options)


def drawn_as(items: Split, like: Like, options: DataOptions) -> Split:
    """Items binarised as a test split, where the model's data were binarised."""
    if options.binarise == "none":
        return items
    return drawn_once(items, like.scaling, options.binarise_seed, "test")


def _items(
    source: str, like: Like, options: DataOptions, progress: OnProgress | None, note: Callable[[str], None]
) -> Split:
    if source in NAMED:
        return _named_items(options, like, progress)
    path = find(source)
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        size, grey = image_needs(like, str(path))
        _note_changes([path], like, options.resize, note)
        x = decode(path, size, options.resize, grey)[None]
        return Split(pixels(x, like, str(path)), None, np.arange(1))
    if path.is_dir() and _idx_home(path) is None:
        return _folder_items(path, like, options, progress, note)
    if path.suffix.lower() in TABLE_SUFFIXES:
        raw = read_table(path, safe_name(path), options, like.columns)
    else:
        # The run's layout holds for arrays only.
        layout = "auto" if path.is_dir() else options.layout
        raw = _read(options.model_copy(update={**_NO_TABLE, "layout": layout}), progress)
    split = raw.parts.get("test", raw.parts["train"])
    x = fit(split.x, like, str(path))[0]
    return replace(split, x=x, labels=_recode(split.labels, raw.classes, like.classes))


def _named_items(options: DataOptions, like: Like, progress: OnProgress | None) -> Split:
    size = like.shape[1:] if named(options.source).images and like.kind == "image" else None
    dataset = load(options.model_copy(update={**_NO_TABLE, "image_size": size, "layout": "auto"}), progress)
    x = fit(dataset.test.x, like, options.source)[0]
    return replace(dataset.test, x=x, labels=_recode(dataset.test.labels, dataset.classes, like.classes))


def _folder_items(
    path: Path, like: Like, options: DataOptions, progress: OnProgress | None, note: Callable[[str], None]
) -> Split:
    size, grey = image_needs(like, str(path))
    listing = list_images(path)
    has_test = listing.parts is not None and "test" in listing.parts
    rows = np.flatnonzero(np.asarray(listing.parts) == "test") if has_test else np.arange(len(listing.files))
    files = [listing.files[i] for i in rows]
    decoded = decode_files(path, files, ImageFormat(size, options.resize, grey), progress)
    refuse_broken(path, decoded, options.strict)
    for line in broken_notes(decoded):
        note(line)
    index = rows[decoded.rows]
    _note_changes([path / listing.files[i] for i in index], like, options.resize, note)
    labels, classes = label_codes(listing, index)
    x = pixels(decoded.x, like, str(path))
    return Split(x, _recode(labels, classes, like.classes), index)


def image_needs(like: Like, where: str) -> tuple[tuple[int, int], bool]:
    """Height and width that a model needs of an image file, and whether it is to be grey.

    Raises InputError for a model of something else.
    """
    if like.kind != "image" or like.shape[0] not in (1, 3) or like.scaling.kind == "minmax":
        shape = "x".join(map(str, like.shape))
        units = " in units of its own" if like.scaling.kind == "minmax" else ""
        raise InputError(
            f"{where}: image files do not fit this model, which takes {like.kind}s of {shape}{units}"
        )
    return (like.shape[1], like.shape[2]), like.shape[0] == 1


def _recode(
    labels: np.ndarray | None, own: tuple[str, ...] | None, model: tuple[str, ...] | None
) -> np.ndarray | None:
    if labels is None or own is None or model is None:
        return labels if own is None or model is None else None
    if not set(own) <= set(model):
        return None
    # An item without a label has -1, the last place.
    return np.asarray([*map(model.index, own), UNLABELLED], dtype=np.int64)[labels]


def _note_changes(files: Sequence[Path], like: Like, resize: str, note: Callable[[str], None]) -> None:
    """Notes how many image files are resized, made grey or RGB, or scaled to fit the model."""
    size, grey = image_needs(like, "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata
        headers = [inspect(file) for file in files]
    total, wanted = len(headers), shape_text(size)
    resized = sum((h.height, h.width) != size for h in headers)
    recoloured = sum(h.grey != grey for h in headers)
    how = "resized (short side, then centre crop)" if resize == "crop" else "squashed"
    if resized:
        note(f"{resized:,} of {total:,} image files {how} to {wanted}, the size that the model takes")
    if recoloured:
        colour = "made grey" if grey else "in grey taken as RGB"
        note(f"{recoloured:,} of {total:,} image files {colour}, as the model takes them")
    if like.scaling.kind == "none":
        note("pixels divided by 255, as the model takes values inside [0, 1]")


def pixels(x: np.ndarray, like: Like, where: str) -> np.ndarray:
    """Pixels of image files, whose range is known, in the units of the model's data."""
    scaling = like.scaling
    if x.dtype == np.uint8 and scaling.kind == "none":
        x = x.astype(np.float32) / 255
    elif x.dtype == np.uint8 and scaling.scale[0] != 255:
        x = np.rint(x * (scaling.scale[0] / 255)).astype(np.uint16)
    return fit(x, like, where)[0]


def fit(
    x: np.ndarray, like: Like, where: str, channels_first: bool = False, units: str = "data"
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Items as the model takes them, (N, H, W, C) or (N, D), and what brings such arrays back to the axes of `x`.

    Images may have their channels last or first: the one that fits the model, and where both do, the last unless
    `channels_first`. Grey images may leave out the channel, or be flat. `units` are those of the data, or "model".

    Raises InputError for another shape, values that are not finite, and values on another scale.
    """
    x = native(x)
    items, back = _fit_axes(x, like, where, channels_first)
    if not len(items):
        raise InputError(f"{where}: no items; at least one is needed")
    check_numeric(items, where)
    if units == "data":
        return check_fit(items, like.scaling, where), back
    if like.scaling.kind in ("none", "integer"):
        items = check_fit(items, Scaling(), where)
    return items if items.dtype.kind == "f" else items.astype(np.float32), back


def _misfit(x: np.ndarray, ways: Mapping[str, tuple[int, ...]], channels_first: bool) -> str:
    """Why an array fits none of the ways in which a model takes its items."""
    if x.shape in ways.values():
        return f"a single item of shape {x.shape}; give a batch of one, x[None]"
    taken = list(ways.values())[:2] if channels_first else [ways["plain"]]
    found = f"items of shape {x.shape[1:]}" if x.ndim > 1 else f"an array of shape {x.shape}"
    return f"{found}, and this model takes {' or '.join(map(str, taken))}"


def _fit_axes(
    x: np.ndarray, like: Like, where: str, channels_first: bool
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    own, shape = x.shape[1:], like.shape
    ways: dict[str, tuple[int, ...]] = {"plain": shape}
    if like.kind == "image":
        channels, height, width = shape
        ways = {"plain": (height, width, channels), "first": shape}
        if channels == 1:
            ways |= {"grey": (height, width), "flat": (height * width,)}
    fitting = [way for way, axes in ways.items() if axes == own and x.ndim]
    if not fitting:
        raise InputError(f"{where}: {_misfit(x, ways, channels_first)}")
    if "first" in fitting and (channels_first or "plain" not in fitting):
        return np.moveaxis(x, 1, -1), lambda items: np.moveaxis(items, -1, 1)
    items = x.reshape(len(x), *ways["plain"])
    return items, lambda y: y.reshape(len(y), *own)
