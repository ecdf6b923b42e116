"""Training on a GPU: images per second, memory, agreement and exactness, in one command of less than eight minutes.

    python benchmarks/gpu.py [--device cuda] [--quick]

Speed does not depend on what the items show, so that these are made here: 60,000 images of 28x28 bytes on the device.
Steps are those of `latlas train`, with its logging every 50 steps, and without validation and checkpoints. Settings
take turns, and each is measured three times; a table gives the median and the range. Writes benchmarks/results/gpu.md.
`--device cpu --quick` runs the same code with few steps, where there is no GPU: its numbers say nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from latlas import captured, config, optimizers, training
from latlas.build import build, item_of, objective_of, resolve
from latlas.build import statistics as statistics_of
from latlas.checkpoints import Progress
from latlas.data import Dataset, Scaling
from latlas.data.batches import Batches
from latlas.data.dataset import Split
from latlas.distributed import World

RESULTS = Path(__file__).resolve().parent / "results"
MLP = {"network.name": "mlp", "network.hidden": [400], "network.activation": "relu", "model.latent": 20}
GOALS = {128: "1 M", 1024: "10 M"}
WAYS = {
    "kernel by kernel": {"training.capture": "off"},
    "captured": {"training.capture": "on"},
    "captured, bfloat16": {"training.capture": "on", "training.precision": "bfloat16"},
}


@dataclass
class Effort:
    """How much is measured on which device."""

    device: torch.device
    images: int = 60_000
    batches: tuple[int, ...] = (128, 1024, 10_000)
    conv_batch: int = 100  # the tutorial's
    look: int = 50  # steps between two looks at the clock, which starts after 100
    repetitions: int = 3
    seconds: float = 3.0
    steps: int = 200  # of what is compared
    stacked: int = 64
    notes: list[str] = field(default_factory=list)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def made(effort: Effort) -> Dataset:
    """Images of smooth noise, as bytes."""
    coarse = torch.rand(effort.images, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    x = (255 * functional.interpolate(coarse, size=28, mode="bilinear").square()).byte().permute(0, 2, 3, 1)
    split = Split(x.contiguous().numpy(), None, np.arange(effort.images))
    return Dataset(
        "made", "made", "image", (1, 28, 28), False, Scaling("integer", (0.0,), (255.0,)), split, split, split
    )


class Training:
    """A run without a folder, which can be stopped and gone on with."""

    def __init__(self, effort: Effort, dataset: Dataset, recipe: str = "vae", **settings: Any) -> None:
        logging = {"training.log_every": min(50, effort.steps // 2)}  # 50 is the default
        length = {"training.steps": 10**6, "training.snapshot_every": 10**6} | logging
        chosen = config.override(config.recipe(recipe), {**length, **settings}, "benchmark")
        self.effort, self.dataset = effort, dataset
        self.config, _ = resolve(chosen, dataset)
        self.model = build(self.config, item_of(dataset), statistics_of(dataset)).to(effort.device)
        self.data = Batches(dataset.train, dataset.scaling, effort.device)
        if self.data.resident is None:
            self.data.reside()
        self.optimizer = optimizers.optimizer_for(self.config, self.model)
        self.progress = Progress()

    def until(self, stop: Callable[[], bool]) -> list[float]:
        """Trains until it is told to stop; gives the logged losses."""
        objective = objective_of(self.config, self.dataset.shape)
        losses = []
        for event in training.train(
            self.model, self.data, objective, self.optimizer, self.config, self.progress, World(stop=stop)
        ):
            if isinstance(event, training.Noted):
                self.effort.notes.append(event.text)
            if isinstance(event, training.Logged):
                losses.append(event.values["loss"] or 0.0)
        return losses

    def to(self, step: int) -> list[float]:
        return self.until(lambda: self.progress.step >= step)

    def speed(self) -> float:
        """Images per second."""
        marks: list[tuple[float, int]] = []

        def stop() -> bool:
            if self.progress.step < 2 * self.effort.look or self.progress.step % self.effort.look:
                return False
            late = bool(marks) and time.perf_counter() - marks[0][0] > self.effort.seconds
            if late or not marks:
                self.effort.wait()
                marks.append((time.perf_counter(), self.progress.step))
            return late

        self.until(stop)
        (start, first), (end, last) = marks
        per_epoch = training.plan(self.config, len(self.data)).per_epoch
        return (last - first) * len(self.data) / per_epoch / (end - start)

    @property
    def state(self) -> list[Tensor]:
        kept = [value for state in self.optimizer.state.values() for value in state.values()]
        return [*self.model.state_dict().values(), *kept]


def middle(values: list[float], digits: str = ",.0f") -> str:
    """The median, and the range."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):{digits}} ({low:{digits}} to {high:{digits}})"


def mlp_speeds(effort: Effort, dataset: Dataset) -> list[str]:
    """A table of images per second of the MLP, by batch and by the way that a step is taken."""
    lines = [
        "## MLP 784-400-20, images per second",
        "",
        "| batch | " + " | ".join(WAYS) + " | goal on an H100 |",
    ]
    lines.append("|---" * (len(WAYS) + 2) + "|")
    memory = []
    for batch in effort.batches:
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(effort.repetitions):
            for way, settings in WAYS.items():
                if effort.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                run = Training(effort, dataset, **{**MLP, **settings, "training.batch_size": batch})
                found[way].append(run.speed())
                if effort.device.type == "cuda":
                    used = torch.cuda.max_memory_allocated() / 2**20
                    memory.append(f"{way} at {batch:,}: {used:,.0f} MiB at most")
                del run
        cells = " | ".join(middle(values) for values in found.values())
        lines.append(f"| {batch:,} | {cells} | {GOALS.get(batch, '')} |")
    if memory:
        lines += ["", "Memory, the items among it: " + "; ".join(dict.fromkeys(memory[-len(WAYS) :])) + "."]
    return [*lines, ""]


def stacked(effort: Effort, dataset: Dataset) -> list[str]:
    """Many seeds of the MLP as one model of batched products: an experiment, which latlas does not offer."""
    device, batch = effort.device, 128
    rates: dict[int, float] = {}
    for seeds in (1, effort.stacked):
        step = stacked_step(torch.from_numpy(dataset.train.x).to(device).flatten(1), seeds, batch)
        replay = recorded(step, device)
        for _ in range(10):
            replay()
        effort.wait()
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < effort.seconds:
            for _ in range(effort.look):
                replay()
                steps += 1
            effort.wait()
        rates[seeds] = steps * seeds * batch / (time.perf_counter() - start)
    many, one = rates[effort.stacked], rates[1]
    return [
        "## Many seeds stacked",
        "",
        f"{effort.stacked} seeds of the MLP at batch {batch} as batched products, captured: {many:,.0f} images per"
        f" second in all, {many / one:.1f} times as many as one seed so. The goal on an H100 is 20 M. latlas does not"
        " train seeds stacked; this measures whether it should.",
        "",
    ]


def stacked_step(items: Tensor, seeds: int, batch: int) -> Callable[[], None]:
    """A step of `seeds` models at once, each with rows and noise of its own."""
    sizes, device = ((784, 400), (400, 40), (20, 400), (400, 784)), items.device
    weights = [torch.randn(seeds, a, b, device=device).mul_(a**-0.5).requires_grad_() for a, b in sizes]
    biases = [torch.zeros(seeds, 1, b, device=device, requires_grad=True) for _, b in sizes]
    cuda = device.type == "cuda"
    lr = torch.tensor(1e-3, device=device) if cuda else 1e-3
    optimizer = torch.optim.AdamW([*weights, *biases], lr=lr, fused=True, capturable=cuda)

    def step() -> None:
        rows = torch.randint(len(items), (seeds, batch), device=device)
        x = items[rows].float().div_(255)
        layer = lambda i, h: torch.baddbmm(biases[i], h, weights[i])  # noqa: E731
        mean, log_var = layer(1, layer(0, x).relu()).chunk(2, -1)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        logits = layer(3, layer(2, z).relu())
        rate = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
        distortion = functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        optimizer.zero_grad()
        (distortion + rate).mean(1).sum().backward()
        optimizer.step()

    return step


def recorded(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A step as a graph of kernels, on CUDA."""
    if device.type != "cuda":
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def convolutional(effort: Effort, dataset: Dataset) -> list[str]:
    """The tutorial's convolutional network against the time that its kernels take one after the other."""
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    batch = {"training.batch_size": effort.conv_batch}
    for _ in range(effort.repetitions):
        for way, settings in WAYS.items():
            speeds[way].append(Training(effort, dataset, "fashion-vae", **settings, **batch).speed())
    lines = [f"## Convolutional network of fashion-vae, batch {effort.conv_batch}", ""]
    lines += ["| | images per second | time of a step over that of its kernels |", "|---|---|---|"]
    for way, settings in WAYS.items():
        plainly = {**settings, **batch, "training.capture": "off"}
        kernels = kernel_seconds(Training(effort, dataset, "fashion-vae", **plainly))
        ratio = effort.conv_batch / statistics.median(speeds[way]) / kernels
        lines.append(f"| {way} | {middle(speeds[way])} | {ratio:.2f} |")
    return [*lines, "", "The goal is at most 2 in the last column.", ""]


def kernel_seconds(run: Training) -> float:
    """How long the kernels of a step take, by torch's profiler."""
    steps = run.effort.steps // 10
    run.to(steps)
    cuda = run.effort.device.type == "cuda"
    kind = torch.profiler.ProfilerActivity.CUDA if cuda else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[kind]) as profile:
        run.to(2 * steps)
        run.effort.wait()
    device = torch.autograd.DeviceType.CUDA if cuda else torch.autograd.DeviceType.CPU
    events = [event for event in profile.events() if event.device_type == device]
    spent = (e.time_range.elapsed_us() if cuda else e.self_cpu_time_total for e in events)
    return sum(spent) / steps / 1e6


def agreement(effort: Effort, dataset: Dataset) -> list[str]:
    """How far captured steps and plain ones come apart, and whether a captured run goes on to the bit."""
    runs = [Training(effort, dataset, **{**MLP, **settings}) for settings in list(WAYS.values())[:2]]
    plain, replayed = (run.to(effort.steps) for run in runs)
    pairs = list(zip(*(run.model.state_dict().values() for run in runs), strict=True))
    apart = max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)
    loss = abs(plain[-1] - replayed[-1])
    text = (
        f"After {effort.steps} steps, captured against kernel by kernel: weights differ by {apart:.1e} of the"
    )
    text += f" largest of their tensor at most, the loss by {loss:.1e} nats of {plain[-1]:.1f}."
    lines = ["## Agreement", "", text]
    for way, settings in WAYS.items():
        whole, cut, again = (Training(effort, dataset, **{**MLP, **settings}) for _ in range(3))
        whole.to(effort.steps)
        cut.to(effort.steps // 2 + 3)
        again.model.load_state_dict(cut.model.state_dict())
        again.optimizer.load_state_dict(cut.optimizer.state_dict())
        again.progress = cut.progress
        again.to(effort.steps)
        same = all(torch.equal(a, b) for a, b in zip(whole.state, again.state, strict=True))
        lines.append(f"Stopped and gone on with, {way}: {'the same bits' if same else 'OTHER BITS'}.")
    return [*lines, ""]


def about(effort: Effort) -> list[str]:
    name = torch.cuda.get_device_name() if effort.device.type == "cuda" else "CPU"
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    return [
        "# Training on a GPU",
        "",
        f"`python benchmarks/gpu.py`, {when}: {name}, torch {torch.__version__}, CUDA {torch.version.cuda}. Medians of"
        f" {effort.repetitions} measurements of {effort.seconds:g} s, with their range.",
        "",
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--quick", action="store_true", help="few steps and items: to see that it runs")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.md")
    options = parser.parse_args(arguments)
    effort = Effort(torch.device(options.device))
    if effort.device.type == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device here; --device cpu --quick runs the same code small", file=sys.stderr)
        return 2
    if effort.device.type == "cuda":
        torch.cuda.set_device(effort.device)
    if options.quick:
        effort = Effort(effort.device, 100, (16,), 16, 2, repetitions=1, seconds=0.01, steps=20, stacked=2)
    captured.DEVICES = (effort.device.type,)
    dataset, start = made(effort), time.perf_counter()
    lines = about(effort)
    for part in (mlp_speeds, convolutional, stacked, agreement):
        lines += part(effort, dataset)
        print(f"{part.__name__}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    if effort.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in dict.fromkeys(effort.notes)), ""]
    options.out.write_text("\n".join(lines), "utf-8")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
