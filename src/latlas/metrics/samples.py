"""Metrics of decoded codes: plausibility, fidelity and diversity against the data, sharpness, smoothness of morphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latlas.data import Dataset
from latlas.data.stored import Items
from latlas.metrics.classifier import PART, Classifier, as_tensor, classifier_of, small
from latlas.metrics.context import Context
from latlas.metrics.metric import Metric, Value, mean_of, share_of, standard_error

MOST_REAL = 1000
MOST_COMPARED = 2000  # images of either kind: the number of distances grows with the square
NEIGHBOURS = 5
KERNEL_BLOCK = 500
PAIRS, STEPS = 100, 11


def gradient_energy(x: Tensor) -> float:
    """Mean squared difference of neighbouring pixels, down and across: x (N, C, H, W); 0 for images of one pixel."""
    differences = [x.diff(dim=dim) for dim in (2, 3)]
    total = sum(d.double().square().sum().item() for d in differences)
    return total / max(1, sum(d.numel() for d in differences))


def sharpness(images: Tensor, real: Tensor) -> float | None:
    """Gradient energy of images over that of real ones, both (N, C, H, W): 1 is as sharp as the data.

    Blur lowers it and noise raises it. None where every real image has one value.
    """
    energy = gradient_energy(real)
    return gradient_energy(images) / energy if energy > 0 else None


def morph_smoothness(path: Tensor) -> float | None:
    """How evenly decoded items change along straight lines of codes: path (P, T, *item), T points on P lines.

    For each line: the largest of the T - 1 root mean square changes over their mean, from 1 (even) to T - 1 (one jump).
    The mean over lines, without those on which nothing changes; None if nothing changes on any.
    """
    steps = path.diff(dim=1).flatten(2).double().square().mean(2).sqrt()
    largest, mean = steps.amax(1), steps.mean(1)
    moved = mean > 0
    return float((largest[moved] / mean[moved]).mean()) if moved.any() else None


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

    Its mean over blocks is zero for equal distributions, whatever the number of images (Binkowski et al. 2018).
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

    It is above zero for equal distributions, and more so for fewer images.
    """
    first, second = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    values, axes = np.linalg.eigh(first)
    root = axes * np.sqrt(values.clip(0)) @ axes.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    shift = real.mean(0) - fake.mean(0)
    return float(max(0.0, shift @ shift + np.trace(first) + np.trace(second) - 2 * cross))


def plausible_share(dataset: Dataset, images: Tensor) -> Value | None:
    """Share of images (N, C, H, W) on [0, 1] that the plausibility classifier accepts; None if it cannot judge."""
    classifier = classifier_of(dataset)
    hits = None if classifier is None else classifier.plausible(images)
    return None if hits is None else share_of(hits, what="images")


def _plausible_share(context: Context) -> Value | None:
    return plausible_share(context.dataset, context.images)


@dataclass(frozen=True)
class _Features:
    """Features (N, F) by a `classifier` of real test images, of as many real training images, and of samples."""

    classifier: Classifier
    real: np.ndarray
    training: np.ndarray
    samples: np.ndarray

    def value(self, of_samples: float, of_training: float, stderr: float | None) -> Value:
        """A number of the samples, beside that of training images in their place."""
        by = f"classifier {self.classifier.name}, right on {self.classifier.accuracy:.0%} of real test images"
        beside = {"training images": of_training}
        return Value(of_samples, stderr, len(self.samples), beside=beside, what="samples", by=by)


def features_of(context: Context) -> _Features | None:
    """Features of at most 2,000 images of each kind; None without a classifier or with too few images."""
    dataset, classifier = context.dataset, classifier_of(context.dataset)
    count = min(MOST_COMPARED, len(context.rows), len(context.training_rows))
    if classifier is None or count <= NEIGHBOURS:
        return None

    def real(x: Items, rows: np.ndarray) -> np.ndarray:
        parts = np.array_split(rows[:count], max(1, count // PART))
        return np.concatenate(
            [classifier.features(as_tensor(dataset, np.asarray(x[part]))) for part in parts]
        )

    samples = [small(context.decode(part).clamp(0, 1)) for part in context.sampled_codes(count).split(PART)]
    return _Features(
        classifier,
        real(context.test.x, context.rows),
        real(dataset.train.x, context.training_rows),
        classifier.features(torch.cat(samples)),
    )


def neighbourhoods(context: Context) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None:
    """`precision_recall` of the samples, and of training images in their place."""
    features = context.once(features_of)
    if features is None:
        return None
    real, samples, training = features.real, features.samples, features.training
    return precision_recall(real, samples), precision_recall(real, training)


def _neighbourhood(name: str) -> Callable[[Context], Value | None]:
    """The mean of one of `precision_recall`, beside that of training images in place of samples."""

    def compute(context: Context) -> Value | None:
        features, shares = context.once(features_of), context.once(neighbourhoods)
        if features is None or shares is None:
            return None
        of_samples, of_training = (mean_of(each[name]) for each in shares)
        return features.value(of_samples.value, of_training.value, of_samples.stderr)

    return compute


def _kernel_distance(context: Context) -> Value | None:
    features = context.once(features_of)
    if features is None:
        return None
    blocks = kernel_distances(features.real, features.samples)
    training = kernel_distances(features.real, features.training)
    return features.value(float(blocks.mean()), float(training.mean()), standard_error(blocks))


def _frechet_distance(context: Context) -> Value | None:
    features = context.once(features_of)
    if features is None:
        return None
    samples, training = (
        frechet_distance(features.real, other) for other in (features.samples, features.training)
    )
    return features.value(samples, training, None)


def _sharpness(context: Context) -> Value | None:
    if context.dataset.kind != "image":
        return None
    real = as_tensor(context.dataset, np.asarray(context.test.x[context.rows[:MOST_REAL]]))
    value = sharpness(context.images, real)
    return None if value is None else Value(value, None, len(context.images), what="codes")


def _morph_smoothness(context: Context) -> Value | None:
    codes = context.posterior[0]
    if len(codes) < 2:
        return None
    rng = np.random.default_rng(context.seed)
    pairs = np.stack([rng.choice(len(codes), 2, replace=False) for _ in range(PAIRS)])
    first, last = codes[pairs[:, 0], None], codes[pairs[:, 1], None]
    path = first + (last - first) * torch.linspace(0, 1, STEPS, dtype=codes.dtype)[:, None]
    value = morph_smoothness(context.decode(path.flatten(0, 1)).unflatten(0, path.shape[:2]))
    return None if value is None else Value(value, None, PAIRS, what="pairs")


SAMPLES: dict[str, Metric] = {
    "plausible_share": Metric(
        "plausible share", "samples", "", "higher",
        "Share of the latent space that decodes to images the plausibility classifier accepts; real images: 0.95.",
        _plausible_share,
    ),
    "precision": Metric(
        "precision", "samples", "", "higher",
        "Share of samples that lie among real test images, in the features of a small classifier.",
        _neighbourhood("precision"),
    ),
    "recall": Metric(
        "recall", "samples", "", "higher",
        "Share of real test images that lie among samples, in the same features: what the model can produce at all.",
        _neighbourhood("recall"),
    ),
    "density": Metric(
        "density", "samples", "", "higher",
        "How many real images' neighbourhoods a sample lies in, against what real ones do: outliers count little.",
        _neighbourhood("density"),
    ),
    "coverage": Metric(
        "coverage", "samples", "", "higher",
        "Share of real test images with a sample in their neighbourhood.",
        _neighbourhood("coverage"),
    ),
    "kernel_distance": Metric(
        "kernel distance", "samples", "", "lower",
        "Distance between samples and real test images in those features: about 0 for equal distributions.",
        _kernel_distance,
    ),
    "frechet_distance": Metric(
        "Fréchet distance", "samples", "", "lower",
        "Distance of Gaussians of samples and of real test images in those features; above 0 for equal distributions.",
        _frechet_distance, 2,
    ),
    "sharpness": Metric(
        "sharpness", "samples", "", "",
        "Gradient energy of samples against real test images: 1 is as sharp, less is blurred, more is noisy.",
        _sharpness,
    ),
    "morph_smoothness": Metric(
        "largest morph step", "samples", "", "",
        "Largest over mean change of the {item}, in 10 equal steps between two test codes: 1 is even, 10 one jump.",
        _morph_smoothness,
    ),
}  # fmt: skip
