"""The runs of a study, each trained by the process that holds its lease, on any machine that shares the folder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from latlas import data as sources
from latlas import experiment, machine
from latlas.data import Dataset
from latlas.errors import InputError, LatlasError
from latlas.files import Busy
from latlas.invocation import invoked_by
from latlas.progress import SILENT, Observer
from latlas.runs import Run
from latlas.studies import leases
from latlas.studies.prepare import Planned

Outcome = Literal["finished", "failed", "held", "stopped"]
MOST_KEPT = 2  # data sets that a process keeps in memory from run to run

_kept: dict[str, Dataset] = {}
# Threads, random numbers of PyTorch and interruptions belong to a process: its runs take turns.
_turn = threading.RLock()


@dataclass(frozen=True)
class Job:
    """What a process has to know to train runs of a study: those of its share in their order, and `others`, which it
    goes on with where their process died.

    `threads` are those of a new run, `where` the device, the threads and the data_dir that the call asked for; `since`
    is when it began, by the clock of the file system. Relative paths are seen from `folder`.
    """

    out: Path
    runs: tuple[Planned, ...]
    others: tuple[Planned, ...]
    threads: int
    where: dict[str, Any]
    since: float
    session: str
    command: str
    folder: str

    def only(self, planned: Planned) -> Job:
        """The same for a single run."""
        if planned in self.runs:
            return replace(self, runs=(planned,), others=())
        return replace(self, runs=(), others=(planned,))


def run_state(out: Path, planned: Planned) -> Literal["finished", "begun", "new"]:
    """How far a run is by its folder."""
    folder = out / planned.folder
    if not folder.exists():
        return "new"
    return "finished" if Run(folder).finished else "begun"


def walk(job: Job, asked: Callable[[], bool] | None = None) -> Outcome:
    """Trains every run of a job that is free, in order; gives what became of the last one."""
    outcome: Outcome = "finished"
    for planned in (*job.runs, *job.others):
        if (outcome := train(job, planned, SILENT, asked)) == "stopped":
            break
    return outcome


def task(job: Job) -> Outcome:
    """A job in a process that somebody else started: it stops where the file `leases.request_stop` is there.

    Raises InputError where the process does not see the study's folder.
    """
    if not (Path(job.folder) / job.out).is_dir():
        raise InputError(
            f"{job.out}: not seen where it is to be trained; processes have to share {job.folder}"
        )
    with _turn, chdir(job.folder):
        try:
            return walk(job, leases.request_stop(job.out, job.session).exists)
        except KeyboardInterrupt:
            return "stopped"


def train(job: Job, planned: Planned, observer: Observer, asked: Callable[[], bool] | None = None) -> Outcome:
    """Trains a run, or goes on with it, unless it is finished, failed or held by another process.

    A run that fails is noted among the study's failures. Raises KeyboardInterrupt where a signal stops it.
    """
    with _turn:
        if asked is not None and asked():
            return "stopped"
        if run_state(job.out, planned) == "finished":
            return "finished"
        lease = leases.take(job.out, planned.folder, asked, only_dead=planned not in job.runs)
        if lease is None:
            return "held"
        with lease:
            return _train(job, planned, _Reporting(observer, lease), lease)


def _train(job: Job, planned: Planned, observer: Observer, lease: leases.Lease) -> Outcome:
    status = run_state(job.out, planned)  # it may have been finished before the lease was taken
    if status == "finished":
        return "finished"
    if planned.folder in leases.failures(job.out, job.since):
        return "failed"
    leases.forget_failure(job.out, planned.folder)
    machine.use_threads(job.threads)
    folder = job.out / planned.folder
    try:
        with invoked_by(job.command), machine.stopped_by(lambda: lease.stopping):
            dataset = dataset_of(planned, observer)
            if status == "begun":
                experiment.resume(folder, observer, job.where, dataset=dataset)
            else:
                experiment.train(planned.config, folder, observer, dataset=dataset)
    except Busy:
        return "held"
    except KeyboardInterrupt:
        if lease.stopping:
            return "held" if lease.lost else "stopped"
        raise
    except LatlasError as error:
        leases.fail(job.out, planned.folder, str(error))
        return "failed"
    except Exception as error:  # a run that fails for whatever reason must not stop the others
        leases.fail(job.out, planned.folder, f"{type(error).__name__}: {error}")
        return "failed"
    return "finished"


def dataset_of(planned: Planned, observer: Observer = SILENT) -> Dataset:
    """The data set of a run; a process reads it once for all runs that follow each other.

    Raises InputError where it is not what the study was planned on.
    """
    key = planned.config.data.model_dump_json()
    dataset = _kept.pop(key, None)
    if dataset is None or dataset.fingerprint != planned.fingerprint:
        dataset = sources.load(planned.config.data, observer.progress)
    if dataset.fingerprint != planned.fingerprint:
        raise InputError(
            f"{dataset.source}: the data are not those that the study was planned on; start it again"
        )
    _kept[key] = dataset
    while len(_kept) > MOST_KEPT:
        _kept.pop(next(iter(_kept)))
    return dataset


def forget_data() -> None:
    """Gives the memory of the data sets back."""
    _kept.clear()


class _Reporting:
    """An observer that also tells a run's lease how far training is."""

    def __init__(self, observer: Observer, lease: leases.Lease) -> None:
        self.note, self.epoch, self._progress, self._lease = (
            observer.note,
            observer.epoch,
            observer.progress,
            lease,
        )

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None:
        if what == "training":
            self._lease.done, self._lease.total = done, total
        self._progress(what, done, total, detail)
