"""Posteriors, the prior and divergences: exact values and the reparameterised gradient."""

from __future__ import annotations

import pytest
import torch

from latlas import divergences
from latlas.posteriors import POSTERIORS, DiagonalGaussian, GaussianPosterior, Point
from latlas.priors import PRIORS, StandardNormal


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def posterior(batch: int = 5, latent: int = 3) -> GaussianPosterior:
    return DiagonalGaussian()(draw(batch, 2 * latent))  # type: ignore[no-any-return]


def normal(q: GaussianPosterior) -> torch.distributions.Independent:
    return torch.distributions.Independent(torch.distributions.Normal(q.mean, q.stddev), 1)


def test_the_encoder_gives_mean_and_log_variance() -> None:
    raw = draw(4, 6)
    q = DiagonalGaussian()(raw)
    torch.testing.assert_close(q.mean, raw[:, :3])
    torch.testing.assert_close(q.stddev, torch.exp(raw[:, 3:] / 2))


def test_log_q_agrees_with_torch_distributions() -> None:
    q, z = posterior(), draw(7, 5, 3, seed=1)
    torch.testing.assert_close(q.log_prob(z), normal(q).log_prob(z))


def test_log_p_of_the_prior_agrees_with_torch_distributions() -> None:
    z = draw(7, 5, 3)
    expected = torch.distributions.Normal(0, 1).log_prob(z).sum(-1)
    torch.testing.assert_close(StandardNormal(3).log_prob(z), expected)


def test_kl_agrees_with_torch_distributions_and_is_zero_at_the_prior() -> None:
    q = posterior()
    kl = divergences.kl_standard_normal(q.mean, q.log_std)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(q.mean, q.stddev), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(kl, expected)
    assert (kl >= 0).all()
    zero = torch.zeros(2, 3, dtype=torch.float64)
    assert divergences.kl_standard_normal(zero, zero).abs().max() == 0


def test_analytic_kl_is_the_mean_of_its_monte_carlo_estimate() -> None:
    q, prior = posterior(), StandardNormal(3)
    z = q.rsample(draw(200_000, 5, 3, seed=2))
    terms = q.log_prob(z) - prior.log_prob(z)
    error = (terms.mean(0) - prior.kl(q).sum(1)).abs()  # type: ignore[union-attr]
    assert (error < 4 * terms.std(0) / 200_000**0.5).all()


def test_draws_have_the_posteriors_moments_and_carry_its_gradient() -> None:
    """The pathwise gradient of E[|z|^2] is 2 mean for the mean and 2 std for the standard deviation."""
    mean, log_std = draw(4, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    z = GaussianPosterior(mean, log_std).rsample(draw(200_000, 4, 3, seed=2))
    torch.testing.assert_close(z.mean(0), mean, atol=0.05, rtol=0)
    torch.testing.assert_close(z.std(0), log_std.exp(), atol=0.05, rtol=0)
    z.square().sum(-1).mean(0).sum().backward()
    torch.testing.assert_close(mean.grad, 2 * mean.detach(), atol=0.1, rtol=0.02)
    torch.testing.assert_close(log_std.grad, 2 * (2 * log_std.detach()).exp(), atol=0.1, rtol=0.02)


def test_a_point_posterior_is_its_code_and_has_no_density() -> None:
    raw = draw(4, 3)
    q = Point()(raw)
    assert torch.equal(q.rsample(torch.zeros(2, 4, 3)), raw.expand(2, 4, 3))
    assert q.stddev is None
    assert q.log_prob(raw) is None
    assert StandardNormal(3).kl(q) is None


@pytest.mark.parametrize("name", sorted(POSTERIORS))
def test_every_posterior_keeps_the_face(name: str) -> None:
    family = POSTERIORS[name]()
    q = family(draw(4, family.outputs(3)))
    assert q.mean.shape == (4, 3)
    assert q.rsample(draw(2, 4, 3)).shape == (2, 4, 3)


@pytest.mark.parametrize("name", sorted(PRIORS))
def test_every_prior_samples_the_same_codes_for_a_seed(name: str) -> None:
    prior = PRIORS[name](3)
    like = torch.zeros(1, dtype=torch.float64)
    first = prior.sample(5, torch.Generator().manual_seed(1), like)
    again = prior.sample(5, torch.Generator().manual_seed(1), like)
    other = prior.sample(5, torch.Generator().manual_seed(2), like)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (5, 3)
    assert first.dtype == torch.float64
