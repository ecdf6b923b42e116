"""Runs of a study that are trained at the same time: in processes of one's own, or by any executor."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from pathlib import Path
from typing import Any

from latlas import stopping
from latlas.errors import LatlasError
from latlas.progress import Observer
from latlas.studies import leases, work
from latlas.studies.board import Board, title
from latlas.studies.prepare import Planned
from latlas.studies.work import Job, Outcome

LOOK = 0.5  # seconds between two looks at the runs
MOST_DEATHS = 5  # of processes, one after the other, without a step forward
PATIENCE = 15.0  # seconds that a process has to save its run, before it is interrupted wherever it is
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Worker:
    """A process that walks through a job. It stops, with a checkpoint, when its input is closed: by `stop`, or because
    this process ends in any way.
    """

    def __init__(self, job: Job) -> None:
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        environment = {name: str(job.threads) for name in THREADS} | dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        # The job is read before anything slow is imported, so that many workers start side by side.
        read = "import sys; job = sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))"
        command = [sys.executable, "-c", f"{read}; from {__name__} import main; main(job)"]
        # A group of its own: Ctrl-C reaches this process alone, which then asks its workers to stop.
        options: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        stderr=self.said, env=environment, **options)  # fmt: skip
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended at once, which its exit code will tell
            content = pickle.dumps(job)
            self.process.stdin.write(b"%d\n%b" % (len(content), content))
            self.process.stdin.flush()

    @property
    def code(self) -> int | None:
        """The exit code; None while it works."""
        return self.process.poll()

    def stop(self) -> None:
        """Asks it to save its run and end."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def end(self) -> str:
        """Frees what belongs to an ended process; gives how it ended."""
        self.stop()
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        self.said.close()
        code = self.process.wait()
        if code < 0:
            names = {member.value: member.name for member in signal.Signals}
            return f"killed by {names.get(-code, -code)}"
        return f"exit code {code}{': ' if lines else ''}{lines[-1] if lines else ''}"


def main(job: bytes) -> None:
    """The process of a `Worker`: trains until nothing is free or its input is closed."""
    stopping.interrupt_when_asked()
    closed = threading.Event()

    def listen() -> None:
        sys.stdin.buffer.read()
        closed.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        # What runs have to say stands in their reports.
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            work.walk(pickle.loads(job), closed.is_set)
    except KeyboardInterrupt:
        os._exit(130)
    os._exit(0)  # the listening thread holds the input


class Crew:
    """So many workers that train the open runs of a board; one that dies is replaced, and its run goes on.

    A run whose process dies again and again without a step forward has failed.
    """

    def __init__(self, job: Job, count: int, board: Board, observer: Observer) -> None:
        self.job, self.count, self.board, self.observer = job, count, board, observer
        self.workers: list[Worker] = []
        self.deaths: Counter[tuple[str, float]] = Counter()

    def train(self) -> None:
        """Trains until nothing is free.

        Raises LatlasError where processes end at once, again and again. Whatever it raises, its workers have ended.
        """
        try:
            while self._care():
                time.sleep(LOOK)
        except BaseException:
            self._stop()
            raise

    def _care(self) -> bool:
        """Looks after workers and runs once; whether there is more to do."""
        self.board.look()
        for worker in [w for w in self.workers if w.code is not None]:
            self.workers.remove(worker)
            how = worker.end()
            if worker.code:
                self._mourn(worker, how)
        busy = sum(self.board.held_by(worker.process.pid) is not None for worker in self.workers)
        while len(self.workers) < min(self.count, len(self.board.free) + busy):
            self.workers.append(Worker(self.job))
        return bool(self.workers)

    def _mourn(self, worker: Worker, how: str) -> None:
        run = self.board.held_by(worker.process.pid)
        place = (run.folder, self.board.share_trained(run)) if run else ("", float(len(self.board.finished)))
        self.deaths[place] += 1
        whose = f"the process of {title(run)}" if run else "a process that was to train"
        if self.deaths[place] < MOST_DEATHS:
            self.observer.note(f"{whose} ended ({how}); another goes on")
            return
        if run is None:
            raise LatlasError(f"the processes that are to train end at once ({how})")
        reason = f"its process ended {MOST_DEATHS} times at the same step ({how}); is memory short?"
        leases.fail(self.job.out, run.folder, reason)

    def _stop(self) -> None:
        """Has all workers save their runs and end; a second Ctrl-C kills them."""
        try:
            for worker in self.workers:
                worker.stop()
            deadline = time.monotonic() + PATIENCE
            for worker in self.workers:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.0, deadline - time.monotonic()))
            for worker in (w for w in self.workers if w.code is None):
                worker.process.terminate()
            for worker in self.workers:
                worker.process.wait()
        except BaseException:
            for worker in self.workers:
                worker.process.kill()
            raise
        finally:
            for worker in self.workers:
                worker.end()


def train_by_executor(job: Job, executor: Executor, board: Board) -> None:
    """Trains the free runs of a board as tasks of an executor, each run one task, until nothing is free.

    Raises LatlasError where the executor broke, takes no tasks, or gives runs back untrained again and again.
    """
    rounds = 0
    board.look()
    while runs := board.free:
        before = len(board.finished), len(board.failed)
        pending: dict[Future[Outcome], Planned] = {}
        try:
            for run in runs:
                pending[_submitted(executor, job.only(run))] = run
            _collect(pending, board)
        except BaseException:
            leases.request_stop(job.out, job.session).touch()
            wait([future for future in pending if not future.cancel()])
            raise
        board.look()
        rounds = 0 if (len(board.finished), len(board.failed)) != before else rounds + 1
        if rounds == MOST_DEATHS:
            raise LatlasError(
                f"the executor's tasks end before {title(runs[0])} is trained; the same call goes on"
            )


def _submitted(executor: Executor, job: Job) -> Future[Outcome]:
    try:
        return executor.submit(work.task, job)
    except RuntimeError as error:  # broken, or shut down
        raise LatlasError(
            f"the executor takes no more runs ({error}); the same call goes on with another"
        ) from None


def _collect(pending: dict[Future[Outcome], Planned], board: Board) -> None:
    """Waits for tasks; one that raises has failed, whatever it was, and the others go on."""
    waiting = set(pending)
    while waiting:
        done, waiting = wait(waiting, timeout=LOOK, return_when=FIRST_COMPLETED)
        for future in done:
            try:
                future.result()
            except CancelledError:
                continue  # it is submitted again
            except BrokenExecutor as error:
                raise LatlasError(
                    f"the executor broke ({error}); the same call goes on with another"
                ) from None
            except Exception as error:
                leases.fail(board.plan.out, pending[future].folder, f"{type(error).__name__}: {error}")
        board.look()
