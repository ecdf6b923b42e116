"""Grids of codes that a latent plane or line is decoded at."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from latlas.errors import InputError

# Snapshots need grids during training: this imports neither matplotlib nor scipy, which take a second.


@dataclass(frozen=True)
class Grid:
    """Codes (R, C, D) on a grid: the first dimension is `across` (C,), the second `up` (R,) from the top row down."""

    codes: np.ndarray
    across: np.ndarray
    up: np.ndarray


def manifold_codes(
    size: tuple[int, int] = (20, 20),
    span: tuple[float, float] | None = None,
    codes: np.ndarray | None = None,
    latent: int = 2,
) -> Grid:
    """A grid of codes with `size` (rows, columns) over two latent dimensions; over one, a single row without `up`.

    Codes are evenly spaced over `span`, both ends included. Without a span they are the quantiles (i + 1/2) / n of the
    standard normal prior, or of `codes` (N, latent) if given.

    Raises InputError for a size below 1 or an empty span.
    """
    if min(size) < 1:
        raise InputError("expected at least one row and one column", field="grid", value=size)
    if span is not None and not span[0] < span[1]:
        raise InputError("expected the lower end first, as (-4, 4)", field="span", value=span)
    across = _axis(size[1], span, None if codes is None else codes[:, 0])
    if latent == 1:
        return Grid(across[None, :, None], across, np.zeros(0))
    up = _axis(size[0], span, None if codes is None else codes[:, 1])[::-1]
    return Grid(np.stack(np.meshgrid(across, up), axis=-1), across, up)


def _axis(count: int, span: tuple[float, float] | None, codes: np.ndarray | None) -> np.ndarray:
    if span is not None:
        return np.linspace(*span, count) if count > 1 else np.array([sum(span) / 2])
    shares = (np.arange(count) + 0.5) / count
    if codes is not None:
        return np.quantile(codes, shares)
    return np.array([NormalDist().inv_cdf(share) for share in shares])
