"""What looks like the data: a small classifier of the real images, and how far its features are from theirs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from latlas.data import Dataset
from latlas.metrics.classifier import (
    MOST_TRAINING,
    SEED,
    Batch,
    Net,
    Tensors,
    fit,
    has_classes,
    kept,
    network,
    run,
    small,
    some,
    weights_of,
)
from latlas.metrics.metric import Value, share_of

MOST_REAL = 5000
IGNORED = -100  # the label that cross_entropy leaves out
KNOWN = 0.5  # share of the real test images that a judge has to classify rightly
SURE = 0.1  # the least that the threshold for that probability may be
UNSURE, FAR = 0.04, 0.01  # shares of the real test images beyond the two thresholds

_critics: dict[str, Critic | None] = {}


@dataclass(frozen=True)
class Critic:
    """A judge of images: `net`, features (N, F) and logits; the classes' `means` (C, F) of the features and the
    inverse square root of their shared covariance, `whiten` (F, F); and the two thresholds.
    """

    net: Net
    means: Tensor
    whiten: Tensor
    confidence: float = 0.0
    distance: float = math.inf

    def scores(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Of images (N, C, H, W) on [0, 1]: the largest probability of a class, and the Mahalanobis distance
        from the features to the nearest class mean; both (N,).
        """
        features, logits = run(self.net, small(x))
        distance = torch.cdist(features @ self.whiten, self.means @ self.whiten).amin(1)
        return logits.softmax(1)[:, :-1].amax(1).numpy(), distance.numpy()

    def plausible(self, x: Tensor) -> np.ndarray:
        """Whether images (N, C, H, W) on [0, 1] are classified as surely, and lie as near, as real ones: (N,)."""
        confidence, distance = self.scores(x)
        return (confidence >= self.confidence) & (distance <= self.distance)


def critic_of(dataset: Dataset) -> Critic | None:
    """The judge of a data set's images, trained on at most 20,000 of the training split, once on a machine.

    It learns the classes, and one more for images that are none (`_implausible`), without which a classifier is
    sure of anything (Hendrycks et al. 2019). An image is plausible where its largest probability of a true class
    is above the 4 % quantile of the real test images, and the Mahalanobis distance from its features to the nearest
    class mean, with the classes' shared covariance, below their 99 % quantile (Lee et al. 2018): about 95 % of the
    real test images are.
    None for data that are not images or have no two classes, and where the classifier knows fewer than half of
    the real test images, or is not sure of them itself: there its opinion means nothing.
    """
    if dataset.kind != "image" or not has_classes(dataset.train) or not len(dataset.test):
        return None
    key = dataset.fingerprint
    if not key or key not in _critics:
        _critics[key] = _critic(kept(dataset, "judge", lambda: _fit(dataset)), dataset)
    return _critics[key]


def share_of_plausible(dataset: Dataset, images: Tensor) -> Value | None:
    """Share of images (N, C, H, W) on [0, 1] that the data set's judge takes for real; None where it cannot judge."""
    judge = critic_of(dataset)
    return None if judge is None else share_of(judge.plausible(images), what="images")


def _fit(dataset: Dataset) -> Tensors:
    """All of a judge as tensors; nothing where its opinion would mean nothing."""
    rng = np.random.default_rng(SEED)
    x, labels = some(dataset, dataset.train, MOST_TRAINING, rng)
    values, codes = np.unique(labels, return_inverse=True)
    y = torch.from_numpy(codes)
    net = fit(x, y, len(values) + 1, _batches(x, len(values)))
    features, _ = run(net, x)
    means = torch.stack([features[y == c].mean(0) for c in range(len(values))])
    within = features - means[y]
    variance, axes = torch.linalg.eigh(within.T @ within / len(x))
    floor = 1e-3 * variance.mean().clamp_min(1e-12)  # a feature that never varies must not decide alone
    judge = Critic(net, means, axes / (variance + floor).sqrt())
    real, labels = some(dataset, dataset.test, MOST_REAL, rng)
    known = values[run(net, real)[1][:, :-1].argmax(1).numpy()] == labels
    confidence, distance = judge.scores(real)
    least = float(np.quantile(confidence, UNSURE))
    if known.mean() < KNOWN or least < SURE:  # nearly anything is above that
        return {}
    thresholds = torch.tensor([least, float(np.quantile(distance, 1 - FAR))], dtype=torch.float64)
    about = {"means": judge.means, "whiten": judge.whiten, "thresholds": thresholds}
    return weights_of(net) | about


def _critic(tensors: Tensors, dataset: Dataset) -> Critic | None:
    """The judge of these tensors."""
    if not tensors:
        return None
    confidence, distance = tensors["thresholds"].tolist()
    return Critic(network(tensors, dataset), tensors["means"], tensors["whiten"], confidence, distance)


def _batches(x: Tensor, classes: int) -> Batch:
    """Batches of real images, some of them blurred, and as many that are none, labelled `classes`."""
    look, generator = (x.mean(0), x.std(0)), torch.Generator().manual_seed(SEED)

    def batch(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        real = _blurred(x, generator)
        wrong, told = _implausible(x, y, look, classes, generator)
        return torch.cat([real, wrong]), torch.cat([y, told])

    return batch


def _blurred(x: Tensor, generator: torch.Generator) -> Tensor:
    """The images (N, C, H, W), a random half of them blurred: how sharp an image is, `sharpness` says."""
    chosen = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
    return torch.where(chosen, _coarser(x, 2), x)


def _coarser(x: Tensor, factor: int) -> Tensor:
    """Averaged down by the factor and enlarged again, linearly: the same shape."""
    size = [max(1, side // factor) for side in x.shape[2:]]
    small = nn.functional.interpolate(x, size, mode="area")
    return nn.functional.interpolate(small, x.shape[2:], mode="bilinear")


def _implausible(
    x: Tensor, y: Tensor, look: tuple[Tensor, Tensor], classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What no image of the data looks like, made of real ones (N, C, H, W), and its label (N,).

    Two classes averaged, two classes cut and joined, noise about the mean image or about grey, coarse or fine,
    and one even grey. Two of one class may well make one more of it: those are labelled to be ignored.
    """
    n, channels, height, width = x.shape

    def chance(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    other, kind = torch.randperm(n, generator=generator), torch.randint(8, (n,), generator=generator)
    cut = 0.3 + 0.4 * chance(n, 1, 1, 1)
    left, top = torch.arange(width) < width * cut, torch.arange(height)[:, None] < height * cut
    first = torch.where(chance(n, 1, 1, 1) < 0.5, left, top)
    noise = torch.randn(x.shape, generator=generator)
    coarse = 3 * _coarser(noise, 4)
    noise = torch.where(chance(n, 1, 1, 1) < 0.5, noise, coarse)
    about = torch.where(chance(n, 1, 1, 1) < 0.7, look[0], chance(n, 1, 1, 1))
    blend, joined = cut * x + (1 - cut) * x[other], torch.where(first, x, x[other])
    noisy = (about + look[1].clamp_min(0.1) * noise).clamp(0, 1)
    grey = (1.4 * chance(n, channels, 1, 1) - 0.4).clamp_min(0).expand_as(x)
    wrong = torch.stack([blend, blend, blend, joined, joined, noisy, noisy, grey])[kind, torch.arange(n)]
    same = (kind < 5) & (y == y[other])
    return wrong, torch.where(same, IGNORED, classes)
