"""How much memory there is, and whether data are held in it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from latlas.data.options import DataOptions
from latlas.text import size

# Reading, splitting and scaling hold data up to two and a half times.
LARGEST_SHARE = 0.4
_CGROUPS = Path("/sys/fs/cgroup")


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
    """What the limits of this process's control group, and of those above it, leave (version 2)."""
    left: list[float] = []
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/self/cgroup").read_text("ascii").splitlines()
        own = next((line[3:] for line in lines if line.startswith("0::")), "")
        folder = _CGROUPS / own.lstrip("/")
        for group in (folder, *folder.parents):
            if group != _CGROUPS and _CGROUPS not in group.parents:
                break
            with contextlib.suppress(OSError, ValueError):
                most = float((group / "memory.max").read_text("ascii"))  # a ValueError where it is "max"
                left.append(max(0.0, most - float((group / "memory.current").read_text("ascii"))))
    return left


def stays_on_disk(needed: float, options: DataOptions) -> bool:
    """Whether data of so many bytes are read in windows: as `data.memory` says, or where little memory is free."""
    if options.memory == "auto":
        return needed > LARGEST_SHARE * free_memory()
    return options.memory == "windows"


def why(needed: float, options: DataOptions) -> str:
    """A few words on why data stay on disk."""
    if options.memory == "windows":
        return f"{size(needed)}, data.memory = windows"
    return f"{size(needed)}, and {size(free_memory())} of memory are free"
