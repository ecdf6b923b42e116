"""A folder of images: which files, in which order, with which labels and official splits."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latlas.data.cache import Decoded, decode_files
from latlas.data.dataset import Split
from latlas.data.image_formats import SUFFIXES
from latlas.data.image_plan import ImageFormat
from latlas.data.options import DataOptions
from latlas.data.splits import Raw
from latlas.errors import InputError
from latlas.progress import OnProgress

_PARTS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
_ORDER = ("train", "valid", "test")


@dataclass(frozen=True)
class Listing:
    """The image files of a folder; `parts` and `classes` per file, None where the folder does not say."""

    files: tuple[Path, ...]
    parts: tuple[str, ...] | None
    classes: tuple[str, ...] | None
    others: tuple[str, ...]


def natural_key(path: Path) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """Sorts img2 before img10, folder by folder."""
    return tuple(
        (*map(_number_or_text, re.findall(r"\d+|\D+", part.lower())), (2, 0, part)) for part in path.parts
    )


def _number_or_text(piece: str) -> tuple[int, int, str]:
    return (0, int(piece), "") if piece.isdecimal() else (1, 0, piece)


def list_images(root: Path) -> Listing:
    """All image files under a folder in natural order, training before validation before test.

    Sub-folders named train, valid and test (train and another of them, and nothing else) are official splits;
    two or more other sub-folders that hold all images are classes. Hidden files and folders are passed over.

    Raises InputError where there are no image files.
    """
    images: list[Path] = []
    others: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for path in (Path(folder, n).relative_to(root) for n in names if not n.startswith(".")):
            (images if path.suffix.lower() in SUFFIXES else others).append(path)
    if not images:
        suffixes = ", ".join(sorted({p.suffix or p.name for p in others})[:5]) or "nothing"
        raise InputError(f"{root}: no image files in this folder or below it (found: {suffixes})")
    images.sort(key=natural_key)
    tops = {p.parts[0] if len(p.parts) > 1 else "" for p in images}
    roles = {_PARTS.get(t.lower(), "") for t in tops}
    official = "train" in roles and "" not in roles and len(roles) == len(tops) > 1
    if official:
        images.sort(key=lambda p: _ORDER.index(_PARTS[p.parts[0].lower()]))
    return Listing(
        files=tuple(root / p for p in images),
        parts=tuple(_PARTS[p.parts[0].lower()] for p in images) if official else None,
        classes=_classes([p.parts[1:] if official else p.parts for p in images]),
        others=tuple(p.as_posix() for p in others),
    )


def _classes(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    """The first folder of each path, where all have one and there are several."""
    names = [parts[0] if len(parts) > 1 else "" for parts in paths]
    return tuple(names) if "" not in names and len(set(names)) > 1 else None


def read_folder(root: Path, name: str, options: DataOptions, progress: OnProgress | None = None) -> Raw:
    """A folder of images, decoded.

    Raises InputError where there are none, or with `strict` where one is broken.
    """
    listing = list_images(root)
    image_format = ImageFormat(options.image_size, options.resize, pages=options.pages, bits=options.bits)
    decoded = decode_files(root, listing.files, image_format, progress)
    refuse_broken(root, decoded, options.strict)
    labels, classes = label_codes(listing, decoded.rows)
    notes = [*decoded.notes, *broken_notes(decoded), *_other_notes(listing)]
    if classes is not None:
        notes.append(f"{len(classes)} classes from sub-folders: {first_few(classes)}")
    everything = Split(decoded.x, labels, decoded.rows)
    if listing.parts is None:
        return Raw(name, str(root), {"train": everything}, classes, notes=tuple(notes), bits=decoded.bits)
    part_of = np.asarray(listing.parts)[decoded.rows]
    counts = Counter(part_of.tolist())
    if not counts["train"]:
        raise InputError(f"{root}: no readable image in the sub-folder train")
    notes.append(
        "official splits from sub-folders: " + ", ".join(f"{p} {counts[p]:,}" for p in _ORDER if counts[p])
    )
    # Files are ordered by part, so each part is a slice and stays memory-mapped.
    starts = {p: int(np.argmax(part_of == p)) for p in counts}
    parts = {p: everything.take(slice(starts[p], starts[p] + counts[p])) for p in counts}
    return Raw(name, str(root), parts, classes, notes=tuple(notes), bits=decoded.bits)


def label_codes(listing: Listing, rows: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Codes (N,) of the files at `rows`, and the class names in natural order."""
    if listing.classes is None:
        return None, None
    classes = tuple(sorted(set(listing.classes), key=lambda c: natural_key(Path(c))))
    code = {c: i for i, c in enumerate(classes)}
    return np.asarray([code[listing.classes[i]] for i in rows], dtype=np.int64), classes


def refuse_broken(root: Path, decoded: Decoded, strict: bool) -> None:
    """Raises InputError where files are broken and that is not allowed."""
    if strict and decoded.broken:
        raise InputError(f"{root}: {_broken_text(decoded)}; mend or remove them, or leave data.strict false")


def broken_notes(decoded: Decoded) -> list[str]:
    """The line that says which files were left out, if any."""
    return [f"left out {_broken_text(decoded)}"] if decoded.broken else []


def _broken_text(decoded: Decoded) -> str:
    count = len(decoded.broken)
    return f"{count:,} broken file{'s' * (count > 1)}: " + first_few(
        [f"{n} ({why})" for n, why in decoded.broken]
    )


def _other_notes(listing: Listing) -> list[str]:
    if not listing.others:
        return []
    kinds = Counter(Path(n).suffix.lower() or "no suffix" for n in listing.others)
    return [f"{len(listing.others):,} other files not read ({first_few(sorted(kinds))})"]


def first_few(names: Sequence[str], count: int = 5) -> str:
    """The first few of many names."""
    rest = len(names) - count
    return ", ".join(names[:count]) + (f" and {rest:,} more" if rest > 0 else "")
