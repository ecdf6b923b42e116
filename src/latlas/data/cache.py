"""Decodes many image files once, into a memory-mapped array in the cache folder, keyed by their content."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from latlas.data.catalogue import cache_home
from latlas.data.image_files import Header, decode, inspect
from latlas.errors import InputError
from latlas.progress import OnProgress
from latlas.text import printable

DEFAULT_SIZE = (64, 64)
LARGEST_OWN_SIZE = 256  # pixels; files that agree in a larger size are photographs, and get the default
_VERSION = 1  # part of the key: raise it when decoding changes
_DAY = 86_400.0
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class ImageFormat:
    """What images are decoded to: `size` (height, width), None for the files' own; `grey`, None for grey if all are."""

    size: tuple[int, int] | None = None
    resize: str = "crop"
    grey: bool | None = None


@dataclass(frozen=True)
class Decoded:
    """Images (N, H, W, C) uint8 and their places in the list of files, `rows` (N,).

    `broken` names the files left out, with the reason; `notes` are printable lines.
    """

    x: np.ndarray
    rows: np.ndarray
    broken: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Plan:
    """The size and colour that a list of files is decoded to."""

    root: Path
    files: Sequence[Path]
    size: tuple[int, int]
    resize: str
    grey: bool
    notes: tuple[str, ...]


def decode_files(
    root: Path, files: Sequence[Path], image_format: ImageFormat, progress: OnProgress | None = None
) -> Decoded:
    """All images of a list of files under `root`, from the cache where their content was decoded before.

    Raises InputError where none can be read.
    """
    with warnings.catch_warnings():
        # Pillow warns of odd metadata and large pictures; what cannot be read is reported by name instead.
        warnings.simplefilter("ignore")
        folder = cache_home() / "decoded" / _key(root, files, image_format, progress)
        cached = _open(folder)
        if cached is not None:
            return cached
        plan = _plan(root, files, image_format, progress)
        try:
            return _build(folder, plan, progress)
        except OSError as error:
            note = (
                f"the cache in {folder.parent} cannot be written ({error.strerror or error}): kept in memory"
            )
            return _in_memory(plan, note, progress)


def parallel(
    function: Callable[[_T], _R], items: Sequence[_T], what: str, progress: OnProgress | None
) -> Iterator[_R]:
    """`function` of each item, in order, from a pool of threads."""
    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        for done, result in enumerate(pool.map(function, items), 1):
            yield result
            if progress is not None and (done % 64 == 0 or done == len(items)):
                progress(what, done, len(items))
    finally:
        pool.shutdown(cancel_futures=True)


def _key(root: Path, files: Sequence[Path], image_format: ImageFormat, progress: OnProgress | None) -> str:
    parts = (_VERSION, image_format.size, image_format.resize, image_format.grey)
    digest = hashlib.sha256(repr(parts).encode())
    sums = parallel(_file_sum, files, "checking files", progress)
    for path, file_sum in zip(files, sums, strict=True):
        digest.update(f"{path.relative_to(root).as_posix()}\0{file_sum}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _file_sum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _plan(root: Path, files: Sequence[Path], image_format: ImageFormat, progress: OnProgress | None) -> _Plan:
    if image_format.size is not None and image_format.grey is not None:
        return _Plan(root, files, image_format.size, image_format.resize, image_format.grey, ())
    headers = [h for h in parallel(_header, files, "reading sizes", progress) if h is not None]
    sizes = {(h.height, h.width) for h in headers}
    size = image_format.size
    if size is None:
        alike = len(sizes) == 1 and max(min(sizes)) <= LARGEST_OWN_SIZE
        size = min(sizes) if alike else DEFAULT_SIZE
    notes = [_size_note(size, sizes, image_format)]
    grey = image_format.grey
    if grey is None:
        grey = bool(headers) and all(h.grey for h in headers)
        notes.append("grey, as every file is" if grey else "RGB, as some files have colours")
    return _Plan(root, files, size, image_format.resize, grey, tuple(notes))


def _header(path: Path) -> Header | None:
    try:
        return inspect(path)
    except InputError:
        return None


def _size_note(size: tuple[int, int], file_sizes: set[tuple[int, int]], image_format: ImageFormat) -> str:
    if file_sizes == {size}:
        return f"images of {size[0]}x{size[1]}, as the files are"
    how = "short side, then centre crop" if image_format.resize == "crop" else "squashed"
    one_size = "x".join(map(str, min(file_sizes, default=size)))
    originals = f"{len(file_sizes)} sizes" if len(file_sizes) > 1 else one_size
    hint = "" if image_format.size is not None else "; data.image_size = HxW to choose"
    return f"images resized to {size[0]}x{size[1]} ({how}; files of {originals}{hint})"


def _pixels(plan: _Plan, progress: OnProgress | None) -> Iterator[np.ndarray | str]:
    """Each file's pixels, or the reason why there are none."""

    def one(path: Path) -> np.ndarray | str:
        try:
            return decode(path, plan.size, plan.resize, plan.grey)
        except InputError as error:
            return str(error).removeprefix(f"{printable(path)}: ")

    return parallel(one, plan.files, "decoding images", progress)


def _build(folder: Path, plan: _Plan, progress: OnProgress | None) -> Decoded:
    """Decodes into a temporary folder, and renames it once it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent, "*.tmp-*")
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        with (temporary / "images.npy").open("wb") as file:
            rows, broken = _write(file, plan, progress)
        _refuse_no_images(plan, rows, broken)
        about = {"rows": rows, "broken": broken, "notes": plan.notes}
        (temporary / "about.json").write_text(json.dumps(about), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    decoded = _open(folder)
    if decoded is None:
        raise OSError("what was written cannot be read back")
    return decoded


def _write(
    file: BinaryIO, plan: _Plan, progress: OnProgress | None
) -> tuple[list[int], list[tuple[str, str]]]:
    """An .npy file of all readable images; their places in the list, and the broken files.

    Written, not mapped: on a full disk a write raises where a mapped page would kill the process.
    """
    rows: list[int] = []
    broken: list[tuple[str, str]] = []
    start = _write_header(file, len(plan.files), plan)
    for i, result in enumerate(_pixels(plan, progress)):
        if isinstance(result, str):
            broken.append((plan.files[i].relative_to(plan.root).as_posix(), result))
        else:
            rows.append(i)
            file.write(result.tobytes())
    file.seek(0)
    # NumPy leaves room in the header for any number of rows, so the count can be set afterwards.
    if _write_header(file, len(rows), plan) != start:
        raise OSError("the header of the array changed its length")
    file.flush()
    os.fsync(file.fileno())
    return rows, broken


def _write_header(file: BinaryIO, count: int, plan: _Plan) -> int:
    shape = (count, *plan.size, 1 if plan.grey else 3)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.tell()


def sweep(parent: Path, pattern: str) -> None:
    """Removes folders that a killed process left incomplete more than a day ago."""
    for folder in parent.glob(pattern):
        if time.time() - folder.stat().st_mtime > _DAY:
            shutil.rmtree(folder, ignore_errors=True)


def _open(folder: Path) -> Decoded | None:
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        # Copy-on-write: pages come from the file, and the array counts as writable, as torch wants it.
        x = np.load(folder / "images.npy", mmap_mode="c", allow_pickle=False)
        rows = np.asarray(about["rows"], dtype=np.int64)
        broken = tuple((str(name), str(why)) for name, why in about["broken"])
        if x.dtype != np.uint8 or x.ndim != 4 or len(x) != len(rows):
            return None
        return Decoded(np.asarray(x), rows, broken, tuple(about["notes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _in_memory(plan: _Plan, note: str, progress: OnProgress | None) -> Decoded:
    results = list(_pixels(plan, progress))
    names = [p.relative_to(plan.root).as_posix() for p in plan.files]
    broken = [(name, r) for name, r in zip(names, results, strict=True) if isinstance(r, str)]
    rows = [i for i, r in enumerate(results) if not isinstance(r, str)]
    _refuse_no_images(plan, rows, broken)
    x = np.stack([r for r in results if not isinstance(r, str)])
    return Decoded(x, np.asarray(rows), tuple(broken), (*plan.notes, note))


def _refuse_no_images(plan: _Plan, rows: Sequence[int], broken: Sequence[tuple[str, str]]) -> None:
    if not rows:
        first = ": ".join(broken[0])
        raise InputError(f"{plan.root}: none of {len(broken):,} image files can be read (first: {first})")
