"""Numbers on what a decoder makes of codes: plausible, sharp, evenly changing."""

from __future__ import annotations

import numpy as np
import torch

from latlas.measures import decoded
from latlas.measures.critic import as_tensor, share_of_plausible
from latlas.measures.reading import Measure, Reading
from latlas.measures.scene import Scene

MOST_REAL = 1000
PAIRS, STEPS = 100, 11


def _plausible_share(scene: Scene) -> Reading | None:
    return share_of_plausible(scene.dataset, scene.images)


def _sharpness(scene: Scene) -> Reading | None:
    if scene.dataset.kind != "image":
        return None
    real = as_tensor(scene.dataset, np.asarray(scene.dataset.test.x[scene.rows[:MOST_REAL]]))
    value = decoded.sharpness(scene.images, real)
    return None if value is None else Reading(value, None, len(scene.images))


def _morph_smoothness(scene: Scene) -> Reading | None:
    codes = scene.posterior[0]
    if len(codes) < 2:
        return None
    rng = np.random.default_rng(scene.seed)
    pairs = np.stack([rng.choice(len(codes), 2, replace=False) for _ in range(PAIRS)])
    first, last = codes[pairs[:, 0], None], codes[pairs[:, 1], None]
    path = first + (last - first) * torch.linspace(0, 1, STEPS, dtype=codes.dtype)[:, None]
    value = decoded.morph_smoothness(scene.decode(path.flatten(0, 1)).unflatten(0, path.shape[:2]))
    return None if value is None else Reading(value, None, PAIRS)


SAMPLES: dict[str, Measure] = {
    "plausible_share": Measure(
        "plausible share", "samples", "", "higher",
        "Share of the latent space that decodes to images a classifier of real ones is sure of; real: 0.95.",
        _plausible_share,
    ),
    "sharpness": Measure(
        "sharpness", "samples", "", "",
        "Gradient energy of samples against real test images: 1 is as sharp, less is blurred, more is noisy.",
        _sharpness,
    ),
    "morph_smoothness": Measure(
        "largest morph step", "samples", "", "lower",
        "Largest over mean change of the image, on 10 equal steps between two test codes: 1 is even, 10 one jump.",
        _morph_smoothness,
    ),
}  # fmt: skip
