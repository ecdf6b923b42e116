"""A list of images, from files or from memory, decoded to the splits that they are in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latlas.data.cache import Decoded, decode_files
from latlas.data.dataset import Split, is_labelled
from latlas.data.image_plan import ImageFormat
from latlas.data.image_source import ImageSource, name_within
from latlas.data.options import DataOptions
from latlas.data.parts import ORDER
from latlas.data.room import placed
from latlas.data.splits import Raw
from latlas.data.stored import Stored
from latlas.errors import InputError
from latlas.progress import OnProgress
from latlas.text import counted, printable


@dataclass(frozen=True)
class ImageList:
    """Images with the official split of each, in the order of `ORDER`, and by image its label, as a code of `classes`
    or a real number, and its row in the source; None where there are none.
    """

    files: Sequence[ImageSource]
    parts: Sequence[str]
    labels: np.ndarray | None
    classes: tuple[str, ...] | None
    rows: np.ndarray


def raw_of_images(
    root: Path,
    name: str,
    images: ImageList,
    image_format: ImageFormat,
    options: DataOptions,
    progress: OnProgress | None = None,
) -> Raw:
    """The images, decoded; those that are broken are left out, which is said.

    Raises InputError where none can be read, or with `options.strict` where one is broken.
    """
    decoded = decode_files(root, images.files, image_format, progress)
    refuse_broken(root, decoded, options.strict)
    x, said = placed(decoded.x, options)
    of_image, names = np.asarray(images.parts)[decoded.rows], file_names(root, images.files)
    read = {}
    for part in ORDER:
        if part not in images.parts:
            continue
        own = np.flatnonzero(of_image == part)
        if not len(own):
            raise InputError(f"{root}: no readable image in its split {part}")
        chosen = slice(int(own[0]), int(own[-1]) + 1)  # images are ordered by part
        rows = decoded.rows[chosen]
        labels = None if images.labels is None else images.labels[rows]
        given = labels if labels is not None and is_labelled(labels).any() else None
        items = x.part(chosen) if isinstance(x, Stored) else x[chosen]
        read[part] = Split(items, given, images.rows[rows], names=names[rows])
    notes = (*decoded.notes, *said, *broken_notes(decoded))
    return Raw(name, str(root), read, images.classes, notes=notes, bits=decoded.bits, pixels=True)


def file_names(root: Path, files: Sequence[ImageSource]) -> np.ndarray:
    """The paths of files below `root` as printable texts (N,), in which whatever cannot be printed is escaped."""
    return np.array([printable(name_within(root, file)) for file in files], dtype=object)


def refuse_broken(root: Path, decoded: Decoded, strict: bool) -> None:
    """Raises InputError where files are broken and that is not allowed."""
    if strict and decoded.broken:
        raise InputError(f"{root}: {_broken_text(decoded)}; mend or remove them, or leave data.strict false")


def broken_notes(decoded: Decoded) -> list[str]:
    """The line that says which files were left out, if any."""
    return [f"left out {_broken_text(decoded)}"] if decoded.broken else []


def _broken_text(decoded: Decoded) -> str:
    count = len(decoded.broken)
    return f"{counted(count, 'broken file')}: " + first_few([f"{n} ({why})" for n, why in decoded.broken])


def first_few(names: Sequence[str], count: int = 5) -> str:
    """The first few of many names."""
    rest = len(names) - count
    return ", ".join(names[:count]) + (f" and {rest:,} more" if rest > 0 else "")
