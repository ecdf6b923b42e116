"""Arrays in .npy and .npz files, and what their axes mean."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from latlas.data.idx import shape_text
from latlas.data.numpy_files import check_file, read_arrays
from latlas.data.options import DataOptions
from latlas.data.parts import FILLERS, ORDER, one_each, part_word, pieces
from latlas.data.ranges import are_bytes
from latlas.data.room import stays_on_disk, windows_notes
from latlas.data.splits import Raw, as_split, code_labels
from latlas.data.spool import key_of, spooled
from latlas.data.stored import RUN, A, ArrayFile, Items, Stored, each, npy_file
from latlas.errors import InputError
from latlas.text import counted, shortened

MOST_GREY_ASPECT = 4  # the longer side over the shorter, where values do not tell whether they are pixels
MOST_VALUES = 256  # of one factor; more is a row's number or a measured value
_ROLES = {
    "items": frozenset(
        ("x", "data", "image", "images", "img", "imgs", "features", "input", "inputs", "samples", "items")
    ),
    "labels": frozenset(("y", "label", "labels", "target", "targets", "lbl", "lbls")),
    "factors": frozenset(("factors",)),
    "targets": frozenset(),  # arrays called so that are no column: what outputs are compared with
}
_TARGETS = frozenset(("target", "targets"))
_GLUED = re.compile(r"(?i)([xy])?(train|valid|val|dev|test)([xy]|labels?|targets?)?")  # xtrain, testY
LONG = (
    8  # times as long as it has channels is an array of three axes plainly of signals, with so many at most
)
MOST_CHANNELS = 16


def read_array(path: Path, name: str, options: DataOptions) -> Raw:
    """An .npy file, or an .npz file with `x`[, `y`] or `train`[, `valid`, `test`] and labels `train_y` ...

    Other usual names do as well: `data`, `images`, `labels`, `target`, `x_train`, `X_val`, `test_labels`. Known
    factors (N, F), integers, are read from `factors` or `train_factors` ..., their names from `factor_names`. A
    `target` that is no column of labels holds what outputs are compared with, one of the same shape for each item, as
    clean images of noisy ones.

    Raises InputError for a file that cannot be read (or only by unpickling) and for axes whose meaning is unclear.
    """
    stored = _on_disk(path, options)
    if stored is None:
        read = read_arrays(path, lambda arrays: _used(roles_of(arrays, str(path))))
        return raw_of_arrays(read, str(path), name, options)
    raw = raw_of_arrays({"x": stored}, str(path), name, options)
    return replace(raw, notes=(*raw.notes, *windows_notes(stored, options)))


def _on_disk(path: Path, options: DataOptions) -> Stored | None:
    """The rows of an .npy file that stays on disk; None for one that is read.

    Raises InputError for a file that cannot be read in windows and is to be.
    """
    file = None
    try:
        if options.memory == "windows" or stays_on_disk(path.stat().st_size, options):
            file = npy_file(path) or _by_rows(path)
    except OSError:
        return None  # what is wrong is said where it is read
    except ValueError:
        file = None
    if file is None and options.memory == "windows":
        raise InputError(
            f"{path}: only an .npy file of rows of numbers is read in windows; leave it out",
            field="data.memory",
            value="windows",
        )
    return None if file is None else Stored(file)


def _by_rows(path: Path) -> ArrayFile | None:
    """A copy of an array that is written column by column, as those of data frames often are."""
    check_file(path)
    x = np.load(path, mmap_mode="r", allow_pickle=False)
    if x.ndim < 2 or x.dtype.kind not in "buif":
        return None
    step = max(1, RUN // max(1, x[0].nbytes))
    blocks = (np.load(path, mmap_mode="r")[start : start + step] for start in range(0, len(x), step))
    return spooled(key_of([path]), x.shape, x.dtype, blocks)


def raw_of_arrays(arrays: Mapping[str, Items], where: str, name: str, options: DataOptions) -> Raw:
    """Arrays by name, as `read_array` reads them."""
    roles = roles_of(arrays, where)
    factors, names = _factors(arrays, roles, where)
    targets = {
        part: orient(
            np.asarray(arrays[key]), options.layout, options.image_size, f"{where}: {key}", options.kind
        )
        for part, key in roles.targets.items()
    }
    columns = {part: _column(np.asarray(arrays[key])) for part, key in roles.labels.items()}
    labels, classes = code_labels([columns.get(part) for part in roles.items], where)
    parts = {}
    for (part, key), y in zip(roles.items.items(), labels, strict=True):
        items = orient(arrays[key], options.layout, options.image_size, where, options.kind)
        if y is not None and len(y) != len(items):
            raise InputError(
                f"{where}: {counted(len(items), 'item')} in {key!r} but {counted(len(y), 'label')}"
            )
        parts[part] = replace(as_split(items, y), factors=factors.get(part), target=targets.get(part))
    part, key = next(iter(roles.items.items()))
    notes = (*_notes(roles, arrays), *_layout_notes(arrays[key], parts[part].x))
    return Raw(name, where, parts, classes, notes=notes, factor_names=names)


def _layout_notes(array: Items, items: Items) -> list[str]:
    if items.ndim in (3, 5):
        channels, *space = items.shape[-1], *items.shape[1:-1]
        what, axes = ("signals", "C, L") if items.ndim == 3 else ("volumes", "C, D, H, W")
        size = f"{channels} channel{'s' * (channels > 1)} and {shape_text(tuple(space))} values"
        return [f"an array of {shape_text(array.shape)} read as {len(items):,} {what} (N, {axes}) of {size}"]
    if array.ndim == items.ndim:
        return []
    height, width, _ = items.shape[1:]
    return [
        f"an array of {shape_text(array.shape)} read as {counted(len(items), 'grey image')} of {height}x{width}"
    ]


def _column(labels: np.ndarray) -> np.ndarray:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


@dataclass(frozen=True)
class Roles:
    """The names of the arrays of items, labels, factors and targets of each split, and of the others."""

    items: Mapping[str, str]
    labels: Mapping[str, str]
    factors: Mapping[str, str]
    targets: Mapping[str, str]
    others: Sequence[str] = ()


def _notes(roles: Roles, arrays: Mapping[str, Items]) -> tuple[str, ...]:
    """What each array was taken for, where its name leaves a doubt, and what is not used."""
    notes = []
    if len(roles.items) > 1 or roles.targets or {*roles.items.values(), *roles.labels.values()} - {"x", "y"}:
        read = (
            f"{part} {len(arrays[key]):,} from {key}"
            + (f" with labels {roles.labels[part]}" if part in roles.labels else "")
            + (f" with targets {roles.targets[part]}" if part in roles.targets else "")
            for part, key in roles.items.items()
        )
        notes.append("arrays: " + ", ".join(read))
    if roles.others:
        notes.append(f"arrays not used: {shortened(', '.join(roles.others))}")
    return tuple(notes)


def roles_of(arrays: Mapping[str, Any], where: str) -> Roles:
    """What the array of each name is for.

    Raises InputError for names that leave no items, or more than one array for the same.
    """
    if not arrays:
        raise InputError(f"{where}: holds no arrays")
    try:
        found = _by_role(arrays)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    items, labels, factors, targets = (found[role] for role in _ROLES)
    if not items:
        names = shortened(", ".join(sorted(arrays)))
        raise InputError(f"{where}: holds {names}; expected 'x'[, 'y'] or 'train'[, 'valid', 'test']")
    for part, key in (*labels.items(), *factors.items(), *targets.items()):
        if part not in items:
            raise InputError(
                f"{where}: {key!r}, but no items of a split {part!r}; name them so, or leave it out"
            )
    roles = Roles({part: items[part] for part in ORDER if part in items}, labels, factors, targets)
    others = sorted(set(arrays) - _used(roles))
    count = _count(arrays[next(iter(items.values()))])
    unclear = [key for key in others if _may_be_labels(key) and _count(arrays[key]) == count]
    if unclear and not labels:
        raise InputError(
            f"{where}: {' and '.join(map(repr, unclear))} may be labels; call what are labels 'y', or leave them out"
        )
    return replace(roles, others=others)


def _used(roles: Roles) -> set[str]:
    """The names of the arrays that are used."""
    parts = (roles.items, roles.labels, roles.factors, roles.targets)
    return {key for part in parts for key in part.values()} | ({"factor_names"} if roles.factors else set())


def _count(value: Any) -> int:
    """How many items a value holds."""
    try:
        return len(value)
    except TypeError:
        return 1


def _by_role(arrays: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The name of each split's array, by role and split; what names no split is for training."""
    read = {key: meant for key in sorted(arrays) if (meant := role_of(key))}
    for key, (part, role) in read.items():
        if role == "labels" and _TARGETS & set(pieces(key)) and math.prod(np.shape(arrays[key])[1:]) > 1:
            read[key] = (part, "targets")
    if len(arrays) == 1 and not read:
        read = dict.fromkeys(arrays, ("", "items"))
    split_of = one_each({part: part for part, _ in read.values() if part}) | {"": "train"}
    found: dict[str, dict[str, str]] = {role: {} for role in _ROLES}
    for role in _ROLES:
        for part in ORDER:
            keys = [key for key, (own, what) in read.items() if what == role and split_of[own] == part]
            plain = [key for key in keys if key in ("x", "y")]
            if len(keys) > 1 and (not plain or any(read[key][0] for key in keys)):
                raise InputError(f"has both {keys[-1]!r} and {keys[0]!r}; keep one of them")
            if keys:
                found[role][part] = (plain or keys)[0]
    return found


def role_of(key: str) -> tuple[str, str] | None:
    """The split (empty without one) and the role of an array called so; None where the name says neither."""
    parts, roles = set(), set()
    glued = _GLUED.fullmatch(key)
    for piece in pieces("_".join(filter(None, glued.groups())) if glued else key):
        if part := part_word(piece):
            parts.add(part)
        elif role := next((role for role, words in _ROLES.items() if piece in words), ""):
            roles.add(role)
        elif not (piece in FILLERS or piece.isdecimal()):
            return None
    roles = roles if roles in ({"items"}, {"labels"}, {"factors"}) else roles - {"items"}
    if len(parts) > 1 or len(roles) > 1 or not (parts or roles):
        return None
    return "".join(parts), roles.pop() if roles else "items"


def _may_be_labels(key: str) -> bool:
    words = set(pieces(key))
    return bool(words & _ROLES["labels"]) and not words & {"name", "names"}


def _factors(
    arrays: Mapping[str, Items], roles: Roles, where: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Factors by part, and the names of their columns."""
    keys = roles.factors
    if not keys:
        return {}, None
    factors = {
        part: _whole_numbers(np.asarray(arrays[key]), len(arrays[roles.items[part]]), f"{where}: {key}")
        for part, key in keys.items()
    }
    widths = {x.shape[1] for x in factors.values()}
    if len(widths) > 1:
        raise InputError(
            f"{where}: {', '.join(keys.values())} have different numbers of columns; give all the same"
        )
    width = widths.pop()
    names = np.asarray(arrays.get("factor_names", np.arange(width).astype(str)))
    if names.shape != (width,) or names.dtype.kind != "U" or len(np.unique(names)) != width:
        raise InputError(
            f"{where}: factor_names must be {width} different texts, one for each column of the factors"
        )
    return factors, tuple(names.tolist())


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


def orient(x: A, layout: str, image_size: tuple[int, int] | None, where: str, kind: str = "auto") -> A:
    """The array as images (N, H, W, C), signals (N, L, C), volumes (N, D, H, W, C) or vectors (N, D).

    Four axes need a channel axis of 1 to 4, in second or last place; five are volumes with such an axis; three are grey
    images, or signals with few channels along the shorter axis where the other is far longer and values are no bytes.
    (N, H*W) with an `image_size` are grey images too. A `kind` (signal or volume) says what the axes are of.

    Raises InputError where the axes are ambiguous, do not fit the layout, the kind or the image size.
    """
    shape = shape_text(x.shape)
    if layout == "auto":
        layout = _guess(x, shape, where, kind)
    elif x.ndim != len(layout):
        raise InputError(f"{where}: layout {layout} needs {len(layout)} axes, the array is {shape}")
    if layout == "ND":
        return _flat(x, image_size, where)
    first, last = layout[1] == "C", layout[-1] == "C"
    if first:
        items = each(x, lambda part: np.moveaxis(part, 1, -1))
    else:
        items = x if last else each(x, lambda part: part[..., None])
    if image_size is not None and items.ndim != 4:
        raise InputError(f"{where}: {shape} are no images; leave it out", field="data.image_size")
    if image_size is not None and items.shape[1:3] != tuple(image_size):
        raise InputError(
            f"{where}: images are {shape_text(items.shape[1:3])}, not {shape_text(image_size)};"
            " arrays are not resized, leave data.image_size out"
        )
    return each(items, np.ascontiguousarray)


def _guess(x: Items, shape: str, where: str, kind: str) -> str:
    axes = {"signal": (2, 3), "volume": (4, 5)}.get(kind)
    if axes and x.ndim not in axes:
        raise InputError(f"{where}: {shape} are no {kind}s", field="data.kind", value=kind)
    if kind == "signal":
        return _signals(x, shape, where) if x.ndim == 3 else "NL"
    if kind == "volume" and x.ndim == 4:
        return "NDHW"
    if x.ndim == 2:
        return "ND"
    if x.ndim == 3:
        if kind == "auto" and _plainly_signals(x):
            return _signals(x, shape, where)
        _check_grey(x, shape, where)
        return "NHW"
    if x.ndim not in (4, 5):
        raise InputError(
            f"{where}: an array of {x.ndim} axes ({shape}); expected (N, D), (N, H, W), (N, H, W, C), (N, C, L) or"
            " (N, C, D, H, W)"
        )
    names = ("NCHW", "NHWC") if x.ndim == 4 else ("NCDHW", "NDHWC")
    first, last = x.shape[1] in range(1, 5), x.shape[-1] in range(1, 5)
    if first and last:
        raise InputError(f"{where}: {shape} may be {' or '.join(names)}; say which with data.layout")
    if not first and not last:
        raise InputError(
            f"{where}: {shape} has no channel axis of 1 to 4; say data.layout = {' or '.join(names)}"
        )
    return names[0] if first else names[1]


def _plainly_signals(x: Items) -> bool:
    short, long = sorted(x.shape[1:])
    return short <= MOST_CHANNELS and long >= max(LONG * short, LONG**2) and not are_bytes(x)


def _signals(x: Items, shape: str, where: str) -> str:
    """The layout of signals: channels are the shorter of both axes."""
    if x.shape[1] == x.shape[2]:
        raise InputError(f"{where}: {shape} may be NCL or NLC; say which with data.layout")
    return "NCL" if x.shape[1] < x.shape[2] else "NLC"


def _check_grey(x: Items, shape: str, where: str) -> None:
    """Raises InputError for three axes that may be something else than grey images (N, H, W)."""
    _, height, width = x.shape
    if width <= 4:
        raise InputError(
            f"{where}: {shape} may be one image, many, or signals; say data.layout = NHW for many grey images, NLC for"
            " signals"
        )
    # Bytes are pixels of however long an image; other numbers in long rows are more often signals.
    long = max(height, width) > MOST_GREY_ASPECT * min(height, width) and not are_bytes(x)
    if height <= 4 or long:
        raise InputError(
            f"{where}: {shape} may be signals, with channels along the shorter axis, or grey images of"
            f" {height}x{width}; say data.kind = signal, or data.layout = NHW for images, or reshape the array to"
            f" (N, {height * width}) for vectors of values"
        )


def _flat(x: A, image_size: tuple[int, int] | None, where: str) -> A:
    if image_size is None:
        return x
    height, width = image_size
    if height * width != x.shape[1]:
        raise InputError(
            f"{where}: {counted(x.shape[1], 'value')} an item do not make images of {height}x{width}"
        )
    return each(x, lambda part: part.reshape(len(part), height, width, 1))
