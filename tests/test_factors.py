"""Scores of known factors: truths that are exact first, then what they must not react to, then a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import image_dataset, made
from scipy.stats import entropy
from test_measures import identity

from latlas.metrics import GROUPS, METRICS, Context, disentanglement, measure
from latlas.metrics.disentanglement import (
    DISENTANGLEMENT,
    dci,
    factor_vae,
    mig,
    modularity,
    mutual_information,
    sap,
    usable,
)
from latlas.metrics.display import beside

NAMES = ("mig", "sap", "disentanglement", "completeness", "informativeness", "factor_vae", "modularity")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disentanglement, "TREES", 20)
    monkeypatch.setattr(disentanglement, "VOTES", 200)


def grid(*counts: int, times: int = 1) -> np.ndarray:
    """Every combination of factors with so many values, `times` over: (N, F)."""
    return np.tile(np.stack([axis.ravel() for axis in np.indices(counts)], axis=1), (times, 1))


V = grid(3, 4, 6, times=5)


def scores(codes: np.ndarray, factors: np.ndarray = V) -> dict[str, float | None]:
    codes = codes.astype(np.float64)
    values = (mig(codes, factors), sap(codes, factors), *dci(codes, factors))
    values = (*values, factor_vae(codes, factors), modularity(codes, factors))
    found = dict(zip(NAMES, values, strict=True))
    assert all(v is None or (np.isfinite(v) and -1e-9 <= v <= 1 + 1e-9) for v in found.values())
    return found


def noise(columns: int, seed: int = 0, rows: int = len(V)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


# Exact values


def test_identity_codes_have_one_everywhere() -> None:
    assert scores(V) == pytest.approx(dict.fromkeys(NAMES, 1.0), abs=1e-9)


def test_constant_codes_have_zero_everywhere() -> None:
    for constant in (0, 0.1):  # of which the mean may differ by rounding
        assert scores(np.full((len(V), 4), constant)) == dict.fromkeys(NAMES, 0.0)


def test_constant_dimensions_beside_others_change_nothing_but_completeness() -> None:
    """Completeness stays 1, as no importance goes to them; to four dimensions or seven."""
    assert scores(np.c_[V, np.zeros((len(V), 2))]) == pytest.approx(dict.fromkeys(NAMES, 1.0), abs=1e-9)


def test_each_code_twice_leaves_no_gap_but_keeps_dimensions_apart() -> None:
    """Importance is shared by two of six dimensions: completeness 1 - log 2 / log 6."""
    found = scores(np.c_[V, V])
    assert found["mig"] == pytest.approx(0, abs=1e-9)
    assert found["sap"] == pytest.approx(0, abs=1e-9)
    assert found["completeness"] == pytest.approx(1 - np.log(2) / np.log(6), abs=0.02)
    for name in ("disentanglement", "informativeness", "factor_vae", "modularity"):
        assert found[name] == pytest.approx(1)


def test_gaps_to_a_dimension_that_knows_half() -> None:
    """Of four values, v // 2 tells two apart: log 2 of log 4 nats, balanced accuracy 1/2, (1/2 - 1/4) / (3/4)."""
    v = grid(4, times=50)
    codes = np.c_[v, v // 2].astype(float)
    assert mig(codes, v) == pytest.approx(0.5)
    assert sap(codes, v) == pytest.approx(2 / 3, abs=0.02)
    assert mig(codes[:, :1], v) == pytest.approx(1)  # beside no other dimension
    assert sap(codes[:, :1], v) == pytest.approx(1)


def test_modularity_of_mixed_dimensions() -> None:
    """z = 2a + b holds log 4 nats of a and log 2 of b: 1 - 1/4; with a of two values log 2 of both: 0."""
    a, b = grid(4, 2, times=10).T
    factors = np.c_[a, b]
    assert modularity((2.0 * a + b)[:, None], factors) == pytest.approx(0.75)
    assert modularity(np.c_[2.0 * a + b, a], factors) == pytest.approx(0.875)
    halves = np.c_[a // 2, b]
    assert modularity((2.0 * (a // 2) + b)[:, None], halves) == pytest.approx(0, abs=1e-9)


def test_mutual_information_is_that_of_entropies() -> None:
    """I(z; v) = H(z) + H(v) - H(z, v), and a code that is the factor knows all of it."""
    codes = np.c_[V[:, 1] + 0.3 * noise(1)[:, 0], V[:, 2]]
    bins = [np.digitize(z, np.linspace(z.min(), z.max(), 21)[1:-1]) for z in codes.T]
    h = lambda *x: entropy(np.unique(np.stack(x), axis=1, return_counts=True)[1])  # noqa: E731
    expected = [[h(z) + h(v) - h(z, v) for v in V.T] for z in bins]
    np.testing.assert_allclose(mutual_information(codes, V), expected, atol=1e-9)
    assert mutual_information(codes, V)[1, 2] == pytest.approx(np.log(6))


def test_one_dimension_for_all_factors_votes_for_one_of_them() -> None:
    assert factor_vae(V @ [[20.0], [5], [1]], V) == pytest.approx(1 / 3, abs=0.06)


# Chance


def test_codes_that_know_nothing_are_at_chance() -> None:
    """The FactorVAE score's chance is 1 / 3, a little more as the majority is chosen of five dimensions."""
    found = scores(noise(5))
    for name in ("mig", "sap", "disentanglement", "completeness", "informativeness"):
        assert found[name] < 0.1
    assert 0.25 < found["factor_vae"] < 0.48


def test_shuffled_factors_are_at_chance() -> None:
    shuffled = np.random.default_rng(1).permutation(V)
    assert max(mig(V.astype(float), shuffled), sap(V.astype(float), shuffled)) < 0.06


# What scores must, and must not, react to


def test_order_sign_and_scale_of_dimensions_do_not_matter() -> None:
    codes = V @ np.array([[1, 0.2, 0], [0, 1, 0.1], [0.3, 0, 1]]) + 0.2 * noise(3)
    changed = codes[:, [2, 0, 1]] * [-1.0, 2.0, -0.5] + [0, 1000, -3]
    first, second = scores(codes), scores(changed)
    assert second == pytest.approx(first, abs=0.05)
    assert second["mig"] == pytest.approx(first["mig"], abs=1e-6)
    assert second["modularity"] == pytest.approx(first["modularity"], abs=1e-6)
    assert 0.1 < first["mig"] < 0.9


def test_values_of_factors_are_names() -> None:
    renamed = V * [-7, 100, 1] + [3, 0, -200]
    codes = V + 0.3 * noise(3)
    for score in (mig, sap, modularity, lambda z, v: dci(z, v).informativeness):
        assert score(codes, renamed) == pytest.approx(score(codes, V), abs=0.02)


def test_a_rotation_by_half_a_right_angle_lowers_every_score_but_what_codes_hold() -> None:
    v = grid(6, 6, times=8)
    straight = (v - v.mean(0)) / v.std(0) + 0.05 * noise(2, rows=len(v))
    turned = straight @ np.array([[1, 1], [-1, 1]]) / 2**0.5
    before, after = scores(straight, v), scores(turned, v)
    assert min(before.values()) > 0.95
    for name in ("mig", "sap", "disentanglement", "completeness", "modularity"):
        assert after[name] < 0.2
    assert after["factor_vae"] < 0.7
    assert after["informativeness"] > 0.9


def test_collapsed_dimensions_take_no_part() -> None:
    """Noise of a hundredth of the codes' spread, as posterior means have it where a dimension fell to the prior."""
    codes = np.c_[V, 0.01 * noise(4)]
    assert factor_vae(codes, V) == pytest.approx(1)
    assert modularity(codes, V) == pytest.approx(1)
    assert modularity(np.c_[V, noise(4)], V) < 0.9  # of full spread, it counts


def test_factors_that_the_items_do_not_tell_about_do_not_count() -> None:
    constant, numbers = np.zeros(len(V), int), np.arange(len(V))
    wide = np.c_[constant, V, numbers]
    np.testing.assert_array_equal(usable(wide), V)
    assert scores(V, wide) == pytest.approx(dict.fromkeys(NAMES, 1.0), abs=1e-9)
    none = np.c_[constant, numbers]
    for score in (mig, sap, dci, factor_vae, modularity):
        assert score(V.astype(float), none) is None
    one = dci(V.astype(float), V[:, :1])
    assert one is not None
    assert (one.disentanglement, one.completeness) == (None, pytest.approx(1))
    assert dci(V[:, :1].astype(float), V).completeness is None
    assert modularity(V.astype(float), V[:, :1]) is None


# On a model


def test_readings_of_a_model_whose_codes_are_the_factors() -> None:
    """PCA turns independent columns of one spread any way it likes, and unequal ones not at all."""
    model, dataset = identity(V.astype(np.float64))
    known = np.c_[V, np.arange(len(V))]
    parts = {part: replace(dataset.split(part), factors=known) for part in ("train", "valid", "test")}
    dataset = replace(dataset, **parts, factor_names=("a", "b", "c", "row"))
    found = measure(Context(model, dataset, prior=False), ["disentanglement"])
    assert list(found) == list(DISENTANGLEMENT)
    for name, reading in found.items():
        assert reading.value == pytest.approx(1, abs=1e-9)
        assert reading.items == len(V)
        assert reading.warning.startswith("without row: ")
        assert 0 <= reading.beside["PCA"] <= 1 + 1e-9
        assert reading.beside["pure noise"] < 0.8, "codes of other items tell nothing of the factors"
        # Three dimensions of noise may have a modularity near 1, and vary together with any factor.
        assert "shuffled" not in reading.warning or name in ("factor_vae", "modularity")


@pytest.mark.parametrize("items", [80, 600])
def test_codes_of_noise_are_said_to_score_as_noise_does(items: int) -> None:
    """Their scores are those of shuffled codes, up to chance, which is larger for fewer items."""
    rng = np.random.default_rng(0)
    model, dataset = identity(rng.normal(size=(items, 6)))
    test = replace(dataset.test, factors=rng.integers(0, 3, (items, 3)))
    found = measure(
        Context(model, replace(dataset, test=test), prior=False), ["mig", "sap", "dci_disentanglement"]
    )
    for name, reading in found.items():
        spread = max(reading.beside_sd["pure noise"], 0.002)
        assert reading.value == pytest.approx(reading.beside["pure noise"], abs=8 * spread), name
    assert "no more than shuffled codes" in found["mig"].warning
    assert (found["mig"].beside["pure noise"] > 0.01) == (items < 100)
    assert "± " in beside(found["mig"].to_dict() | {"decimals": 3})


def test_factors_are_measured_where_there_are_some() -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=2)
    assert set(measure(Context(model, dataset), ["disentanglement"]).values()) == {None}
    test = replace(dataset.test, factors=grid(2, 5, times=2))
    found = measure(Context(model, replace(dataset, test=test)), ["disentanglement"])
    assert all(0 <= reading.value <= 1 for reading in found.values())
    assert all(METRICS[name].group in GROUPS for name in found)
