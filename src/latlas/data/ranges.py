"""What data is, by its dtype and values: image, vector or table, binary or not, and how it is scaled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from latlas.data.dataset import Kind, Scaling
from latlas.errors import InputError

_HINT = "; bring all items to one range"
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


def blocks(x: np.ndarray) -> Iterator[np.ndarray]:
    """The array in blocks of consecutive items that are small enough to work on."""
    step = max(1, _BLOCK // max(1, x[:1].size))
    return (x[i : i + step] for i in range(0, len(x), step))


def limits(x: np.ndarray) -> tuple[float, float]:
    """Least and greatest value."""
    pairs = [(b.min(), b.max()) for b in blocks(x)]
    return float(min(p[0] for p in pairs)), float(max(p[1] for p in pairs))


def is_binary(x: np.ndarray) -> bool:
    """Whether every value is 0 or 1."""
    return x.dtype == bool or all(bool(((b == 0) | (b == 1)).all()) for b in blocks(x))


LARGEST = float(np.finfo(np.float32).max)


def check_numeric(x: np.ndarray, where: str) -> None:
    """Raises InputError for an array that is empty or not of finite real numbers; `where` names it there."""
    if x.dtype.kind == "c":
        raise InputError(f"{where}: complex numbers; give real ones (the modulus, or both parts as channels)")
    if x.dtype.kind not in "buif":
        raise InputError(
            f"{where}: values of type {x.dtype}; expected numbers (uint8, uint16, int, float or bool)"
        )
    if x.size == 0:
        raise InputError(f"{where}: empty, of shape {'x'.join(map(str, x.shape))}")
    if x.dtype.kind == "f":
        _check_finite(x, where)
        low, high = limits(x)
        if high - low > LARGEST:
            raise InputError(f"{where}: values from {low:g} to {high:g} are too far apart to compute with")


def _check_finite(x: np.ndarray, where: str) -> None:
    bad = np.concatenate([~np.isfinite(b.reshape(len(b), -1)).all(axis=1) for b in blocks(x)])
    if bad.any():
        raise InputError(
            f"{where}: NaN or infinite values in {bad.sum():,} of {len(x):,} items"
            f" (first: item {bad.argmax()}); fill them or leave those items out"
        )


def decide(
    x: np.ndarray,
    where: str,
    columns: Sequence[str] | None = None,
    dropped: Sequence[str] = (),
    bits: int | None = None,
    pool: np.ndarray | None = None,
) -> Range:
    """The range of training data `x`, (N, H, W, C) or (N, D).

    0/1 and bool: binary, unscaled. uint8 / 255. uint16 / (2^bits - 1), without `bits` the fewest that hold the values
    of the `pool` that the splits without official items are drawn from. Float images inside [0, 1] unscaled, other
    images by their least and greatest value. Any other (N, D) is a table, standardised; `dropped` are the columns that
    it was read without.

    Raises InputError where all values, or all values of a table's column, are the same, and for values of more than
    `bits`.
    """
    low, high = limits(x)
    if low == high:
        raise InputError(f"{where}: every training value is {low:g}: there is nothing to learn")
    kind: Kind = "image" if x.ndim == 4 else "vector"
    if is_binary(x):
        return Range(kind, True, Scaling(), np.dtype(np.uint8))
    if x.dtype == np.uint8:
        return Range(kind, False, Scaling("integer", scale=(255.0,)), np.dtype(np.uint8))
    if x.dtype.kind == "u" and x.dtype.itemsize == 2:
        return _decide_deep(kind, limits(x if pool is None else pool)[1], where, bits)
    if kind == "vector":
        return _decide_table(x, where, columns, dropped)
    if x.dtype.kind in "iu" and low >= 0 and high <= 255:
        note = f"{x.dtype} images with values from {low:g} to {high:g} read as uint8, divided by 255"
        return Range(kind, False, Scaling("integer", scale=(255.0,)), np.dtype(np.uint8), note)
    if x.dtype.kind == "f" and low >= 0 and high <= 1:
        return Range(kind, False, Scaling(), np.dtype(np.float32))
    note = f"values from {low:g} to {high:g} in training: scaled to [0, 1] by that range, values beyond it clipped"
    return Range(kind, False, Scaling("minmax", (low,), (high - low,)), np.dtype(np.float32), note)


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


def _decide_table(x: np.ndarray, where: str, columns: Sequence[str] | None, dropped: Sequence[str]) -> Range:
    constant = np.flatnonzero(x.min(axis=0) == x.max(axis=0))
    if constant.size:
        names = [repr(columns[i]) if columns else str(i) for i in constant.tolist()]
        first = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        drop = [*dropped, *(columns[i] for i in constant.tolist())] if columns else []
        raise InputError(
            f"{where}: column{'s' * (len(names) > 1)} {first} constant in training; for pixels give data.image_size ="
            " HxW, else leave out what never varies",
            remedy=[{"data.drop": drop}] if 0 < len(drop) <= MOST_NAMED else [],
        )
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    scaling = Scaling("standard", tuple(mean.tolist()), tuple(std.tolist()))
    dtype = np.dtype(np.float32 if x.dtype in (np.float16, np.float32) else np.float64)
    return Range(
        "table",
        False,
        scaling,
        dtype,
        f"a table of {x.shape[1]} columns, standardised by training statistics",
    )


def convert(x: np.ndarray, training_range: Range, where: str) -> np.ndarray:
    """The values of a split in the dtype that they are stored in.

    Raises InputError where they do not fit the range of the training data.
    """
    if not len(x):
        return x.astype(training_range.dtype)
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
        if x.dtype.kind == "f" or low < 0 or high > top:
            raise InputError(
                f"{where}: {x.dtype} values from {low:g} to {high:g},"
                f" training has integers from 0 to {top:g}{hint}"
            )
    return x.astype(training_range.dtype, copy=False)


def check_fit(x: np.ndarray, scaling: Scaling, where: str) -> np.ndarray:
    """`x` as a trained model's scaling takes it: unsigned integers, or floats in the units of its training.

    Raises InputError for values that the scaling was not made for.
    """
    if scaling.kind in ("minmax", "standard"):
        return x if x.dtype.kind == "f" else x.astype(np.float64)
    low, high = limits(x)
    if scaling.kind == "integer" and x.dtype.kind in "iu":
        top = scaling.scale[0]
        if low < 0 or high > top:
            raise InputError(
                f"{where}: values from {low:g} to {high:g}; this model takes integers from 0 to {top:g}"
            )
        # 8-bit images fit a 16-bit model as they are: each depth is divided by its own largest value.
        return x if x.dtype == np.uint8 else x.astype(np.uint8 if top == 255 else np.uint16, copy=False)
    if low < 0 or high > 1:
        also = f" or integers from 0 to {scaling.scale[0]:g}" if scaling.kind == "integer" else ""
        raise InputError(
            f"{where}: values from {low:g} to {high:g}; this model takes floats inside [0, 1]{also}"
        )
    return x.astype(np.float64 if x.dtype == np.float64 else np.float32, copy=False)
