"""How much memory there is, and whether data are held in it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from latlas.data.options import DataOptions
from latlas.data.stored import Items, Stored
from latlas.errors import InputError, LatlasError
from latlas.text import size

# Reading, splitting and scaling hold data up to two and a half times.
LARGEST_SHARE = 0.4
HELD = 2  # times that data are in memory at the least while they are split
SMALL = 2**22  # bytes for which nobody asks
AS_NPY = "free memory, or save it as an .npy or Parquet file, which stay on disk"
_SHORTAGES = ("can't allocate memory", "out of memory", "Storage size calculation overflowed")
_GROUPS = Path("/sys/fs/cgroup")  # control groups, of version 2 and of version 1
_FILES = {"0": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}


def total_memory() -> float:
    """Bytes of memory of this machine, without end where it does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def free_memory() -> float:
    """Bytes of memory that this process may still take: of the machine, of its control group and of its own limit."""
    free = total_memory()
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        free = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return min([free, _left_to_process(), *_left_by_groups()])


def _left_to_process() -> float:
    """What the limit of this process's address space (ulimit -v) leaves."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
            return max(0.0, most - pages * os.sysconf("SC_PAGE_SIZE"))
    return float("inf")


def _left_by_groups() -> list[float]:
    """What the limits of this process's control group, and of those above it, leave."""
    left: list[float] = []
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
            number, kinds, own = line.split(":", 2)
            version = "memory" if "memory" in kinds.split(",") else number
            if version not in _FILES:
                continue
            root = _GROUPS / "memory" if version == "memory" else _GROUPS
            folder = root / own.lstrip("/")
            for group in (folder, *(above for above in folder.parents if above.is_relative_to(root))):
                with contextlib.suppress(OSError, ValueError):
                    left.append(_left(group, *_FILES[version]))
    return left


def _left(group: Path, limit: str, used: str) -> float:
    """What the limit of a control group leaves; cached files in it give way.

    Raises OSError and ValueError where it has none.
    """
    most = float((group / limit).read_text("ascii"))
    stat = dict(line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
    cached = sum(float(stat.get(name, 0)) for name in ("active_file", "inactive_file"))
    return max(0.0, most - max(0.0, float((group / used).read_text("ascii")) - cached))


def refuse_beyond_room(
    needed: float, where: str, what: str, advice: str, *, field: str = "", value: object = None
) -> None:
    """Raises InputError where more bytes are needed than are free: `where` declares `what`, and `advice` mends it."""
    if needed <= SMALL:
        return
    free = free_memory()
    if needed > free:
        place = f"{where}: " if where else ""
        raise InputError(
            f"{place}{what}: {size(needed)} of memory are needed, and {size(free)} are free; {advice}",
            field=field,
            value=value,
        )


def refuse_array(nbytes: float, where: str, what: str, advice: str = AS_NPY) -> None:
    """Raises InputError for data of so many bytes, to be held in memory, for which there is no room."""
    refuse_beyond_room(HELD * nbytes, where, what, advice)


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch says it by RuntimeError."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SHORTAGES)


@contextlib.contextmanager
def within_memory(what: str, advice: str, field: str = "") -> Iterator[None]:
    """Turns memory that ran out into an error of one line: `what` does not fit, and `advice` mends it.

    Raises InputError where it names the `field` to change, else LatlasError: it may go well another time.
    """
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        line = f"{what} does not fit into memory, of which {size(free_memory())} are free: {advice}"
        raise (InputError(line, field=field) if field else LatlasError(line)) from None


def stays_on_disk(needed: float, options: DataOptions) -> bool:
    """Whether data of so many bytes are read in windows: as `data.memory` says, or where little memory is free."""
    if options.memory == "auto":
        return needed > LARGEST_SHARE * free_memory()
    return options.memory == "windows"


def windows_notes(x: Stored, options: DataOptions) -> list[str]:
    """Lines that say that data stay on disk, and why."""
    cause = "data.memory = windows"
    if options.memory != "windows":
        cause = f"{size(free_memory())} of memory are free"
    return [
        f"data stay on disk and are read in windows ({size(x.nbytes)}, {cause})",
        *filter(None, [x.file.note]),
    ]


def placed(x: Items, options: DataOptions) -> tuple[Items, list[str]]:
    """Items on disk, left there with a note, or in memory, as `stays_on_disk` decides."""
    if isinstance(x, Stored) and stays_on_disk(x.nbytes, options):
        return x, windows_notes(x, options)
    return np.asarray(x), []
