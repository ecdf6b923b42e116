"""The ELBO of a split, its two terms and the squared error, at beta 1, by draws with a fixed seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from latlas.augmentation import seeded
from latlas.data.batches import Batches
from latlas.errors import LatlasError
from latlas.metrics.context import EVALUATION_SEED, Context
from latlas.metrics.metric import Metric, Value, mean_of, standard_error
from latlas.models import Model, evaluating
from latlas.objectives import Objective
from latlas.posteriors import PosteriorValue, selected
from latlas.text import counted

DRAWS = 100  # of z for one item at once: bounds memory
# What one item has to cost the mean until it is named, in standard errors of the mean of all others and in nats; of how
# few others a standard error says nothing.
ALONE, LEAST, FEW = 3.0, 0.01, 20

Progress = Callable[[int, int], None]


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


@dataclass(frozen=True)
class Terms:
    """The terms of each item of a split, in double precision on the CPU: `distortion` and `rate` (N,) in nats, the rate
    None for a point posterior; `squared` (N,), the mean squared error over values at the posterior's mean.
    """

    distortion: Tensor
    rate: Tensor | None
    squared: Tensor

    @property
    def elbo(self) -> Tensor | None:
        """-(distortion + rate): (N,)."""
        return None if self.rate is None else -(self.distortion + self.rate)

    @property
    def summary(self) -> Evaluation:
        """The means over the items.

        Raises LatlasError where they are not finite.
        """
        elbo = self.elbo
        bad = int((~torch.isfinite(self.distortion if elbo is None else elbo)).sum())
        if bad:
            raise LatlasError(
                f"the numbers of {bad:,} of {counted(len(self.distortion), 'image')} are not finite: the model has"
                " diverged;"
                " train with a lower learning rate (optimizer.lr) or a bound on the gradient (optimizer.clip = 100)"
            )
        return Evaluation(
            images=len(self.distortion),
            elbo=None if elbo is None else elbo.mean().item(),
            elbo_stderr=None if elbo is None else standard_error(elbo.numpy()),
            distortion=self.distortion.mean().item(),
            rate=None if self.rate is None else self.rate.mean().item(),
            mse=self.squared.mean().item(),
        )


@dataclass(frozen=True)
class Outlier:
    """The one item that costs the mean ELBO of a split `cost` nats: the mean of all others is `elbo`, with the standard
    error `stderr`. `row` is its row in the source, `name` its name where items have one.
    """

    row: int
    name: str | None
    cost: float
    elbo: float
    stderr: float


def outlier(context: Context) -> Outlier | None:
    """The item of the context's test items whose ELBO is the lowest, where it alone costs the mean more than ALONE
    standard errors and LEAST nats; None elsewhere, and of so FEW items.
    """
    elbo, items = context.once(terms_of_items).elbo, context.test
    if elbo is None or len(elbo) <= FEW:
        return None
    values = elbo.numpy()
    at = int(values.argmin())
    others = np.delete(values, at)
    cost, stderr = float(others.mean() - values.mean()), standard_error(others)
    assert stderr is not None
    if not cost > max(LEAST, ALONE * stderr):
        return None
    name = None if items.names is None else str(items.names[at])
    return Outlier(int(items.index[at : at + 1][0]), name, cost, float(others.mean()), stderr)


def evaluate(
    model: Model,
    data: Batches,
    samples: int = 1,
    seed: int = EVALUATION_SEED,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluates a whole split in its order, with `samples` draws of z per image; `progress` is called with (done,
    total) items.
    """
    return terms(model, data, samples, seed, progress=progress).summary


def terms(
    model: Model, data: Batches, samples: int = 1, seed: int = EVALUATION_SEED, q: PosteriorValue | None = None,
    progress: Progress | None = None,
) -> Terms:  # fmt: skip
    """The terms of every item of a split, in its order, with `samples` draws of z per item.

    `q` are the items' posteriors where they are already encoded.
    """
    generator = torch.Generator(data.device).manual_seed(seed)
    distortion, rate, squared = [], [], []
    with torch.no_grad(), evaluating(model):
        for rows in model.chunks(len(data), min(samples, DRAWS)):
            at = np.arange(rows.start, rows.stop)
            x, target = data(at), data.targets_of(at)
            of_x = model.infer(x) if q is None else selected(q, rows)
            clean = x if target is None else target
            expected = _expected(model, clean, of_x, samples, generator)
            distortion.append(expected[0])
            rate += list(expected[1:])
            squared.append(squared_error(reconstructed(model, of_x), clean))
            if progress is not None:
                progress(rows.stop, len(data))
    return Terms(torch.cat(distortion), torch.cat(rate) if rate else None, torch.cat(squared))


def _expected(model: Model, x: Tensor, q: PosteriorValue, samples: int, generator: torch.Generator) -> Tensor:
    """Distortion, and rate where there is one, as means over the draws, at most 100 at a time: x (B, *shape) -> (2, B)
    or (1, B), in double precision on the CPU.
    """
    total = torch.tensor(0.0, dtype=torch.float64)
    for start in range(0, samples, DRAWS):
        draws = min(DRAWS, samples - start)
        p = model(x, samples=draws, generator=generator, q=q)
        values = [p.distortion] if p.rate is None else [p.distortion, p.rate]
        total = total + draws * torch.stack(values).cpu().double()
    return total / samples


def mean_loss(model: Model, data: Batches, objective: Objective, seed: int = EVALUATION_SEED) -> float:
    """An objective that is a mean over items, at its full weight, over a whole split.

    Raises LatlasError where it is not finite.
    """
    generator, total = torch.Generator(data.device).manual_seed(seed), 0.0
    with torch.no_grad(), evaluating(model):
        for rows in model.chunks(len(data), objective.samples):
            at = np.arange(rows.start, rows.stop)
            p = model(data(at), target=data.targets_of(at), generator=generator, **objective.needs)
            with seeded(generator):
                total += objective.loss(p, objective.beta).item() * (rows.stop - rows.start)
    if not math.isfinite(total):
        raise LatlasError("the loss of validation items is not finite: train with a lower learning rate")
    return total / len(data)


def reconstructed(model: Model, q: PosteriorValue) -> Tensor:
    """The mean of p(x | z) at the posterior's mean, (B, *shape)."""
    return model.likelihood.mean(model.raw(q.mean[None])[0])


def squared_error(one: Tensor, other: Tensor) -> Tensor:
    """Squared error per item, a mean over its values: (B,), in double precision."""
    return (one - other).flatten(1).square().mean(1).cpu().double()


def terms_of_items(context: Context) -> Terms:
    """The terms of a context's test items."""
    done = lambda n, total: context.observer.progress("evaluating", n, total)  # noqa: E731
    model, data, effort = context.model, context.batches(context.test), context.effort
    return terms(model, data, effort.samples, effort.seed, context.encoded, done)


def _of_items(name: str) -> Callable[[Context], Value | None]:
    def compute(context: Context) -> Value | None:
        values = getattr(context.once(terms_of_items), name)
        return None if values is None else mean_of(values.numpy(), draws=context.effort.samples)

    return compute


ELBO: dict[str, Metric] = {
    "elbo": Metric(
        "ELBO", "bound", "nats per {item}", "higher",
        "Evidence lower bound, −(distortion + rate): never above the logarithm of the probability that the model gives "
        "to unseen {item}s. Higher is better.",
        _of_items("elbo"), 2,
    ),
    "distortion": Metric(
        "distortion", "bound", "nats per {item}", "lower",
        "How badly the decoder predicts each {item} from its code: minus the expected log p(x|z). Lower is better.",
        _of_items("distortion"), 2,
    ),
    "rate": Metric(
        "rate", "bound", "nats per {item}", "",
        "How much a code tells about its {item}: the divergence KL(q(z|x), p(z)) of the code from the prior. Near 0, "
        "the codes tell nothing.",
        _of_items("rate"), 2,
    ),
}  # fmt: skip
