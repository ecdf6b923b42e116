"""Codes to draw: grids over a latent plane, and projections onto one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from latlas.errors import InputError


@dataclass(frozen=True)
class Grid:
    """Codes (R, C, D) on a grid: first dimension `across` (C,), second `up` (R,) from the top row down."""

    codes: np.ndarray
    across: np.ndarray
    up: np.ndarray


def manifold_codes(
    size: tuple[int, int] = (20, 20), span: tuple[float, float] | None = None, codes: np.ndarray | None = None
) -> Grid:
    """A grid over two latent dimensions, or over one where the `codes` (N, 1) given have one.

    Evenly spaced over `span`, both ends included; without one at the quantiles (i + 1/2) / n of the
    standard normal prior, or of `codes` (N, 2) where those are given.

    Raises InputError for a size below 1 or a span that is empty.
    """
    if min(size) < 1:
        raise InputError(f"manifold size {size}: expected at least one row and one column")
    if span is not None and not span[0] < span[1]:
        raise InputError(f"manifold span {span}: expected the lower end first, as (-4, 4)")
    across = _axis(size[1], span, None if codes is None else codes[:, 0])
    if codes is not None and codes.shape[1] == 1:
        return Grid(across[None, :, None], across, np.zeros(0))
    up = _axis(size[0], span, None if codes is None else codes[:, 1])[::-1]
    return Grid(np.stack(np.meshgrid(across, up), axis=-1), across, up)


def _axis(count: int, span: tuple[float, float] | None, codes: np.ndarray | None) -> np.ndarray:
    if span is not None:
        return np.linspace(*span, count) if count > 1 else np.array([sum(span) / 2])
    shares = (np.arange(count) + 0.5) / count
    return norm.ppf(shares) if codes is None else np.quantile(codes, shares)


def project(codes: np.ndarray, of: np.ndarray | None = None) -> tuple[np.ndarray, str]:
    """Codes (N, D) on their two first principal components (N, 2), or on those `of` others (M, D), and a
    sentence that says so.
    """
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore", divide="ignore"):
        pca = PCA(2, svd_solver="full").fit(codes if of is None else of)
    share = np.nan_to_num(pca.explained_variance_ratio_.sum())
    return pca.transform(codes), f"PCA of {codes.shape[1]} dimensions ({share:.0%} of the variance)."
