"""Samples against real images: closed forms first, then what the scores must and must not react to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import image_dataset, made, table_dataset
from scipy.linalg import sqrtm
from test_measures import bars

from latlas.data import DataOptions, Dataset, load
from latlas.metrics import Context, classifier, measure
from latlas.metrics.samples import frechet_distance, kernel_distances, precision_recall

NAMES = ("precision", "recall", "density", "coverage", "kernel_distance", "frechet_distance")


def normals(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def scores(real: np.ndarray, fake: np.ndarray, k: int = 5) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in precision_recall(real, fake, k).items()}


def test_a_line_of_points_by_hand() -> None:
    """Real images at 0, 1, 3, 6 with balls of 1, 1, 2, 3 (k = 1); fake ones at 0.5, 4.5 and 100."""
    real, fake = np.array([[0.0], [1.0], [3.0], [6.0]]), np.array([[0.5], [4.5], [100.0]])
    found = precision_recall(real, fake, k=1)
    assert found["precision"].tolist() == [1, 1, 0]
    assert found["density"].tolist() == [2, 2, 0]
    assert found["coverage"].tolist() == [1, 1, 1, 1]
    # Balls of the fake ones: 4, 4 and 95.5.
    assert found["recall"].tolist() == [1, 1, 1, 1]
    assert precision_recall(real, np.array([[0.5], [0.6], [0.7]]), k=1)["recall"].tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="more than 5 images"):
        precision_recall(real, fake)


def test_equal_laws_have_density_one_and_the_coverage_of_chance() -> None:
    """A real ball misses all M samples with probability prod_i (N - i) / (N + M - i), i = 1..k (Naeem et al. 2020)."""
    n, k = 600, 5
    found = [scores(normals(n, 4, seed=2 * i), normals(n, 4, seed=2 * i + 1), k) for i in range(6)]
    missed = np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    assert np.mean([f["density"] for f in found]) == pytest.approx(1, abs=0.03)
    assert np.mean([f["coverage"] for f in found]) == pytest.approx(1 - missed, abs=0.01)
    assert np.mean([f["precision"] for f in found]) == pytest.approx(
        np.mean([f["recall"] for f in found]), abs=0.03
    )


def test_a_narrow_law_is_precise_and_has_no_recall_and_a_wide_one_the_other_way() -> None:
    real = normals(500, 8)
    narrow, wide = (scores(real, s * normals(500, 8, seed=1)) for s in (0.3, 3))
    assert narrow["precision"] > 0.95 > 0.1 > narrow["recall"]
    assert wide["recall"] > 0.95 > 0.3 > wide["precision"]
    assert max(narrow["coverage"], wide["coverage"]) < 0.5
    far = scores(real, normals(500, 8, seed=1) + 50)
    assert (far["precision"], far["density"], far["coverage"]) == (0, 0, 0)


def test_the_frechet_distance_of_gaussians() -> None:
    rng = np.random.default_rng(0)
    x, y = normals(4000, 5) @ rng.normal(size=(5, 5)), normals(4000, 5, seed=1) @ rng.normal(size=(5, 5)) + 1
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x, x + 2) == pytest.approx(20)
    # A feature that is 0 everywhere makes the covariance singular.
    assert frechet_distance(np.column_stack([x, np.zeros(4000)]), np.column_stack([y, np.zeros(4000)])) == (
        pytest.approx(expected, rel=1e-6)
    )


def test_the_kernel_distance_is_about_zero_for_equal_laws_and_that_of_its_moments_else() -> None:
    values = [
        kernel_distances(normals(500, 3, seed=2 * i), normals(500, 3, seed=2 * i + 1), 250) for i in range(20)
    ]
    mean, stderr = np.mean(values), np.std(values) / np.sqrt(np.size(values))
    assert abs(mean) < 4 * stderr
    # One dimension, x = 0 and y = 2 throughout: k(0, 0) + k(2, 2) - 2 k(0, 2) = 1 + 125 - 2.
    assert kernel_distances(np.zeros((4, 1)), np.full((4, 1), 2.0)).tolist() == [124]
    assert kernel_distances(normals(500, 3), normals(500, 3, seed=1) + 1).mean() > 20 * stderr


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(classifier, "SEEN", 3200)
    monkeypatch.setattr(classifier, "_classifiers", {})
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path))


def real_in_place_of_samples(dataset: Dataset, spoil: float = 0.0) -> Context:
    """A context whose decoder gives training images, `spoil` of the way to their mean."""
    _, model = made(dataset, model__latent=2)
    context = Context(model, dataset)
    images = classifier.as_tensor(dataset, dataset.train.x)
    images = images + spoil * (images.mean(0) - images)
    chosen = torch.from_numpy(np.random.default_rng(0).integers(len(images), size=len(dataset.test)))
    object.__setattr__(context, "decode", lambda codes: images[chosen[: len(codes)]])
    return context


def test_real_images_score_as_real_ones_and_spoilt_ones_do_not(quick: None) -> None:
    dataset = bars()
    good = measure(real_in_place_of_samples(dataset), NAMES)
    bad = measure(real_in_place_of_samples(dataset, 0.8), NAMES)
    for name in NAMES:
        (about,) = good[name].beside.items()
        assert about[0] == "training images"
        assert good[name].by.startswith("classifier ")
        assert good[name].items == len(dataset.test)
    assert good["precision"].value > 0.8 > bad["precision"].value
    assert good["coverage"].value > 0.8 > 0.3 > bad["coverage"].value
    for name in ("kernel_distance", "frechet_distance"):
        assert good[name].value < 0.1 * bad[name].value


def test_the_classifier_is_trained_once_kept_and_known_by_its_hash(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = replace(bars(), fingerprint="bars")
    first = classifier.classifier_of(dataset)
    assert first.accuracy > 0.9
    assert len(first.name) == 12
    monkeypatch.setattr(classifier, "_classifiers", {})
    with monkeypatch.context() as patch:
        patch.setattr(classifier, "fit", lambda *_: pytest.fail("it is kept on disk"))
        again = classifier.classifier_of(dataset)
    x = classifier.as_tensor(dataset, dataset.test.x)
    assert again.name == first.name
    np.testing.assert_array_equal(again.features(x), first.features(x))
    (path,) = (Path(classifier.cache_home()) / "classifiers").glob("*.safetensors")
    path.write_bytes(b"damaged")
    monkeypatch.setattr(classifier, "_classifiers", {})
    assert classifier.classifier_of(dataset).accuracy == first.accuracy
    assert classifier.classifier_of(replace(dataset, fingerprint="others")).name == first.name
    shifted = replace(dataset, fingerprint="shifted", train=replace(dataset.train, x=dataset.train.x // 2))
    assert classifier.classifier_of(shifted).name != first.name


def test_the_classifier_of_the_embedded_images_comes_with_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path))
    monkeypatch.setattr(classifier, "_classifiers", {})
    monkeypatch.setattr(classifier, "fit", lambda *_: pytest.fail("it is in the package"))
    shipped = classifier.classifier_of(load(DataOptions(source="fashion-mini")))
    assert shipped.accuracy > 0.8
    assert shipped.confidence is not None


@pytest.mark.slow
def test_the_classifier_in_the_package_is_what_training_gives() -> None:
    dataset = load(DataOptions(source="fashion-mini"))
    shipped = classifier.classifier_of(dataset)
    fitted = classifier._from_tensors(classifier.fit(dataset), dataset)
    assert shipped.accuracy == pytest.approx(fitted.accuracy, abs=0.02)
    real = classifier.as_tensor(dataset, dataset.test.x)
    noise = torch.rand(real.shape, generator=torch.Generator().manual_seed(0))
    for images in (real, noise, real.flip(0).roll(14, 3)):
        judged = [judge.plausible(images) for judge in (shipped, fitted)]
        assert (judged[0] == judged[1]).mean() > 0.9  # machines round differently, and training amplifies it


def test_there_are_no_scores_without_images_classes_or_enough_of_them(quick: None) -> None:
    dataset = image_dataset(60)
    _, model = made(dataset, model__latent=2)
    unlabelled = replace(dataset, train=replace(dataset.train, labels=None))
    few = replace(dataset, test=dataset.test.take(slice(0, 4)))
    for data in (unlabelled, few):
        assert set(measure(Context(model, data), NAMES).values()) == {None}
    table = table_dataset(normals(50, 3))
    _, model = made(table, model__latent=2)
    assert set(measure(Context(model, table), NAMES).values()) == {None}


@pytest.mark.slow
def test_training_images_of_garments_score_as_the_test_images_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "_classifiers", {})
    dataset = load(DataOptions(source="fashion-mini"))
    by = classifier.classifier_of(dataset)
    assert by.accuracy > 0.8
    real = by.features(classifier.as_tensor(dataset, dataset.test.x))
    training = by.features(classifier.as_tensor(dataset, dataset.train.x[:2000]))
    found = scores(real, training)
    assert found["coverage"] > 0.9
    assert found["precision"] > 0.9
    assert frechet_distance(real, training) < 0.5
    blurred = torch.nn.functional.avg_pool2d(classifier.as_tensor(dataset, dataset.train.x[:2000]), 5, 1, 2)
    assert frechet_distance(real, by.features(blurred)) > 5
