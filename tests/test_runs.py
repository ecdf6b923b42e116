"""The run folder: whole or not there, resumable from any moment, and readable anywhere."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import images, poison

import latlas
from latlas import checkpoints, experiment, runs, snapshots
from latlas.api import learning
from latlas.errors import InputError, LatlasError
from latlas.files import exclusively, write_atomic
from latlas.objectives import Elbo

QUICK = {
    "network.hidden": [16],
    "training.log_every": 6,
    "training.batch_size": 27,
    "training.snapshot_weights": True,
    "pictures.draw": False,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "ramps.npz"
    np.savez(path, x=images(200), y=np.arange(200) % 3)
    return path


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> latlas.Run:
    out = tmp_path_factory.mktemp("runs") / "done"
    return latlas.train(
        str(source), latent=2, epochs=4, out=out, settings=QUICK | {"pictures.draw": True}, quiet=True
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_finished_run_has_everything(finished: latlas.Run) -> None:
    names = set(tree(finished.path))
    assert {"config.toml", "run.json", "model.json", "log.jsonl", "metrics.json", "report.html"} <= names
    assert {"model.safetensors", "checkpoints/end.json"} <= names
    assert not [n for n in names if n.startswith("checkpoints/") and n.endswith(".safetensors")]
    pictures = ("reconstructions", "samples", "snapshots", "latent", "manifold", "morph", "losses")
    assert {f"figures/{name}.png" for name in pictures} <= names
    assert not [n for n in names if n.endswith((".pt", ".pth", ".pkl", ".pickle"))]
    assert finished.finished


def test_files_have_the_usual_mode(finished: latlas.Run) -> None:
    for name in ("model.safetensors", "config.toml", "report.html", "figures/samples.png"):
        assert stat.S_IMODE((finished.path / name).stat().st_mode) == 0o644, name
    assert stat.S_IMODE(finished.path.stat().st_mode) == 0o755


def test_the_log_has_every_term_and_the_best_epoch_is_the_model(finished: latlas.Run) -> None:
    rows = finished.log()
    steps, epochs = ([r for r in rows if r["kind"] == kind] for kind in ("step", "epoch"))
    terms = {"loss", "distortion", "rate", "elbo", "beta", "lr", "grad_norm", "images_per_second"}
    assert all(terms <= set(row) for row in steps)
    assert [r["step"] for r in steps] == [6, 12, 18, 24]
    assert [r["epoch"] for r in epochs] == [1, 2, 3, 4]
    best = max(epochs, key=lambda r: r["valid"]["elbo"])
    assert finished.metrics["best_step"] == best["step"]
    assert finished.metrics["splits"]["valid"]["elbo"] == pytest.approx(best["valid"]["elbo"], rel=1e-9)


def test_the_numbers_add_up(finished: latlas.Run) -> None:
    test = finished.metrics["splits"]["test"]
    assert test["images"] == 20
    assert test["elbo"] == pytest.approx(-(test["distortion"] + test["rate"]))
    assert finished.metrics["steps"] == 24
    assert finished.metrics["epochs"] == 4


def test_a_moved_run_still_works(finished: latlas.Run, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(finished.path, moved)
    x = images(7)
    np.testing.assert_array_equal(latlas.load(moved).encode(x), latlas.load(finished.path).encode(x))
    assert latlas.load(str(moved)).sample(3).shape == (3, 8, 6, 1)


def test_the_resolved_configuration_gives_the_same_run(finished: latlas.Run, tmp_path: Path) -> None:
    config = learning.configure(file=finished.path / "config.toml", settings={"pictures.draw": False})
    again = experiment.train(config, tmp_path / "again")
    assert (again.path / "model.safetensors").read_bytes() == (
        finished.path / "model.safetensors"
    ).read_bytes()


def test_resuming_a_finished_run_changes_nothing(finished: latlas.Run) -> None:
    before = tree(finished.path)
    assert latlas.resume(finished.path, quiet=True).path == finished.path
    assert tree(finished.path) == before


@pytest.mark.parametrize("recipe", ["ae", "linear-ae"])
def test_an_autoencoder_has_numbers_without_a_bound_and_pictures_without_samples(
    source: Path, tmp_path: Path, recipe: str
) -> None:
    settings = {"training.batch_size": 27, "network.hidden": [16]}
    run = latlas.train(
        str(source), recipe=recipe, latent=2, epochs=2, out=tmp_path / "run", settings=settings, quiet=True
    )
    test = run.metrics["splits"]["test"]
    assert test["elbo"] is None
    assert test["rate"] is None
    assert test["distortion"] is not None
    assert 0 < test["mse"] < 1
    assert not (run.path / "figures" / "samples.png").exists()
    assert (run.path / "figures" / "latent.png").exists()
    x = images(5)
    np.testing.assert_allclose(
        latlas.load(run.path).reconstruct(x), latlas.load(run.path).decode(latlas.load(run.path).encode(x))
    )


class Halt(Exception):
    """Stands for the process's end."""


class Stopper:
    """An observer that ends the process, as it were, at some epoch."""

    def __init__(self, epoch: int) -> None:
        self.left = epoch

    def note(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None: ...

    def epoch(self, text: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise Halt


class Unheard(Stopper):
    """Ends the process at its first note, before it trains."""

    def note(self, text: str) -> None:
        raise Halt


def begun(source: Path, out: Path, epochs: int) -> runs.Run:
    """A run whose process ended after so many epochs."""
    config = learning.configure(str(source), options={"latent": 2, "epochs": 4}, settings=QUICK)
    with pytest.raises(Halt):
        experiment.train(config, out, Stopper(epochs))
    return runs.find(out)


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    source: Path, finished: latlas.Run, tmp_path: Path, epochs: int
) -> None:
    run = begun(source, tmp_path / "run", epochs)
    # A killed process can leave more in the log than in the checkpoint, and half a line.
    with (run.path / "log.jsonl").open("a") as stream:
        stream.write('{"kind": "step", "step": 19, "loss": 1.0}\n{"kind": "st')
    latlas.resume(run.path, quiet=True)
    ends = [f"snapshots/{step:08d}.{kind}" for step in (0, 14, 24) for kind in ("npz", "safetensors")]
    for name in ("model.safetensors", *ends):
        assert (run.path / name).read_bytes() == (finished.path / name).read_bytes(), name
    assert without_times(run.log()) == without_times(finished.log())
    same = ("splits", "steps", "best_step", "epochs")
    assert {k: run.metrics[k] for k in same} == {k: finished.metrics[k] for k in same}


def test_a_run_without_a_checkpoint_resumes_from_the_start(
    source: Path, finished: latlas.Run, tmp_path: Path
) -> None:
    run = begun(source, tmp_path / "run", 1)
    shutil.rmtree(run.path / "checkpoints")
    (run.path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights yet"):
        latlas.load(run.path)
    latlas.resume(run.path, quiet=True)
    assert (run.path / "model.safetensors").read_bytes() == (finished.path / "model.safetensors").read_bytes()


def test_a_best_checkpoint_lost_between_two_writes_is_written_again(
    source: Path, finished: latlas.Run, tmp_path: Path
) -> None:
    """`best` always holds weights and optimiser of one step: it is a copy of that step's `last`."""
    run = begun(source, tmp_path / "run", 1)
    best = run.path / "checkpoints" / "best.safetensors"
    assert best.read_bytes() == (run.path / "checkpoints" / "last.safetensors").read_bytes()
    best.unlink()
    (run.path / "model.safetensors").unlink()
    with pytest.raises(Halt):
        experiment.resume(run.path, Unheard(1))
    assert best.read_bytes() == (run.path / "checkpoints" / "last.safetensors").read_bytes()
    latlas.resume(run.path, quiet=True)
    assert (run.path / "model.safetensors").read_bytes() == (finished.path / "model.safetensors").read_bytes()


TROUBLED = QUICK | {"optimizer.schedule": "constant", "optimizer.lr": 4e-3, "training.snapshot_every": 4}


def troubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps 3, 8 and 10 fail at the full learning rate, which is a setback to step 6; step 15 fails at any."""
    poison(monkeypatch, {3, 8, 10, 11}, above=3e-3)
    poison(monkeypatch, {15})


def train_troubled(source: Path, out: Path, observer: Any = None) -> latlas.Run:
    config = learning.configure(str(source), options={"latent": 2, "epochs": 4}, settings=TROUBLED)
    return experiment.train(config, out, observer or Stopper(99))


@pytest.fixture(scope="module")
def recovered(source: Path, tmp_path_factory: pytest.TempPathFactory) -> latlas.Run:
    with pytest.MonkeyPatch.context() as patch:
        troubled(patch)
        return train_troubled(source, tmp_path_factory.mktemp("runs") / "recovered")


def assert_recovered_alike(run: latlas.Run, other: latlas.Run) -> None:
    assert without_times(run.log()) == without_times(other.log())
    files = ("model.safetensors", "snapshots/", "report.html")
    assert [n for n in tree(run.path) if n.startswith(files)] == [
        n for n in tree(other.path) if n.startswith(files)
    ]
    for name, content in tree(run.path).items():
        assert not name.startswith(files[:2]) or content == (other.path / name).read_bytes(), name
    same = ("splits", "steps", "best_step", "epochs", "skipped_steps", "setbacks")
    assert {k: run.metrics[k] for k in same} == {k: other.metrics[k] for k in same}
    assert [p.name for p in (run.path / "checkpoints").iterdir()] == ["end.json"]


def test_skipped_steps_and_setbacks_are_in_log_numbers_and_report(recovered: latlas.Run) -> None:
    rows = recovered.log()
    assert [r["step"] for r in rows if r["kind"] == "epoch"] == [6, 12, 18, 24]
    assert [r["step"] for r in rows] == sorted(r["step"] for r in rows)
    assert [(r["step"], r["term"]) for r in rows if r["kind"] == "skipped"] == [(3, "loss"), (15, "loss")]
    (setback,) = (r for r in rows if r["kind"] == "setback")
    assert setback == {
        "kind": "setback",
        "step": 6,
        "epoch": 1.0,
        "from": 10,
        "skipped": 3,
        "setbacks": 1,
        "lr": 2e-3,
    }
    assert [r["lr"] for r in rows if r["kind"] == "epoch"] == [4e-3, 2e-3, 2e-3, 2e-3]
    assert recovered.metrics["skipped_steps"] == 4
    assert recovered.metrics["setbacks"] == 1
    page = (recovered.path / "report.html").read_text()
    assert "4 steps were skipped, as loss or gradient was not finite" in page
    assert "training went back to a checkpoint once, with half the learning rate" in page


def test_skipped_steps_and_setbacks_are_said(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Notes(Stopper):
        def note(self, text: str) -> None:
            notes.append(text)

    notes: list[str] = []
    troubled(monkeypatch)
    train_troubled(source, tmp_path / "run", Notes(99))
    said = [note for note in notes if re.search(r"steps? .*skipped|went back", note) and "folder" not in note]
    assert said == [
        "step 3 is skipped: its loss is not finite",
        "step 8 is skipped: its loss is not finite (2 steps so far)",
        "3 of the last 100 steps were skipped, the last at step 10: back to step 6 with half the learning rate, 0.002",
        "step 15 is skipped: its loss is not finite (4 steps so far)",
        "4 steps were skipped, as loss or gradient was not finite",
        "training went back to a checkpoint once, with half the learning rate",
    ]


@contextlib.contextmanager
def stopped_at(number: int) -> Iterator[None]:
    """Training is asked to stop at so many of its steps."""

    @contextlib.contextmanager
    def stopping(say: bool = True) -> Iterator[Callable[[], bool]]:
        asked = itertools.count(1)
        yield lambda: next(asked) >= number

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "interruptible", stopping)
        yield


@pytest.mark.parametrize("stop_at", [2, 3, 7, 9, 10, 14])
def test_stopped_and_resumed_about_a_setback_a_run_ends_in_the_same_bits(
    source: Path, recovered: latlas.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    troubled(monkeypatch)
    with stopped_at(stop_at), pytest.raises(experiment.Interrupted):
        train_troubled(source, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "stopped.safetensors").exists()
    assert_recovered_alike(latlas.resume(tmp_path / "run", quiet=True), recovered)


def later(*numbers: int) -> list[Any]:
    """Writes about which `make test` says nothing, as it takes every second one."""
    return [pytest.param(number, marks=pytest.mark.slow) for number in numbers]


@contextlib.contextmanager
def killed_at_write(number: int) -> Iterator[None]:
    """The process ends, as it were, just before it writes or removes a file of the run for this many times."""
    count = itertools.count(1)

    def dying(work: Callable[..., Any]) -> Callable[..., Any]:
        def maybe(*arguments: Any, **options: Any) -> Any:
            if next(count) == number:
                raise Halt
            return work(*arguments, **options)

        return maybe

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((runs, "write_atomic"), (checkpoints, "write_atomic"), (snapshots, "write_atomic"),
                            (runs.Run, "append_log"), (runs.Path, "unlink")):  # fmt: skip
            patch.setattr(owner, name, dying(getattr(owner, name)))
        yield


@pytest.mark.parametrize("number", [9, 16, *range(20, 34, 2), *later(15, *range(21, 34, 2), 41)])
def test_killed_at_any_write_about_a_setback_a_run_ends_in_the_same_bits(
    source: Path, recovered: latlas.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    troubled(monkeypatch)
    with killed_at_write(number), pytest.raises(Halt):
        train_troubled(source, tmp_path / "run")
    assert_recovered_alike(latlas.resume(tmp_path / "run", quiet=True), recovered)


def test_a_run_that_fails_at_any_learning_rate_stops_with_one_line_and_does_so_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, range(8, 12))
    message = r"^step 10: the loss is not finite.*learning rate"
    with pytest.raises(LatlasError, match=message):
        train_troubled(source, tmp_path / "run")
    run = runs.find(tmp_path / "run")
    assert [(r["step"], r["lr"]) for r in run.log() if r["kind"] == "setback"] == [
        (6, 2e-3),
        (6, 1e-3),
        (6, 5e-4),
    ]
    with pytest.raises(LatlasError, match=message):
        latlas.resume(run.path, quiet=True)
    monkeypatch.undo()
    assert latlas.resume(run.path, quiet=True).metrics["setbacks"] == 3


def test_a_setback_in_the_first_epoch_goes_to_the_start(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, {1, 2, 3}, above=3e-3)
    run = train_troubled(source, tmp_path / "run")
    monkeypatch.undo()
    settings = TROUBLED | {"optimizer.lr": 2e-3}
    half = latlas.train(str(source), latent=2, epochs=4, out=tmp_path / "half", settings=settings, quiet=True)
    assert (run.path / "model.safetensors").read_bytes() == (half.path / "model.safetensors").read_bytes()
    assert [r["step"] for r in run.log() if r["kind"] == "setback"] == [0]


def test_changed_data_are_refused(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ramps.npz"
    shutil.copy(source, copy)
    run = begun(copy, tmp_path / "run", 1)
    np.savez(copy, x=images(200, seed=9), y=np.arange(200) % 3)
    with pytest.raises(InputError, match="not those that"):
        latlas.resume(run.path, quiet=True)


def test_a_run_is_trained_by_one_process_at_a_time(source: Path, tmp_path: Path) -> None:
    run = begun(source, tmp_path / "run", 1)
    with exclusively(run.path), pytest.raises(InputError, match="another process is training"):
        latlas.resume(run.path, quiet=True)


def test_where_a_file_system_has_no_locks_none_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refused(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with exclusively(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_early_stopping_keeps_the_best_and_stays_stopped(source: Path, tmp_path: Path) -> None:
    settings = QUICK | {"optimizer.lr": 0.05, "optimizer.schedule": "constant"}
    run = latlas.train(
        str(source), latent=2, epochs=200, patience=3, out=tmp_path / "run", settings=settings, quiet=True
    )
    epochs = [r for r in run.log() if r["kind"] == "epoch"]
    assert len(epochs) < 200
    values = [r["valid"]["elbo"] for r in epochs]
    assert values.index(max(values)) == len(values) - 4
    assert run.metrics["splits"]["valid"]["elbo"] == pytest.approx(max(values), rel=1e-9)
    (run.path / "metrics.json").unlink()
    latlas.resume(run.path, quiet=True)
    assert len([r for r in run.log() if r["kind"] == "epoch"]) == len(epochs)


@pytest.mark.parametrize(
    ("settings", "worth", "first"),
    [
        ({"objective.beta": 30.0}, lambda v: -(v["distortion"] + 30 * v["rate"]), 6),
        ({"objective.schedule": "linear", "objective.warmup": 12}, lambda v: v["elbo"], 12),
        (
            {"objective.capacity": 1.0, "objective.beta": 30.0, "objective.warmup": 12},
            lambda v: -(v["distortion"] + 30 * abs(v["rate"] - 1)),
            12,
        ),
        ({"objective.name": "reconstruction"}, lambda v: -v["distortion"], 6),
        ({"objective.name": "infovae", "objective.info_lambda": 50.0}, lambda v: 0.0, 24),
    ],
)
def test_the_model_is_of_the_epoch_that_is_best_by_what_it_was_trained_for(
    source: Path,
    tmp_path: Path,
    settings: dict[str, Any],
    worth: Callable[[dict[str, float]], float],
    first: int,
) -> None:
    options = QUICK | {"optimizer.lr": 0.05, "optimizer.schedule": "constant"} | settings
    if "objective.schedule" not in settings:
        options["objective.schedule"] = "constant"
    run = latlas.train(str(source), latent=2, epochs=4, out=tmp_path / "run", settings=options, quiet=True)
    epochs = [r for r in run.log() if r["kind"] == "epoch" and r["step"] >= first]
    assert run.metrics["best_step"] == max(epochs, key=lambda r: worth(r["valid"]))["step"]
    assert run.metrics["splits"]["valid"]["distortion"] == pytest.approx(
        next(r for r in epochs if r["step"] == run.metrics["best_step"])["valid"]["distortion"], rel=1e-9
    )


@pytest.mark.parametrize("rise", [{"objective.schedule": "linear"}, {"objective.capacity": 1.0}])
def test_while_something_rises_the_newest_epoch_is_the_best(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rise: dict[str, Any]
) -> None:
    falling = iter(range(0, -9, -1))
    monkeypatch.setattr(Elbo, "score", lambda *_: float(next(falling)))
    settings = QUICK | {"objective.schedule": "constant", "objective.warmup": 12} | rise
    run = latlas.train(str(source), latent=2, epochs=4, out=tmp_path / "run", settings=settings, quiet=True)
    assert [r["best"] for r in run.log() if r["kind"] == "epoch"] == [True, True, False, False]
    assert run.metrics["best_step"] == 12


def test_without_validation_the_newest_weights_are_the_model(source: Path, tmp_path: Path) -> None:
    settings = QUICK | {"data.validation": 0}
    run = latlas.train(str(source), latent=2, epochs=2, out=tmp_path / "run", settings=settings, quiet=True)
    assert run.metrics["best_step"] == run.metrics["steps"]
    assert "valid" not in run.metrics["splits"]


def test_an_existing_out_is_refused_and_untouched(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "there"
    out.mkdir()
    (out / "precious").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        latlas.train(str(source), out=out, quiet=True)
    assert tree(out) == {"precious": b"mine"}


def test_bad_settings_leave_nothing_behind(source: Path, tmp_path: Path) -> None:
    for settings in ({"network.name": "kmnist"}, {"training.device": "cuda:99"}):
        with pytest.raises(InputError):
            latlas.train(str(source), out=tmp_path / "run", settings=settings, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_runs_are_numbered_and_found_by_name(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        latlas.train(str(source), latent=2, steps=2, settings=QUICK, quiet=True)
    assert [run.name for run in runs.runs()] == ["ramps-vae-1", "ramps-vae-2"]
    assert runs.find("ramps-vae-2").path == Path("runs/ramps-vae-2")
    with pytest.raises(InputError, match=r"neither a folder nor a name under runs/; runs here: ramps-vae-1"):
        runs.find("ramps-vae-3")


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "config.toml", "run.json"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01rubbish", b"{}"])
def test_damaged_files_are_named(finished: latlas.Run, tmp_path: Path, name: str, content: bytes) -> None:
    if (name, content) == ("config.toml", b""):
        pytest.skip("an empty file is a configuration with nothing changed")
    broken = tmp_path / "broken"
    shutil.copytree(finished.path, broken)
    (broken / name).write_bytes(content)
    run = runs.Run(broken)
    with pytest.raises(InputError, match=name):
        _ = (run.model(), run.config, run.info["data"])


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "file"
    write_atomic(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(LatlasError, match="cannot be written"):
            write_atomic(path, b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert tree(tmp_path) == {"file": b"old"}


def test_a_full_disk_stops_training_and_keeps_the_last_checkpoint(
    source: Path, finished: latlas.Run, tmp_path: Path
) -> None:
    import resource

    run = begun(source, tmp_path / "run", 1)
    before = tree(run.path / "checkpoints")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["last.safetensors"]) - 1, limits[1]))
    try:
        with pytest.raises(LatlasError, match="cannot be written"):
            latlas.resume(run.path, quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert tree(run.path / "checkpoints") == before
    latlas.resume(run.path, quiet=True)
    assert (run.path / "model.safetensors").read_bytes() == (finished.path / "model.safetensors").read_bytes()


def test_weights_are_plain_tensors_and_json(finished: latlas.Run) -> None:
    from safetensors.torch import load_file

    tensors = load_file(finished.path / "model.safetensors")
    assert sum(t.numel() for t in tensors.values()) >= finished.metrics["parameters"]
    about = json.loads((finished.path / "model.json").read_text())
    assert about["item"]["shape"] == [1, 8, 6]
    assert all(isinstance(t, torch.Tensor) for t in tensors.values())


def test_tensorboard_reads_the_terms_and_the_pictures(finished: latlas.Run) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(finished.path / "tensorboard"))
    board.Reload()
    steps = [r for r in finished.log() if r["kind"] == "step"]
    for term in ("loss", "distortion", "rate", "elbo"):
        read = [(e.step, e.value) for e in board.Scalars(f"train/{term}")]
        assert read == [(r["step"], pytest.approx(r[term], rel=1e-6)) for r in steps]
    pictures = board.Images("originals over reconstructions")
    assert [p.step for p in pictures] == [6, 12, 18, 24]
    assert (pictures[0].height, pictures[0].width) == (16, 6 * 8)
