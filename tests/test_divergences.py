"""MMD^2: its closed form between Gaussians, and what its two estimators must and must not do."""

from __future__ import annotations

import math

import pytest
import torch

from latlas.divergences import KERNELS, mmd

# MMD^2 of N(m, S) and N(0, I) in two dimensions, kernel exp(-|x - y|^2 / (2 * 2)): the rbf kernel at dim 2.
MEAN, COVARIANCE, EXACT = (0.5, -0.2), ((0.5, 0.1), (0.1, 0.8)), 0.0573587


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    factor = torch.linalg.cholesky(torch.tensor(COVARIANCE, dtype=torch.float64))
    return torch.tensor(MEAN, dtype=torch.float64) + normals(*shape, 2, seed=seed) @ factor.T


def mean_and_error(values: list[torch.Tensor]) -> tuple[float, float]:
    stacked = torch.stack(values)
    return stacked.mean().item(), (stacked.std() / len(values) ** 0.5).item()


def test_kernels_are_those_of_their_papers() -> None:
    squared = torch.tensor([0.0, 3.0], dtype=torch.float64)
    for kernel, expected in {
        "authors": math.exp(-3 / 25),
        "rbf": math.exp(-3 / 10),
        "imq": sum(10 * s / (10 * s + 3) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)),
    }.items():
        near, far = KERNELS[kernel](squared, 5).tolist()
        assert near == {"imq": 7.0}.get(kernel, 1.0)
        assert far == pytest.approx(expected, rel=1e-12)


def test_the_closed_form_is_what_integration_gives() -> None:
    """E k(x, y) for x - y ~ N(m, C) is |I + C / 2|^(-1/2) exp(-m^T (2 I + C)^-1 m / 2)."""
    mean, covariance = (torch.tensor(v, dtype=torch.float64) for v in (MEAN, COVARIANCE))
    eye = torch.eye(2, dtype=torch.float64)

    def expected(shift: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return (
            torch.exp(-0.5 * shift @ torch.linalg.solve(2 * eye + c, shift)) / torch.det(eye + c / 2).sqrt()
        )

    none = torch.zeros_like(mean)
    exact = expected(none, 2 * covariance) + expected(none, 2 * eye) - 2 * expected(mean, covariance + eye)
    assert exact.item() == pytest.approx(EXACT, abs=5e-8)


@pytest.mark.parametrize("n", [10, 50, 300])
def test_the_unbiased_estimate_has_the_exact_mean_whatever_the_batch_size(n: int) -> None:
    repeats = 24_000 // n
    x, y = gaussian(repeats, n, seed=1), normals(repeats, n, 2, seed=2)
    mean, error = mean_and_error([mmd(a, b) for a, b in zip(x, y, strict=True)])
    assert abs(mean - EXACT) < 4 * error
    assert error < 0.003


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_equal_laws_are_zero_apart_on_average(name: str) -> None:
    values = [
        mmd(normals(40, 3, seed=2 * i), normals(40, 3, seed=2 * i + 1), KERNELS[name]) for i in range(500)
    ]
    mean, error = mean_and_error(values)
    assert abs(mean) < 4 * error
    assert min(values) < 0


@pytest.mark.parametrize("n", [20, 100])
def test_the_biased_estimate_is_too_large_by_as_much_as_theory_says(n: int) -> None:
    """Equal laws: 2 (1 - E k) / N, and E k = (1 + 2 / D)^(-D / 2) for the rbf kernel and N(0, I): 1/2 for D = 2."""
    values = [
        mmd(normals(n, 2, seed=2 * i), normals(n, 2, seed=2 * i + 1), estimator="biased") for i in range(400)
    ]
    mean, error = mean_and_error(values)
    assert abs(mean - 2 * (1 - 0.5) / n) < 4 * error
    assert min(values) >= 0


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_it_rises_as_codes_leave_the_prior(name: str, estimator: str) -> None:
    codes, prior = normals(300, 3), normals(300, 3, seed=1)
    values = []
    for distance in (0.0, 0.5, 1.0, 2.0, 4.0):
        shift = torch.tensor(distance, dtype=torch.float64, requires_grad=True)
        value = mmd(codes + shift, prior, KERNELS[name], estimator)
        value.backward()
        values.append(value.item())
        assert distance == 0 or shift.grad > 0
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.5


def test_swapping_the_laws_changes_nothing_and_the_same_draws_are_no_distance_apart() -> None:
    x, y = gaussian(30), normals(20, 2)
    torch.testing.assert_close(mmd(x, y), mmd(y, x))
    assert mmd(x, x, estimator="biased").abs() < 1e-12


def test_one_draw_is_too_few() -> None:
    with pytest.raises(ValueError, match="two draws"):
        mmd(normals(1, 2), normals(5, 2))
