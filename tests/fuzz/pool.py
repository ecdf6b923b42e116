"""Cases in worker processes that are watched: one that crashes, hangs or takes too much is ended and started again."""

from __future__ import annotations

import faulthandler
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from .limits import MOST_SECONDS, ends_with_parent, processor_seconds, sleeps
from .originals import Originals
from .trial import Kind, Said, Verdict, run_case

MOST_CASES = 1500  # of one process, as memory is lost to fragments
LOOK = 0.2  # seconds between two looks at the workers

Todo = tuple[str, int]


@dataclass
class Worker:
    """A process, the pipe to it, and the case that it has, with the processor time and the clock at its start."""

    process: Any
    pipe: Connection
    place: Path
    case: Todo | None = None
    computed: float = 0.0
    waited: float = 0.0
    looked: float = 0.0
    done: int = 0


def _warm() -> None:
    """Imports what cases use, so that workers have it when they begin."""
    import pyarrow.parquet
    import tifffile
    import typer.main

    import latlas.api
    import latlas.cli
    import latlas.explorer.server
    import latlas.sklearn
    import latlas.studies.execute
    from latlas.gallery import FIGURES

    made = typer.main.get_command(latlas.cli.app)
    typer.main.get_command = lambda app: made  # it takes 60 ms each time
    assert FIGURES
    assert pyarrow.parquet
    assert tifffile


def _work(pipe: Connection, place: Path, kinds: Mapping[str, Kind], seed: int, originals: Originals) -> None:
    """Carries out the cases that come through the pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ends_with_parent()
    handles = []
    for stream in (1, 2):
        handle = os.open(f"{place}.{stream}", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, stream)
        handles.append(stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    faulthandler.enable(2)
    faulthandler.register(signal.SIGUSR1, 2)
    said = Said((handles[0], handles[1]))
    while True:
        try:
            kind, number = pipe.recv()
        except EOFError:
            os._exit(0)
        started = time.process_time()
        try:
            verdict = run_case(kinds, kind, number, seed, place, originals, said).to_dict()
        except BaseException as error:  # a fault of the fuzzer's own
            import traceback

            verdict = Verdict(
                kind,
                number,
                "exception",
                message=f"the fuzzer itself: {error!r}"[:500],
                place="fuzzer",
                trace=traceback.format_exc(),
            ).to_dict()
        pipe.send(verdict | {"seconds": time.process_time() - started})


class Pool:
    """Worker processes for cases; `carried_out` gives the verdicts as they come."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        seed: int,
        jobs: int,
        originals: Originals,
        warm: Callable[[], None] = _warm,
    ) -> None:
        self.kinds, self.seed, self.jobs, self.originals = kinds, seed, jobs, originals
        shared = Path("/dev/shm")
        self.folder = Path(
            tempfile.mkdtemp(prefix="latlas-fuzz-", dir=shared if os.access(shared, os.W_OK) else None)
        )
        self.workers: list[Worker] = []
        self.started = 0
        warm()

    def close(self) -> None:
        """Ends the workers and removes their folders."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> Worker:
        context = get_context("fork")
        here, there = context.Pipe()
        self.started += 1
        place = self.folder / f"w{self.started}"
        process = context.Process(
            target=_work, args=(there, place, self.kinds, self.seed, self.originals), daemon=True
        )
        process.start()
        there.close()
        return Worker(process, here, place)

    def carried_out(self, cases: Iterable[Todo], each: Callable[[Verdict, Path], None]) -> None:
        """Carries out the cases; `each` gets a verdict and the folder in which the case's files still lie."""
        todo = deque(cases)
        self.workers = [self._start() for _ in range(min(self.jobs, len(todo)))]
        for worker in self.workers:
            self._next(worker, todo)
        while any(worker.case for worker in self.workers):
            ready = wait([worker.pipe for worker in self.workers if worker.case], LOOK)
            for worker in list(self.workers):
                if worker.case is None:
                    continue
                verdict = self._answer(worker) if worker.pipe in ready else self._late(worker)
                if verdict is None:
                    continue
                each(verdict, worker.place)
                worker.done += 1
                if not worker.process.is_alive() or worker.done >= MOST_CASES:
                    worker = self._replaced(worker)
                self._next(worker, todo)

    def _replaced(self, worker: Worker) -> Worker:
        worker.pipe.close()
        worker.process.kill()  # others may hold the other end of its pipe
        worker.process.join()
        shutil.rmtree(worker.place, ignore_errors=True)
        fresh = self._start()
        self.workers[self.workers.index(worker)] = fresh
        return fresh

    def _next(self, worker: Worker, todo: deque[Todo]) -> None:
        worker.case = todo.popleft() if todo else None
        if worker.case is not None:
            worker.computed, worker.waited, worker.looked = (
                processor_seconds(worker.process.pid),
                0.0,
                time.monotonic(),
            )
            worker.pipe.send(worker.case)

    def _answer(self, worker: Worker) -> Verdict | None:
        assert worker.case is not None
        try:
            return Verdict(**worker.pipe.recv())
        except (EOFError, ConnectionResetError):
            worker.process.join(5)
            code = worker.process.exitcode
            name = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
            return Verdict(
                *worker.case,
                "crash",
                message=f"the interpreter ended with {name}",
                place=f"crash {name} {_innermost(_said(worker))}",
                trace=_said(worker),
            )

    def _late(self, worker: Worker) -> Verdict | None:
        """The verdict on a case that computes or waits too long; None for one that may go on."""
        assert worker.case is not None
        now = time.monotonic()
        try:
            computed = processor_seconds(worker.process.pid) - worker.computed
            # Not while it would compute if others let it; and this process may be kept waiting as well.
            if sleeps(worker.process.pid):
                worker.waited += min(now - worker.looked, 2 * LOOK)
        except OSError:
            return None  # it has ended this moment, and its pipe says so
        worker.looked = now
        if max(computed, worker.waited) < (self.kinds[worker.case[0]].seconds or MOST_SECONDS):
            return None
        where = _stack(worker)
        worker.process.kill()
        worker.process.join()
        what = f"{computed:.1f} s of the processor, {worker.waited:.1f} s of waiting"
        return Verdict(
            *worker.case,
            "slow",
            message=what,
            place=f"slow {where[:80]}",
            trace=_said(worker),
            seconds=max(computed, worker.waited),
        )


def _stack(worker: Worker) -> str:
    """Where a process is that takes too long; it writes its stack where it is asked to."""
    try:
        os.kill(worker.process.pid, signal.SIGUSR1)
        time.sleep(0.5)
    except OSError:
        return ""
    return _innermost(_said(worker))


def _innermost(stack: str) -> str:
    """The innermost function of latlas in a stack that the interpreter wrote, else of anything."""
    frames = re.findall(r'File "([^"]+)", line \d+ in (\S+)', stack)
    own = [f for f in frames if "/src/latlas/" in f[0]] or frames
    return f"{Path(own[0][0]).name}:{own[0][1]}" if own else ""


def _said(worker: Worker) -> str:
    try:
        return Path(f"{worker.place}.2").read_text("utf-8", "replace")[-4000:]
    except OSError:
        return ""
