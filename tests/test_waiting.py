"""How OpenMP's threads wait: busily on cores of their own, asleep beside other work."""

import os
import subprocess
import sys
import threading

import pytest

from latlas import waiting

pytestmark = pytest.mark.skipif(
    waiting.kept() is None, reason="this system does not say how long threads were kept"
)


class Teams:
    """Stands for threads that are started, and counts those that have not ended."""

    def __init__(self) -> None:
        self.events: list[threading.Event] = []
        self.sizes: list[int] = []

    def Thread(self, target: object, args: tuple[int, threading.Event], **_: object) -> "Teams":
        self.sizes.append(args[0])
        self.events.append(args[1])
        return self

    def start(self) -> None:
        assert not self.events[-1].is_set()

    @property
    def there(self) -> int:
        return sum(not event.is_set() for event in self.events)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[waiting.Watch, Teams]:
    teams = Teams()
    monkeypatch.setattr(waiting.threading, "Thread", teams.Thread)
    return waiting.Watch(), teams


def test_threads_sleep_from_the_first_look_at_other_work_until_it_is_over(
    watched: tuple[waiting.Watch, Teams],
) -> None:
    watch, teams = watched
    for share, there in ((0.0, 0), (0.1, 0), (0.6, 1), (0.6, 1), (0.1, 1), (0.0, 1)):
        watch.look(share * 0.5, 0.5)
        assert teams.there == there, share
    looks = 1
    while teams.there:
        watch.look(0.0, 0.5)
        looks += 1
    assert looks == waiting.SHORTEST / 0.5


def test_a_look_at_little_work_begins_the_quiet_time_anew(watched: tuple[waiting.Watch, Teams]) -> None:
    watch, teams = watched
    watch.look(0.5, 0.5)
    for _ in range(20):
        watch.look(0.0, 1.0)
        watch.look(0.1, 1.0)  # less than what puts threads to sleep, more than none
    assert teams.there == 1


def test_other_work_that_comes_back_is_waited_for_longer_each_time_up_to_a_bound(
    watched: tuple[waiting.Watch, Teams],
) -> None:
    watch, teams = watched
    times = []
    for _ in range(8):
        watch.look(1.0, 1.0)
        seconds = 0
        while teams.there:
            watch.look(0.0, 1.0)
            seconds += 1
        times.append(seconds)
    assert times == [2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize(
    ("threads", "environment", "begins"),
    [
        (2, {}, True),
        (1, {}, False),
        (2, {"GOMP_SPINCOUNT": "5"}, False),
        (2, {"OMP_WAIT_POLICY": "ACTIVE"}, False),
    ],
)
def test_watching_begins_once_with_several_threads_and_nobodys_own_choice(
    threads, environment, begins
) -> None:
    code = (
        "import threading; from latlas import machine, waiting; machine.use_threads({0}); machine.use_threads(None);"
        " waiting.watch(); print(sum(one.name == 'waiting' for one in threading.enumerate()))"
    )
    free = {k: v for k, v in os.environ.items() if k not in (*waiting.OWN, "OMP_NUM_THREADS")}
    command = [sys.executable, "-c", code.format(threads)]
    done = subprocess.run(command, env=free | environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(int(begins))


COMPUTING = """
import threading, torch
from latlas import machine

machine.use_threads(2)
x = torch.randn(300, 300)
while all(one.name != "waiting team" for one in threading.enumerate()):
    x = (x @ x).tanh()
"""


def test_beside_a_process_on_every_core_threads_sleep_soon() -> None:
    free = {k: v for k, v in os.environ.items() if k not in (*waiting.OWN, "OMP_NUM_THREADS")}
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        subprocess.run([sys.executable, "-c", COMPUTING], env=free, check=True, timeout=100)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


@pytest.mark.parametrize(("cores", "threads", "size"), [(2, 2, 2), (16, 16, 2), (16, 4, 14), (2, 8, 2)])
def test_a_team_and_those_that_compute_are_more_threads_than_cores(
    watched: tuple[waiting.Watch, Teams], monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, size: int
) -> None:
    watch, teams = watched
    monkeypatch.setattr(waiting.os, "sched_getaffinity", lambda _: set(range(cores)))
    watch.threads = threads
    watch.look(1.0, 1.0)
    assert teams.sizes == [size]
    assert threads + size - 1 > cores


def test_a_team_is_there_until_its_end() -> None:
    code = """
import os, threading, time, torch
from latlas import waiting

count = lambda: len(os.listdir("/proc/self/task"))
before, end = count(), threading.Event()
team = threading.Thread(target=waiting._idle, args=(3, end))
team.start()
while count() != before + 3:
    time.sleep(0.01)
end.set()
team.join()
while count() != before:
    time.sleep(0.01)
"""
    free = {k: v for k, v in os.environ.items() if k not in waiting.OWN}
    subprocess.run([sys.executable, "-c", code], env=free, check=True, timeout=60)
