"""Metrics of disentanglement, for data with known factors: does each latent dimension encode one factor?

All are functions of codes (N, D) and integer factors (N, F). Only factors with at least two values, and four items per
value, are used. Constant dimensions count as dimensions without information.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from latlas.metrics.context import Context
from latlas.metrics.downstream import views
from latlas.metrics.metric import Metric, Value

ITEMS_TO_A_VALUE = 4  # least average number of items per value of a factor
BINS = 20
TREES, MOST_IN_A_TREE = 50, 1000
VOTES, GROUP, FEWEST_IN_A_GROUP = 800, 64, 10
SHUFFLES = 3  # of the codes, for what pure noise scores on as many items
MOST_IN_NOISE = (
    1000  # items up to which forests are grown on noise: with more it scores 0.02 at most, and takes minutes
)
NOISE = "pure noise"
ABOVE_NOISE = 3.0  # standard deviations of that by which a score must exceed it to say anything
COLLAPSED = 0.05  # of the largest standard deviation


class Dci(NamedTuple):
    """Disentanglement (None for one factor alone), completeness (None for one dimension) and informativeness."""

    disentanglement: float | None
    completeness: float | None
    informativeness: float


def mutual_information(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """I(z_d; v_f) in nats, (D, F): codes in 20 bins of equal width between a dimension's least and greatest value."""
    from sklearn.metrics import mutual_info_score

    low, width = codes.min(0), np.ptp(codes, axis=0)
    share = np.divide(codes - low, width, out=np.zeros_like(codes), where=width > 0)
    binned = np.minimum((BINS * share).astype(np.int64), BINS - 1)
    return np.array([[mutual_info_score(v, z) for v in factors.T] for z in binned.T])


def mig(codes: np.ndarray, factors: np.ndarray) -> float | None:
    """Mutual information gap: the mean over factors of (I(z_a; v) - I(z_b; v)) / H(v), in [0, 1], where the
    dimensions a and b have the most and second most information on the factor v (Chen et al. 2018).

    Codes are in 20 bins, as in Locatello et al. (2019). None without factors that can be used.
    """
    from scipy.stats import entropy

    factors = usable(factors)
    if not factors.shape[1]:
        return None
    information = mutual_information(_standard(codes), factors)
    entropies = np.array([entropy(np.unique(v, return_counts=True)[1]) for v in factors.T])
    return float((_gap(information) / entropies).mean())


def sap(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> float | None:
    """Separated attribute predictability: the mean over factors of the gap between the two dimensions that predict
    it best, each alone (Kumar et al. 2018).

    A factor of K values is predicted by at most K - 1 thresholds on the dimension, chosen on one half of the items
    and tested on the other, both ways. The score is the balanced accuracy b as (b - 1/K) / (1 - 1/K), so that chance is
    0 for any K; the gaps of the paper, without that, are (K - 1) / K times as large. None without
    factors that can be used.
    """
    factors, codes = usable(factors), _standard(codes)
    if not factors.shape[1]:
        return None
    scores = [[_predicted(z[:, None], v, seed) for v in factors.T] for z in codes.T]
    return float(_gap(np.array(scores)).mean())


def _predicted(code: np.ndarray, factor: np.ndarray, seed: int) -> float:
    """How well thresholds on one dimension (N, 1) predict a factor (N,): 1 always right, 0 by chance or worse."""
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    if not np.ptp(code):
        return 0.0
    values = len(np.unique(factor))
    tree = DecisionTreeClassifier(max_leaf_nodes=values, class_weight="balanced", random_state=seed)
    predictions = cross_val_predict(tree, code, factor, cv=KFold(2, shuffle=True, random_state=seed))
    return max(0.0, _above_chance(factor, predictions))


def _above_chance(truth: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(truth, predictions, adjusted=True))


def dci(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> Dci | None:
    """Disentanglement, completeness and informativeness (Eastwood and Williams 2018).

    R (D, F) are the importances of the dimensions in a random forest that predicts each factor. Disentanglement is
    the mean over dimensions, weighted by their share of all importance, of 1 - H(R_d / sum_f R_df) / log F;
    completeness the mean over factors of 1 - H(R_f / sum_d R_df) / log D; informativeness the mean over factors of
    the forests' balanced accuracy on items left out of their trees, with chance taken to 0. None without factors
    that can be used.
    """
    from scipy.stats import entropy

    factors, codes = usable(factors), _standard(codes)
    if not factors.shape[1]:
        return None
    fitted = [_forest(codes, v, seed) for v in factors.T]
    r = np.stack([importance for importance, _ in fitted], axis=1)
    informativeness = float(np.mean([score for _, score in fitted]))
    by_code, by_factor, total = r.sum(1), r.sum(0), r.sum()
    disentanglement = completeness = None
    if r.shape[1] > 1:
        used = r[by_code > 0]
        each = 1 - entropy(used, axis=1) / np.log(r.shape[1])
        disentanglement = float(each @ used.sum(1) / total) if total > 0 else 0.0
    if r.shape[0] > 1:
        each = 1 - entropy(r[:, by_factor > 0], axis=0) / np.log(r.shape[0])
        completeness = float(each.sum() / len(by_factor))
    return Dci(disentanglement, completeness, informativeness)


def _forest(codes: np.ndarray, factor: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Importances (D,) of a forest that predicts a factor, and its score on items left out of its trees.

    Every split considers all dimensions: a few drawn at random would often hold none that matters.
    """
    from sklearn.ensemble import RandomForestClassifier

    items = min(len(codes), MOST_IN_A_TREE)
    forest = RandomForestClassifier(
        TREES, max_features=None, max_samples=items, oob_score=True, random_state=seed
    ).fit(codes, factor)
    predictions = forest.classes_[forest.oob_decision_function_.argmax(1)]
    return forest.feature_importances_, max(0.0, _above_chance(factor, predictions))


def factor_vae(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> float | None:
    """Accuracy on 800 votes of a majority vote learned from 800 others, each the dimension that varies least among
    up to 64 items that share one factor's value, with that factor's number (Kim and Mnih 2018).

    Variances are divided by those of all codes. Dimensions with a standard deviation below 5 % of the largest are
    collapsed and left out; 0 where all are. Chance is about 1 / F. Items are drawn from those given; values
    with fewer than 10 items are left out. None without factors that can be used.
    """
    factors, codes = usable(factors), codes[:, _active(codes)]
    groups = [[g for g in map(np.flatnonzero, v == np.unique(v)[:, None]) if len(g) >= FEWEST_IN_A_GROUP]
              for v in factors.T]  # fmt: skip
    groups = [g for g in groups if g]
    if not groups:
        return None
    if not codes.shape[1]:
        return 0.0
    rng, scale = np.random.default_rng(seed), codes.var(0)
    votes = np.zeros((2, codes.shape[1], len(groups)))
    for vote in range(2 * VOTES):
        factor = rng.integers(len(groups))
        group = groups[factor][rng.integers(len(groups[factor]))]
        items = rng.choice(group, min(GROUP, len(group)), replace=False)
        votes[vote % 2, (codes[items].var(0) / scale).argmin(), factor] += 1
    learned, held_out = votes
    return float(held_out[np.arange(len(learned)), learned.argmax(1)].sum() / VOTES)


def modularity(codes: np.ndarray, factors: np.ndarray) -> float | None:
    """The mean over dimensions of 1 - sum over f != a of m_f^2 / (m_a^2 (F - 1)), where m_f = I(z; v_f) and a is the
    factor on which the dimension z has the most information (Ridgeway and Mozer 2018).

    Codes are in 20 bins. Collapsed dimensions, as in `factor_vae`, and those without information are left out; 0 where
    none is left. It does not say whether the codes hold all factors. None for fewer than two factors that can be used.
    """
    factors, codes = usable(factors), codes[:, _active(codes)]
    if factors.shape[1] < 2:
        return None
    if not codes.shape[1]:
        return 0.0
    squares = mutual_information(_standard(codes), factors) ** 2
    best = squares.max(1)
    squares, best = squares[best > 0], best[best > 0]
    if not len(best):
        return 0.0
    return float((1 - (squares.sum(1) - best) / (best * (factors.shape[1] - 1))).mean())


def usable(factors: np.ndarray) -> np.ndarray:
    """The columns of factors (N, F) with two values or more, and four items or more per value."""
    return factors[:, _is_usable(factors)]


def _is_usable(factors: np.ndarray) -> np.ndarray:
    values = np.array([len(np.unique(v)) for v in factors.T], dtype=np.int64)
    return (values > 1) & (ITEMS_TO_A_VALUE * values <= len(factors))


def _gap(scores: np.ndarray) -> np.ndarray:
    """Largest less second largest score of each factor, (D, F) -> (F,); the second is 0 for a single dimension."""
    first, *rest = -np.sort(-scores, axis=0)
    return first - rest[0] if rest else first


def _standard(codes: np.ndarray) -> np.ndarray:
    """(codes - mean) / standard deviation; 0 for a dimension that is constant up to rounding."""
    varies = np.ptp(codes, axis=0) > 1e-12 * np.abs(codes).max(0, initial=0)
    standard = np.zeros_like(codes)
    standard[:, varies] = (codes[:, varies] - codes[:, varies].mean(0)) / codes[:, varies].std(0)
    return standard


def _active(codes: np.ndarray) -> np.ndarray:
    """Which dimensions have at least 5 % of the largest standard deviation: (D,) bool."""
    spread = np.where(_standard(codes).any(0), codes.std(0), 0)
    return (spread > 0) & (spread >= COLLAPSED * spread.max(initial=0))


def factors_of(context: Context) -> np.ndarray | None:
    """The factors (N, F), integers, of the context's `rows`; None where they are not known."""
    factors = context.test.factors
    return None if factors is None else factors[context.rows]


def pca_codes_of(context: Context) -> np.ndarray | None:
    """PCA's codes (N, D) of the context's `rows`; None where PCA has fewer components."""
    pca = context.once(views).get("PCA")
    return None if pca is None else pca.test


def shuffled_codes(context: Context) -> list[np.ndarray]:
    """The codes (N, D) of `rows`, each time in another order, so that they tell nothing of the factors."""
    rng = np.random.default_rng(context.seed)
    return [rng.permutation(context.codes) for _ in range(SHUFFLES)]


class Scored(NamedTuple):
    """The scores of the codes, of PCA's codes, and of codes that tell nothing: None where one is not defined."""

    own: float | None
    of_pca: float | None
    of_noise: tuple[float, ...]


def every_dci(context: Context) -> list[Dci | None]:
    """`dci` of the codes, of PCA's codes and of shuffled codes; None where it is not defined."""
    factors = factors_of(context)
    if factors is None:
        return [None, None]
    noise = context.once(shuffled_codes) if len(context.codes) <= MOST_IN_NOISE else []
    sets = [context.codes, pca_codes_of(context), *noise]
    return [None if codes is None else dci(codes, factors, context.seed) for codes in sets]


def _described(context: Context, scored: Scored) -> Value | None:
    """A score of a context's codes, beside those of PCA's codes and of pure noise.

    The warning names the factors that are left out, and says where noise scores as much.
    """
    factors = factors_of(context)
    if factors is None or scored.own is None:
        return None
    names = context.dataset.factor_names or tuple(map(str, range(factors.shape[1])))
    unused = ", ".join(name for name, use in zip(names, _is_usable(factors), strict=True) if not use)
    beside, spread = {} if scored.of_pca is None else {"PCA": scored.of_pca}, {}
    warnings = []
    if unused:
        warnings.append(f"without {unused}: only one value, or fewer than {ITEMS_TO_A_VALUE} items per value")
    if scored.of_noise:
        mean, sd = float(np.mean(scored.of_noise)), float(np.std(scored.of_noise, ddof=1))
        beside, spread = beside | {NOISE: mean}, {NOISE: sd}
        if scored.own <= mean + ABOVE_NOISE * sd:
            warnings.append(
                f"no more than shuffled codes may score, which tell nothing: it shows nothing on {len(context.codes):,}"
                " items"
            )
    return Value(
        scored.own, None, len(context.codes), beside=beside, beside_sd=spread, warning="; ".join(warnings)
    )


def _scored(score: Callable[[np.ndarray, np.ndarray], float | None]) -> Callable[[Context], Value | None]:
    def compute(context: Context) -> Value | None:
        factors = factors_of(context)
        if factors is None:
            return None
        pca_codes = pca_codes_of(context)
        of_pca = None if pca_codes is None else score(pca_codes, factors)
        noise = (score(codes, factors) for codes in context.once(shuffled_codes))
        return _described(context, Scored(score(context.codes, factors), of_pca, _known(noise)))

    return compute


def _part_of_dci(part: str) -> Callable[[Context], Value | None]:
    def compute(context: Context) -> Value | None:
        own, of_pca, *noise = (
            None if scores is None else getattr(scores, part) for scores in context.once(every_dci)
        )
        return _described(context, Scored(own, of_pca, _known(noise)))

    return compute


def _known(scores: Iterable[float | None]) -> tuple[float, ...]:
    return tuple(score for score in scores if score is not None)


DISENTANGLEMENT: dict[str, Metric] = {
    "mig": Metric(
        "MIG", "disentanglement", "", "higher",
        "Mutual information gap: how much more the best dimension tells about a factor than the next; 1: it alone.",
        _scored(mig),
    ),
    "sap": Metric(
        "SAP", "disentanglement", "", "higher",
        "How much better the best dimension predicts a factor than the next; 1: it alone, and never wrong.",
        _scored(sap),
    ),
    "dci_disentanglement": Metric(
        "DCI disentanglement", "disentanglement", "", "higher",
        "Whether each dimension matters to one factor alone, by the importances in forests that predict the factors.",
        _part_of_dci("disentanglement"),
    ),
    "dci_completeness": Metric(
        "DCI completeness", "disentanglement", "", "higher",
        "Whether one dimension alone matters to each factor, by the importances in forests that predict the factors.",
        _part_of_dci("completeness"),
    ),
    "dci_informativeness": Metric(
        "DCI informativeness", "disentanglement", "", "higher",
        "How well forests predict the factors from codes they were not trained on: 1 always right, 0 by chance.",
        _part_of_dci("informativeness"),
    ),
    "factor_vae": Metric(
        "FactorVAE score", "disentanglement", "", "higher",
        "How often the dimension that varies least shows which factor is fixed; chance is 1 over their number.",
        _scored(factor_vae),
    ),
    "modularity": Metric(
        "modularity", "disentanglement", "", "higher",
        "Whether each dimension tells about one factor alone, however little; dimensions of noise have about 0.6.",
        _scored(modularity),
    ),
}  # fmt: skip
