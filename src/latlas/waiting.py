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
BUSY, IDLE = 0.15, 0.05  # kept from running, summed over threads, as a share of the time
SHORTEST, LONGEST = 2.0, 60.0  # seconds without other work, after which threads wait busily again
OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # of the environment: somebody's own choice
TASKS = Path("/proc/self/task")


def watch() -> None:
    """Lets OpenMP's threads sleep soon as long as other work needs their cores, from now on in this process.

    Does nothing with one thread, where the environment says how threads wait, and where the system does not say for how
    long they were kept from running.
    """
    threads = torch.get_num_threads()
    if threads > 1 and (watching := _begun()) is not None:
        watching.threads = threads


@cache
def _begun() -> Watch | None:
    if any(name in os.environ for name in OWN) or kept() is None:
        return None
    watching = Watch()
    with contextlib.suppress(RuntimeError):  # no more threads may be started
        threading.Thread(target=watching.go_on, name="waiting", daemon=True).start()
    return watching


def kept() -> float | None:
    """The seconds for which this process's threads could have run and had no core, summed; None where it is unknown."""
    total = None
    with contextlib.suppress(OSError, ValueError, IndexError):
        for task in TASKS.iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                total = (total or 0.0) + int((task / "schedstat").read_text().split()[1]) / 1e9
    return total


class Watch:
    """Decides how the `threads` of an operation wait, by how long they were kept from running since the last look."""

    def __init__(self, threads: int = 2) -> None:
        self.threads = threads
        self.quiet, self.wanted = 0.0, SHORTEST / 2
        self.team: threading.Event | None = None  # set: it ends

    def go_on(self) -> None:
        """Looks, until the process ends."""
        then, before = time.monotonic(), kept() or 0.0
        while True:
            time.sleep(PAUSE)
            now, total = time.monotonic(), kept() or 0.0
            with contextlib.suppress(RuntimeError):  # no more threads may be started
                self.look(total - before, now - then)
            then, before = now, total

    def look(self, kept: float, seconds: float) -> None:
        """Takes account of so many seconds during which threads were kept from running for `kept` seconds."""
        self.quiet = self.quiet + seconds if kept < IDLE * seconds else 0.0
        if self.team is None and kept > BUSY * seconds:
            # Threads of this process may be what the others wait for; then trying again soon would cost more.
            self.wanted = min(LONGEST, 2 * self.wanted)
            # One more than there are cores, with those that compute; the thread that starts it is no new one.
            size, end = max(2, len(os.sched_getaffinity(0)) - self.threads + 2), threading.Event()
            threading.Thread(target=_idle, args=(size, end), name="waiting team", daemon=True).start()
            self.team = end
        elif self.team is not None and self.quiet >= self.wanted:
            self.team.set()
            self.team = None


def _idle(size: int, end: threading.Event) -> None:
    """Keeps a team of so many threads, this one among them, in each of GNU's OpenMPs, until `end`."""
    from threadpoolctl import threadpool_info

    nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)  # free(NULL): each thread's part
    for library in threadpool_info():
        if library["prefix"] == "libgomp":
            ctypes.CDLL(library["filepath"]).GOMP_parallel(nothing, None, size, 0)
    end.wait()
