"""Training, validation and test: official where there are such splits, else held out by seed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np

from latlas.data.binarise import binarise
from latlas.data.dataset import UNLABELLED, Dataset, Split, is_labelled
from latlas.data.idx import shape_text
from latlas.data.options import DataOptions
from latlas.data.parts import ORDER
from latlas.data.ranges import Range, beyond_note, blocks, check_numeric, convert, decide, native
from latlas.data.stored import Items, Stored, shuffled
from latlas.errors import InputError
from latlas.text import counted, printable

MOST_CLASSES = 256  # kinds of whole numbers that are classes; more are values
_TEST, _VALID = 1, 2  # streams of the seed: whether one is held out must not change the other


@dataclass(frozen=True)
class Raw:
    """What a reader returns: `parts` holds `train` and, where the source has them, the official `valid` and `test`.

    Images are (N, H, W, C), signals (N, L, C), volumes (N, D, H, W, C), everything else (N, D). `bits` are those of
    integers whose files say so. `sizes` are the numbers of items of all official splits, where only some of them were
    read. `pixels`: decoded from image files, whose range is known.
    """

    name: str
    source: str
    parts: Mapping[str, Split]
    classes: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    factor_names: tuple[str, ...] | None = None
    bits: int | None = None
    sizes: Mapping[str, int] | None = None
    pixels: bool = False


def wanted(sizes: Mapping[str, int], split: str, where: str) -> tuple[str, ...]:
    """The official splits that a use of a source takes, of those in `sizes`: `split`, or `all` of them.

    Where `split` is empty it is the test split, or everything where there is none. A source that only has `train` has
    no splits.

    Raises InputError for a split that the source does not have.
    """
    parts = tuple(part for part in ORDER if part in sizes)
    if split in ("", "all"):
        return ("test",) if split == "" and "test" in parts else parts
    if parts == ("train",):
        raise InputError(f"{where} has no splits of its own; leave it out", field="split", value=split)
    if split not in parts:
        known = ", ".join(f"{part} ({counted(sizes[part], 'item')})" for part in parts)
        raise InputError(f"{where} has the splits {known}; or all", field="split", value=split)
    return (split,)


def check_trainable(parts: Collection[str], where: str) -> None:
    """Raises InputError where none of a source's splits is for training."""
    if "train" not in parts:
        raise InputError(
            f"{where}: nothing to train on: by name it only has {' and '.join(parts)}; rename it if that is not so"
        )


def taken(raw: Raw, split: str) -> tuple[Split, list[str]]:
    """The items of a source that a use takes (see `wanted`), in the source's order, and a note where others are left.

    Raises InputError as `wanted` does.
    """
    sizes = raw.sizes or {part: len(items) for part, items in raw.parts.items()}
    parts = wanted(sizes, split, raw.source)
    items = _joined([raw.parts[part] for part in parts])
    if len(parts) == len(sizes):
        return items, []
    others = ", ".join(f"{part} {sizes[part]:,}" for part in ORDER if part in sizes and part not in parts)
    return items, [
        f"{raw.source}: its {parts[0]} split, {counted(len(items), 'item')}; split = "
        f"{' or '.join(p for p in sizes if p not in parts)} or all takes others ({others})"
    ]


def _joined(splits: Sequence[Split]) -> Split:
    """Several splits as one; rows that would count twice are counted anew."""
    if len(splits) == 1:
        return splits[0]
    index = np.concatenate([split.index for split in splits])
    if len(np.unique(index)) < len(index):
        index = np.arange(len(index))
    factors = [split.factors for split in splits if split.factors is not None]
    every = np.concatenate(factors) if len(factors) == len(splits) else None
    targets = [split.target for split in splits if split.target is not None]
    target = np.concatenate(targets) if len(targets) == len(splits) else None
    names = [split.names for split in splits if split.names is not None]
    named = np.concatenate(names) if len(names) == len(splits) else None
    x = np.concatenate([np.asarray(split.x) for split in splits])
    return Split(x, _joined_labels(splits), index, every, named, target)


def _joined_labels(splits: Sequence[Split]) -> np.ndarray | None:
    """The labels of several splits, missing for those without; None where no split has any."""
    dtype = next((split.labels.dtype for split in splits if split.labels is not None), None)
    if dtype is None:
        return None
    missing = np.nan if dtype.kind == "f" else UNLABELLED
    return np.concatenate(
        [np.full(len(split), missing, dtype) if split.labels is None else split.labels for split in splits]
    )


def as_split(x: Items, labels: np.ndarray | None = None) -> Split:
    """All items of an array as one split."""
    if isinstance(x, Stored) and not x.shuffled:
        return Split(x, labels, x.rows)  # one array for both, as it is large
    return Split(x, labels, np.arange(len(x)))


def in_parts(raw: Raw, sizes: Mapping[str, int]) -> Raw:
    """The items of a source that were read as one, in the official splits that they stand in by these numbers."""
    if tuple(sizes) == ("train",):
        return raw
    whole, start, parts = raw.parts["train"], 0, {}
    for part, size in sizes.items():
        parts[part] = replace(whole.part(slice(start, start + size)), index=np.arange(size))
        start += size
    return replace(raw, parts=parts)


def code_labels(
    labels: Sequence[np.ndarray | None], where: str
) -> tuple[list[np.ndarray | None], tuple[str, ...] | None]:
    """The labels of several parts as codes with names, or as real numbers without.

    Texts, bools and integers of at most 256 kinds become codes 0, 1, ... in sorted order; all else is real. So do whole
    numbers among which some are missing: integers cannot be missing in NumPy. A missing label is UNLABELLED or NaN.

    Raises InputError for labels that are neither, or infinite.
    """
    read = [None if y is None else _label_values(np.asarray(y), where) for y in labels]
    given = [values for values, _ in filter(None, read) if len(values)]
    names = np.unique(np.concatenate(given)) if given else np.empty(0, str)
    missing = any(not present.all() for _, present in filter(None, read))
    if names.dtype.kind == "f" and missing and (names == np.rint(names)).all() and abs(names).max() < 2**53:
        names = names.astype(np.int64)
    real = names.dtype.kind == "f" or (names.dtype.kind in "iu" and len(names) > MOST_CLASSES)
    found: list[np.ndarray | None] = []
    for part in read:
        if part is None:
            found.append(None)
            continue
        values, present = part
        codes = np.full(len(present), np.nan if real else UNLABELLED, np.float64 if real else np.int64)
        codes[present] = values if real else np.searchsorted(names, values)
        found.append(codes)
    return found, None if real or not any(filter(None, read)) else tuple(map(printable, names))


def _label_values(labels: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The labels that are not missing, and which of them these are: (N,) bool. Bytes become text."""
    if labels.dtype.kind == "O" and labels.ndim == 1:
        import pandas as pd

        present = ~np.asarray(pd.isna(pd.Series(labels, dtype=object)), bool)
        values, filled = _label_values(_typed(labels[present].tolist()), where)
        present[present] = filled
        return values, present
    if labels.ndim != 1 or labels.dtype.kind not in "buifUS":
        raise InputError(
            f"{where}: labels of shape {labels.shape} and type {labels.dtype}; expected one number or text each"
        )
    if labels.dtype.kind == "S":
        labels = _typed(labels.tolist())
    if labels.dtype.kind == "f" and np.isinf(labels).any():
        raise InputError(f"{where}: infinite labels, {np.isinf(labels).sum():,} of them")
    kind = labels.dtype.kind
    present = (
        ~np.isnan(labels) if kind == "f" else labels != "" if kind == "U" else np.ones(len(labels), bool)
    )
    return labels[present], present


def _typed(values: list[Any]) -> np.ndarray:
    """Python values as bools, integers or real numbers if all are, else as texts."""
    if values and all(isinstance(v, bool) for v in values):
        return np.array(values, bool)
    if values and all(isinstance(v, Real | Decimal) for v in values):
        whole = all(isinstance(v, Integral) and abs(int(v)) < 2**63 for v in values)
        return np.array(values, np.int64 if whole else np.float64)
    return np.array(
        [v.decode("utf-8", "backslashreplace") if isinstance(v, bytes) else str(v) for v in values], str
    )


def assemble(raw: Raw, options: DataOptions) -> Dataset:
    """A data set with its three splits, stored and scaled by the range of the training split alone.

    Raises InputError where the parts differ in shape, hold too few items or values that do not fit together.
    """
    check_trainable(raw.parts, raw.source)
    raw = replace(raw, parts={part: _native(s) for part, s in raw.parts.items()})
    for part, split in raw.parts.items():
        _check_values(split, raw.source if len(raw.parts) == 1 else f"{raw.source}, {part}")
    _check_shapes(raw)
    raw = _with_labels_counted(raw)
    bare = [part for part in ORDER if part in raw.parts and raw.parts[part].labels is None]
    parts, notes = split_parts(raw, options)
    if 0 < len(bare) < len(raw.parts):
        notes.insert(0, f"no labels of {' and '.join(bare)}: numbers that need them are left out")
    if options.bits is not None and raw.bits is None and parts["train"].x.dtype.str[1:] != "u2":
        what = f"{raw.source}: only unsigned 16-bit values have it; leave it out"
        raise InputError(what, field="data.bits", value=options.bits)
    bits = options.bits if raw.bits is None else raw.bits
    training_range = decide(
        _both(parts["train"]), raw.source, raw.columns, options, bits, _both(raw.parts["train"])
    )
    parts = {k: _converted(s, training_range, f"{raw.source}, {k}") for k, s in parts.items()}
    held_out = _held_out_notes(parts, training_range, raw.columns)
    parts, binarised = binarise(parts, training_range, options, raw.source)
    shape = parts["train"].x.shape[1:]
    return Dataset(
        name=raw.name,
        source=raw.source,
        kind=training_range.kind,
        shape=(shape[-1], *shape[:-1]),
        binary=training_range.binary or bool(binarised),
        scaling=training_range.scaling,
        classes=raw.classes,
        columns=raw.columns,
        fingerprint=fingerprint(parts),
        notes=tuple(
            map(printable, filter(None, (*raw.notes, training_range.note, binarised, *notes, *held_out)))
        ),
        factor_names=raw.factor_names,
        **parts,
    )


def _held_out_notes(
    parts: Mapping[str, Split], training_range: Range, columns: Sequence[str] | None
) -> list[str]:
    """Lines on values of the held-out splits beyond the training range, and on how many items of splits on disk are
    measured; "" where there is nothing to say.
    """
    held_out = [name for name in ("valid", "test") if len(parts[name])]
    beyond = [beyond_note(parts[name].x, training_range.scaling, columns, name) for name in held_out]
    return [*beyond, _some(parts)]


def _some(parts: Mapping[str, Split]) -> str:
    """A line on the splits of which some items are measured; "" where all are."""
    some = [(name, split.held, len(split)) for name, split in parts.items()]
    fewer = [f"{name} {held:,} of {count:,}" for name, held, count in some if held < count]
    return f"what is measured and drawn are evenly spaced items: {', '.join(fewer)}" if fewer else ""


def _check_values(split: Split, where: str) -> None:
    check_numeric(split.x, where)
    if split.target is not None:
        check_numeric(split.target, f"{where}, targets")


def _native(split: Split) -> Split:
    return replace(split, x=native(split.x), target=None if split.target is None else native(split.target))


def _both(split: Split) -> Items:
    """The items and, where there are some, their targets, which share one scale."""
    return split.x if split.target is None else np.concatenate([np.asarray(split.x), split.target])


def _converted(split: Split, training_range: Range, where: str) -> Split:
    target = None if split.target is None else convert(split.target, training_range, f"{where}, targets")
    return replace(split, x=convert(split.x, training_range, where), target=target)


def _check_targets(raw: Raw) -> None:
    given = {part: split.target for part, split in raw.parts.items() if split.target is not None}
    for part, split in raw.parts.items():
        if given and split.target is None:
            raise InputError(
                f"{raw.source}: targets of {' and '.join(given)}, and none of {part}; give all or none"
            )
        if split.target is not None and split.target.shape != split.x.shape:
            raise InputError(
                f"{raw.source}: {part} items of {shape_text(split.x.shape)}, targets of"
                f" {shape_text(split.target.shape)}; expected one of the same shape for each"
            )


def _check_shapes(raw: Raw) -> None:
    shape = raw.parts["train"].x.shape[1:]
    _check_targets(raw)
    for part, split in raw.parts.items():
        if split.x.shape[1:] != shape:
            raise InputError(
                f"{raw.source}: {part} items of {shape_text(split.x.shape[1:])},"
                f" training items of {shape_text(shape)}"
            )
        if split.labels is not None and len(split.labels) != len(split):
            raise InputError(
                f"{raw.source}: {counted(len(split), f'{part} item')} but {counted(len(split.labels), 'label')}"
            )


def _with_labels_counted(raw: Raw) -> Raw:
    """With a note on how many items have no label, where some have; without labels where none has."""
    known = [is_labelled(split.labels) for split in raw.parts.values() if split.labels is not None]
    count, total = sum(int(part.sum()) for part in known), sum(map(len, known))
    if count == total:
        return raw
    if not count:
        parts = {part: replace(split, labels=None) for part, split in raw.parts.items()}
        return replace(raw, parts=parts, classes=None, notes=(*raw.notes, "labels: every one is missing"))
    kinds = "real numbers" if raw.classes is None else f"of {counted(len(raw.classes), 'class')}"
    have = "has" if count == 1 else "have"
    note = f"labels: {count:,} of {counted(total, 'item')} {have} one ({kinds}); the others are trained on without"
    return replace(raw, notes=(*raw.notes, note))


def split_parts(raw: Raw, options: DataOptions) -> tuple[dict[str, Split], list[str]]:
    """The three splits, and a note for each that was not official.

    Raises InputError where there are too few items.
    """
    pool, notes = raw.parts["train"], []
    held = np.zeros(len(pool), np.uint8)  # of each item: whether and for what it is held out
    test = raw.parts.get("test")
    if test is None and options.test == 0:
        notes.append(f"test: nothing is held out; {_measured_instead(options)}")
    elif test is not None and options.test == 0:
        notes.append(
            f"test: the source's own {counted(len(test), 'item')}; they stay out whatever data.test is"
        )
    elif test is None:
        count = _hold_out(held, options.test, (options.seed, _TEST), "test", raw.source)
        notes.append(f"test: {counted(count, 'item')} held out by seed {options.seed}")
    valid = raw.parts.get("valid") if options.validation is None else None
    if valid is None and options.validation == 0:
        notes.append("validation: none; the whole training set is trained on")
    elif valid is None:
        share = 0.1 if options.validation is None else options.validation
        count = _hold_out(held, share, (options.seed, _VALID), "validation", raw.source)
        notes.append(f"validation: {counted(count, 'training item')} held out by seed {options.seed}")
    train = pool.part(held == 0) if held.any() else pool
    test = pool.part(held == _TEST) if test is None else test
    valid = pool.part(held == _VALID) if valid is None else valid
    if options.limit is not None:
        notes.append(
            f"training on the first {min(options.limit, len(train)):,} of {counted(len(train), 'item')}"
        )
        train = train.part(slice(0, options.limit))
    if train.target is not None:
        notes.append("inputs and targets: the loss, and every error, compares outputs with the targets")
        if options.binarise != "none":
            raise InputError(
                f"{raw.source}: items with targets are not binarised; leave it out",
                field="data.binarise",
                value=options.binarise,
            )
    if len(train) < 2:
        raise InputError(f"{raw.source}: {counted(len(train), 'training item')}; at least 2 are needed")
    return {"train": train, "valid": valid, "test": test}, notes


def _measured_instead(options: DataOptions) -> str:
    if options.validation == 0:
        return "numbers and pictures are of the training items, which says nothing of new ones"
    return "numbers and pictures are of the validation items, which chose the epoch that is kept"


def _hold_out(held: np.ndarray, share: float, seed: tuple[int, int], what: str, where: str) -> int:
    """Marks a share of the items (N,) that are not held out yet by the stream of the seed, and gives their number."""
    left = len(held) - int(np.count_nonzero(held))
    count = max(1, round(share * left))
    if left - count < 2:
        raise InputError(
            f"{where}: {counted(left, 'item')} {'is' if left == 1 else 'are'} too few to hold {count} out"
            f" for {what} and train on at least 2"
        )
    marks = np.zeros(left, np.uint8)
    marks[shuffled(left, seed)[:count]] = seed[1]
    np.place(held, held == 0, marks)
    return count


def fingerprint(parts: Mapping[str, Split]) -> str:
    """Hex SHA-256 of the stored items, labels and factors of all splits."""
    digest = hashlib.sha256()
    for name in ("train", "valid", "test"):
        split = parts[name]
        for array in (split.x, split.labels, split.factors, split.target):
            if array is None:
                continue
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            for block in blocks(array):
                digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()
