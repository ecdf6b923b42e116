"""The importance-weighted bound as an objective: exact values, and two gradients of one expectation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import batches, configured, image_dataset, made, table_dataset
from test_evaluation import BOUNDS, EXACT, exact_model, prior_as_posterior
from torch import Tensor

import latlas
from latlas import posteriors, runs
from latlas.build import objective_of
from latlas.errors import InputError
from latlas.metrics.importance import log_likelihood
from latlas.models import Model, Pass
from latlas.objectives import Elbo, Iwae
from latlas.posteriors import POSTERIORS

STANDARD, DREG = Iwae(gradient="standard"), Iwae(gradient="dreg")


def closed(samples: int, repeats: int) -> Pass:
    """p(z) = N(0, 1), p(x | z) = N(z, 1), q = p(z) and x = 2, as many times as there are repeats."""
    model, data = prior_as_posterior(repeats)
    return model(data(np.arange(repeats)), samples=samples, generator=torch.Generator().manual_seed(samples))


def gradients(model: Model, x: Tensor, objective: Iwae, draws: tuple[int, int], beta: float = 1.0) -> Tensor:
    """The gradient of a loss by all parameters as one vector, of the draws (K, seed)."""
    samples, seed = draws
    generator = torch.Generator().manual_seed(seed)
    p = model(x, generator=generator, **objective.needs | {"samples": samples})
    model.zero_grad()
    objective.loss(p, beta, 0.0).backward()
    return torch.cat([q.grad.flatten() for q in model.parameters()])  # type: ignore[union-attr]


def of_encoder(model: Model) -> Tensor:
    """Which entries of `gradients` are the encoder's and the posterior's own."""
    names = ("encoder.", "posterior_family.")
    return torch.cat([torch.full((q.numel(),), n.startswith(names)) for n, q in model.named_parameters()])


# The bound


@pytest.mark.parametrize(("samples", "repeats"), [(5, 200_000), (50, 20_000)])
def test_the_loss_agrees_with_quadrature(samples: int, repeats: int) -> None:
    p = closed(samples, repeats)
    bound = p.bound()
    assert bound is not None
    error = bound.std().item() / math.sqrt(repeats)
    assert error < 0.0015
    for objective in (STANDARD, DREG):
        p = closed(samples, repeats) if objective is STANDARD else held(p)
        assert abs(-objective.loss(p, 1.0, 0.0).item() - BOUNDS[samples]) < 4 * error
    assert bound.mean().item() < EXACT


def held(p: Pass) -> Pass:
    return Pass(p.z.detach(), p.log_px, p.log_pz, p.log_qz, p.kl)


def test_one_draw_is_the_elbo_and_more_draws_never_lower_the_bound() -> None:
    """The first K of the same draws: each bound has the same mean whichever draws it takes."""
    p = closed(64, 20_000)
    means = []
    for k in (1, 2, 4, 16, 64):
        part = Pass(p.z[:k], p.log_px[:k], p.log_pz[:k], p.log_qz[:k], None)  # type: ignore[index]
        means.append(part.bound().mean().item())  # type: ignore[union-attr]
    elbo = -0.5 * math.log(2 * math.pi) - 0.5 * (2**2 + 1)
    assert means == sorted(means)
    assert means[0] == pytest.approx(elbo, abs=4 * p.log_px[0].std().item() / math.sqrt(20_000))
    assert means[-1] < EXACT


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_with_one_draw_the_loss_is_the_sampled_elbo_to_the_bit(beta: float) -> None:
    dataset = image_dataset()
    _, model = made(dataset, training__precision="float64")
    p = model(batches(dataset, "train", model)(np.arange(20)))
    elbo = Elbo(kl="monte-carlo").loss(p, beta)
    for gradient in ("standard", "dreg"):
        assert torch.equal(Iwae(gradient=gradient).loss(p, beta), elbo)


def test_the_weights_have_their_signs_and_each_enters_once() -> None:
    """By hand, in probabilities: the mean of p(x | z) p(z) / q(z | x), whatever the latent dimensions."""
    shape = (2, 1)
    px, pz, qz = (
        torch.tensor(v, dtype=torch.float64).reshape(shape) for v in ((0.2, 0.4), (0.5, 0.1), (0.25, 0.8))
    )
    expected = math.log((0.2 * 0.5 / 0.25 + 0.4 * 0.1 / 0.8) / 2)
    for latent in (1, 7):
        p = Pass(torch.zeros(2, 1, latent), px.log(), pz.log(), qz.log(), None)
        for gradient in ("standard", "dreg"):
            assert Iwae(gradient=gradient).loss(p).item() == pytest.approx(-expected, abs=1e-12)
        weighed = math.log((0.2 * (0.5 / 0.25) ** 0.5 + 0.4 * (0.1 / 0.8) ** 0.5) / 2)
        assert Iwae().loss(p, 0.5).item() == pytest.approx(-weighed, abs=1e-12)


# Gradients


def test_the_standard_gradient_is_that_of_the_bound_by_finite_differences() -> None:
    model, data, _ = exact_model(stretch=1.5, n=4)
    x, generator = data(np.arange(4)), torch.Generator().manual_seed(1)
    found = gradients(model, x, STANDARD, (3, 0))
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    for _ in range(4):
        direction, values = torch.randn(len(start), generator=generator, dtype=start.dtype), []
        for sign in (1, -1):
            torch.nn.utils.vector_to_parameters(start + sign * 1e-6 * direction, model.parameters())
            p = model(x, samples=3, generator=torch.Generator().manual_seed(0))
            values.append(-p.bound().mean().item())
        assert (values[0] - values[1]) / 2e-6 == pytest.approx((found @ direction).item(), rel=1e-6)


@pytest.mark.parametrize("beta", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("samples", [1, 4])
def test_both_gradients_have_the_same_mean(samples: int, beta: float) -> None:
    """Each copy of a batch has draws of its own, so one backward pass of many copies is a mean of many."""
    model, data, _ = exact_model(stretch=1.6, n=2)
    x = data(np.arange(2)).repeat(1200, 1)
    means, errors = [], []
    for objective in (STANDARD, DREG):
        found = torch.stack([gradients(model, x, objective, (samples, seed), beta) for seed in range(20)])
        means.append(found.mean(0))
        errors.append(found.std(0) / math.sqrt(20))
    error = (errors[0].square() + errors[1].square()).sqrt()
    inside = of_encoder(model)
    assert error[inside].max() < 0.15 * means[0][inside].abs().max()
    assert ((means[0] - means[1]).abs() <= 4.5 * error + 1e-12).all()


def test_with_the_exact_posterior_the_doubly_reparameterised_gradient_of_the_encoder_is_zero() -> None:
    """All weights are p(x) whatever z: log w_k does not change with z_k. The standard gradient is noise there."""
    model, data, _ = exact_model(stretch=1.0, n=20)
    x, inside = data(np.arange(20)), of_encoder(model)
    for samples in (1, 5):
        assert gradients(model, x, DREG, (samples, 0))[inside].abs().max() < 1e-12
        assert gradients(model, x, STANDARD, (samples, 0))[inside].abs().max() > 1e-3
    torch.testing.assert_close(
        gradients(model, x, DREG, (5, 0))[~inside], gradients(model, x, STANDARD, (5, 0))[~inside]
    )


def test_the_encoders_signal_falls_into_noise_with_more_draws_unless_doubly_reparameterised() -> None:
    """Signal to noise falls as 1 / sqrt(K) by the standard gradient, and rises as sqrt(K) by the other."""
    model, data, _ = exact_model(stretch=1.3, n=1)
    x, outputs = data(np.arange(1)).repeat(4000, 1), []
    model.encoder.register_forward_hook(lambda module, inputs, output: outputs.append(output))

    def signal_to_noise(objective: Iwae, samples: int) -> float:
        """Over copies of one item, of the gradient that reaches its encoder outputs."""
        p = model(x, generator=torch.Generator().manual_seed(0), **objective.needs | {"samples": samples})
        (found,) = torch.autograd.grad(objective.loss(p, 1.0, 0.0), outputs.pop())
        return (found.mean(0).norm() / found.std(0).norm()).item()

    few, many = (
        {name: signal_to_noise(o, k) for name, o in (("standard", STANDARD), ("dreg", DREG))} for k in (4, 64)
    )
    assert many["dreg"] > 2.5 * few["dreg"]
    assert many["dreg"] > 5 * many["standard"]


def test_the_decoder_and_a_learned_prior_keep_the_standard_gradient() -> None:
    dataset = image_dataset()
    _, model = made(dataset, training__precision="float64", model__latent=3, prior__name="mixture")
    x, inside = batches(dataset, "train", model)(np.arange(10)), of_encoder(model)
    standard, dreg = (gradients(model, x, each, (4, 0), 0.7) for each in (STANDARD, DREG))
    torch.testing.assert_close(standard[~inside], dreg[~inside])
    assert (standard[inside] - dreg[inside]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [("gaussian", "vamp"), ("full-gaussian", "mixture"), ("flow", "standard-normal"), ("flow", "vamp")],
)
def test_every_family_has_both_gradients_with_one_mean(posterior: str, prior: str) -> None:
    """Along one direction, where noise is small: the decrease of the loss that the standard gradient's mean names."""
    rng = np.random.default_rng(0)
    dataset = table_dataset(rng.normal(size=(4, 3)))
    _, model = made(
        dataset, training__precision="float64", model__latent=2, posterior__name=posterior, prior__name=prior,
        prior__components=3, posterior__layers=2, network__hidden=(5,), likelihood__sigma=0.7,
    )  # fmt: skip
    with torch.no_grad():
        for q in model.posterior_family.parameters():
            q += 0.3 * torch.randn(q.shape, generator=torch.Generator().manual_seed(1), dtype=q.dtype)
    x = batches(dataset, "train", model)(np.arange(4)).repeat(150, 1)
    standard, dreg = (
        torch.stack([gradients(model, x, o, (4, seed)) for seed in range(16)]) for o in (STANDARD, DREG)
    )
    inside = of_encoder(model)
    direction = standard[:8].mean(0) * inside
    one, other = standard[8:] @ direction, dreg[8:] @ direction
    error = math.hypot(one.std().item(), other.std().item()) / math.sqrt(8)
    assert error < 0.15 * one.mean().item()
    assert abs(one.mean() - other.mean()) < 5 * error


def test_frozen_log_densities_are_equal_and_give_the_posterior_no_gradient() -> None:
    dataset = image_dataset()
    for posterior in sorted(set(POSTERIORS) - {"point"}):
        _, model = made(dataset, model__latent=3, posterior__name=posterior)
        x = batches(dataset, "train", model)(np.arange(6))
        p = model(x, samples=2)
        assert torch.equal(p.log_weights(freeze_q=True), p.log_weights())
        p.z.register_hook(torch.zeros_like)
        posteriors.frozen(p.q).log_prob(p.z).sum().backward()
        assert all(q.grad is None or not q.grad.any() for q in model.parameters())


# In use


def test_what_it_cannot_go_with_is_refused() -> None:
    dataset = image_dataset()
    for settings, message in (
        ({"posterior__name": "point"}, "objective.name = iwae needs a posterior with a density"),
        ({"objective__beta": 0.5}, "objective.beta: objective.name = iwae is a bound at 1 alone"),
        ({"objective__free_bits": 0.1}, "objective.free_bits needs the ELBO"),
        ({"objective__capacity": 3.0}, "objective.capacity: it draws the rate of objective.name = elbo"),
        (
            {"objective__name": "elbo", "objective__gradient": "dreg"},
            "objective.gradient: .* objective.name = iwae",
        ),
    ):
        with pytest.raises(InputError, match=message):
            configured(dataset, **{"objective__name": "iwae"} | settings)
    p = Pass(torch.zeros(1, 2, 1), torch.zeros(1, 2), None, None, None)
    for objective in (STANDARD, DREG):
        with pytest.raises(ValueError, match="a posterior with a density"):
            objective.loss(p)


def test_the_encoder_runs_once_whatever_the_draws() -> None:
    dataset = image_dataset()
    config, model = made(dataset, objective__name="iwae", objective__samples=7, objective__gradient="dreg")
    seen: list[int] = []
    model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    model(batches(dataset, "train", model)(np.arange(6)), **objective_of(config, dataset.shape).needs)
    assert seen == [6]


def test_the_epoch_that_is_kept_has_the_best_bound_of_validation(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(120, 4)) @ np.random.default_rng(1).normal(size=(4, 4))
    np.save(tmp_path / "rows.npy", x)
    settings: dict[str, Any] = {
        "objective.warmup": 6, "optimizer.lr": 0.05, "optimizer.schedule": "constant",
        "training.batch_size": 32, "pictures.draw": False, "network.hidden": [8],
    }  # fmt: skip
    run = latlas.train(
        str(tmp_path / "rows.npy"),
        recipe="iwae-vae",
        epochs=5,
        out=tmp_path / "run",
        settings=settings,
        quiet=True,
    )
    epochs = [row for row in run.log() if row["kind"] == "epoch"]
    assert [row["score"] is None for row in epochs] == [row["step"] < 6 for row in epochs]
    best = max((row for row in epochs if row["score"] is not None), key=lambda row: row["score"])
    assert run.metrics["best_step"] == best["step"]
    dataset, model = runs.dataset_of(run), run.model()
    kept = log_likelihood(model, batches(dataset, "valid", model), run.config.objective.samples)
    assert kept.log_px == pytest.approx(best["score"], rel=1e-6)
