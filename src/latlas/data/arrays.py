"""Arrays in .npy and .npz files, and what their axes mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from latlas.data.dataset import Split
from latlas.data.idx import shape_text
from latlas.data.options import DataOptions
from latlas.data.ranges import are_bytes
from latlas.data.splits import Raw, code_labels
from latlas.errors import InputError

MOST_GREY_ASPECT = 4  # the longer side over the shorter, where values do not tell whether they are pixels
MOST_VALUES = 256  # of one factor; more is a row's number or a measured value
_PARTS = ("train", "valid", "test")
_NDIM = {"NHWC": 4, "NCHW": 4, "NHW": 3, "ND": 2}


def read_array(path: Path, name: str, options: DataOptions) -> Raw:
    """An .npy file, or an .npz file with `x`[, `y`] or `train`[, `valid`, `test`] and labels `train_y` ...

    Known factors (N, F), integers, are read from `factors` or `train_factors` ..., their names from `factor_names`.

    Raises InputError for a file that cannot be read (or only by unpickling) and for axes whose meaning is unclear.
    """
    arrays = _arrays(path)
    xs, ys, unused = _roles(arrays, path)
    factors, names, unused = _factors(arrays, unused, xs, path)
    labels, classes = code_labels([ys.get(part) for part in xs], str(path))
    parts = {}
    for (part, x), y in zip(xs.items(), labels, strict=True):
        items = orient(x, options.layout, options.image_size, str(path))
        if y is not None and len(y) != len(items):
            raise InputError(f"{path}: {len(items):,} items in {part!r} but {len(y):,} labels")
        parts[part] = Split(items, y, np.arange(len(items)), factors.get(part))
    notes = [f"arrays not used: {', '.join(unused)}"] if unused else []
    notes += _layout_notes(xs["train"], parts["train"].x)
    return Raw(name, str(path), parts, classes, notes=tuple(notes), factor_names=names)


def _layout_notes(array: np.ndarray, items: np.ndarray) -> list[str]:
    if array.ndim == items.ndim:
        return []
    height, width, _ = items.shape[1:]
    return [f"an array of {shape_text(array.shape)} read as {len(items):,} grey images of {height}x{width}"]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"x": loaded}
            with loaded:
                return {key: loaded[key] for key in loaded.files}
    except Exception as error:  # on damaged bytes, the readers of zip, zlib and NumPy's header raise anything
        if "pickle" in str(error):
            why = (
                "holds Python objects or is no NumPy file; save plain numbers with numpy.save or numpy.savez"
            )
        else:
            text = getattr(error, "strerror", None) or " ".join(str(error).split())
            why = f"cannot be read ({text or type(error).__name__})"
        raise InputError(f"{path}: {why}") from None


def _roles(
    arrays: Mapping[str, np.ndarray], path: Path
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[str]]:
    """Items by part, labels by part, and the names of the other arrays."""
    if not arrays:
        raise InputError(f"{path}: holds no arrays")
    if len(arrays) == 1 and not set(arrays) & {"x", *_PARTS}:
        arrays = {"x": next(iter(arrays.values()))}
    if "x" in arrays and "train" in arrays:
        raise InputError(f"{path}: has both 'x' and 'train'; keep one of them")
    if "x" in arrays:
        xs, ys = {"train": arrays["x"]}, {"train": arrays["y"]} if "y" in arrays else {}
        used = {"x", "y"}
    elif "train" in arrays:
        xs = {part: arrays[part] for part in _PARTS if part in arrays}
        ys = {part: arrays[f"{part}_y"] for part in xs if f"{part}_y" in arrays}
        used = {*xs, *(f"{part}_y" for part in xs)}
    else:
        raise InputError(
            f"{path}: holds {', '.join(sorted(arrays))}; expected 'x'[, 'y'] or 'train'[, 'valid', 'test']"
        )
    return (
        xs,
        {k: y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y for k, y in ys.items()},
        sorted(set(arrays) - used),
    )


def _factors(
    arrays: Mapping[str, np.ndarray], others: Sequence[str], xs: Mapping[str, np.ndarray], path: Path
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None, list[str]]:
    """Factors by part, the names of their columns, and the names of the other arrays that hold no factors."""
    keys = {part: "factors" if "x" in arrays else f"{part}_factors" for part in xs}
    keys = {part: key for part, key in keys.items() if key in others}
    if not keys:
        return {}, None, list(others)
    factors = {
        part: _whole_numbers(arrays[key], len(xs[part]), f"{path}: {key}") for part, key in keys.items()
    }
    widths = {x.shape[1] for x in factors.values()}
    if len(widths) > 1:
        raise InputError(
            f"{path}: {', '.join(keys.values())} have different numbers of columns; give all the same"
        )
    width = widths.pop()
    names = arrays["factor_names"] if "factor_names" in others else np.arange(width).astype(str)
    if names.shape != (width,) or names.dtype.kind != "U" or len(np.unique(names)) != width:
        raise InputError(
            f"{path}: factor_names must be {width} different texts, one for each column of the factors"
        )
    used = {*keys.values(), "factor_names"}
    return factors, tuple(names.tolist()), [name for name in others if name not in used]


def _whole_numbers(x: np.ndarray, items: int, where: str) -> np.ndarray:
    if x.ndim != 2 or len(x) != items or x.shape[1] == 0:
        raise InputError(
            f"{where} of shape {shape_text(x.shape)}; expected {items} rows, one column for each factor"
        )
    if x.dtype.kind not in "bui":
        raise InputError(
            f"{where}: values of type {x.dtype}; expected integers, one for each value of a factor"
        )
    most = max(len(np.unique(column)) for column in x.T)
    if most > MOST_VALUES:
        raise InputError(
            f"{where}: a column has {most:,} values; a factor has at most {MOST_VALUES}, leave out what only counts"
        )
    return x.astype(np.int64)


def orient(x: np.ndarray, layout: str, image_size: tuple[int, int] | None, where: str) -> np.ndarray:
    """The array as images (N, H, W, C) or vectors (N, D).

    Four axes need a channel axis of 1 to 4, in second or last place; three are grey images, unless a short axis makes
    signals of them as likely; (N, H*W) with an `image_size` are grey images too.

    Raises InputError where the axes are ambiguous, do not fit the layout or the image size.
    """
    shape = shape_text(x.shape)
    if layout != "auto":
        if x.ndim != _NDIM[layout]:
            raise InputError(f"{where}: layout {layout} needs {_NDIM[layout]} axes, the array is {shape}")
    else:
        layout = _guess(x, shape, where)
    if layout == "ND":
        return _flat(x, image_size, where)
    images = x[..., None] if layout == "NHW" else np.moveaxis(x, 1, -1) if layout == "NCHW" else x
    if image_size is not None and images.shape[1:3] != tuple(image_size):
        raise InputError(
            f"{where}: images are {shape_text(images.shape[1:3])}, not {shape_text(image_size)};"
            " arrays are not resized, leave data.image_size out"
        )
    return np.ascontiguousarray(images)


def _guess(x: np.ndarray, shape: str, where: str) -> str:
    if x.ndim == 2:
        return "ND"
    if x.ndim == 3:
        _check_grey(x, shape, where)
        return "NHW"
    if x.ndim != 4:
        raise InputError(
            f"{where}: an array of {x.ndim} axes ({shape}); expected (N, D), (N, H, W) or (N, H, W, C)"
        )
    first, last = x.shape[1] in range(1, 5), x.shape[3] in range(1, 5)
    if first and last:
        raise InputError(f"{where}: {shape} may be NCHW or NHWC; say which with data.layout")
    if not first and not last:
        raise InputError(f"{where}: {shape} has no channel axis of 1 to 4; say data.layout = NCHW or NHWC")
    return "NCHW" if first else "NHWC"


def _check_grey(x: np.ndarray, shape: str, where: str) -> None:
    """Raises InputError for three axes that may be something else than grey images (N, H, W)."""
    _, height, width = x.shape
    if width <= 4:
        raise InputError(
            f"{where}: {shape} may be one image or many; say data.layout = NHW for many grey images"
        )
    # Bytes are pixels of however long an image; other numbers in long rows are more often signals.
    long = max(height, width) > MOST_GREY_ASPECT * min(height, width) and not are_bytes(x)
    if height <= 4 or long:
        raise InputError(
            f"{where}: {shape} may be signals of {height} channels or grey images of {height}x{width}; say"
            f" data.layout = NHW for images, or reshape the array to (N, {height * width}) for vectors of values"
        )


def _flat(x: np.ndarray, image_size: tuple[int, int] | None, where: str) -> np.ndarray:
    if image_size is None:
        return x
    height, width = image_size
    if height * width != x.shape[1]:
        raise InputError(f"{where}: {x.shape[1]} values an item do not make images of {height}x{width}")
    return x.reshape(len(x), height, width, 1)
