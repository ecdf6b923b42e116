"""Generated images against real ones in the features of a small classifier: fidelity, diversity, distances.

The classifier is trained on the data set itself and known by a hash: numbers compare between models of one data set,
judged by one classifier, and with nothing published.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latlas.data import Dataset
from latlas.metrics.classifier import (
    MOST_TRAINING,
    PART,
    SEED,
    Net,
    Tensors,
    fit,
    has_classes,
    identity,
    kept,
    network,
    run,
    small,
    some,
    weights_of,
)

MOST_JUDGED = 2000  # images of either kind: distances between all of them grow with the square
NEIGHBOURS = 5
KERNEL_BLOCK = 500

_classifiers: dict[str, Classifier | None] = {}


@dataclass(frozen=True)
class Classifier:
    """A classifier whose hidden layer are the features: `net`; mean and standard deviation (F,) of the features of the
    training images, by which they are standardised; the `accuracy` on real test images; and a hash, its `name`.
    """

    net: Net
    mean: Tensor
    std: Tensor
    accuracy: float
    name: str

    def features(self, x: Tensor) -> np.ndarray:
        """Standardised features (N, F) of images (N, C, H, W) on [0, 1]."""
        parts = [(run(self.net, small(part))[0] - self.mean) / self.std for part in x.split(PART)]
        return torch.cat(parts).numpy()


def classifier_of(dataset: Dataset) -> Classifier | None:
    """The classifier of a data set's images, trained on at most 20,000 of the training split, once on a machine.

    None for data that are not images, or have no two classes.
    """
    if dataset.kind != "image" or not has_classes(dataset.train) or not len(dataset.test):
        return None
    key = dataset.fingerprint
    if not key or key not in _classifiers:
        tensors = kept(dataset, "features", lambda: _fit(dataset))
        _classifiers[key] = Classifier(
            network(tensors, dataset),
            tensors["mean"],
            tensors["std"],
            tensors["accuracy"].item(),
            identity(tensors),
        )
    return _classifiers[key]


def _fit(dataset: Dataset) -> Tensors:
    rng = np.random.default_rng(SEED)
    x, labels = some(dataset, dataset.train, MOST_TRAINING, rng)
    values, codes = np.unique(labels, return_inverse=True)
    net = fit(x, torch.from_numpy(codes), len(values))
    features, _ = run(net, x)
    real, told = some(dataset, dataset.test, MOST_JUDGED, rng)
    right = values[run(net, real)[1].argmax(1).numpy()] == told
    # A feature that never varies says nothing, and must not be blown up.
    std = features.std(0).clamp_min(1e-6 * features.std(0).max().clamp_min(1e-12))
    about = {
        "mean": features.mean(0),
        "std": std,
        "accuracy": torch.tensor(right.mean(), dtype=torch.float64),
    }
    return weights_of(net) | about


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = NEIGHBOURS) -> dict[str, np.ndarray]:
    """Fidelity and diversity of fake (M, F) against real (N, F), one value per image, whose means are the scores.

    A ball about an image reaches to its k-th nearest neighbour of its own kind. `precision` (M,): the fake image lies
    in a ball of a real one; `recall` (N,): the real image lies in a ball of a fake one (Kynkäänniemi et al. 2019).
    `density` (M,): in how many real balls it lies, over k; `coverage` (N,): the real image's ball holds a fake one
    (Naeem et al. 2020).

    Raises ValueError for k neighbours or fewer of either kind.
    """
    from scipy.spatial.distance import cdist

    if min(len(real), len(fake)) <= k:
        raise ValueError(f"{k} neighbours need more than {k} images of either kind")
    of_real = np.partition(cdist(real, real), k, axis=1)[:, k]
    of_fake = np.partition(cdist(fake, fake), k, axis=1)[:, k]
    between = cdist(fake, real)
    in_real = between <= of_real
    return {
        "precision": in_real.any(1).astype(np.float64),
        "recall": (between <= of_fake[:, None]).any(0).astype(np.float64),
        "density": in_real.sum(1) / k,
        "coverage": (between.min(0) <= of_real).astype(np.float64),
    }


def kernel_distances(real: np.ndarray, fake: np.ndarray, block: int = KERNEL_BLOCK) -> np.ndarray:
    """MMD^2 with the kernel (x.y / F + 1)^3, unbiased, of consecutive blocks of real and fake (N, F): (B,).

    Its mean over blocks is zero for equal laws, whatever the number of images (Binkowski et al. 2018).
    """
    count = max(1, min(len(real), len(fake)) // block)
    pairs = zip(np.array_split(real, count), np.array_split(fake, count), strict=True)
    return np.array([_polynomial_mmd(x, y) for x, y in pairs])


def _polynomial_mmd(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: np.ndarray) -> float:
        gram = kernel(a, a)
        return (gram.sum() - np.trace(gram)) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of the Gaussians with the means and covariances of real and fake
    (N, F): the squared Wasserstein-2 distance between them (Dowson and Landau 1982; Heusel et al. 2017).

    It is above zero for equal laws, the more so the fewer images there are.
    """
    first, second = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    values, axes = np.linalg.eigh(first)
    root = axes * np.sqrt(values.clip(0)) @ axes.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    shift = real.mean(0) - fake.mean(0)
    return float(max(0.0, shift @ shift + np.trace(first) + np.trace(second) - 2 * cross))
