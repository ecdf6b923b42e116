"""Objectives and schedules: what they are at known values, and that nothing grows with batch or draws."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from latlas import schedules
from latlas.config import parse
from latlas.divergences import KERNELS, mmd
from latlas.errors import InputError
from latlas.models import Pass
from latlas.objectives import OBJECTIVES, Elbo, Objective
from latlas.schedules import BETA_SCHEDULES, LR_SCHEDULES
from latlas.settings import ObjectiveConfig


def a_pass(batch: int = 4, samples: int = 3, latent: int = 2, seed: int = 0) -> Pass:
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, batch, latent, generator=g, dtype=torch.float64)
    log_px, log_pz, log_qz = torch.randn(3, samples, batch, generator=g, dtype=torch.float64) - 5
    kl = torch.rand(batch, latent, generator=g, dtype=torch.float64)
    prior_draws = torch.randn(batch, latent, generator=g, dtype=torch.float64)
    return Pass(z, log_px, log_pz, log_qz, kl, prior_draws=prior_draws)


def repeated(p: Pass) -> Pass:
    """The same images twice."""
    known = {name: t for name, t in vars(p).items() if t is not None}
    return replace(
        p, **{name: torch.cat([t, t], dim=0 if t.shape == p.kl.shape else 1) for name, t in known.items()}
    )


def codes(n: int, shift: float = 0.0, seed: int = 0) -> Pass:
    """A pass without error or rate, whose codes are `shift` away from the prior."""
    g, nothing = torch.Generator().manual_seed(seed), torch.zeros(1, n, dtype=torch.float64)
    z, prior = torch.randn(2, n, 2, generator=g, dtype=torch.float64)
    return Pass(z[None] + shift, nothing, None, None, None, prior_draws=prior)


def objective(values: int = 1, **options: Any) -> Objective:
    settings = ObjectiveConfig(**options)
    return OBJECTIVES[settings.name].from_config(settings, values)


ALL = {
    "reconstruction": objective(name="reconstruction"),
    "elbo": objective(),
    "monte-carlo": objective(kl="monte-carlo"),
    "free-bits": objective(free_bits=0.3),
    "capacity": objective(capacity=3.0),
    "iwae": objective(name="iwae"),
    "dreg": objective(name="iwae", gradient="dreg"),
    "mmd": objective(name="infovae", info_lambda=7.0),
    "infovae": objective(name="infovae", alpha=0.4, info_lambda=7.0),
}


def test_the_elbo_weighs_the_rate() -> None:
    p = a_pass()
    loss = Elbo().loss(p, 0.3)
    torch.testing.assert_close(loss, (-p.log_px.mean(0) + 0.3 * p.kl.sum(-1)).mean())
    sampled = Elbo(kl="monte-carlo").loss(p, 0.3)
    torch.testing.assert_close(sampled, (-p.log_px + 0.3 * (p.log_qz - p.log_pz)).mean())
    torch.testing.assert_close(Elbo().loss(p, 1.0), -p.elbo.mean())


def test_free_bits_leave_small_divergences_alone() -> None:
    p = a_pass()
    means = p.kl.mean(0)
    expected = p.distortion.mean() + 2.0 * means.clamp(min=0.5).sum()
    torch.testing.assert_close(Elbo(free_bits=0.5).loss(p, 2.0), expected)
    torch.testing.assert_close(Elbo(free_bits=1e-9).loss(p, 2.0), Elbo().loss(p, 2.0))


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_loss_is_a_mean_over_images(name: str) -> None:
    p = a_pass()
    torch.testing.assert_close(ALL[name].loss(repeated(p), 0.7), ALL[name].loss(p, 0.7))


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_loss_is_a_mean_over_draws(name: str) -> None:
    p = a_pass()
    z, *logs = (torch.cat([t, t]) for t in (p.z, p.log_px, p.log_pz, p.log_qz))
    twice = Pass(z, *logs, p.kl, prior_draws=p.prior_draws)
    torch.testing.assert_close(ALL[name].loss(twice, 0.7), ALL[name].loss(p, 0.7))


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_worse_reconstruction_costs_more(name: str) -> None:
    p = a_pass()
    worse = replace(p, log_px=p.log_px - 1)
    torch.testing.assert_close(ALL[name].loss(worse, 0.7), ALL[name].loss(p, 0.7) + 1)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"reconstruction", "mmd"}))
def test_codes_farther_from_the_prior_cost_more(name: str) -> None:
    p = a_pass()
    farther = replace(p, log_pz=p.log_pz - 1, kl=p.kl + 0.5)
    assert ALL[name].loss(farther, 1.0) > ALL[name].loss(p, 1.0)


def test_the_elbo_refuses_a_point_posterior() -> None:
    p = a_pass()
    with pytest.raises(ValueError, match="point posterior"):
        Elbo().loss(Pass(p.z, p.log_px, None, None, None))


@pytest.mark.parametrize("name", sorted(BETA_SCHEDULES))
def test_weights_stay_in_range_and_reach_one(name: str) -> None:
    values = [BETA_SCHEDULES[name](step, 100) for step in range(400)]
    assert all(0 <= v <= 1 for v in values)
    assert max(values) == 1
    assert BETA_SCHEDULES[name](0, 0) == 1


def test_the_rises_are_what_they_say() -> None:
    assert [schedules.linear(s, 4) for s in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert schedules.sigmoid(49, 100) == pytest.approx(0.5)
    assert schedules.sigmoid(0, 100) == pytest.approx(1 / (1 + math.exp(4.9)))
    assert [schedules.cyclical(s, 4) for s in range(8)] == [0.5, 1, 1, 1] * 2
    rising = [schedules.sigmoid(s, 100) for s in range(100)]
    assert rising == sorted(rising)


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
@pytest.mark.parametrize("name", sorted(LR_SCHEDULES))
def test_learning_rates_stay_in_range(name: str, steps: int) -> None:
    values = [LR_SCHEDULES[name](step, steps, 10) for step in range(steps)]
    assert all(0 <= v <= 1 for v in values)
    assert max(values) == pytest.approx(1, abs=0.01)
    assert sum(values) > 0


def test_cosine_and_one_cycle_end_near_zero() -> None:
    for name in ("cosine", "one-cycle"):
        values = [LR_SCHEDULES[name](s, 1000, 10) for s in range(1000)]
        top = values.index(max(values))
        assert values[:top] == sorted(values[:top])
        assert values[top:] == sorted(values[top:], reverse=True)
        assert values[-1] < 0.001


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beta": 4.0},
        {"beta": 3.0, "capacity": 2.0},
        {"beta": 3.0, "capacity": 50.0},
        {"name": "reconstruction"},
    ],
)
def test_epochs_are_ranked_by_minus_the_objective_at_its_full_weight(options: dict[str, Any]) -> None:
    settings, p, minimised = ObjectiveConfig(**options), a_pass(), objective(**options)
    loss = minimised.loss(p, settings.beta, settings.capacity or 0.0)
    assert p.rate is not None
    means = p.distortion.mean().item(), p.rate.mean().item()
    assert minimised.score(*means) == pytest.approx(-loss.item())
    assert objective(name="infovae").score(*means) is None
    assert objective(name="iwae").score(*means, bound=-7.0) == -7.0


def test_no_alpha_rewards_codes_that_leave_the_prior() -> None:
    for settings in ({"alpha": -70.0}, {"alpha": -70.0, "info_lambda": 70.0}):
        with pytest.raises(InputError, match=r"alpha \+ info_lambda below 1 the MMD would be rewarded"):
            parse({"objective": {"name": "infovae", **settings}}, "test")
    assert parse({"objective": {"name": "infovae", "alpha": -70.0, "info_lambda": 71.0}}, "test")


def test_the_capacity_draws_the_rate_from_both_sides() -> None:
    p = a_pass()
    rate = p.kl.sum(-1).mean()
    loss = ALL["capacity"].loss(p, 4.0, rate.item() + 0.5)
    torch.testing.assert_close(loss, p.distortion.mean() + 4.0 * 0.5)
    torch.testing.assert_close(ALL["capacity"].loss(p, 4.0, rate.item() - 0.5), loss)
    torch.testing.assert_close(ALL["capacity"].loss(p, 4.0, 0.0), Elbo().loss(p, 4.0))


def test_infovae_weighs_rate_and_mmd_as_published() -> None:
    """-L = distortion + (1 - alpha) rate + (alpha + lambda - 1) MMD^2; at alpha 0 and lambda 1 it is the ELBO."""
    p = a_pass(batch=6)
    distance = mmd(p.z[0], p.prior_draws, KERNELS["rbf"], "unbiased")
    options = {"name": "infovae", "kernel": "rbf", "estimator": "unbiased"}
    loss = objective(**options, alpha=0.3, info_lambda=9.0).loss(p, 1.0, 0.0)
    torch.testing.assert_close(loss, p.distortion.mean() + 0.7 * p.rate.mean() + 8.3 * distance)
    at_elbo = objective(**options, alpha=0.0, info_lambda=1.0).loss(p, 1.0, 0.0)
    torch.testing.assert_close(at_elbo, -p.elbo.mean())
    by_values = objective(784, **options).loss(p, 1.0, 0.0)
    torch.testing.assert_close(by_values, p.distortion.mean() + 784 * distance)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_the_loss_rises_as_codes_leave_the_prior(kernel: str, estimator: str) -> None:
    minimised = objective(name="infovae", info_lambda=1.0, kernel=kernel, estimator=estimator)
    losses = [minimised.loss(codes(300, shift), 1.0, 0.0).item() for shift in (0.0, 0.7, 1.4)]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("name", sorted(set(ALL) - {"capacity"}))
def test_an_objective_says_what_a_nat_of_rate_costs(name: str) -> None:
    p = a_pass()
    p = replace(p, kl=p.kl + 1)  # above the free bits
    dearer = replace(p, kl=p.kl + 0.5, log_qz=p.log_qz + 1)
    cost = ALL[name].loss(dearer, 1.0) - ALL[name].loss(p, 1.0)
    assert cost.item() == pytest.approx(ALL[name].rate_weight)


def test_the_weight_of_the_rate_is_beta_and_of_a_capacity_one() -> None:
    assert objective(beta=4.0).rate_weight == 4
    assert objective(capacity=3.0, beta=30.0).rate_weight == 1
    assert objective(name="infovae", alpha=0.25, beta=2.0).rate_weight == 1.5


def test_an_objective_asks_the_model_for_what_its_loss_needs() -> None:
    for name, minimised in ALL.items():
        needs = {"samples": 1, "prior_draws": name in ("mmd", "infovae")}
        assert minimised.needs == needs
        p = a_pass()
        less = replace(p, prior_draws=p.prior_draws if needs["prior_draws"] else None)
        torch.testing.assert_close(minimised.loss(less), minimised.loss(p))
        assert minimised.scored_by_bound == (name in ("iwae", "dreg"))
