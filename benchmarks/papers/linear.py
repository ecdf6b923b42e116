"""The closed forms of a linear VAE, and its bound without sampling, to compare what training reaches with."""

from __future__ import annotations

import math

import numpy as np
import torch

from latlas.models import Model


def eigenvalues(x: np.ndarray) -> np.ndarray:
    """Of the covariance (1/N) of rows x (N, D), the largest first."""
    return np.linalg.eigvalsh(np.cov(x, rowvar=False, bias=True))[::-1]


def optimum(values: np.ndarray, latent: int) -> tuple[float, float, float]:
    """Best mean log p(x) of probabilistic PCA in nats, its mean rate and its sigma^2 (Tipping and Bishop 1999):
    -1/2 [d log 2 pi + sum_(i<=k) log l_i + (d - k) log sigma^2 + d], 1/2 sum_(i<=k) log(l_i / sigma^2), and the
    mean of the eigenvalues left over.
    """
    d, noise = len(values), float(values[latent:].mean())
    kept = np.log(values[:latent])
    log_p = -0.5 * (d * math.log(2 * math.pi) + kept.sum() + (d - latent) * math.log(noise) + d)
    return float(log_p), float(0.5 * (kept - math.log(noise)).sum()), noise


def rate_at(values: np.ndarray, latent: int, threshold: float) -> float:
    """Mean rate of the optimum with sigma fixed and a weight beta, threshold = beta sigma^2: modes with l_i at or
    below it collapse, and the others have 1/2 log(l_i / threshold) each.
    """
    return float(0.5 * np.log(np.maximum(values[:latent] / threshold, 1)).sum())


def exact(model: Model, x: torch.Tensor) -> tuple[float, float]:
    """ELBO and rate of a linear Gaussian model with the expectation over z done exactly, means over x (N, *shape)."""
    weights = model.decoder.output.weight.detach()  # type: ignore[union-attr]
    with torch.no_grad():
        q = model.infer(x)
        at_mean = model.likelihood.log_prob(model.raw(q.mean[None]), x)[0]
        spread = (q.stddev.square() * weights.square().sum(0)).sum(1)
        rate = q.kl_standard_normal().sum(1)
        elbo = at_mean - 0.5 * spread / model.likelihood.sigma**2 - rate
    return elbo.mean().item(), rate.mean().item()


def used_directions(model: Model, largest: float) -> int:
    """Modes that are alive: directions of the decoder whose squared singular value is above 1e-3 of `largest`."""
    weights = model.decoder.output.weight.detach()  # type: ignore[union-attr]
    return int((torch.linalg.svdvals(weights).square() > 1e-3 * largest).sum())
