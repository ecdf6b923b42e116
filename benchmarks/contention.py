"""Training alone and beside another busy process on the same cores, with the ways in which OpenMP's threads can wait.

python benchmarks/contention.py [TURNS] trains on 2 threads. Each way is a process; they take turns of three seconds,
stopped and continued, so that a host whose speed changes is the same to all; alone first, then beside it. Writes
results/contention.md.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from latlas.machine import processor

RESULTS = Path(__file__).resolve().parent / "results" / "contention.md"
TURN, SETTLING = 3.0, 2.0  # seconds that are counted, and those before them
WAYS = {
    "as latlas has it": {},
    "spin 1,000 times": {"GOMP_SPINCOUNT": "1000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 300,000 times, OpenMP's own": {"GOMP_SPINCOUNT": "300000"},
}
NETWORKS = {
    "the default, 20 dimensions, batch 128": ("vae", ["model.latent=20", "training.log_every=5"]),
    "MLP 784-400-20, batch 128": ("vae", ["network.hidden=[400]", "model.latent=20", "training.log_every=5"]),
    "convolutional, fashion-vae, batch 100": (
        "fashion-vae",
        ["training.batch_size=100", "training.log_every=1"],
    ),
}
BUSY = "import torch\nx = torch.randn(700, 700)\nwhile True:\n    x = (x @ x).tanh_()"

HEAD = """# Training beside another busy process

Steps a second of a training on two threads: alone, and beside a process that multiplies matrices on every core. A
thread of GNU's OpenMP that waits spins so many times and sleeps then. latlas leaves OpenMP its own number, and has it
take a small one as long as other work needs the cores. Medians over {turns} turns of {turn:g} seconds, all ways in
turn; in brackets the least and the greatest.
"""


class Training:
    """A process that trains on two threads, its threads waiting one way, and that is stopped but for its turns."""

    def __init__(self, network: str, way: str, folder: Path) -> None:
        recipe, settings = NETWORKS[network]
        self.log = folder / "log.jsonl"
        changes = [
            *settings,
            "data.validation=0.0",
            "training.steps=150000",
            "training.snapshot_every=150000",
        ]
        given = [word for one in changes for word in ("--set", one)]
        command = [sys.executable, "-m", "latlas", "train", "fashion-mnist", "--recipe", recipe, "--quiet"]
        command += ["--threads", "2", "--out", str(folder), *given]
        self.process = subprocess.Popen(command, env=free() | WAYS[way], stdout=subprocess.DEVNULL)
        while not self.log.exists() or self.steps() < 20:
            if self.process.poll() is not None:
                raise SystemExit(f"the training ended with {self.process.returncode}")
            time.sleep(0.2)
        self.process.send_signal(signal.SIGSTOP)

    def steps(self) -> int:
        """The step of the last whole row of the log; 0 without one."""
        rows = self.log.read_bytes().rpartition(b"\n")[0]
        return int(json.loads(rows.rpartition(b"\n")[2])["step"]) if rows else 0

    def speed(self) -> float:
        """Steps a second in one turn."""
        self.process.send_signal(signal.SIGCONT)
        time.sleep(SETTLING)
        steps, start = self.steps(), time.perf_counter()
        time.sleep(TURN)
        steps, seconds = self.steps() - steps, time.perf_counter() - start
        self.process.send_signal(signal.SIGSTOP)
        return steps / seconds

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()


def free() -> dict[str, str]:
    """The environment without what says how threads wait, and how many they are."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "MKL_"))}


@contextmanager
def other(busy: bool) -> Iterator[None]:
    """A process that keeps both cores busy inside the block, where it is wanted."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", BUSY], env=free())
    try:
        time.sleep(5)
        yield
    finally:
        process.kill()
        process.wait()


def speeds(network: str, turns: int) -> dict[tuple[str, bool], list[float]]:
    """Steps a second of each way, alone and beside the other process, in each turn."""
    found: dict[tuple[str, bool], list[float]] = {(way, busy): [] for busy in (False, True) for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        trainings: dict[str, Training] = {}
        try:
            for at, way in enumerate(WAYS):
                trainings[way] = Training(network, way, Path(folder) / str(at))
            for busy in (False, True):
                with other(busy):
                    for turn in range(turns):
                        for at in range(len(WAYS)):
                            way = list(WAYS)[(at + turn) % len(WAYS)]
                            found[way, busy].append(trainings[way].speed())
        finally:
            for one in trainings.values():
                one.end()
    return found


def main(turns: int) -> None:
    """Measures, prints and writes the table."""
    lines = [
        HEAD.format(turns=turns, turn=TURN),
        "| network | threads wait | alone, steps/s | beside it | share kept | of OpenMP's own, alone |",
        "|---|---|---|---|---|---|",
    ]
    for network in NETWORKS:
        found = speeds(network, turns)
        own = found[list(WAYS)[-1], False]
        for way in WAYS:
            alone, beside = found[way, False], found[way, True]
            kept = statistics.median(beside) / statistics.median(alone)
            ratio = statistics.median(a / b for a, b in zip(alone, own, strict=True))
            cells = [network, way, spread(alone), spread(beside), f"{100 * kept:.0f} %", f"{ratio:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    lines += [
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores, {platform.system()}.",
        "",
    ]
    RESULTS.write_text("\n".join(lines), encoding="utf-8")


def spread(values: list[float]) -> str:
    """Median, least and greatest."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
