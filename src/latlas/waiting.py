"""How OpenMP's threads wait for each other: busily while the cores are theirs, asleep where other work needs them.

To wake a thread takes longer than a small product of matrices; one that is awake keeps others from running, among them
those that it waits for. GNU's OpenMP lets its threads sleep soon where it has more of them than there are cores. It is
told so here, by a team of threads that do nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from functools import cache
from pathlib import Path

import torch

PAUSE = 0.5  # seconds between two looks
BUSY, IDLE = (
    0.15,
    0.05,
)  # seconds kept from running, summed over threads, in a second; measured with two threads
SHORTEST, LONGEST = 2.0, 60.0  # seconds without other work, after which threads wait busily again
OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # of the environment: somebody's own choice
TASKS, MAPS = Path("/proc/self/task"), Path("/proc/self/maps")


def watch() -> None:
    """Lets threads of GNU's OpenMP sleep soon as long as other work needs their cores, from now on in this process.

    Models begin it. Does nothing with one thread, where the environment says how threads wait, and where the system
    does not say for how long they were kept from running.
    """
    if torch.get_num_threads() > 1:
        _begin()


@cache
def _begin() -> None:
    if not any(name in os.environ for name in OWN) and waited() is not None:
        with contextlib.suppress(RuntimeError):  # no more threads may be started
            threading.Thread(target=Watch().go_on, name="waiting", daemon=True).start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin.cache_clear)  # a child has none of these threads


def waited() -> float | None:
    """The seconds for which this process's threads could have run and had no core, summed; None where it is unknown."""
    ran = kept = 0
    with contextlib.suppress(OSError, ValueError):
        for task in TASKS.iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                times = (task / "schedstat").read_text().split()  # nanoseconds
                ran, kept = ran + int(times[0]), kept + int(times[1])
    return kept / 1e9 if ran else None


class Watch:
    """Decides how threads wait, by how long they were kept from running since the last look."""

    def __init__(self) -> None:
        self.quiet, self.wanted = 0.0, SHORTEST / 2
        self.team: threading.Event | None = None  # set: it ends

    def go_on(self) -> None:
        """Looks, until the process ends."""
        then, before = time.monotonic(), waited() or 0.0
        while True:
            time.sleep(PAUSE)
            now, total = time.monotonic(), waited() or 0.0
            with contextlib.suppress(RuntimeError):  # no more threads may be started
                self.look(total - before, min(now - then, 2 * PAUSE))  # the process may have been stopped
            then, before = now, total

    def look(self, kept: float, seconds: float) -> None:
        """Takes account of so many seconds during which threads were kept from running for `kept` seconds."""
        self.quiet = self.quiet + seconds if kept < IDLE * seconds else 0.0
        if self.team is None and kept > BUSY * seconds:
            # Threads of this process may be what the others wait for: each time it is tried again later.
            self.wanted = min(LONGEST, 2 * self.wanted)
            end = threading.Event()
            threading.Thread(target=_idle, args=(end,), name="waiting team", daemon=True).start()
            self.team = end
        elif self.team is not None and self.quiet >= self.wanted:
            self.team.set()
            self.team = None


def _idle(end: threading.Event) -> None:
    """Keeps a team of as many threads as there are cores in each of GNU's OpenMPs, until `end`.

    With two threads or more that compute they are more than the cores.
    """
    size = max(2, len(os.sched_getaffinity(0)))
    nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)  # free(NULL): each thread's part
    with contextlib.suppress(OSError, AttributeError):  # a library that was replaced meanwhile
        mapped = [line.split(maxsplit=5)[5] for line in MAPS.read_text().splitlines() if "/libgomp" in line]
        libraries = [ctypes.CDLL(path) for path in set(mapped)]
        if _room(size * len(libraries)):
            for library in libraries:
                library.GOMP_parallel(nothing, None, size, 0)
    end.wait()


def _room(threads: int) -> bool:
    """Whether so many threads may be started: where one of its own may not, OpenMP ends the process."""
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(threads):
            one = threading.Thread(target=end.wait, daemon=True)
            one.start()
            started.append(one)
    except RuntimeError:
        return False
    finally:
        end.set()
        for one in started:
            one.join()
    return True
