"""Runs that are trained further, runs that start from another's weights, and what is kept of finished ones."""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import images, poison
from test_runs import (
    QUICK,
    TROUBLED,
    Halt,
    Stopper,
    begun,
    killed_at_write,
    later,
    stopped_at,
    tree,
    without_times,
)

import latlas
from latlas import checkpoints, cli, compare, continuing, diagnosis, experiment, runs
from latlas.errors import InputError
from latlas.machine import commit

FURTHER = {"epochs": 7, "lr": 0.001}
KEYS = {"training.epochs": 7, "optimizer.lr": 0.001}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "ramps.npz"
    np.savez(path, x=images(200), y=np.arange(200) % 3)
    return path


def trained(source: Path, out: Path, **settings: Any) -> latlas.Run:
    return latlas.train(str(source), latent=2, epochs=4, out=out, settings=QUICK | settings, quiet=True)


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> latlas.Run:
    return trained(source, tmp_path_factory.mktemp("runs") / "done")


@pytest.fixture(scope="module")
def everything(source: Path, tmp_path_factory: pytest.TempPathFactory) -> latlas.Run:
    """A finished run that kept its checkpoints, as those of earlier versions did."""
    return trained(source, tmp_path_factory.mktemp("runs") / "all", **{"training.keep": "all"})


@pytest.fixture(scope="module")
def extended(finished: latlas.Run, tmp_path_factory: pytest.TempPathFactory) -> latlas.Run:
    run = copied(finished, tmp_path_factory.mktemp("runs") / "further")
    return latlas.resume(run, quiet=True, **FURTHER)


@pytest.fixture(scope="module")
def halted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> latlas.Run:
    """A run whose process ended after two epochs; for copies of it."""
    return begun(source, tmp_path_factory.mktemp("runs") / "halted", 2)


@pytest.fixture(scope="module")
def shortened(halted: latlas.Run, tmp_path_factory: pytest.TempPathFactory) -> latlas.Run:
    """The same run, trained for a third epoch with another learning rate."""
    run = copied(halted, tmp_path_factory.mktemp("runs") / "whole")
    return latlas.resume(run, epochs=3, lr=1e-4, quiet=True)


def copied(run: latlas.Run, out: Path) -> latlas.Run:
    shutil.copytree(run.path, out)
    return runs.Run(out)


def assert_same(run: latlas.Run, other: latlas.Run) -> None:
    assert (run.path / "model.safetensors").read_bytes() == (other.path / "model.safetensors").read_bytes()
    assert without_times(run.log()) == without_times(other.log())
    snapshots = [{p.name: p.read_bytes() for _, p in r.snapshot_files()} for r in (run, other)]
    assert snapshots[0] == snapshots[1]
    assert run.config == other.config
    parts = [[{**p, "created": "", "command": ""} for p in r.info["parts"]] for r in (run, other)]
    assert parts[0] == parts[1]


def test_a_finished_run_goes_on_in_the_same_log_and_its_report_says_so(
    finished: latlas.Run, extended: latlas.Run
) -> None:
    assert extended.finished
    before, after = without_times(finished.log()), without_times(extended.log())
    assert after[: len(before)] == before
    assert [r["epoch"] for r in after if r["kind"] == "epoch"] == [1, 2, 3, 4, 5, 6, 7]
    assert extended.metrics["epochs"] == 7
    assert (extended.config.training.epochs, extended.config.optimizer.lr) == (7, 0.001)
    assert extended.snapshot_files()[-1][0] == 42
    assert (
        latlas.resume(extended, quiet=True, **FURTHER).metrics == extended.metrics
    )  # asked again: nothing to do
    page = (extended.path / "report.html").read_text()
    assert "trained further from epoch 4 (step 24)" in page
    assert "optimizer.lr = 0.001, training.epochs = 7" in page
    assert "the optimiser begins anew" in page


def test_a_new_part_has_its_own_cycle_of_the_learning_rate_and_no_new_warmup(extended: latlas.Run) -> None:
    rows = [r for r in extended.log() if r["kind"] == "step" and r["step"] > 24]
    rates = [row["lr"] for row in rows]
    assert max(rates) < 0.001
    assert rates[-1] < 0.05 * 0.001
    assert rates == sorted(rates, reverse=True)
    assert {row["beta"] for row in rows} == {1.0}
    assert extended.config.objective.warmup == 6  # of the first part: a quarter of its 24 steps


@pytest.mark.parametrize("epochs", [1, 2])
def test_killed_and_resumed_it_ends_in_the_same_bits(
    finished: latlas.Run, extended: latlas.Run, tmp_path: Path, epochs: int
) -> None:
    run = copied(finished, tmp_path / "run")
    with pytest.raises(Halt):
        experiment.resume(run.path, Stopper(epochs), changes=KEYS)
    assert not run.finished
    latlas.resume(run, quiet=True, **(FURTHER if epochs == 1 else {}))
    assert_same(run, extended)


@pytest.mark.parametrize("write", ["save", "write_json", "write_atomic"])
@pytest.mark.parametrize("after", [False, True])
def test_killed_while_it_begins_it_is_what_it_was_or_goes_on(
    finished: latlas.Run,
    extended: latlas.Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: str,
    after: bool,
) -> None:
    run = copied(finished, tmp_path / "run")
    where = checkpoints if write == "save" else continuing
    real = getattr(where, write)

    def halt(*arguments: Any) -> None:
        if after:
            real(*arguments)
        raise Halt

    with monkeypatch.context() as patched:
        patched.setattr(where, write, halt)
        with pytest.raises(Halt):
            experiment.resume(run.path, changes=KEYS)
    assert run.model()
    latlas.resume(run, quiet=True, **FURTHER)
    parts = [{**p, "weights": "best", "created": "", "command": ""} for p in run.info["parts"]]
    assert parts == [{**p, "created": "", "command": ""} for p in extended.info["parts"]]
    assert (run.path / "model.safetensors").read_bytes() == (extended.path / "model.safetensors").read_bytes()
    assert without_times(run.log()) == without_times(extended.log())


def test_a_stopped_run_goes_on_from_its_newest_weights(halted: latlas.Run, tmp_path: Path) -> None:
    whole, killed = (copied(halted, tmp_path / name) for name in ("whole", "killed"))
    latlas.resume(whole, epochs=6, quiet=True)
    part = whole.info["parts"][0]
    assert (part["step"], part["weights"], part["optimizer"]) == (12, "newest", "goes on")
    assert [r["epoch"] for r in whole.log() if r["kind"] == "epoch"] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(Halt):
        experiment.resume(killed.path, Stopper(2), changes={"training.epochs": 6})
    latlas.resume(killed, quiet=True)
    assert_same(killed, whole)


@pytest.mark.parametrize("number", range(4, 12))
def test_killed_at_any_write_while_it_begins_a_stopped_run_goes_on_without_being_told(
    halted: latlas.Run, shortened: latlas.Run, tmp_path: Path, number: int
) -> None:
    """Or it is what it was: wherever it was killed, both are said by run.json."""
    run = copied(halted, tmp_path / "run")
    with begin_killed_at(number), pytest.raises(Halt):
        latlas.resume(run, epochs=3, lr=1e-4, quiet=True)
    parts = run.info.get("parts", [])
    assert bool(parts) == (number > 5)
    latlas.resume(run, quiet=True, **({} if parts else {"epochs": 3, "lr": 1e-4}))
    assert_same(run, shortened)


def test_a_part_that_never_began_gives_way_to_other_settings(
    halted: latlas.Run, shortened: latlas.Run, tmp_path: Path
) -> None:
    run = copied(halted, tmp_path / "run")
    with begin_killed_at(6), pytest.raises(Halt):
        latlas.resume(run, epochs=9, lr=0.5, quiet=True)
    latlas.resume(run, epochs=3, lr=1e-4, quiet=True)
    assert len(run.info["parts"]) == 1
    assert_same(run, shortened)


@contextlib.contextmanager
def begin_killed_at(number: int) -> Iterator[None]:
    """The process ends just before this write or removal, counted from the first by which a run is trained further."""
    count = itertools.count(1)

    def dying(work: Any) -> Any:
        def maybe(*arguments: Any, **options: Any) -> Any:
            if next(count) == number:
                raise Halt
            return work(*arguments, **options)

        return maybe

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((continuing, "write_json"), (continuing, "write_atomic"), (runs, "write_atomic"),
                            (checkpoints, "write_atomic"), (runs.Path, "unlink")):  # fmt: skip
            patch.setattr(owner, name, dying(getattr(owner, name)))
        yield


@pytest.mark.measured
def test_a_quick_continuation_measures_little_and_keeps_the_settings(source: Path, tmp_path: Path) -> None:
    run = begun(source, tmp_path / "run", 2)
    groups = run.config.evaluation.groups
    latlas.resume(run, epochs=3, quick=True, quiet=True)
    assert "findings" not in run.metrics
    assert "numbers" not in run.metrics
    assert run.metrics["steps"] == 18
    assert run.config.evaluation.groups == groups != ()
    assert "quick=True" in run.info["parts"][0]["command"]
    assert cli.run(["train", "--resume", str(run.path), "--epochs", "4", "--quick", "--quiet"]) == 0
    assert run.metrics["steps"] == 24


def test_the_best_weights_are_those_that_go_on(source: Path, tmp_path: Path) -> None:
    wild = {"optimizer.lr": 0.05, "optimizer.schedule": "constant"}
    run = latlas.train(
        str(source), latent=2, epochs=60, patience=3, out=tmp_path / "run", settings=QUICK | wild, quiet=True
    )
    best, steps = run.metrics["best_step"], run.metrics["steps"]
    assert best < steps
    weights = latlas.load(run.path).state_dict()
    latlas.resume(run, quiet=True, lr=1e-12, steps=steps + 2)
    part = run.info["parts"][0]
    assert (part["step"], part["weights_step"]) == (steps, best)
    for name, value in latlas.load(run.path).state_dict().items():
        np.testing.assert_allclose(value, weights[name], atol=1e-9)
    scores = {r["step"]: r["score"] for r in run.log() if r["kind"] == "epoch"}
    assert scores[steps + 2] == pytest.approx(scores[best], abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"epochs": 3},
            r"training.epochs = 3: the run has trained 24 steps \(4 epochs\) already, .* after 18",
        ),
        ({"steps": 24, "lr": 0.1}, r"training.steps = 24: the run has trained 24 steps"),
        (
            {"lr": 0.1},
            r"optimizer.lr = 0.1: .* trained all of its 24 steps \(4 epochs\): .* as with training.epochs = 8$",
        ),
        ({"latent": 3}, r"model.latent = 3: cannot change.*latlas train DATA --from"),
        ({"beta": 2.0, "epochs": 9}, r"objective.beta = 2: cannot change"),
        ({"settings": {"network.hidden": [8]}}, r"network.hidden = 8: cannot change"),
        ({"limit": 9}, r"data.limit = 9: cannot change"),
        ({"batch_size": 9}, r"training.batch_size = 9: cannot change"),
        ({"settings": {"training.epoch": 9}}, r"unknown key training.epoch; did you mean training.epochs"),
    ],
)
def test_what_cannot_change_is_refused_with_the_numbers(
    finished: latlas.Run, options: dict[str, Any], message: str
) -> None:
    before = tree(finished.path)
    with pytest.raises(InputError, match=message):
        latlas.resume(finished, quiet=True, **options)
    assert tree(finished.path) == before


def test_a_setting_that_stays_as_it_is_changes_nothing(finished: latlas.Run) -> None:
    before = tree(finished.path)
    latlas.resume(finished, quiet=True, latent=2, epochs=4, seed=0)
    assert tree(finished.path) == before


def test_pruning_leaves_what_is_needed_to_go_on(
    everything: latlas.Run, finished: latlas.Run, extended: latlas.Run, tmp_path: Path
) -> None:
    """Of a run with checkpoints, as earlier versions left them."""
    run = copied(everything, tmp_path / "run")
    assert (run.path / checkpoints.LAST).exists()
    assert (run.path / checkpoints.BEST).exists()
    weights, metrics = (run.path / "model.safetensors").read_bytes(), run.metrics
    (row,) = latlas.prune(run)
    assert row["after"] < row["before"]
    assert run.bytes == row["after"]
    assert [p.name for p in (run.path / "checkpoints").iterdir()] == ["end.json"]
    assert ((run.path / "model.safetensors").read_bytes(), run.metrics) == (weights, metrics)
    assert latlas.prune(run.path)[0]["before"] == row["after"]
    assert latlas.resume(run, quiet=True, **FURTHER).metrics["steps"] == 42
    assert (run.path / "model.safetensors").read_bytes() == (extended.path / "model.safetensors").read_bytes()
    whole = latlas.resume(copied(everything, tmp_path / "whole"), quiet=True, **FURTHER)
    assert whole.info["parts"][0]["optimizer"] == "goes on"
    assert (whole.path / checkpoints.LAST).exists()


def test_only_finished_runs_are_pruned(source: Path, finished: latlas.Run, tmp_path: Path) -> None:
    run, done = begun(source, tmp_path / "run", 1), copied(finished, tmp_path / "done")
    before = tree(run.path)
    with pytest.raises(InputError, match="unfinished: it needs its checkpoint"):
        latlas.prune(run)
    assert tree(run.path) == before
    (done.path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="missing, though the run is finished"):
        latlas.prune(done)


def test_measuring_a_pruned_run_again_needs_no_checkpoint(finished: latlas.Run, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    (run.path / "metrics.json").unlink()
    latlas.resume(run, quiet=True)
    assert run.metrics["splits"] == finished.metrics["splits"]
    assert without_times(run.log()) == without_times(finished.log())


def test_a_new_run_starts_from_the_weights_of_another(
    source: Path, finished: latlas.Run, tmp_path: Path
) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, x=images(120, seed=5))
    still = {"optimizer.lr": 1e-12, "optimizer.weight_decay": 0.0}
    run = latlas.train(
        str(other), from_run=finished, epochs=1, out=tmp_path / "run", settings=QUICK | still, quiet=True
    )
    assert run.config.network.hidden == (16,)
    assert run.config.model.latent == 2
    assert run.info["start"]["step"] == finished.metrics["best_step"]
    x = images(9)
    np.testing.assert_allclose(
        latlas.load(run.path).encode(x), latlas.load(finished.path).encode(x), atol=1e-6
    )
    assert f"weights start from those of {finished.path.absolute()}" in (run.path / "report.html").read_text()


def test_an_older_run_that_left_out_its_widths_keeps_them(source: Path, tmp_path: Path) -> None:
    old = trained(source, tmp_path / "old", **{"network.name": "mlp", "network.hidden": [512, 512]})
    config = old.path / "config.toml"
    left_out = [line for line in config.read_text().splitlines() if not line.startswith("hidden")]
    config.write_text("\n".join(left_out))
    assert old.config.network.hidden is None
    new = latlas.train(
        str(source), from_run=old, steps=1, quick=True, quiet=True, out=tmp_path / "new",
        settings={"pictures.draw": False},
    )  # fmt: skip
    assert new.config.network.hidden == (512, 512)


def test_it_goes_on_without_the_run_that_it_started_from(
    source: Path, finished: latlas.Run, tmp_path: Path
) -> None:
    first, settings = copied(finished, tmp_path / "first"), QUICK | {"training.batch_size": 20}
    options = {"from_run": first, "epochs": 2, "quiet": True, "settings": settings}
    whole = latlas.train(str(source), out=tmp_path / "whole", **options)
    config = latlas.api.learning.configure(
        str(source), settings=settings, options={"from_run": first, "epochs": 2}
    )
    with pytest.raises(Halt):
        experiment.train(config, tmp_path / "run", Stopper(1))
    run = runs.Run(tmp_path / "run")
    shutil.rmtree(first.path)
    latlas.resume(run, quiet=True)
    assert (run.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
    for name in (checkpoints.LAST, checkpoints.END, "metrics.json"):
        (run.path / name).unlink(missing_ok=True)
    with pytest.raises(InputError, match="the weights that this run started from"):
        latlas.resume(run, quiet=True)


def test_a_setback_before_the_first_checkpoint_goes_to_the_weights_that_a_run_started_from(
    source: Path, finished: latlas.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, {1, 2, 3}, above=3e-3)
    options: dict[str, Any] = {"from_run": finished, "epochs": 2, "quiet": True, "settings": TROUBLED}
    run, half = (latlas.train(str(source), out=tmp_path / str(lr), lr=lr, **options) for lr in (4e-3, 2e-3))
    assert [(r["step"], r["lr"]) for r in run.log() if r["kind"] == "setback"] == [(0, 2e-3)]
    assert (run.path / "model.safetensors").read_bytes() == (half.path / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def recovered(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[latlas.Run, latlas.Run]:
    """A run with a setback to step 6, and the same one trained further, with a setback to where it ended."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        poison(patch, FAILING, above=3e-3)
        first = trained(source, out / "first", **TROUBLED)
        return first, latlas.resume(copied(first, out / "further"), epochs=6, quiet=True)


FAILING = {8, 9, 10, 26, 27, 28, 33}


def test_setbacks_are_counted_anew_when_a_run_is_trained_further(
    recovered: tuple[latlas.Run, latlas.Run],
) -> None:
    first, further = recovered
    keys = ("step", "from", "setbacks", "lr")
    rows = [tuple(r[key] for key in keys) for r in further.log() if r["kind"] == "setback"]
    assert rows == [(6, 10, 1, 2e-3), (24, 28, 1, 2e-3)]
    assert (first.metrics["setbacks"], further.metrics["setbacks"]) == (1, 2)
    assert (first.metrics["skipped_steps"], further.metrics["skipped_steps"]) == (3, 6)
    assert without_times(further.log())[: len(first.log())] == without_times(first.log())
    assert [p.name for p in (further.path / "checkpoints").iterdir()] == ["end.json"]


@pytest.mark.parametrize("stop_at", [1, 3, 5, 9])
def test_stopped_about_a_setback_a_run_that_is_trained_further_ends_in_the_same_bits(
    recovered: tuple[latlas.Run, latlas.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    poison(monkeypatch, FAILING, above=3e-3)
    run = copied(recovered[0], tmp_path / "run")
    with stopped_at(stop_at), pytest.raises(experiment.Interrupted):
        latlas.resume(run, epochs=6, quiet=True)
    assert (run.path / checkpoints.STOPPED).exists()
    latlas.resume(run, quiet=True)
    assert_same(run, recovered[1])


@pytest.mark.parametrize("number", [1, *range(6, 14, 2), 34, *later(2, *range(7, 14, 2))])
def test_killed_at_any_write_about_a_setback_a_run_that_is_trained_further_ends_in_the_same_bits(
    recovered: tuple[latlas.Run, latlas.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    poison(monkeypatch, FAILING, above=3e-3)
    run = copied(recovered[0], tmp_path / "run")
    with killed_at_write(number), pytest.raises(Halt):
        latlas.resume(run, epochs=6, quiet=True)
    latlas.resume(run, epochs=6, quiet=True)
    assert_same(run, recovered[1])


@pytest.fixture(scope="module")
def troubled(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[latlas.Run, latlas.Run]:
    """A run that was stopped after a setback, and the same one trained further."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        poison(patch, FAILING, above=3e-3)
        with stopped_at(14), pytest.raises(experiment.Interrupted):
            trained(source, out / "stopped", **TROUBLED)
        stopped = runs.Run(out / "stopped")
        return stopped, latlas.resume(copied(stopped, out / "whole"), epochs=5, quiet=True)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_killed_while_it_begins_a_run_that_was_stopped_after_a_setback_ends_in_the_same_bits(
    troubled: tuple[latlas.Run, latlas.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    poison(monkeypatch, FAILING, above=3e-3)
    stopped, whole = troubled
    assert stopped.progress.setbacks == 1
    run = copied(stopped, tmp_path / "run")
    with killed_at_write(number), pytest.raises(Halt):
        latlas.resume(run, epochs=5, quiet=True)
    latlas.resume(run, epochs=5, quiet=True)
    assert_same(run, whole)


def test_weights_that_do_not_fit_are_named_with_both_shapes(
    source: Path, finished: latlas.Run, tmp_path: Path
) -> None:
    wide = tmp_path / "wide.npy"
    np.save(wide, images(60, width=9))
    with pytest.raises(InputError) as error:
        latlas.train(str(wide), from_run=finished, out=tmp_path / "run", quiet=True)
    assert "encoder.1.weight is 16x48 there and 16x72 here" in str(error.value)
    assert "items are 1x8x6 there and 1x8x9 here" in str(error.value)
    with pytest.raises(InputError) as error:
        latlas.train(str(source), from_run=finished, latent=3, out=tmp_path / "run", quiet=True)
    assert "encoder.3.weight is 4x16 there and 6x16 here" in str(error.value)
    assert "take over model.latent = 2" in str(error.value)
    for options, message in (
        ({"recipe": "ae"}, "leave the recipe out"),
        ({"from_run": tmp_path / "none"}, "neither a folder nor a name"),
    ):
        with pytest.raises(InputError, match=message):
            latlas.train(str(source), out=tmp_path / "run", quiet=True, **({"from_run": finished} | options))
    assert not (tmp_path / "run").exists()


@pytest.mark.measured
@pytest.mark.parametrize(
    ("validation", "measured"), [pytest.param(None, "valid", marks=pytest.mark.slow), (0, "train")]
)
def test_a_run_without_a_test_split_is_measured_drawn_and_used(
    source: Path, tmp_path: Path, validation: float | None, measured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (
        QUICK
        | {"data.test": 0, "pictures.draw": True}
        | ({} if validation is None else {"data.validation": 0})
    )
    run = latlas.train(str(source), latent=3, epochs=2, out=tmp_path / "run", settings=settings, quiet=True)
    word = {"valid": "validation", "train": "training"}[measured]
    assert list(run.metrics["splits"]) == [measured]
    assert run.metrics["measured"] == run.measured == measured
    assert run.metrics["numbers"]["mse"]["value"] > 0
    assert ("knn_accuracy" in run.metrics["numbers"]) == (measured == "valid")
    page = (run.path / "report.html").read_text()
    assert f"{word.capitalize()} ELBO" in page
    assert "test: nothing is held out" in page
    assert (run.path / "figures" / "traversals.png").exists()
    found = latlas.evaluation_of(run, ["mse"], quiet=True)
    assert (found["split"], found["elbo"]) == (
        measured,
        pytest.approx(run.metrics["splits"][measured]["elbo"]),
    )
    codes = latlas.encode(run, quiet=True)
    assert len(codes.arrays["mean"]) == run.info["data"][measured]
    assert set(codes.frame["split"]) == set(run.score(quiet=True)["split"]) == {measured}
    assert len(latlas.neighbours(run, 0, n=3, quiet=True).frame) == 3
    assert latlas.morph(run, 0, 1, quiet=True).arrays["t"].shape == (11,)
    assert isinstance(latlas.diagnose(run, quiet=True), list)
    evidence = diagnosis.gather(run.config, runs.dataset_of(run), None)
    assert evidence.counts["test"] == run.info["data"][measured]
    assert latlas.vary(run, row=0, quiet=True).arrays["images"].shape[0] == 8
    assert latlas.sample(run, density="full", quiet=True).arrays["samples"].shape[0] == 64
    comparison = latlas.compare_runs([run], out=tmp_path / "page.html", quiet=True)
    assert f"its numbers are of {word} items" in (tmp_path / "page.html").read_text()
    assert comparison.measured == word
    assert f"Numbers on the {word} split" in (tmp_path / "page.html").read_text()
    # Its numbers are not shown a second time as those of validation.
    assert compare.by_validation(comparison) == comparison
    longer = next(f for f in run.metrics["findings"] if f["name"] == "underfitting")
    words = shlex.split(longer["commands"][0])
    assert words[:5] == ["latlas", "train", "--resume", str(run.path), "--epochs"]
    assert continuing.further(run, {"training.epochs": int(words[5])}) is not None
    assert cli.run(["train", "--resume", str(run.path), "--quiet"]) == 0
    assert f"{word}: ELBO" in capsys.readouterr().out
    assert cli.run(["runs", "--root", str(tmp_path)]) == 0
    assert f"of {word} items" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", ["vae", "ae", "iwae-vae", "vampprior-vae"])
def test_batches_of_one_item_train(source: Path, tmp_path: Path, recipe: str) -> None:
    settings = QUICK | {"training.batch_size": 1}
    run = latlas.train(
        str(source), recipe, epochs=1, limit=9, out=tmp_path / "run", settings=settings, quiet=True
    )
    assert run.metrics["steps"] == 9
    assert np.isfinite(run.metrics["splits"]["test"]["distortion"])


def test_batches_of_one_item_need_a_network_and_a_loss_that_take_them(source: Path, tmp_path: Path) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        (
            {"network.name": "conv", "network.batch_norm": True},
            "batch normalisation needs the variance of a batch",
        ),
        ({"objective.name": "infovae", "objective.estimator": "unbiased"}, "objective.estimator = biased"),
    )
    for settings, message in cases:
        with pytest.raises(InputError, match=f"training.batch_size = 1.*{message}"):
            latlas.train(str(source), batch_size=1, settings=settings, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_run_json_says_what_was_asked_and_by_what_it_was_done(
    finished: latlas.Run, extended: latlas.Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import scipy
    import sklearn

    info = finished.info
    assert info["command"].startswith(f"latlas.train({str(source)!r}, recipe='vae', out=")
    assert "latent=2, epochs=4" in info["command"]
    assert info["numpy"] == np.__version__
    assert (info["scipy"], info["scikit-learn"]) == (scipy.__version__, sklearn.__version__)
    assert info["processor"]
    assert info["commit"] is None or len(info["commit"].removesuffix("-dirty")) == 40
    assert extended.info["parts"][0]["command"].startswith("latlas.resume(")
    page = (finished.path / "report.html").read_text()
    assert all(str(info[key]) in page for key in ("numpy", "scipy", "processor"))
    monkeypatch.setenv("PATH", "")  # without Git nothing fails
    commit.cache_clear()
    out = tmp_path / "it is"
    words = [
        "train",
        str(source),
        "--epochs",
        "1",
        "--out",
        str(out),
        "--quiet",
        "--set",
        "pictures.draw=false",
    ]
    assert cli.run(words) == 0
    info = json.loads((out / "run.json").read_text())
    assert (
        info["command"] == f"latlas train {source} --epochs 1 --out '{out}' --quiet --set pictures.draw=false"
    )
    assert info["commit"] is None
