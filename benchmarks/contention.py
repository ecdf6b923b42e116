"""Training beside another busy process on the same cores, with the ways in which OpenMP's threads can wait.

python benchmarks/contention.py [REPETITIONS] trains two networks on 2 threads, alone and beside a process that
multiplies matrices on every core, and writes results/contention.md. Ways take turns; each run is a process.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from latlas.machine import processor

RESULTS = Path(__file__).resolve().parent / "results" / "contention.md"
WAYS = {
    "as latlas has them": {},
    "spin 1,000 times": {"GOMP_SPINCOUNT": "1000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 300,000 times, OpenMP's own": {"GOMP_SPINCOUNT": "300000"},
}
NETWORKS = {
    "MLP 784-400-20, batch 128": [
        "vae",
        "network.hidden=[400]",
        "training.batch_size=128",
        "model.latent=20",
    ],
    "convolutional, fashion-vae, batch 100": ["fashion-vae", "training.batch_size=100"],
}
STEPS = {"vae": 1200, "fashion-vae": 150}
BUSY = "import torch\nx = torch.randn(700, 700)\nwhile True:\n    x = (x @ x).tanh_()"


HEAD = """# Training beside another busy process

Images a second of `latlas train fashion-mnist --threads 2`, medians: alone, and beside a process that multiplies
matrices on every core. A thread of GNU's OpenMP that waits spins so many times and sleeps then. latlas leaves
OpenMP its own number, and has it take a small one as long as other work needs the cores.
"""


def speed(network: str, way: dict[str, str], folder: Path) -> float:
    """Training images per second."""
    recipe, *settings = NETWORKS[network]
    out = folder / f"run-{time.monotonic_ns()}"
    changes = [f"training.steps={STEPS[recipe]}", "training.snapshot_every=100000", *settings]
    command = [
        sys.executable,
        "-m",
        "latlas",
        "train",
        "fashion-mnist",
        "--recipe",
        recipe,
        "--quick",
        "--quiet",
    ]
    command += [
        "--threads",
        "2",
        "--out",
        str(out),
        *(word for change in changes for word in ("--set", change)),
    ]
    free = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "MKL_"))}
    code = f"import latlas; r = latlas.open_run({str(out)!r}); print(r.log()[-1]['images_per_second'])"
    subprocess.run(command, env=free | way, check=True, stdout=subprocess.DEVNULL)
    return float(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    )


def main(repetitions: int) -> None:
    """Measures, prints and writes the table."""
    found: dict[tuple[str, str, bool], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repetitions):
            for network in NETWORKS:
                for busy in (False, True):
                    other = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
                    try:
                        for name, way in WAYS.items():
                            got = speed(network, way, Path(folder))
                            found.setdefault((network, name, busy), []).append(got)
                            print(
                                f"{network} | {name} | {'beside' if busy else 'alone'} | {got:.0f}",
                                flush=True,
                            )
                    finally:
                        if other:
                            other.kill()
    lines = [
        HEAD,
        "| network | threads wait | alone, images/s | beside it | share kept |",
        "|---|---|---|---|---|",
    ]
    for network in NETWORKS:
        for name in WAYS:
            alone, beside = (statistics.median(found[network, name, busy]) for busy in (False, True))
            lines.append(
                f"| {network} | {name} | {alone:,.0f} | {beside:,.0f} | {100 * beside / alone:.0f} % |"
            )
    lines += ["", f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {platform.platform()}.", ""]
    RESULTS.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
