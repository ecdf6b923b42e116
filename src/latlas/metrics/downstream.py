"""Metrics of downstream tasks: do classes lie together in the codes, and can a simple method predict them?"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from latlas.data import Split, is_labelled
from latlas.errors import InputError
from latlas.metrics.classifier import small
from latlas.metrics.context import Context
from latlas.metrics.metric import Metric, Value, share_of
from latlas.models import Model
from latlas.text import counted

NEIGHBOURS = 10
ITEMS_TO_A_CLASS = 2  # of training: with fewer a class is seen once, and most others of the test items never
MOST_SILHOUETTE = 2000  # codes: the time grows with their square
STEPS = 50  # of L-BFGS: stops early, which generalises better where items have many values
PART = 1000  # items read at a time: bounds memory
MOST_VALUES = 1024  # per item that simple methods get
STARTS = 4  # of k-means
SEED = 0


@dataclass(frozen=True)
class View:
    """Items as numbers: `train` (M, F) and `test` (N, F)."""

    train: np.ndarray
    test: np.ndarray


def pca_codes(pca: Model, split: Split, rows: np.ndarray) -> np.ndarray:
    """Codes (N, D) of rows of a split."""
    return np.concatenate([pca.encode(np.asarray(split.x[part])) for part in _parts(rows)])


def raw_values(model: Model, split: Split, rows: np.ndarray) -> np.ndarray:
    """Rows of a split on the model's scale, as vectors (N, F), F at most 1,024.

    Images are averaged down to 32 x 32 at most. Items that then have more values are projected to 1,024 at random,
    which nearly preserves distances (Achlioptas 2003).
    """
    parts = []
    for part in _parts(rows):
        x = model.to_tensor(np.asarray(split.x[part])).cpu().float()
        parts.append((small(x) if x.ndim == 4 else x).flatten(1).numpy())
    values = np.concatenate(parts)
    return values if values.shape[1] <= MOST_VALUES else _projected(values)


def _projected(values: np.ndarray) -> np.ndarray:
    from sklearn.random_projection import SparseRandomProjection

    projection = SparseRandomProjection(MOST_VALUES, dense_output=True, random_state=SEED)
    return projection.fit_transform(values)


def clustered(values: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The cluster of each item (N, F) by k-means with `count` clusters, the best of four starts: (N,)."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    means = KMeans(count, n_init=STARTS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct items than clusters
        return means.fit_predict(values)


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + PART] for start in range(0, len(rows), PART)]


def views(context: Context) -> dict[str, View]:
    """Training and test items as "codes", and for comparison as "PCA" codes of the same size, where PCA has as many
    components, and as "raw values".
    """
    splits = (context.dataset.train, context.training_rows), (context.test, context.rows)
    by_name = {"codes": View(context.training_codes, context.codes)}
    if context.pca is not None:
        by_name["PCA"] = View(*(pca_codes(context.pca, *split) for split in splits))
    by_name["raw values"] = View(*(raw_values(context.model, *split) for split in splits))
    return by_name


def labelled(
    context: Context, labels: np.ndarray | None, truth: np.ndarray | None
) -> tuple[dict[str, View], np.ndarray, np.ndarray]:
    """The views of the items that have a label, and their labels: those of training (None: all items), and of test."""
    known = None if labels is None else is_labelled(labels)
    seen = None if truth is None else is_labelled(truth)
    by_name = {
        name: View(_at(view.train, known), _at(view.test, seen)) for name, view in context.once(views).items()
    }
    return by_name, _at(labels, known), _at(truth, seen)


def _at(values: Any, known: np.ndarray | None) -> Any:
    return values if known is None or known.all() else values[known]


def clusters(context: Context) -> dict[str, np.ndarray]:
    """The cluster of each of the labelled `rows` in every view, with as many clusters as they have classes."""
    by_name, _, truth = labelled(context, None, context.labels)
    count = len(np.unique(truth))
    return {name: clustered(view.test, count, context.seed) for name, view in by_name.items()}


def knn_hits(view: View, labels: np.ndarray, truth: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Whether the class of each test item is the commonest among its k nearest training items by Euclidean distance:
    (N,), for classes `labels` (M,) of the training items and `truth` (N,) of the test items.

    Ties go to the class with the smaller label.
    """
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(min(k, len(view.train))).fit(view.train, labels)
    return classifier.predict(view.test) == truth


def probe_hits(view: View, labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Whether a linear probe predicts the class of each test item: (N,) (Alain and Bengio 2017).

    The probe is multinomial logistic regression of `labels` (M,) on the training items, standardised, with the
    penalty |w|^2 / 2 added to the summed loss and at most 50 steps of L-BFGS.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=STEPS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(view.train, labels).predict(view.test) == truth


def ridge_r2(view: View, labels: np.ndarray, truth: np.ndarray) -> Value:
    """R^2 = 1 - sum (y - f)^2 / sum (y - mean y)^2 on test items with labels `truth` (N,), f by ridge regression of
    `labels` (M,) on the training items, standardised, with the penalty |w|^2 added to the summed squared error.

    The standard error is that of the ratio, to first order.
    """
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels, truth = labels.astype(np.float64), truth.astype(np.float64)
    ridge = make_pipeline(StandardScaler(), Ridge()).fit(view.train, labels)
    residual = (truth - ridge.predict(view.test)) ** 2
    spread = (truth - truth.mean()) ** 2
    ratio = residual.mean() / spread.mean()
    stderr = (residual - ratio * spread).std(ddof=1) / spread.mean() / math.sqrt(len(truth))
    return Value(float(1 - ratio), float(stderr), len(truth))


def silhouette(codes: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean of (b - a) / max(a, b), in [-1, 1]: a and b are a code's mean distances to the other codes of its own
    class and to those of the nearest other class (Rousseeuw 1987).

    On the first 2,000 codes (N, D). None where these have fewer than two classes, or one for each code.
    """
    from sklearn.metrics import silhouette_score

    codes, labels = codes[:MOST_SILHOUETTE], labels[:MOST_SILHOUETTE]
    return float(silhouette_score(codes, labels)) if 1 < len(np.unique(labels)) < len(labels) else None


def _accuracy(context: Context, hits: Callable[[View, np.ndarray, np.ndarray], np.ndarray]) -> Value | None:
    """The share of test items whose class is predicted rightly from the codes, beside the other views.

    Raises InputError where most classes have one training item alone: then nothing can be learned of them.
    """
    labels, truth = context.training_labels, context.labels
    if labels is None or truth is None:
        return None
    by_name, labels, truth = labelled(context, labels, truth)
    classes = len(np.unique(labels))
    if classes < 2 or ITEMS_TO_A_CLASS * classes > len(labels) or not len(truth):
        raise InputError(
            f"too few items: {counted(len(labels), 'labelled training item')} of {counted(classes, 'class')}; at least"
            f" {ITEMS_TO_A_CLASS} of each of 2 classes are needed, on average"
        )
    return _codes_beside_others({name: share_of(hits(view, labels, truth)) for name, view in by_name.items()})


def _codes_beside_others(by_view: Mapping[str, Value]) -> Value:
    """The value of the codes, with those of the other views in `beside`."""
    others = {name: value.value for name, value in by_view.items() if name != "codes"}
    return replace(by_view["codes"], beside=others)


def _probe_accuracy(context: Context) -> Value | None:
    return _accuracy(context, probe_hits)


def _knn_accuracy(context: Context) -> Value | None:
    return _accuracy(context, knn_hits)


def _probe_r2(context: Context) -> Value | None:
    labels, truth = (
        None if split.labels is None else np.asarray(split.labels)[rows]
        for split, rows in ((context.dataset.train, context.training_rows), (context.test, context.rows))
    )
    if labels is None or truth is None or not (_are_real(labels) and _are_real(truth)):
        return None
    by_name, labels, truth = labelled(context, labels, truth)
    return _codes_beside_others({name: ridge_r2(view, labels, truth) for name, view in by_name.items()})


def _are_real(labels: np.ndarray) -> bool:
    """Whether labels are finite real numbers, or missing, that are not all equal."""
    if not np.issubdtype(labels.dtype, np.floating) or labels.ndim != 1:
        return False
    given = labels[is_labelled(labels)]
    return bool(len(given) > 1 and np.isfinite(given).all() and given.std() > 0)


def _silhouette(context: Context) -> Value | None:
    if context.labels is None:
        return None
    by_name, _, labels = labelled(context, None, context.labels)
    own = silhouette(by_name.pop("codes").test, labels)
    if own is None:
        return None
    scores = {name: silhouette(view.test, labels) for name, view in by_name.items()}
    beside = {name: score for name, score in scores.items() if score is not None}
    return Value(own, None, min(len(labels), MOST_SILHOUETTE), beside=beside)


def _nmi(context: Context) -> Value | None:
    from sklearn.metrics import normalized_mutual_info_score

    return _agreement(context, normalized_mutual_info_score)


def _ari(context: Context) -> Value | None:
    from sklearn.metrics import adjusted_rand_score

    return _agreement(context, adjusted_rand_score)


def _agreement(context: Context, score: Callable[[np.ndarray, np.ndarray], float]) -> Value | None:
    """How well the clusters of each view agree with the classes."""
    if context.labels is None:
        return None
    labels = context.labels[is_labelled(context.labels)]
    if len(np.unique(labels)) == len(labels):
        return None
    scores = {name: float(score(labels, of_view)) for name, of_view in context.once(clusters).items()}
    return _codes_beside_others({name: Value(score, None, len(labels)) for name, score in scores.items()})


DOWNSTREAM: dict[str, Metric] = {
    "probe_accuracy": Metric(
        "linear probe", "downstream", "", "higher",
        "Share of test {item}s whose class a linear classifier predicts from the code.",
        _probe_accuracy,
    ),
    "probe_r2": Metric(
        "linear probe, R²", "downstream", "", "higher",
        "Share of the label's variance that a linear function of the code predicts on test {item}s.",
        _probe_r2,
    ),
    "knn_accuracy": Metric(
        "k-NN accuracy", "downstream", "", "higher",
        "Share of test {item}s whose class is the commonest among the 10 nearest training codes.",
        _knn_accuracy,
    ),
    "nmi": Metric(
        "NMI of clusters", "downstream", "", "higher",
        "How well k-means clusters of the test codes agree with the classes: 1 if they are the same, 0 if unrelated.",
        _nmi,
    ),
    "ari": Metric(
        "ARI of clusters", "downstream", "", "higher",
        "Share of pairs of {item}s that clusters and classes agree on, beyond chance: 1 if they are the same.",
        _ari,
    ),
    "silhouette": Metric(
        "silhouette", "downstream", "", "higher",
        "How much nearer codes lie to their own class than to the nearest other one, from −1 to 1.",
        _silhouette,
    ),
}  # fmt: skip
