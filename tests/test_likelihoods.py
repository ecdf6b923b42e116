"""p(x | z): exact values, and properties of every likelihood."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from helpers import configured, image_dataset, table_dataset

from latlas.data import Dataset, Scaling
from latlas.errors import InputError
from latlas.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    ContinuousBernoulli,
    DiscretisedLogistic,
    Gaussian,
    Laplace,
    Likelihood,
    LocationScale,
)
from latlas.settings import LikelihoodConfig

ALL = [
    Bernoulli(),
    ContinuousBernoulli(),
    Gaussian(0.3, "sigmoid"),
    Gaussian(0.3, "tanh"),
    Gaussian(0.3, "identity"),
    Gaussian("learned", "sigmoid", start=0.2),
    Laplace(0.3, "sigmoid"),
    Laplace("learned", "identity", start=0.2),
    DiscretisedLogistic(0.05, "identity"),
    DiscretisedLogistic("per-pixel", "identity", start=0.05),
]
BOUNDED = {"bernoulli", "continuous-bernoulli"}  # these take values inside [0, 1] only
NOT_OF_TABLES = BOUNDED | {"discretised-logistic"}
IDS = [
    "bernoulli",
    "continuous-bernoulli",
    "sigmoid",
    "tanh",
    "identity",
    "learned",
    "laplace",
    "laplace-learned",
    "discretised",
    "per-pixel",
]


def test_the_properties_below_are_asked_of_every_likelihood() -> None:
    assert {type(likelihood) for likelihood in ALL} == set(LIKELIHOODS.values())
    assert len(IDS) == len(ALL)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_bernoulli_agrees_with_torch_distributions() -> None:
    raw, x = draw(3, 4, 1, 5, 6), (draw(4, 1, 5, 6, seed=1) > 0).double()
    expected = torch.distributions.Bernoulli(logits=raw).log_prob(x).flatten(2).sum(2)
    torch.testing.assert_close(Bernoulli().log_prob(raw, x), expected)


def test_bernoulli_on_grey_values_is_the_cross_entropy() -> None:
    raw, x = draw(2, 3, 7), torch.rand(3, 7, dtype=torch.float64)
    m = torch.sigmoid(raw)
    expected = (x * m.log() + (1 - x) * (1 - m).log()).sum(2)
    torch.testing.assert_close(Bernoulli().log_prob(raw, x), expected)


@pytest.mark.parametrize("output", ["sigmoid", "tanh", "identity"])
@pytest.mark.parametrize("sigma", [0.05, math.sqrt(0.5), 2.0])
def test_gaussian_agrees_with_torch_distributions(output: str, sigma: float) -> None:
    raw, x = draw(3, 4, 2, 5), draw(4, 2, 5, seed=1)
    likelihood = Gaussian(sigma, output).double()
    expected = torch.distributions.Normal(likelihood.mean(raw), sigma).log_prob(x).flatten(2).sum(2)
    torch.testing.assert_close(likelihood.log_prob(raw, x), expected, rtol=1e-6, atol=1e-6)


def test_squared_error_is_a_gaussian_with_half_a_variance() -> None:
    raw, x = draw(1, 4, 6), draw(4, 6, seed=1)
    log_p = Gaussian(math.sqrt(0.5), "identity").double().log_prob(raw, x)[0]
    squared = (x - raw[0]).square().sum(1)
    torch.testing.assert_close(-log_p, squared + 3 * math.log(math.pi), rtol=1e-6, atol=1e-6)


def test_a_sigma_per_pixel_agrees_with_torch_distributions() -> None:
    raw, x = draw(3, 4, 2, 5), draw(4, 2, 5, seed=1)
    likelihood = Gaussian("per-pixel", "identity", start=0.5, shape=(2, 5)).double()
    assert likelihood.sigma.shape == (2, 5)
    torch.testing.assert_close(likelihood.sigma, torch.full((2, 5), 0.5, dtype=torch.float64))
    with torch.no_grad():
        likelihood.log_sigma.copy_(draw(2, 5, seed=2))
    expected = torch.distributions.Normal(raw, likelihood.sigma).log_prob(x).flatten(2).sum(2)
    torch.testing.assert_close(likelihood.log_prob(raw, x), expected)
    with torch.no_grad():
        likelihood.log_sigma.fill_(-50)
    assert (likelihood.sigma >= 1 / 255).all()


ETAS = [-800.0, -30.0, -0.51, -0.5, -0.49, -1e-3, -1e-9, 0.0, 1e-12, 0.02, 0.5, 3.0, 100.0, 800.0]


def integrals(log_density: Callable[[torch.Tensor], torch.Tensor]) -> tuple[float, float, float]:
    """Of p, x p and x^2 p over [0, 1], by Gauss-Legendre quadrature on 200 panels."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    x = torch.from_numpy((np.arange(200)[:, None] + (nodes + 1) / 2) / 200).flatten()
    p = log_density(x[:, None]).exp() * torch.from_numpy(np.tile(weights, 200)) / 400
    return tuple((p * x**n).sum().item() for n in range(3))  # type: ignore[return-value]


@pytest.mark.parametrize("eta", ETAS)
def test_the_continuous_bernoulli_integrates_to_one_with_its_mean_and_variance(eta: float) -> None:
    likelihood, raw = ContinuousBernoulli(), torch.tensor(eta, dtype=torch.float64)
    one, first, second = integrals(lambda x: likelihood.log_prob(raw.expand(1, len(x), 1), x)[0])
    assert one == pytest.approx(1, abs=1e-12)
    assert likelihood.mean(raw).item() == pytest.approx(first, abs=1e-12)
    assert likelihood.variance(raw).item() == pytest.approx(second - first**2, abs=1e-12)


def test_the_continuous_bernoulli_agrees_with_torch_distributions_away_from_one_half() -> None:
    raw = torch.cat([torch.linspace(-8, -1, 40), torch.linspace(1, 8, 40)]).double()[None, :, None]
    x = torch.rand(80, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    other, likelihood = torch.distributions.ContinuousBernoulli(logits=raw), ContinuousBernoulli()
    torch.testing.assert_close(likelihood.log_prob(raw, x), other.log_prob(x)[..., 0])
    torch.testing.assert_close(likelihood.mean(raw), other.mean)
    torch.testing.assert_close(likelihood.variance(raw), other.variance)


def test_the_gradient_of_the_continuous_bernoulli_is_right_about_one_half_and_far_from_it() -> None:
    likelihood, x = ContinuousBernoulli(), torch.full((len(ETAS), 1), 0.3, dtype=torch.float64)
    raw = torch.tensor(ETAS, dtype=torch.float64)[None, :, None].requires_grad_()
    assert torch.autograd.gradcheck(lambda eta: likelihood.log_prob(eta, x), raw)
    (gradient,) = torch.autograd.grad(likelihood.log_prob(raw, x).sum(), raw)
    torch.testing.assert_close(gradient, (x - likelihood.mean(raw)), rtol=0, atol=1e-14)
    single = raw.detach().float().requires_grad_()
    likelihood.log_prob(single, x.float()).sum().backward()
    torch.testing.assert_close(single.grad, gradient.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        likelihood.log_prob(single, x.float()), likelihood.log_prob(raw, x).float(), rtol=1e-5, atol=1e-6
    )


def test_the_continuous_bernoullis_mean_has_its_inverse() -> None:
    near = 0.5 + torch.tensor([-1e-6, 1e-9, 0.0], dtype=torch.float64)
    mean = torch.cat([torch.linspace(0.01, 0.99, 981, dtype=torch.float64), near])
    likelihood = ContinuousBernoulli()
    torch.testing.assert_close(likelihood.mean(likelihood.raw(mean)), mean, rtol=0, atol=1e-10)
    assert likelihood.raw(torch.tensor([0.0, 1.0])).isfinite().all()


@pytest.mark.parametrize("eta", [-60.0, 0.0, 1e-7, 5.0])
def test_draws_of_the_continuous_bernoulli_follow_its_distribution_function(eta: float) -> None:
    x = ContinuousBernoulli().sample(torch.full((50_000,), eta).double(), torch.Generator().manual_seed(0))
    exact = torch.special.expm1(eta * x) / math.expm1(eta) if eta else x  # uniform, if it is right
    assert scipy.stats.kstest(exact.numpy(), "uniform").pvalue > 1e-3
    assert ContinuousBernoulli().sample(torch.tensor([-1e4, 1e4])).isfinite().all()


@pytest.mark.parametrize("likelihood", ALL, ids=IDS)
class TestEvery:
    def test_raw_is_the_inverse_of_mean(self, likelihood: Likelihood) -> None:
        mean = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
        torch.testing.assert_close(likelihood.mean(likelihood.raw(mean)), mean)

    def test_the_sample_has_the_mean_and_spread_of_the_density(self, likelihood: Likelihood) -> None:
        raw = torch.full((100_000,), 0.4, dtype=torch.float64)
        x = likelihood.sample(raw, torch.Generator().manual_seed(0))
        mean, variance = likelihood.mean(raw)[0], likelihood.variance(raw)[0]
        torch.testing.assert_close(x.mean(), mean, atol=0.01, rtol=0)
        torch.testing.assert_close(x.var(), variance, atol=0.01, rtol=0, check_dtype=False)

    def test_the_terms_are_sums_over_values_for_each_item(self, likelihood: Likelihood) -> None:
        raw, x = draw(2, 3, 4), torch.rand(3, 4, dtype=torch.float64).round()
        doubled = likelihood.log_prob(torch.cat([raw, raw], 2), torch.cat([x, x], 1))
        torch.testing.assert_close(doubled, 2 * likelihood.log_prob(raw, x))

    def test_one_sample_of_the_code_more_changes_nothing_for_the_others(self, likelihood: Likelihood) -> None:
        raw, x = draw(3, 2, 4), torch.rand(2, 4, dtype=torch.float64).round()
        torch.testing.assert_close(likelihood.log_prob(raw, x)[:1], likelihood.log_prob(raw[:1], x))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_it_is_finite_with_its_gradients_at_any_output_and_any_sigma(
        self, likelihood: Likelihood, dtype: torch.dtype
    ) -> None:
        likelihood = copy.deepcopy(likelihood).to(dtype)  # type: ignore[attr-defined]
        unbounded = isinstance(likelihood, LocationScale) and likelihood.output == "identity"
        values = [0.0, 0.5, 1.0] + ([-1e4, 1e4] if unbounded and likelihood.scale == "density" else [])
        x = torch.tensor(values, dtype=dtype)[:, None].expand(-1, 5)
        sizes = torch.tensor([-1e8, -1e4, 0.0, 1e4, 1e8], dtype=dtype)
        for log_sigma in (None, -1e8, -1e4, 1e4, 1e8):
            parameters = [p.requires_grad_() for p in likelihood.parameters()]  # type: ignore[attr-defined]
            if log_sigma is not None and parameters:
                with torch.no_grad():
                    parameters[0].fill_(log_sigma)
            raw = sizes.expand(1, len(values), 5).clone().requires_grad_()
            log_p = likelihood.log_prob(raw, x)
            assert log_p.isfinite().all()
            for gradient in torch.autograd.grad(log_p.sum(), [raw, *parameters]):
                assert gradient.isfinite().all()
            assert likelihood.mean(raw).isfinite().all()


@pytest.mark.parametrize("output", ["sigmoid", "tanh", "identity"])
@pytest.mark.parametrize("sigma", [0.05, 1.0, 3.0])
def test_laplace_agrees_with_torch_distributions(output: str, sigma: float) -> None:
    raw, x = draw(3, 4, 2, 5), draw(4, 2, 5, seed=1)
    likelihood = Laplace(sigma, output).double()
    other = torch.distributions.Laplace(likelihood.mean(raw), sigma / math.sqrt(2))
    torch.testing.assert_close(likelihood.log_prob(raw, x), other.log_prob(x).flatten(2).sum(2))
    torch.testing.assert_close(likelihood.variance(raw), other.variance)
    each = Laplace("per-pixel", output, sigma, shape=(2, 5)).double()
    torch.testing.assert_close(each.log_prob(raw, x), likelihood.log_prob(raw, x))


@pytest.mark.parametrize("family", [Gaussian, Laplace], ids=lambda family: family.__name__)
@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_densities_of_a_sigma_integrate_to_one(family: type[LocationScale], sigma: float) -> None:
    x = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    p = family(sigma, "identity").double().log_prob(torch.zeros(1, len(x), 1).double(), x[:, None])[0].exp()
    assert torch.trapezoid(p, x).item() == pytest.approx(1, abs=1e-6)
    assert torch.trapezoid(p * x.square(), x).item() == pytest.approx(sigma**2, rel=1e-5)


def test_draws_of_the_laplace_follow_its_distribution_function() -> None:
    x = (
        Laplace(0.7, "identity")
        .double()
        .sample(torch.full((50_000,), 0.2).double(), torch.Generator().manual_seed(0))
    )
    law = scipy.stats.laplace(0.2, 0.7 / math.sqrt(2))
    assert scipy.stats.kstest(x.numpy(), law.cdf).pvalue > 1e-3


BYTES = torch.arange(256, dtype=torch.float64)[:, None] / 255  # (256, 1): every 8-bit value
LOCATIONS, SIGMAS = (-3.0, -0.001, 0.0, 0.3, 0.5, 0.998, 1.0, 7.0), (1e-4, 1 / 255, 0.05, 1.0, 30.0)


def probabilities(sigma: float, location: float) -> torch.Tensor:
    """Of every 8-bit value, (256,), under a discretised logistic."""
    likelihood = DiscretisedLogistic(sigma, "identity").double()
    return likelihood.log_prob(torch.full((1, 256, 1), location, dtype=torch.float64), BYTES)[0].exp()


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("location", LOCATIONS)
def test_the_discretised_logistic_sums_to_one_with_its_mean(location: float, sigma: float) -> None:
    p, values = probabilities(sigma, location), BYTES[:, 0]
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    mean = DiscretisedLogistic(sigma, "identity").double().mean(torch.tensor(location).double()).item()
    rounding = (
        1e-4 if sigma > 1e-3 else 0.5 / 255
    )  # what is narrower than a step is rounded by up to half of one
    assert (p * values).sum().item() == pytest.approx(mean, abs=rounding)


@pytest.mark.parametrize("sigma", SIGMAS[1:])
@pytest.mark.parametrize("location", LOCATIONS[1:-1])
def test_the_discretised_logistic_agrees_with_differences_of_the_distribution_function(
    location: float, sigma: float
) -> None:
    logistic = torch.distributions.TransformedDistribution(
        torch.distributions.Uniform(torch.zeros(1).double(), torch.ones(1).double()),
        [torch.distributions.SigmoidTransform().inv,
         torch.distributions.AffineTransform(location, sigma * math.sqrt(3) / math.pi)],
    )  # fmt: skip
    edges = (torch.arange(255, dtype=torch.float64) + 0.5) / 255
    below = torch.cat([torch.zeros(1), logistic.cdf(edges), torch.ones(1)])
    torch.testing.assert_close(probabilities(sigma, location), below.diff(), rtol=1e-6, atol=1e-13)


def test_the_discretised_logistic_is_finite_where_its_probability_is_nearly_nothing() -> None:
    """In single precision as well, with its gradients: 250 steps from a mean of the least sigma."""
    likelihood = DiscretisedLogistic("learned", "identity", 1e-9).float()
    raw = torch.full((1, 256, 1), -0.2, requires_grad=True)
    log_p = likelihood.log_prob(raw, BYTES.float())
    exact = DiscretisedLogistic(1 / 255, "identity").double().log_prob(raw.double(), BYTES)
    torch.testing.assert_close(log_p, exact.float(), rtol=1e-2, atol=1e-2)
    log_p.sum().backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()
    assert likelihood.log_sigma.grad.isfinite()  # type: ignore[union-attr]


def test_the_discretised_logistics_mean_has_its_inverse() -> None:
    mean = torch.linspace(0.002, 0.998, 99, dtype=torch.float64)
    for sigma in SIGMAS[:-1]:
        likelihood = DiscretisedLogistic(sigma, "identity").double()
        torch.testing.assert_close(likelihood.mean(likelihood.raw(mean)), mean, rtol=0, atol=1e-10)
    assert likelihood.raw(torch.tensor([0.0, 1.0])).isfinite().all()


@pytest.mark.parametrize(("location", "sigma"), [(0.4, 0.004), (0.02, 0.1), (-0.5, 0.3)])
def test_draws_of_the_discretised_logistic_have_its_probabilities(location: float, sigma: float) -> None:
    raw = torch.full((200_000,), location, dtype=torch.float64)
    x = DiscretisedLogistic(sigma, "identity").double().sample(raw, torch.Generator().manual_seed(0))
    counts = torch.round(255 * x).long().bincount(minlength=256).double()
    torch.testing.assert_close(x, torch.round(255 * x) / 255)
    expected = len(x) * probabilities(sigma, location)
    common = expected > 10
    rest = torch.stack([counts[~common].sum(), expected[~common].sum()])
    observed, expected = (
        torch.cat([v[common], r[None]]) for v, r in zip((counts, expected), rest, strict=True)
    )
    assert scipy.stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-3


def test_a_learned_sigma_finds_the_residuals_standard_deviation() -> None:
    likelihood = Gaussian("learned", "identity", start=1.0).double()
    raw = torch.zeros(1, 500, 40, dtype=torch.float64)
    x = 0.2 * draw(500, 40)
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        (-likelihood.log_prob(raw, x).mean()).backward()
        optimizer.step()
    torch.testing.assert_close(likelihood.sigma, x.square().mean().sqrt(), rtol=1e-3, atol=0)


def test_a_learned_sigma_never_falls_below_its_bound() -> None:
    likelihood = Gaussian("learned", "sigmoid", start=1e-9)
    assert likelihood.sigma.item() == pytest.approx(1 / 255, rel=1e-3)
    with torch.no_grad():
        likelihood.log_sigma.sub_(30)
    assert likelihood.sigma.item() >= 1 / 255
    likelihood.sigma.backward()
    assert likelihood.log_sigma.grad is not None


def options(**settings: Any) -> LikelihoodConfig:
    return LikelihoodConfig.model_validate(settings)


TABLE, IMAGES = table_dataset(np.random.default_rng(0).normal(size=(9, 4))), image_dataset(20)
FLOATS, BITS = replace(IMAGES, scaling=Scaling()), replace(IMAGES, scaling=Scaling(), binary=True)
DEEP = replace(IMAGES, scaling=Scaling("integer", scale=(65535.0,)))


@pytest.mark.parametrize(
    ("data", "name", "output", "why"),
    [
        (TABLE, "bernoulli", "auto", "likelihood.name = bernoulli takes values inside"),
        (TABLE, "gaussian", "sigmoid", "likelihood.output = sigmoid gives values inside"),
        (IMAGES, "bernoulli", "tanh", "likelihood.output = tanh: a bernoulli's output is always the sigmoid"),
        (
            TABLE,
            "discretised-logistic",
            "auto",
            "likelihood.name = discretised-logistic .* a standardised table",
        ),
        (FLOATS, "discretised-logistic", "auto", "likelihood.name = discretised-logistic .* real numbers"),
        (
            DEEP,
            "discretised-logistic",
            "auto",
            "likelihood.name = discretised-logistic .* 16-bit integers: .*gaussian",
        ),
        (
            BITS,
            "discretised-logistic",
            "auto",
            "likelihood.name = discretised-logistic .* 0 or 1: use .*=bernoulli",
        ),
        (TABLE, "continuous-bernoulli", "auto", "likelihood.name = continuous-bernoulli takes values inside"),
    ],
)
def test_a_likelihood_that_cannot_take_the_data_says_why(
    data: Dataset, name: str, output: str, why: str
) -> None:
    refusal = LIKELIHOODS[name].refusal(options(name=name, output=output), data)
    assert re.match(why, refusal)
    with pytest.raises(InputError, match=re.escape(refusal)):
        configured(data, likelihood__name=name, likelihood__output=output)


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
@pytest.mark.parametrize("data", [TABLE, IMAGES], ids=["table", "images"])
def test_a_likelihood_takes_data_with_its_own_output_or_says_why_not(name: str, data: Dataset) -> None:
    likelihood = LIKELIHOODS[name]
    chosen = options(name=name, output=likelihood.default_output(data.kind))
    assert bool(likelihood.refusal(chosen, data)) == (name in NOT_OF_TABLES and data.kind == "table")


def test_only_bernoulli_on_grey_values_is_not_normalised() -> None:
    assert [(name, binary) for name, each in LIKELIHOODS.items() for binary in (True, False)
            if not each.normalised(binary)] == [("bernoulli", False)]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "output", "least"), [("image", "sigmoid", 1 / 255), ("table", "identity", 1e-3)]
)
def test_the_least_sigma_is_the_kinds(kind: str, output: str, least: float) -> None:
    made = Gaussian.from_config(options(name="gaussian", output=output), kind, (1, 2, 2), 1e-9)
    assert made.sigma.item() == pytest.approx(least, rel=2e-3)


CALIBRATED = [Gaussian, Laplace]


@pytest.mark.parametrize("family", CALIBRATED, ids=lambda family: family.__name__)
@pytest.mark.parametrize("sigma", [0.1, 0.7])
def test_the_best_sigma_has_the_greatest_likelihood(family: type[LocationScale], sigma: float) -> None:
    """And what another one costs is the difference of the log-densities."""
    errors, nothing = 0.3 * draw(50, 4), torch.zeros(1, 50, 4, dtype=torch.float64)

    def nats(sigma: float) -> float:
        return family(sigma, "identity").double().log_prob(nothing, errors).sum().item() / errors.numel()

    found = family(sigma, "identity").double().calibration(errors)
    assert found is not None
    best, lost = found
    assert lost == pytest.approx(nats(best) - nats(sigma))
    assert nats(best) > max(nats(0.99 * best), nats(1.01 * best))
    per_pixel = family("per-pixel", "identity", sigma, shape=(4,)).double().calibration(errors)
    assert per_pixel == pytest.approx((best, lost))


def test_weights_of_older_runs_keep_their_names() -> None:
    assert list(Gaussian().state_dict()) == list(Gaussian(0.5).state_dict()) == ["log_sigma"]
    assert list(Bernoulli().state_dict()) == []
