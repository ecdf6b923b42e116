"""Metrics of codes: their information, their spread, and the distance of the aggregate posterior from the prior."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from latlas.divergences import mmd
from latlas.metrics import spread
from latlas.metrics.context import Context
from latlas.metrics.information import densities_of_draws, log_prior, rates
from latlas.metrics.metric import Metric, Value, mean_of
from latlas.text import counted

BLOCK = 250
ACTIVE = 0.01  # variance of a dimension's mean code above which it is active
LOOSE = 0.1  # distance of two bounds, in nats and as a share, above which a warning is given


def block_mmd(x: Tensor, y: Tensor, block: int = BLOCK) -> Tensor | None:
    """MMD^2 of draws x and y (N, D), kernel exp(-|a - b|^2 / (2 D)): the unbiased estimates of consecutive blocks,
    (B,), whose mean is an estimate in bounded memory (Zaremba et al. 2013).

    It can be below zero; for equal distributions its mean is zero. None for fewer than two draws.
    """
    if len(x) < 2:
        return None
    count = math.ceil(len(x) / block)
    pairs = zip(x.tensor_split(count), y.tensor_split(count), strict=True)
    return torch.stack([mmd(a, b, estimator="unbiased") for a, b in pairs])


def mean_code_norm(codes: np.ndarray) -> float:
    """|1/N sum of codes|, codes (N, D): 0 for codes centred on the origin."""
    return float(np.linalg.norm(codes.mean(0)))


def _active_units(context: Context) -> Value | None:
    # Without a prior the codes' scale is arbitrary, and with it what 0.01 means.
    if not context.prior or len(context.codes) < 2:
        return None
    active = context.codes.var(0) > ACTIVE
    beside = {"all dimensions": float(len(active))}
    parts = tuple(active.astype(float).tolist())
    return Value(float(active.sum()), None, len(context.codes), beside=beside, parts=parts)


def _kl_by_dimension(context: Context) -> Value | None:
    kl = context.once(rates)
    if kl is None:
        return None
    return mean_of(kl, draws=1) if kl.ndim == 1 else mean_of(kl.sum(1), parts=tuple(kl.mean(0).tolist()))


def _mutual_information(context: Context) -> Value | None:
    densities = context.once(densities_of_draws)
    if densities is None:
        return None
    each = densities.own - densities.mixture
    count, value, most = len(each), float(each.mean()), float((densities.own - densities.others).mean())
    rate = context.once(rates)
    if rate is not None:  # an upper bound too
        most = min(most, float(rate[:count].reshape(count, -1).sum(1).mean()))
    warning = (
        f"{counted(count, 'item')} cannot show more than log {count:,} = {math.log(count):.2f} nats: "
        f"the true value is between {value:.2f} and {most:.2f}"
    )
    beside = {"upper bound": max(value, most), "log of the number of items": math.log(count)}
    return mean_of(each, draws=1, beside=beside, warning=warning if _loose(value, most) else "")


def _marginal_kl(context: Context) -> Value | None:
    densities = context.once(densities_of_draws)
    if densities is None or not context.prior:
        return None
    with torch.no_grad():
        log_pz = log_prior(context.model.prior_value(), context.draws[: len(densities.own)])
    each = densities.mixture - log_pz
    value, least = float(each.mean()), max(0.0, float((densities.others - log_pz).mean()))
    warning = (
        f"too high by what {counted(len(each), 'item')} cannot show of the mutual information: "
        f"the true value is between {least:.2f} and {value:.2f}"
    )
    beside = {"lower bound": min(value, least)}
    return mean_of(each, draws=1, beside=beside, warning=warning if _loose(least, value) else "")


def _loose(low: float, high: float) -> bool:
    return high - low > LOOSE * max(1.0, low)


def _mmd_prior(context: Context) -> Value | None:
    draws = context.posterior[1]
    blocks = block_mmd(draws, context.prior_draws(len(draws))) if context.prior else None
    if blocks is None:
        return None
    stderr = float(blocks.std() / math.sqrt(len(blocks))) if len(blocks) > 1 else None
    return Value(float(blocks.mean()), stderr, len(draws), 1)


def _from_prior(
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray], context: Context, parts: bool
) -> Value | None:
    """The mean distance of draws of the codes from as many draws of the prior, beside the mean distance between two
    sets of draws of the prior; `parts` says whether the values are per dimension.
    """
    if not context.prior:
        return None
    draws = context.posterior[1].numpy()
    first, second = context.prior_draws(2 * len(draws)).numpy().reshape(2, *draws.shape)
    values, chance = distance(draws, first), float(distance(second, first).mean())
    each = tuple(values.tolist()) if parts else ()
    beside = {"two prior samples": chance}
    return Value(float(values.mean()), None, len(draws), 1, beside, parts=each)


def _wasserstein(context: Context) -> Value | None:
    return _from_prior(spread.wasserstein, context, parts=True)


def _sliced_wasserstein(context: Context) -> Value | None:
    return _from_prior(spread.sliced_wasserstein, context, parts=False)


def _of_draws(value: Value | None, **beside: float) -> Value | None:
    return None if value is None else replace(value, draws=1, beside={**value.beside, **beside})


def _total_correlation(context: Context) -> Value | None:
    return _of_draws(spread.total_correlation(context.posterior[1].numpy()))


def _log_det_cov(context: Context) -> Value | None:
    draws = context.posterior[1].numpy()
    prior = spread.log_det_cov(context.prior_draws(len(draws)).numpy()) if context.prior else None
    return _of_draws(spread.log_det_cov(draws), **({} if prior is None else {"prior": prior.value}))


def _effective_dimensions(context: Context) -> Value | None:
    return spread.effective_dimensions(context.codes)


def _mean_code_norm(context: Context) -> Value:
    return Value(mean_code_norm(context.codes), None, len(context.codes))


CODES: dict[str, Metric] = {
    "active_units": Metric(
        "active units", "codes", "dimensions", "", "Latent dimensions whose mean code differs between {item}s.",
        _active_units, 0,
    ),
    "effective_dimensions": Metric(
        "effective dimensions", "codes", "", "",
        "The number of directions over which the mean codes spread evenly: 1 if they lie on a line.",
        _effective_dimensions, 2,
    ),
    "kl_by_dimension": Metric(
        "rate, by dimension", "codes", "nats per {item}", "",
        "The most that the codes can tell about the {item}; a dimension with 0 tells nothing.",
        _kl_by_dimension, 2,
    ),
    "mutual_information": Metric(
        "mutual information", "codes", "nats per {item}", "",
        "How much a code tells about the {item} that it comes from: the useful part of the rate.",
        _mutual_information, 2,
    ),
    "marginal_kl": Metric(
        "marginal KL", "codes", "nats", "lower",
        "How far the codes of all {item}s together are from the prior: the rest of the rate.",
        _marginal_kl,
    ),
    "mmd_prior": Metric(
        "MMD² to prior", "codes", "", "lower",
        "Distance of the aggregate posterior from the prior; 0 for equal distributions, and below it by chance.",
        _mmd_prior, 4,
    ),
    "wasserstein_prior": Metric(
        "Wasserstein to prior", "codes", "", "lower",
        "How far the codes of a dimension must move, on average, to be distributed as the prior is.",
        _wasserstein,
    ),
    "sliced_wasserstein_prior": Metric(
        "sliced Wasserstein to prior", "codes", "", "lower",
        "The same along random directions, which detects dimensions that depend on each other.",
        _sliced_wasserstein,
    ),
    "total_correlation": Metric(
        "total correlation", "codes", "nats", "lower",
        "How far the dimensions depend on each other, as far as correlations tell; 0 if they do not.",
        _total_correlation,
    ),
    "log_det_cov": Metric(
        "log det of covariance", "codes", "", "",
        "Logarithm of the determinant of the codes' covariance: above the prior's, codes fill a larger volume.",
        _log_det_cov, 2,
    ),
    "mean_code_norm": Metric(
        "norm of mean code", "codes", "", "lower", "How far the mean of all mean codes lies from the origin.",
        _mean_code_norm,
    ),
}  # fmt: skip
