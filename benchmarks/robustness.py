"""Default runs over data sets, latent sizes, seeds and lengths, at the default learning rate and at three times it.

    LATLAS_DATA=FOLDER python benchmarks/robustness.py [--quick] [--processes 2]

A default run may never break off. Runs are shortened, by steps and by items, but each learning rate still rises to its
peak. Every run is `latlas train` with nothing else set, without the numbers, diagnosis and pictures that follow it.
Needs MNIST, Fashion-MNIST, Flowers102 and the folder KMNIST-7k, a part of Kuzushiji-MNIST. Writes
benchmarks/results/robustness.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results" / "robustness.md"
ALONE = {
    "evaluation.groups": [], "evaluation.diagnose": False, "pictures.draw": False,
    "training.snapshot_every": 10**6, "training.threads": 1,
}  # fmt: skip
DEFAULT_LR = 3e-3
TITLES = ("The default learning rate", "Three times the default learning rate")


@dataclass(frozen=True)
class Case:
    """Runs on one source: every latent size with every seed."""

    source: str
    latents: tuple[int, ...]
    seeds: int
    steps: int
    limit: int | None = None
    image_size: int | None = None

    @property
    def runs(self) -> int:
        return len(self.latents) * self.seeds


CASES = (
    Case("fashion-mnist", (1, 2, 4, 16, 64), 2, 200, limit=10_000),
    Case("fashion-mini", (1, 2, 4, 16, 64), 3, 150),
    Case("mnist", (1, 2, 8, 32, 64), 2, 150, limit=6000),
    Case("KMNIST-7k", (1, 2, 8, 32, 64), 2, 150, limit=6000),
    Case("digits", (1, 2, 4, 16, 64), 4, 400),
    Case("digits", (2,), 3, 1500),
    Case("table", (1, 2, 4, 16, 64), 4, 500),
    Case("table", (2, 8), 3, 2500),
    Case("shapes", (2, 6, 64), 1, 60, limit=1000),
    Case("flowers102", (2, 16, 64), 1, 60, limit=300, image_size=32),
)


@dataclass(frozen=True)
class Outcome:
    """One run: an error's message if it broke off; skipped steps; setbacks; whether a logged loss rose far above the
    first; and the last logged loss.
    """

    error: str
    skipped: int = 0
    setbacks: int = 0
    jumped: bool = False
    loss: float = float("nan")


def train_one(case: Case, latent: int, seed: int, factor: int, folder: Path) -> Outcome:
    """Trains one run in a folder of its own."""
    import latlas
    from latlas.errors import LatlasError

    here = {"table": folder / "table.csv", "KMNIST-7k": Path(os.environ["LATLAS_DATA"]) / "KMNIST-7k"}
    source = str(here.get(case.source, case.source))
    out = folder / f"{case.source}-{case.steps}-{latent}-{seed}-{factor}"
    options: dict[str, Any] = {"limit": case.limit, "image_size": case.image_size and (case.image_size,) * 2}
    if factor != 1:
        options["lr"] = factor * DEFAULT_LR
    if case.source == "table":
        options["label"] = "target"
    try:
        run = latlas.train(
            source, latent=latent, steps=case.steps, seed=seed, out=out, settings=ALONE, quiet=True,
            **{name: value for name, value in options.items() if value is not None},
        )  # fmt: skip
    except LatlasError as error:
        return Outcome(str(error))
    losses = [row["loss"] for row in run.log() if row["kind"] == "step"]
    metrics = run.metrics
    jumped = max(losses) > losses[0] + abs(losses[0])
    return Outcome("", metrics["skipped_steps"], metrics["setbacks"], jumped, losses[-1])


def write_table(path: Path) -> None:
    """Writes the 569 rows and 30 columns of scikit-learn's breast cancer data, with their labels."""
    from sklearn.datasets import load_breast_cancer

    load_breast_cancer(as_frame=True).frame.to_csv(path, index=False)


def measured(cases: Sequence[Case], factor: int, processes: int) -> Iterator[tuple[Case, list[Outcome]]]:
    """The outcomes of each case."""
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(processes) as pool:
        folder = Path(name)
        write_table(folder / "table.csv")
        jobs = [
            (case, [pool.submit(train_one, case, latent, seed, factor, folder)
                    for latent, seed in product(case.latents, range(case.seeds))])
            for case in cases
        ]  # fmt: skip
        for case, futures in jobs:
            outcomes = [future.result() for future in futures]
            print(row(case, outcomes), file=sys.stderr, flush=True)
            yield case, outcomes


def row(case: Case, outcomes: Sequence[Outcome]) -> str:
    """One line of the table."""
    ended = [o for o in outcomes if not o.error]
    cells = [
        case.source, ", ".join(map(str, case.latents)), case.seeds, f"{case.steps:,}", len(outcomes), len(ended),
        sum(o.jumped for o in ended), sum(o.skipped for o in ended), sum(o.setbacks for o in ended),
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def section(title: str, results: Sequence[tuple[Case, list[Outcome]]]) -> str:
    """The table of one learning rate."""
    heads = [
        "data",
        "latent",
        "seeds",
        "steps",
        "runs",
        "finished",
        "with a jump",
        "skipped steps",
        "setbacks",
    ]
    every = [outcome for _, outcomes in results for outcome in outcomes]
    errors = [f"- broke off: {o.error}" for o in every if o.error]
    total = f"{sum(not o.error for o in every)} of {len(every)} runs finished."
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(row(*result) for result in results)]
    return "\n".join([f"## {title}", "", *lines, "", total, *errors])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short run of each case; writes nothing")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    cases = [replace(c, latents=c.latents[:1], seeds=1, steps=60) for c in CASES] if options.quick else CASES
    begun = time.perf_counter()
    sections = []
    first_seeds = [replace(c, seeds=1) for c in cases]
    for factor, title, some in ((1, TITLES[0], cases), (3, TITLES[1], first_seeds)):
        sections.append(section(title, list(measured(some, factor, options.processes))))
    import torch

    minutes = (time.perf_counter() - begun) / 60
    facts = f"{datetime.now(UTC).date()}, {platform.system()} {platform.machine()}, torch {torch.__version__}, one"
    facts += f" thread a run, {options.processes} processes, {minutes:.0f} minutes."
    about = (
        "Runs with nothing set but data, latent size, seed and length. With a jump: a logged loss, a mean over 50"
        " steps, was more than twice the first. Skipped steps and setbacks are those of runs that finished."
    )
    text = "\n\n".join(["# Default runs", about, *sections, facts]) + "\n"
    if not options.quick:
        RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
