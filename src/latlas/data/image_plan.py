"""What a list of image files is decoded to, from their headers: size, colour, scale and pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from typing import TypeVar

import numpy as np

from latlas.data.idx import shape_text
from latlas.data.image_files import Header, inspect
from latlas.data.image_source import ImageSource, name_within
from latlas.data.room import refuse_beyond_room
from latlas.errors import InputError
from latlas.progress import OnProgress
from latlas.text import counted

DEFAULT_SIZE = (64, 64)
LARGEST_OWN_SIZE = 256  # pixels; files that agree in a larger size are photographs, and get the default
_WHITE_8, _WHITE_16 = 255, 65535
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class ImageFormat:
    """What images are decoded to: `size` (height, width), None for the files' own; `grey`, None for grey if all are.

    `pages`: `first` or `all` of each file; `stack`, all of a stack and the first of an animation; None, the first of an
    animation, and stacks are refused. `bits` are those of 16-bit values whose files do not say them. `white` is the
    value that a trained model takes for white, None for the files' own.
    """

    size: tuple[int, int] | None = None
    resize: str = "crop"
    grey: bool | None = None
    pages: str | None = None
    bits: int | None = None
    white: int | None = None


@dataclass(frozen=True)
class Plan:
    """The size, colour and scale that a list of files is decoded to; `headers` are None for files that have none.

    `white` is the value of white in what is decoded, None where the values alone can tell.
    """

    root: Path
    files: Sequence[ImageSource]
    headers: Sequence[Header | None]
    image_format: ImageFormat
    size: tuple[int, int]
    grey: bool
    white: int | None
    notes: tuple[str, ...]

    @property
    def dtype(self) -> np.dtype:
        """Of what is decoded."""
        return np.dtype(np.uint8 if self.white == _WHITE_8 else np.uint16)

    @property
    def item_bytes(self) -> int:
        """Of one item, once decoded."""
        return math.prod(self.size) * (1 if self.grey else 3) * self.dtype.itemsize

    @property
    def count(self) -> int:
        """How many items there are if none is broken."""
        return sum(self.pages(i) for i in range(len(self.files)))

    def pages(self, i: int) -> int:
        """How many items a file gives."""
        header = self.headers[i]
        return header.pages if header is not None and self.takes_all_pages(i) else 1

    def takes_all_pages(self, i: int) -> bool:
        """Whether every page or frame of a file is an item."""
        header, pages = self.headers[i], self.image_format.pages
        return header is not None and (pages == "all" or (pages == "stack" and header.stack))


def plan_of(
    root: Path, files: Sequence[ImageSource], image_format: ImageFormat, progress: OnProgress | None = None
) -> Plan:
    """The plan for a list of files.

    Raises InputError for stacks, unless `pages` says what to do with them.
    """
    headers = list(parallel(_header, files, "reading headers", progress))
    known = [h for h in headers if h is not None]
    _refuse_stacks(files, headers, image_format)
    sizes = {(h.height, h.width) for h in known}
    size, grey = image_format.size, image_format.grey
    notes = []
    if size is None:
        alike = len(sizes) == 1 and max(min(sizes)) <= LARGEST_OWN_SIZE
        size = min(sizes) if alike else DEFAULT_SIZE
    if image_format.size is None or grey is None:
        notes.append(_size_note(size, sizes, image_format))
    if grey is None:
        grey = bool(known) and all(h.grey for h in known)
        notes.append("grey, as every file is" if grey else "RGB, as some files have colours")
    white = _white(known, image_format) if image_format.white is None else image_format.white
    notes += _left_out(known, image_format)
    if white == _WHITE_8 and any(h.bits != 8 for h in known):
        notes.append(f"{_files([h for h in known if h.bits != 8])} of more than 8 bits reduced to 8")
    notes += fitted(known, image_format)
    plan = Plan(root, files, headers, image_format, size, grey, white, tuple(notes))
    _refuse_large_items(plan)
    return plan


def _refuse_large_items(plan: Plan) -> None:
    """Raises InputError where the items of one file, which are in memory at once, do not fit there."""
    if not plan.files:
        return
    most = max(range(len(plan.files)), key=plan.pages)
    several = plan.pages(most) > 1
    refuse_beyond_room(
        plan.pages(most) * plan.item_bytes * 2,
        str(plan.files[most]),
        f"{counted(plan.pages(most), 'image')} of {shape_text(plan.size)}",
        "take the first alone" if several else "take smaller ones",
        field="data.pages" if several else "data.image_size",
    )


def fitted(headers: Sequence[Header], image_format: ImageFormat, what: str = "image file") -> list[str]:
    """Lines on how many files are resized, and made grey or RGB, to fit a trained model, which alone says `grey`."""
    size, grey, total = image_format.size, image_format.grey, len(headers)
    if size is None or grey is None:
        return []
    notes, resized = [], sum((h.height, h.width) != size for h in headers)
    if resized:
        how = "resized (short side, then centre crop)" if image_format.resize == "crop" else "squashed"
        notes.append(
            f"{resized:,} of {counted(total, what)} {how} to {shape_text(size)}, the size that the model takes"
        )
    if recoloured := sum(h.grey != grey for h in headers):
        colour = "made grey" if grey else "in grey taken as RGB"
        notes.append(f"{recoloured:,} of {counted(total, what)} {colour}, as the model takes them")
    return notes


def parallel(
    function: Callable[[_T], _R], items: Sequence[_T], what: str, progress: OnProgress | None
) -> Iterator[_R]:
    """`function` of each item, in order, from a pool of threads."""
    pool = ThreadPoolExecutor(min(16, cpu_count() or 1))
    try:
        for done, result in enumerate(pool.map(function, items), 1):
            yield result
            if progress is not None and (done % 64 == 0 or done == len(items)):
                progress(what, done, len(items))
    finally:
        pool.shutdown(cancel_futures=True)


def _header(file: ImageSource) -> Header | None:
    try:
        return inspect(file)
    except InputError:
        return None


def _refuse_stacks(
    files: Sequence[ImageSource], headers: Sequence[Header | None], image_format: ImageFormat
) -> None:
    if image_format.pages is not None:
        return
    stacks = [(f, h.pages) for f, h in zip(files, headers, strict=True) if h is not None and h.stack]
    if stacks:
        path, pages = stacks[0]
        others = len(stacks) - 1
        more = (
            f", and {counted(others, 'more file')} {'has' if others == 1 else 'have'} several"
            if len(stacks) > 1
            else ""
        )
        raise InputError(
            f"{path} is a stack of {counted(pages, 'page')}{more}; say all (every page is an item) or first",
            field="data.pages",
        )


def _white(known: Sequence[Header], image_format: ImageFormat) -> int | None:
    depths = {h.bits for h in known}
    if image_format.bits is not None and None not in depths:
        raise InputError(
            "no image file here has 16 bits without a known scale; leave it out",
            field="data.bits",
            value=image_format.bits,
        )
    if depths == {None}:
        # What 0 is the opposite of has to be known now.
        return 2 ** (image_format.bits or 16) - 1 if any(h.inverted for h in known) else None
    only = depths.pop() if len(depths) == 1 else None
    return 2**only - 1 if only is not None else _WHITE_8


def _size_note(size: tuple[int, int], file_sizes: set[tuple[int, int]], image_format: ImageFormat) -> str:
    if file_sizes == {size}:
        return f"images of {size[0]}x{size[1]}, as the files are"
    how = "short side, then centre crop" if image_format.resize == "crop" else "squashed"
    one_size = "x".join(map(str, min(file_sizes, default=size)))
    originals = f"{len(file_sizes)} sizes" if len(file_sizes) > 1 else one_size
    hint = "" if image_format.size is not None else "; data.image_size = HxW to choose"
    return f"images resized to {size[0]}x{size[1]} ({how}; files of {originals}{hint})"


def _left_out(known: Sequence[Header], image_format: ImageFormat) -> list[str]:
    """What of the files is no item or no colour, in a line each."""
    several = [h for h in known if h.pages > 1]
    notes = []
    if several and image_format.pages == "all":
        pages = sum(h.pages for h in several)
        notes.append(
            f"{pages:,} pages of {_files(several)}, each an item; pages of one file may come into different splits"
        )
    elif several and image_format.pages != "stack":
        notes.append(f"the first of several pages or frames in {_files(several)}")
    bands = [h for h in known if h.extra]
    if bands:
        notes.append(f"bands beyond colour and alpha, as infrared, left out in {_files(bands)}")
    return notes


def _files(headers: Sequence[Header]) -> str:
    return counted(len(headers), "file")


@dataclass
class Scale:
    """Brings decoded values onto the scale of a plan, and keeps the greatest one whose white is taken for granted."""

    plan: Plan
    doubtful: int | None = None
    first: str = ""

    def __call__(self, values: np.ndarray, i: int) -> np.ndarray | str:
        """The values of file i (H, W, C) on the plan's scale, or why they cannot be there."""
        plan, header = self.plan, self.plan.headers[i]
        if values.dtype == np.uint8:
            white: int | None = _WHITE_8
        else:
            white = 2**header.bits - 1 if header is not None and header.bits not in (None, 8) else None
        if plan.white is None:
            return values if white is None else "not of 16 bits, as other pages and files are"
        if white is None:
            inverted = header is not None and header.inverted
            stored = _WHITE_16 - values if inverted else values
            white = self._assumed(int(stored.max()), i)
            if stored.max() > white and (inverted or white != plan.white):
                return f"values up to {stored.max():,}, more than the {white.bit_length()} bits of the others"
            values = white - stored if inverted else values
        if white == plan.white:
            return values.astype(plan.dtype, copy=False)
        return ((values.astype(np.uint64) * plan.white + white // 2) // white).astype(plan.dtype)

    def _assumed(self, top: int, i: int) -> int:
        """White where a file does not say it: by the setting, by the trained model, or else of all 16 bits."""
        plan = self.plan
        if plan.image_format.bits is not None:
            return 2**plan.image_format.bits - 1
        if plan.image_format.white is not None and plan.image_format.white > _WHITE_8:
            return plan.image_format.white
        if self.doubtful is None or top > self.doubtful:
            self.doubtful, self.first = top, name_within(plan.root, plan.files[i])
        return _WHITE_16

    def check(self) -> None:
        """Raises InputError where 16-bit values may have fewer bits: their images would be near black."""
        if self.doubtful is None or self.doubtful > _WHITE_16 // 2:
            return
        plan = self.plan
        inverted = any(h is not None and h.inverted for h in plan.headers)
        others = "0 is white" if inverted else "others have 8"
        others = "the model was trained on 8 bits" if plan.image_format.white is not None else others
        raise InputError(
            f"{plan.root}: 16-bit files with values up to {self.doubtful:,} only (as {self.first}), and {others}: what"
            " the largest value would be is not known; save them with 8 bits, or set data.bits (12: up to 4,095)"
        )
