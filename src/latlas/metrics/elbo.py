"""Numbers of a trained model on a split: the true ELBO, by sampling with a fixed seed, whatever the objective
was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latlas.corruption import corrupt
from latlas.data.batches import Batches
from latlas.errors import InputError, LatlasError
from latlas.metrics.importance import drawing, portions, weighed
from latlas.models import Model, evaluating
from latlas.objectives import Objective
from latlas.settings import CorruptionConfig

EVALUATION_SEED = 20_000
DRAWS = 100  # of z for one item at once: bounds memory
BOUNDS = (5, 50)  # draws of the importance-weighted bounds that come with log p(x)
# What is enough is compared with a tolerance: ten equal weights sum to 9.99999 effective draws.
ENOUGH, MOST_LOW, MOST_BIAS = 10, 0.3, 0.5


@dataclass(frozen=True)
class Evaluation:
    """Means over the images of a split, in nats per image (tables: per row, in standardised units).

    `elbo` = -(distortion + rate) at beta 1; None, as is `rate`, for a point posterior. `elbo_stderr` is the
    standard error over images. `mse` is at the posterior's mean, per value on the model's scale.
    """

    images: int
    elbo: float | None
    elbo_stderr: float | None
    distortion: float
    rate: float | None
    mse: float

    def to_dict(self) -> dict[str, float | None]:
        return asdict(self)


def evaluate(
    model: Model, data: Batches, samples: int = 1, seed: int = EVALUATION_SEED,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:  # fmt: skip
    """Evaluates a whole split in its order, with `samples` draws of z per image; `progress` is told (done,
    total).
    """
    generator = torch.Generator(data.device).manual_seed(seed)
    distortion, rate, squared = [], [], []
    with torch.no_grad(), evaluating(model):
        for rows in model.chunks(len(data), min(samples, DRAWS)):
            x = data(np.arange(rows.start, rows.stop))
            terms = _terms(model, x, samples, generator)
            distortion.append(terms[0])
            if len(terms) > 1:
                rate.append(terms[1])
            squared.append(squared_error(restored(model, x), x))
            if progress is not None:
                progress(rows.stop, len(data))
    total_distortion = torch.cat(distortion)
    elbo = -(total_distortion + torch.cat(rate)) if rate else None
    bad = int((~torch.isfinite(total_distortion if elbo is None else elbo)).sum())
    if bad:
        raise LatlasError(
            f"the numbers of {bad:,} of {len(data):,} images are not finite: the model has diverged; train with a "
            "lower learning rate (--lr) or a bound on the gradient (--set optimizer.clip=100)"
        )
    return Evaluation(
        images=len(data),
        elbo=None if elbo is None else elbo.mean().item(),
        elbo_stderr=None if elbo is None or len(elbo) < 2 else elbo.std().item() / math.sqrt(len(elbo)),
        distortion=total_distortion.mean().item(),
        rate=torch.cat(rate).mean().item() if rate else None,
        mse=torch.cat(squared).mean().item(),
    )


def _terms(model: Model, x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """Distortion, and rate where there is one, by the mean over the draws, at most 100 of them at a time: x (B, *shape)
    -> (2, B) or (1, B), in double precision on the CPU.
    """
    total = torch.tensor(0.0, dtype=torch.float64)
    for start in range(0, samples, DRAWS):
        draws = min(DRAWS, samples - start)
        p = model(x, samples=draws, generator=generator)
        known = [p.distortion] if p.rate is None else [p.distortion, p.rate]
        total = total + draws * torch.stack(known).cpu().double()
    return total / samples


def restored(model: Model, x: Tensor) -> Tensor:
    """The mean of p(x | z) at the posterior's mean: x (B, *shape) -> (B, *shape)."""
    return model.likelihood.mean(model.raw(model.infer(x).mean[None])[0])


def squared_error(one: Tensor, other: Tensor) -> Tensor:
    """Squared error per item, a mean over its values: (B,), in double precision."""
    return (one - other).flatten(1).square().mean(1).cpu().double()


@dataclass(frozen=True)
class Restoration:
    """How far corrupted items, and what a model restores from them, are from the clean ones.

    Means over the items of a split, per value on the model's scale: `corrupted_mse` of what the model is given,
    not clipped, `restored_mse` of the mean of p(x | z) at the posterior's mean of it.
    """

    images: int
    corrupted_mse: float
    restored_mse: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def restoration(
    model: Model, data: Batches, corruption: CorruptionConfig, seed: int = EVALUATION_SEED,
    progress: Callable[[int, int], None] | None = None,
) -> Restoration:  # fmt: skip
    """Corrupts a whole split, restores it and measures both against the clean items; `progress` as in `evaluate`.

    The corruption is decided by the seed and the data alone, so that any two models are given the same.
    """
    generator = torch.Generator(data.device).manual_seed(seed)
    before, after = [], []
    with torch.no_grad(), evaluating(model):
        for rows in model.chunks(len(data)):
            x = data(np.arange(rows.start, rows.stop))
            y = corrupt(x, corruption, generator)
            before.append(squared_error(y, x))
            after.append(squared_error(restored(model, y), x))
            if progress is not None:
                progress(rows.stop, len(data))
    errors = torch.cat(before), torch.cat(after)
    bad = int((~torch.isfinite(errors[1])).sum())
    if bad:
        raise LatlasError(
            f"what is restored of {bad:,} of {len(data):,} items is not finite: the model has diverged, or the "
            "corruption is far beyond its data; use a smaller strength"
        )
    return Restoration(len(data), errors[0].mean().item(), errors[1].mean().item())


def restore(
    model: Model, x: np.ndarray, corruption: CorruptionConfig, seed: int = EVALUATION_SEED
) -> tuple[np.ndarray, np.ndarray]:
    """A few items as stored, corrupted and restored: two arrays as `Model.reconstruct` gives, the first not clipped."""
    with torch.no_grad(), evaluating(model):
        clean = model.to_tensor(x)
        corrupted = corrupt(clean, corruption, torch.Generator(clean.device).manual_seed(seed))
        return model.to_numpy(corrupted), model.to_numpy(restored(model, corrupted))


@dataclass(frozen=True)
class Bound:
    """The importance-weighted bound L_k of `draws` = k: its mean over items, and its standard error over them."""

    draws: int
    value: float
    stderr: float | None


@dataclass(frozen=True)
class Importance:
    """log p(x) by importance sampling: means over the images of a split, in nats per image.

    `log_px` is L_K = log 1/K sum_k w_k with w_k = p(x | z_k) p(z_k) / q(z_k | x), whose mean is a lower bound on log
    p(x) that never falls as K = `samples` grows, and tends to it (Burda et al. 2016); `stderr` is over images, None
    for one. `elbo` is the mean of the same log w_k, and `gap` = log_px - elbo the ELBO's looseness, KL(q(z | x),
    p(z | x)), from below. `bounds` holds L_5 and L_50, each the mean over disjoint groups of the same draws.

    Whether K was enough: `effective` is the median over images of the effective sample size (sum w)^2 / sum w^2, as
    a share of K, and `low` the share of images where it is below 10 draws. `bias` estimates log p(x) - log_px by L_K
    minus the mean of L_(K/2) over both halves of the draws: where the variance v of w / E w is finite both are
    v / 2K to first order (Nowozin 2018), and more is missing where it is not. None for one draw.
    """

    images: int
    samples: int
    log_px: float
    stderr: float | None
    elbo: float
    gap: float
    gap_stderr: float | None
    effective: float
    low: float
    bias: float | None
    bounds: tuple[Bound, ...]

    @property
    def warning(self) -> str:
        """Why log p(x) is not to be trusted; "" where nothing speaks against it.

        It is where more than 30 % of the images have fewer than 10 effective draws, which is a bias of 0.05 nats if
        the weights have a variance and of any size if not, or where the estimated bias is above 0.5 nats. A
        posterior that misses a part of p(z | x) altogether shows in neither.
        """
        if self.low <= MOST_LOW and (self.bias or 0) <= MOST_BIAS:
            return ""
        least = "" if self.bias is None or self.bias <= 0 else f" by about {self.bias:.2g} nats or more"
        return (
            f"too low{least}: {self.low:.0%} of the items have fewer than {ENOUGH} effective draws of "
            f"{self.samples:,}; take more draws (--importance)"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"warning": self.warning}


def log_likelihood(
    model: Model, data: Batches, samples: int, seed: int = EVALUATION_SEED,
    progress: Callable[[int, int], None] | None = None,
) -> Importance:  # fmt: skip
    """Importance-sampled log p(x) of a whole split, with `samples` draws of z from q(z | x) per image.

    Memory does not grow with `samples`: weights are summed as they come, in double precision. `progress` as in
    `evaluate`.

    Raises InputError for a point posterior, LatlasError where numbers are not finite.
    """
    if not model.posterior_family.has_density:
        raise InputError(
            "importance sampling: posterior.name = point has no density, so this model has no log p(x)"
        )
    generator = torch.Generator(data.device).manual_seed(seed)
    parts = []
    with torch.no_grad(), evaluating(model):
        prior = model.prior_value()
        together, at_once = portions(model, samples)
        for start in range(0, len(data), together):
            x = data(np.arange(start, min(start + together, len(data))))
            draw = drawing(model, prior, x, generator)
            parts.append(weighed(draw, samples, max(1, at_once // len(x)), BOUNDS))
            if progress is not None:
                progress(min(start + together, len(data)), len(data))
    log_px, elbo, effective, half, *bounds = torch.cat(parts, 1)
    bad = int((~torch.isfinite(log_px)).sum())
    if bad:
        raise LatlasError(
            f"log p(x) of {bad:,} of {len(data):,} images is not finite: the model has diverged; train with a lower "
            "learning rate (--lr)"
        )
    return Importance(
        images=len(data),
        samples=samples,
        log_px=log_px.mean().item(),
        stderr=_stderr(log_px),
        elbo=elbo.mean().item(),
        gap=(log_px - elbo).mean().item(),
        gap_stderr=_stderr(log_px - elbo),
        effective=effective.quantile(0.5).item() / samples,
        low=(effective < ENOUGH * (1 - 1e-6)).double().mean().item(),
        bias=(log_px - half).mean().item() if samples > 1 else None,
        bounds=tuple(
            Bound(k, each.mean().item(), _stderr(each))
            for k, each in zip(BOUNDS, bounds, strict=True)
            if k <= samples
        ),
    )


def trained_bound(model: Model, data: Batches, objective: Objective) -> float | None:
    """The mean importance-weighted bound of a split, with as many draws as it was trained for; None where the
    objective's epochs are scored without it.

    Raises LatlasError where numbers are not finite.
    """
    return log_likelihood(model, data, objective.samples).log_px if objective.scored_by_bound else None


def _stderr(values: Tensor) -> float | None:
    return values.std().item() / math.sqrt(len(values)) if len(values) > 1 else None
