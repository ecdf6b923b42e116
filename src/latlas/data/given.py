"""Data in memory to train on, read by the rules of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from latlas.data.arrays import raw_of_arrays, roles_of
from latlas.data.arrow import Columns, named_classes, raw_of_columns, refuse_other_columns
from latlas.data.dataset import UNLABELLED
from latlas.data.image_list import ImageList, raw_of_images
from latlas.data.image_plan import ImageFormat
from latlas.data.objects import Plain, array_of, is_sparse, labels_of, plain
from latlas.data.options import MEMORY, DataOptions, used
from latlas.data.splits import Raw, check_trainable, code_labels, in_parts
from latlas.data.tables import COLUMN_OPTIONS, TEXT_OPTIONS, Table, as_labels, one_line, raw_of
from latlas.errors import InputError, unknown
from latlas.progress import OnProgress
from latlas.text import listed


@dataclass(frozen=True)
class _Parts:
    """The splits of given data in plain types, what each was called, and whatever else was given by name."""

    splits: Mapping[str, Plain]
    keys: Mapping[str, str]
    others: Mapping[str, Any]

    @property
    def first(self) -> Plain:
        return next(iter(self.splits.values()))

    @property
    def sizes(self) -> dict[str, int]:
        return {part: len(items.x) for part, items in self.splits.items()}


def raw_of_given(
    given: Any, options: DataOptions, progress: OnProgress | None = None, new: bool = True
) -> Raw:
    """What a reader returns, of items in memory; `new` data refuse options that have no meaning for them.

    `given` holds items, is (items, labels), or has items and labels by the names that arrays in an .npz file have, or
    official splits by their names. Nothing of it is changed, and nothing is copied that does not have to be.

    Raises InputError for an object that holds no items, and as the readers of files do.
    """
    parts = _parts(given, options.layer)
    forms = sorted({items.form for items in parts.splits.values()})
    if len(forms) > 1:
        raise InputError(f"{MEMORY}: splits of different types ({listed(forms)}); give all in one")
    check_trainable(parts.splits, MEMORY)
    if new and options.memory == "windows":
        raise InputError(f"{MEMORY} are there already; give a file", field="data.memory", value="windows")
    if forms == ["array"]:
        raw = _of_arrays(parts, used(options, (*COLUMN_OPTIONS, *TEXT_OPTIONS, "layer"), "an array", new))
    elif forms == ["images"]:
        unused = (*COLUMN_OPTIONS, *TEXT_OPTIONS, "layout", "kind", "constant", "layer")
        raw = _of_images(parts, used(options, unused, "images", new), progress)
    else:
        layer = () if parts.first.beside is not None else ("layer",)
        unused = ("layout", *TEXT_OPTIONS, *layer)
        raw = _of_tables(parts, used(options, unused, "a table in memory", new), progress)
    first = parts.first
    whats = [first.what] if len(parts.splits) == 1 else [f"{p} {s.what}" for p, s in parts.splits.items()]
    with_labels = ", with labels" if any(split.labels is not None for split in raw.parts.values()) else ""
    notes = [f"{MEMORY}: {', '.join(whats)}{with_labels}", *first.notes, *raw.notes]
    return replace(_named(raw, parts), notes=tuple(notes))


def _named(raw: Raw, parts: _Parts) -> Raw:
    """With the names of the items that have some, where every item was read."""
    named = {
        part: replace(split, names=np.array(names, dtype=object))
        for part, split in raw.parts.items()
        if split.names is None
        and (names := parts.splits[part].names) is not None
        and len(names) == len(split)
    }
    return replace(raw, parts={**raw.parts, **named})


def _parts(given: Any, layer: str) -> _Parts:
    if isinstance(given, tuple):
        given = _pairs(given)
    if not isinstance(given, Mapping) or is_sparse(given):  # a dok_matrix is a mapping
        return _Parts({"train": plain(given, MEMORY, layer)}, {"train": "x"}, {})
    roles = roles_of(given, MEMORY)
    splits = {}
    for part, key in roles.items.items():
        items = given[key]
        pair = isinstance(items, tuple) and len(items) == 2
        found = plain(items[0] if pair else items, MEMORY, layer)
        labels = items[1] if pair else given[roles.labels[part]] if part in roles.labels else None
        if labels is not None:
            found = replace(found, labels=labels_of(labels, f"{MEMORY}: labels"), classes=())
        splits[part] = found
    used = {*roles.items.values(), *roles.labels.values()}
    return _Parts(splits, roles.items, {key: value for key, value in given.items() if key not in used})


def _pairs(given: tuple[Any, ...]) -> dict[str, Any]:
    """(items, labels), or one such pair to train and one to test on, by name.

    Raises InputError for another tuple.
    """
    if len(given) != 2:
        raise InputError(
            f"{MEMORY}: a tuple of {len(given)}; (items, labels) was expected; give a list for several items"
        )
    if all(isinstance(pair, tuple) and len(pair) == 2 for pair in given):
        (train, y), (test, test_y) = given
        return {"train": train, "train_y": y, "test": test, "test_y": test_y}
    return {"x": given[0], "y": given[1]}


def _of_arrays(parts: _Parts, options: DataOptions) -> Raw:
    arrays = {key: np.asarray(value) for key, value in parts.others.items()}
    for part, items in parts.splits.items():
        arrays[parts.keys[part]] = array_of(items.x, MEMORY)
        if items.labels is not None:
            arrays["y" if parts.keys[part] == "x" else f"{part}_y"] = items.labels
    raw = raw_of_arrays(arrays, MEMORY, parts.first.name, options)
    return named_classes(raw, parts.first.classes)


def _of_images(parts: _Parts, options: DataOptions, progress: OnProgress | None) -> Raw:
    codes, classes = _codes(parts)
    files = [file for items in parts.splits.values() for file in items.x]
    of_file = [part for part, count in parts.sizes.items() for _ in range(count)]
    labels = None if codes is None else np.concatenate(list(codes.values()))
    rows = np.concatenate([np.arange(count) for count in parts.sizes.values()])
    images = ImageList(files, of_file, labels, classes, rows)
    image_format = _image_format(options)
    raw = raw_of_images(Path(MEMORY), parts.first.name, images, image_format, options, progress)
    return named_classes(replace(raw, notes=(*_unused(parts), *raw.notes)), parts.first.classes)


def _of_tables(parts: _Parts, options: DataOptions, progress: OnProgress | None) -> Raw:
    """Data frames, the columns of which are chosen by their names; labels may be given beside them."""
    codes, classes = _codes(parts)
    label = options.label
    if codes is not None and label:
        raise InputError(
            "labels are given beside the items as well; leave it out", field="data.label", value=label
        )
    if parts.first.form == "arrow":
        tables = {part: items.x for part, items in parts.splits.items()}
        for table in tables.values():
            refuse_other_columns(table.column_names, parts.first.x.column_names, MEMORY)
        columns = Columns(tables, MEMORY, parts.first.name)
        raw = raw_of_columns(columns, options, _image_format(options), progress=progress)
    else:
        raw = in_parts(_of_frames(parts, options), parts.sizes)
    raw = replace(raw, notes=(*_unused(parts), *raw.notes))
    if codes is None:
        return raw
    given = {p: replace(split, labels=codes[p][split.index]) for p, split in raw.parts.items()}
    return replace(raw, parts=given, classes=classes)


def _of_frames(parts: _Parts, options: DataOptions) -> Raw:
    import pandas as pd

    frames = []
    for items in parts.splits.values():
        names = [one_line(str(c)) for c in items.x.columns]
        frames.append(items.x.set_axis(names, axis=1))
        refuse_other_columns(names, list(frames[0].columns), MEMORY)
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    beside, label = (
        [items.beside for items in parts.splits.values() if items.beside is not None],
        options.label,
    )
    labels = None
    if beside and label and label not in frame.columns:
        if any(label not in own.columns for own in beside):
            raise unknown(f"label column in {MEMORY}:", label, map(str, beside[0].columns))
        labels = [as_labels(own[label]) for own in beside]
        options = options.model_copy(update={"label": ""})
    table = Table(frame, [], lambda c: frame[c], lambda c: frame[c], lambda i: f"row {i}", typed=True)
    raw = raw_of(table, MEMORY, parts.first.name, options)
    if labels is None:
        return raw
    codes, classes = code_labels(labels, f"{MEMORY}: label column {label!r}")
    every = np.concatenate([c for c in codes if c is not None])
    return replace(raw, parts={"train": replace(raw.parts["train"], labels=every)}, classes=classes)


def _image_format(options: DataOptions) -> ImageFormat:
    return ImageFormat(options.image_size, options.resize, pages=options.pages, bits=options.bits)


def _unused(parts: _Parts) -> list[str]:
    return [f"not used: {listed(sorted(map(str, parts.others)))}"] if parts.others else []


def _codes(parts: _Parts) -> tuple[dict[str, np.ndarray] | None, tuple[str, ...] | None]:
    """The labels given beside the items of each split as codes with names, or as real numbers; None where none has any.

    Raises InputError for labels of another number.
    """
    labels = [items.labels for items in parts.splits.values()]
    if all(y is None for y in labels):
        return None, None
    for part, items in parts.splits.items():
        if items.labels is not None and len(items.labels) != len(items.x):
            raise InputError(f"{MEMORY}: {len(items.x):,} items of {part} but {len(items.labels):,} labels")
    codes, classes = code_labels(labels, MEMORY)
    missing = UNLABELLED if classes is not None else np.nan
    sizes = parts.sizes
    filled = [np.full(n, missing) if y is None else y for y, n in zip(codes, sizes.values(), strict=True)]
    return dict(zip(sizes, filled, strict=True)), classes
