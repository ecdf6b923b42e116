"""Metrics of likelihood: how probable unseen items are under the model, and how tight its bound is."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from latlas.data import Split
from latlas.data.batches import Batches, Rows
from latlas.metrics.context import Context
from latlas.metrics.importance import Importance, log_likelihood
from latlas.metrics.metric import Metric, Value
from latlas.models import CHUNK_VALUES
from latlas.pca import Probabilistic, probabilistic

LEVELS = 256
BITS = 8
PCA = "probabilistic PCA"


class Dequantised(Batches):
    """8-bit items with uniform noise, (x + u) / 256 with u from U[0, 1) by the seed and the item's row alone."""

    def __init__(self, split: Split, like: Batches, seed: int) -> None:
        super().__init__(split, like.scaling, torch.device("cpu"), like.dtype)
        self.device = like.device
        self.seed = seed

    def __call__(self, rows: Rows) -> torch.Tensor:
        """The given rows, in the given order."""
        assert isinstance(rows, np.ndarray)
        stored = np.asarray(self.stored[rows])
        noise = [np.random.default_rng((self.seed, row)).random(stored.shape[1:]) for row in rows.tolist()]
        x = torch.from_numpy((stored + np.stack(noise)) / LEVELS).to(self.device, self.dtype)
        return x.movedim(-1, 1) if x.ndim > 2 else x


def importance(context: Context) -> Importance | None:
    """log p(x) of the context's `few` items by importance sampling; None for a posterior without a density."""
    if not context.model.posterior_family.has_density:
        return None
    done = lambda n, total: context.observer.progress("importance sampling", n, total)  # noqa: E731
    data, q = context.batches(context.few), context.posteriors(context.few_rows)
    return log_likelihood(context.model, data, context.effort.draws, q=q, progress=done)


def probabilistic_pca(context: Context) -> Probabilistic | None:
    """The density of PCA with as many components as the model has latent dimensions; None where it has no density."""
    return None if context.pca is None else probabilistic(context.pca, context.dataset)


def _log_px(context: Context) -> Value | None:
    estimate = context.once(importance)
    if estimate is None:
        return None
    beside = {"ELBO of these": estimate.elbo}
    if context.model.likelihood.scale == "density":
        beside |= _pca_log_px(context, context.batches(context.few))
    return Value(
        estimate.log_px, estimate.stderr, estimate.images, estimate.samples, beside, warning=estimate.warning
    )


def _pca_log_px(context: Context, data: Batches) -> dict[str, float]:
    """Mean log p(x) of probabilistic PCA on the same items, where it has a density."""
    density = context.once(probabilistic_pca)
    if density is None:
        return {}
    step = max(1, CHUNK_VALUES // math.prod(context.dataset.shape))
    parts = [
        density.log_prob(
            data(np.arange(start, min(start + step, len(data)))).flatten(1).cpu().double().numpy()
        )
        for start in range(0, len(data), step)
    ]
    return {PCA: float(np.concatenate(parts).mean())}


def _gap(context: Context) -> Value | None:
    estimate = context.once(importance)
    if estimate is None:
        return None
    return Value(estimate.gap, estimate.gap_stderr, estimate.images, estimate.samples)


def _bound(draws: int) -> Callable[[Context], Value | None]:
    def compute(context: Context) -> Value | None:
        estimate = context.once(importance)
        bound = next((b for b in estimate.bounds if b.draws == draws), None) if estimate else None
        if estimate is None or bound is None:
            return None
        return Value(bound.value, bound.stderr, estimate.images, estimate.samples)

    return compute


def _effective_sample_size(context: Context) -> Value | None:
    estimate = context.once(importance)
    if estimate is None:
        return None
    draws = estimate.effective * estimate.samples
    return Value(draws, None, estimate.images, estimate.samples)


def _bits_per_dim(context: Context) -> Value | None:
    """-log2 P(x) / d, P the probability of the stored item, for data with few values.

    Under a normalised probability log P(x) is log p(x) itself. 8-bit data under a density: with y = (x + u) / 256, u
    from U[0, 1)^d, log P(x) >= E_u log p(y) - d log 256, so bits = -log p(y) / (d log 2) + 8 (Theis et al. 2016).
    The density at x itself is never used, as a narrow sigma raises it without limit. None for a likelihood that is not
    normalised on these items.
    """
    dataset, likelihood = context.dataset, context.model.likelihood
    nats = math.prod(dataset.shape) * math.log(2)
    estimate = context.once(importance)
    # Of items with targets, it is the targets whose probability is known.
    if estimate is None or not likelihood.normalised(context.binary) or context.test.target is not None:
        return None
    data = None
    if dataset.scaling.kind == "integer" and context.test.x.dtype == np.uint8:
        data = Dequantised(context.few, context.batches(context.few), context.seed)
    if likelihood.scale == "probability":
        return _in_bits(estimate, nats, 0, {} if data is None else _pca_log_px(context, data))
    if data is None:
        return None
    done = lambda n, total: context.observer.progress("counting bits", n, total)  # noqa: E731
    dequantised = log_likelihood(context.model, data, context.effort.draws, progress=done)
    return _in_bits(dequantised, nats, BITS, _pca_log_px(context, data))


def _in_bits(estimate: Importance, nats: float, added: int, beside: dict[str, float]) -> Value:
    stderr = None if estimate.stderr is None else estimate.stderr / nats
    # The likelihood is too low, so the bits are too high.
    warning = estimate.warning and "of log p(x), which is " + estimate.warning
    bits = {name: -value / nats + BITS for name, value in beside.items()}  # of dequantised items
    return Value(
        -estimate.log_px / nats + added, stderr, estimate.images, estimate.samples, bits, warning=warning
    )


LIKELIHOOD: dict[str, Metric] = {
    "log_px": Metric(
        "log p(x)", "likelihood", "nats per {item}", "higher",
        "The logarithm of the probability of unseen {item}s, by importance sampling: a lower bound, tighter than the "
        "ELBO.",
        _log_px, 2,
    ),
    "gap": Metric(
        "gap between log p(x) and ELBO", "likelihood", "nats per {item}", "lower",
        "log p(x) minus the ELBO, from the same draws: at least this much a better posterior could gain.",
        _gap, 2,
    ),
    "iwae_5": Metric(
        "IWAE bound, K = 5", "likelihood", "nats per {item}", "higher",
        "The importance-weighted bound L₅: between the ELBO, which is L₁, and log p(x).",
        _bound(5), 2,
    ),
    "iwae_50": Metric(
        "IWAE bound, K = 50", "likelihood", "nats per {item}", "higher",
        "The importance-weighted bound L₅₀: never below L₅; where it is well above L₅, log p(x) is higher still.",
        _bound(50), 2,
    ),
    "effective_sample_size": Metric(
        "effective sample size", "likelihood", "draws", "higher",
        "The number of draws per {item} that carry the weight, the median: with fewer than 10, log p(x) is too low.",
        _effective_sample_size, 1,
    ),
    "bits_per_dim": Metric(
        "bits per dimension", "likelihood", "bits", "lower",
        "What storing one value of the {item} without loss would cost by this model; an 8-bit value has 8.",
        _bits_per_dim,
    ),
}  # fmt: skip
