"""Divergences between distributions, in nats; MMD^2 has no unit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Kernel = Callable[[Tensor, int], Tensor]
IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def kl_standard_normal(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL(N(mean, std^2), N(0, 1)) per dimension: (mean^2 + std^2 - 1) / 2 - log std; same shape as the
    arguments.

    Never below zero but for rounding.
    """
    return 0.5 * (mean.square() + torch.exp(2 * log_std) - 1) - log_std


def authors(squared: Tensor, dim: int) -> Tensor:
    """k = exp(-|x - y|^2 / dim^2), the kernel of the MMD-VAE authors' code, from squared distances."""
    return torch.exp(-squared / dim**2)


def rbf(squared: Tensor, dim: int) -> Tensor:
    """k = exp(-|x - y|^2 / (2 dim)), from squared distances."""
    return torch.exp(-squared / (2 * dim))


def imq(squared: Tensor, dim: int) -> Tensor:
    """k = sum over s of s C / (s C + |x - y|^2), C = 2 dim, for seven scales s (Tolstikhin et al. 2018)."""
    base = 2.0 * dim
    return torch.stack([s * base / (s * base + squared) for s in IMQ_SCALES]).sum(0)


KERNELS: dict[str, Kernel] = {"authors": authors, "rbf": rbf, "imq": imq}


def mmd(x: Tensor, y: Tensor, kernel: Kernel = rbf, estimator: str = "unbiased") -> Tensor:
    """MMD^2(p, q) = E k(x, x') + E k(y, y') - 2 E k(x, y), from draws x (N, D) of p and y (M, D) of q: a scalar.

    `unbiased` leaves pairs of an item with itself out, and can be below zero; `biased` keeps them, and has
    the mean (1 - E k)(1/N + 1/M) for equal distributions, with k(x, x) = 1 (Gretton et al. 2012).

    Raises ValueError for fewer than two draws of either.
    """
    if len(x) < 2 or len(y) < 2:
        raise ValueError(f"MMD needs two draws of each law at least, got {len(x)} and {len(y)}")
    dim = x.shape[1]
    within = [_mean_within(kernel(_squared_distances(a, a), dim), estimator) for a in (x, y)]
    return within[0] + within[1] - 2 * kernel(_squared_distances(x, y), dim).mean()


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    # By differences: |x|^2 + |y|^2 - 2 x.y cancels badly in float32.
    return (x[:, None] - y[None]).square().sum(-1)


def _mean_within(gram: Tensor, estimator: str) -> Tensor:
    if estimator == "biased":
        return gram.mean()
    n = len(gram)
    return (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))
