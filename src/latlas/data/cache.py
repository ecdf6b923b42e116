"""Decodes many image files once, into a memory-mapped array in the cache folder, keyed by their content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latlas.data.catalogue import cache_home
from latlas.data.idx import shape_text
from latlas.data.image_files import decode, decode_pages
from latlas.data.image_plan import ImageFormat, Plan, Scale, parallel, plan_of
from latlas.data.image_source import ImageSource, is_encoded, name_within, opened
from latlas.data.room import refuse_array
from latlas.data.stored import Items, Stored, npy_file
from latlas.data.sums import is_whole, seal
from latlas.errors import InputError, LatlasError
from latlas.progress import OnProgress
from latlas.temporaries import temporary
from latlas.text import counted, printable

_VERSION = 4  # part of the key: raise it when decoding changes
SUMS, _FILES = "sums.json", ("images.npy", "about.json")


@dataclass(frozen=True)
class Decoded:
    """Images (N, H, W, C) uint8 or uint16 and their places in the list of files, `rows` (N,), repeated for each page;
    those of the cache are on disk.

    `broken` names the files left out, with the reason; `notes` are printable lines; white is 2^`bits` - 1, where it is
    known.
    """

    x: Items
    rows: np.ndarray
    broken: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    bits: int | None = 8


def decode_files(
    root: Path,
    files: Sequence[ImageSource],
    image_format: ImageFormat,
    progress: OnProgress | None = None,
    keep: bool = True,
) -> Decoded:
    """All images of a list of files under `root`, from the cache where their content was decoded before; pictures of
    Pillow are decoded already, and not kept there.

    Raises InputError where none can be read, for stacks unless `pages` says what to do with them, and for 16-bit values
    of no known scale beside others.
    """
    with warnings.catch_warnings():
        # Pillow warns of odd metadata and large pictures; what cannot be read is reported by name instead.
        warnings.simplefilter("ignore")
        if not (keep and all(map(is_encoded, files))):
            return _in_memory(plan_of(root, files, image_format, progress), (), progress)
        try:
            folder = cache_home() / "decoded" / _key(root, files, image_format, progress)
        except LatlasError as error:
            return _in_memory(
                plan_of(root, files, image_format, progress), (f"{error}: kept in memory",), progress
            )
        cached = _open(folder)
        if cached is not None:
            return cached
        damaged = folder.exists()
        plan = plan_of(root, files, image_format, progress)
        if damaged:
            note = f"the cache of decoded images in {folder} was damaged: made again"
            plan = replace(plan, notes=(*plan.notes, note))
        try:
            return _build(folder, plan, progress)
        except OSError as error:
            note = (
                f"the cache in {folder.parent} cannot be written ({error.strerror or error}): kept in memory"
            )
            return _in_memory(plan, (note,), progress)


def _key(
    root: Path, files: Sequence[ImageSource], image_format: ImageFormat, progress: OnProgress | None
) -> str:
    digest = hashlib.sha256(repr((_VERSION, astuple(image_format))).encode())
    sums = parallel(_file_sum, files, "checking files", progress)
    for file, file_sum in zip(files, sums, strict=True):
        digest.update(f"{name_within(root, file)}\0{file_sum}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _file_sum(source: ImageSource) -> str:
    try:
        with opened(source) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _pixels(
    plan: Plan, order: Sequence[int], progress: OnProgress | None
) -> Iterator[tuple[int, list[np.ndarray | str]]]:
    """Each file's number, in this order, with the pixels of its pages, or the reason why there are none.

    Raises InputError, once all are decoded, where it is not known what is white.
    """
    how = (plan.size, plan.image_format.resize, plan.grey)
    scale = Scale(plan)

    def one(i: int) -> list[np.ndarray | str]:
        try:
            file = plan.files[i]
            return list(decode_pages(file, *how)) if plan.takes_all_pages(i) else [decode(file, *how)]
        except InputError as error:
            return [str(error).removeprefix(f"{printable(file)}: ")]

    for i, results in zip(order, parallel(one, order, "decoding images", progress), strict=True):
        yield i, [r if isinstance(r, str) else scale(r, i) for r in results]
    scale.check()


def _build(folder: Path, plan: Plan, progress: OnProgress | None) -> Decoded:
    """Decodes into a temporary folder, and renames it once it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary(folder.parent, folder=True) as new:
        with (new / "images.npy").open("wb") as file:
            rows, broken = _write(file, plan, progress)
        _refuse_no_images(plan, rows, broken)
        about = {"rows": rows, "broken": broken, "notes": plan.notes, "bits": _bits(plan)}
        (new / "about.json").write_text(json.dumps(about), encoding="utf-8")
        seal(new / SUMS, [new / name for name in _FILES])
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    decoded = _open(folder)
    if decoded is None:
        raise OSError("what was written cannot be read back")
    return decoded


def _write(
    file: BinaryIO, plan: Plan, progress: OnProgress | None
) -> tuple[list[int], list[tuple[str, str]]]:
    """An .npy file of all readable images; their places in the list, and the broken files.

    They lie in it in a random order, the same for so many files: neighbours in a folder are alike, and what is read at
    once should not be. Written, not mapped: on a full disk a write raises where a mapped page would kill the process.
    """
    rows: list[int] = []
    broken: list[tuple[int, str]] = []
    start = _write_header(file, len(plan.files), plan)
    order = np.random.default_rng(0).permutation(len(plan.files)).tolist()
    for i, results in _pixels(plan, order, progress):
        for result in results:
            if isinstance(result, str):
                broken.append((i, result))
            else:
                rows.append(i)
                file.write(result.tobytes())
    file.seek(0)
    # NumPy leaves room in the header for any number of rows, so the count can be set afterwards.
    if _write_header(file, len(rows), plan) != start:
        raise OSError("the header of the array changed its length")
    file.flush()
    os.fsync(file.fileno())
    return rows, [
        (name_within(plan.root, plan.files[i]), why) for i, why in sorted(broken, key=itemgetter(0))
    ]


def _write_header(file: BinaryIO, count: int, plan: Plan) -> int:
    shape = (count, *plan.size, 1 if plan.grey else 3)
    np.lib.format.write_array_header_1_0(
        file, {"descr": plan.dtype.str, "fortran_order": False, "shape": shape}
    )
    return file.tell()


def _bits(plan: Plan) -> int | None:
    return None if plan.white is None else plan.white.bit_length()


def _open(folder: Path) -> Decoded | None:
    if not is_whole(folder / SUMS, [folder / name for name in _FILES]):
        return None
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        file = npy_file(folder / "images.npy")
        rows = np.asarray(about["rows"], dtype=np.int64)
        broken = tuple((str(name), str(why)) for name, why in about["broken"])
        if file is None or file.dtype not in (np.uint8, np.uint16):
            return None
        if len(file.shape) != 3 or file.count != len(rows):
            return None
        order = np.argsort(rows, kind="stable")  # pages of one file lie in their order
        return Decoded(
            Stored(file, order, shuffled=True), rows[order], broken, tuple(about["notes"]), about["bits"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _in_memory(plan: Plan, notes: tuple[str, ...], progress: OnProgress | None) -> Decoded:
    what = f"{counted(plan.count, 'image')} of {shape_text(plan.size)} once decoded"
    refuse_array(
        plan.count * plan.item_bytes, str(plan.root), what, "make room in the cache folder, or free memory"
    )
    every = range(len(plan.files))
    found = [(i, result) for i, results in _pixels(plan, every, progress) for result in results]
    broken = [(name_within(plan.root, plan.files[i]), r) for i, r in found if isinstance(r, str)]
    rows = [i for i, r in found if not isinstance(r, str)]
    _refuse_no_images(plan, rows, broken)
    x = np.stack([r for _, r in found if not isinstance(r, str)])
    return Decoded(x, np.asarray(rows), tuple(broken), (*plan.notes, *notes), _bits(plan))


def _refuse_no_images(plan: Plan, rows: Sequence[int], broken: Sequence[tuple[str, str]]) -> None:
    if rows:
        return
    if len(plan.files) == 1:
        raise InputError(f"{plan.files[0]}: {broken[0][1]}")
    first = ": ".join(broken[0])
    raise InputError(f"{plan.root}: none of {len(plan.files):,} image files can be read (first: {first})")
