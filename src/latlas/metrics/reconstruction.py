"""Numbers on reconstruction: how near an item comes back, beside PCA with as many components."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from latlas.metrics.context import Context
from latlas.metrics.metric import Metric, Value, mean_of
from latlas.metrics.quality import Errors


def _beside_pca(context: Context, values: Callable[[Errors], np.ndarray | None]) -> Value | None:
    """The mean of what `values` takes of the errors of each item, beside PCA's."""
    own = values(context.errors)
    if own is None:
        return None
    theirs = None if context.pca_errors is None else values(context.pca_errors)
    return mean_of(own, beside={} if theirs is None else {"PCA": float(theirs.mean())})


def _mse(context: Context) -> Value | None:
    return _beside_pca(context, lambda errors: errors.squared)


def _psnr(context: Context) -> Value | None:
    return _beside_pca(context, lambda errors: errors.psnr) if context.dataset.kind == "image" else None


def _ssim(context: Context) -> Value | None:
    return _beside_pca(context, lambda errors: errors.ssim)


def _explained_variance(context: Context) -> Value | None:
    """1 - mean squared error / variance, the variance of the same rows about the mean of each column."""
    if context.dataset.kind != "table":
        return None
    centred = context.items.double() - context.items.double().mean(0)
    spread = centred.square().mean(1).cpu().numpy()
    if spread.mean() == 0:
        return None

    def influence(errors: Errors) -> np.ndarray:
        """Of each row on the ratio, about its value: their mean is the ratio, their spread that of a ratio."""
        ratio = errors.squared.mean() / spread.mean()
        return 1 - ratio - (errors.squared - ratio * spread) / spread.mean()

    return _beside_pca(context, influence)


RECONSTRUCTION: dict[str, Metric] = {
    "reconstruction_mse": Metric(
        "mean squared error", "reconstruction", "per value", "lower",
        "Between each {item} and what is decoded from its mean code.",
        _mse, 5,
    ),
    "psnr": Metric(
        "PSNR", "reconstruction", "dB", "higher",
        "The same error on a scale of decibels, as image compression counts it: 10 dB are a tenth of the error.",
        _psnr, 2,
    ),
    "ssim": Metric(
        "SSIM", "reconstruction", "", "higher",
        "How much the structure of each {item} is kept: local contrast and shape, 1 for an equal one.",
        _ssim,
    ),
    "explained_variance": Metric(
        "explained variance", "reconstruction", "", "higher",
        "Share of the rows' variance that comes back: 1 is all of it, 0 what the mean row would do.",
        _explained_variance,
    ),
}  # fmt: skip
