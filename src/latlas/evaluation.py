"""Numbers of a trained model on a split: the true ELBO, by sampling with a fixed seed, whatever the objective
was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch

from latlas.data.batches import Batches
from latlas.errors import LatlasError
from latlas.models import Model, evaluating

EVALUATION_SEED = 20_000


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
        for rows in model.chunks(len(data), samples):
            x = data(np.arange(rows.start, rows.stop))
            p = model(x, samples=samples, generator=generator)
            distortion.append(p.distortion.cpu().double())
            if p.rate is not None:
                rate.append(p.rate.cpu().double())
            mean = model.likelihood.mean(model.raw(model.infer(x).mean[None])[0])
            squared.append((mean - x).flatten(1).square().mean(1).cpu().double())
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
