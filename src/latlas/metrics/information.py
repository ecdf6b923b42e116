"""Densities of codes under the posteriors, the aggregate posterior and the prior, and the rate of each item."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latlas.metrics.context import Context
from latlas.models import evaluating
from latlas.posteriors import PosteriorValue, log_pairs, selected
from latlas.priors import PriorValue
from latlas.scales import log_sum_exp

MOST_ITEMS = 2000
MOST_WORK = 2**27  # pairs of items times values per density: bounds the time
BLOCK_VALUES = 2**22  # pairs times values at a time: bounds memory
ROWS = 500  # codes per evaluation of the prior's density


@dataclass(frozen=True)
class Aggregate:
    """Log densities in nats of one draw z_i from each of M posteriors, all (M,).

    `own` is log q(z_i | x_i); `mixture` is log 1/M sum_j q(z_i | x_j), the aggregate posterior's; `others` is the
    same over the other M - 1 items.
    """

    own: np.ndarray
    mixture: np.ndarray
    others: np.ndarray


def aggregate(q: PosteriorValue, z: Tensor) -> Aggregate | None:
    """The densities of draws z (N, D) from q, at most the first 2,000, in bounded memory and time.

    None for a posterior without a density and for fewer than two items.
    """
    if not q.has_density:
        return None
    count = min(len(z), MOST_ITEMS, math.isqrt(MOST_WORK // q.density_work))
    if count < 2:
        return None
    q, z = selected(q, slice(0, count)), z[:count]
    size = max(1, BLOCK_VALUES // (count * q.density_work))
    parts = [_block(q, z, start, min(start + size, count)) for start in range(0, count, size)]
    own, mixture, others = torch.cat(parts, 1).cpu().numpy()
    return Aggregate(own, mixture - math.log(count), others - math.log(count - 1))


def _block(q: PosteriorValue, z: Tensor, start: int, stop: int) -> Tensor:
    """Log q(z_i | x_i), log sum_j q(z_i | x_j) and that without j = i, for i from start to stop: (3, K)."""
    rows = torch.arange(start, stop, device=z.device)
    with torch.no_grad():
        pairs = log_pairs(q, z[start:stop], len(z)).double()
    own = pairs[rows - start, rows]
    mixture = log_sum_exp(pairs)
    pairs[rows - start, rows] = -math.inf
    return torch.stack([own, mixture, log_sum_exp(pairs)])


def log_prior(prior: PriorValue, z: Tensor) -> np.ndarray:
    """log p(z) in nats of codes z (N, D): (N,), in bounded memory."""
    with torch.no_grad():
        return torch.cat([prior.log_prob(part[None])[0] for part in z.split(ROWS)]).cpu().double().numpy()


def rates(context: Context) -> np.ndarray | None:
    """KL(q(z | x), p(z)) of a context's `rows` in nats: (N, D) per dimension by a closed form where there is one, else
    (N,) by one draw per item. None for a posterior without a density and for codes without a prior.
    """
    if not context.prior:
        return None
    model, q = context.model, context.q
    with torch.no_grad(), evaluating(model):
        prior = model.prior_value()
        exact = prior.kl(q)
        if exact is not None:
            return exact.cpu().double().numpy()
        parts = [
            model.at(context.draws[None, rows], context.items[rows], selected(q, rows), prior).sampled_rate
            for rows in model.chunks(len(context.rows))
        ]
    sampled = [part for part in parts if part is not None]
    return torch.cat(sampled).cpu().double().numpy() if sampled else None


def densities_of_draws(context: Context) -> Aggregate | None:
    """`aggregate` of the context's draws; None for posteriors without a density."""
    return aggregate(context.q, context.draws)
