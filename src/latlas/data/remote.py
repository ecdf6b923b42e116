"""Sources elsewhere, by an address that fsspec opens (https://, s3://, gs://, hdfs://): copied to the cache once."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from latlas.data.catalogue import cache_home
from latlas.data.sums import is_whole, seal
from latlas.errors import InputError, LatlasError
from latlas.progress import SILENT, OnProgress
from latlas.temporaries import temporary
from latlas.text import size

_BLOCK = 4 * 2**20  # bytes that are copied at once
_SUMS = ".sums.json"  # beside the copy: the checksums of its files
_FOLDER = (".parquet", ".pq")  # the files of a folder that are taken


def is_address(source: str) -> bool:
    """Whether a source is an address, and no path on this machine."""
    scheme = source.partition("://")[0]
    return "://" in source and scheme.replace("+", "").isalnum() and scheme != "file"


def fetched(address: str, progress: OnProgress | None = None) -> Path:
    """The copy of a file, or of a folder of Parquet files, from the cache where that copy is up to date and undamaged.

    Raises InputError for an address that cannot be read, LatlasError where the copy cannot be written.
    """
    system, path, sizes, marks = _looked_up(address)
    key = hashlib.sha256(repr((address, sizes, marks)).encode()).hexdigest()[:32]
    folder = cache_home() / "remote" / key
    name = PurePosixPath(path.rstrip("/")).name or "data"
    if is_whole(folder / _SUMS, _files(folder / name)):
        return folder / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        free, needed = shutil.disk_usage(folder.parent).free, sum(sizes.values())
        if needed > free:
            raise LatlasError(
                f"{address}: {size(needed)}, and {size(free)} are free in {folder.parent}; make room there"
            )
        with temporary(folder.parent, folder=True) as new:
            done = 0
            for file in sizes:
                local = new / name if file == path else new / name / _below(path, file)
                local.parent.mkdir(parents=True, exist_ok=True)
                done = _copy(system, file, local, (done, needed), progress)
            seal(new / _SUMS, _files(new / name))
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
    except LatlasError:
        raise
    except Exception as error:  # file systems of others raise anything
        raise LatlasError(f"{address}: cannot be copied to {folder.parent}: {_said(error)}") from None
    return folder / name


def _files(copy: Path) -> list[Path]:
    """The files of a copy, which is one or a folder of them."""
    return [copy] if copy.is_file() else sorted(path for path in copy.rglob("*") if path.is_file())


def _below(path: str, file: str) -> PurePosixPath:
    """Where a file lies in a folder.

    Raises InputError for one that does not: a server names its files as it likes.
    """
    below = PurePosixPath(file[len(path) :].lstrip("/"))
    if ".." in below.parts:
        raise InputError(f"{path}: lists {file!r}, which does not lie in it")
    return below


def _looked_up(address: str) -> tuple[Any, str, dict[str, int], list[str]]:
    """The file system, the path in it, the size of each file that is wanted, and what marks their state.

    Raises InputError where there is nothing, or no package to look with.
    """
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address)
        if not system.exists(path):
            raise InputError(f"{address}: not found")
        files = [path]
        if system.isdir(path):
            files = sorted(file for file in system.find(path) if file.endswith(_FOLDER))
        sizes = {file: int(system.size(file) or 0) for file in files}
        marks = [str(system.ukey(file)) for file in files]
    except InputError:
        raise
    except Exception as error:  # file systems of others raise anything
        raise InputError(f"{address}: cannot be read: {_said(error)}") from None
    if not files:
        raise InputError(f"{address}: no Parquet files in this folder")
    return system, path, sizes, marks


def _copy(system: Any, file: str, local: Path, done: tuple[int, int], progress: OnProgress | None) -> int:
    """Copies a file; gives the bytes that are there so far, of `done`, before it and in all."""
    count, total = done
    with system.open(file, "rb") as source, local.open("wb") as target:
        while block := source.read(_BLOCK):
            target.write(block)
            count += len(block)
            (progress or SILENT.progress)("copying to the cache", count, max(total, count))
    return count


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
