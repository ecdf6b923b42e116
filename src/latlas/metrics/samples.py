"""Numbers on what a decoder makes of codes: plausible, true to the data and as varied, sharp, evenly changing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from latlas.metrics import decoded, features
from latlas.metrics.classifier import PART, as_tensor, small
from latlas.metrics.context import Context
from latlas.metrics.metric import Metric, Value, mean_of
from latlas.metrics.plausibility import share_of_plausible

MOST_REAL = 1000
PAIRS, STEPS = 100, 11


def _plausible_share(context: Context) -> Value | None:
    return share_of_plausible(context.dataset, context.images)


@dataclass(frozen=True)
class _Judged:
    """Features (N, F) of real test images, of as many real training images, and of samples; and what gave them."""

    by: features.Classifier
    real: np.ndarray
    training: np.ndarray
    samples: np.ndarray

    def reading(self, stderr: float | None, value: float, training: float) -> Value:
        by = f"classifier {self.by.name}, right on {self.by.accuracy:.0%} of real test images"
        return Value(
            value, stderr, len(self.samples), beside={"training images": training}, what="samples", by=by
        )


def _judged(context: Context) -> _Judged | None:
    """What the distances and shares below are of: at most 2,000 images of each kind; None where none can judge."""
    found = context.made.get("judged")
    if found is None and features.classifier_of(context.dataset) is not None:
        found = context.made["judged"] = _judge(context)
    return found if found is not None and len(found.real) > features.NEIGHBOURS else None


def _judge(context: Context) -> _Judged:
    by = features.classifier_of(context.dataset)
    assert by is not None
    dataset, most = context.dataset, features.MOST_JUDGED
    count = min(most, len(context.rows), len(context.training_rows))

    def real(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        parts = np.array_split(rows[:count], max(1, count // PART))
        return np.concatenate([by.features(as_tensor(dataset, np.asarray(x[part]))) for part in parts])

    drawn = [small(context.decode(part).clamp(0, 1)) for part in context.sampled_codes(count).split(PART)]
    return _Judged(
        by,
        real(context.test.x, context.rows),
        real(dataset.train.x, context.training_rows),
        by.features(torch.cat(drawn)),
    )


def _share_in_features(name: str) -> Callable[[Context], Value | None]:
    """The mean of one of `features.precision_recall`, beside that of training images in place of samples."""

    def compute(context: Context) -> Value | None:
        judged = _judged(context)
        if judged is None:
            return None
        if "shares" not in context.made:
            kinds = (judged.samples, judged.training)
            context.made["shares"] = [features.precision_recall(judged.real, kind) for kind in kinds]
        ours, training = (shares[name] for shares in context.made["shares"])
        found = mean_of(ours)
        return judged.reading(found.stderr, found.value, float(training.mean()))

    return compute


def _kernel_distance(context: Context) -> Value | None:
    judged = _judged(context)
    if judged is None:
        return None
    blocks = features.kernel_distances(judged.real, judged.samples)
    stderr = float(blocks.std(ddof=1) / np.sqrt(len(blocks))) if len(blocks) > 1 else None
    training = float(features.kernel_distances(judged.real, judged.training).mean())
    return judged.reading(stderr, float(blocks.mean()), training)


def _frechet_distance(context: Context) -> Value | None:
    judged = _judged(context)
    if judged is None:
        return None
    training = features.frechet_distance(judged.real, judged.training)
    return judged.reading(None, features.frechet_distance(judged.real, judged.samples), training)


def _sharpness(context: Context) -> Value | None:
    if context.dataset.kind != "image":
        return None
    real = as_tensor(context.dataset, np.asarray(context.test.x[context.rows[:MOST_REAL]]))
    value = decoded.sharpness(context.images, real)
    return None if value is None else Value(value, None, len(context.images), what="codes")


def _morph_smoothness(context: Context) -> Value | None:
    codes = context.posterior[0]
    if len(codes) < 2:
        return None
    rng = np.random.default_rng(context.seed)
    pairs = np.stack([rng.choice(len(codes), 2, replace=False) for _ in range(PAIRS)])
    first, last = codes[pairs[:, 0], None], codes[pairs[:, 1], None]
    path = first + (last - first) * torch.linspace(0, 1, STEPS, dtype=codes.dtype)[:, None]
    value = decoded.morph_smoothness(context.decode(path.flatten(0, 1)).unflatten(0, path.shape[:2]))
    return None if value is None else Value(value, None, PAIRS, what="pairs")


SAMPLES: dict[str, Metric] = {
    "plausible_share": Metric(
        "plausible share", "samples", "", "higher",
        "Share of the latent space that decodes to images a classifier of real ones is sure of; real: 0.95.",
        _plausible_share,
    ),
    "precision": Metric(
        "precision", "samples", "", "higher",
        "Share of samples that lie among real test images, in the features of a small classifier.",
        _share_in_features("precision"),
    ),
    "recall": Metric(
        "recall", "samples", "", "higher",
        "Share of real test images that lie among samples, in the same features: what the model can make at all.",
        _share_in_features("recall"),
    ),
    "density": Metric(
        "density", "samples", "", "higher",
        "How many real images' neighbourhoods a sample lies in, against what real ones do: outliers count little.",
        _share_in_features("density"),
    ),
    "coverage": Metric(
        "coverage", "samples", "", "higher",
        "Share of real test images with a sample in their neighbourhood.",
        _share_in_features("coverage"),
    ),
    "kernel_distance": Metric(
        "kernel distance", "samples", "", "lower",
        "Distance between samples and real test images in those features: about 0 for equal laws.",
        _kernel_distance,
    ),
    "frechet_distance": Metric(
        "Fréchet distance", "samples", "", "lower",
        "Distance between Gaussians of samples and of real test images in those features; above 0 for equal laws.",
        _frechet_distance, 2,
    ),
    "sharpness": Metric(
        "sharpness", "samples", "", "",
        "Gradient energy of samples against real test images: 1 is as sharp, less is blurred, more is noisy.",
        _sharpness,
    ),
    "morph_smoothness": Metric(
        "largest morph step", "samples", "", "",
        "Largest over mean change of the image, on 10 equal steps between two test codes: 1 is even, 10 one jump.",
        _morph_smoothness,
    ),
}  # fmt: skip
