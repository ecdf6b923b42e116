"""Diagnosis: every rule finds a model with its fault, and is silent on good ones."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import batches, image_dataset, made, split
from torch import nn

from latlas import cli, densities, diagnosis, optimizers, pca, training
from latlas.build import GOOD_STEPS, has_prior, objective_of
from latlas.checkpoints import Progress
from latlas.config import override
from latlas.data import DataOptions, Dataset, Scaling, load
from latlas.diagnosis import (
    RULES,
    Evidence,
    Finding,
    Rule,
    latent_rules,
    likelihood_rules,
    measurements,
    network_rules,
    precedence,
    training_curves,
    training_rules,
    wording,
)
from latlas.diagnosis.evidence import Drift, Gap, Latents, Layer, Noise, Scores
from latlas.diagnosis.finding import about_of
from latlas.diagnosis.latent_rules import beta_limit
from latlas.diagnosis.rule import standard_errors
from latlas.likelihoods import LIKELIHOODS
from latlas.metrics import Context
from latlas.metrics.elbo import evaluate
from latlas.models import Model
from latlas.settings import Config

VARIANCES = (9.0, 4.0, 1.5)  # of the three directions that the table below varies in, beside noise
NOISE = 0.1
QUICK = {"model__latent": 3, "network__name": "linear", "optimizer__lr": 0.03, "training__batch_size": 64,
         "training__epochs": 25, "training__log_every": 10}  # fmt: skip
PLAIN = {"posterior__name": "point", "objective__name": "reconstruction", "objective__schedule": "constant"}


@pytest.fixture(autouse=True)
def few_gaussians(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly all the time of a diagnosis this small goes into trying out mixtures."""
    monkeypatch.setattr(densities, "COMPONENTS", (1, 2))


def table(n: int = 600, shift: float = 0.0, held_out: int = 300, seed: int = 0) -> Dataset:
    """Eight columns that vary in three directions: N(0, A diag(VARIANCES) A^T + NOISE I), A orthonormal."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(8, 3)))[0]
    rows = n + 2 * held_out
    x = rng.normal(size=(rows, 3)) * np.sqrt(VARIANCES) @ axes.T + math.sqrt(NOISE) * rng.normal(
        size=(rows, 8)
    )
    train, valid, test = np.split(x.astype(np.float32), [n, n + held_out])
    scaling = Scaling("standard", (0.0,) * 8, (1.0,) * 8)
    return Dataset("t", "t", "table", (8,), False, scaling, split(train), split(valid), split(test + shift))


def trained(dataset: Dataset, **settings: Any) -> tuple[Config, Model, list[dict[str, Any]]]:
    """A model trained by the loop, with the log rows that a run would have."""
    config, model = made(dataset, **(QUICK | settings))
    optimizer = optimizers.optimizer_for(config, model)
    objective = objective_of(config, dataset.shape)
    rows: list[dict[str, Any]] = []
    data, held = batches(dataset, "train", model), batches(dataset, "valid", model)
    for event in training.train(model, data, objective, optimizer, config, Progress()):
        if isinstance(event, training.Logged):
            rows.append({"kind": "step", "step": event.step, "lr": event.lr, **event.values})
        elif isinstance(event, training.EpochEnded):
            valid = evaluate(model, held).to_dict() if len(held) else None
            rows.append({"kind": "epoch", "step": event.step, "epoch": event.epoch, "valid": valid})
    return config, model.eval(), rows


def gathered(config: Config, model: Model, dataset: Dataset, rows: Sequence[Any] = ()) -> Evidence:
    """The evidence on a model that was trained on these data."""
    return diagnosis.gather(config, dataset, Context(model, dataset, has_prior(config)), rows)


@functools.cache
def evidence(name: str = "vae") -> Evidence:
    """Of the good runs, each trained once: a VAE, one without warm-up, an autoencoder, PCA."""
    dataset = table()
    if name == "pca":
        model = pca.fit(dataset, 3)
        recipe = override(pca.recipe("pca"), {"model.latent": 3}, "test")
        return gathered(pca.resolve(recipe, dataset)[0], model, dataset)
    settings: dict[str, dict[str, Any]] = {
        "vae": {}, "plain": PLAIN, "mlp": {"network__name": "mlp", "network__hidden": (32,)},
        "vamp": {"prior__name": "vamp", "prior__components": 5},
    }  # fmt: skip
    config, model, rows = trained(dataset, training__epochs=40, **settings[name])
    return gathered(config, model, dataset, rows)


def changed(e: Evidence, **settings: Any) -> Evidence:
    """The same evidence under other settings."""
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    return replace(e, config=override(e.config, keys, "test"))


def names(e: Evidence) -> list[str]:
    return [finding.name for finding in diagnosis.diagnose(e)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", ["vae", "mlp", "plain", "vamp", "pca"])
def test_every_rule_is_silent_on_a_good_run(rule: Callable[[Evidence], Finding | None], name: str) -> None:
    assert rule(evidence(name)) is None


def test_evidence_is_what_theory_says_of_a_linear_vae() -> None:
    """Modes are principal variances over sigma^2; at the optimum sigma^2 is the mean of those left out."""
    e = evidence()
    assert e.noise is not None
    assert e.noise.variance == pytest.approx(NOISE, rel=0.1)
    expected = (np.array(VARIANCES) + NOISE) / e.noise.variance
    assert e.modes[:3] == pytest.approx(expected, rel=0.15)
    assert (e.modes[3:] < 2).all()
    assert e.latents is not None
    assert e.latents.active.sum() == 3
    rates = 0.5 * np.log(expected)
    assert e.latents.rate is not None
    assert e.latents.rate.sum() == pytest.approx(rates.sum(), rel=0.1)
    assert e.scores["test"].gain == pytest.approx(e.scores["train"].gain, rel=0.1)


def test_the_spectrum_is_exact_along_axes_and_not_inflated_by_few_items() -> None:
    x = torch.randn(200, 800, generator=torch.Generator().manual_seed(0))
    modes, axes = measurements.spectrum(x.double() / 2)
    assert axes.shape == (800, len(modes))
    assert modes.mean() == pytest.approx(1 / 4, rel=0.1)
    assert modes[0] < 0.45  # along its own axes the variance is (1 + sqrt(800 / 100))^2 / 4 = 3.7


@pytest.mark.parametrize(
    ("beta", "alive"),
    [
        pytest.param(0.5, 3, marks=pytest.mark.slow),
        pytest.param(2.5, 2, marks=pytest.mark.slow),
        (6.0, 1),
        (12.0, 0),
    ],
)
def test_modes_above_beta_live_and_no_others(beta: float, alive: int) -> None:
    """sigma = 1: mode i lives exactly where its variance (9.1, 4.1, 1.6) is above beta."""
    config, model, rows = trained(table(), objective__beta=beta, likelihood__sigma=1.0, training__epochs=50)
    e = gathered(config, model, table(), rows)
    assert e.active_modes == alive
    assert e.latents is not None
    assert e.latents.active.sum() == alive
    assert ("posterior-collapse" in names(e)) == (alive == 0)
    assert ("dimensions-collapsed" in names(e)) == (alive in (1, 2))


def test_a_learned_sigma_has_its_own_limit_of_beta() -> None:
    """d = 4, variances 5, 2, 0.5, 0.5: two modes live at sigma^2 = 1 / (4 - 2 beta) while 2 > beta sigma^2."""
    e = changed(
        replace(evidence(), values=4, modes=10 * np.array([5.0, 2.0, 0.5, 0.5])), likelihood__sigma="learned"
    )
    assert beta_limit(e, 2) == pytest.approx(2 * 4 / (1 + 2 * 2))
    beta = beta_limit(e, 2)
    assert beta * 1 / (4 - 2 * beta) == pytest.approx(2)


@pytest.mark.parametrize("limit", [0.8, 1.25])
def test_a_bernoullis_collapse_is_at_the_correlations_largest_eigenvalue(limit: float) -> None:
    """Of 0/1 data whitened by m (1 - m), a linear decoder's first mode lives where its eigenvalue is above beta."""
    rng = np.random.default_rng(0)
    bits = (rng.random((2000, 6)) < np.where(rng.random((2000, 1)) < 0.5, 0.7, 0.3)).astype(np.uint8)
    parts_ = np.split(bits, [1200, 1600])
    dataset = Dataset("b", "b", "vector", (6,), True, Scaling("none"), *map(split, parts_))
    config, model, rows = trained(dataset, model__latent=1, objective__beta=limit * (1 + 5 * 0.16))
    e = gathered(config, model, dataset, rows)
    assert e.modes[0] == pytest.approx(1 + 5 * 0.16, rel=0.06)
    assert e.latents is not None
    assert e.latents.active.any() == (limit < 1)
    assert ("posterior-collapse" in names(e)) == (limit > 1)


def finding(e: Evidence, rule: Callable[[Evidence], Finding | None]) -> Finding:
    """What the rule says; its settings make a configuration, and its words are whole."""
    found = rule(e)
    assert found is not None
    override(e.config, dict(found.settings), "test")
    assert 0 < found.weight <= 1
    text = " ".join((found.title, found.evidence, found.cause, found.remedy))
    assert "nan" not in text.split()
    assert "  " not in text
    return found


def collapsed_latents(active: int = 0, size: int = 3) -> Latents:
    activity = np.where(np.arange(size) < active, 0.9, 1e-4)
    return Latents(activity, np.ones(size), None, 0.0 if not active else 50.0, 0.1)


def test_collapse_names_the_sigma_or_the_beta_that_mends_it() -> None:
    modes = np.array([0.5, 0.25, 0.1, 0.05])
    base = replace(evidence(), latents=collapsed_latents(), modes=modes)
    by_sigma = finding(changed(base, likelihood__sigma=2.0), latent_rules.collapsed)
    assert by_sigma.settings == {"likelihood.sigma": "learned"}
    assert f"below {2 * math.sqrt(0.5):.3g} the model can encode the first" in by_sigma.remedy
    by_beta = finding(changed(base, objective__beta=8.0), latent_rules.collapsed)
    assert "objective.beta" in by_beta.settings
    strong = replace(base, modes=np.array([50.0, 20.0, 10.0, 0.1]))
    early = finding(changed(strong, objective__schedule="constant"), latent_rules.collapsed)
    assert early.settings == {"objective.schedule": "linear"}
    assert "optimizer.lr" in finding(strong, latent_rules.collapsed).settings


def test_too_early_weight_and_idle_dimensions_are_told_apart() -> None:
    strong = replace(evidence(), latents=collapsed_latents(1, 8), modes=np.full(8, 40.0))
    assert latent_rules.partly_collapsed(strong) is None
    early = finding(changed(strong, objective__schedule="constant"), latent_rules.partly_collapsed)
    assert early.settings == {"objective.schedule": "linear"}
    few = replace(evidence(), latents=collapsed_latents(3, 8))
    assert finding(few, latent_rules.too_many).settings == {"model.latent": 3}
    pressed = changed(few, objective__beta=4.0)
    assert latent_rules.partly_collapsed(pressed) is not None
    assert latent_rules.too_many(pressed) is None


def test_findings_say_which_dimensions_or_that_places_they_are_about() -> None:
    own = Latents(np.array([1e-4, 0.9, 1e-4, 0.9, 0.9]), np.array([1, 1, 1, 1, 1e-4]), None, 50.0, 0.1)
    none = replace(evidence(), latents=collapsed_latents(), modes=np.full(3, 0.1))
    some = replace(evidence(), latents=own, modes=np.full(5, 0.1))
    whole = latent_rules.collapsed(changed(none, likelihood__sigma=2.0))
    part = latent_rules.partly_collapsed(changed(some, objective__beta=8.0))
    idle = latent_rules.too_many(replace(some, modes=np.full(5, 40.0)))
    for found, dimensions in ((whole, (0, 1, 2)), (part, (0, 2, 4)), (idle, (0, 2, 4))):
        assert found is not None
        assert (found.about, found.dimensions) == ("dimensions", dimensions)
        stored = json.loads(json.dumps(wording.described(found, Path("run"))))
        assert about_of(stored) == ("dimensions", list(dimensions))
        # Files from before findings said so have the names alone.
        old = {key: value for key, value in stored.items() if key not in ("about", "dimensions")}
        assert about_of(old) == ("dimensions", [])
    other = latent_rules.too_few(replace(some, latents=collapsed_latents(5, 5)))
    assert other is None or other.about is None
    assert about_of({"name": "prior-mismatch"}) == ("places", [])
    assert about_of({"name": "posterior-collapse", "about": None}) == (None, [])
    assert about_of({"name": "overfitting", "about": ["?"], "dimensions": None}) == (None, [])


def test_a_decoder_cut_from_its_codes_is_found() -> None:
    config, model, rows = trained(table(), training__epochs=10)
    with torch.no_grad():
        model.decoder.output.weight.zero_()  # type: ignore[union-attr, operator]
    e = gathered(config, model, table(), rows)
    assert e.latents is not None
    assert e.latents.shuffled == pytest.approx(0, abs=1e-6)
    assert finding(e, latent_rules.ignored).name == "codes-ignored"


def test_holes_are_found_where_the_rate_is_free() -> None:
    config, model, rows = trained(table(), objective__beta=0.001)
    e = gathered(config, model, table(), rows)
    assert finding(e, latent_rules.holes).settings == {"objective.beta": 1.0}
    assert finding(e, latent_rules.holes).about == "places"
    assert finding(e, likelihood_rules.loss_scale).name == "rate-without-weight"


def test_the_gap_is_the_divergence_of_the_codes_from_the_prior() -> None:
    """Codes from N(m, s^2 I): KL(N(m, s^2), N(0, 1)) = (m^2 + s^2 - 1) / 2 - log s per dimension."""
    _, model = made(table(), model__latent=2)
    rng = np.random.default_rng(0)
    codes = 1.5 + 0.5 * rng.normal(size=(4000, 2))
    gap = measurements.density_gap(model, codes[:2000], torch.from_numpy(codes[2000:]))
    assert gap is not None
    assert gap.nats == pytest.approx(2 * ((1.5**2 + 0.25 - 1) / 2 + math.log(2)), abs=4 * gap.stderr)
    normal = measurements.density_gap(
        model, rng.normal(size=(2000, 2)), torch.from_numpy(rng.normal(size=(2000, 2)))
    )
    assert normal is not None
    assert abs(normal.nats) < 0.05


def test_a_learned_prior_or_an_mmd_gets_another_remedy_for_holes() -> None:
    wide = replace(evidence(), gap=Gap("a mixture", 5.0, 0.1, is_mixture=True))
    assert finding(wide, latent_rules.holes).settings == {"prior.name": "vamp"}
    moved = replace(evidence(), gap=Gap("one Gaussian with a full covariance", 5.0, 0.1))
    assert "prior.name" not in finding(moved, latent_rules.holes).settings
    assert finding(moved, latent_rules.holes).command.endswith("--density full")
    mmd = changed(wide, posterior__name="point", objective__name="infovae", objective__schedule="constant")
    assert "objective.info_lambda" in finding(mmd, latent_rules.holes).settings


@pytest.mark.parametrize(("sigma", "said"), [(3.0, "too large"), (0.05, "too small")])
def test_a_wrong_sigma_is_named_with_the_right_one(sigma: float, said: str) -> None:
    config, model, rows = trained(table(), likelihood__sigma=sigma, objective__beta=0.01 / sigma**2)
    e = gathered(config, model, table(), rows)
    found = finding(e, likelihood_rules.noise_off)
    assert said in found.title
    assert e.noise is not None
    assert f"training rows is {math.sqrt(e.noise.residual):.3g}." in found.evidence
    plain = changed(e, objective__beta=1.0, **PLAIN)
    assert likelihood_rules.noise_off(plain) is None


def test_a_likelihood_for_other_data_is_named() -> None:
    images = replace(evidence(), kind="image", noise=Noise(0.2, 0.002, 0.05))
    grey = changed(images, likelihood__name="bernoulli")
    assert finding(grey, likelihood_rules.bernoulli_on_grey).settings["likelihood.name"] == "gaussian"
    assert likelihood_rules.bernoulli_on_grey(replace(grey, binary=True)) is None
    assert likelihood_rules.bernoulli_on_grey(replace(grey, noise=Noise(0.104, 0.0254, 0.087))) is None
    assert finding(replace(images, binary=True), likelihood_rules.density_on_binary).settings
    out = replace(images, outside=0.1, layers=(Layer("encoder.2", 10, 0),))
    assert finding(out, likelihood_rules.outside_range).settings == {"likelihood.output": "sigmoid"}
    assert likelihood_rules.outside_range(changed(out, likelihood__output="sigmoid")) is None


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
def test_rules_on_the_data_ask_the_likelihood(name: str) -> None:
    noisy = replace(evidence(), kind="image", noise=Noise(0.2, 0.002, 0.05))
    e = changed(noisy, likelihood__name=name)
    likelihood = LIKELIHOODS[name]
    assert (likelihood_rules.bernoulli_on_grey(e) is None) == likelihood.normalised(False)
    on_binary = likelihood_rules.density_on_binary(replace(e, binary=True))
    assert (on_binary is not None) == (likelihood.scale == "density")
    assert on_binary is None or likelihood.title in on_binary.title
    assert likelihood_rules.density_on_binary(e) is None


@pytest.mark.parametrize("name", ["gaussian", "laplace"])
def test_a_sigma_is_judged_by_its_own_likelihood(name: str) -> None:
    config, model, rows = trained(table(), likelihood__name=name, likelihood__sigma=4.0, training__epochs=10)
    e = gathered(config, model, table(), rows)
    found = finding(e, likelihood_rules.noise_off)
    assert e.noise is not None
    best = override(config, {"likelihood.sigma": e.noise.best_sigma}, "test")
    mended = LIKELIHOODS[name].from_config(best.likelihood, "table", (8,), 1.0)
    passed = measurements.outputs_of(model, batches(table(), "train", model)(np.arange(600)), 0)
    raw = (passed.x - passed.error)[None]
    gain = mended.log_prob(raw, passed.x).mean() - model.likelihood.log_prob(raw, passed.x).mean()
    assert f"costs {gain.item():.3g} nats" in found.evidence


def test_losses_on_a_wrong_scale_are_named() -> None:
    hundredth = changed(evidence(), objective__beta=0.01, training__batch_size=100)
    assert "1 / 100, the batch size" in finding(hundredth, likelihood_rules.loss_scale).cause
    mean = changed(replace(evidence(), values=784), likelihood__sigma=math.sqrt(784 / 2))
    assert finding(mean, likelihood_rules.loss_scale).settings == {"likelihood.sigma": "learned"}
    assert finding(changed(evidence(), objective__beta=50.0), likelihood_rules.loss_scale).settings == {
        "objective.beta": 1.0
    }
    assert (
        likelihood_rules.loss_scale(changed(evidence(), objective__beta=1000.0, objective__capacity=25.0))
        is None
    )


def test_overfitting_shows_beside_validation() -> None:
    few = table(n=12)
    config, model, rows = trained(
        few, **PLAIN, network__name="mlp", network__hidden=(64,), training__epochs=150
    )
    e = gathered(config, model, few, rows)
    assert finding(e, training_rules.overfits).settings["training.patience"] == 5


def logged(costs: np.ndarray, epochs: int = 0, lr: float = 1e-3, norm: float = 1.0) -> Evidence:
    """Good evidence with the log of a constant learning rate and these costs."""
    steps = np.arange(1, len(costs) + 1) * 100
    rows = [{"kind": "step", "step": int(s), "distortion": float(c), "rate": 0.0, "lr": lr, "grad_norm": norm}
            for s, c in zip(steps, costs, strict=True)]  # fmt: skip
    at = np.linspace(0, len(costs) - 1, epochs).round().astype(int)
    ends = [{"kind": "epoch", "step": int(steps[i]), "epoch": n, "valid": {"distortion": float(costs[i]), "rate": 0.0}}
            for n, i in enumerate(at, 1)]  # fmt: skip
    scores = Scores(1000, 10.0, 3.0, 20.0, 0.1, 100.0, 80.0, 0.1)
    plan = training.Plan(int(steps[-1]), 100, 0)
    return replace(evidence(), steps=tuple(rows), epochs=tuple(ends), plan=plan, finished=True,
                   scores={"train": scores, "valid": scores, "test": scores})  # fmt: skip


LEVEL = 20 + 80 * np.exp(-np.arange(1, 51) / 3)
STRAIGHT = np.linspace(99.9, 95, 50)


def test_a_log_that_levels_off_has_nothing_wrong() -> None:
    assert [n for n in names(logged(LEVEL, 10)) if n in ("underfitting", "overfitting")] == []
    assert training_curves.rises(logged(LEVEL)).max() == 0


def test_validation_that_gets_worse_is_overfitting() -> None:
    turned = LEVEL + np.maximum(0, np.arange(50) - 25) * 0.5
    found = finding(logged(turned, 50), training_rules.overfits)
    assert "since epoch 26" in found.evidence


def test_a_score_that_still_falls_is_underfitting() -> None:
    slow = 20 + 80 * np.exp(-np.arange(1, 51) / 25)
    assert finding(logged(slow, 10), training_rules.underfits).settings["training.epochs"] == 150
    short = replace(logged(LEVEL[:2]), epochs=())
    assert finding(short, training_rules.underfits).settings["training.epochs"] == GOOD_STEPS // 100
    assert training_rules.underfits(replace(logged(slow, 10), finished=False)) is None


def test_few_steps_of_a_network_that_needs_no_more_are_no_underfitting() -> None:
    brief = replace(logged(LEVEL[:1]), kind="image", plan=training.Plan(100, 5, 0))
    assert finding(brief, training_rules.underfits).title == "Training ended too early"
    assert training_rules.underfits(changed(brief, network__name="pca-mlp")) is None
    one = replace(changed(brief, network__name="pca-mlp"), plan=training.Plan(100, 100, 0))
    assert finding(one, training_rules.underfits).settings["training.epochs"] == 16


def test_learning_rates_are_told_from_the_log() -> None:
    low = logged(STRAIGHT, lr=1e-6)
    assert training_curves.bend(low) == pytest.approx(1, abs=0.05)
    assert "a weight could move by about 0.005" in finding(low, training_rules.rate_too_low).evidence
    assert "posterior-collapse" not in names(replace(low, latents=collapsed_latents()))
    straight = changed(logged(STRAIGHT, lr=1e-4), optimizer__lr=1e-4)
    assert "straight line" in finding(straight, training_rules.rate_too_low).evidence
    assert training_rules.rate_too_low(logged(LEVEL, lr=1e-4)) is None
    learned_sigma = changed(logged(STRAIGHT, lr=3e-3), optimizer__lr=3e-3)
    assert training_rules.rate_too_low(learned_sigma) is None
    assert "underfitting" not in names(low)
    for rows in ((30, 31), (20, 30), (49,)):
        spiky = LEVEL.copy()
        spiky[list(rows)] += 30
        assert f"{len(rows)} of 50" in finding(logged(spiky), training_rules.rate_too_high).evidence
    once = LEVEL.copy()
    once[30] += 3000
    assert training_rules.rate_too_high(logged(once)) is None, "one batch, and the next mean is as before"
    assert training_rules.rate_too_high(logged(LEVEL)) is None
    bounded = changed(logged(LEVEL, norm=900.0), optimizer__clip=20.0)
    assert finding(bounded, training_rules.clipped).settings == {"optimizer.clip": 3600.0}
    assert training_rules.clipped(changed(bounded, optimizer__clip=200.0)) is None


def test_a_model_that_is_no_better_than_the_mean_has_learned_nothing() -> None:
    nothing = Scores(1000, 100.0, None, 100.0, 0.1, 100.0, 0.0, 0.1)
    e = changed(
        replace(logged(np.full(50, 100.0)), scores=dict.fromkeys(("train", "valid", "test"), nothing)),
        **PLAIN,
    )
    assert "learned nothing" in finding(e, training_rules.rate_too_high).title


def test_numbers_that_are_not_finite_are_the_one_finding() -> None:
    config, model, rows = trained(table(), training__epochs=1)
    with torch.no_grad():
        model.decoder.output.weight[0, 0] = math.nan  # type: ignore[union-attr, index]
    e = gathered(config, model, table(), rows)
    assert not e.finite
    assert finding(e, training_rules.not_finite).weight == 1
    assert names(replace(e, epochs=(), steps=()))[0] == "diverged"


def test_a_run_without_weights_or_without_an_end_is_said_so() -> None:
    e = diagnosis.gather(evidence().config, table(), None, [], finished=False)
    assert "before the first epoch" in finding(e, training_rules.not_finite).title
    assert "unfinished" in names(replace(evidence(), finished=False))


def test_nothing_held_out_is_a_notice() -> None:
    e = replace(evidence(), counts={"train": 600, "valid": 0, "test": 300})
    assert finding(e, training_rules.nothing_held_out).level == "notice"


def test_dead_units_are_counted_where_they_are() -> None:
    relu = {
        "network__name": "mlp",
        "network__hidden": (10,),
        "network__activation": "relu",
        "training__epochs": 2,
    }
    config, model, rows = trained(table(), **relu)
    assert isinstance(model.encoder, nn.Sequential)
    with torch.no_grad():
        model.encoder[1].bias[:6] = -1000.0  # type: ignore[index, operator]
    e = gathered(config, model, table(), rows)
    assert next((layer.name, layer.units, layer.dead) for layer in e.layers) == ("encoder.2", 10, 6)
    assert [layer.flat for layer in e.layers] == [True, True]
    assert [layer.flat for layer in evidence("mlp").layers] == [False, False]
    assert finding(e, network_rules.dead_units).settings["network.activation"] == "silu"
    most, all_but_one = (replace(e, layers=(Layer("encoder.2", 100, n),)) for n in (90, 99))
    assert finding(most, network_rules.dead_units).level == "notice"
    assert finding(all_but_one, network_rules.dead_units).level == "serious"
    few = replace(e, layers=(Layer("encoder.2", 100, 5),))
    assert network_rules.dead_units(few) is None
    fixed = finding(changed(e, network__name="fashion"), network_rules.dead_units)
    assert "A ReLU is flat" in fixed.cause
    assert "network.activation" not in fixed.settings, "this network's activation is its own"
    steep = finding(replace(e, layers=(Layer("encoder.2", 10, 6),)), network_rules.dead_units)
    assert "ReLU" not in steep.cause
    assert set(steep.settings) == {"optimizer.lr"}


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_test_items_of_another_distribution_are_found(shift: float) -> None:
    moved = table(shift=shift)
    config, model, rows = trained(moved, training__epochs=3)
    e = gathered(config, model, moved, rows)
    assert finding(e, network_rules.unlike_test).level == "worth a look"
    noisy = replace(e, drift=Drift(0.03, 0.02, 0.1), scores={})
    assert network_rules.unlike_test(noisy) is None


def test_a_test_split_that_is_sorted_is_of_the_same_law() -> None:
    """In the order of their classes, blocks of consecutive items would be of one class each."""
    rng = np.random.default_rng(0)
    train, test = (
        torch.from_numpy(rng.normal(size=(600, 3)) + 4 * rng.integers(0, 3, (600, 1))) for _ in "ab"
    )
    found = measurements.drift(train, test[test.sum(1).argsort()], torch.eye(3, dtype=torch.float64))
    assert found is not None
    assert abs(found.mmd) < 0.02


def test_single_batches_jump_and_that_is_no_spike() -> None:
    """A log row a step, whose costs scatter as those of batches do."""
    steps = np.arange(2000)
    costs = 80 * np.exp(-steps / 40) + 20 + 15 * np.random.default_rng(0).standard_normal(2000)

    def a_row_a_step(costs: np.ndarray) -> Evidence:
        e = logged(costs)
        return replace(e, steps=tuple({**row, "step": at + 1} for at, row in enumerate(e.steps)))

    assert len(training_curves.training(a_row_a_step(costs))) == 40
    assert training_rules.rate_too_high(a_row_a_step(costs)) is None
    lasting = costs + 200 * ((steps >= 700) & (steps < 800))
    assert training_rules.rate_too_high(a_row_a_step(lasting)) is not None


def test_a_capacity_that_rises_is_not_called_overfitting() -> None:
    worse = logged(np.linspace(100, 200, 40), epochs=20)
    assert len(training_curves.validation(worse)) == 20
    rising = changed(worse, objective__capacity=25.0, objective__beta=30.0)
    assert rising.weight == 1
    assert len(training_curves.validation(rising)) == 0


def test_too_few_dimensions_are_found_but_a_plane_is_a_choice() -> None:
    config, model, rows = trained(table(), model__latent=1, likelihood__sigma=0.5)
    e = gathered(config, model, table(), rows)
    e = replace(e, modes=np.array([30.0, 29.0, 28.0, 0.1]), noise=Noise(0.1, 0.7, 1.0))
    assert finding(e, latent_rules.too_few).settings["model.latent"] == 2
    assert e.latents is not None
    plane = replace(e, latents=replace(e.latents, activity=np.ones(2), reach=np.ones(2)))
    assert latent_rules.too_few(plane) is None


def test_findings_come_by_weight_and_in_words(tmp_path: Path) -> None:
    e = replace(changed(evidence(), objective__beta=0.01), counts={"train": 600, "valid": 0, "test": 300})
    found = diagnosis.diagnose(e)
    assert [f.weight for f in found] == sorted((f.weight for f in found), reverse=True)
    report = wording.as_text(found, tmp_path / "a run", 80)
    commands = [line for line in report.splitlines() if "latlas train" in line]
    assert len(commands) == len(found)
    for each in found:
        longer = set(each.settings) == {"training.epochs"}
        assert ("--resume" in wording.commands(each, tmp_path)[0]) == longer
    assert all(len(line) <= 80 for line in report.splitlines()[1:] if "latlas " not in line)
    assert f"--config '{tmp_path}/a run/config.toml' --set objective.beta=1.0" in report
    assert wording.as_text([], tmp_path).startswith("Nothing wrong was found. Checked:")


def test_the_command_reads_a_run_folder_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = image_dataset(200)
    whole = np.concatenate([dataset.train.x, dataset.valid.x, dataset.test.x])
    np.savez(tmp_path / "ramps.npz", x=whole)
    arguments = [
        "train",
        str(tmp_path / "ramps.npz"),
        "--out",
        str(tmp_path / "run"),
        "--latent",
        "2",
        "--quiet",
    ]
    arguments += ["--steps", "20", "--set", "network.hidden=[16]", "--set", "pictures.draw=false"]
    assert cli.run([*arguments, "--set", "evaluation.groups=[]", "--beta", "500"]) == 0
    capsys.readouterr()
    assert cli.run(["diagnose", str(tmp_path / "run"), "--json", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    found = {entry["name"]: entry for entry in result["findings"]}
    assert found["distortion-without-weight"]["level"] == "serious"
    assert "--set objective.beta=1.0" in found["distortion-without-weight"]["commands"][0]
    assert cli.run(["diagnose", str(tmp_path / "run"), "--quiet"]) == 0
    assert "SERIOUS: The distortion has almost no weight" in capsys.readouterr().out
    (tmp_path / "run" / "model.safetensors").unlink()
    (tmp_path / "run" / "metrics.json").unlink()
    assert cli.run(["diagnose", str(tmp_path / "run"), "--quiet"]) == 0
    assert "broke off before the first epoch" in capsys.readouterr().out


# What a rule needs before it may speak, and which finding yields to which


def of_set(name: str, limit: int | None = None, **settings: Any) -> Evidence:
    """The evidence on a short run of a named set, by a small network."""
    dataset = load(DataOptions(source=name, limit=limit))
    small = {
        "network__name": "mlp",
        "network__hidden": (32,),
        "optimizer__lr": 2e-3,
        "training__batch_size": 128,
    }
    config, model, rows = trained(dataset, **({"model__latent": 16} | small | settings))
    return gathered(config, model, dataset, rows)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_rule_says_what_it_needs_and_is_silent_below_that(rule: Rule) -> None:
    assert rule.noise
    for what, least in rule.needs.items():
        have = {**evidence().counts, what: least - 1}
        steps = (
            [{"kind": "step", "step": least - 1, "lr": 1e-3, "distortion": 1.0}] if what == "steps" else []
        )
        counts = {name: have[name] for name in ("train", "valid", "test")}
        few = replace(evidence(), counts=counts, steps=tuple(steps), epochs=())
        assert not rule.knows(few)
        assert rule(few) is None


def test_six_steps_are_said_to_be_no_training_and_nothing_else() -> None:
    e = of_set("shapes", 65, training__epochs=6)
    (only,) = diagnosis.diagnose(e)
    assert (only.name, only.level) == ("underfitting", "serious")
    assert "6 steps" in only.evidence


def test_a_collapsed_model_does_not_overfit() -> None:
    """Its gain is none, so that no share of it was lost."""
    e = of_set("digits", objective__beta=500.0, training__epochs=30)
    assert "posterior-collapse" in names(e)
    assert "overfitting" not in names(e)


def test_no_share_is_taken_of_no_gain() -> None:
    worse = logged(100 + np.maximum(0, np.arange(50) - 25) * 0.5, 50)
    none = Scores(1000, 100.0, None, 100.0, 0.1, 100.0, 1e-12, 0.1)
    e = replace(worse, scores=dict.fromkeys(("train", "valid", "test"), none))
    assert training_rules.overfits(e) is None
    unseen = replace(none, gain=-5.0, cost=105.0)
    gained = replace(none, gain=20.0, cost=80.0)
    found = finding(
        replace(e, scores={"train": gained, "valid": unseen, "test": unseen}), training_rules.overfits
    )
    assert "%" not in found.evidence


@pytest.mark.parametrize(("items", "rise", "error", "speaks"), [
    (17, 307.0, 116.0, False), (300, 307.0, 116.0, False), (17, 0.0, 0.1, False), (300, 0.0, 0.1, True),
])  # fmt: skip
def test_a_rise_that_is_not_significant_does_not_show_that_codes_are_ignored(
    items: int, rise: float, error: float, speaks: bool
) -> None:
    e = evidence()
    assert e.latents is not None
    latents = replace(e.latents, shuffled=rise, shuffled_stderr=error)
    scores = {**e.scores, "test": replace(e.scores["test"], items=items, rate=20.0)}
    e = replace(e, latents=latents, scores=scores, counts={**e.counts, "test": items})
    assert (latent_rules.ignored(e) is not None) == speaks


def test_student_asks_for_more_standard_errors_of_few_items() -> None:
    """scipy.stats.t.ppf(norm.cdf(3), [1, 4, 999])"""
    from scipy.stats import norm, t

    assert [standard_errors(n) for n in (2, 5, 1000)] == pytest.approx(t.ppf(norm.cdf(3), [1, 4, 999]))
    assert standard_errors(1) == math.inf


def test_short_training_says_nothing_of_the_number_of_dimensions() -> None:
    e = of_set("shapes", 1000, training__epochs=13)
    assert e.trained_steps == pytest.approx(100, abs=10)
    assert "too-few-dimensions" not in names(e)
    assert "underfitting" in names(e)


def test_a_model_that_pca_beats_has_not_too_few_dimensions() -> None:
    e = evidence()
    assert e.latents is not None
    one = replace(e.latents, activity=np.ones(1), reach=np.ones(1))
    modes = np.array([60.0, 20.0, 20.0, 0.1])
    poor = replace(e, latents=one, modes=modes, noise=Noise(0.1, 0.8, 1.0))
    assert latent_rules.too_few(poor) is None
    assert latent_rules.too_few(replace(poor, noise=Noise(0.1, 0.5, 1.0))) is not None


def test_beta_and_sigma_are_judged_together() -> None:
    """beta sigma^2 is what counts: one of the two set right alone makes it worse."""
    noise = Noise(0.5, 0.02, 0.08, math.sqrt(0.02), 0.7, 0.02)
    base = replace(evidence(), kind="image", values=784, noise=noise)
    tiny = changed(base, likelihood__sigma=0.7071, objective__beta=0.00025)
    first = diagnosis.diagnose(tiny)[0]
    assert first.name == "rate-without-weight"
    assert first.settings == {"objective.beta": 1.0, "likelihood.sigma": "learned"}
    assert "sigma-miscalibrated" not in names(tiny)
    made_up = changed(base, likelihood__sigma=0.7071, objective__beta=0.04)
    assert made_up.calibrated_weight == pytest.approx(1, rel=0.01)
    assert likelihood_rules.loss_scale(made_up) is None
    both = finding(made_up, likelihood_rules.noise_off)
    assert both.settings == {"objective.beta": 1.0, "likelihood.sigma": "learned"}
    alone = finding(changed(base, likelihood__sigma=0.7071), likelihood_rules.noise_off)
    assert alone.settings == {"likelihood.sigma": "learned"}


def test_what_the_recipe_chose_is_a_notice_and_is_said() -> None:
    noise = Noise(0.5, 0.02, 0.08, math.sqrt(0.02), 0.7, 0.02)
    own = changed(replace(evidence(), noise=noise), likelihood__sigma=2**-0.5, objective__beta=0.1)
    by_user = {f.name: f for f in diagnosis.diagnose(own)}["sigma-miscalibrated"]
    assert by_user.level == "serious"
    assert "recipe" not in by_user.cause
    by_recipe = {f.name: f for f in diagnosis.diagnose(changed(own, recipe__name="flowers-vae"))}[
        "sigma-miscalibrated"
    ]
    assert by_recipe.level == "notice"
    assert "recipe flowers-vae chose it so: it sets likelihood.sigma = 0.707" in by_recipe.cause
    assert "objective.beta = 0.1" in by_recipe.cause


def test_findings_yield_to_what_they_follow_from() -> None:
    def of(name: str, weight: float = 0.5, settled: bool = False) -> Finding:
        return Finding(name, name, weight, "", "", "", settled=settled)

    def kept(*findings: Finding) -> list[str]:
        return [f.name for f in precedence.ordered(findings, evidence().config)]

    soon = of("underfitting", 0.4)
    assert kept(of("too-few-dimensions", 0.9), soon) == ["underfitting"]
    assert kept(of("posterior-collapse", settled=True), soon) == ["posterior-collapse", "underfitting"]
    # A finding that itself yields takes no other with it.
    assert kept(of("posterior-collapse"), of("overfitting", 0.9), soon) == ["overfitting", "underfitting"]
    assert kept(of("diverged", 1), soon, of("no-validation", 0.1)) == ["diverged", "no-validation"]
    known = {f.name for f in (rule(e) for rule in RULES for e in [evidence()]) if f} | set(
        precedence.YIELD_TO
    )
    assert known <= DOCUMENTED
    assert set().union(*precedence.YIELD_TO.values()) | precedence.ABOUT_SETTINGS <= DOCUMENTED


PAGE = (Path(__file__).parent.parent / "docs" / "diagnosis.md").read_text(encoding="utf-8")
DOCUMENTED = set(re.findall(r"[a-z]+(?:-[a-z]+)*", " ".join(re.findall(r"^\| ([a-z, -]+) \|", PAGE, re.M))))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_page_says_what_each_rule_needs(rule: Rule) -> None:
    assert f"| {rule.needs_text} | {rule.noise} |" in PAGE


@pytest.mark.parametrize("held_out", [1, 2])
def test_one_test_item_breaks_nothing(held_out: int) -> None:
    few = table(n=3, held_out=held_out)
    config, model, rows = trained(few, training__epochs=3)
    found = diagnosis.diagnose(gathered(config, model, few, rows))
    json.dumps([wording.described(f, Path("run")) for f in found], allow_nan=False)
    assert {f.name for f in found} == {"underfitting"}


def test_findings_of_numbers_that_are_not_finite_are_left_out() -> None:
    good = Finding("a", "a", 0.5, "rises by 3 nats", "", "", {"optimizer.lr": 0.1})
    assert good.finite
    assert not replace(good, settings={"optimizer.lr": math.nan}).finite
    assert not replace(good, evidence="rises by nan ± inf nats").finite
    assert not replace(good, weight=math.nan).finite


def test_every_layer_that_reads_the_codes_counts_in_the_reach_of_a_dimension() -> None:
    _, model = made(image_dataset(channels=3), network__name="pca-mlp", model__latent=4)
    beside = model.decoder.body[0]
    with torch.no_grad():
        beside.linear.weight[:, 1] = 0
        beside.linear.weight[:, 2] = beside.body[0].weight[:, 2] = 0
    found = measurements.reach(model, torch.randn(50, 4, generator=torch.Generator().manual_seed(0)))
    assert found.max() == 1
    assert found[1] > 0.01 > found[2] == 0


class Named(nn.Module):
    """A decoder that calls its layers by keyword, as code of one's own may."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3 * 8 * 8)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.layer(input=z).unflatten(1, (3, 8, 8))


def test_layers_that_are_called_by_keyword_have_a_reach() -> None:
    _, model = made(image_dataset(channels=3), network__name="pca-mlp", model__latent=4)
    model.decoder = Named()
    with torch.no_grad():
        model.decoder.layer.weight[:, 2] = 0
    found = measurements.reach(model, torch.randn(50, 4, generator=torch.Generator().manual_seed(0)))
    assert found.max() == 1 > found[2] == 0
