"""How OpenMP's threads wait: busily on cores of their own, asleep beside other work."""

import os
import subprocess
import sys
import threading

import pytest

from latlas import waiting

pytestmark = pytest.mark.skipif(
    waiting.waited() is None, reason="this system does not say how long threads were kept"
)
FREE = {k: v for k, v in os.environ.items() if k not in (*waiting.OWN, "OMP_NUM_THREADS")}


class Teams:
    """Stands for threads that are started, and counts those that have not ended."""

    def __init__(self) -> None:
        self.events: list[threading.Event] = []

    def Thread(self, target: object, args: tuple[threading.Event], **_: object) -> "Teams":
        self.events.append(args[0])
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


COMPUTING = """
import threading, torch
from latlas import waiting

torch.set_num_threads(2)
waiting.watch()
x = torch.randn(300, 300)
while all(one.name != "waiting team" for one in threading.enumerate()):
    x = (x @ x).tanh()
"""


def test_beside_a_process_on_every_core_threads_sleep_soon() -> None:
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        subprocess.run([sys.executable, "-c", COMPUTING], env=FREE, check=True, timeout=100)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


TEAM = """
import os, threading, time, torch
from latlas import waiting

mapped = waiting.MAPS.read_text().splitlines()
if sum("/libgomp" in line and "r-xp" in line for line in mapped) != 1:
    raise SystemExit(3)
count = lambda: len(os.listdir("/proc/self/task"))
before, end = count(), threading.Event()
team = threading.Thread(target=waiting._idle, args=(end,))
team.start()
{}
end.set()
team.join()
while count() != before:
    time.sleep(0.01)
"""


def with_a_team(code: str) -> None:
    """Runs TEAM, with its part between the team's start and end, in a process that has imported nothing else."""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    if done.returncode == 3:
        pytest.skip("PyTorch has not one GNU OpenMP here")
    assert done.returncode == 0


def test_a_team_as_large_as_the_cores_is_there_until_its_end() -> None:
    # That threads sleep sooner beside it is in benchmarks/contention.py.
    there = """
wanted = before + max(2, len(os.sched_getaffinity(0)))
while count() != wanted:
    time.sleep(0.01)
time.sleep(1)  # those that were only tried have ended
assert count() == wanted
"""
    with_a_team(TEAM.format(there))


def test_where_no_thread_may_be_started_there_is_no_team_and_the_process_goes_on() -> None:
    few = """
start = threading.Thread.start
def refuse(thread):
    if thread.daemon:
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = refuse
"""
    code = TEAM.replace("before, end", few + "before, end").format(
        "time.sleep(1); assert count() == before + 1"
    )
    with_a_team(code)


def begun(code: str, threads: int, environment: dict[str, str]) -> bool:
    """Whether threads are watched in a process after this code."""
    code = f"import threading, torch\ntorch.set_num_threads({threads})\n{code}\n"
    code += "print(sum(one.name == 'waiting' for one in threading.enumerate()))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=FREE | environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] in ("0", "1")
    return done.stdout.split()[-1] == "1"


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
    threads: int, environment: dict[str, str], begins: bool
) -> None:
    code = "from latlas import waiting; waiting.watch(); waiting.watch()"
    assert begun(code, threads, environment) == begins


MODEL = """
import latlas, torch
item = latlas.item_of(torch.rand(30, 4))
model = latlas.Model(item, (torch.nn.Linear(4, 2), torch.nn.Linear(1, 4)), latlas.DiagonalGaussian(1))
"""


@pytest.mark.parametrize(("code", "begins"), [("import latlas, latlas.models", False), (MODEL, True)])
def test_a_model_watches_and_an_import_does_not(code: str, begins: bool) -> None:
    assert begun(code, 2, {}) == begins
