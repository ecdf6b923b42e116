"""The spread of codes: covariance, Gaussian total correlation, Wasserstein distances, all of codes (N, D)."""

from __future__ import annotations

import math

import numpy as np

from latlas.densities import FLOOR
from latlas.metrics.metric import Value
from latlas.text import counted

DIRECTIONS = 128
CONSTANT = 1e-9  # standard deviation over largest value, up to which a dimension is constant


def log_det_cov(codes: np.ndarray) -> Value | None:
    """log det of the covariance of codes (N, D), the sum of the logarithms of its eigenvalues.

    Directions with a standard deviation under 1e-6 of the largest are left out, and the warning says how many. The
    standard error is that of the mean of (x - m)^T S^-1 (x - m), which is the influence of an item on log det S. None
    for no more items than dimensions, and for codes that do not vary.
    """
    count, size = codes.shape
    if count <= size:
        return None
    left, scale, _ = np.linalg.svd(codes - codes.mean(0), full_matrices=False)
    if scale[0] <= CONSTANT * np.abs(codes).max():
        return None
    varies = scale > FLOOR * scale[0]
    value = float(np.log(scale[varies] ** 2 / (count - 1)).sum())
    stderr = _error(count * (left[:, varies] ** 2).sum(1))
    constant = int((~varies).sum())
    warning = (
        f"{constant} of {size} directions do not vary and are left out: the determinant is 0"
        if constant
        else ""
    )
    return Value(value, stderr, count, warning=warning)


def total_correlation(codes: np.ndarray) -> Value | None:
    """-1/2 log det R in nats, with R the correlation matrix of codes (N, D): KL(q(z), prod_d q(z_d)) if they are
    Gaussian, else the part of it that correlations show; never below 0 (Watanabe 1960).

    Dimensions that do not vary are left out. `beside` holds the mean of independent Gaussian
    codes, which is above 0 for a finite number of items: 1/2 sum_i (psi((N - 1) / 2) - psi((N - i) / 2)). None for
    one dimension and for no more items than dimensions.
    """
    count, size = codes.shape
    if size < 2 or count <= size:
        return None
    centred = codes - codes.mean(0)
    deviation = codes.std(0, ddof=1)
    varies = deviation > CONSTANT * np.abs(codes).max(0)
    if varies.sum() < 2:
        return Value(0.0, None, count)
    scaled = centred[:, varies] / deviation[varies]
    left, scale, _ = np.linalg.svd(scaled, full_matrices=False)
    dependent = scale <= FLOOR * scale[0]  # their logarithm would be minus infinity
    logs = 2 * np.log(np.where(dependent, FLOOR * scale[0], scale)) - math.log(count - 1)
    influence = 0.5 * ((scaled**2).sum(1) - count * (left[:, ~dependent] ** 2).sum(1))
    warning = f"{dependent.sum()} of {counted(size, 'dimension')} follow from the others: the true value is infinite"
    return Value(
        max(0.0, -0.5 * float(logs.sum())), _error(influence), count,
        beside={"independent codes": _by_chance(count, int(varies.sum()))},
        warning=warning if dependent.any() else "",
    )  # fmt: skip


def _by_chance(count: int, size: int) -> float:
    """The mean of -1/2 log det R over samples of `count` independent Gaussian codes: det R is a product of
    independent beta variables (Muirhead 1982, theorem 5.1.3).
    """
    from scipy.special import digamma

    i = np.arange(2, size + 1)
    return float(0.5 * (digamma((count - 1) / 2) - digamma((count - i) / 2)).sum())


def effective_dimensions(codes: np.ndarray) -> Value | None:
    """(tr S)^2 / tr S^2, S the covariance of codes (N, D): D where they spread equally in all directions, 1 on a line;
    the participation ratio of the eigenvalues. None for codes that do not vary.
    """
    centred = codes - codes.mean(0)
    covariance = centred.T @ centred / len(codes)
    trace, square = float(np.trace(covariance)), float((covariance**2).sum())
    if trace <= (CONSTANT * np.abs(codes).max()) ** 2:
        return None
    value = trace**2 / square
    lengths, along = (centred**2).sum(1), ((centred @ covariance) * centred).sum(1)
    return Value(value, _error(2 * value * (lengths / trace - along / square)), len(codes))


def wasserstein(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """W_1 = int |F_x - F_y| of each dimension, (D,), from as many draws x and y (N, D) of two distributions: the mean
    difference of draws of the same rank.
    """
    return np.abs(np.sort(x, 0) - np.sort(y, 0)).mean(0)


def sliced_wasserstein(x: np.ndarray, y: np.ndarray, seed: int = 0) -> np.ndarray:
    """W_1 of draws x and y (N, D) along each of 128 directions, drawn uniformly from the sphere: (128,) (Rabin et al.
    2011). Their mean is the sliced distance.
    """
    directions = np.random.default_rng(seed).standard_normal((x.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    return wasserstein(x @ directions, y @ directions)


def _error(influence: np.ndarray) -> float:
    return float(influence.std(ddof=1) / math.sqrt(len(influence)))
