"""Metrics of reconstruction, beside PCA with as many components, and of restoration from corrupted items."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from latlas.corruption import corrupt
from latlas.data.batches import Batches
from latlas.data.memory import Units
from latlas.errors import LatlasError
from latlas.metrics.context import EVALUATION_SEED, Context, finite
from latlas.metrics.elbo import (
    Progress,
    Terms,
    reconstructed,
    squared_error,
    terms,
    terms_of_items,
)
from latlas.metrics.metric import Metric, Value, mean_of
from latlas.metrics.ssim import ssim
from latlas.models import Model, evaluating
from latlas.posteriors import PosteriorValue, selected
from latlas.settings import CorruptionConfig

MOST_SSIM = 2**25  # values of all items that SSIM is computed for: bounds its time
LEAST = 1e-10  # squared errors below this count as 100 dB, as 0 has no logarithm


@dataclass(frozen=True)
class Restoration:
    """How far corrupted items, and what a model restores from them, are from the clean ones.

    Means over the items of a split, per value on the model's scale: `corrupted_mse` of the model's inputs, not clipped,
    `restored_mse` of the mean of p(x | z) at their posterior's mean.
    """

    images: int
    corrupted_mse: float
    restored_mse: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def restoration(
    model: Model, data: Batches, corruption: CorruptionConfig, seed: int = EVALUATION_SEED,
    progress: Progress | None = None,
) -> Restoration:  # fmt: skip
    """Corrupts a whole split, restores it and measures both against the clean items, its targets where it has some;
    `progress` is called with (done, total) items.

    The corruption depends on the seed and the data alone, so that all models get the same inputs.
    """
    generator = torch.Generator(data.device).manual_seed(seed)
    before, after = [], []
    with torch.no_grad(), evaluating(model):
        for rows in model.chunks(len(data)):
            at = np.arange(rows.start, rows.stop)
            x, target = data(at), data.targets_of(at)
            y = corrupt(x, corruption, generator)
            x = x if target is None else target
            before.append(squared_error(y, x))
            after.append(squared_error(reconstructed(model, model.infer(y)), x))
            if progress is not None:
                progress(rows.stop, len(data))
    errors = torch.cat(before), torch.cat(after)
    bad = int((~torch.isfinite(errors[1])).sum())
    if bad:
        raise LatlasError(
            f"{bad:,} of {len(data):,} restored items are not finite: the model has diverged, or the "
            "corruption is far too strong for the data; use a smaller strength"
        )
    return Restoration(len(data), errors[0].mean().item(), errors[1].mean().item())


def restore(
    model: Model,
    x: np.ndarray,
    corruption: CorruptionConfig,
    seed: int = EVALUATION_SEED,
    units: Units = "data",
) -> tuple[np.ndarray, np.ndarray]:
    """Stored items, corrupted and restored: two arrays like those of `Model.reconstruct`."""
    with torch.no_grad(), evaluating(model):
        clean = model.to_tensor(x)
        corrupted = corrupt(clean, corruption, torch.Generator(clean.device).manual_seed(seed))
        restored = reconstructed(model, model.infer(corrupted))
        return model.to_numpy(corrupted, units), model.to_numpy(restored, units)


def psnr(squared: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio 10 log10(1 / squared error) for a peak of 1, in dB: shaped as `squared`."""
    return -10 * np.log10(np.maximum(squared, LEAST))


def pca_terms(context: Context) -> Terms | None:
    """The terms of PCA with as many components, on the same test items; None where PCA has fewer."""
    if context.pca is None:
        return None
    data = Batches(context.test, context.dataset.scaling, context.pca.device, context.pca.dtype)
    return terms(context.pca, data)


def _beside_pca(context: Context, values: Callable[[Terms], np.ndarray | None]) -> Value | None:
    """The mean of `values(terms)` over the items, beside the same for PCA."""
    of_model = context.once(terms_of_items)
    finite(of_model.squared, "reconstructions")
    own, of_pca = values(of_model), context.once(pca_terms)
    if own is None:
        return None
    pca_values = None if of_pca is None else values(of_pca)
    return mean_of(own, beside={} if pca_values is None else {"PCA": float(pca_values.mean())})


def _mse(context: Context) -> Value | None:
    return _beside_pca(context, lambda terms: terms.squared.numpy())


def _psnr(context: Context) -> Value | None:
    if context.dataset.kind != "image":
        return None
    return _beside_pca(context, lambda terms: psnr(terms.squared.numpy()))


def _ssim(context: Context) -> Value | None:
    if context.dataset.kind != "image":
        return None
    # All images, or a random part of them where they are large or many.
    rows = np.sort(context.rows[: max(100, MOST_SSIM // math.prod(context.dataset.shape))])
    own = _similarities(context, context.model, rows, context.posteriors(rows))
    of_pca = {} if context.pca is None else {"PCA": _similarities(context, context.pca, rows).mean().item()}
    return mean_of(finite(own, "reconstructions").numpy(), beside=of_pca)


def _similarities(
    context: Context, model: Model, rows: np.ndarray, q: PosteriorValue | None = None
) -> Tensor:
    """SSIM of these test images (N,) with what a model reconstructs; `q` are their posteriors if known: (N,)."""
    x = Batches(context.test, context.dataset.scaling, model.device, model.dtype)
    each = []
    with torch.no_grad(), evaluating(model):
        for part in model.chunks(len(rows)):
            images, target = x(rows[part]), x.targets_of(rows[part])
            posterior = model.infer(images) if q is None else selected(q, part)
            each.append(ssim(reconstructed(model, posterior), images if target is None else target))
    return torch.cat(each)


def restoration_of(context: Context) -> Restoration | None:
    """The errors of the context's test items, corrupted and restored; None without a corruption and without targets."""
    if context.corruption.name == "none" and context.test.target is None:
        return None
    done = lambda n, total: context.observer.progress("restoring", n, total)  # noqa: E731
    return restoration(context.model, context.batches(context.test), context.corruption, progress=done)


def _restored(name: str) -> Callable[[Context], Value | None]:
    def compute(context: Context) -> Value | None:
        errors = context.once(restoration_of)
        return None if errors is None else Value(getattr(errors, name), None, errors.images)

    return compute


def _explained_variance(context: Context) -> Value | None:
    """1 - mean squared error / variance, the variance of the same rows about the column means."""
    if context.dataset.kind != "table":
        return None
    mean = sum(part.double().sum(0) for part in context.parts()) / len(context.test)
    each = [(part.double() - mean).square().mean(1) for part in context.parts()]
    variance = torch.cat(each).cpu().numpy()
    if variance.mean() == 0:
        return None

    def influence(terms: Terms) -> np.ndarray:
        """The ratio plus the influence of each row on it: the mean is the ratio, and the standard error its own."""
        squared = terms.squared.numpy()
        ratio = squared.mean() / variance.mean()
        return 1 - ratio - (squared - ratio * variance) / variance.mean()

    return _beside_pca(context, influence)


RECONSTRUCTION: dict[str, Metric] = {
    "mse": Metric(
        "mean squared error", "reconstruction", "per value, {scale}", "lower",
        "Between each {item} and what is decoded from its mean code. Lower is better.",
        _mse, 5,
    ),
    "psnr": Metric(
        "PSNR", "reconstruction", "dB", "higher",
        "The same error in decibels, as in image compression: 10 dB more is a tenth of the error.",
        _psnr, 2,
    ),
    "ssim": Metric(
        "SSIM", "reconstruction", "", "higher",
        "How well the structure of each {item} is kept, its local contrast and shape: 1 for a perfect reconstruction.",
        _ssim,
    ),
    "explained_variance": Metric(
        "explained variance", "reconstruction", "", "higher",
        "Share of the rows' variance that the reconstruction explains: 1 is all, 0 is no better than the mean row.",
        _explained_variance,
    ),
    "corrupted_mse": Metric(
        "corrupted", "reconstruction", "per value, {scale}", "",
        "Mean squared error of each corrupted {item}, the denoising model's input: noise added, or values masked. "
        "Noise may leave the scale: it is not clipped.",
        _restored("corrupted_mse"), 5,
    ),
    "restored_mse": Metric(
        "restored", "reconstruction", "per value, {scale}", "lower",
        "Mean squared error between the reconstruction of the corrupted {item} and the clean one. It restores if this "
        "is below the row above.",
        _restored("restored_mse"), 5,
    ),
}  # fmt: skip
