"""Items that somebody gives to a trained model in Python: arrays, tensors, data frames, lists, pictures, paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from latlas.data.arrays import orient
from latlas.data.dataset import Split
from latlas.data.image_files import decode_image, header_of, inspect
from latlas.data.image_formats import SUFFIXES as IMAGE_SUFFIXES
from latlas.data.image_plan import fitted
from latlas.data.load import Like, as_source, fit, image_needs, load_items, pixels
from latlas.data.options import DataOptions
from latlas.data.ranges import check_numeric
from latlas.data.row_names import names_of_rows
from latlas.data.splits import Raw, as_split
from latlas.errors import InputError

Units = Literal["data", "model"]
_EXPECTED = "an array, a tensor, a data frame, a list of items, a picture or the path of a source"


@dataclass(frozen=True)
class Given:
    """Items as one array, (N, H, W, C) or (N, D), in the units that were said; `notes` are printable lines.

    `back` gives such an array the type and the axes of what was given, `codes` does so for codes (N, D).
    """

    x: np.ndarray
    back: Callable[[np.ndarray], Any] = lambda x: x
    codes: Callable[[np.ndarray], Any] = lambda z: z
    notes: tuple[str, ...] = ()


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
        x = np.asarray(given.x)
        return Given(x if units == "data" else like.scaling.apply(x))
    if isinstance(given, str | os.PathLike):
        _refuse_model_units(units, "a path")
        source = as_source(given)
        return Given(np.asarray(load_items(source, like, DataOptions(source=source)).x))
    if isinstance(given, Image.Image):
        given = [given]
    if isinstance(given, list | tuple) and _all(given, (Image.Image, str, os.PathLike)):
        _refuse_model_units(units, "a picture")
        x = np.concatenate([_picture(item, like) for item in given])
        return Given(x, notes=tuple(_fitted(given, like)))
    found = _as_array(given, like)
    x, axes_back = fit(found.x, like, "items", channels_first=isinstance(given, torch.Tensor), units=units)
    return replace(found, x=x, back=lambda items: found.back(axes_back(items)))


def raw_of(given: Any, options: DataOptions) -> Raw:
    """What was given, as a reader returns a source: items to train on, with the names of a frame's columns.

    Raises InputError as `as_items` does, and for axes whose meaning is unclear.
    """
    found = _as_array(given, None)
    names = getattr(given, "columns", None)
    columns = None if names is None else tuple(str(name) for name in names)
    items = orient(found.x, options.layout, options.image_size, "items", options.kind)
    return Raw("items", "items", {"train": as_split(items)}, columns=columns, notes=found.notes)


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


def _picture(item: Any, like: Like) -> np.ndarray:
    """A picture or an image file as one item, (1, H, W, C)."""
    if not isinstance(item, Image.Image):
        source = as_source(item)
        return np.asarray(load_items(source, like, DataOptions(source=source)).x)
    wanted = image_needs(like, DataOptions(), "picture")
    assert wanted.size is not None  # a trained model has both
    assert wanted.grey is not None
    return pixels(decode_image(item, wanted.size, wanted.resize, wanted.grey)[None], like, "picture")


def _fitted(given: Sequence[Any], like: Like) -> list[str]:
    """Lines on how many pictures, and image files, are resized or get other colours."""
    wanted = image_needs(like, DataOptions(), "picture")
    pictures = [header_of(item) for item in given if isinstance(item, Image.Image)]
    paths = [Path(item).expanduser() for item in given if not isinstance(item, Image.Image)]
    files = [inspect(path) for path in paths if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES]
    return [*fitted(pictures, wanted, "picture"), *fitted(files, wanted)]


def _as_array(given: Any, like: Like | None, where: str = "items") -> Given:
    if isinstance(given, torch.Tensor):
        return _from_tensor(given, where)
    names = getattr(given, "column_names", None) or getattr(given, "columns", None)
    if names is not None and hasattr(given, "__getitem__"):
        return _from_frame(given, [str(name) for name in names], list(names), like, where)
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InputError(f"{where}: {np.ma.count_masked(given):,} masked values; fill them")
    if isinstance(given, list | tuple):
        return Given(_from_list(given, where))
    if isinstance(given, np.ndarray) or (hasattr(given, "__array__") and not isinstance(given, np.generic)):
        return Given(np.asarray(given))
    raise InputError(f"{where}: expected {_EXPECTED}, got {type(given).__name__}")


def _from_tensor(given: torch.Tensor, where: str) -> Given:
    if given.layout != torch.strided or given.is_quantized:
        raise InputError(f"{where}: a sparse or quantised tensor; give a dense one")
    dense = given.detach().cpu()
    # NumPy has no bfloat16, nor other floats of less than 16 bits.
    dense = dense.float() if dense.dtype.is_floating_point and dense.dtype.itemsize < 4 else dense
    to_tensor = lambda x: torch.from_numpy(np.ascontiguousarray(x)).to(given.device)  # noqa: E731
    return Given(dense.resolve_conj().resolve_neg().numpy(), to_tensor, to_tensor)


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


def _from_list(given: Sequence[Any], where: str) -> np.ndarray:
    """Nested numbers, or items that are arrays or tensors of one shape each."""
    if not given:
        raise InputError(f"{where}: no items; at least one is needed")
    if any(isinstance(item, torch.Tensor) for item in given):
        given = [_from_tensor(i, where).x if isinstance(i, torch.Tensor) else i for i in given]
    try:
        return np.asarray(given)
    except (ValueError, TypeError, OverflowError):
        shapes = sorted({str(np.shape(i)) for i in given if hasattr(i, "shape")})
        why = f"of different shapes ({', '.join(shapes[:4])})" if shapes else "of different lengths or types"
        raise InputError(f"{where}: a list of items {why}; expected {_EXPECTED}") from None
