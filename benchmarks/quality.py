"""Time to quality: the test ELBO that `latlas train` reaches in a given time, with nothing but the latent size.

    LATLAS_DATA=FOLDER python benchmarks/quality.py [--data fashion-mnist] [--latent 2 20] [--budgets 5s 25s 2m]
        [--networks auto kmnist] [--seeds 5] [--threads 2] [-- --set KEY=VALUE ...]

Every run is a command of its own, `latlas train DATA --latent N --budget TIME --quick`; seeds take turns over all
networks and budgets. Prints each run; writes results/quality-DATA.md: medians, spreads, seconds before the first step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from latlas.machine import processor

RESULTS = Path(__file__).resolve().parent / "results"
Row = tuple[float, float, float, int]  # test ELBO, training seconds, seconds before the first step, steps


def measure(data: str, latent: int, budget: str, seed: int, more: list[str]) -> Row:
    """One run, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "latlas", "train", data, "--latent", str(latent), "--budget", budget]
        command += ["--seed", str(seed), "--quick", "--quiet", "--out", str(out), *more]
        began = time.time()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        metrics = json.loads((out / "metrics.json").read_text())
        first = (out / "snapshots" / "00000000.npz").stat().st_mtime - began
    return metrics["splits"]["test"]["elbo"], metrics["training_seconds"], first, metrics["steps"]


def main() -> None:
    """Measures, prints, and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--latent", type=int, nargs="+", default=[2, 20])
    parser.add_argument("--budgets", nargs="+", default=["5s", "25s", "2m"])
    parser.add_argument("--networks", nargs="+", default=["auto"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", default="2")
    parser.add_argument("more", nargs="*", help="further options of latlas train")
    given = parser.parse_args()
    found: dict[tuple[int, str, str], list[Row]] = {}
    cases = list(itertools.product(given.latent, given.budgets, given.networks))
    for seed, (latent, budget, network) in itertools.product(range(given.seeds), cases):
        more = ["--threads", given.threads, "--set", f"network.name={network}", *given.more]
        row = measure(given.data, latent, budget, seed, more)
        found.setdefault((latent, budget, network), []).append(row)
        print(f"latent {latent}, {budget}, {network}, seed {seed}: ELBO {row[0]:.2f}, training {row[1]:.1f} s,"
              f" first step after {row[2]:.1f} s, {row[3]:,} steps", flush=True)  # fmt: skip
    lines = [
        f"# Time to quality: {given.data}",
        "",
        f"Test ELBO in nats by `latlas train {given.data} --latent N --budget TIME --threads {given.threads}"
        f"{' '.join(['', *given.more])}`; median over {given.seeds} seeds, least and greatest. Training: seconds of"
        " optimiser steps alone; before it: from the command to the first step, with measuring the pace.",
        "",
        "| latent | budget | network | test ELBO | training, s | before it, s | steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for (latent, budget, network), rows in found.items():
        elbo, training, first, steps = (statistics.median(column) for column in zip(*rows, strict=True))
        span = f"{min(r[0] for r in rows):.1f} to {max(r[0] for r in rows):.1f}"
        lines.append(
            f"| {latent} | {budget} | {network} | {elbo:.1f} ({span}) | {training:.1f} | {first:.1f} | {steps:,.0f} |"
        )
    lines += ["", f"{datetime.now(UTC):%Y-%m-%d}, {processor()}.", ""]
    (RESULTS / f"quality-{given.data}.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
