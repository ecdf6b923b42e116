"""Posteriors, the prior and divergences: exact values and the reparameterised gradient."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from helpers import table_dataset

from latlas import divergences, scales
from latlas.build import statistics
from latlas.posteriors import (
    POSTERIORS,
    DiagonalGaussian,
    GaussianPosterior,
    Point,
    PosteriorValue,
    Whitened,
    joined,
)
from latlas.priors import Mixture, Prior, StandardNormal, Vamp


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def posterior(batch: int = 5, latent: int = 3) -> GaussianPosterior:
    return DiagonalGaussian(latent)(draw(batch, 2 * latent))  # type: ignore[no-any-return]


def normal(q: GaussianPosterior) -> torch.distributions.Independent:
    return torch.distributions.Independent(torch.distributions.Normal(q.mean, q.stddev), 1)


def test_the_encoder_gives_mean_and_log_variance() -> None:
    raw = draw(4, 6)
    q = DiagonalGaussian(3)(raw)
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
    q = Point(3)(raw)
    assert torch.equal(q.rsample(torch.zeros(2, 4, 3)), raw.expand(2, 4, 3))
    assert q.stddev is None
    assert q.log_prob(raw) is None
    assert StandardNormal(3).kl(q) is None


def family(name: str, latent: int = 3, seed: int = 1) -> torch.nn.Module:
    """A posterior family in float64; a flow's layers are moved away from the identity they start at."""
    module = POSTERIORS[name](latent, 3).double()
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(0.15 * draw(*parameter.shape, seed=seed + i))
    return module


def value(name: str, batch: int = 4, latent: int = 3) -> PosteriorValue:
    module = family(name, latent)
    return module(0.5 * draw(batch, module.outputs))  # type: ignore[no-any-return, operator, arg-type]


@pytest.mark.parametrize("name", sorted(POSTERIORS))
@pytest.mark.parametrize("latent", [1, 3])
def test_every_posterior_keeps_the_face(name: str, latent: int) -> None:
    q = value(name, 4, latent)
    assert q.mean.shape == (4, latent)
    z = q.rsample(draw(2, 4, latent))
    assert z.shape == (2, 4, latent)
    log_q = q.log_prob(z)
    assert (log_q is None) == (name == "point")
    assert log_q is None or log_q.shape == (2, 4)
    parts = joined([q, q])
    torch.testing.assert_close(parts.mean, torch.cat([q.mean, q.mean]))
    assert parts.rsample(draw(2, 8, latent)).shape == (2, 8, latent)


@pytest.mark.parametrize("name", ["gaussian", "full-gaussian", "flow"])
def test_log_q_is_the_change_of_variables_with_a_numerical_jacobian(name: str) -> None:
    """log q(z) = log N(noise; 0, I) - log |det dz/dnoise|, the Jacobian by automatic differentiation."""
    q, noise = value(name), draw(4, 3, seed=5)
    jacobian = torch.autograd.functional.jacobian(lambda e: q.rsample(e[None])[0].sum(0), noise)
    log_det = torch.linalg.slogdet(jacobian.permute(1, 0, 2)).logabsdet
    expected = torch.distributions.Normal(0, 1).log_prob(noise).sum(-1) - log_det
    torch.testing.assert_close(q.log_prob(q.rsample(noise[None]))[0], expected)


@pytest.mark.parametrize("name", ["gaussian", "full-gaussian", "flow"])
def test_densities_integrate_to_one(name: str) -> None:
    q, axis = value(name, 1, 2), torch.linspace(-9, 9, 301, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)[:, None]
    total = q.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert total.item() == pytest.approx(1, abs=2e-3)


def test_a_full_gaussian_agrees_with_torch_distributions() -> None:
    q = value("full-gaussian")
    same = torch.distributions.MultivariateNormal(q.mean, scale_tril=q.factor)
    z = draw(6, 4, 3, seed=3)
    torch.testing.assert_close(q.log_prob(z), same.log_prob(z))
    torch.testing.assert_close(q.stddev, same.stddev)
    standard = torch.distributions.MultivariateNormal(torch.zeros_like(q.mean), torch.eye(3).double())
    kl = q.kl_standard_normal()
    torch.testing.assert_close(kl.sum(-1), torch.distributions.kl_divergence(same, standard))
    assert (kl >= 0).all()


def test_a_flow_inverts_itself_and_starts_as_its_base() -> None:
    flow, u, context = family("flow").flow, draw(5, 3), draw(5, 16, seed=2)
    z, log_det = flow(u, context)
    back, log_det_back = flow.inverse(z, context)
    torch.testing.assert_close(back, u)
    torch.testing.assert_close(log_det_back, -log_det)
    assert log_det.abs().min() > 1e-3
    fresh = POSTERIORS["flow"](3, 3).double()
    assert torch.equal(fresh.flow(u, context)[0], u)  # type: ignore[union-attr, operator]


def infer(u: torch.Tensor) -> GaussianPosterior:
    return GaussianPosterior(u[:, :3], 0.3 * u[:, 3:])


def priors() -> dict[str, Prior]:
    mixture = Mixture(3, 4).double()
    with torch.no_grad():
        mixture.logits.copy_(draw(4, seed=1))
        mixture.log_stds.copy_(0.3 * draw(4, 3, seed=2))
    return {
        "standard-normal": StandardNormal(3),
        "mixture": mixture,
        "vamp": Vamp(3, draw(4, 6, seed=3), bounded=False).double(),
    }


@pytest.mark.parametrize("name", sorted(priors()))
def test_every_prior_samples_the_same_codes_for_a_seed(name: str) -> None:
    prior = priors()[name](infer)
    like = torch.zeros(1, dtype=torch.float64)
    first = prior.sample(300, torch.Generator().manual_seed(1), like)
    again = prior.sample(300, torch.Generator().manual_seed(1), like)
    other = prior.sample(300, torch.Generator().manual_seed(2), like)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (300, 3)
    assert first.dtype == torch.float64


@pytest.mark.parametrize("name", ["mixture", "vamp"])
def test_a_mixture_is_the_weighted_sum_of_its_gaussians(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latlas.priors.MOST_VALUES", 24)  # codes are weighed two at a time
    prior = priors()[name]
    if isinstance(prior, Vamp):
        weights = torch.full((4,), 0.25, dtype=torch.float64)
        means, stds = prior.pseudo_inputs[:, :3], (0.3 * prior.pseudo_inputs[:, 3:]).exp()
    else:
        weights, means, stds = prior.logits.softmax(0), prior.means, prior.log_stds.exp()
    mixed = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(weights),
        torch.distributions.Independent(torch.distributions.Normal(means, stds), 1),
    )
    z = draw(6, 5, 3, seed=9)
    torch.testing.assert_close(prior(infer).log_prob(z), mixed.log_prob(z))
    draws = prior(infer).sample(20_000, torch.Generator().manual_seed(1), z)
    torch.testing.assert_close(draws.mean(0), mixed.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(draws.var(0), mixed.variance, atol=0.12, rtol=0.05)


@pytest.mark.parametrize("count", [7, 999, 1001, 5000, 30_000])
def test_pseudo_inputs_start_anywhere_in_the_training_split(count: int) -> None:
    x = np.repeat(np.arange(count, dtype=np.float32)[:, None], 3, axis=1)
    found = statistics(table_dataset(x)).examples[:, 0]
    assert 0 < len(found) <= 1000
    assert found[0] == 0
    assert found[-1] >= 0.99 * (count - 1)


def test_pseudo_inputs_of_images_stay_images() -> None:
    prior = Vamp(3, torch.tensor([[0.0, 0.5, 1.0]]), bounded=True)
    torch.testing.assert_close(prior.pseudo_inputs, torch.tensor([[0.02, 0.5, 0.98]]))
    with torch.no_grad():
        prior.raw_inputs.mul_(100)
    assert prior.pseudo_inputs.min() >= 0
    assert prior.pseudo_inputs.max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scales_are_the_numbers_themselves_to_the_bit_and_bent_beyond_their_bounds(
    dtype: torch.dtype,
) -> None:
    usual = torch.linspace(scales.LEAST, scales.MOST, 4001, dtype=dtype).requires_grad_()
    assert torch.equal(scales.log_scale(usual), usual)
    assert torch.equal(scales.log_deviation(usual / 2), usual / 2)
    (slope,) = torch.autograd.grad(scales.log_scale(usual).sum(), usual)
    assert torch.equal(slope, torch.ones_like(slope))
    far = torch.tensor([1e-3, 1.0, 50.0, 1e4, 1e8, 1e15], dtype=dtype)
    above = (scales.MOST + far).requires_grad_()
    beyond = above.detach() - scales.MOST
    torch.testing.assert_close(scales.log_scale(above), scales.MOST + torch.log1p(beyond))
    torch.testing.assert_close(torch.autograd.grad(scales.log_scale(above).sum(), above)[0], 1 / (1 + beyond))
    below = (scales.LEAST - far).requires_grad_()
    beyond = scales.LEAST - below.detach()
    torch.testing.assert_close(scales.log_scale(below), scales.LEAST - 1 + 1 / (1 + beyond))
    (slope,) = torch.autograd.grad(scales.log_scale(below).sum(), below)
    torch.testing.assert_close(slope, (1 / (1 + beyond)).square(), atol=0, rtol=1e-5)


def test_scales_are_bent_where_they_are_recorded_inside_their_bounds_vectorised_or_on_another_device() -> (
    None
):
    class Scale(torch.nn.Module):
        def forward(self, raw: torch.Tensor) -> torch.Tensor:
            return scales.log_scale(raw)

    inside, far = torch.zeros(2, 3), torch.tensor([[100.0, 0.0, -100.0]]).repeat(2, 1)
    bent = scales.log_scale(far)
    assert bent[0].abs().max() < 30
    exported = torch.export.export(Scale(), (inside,))
    assert torch.equal(exported.module()(far), bent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out, and people still have it
        assert torch.equal(torch.jit.trace(Scale(), (inside,))(far), bent)
    assert torch.equal(torch.func.vmap(scales.log_scale)(far), bent)
    assert scales.log_scale(inside.to("meta")).shape == inside.shape
    assert scales.log_scale(torch.tensor([math.nan, 0.0])).isnan().tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_logarithm_of_a_sum_and_its_slope_are_those_of_torch(dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(0)
    spread = torch.tensor([1e-3, 1.0, 50.0, 1e4], dtype=dtype)[:, None]
    x = (1e3 + spread * torch.randn(4, 30, generator=rng, dtype=dtype)).requires_grad_()
    known = x.logsumexp(-1)
    torch.testing.assert_close(scales.log_sum_exp(x), known)
    ours, theirs = (torch.autograd.grad(y.sum(), x)[0] for y in (scales.log_sum_exp(x), known))
    torch.testing.assert_close(ours, theirs)
    some = torch.tensor([[0.0, -math.inf], [-math.inf, -math.inf], [0.0, math.inf]], dtype=dtype)
    assert scales.log_sum_exp(some).tolist() == [0.0, -math.inf, math.inf]


def test_the_variance_of_an_item_far_out_grows_along_a_straight_line() -> None:
    """At log-variances of 12, 110 and 344, the last of an item seen in training: e^344 has no place in float32."""
    raw = torch.tensor([[0.0, 12.0], [0.0, 110.0], [0.0, 344.58]], requires_grad=True)
    q = DiagonalGaussian(1)(raw)
    torch.testing.assert_close(q.stddev.square(), math.exp(4) * torch.tensor([[9.0], [107.0], [341.58]]))
    (gradient,) = torch.autograd.grad(q.kl_standard_normal().sum(), raw)
    torch.testing.assert_close(gradient[:, 1], torch.full((3,), math.exp(4) / 2), rtol=1e-2, atol=0)


def extreme(shape: tuple[int, ...], size: float, dtype: torch.dtype, signs: int) -> torch.Tensor:
    """Numbers of one size: all positive, all negative, or of mixed signs."""
    mixed = 2 * torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(signs)) - 1
    return (size * {0: torch.ones(shape), 1: -torch.ones(shape)}.get(signs, mixed)).to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("latent", [1, 3, 16])
@pytest.mark.parametrize("prior", ["standard-normal", "mixture", "vamp"])
@pytest.mark.parametrize("name", sorted(POSTERIORS))
def test_rates_and_their_gradients_are_finite_at_any_output(
    name: str, prior: str, latent: int, dtype: torch.dtype
) -> None:
    if name == "point" and prior != "standard-normal":
        pytest.skip("the configuration refuses it")
    for size, signs in itertools.product((30.0, 1e4, 1e8), (0, 1, 2, 3)):
        module = family(name, latent).to(dtype)
        raw = extreme((6, module.outputs), size, dtype, signs)  # type: ignore[arg-type]
        pseudo = extreme((5, module.outputs), size, dtype, signs + 1)  # type: ignore[arg-type]
        mixture = Mixture(latent, 4)
        with torch.no_grad():
            mixture.log_stds.copy_(extreme((4, latent), size, dtype, signs))
        vamp = Vamp(latent, torch.zeros(5, 1), bounded=False)
        about = {"standard-normal": StandardNormal(latent), "mixture": mixture, "vamp": vamp}[prior].to(dtype)
        of_pseudo, q = module(pseudo), module(raw)
        p = about(lambda _, known=of_pseudo: known)
        z = q.rsample(draw(2, 6, latent).to(dtype))
        kl, log_q = p.kl(q), q.log_prob(z)
        terms = [p.log_prob(z), *(t for t in (kl, log_q) if t is not None)]
        assert all(term.isfinite().all() for term in terms), (size, signs)
        leaves = [raw, pseudo, *module.parameters(), *about.parameters()]
        for term in terms:
            for gradient in torch.autograd.grad(term.sum(), leaves, retain_graph=True, allow_unused=True):
                assert gradient is None or gradient.isfinite().all(), (size, signs)


def test_whitening_has_the_gradient_of_the_triangular_solve() -> None:
    factor = torch.eye(4, dtype=torch.float64) + 0.3 * draw(5, 4, 4).tril()
    factor, centred = factor.requires_grad_(), draw(5, 4, 3, seed=1).requires_grad_()
    solved = torch.linalg.solve_triangular(factor, centred, upper=False)
    whitened = Whitened.apply(factor, centred)
    assert torch.equal(whitened, solved)
    weights = draw(5, 4, 3, seed=2)
    expected = torch.autograd.grad((solved * weights).sum(), (factor, centred))
    for found, other in zip(
        torch.autograd.grad((whitened * weights).sum(), (factor, centred)), expected, strict=True
    ):
        torch.testing.assert_close(found, other, rtol=1e-12, atol=1e-12)
