"""Items that somebody gives to a trained model in Python, and what comes out of it in their type."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from latlas.data.arrow import Columns, raw_of_columns
from latlas.data.cache import decode_files
from latlas.data.dataset import Split
from latlas.data.image_files import inspect
from latlas.data.image_formats import SUFFIXES as IMAGE_SUFFIXES
from latlas.data.image_plan import fitted
from latlas.data.image_source import Held, ImageSource
from latlas.data.load import Like, as_source, fit, image_needs, load_items, pixels
from latlas.data.objects import array_of, is_packed, plain
from latlas.data.options import DataOptions
from latlas.data.ranges import check_numeric
from latlas.data.row_names import names_of_rows
from latlas.data.stored import Items, each
from latlas.errors import InputError
from latlas.places import expanded

Units = Literal["data", "model"]


@dataclass(frozen=True)
class Given:
    """Items as one array, (N, H, W, C) or (N, D), in the units that were said; `notes` are printable lines, `names`
    (N,) what items are called, if they are.

    `back` gives such an array the type and the axes of what was given, `codes` does so for codes (N, D).
    """

    x: Items
    back: Callable[[np.ndarray], Any] = lambda x: x
    codes: Callable[[np.ndarray], Any] = lambda z: z
    notes: tuple[str, ...] = ()
    names: np.ndarray | None = None


def names_in(given: Any, options: DataOptions) -> np.ndarray | None:
    """What the rows of a pandas frame are called by the columns that a run left out, or by the frame's named index."""
    if not hasattr(given, "columns") or not hasattr(given, "reset_index"):
        return None
    levels = list(given.index.names)
    named = [str(name) for name in levels if name is not None and name not in given.columns]
    frame = given.reset_index() if len(named) == len(levels) else given
    frame = frame.set_axis([str(c) for c in frame.columns], axis=1)
    if frame.columns.has_duplicates:
        return None
    left = [c for c in options.drop if c != options.label]
    return names_of_rows(frame, lambda c: frame[c], named, left)[1]


def check_units(units: str) -> None:
    """Raises InputError for other units than data and model."""
    if units not in ("data", "model"):
        raise InputError("expected data or model", field="units", value=units)


def as_items(given: Any, like: Like, units: Units = "data") -> Given:
    """What was given, as items that fit a model.

    A Split holds items that were checked when they were read. Raises InputError for another type or shape, for values
    that are not finite, and for values on another scale.
    """
    check_units(units)
    if isinstance(given, Split):  # stored items are in data units
        return Given(given.x if units == "data" else each(given.x, like.scaling.apply))
    if isinstance(given, str | os.PathLike):
        _refuse_model_units(units, "a path")
        source = as_source(given)
        return Given(np.asarray(load_items(source, like, DataOptions(source=source)).x))
    if isinstance(given, Image.Image):
        given = [given]
    if isinstance(given, list | tuple) and _all(given, (Image.Image, str, os.PathLike)):
        _refuse_model_units(units, "a picture")
        if _all(given, (Image.Image,)):
            return _pictures([Held(f"picture {i}", item) for i, item in enumerate(given)], like)
        return Given(np.concatenate([_item(item, like) for item in given]), notes=_changes(given, like))
    if is_packed(given):
        _refuse_model_units(units, f"a {type(given).__name__}")
        return _unpacked(given, like)
    return _fitted(_as_array(given, like), like, units, isinstance(given, torch.Tensor))


def _fitted(found: Given, like: Like, units: Units, channels_first: bool = False) -> Given:
    x, axes_back = fit(found.x, like, "items", channels_first, units)
    return replace(found, x=x, back=lambda items: found.back(axes_back(items)))


def as_codes(given: Any, latent: int) -> Given:
    """Codes (N, D) of real numbers, in the type that they were given.

    Raises InputError for anything else.
    """
    if isinstance(given, Split | str | os.PathLike | Image.Image):
        raise InputError(f"codes: expected an array or a tensor (N, {latent}), got {type(given).__name__}")
    found = _as_array(given, None, "codes")
    z = found.x
    if z.ndim != 2 or z.shape[1] != latent:
        one = f"; a single code is z[None], (1, {latent})" if z.shape == (latent,) else ""
        raise InputError(f"codes of shape {z.shape}: this model's are (N, {latent}){one}")
    if not len(z):
        raise InputError("codes: an empty array; at least one code is needed")
    check_numeric(z, "codes")
    # A frame of codes has columns of its own: items do not fit into it.
    return found if isinstance(given, torch.Tensor) else Given(z)


def _all(items: Iterable[Any], types: tuple[type, ...]) -> bool:
    values = list(items)
    return bool(values) and all(isinstance(value, types) for value in values)


def _refuse_model_units(units: Units, what: str) -> None:
    if units == "model":
        raise InputError(f"{what} is in data units; leave it out", field="units", value=units)


def _item(item: Any, like: Like) -> np.ndarray:
    """A picture, or what a path leads to, as items (N, H, W, C)."""
    if isinstance(item, Image.Image):
        return np.asarray(_pictures([Held("picture", item)], like).x)
    source = as_source(item)
    return np.asarray(load_items(source, like, DataOptions(source=source)).x)


def _pictures(items: list[ImageSource], like: Like) -> Given:
    """Pictures in memory, in the size and colours that the model takes.

    Raises InputError for one that cannot be decoded.
    """
    wanted = image_needs(like, DataOptions(), "picture")
    decoded = decode_files(Path("pictures"), items, wanted, keep=False)
    if decoded.broken:
        raise InputError(": ".join(decoded.broken[0]))
    notes = tuple(fitted([inspect(item) for item in items], wanted, "picture"))
    return Given(pixels(decoded.x, like, "picture"), notes=notes)


def _changes(given: Sequence[Any], like: Like) -> tuple[str, ...]:
    """Lines on how many pictures, and image files, are resized or get other colours."""
    wanted = image_needs(like, DataOptions(), "picture")
    pictures = [inspect(Held("picture", item)) for item in given if isinstance(item, Image.Image)]
    paths = [expanded(item) for item in given if not isinstance(item, Image.Image)]
    files = [inspect(path) for path in paths if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES]
    return (*fitted(pictures, wanted, "picture"), *fitted(files, wanted))


def _as_array(given: Any, like: Like | None, where: str = "items") -> Given:
    names = getattr(given, "column_names", None)
    names = getattr(given, "columns", None) if names is None else names
    if names is not None and hasattr(given, "__getitem__") and not isinstance(given, torch.Tensor):
        return _from_frame(given, [str(name) for name in names], list(names), like, where)
    array = array_of(given, where)
    if not isinstance(given, torch.Tensor):
        return Given(array)
    to_tensor = lambda x: torch.from_numpy(np.ascontiguousarray(x)).to(given.device)  # noqa: E731
    return Given(array, to_tensor, to_tensor)


def _unpacked(given: Any, like: Like) -> Given:
    """The items of a data set, a sparse matrix or an AnnData; what comes out of a model for them are arrays."""
    found = plain(given, "items")
    if found.form == "images":
        return _pictures(found.x, like)
    if found.form == "array":
        return replace(_fitted(Given(found.x), like, "data"), back=lambda x: x, notes=found.notes)
    columns = Columns({"train": found.x}, "items", "items") if found.form == "arrow" else None
    if columns is not None and columns.image_columns and like.kind == "image":
        options, wanted = DataOptions(strict=True), image_needs(like, DataOptions(), "items")
        raw = raw_of_columns(columns, options, wanted)
        return Given(pixels(raw.parts["train"].x, like, "items"), notes=raw.notes)
    names = None if found.names is None else np.array(found.names, dtype=object)
    return replace(_fitted(_as_array(found.x, like), like, "data"), back=lambda x: x, names=names)


def _from_frame(frame: Any, names: list[str], keys: list[Any], like: Like | None, where: str) -> Given:
    """A data frame, by its columns: those that the model was trained on, where these have names."""
    wanted = names if like is None or like.columns is None else list(like.columns)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise InputError(f"{where}: without column {', '.join(map(repr, missing[:5]))} that the model needs")
    doubled = [name for name in wanted if names.count(name) > 1]
    if doubled:
        raise InputError(f"{where}: more than one column called {doubled[0]!r}")
    columns = [np.asarray(frame[keys[names.index(name)]]) for name in wanted]
    for name, column in zip(wanted, columns, strict=True):
        if column.dtype == object and any(value is None for value in column):
            raise InputError(f"{where}: missing values in column {name!r}; fill them")
        if column.dtype.kind not in "buif":
            raise InputError(f"{where}: not numbers in column {name!r} (type {column.dtype})")
    if not columns:
        raise InputError(f"{where}: a data frame without columns")
    unused = sorted(set(names) - set(wanted))
    notes = (f"columns not used: {', '.join(map(repr, unused[:5]))}",) if unused else ()
    return Given(np.column_stack(columns), lambda x: _frame_like(frame, wanted, x), notes=notes)


def _frame_like(frame: Any, names: Sequence[str], x: np.ndarray) -> Any:
    """Rows as a frame of pandas or polars, which aligns them by name and index; as an array for any other frame."""
    library = type(frame).__module__.partition(".")[0]
    if library not in ("pandas", "polars"):
        return x
    original = {str(name): name for name in frame.columns}
    made = {original[name]: x[:, i] for i, name in enumerate(names)}
    return type(frame)(made, index=frame.index) if library == "pandas" else type(frame)(made)
