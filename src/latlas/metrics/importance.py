"""Importance weights of draws from a posterior, summed as they come: memory does not grow with their number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from latlas.models import CHUNK_VALUES, Model
from latlas.priors import PriorValue

BLOCK = 1000  # draws of z whose weights are kept at once: a multiple of every k that bounds are asked for
LARGEST = 2**20  # values decoded at once on a CPU: more takes memory and is no faster
TOGETHER = 64  # items encoded at once, or more where few draws are taken

Draw = Callable[[int], Tensor]


def portions(model: Model, samples: int) -> tuple[int, int]:
    """How many items to encode at once, and how many codes to decode at once."""
    values = LARGEST if model.device.type == "cpu" else CHUNK_VALUES
    codes = max(1, values // max(math.prod(model.item.shape), model.latent))
    return max(min(TOGETHER, codes), min(1000, codes // samples)), codes


def drawing(model: Model, prior: PriorValue, x: Tensor, generator: torch.Generator) -> Draw:
    """What gives log w = log p(x | z) + log p(z) - log q(z | x) of n more draws of z for each of x (B, *shape):
    (n, B), in double precision on the CPU. The encoder runs once, whatever is drawn.
    """
    q = model.infer(x)

    def draw(n: int) -> Tensor:
        noise = torch.randn((n, len(x), model.latent), generator=generator, device=x.device, dtype=x.dtype)
        z = q.rsample(noise)
        log_qz = q.log_prob(z)
        assert log_qz is not None  # a point posterior is refused before
        return (model.likelihood.log_prob(model.raw(z), x) + prior.log_prob(z) - log_qz).cpu().double()

    return draw


def weighed(draw: Draw, samples: int, at_once: int, bounds: Sequence[int]) -> Tensor:
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
    """L_k of each k consecutive draws, what is left over aside: (n, B) -> (n // k, B)."""
    whole = log_w[: len(log_w) // k * k]
    return whole.unflatten(0, (-1, k)).logsumexp(1) - math.log(k) if len(whole) else whole
