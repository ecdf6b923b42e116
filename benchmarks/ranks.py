"""Training images per second of two processes of one thread against one, the same network and batch, in turns.

    LATLAS_DATA=FOLDER python benchmarks/ranks.py [--repetitions 5] [--seconds 6]

Every measurement is a training of its own, by one process or by two under the environment of a launcher, over
Fashion-MNIST, whose clock starts after some steps to warm up. Repetitions take turns (1 2 1 2 ...), and ratios are
those of neighbours. Needs a machine with two idle cores. Writes benchmarks/results/ranks.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
WARM_UP = 10  # steps before the clock starts
MLP = {"network.name": "mlp", "network.hidden": [400], "network.activation": "relu", "model.latent": 20}
TASKS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "mlp-1024": ("MLP 784-400-20, batch 1,024", "vae", 1024, MLP),
    "mlp-128": ("MLP 784-400-20, batch 128", "vae", 128, MLP),
    "fashion-100": ("convolutional, fashion-vae, batch 100", "fashion-vae", 100, {}),
}
GOAL = 1.7


def measure_here(task: str, seconds: float) -> None:
    """Trains for so long as one of the processes of the environment; the first one prints images per second."""
    import torch

    from latlas import config, distributed, optimizers, training
    from latlas.build import build, item_of, objective_of, resolve, statistics
    from latlas.checkpoints import Progress
    from latlas.data import DataOptions, load
    from latlas.data.batches import Batches
    from latlas.machine import prepare

    _, recipe, batch, settings = TASKS[task]
    data = load(DataOptions(source="fashion-mnist", validation=0.0))
    changes = settings | {"training.batch_size": batch, "training.threads": 1, "data.validation": 0.0}
    resolved = resolve(config.override(config.recipe(recipe), changes, "benchmark"), data)[0]
    with distributed.joined() as world:
        device = world.on(prepare(resolved.training))
        model = build(resolved, item_of(data), statistics(data)).to(device)
        batches = Batches(data.train, data.scaling, device)
        objective, progress = objective_of(resolved, data.shape), Progress()
        begun: list[float] = []

        def over() -> bool:
            if progress.step == WARM_UP:
                world.wait()
                begun.append(time.perf_counter())
            return bool(begun) and time.perf_counter() - begun[0] > seconds

        world.stop = over
        optimizer = optimizers.optimizer_for(resolved, model)
        for _ in training.train(model, batches, objective, optimizer, resolved, progress, world):
            pass
        speed = (progress.step - WARM_UP) * batch / (time.perf_counter() - begun[0])
        if world.leads:
            print(json.dumps({"speed": speed, "torch": torch.__version__}))


def measure(task: str, processes: int, seconds: float) -> dict[str, Any]:
    """One measurement, by so many processes."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    shared = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, __file__, "--one", task, "--seconds", str(seconds)]
    started = [
        subprocess.Popen(
            command, env=shared | {"RANK": str(rank), "MASTER_PORT": port}, stdout=subprocess.PIPE, text=True
        )
        for rank in range(processes)
    ]
    printed = [process.communicate()[0] for process in started]
    found_values: dict[str, Any] = json.loads(printed[0].splitlines()[-1])
    print(f"{task:12} {processes} {found_values['speed']:10,.0f} images/s", file=sys.stderr, flush=True)
    return found_values


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--one", choices=TASKS, help="measure in this process, by its environment")
    options = parser.parse_args()
    if options.one:
        measure_here(options.one, options.seconds)
        return
    rows, version = [], ""
    for task in options.tasks:
        pairs = []
        for _ in range(options.repetitions):
            one, two = (measure(task, n, options.seconds) for n in (1, 2))
            pairs.append((one["speed"], two["speed"]))
            version = one["torch"]
        ratios = [two / one for one, two in pairs]
        rows.append(
            {"task": TASKS[task][0], "one": statistics.median(p[0] for p in pairs),
             "two": statistics.median(p[1] for p in pairs), "ratio": statistics.median(ratios),
             "least": min(ratios), "most": max(ratios)}
        )  # fmt: skip
    about = {"date": datetime.now(UTC).date().isoformat(), "torch": version, "cores": os.cpu_count(),
             "load": os.getloadavg()[0], "repetitions": options.repetitions, "goal": GOAL}  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ranks.json").write_text(json.dumps({"about": about, "rows": rows}, indent=2) + "\n")
    (RESULTS / "ranks.md").write_text(markdown(about, rows))
    print((RESULTS / "ranks.md").read_text())


def markdown(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The table for people."""
    lines = ["| network | one process | two processes | two / one |", "|---|---|---|---|"]
    for r in rows:
        spread = f"{r['ratio']:.2f} ({r['least']:.2f} to {r['most']:.2f})"
        lines.append(f"| {r['task']} | {r['one']:,.0f} | {r['two']:,.0f} | {spread} |")
    facts = (
        f"{about['date']}; {about['cores']} cores, load {about['load']:.1f} at the end; torch {about['torch']}, one"
        f" thread a process, gloo; {about['repetitions']} repetitions in turns; medians, and the range of the ratios."
        f" Wanted: at least {about['goal']}."
    )
    head = "# Two processes against one\n\nImages per second on Fashion-MNIST, the same batch shared by the processes."
    return "\n".join([head, "", *lines, "", facts, ""])


if __name__ == "__main__":
    main()
