"""Training images per second of two processes of one thread against one, the same network and batch, in turns.

Beside it two trainings apart, each of batches half as large, at the same time: as fast as two processes could be, had
they nothing to tell each other.

    LATLAS_DATA=FOLDER python benchmarks/ranks.py [--repetitions 5] [--seconds 6]

Every measurement is a training of its own, by one process or by two under the environment of a launcher, over
Fashion-MNIST, whose clock starts after some steps to warm up. Repetitions take turns, and ratios are those of
neighbours. Needs a machine with two idle cores. Writes benchmarks/results/ranks.json and .md.
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

from latlas.machine import processor

RESULTS = Path(__file__).resolve().parent / "results"
WARM_UP = 10  # steps before the clock starts
MLP = {"network.name": "mlp", "network.hidden": [400], "network.activation": "relu", "model.latent": 20}
TASKS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "mlp-1024": ("MLP 784-400-20, batch 1,024", "vae", 1024, MLP),
    "mlp-128": ("MLP 784-400-20, batch 128", "vae", 128, MLP),
    "fashion-100": ("convolutional, fashion-vae, batch 100", "fashion-vae", 100, {}),
}
GOAL = 1.7


def measure_here(task: str, seconds: float, share: int = 1) -> None:
    """Trains for so long as one of the processes of the environment; the first one prints images per second. `share`
    divides the batch.
    """
    import torch

    from latlas import config, distributed, optimizers, training
    from latlas.build import build, item_of, objective_of, resolve, statistics
    from latlas.checkpoints import Progress
    from latlas.data import DataOptions, load
    from latlas.data.batches import Batches
    from latlas.machine import prepare

    _, recipe, batch, settings = TASKS[task]
    batch //= share
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


def measure(task: str, seconds: float, processes: int, apart: bool = False) -> dict[str, Any]:
    """One measurement, by so many processes: of one training, or of one each, `apart`."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    size, share = (1, processes) if apart else (processes, 1)
    shared = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, __file__, "--one", task, "--seconds", str(seconds), "--share", str(share)]
    started = [
        subprocess.Popen(
            command,
            env=shared | {"RANK": str(rank % size), "MASTER_PORT": port},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    outs = [process.communicate()[0] for process in started]
    assert all(process.returncode == 0 for process in started)
    printed = [json.loads(out.splitlines()[-1]) for out in outs if out]
    assert len(printed) == share
    speed = sum(one["speed"] for one in printed)
    kind = f"{processes} apart" if apart else str(processes)
    print(f"{task:12} {kind:8} {speed:10,.0f} images/s", file=sys.stderr, flush=True)
    return {"speed": speed, "torch": printed[0]["torch"]}


def row_of(task: str, speeds: list[tuple[float, float, float]]) -> dict[str, Any]:
    """Medians of the speeds of one process, of two, and of two apart, and of the ratios of those measured in turn."""
    one, two, apart = (statistics.median(kind) for kind in zip(*speeds, strict=True))
    ratios, most = [s[1] / s[0] for s in speeds], [s[2] / s[0] for s in speeds]
    return {
        "task": TASKS[task][0], "one": one, "two": two, "apart": apart,
        "ratios": sorted(ratios), "ratios_apart": sorted(most),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--one", choices=TASKS, help="measure in this process, by its environment")
    parser.add_argument("--share", type=int, default=1, help="with --one: divides the batch")
    options = parser.parse_args()
    if options.one:
        measure_here(options.one, options.seconds, options.share)
        return
    rows, version, seconds = [], "", options.seconds
    for task in options.tasks:
        speeds = []
        for _ in range(options.repetitions):
            found = (
                measure(task, seconds, 1),
                measure(task, seconds, 2),
                measure(task, seconds, 2, apart=True),
            )
            speeds.append((found[0]["speed"], found[1]["speed"], found[2]["speed"]))
            version = found[0]["torch"]
        rows.append(row_of(task, speeds))
    about = {
        "date": datetime.now(UTC).date().isoformat(), "torch": version, "processor": processor(),
        "cores": os.cpu_count(), "load": os.getloadavg()[0], "repetitions": options.repetitions, "goal": GOAL,
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ranks.json").write_text(json.dumps({"about": about, "rows": rows}, indent=2) + "\n")
    (RESULTS / "ranks.md").write_text(markdown(about, rows))
    print((RESULTS / "ranks.md").read_text())


def markdown(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The table for people."""
    lines = [
        "| network | one process | two processes | two apart, half a batch each | two / one | two apart / one |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        spreads = (
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            for ratios in (r["ratios"], r["ratios_apart"])
        )
        lines.append(
            f"| {r['task']} | {r['one']:,.0f} | {r['two']:,.0f} | {r['apart']:,.0f} | {' | '.join(spreads)} |"
        )
    facts = (
        f"{about['date']}; {about['processor']}, {about['cores']} cores, load {about['load']:.1f} at the end; torch"
        f" {about['torch']}, one thread a process, gloo; {about['repetitions']} repetitions in turns; medians, and the"
        f" range of the ratios. Wanted: at least {about['goal']}. Two trainings apart tell each other nothing:"
        " about the most that sharing a batch could reach."
    )
    head = "# Two processes against one\n\nImages per second on Fashion-MNIST, the same batch shared by the processes."
    return "\n".join([head, "", *lines, "", facts, ""])


if __name__ == "__main__":
    main()
