"""What a case may take: memory, beyond which it is refused some, and how much it took."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

MOST_MEMORY = 2 * 2**30  # bytes that a case may take
MOST_SECONDS = 10.0  # of a processor, or of waiting while nothing is computed


def _status(key: str, pid: str = "self") -> int:
    """A number of bytes in /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0


class Memory:
    """Measures the most memory that a case takes, beside what the process has already."""

    def __init__(self) -> None:
        self.before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from here on

    @property
    def taken(self) -> int:
        return _status("VmHWM") - self.before


def confine() -> None:
    """Lets this process have so much address space more that a case cannot take the machine's memory."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + MOST_MEMORY + 2**30, hard))


def ends_with_parent() -> None:
    """Lets this process end with the one that started it, however that ends."""
    set_signal_of_parents_death = 1
    ctypes.CDLL(None).prctl(set_signal_of_parents_death, signal.SIGKILL)


def processor_seconds(pid: int) -> float:
    """Seconds that all threads of a process have computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sleeps(pid: int) -> bool:
    """Whether no thread of a process wants to compute."""
    stats = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    return all(text.rpartition(")")[2].split()[0] == "S" for text in stats)
