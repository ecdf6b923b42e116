"""Numbers on codes: do classes lie together, is the aggregate posterior the prior, are the codes centred."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from latlas.divergences import mmd

NEIGHBOURS = 10
MOST_SILHOUETTE = 2000  # its time grows with the square
BLOCK = 250


def knn_accuracy(codes: np.ndarray, labels: np.ndarray, k: int = NEIGHBOURS) -> float | None:
    """Share of codes (N, D) whose class is the commonest among their k nearest other codes, by Euclidean distance.

    Each is left out of its own vote, so the codes are training and test set at once. Ties go to the class with
    the smaller label. None for fewer than two codes.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(codes) < 2:
        return None
    near = NearestNeighbors(n_neighbors=min(k, len(codes) - 1)).fit(codes).kneighbors(return_distance=False)
    values, classes = np.unique(labels, return_inverse=True)
    votes = (classes[near][..., None] == np.arange(len(values))).sum(1)
    return float((votes.argmax(1) == classes).mean())


def silhouette(codes: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean of (b - a) / max(a, b), in [-1, 1]: a and b are a code's mean distances to the other codes of its own
    class and to those of the nearest other class (Rousseeuw 1987).

    On the first 2,000 codes (N, D). None where these have fewer than two classes, or one for each code.
    """
    from sklearn.metrics import silhouette_score

    codes, labels = codes[:MOST_SILHOUETTE], labels[:MOST_SILHOUETTE]
    return float(silhouette_score(codes, labels)) if 1 < len(np.unique(labels)) < len(labels) else None


def block_mmd(x: Tensor, y: Tensor, block: int = BLOCK) -> float | None:
    """MMD^2 of draws x and y (N, D), kernel exp(-|a - b|^2 / (2 D)): the mean of the unbiased estimates of
    consecutive blocks, which bounds memory (Zaremba et al. 2013).

    It can be below zero; for equal laws its mean is zero. None for fewer than two draws.
    """
    if len(x) < 2:
        return None
    count = math.ceil(len(x) / block)
    pairs = zip(x.tensor_split(count), y.tensor_split(count), strict=True)
    return float(torch.stack([mmd(a, b, estimator="unbiased") for a, b in pairs]).mean())


def mean_code_norm(codes: np.ndarray) -> float:
    """|1/N sum of codes|, codes (N, D): 0 for codes about the origin."""
    return float(np.linalg.norm(codes.mean(0)))
