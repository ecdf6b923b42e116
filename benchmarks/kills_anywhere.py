"""Kills commands at random moments, gives them again, and says whether all ends as if nobody had disturbed them.

    python benchmarks/kills_anywhere.py [--kills 100] [--out FILE.md] FOLDER

Training, a study, a download from a server on this machine, and exports: as pages, for the hub and as ONNX. Each is
killed (SIGKILL) once to five times and then given again, until it ends. What it wrote is compared bit for bit with
what an undisturbed one wrote, but for times and dates, and no other file may be there. Commands run in processes that
have latlas imported already, so that kills meet the work and not the imports.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import random
import re
import shutil
import signal
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A file beside this one is called as the package onnx.
sys.path[:] = [at for at in sys.path if at != str(Path(__file__).resolve().parent)]
SMALL = ["--latent", "2", "--threads", "1", "--batch-size", "16", "--set", "network.hidden=[8]", "--set",
    "evaluation.diagnose=false", "--set",
         "evaluation.groups=[]"]  # fmt: skip
STUDY = """[study]
name = "killed"
data = ["{data}"]
seeds = [0]
[settings]
training.epochs = 6
network.hidden = [8]
[[runs]]
name = "one"
model.latent = 1
[[runs]]
name = "two"
model.latent = 2
"""
# What differs between two runs of the same command: times, dates, the machine's speed, and keys that are drawn.
TIMES = re.compile(
    rb'("(?:\w*seconds|\w*per_second|created|commit|wall|command|estimate\w*|run|page|folder|session)": )'
    rb'("[^"]*"|[-\d.e+]+|null)'
)


@dataclass(frozen=True)
class Command:
    """A command, the same given again, and the files by which it is judged."""

    words: Callable[[Path], list[str]]
    again: Callable[[Path], list[str]]
    share: int


def images(count: int) -> np.ndarray:
    across, down, steps = np.arange(8), np.arange(8)[:, None], np.arange(count)[:, None, None]
    return ((across * (steps % 7) * 4 + down * (steps % 11) * 3 + steps) % 256).astype(np.uint8)


def prepare(folder: Path) -> dict[str, Command]:
    """Data, a trained run and the commands on them."""
    np.savez(folder / "data.npz", x=images(200), y=np.arange(200) % 3)
    (folder / "study.toml").write_text(STUDY.format(data=folder / "data.npz"))
    data, trained = str(folder / "data.npz"), str(folder / "trained")
    if (
        in_process(["train", data, "--epochs", "4", "--out", trained, *SMALL, "-q"], folder / "prepare.log")
        != 0
    ):
        raise SystemExit((folder / "prepare.log").read_text())

    def train(place: Path) -> list[str]:
        return [
            "train",
            data,
            "--epochs",
            "25",
            "--out",
            str(place / "run"),
            *SMALL,
            "--set",
            "training.snapshot_epochs=2",
            "--set",
            "pictures.draw=false",
            "-q",
        ]

    def again(place: Path) -> list[str]:
        return ["train", "--resume", str(place / "run"), "-q"] if (place / "run").exists() else train(place)

    def same(*words: str) -> Command:
        command = lambda place: [str(place / w[1:]) if w.startswith("@") else w for w in words]  # noqa: E731
        return Command(command, command, 1)

    return {
        "train": Command(train, again, 4),
        "study": same("study", str(folder / "study.toml"), "--out", "@study", "--threads", "1", "-q"),
        "fetch": same("data", "fetch", "mnist", "--data-dir", "@data", "-q"),
        "export --html": same("export", trained, "--html", "@atlas.html", "-q"),
        "export --hub": same("export", trained, "--hub", "@hub", "-q"),
        "export --onnx": same("export", trained, "--onnx", "@onnx", "-q"),
    }


def child(words: list[str], log: Path) -> int:
    """Starts a command in a process that this one forks; gives its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        from latlas import cli

        code = cli.run(words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def in_process(words: list[str], log: Path) -> int:
    """The exit code of a command that nobody disturbs."""
    return os.waitstatus_to_exitcode(os.waitpid(child(words, log), 0)[1])


def killed(words: list[str], log: Path, after: float) -> bool:
    """Kills a command after so many seconds; whether it was still at work."""
    pid = child(words, log)
    end = time.monotonic() + after
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        time.sleep(min(0.002, after / 20))
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def contents(place: Path) -> dict[str, str]:
    """The files under a folder with the sums of their contents, without times and without the places in them."""
    found = {}
    for path in sorted(place.rglob("*")):
        if path.is_dir():
            continue
        data = path.read_bytes().replace(str(place).encode(), b"PLACE")
        name = path.relative_to(place).as_posix()
        if "events.out.tfevents" in name:  # a name that has the time in it, and rows with times
            continue
        if path.suffix in (".json", ".jsonl", ".html", ".md", ".csv"):
            data = _timeless(path, TIMES.sub(rb"\1TIME", data))
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def _timeless(path: Path, data: bytes) -> bytes:
    if path.name == "study.json":  # two lines of the table that it holds as a text
        return re.sub(rb"\\n(Training|Speed) [^\\]*", b"", data)
    if path.name in ("report.html", "study.html", "results.csv", "seeds.csv", "README.md"):
        return re.sub(
            rb"\d+(\.\d+)?", b"N", data
        )  # times stand among its numbers, which are those of the other files
    return data


def serve(port_file: Path, folder: Path) -> int:
    """A server, in a process of its own, that gives files slowly; gives the number of the process."""
    pid = os.fork()
    if pid:
        while not port_file.exists() or not port_file.read_text():
            time.sleep(0.02)
        return pid

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = (folder / self.path.rpartition("/")[2]).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for start in range(0, len(data), 4096):
                self.wfile.write(data[start : start + 4096])
                time.sleep(0.01)

        def log_message(self, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
    port_file.write_text(str(server.server_address[1]))
    server.serve_forever()
    return 0


def offer(folder: Path) -> int:
    """Lets the catalogue's mnist be a small set on a server of this machine; gives the server's process."""
    from latlas.data import catalogue

    files = folder / "served"
    files.mkdir()
    rng = np.random.default_rng(0)
    for part, count in (("train", 200), ("t10k", 60)):
        x, y = rng.integers(0, 256, (count, 28, 28), np.uint8), (np.arange(count) % 10).astype(np.uint8)
        for role, array in ((f"{part}-images-idx3-ubyte.gz", x), (f"{part}-labels-idx1-ubyte.gz", y)):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (files / role).write_bytes(gzip.compress(head + array.tobytes(), mtime=0))
    server = serve(folder / "port", files)
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files.iterdir()}
    mirrors = (f"http://127.0.0.1:{(folder / 'port').read_text()}/",)
    known = catalogue.NAMED["mnist"]
    ordered = {name: sums[name] for name in known.files}
    catalogue.NAMED["mnist"] = known.model_copy(
        update={"items": (200, 0, 60), "files": ordered, "mirrors": mirrors}
    )
    return server


def trial(
    command: Command, place: Path, length: float, truth: dict[str, str], rng: random.Random, most: int
) -> tuple[int, str]:
    """One command, killed up to `most` times; how often it was, and how what it left differs from the truth.

    An export to a new folder that was complete when it was killed refuses to be made again, and is compared as it is.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    log, kills = place.with_suffix(".log"), 0
    words = command.words(place)
    for _ in range(min(most, rng.choice((1, 2, 3, 4, 5)))):
        if not killed(words, log, rng.uniform(0, length)):
            words = []
            break
        kills += 1
        words = command.again(place)
    code = in_process(words, log) if words else 0
    if code and "exists already; choose a new or an empty folder" not in log.read_text():
        return kills, f"exit code {code}: {log.read_text()[-300:]}"
    found = contents(place)
    left = sorted(set(found) - set(truth))
    missing = sorted(set(truth) - set(found))
    other = [name for name in truth if name in found and found[name] != truth[name]]
    parts = {"left behind": left, "missing": missing, "different": other}
    return kills, "; ".join(f"{what}: {', '.join(names[:4])}" for what, names in parts.items() if names)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="commands with this in their names")
    parser.add_argument("--out", type=Path, help="a page of the results")
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        os.environ.pop(name, None)
    os.environ["LATLAS_CACHE"] = str(folder / "cache")
    import latlas.api
    import latlas.cli  # noqa: F401

    server = offer(folder)
    try:
        rows = killed_all(folder, options)
    finally:
        os.kill(server, signal.SIGKILL)
    page = table(rows)
    print(page)
    if options.out:
        options.out.write_text(page, encoding="utf-8")
    return int(any(row["faults"] for row in rows))


def killed_all(folder: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """Each command in turn, until so many kills have met one."""
    commands = {name: c for name, c in prepare(folder).items() if options.only in name}
    rng, rows, truths, total = random.Random(options.seed), [], {}, 0
    for name, command in commands.items():
        place = folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        start = time.monotonic()
        if in_process(command.words(place), folder / "true.log"):
            raise SystemExit(f"{name}: {(folder / 'true.log').read_text()}")
        truths[name] = contents(place), time.monotonic() - start
        rows.append({"name": name, "kills": 0, "trials": 0, "seconds": truths[name][1], "faults": []})
    stopped: list[int] = []
    signal.signal(
        signal.SIGTERM, lambda number, frame: stopped.append(number)
    )  # the table is of what was done
    turns = [row for row in rows for _ in range(commands[str(row["name"])].share)]
    while total < options.kills:
        if stopped:
            break
        row = rng.choice(turns)
        truth, length = truths[row["name"]]
        command = commands[str(row["name"])]
        kills, wrong = trial(command, folder / "place", length, truth, rng, options.kills - total)
        total += kills
        row["kills"] += kills  # type: ignore[operator]
        row["trials"] += 1  # type: ignore[operator]
        if wrong:
            row["faults"].append(wrong)  # type: ignore[attr-defined]
            shutil.copytree(folder / "place", folder / f"fault-{total}", dirs_exist_ok=True)
        print(
            f"{total} of {options.kills} kills: {row['name']}, {kills} times{': ' + wrong if wrong else ''}",
            flush=True,
        )
    return rows


def table(rows: list[dict[str, object]]) -> str:
    lines = [
        "# Kills",
        "",
        "Commands killed (SIGKILL) at random moments, each up to five times, and given again until they ended: how"
        " many ended with the same files as undisturbed ones, bit for bit but for times, and nothing else beside them.",
        "",
        "| command | undisturbed, s | commands | kills | as undisturbed |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        faults = list(row["faults"])  # type: ignore[call-overload]
        lines.append(
            f"| {row['name']} | {row['seconds']:.1f} | {row['trials']} | {row['kills']} |"
            f" {int(str(row['trials'])) - len(faults)} |"
        )
    for row in rows:
        lines += [f"\n{row['name']}: {fault}" for fault in row["faults"]]  # type: ignore[attr-defined]
    import platform
    from datetime import UTC, datetime

    import torch

    lines += [
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, torch {torch.__version__}, on a busy"
        " machine.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
