"""Training images per second: a plain tutorial loop and latlas's loop, on the same network, side by side.

    LATLAS_DATA=FOLDER python benchmarks/throughput.py [--repetitions 3]

Every measurement is one whole epoch over Fashion-MNIST's 60,000 training images in a process of its own,
after some steps to warm up, so that nothing one loop sets in its process helps the other. Repetitions take
turns (A B C A B C ...), so that a change in the machine's load meets all of them. Networks, optimiser (Adam)
and batch sizes are the tutorials': MLP 784-400-20 at batch 128 and learning rate 1e-3; the convolutional
network of the `fashion-vae` recipe at batch 100 and 1e-4. Writes benchmarks/results/throughput.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
WARM_UP = 30  # steps before the clock starts
NETWORKS = {"mlp": "MLP 784-400-20", "fashion": "convolutional, fashion-vae"}
LOOPS = {"plain-0": "plain loop, 0 workers", "plain-2": "plain loop, 2 workers", "latlas": "latlas"}


@dataclass(frozen=True)
class Task:
    """One network and its tutorial's settings."""

    batch_size: int
    lr: float
    recipe: str
    settings: dict[str, Any]


TASKS = {
    "mlp": Task(
        128, 1e-3, "vae",
        {"network.name": "mlp", "network.hidden": [400], "network.activation": "relu", "model.latent": 20,
         "optimizer.name": "adam", "optimizer.weight_decay": 0.0, "optimizer.schedule": "constant"},
    ),
    "fashion": Task(100, 1e-4, "fashion-vae", {}),
}  # fmt: skip


def plain(task_name: str, workers: int) -> tuple[int, float]:
    """Images and seconds of one epoch of the tutorials' loop: Dataset, DataLoader, Adam, loss.item()."""
    import torch
    from plain_loop import NETS, Images, vae_loss
    from torch.utils.data import DataLoader

    task, data = TASKS[task_name], fashion_mnist()
    loader = DataLoader(Images(data.train.x), task.batch_size, shuffle=True, num_workers=workers)
    model = NETS[task_name]()
    optimizer = torch.optim.Adam(model.parameters(), lr=task.lr)
    total = 0.0

    def step(x: torch.Tensor) -> float:
        optimizer.zero_grad()
        logits, mean, log_var = model(x)
        loss = vae_loss(logits, mean, log_var, x)
        loss.backward()
        optimizer.step()
        return loss.item()

    for _, x in zip(range(WARM_UP), loader, strict=False):
        step(x)
    start = time.perf_counter()
    for x in loader:
        total += step(x)
    assert total > 0
    return len(data.train), time.perf_counter() - start


def ours(task_name: str) -> tuple[int, float]:
    """Images and seconds of one epoch of latlas's loop, with its logging every 50 steps."""
    import torch

    from latlas import config, training
    from latlas.build import build, item_of, objective_of, resolve, statistics
    from latlas.checkpoints import Progress
    from latlas.data.batches import Batches
    from latlas.machine import prepare

    task, data = TASKS[task_name], fashion_mnist()
    same = {"data.validation": 0.0, "training.batch_size": task.batch_size, "optimizer.lr": task.lr}
    settings = config.override(config.recipe(task.recipe), {**task.settings, **same}, "benchmark")
    device = prepare(settings.training)

    def epoch(epochs: int | None, steps: int | None) -> float:
        length = {"training.epochs": epochs, "training.steps": steps}
        resolved, _ = resolve(config.override(settings, length, "benchmark"), data)
        model = build(resolved, item_of(data), statistics(data)).to(device)
        batches = Batches(data.train, data.scaling, device)
        optimizer = training.optimizer_for(resolved, model)
        objective = objective_of(resolved, data.shape)
        start = time.perf_counter()
        for _ in training.train(model, batches, objective, optimizer, resolved, Progress()):
            pass
        return time.perf_counter() - start

    torch.manual_seed(0)
    epoch(None, WARM_UP)
    return len(data.train), epoch(1, None)


def fashion_mnist() -> Any:
    """All 60,000 training images, uint8."""
    from latlas.data import DataOptions, load

    return load(DataOptions(source="fashion-mnist", validation=0.0))


def measure_here(task: str, loop: str) -> None:
    """Prints what one process measured."""
    import torch

    images, seconds = ours(task) if loop == "latlas" else plain(task, int(loop[-1]))
    found = {"images_per_second": images / seconds, "seconds": seconds, "torch": torch.__version__,
             "threads": torch.get_num_threads()}  # fmt: skip
    print(json.dumps(found))


def measure(task: str, loop: str) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--one", task, loop]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{task:8} {loop:8} {found['images_per_second']:10,.0f} images/s", file=sys.stderr, flush=True)
    return found


def processor() -> str:
    """The CPU's name, as well as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def ratio_rows(measured: dict[str, dict[str, list[float]]]) -> list[dict[str, Any]]:
    """Median and range of images per second, and of the ratio to each plain loop of the same turn."""
    rows = []
    for task, loops in measured.items():
        row: dict[str, Any] = {"network": NETWORKS[task], "images_per_second": {}, "latlas_over": {}}
        for loop, values in loops.items():
            row["images_per_second"][loop] = spread(values)
            if loop != "latlas":
                ratios = [a / b for a, b in zip(loops["latlas"], values, strict=True)]
                row["latlas_over"][loop] = spread(ratios)
        rows.append(row)
    return rows


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def markdown(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The table for people."""
    head = ["network", *LOOPS.values(), *[f"latlas / {LOOPS[k]}" for k in LOOPS if k != "latlas"]]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        speeds = [f"{row['images_per_second'][k]['median']:,.0f}" for k in LOOPS]
        ratios = [
            f"{r['median']:.2f} ({r['min']:.2f} to {r['max']:.2f})" for r in row["latlas_over"].values()
        ]
        lines.append(f"| {' | '.join([row['network'], *speeds, *ratios])} |")
    facts = f"{about['date']}; {about['cpu']}; torch {about['torch']}, {about['threads']} threads; "
    facts += f"{about['repetitions']} repetitions in turns; medians, and the range of the ratios in brackets."
    title = "# Training throughput\n\nImages per second over a whole epoch of Fashion-MNIST (60,000 images)."
    return f"{title}\n\n" + "\n".join(lines) + f"\n\n{facts}\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "LOOP"), help="measure one in this process")
    options = parser.parse_args()
    if options.one:
        measure_here(*options.one)
        return
    measured: dict[str, dict[str, list[float]]] = {task: {loop: [] for loop in LOOPS} for task in TASKS}
    last: dict[str, Any] = {}
    for _ in range(options.repetitions):
        for task, loops in measured.items():
            for loop, values in loops.items():
                last = measure(task, loop)
                values.append(last["images_per_second"])
    about = {"date": datetime.now(UTC).date().isoformat(), "cpu": processor(), "torch": last["torch"],
             "threads": last["threads"], "repetitions": options.repetitions}  # fmt: skip
    rows = ratio_rows(measured)
    RESULTS.mkdir(exist_ok=True)
    text = markdown(about, rows)
    (RESULTS / "throughput.json").write_text(
        json.dumps({**about, "rows": rows, "measured": measured}, indent=2) + "\n"
    )
    (RESULTS / "throughput.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
