"""Divergences between distributions, in nats."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_standard_normal(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL(N(mean, std^2), N(0, 1)) per dimension: (mean^2 + std^2 - 1) / 2 - log std; same shape as the
    arguments.

    Never below zero but for rounding.
    """
    return 0.5 * (mean.square() + torch.exp(2 * log_std) - 1) - log_std
