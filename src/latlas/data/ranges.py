"""What data is, by its dtype and values: image, vector or table, binary or not, and how it is scaled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import DTypeLike

from latlas.data.dataset import Kind, Scaling
from latlas.data.options import DataOptions, KindOption
from latlas.data.stored import A, Items, Stored, each
from latlas.errors import InputError
from latlas.text import counted

_HINT = "; bring all items to one range"
_DEFAULT = DataOptions()
KIND_OF: dict[int, Kind] = {
    3: "signal",
    4: "image",
    5: "volume",
}  # of stored items, by the axes of their array
_OTHERWISE = "data.kind = table standardises the columns"
_ON_ONE_SCALE = "data.kind = vector keeps them on one scale, and data.image_size = HxW makes images of them"
LEAST_PIXELS = 64  # values of an item that may be a flattened image
FAR = 10.0  # standard deviations of a column beyond which a table's value is counted
ROUNDING = 1e-5  # share of the training range by which a value may lie beyond it
MOST_NAMED = 40  # names that an error tells to leave out
_BLOCK = 1 << 24  # values that are read at once, so that a memory-mapped array is never copied whole


@dataclass(frozen=True)
class Range:
    """The range of training values: kind, whether all are 0 or 1, scaling, dtype to store, a note or ''."""

    kind: Kind
    binary: bool
    scaling: Scaling
    dtype: np.dtype
    note: str = ""


def native(x: A) -> A:
    """The array in this machine's byte order."""
    return x if x.dtype.isnative else as_type(x, x.dtype.newbyteorder("="))


def as_type(x: A, dtype: DTypeLike) -> A:
    """The array as this type; itself, where it is."""
    return x if x.dtype == dtype else each(x, lambda part: part.astype(dtype))


def blocks(x: Items) -> Iterator[np.ndarray]:
    """The array in blocks of consecutive items that are small enough to work on."""
    if isinstance(x, Stored):
        return x.pieces()
    step = max(1, _BLOCK // max(1, x[:1].size))
    return (x[i : i + step] for i in range(0, len(x), step))


def limits(x: Items) -> tuple[float, float]:
    """Least and greatest value."""
    if isinstance(x, Stored):
        return x.limits
    pairs = [(b.min(), b.max()) for b in blocks(x)]
    return float(min(p[0] for p in pairs)), float(max(p[1] for p in pairs))


def is_binary(x: Items) -> bool:
    """Whether every value is 0 or 1."""
    return x.dtype == bool or all(bool(((b == 0) | (b == 1)).all()) for b in blocks(x))


LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).tiny)


def check_numeric(x: Items, where: str) -> None:
    """Raises InputError for an array that is empty or not of finite real numbers; `where` names it there."""
    if x.dtype.kind == "c":
        raise InputError(f"{where}: complex numbers; give real ones (the modulus, or both parts as channels)")
    if x.dtype.kind not in "buif":
        raise InputError(
            f"{where}: values of type {x.dtype}; expected numbers (uint8, uint16, int, float or bool)"
            + ("; x.astype(float) makes numbers of them" if x.dtype == object else "")
        )
    if x.size == 0:
        raise InputError(f"{where}: empty, of shape {'x'.join(map(str, x.shape))}")
    if x.dtype.kind == "f":
        _check_finite(x, where)
        low, high = limits(x)
        if high - low > LARGEST:
            raise InputError(f"{where}: values from {low:g} to {high:g} are too far apart to compute with")


def _check_spread(spread: float, what: str) -> None:
    """Raises InputError for values that single precision cannot tell apart, however they are scaled."""
    if spread < SMALLEST:
        raise InputError(f"{what} are too close together to compute with; multiply them")


def _check_finite(x: Items, where: str) -> None:
    bad = np.concatenate([~np.isfinite(b.reshape(len(b), -1)).all(axis=1) for b in blocks(x)])
    if bad.any():
        raise InputError(
            f"{where}: NaN or infinite values in {bad.sum():,} of {counted(len(x), 'item')}"
            f" (first: item {bad.argmax()}); fill them or leave those items out"
        )


def decide(
    x: Items,
    where: str,
    columns: Sequence[str] | None = None,
    options: DataOptions = _DEFAULT,
    bits: int | None = None,
    pool: Items | None = None,
) -> Range:
    """The range of training data `x`, (N, H, W, C) or (N, D); `columns` are the names of a table file's columns.

    0/1 and bool: binary, unscaled. uint8 / 255. uint16 / (2^bits - 1), without `bits` the fewest that hold the values
    of the `pool` that the splits without official items are drawn from. Float images inside [0, 1] unscaled, other
    images by their least and greatest value. Any other (N, D) is a table, standardised, unless it looks like flattened
    8-bit images (`_like_pixels`) or `options.kind` is "vector": its values are then scaled as those of images. What
    type holds the values of (N, D) is all the same.

    Raises InputError where all values, or those of a table's column, are the same, for a kind that does not fit, and
    for values of more than `bits`.
    """
    kind = options.kind
    low, high = limits(x)
    _check_kind(x, kind, where)
    if low == high:
        raise InputError(f"{where}: every training value is {low:g}: there is nothing to learn")
    _check_spread(high - low, f"{where}: values from {low:g} to {high:g}")
    if x.ndim > 2:
        return _decide_shared(x, KIND_OF[x.ndim], where, bits, pool)
    width = x.shape[1]
    if kind != "table" and is_binary(x):
        found = _decide_shared(x, "vector", where)
        return replace(found, note=f"{counted(width, 'column')} of 0 and 1, taken as they are; {_OTHERWISE}")
    pixels = kind == "auto" and columns is None and _like_pixels(x)
    if kind != "vector" and not pixels:
        return _decide_table(x, where, columns, options)
    found = _decide_shared(_small_whole(x, low, high), "vector", where, bits, pool)
    why = "of whole numbers from 0 to 255, read as pixels" if pixels else "on one scale"
    notes = [
        f"vectors of {counted(width, 'value')} {why}" + (f"; {_OTHERWISE}" if pixels else ""),
        found.note,
    ]
    return replace(found, note="; ".join(filter(None, notes)))


def _decide_shared(
    x: Items, kind: Kind, where: str, bits: int | None = None, pool: Items | None = None
) -> Range:
    """The range of values that share one scale: those of images, and of vectors."""
    low, high = limits(x)
    if is_binary(x):
        return Range(kind, True, Scaling(), np.dtype(np.uint8))
    if x.dtype == np.uint8:
        return Range(kind, False, Scaling("integer", scale=(255.0,)), np.dtype(np.uint8))
    if x.dtype.kind == "u" and x.dtype.itemsize == 2:
        return _decide_deep(kind, limits(x if pool is None else pool)[1], where, bits)
    if x.dtype.kind in "iu" and low >= 0 and high <= 255:
        note = f"{x.dtype} {kind}s with values from {low:g} to {high:g} read as uint8, divided by 255"
        return Range(kind, False, Scaling("integer", scale=(255.0,)), np.dtype(np.uint8), note)
    if x.dtype.kind == "f" and low >= 0 and high <= 1:
        return Range(kind, False, Scaling(), np.dtype(np.float32))
    note = f"values from {low:g} to {high:g} in training: scaled to [0, 1] by that range, values beyond it not clipped"
    return Range(kind, False, Scaling("minmax", (low,), (high - low,)), np.dtype(np.float32), note)


def _check_kind(x: Items, kind: KindOption, where: str) -> None:
    if x.ndim > 2 and kind not in ("auto", KIND_OF[x.ndim]):
        raise InputError(
            f"{where}: the items are {KIND_OF[x.ndim]}s; leave it out", field="data.kind", value=kind
        )
    if x.ndim == 2 and kind == "image":
        message = (
            f"{where}: {counted(x.shape[1], 'value')} an item are no image yet; say data.image_size = HxW"
        )
        raise InputError(message, field="data.kind", value=kind)


def _like_pixels(x: Items) -> bool:
    """Whether vectors look like flattened 8-bit images: 64 values or more, whole, from 0 to 255, and the greatest of
    at least half the values beyond the middle of that range.
    """
    if x.shape[1] < LEAST_PIXELS or not are_bytes(x):
        return False
    return bool(np.mean(np.max([b.max(axis=0) for b in blocks(x)], axis=0) >= 128) >= 0.5)


def _whole(x: Items) -> bool:
    """Whether every value is a whole number."""
    return x.dtype.kind != "f" or all(bool((b == np.rint(b)).all()) for b in blocks(x))


def are_bytes(x: Items) -> bool:
    """Whether all values are whole numbers from 0 to 255, whatever type holds them, and reach half of that."""
    if x.dtype.kind not in "buif" or not x.size:
        return False
    low, high = limits(native(x))
    return low >= 0 and 128 <= high <= 255 and _whole(x)


def _small_whole(x: A, low: float, high: float) -> A:
    """Whole numbers from 0 to 255 as uint8, whatever type holds them; others unchanged."""
    bytes_ = low >= 0 and 1 < high <= 255 and _whole(x)
    # Of 16 bits `_decide_deep` says what it reads them as.
    return as_type(x, np.uint8) if bytes_ and x.dtype != np.uint16 else x


def _decide_deep(kind: Kind, high: float, where: str, bits: int | None) -> Range:
    """Of 16-bit integers: a camera's 10, 12 or 14 bits would be near black on the scale of all 16."""
    if bits is not None and high >= 2**bits:
        what = f"{where}: values up to {high:,.0f}, more than fit; leave it out or give more"
        raise InputError(what, field="data.bits", value=bits)
    chosen = bits or max(8, int(high).bit_length())
    top = 2**chosen - 1
    why = "" if bits else f", the fewest that hold the training data, up to {high:,.0f}; data.bits to choose"
    note = f"16-bit integers read as {chosen} bits, divided by {top:,}{why}"
    return Range(
        kind,
        False,
        Scaling("integer", scale=(float(top),)),
        np.dtype(np.uint8 if top == 255 else np.uint16),
        note,
    )


def _of_columns(x: Items) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Least and greatest value, mean and standard deviation of each column; of a table on disk by two passes."""
    if isinstance(x, np.ndarray):
        mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
        return x.min(axis=0), x.max(axis=0), mean, std
    found = [(b.min(axis=0), b.max(axis=0), b.sum(axis=0, dtype=np.float64)) for b in blocks(x)]
    least, most, total = zip(*found, strict=True)
    mean = np.sum(total, axis=0) / len(x)
    squares = sum(np.square(b - mean).sum(axis=0) for b in blocks(x))
    return np.min(least, axis=0), np.max(most, axis=0), mean, np.sqrt(squares / len(x))


def _decide_table(x: Items, where: str, columns: Sequence[str] | None, options: DataOptions) -> Range:
    least, most, mean, std = _of_columns(x)
    constant = np.flatnonzero(least == most)
    if constant.size and options.constant == "refuse":
        names = [repr(columns[i]) if columns else str(i) for i in constant.tolist()]
        first = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        drop = [*options.drop, *(columns[i] for i in constant.tolist())] if columns else []
        raise InputError(
            f"{where}: column{'s' * (len(names) > 1)} {first} constant in training; for pixels give data.image_size ="
            " HxW, else leave out what never varies, or data.constant = keep",
            remedy=[{"data.drop": drop}] if 0 < len(drop) <= MOST_NAMED else [],
        )
    mean[constant], std[constant] = least[constant], 1.0  # exactly: rounding would leave a spread of its own
    narrow = int(std.argmin())
    _check_spread(std[narrow], f"{where}: values of column {repr(columns[narrow]) if columns else narrow}")
    scaling = Scaling("standard", tuple(mean.tolist()), tuple(std.tolist()))
    # Whole numbers are stored as float64 whatever held them, so that they are one and the same data set.
    single = x.dtype in (np.float16, np.float32) and not _whole(x)
    note = f"a table of {counted(x.shape[1], 'column')}, standardised by training statistics"
    if columns is None:
        note += f"; {_ON_ONE_SCALE}"
    if constant.size:
        note += f"; {constant.size:,} of them never vary in training and are kept"
    return Range("table", False, scaling, np.dtype(np.float32 if single else np.float64), note)


def convert(x: A, training_range: Range, where: str) -> A:
    """The values of a split in the dtype that they are stored in.

    Raises InputError where they do not fit the range of the training data.
    """
    if not len(x):
        return as_type(x, training_range.dtype)
    if x.dtype == np.uint8 and training_range.scaling.largest(x.dtype) == 255:
        return as_type(x, training_range.dtype)  # any byte fits
    low, high = limits(x)
    if training_range.binary and not is_binary(x):
        raise InputError(
            f"{where}: values from {low:g} to {high:g}, but the training values are all 0 or 1{_HINT}"
        )
    if training_range.scaling.kind == "none" and (low < 0 or high > 1):
        raise InputError(
            f"{where}: values from {low:g} to {high:g}, but the training values lie inside [0, 1]{_HINT}"
        )
    if training_range.scaling.kind == "integer":
        hint = "; data.bits = 16 takes all" if 255 < training_range.scaling.scale[0] < 65535 else _HINT
        top = training_range.scaling.scale[0]
        if low < 0 or high > top or not _whole(x):
            raise InputError(
                f"{where}: {x.dtype} values from {low:g} to {high:g},"
                f" training has integers from 0 to {top:g}{hint}"
            )
    if training_range.scaling.kind == "minmax":
        _check_minmax(x, low, high, training_range.scaling, where)
    return as_type(x, training_range.dtype)


def check_fit(x: A, scaling: Scaling, where: str) -> A:
    """`x` in data units, those that the scaling was made for: integers as they are stored, or floats.

    Raises InputError for values on another scale.
    """
    low, high = limits(x)
    if scaling.kind == "none":
        return _check_unit(x, low, high, where)
    if scaling.kind == "integer":
        return _check_integer(x, low, high, scaling.scale[0], where)
    if scaling.kind == "minmax":
        _check_minmax(x, low, high, scaling, where)
    return x if x.dtype.kind == "f" else as_type(x, np.float64)


def _check_unit(x: A, low: float, high: float, where: str) -> A:
    if low < -ROUNDING or high > 1 + ROUNDING:
        outside = sum(int(((b < 0) | (b > 1)).sum()) for b in blocks(x))
        hint = "; divide them by 255" if low >= 0 and 128 <= high <= 255 and _whole(x) else ""
        raise InputError(
            f"{where}: values from {low:g} to {high:g}, {outside:,} of {x.size:,} outside;"
            f" this model takes values inside [0, 1]{hint}"
        )
    return as_type(x, np.float64 if x.dtype == np.float64 else np.float32)


def _check_integer(x: A, low: float, high: float, top: float, where: str) -> A:
    takes = f"this model takes whole numbers from 0 to {top:g}"
    if low < 0 or high > top * (1 + ROUNDING):
        raise InputError(f"{where}: values from {low:g} to {high:g}; {takes}")
    whole = _whole(x)
    if x.dtype == bool or (0 < high <= 1 and not whole):
        found = "True and False" if x.dtype == bool else "floats inside [0, 1]"
        raise InputError(f"{where}: {found}; {takes}: multiply them by {top:g}")
    if x.dtype == np.uint8 and top > 255:
        raise InputError(f"{where}: 8-bit values; {takes}: multiply them by {top / 255:g}")
    if x.dtype.kind == "f":
        return as_type(x, np.float64 if x.dtype == np.float64 else np.float32)
    return as_type(x, np.uint8 if top <= 255 else np.uint16)


def _check_minmax(x: Items, low: float, high: float, scaling: Scaling, where: str) -> None:
    """Raises InputError for values that are on another scale than those of training; single ones far out are not."""
    least, most = training_limits(scaling)
    reach, size = max(abs(low), abs(high)), max(abs(least), abs(most))
    larger = reach >= 10 * size and (_whole(x) or 2 * beyond(x, scaling).values > x.size)
    # Training about zero, and nothing below it here: images in [0, 1] for a model of images in [-1, 1].
    within = 0 < high <= 1 and low >= 0 and not _whole(x)
    lifted = within and low == 0 and len(x) > 1 and most <= 1 and least <= -0.9 * most
    smaller = within and most >= 50
    if larger or lifted or smaller:
        raise InputError(
            f"{where}: values from {low:g} to {high:g} are on another scale than those that this model was trained on,"
            f" from {least:g} to {most:g}; bring them to that scale"
        )


def training_limits(scaling: Scaling) -> tuple[float, float]:
    """The least and greatest value of the training split of a `minmax` scaling."""
    return scaling.shift[0], scaling.shift[0] + scaling.scale[0]


@dataclass(frozen=True)
class Beyond:
    """Values beyond the range of training: how many, in how many items, and the one farthest out (None without any)."""

    values: int
    items: int
    farthest: float | None = None
    column: int | None = None


def beyond(x: Items, scaling: Scaling) -> Beyond:
    """The values of `x`, in data units, that lie beyond the least and greatest value of training, or in a table more
    than 10 standard deviations from a column's mean; none for a scaling that allows no others.
    """
    if scaling.kind not in ("minmax", "standard"):
        return Beyond(0, 0)
    allowed = 0.5 + ROUNDING if scaling.kind == "minmax" else FAR
    centre = 0.5 if scaling.kind == "minmax" else 0.0
    values = items = 0
    farthest, most = None, allowed
    column = None
    for block in blocks(x):
        far = np.abs(scaling.apply(block) - centre)
        out = (far > allowed).reshape(len(far), -1)
        values, items = values + int(out.sum()), items + int(out.any(axis=1).sum())
        if out.any() and far.max() > most:
            most, at = float(far.max()), np.unravel_index(far.argmax(), far.shape)
            farthest, column = float(block[at]), int(at[-1]) if scaling.kind == "standard" else None
    return Beyond(values, items, farthest, column)


def narrow_note(x: Items, scaling: Scaling) -> str:
    """A line on items that leave much of the training range unused, as values on another scale would; else ""."""
    if scaling.kind not in ("minmax", "integer") or len(x) < 2:
        return ""
    least, most = training_limits(scaling) if scaling.kind == "minmax" else (0.0, scaling.scale[0])
    low, high = limits(x)
    if not 0 < high - low <= (0.55 if scaling.kind == "minmax" else 0.02) * (most - least):
        return ""
    return (
        f"values from {low:g} to {high:g} only, and this model's data go from {least:g} to {most:g}: if these are on"
        " another scale, bring them to that one"
    )


def beyond_note(x: Items, scaling: Scaling, columns: Sequence[str] | None = None, where: str = "") -> str:
    """A line on the values beyond the range of training; "" where there are none."""
    found = beyond(x, scaling)
    if not found.values:
        return ""
    count = f"{counted(found.values, 'value')} in {found.items:,} of {counted(len(x), 'item')}"
    if scaling.kind == "minmax":
        least, most = training_limits(scaling)
        text = f"{count} beyond the training range {least:g} to {most:g} (farthest: {found.farthest:g})"
    else:
        name = repr(columns[found.column]) if columns and found.column is not None else found.column
        text = (
            f"{count} more than {FAR:g} standard deviations from the training mean (farthest: {found.farthest:g} in"
            f" column {name})"
        )
    return f"{where}: {text}; not clipped" if where else f"{text}; not clipped"
