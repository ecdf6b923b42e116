"""Numbers on codes and on their use: closed forms first, then properties, then every kind of model and of data."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import image_dataset, made, split, table_dataset
from scipy.stats import wasserstein_distance

from latlas.data import Dataset, Scaling
from latlas.metrics import METRICS, Context, Value
from latlas.metrics import measure as readings
from latlas.metrics.downstream import MOST_VALUES, View, knn_hits, probe_hits, raw_values, ridge_r2
from latlas.metrics.information import aggregate
from latlas.metrics.spread import (
    effective_dimensions,
    log_det_cov,
    sliced_wasserstein,
    total_correlation,
    wasserstein,
)
from latlas.models import Model
from latlas.posteriors import GaussianPosterior

POINT = {"posterior__name": "point", "objective__name": "reconstruction"}
OURS = [name for name, about in METRICS.items() if about.group in ("codes", "downstream")]
COVARIANCE = np.array([[4.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 0.5]])


def normals(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def gaussian_codes(count: int, seed: int = 0) -> np.ndarray:
    return normals(count, 3, seed=seed) @ np.linalg.cholesky(COVARIANCE).T + [1, -2, 30]


def channel(x: np.ndarray, log_var: tuple[float, ...], **settings: object) -> Context:
    """A linear model with q(z | x) = N(x, diag(exp(log_var))): the table's rows are the mean codes."""
    dataset = table_dataset(x)
    size = x.shape[1]
    _, model = made(
        dataset, network__name="linear", model__latent=size, training__precision="float64", **settings
    )
    outputs = model.encoder[1].out_features
    with torch.no_grad():
        model.encoder[1].weight.copy_(torch.eye(outputs, size))
        model.encoder[1].bias.copy_(torch.tensor([0.0] * size + [*log_var])[:outputs])
    return Context(model, dataset)


def read(context: Context, name: str) -> Value:
    found = readings(context, [name])[name]
    assert found is not None
    return found


# How codes spread


def test_log_det_and_total_correlation_are_those_of_the_covariance() -> None:
    found = [(log_det_cov(codes), total_correlation(codes)) for codes in map_seeds(gaussian_codes, 40)]
    determinant = np.linalg.det(COVARIANCE)
    expected = math.log(determinant), 0.5 * math.log(4 * 1 * 0.5 / determinant)
    for readings_, value in zip(zip(*found, strict=True), expected, strict=True):
        values = np.array([r.value for r in readings_])
        assert values.mean() == pytest.approx(value, abs=0.02)
        # The standard error is what the values scatter by.
        assert np.mean([r.stderr for r in readings_]) == pytest.approx(values.std(ddof=1), rel=0.35)


def map_seeds(make: object, count: int, items: int = 1000) -> list[np.ndarray]:
    return [make(items, seed) for seed in range(count)]  # type: ignore[operator]


def test_independent_codes_have_the_total_correlation_that_stands_beside() -> None:
    found = [total_correlation(normals(60, 8, seed=i)) for i in range(200)]
    values = np.array([r.value for r in found])
    beside = found[0].beside["independent codes"]
    assert abs(values.mean() - beside) < 4 * values.std() / math.sqrt(len(values))
    assert beside == pytest.approx(8 * 7 / (4 * 60), rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_total_correlation_is_never_negative_and_knows_no_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((int(rng.integers(5, 200)), 4)) ** rng.integers(1, 4)
    value = total_correlation(codes).value
    assert value >= 0
    scaled = codes * [1e-3, 1, 1e4, -7] + [5, 0, 1e3, -1]
    assert total_correlation(scaled).value == pytest.approx(value, abs=1e-8)
    # A product grid has no correlation at all: rounding must not take it below 0.
    grid = np.stack(np.meshgrid(codes[:5, 0], codes[:5, 1], codes[:5, 2]), -1).reshape(-1, 3)
    assert 0 <= total_correlation(grid).value < 1e-12


def test_collapsed_and_dependent_dimensions_give_numbers_and_say_so() -> None:
    codes = gaussian_codes(500)
    constant = np.column_stack([codes, np.full(500, 7.1), np.zeros(500)])
    assert total_correlation(constant).value == pytest.approx(total_correlation(codes).value)
    assert total_correlation(constant).warning == ""
    flat = log_det_cov(constant)
    assert flat.value == pytest.approx(log_det_cov(codes).value)
    assert flat.warning == "2 of 5 directions do not vary and are left out: the determinant is 0"
    doubled = total_correlation(np.column_stack([codes, codes[:, 0] - codes[:, 1]]))
    assert doubled.warning == "1 of 4 dimensions follow from the others: the true value is infinite"
    assert 10 < doubled.value < 40
    assert log_det_cov(np.ones((9, 2))) is None
    assert total_correlation(np.ones((9, 2))).value == 0
    assert effective_dimensions(np.ones((9, 2))) is None
    assert [total_correlation(codes[:, :1]), total_correlation(codes[:3]), log_det_cov(codes[:3])] == [
        None
    ] * 3


def test_effective_dimensions_are_the_participation_ratio() -> None:
    line = normals(50, 1) * np.array([[1.0, -2.0, 0.5]])
    assert effective_dimensions(line).value == pytest.approx(1)
    cross = np.concatenate([np.eye(4), -np.eye(4)])
    assert effective_dimensions(cross).value == pytest.approx(4)
    found = [effective_dimensions(codes) for codes in map_seeds(gaussian_codes, 40)]
    values = np.array([r.value for r in found])
    expected = np.trace(COVARIANCE) ** 2 / (COVARIANCE**2).sum()
    assert values.mean() == pytest.approx(expected, abs=0.02)
    assert np.mean([r.stderr for r in found]) == pytest.approx(values.std(ddof=1), rel=0.35)


def test_wasserstein_is_scipys_and_a_shift_is_its_length_along_each_direction() -> None:
    x, y = normals(300, 3), 0.5 + 2 * normals(300, 3, seed=1) ** 3
    expected = [wasserstein_distance(x[:, d], y[:, d]) for d in range(3)]
    np.testing.assert_allclose(wasserstein(x, y), expected)
    shift = np.array([3.0, 0.0, -4.0])
    np.testing.assert_allclose(wasserstein(x, x[::-1] + shift), [3, 0, 4], atol=1e-12)
    # The mean of |u_1| over the sphere in three dimensions is 1/2.
    sliced = sliced_wasserstein(x, x[::-1] + shift)
    assert sliced.mean() == pytest.approx(5 / 2, abs=4 * sliced.std() / math.sqrt(len(sliced)))
    assert sliced.min() >= 0
    assert sliced.max() <= 5
    np.testing.assert_allclose(sliced_wasserstein(x[:, :1], y[:, :1]), expected[0])


def test_slices_see_what_single_dimensions_do_not() -> None:
    """Two dimensions that are each standard normal, and always the same."""
    codes, prior = normals(2000, 1).repeat(2, 1), normals(2000, 2, seed=1)
    chance = sliced_wasserstein(normals(2000, 2, seed=2), prior).mean()
    assert wasserstein(codes, prior).mean() < 2 * chance
    assert sliced_wasserstein(codes, prior).mean() > 4 * chance


# How much codes tell


def test_a_gaussian_channel_tells_half_the_log_of_one_plus_its_signal_to_noise_ratio() -> None:
    """Means from N(0, 1 - s2), noise s2: the aggregate posterior is the prior, and I = KL = -1/2 sum log s2."""
    s2 = np.array([0.25, 0.5, 1 - 1e-12])
    context = channel(normals(2000, 3) * np.sqrt(1 - s2), tuple(np.log(s2)))
    truth = -0.5 * float(np.log(s2).sum())
    told, left = read(context, "mutual_information"), read(context, "marginal_kl")
    kl = read(context, "kl_by_dimension")
    assert told.value == pytest.approx(truth, abs=4 * told.stderr)
    assert abs(left.value) < 4 * left.stderr + 0.02
    assert kl.value == pytest.approx(truth, abs=4 * kl.stderr)
    assert sum(kl.parts) == pytest.approx(kl.value)
    np.testing.assert_allclose(kl.parts, -0.5 * np.log(s2), atol=0.05)
    assert kl.value == pytest.approx(told.value + left.value, abs=4 * (told.stderr + left.stderr))
    assert (told.warning, left.warning) == ("", "")
    assert told.value <= told.beside["upper bound"] <= told.value + 0.1
    assert 0 <= left.beside["lower bound"] <= left.value
    assert told.beside["log of the number of items"] == math.log(2000)
    assert read(context, "active_units").parts == (1, 1, 0)


def test_mutual_information_is_capped_by_the_items_and_says_so() -> None:
    context = channel(30 * normals(100, 2), (-6.0, -6.0))
    told, left = read(context, "mutual_information"), read(context, "marginal_kl")
    assert told.value == pytest.approx(math.log(100), abs=0.05)
    assert told.value <= math.log(100) + 1e-12
    assert told.beside["upper bound"] == pytest.approx(read(context, "kl_by_dimension").value)
    assert told.warning.startswith(
        "100 items cannot show more than log 100 = 4.61 nats: the true value is between 4"
    )
    assert "too high" in left.warning
    assert left.beside["lower bound"] == 0


def test_without_a_prior_codes_tell_but_are_not_far_from_anything() -> None:
    found = readings(replace(channel(normals(200, 2), (-1.0, -1.0)), prior=False), ["codes"])
    there = {
        "mutual_information",
        "effective_dimensions",
        "total_correlation",
        "log_det_cov",
        "mean_code_norm",
    }
    assert {name for name, reading in found.items() if reading} == there
    assert "prior" not in found["log_det_cov"].beside


def test_codes_that_ignore_the_items_tell_nothing() -> None:
    context = channel(np.tile([0.0, 1.0], (300, 1)), (0.0, 0.0))
    assert read(context, "mutual_information").value == pytest.approx(0, abs=1e-9)
    assert read(context, "marginal_kl").value == pytest.approx(
        0.5, abs=4 * read(context, "marginal_kl").stderr
    )
    assert read(context, "kl_by_dimension").parts == pytest.approx((0, 0.5))
    assert read(context, "active_units").value == 0


def test_the_aggregate_is_the_mean_of_all_densities_however_it_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mean, log_std, z = (torch.from_numpy(normals(30, 2, seed=i)) for i in range(3))
    q = GaussianPosterior(mean, log_std)
    densities = torch.distributions.Normal(mean, log_std.exp()).log_prob(z[:, None]).sum(-1)
    found = aggregate(q, z)
    np.testing.assert_allclose(found.own, densities.diagonal())
    np.testing.assert_allclose(found.mixture, densities.logsumexp(1) - math.log(30))
    rest = densities.clone().fill_diagonal_(-math.inf)
    np.testing.assert_allclose(found.others, rest.logsumexp(1) - math.log(29))
    monkeypatch.setattr("latlas.metrics.information.BLOCK_VALUES", 7 * 30 * 2)
    np.testing.assert_allclose(aggregate(q, z).mixture, found.mixture)
    monkeypatch.setattr("latlas.metrics.information.MOST_WORK", 2 * 10**2)
    np.testing.assert_allclose(aggregate(q, z).mixture, densities[:10, :10].logsumexp(1) - math.log(10))


def test_codes_at_the_prior_are_no_further_from_it_than_its_own_draws() -> None:
    for shift in (0.0, 1.0):
        context = channel(math.sqrt(0.5) * normals(2000, 2) + [shift, 0], (math.log(0.5),) * 2)
        near, sliced = read(context, "wasserstein_prior"), read(context, "sliced_wasserstein_prior")
        chance = near.beside["two prior samples"], sliced.beside["two prior samples"]
        assert max(chance) < 0.08
        np.testing.assert_allclose(near.parts, [shift, 0], atol=0.1)
        assert near.value == pytest.approx(np.mean(near.parts))
        assert sliced.value == pytest.approx(shift * 2 / math.pi, abs=0.1)
        assert read(context, "log_det_cov").value == pytest.approx(0, abs=0.2)
        assert read(context, "log_det_cov").beside["prior"] == pytest.approx(0, abs=0.2)


# What codes are good for


def view(train: np.ndarray, test: np.ndarray) -> View:
    return View(np.asarray(train, float), np.asarray(test, float))


def test_neighbours_are_training_codes_and_ties_go_to_the_smaller_label() -> None:
    line = view([[0], [1], [10], [11]], [[0.2], [0.4], [10.1], [5.4]])
    labels = np.array([3, 3, 5, 5])
    assert knn_hits(line, labels, np.array([3, 3, 5, 3]), k=1).tolist() == [True] * 4
    assert knn_hits(line, labels, np.array([5, 7, 5, 5]), k=1).tolist() == [False, False, True, False]
    # All four vote where k is larger: two against two.
    assert knn_hits(line, labels, np.array([3, 3, 5, 3])).tolist() == [True, True, False, True]


def test_separable_codes_are_told_and_random_ones_by_chance() -> None:
    train, test = np.arange(900) % 3, np.arange(600) % 3
    apart = view(
        5 * np.eye(3)[train] + 0.3 * normals(900, 3), 5 * np.eye(3)[test] + 0.3 * normals(600, 3, seed=1)
    )
    random = view(normals(900, 3), normals(600, 3, seed=1))
    for hits in (probe_hits, knn_hits):
        assert hits(apart, train, test).mean() == 1
        assert hits(random, train, test).mean() == pytest.approx(1 / 3, abs=0.08)


def test_a_linear_label_is_explained_but_for_its_noise() -> None:
    codes = view(1e3 * normals(1000, 3), 1e3 * normals(500, 3, seed=1))
    weights = np.array([2.0, -1.0, 0.0]) / 1e3
    train, test = codes.train @ weights, codes.test @ weights
    assert ridge_r2(codes, train, test).value == pytest.approx(1, abs=1e-4)
    # Labels of variance 5 with noise of variance 5: half of it is explained.
    found = [
        ridge_r2(
            codes,
            train + math.sqrt(5) * normals(1000, seed=i),
            test + math.sqrt(5) * normals(500, seed=100 + i),
        )
        for i in range(30)
    ]
    values = np.array([r.value for r in found])
    assert values.mean() == pytest.approx(0.5, abs=0.03)
    assert np.mean([r.stderr for r in found]) == pytest.approx(values.std(ddof=1), rel=0.4)
    assert ridge_r2(codes, normals(1000), test).value < 0.02


def classes(x: np.ndarray, labels: np.ndarray) -> Dataset:
    part = split(x, labels)
    scaling = Scaling("standard", (0.0,) * x.shape[1], (1.0,) * x.shape[1])
    return Dataset("rows", "rows", "table", (x.shape[1],), False, scaling, part, part, part)


def test_separated_clusters_are_the_classes() -> None:
    labels = np.arange(90) % 3
    x = 20 * np.eye(4)[labels] + normals(90, 4)
    context = replace(channel(x, (-3.0,) * 4), dataset=classes(x, labels))
    found = readings(context, ["downstream"])
    told = {name: reading.value for name, reading in found.items() if reading}
    assert [told[name] for name in ("probe_accuracy", "knn_accuracy", "nmi", "ari")] == pytest.approx([1] * 4)
    assert told["silhouette"] > 0.8
    assert all(set(reading.beside) == {"PCA", "raw values"} for reading in found.values() if reading)
    # Codes that are the rows, and principal components that are all of them, tell what the rows do.
    shuffled = classes(x, np.random.default_rng(0).permutation(labels))
    random = readings(replace(context, dataset=shuffled), ["nmi", "ari"])
    for reading in random.values():
        assert abs(reading.value) < 0.1
        assert reading.beside == pytest.approx({"PCA": reading.value, "raw values": reading.value}, abs=1e-6)


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_items_without_a_label_count_for_nothing(kind: str) -> None:
    labels = np.arange(90) % 3 if kind == "classes" else np.linspace(-1, 1, 90)
    x = 3 * np.eye(4)[labels.astype(int) % 3] + normals(90, 4)
    known = np.random.default_rng(1).permutation(90) < 40
    missing = np.where(known, labels, -1 if kind == "classes" else np.nan)
    context = replace(channel(x, (-3.0,) * 4), dataset=classes(x, missing))
    alone = classes(x[known], labels[known])
    # PCA sees all items, of which the raw values and the codes that are the items know nothing.
    found, expected = (readings(c, ["downstream"]) for c in (context, replace(context, dataset=alone)))
    told = {name: reading for name, reading in found.items() if reading}
    assert set(told) == (set(found) - {"probe_r2"} if kind == "classes" else {"probe_r2"})
    for name, reading in told.items():
        assert (reading.items, reading.value) == (40, pytest.approx(expected[name].value, abs=0.12))
        if name not in ("nmi", "ari"):  # whose clusters begin at random items
            assert reading.beside["raw values"] == pytest.approx(expected[name].beside["raw values"])
    none = replace(context, dataset=classes(x, np.full(90, -1 if kind == "classes" else np.nan)))
    assert set(readings(none, ["downstream"]).values()) == {None}


def test_labels_that_are_numbers_get_r2_and_classes_do_not() -> None:
    x = normals(200, 3)
    context = channel(x, (-3.0,) * 3)
    real = readings(replace(context, dataset=classes(x, x @ [1.0, 2.0, 3.0])), ["downstream"])
    assert {name for name, reading in real.items() if reading} == {"probe_r2"}
    assert real["probe_r2"].value == pytest.approx(1, abs=1e-3)
    assert set(real["probe_r2"].beside) == {"PCA", "raw values"}
    for labels in (np.zeros(200, int), np.full(200, 1.5), None):
        found = readings(replace(context, dataset=classes(x, labels)), ["downstream"])
        assert set(found.values()) == {None}
    named = readings(replace(context, dataset=classes(x, np.arange(200) % 2)), ["downstream"])
    assert {name for name, reading in named.items() if not reading} == {"probe_r2"}


# On every kind of model and data


def test_a_plain_autoencoder_has_no_rate_and_no_distance_to_a_prior() -> None:
    context = replace(channel(normals(100, 2), (), **POINT), prior=False)
    found = readings(context, ["codes"])
    there = {name for name, reading in found.items() if reading}
    assert there == {"effective_dimensions", "total_correlation", "log_det_cov", "mean_code_norm"}
    # A point posterior that was drawn to the prior: its codes have the prior's scale.
    drawn = {name for name, reading in readings(replace(context, prior=True), ["codes"]).items() if reading}
    assert set(found) - drawn == {"kl_by_dimension", "mutual_information", "marginal_kl"}


@pytest.mark.parametrize(
    ("settings", "by_dimension"),
    [
        ({}, True),
        ({"posterior__name": "full-gaussian"}, True),
        ({"posterior__name": "flow"}, False),
        ({"prior__name": "mixture", "prior__components": 3}, False),
        ({"prior__name": "vamp", "prior__components": 3}, False),
    ],
)
def test_every_family_is_measured_and_the_rate_is_what_its_parts_say(
    settings: dict[str, object], by_dimension: bool
) -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=3, **settings)
    found = readings(Context(model, dataset), ["codes"])
    assert all(reading and np.isfinite(reading.value) for reading in found.values())
    kl = found["kl_by_dimension"]
    assert (len(kl.parts), kl.draws) == ((3, None) if by_dimension else (0, 1))
    assert kl.value == pytest.approx(sum(kl.parts) if by_dimension else kl.value)
    told, left = found["mutual_information"], found["marginal_kl"]
    rate = told.value + left.value
    assert kl.value == pytest.approx(
        rate, abs=0.001 if not by_dimension else 4 * (told.stderr + left.stderr) + 0.01
    )
    assert found == readings(Context(model, dataset), ["codes"])


def test_parts_are_written_down_where_there_are_some() -> None:
    assert Value(1.0, items=2, parts=(0.25, 0.75)).to_dict() == {
        "value": 1.0,
        "items": 2,
        "parts": [0.25, 0.75],
    }
    assert "parts" not in Value(1.0, items=2).to_dict()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_very_few_items_give_numbers_or_none(count: int) -> None:
    whole = image_dataset()
    dataset = replace(
        whole, test=whole.test.take(slice(0, count)), train=whole.train.take(slice(0, count + 1))
    )
    _, model = made(whole, model__latent=2)
    for reading in readings(Context(model, dataset), OURS).values():
        assert reading is None or np.isfinite(reading.value)


def test_raw_values_are_bounded() -> None:
    large = image_dataset(20, height=80, width=60, channels=3)
    _, model = made(large, model__latent=2, network__name="linear")
    values = raw_values(model, large.test, np.arange(2))
    # 32 x 24 pixels of 3 colours are more than 1,024.
    assert values.shape == (2, MOST_VALUES)
    again = raw_values(model, large.test, np.array([1, 0]))
    np.testing.assert_array_equal(again, values[::-1])
    little = image_dataset(20)
    plain = raw_values(made(little, model__latent=2)[1], little.test, np.array([1]))
    np.testing.assert_allclose(plain, little.test.x[1].reshape(1, -1) / 255, rtol=1e-6)


def test_a_table_with_more_components_asked_than_there_are_has_no_pca_beside() -> None:
    x, labels = normals(60, 2), np.arange(60) % 2
    dataset = classes(x, labels)
    _, model = made(dataset, model__latent=5)
    found = read(Context(model, dataset), "knn_accuracy")
    assert set(found.beside) == {"raw values"}


@pytest.mark.slow
@pytest.mark.usefixtures("real_data")
@pytest.mark.real
def test_a_linear_model_on_garments_tells_what_its_pca_tells() -> None:
    from latlas.data import DataOptions, load
    from latlas.pca import fit

    dataset = load(DataOptions(source="fashion-mini"))
    model: Model = fit(dataset, 16)
    for name, reading in readings(Context(model, dataset, prior=False), ["downstream"]).items():
        assert (reading is None) == (name == "probe_r2")
        if reading:
            assert reading.beside["PCA"] == pytest.approx(reading.value, abs=0.01)
            assert reading.value > (0.05 if name == "silhouette" else 0.3)
