"""Data larger than memory: how fast windows are read, how much memory training takes, and what it costs.

python benchmarks/large.py [--items 10000000] [--folder DIR] [--parts reader memory speed]

Generates items on disk (784 bytes each, removed at the end) and writes results/large.md. Nothing else should run; what
does is said there, as the load of the machine. The reader's memory is limited by a control
group, which only root can make.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from latlas import config
from latlas.build import build, item_of, objective_of, resolve, statistics
from latlas.checkpoints import Progress
from latlas.data import DataOptions, Scaling, load
from latlas.data.batches import Batches
from latlas.data.order import epoch_rows
from latlas.data.splits import as_split
from latlas.data.stored import Stored, npy_file
from latlas.machine import prepare, processor
from latlas.optimizers import optimizer_for
from latlas.training import Logged, train

RESULTS = Path(__file__).parent / "results" / "large.md"
BATCH, READER_ITEMS, SECONDS = 128, 1_000_000, 8.0
TURN, TURNS = 50, 40  # steps in turn, and how often
LIMIT = 300 << 20


def generate(path: Path, shape: tuple[int, ...], dtype: str = "u1") -> None:
    """An array of blobs, or of columns, written block by block."""
    rng = np.random.default_rng(0)
    if len(shape) == 3:
        grid = np.indices(shape[1:])[:, None]
        centre, width = rng.uniform(6, 22, (2, 2000, 1, 1)), rng.uniform(2, 6, (2000, 1, 1))
        base = (255 * np.exp(-((grid - centre) ** 2).sum(0) / width**2)).astype(dtype)
    else:
        base = rng.normal(size=(2000, shape[1])).astype(dtype)
    with path.open("wb") as file:
        about = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, about)
        for start in range(0, shape[0], 50_000):
            file.write(base[rng.integers(0, len(base), min(50_000, shape[0] - start))].data)
        file.flush()
        os.fsync(file.fileno())  # what is not on the disk yet cannot be dropped from the page cache


@contextmanager
def limited(path: Path) -> Iterator[None]:
    """At most LIMIT bytes for what this process takes from here on, the file's pages among it: a control group of its
    own, which only root can make.
    """
    old = Path("/sys/fs/cgroup/memory")
    root, name = (old, "memory.limit_in_bytes") if old.is_dir() else (Path("/sys/fs/cgroup"), "memory.max")
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    before = next(where for _, kinds, where in lines if "memory" in kinds.split(",") or not kinds)
    group = root / f"latlas-{os.getpid()}"
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    group.mkdir()
    try:
        (group / name).write_text(str(LIMIT))
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (root / before.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()


@contextmanager
def kept(path: Path) -> Iterator[None]:
    """The file in the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(2**24):
            pass
    yield


def by_memmap(path: Path) -> Iterator[int]:
    x, epoch = np.load(path, mmap_mode="r"), 0
    while True:
        for rows in epoch_rows(0, epoch, len(x), BATCH):
            yield len(np.array(x[rows]))
        epoch += 1


def by_windows(path: Path) -> Iterator[int]:
    file, epoch = npy_file(path), 0
    assert file is not None
    data = Batches(as_split(Stored(file)), Scaling("integer", scale=(255.0,)), torch.device("cpu"))
    while True:
        for _ in data.epoch(0, epoch, BATCH):
            assert data.ahead is not None
            yield len(data.ahead[1])
        epoch += 1


def rate(batches: Iterator[int]) -> float:
    """Images per second, once the first batch is there."""
    next(batches)
    begun, count = time.perf_counter(), 0
    while (taken := time.perf_counter() - begun) < SECONDS:
        count += sum(next(batches) for _ in range(20))
    return count / taken


def reader(folder: Path) -> list[str]:
    path = folder / "reader.npy"
    generate(path, (READER_ITEMS, 28, 28))
    rows = [f"| reader | in the page cache | with {LIMIT >> 20} MB |", "|---|---|---|"]
    ways: dict[str, Callable[[Path], Iterator[int]]] = {
        "windows, read-ahead thread": by_windows, "memory map, random rows": by_memmap,
    }  # fmt: skip
    for name, way in ways.items():
        speeds: list[str] = []
        for state in (kept, limited) if os.geteuid() == 0 else (kept,):
            with state(path):
                speeds.append(f"{rate(way(path)):,.0f}")
        rows.append(f"| {name} | {speeds[0]} | {speeds[1] if speeds[1:] else 'not root'} |")
    path.unlink()
    return [f"## Reader: {READER_ITEMS:,} images of 28x28, batches of {BATCH}, images/s", "", *rows, ""]


# Peaks of the process: after importing torch, after importing all that training needs, and after training.
MEASURED = """
import json, re, sys, time
begun = time.perf_counter()
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1.024e-3
import torch
torch.nn.Linear(8, 8)(torch.ones(1, 8)).sum().backward()
values = {"torch": peak()}
import latlas, latlas.experiment
values["imports"] = peak()
from latlas import training
steps = []
kept = training.train
def train(*args, **more):
    values.update(loaded=peak(), seconds=time.perf_counter() - begun)
    for event in kept(*args, **more):
        values["trained"] = peak()
        yield event
training.train = train
run = latlas.train(sys.argv[1], out=sys.argv[2], quiet=True, steps=int(sys.argv[3]), latent=8,
    settings={"data.memory": sys.argv[4], "evaluation.groups": [], "evaluation.diagnose": False})
values["whole"] = peak()
values["speed"] = run.metrics["images_per_second"]
print(json.dumps(values))
"""


def memory(folder: Path, items: int) -> list[str]:
    rows = [
        "| data | on disk | importing torch | all imports | data read | trained | whole run | trained beside torch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes: list[str] = []
    cases = {
        f"{items:,} images of 28x28": (items, 28, 28),
        f"{5 * items:,} rows of 8 columns": (5 * items, 8),
    }
    for name, shape in cases.items():
        path = folder / "large.npy"
        generate(path, shape, "u1" if len(shape) == 3 else "f4")
        with tempfile.TemporaryDirectory() as out:
            call = [sys.executable, "-c", MEASURED, str(path), f"{out}/run", "300", "windows"]
            done = subprocess.run(call, capture_output=True, text=True, check=True)
        v = json.loads(done.stdout.splitlines()[-1])
        rows.append(
            f"| {name} | {path.stat().st_size / 1e9:.1f} GB | {v['torch']:,.0f} | {v['imports']:,.0f} |"
            f" {v['loaded']:,.0f} | {v['trained']:,.0f} | {v['whole']:,.0f} | {v['trained'] - v['torch']:,.0f} |"
        )
        notes.append(f"Until training of {name} begins: {v['seconds']:,.0f} s.")
        path.unlink()
    return ["## Memory: peak of the process in MB, 300 steps of 128", "", *rows, "", *notes, ""]


def training_of(path: Path, memory: str) -> Iterator[float]:
    """Trains on a file; after each TURN steps, the seconds that they took."""
    source = DataOptions.model_validate({"source": str(path), "memory": memory, "validation": 0.0})
    data, changes = load(source), {f"data.{key}": value for key, value in source.model_dump().items()}
    changes |= {"model.latent": 16, "training.steps": TURN * (TURNS + 1), "training.log_every": TURN}
    resolved = resolve(config.override(config.recipe("vae"), changes, "benchmark"), data)[0]
    device, progress = prepare(resolved.training), Progress()
    model = build(resolved, item_of(data), statistics(data)).to(device)
    batches = Batches(data.train, data.scaling, device)
    optimizer, objective = optimizer_for(resolved, model), objective_of(resolved, data.shape)
    before = 0.0
    for event in train(model, batches, objective, optimizer, resolved, progress):
        if isinstance(event, Logged) and event.step % TURN == 0:  # the end of an epoch has a row as well
            yield progress.seconds - before
            before = progress.seconds


def speed(folder: Path) -> list[str]:
    path = folder / "speed.npy"
    generate(path, (200_000, 28, 28))
    ways = {memory: training_of(path, memory) for memory in ("resident", "windows")}
    found: dict[str, list[float]] = {memory: [] for memory in ways}
    for turn in range(TURNS + 1):
        for memory in ways if turn % 2 else reversed(ways):
            found[memory].append(next(ways[memory]))
    path.unlink()
    first = {memory: seconds.pop(0) for memory, seconds in found.items()}
    ratios = sorted(r / w for w, r in zip(found["windows"], found["resident"], strict=True))
    low, middle, high = (ratios[round(part * (len(ratios) - 1))] for part in (0.05, 0.5, 0.95))
    whole = sum(found["resident"]) / sum(found["windows"])
    images = TURN * BATCH * TURNS / sum(found["resident"])
    return [
        f"## Training: windows beside resident, {TURN} steps each by turns, default network, batches of {BATCH}", "",
        f"Ratio of images/s: {whole:.3f} of all {TURN * TURNS:,} steps; of {TURNS} turns, median {middle:.3f}, nine of"
        f" ten within {low:.3f} to {high:.3f}; resident {images:,.0f} images/s. The first {TURN} steps, with the first"
        f" window: {first['windows']:.2f} s beside {first['resident']:.2f}.",
        "",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--parts", nargs="+", default=["reader", "memory", "speed"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        parts: dict[str, Callable[[], list[str]]] = {
            "reader": lambda: reader(folder),
            "memory": lambda: memory(folder, options.items),
            "speed": lambda: speed(folder),
        }
        found = [line for part in options.parts for line in parts[part]()]
    about = (
        f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores, {platform.system()}, torch"
        f" {torch.__version__}, threads: {torch.get_num_threads()}; load of the machine when begun {busy:.1f}."
    )
    options.out.write_text("\n".join(["# Data larger than memory", "", about, "", *found]), encoding="utf-8")


if __name__ == "__main__":
    main()
