"""Runs that are given a time instead of a number of steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import poison

import latlas
from latlas import pacing, training
from latlas.api.learning import configure
from latlas.config import override, recipe
from latlas.pacing import Pace


@pytest.fixture
def items() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(400, 5))


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> Pace:
    """A pace that is known, and a clock that stands still."""
    pace = Pace(step=0.01, validation=0.2, snapshot=0.1)
    monkeypatch.setattr(pacing, "measured", lambda *_: pace)
    monkeypatch.setattr(pacing, "perf_counter", lambda: 0.0)
    return pace


def test_a_pace_counts_steps_validations_and_snapshots() -> None:
    config = override(recipe("vae"), {"training.steps": 100, "training.batch_size": 10}, "test")
    length = training.plan(config, 200)
    assert (length.steps, length.validated) == (100, 20)
    assert Pace(1.0, 0.0, 0.0).seconds(config, 200) == 100
    assert Pace(0.0, 1.0, 0.0).seconds(config, 200) == 5
    assert Pace(0.0, 0.0, 1.0).seconds(config, 200) == 16  # before training, and 15 times in it


@pytest.mark.parametrize("budget", ["5s", "20s", "1m", "2h"])
def test_as_many_steps_as_fit_are_planned(
    items: np.ndarray, paced: Pace, budget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}

    def caught(config: Any, *rest: Any) -> tuple[Any, str]:
        found["planned"] = within(config, *rest)[0]
        raise KeyboardInterrupt

    within = pacing.within_budget
    monkeypatch.setattr(pacing, "within_budget", caught)
    with pytest.raises(KeyboardInterrupt):
        latlas.train(items, budget=budget, quiet=True)
    planned, size = found["planned"], 360
    steps = planned.training.steps
    longer = {"training.steps": steps + 1}
    if planned.training.snapshot_every:  # fewer than usual, so many in any number of steps
        kept = len(training.snapshot_steps(planned, training.plan(planned, size)))
        longer["training.snapshot_every"] = -(-(steps + 1) // kept)
    room = pacing.MARGIN * {"5s": 5, "20s": 20, "1m": 60, "2h": 7200}[budget]
    assert paced.seconds(planned, size) <= room < paced.seconds(override(planned, longer, "test"), size)
    kept = len(training.snapshot_steps(planned, training.plan(planned, size)))
    assert kept == {"5s": 4, "20s": 15, "1m": 15, "2h": 15}[budget]


def test_a_budget_keeps_the_snapshots_that_are_asked_for(items: np.ndarray, paced: Pace) -> None:
    config = override(recipe("vae"), {"training.snapshot_every": 7}, "test")
    assert pacing._planned(config, 100, snapshots=2).training.snapshot_every == 7


@pytest.mark.parametrize(
    ("flip", "budget", "steps"), [(False, "1m", 16 * 3), (True, "1m", 32 * 3), (False, "2s", 21)]
)
def test_a_network_that_starts_near_its_best_ends_before_the_budget_and_keeps_its_rate(
    paced: Pace, flip: bool, budget: str, steps: int, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (400, 12, 12, 3), dtype=np.uint8)
    settings = FAST | {"augment.flip": flip, "training.batch_size": 120}
    run = latlas.train(images, budget=budget, quick=True, quiet=True, out=tmp_path / "run", settings=settings)
    assert (run.config.network.name, run.config.training.steps, run.config.optimizer.lr) == (
        "pca-mlp",
        steps,
        3e-3,
    )


@pytest.mark.parametrize(
    ("steps", "lr"), [(10, 6e-3), (600, 6e-3), (1200, 4.5e-3), (1799, 3e-3), (5000, 3e-3)]
)
def test_few_steps_are_larger_ones(steps: int, lr: float) -> None:
    config = override(recipe("vae"), {"training.steps": steps}, "test")
    planned, note = pacing._hurried(config, "steps")
    assert planned.optimizer.lr == lr
    assert note == "steps" or f"optimizer.lr = {lr:g} (" in note
    assert (note == "steps") == (planned == config)
    kept = override(config, {"optimizer.short_factor": 1.0}, "test")
    assert pacing._hurried(kept, "steps") == (kept, "steps")


def test_a_rate_that_somebody_gives_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "slow.toml"
    file.write_text("[optimizer]\nlr = 1e-3\n")
    rate = {"optimizer.lr": 1e-3}
    for given in ({"options": {"lr": 3e-3}}, {"settings": rate}, {"file": file}):
        assert configure("digits", **given).optimizer.short_factor == 1  # type: ignore[arg-type]
    assert configure("digits").optimizer.short_factor == 2
    assert configure("digits", settings=rate | {"optimizer.short_factor": 3.0}).optimizer.short_factor == 3


def test_the_run_keeps_the_steps_and_says_why(items: np.ndarray, paced: Pace, tmp_path: Path) -> None:
    run = latlas.train(items, budget="4s", quick=True, quiet=True, out=tmp_path / "run", settings=FAST)
    training_ = run.config.training
    assert training_.steps is not None
    assert training_.steps >= pacing.LEAST
    assert training_.budget == ""
    assert run.metrics["steps"] == training_.steps
    assert any(f"training.steps = {training_.steps} (a budget of 4s" in note for note in run.info["notes"])


FAST = {"pictures.draw": False, "network.hidden": [8], "training.snapshot_every": 10**6}


def test_a_pace_is_measured_by_a_part_of_validation_and_by_few_steps_that_are_slow(
    items: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock on which each step takes a second, and each item of validation a tenth."""
    now, tried, found = [0.0], [0], {}

    def steps(*given: Any) -> Any:
        step = taken(*given)

        def one(*args: Any) -> Any:
            now[0], tried[0] = now[0] + 1, tried[0] + 1
            return step(*args)

        return one

    def judged(selection: Any, model: Any, valid: Any, *rest: Any) -> Any:
        now[0] += len(valid) / 10
        return judge(selection, model, valid, *rest)

    def measured(*given: Any) -> Pace:
        found["pace"], found["steps"] = real(*given), tried[0]
        raise KeyboardInterrupt

    taken, judge, real = training._stepper, pacing.Selection.judge, pacing.measured
    monkeypatch.setattr(training, "_stepper", steps)
    monkeypatch.setattr(pacing.Selection, "judge", judged)
    monkeypatch.setattr(pacing, "measured", measured)
    monkeypatch.setattr(pacing, "perf_counter", lambda: now[0])
    monkeypatch.setattr(pacing, "VALIDATED", 9)
    with pytest.raises(KeyboardInterrupt):
        latlas.train(items, budget="10s", quiet=True, out=tmp_path / "run", settings=FAST)
    assert (found["pace"].step, found["steps"]) == (1.0, pacing.SLOW)
    assert found["pace"].validation == pytest.approx(36 / 10)  # of 36 items, of which 9 are judged twice
    assert now[0] < 1 * pacing.SLOW + 2 * 9 / 10 + 1e-6


@pytest.mark.slow
def test_measuring_leaves_nothing_behind(
    items: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(*given: Any) -> Pace:
        real(*given)
        return Pace(100.0, 0.0, 0.0)

    real = pacing.measured
    monkeypatch.setattr(pacing, "measured", known)
    budgeted = latlas.train(items, budget="1h", quick=True, quiet=True, out=tmp_path / "a", settings=FAST)
    steps = budgeted.config.training.steps
    plain = latlas.train(
        items,
        steps=steps,
        lr=budgeted.config.optimizer.lr,
        quick=True,
        quiet=True,
        out=tmp_path / "b",
        settings=FAST,
    )
    for key, value in plain.model().state_dict().items():
        assert (budgeted.model().state_dict()[key] == value).all(), key


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "soon"}, "expected a duration"),
        ({"budget": "10s", "steps": 5}, "steps: a budget decides"),
        ({"budget": "10s", "epochs": 5}, "epochs: a budget decides"),
    ],
)
def test_what_cannot_be_is_refused(items: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(latlas.InputError, match=message):
        latlas.train(items, quiet=True, **options)


def test_too_short_a_budget_names_the_least(items: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "measured", lambda *_: Pace(1.0, 3.0, 0.5))
    with pytest.raises(
        latlas.InputError, match=r"budget = 10s: too short for 10 steps of 1e\+03 ms.*give \d+s"
    ):
        latlas.train(items, budget="10s", quiet=True)


def test_a_budget_of_training_that_diverges_at_once_ends_as_any_such_training(
    items: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, range(100))
    settings = {**FAST, "training.log_every": 1}
    with pytest.raises(latlas.LatlasError, match="not finite, even after 3 setbacks"):
        latlas.train(items, budget="5s", quick=True, quiet=True, out=tmp_path / "run", settings=settings)


def test_only_a_run_by_itself_is_measured(items: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(latlas.InputError, match="closed form without steps"):
        latlas.train("digits", recipe="pca", budget="10s", quiet=True)
    (tmp_path / "own.toml").write_text(STUDY)
    with pytest.raises(latlas.InputError, match=r"training.budget = 10s: only a run by itself"):
        latlas.plan_study(tmp_path / "own.toml", quiet=True)


STUDY = """[study]
name = "own"
title = "Budgets"
data = ["digits"]
seeds = [0]

[settings]
training.budget = "10s"

[[runs]]
recipe = "vae"
"""
