"""Schedules of beta and of the learning rate: pure functions of the step, so that a resumed run continues exactly.

Steps count from 0, and a schedule gives a factor in [0, 1]. A schedule of beta takes the step and the steps of warm-up;
a schedule of the learning rate takes the step, the steps of the whole training, the steps of an epoch, and the step
from which a run is trained further: cosine and one-cycle begin anew there.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def constant(step: int, warmup: int) -> float:
    """1 at every step."""
    return 1.0


def linear(step: int, warmup: int) -> float:
    """A straight rise over `warmup` steps, then 1."""
    return min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0


def sigmoid(step: int, warmup: int) -> float:
    """The logistic curve from 0.7 % to 99.3 % over `warmup` steps, then 1."""
    if step + 1 >= warmup:
        return 1.0
    return 1 / (1 + math.exp(-10 * ((step + 1) / warmup - 0.5)))


def cyclical(step: int, warmup: int) -> float:
    """Cycles of `warmup` steps: a straight rise in the first half, 1 in the second (Fu et al. 2019)."""
    return min(1.0, 2 * ((step % warmup) + 1) / warmup) if warmup > 0 else 1.0


BETA_SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "constant": constant,
    "linear": linear,
    "sigmoid": sigmoid,
    "cyclical": cyclical,
}


def lr_constant(step: int, steps: int, per_epoch: int, start: int = 0) -> float:
    """1 at every step."""
    return 1.0


def lr_cosine(step: int, steps: int, per_epoch: int, start: int = 0) -> float:
    """A straight warm-up over the first 200 steps (5 % of a short run), then half a cosine down to 0."""
    step, steps = step - start, steps - start
    warmup = max(1, min(200, steps // 20))
    if step < warmup:
        return (step + 1) / warmup
    return _half_cosine((step - warmup) / max(1, steps - warmup))


def lr_one_cycle(step: int, steps: int, per_epoch: int, start: int = 0) -> float:
    """Half a cosine from 1/25 up to 1 over 30 % of the steps, then half a cosine down to 0 (Smith and Topin 2018)."""
    step, steps = step - start, steps - start
    top = max(1, round(0.3 * steps))
    if step < top:
        return 1 / 25 + (1 - 1 / 25) * (1 - _half_cosine((step + 1) / top))
    return _half_cosine((step - top) / max(1, steps - top))


def lr_stages(step: int, steps: int, per_epoch: int, start: int = 0) -> float:
    """10^(-i/7) in stage i = 0, ..., 7, which lasts 3^i epochs: 3,280 epochs in all (Burda et al. 2016).

    Stages do not depend on the length of training: a shorter run ends in an earlier stage (4 stages are 40 epochs, 5
    are 121), a run that is trained further goes on in its stage, and after 3,280 epochs the factor stays at 0.1.
    """
    epoch, stage = step // per_epoch, 0
    while stage < 7 and epoch >= (3 ** (stage + 1) - 1) // 2:
        stage += 1
    return 10 ** (-stage / 7)


def _half_cosine(share: float) -> float:
    return (1 + math.cos(math.pi * min(1.0, share))) / 2


LR_SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": lr_constant,
    "cosine": lr_cosine,
    "one-cycle": lr_one_cycle,
    "stages": lr_stages,
}
