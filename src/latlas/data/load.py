"""One call from a source to a data set, or to items that fit a trained model."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from latlas.data.arrays import orient, read_array
from latlas.data.arrow import PARQUET, Columns, parquet_files, raw_of_columns, read_parquet
from latlas.data.binarise import drawn_once
from latlas.data.cache import decode_files
from latlas.data.catalogue import NAMED, named
from latlas.data.dataset import UNLABELLED, Dataset, Kind, Scaling, Split
from latlas.data.folders import read_folder
from latlas.data.idx import idx_files, read_idx, read_idx_folder
from latlas.data.image_files import inspect
from latlas.data.image_formats import SUFFIXES as IMAGE_SUFFIXES
from latlas.data.image_list import broken_notes, file_names, first_few, refuse_broken
from latlas.data.image_plan import ImageFormat
from latlas.data.named import read_named
from latlas.data.options import MEMORY, DataOptions, path_of, path_text, used
from latlas.data.parquet_blocks import read_blocks, shards_of
from latlas.data.ranges import as_type, check_fit, check_numeric, native
from latlas.data.remote import fetched, is_address
from latlas.data.room import AS_NPY, placed, within_memory
from latlas.data.splits import Raw, as_split, assemble, check_trainable, code_labels, taken, wanted
from latlas.data.stored import A, Items, each
from latlas.data.tables import COLUMN_OPTIONS, TEXT_OPTIONS, read_table
from latlas.data.tables import SUFFIXES as TEXT_SUFFIXES
from latlas.data.walk import walk
from latlas.errors import InputError
from latlas.files import refuse_special
from latlas.places import expanded
from latlas.progress import SILENT, Observer, OnProgress
from latlas.text import briefly, counted, printable


@dataclass(frozen=True)
class Item:
    """What one item of a model is: its kind, image, signal, volume, vector or table; its shape as the model sees it,
    (C, ...) or (D,); the scaling of its values; and the names of columns and classes.
    """

    kind: Kind
    shape: tuple[int, ...]
    scaling: Scaling = field(default_factory=Scaling)
    columns: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None

    @property
    def outside(self) -> tuple[int, ...]:
        """The shape of an item outside the model: its channels last, as (H, W, C), or (D,)."""
        return (*self.shape[1:], self.shape[0]) if len(self.shape) > 1 else self.shape


Like = Item  # where sources are read so that their items are like those of a model


@dataclass(frozen=True)
class _Request:
    """A source to read and how: to train on where `like` and `split` are None, else for a trained model."""

    path: Path
    options: DataOptions
    like: Like | None = None
    split: str | None = None
    progress: OnProgress | None = None


@dataclass(frozen=True)
class _Reader:
    """One kind of source: its name, the options without a meaning for it, and how it is read."""

    what: str
    unused: tuple[str, ...]
    read: Callable[[_Request], Raw]
    on_disk: bool = False  # whether its items can stay there


def load(options: DataOptions, progress: OnProgress | None = None, given: Raw | None = None) -> Dataset:
    """The data set that `options.source` names: a named set, a folder, an array or a table; or that is `given`.

    Raises InputError for a source that is unknown, missing, cannot be read or does not make a data set.
    """
    with within_memory(options.source, AS_NPY):
        return assemble(read_source(options, progress) if given is None else given, options)


def read_source(options: DataOptions, progress: OnProgress | None = None) -> Raw:
    """What `options.source` holds, before it is split and scaled.

    Raises InputError as `load` does.
    """
    if options.source == MEMORY:
        raise InputError(f"{MEMORY}: no file holds them; in Python they are passed again, as latlas.train(x)")
    return _read(_reader(options.source), options, progress=progress)


def load_items(
    source: str, like: Like, options: DataOptions, observer: Observer = SILENT, split: str = ""
) -> Split:
    """Items of a source, in its order, read so that they fit a trained model.

    Of a source with official splits these are the items of `split`, or of `all`; where `split` is empty, of its test
    split. Image files are resized to the model's height and width and made grey or RGB as it needs; arrays must have
    its shape; a table's columns are matched by name. Labels are coded by the model's classes where they all occur
    there, and left out otherwise. Where the model's data were binarised, so are these, as a test split.

    What was decided is noted. Raises InputError for a source that cannot be read or does not fit, and for a split that
    it does not have.
    """
    changes = {"source": source, "limit": None, "image_size": None, "binarise": "none"}
    reader = _reader(source)
    raw = _read(reader, options.model_copy(update=changes), like, split, observer.progress)
    items, notes = taken(raw, split)
    x = pixels(items.x, like, raw.source) if raw.pixels else fit(items.x, like, raw.source)[0]
    if raw.pixels and like.scaling.kind == "none" and items.x.dtype == np.uint8:
        notes.append("pixels divided by 255, as the model takes values inside [0, 1]")
    labels = _recode(items.labels, raw.classes, like.classes)
    if items.labels is not None and labels is None:
        unknown = [name for name in raw.classes or () if name not in (like.classes or ())]
        notes.append(
            f"labels are left out: the model was trained without classes called {first_few(unknown)}"
        )
    for note in (*raw.notes, *notes):
        observer.note(printable(note))
    return drawn_as(replace(items, x=x, labels=labels), like, options)


def drawn_as(items: Split, like: Like, options: DataOptions) -> Split:
    """Items binarised as a test split, where the model's data were binarised."""
    if options.binarise == "none":
        return items
    return drawn_once(items, like.scaling, options.binarise_seed, "test")


def _read(
    reader: _Reader,
    options: DataOptions,
    like: Like | None = None,
    split: str | None = None,
    progress: OnProgress | None = None,
) -> Raw:
    """A source as its reader gives it; what has no meaning for it is refused, but for a run's settings in later use."""
    options = used(options, (*reader.unused, "layer"), reader.what, like is None)
    if not reader.on_disk and options.memory == "windows":
        if like is None:
            what = f"has no meaning for {reader.what}, which is held in memory; leave it out"
            raise InputError(what, field="data.memory", value="windows")
        options = options.model_copy(update={"memory": "auto"})
    if reader in (PARQUET_FILE, PARQUET_FOLDER):
        options = used(options, TEXT_OPTIONS, "a Parquet file", like is None)
    if reader is NAMED_SET:
        raw = reader.read(_Request(Path(), options, like, split, progress))
        return replace(raw, notes=(*_shadowed(options.source), *raw.notes))
    path = find(options.source)
    source = options.source if is_address(options.source) else path_text(str(path))
    return replace(reader.read(_Request(path, options, like, split, progress)), source=source)


def _reader(source: str) -> _Reader:
    """The reader for a source's kind: named set, folder or file.

    Raises InputError as `find` does, and for files of another type.
    """
    if source in NAMED:
        return NAMED_SET
    path = find(source)
    suffix = path.suffix.lower()
    if path.is_dir():
        return IDX_FOLDER if _idx_home(path) else PARQUET_FOLDER if _shards(path) else IMAGE_FOLDER
    if suffix in (".npy", ".npz"):
        return ARRAY
    if suffix in TEXT_SUFFIXES:
        return TABLE
    if suffix in PARQUET:
        return PARQUET_FILE
    if suffix in IMAGE_SUFFIXES:
        return IMAGE_FILE
    if "idx" in path.name:
        return IDX_FILE
    raise InputError(
        f"{path}: files of type {suffix or '(none)'} cannot be read;"
        " expected .npy, .npz, .csv, .tsv, .parquet, an IDX file or a folder of images"
    )


def as_source(source: str | os.PathLike[str]) -> str:
    """A source as text; a path object is always a path, even where a named set has its name."""
    if isinstance(source, str):
        return source
    text = os.fsdecode(source)
    return f"./{text}" if text in NAMED else text


def find(source: str) -> Path:
    """The absolute path of a source that is not a named set; of one elsewhere, that of its copy.

    Raises InputError, with the nearest name as a hint, where nothing is there, and for what is neither file nor folder.
    """
    if is_address(source):
        return fetched(source)
    try:
        path = expanded(path_of(source)).absolute()
        there = bool(source) and path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{briefly(source)}: not a path ({getattr(error, 'strerror', None) or error})"
        ) from None
    if there:
        refuse_special(path)
        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            raise InputError(f"{path}: cannot be read (Permission denied)")
        return path
    if path.is_symlink():
        raise InputError(f"{path}: a link to {path.readlink()}, which is not there")
    near = get_close_matches(source, NAMED, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(
        f"{source!r} is neither a named set ({', '.join(NAMED)}) nor an existing file or folder{hint}"
    )


def _shadowed(source: str) -> tuple[str, ...]:
    """A note where a named set hides a file or folder of its name."""
    return (f"{source} is the named set; what lies here under that name is ./{source}",) * Path(
        source
    ).exists()


def safe_name(path: Path) -> str:
    """A short name for a path, fit to be part of a folder's name."""
    if path.name == "raw" and path.is_dir():
        path = path.parent  # torchvision keeps IDX files in NAME/raw
    stem = path.name if path.is_dir() else path.name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:40] or "data"


def _read_named(request: _Request) -> Raw:
    options, like = request.options, request.like
    if like is not None and named(options.source).images and like.kind == "image":
        options = options.model_copy(update={"image_size": like.shape[1:]})
    return read_named(options, request.progress)


def _image_format(request: _Request) -> ImageFormat:
    options = request.options
    if request.like is not None:
        return image_needs(request.like, options, str(request.path))
    return ImageFormat(options.image_size, options.resize, pages=options.pages, bits=options.bits)


def _read_image_folder(request: _Request) -> Raw:
    path, options = request.path, request.options
    return read_folder(
        path, safe_name(path), options, _image_format(request), request.progress, request.split
    )


def _read_image_file(request: _Request) -> Raw:
    """The pages of one image file, each an item; to train on, it must have several."""
    path = request.path
    if request.like is None:
        _refuse_single(path, request.options.pages)
    keep = request.like is None
    decoded = decode_files(path.parent, [path], _image_format(request), request.progress, keep)
    refuse_broken(path, decoded, request.options.strict)
    notes = (*decoded.notes, *broken_notes(decoded))
    x, said = placed(decoded.x, request.options)
    items = replace(as_split(x), names=file_names(path.parent, [path])[decoded.rows])
    return Raw(
        safe_name(path), str(path), {"train": items}, notes=(*notes, *said), bits=decoded.bits, pixels=True
    )


def _refuse_single(path: Path, pages: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata
        header = inspect(path)
    if pages == "first" or header.pages == 1 or not (header.stack or pages):
        hint = (
            "" if header.pages == 1 else f", or data.pages = all to take its {counted(header.pages, 'page')}"
        )
        raise InputError(f"{path}: a single image; give the folder that holds all of them{hint}")


def _read_array(request: _Request) -> Raw:
    return read_array(request.path, safe_name(request.path), request.options)


def _read_table(request: _Request) -> Raw:
    columns = request.like.columns if request.like else None
    return read_table(request.path, safe_name(request.path), request.options, columns)


def _shards(folder: Path) -> list[str]:
    """The Parquet files of a folder without image files, by their paths below it."""
    files = walk(folder).files
    if any(Path(file).suffix.lower() in IMAGE_SUFFIXES for file in files):
        return []
    return [file for file in files if Path(file).suffix.lower() in PARQUET]


def _read_parquet_file(request: _Request) -> Raw:
    return _read_shards(request, {"train": [request.path]})


def _read_parquet_folder(request: _Request) -> Raw:
    folder = request.path
    try:
        files = parquet_files(_shards(folder))
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    if request.split is None:
        check_trainable(files, str(folder))
    return _read_shards(request, {part: [folder / name for name in names] for part, names in files.items()})


def _read_shards(request: _Request, files: Mapping[str, Sequence[Path]]) -> Raw:
    path, name, known = request.path, safe_name(request.path), _known(request)
    shards = shards_of(files, path, name)
    if shards is not None and request.options.memory != "resident":
        sizes = shards.sizes
        parts = sizes if request.split is None else wanted(sizes, request.split, str(path))
        options = _for_columns(request, shards.names)
        raw = read_blocks(shards.only(parts), options, known, request.progress)
        if raw is not None:
            return replace(raw, sizes=sizes)
    return _of_columns(read_parquet(files, path, name), request)


def _known(request: _Request) -> Sequence[str] | None:
    """The columns that a trained model takes."""
    return request.like.columns if request.like else None


def _for_columns(request: _Request, there: Sequence[str]) -> DataOptions:
    """The options for a table of these columns: other data need not have all the columns of the run's own."""
    options = request.options
    if request.like is None or _known(request) is not None:
        return options
    label = options.label if options.label in there else ""
    chosen, drop = (tuple(c for c in own if c in there) for own in (options.columns, options.drop))
    return options.model_copy(update={"label": label, "columns": chosen, "drop": drop})


def _of_columns(columns: Columns, request: _Request) -> Raw:
    sizes, known = columns.sizes, _known(request)
    if request.split is not None:
        parts = wanted(sizes, request.split, columns.where)
        columns = replace(columns, tables={part: columns.tables[part] for part in parts})
    options = _for_columns(request, columns.first.column_names)
    image_format = _image_format(request) if known is None and columns.image_columns else ImageFormat()
    return replace(raw_of_columns(columns, options, image_format, known, request.progress), sizes=sizes)


def _idx_home(path: Path) -> Path | None:
    """The folder itself or its `raw`, whichever holds IDX files."""
    return next((p for p in (path, path / "raw") if p.is_dir() and idx_files(p)), None)


def _idx_items(x: np.ndarray, options: DataOptions, path: Path) -> np.ndarray:
    """Three axes are many grey images, however narrow: that is what IDX image files hold."""
    layout = "NHW" if x.ndim == 3 and options.layout == "auto" else options.layout
    return orient(x, layout, options.image_size, str(path))


def _read_idx_file(request: _Request) -> Raw:
    path = request.path
    x = _idx_items(read_idx(path), request.options, path)
    return Raw(safe_name(path), str(path), {"train": as_split(x)})


def _read_idx_folder(request: _Request) -> Raw:
    folder = _idx_home(request.path) or request.path
    arrays = read_idx_folder(folder)
    labels, classes = code_labels([y for _, y in arrays.values()], str(folder))
    parts = {
        part: as_split(_idx_items(x, request.options, folder), y)
        for (part, (x, _)), y in zip(arrays.items(), labels, strict=True)
    }
    counts = ", ".join(f"{part} {len(split):,}" for part, split in parts.items())
    return Raw(safe_name(request.path), str(folder), parts, classes, notes=(f"IDX files: {counts}",))


_NO_COLUMNS = (*COLUMN_OPTIONS, *TEXT_OPTIONS)
_NO_TABLE = (*_NO_COLUMNS, "layout", "kind", "constant")
NAMED_SET = _Reader("a named set", _NO_TABLE, _read_named)
IMAGE_FOLDER = _Reader(
    "a folder", (*TEXT_OPTIONS, "drop", "columns", "layout", "kind"), _read_image_folder, True
)
IMAGE_FILE = _Reader("image files", _NO_TABLE, _read_image_file, True)
IDX_FOLDER = _Reader("a folder", _NO_TABLE, _read_idx_folder)
IDX_FILE = _Reader("an IDX file", _NO_COLUMNS, _read_idx_file)
ARRAY = _Reader("an array (labels are its y)", _NO_COLUMNS, _read_array, True)
TABLE = _Reader("a table in a text file", ("layout",), _read_table)
PARQUET_FILE = _Reader("a table", ("layout",), _read_parquet_file, True)
PARQUET_FOLDER = _Reader("a table", ("layout",), _read_parquet_folder, True)


def image_needs(like: Like, options: DataOptions, where: str) -> ImageFormat:
    """The format that a model needs image files in.

    Raises InputError for a model of something else.
    """
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


def pixels(x: A, like: Like, where: str) -> A:
    """Pixels of image files, whose range is known, in the units of the model's data."""
    scaling = like.scaling
    if x.dtype == np.uint8 and scaling.kind == "none":
        x = each(x, lambda part: part.astype(np.float32) / 255)
    elif x.dtype == np.uint8 and scaling.scale[0] != 255:
        x = each(x, lambda part: np.rint(part * (scaling.scale[0] / 255)).astype(np.uint16))
    return fit(x, like, where)[0]


def fit(
    x: A, like: Like, where: str, channels_first: bool = False, units: str = "data"
) -> tuple[A, Callable[[np.ndarray], np.ndarray]]:
    """Items as the model takes them, (N, ..., C) or (N, D), and what brings such arrays back to the axes of `x`.

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
    return items if items.dtype.kind == "f" else as_type(items, np.float32), back


def _misfit(x: Items, ways: Mapping[str, tuple[int, ...]], channels_first: bool) -> str:
    """Why an array fits none of the ways in which a model takes its items."""
    if x.shape in ways.values():
        return f"a single item of shape {x.shape}; give a batch of one, x[None]"
    taken = list(ways.values())[:2] if channels_first else [ways["plain"]]
    found = f"items of shape {x.shape[1:]}" if x.ndim > 1 else f"an array of shape {x.shape}"
    return f"{found}, and this model takes {' or '.join(map(str, taken))}"


def _fit_axes(
    x: A, like: Like, where: str, channels_first: bool
) -> tuple[A, Callable[[np.ndarray], np.ndarray]]:
    own, shape = x.shape[1:], like.shape
    ways: dict[str, tuple[int, ...]] = {"plain": shape}
    if len(shape) > 1:
        ways = {"plain": like.outside, "first": shape}
        if shape[0] == 1:
            ways |= {"grey": shape[1:], "flat": (math.prod(shape),)}
    fitting = [way for way, axes in ways.items() if axes == own and x.ndim]
    if not fitting:
        raise InputError(f"{where}: {_misfit(x, ways, channels_first)}")
    if "first" in fitting and (channels_first or "plain" not in fitting):
        return each(x, lambda part: np.moveaxis(part, 1, -1)), lambda items: np.moveaxis(items, -1, 1)
    items = each(x, lambda part: part.reshape(len(part), *ways["plain"]))
    return items, lambda y: y.reshape(len(y), *own)
