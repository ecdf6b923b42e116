"""How much memory there is, and whether data are held in it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np

from latlas.data.options import DataOptions
from latlas.data.stored import Items, Stored
from latlas.text import size

# Reading, splitting and scaling hold data up to two and a half times.
LARGEST_SHARE = 0.4
_GROUPS = Path("/sys/fs/cgroup")  # control groups, of version 2 and of version 1
_FILES = {"0": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}


def total_memory() -> float:
    """Bytes of memory of this machine, without end where it does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def free_memory() -> float:
    """Bytes of memory that this process may still take, of the machine and of its control group."""
    free = total_memory()
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        free = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return min([free, *_left_by_groups()])


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


def stays_on_disk(needed: float, options: DataOptions) -> bool:
    """Whether data of so many bytes are read in windows: as `data.memory` says, or where little memory is free."""
    if options.memory == "auto":
        return needed > LARGEST_SHARE * free_memory()
    return options.memory == "windows"


def windows_note(needed: float, options: DataOptions) -> str:
    """A line that says that data stay on disk, and why."""
    cause = "data.memory = windows"
    if options.memory != "windows":
        cause = f"{size(free_memory())} of memory are free"
    return f"data stay on disk and are read in windows ({size(needed)}, {cause})"


def placed(x: Items, options: DataOptions) -> tuple[Items, list[str]]:
    """Items on disk, left there with a note, or in memory, as `stays_on_disk` decides."""
    if isinstance(x, Stored) and stays_on_disk(x.nbytes, options):
        return x, [windows_note(x.nbytes, options)]
    return np.asarray(x), []
