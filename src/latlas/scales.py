"""Logarithms of scales from unbounded numbers, such that no scale overflows or vanishes; and logarithms of sums."""

from __future__ import annotations

import torch
from torch import Tensor

# Kinds of devices that a step may ask for a number: there it costs less than it saves, and others would have to wait.
ASKED = ("cpu",)
# Log-variances of codes: standard deviations from 6e-6, where float32 begins to lose a draw beside its mean, to 7.4,
# where a dimension costs 27 nats and tells nothing. With a bound of 10 one such item cost its batch a thousand nats.
LEAST, MOST = -24.0, 4.0


def log_scale(raw: Tensor, least: float = LEAST, most: float = MOST) -> Tensor:
    """The logarithm of the scale that an unbounded `raw` stands for, same shape: raw itself from `least` to `most`;
    above, most + log(1 + raw - most); below, least - 1 + 1 / (1 + least - raw).

    So the scale grows along a straight line where exp(raw) would overflow, in float32 at 88, and keeps away from 0: one
    item far out brings a large gradient, not an infinite one. The function rises everywhere and its slope has no jumps,
    so that gradients always point the right way. The result may be `raw` itself: it is not to be changed in place.
    """
    if _within(raw, least, most):
        return raw  # what follows gives the same numbers and slopes, by twenty operations forward and back
    inside = raw.clamp(least, most)
    above, below = torch.relu(raw - inside), torch.relu(inside - raw)
    return inside + torch.log1p(above) + (1 / (1 + below) - 1)


def _within(raw: Tensor, least: float, most: float) -> bool:
    """Whether no number is beyond the bounds; False where that must not be asked, as a recorded graph would keep the
    answer.
    """
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]  # public all the same
    if raw.device.type not in ASKED or not raw.numel() or recorded:
        return False
    try:
        low, high = raw.detach().aminmax()
        return low.item() >= least and high.item() <= most
    except RuntimeError:  # torch.func.vmap has no numbers to ask for
        return False


def log_deviation(raw: Tensor) -> Tensor:
    """The logarithm of the standard deviation that an unbounded `raw` stands for: half of the log-variance of 2 raw."""
    return 0.5 * log_scale(2 * raw)


def log_sum_exp(x: Tensor) -> Tensor:
    """log sum_i exp(x_i) over the last dimension: x (..., N) -> (...), as torch.logsumexp.

    Terms below e^-80 of the largest, which no precision shows, are taken for that: where they underflow, a processor
    takes 30 times as long for each.
    """
    largest, most = x.detach().amax(-1, keepdim=True), torch.finfo(x.dtype).max
    shift = largest.clamp(-most, most)
    found = (x - shift).clamp(min=-80.0).exp().sum(-1).log() + shift[..., 0]
    return torch.where(largest[..., 0].isinf(), largest[..., 0], found)
