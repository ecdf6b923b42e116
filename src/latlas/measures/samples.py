"""Numbers on what a decoder makes of codes: plausible, true to the data and as varied, sharp, evenly changing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from latlas.measures import decoded, features
from latlas.measures.critic import share_of_plausible
from latlas.measures.nets import PART, as_tensor, small
from latlas.measures.reading import Measure, Reading, mean_of
from latlas.measures.scene import Scene

MOST_REAL = 1000
PAIRS, STEPS = 100, 11


def _plausible_share(scene: Scene) -> Reading | None:
    return share_of_plausible(scene.dataset, scene.images)


@dataclass(frozen=True)
class _Judged:
    """Features (N, F) of real test images, of as many real training images, and of samples; and what gave them."""

    by: features.Classifier
    real: np.ndarray
    training: np.ndarray
    samples: np.ndarray

    def reading(self, stderr: float | None, value: float, training: float) -> Reading:
        by = f"classifier {self.by.name}, right on {self.by.accuracy:.0%} of real test images"
        return Reading(
            value, stderr, len(self.samples), beside={"training images": training}, what="samples", by=by
        )


def _judged(scene: Scene) -> _Judged | None:
    """What the distances and shares below are of: at most 2,000 images of each kind; None where none can judge."""
    found = scene.made.get("judged")
    if found is None and features.classifier_of(scene.dataset) is not None:
        found = scene.made["judged"] = _judge(scene)
    return found if found is not None and len(found.real) > features.NEIGHBOURS else None


def _judge(scene: Scene) -> _Judged:
    by = features.classifier_of(scene.dataset)
    assert by is not None
    dataset, most = scene.dataset, features.MOST_JUDGED
    count = min(most, len(scene.rows), len(scene.training_rows))

    def real(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        parts = np.array_split(rows[:count], max(1, count // PART))
        return np.concatenate([by.features(as_tensor(dataset, np.asarray(x[part]))) for part in parts])

    drawn = [small(scene.decode(part).clamp(0, 1)) for part in scene.sampled_codes(count).split(PART)]
    return _Judged(
        by,
        real(scene.test.x, scene.rows),
        real(dataset.train.x, scene.training_rows),
        by.features(torch.cat(drawn)),
    )


def _share_in_features(name: str) -> Callable[[Scene], Reading | None]:
    """The mean of one of `features.precision_recall`, beside that of training images in place of samples."""

    def compute(scene: Scene) -> Reading | None:
        judged = _judged(scene)
        if judged is None:
            return None
        if "shares" not in scene.made:
            kinds = (judged.samples, judged.training)
            scene.made["shares"] = [features.precision_recall(judged.real, kind) for kind in kinds]
        ours, training = (shares[name] for shares in scene.made["shares"])
        found = mean_of(ours)
        return judged.reading(found.stderr, found.value, float(training.mean()))

    return compute


def _kernel_distance(scene: Scene) -> Reading | None:
    judged = _judged(scene)
    if judged is None:
        return None
    blocks = features.kernel_distances(judged.real, judged.samples)
    stderr = float(blocks.std(ddof=1) / np.sqrt(len(blocks))) if len(blocks) > 1 else None
    training = float(features.kernel_distances(judged.real, judged.training).mean())
    return judged.reading(stderr, float(blocks.mean()), training)


def _frechet_distance(scene: Scene) -> Reading | None:
    judged = _judged(scene)
    if judged is None:
        return None
    training = features.frechet_distance(judged.real, judged.training)
    return judged.reading(None, features.frechet_distance(judged.real, judged.samples), training)


def _sharpness(scene: Scene) -> Reading | None:
    if scene.dataset.kind != "image":
        return None
    real = as_tensor(scene.dataset, np.asarray(scene.test.x[scene.rows[:MOST_REAL]]))
    value = decoded.sharpness(scene.images, real)
    return None if value is None else Reading(value, None, len(scene.images), what="codes")


def _morph_smoothness(scene: Scene) -> Reading | None:
    codes = scene.posterior[0]
    if len(codes) < 2:
        return None
    rng = np.random.default_rng(scene.seed)
    pairs = np.stack([rng.choice(len(codes), 2, replace=False) for _ in range(PAIRS)])
    first, last = codes[pairs[:, 0], None], codes[pairs[:, 1], None]
    path = first + (last - first) * torch.linspace(0, 1, STEPS, dtype=codes.dtype)[:, None]
    value = decoded.morph_smoothness(scene.decode(path.flatten(0, 1)).unflatten(0, path.shape[:2]))
    return None if value is None else Reading(value, None, PAIRS, what="pairs")


SAMPLES: dict[str, Measure] = {
    "plausible_share": Measure(
        "plausible share", "samples", "", "higher",
        "Share of the latent space that decodes to images a classifier of real ones is sure of; real: 0.95.",
        _plausible_share,
    ),
    "precision": Measure(
        "precision", "samples", "", "higher",
        "Share of samples that lie among real test images, in the features of a small classifier.",
        _share_in_features("precision"),
    ),
    "recall": Measure(
        "recall", "samples", "", "higher",
        "Share of real test images that lie among samples, in the same features: what the model can make at all.",
        _share_in_features("recall"),
    ),
    "density": Measure(
        "density", "samples", "", "higher",
        "How many real images' neighbourhoods a sample lies in, against what real ones do: outliers count little.",
        _share_in_features("density"),
    ),
    "coverage": Measure(
        "coverage", "samples", "", "higher",
        "Share of real test images with a sample in their neighbourhood.",
        _share_in_features("coverage"),
    ),
    "kernel_distance": Measure(
        "kernel distance", "samples", "", "lower",
        "Distance between samples and real test images in those features: about 0 for equal laws.",
        _kernel_distance,
    ),
    "frechet_distance": Measure(
        "Fréchet distance", "samples", "", "lower",
        "Distance between Gaussians of samples and of real test images in those features; above 0 for equal laws.",
        _frechet_distance, 2,
    ),
    "sharpness": Measure(
        "sharpness", "samples", "", "",
        "Gradient energy of samples against real test images: 1 is as sharp, less is blurred, more is noisy.",
        _sharpness,
    ),
    "morph_smoothness": Measure(
        "largest morph step", "samples", "", "",
        "Largest over mean change of the image, on 10 equal steps between two test codes: 1 is even, 10 one jump.",
        _morph_smoothness,
    ),
}  # fmt: skip
