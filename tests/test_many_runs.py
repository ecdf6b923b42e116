"""Studies that several processes carry out: who trains which run, what becomes of a dead one's, who writes the page."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import finish, images, start

import latlas
from latlas import cli, compare, experiment
from latlas.errors import InputError, LatlasError
from latlas.progress import SILENT
from latlas.studies import budget, execute, leases, parallel, prepare, read, results, work
from latlas.studies.budget import Cut, Size, Speed

STUDY = """
[study]
name = "small"
data = ["ramps.npz"]
seeds = [0]
pca = false

[settings]
network.hidden = [16]
training.steps = 10
training.batch_size = 32
training.threads = 1

[[runs]]
recipe = "vae"

[grid]
model.latent = [2, 3, 4]
"""
FOLDERS = [f"ramps-vae-latent-{latent}-seed0" for latent in (2, 3, 4)]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without pictures, which would take most of the time."""
    monkeypatch.setattr(results.compare, "gather", partial(compare.gather, pictures=False))


def made(folder: Path) -> Path:
    """The folder, with a small study and its data."""
    np.savez(folder / "ramps.npz", x=images(160), y=np.arange(160) % 3)
    (folder / "small.toml").write_text(STUDY)
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The current folder, with a small study and its data."""
    monkeypatch.chdir(made(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of the same study, carried out in this process without any of this."""
    folder = made(tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(results.compare, "gather", partial(compare.gather, pictures=False))
        study("out")
    return str(folder / "out")


def study(out: str, **options: Any) -> Any:
    return latlas.study("small.toml", out=out, quiet=True, **options)


def weights(out: str) -> dict[str, bytes]:
    """The weights of a study's finished runs."""
    runs = (path.parent for path in sorted(Path(out).glob("*/metrics.json")))
    return {run.name: (run / "model.safetensors").read_bytes() for run in runs}


def numbers(out: str) -> list[dict[str, Any]]:
    """The rows of a study's tables, without times."""
    results = json.loads(Path(out, "study.json").read_text())["results"]
    timed = ("training_seconds", "images_per_second")
    rows = [entry["values"] for found in results.values() for entry in found["entries"]]
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


def assert_same(out: str, other: str) -> None:
    assert weights(out) == weights(other)
    assert len(weights(out)) > 0
    assert numbers(out) == numbers(other)
    assert Path(out, "study.html").is_file()
    assert not Path(out, leases.FOLDER).exists()


# Leases


def test_of_many_that_try_at_once_one_takes_a_lease(tmp_path: Path) -> None:
    winners: list[str] = []
    barrier = threading.Barrier(8)

    def race() -> None:
        for number in range(20):
            barrier.wait()
            lease = leases.take(tmp_path, f"run-{number}")
            if lease is not None:
                winners.append(f"run-{number}")
                kept.append(lease)

    kept: list[leases.Lease] = []
    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(winners) == sorted(f"run-{number}" for number in range(20))
    assert {seen.state for seen in leases.look(tmp_path, winners).values()} == {"held"}
    for lease in kept:
        with lease:
            pass
    assert {seen.state for seen in leases.look(tmp_path, winners).values()} == {"released"}


def test_a_lease_is_free_when_its_process_is_dead_and_not_before(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from latlas.studies import leases\n"
        "lease = leases.take(Path(sys.argv[1]), 'run'); lease.done = 7; lease.total = 9\n"
        "lease._write(); print('taken', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "taken\n"
        seen = leases.look(tmp_path, ["run"])["run"]
        assert (seen.state, seen.pid, seen.done, seen.total) == ("held", owner.pid, 7, 9)
        assert leases.take(tmp_path, "run") is None
        owner.kill()
    assert leases.look(tmp_path, ["run"])["run"].state == "dead"
    lease = leases.take(tmp_path, "run", only_dead=True)
    assert lease is not None
    with lease:
        assert leases.take(tmp_path, "run") is None
    assert leases.take(tmp_path, "run", only_dead=True) is None  # it was given back, not left


def test_an_owner_elsewhere_lives_while_it_gives_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.02)
    first = leases.take(tmp_path, "run")
    assert first is not None
    monkeypatch.setattr(leases, "machine_name", lambda: "another machine")
    assert leases.look(tmp_path, ["run"])["run"].state == "held"
    assert leases.take(tmp_path, "run") is None
    (file,) = (tmp_path / leases.FOLDER).glob("run.*")
    long_ago = time.time() - leases.EXPIRES - 5
    os.utime(file, (long_ago, long_ago))
    second = leases.take(tmp_path, "run")
    assert second is not None
    # The first one was only asleep: it sees that it has lost its run, and does not take it back.
    with first:
        deadline = time.monotonic() + 10
        while not first.stopping and time.monotonic() < deadline:
            time.sleep(0.01)
        assert first.lost
    assert leases.look(tmp_path, ["run"])["run"].state == "held"
    with second:
        assert not second.lost


def test_a_lease_without_contents_is_held_until_it_is_old(tmp_path: Path) -> None:
    (tmp_path / leases.FOLDER).mkdir()
    file = tmp_path / leases.FOLDER / "run.1"
    file.touch()
    assert leases.take(tmp_path, "run") is None
    os.utime(file, (0, 0))
    assert leases.take(tmp_path, "run") is not None


# Parts


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_parts_have_each_run_once(here: Path, n: int) -> None:
    plan = prepare.plan(read("small.toml"), prepare.Options(out=Path("out")), SILENT)
    parts = [replace(plan, options=replace(plan.options, part=(k, n))).share for k in range(1, n + 1)]
    folders = [run.folder for part in parts for run in part]
    assert sorted(folders) == sorted(run.folder for run in plan.runs)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("part", ["", "2", "0/3", "4/3", "1/0", "a/b", "1/2/3", "-1/2", "1.5/2", "/"])
def test_bad_parts_are_refused(here: Path, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="part = "):
        study("out", part=part)
    assert cli.run(["study", "small.toml", "--out", "out", f"--part={part}"]) == 2
    assert capsys.readouterr().err.startswith("error: --part")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": (2, 1)}, "parts are counted from 1"),
        ({"part": 3}, "expected K/N"),
        ({"jobs": 0}, "jobs = 0: at least 1 is needed"),
        ({"jobs": "two"}, "jobs = 'two': expected a whole number"),
        ({"executor": 3}, "executor: expected an Executor of concurrent.futures, got int"),
        ({"executor": ProcessPoolExecutor, "jobs": 2}, "jobs = 2: an executor decides"),
        ({"part": "1/2", "budget": "1h"}, "budget = 1h: is measured and cut by one process"),
    ],
)
def test_what_does_not_go_together_is_refused(here: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        study("out", **options)
    assert not Path("out").exists()


def test_whoever_ends_the_last_run_writes_the_page(here: Path, whole: str) -> None:
    first = study("parts", part="2/3")
    assert first["results"] is None
    assert [row["state"] for row in first["runs"]] == ["new", "finished", "new"]
    assert "no results" in repr(first)
    assert study("parts", part=(1, 3))["results"] is None
    assert not Path("parts/study.html").exists()
    assert study("parts", part="3/3")["results"] is not None
    assert_same("parts", whole)
    assert study("parts", part="1/3")["results"] is not None  # finished already


def test_jobs_share_the_time_of_a_budget() -> None:
    work_ = [[(Size(1000, 10), Speed(0, 1.0, 0)), (Size(1000, 10), Speed(0, 1.0, 0))]]
    assert budget.fit(work_, 1000) == Cut(0.45, 1)
    assert budget.fit(work_, 1000, jobs=2) == Cut(0.9, 1)
    assert budget.fit(work_, 1000, jobs=4) == Cut(0.9, 1)  # a run is not trained by two


# Executors


class Inline(Executor):
    """Does each task when it is submitted, in this process."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, fn: Any, /, *args: Any, **more: Any) -> Future[Any]:
        self.count += 1
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **more))
        except Exception as error:
            future.set_exception(error)
        return future


def test_any_executor_trains_the_same_runs(here: Path, monkeypatch: pytest.MonkeyPatch, whole: str) -> None:
    reads: list[str] = []
    load = work.sources.load
    monkeypatch.setattr(work.sources, "load", lambda *a: reads.append("read") or load(*a))
    executor = Inline()
    values = study("out", executor=executor)
    assert executor.count == len(values["runs"]) == 3
    assert len(reads) == 2  # by the plan, and once for all runs
    assert_same("out", whole)


def test_a_task_that_raises_does_not_stop_the_others(here: Path) -> None:
    class Failing(Inline):
        def submit(self, fn: Any, /, *args: Any, **more: Any) -> Future[Any]:
            if self.count == 1:
                fn, args = int, ("the worker was lost",)
            return super().submit(fn, *args, **more)

    with pytest.raises(
        LatlasError, match=r"1 of 3 runs failed .*ramps-vae-latent-3-seed0: ValueError: .* lost"
    ):
        study("out", executor=Failing())
    assert sorted(weights("out")) == sorted(set(FOLDERS) - {FOLDERS[1]})
    study("out", executor=Inline())  # tries it again
    assert sorted(weights("out")) == sorted(FOLDERS)


def test_an_executor_that_gives_everything_back_untrained_ends(here: Path) -> None:
    class Idle(Inline):
        def submit(self, fn: Any, /, *args: Any, **more: Any) -> Future[Any]:
            return super().submit(str)

    with pytest.raises(LatlasError, match="the executor's tasks end before ramps, vae · latent 2, seed 0 is"):
        study("out", executor=Idle())
    pool = ProcessPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(LatlasError, match="the executor takes no more runs"):
        study("out", executor=pool)


def test_tasks_stop_where_the_study_is_interrupted(here: Path) -> None:
    class Interrupting(Inline):
        def submit(self, fn: Any, /, *args: Any, **more: Any) -> Future[Any]:
            raise KeyboardInterrupt

    with pytest.raises(execute.Interrupted):
        study("out", executor=Interrupting())
    assert not list(Path("out", leases.FOLDER).glob(".stop*"))
    plan = prepare.plan(read("small.toml"), prepare.Options(out=Path("out")), SILENT)
    job = execute._job(plan)
    leases.request_stop(job.out, job.session).touch()
    assert work.task(job.only(plan.runs[0])) == "stopped"
    assert not (plan.out / plan.runs[0].folder).exists()


def test_a_task_says_where_the_folder_is_not_shared(here: Path) -> None:
    plan = prepare.plan(read("small.toml"), prepare.Options(out=Path("out")), SILENT)
    Path("out").mkdir()
    job = replace(execute._job(plan), folder="/nowhere")
    with pytest.raises(
        InputError, match="out: not seen where it is to be trained; processes have to share /nowhere"
    ):
        work.task(job)


# Together


def test_runs_that_others_hold_are_waited_for_and_gone_on_with(
    here: Path, monkeypatch: pytest.MonkeyPatch, whole: str
) -> None:
    """Another process trains a run while the study begins, and is asked to stop; the study trains it at the end."""
    Path("out").mkdir()
    other = leases.take(Path("out"), FOLDERS[0])
    assert other is not None
    order: list[str] = []
    train = experiment.train

    def noted(config: Any, out: Path, observer: Any, **more: Any) -> Any:
        order.append(out.name)
        if out.name == FOLDERS[-1]:
            threading.Timer(0.3, lambda: other.__exit__(None, None, None)).start()
        return train(config, out, observer, **more)

    monkeypatch.setattr(experiment, "train", noted)
    other.__enter__()
    study("out")
    assert order == [*FOLDERS[1:], FOLDERS[0]]
    assert_same("out", whole)


def test_a_part_goes_on_with_what_the_dead_left(here: Path) -> None:
    """Of another part's runs it takes one whose process died, and none that was not begun."""
    Path("out").mkdir()
    file = Path("out", leases.FOLDER, f"{FOLDERS[1]}.1")
    file.parent.mkdir()
    values = {"machine": leases.machine_name(), "host": "here", "pid": 1, "locked": True, "released": False}
    file.write_text(json.dumps(values))
    study("out", part="1/3")
    assert sorted(weights("out")) == FOLDERS[:2]


def test_data_that_changed_since_the_plan_fail_the_run(here: Path) -> None:
    plan = prepare.plan(read("small.toml"), prepare.Options(out=Path("out")), SILENT)
    assert work.dataset_of(plan.runs[0]).fingerprint == plan.runs[0].fingerprint
    work.forget_data()
    np.savez("ramps.npz", x=images(160, seed=1), y=np.arange(160) % 3)
    with pytest.raises(InputError, match="the data are not those that the study was planned on"):
        work.dataset_of(plan.runs[0])


class Dying:
    """In the place of a worker: ends at once, killed, with the lease of the first run where it `takes` it."""

    takes = True
    made = 0

    def __init__(self, job: work.Job) -> None:
        Dying.made += 1
        self.process, self.code = SimpleNamespace(pid=Dying.made, kill=lambda: None, wait=lambda *_: -9), -9
        if self.takes:
            values = {"machine": leases.machine_name(), "host": "here", "pid": Dying.made, "locked": True}
            Path(job.out, leases.FOLDER, f"{FOLDERS[0]}.{Dying.made}").write_text(json.dumps(values))

    def stop(self) -> None: ...

    def end(self) -> str:
        return "killed by SIGKILL"


@pytest.mark.parametrize(
    ("takes", "message"),
    [
        (True, "1 of 3 runs failed .*: its process ended 5 times at the same step .killed by SIGKILL"),
        (False, "the processes that are to train end at once .killed by SIGKILL"),
    ],
)
def test_processes_that_die_again_and_again_are_given_up(
    here: Path, monkeypatch: pytest.MonkeyPatch, takes: bool, message: str
) -> None:
    monkeypatch.setattr(Dying, "takes", takes)
    monkeypatch.setattr(Dying, "made", 0)
    monkeypatch.setattr(parallel, "Worker", Dying)
    monkeypatch.setattr(parallel, "LOOK", 0.001)
    with pytest.raises(LatlasError, match=message):
        study("out", part="1/3", jobs=2)
    assert Dying.made >= parallel.MOST_DEATHS


@pytest.mark.slow
def test_jobs_train_the_same_runs(here: Path, whole: str) -> None:
    values = study("out", jobs=2)
    assert [row["state"] for row in values["runs"]] == ["finished"] * 3
    assert_same("out", whole)


# Real processes


@contextmanager
def spawned() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


@contextmanager
def loky() -> Iterator[Executor]:
    from joblib.externals.loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=2)
    yield executor
    executor.shutdown()


@contextmanager
def dask() -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, scheduler_port=0) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


@pytest.mark.slow
@pytest.mark.parametrize("make", [spawned, loky, dask])
def test_executors_train_the_same_runs(here: Path, whole: str, make: Callable[[], Any]) -> None:
    with make() as executor:
        values = study("out", executor=executor)
    assert [row["state"] for row in values["runs"]] == ["finished"] * 3
    assert_same("out", whole)


LONG = (
    STUDY.replace("seeds = [0]", "seeds = [0, 1]").replace("steps = 10", "steps = 1000").replace(", 4]", "]")
)
LONG_FOLDERS = [f"ramps-vae-latent-{latent}-seed{seed}" for seed in (0, 1) for latent in (2, 3)]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a longer study that nobody disturbed."""
    folder = made(tmp_path_factory.mktemp("long"))
    (folder / "small.toml").write_text(LONG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study("out")
    return str(folder / "out")


def owners(out: str) -> dict[int, int]:
    """The numbers of the processes that train at this moment, and how many steps each has said it is at."""
    seen = leases.look(Path(out), LONG_FOLDERS).values()
    return {lease.pid: lease.done for lease in seen if lease.state == "held"}


def wait_until(true: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not true():
        assert process.poll() is None, finish(process)[2]
        time.sleep(0.01)


@pytest.mark.slow
def test_a_study_whose_workers_are_killed_ends_in_the_same_bits(here: Path, long: str) -> None:
    """Ten kills of a random worker at random moments, of the whole study among them."""
    (here / "small.toml").write_text(LONG)
    command = ("study", "small.toml", "--jobs", 2, "--out", "out")
    process, said = start(*command), ""
    for kill, at in enumerate(random.Random(0).choices(range(0, 300, 50), k=10)):
        # At once, while its first steps are trained, or at some later moment.
        wait_until(lambda at=at: any(done >= at for done in owners("out").values()), process)
        if kill % 5 == 4:  # the study itself: its workers stop, and the same command goes on
            process.kill()
            said += finish(process)[2]
            process = start(*command)
        else:
            worker = max(alive := owners("out"), key=alive.__getitem__)
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda worker=worker: worker not in owners("out"), process)
    code, _, err = finish(process)
    assert code == 0, err
    assert "killed by SIGKILL" in said + err
    assert_same("out", long)


@pytest.mark.slow
def test_interrupted_all_workers_save_their_runs(here: Path, long: str) -> None:
    (here / "small.toml").write_text(LONG)
    command = ("study", "small.toml", "--jobs", 2, "--out", "out")
    process = start(*command)
    wait_until(lambda: len(owners("out")) == 2 and len(list(Path("out").glob("*/log.jsonl"))) == 2, process)
    workers = owners("out")
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].endswith("go on with: latlas study small.toml --out out --jobs 2")
    assert len(list(Path("out").glob("*/checkpoints/stopped.safetensors"))) == 2
    assert not any(Path("/proc", str(pid)).exists() for pid in workers)
    assert finish(start(*command))[0] == 0
    assert_same("out", long)


@pytest.mark.slow
def test_parts_at_the_same_time_make_one_page(here: Path, long: str) -> None:
    (here / "small.toml").write_text(LONG)
    parts = [start("study", "small.toml", "--part", f"{k}/3", "--out", "out", "-q") for k in (1, 2, 3)]
    ended = [finish(part) for part in parts]
    assert [code for code, _, _ in ended] == [0, 0, 0], ended
    assert "page: out/study.html" in "".join(out for _, out, _ in ended)
    assert_same("out", long)
