"""Training images per second: a plain tutorial loop, a lean one, pythae's trainer and latlas, on the same network.

    LATLAS_DATA=FOLDER python benchmarks/throughput.py [--repetitions 3] [--threads 2] [--loops plain-0 lean ...]

Every measurement is one whole epoch over Fashion-MNIST's 60,000 training images in a process of its own,
so that nothing one loop sets in its process helps the other. The clock starts after some steps to warm up; of latlas
the first steps count. Repetitions take turns (A B C A B C ...), so that a change in the machine's load meets all of
them. Networks, optimiser (Adam)
and batch sizes are the tutorials': MLP 784-400-20 at batch 128 and learning rate 1e-3; the convolutional
network of the `fashion-vae` recipe at batch 100 and 1e-4. latlas trains through its ordinary call, with logging,
checkpoints and snapshots; its training seconds are those of the steps. Beside the table stands what share of a large
matrix product's speed the MLP's steps reach. Writes benchmarks/results/throughput.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
WARM_UP = 30  # steps before the clock starts
NETWORKS = {"mlp": "MLP 784-400-20", "fashion": "convolutional, fashion-vae"}
LOOPS = {
    "plain-0": "plain loop, 0 workers",
    "plain-2": "plain loop, 2 workers",
    "lean": "lean loop",
    "pythae": "pythae",
    "latlas": "latlas",
    "latlas-bf16": "latlas, bfloat16",
}
# Multiplications and additions of a step per image, two per product: three products per weight of the MLP, forward and
# backward, and two in the first layer, as no gradient of the images is needed.
MLP_FLOPS = 4 * 784 * 400 + 6 * (400 * 40 + 20 * 400 + 400 * 784)


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


def lean(task_name: str) -> tuple[int, float]:
    """Images and seconds of one epoch as an expert writes it: bytes in memory, fused Adam, no DataLoader, no item()."""
    import torch
    from plain_loop import NETS, vae_loss

    task, x = TASKS[task_name], torch.from_numpy(fashion_mnist().train.x).movedim(-1, 1)
    model = NETS[task_name]()
    optimizer = torch.optim.Adam(model.parameters(), lr=task.lr, fused=True)

    def train(rows: torch.Tensor) -> None:
        for part in rows.split(task.batch_size):
            batch = x[part].to(torch.float32).div_(255)
            optimizer.zero_grad()
            logits, mean, log_var = model(batch)
            vae_loss(logits, mean, log_var, batch).backward()
            optimizer.step()

    train(torch.randperm(WARM_UP * task.batch_size))
    start = time.perf_counter()
    train(torch.randperm(len(x)))
    return len(x), time.perf_counter() - start


def pythae(task_name: str) -> tuple[int, float]:
    """Images and seconds of one epoch of pythae's trainer, after a few steps."""
    from pythae_loop import epoch_of

    task, images = TASKS[task_name], fashion_mnist().train.x
    epoch_of(task_name, images[: WARM_UP * task.batch_size], task.batch_size, task.lr)()
    epoch = epoch_of(task_name, images, task.batch_size, task.lr)
    start = time.perf_counter()
    epoch()
    return len(images), time.perf_counter() - start


def ours(task_name: str, precision: str) -> tuple[int, float]:
    """Images and training seconds of one epoch of an ordinary run: logging, checkpoints and snapshots are written."""
    import latlas

    task = TASKS[task_name]
    same = {"data.validation": 0.0, "training.batch_size": task.batch_size, "optimizer.lr": task.lr,
            "training.precision": precision}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = latlas.train(
            "fashion-mnist", recipe=task.recipe, epochs=1, out=Path(folder) / "run", quick=True, quiet=True,
            settings={**task.settings, **same, "pictures.draw": False},
        )  # fmt: skip
        return 60_000, float(run.metrics["training_seconds"])


def sgemm() -> float:
    """Gigaflops of products of 1024 x 1024 matrices, the best of several."""
    import torch

    a, best = torch.rand(1024, 1024), 0.0
    for _ in range(20):
        start = time.perf_counter()
        a @ a
        best = max(best, 2 * 1024**3 / (time.perf_counter() - start) / 1e9)
    return best


def fashion_mnist() -> Any:
    """All 60,000 training images, uint8."""
    from latlas.data import DataOptions, load

    return load(DataOptions(source="fashion-mnist", validation=0.0))


def measure_here(task: str, loop: str, threads: int) -> None:
    """Prints what one process measured."""
    import torch

    torch.set_num_threads(threads)
    ways: dict[str, Callable[[], tuple[int, float]]] = {
        "plain-0": lambda: plain(task, 0), "plain-2": lambda: plain(task, 2), "lean": lambda: lean(task),
        "pythae": lambda: pythae(task), "latlas": lambda: ours(task, "float32"),
        "latlas-bf16": lambda: ours(task, "bfloat16"),
    }  # fmt: skip
    images, seconds = ways[loop]()
    found = {"images_per_second": images / seconds, "seconds": seconds, "torch": torch.__version__,
             "threads": torch.get_num_threads(), "sgemm": sgemm(),
             "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # fmt: skip
    print(json.dumps(found))


def measure(task: str, loop: str, threads: int) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--one", task, loop, "--threads", str(threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{task:8} {loop:12} {found['images_per_second']:10,.0f} images/s, {found['megabytes']:,.0f} MB, sgemm"
          f" {found['sgemm']:.0f} GFLOP/s", file=sys.stderr, flush=True)  # fmt: skip
    return found


def processor() -> str:
    """The CPU's name, as well as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def table(task: str, found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The lines of one network: images per second and memory by loop, and how much faster latlas is."""
    speeds = {loop: [row["images_per_second"] for row in rows] for loop, rows in found.items()}
    lines = [
        f"## {NETWORKS[task]}",
        "",
        "| loop | images/s | memory | latlas is faster by |",
        "|---|---|---|---|",
    ]
    for loop, rows in found.items():
        ratio = spread([a / b for a, b in zip(speeds["latlas"], speeds[loop], strict=True)])
        faster = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
        memory = statistics.median(row["megabytes"] for row in rows)
        lines.append(
            f"| {LOOPS[loop]} | {statistics.median(speeds[loop]):,.0f} | {memory:,.0f} MB | {faster} |"
        )
    if task == "mlp":
        shares = [row["images_per_second"] * MLP_FLOPS / row["sgemm"] / 1e9 for row in found["latlas"]]
        lines += [
            "",
            f"latlas's steps reach {statistics.median(shares):.0%} of a product of 1024 x 1024 matrices.",
        ]
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--loops", nargs="+", default=list(LOOPS), choices=list(LOOPS))
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "LOOP"), help="measure one in this process")
    options = parser.parse_args()
    if options.one:
        measure_here(*options.one, options.threads)
        return
    loops = [loop for loop in LOOPS if loop in {*options.loops, "latlas"}]
    measured: dict[str, dict[str, list[dict[str, Any]]]] = {t: {loop: [] for loop in loops} for t in TASKS}
    for _ in range(options.repetitions):
        for task, of_task in measured.items():
            for loop, found in of_task.items():
                found.append(measure(task, loop, options.threads))
    last = measured["mlp"]["latlas"][-1]
    text = [
        "# Training throughput",
        "",
        "Images per second over a whole epoch of Fashion-MNIST (60,000 images).",
        "",
    ]
    for task, of_task in measured.items():
        text += table(task, of_task)
    text.append(
        f"{datetime.now(UTC):%Y-%m-%d}; {processor()}; torch {last['torch']}, {last['threads']} threads;"
        f" {options.repetitions} repetitions in turns; medians, and the range of the ratios in brackets.\n"
    )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "throughput.json").write_text(json.dumps(measured, indent=2) + "\n")
    (RESULTS / "throughput.md").write_text("\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
