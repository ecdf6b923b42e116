"""Kills processes of a training at random moments, and says whether the run ends where an undisturbed one does.

    python benchmarks/kills.py [--kills 20] [--processes 2] FOLDER

torchrun restarts the processes with --max-restarts; one of them is killed at a random moment after the run has begun,
or while it begins anew. The weights are compared with those of one process that nobody disturbed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

SETTINGS = [
    "--latent", "2", "--batch-size", "32", "--threads", "1", "--epochs", "60", "--set", "network.hidden=[32]", "--set",
    "pictures.draw=false", "--set", "evaluation.groups=[]", "--set", "evaluation.diagnose=false", "--set",
    "training.precision=float64",
]  # fmt: skip


def workers(agent: int) -> list[int]:
    """The processes that torchrun has started."""
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(agent)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in done.stdout.split()]


def train(folder: Path, name: str, launcher: list[str]) -> subprocess.Popen[bytes]:
    out, log = folder / name, (folder / f"{name}.log").open("wb")
    command = [sys.executable, "-m", *launcher, "latlas", "train", "digits", "--out", str(out), *SETTINGS]
    return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})


def kill_often(
    agent: subprocess.Popen[bytes], run: Path, kills: int, rng: random.Random, longest: float
) -> int:
    """Kills a process of the agent's again and again; gives how often."""
    met: set[int] = set()
    times = 0
    while agent.poll() is None and times < kills:
        alive = [pid for pid in workers(agent.pid) if pid not in met]
        if not alive or not (run / "run.json").exists():
            time.sleep(0.1)
            continue
        time.sleep(rng.uniform(0, longest))  # from the imports to the epochs after
        chosen = rng.choice(workers(agent.pid) or [0])
        if chosen and agent.poll() is None and not (run / "report.html").exists():
            os.kill(chosen, signal.SIGKILL)
            met |= set(workers(agent.pid)) | {chosen}
            times += 1
            print(f"kill {times}: process {chosen}", flush=True)
            time.sleep(0.5)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--longest", type=float, default=15, help="seconds to wait for before a kill, at most"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    from safetensors.torch import load_file

    alone = train(options.folder, "alone", [])
    launcher = [
        "torch.distributed.run",
        "--nproc-per-node",
        str(options.processes),
        "--max-restarts",
        "100",
        "-m",
    ]
    agent = train(options.folder, "killed", launcher)
    rng = random.Random(options.seed)
    killed = kill_often(agent, options.folder / "killed", options.kills, rng, options.longest)
    codes = [agent.wait(), alone.wait()]
    one, other = (load_file(options.folder / name / "model.safetensors") for name in ("alone", "killed"))
    apart = max(float((one[k] - other[k]).abs().max() / one[k].abs().max()) for k in one)
    print(f"killed {killed} times; exit codes {codes}; largest relative difference of weights {apart:.1e}")
    return int(any(codes) or apart > 1e-6)


if __name__ == "__main__":
    sys.exit(main())
