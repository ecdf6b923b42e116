"""Structural similarity of images."""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW, WIDTH = 11, 1.5
FLAT, EVEN = 0.01**2, 0.03**2  # (K1 L)^2 and (K2 L)^2 with L = 1, the range of the data


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Structural similarity of images (N, C, H, W) on [0, 1], at most 1 and 1 for equal ones: (N,), on the CPU.

    The mean over channels and all places of the window of (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 +
    s_b^2 + C2)), means, variances and covariance weighted by a Gaussian window of 11 x 11 pixels with a standard
    deviation of 1.5, C1 = 0.01^2, C2 = 0.03^2 (Wang et al. 2004). For a side below 11 pixels, the largest odd window
    that fits.
    """
    # In double precision: a variance is the small difference of two squares.
    a, b = (images.cpu().double().flatten(0, 1)[:, None] for images in (one, other))
    mean_a, mean_b, aa, bb, ab = (_windowed(v) for v in (a, b, a * a, b * b, a * b))
    variances = aa - mean_a.square() + bb - mean_b.square()
    covariance = ab - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + FLAT) / (mean_a.square() + mean_b.square() + FLAT)
    structure = (2 * covariance + EVEN) / (variances + EVEN)
    return (luminance * structure).flatten(1).mean(1).unflatten(0, one.shape[:2]).mean(1)


def _windowed(x: Tensor) -> Tensor:
    """Gaussian means over every window that lies inside: (N, 1, H, W) -> (N, 1, H', W')."""
    rows, columns = (_windows(side).to(x) for side in x.shape[2:])
    return rows @ x @ columns.T


def _windows(side: int) -> Tensor:
    """The weights of every window along a side, a row each: (windows, side). A matrix, because a convolution in
    double precision is ten times slower.
    """
    size = min(WINDOW, side - (side + 1) % 2)
    place = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-0.5 * (place / WIDTH).square())
    rows = torch.zeros(side - size + 1, side, dtype=torch.float64)
    for at in range(len(rows)):
        rows[at, at : at + size] = weights / weights.sum()
    return rows
