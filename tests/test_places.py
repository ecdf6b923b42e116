"""Odd places: streams closed or full, terminals that close, homes that are missing, names that are too long."""

from __future__ import annotations

import io
import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import images
from PIL import Image

import latlas
from latlas import cli, listing, machine, places, stopping
from latlas.cli import streams
from latlas.data import DataOptions, cache_home, load
from latlas.errors import InputError, LatlasError

COMMAND = [sys.executable, "-m", "latlas"]
PLAIN: dict[str, Any] = {"latent": 2, "steps": 8, "quiet": True, "threads": 1}
SMALL = {"network.hidden": [8], "pictures.draw": False, "evaluation.groups": [], "evaluation.diagnose": False}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an array and a run on it."""
    folder = tmp_path_factory.mktemp("work")
    np.save(folder / "ramps.npy", images(60))
    latlas.train(folder / "ramps.npy", out=folder / "run", settings=SMALL, **PLAIN)
    return folder


def shell(line: str, folder: Path, **environment: str) -> tuple[int, str, str]:
    """A line of bash, in which $L is the command: exit code, standard output, standard error."""
    env = os.environ | {"L": " ".join(COMMAND), "OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_training_outlives_whoever_reads_what_it_says(work: Path) -> None:
    sets = " ".join(f"--set '{key}={str(value).lower()}'" for key, value in SMALL.items())
    train = f"$L train ramps.npy --latent 2 --steps 8 --threads 1 {sets}"
    code, out, err = shell(f"{train} --out headed 2>&1 | head -1; exit ${{PIPESTATUS[0]}}", work)
    assert (code, len(out.splitlines()), err) == (0, 1, "")
    assert (work / "headed" / "report.html").exists()
    assert latlas.open_run(work / "headed").finished


@pytest.mark.slow
def test_results_that_cannot_be_written_are_said_and_readers_may_leave(tmp_path: Path) -> None:
    code, _, err = shell("$L recipes > /dev/full", tmp_path)
    assert (code, err) == (1, "error: standard output: cannot be written: No space left on device\n")
    # All three in turn, as starting takes longest: closed, left by its reader, and nowhere to say what is wrong.
    line = "$L recipes >&-; echo $?; $L recipes | true; echo ${PIPESTATUS[0]}; $L recipes show none 2>&-; echo $?"
    assert shell(line, tmp_path) == (0, "0\n0\n2\n", "")


def test_an_encoding_without_a_sign_gets_another_spelling() -> None:
    streams.register()
    content = io.BytesIO()
    with io.TextIOWrapper(content, "ascii", "latlas") as stream:
        stream.write("−1 ± 0.2 → é\udce9")
        stream.flush()
        assert content.getvalue() == rb"-1 +/- 0.2 -> \xe9\udce9"


def test_a_terminal_that_closes_asks_to_stop_and_nohup_has_that_ignored() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with machine.interruptible(say=False) as asked:
            assert not asked()
            for _ in range(2):  # as shells and kernels send it
                os.kill(os.getpid(), signal.SIGHUP)
            assert asked()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stopping.interrupt_when_asked()
        with machine.interruptible(say=False) as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not asked()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        stopping.interrupt_when_asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


LONG = "x" * 300


@pytest.mark.parametrize(
    "line",
    [
        f"evaluate {LONG}", f"train {LONG}", f"train {LONG}.npy", "report ~nobody-here/run", "train ~nobody-here/x",
        f"encode RUN --out {LONG}.npz", "encode RUN --out ~nobody-here/x.npz", f"encode RUN {LONG}",
        f"decode RUN {LONG}.npy", f"neighbours RUN {LONG}", f"morph RUN {LONG} 1", f"sample RUN --out {LONG}",
        f"score RUN --page {LONG}.html", f"compare RUN --out {LONG}.html", "compare RUN --csv ~nobody-here/x.csv",
        f"compare RUN {LONG}", f"study {LONG}", "study ~nobody-here/x.toml", f"export RUN --onnx {LONG}",
        f"export RUN --html {LONG}.html", f"animate RUN --out {LONG}.gif", f"log RUN --to tensorboard --uri {LONG}",
        f"train SOURCE --out {LONG}", f"train SOURCE --config {LONG}", f"runs --root {LONG}", f"prune {LONG}",
        f"data fetch mnist --data-dir {LONG}", "train mnist --data-dir ~nobody-here", f"study latent-size --out {LONG}",
    ],
)  # fmt: skip
def test_a_place_that_cannot_be_is_said_in_one_line(
    work: Path, line: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = line.replace("RUN", str(work / "run")).replace("SOURCE", str(work / "ramps.npy")).split()
    code = cli.run([*words, "--quiet"] if words[0] in ("train", "study") else words)
    out, err = capfd.readouterr()
    assert code in (1, 2), out
    assert len(err.splitlines()) == 1, err
    assert "unexpected" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_without_a_home_is_a_name() -> None:
    assert places.expanded("~nobody-here/x") == Path("~nobody-here/x")
    assert places.expanded("~/x") == Path.home() / "x"


def test_names_become_parts_of_file_names() -> None:
    assert places.file_part("../../etc/passwd") == "-etc-passwd"
    assert places.file_part("a\nb\x1b[31m/c") == "a-b-31m-c"
    assert len(os.fsencode(places.file_part("é" * 300))) <= places.MOST_BYTES
    assert places.file_part("é" * 300)[:3] == "ééé"


def test_without_a_home_nothing_is_cached_and_what_needs_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "LATLAS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    for i, image in enumerate(images(12, 8, 8, 1)):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(tmp_path / "photos" / f"{i}.png")
    with pytest.raises(LatlasError, match="let HOME or LATLAS_CACHE name one"):
        cache_home()
    dataset = load(DataOptions(source="photos"))
    assert any("no home folder to keep a cache in" in note for note in dataset.notes)
    with pytest.raises(LatlasError, match="LATLAS_CACHE"):
        load(DataOptions(source="mnist"))
    assert not listing.data_info("mnist")["present"]
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_working_folder_that_is_gone_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli.run(["report", "run"]) == 2
    assert "the folder that this command was started in is gone" in capsys.readouterr().err


class Remover:
    """A tracker that removes the run's folder once it is trained for some steps."""

    figures = False

    def start(self, config: Any, info: Any) -> None:
        self.folder = Path(info["run"])

    def step(self, step: int, values: Any) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def epoch(self, step: int, values: Any) -> None: ...

    def picture(self, step: int, name: str, image: Any) -> None: ...

    def end(self, numbers: Any) -> None: ...


def test_a_run_folder_that_disappears_ends_training_in_one_line(
    work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LatlasError, match=r"cannot be (written|made): No such file or directory"):
        latlas.train(
            work / "ramps.npy", out=tmp_path / "run", settings={**SMALL, "training.log_every": 1}, tracker=Remover(),
            **PLAIN | {"steps": 60},
        )  # fmt: skip
    assert "Traceback" not in capfd.readouterr().err


def test_a_run_that_is_being_made_is_no_run(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "run", tmp_path / "run")
    shutil.copytree(work / "run", tmp_path / f".latlas.tmp-01234567-{16 * '0'}")
    assert [row["name"] for row in listing.list_runs(tmp_path)] == ["run"]


def test_numbers_of_a_run_that_cannot_be_written_are_shown(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (work / "run" / "metrics.json").read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode, **_: Path(path) != work / "run")
    assert cli.run(["evaluate", str(work / "run"), "--measure", "mse"]) == 0
    out, err = capsys.readouterr()
    assert "squared error" in out
    assert "these numbers are shown, and kept nowhere" in err
    assert cli.run(["encode", str(work / "run")]) == 2
    assert (
        f"--out {work / 'run' / 'codes.npz'}: the folder {work / 'run'} cannot be written"
        in capsys.readouterr().err
    )
    assert (work / "run" / "metrics.json").read_bytes() == before


def test_numbers_that_are_not_finite_are_no_result(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = latlas.runs.Run.model

    def diverged(run: latlas.runs.Run) -> Any:
        model = whole(run)
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, torch.nan)
        return model

    with pytest.raises((LatlasError, InputError)):
        latlas.decode(work / "run", np.full((3, 2), 1e300), quiet=True)
    monkeypatch.setattr(latlas.runs.Run, "model", diverged)
    out = tmp_path / "out.npz"
    said = {"encode": "codes", "score": "numbers", "sample": "samples", "reconstruct": "reconstruction",
            "neighbours": "codes"}  # fmt: skip
    for command, what in said.items():
        items = [0] if command == "neighbours" else []
        with pytest.raises(
            LatlasError, match=rf"no finite {what} for \d+ of \d+ items?: its weights are not finite"
        ):
            getattr(latlas, command)(work / "run", *items, out=out, quiet=True)
        assert cli.run([command, str(work / "run"), *map(str, items), "--out", str(out), "--quiet"]) == 1
        assert f"no finite {what} for " in capsys.readouterr().err
    assert not out.exists()
