"""Studies: files that are wrong, what a budget cuts, and runs that are kept, gone on with and compared."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from helpers import images
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas import cli, compare, config, durations, experiment, runs, studies
from latlas.compare import Comparison, Entry
from latlas.data import Scaling
from latlas.errors import InputError, LatlasError
from latlas.metrics import METRICS
from latlas.progress import SILENT
from latlas.studies import budget, claims, prepare, read, results, study, study_names, trial
from latlas.studies.budget import Cut, Size, Speed
from latlas.studies.prepare import measures_of
from latlas.studies.study import Claim

GOOD = """
[study]
name = "small"
title = "Small & quick"
data = ["ramps.npz"]
seeds = [0, 1]
pca = false
measures = ["knn_accuracy"]
intro = "Two networks."
claims = [
    { text = "The wider one is better.", number = "mse", row = "vae · latent 3", than = "vae · latent 2" },
    "Somebody looks at it.",
]

[settings]
network.hidden = [16]
training.steps = 24
training.batch_size = 32
training.threads = 1

[[runs]]
recipe = "vae"
optimizer.lr = 0.003

[grid]
model.latent = [2, 3]
"""
Latlas = Callable[..., tuple[int, str, str]]


def parsed(text: str) -> studies.Study:
    return study.parse(text, "my.toml", None)


# Value


def test_a_grid_gives_every_combination_of_every_run() -> None:
    text = GOOD + "objective.beta = [0.5, 1, 2]\n"
    text = text.replace("[grid]", '[[runs]]\nname = "flat"\nrecipe = "mlp-ae"\nobjective.beta = 1.0\n[grid]')
    with pytest.raises(InputError, match="nothing to weigh"):
        parsed(text)  # a plain autoencoder has no beta, and the second of its points asks for one
    study = parsed(text.replace("mlp-ae", "vae").replace("objective.beta = 1.0", "network.name = 'mlp'"))
    assert len(study.entries) == 2 * 2 * 3
    assert [e.name for e in study.entries[:4]] == [
        "vae · latent 2 · beta 0.5", "vae · latent 2 · beta 1", "vae · latent 2 · beta 2", "vae · latent 3 · beta 0.5",
    ]  # fmt: skip
    first, last = study.entries[0].config, study.entries[-1].config
    assert (first.model.latent, first.objective.beta, first.network.hidden) == (2, 0.5, (16,))
    assert (last.model.latent, last.objective.beta, last.optimizer.lr) == (
        3,
        2,
        config.recipe("vae").optimizer.lr,
    )
    assert not first.pictures.draw


def test_entries_go_over_shared_settings_and_the_grid_over_both() -> None:
    text = GOOD.replace(
        "optimizer.lr = 0.003", "model.latent = 7\ntraining.batch_size = 8\npictures.draw = true"
    )
    found = parsed(text).entries[1].config
    assert (found.model.latent, found.training.batch_size, found.pictures.draw) == (3, 8, True)
    quoted = GOOD.replace("optimizer.lr = 0.003", '"optimizer.lr" = 0.003')
    assert parsed(quoted).entries == parsed(GOOD).entries


def test_epochs_go_over_the_steps_of_a_recipe() -> None:
    text = (
        GOOD.replace("training.steps = 24\n", "")
        .replace('"vae"', '"kmnist-vae"')
        .replace("network.hidden = [16]", "")
    )
    assert parsed(text).entries[0].config.training.steps == 1407
    changed = parsed(text.replace("[settings]", "[settings]\ntraining.epochs = 4")).entries[0].config
    assert (changed.training.steps, changed.training.epochs) == (None, 4)


WRONG = [
    ("[grid]", "[grids]", "unknown key grids; did you mean grid? (known: study, settings, runs, grid)"),
    ("seeds =", "seed =", "unknown key study.seed; did you mean study.seeds?"),
    ("[0, 1]", "[0, 0]", "study.seeds = [0, 0]: 0 is named twice"),
    ("[0, 1]", "[]", "study.seeds = []"),
    ("[0, 1]", "[-1]", "study.seeds.0 = -1"),
    ('name = "small"', "", "study.name: missing"),
    ('"small"', '"Not Good"', "study.name = 'Not Good'"),
    ("optimizer.lr", "optimizer.rl", "[[runs]] 1: unknown key optimizer.rl; did you mean optimizer.lr?"),
    ("optimizer.lr = 0.003", "optimizer.lr = -1", "[[runs]] 1: optimizer.lr = -1"),
    ('recipe = "vae"', 'recipe = "vea"', "[[runs]] 1: unknown recipe 'vea'; did you mean 'vae'?"),
    ('recipe = "vae"', "recipe = 3", "[[runs]] 1: recipe = 3: expected a string"),
    ('recipe = "vae"', 'config = "mine.toml"', "only a study in a file of its own names files"),
    ("model.latent = [2, 3]", "model.latent = 2", "[grid]: model.latent = 2: expected a list of values"),
    ("model.latent = [2, 3]", "model.latent = []", "[grid]: model.latent = []: expected a list of values"),
    ("model.latent = [2, 3]", "model.latnt = [2]", "[grid]: unknown key model.latnt; did you mean model.latent?"),
    ("model.latent = [2, 3]", "model.latent = [2, 0]", "model.latent = 0"),
    ("model.latent = [2, 3]", "model.latent = [2, 2]", "two runs are called 'vae · latent 2'"),
    ("model.latent = [2, 3]", "seed = [1, 2]", "[grid]: seed is not set here: [study] seeds says it"),
    ("optimizer.lr = 0.003", 'data.source = "mnist"', "data.source is not set here: [study] data says it"),
    ("[study]", "[study", "cannot be read as TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "message"), WRONG, ids=[bad or good for good, bad, _ in WRONG])
def test_what_is_wrong_with_a_file_is_said_with_file_key_and_value(good: str, bad: str, message: str) -> None:
    assert good in GOOD
    with pytest.raises(InputError) as found:
        parsed(GOOD.replace(good, bad))
    assert str(found.value).startswith("my.toml: ")
    assert message in str(found.value)


def test_a_study_without_runs_says_so() -> None:
    with pytest.raises(InputError, match="runs: missing"):
        parsed(GOOD[: GOOD.index("[[runs]]")])


def test_an_entry_begins_with_a_file_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("model.latent = 9\nobjective.beta = 3.0\n")
    text = GOOD.replace('recipe = "vae"', 'config = "mine.toml"').replace("model.latent = [2, 3]", "")
    (tmp_path / "study.toml").write_text(text)
    (entry,) = studies.read(tmp_path / "study.toml").entries
    assert (entry.name, entry.config.model.latent, entry.config.objective.beta) == ("mine", 9, 3.0)


@pytest.mark.parametrize("name", studies.study_names())
def test_the_packages_studies_are_good(name: str) -> None:
    from latlas.metrics import METRICS

    study = studies.read(name)
    assert study.info.name == name
    assert study.info.summary
    assert study.info.ids
    assert set(study.info.measures) <= {*METRICS, "all"}


def test_the_studies_hold_what_their_tutorials_compare() -> None:
    rows = {name: [e.config for e in studies.read(name).entries] for name in studies.study_names()}
    assert {(c.recipe.name, c.model.latent) for c in rows["ae-vs-pca"]} == {
        (name, latent) for name in ("linear-ae", "mlp-ae", "conv-ae") for latent in (2, 4, 8, 16, 32)
    }
    assert (
        len({c.likelihood for c in rows["ae-vs-pca"]} - {None}) <= 2
    )  # one sigma; only the output's map differs
    assert {c.likelihood.sigma for c in rows["ae-vs-pca"]} == {0.5**0.5}
    assert [c.model.latent for c in rows["latent-size"]] == [2, 128]
    elbo, weak, mmd = rows["elbo-vs-mmd"]
    assert (elbo.objective.beta, weak.objective.beta, mmd.objective.name) == (1, 0.01, "infovae")
    assert elbo.network == weak.network == mmd.network
    assert elbo.optimizer == weak.optimizer == mmd.optimizer
    assert elbo.training == weak.training
    assert (mmd.training.epochs, mmd.training.batch_size) == (elbo.training.epochs, elbo.training.batch_size)
    schedules = [c.objective.schedule for c in rows["kl-schedules"]]
    assert schedules == ["constant", "linear", "sigmoid", "cyclical"]
    assert [c.likelihood.sigma for c in rows["likelihoods"][:3]] == [0.5**0.5, "learned", "per-pixel"]
    assert rows["likelihoods"][3].likelihood.name == "bernoulli"


def test_seeds_are_counted_from_the_studys() -> None:
    info = parsed(GOOD.replace("[0, 1]", "[5, 3]")).info
    assert study.seeds_of(info, None) == (5, 3)
    assert study.seeds_of(info, 1) == (5,)
    assert study.seeds_of(info, 4) == (5, 3, 6, 7)


# Arithmetic


def test_a_runs_seconds_are_the_sum_of_its_parts() -> None:
    speed = Speed(start=100.0, step=2.0, epoch=4.0)
    assert budget.seconds(Size(steps=95, per_epoch=10), speed) == 100 + 190 + 10 * 4
    assert budget.seconds(Size(steps=95, per_epoch=10), speed, 0.2) == 100 + 38 + 2 * 4
    # As many snapshots more as there are steps more, each as long as the end of an epoch.
    assert budget.seconds(Size(95, 10, snapshot_every=30), speed) == 100 + 190 + (10 + 3) * 4
    assert budget.seconds(Size(steps=0, per_epoch=10), speed) == 100


SPEEDS = st.builds(Speed, st.floats(0.01, 2), *[st.floats(0, 2)] * 2)
SIZES = st.builds(Size, st.integers(0, 5000), st.integers(1, 400), st.none() | st.integers(1, 400))
ROWS = st.lists(st.tuples(SIZES, SPEEDS), min_size=1, max_size=4)


def total(work: list[Any], share: float, seeds: int) -> float:
    return sum(budget.seconds(size, speed, share) for part in work[:seeds] for size, speed in part)


@settings(deadline=None)
@given(row=ROWS, seeds=st.integers(1, 3), part=st.floats(0.01, 1.5), spent=st.floats(0, 10))
def test_what_is_cut_fits_into_the_budget_and_is_the_most_that_does(
    row: list[tuple[Size, Speed]], seeds: int, part: float, spent: float
) -> None:
    work = [row] * seeds
    given = part * total(work, 1.0, seeds) + spent
    try:
        cut = budget.fit(work, given, spent)
    except InputError as error:
        # The budget that it names would do.
        named = str(error).rpartition(" ")[2]
        assert durations.parse_duration(named) > given
        assert budget.fit(work, durations.parse_duration(named), spent).seeds >= 1
        return
    room = budget.MARGIN * given - spent
    assert total(work, cut.share, cut.seeds) <= room
    for size, _ in row:
        assert size.at(cut.share) >= min(size.steps, size.per_epoch, 0.1 * size.steps)
        assert size.at(cut.share) >= int(0.1 * size.steps)
    if cut.share < 1:
        assert total(work, cut.share + 0.001, cut.seeds) > room
    if cut.seeds < seeds:
        least = max(size.least_share for size, _ in row)
        assert total(work, min(1.0, least + 0.001), cut.seeds + 1) > room


def test_steps_are_cut_before_seeds() -> None:
    work = [[(Size(1000, 10), Speed(0, 1.0, 0))]] * 3
    assert budget.fit(work, 4000) == Cut(1.0, 3)
    assert budget.fit(work, 3000) == Cut(0.9, 3)
    assert budget.fit(work, 400) == Cut(0.12, 3)
    assert budget.fit(work, 300) == Cut(0.135, 2)
    assert budget.fit(work, 200) == Cut(0.18, 1)
    with pytest.raises(
        InputError, match=r"budget = 1m40s: too short; .*the smallest budget that would do is 1m52s"
    ):
        budget.fit(work, 100)


def test_an_epoch_is_the_least() -> None:
    work = [[(Size(1000, 10), Speed(0, 1.0, 0)), (Size(100, 50), Speed(0, 1.0, 0))]]
    assert budget.fit(work, 620) == Cut(0.508, 1)
    with pytest.raises(InputError, match="with 50 % of its steps"):
        budget.fit(work, 600)


def test_a_closed_form_is_never_cut() -> None:
    closed, trained = Size(0, 10), Size(1000, 10)
    work = [[(closed, Speed(50, 0, 0)), (trained, Speed(0, 1, 0))]]
    cut = budget.fit(work, 500)
    assert cut == Cut(0.4, 1)
    assert budget.cut_notes(cut, {"PCA": closed, "AE": trained}, 1, 500) == [
        "each run trains 40 % of its steps (400 of 1,000), because of the budget of 8 min 20 s"
    ]


def test_a_cut_is_told_exactly() -> None:
    sizes = {"a": Size(60_000, 600), "b": Size(60_000, 600)}
    assert budget.cut_notes(Cut(0.12, 1), sizes, 3, 600) == [
        "each run trains 12 % of its steps (7,200 of 60,000), because of the budget of 10 min",
        "1 of 3 seeds is trained, because of the budget of 10 min",
    ]
    assert budget.cut_notes(Cut(1.0, 3), sizes, 3, 600) == []
    sizes["c"] = Size(500, 10)
    assert "(a, b: 7,200 of 60,000; c: 60 of 500)" in budget.cut_notes(Cut(0.12, 3), sizes, 3, 600)[0]
    sizes |= {"d": sizes["a"], "e": sizes["b"]}
    assert "(4 runs: 7,200 of 60,000; c: 60 of 500)" in budget.cut_notes(Cut(0.12, 3), sizes, 3, 600)[0]


def test_what_is_left_follows_what_was_done() -> None:
    todo = [("a", 10.0), ("b", 4.0)]
    assert budget.time_left(todo, [], True) == 14
    assert (
        budget.time_left(todo, [("a", 10.0, 30.0)], True) == 3 * 14
    )  # of b nothing is known but that a is slower
    assert budget.time_left(todo, [("a", 10.0, 30.0), ("b", 10.0, 5.0)], True) == 30 + 2


def test_where_nothing_was_measured_the_first_run_tells() -> None:
    todo = [("a", 100), ("b", 200)]
    assert budget.time_left(todo, [], False) is None
    assert budget.time_left(todo, [("a", 100, 5.0)], False) == 5 + 10


@given(seconds=st.integers(1, 10**6))
def test_a_duration_is_read_as_it_is_written(seconds: int) -> None:
    assert durations.parse_duration(durations.duration_text(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "10", "soon", "-5m", "5m3h", "0s", "h", "m"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"expected a duration, as 90s, 10m, 2h or 1h30m"):
        durations.parse_duration(text)


# Carrying out


@contextlib.contextmanager
def second_a_step(config: Any, size: Size) -> Iterator[tuple[Any, Speed]]:
    """In the place of a short run: nothing is trained, and a step takes a second."""
    yield object(), Speed(0.0, 1.0, 0.0)


@pytest.fixture
def latlas(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Latlas:
    """Runs a command line in an empty folder that holds ramps.npz and small.toml; nothing is measured, and pages
    have no pictures.
    """
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "ramps.npz", x=images(160), y=np.arange(160) % 3)
    (tmp_path / "small.toml").write_text(GOOD)
    monkeypatch.setattr(trial, "short_run", second_a_step)
    monkeypatch.setattr(trial, "row_seconds", lambda run, info: 2.0)
    monkeypatch.setattr(results.compare, "gather", partial(compare.gather, pictures=False))

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def study_json(folder: str = "studies/small") -> dict[str, Any]:
    return json.loads(Path(folder, "study.json").read_text())


def stamps(folder: str) -> dict[str, int]:
    files = (p for p in Path("studies/small", folder).rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p): p.stat().st_mtime_ns for p in files}


@pytest.mark.slow
def test_a_study_of_ones_own_gives_mean_and_spread_over_seeds(latlas: Latlas) -> None:
    code, out, err = latlas("study", "small.toml", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert [r["folder"] for r in told["runs"]] == [
        f"ramps-vae-latent-{latent}-seed{seed}" for seed in (0, 1) for latent in (2, 3)
    ]
    assert all((r["state"], r["steps"], r["planned_steps"]) == ("finished", 24, 24) for r in told["runs"])
    assert told["estimate_seconds"] is None  # nothing was tried beforehand
    assert "run 1 of 4, time left unknown, measuring with the first run" in err
    assert "run 4 of 4, about" in err
    for entry, latent in zip(told["results"]["ramps"]["entries"], (2, 3), strict=True):
        found = [
            runs.find(f"studies/small/ramps-vae-latent-{latent}-seed{seed}").metrics["splits"]["test"]
            for seed in (0, 1)
        ]
        for key in ("elbo", "mse"):
            assert entry["values"][key] == pytest.approx(fmean(f[key] for f in found))
            assert entry["spread"][key] == pytest.approx(stdev(f[key] for f in found))
            assert entry["spread"][key] > 0
        assert entry["values"]["knn_accuracy"] > 0
    page = Path(told["page"]).read_text()
    for text in (
        "Small &amp; quick",
        "Two networks.",
        "Claim: The wider one is better.",
        "To be checked here: Somebody looks at it.",
        "2 seeds",
    ):
        assert text in page
    rows = list(csv.DictReader(Path(told["table"]).read_text().splitlines()))
    assert [(r["data"], r["name"], r["runs"]) for r in rows] == [
        ("ramps", "vae · latent 2", "2"), ("ramps", "vae · latent 3", "2"),
    ]  # fmt: skip
    entry = told["results"]["ramps"]["entries"][1]
    assert float(rows[1]["elbo"]) == entry["values"]["elbo"]
    assert float(rows[1]["elbo_sd"]) == entry["spread"]["elbo"]
    runs_of = list(csv.DictReader((Path(told["folder"]) / "seeds.csv").read_text().splitlines()))
    assert [(r["name"], r["seed"]) for r in runs_of] == [
        (f"vae · latent {latent}", seed) for latent in "23" for seed in "01"
    ]
    assert fmean(float(r["elbo"]) for r in runs_of[2:]) == pytest.approx(entry["values"]["elbo"])
    assert float(runs_of[0]["knn_accuracy_stderr"]) > 0
    assert study_json()["results"] == told["results"]
    # The same command again changes nothing; another seed trains that alone.
    before = stamps(".")
    code, out, err = latlas("study", "small.toml", "--json")
    assert json.loads(out) == told
    assert "finished already" in err
    assert stamps(".") == before
    runs_before = {p: t for p, t in before.items() if "-seed" in p}
    assert latlas("study", "small.toml", "--seeds", 3, "-q")[0] == 0
    after = stamps(".")
    assert {p: after[p] for p in runs_before} == runs_before
    assert len(study_json()["runs"]) == 6


ROWS = {
    "one": ({"mse": 0.2, "sharpness": 1.3}, {"mse": 0.01, "sharpness": 0.01}),
    "other": ({"mse": 0.4, "sharpness": 0.8}, {"mse": 0.01, "sharpness": 0.01}),
    "like one": ({"mse": 0.205}, {"mse": 0.01}),
    "of unknown variation": ({"mse": 0.5}, {}),
}


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ({"number": "mse", "row": "one", "than": "other"}, "confirmed"),
        ({"number": "mse", "row": "other", "than": "one"}, "refuted"),
        ({"number": "mse", "row": "other", "than": "one", "better": "higher"}, "confirmed"),
        ({"number": "mse", "row": "like one", "than": "one"}, "undecided"),
        ({"number": "sharpness", "row": "other", "than": "one", "near": 1}, "confirmed"),
        ({"number": "sharpness", "row": "one", "than": "other", "near": 1}, "refuted"),
        ({"number": "sharpness", "row": "like one", "than": "one", "near": 1}, "not measured"),
        ({"number": "mse", "row": "one", "than": "nobody"}, "not measured"),
        ({}, "not measured"),
        ({"number": "mse", "row": "one", "than": "of unknown variation"}, "confirmed"),
    ],
)
def test_a_claim_is_decided_by_its_number_and_the_variation(claim: dict[str, Any], expected: str) -> None:
    entries = tuple(
        Entry(name, dict(values), "data", "data", "density", Scaling(), stderrs=stderrs, runs=("run",))
        for name, (values, stderrs) in ROWS.items()
    )
    word, why = claims.verdict(Claim(text="It holds.", **claim), Comparison("data", "nats", entries, ()))
    assert word == expected
    assert bool(why) == (expected != "not measured")
    assert ("within the variation over items" in why) == (expected == "undecided")
    assert ("not known" in why) == (claim.get("than") == "of unknown variation")


def test_the_claims_of_every_study_name_rows_and_numbers_that_it_has() -> None:
    for name in study_names():
        study = read(name)
        names = {entry.name for entry in study.entries}
        for claim in study.info.claims:
            assert not claim.number or {claim.row, claim.than} <= names, claim
            assert not claim.number or claim.better or claim.near or METRICS[claim.number].better, claim
        assert measures_of(study) is not None


def test_further_columns_are_measures_and_unknown_ones_are_refused(latlas: Latlas) -> None:
    text = Path("small.toml").read_text()
    Path("more.toml").write_text(text.replace("measures =", 'columns = ["frechet"]\nmeasures =', 1))
    code, _, err = latlas("study", "more.toml", "--dry-run")
    assert code == 2
    assert "unknown measure 'frechet'; did you mean 'frechet_distance'?" in err


def test_a_dry_run_lists_the_runs_and_writes_nothing(latlas: Latlas, tmp_path: Path) -> None:
    there = sorted(tmp_path.iterdir())
    code, out, _ = latlas("study", "small.toml", "--seeds", 1, "--dry-run")
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()[1:3]] == ["vae · latent 2", "vae · latent 3"]
    assert out.splitlines()[-1] == "studies/small: 2 runs, about 50 s of training left"
    code, out, err = latlas("study", "small.toml", "--dry-run", "--json", "-q")
    told = json.loads(out)
    assert (err, len(told["runs"]), told["estimate_seconds"], told["cuts"]) == ("", 4, 104, [])
    assert {r["state"] for r in told["runs"]} == {"new"}
    code, _, err = latlas("study", "small.toml", "--set", "model.latent=3", "--dry-run")
    assert (code, err.splitlines()[-1]) == (
        2, "error: --set: model.latent: the rows of this study differ in it; leave it out"
    )  # fmt: skip
    assert sorted(tmp_path.iterdir()) == there


def test_a_budget_cuts_steps_and_seeds_and_says_so_everywhere(
    latlas: Latlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A step a second, 24 steps, 5 an epoch (21 % at the least), 2 s a row: two seeds of two runs at the least 28 s.
    (Path("small.toml")).write_text(GOOD.replace("training.steps", "objective.warmup = 12\ntraining.steps"))
    code, out, err = latlas("study", "small.toml", "--budget", "25s", "--json")
    assert code == 0, err
    told = json.loads(out)
    steps = told["runs"][0]["steps"]
    share = f"{100 * told['budget']['share']:.3g}"
    assert (len(told["runs"]), told["seeds"], told["budget"]["seeds"]) == (2, [0], 1)
    assert 5 <= steps < 24
    assert told["estimate_seconds"] == 2 * (steps + 2) <= 0.9 * 25
    cuts = [
        f"each run trains {share} % of its steps ({steps} of 24), because of the budget of 25 s",
        "1 of 2 seeds is trained, because of the budget of 25 s",
    ]
    assert told["cuts"] == study_json()["cuts"] == cuts
    page = Path(told["page"]).read_text()
    assert all(f"{line[1:]}." in page for line in cuts)
    for row in told["runs"]:
        run = runs.find(f"studies/small/{row['folder']}")
        assert run.metrics["steps"] == steps
        # A warm-up given in steps is shortened alike.
        assert run.config.objective.warmup == round(told["budget"]["share"] * 12)
    # The budget holds without being said again, and another one would be another study.
    monkeypatch.setattr(trial, "short_run", None)  # nothing is measured again
    Path("studies/small/study.html").unlink()
    again = json.loads(latlas("study", "small.toml", "--json", "-q")[1])
    assert {**again, "results": None} == {**told, "results": None}
    assert latlas("study", "small.toml", "--budget", "25s", "-q")[0] == 0
    monkeypatch.setattr(trial, "short_run", second_a_step)
    code, _, err = latlas("study", "small.toml", "--budget", "200s")
    assert code == 2
    assert "was trained for another number of steps, by another budget; leave the budget out to go on" in err


def test_a_budget_that_is_too_short_names_one_that_would_do(latlas: Latlas) -> None:
    code, _, err = latlas("study", "small.toml", "--budget", "5s")
    assert code == 2
    smallest = err.strip().rpartition(" ")[2]
    assert latlas("study", "small.toml", "--budget", "5s")[0] == 2
    told = json.loads(latlas("study", "small.toml", "--budget", smallest, "--dry-run", "--json", "-q")[1])
    assert len(told["runs"]) == 2


def interrupting(folder: str, original: Any) -> Any:
    """`experiment.train`, but the run of that folder is interrupted in the middle of an epoch."""

    def train(config: Any, out: Path, observer: Any, **more: Any) -> Any:
        if out.name == folder:
            monkey = {"steps": 0}

            def progress(what: str, done: int, total: int, detail: str = "") -> None:
                if what == "training" and done >= 12:
                    monkey["steps"] = done
                    raise KeyboardInterrupt

            observer.progress = progress
        return original(config, out, observer, **more)

    return train


def test_interrupted_it_says_how_to_go_on_and_goes_on_from_there(
    latlas: Latlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("study", "small.toml", "--seeds", 1)
    Path("small.toml").write_text(GOOD.replace("training.steps", "training.log_every = 4\ntraining.steps"))
    assert latlas(*arguments, "--out", "whole", "-q")[0] == 0
    with monkeypatch.context() as patch:
        stopping = interrupting("ramps-vae-latent-3-seed0", experiment.train)
        patch.setattr(experiment, "train", stopping)
        code, out, err = latlas(*arguments)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].endswith("go on with: latlas study small.toml --seeds 1")
    assert [r["state"] for r in study_json()["runs"]] == ["finished", "begun"]
    assert study_json()["results"] is None
    before = stamps("ramps-vae-latent-2-seed0")
    code, _, err = latlas(*arguments)
    assert code == 0, err
    assert "run 1 of 2: ramps, vae · latent 2, seed 0: finished already" in err
    assert stamps("ramps-vae-latent-2-seed0") == before
    assert numbers("studies/small") == numbers("whole")


def numbers(folder: str) -> dict[str, list[float]]:
    entries = study_json(folder)["results"]["ramps"]["entries"]
    return {e["name"]: [e["values"][key] for key in ("elbo", "rate", "mse", "knn_accuracy")] for e in entries}


def test_what_the_folder_holds_is_not_taken_for_something_else(latlas: Latlas) -> None:
    assert latlas("study", "small.toml", "--seeds", 1, "-q")[0] == 0
    before = stamps(".")
    for change, message in (
        (
            ("0.003", "0.004"),
            "was trained with optimizer.lr = 0.003, and now it would be 0.004; choose another folder",
        ),
        (('"small"', '"other"'), '--out studies/small: holds the study "small", not "other"'),
    ):
        Path("changed.toml").write_text(GOOD.replace(*change))
        code, _, err = latlas("study", "changed.toml", "--out", "studies/small", "--seeds", 1, "-q")
        assert code == 2
        assert message in err
    assert (
        "data.limit = None, and now it would be 50" in latlas("study", "small.toml", "--limit", 50, "-q")[2]
    )
    np.savez("ramps.npz", x=images(160, seed=1), y=np.arange(160) % 3)
    assert "was trained on other data of that name" in latlas("study", "small.toml", "-q")[2]
    assert stamps(".") == before
    Path("elsewhere").mkdir()
    Path("elsewhere/mine.txt").write_text("mine")
    code, _, err = latlas("study", "small.toml", "--out", "elsewhere")
    assert code == 2
    assert "exists already and is no study" in err


def test_a_run_that_fails_does_not_stop_the_others(latlas: Latlas, monkeypatch: pytest.MonkeyPatch) -> None:
    original = experiment.train

    def train(config: Any, out: Path, observer: Any, **more: Any) -> Any:
        if config.model.latent == 2:
            raise LatlasError("step 7: the loss is not finite")
        return original(config, out, observer, **more)

    monkeypatch.setattr(experiment, "train", train)
    code, _, err = latlas("study", "small.toml", "--seeds", 1)
    assert code == 1
    assert "1 of 2 runs failed" in err.splitlines()[-1]
    assert "step 7: the loss is not finite" in err.splitlines()[-1]
    assert [r["state"] for r in study_json()["runs"]] == ["failed", "finished"]
    assert list(numbers("studies/small")) == ["vae · latent 3"]
    assert "failed and is left out" in Path("studies/small/study.html").read_text()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("study elbo-vs-mdm", "unknown study 'elbo-vs-mdm'; did you mean 'elbo-vs-mmd'?"),
        ("study none.toml", "none.toml: cannot be read: No such file"),
        ("study ae-vs-pca", "latlas data fetch mnist"),
        ("study small.toml nothing", "'nothing' is neither a named set"),
        ("study small.toml --budget soon", "--budget soon: expected a duration"),
        ("study small.toml --seeds 0", "--seeds"),
        ("study small.toml --limit 0", "--limit"),
        ("study small.toml ramps.npz ramps.npz", "ramps.npz: given twice"),
        (
            "study latent-size ramps.npz",
            "study latent-size: 2 dimensions, on ramps: network.name = kmnist makes 28x28",
        ),
    ],
)
def test_bad_calls_are_one_line_and_leave_nothing(
    latlas: Latlas, tmp_path: Path, command: str, message: str
) -> None:
    there = sorted(tmp_path.iterdir())
    code, out, err = latlas(*command.split())
    assert (code, out) == (2, "")
    assert message in err.strip().splitlines()[-1]
    assert sorted(tmp_path.iterdir()) == there


def test_a_closed_form_beyond_its_data_is_refused_before_anything_is_trained(latlas: Latlas) -> None:
    runs_ = '[[runs]]\nrecipe = "linear-ae"\n[[runs]]\nrecipe = "pca"\nmodel.latent = 1000\n'
    Path("closed.toml").write_text('[study]\nname = "closed"\ndata = ["ramps.npz"]\n' + runs_)
    code, _, err = latlas("study", "closed.toml")
    assert code == 2
    assert "closed.toml: pca, on ramps: model.latent = 1000" in err
    assert not Path("studies").exists()


def test_more_seeds_are_trained_where_a_budget_cut_none(latlas: Latlas) -> None:
    assert latlas("study", "small.toml", "--seeds", 1, "--budget", "10h", "-q")[0] == 0
    assert study_json()["budget"]["of_seeds"] == 1
    told = json.loads(latlas("study", "small.toml", "--seeds", 2, "--json", "-q")[1])
    assert len(told["runs"]) == 4
    assert told["cuts"] == []


@pytest.mark.parametrize("broken", [{"asked_seeds": "many"}, {"budget": {"seconds": 1}}, {"runs": None}])
def test_a_damaged_study_json_is_named(latlas: Latlas, broken: dict[str, Any]) -> None:
    Path("studies/small").mkdir(parents=True)
    Path("studies/small/study.json").write_text(json.dumps({"study": "small"} | broken))
    code, _, err = latlas("study", "small.toml", "-q")
    assert (code, err.count("\n")) == (2, 1)
    assert f"study.json: damaged: {next(iter(broken))}" in err.replace('"', "")
    assert "take it away, and the study is planned anew" in err


def test_an_unknown_measure_is_refused_before_anything_is_trained(latlas: Latlas) -> None:
    Path("small.toml").write_text(GOOD.replace("knn_accuracy", "knn_acuracy"))
    code, _, err = latlas("study", "small.toml")
    assert code == 2
    assert "did you mean 'knn_accuracy'?" in err
    assert not Path("studies").exists()


def test_studies_stand_among_the_recipes(latlas: Latlas) -> None:
    listed = json.loads(latlas("recipes", "list", "--json")[1])
    kinds = {r["name"]: r["kind"] for r in listed}
    assert [kinds["vae"], kinds["ae-vs-pca"]] == ["recipe", "study"]
    assert {n for n, kind in kinds.items() if kind == "study"} == set(studies.study_names())
    assert next(r["ids"] for r in listed if r["name"] == "elbo-vs-mmd") == ["D6"]
    assert latlas("recipes", "show", "ae-vs-pca")[1].startswith('[study]\nname = "ae-vs-pca"')
    assert json.loads(latlas("recipes", "show", "ae-vs-pca", "--json")[1])["study"]["ids"] == ["A4"]


# Measuring

SHORT_RUN, ROW_SECONDS = trial.short_run, trial.row_seconds


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder in which temporary ones are made; the current one holds ramps.npz, of 40 steps an epoch."""
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "ramps.npz", x=images(1600), y=np.arange(1600) % 3)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def planned(text: str = GOOD) -> prepare.Planned:
    return prepare.plan(parsed(text), prepare.Options(out=Path("out")), SILENT).runs[0]


@pytest.mark.parametrize(("enough", "steps"), [(0.0, trial.LEAST_STEPS), (1e9, 24)])
def test_a_short_run_is_as_long_as_it_must_be(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, enough: float, steps: int
) -> None:
    monkeypatch.setattr(trial, "ENOUGH_SECONDS", enough)
    run = planned()
    with trial.short_run(run.config, run.size) as (short, speed):
        assert short is not None
        metrics = short.metrics
        assert metrics["steps"] == steps
        assert min(vars(speed).values()) > 0
        # What it says of a run of its own length is what it took itself.
        assert budget.seconds(Size(steps, 40), speed) == pytest.approx(metrics["seconds"], abs=1e-3)
    assert list(temporary.iterdir()) == []


def test_a_closed_form_is_measured_as_a_whole(temporary: Path) -> None:
    text = GOOD.replace('recipe = "vae"\noptimizer.lr = 0.003', 'recipe = "pca"').replace(
        "training.steps = 24", ""
    )
    run = planned(text.replace("network.hidden = [16]", ""))
    with trial.short_run(run.config, run.size) as (short, speed):
        assert short is not None
        assert (short.metrics["steps"], speed.step, speed.epoch) == (0, 0, 0)
        assert speed.start == pytest.approx(short.metrics["seconds"], abs=1e-3)
    assert list(temporary.iterdir()) == []


def test_a_learning_rate_at_which_it_diverges_does_not_end_a_short_run(temporary: Path) -> None:
    run = planned(GOOD.replace("0.003", "1e30"))
    with trial.short_run(run.config, run.size) as (short, _):
        assert short is not None


def test_a_short_run_that_fails_is_none(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any) -> None:
        raise LatlasError("step 1: the loss is not finite")

    run = planned()
    monkeypatch.setattr(experiment, "train", train)
    with trial.short_run(run.config, run.size) as (short, speed):
        assert (short, speed.step, speed.epoch) == (None, 0, 0)
    assert list(temporary.iterdir()) == []


def test_interrupted_while_measuring_it_leaves_nothing(
    latlas: Latlas, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "short_run", SHORT_RUN)
    monkeypatch.setattr(experiment, "train", interrupting("first", experiment.train))
    code, out, err = latlas("study", "small.toml", "--budget", "1h")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "stopped while measuring; no run of the study was started"
    assert list(temporary.iterdir()) == []
    assert not Path("studies").exists()


def test_a_dry_run_measures_each_kind_of_run_once(
    latlas: Latlas, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def train(config: Any, out: Path, observer: Any) -> Any:
        trained.append((out.name, config.model.latent))
        return train_whole(config, out, observer)

    train_whole = experiment.train
    monkeypatch.setattr(experiment, "train", train)
    monkeypatch.setattr(trial, "short_run", SHORT_RUN)
    monkeypatch.setattr(trial, "row_seconds", ROW_SECONDS)
    monkeypatch.setattr(trial, "ENOUGH_SECONDS", 0.01)
    told = json.loads(latlas("study", "small.toml", "--dry-run", "--json", "-q")[1])
    assert [run for run in trained if run[0] == "first"] == [("first", 2), ("first", 3)]
    estimates = [run["estimate_seconds"] for run in told["runs"]]
    assert told["estimate_seconds"] == pytest.approx(sum(estimates), abs=0.3)
    assert min(estimates) > 0
    assert list(temporary.iterdir()) == []


def test_a_folder_that_an_earlier_version_began_is_continued(
    latlas: Latlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert latlas("study", "small.toml", "--budget", "25s", "-q")[0] == 0
    path = Path("studies/small/study.json")
    speed = {"step": 1.0, "evaluation": 0.1, "epoch": 0.1, "snapshot": 0.1, "start": 1.0, "compare": 2.0}
    values = study_json() | {"speeds": {"0123456789ab": speed}, "results": None}
    path.write_text(json.dumps(values))
    monkeypatch.setattr(trial, "short_run", None)  # nothing is measured again
    told = json.loads(latlas("study", "small.toml", "--json", "-q")[1])
    for key in ("budget", "cuts", "estimate_seconds", "runs"):
        assert told[key] == values[key]


@pytest.mark.slow
def test_killed_in_its_second_run_the_same_command_ends_alike(tmp_path: Path) -> None:
    np.savez(tmp_path / "ramps.npz", x=images(1500), y=np.arange(1500) % 3)
    text = GOOD.replace("[0, 1]", "[0]").replace("[2, 3]", "[2, 3, 4]").replace("= 24", "= 1000")
    (tmp_path / "small.toml").write_text(text)
    command = [sys.executable, "-m", "latlas", "study", "small.toml", "--out"]
    whole = subprocess.run(
        [*command, "whole"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(
        [*command, "cut"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    second = tmp_path / "cut" / "ramps-vae-latent-3-seed0"
    while not (second / "checkpoints" / "last.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (second / "metrics.json").exists()
    first = tmp_path / "cut" / "ramps-vae-latent-2-seed0"
    before = {p: p.stat().st_mtime_ns for p in first.rglob("*") if p.is_file()}
    again = subprocess.run(
        [*command, "cut"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert again.returncode == 0, again.stderr
    assert {p: p.stat().st_mtime_ns for p in first.rglob("*") if p.is_file()} == before
    for name in ("ramps-vae-latent-2-seed0", "ramps-vae-latent-3-seed0", "ramps-vae-latent-4-seed0"):
        one, other = (tmp_path / folder / name / "model.safetensors" for folder in ("cut", "whole"))
        assert one.read_bytes() == other.read_bytes()
    assert numbers(str(tmp_path / "cut")) == numbers(str(tmp_path / "whole"))


def test_a_study_ranks_by_validation_and_shows_the_test_beside_it(latlas: Latlas) -> None:
    code, out, err = latlas("study", "small.toml", "--seeds", 1, "--json")
    assert code == 0, err
    told = json.loads(out)
    result = told["results"]["ramps"]
    entries = {e["name"]: e for e in result["entries"]}
    assert {"valid_elbo", "valid_mse"} <= set(result["groups"])
    assert not {"elbo", "mse", "distortion"} & set(result["groups"])
    for key, better in (("valid_elbo", max), ("valid_mse", min)):
        best = better(entries.values(), key=lambda e: e["values"][key])
        assert key in best["best"]
        split = runs.find(next(iter(best["runs"]))).metrics["splits"]["valid"]
        assert best["values"][key] == split[key.removeprefix("valid_")]
    assert entries["vae · latent 2"]["stderrs"]["valid_elbo"] > 0
    assert "rank by validation items" in result["text"]
    page = Path(told["page"]).read_text()
    assert "Highest validation ELBO: " in page
    assert " (test " in page
