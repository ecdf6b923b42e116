"""Numbers on codes: is the aggregate posterior the prior, are the codes centred."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from latlas.divergences import mmd
from latlas.measures.reading import Measure, Reading
from latlas.measures.scene import Scene

BLOCK = 250


def block_mmd(x: Tensor, y: Tensor, block: int = BLOCK) -> Tensor | None:
    """MMD^2 of draws x and y (N, D), kernel exp(-|a - b|^2 / (2 D)): the unbiased estimates of consecutive blocks,
    (B,), whose mean is an estimate in bounded memory (Zaremba et al. 2013).

    It can be below zero; for equal laws its mean is zero. None for fewer than two draws.
    """
    if len(x) < 2:
        return None
    count = math.ceil(len(x) / block)
    pairs = zip(x.tensor_split(count), y.tensor_split(count), strict=True)
    return torch.stack([mmd(a, b, estimator="unbiased") for a, b in pairs])


def mean_code_norm(codes: np.ndarray) -> float:
    """|1/N sum of codes|, codes (N, D): 0 for codes about the origin."""
    return float(np.linalg.norm(codes.mean(0)))


def _mmd_prior(scene: Scene) -> Reading | None:
    draws = scene.posterior[1]
    blocks = block_mmd(draws, scene.prior_draws(len(draws))) if scene.prior else None
    if blocks is None:
        return None
    stderr = float(blocks.std() / math.sqrt(len(blocks))) if len(blocks) > 1 else None
    return Reading(float(blocks.mean()), stderr, len(draws), 1)


def _mean_code_norm(scene: Scene) -> Reading:
    return Reading(mean_code_norm(scene.codes), None, len(scene.codes))


CODES: dict[str, Measure] = {
    "mmd_prior": Measure(
        "MMD² to prior", "codes", "", "lower",
        "Distance of the aggregate posterior from the prior; 0 for equal laws, and below it by chance.",
        _mmd_prior, 4,
    ),
    "mean_code_norm": Measure(
        "norm of mean code", "codes", "", "lower", "How far the mean of all mean codes lies from the origin.",
        _mean_code_norm,
    ),
}  # fmt: skip
