"""log p(x) by importance sampling with the encoder's draws, in bounded memory, and checks of its reliability."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latlas.data.batches import Batches
from latlas.errors import InputError, LatlasError
from latlas.metrics.context import EVALUATION_SEED
from latlas.metrics.elbo import Progress, mean_loss
from latlas.metrics.metric import standard_error
from latlas.models import CHUNK_VALUES, Model, evaluating
from latlas.objectives import Objective
from latlas.posteriors import PosteriorValue, selected
from latlas.priors import PriorValue
from latlas.text import counted

BLOCK = 1000  # draws of z whose weights are held at once: a multiple of every k in BOUNDS
LARGEST = 2**20  # values decoded at once on a CPU: more is no faster
TOGETHER = 64  # items encoded at once, or more where few draws are taken
BOUNDS = (5, 50)  # draws of the importance-weighted bounds that come with log p(x)
# ENOUGH is compared with a tolerance: ten equal weights have an effective sample size of 9.99999.
ENOUGH, MOST_LOW, MOST_BIAS = 10, 0.3, 0.5

Draw = Callable[[int], Tensor]


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
    v / 2K to first order (Nowozin 2018); where it is not, the bias is larger. None for one draw.
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
        """Why log p(x) is not to be trusted; "" where no check fails.

        A check fails where more than 30 % of the images have an effective sample size below 10, which is a bias of 0.05
        nats if the weights have a variance and of any size if not, or where the estimated bias is above 0.5 nats. A
        posterior that misses a part of p(z | x) entirely passes both.
        """
        if self.low <= MOST_LOW and (self.bias or 0) <= MOST_BIAS:
            return ""
        least = "" if self.bias is None or self.bias <= 0 else f" by about {self.bias:.2g} nats or more"
        return (
            f"too low{least}: {self.low:.0%} of the items have an effective sample size below {ENOUGH} of "
            f"{counted(self.samples, 'draw')}; raise evaluation.draws"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"warning": self.warning}


def log_likelihood(
    model: Model, data: Batches, samples: int, seed: int = EVALUATION_SEED, q: PosteriorValue | None = None,
    progress: Progress | None = None,
) -> Importance:  # fmt: skip
    """Importance-sampled log p(x) of a whole split, with `samples` draws of z from q(z | x) per image.

    Memory does not grow with `samples`: weights are summed as they come, in double precision. `q` are the posteriors
    of the items where they are already encoded; `progress` is called with (done, total) items.

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
        together, at_once = batch_sizes(model, samples)
        for start in range(0, len(data), together):
            rows = slice(start, min(start + together, len(data)))
            at = np.arange(rows.start, rows.stop)
            x, target = data(at), data.targets_of(at)
            of_x = model.infer(x) if q is None else selected(q, rows)
            draw = weights_of(model, x if target is None else target, of_x, prior, generator)
            parts.append(summed_weights(draw, samples, max(1, at_once // len(x)), BOUNDS))
            if progress is not None:
                progress(rows.stop, len(data))
    return _summary(torch.cat(parts, 1), samples)


def _summary(items: Tensor, samples: int) -> Importance:
    """The means over items of what `summed_weights` returns."""
    log_px, elbo, effective, half, *bounds = items
    bad = int((~torch.isfinite(log_px)).sum())
    if bad:
        raise LatlasError(
            f"log p(x) of {bad:,} of {counted(len(log_px), 'image')} is not finite: the model has diverged; train"
            " with a lower "
            "learning rate (optimizer.lr)"
        )
    return Importance(
        images=len(log_px),
        samples=samples,
        log_px=log_px.mean().item(),
        stderr=_error(log_px),
        elbo=elbo.mean().item(),
        gap=(log_px - elbo).mean().item(),
        gap_stderr=_error(log_px - elbo),
        effective=effective.quantile(0.5).item() / samples,
        low=(effective < ENOUGH * (1 - 1e-6)).double().mean().item(),
        bias=(log_px - half).mean().item() if samples > 1 else None,
        bounds=tuple(
            Bound(k, each.mean().item(), _error(each))
            for k, each in zip(BOUNDS, bounds, strict=True)
            if k <= samples
        ),
    )


def trained_bound(model: Model, data: Batches, objective: Objective) -> float | None:
    """The mean importance-weighted bound of a split, with as many draws as it was trained for, or minus the loss; None
    where the objective's epochs are scored without them.

    Raises LatlasError where numbers are not finite.
    """
    if objective.scored_by_loss:
        return -mean_loss(model, data, objective)
    return log_likelihood(model, data, objective.samples).log_px if objective.scored_by_bound else None


def _error(values: Tensor) -> float | None:
    return standard_error(values.numpy())


def batch_sizes(model: Model, samples: int) -> tuple[int, int]:
    """The number of items to encode at once, and of codes to decode at once."""
    values = LARGEST if model.device.type == "cpu" else CHUNK_VALUES
    codes = max(1, values // max(math.prod(model.item.shape), model.latent))
    return max(min(TOGETHER, codes), min(1000, codes // samples)), codes


def weights_of(
    model: Model, x: Tensor, q: PosteriorValue, prior: PriorValue, generator: torch.Generator
) -> Draw:
    """A function that draws n more z for each of x (B, *shape) and returns log w = log p(x | z) + log p(z) -
    log q(z | x): (n, B), in double precision on the CPU.
    """

    def draw(n: int) -> Tensor:
        log_w = model(x, samples=n, generator=generator, q=q, prior=prior).log_weights()
        assert log_w is not None  # `log_likelihood` refuses a point posterior
        return log_w.cpu().double()

    return draw


def summed_weights(draw: Draw, samples: int, at_once: int, bounds: Sequence[int]) -> Tensor:
    """Per item, of K = `samples` draws, `at_once` at a time: L_K = log 1/K sum w; 1/K sum log w; the effective sample
    size (sum w)^2 / sum w^2; the mean of L_(K/2) over the even and the odd draws, NaN for one draw; and for each k of
    `bounds` the mean of L_k over groups of k draws, NaN where k > K: (4 + len(bounds), B).
    """
    nothing = torch.tensor(-math.inf)
    halves, squares = nothing, nothing
    logs, grouped = torch.tensor(0.0), torch.tensor(0.0)
    for start in range(0, samples, BLOCK):
        size = min(BLOCK, samples - start)
        log_w = torch.cat([draw(min(at_once, size - done)) for done in range(0, size, at_once)])
        halves = torch.logaddexp(halves, torch.stack([log_w[i::2].logsumexp(0) for i in (0, 1)]))
        squares = torch.logaddexp(squares, (2 * log_w).logsumexp(0))
        logs = logs + log_w.sum(0)
        grouped = grouped + torch.stack([_grouped(log_w, k).sum(0) for k in bounds])
    total = halves.logsumexp(0)
    counts = torch.tensor([[samples - samples // 2], [samples // 2]], dtype=log_w.dtype)
    half = (halves - counts.log()).mean(0)
    whole = torch.stack([total - math.log(samples), logs / samples, torch.exp(2 * total - squares), half])
    return torch.cat([whole, grouped / torch.tensor([[samples // k] for k in bounds])])


def _grouped(log_w: Tensor, k: int) -> Tensor:
    """L_k of each k consecutive draws, without the remainder: (n, B) -> (n // k, B)."""
    whole = log_w[: len(log_w) // k * k]
    return whole.unflatten(0, (-1, k)).logsumexp(1) - math.log(k) if len(whole) else whole
