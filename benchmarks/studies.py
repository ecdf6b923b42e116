"""How busy a study keeps the processors: many tiny runs, one after the other and several at a time.

    python benchmarks/studies.py [--runs 100] [--jobs 2] [--steps 300]

A study of tiny runs on the digits (MLP 64-64-2, batch 64) is carried out by `latlas study --jobs N`. Ten times a second
the CPU seconds of its worker processes are read, and the seconds that they waited for a processor that other work held
(/proc/PID/schedstat, Linux). A worker is busy while it computes or waits for a processor: on a machine of one's own
there is no such wait, and on a shared one the share of CPU time alone would measure the others. Shares are of the time
of N workers, from the start of the first to the end of the last. They sleep while files are flushed to disk, and at the
end while others finish their last run. Where other work makes that longer too, the share without it is a lower bound.
Writes benchmarks/results/studies.json and .md.
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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
STUDY = """
[study]
name = "many"
data = ["digits"]
seeds = {seeds}
pca = false
[settings]
network.hidden = [64]
model.latent = 2
training.steps = {steps}
training.batch_size = 64
training.threads = 1
[[runs]]
recipe = "vae"
"""


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def seconds(pid: int) -> tuple[float, float]:
    """CPU seconds of a process, and those that its main thread waited for a processor."""
    ran, waited, _ = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()
    return int(ran) / 1e9, int(waited) / 1e9


def measured(folder: Path, runs: int, jobs: int, steps: int) -> dict[str, Any]:
    """A study of so many runs carried out: its wall seconds, and what its workers did with theirs."""
    (folder / "many.toml").write_text(STUDY.format(seeds=list(range(runs)), steps=steps))
    command = [
        sys.executable,
        "-m",
        "latlas",
        "study",
        "many.toml",
        "--jobs",
        str(jobs),
        "--out",
        "many",
        "-q",
    ]
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    used: dict[int, tuple[float, float]] = {}
    first = last = trained = begun
    while process.poll() is None:
        try:
            workers = children(process.pid)
            used |= {pid: seconds(pid) for pid in workers}
        except (FileNotFoundError, ProcessLookupError):
            workers = [0]  # one ended this moment
        now = time.monotonic()
        first = now if first == begun and used else first
        if len(workers) == jobs:
            trained = now
        last = now if workers else last
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"the study failed with exit code {process.returncode}")
    ran, waited = (sum(pair[i] for pair in used.values()) for i in (0, 1))
    return {
        "runs": runs, "jobs": jobs, "steps": steps, "workers_started": len(used),
        "seconds": round(time.monotonic() - begun, 1), "training_seconds": round(last - first, 1),
        "all_workers_seconds": round(trained - first, 1), "cpu_seconds": round(ran, 1),
        "waited_seconds": round(waited, 1),
        "asleep_seconds": round(jobs * (last - first) - ran - waited, 1),
        "busy": round((ran + waited) / (jobs * (last - first)), 3),
        "cpu_share": round(ran / (jobs * (last - first)), 3),
        "busy_alone": round(ran / (jobs * (last - first) - waited), 3),
    }  # fmt: skip


def report(results: dict[str, Any]) -> str:
    """The results as a page."""
    lines = [
        "# Many small runs",
        "",
        f"{results['date']}, {results['machine']}. `python benchmarks/studies.py` says how this is measured.",
        "",
        "| runs | at a time | wall time, s | training, s | workers' CPU time, s | waited for a processor, s | asleep, s"
        " | busy | without the others, at least |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        lines.append(
            f"| {row['runs']} of {row['steps']} steps | {row['jobs']} | {row['seconds']} | {row['training_seconds']} |"
            f" {row['cpu_seconds']} | {row['waited_seconds']} | {row['asleep_seconds']} | {row['busy']:.1%}"
            f" | {row['busy_alone']:.1%} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        row = measured(Path(folder), options.runs, options.jobs, options.steps)
    cores = len(os.sched_getaffinity(0))
    machine = f"{platform.machine()}, {cores} cores, load of other work {load:.1f} at the start"
    results = {"date": datetime.now(UTC).date().isoformat(), "machine": machine, "rows": [row]}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "studies.json").write_text(json.dumps(results, indent=2) + "\n")
    (RESULTS / "studies.md").write_text(report(results))
    print(report(results))


if __name__ == "__main__":
    main()
