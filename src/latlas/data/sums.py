"""Whether files in the cache are what was written there: a checksum of each, taken again where a file has changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

_SETTLED = 2_000_000_000  # nanoseconds: a file may change twice within what a file system calls one moment


def seal(record: Path, files: Sequence[Path]) -> None:
    """Writes down the checksums of files that are complete, in a file beside them or their folder."""
    record.write_text(json.dumps({_name(record, file): _sum(file) for file in files}), encoding="utf-8")


def is_whole(record: Path, files: Sequence[Path]) -> bool:
    """Whether all files are as they were sealed.

    They are read again where their size, time, inode or record is another than when they were last read: reading takes
    a second for each gigabyte, and what changes a file also changes its time of change, which nobody can set.
    """
    seen = record.with_suffix(".seen")
    try:
        sums = json.loads(record.read_bytes())
        now = [_identity(file) for file in (*files, record)]
        if set(sums) != {_name(record, file) for file in files}:
            return False
        with contextlib.suppress(OSError, ValueError, RecursionError):
            if json.loads(seen.read_bytes()) == now:
                return True
        if any(_sum(file) != sums[_name(record, file)] for file in files):
            return False
    except (OSError, ValueError, TypeError, RecursionError):
        return False
    if time.time_ns() - max(identity[2] for identity in now) > _SETTLED:
        with contextlib.suppress(OSError):
            seen.write_text(json.dumps(now), encoding="utf-8")
    return True


def _name(record: Path, file: Path) -> str:
    return file.relative_to(record.parent).as_posix()


def _sum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "blake2b").hexdigest()


def _identity(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
