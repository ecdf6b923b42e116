"""Numbers on what codes are good for: do classes lie together, can a simple classifier tell them."""

from __future__ import annotations

import numpy as np

from latlas.measures.reading import Measure, Reading, share_of
from latlas.measures.scene import Scene

NEIGHBOURS = 10
MOST_SILHOUETTE = 2000  # its time grows with the square


def voted(codes: np.ndarray, labels: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray | None:
    """Whether the class of each code (N, D) is the commonest among its k nearest other codes, by Euclidean distance.

    Each is left out of its own vote, so the codes are training and test set at once. Ties go to the class with
    the smaller label. None for fewer than two codes.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(codes) < 2:
        return None
    near = NearestNeighbors(n_neighbors=min(k, len(codes) - 1)).fit(codes).kneighbors(return_distance=False)
    values, classes = np.unique(labels, return_inverse=True)
    votes = (classes[near][..., None] == np.arange(len(values))).sum(1)
    return votes.argmax(1) == classes


def silhouette(codes: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean of (b - a) / max(a, b), in [-1, 1]: a and b are a code's mean distances to the other codes of its own
    class and to those of the nearest other class (Rousseeuw 1987).

    On the first 2,000 codes (N, D). None where these have fewer than two classes, or one for each code.
    """
    from sklearn.metrics import silhouette_score

    codes, labels = codes[:MOST_SILHOUETTE], labels[:MOST_SILHOUETTE]
    return float(silhouette_score(codes, labels)) if 1 < len(np.unique(labels)) < len(labels) else None


def _knn_accuracy(scene: Scene) -> Reading | None:
    hits = None if scene.labels is None else voted(scene.codes, scene.labels)
    return None if hits is None else share_of(hits)


def _silhouette(scene: Scene) -> Reading | None:
    value = None if scene.labels is None else silhouette(scene.codes, scene.labels)
    return None if value is None else Reading(value, None, min(len(scene.codes), MOST_SILHOUETTE))


USE: dict[str, Measure] = {
    "knn_accuracy": Measure(
        "k-NN accuracy", "use", "", "higher",
        "Share of test items whose class is the commonest among their 10 nearest other test codes.",
        _knn_accuracy,
    ),
    "silhouette": Measure(
        "silhouette", "use", "", "higher",
        "How much nearer codes lie to their own class than to the nearest other one, from −1 to 1.",
        _silhouette,
    ),
}  # fmt: skip
