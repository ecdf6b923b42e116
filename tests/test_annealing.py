"""log p(x) by annealed importance sampling: closed forms, both bounds, and the transitions behind them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import batches, image_dataset, made, table_dataset
from torch.distributions import MultivariateNormal

from latlas.data.batches import Batches
from latlas.errors import InputError, LatlasError
from latlas.metrics import Annealing, Context, Effort, ais, measure
from latlas.metrics.ais import (
    AIS,
    Target,
    Weights,
    annealed,
    forward,
    reverse,
    schedule,
    transition,
    tune,
    without_encoder,
)
from latlas.models import Model

EXACT = -2.265512  # p(z) = N(0, 1), p(x | z) = N(z, 1), x = 2
WEIGHT = torch.tensor([[2.0, 0.3], [-1.0, 0.7], [0.5, -0.2], [1.5, 0.4]], dtype=torch.float64)
CENTRE, SIGMA = torch.tensor([1.0, -2.0, 0.0, 3.0], dtype=torch.float64), 0.05


def linear(x: np.ndarray, latent: int, weight: torch.Tensor, bias: torch.Tensor, **settings: Any) -> Model:
    """A linear Gaussian decoder in float64: p(x | z) = N(W z + b, sigma^2 I)."""
    options = {
        "network__name": "linear",
        "model__latent": latent,
        "training__precision": "float64",
        **settings,
    }
    model = made(table_dataset(x), **options)[1].eval()
    with torch.no_grad():
        model.decoder.output.weight.copy_(weight)
        model.decoder.output.bias.copy_(bias)
    return model


def one_dimensional(repeats: int) -> Target:
    """The closed case of one dimension: a column for each repetition, all of them x = 2."""
    x = np.full((repeats, 1), 2.0)
    model = linear(x, 1, torch.ones(1, 1), torch.zeros(1), likelihood__sigma=1.0)
    return Target(model, model.prior_value(), torch.from_numpy(x))


def law() -> MultivariateNormal:
    """p(x) of probabilistic PCA, N(b, W W^T + sigma^2 I)."""
    return MultivariateNormal(CENTRE, WEIGHT @ WEIGHT.T + SIGMA**2 * torch.eye(4, dtype=torch.float64))


def principal(n: int = 20) -> tuple[Model, Batches, torch.Tensor]:
    """Probabilistic PCA with small noise, rows drawn from it, and the exact log p(x) of each."""
    x = np.random.default_rng(0).multivariate_normal(CENTRE.numpy(), law().covariance_matrix.numpy(), n)
    model = linear(x, 2, WEIGHT, CENTRE, likelihood__sigma=SIGMA)
    return model, batches(table_dataset(x), "test", model), law().log_prob(torch.from_numpy(x))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nothing() -> None: ...


def test_the_schedule_rises_from_the_prior_to_the_posterior() -> None:
    betas = schedule(50)
    assert (betas[0], betas[-1], len(betas)) == (0, 1, 51)
    increments = np.diff(betas)
    assert (increments > 0).all()
    assert increments[0] == increments.min()


@pytest.mark.parametrize("steps", [4, 8])
def test_weights_and_their_inverses_are_unbiased_with_any_number_of_temperatures(steps: int) -> None:
    """E w = p(x) forwards, E 1/w = 1/p(x) backwards: exact for any schedule and any step size."""
    target, repeats = one_dimensional(1), 60_000
    betas, sizes = schedule(steps), torch.full((steps - 1, 1), 0.9, dtype=torch.float64)
    weights = forward(target, betas, sizes, repeats, seeded(), nothing)
    relative = torch.exp(weights.logs - EXACT)
    assert abs(relative.mean() - 1) < 4 * relative.std() / repeats**0.5 < 0.05
    posterior = 1 + torch.randn(repeats, 1, 1, generator=seeded(1), dtype=torch.float64) / 2**0.5
    weights = reverse(target, betas, sizes, posterior, seeded(2), nothing)
    inverse = torch.exp(EXACT - weights.logs)
    assert abs(inverse.mean() - 1) < 4 * inverse.std() / repeats**0.5 < 0.05


def test_probabilistic_pca_where_importance_sampling_from_the_prior_fails() -> None:
    model, data, exact = principal()
    result = annealed(model, data, Annealing(1), simulated=2)
    assert result.log_px == pytest.approx(exact.mean().item(), abs=0.4)
    target = Target(model, model.prior_value(), data(np.arange(len(data))))
    draws = target.draw(16 * 300, seeded())
    failed = Weights(draws.log_px, draws.log_px[0]).log_mean.mean()
    assert exact.mean() - failed > 0.5
    assert (result.images, result.chains, result.temperatures, result.simulated) == (20, 16, 300, 2)
    assert 0.5 < result.acceptance < 0.75
    assert 0.15 < result.effective <= 1


def test_simulated_items_lie_between_bounds_that_close_with_more_temperatures() -> None:
    model, _, _ = principal()
    z, x = ais.simulate(model, model.prior_value(), 150, seeded())
    truth, target = law().log_prob(x), Target(model, model.prior_value(), x)
    gaps = []
    for steps in (10, 30, 90):
        betas = schedule(steps)
        sizes = tune(target, betas, seeded(1), nothing)
        lower = forward(target, betas, sizes, 2, seeded(2), nothing).log_mean
        upper = reverse(target, betas, sizes, z.expand(2, -1, -1), seeded(3), nothing).log_harmonic_mean
        for error in (truth - lower, upper - truth):
            assert error.mean() > -4 * error.std() / len(z) ** 0.5
        gaps.append((upper - lower).mean().item())
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0


def test_simulated_codes_are_draws_of_their_posteriors() -> None:
    """cov(z, x) = W^T for z ~ N(0, I), x ~ N(W z + b, sigma^2 I)."""
    model, _, _ = principal()
    z, x = ais.simulate(model, model.prior_value(), 20_000, seeded())
    assert torch.allclose(z.T @ (x - CENTRE) / len(z), WEIGHT.T, atol=0.1)
    assert torch.allclose((x - z @ WEIGHT.T - CENTRE).std(0), torch.tensor(SIGMA).double(), rtol=0.03)


@pytest.mark.parametrize("size", [0.3, 1.2])
def test_transitions_leave_the_posterior_as_it_is(size: float) -> None:
    """p(z) N(2; z, 1)^beta is N(2 beta / (1 + beta), 1 / (1 + beta)), long after a start at exact draws of it."""
    target, n, beta = one_dimensional(20_000), 20_000, 0.5
    mean, variance = 2 * beta / (1 + beta), 1 / (1 + beta)
    start = mean + variance**0.5 * torch.randn(1, n, 1, generator=seeded(), dtype=torch.float64)
    state, chances = target.at(start), []
    generator, sizes = seeded(1), torch.full((n,), size, dtype=torch.float64)
    for _ in range(15):
        state, chance = transition(target, state, beta, sizes, generator)
        chances.append(chance.mean())
    assert abs(state.z.mean() - mean) < 4 * (variance / n) ** 0.5
    assert abs(state.z.var() - variance) < 4 * variance * (2 / n) ** 0.5
    assert torch.corrcoef(torch.stack([start.flatten(), state.z.flatten()]))[0, 1] < 0.1
    assert torch.allclose(state.log_px, target.at(state.z).log_px)
    assert (torch.stack(chances) > 0.5).all()


def test_step_sizes_follow_the_posterior_to_an_acceptance_of_065() -> None:
    model, data, _ = principal()
    target, betas = Target(model, model.prior_value(), data(np.arange(len(data)))), schedule(100)
    sizes = tune(target, betas, seeded(), nothing)
    assert sizes.shape == (99, 20)
    assert sizes[:5].mean() > 5 * sizes[-5:].mean()
    assert forward(target, betas, sizes, 16, seeded(1), nothing).acceptance.mean() == pytest.approx(
        0.65, abs=0.07
    )


def test_a_trajectory_to_infinity_is_refused() -> None:
    target = one_dimensional(4)
    before = target.draw(3, seeded())
    state, chance = transition(target, before, 1.0, torch.full((4,), 1e200, dtype=torch.float64), seeded(1))
    assert torch.equal(state.z, before.z)
    assert (chance == 0).all()


def test_a_mixture_prior_whose_components_lie_far_apart() -> None:
    """p(x) = sum_c w_c N(x; m_c, s_c^2 + sigma^2): the lower bound holds chains of both components. Chains that go
    back never leave theirs, and miss its weight: the gap is the weights' entropy, and says that modes do not mix.
    """
    x = np.array([[-4.0], [0.5], [4.2]])
    options = {"prior__name": "mixture", "prior__components": 2, "likelihood__sigma": 0.5}
    model = linear(x, 1, torch.ones(1, 1), torch.zeros(1), **options)
    means, stds, weights = torch.tensor([-4.0, 4.0]), torch.tensor([0.5, 0.8]), torch.tensor([0.3, 0.7])
    with torch.no_grad():
        model.prior.means.copy_(means[:, None])
        model.prior.log_stds.copy_(stds.log()[:, None])
        model.prior.logits.copy_(weights.log())
    parts = torch.distributions.Normal(means, (stds**2 + 0.25).sqrt())
    exact = (parts.log_prob(torch.from_numpy(x)) + weights.log()).logsumexp(1).mean().item()
    result = annealed(model, batches(table_dataset(x), "test", model), Annealing(1, 100, 40), simulated=200)
    assert result.log_px == pytest.approx(exact, abs=0.1)
    assert result.gap == pytest.approx(-(weights * weights.log()).sum().item(), abs=0.15)


def test_the_weights_summaries() -> None:
    logs = torch.tensor([[0.0, -1000.0], [math.log(3), -1000.0]], dtype=torch.float64)
    weights = Weights(logs, torch.ones(2))
    assert weights.log_mean.tolist() == pytest.approx([math.log(2), -1000])
    assert weights.log_harmonic_mean.tolist() == pytest.approx([math.log(1.5), -1000])
    assert weights.effective.tolist() == pytest.approx([16 / 20, 1])


def test_a_seed_repeats_parts_bound_memory_and_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data, _ = principal()
    told: list[tuple[int, int]] = []
    few = Annealing(1, chains=4, temperatures=30, seed=1)
    first = annealed(model, data, few, 3, progress=lambda *done: told.append(done))
    assert told == [(n, 5 * 29) for n in range(1, 5 * 29 + 1)]
    assert first == annealed(model, data, few, 3)
    assert first != annealed(model, data, replace(few, seed=2), 3)
    monkeypatch.setattr("latlas.models.CHUNK_VALUES", 4 * ais.BACKWARD * 4 * 7)  # seven items at once
    sizes, at = [], Target.at
    monkeypatch.setattr(Target, "at", lambda self, z: (sizes.append(z.shape[1]), at(self, z))[1])
    assert annealed(model, data, few, 3).log_px == pytest.approx(first.log_px, abs=8)
    assert set(sizes) == {7, 6, 3}


@pytest.mark.parametrize(
    "settings",
    [
        {"prior__name": "vamp", "prior__components": 3},
        {"prior__name": "vamp", "prior__components": 3, "posterior__name": "flow"},
        {"posterior__name": "point", "objective__name": "infovae", "likelihood__name": "gaussian"},
    ],
)
def test_every_model_with_a_prior_has_an_estimate(settings: dict[str, Any]) -> None:
    dataset = image_dataset(50)
    config, model = made(dataset, model__latent=2, network__hidden=(8,), **settings)
    effort = Effort(annealing=Annealing(len(dataset.test), 4, 20))
    values = measure(Context(model, dataset, effort=effort), tuple(AIS))
    log_px, hidden = values["annealed_log_px"], values["hidden"]
    assert log_px is not None
    assert math.isfinite(log_px.value)
    assert log_px.items == 5
    if config.posterior.name == "point":
        assert not log_px.beside
        assert hidden is None
    else:
        assert hidden is not None
        assert hidden.value == log_px.value - log_px.beside["with the encoder"]
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_what_cannot_be_annealed_is_refused() -> None:
    dataset = image_dataset(50)
    plain = made(dataset, posterior__name="point", objective__name="reconstruction")[1]
    with pytest.raises(InputError, match="no prior"):
        without_encoder(Context(plain, dataset, prior=False, effort=Effort(annealing=Annealing(5))))
    model = made(dataset)[1]
    for effort, message in (
        (Annealing(5, 0, 20), "chains = 0"),
        (Annealing(5, 4, 1), "temperatures = 1"),
        (Annealing(5, 4, 20, -1), "seed = -1"),
    ):
        with pytest.raises(InputError, match=message):
            without_encoder(Context(model, dataset, effort=Effort(annealing=effort)))
    with torch.no_grad():
        model.decoder.output.bias.fill_(float("nan"))
    with pytest.raises(LatlasError, match="diverged"):
        without_encoder(Context(model, dataset, effort=Effort(annealing=Annealing(5, 2, 5))))
