"""Measures: values known exactly first, then what they must and must not react to, then a real data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import image_dataset, made, split, table_dataset

from latlas.data import DataOptions, Dataset, Scaling, Split, load
from latlas.divergences import mmd
from latlas.errors import InputError, LatlasError
from latlas.metrics import GROUPS, METRICS, Context, classifier
from latlas.metrics import measure as readings
from latlas.metrics.classifier import classifier_of
from latlas.metrics.codes import block_mmd, mean_code_norm
from latlas.metrics.downstream import silhouette
from latlas.metrics.samples import gradient_energy, morph_smoothness, plausible_share, sharpness
from latlas.models import Model

POINT = {"posterior__name": "point", "objective__name": "reconstruction"}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "SEEN", 4800)
    monkeypatch.setattr(classifier, "_classifiers", {})


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measure(
    model: Model, dataset: Dataset, names: Sequence[str] = ("all",), prior: bool = True, seed: int = 0
) -> dict[str, float | None]:
    found = readings(Context(model, dataset, prior, seed), names)
    return {name: None if reading is None else reading.value for name, reading in found.items()}


# Codes


def test_separated_clusters_have_a_silhouette_near_one() -> None:
    labels = np.arange(60) % 3
    codes = 100 * np.eye(3)[labels] + normals(60, 3).numpy()
    assert silhouette(codes, labels) > 0.97


def test_codes_that_know_no_class_have_a_silhouette_of_zero() -> None:
    codes, labels = normals(3000, 2).numpy(), np.arange(3000) % 3
    assert silhouette(codes, labels) == pytest.approx(0, abs=0.02)


def test_the_silhouette_is_rousseeuws() -> None:
    """Two pairs one apart, ten between them: for the outer codes a = 1, b = 10.5, for the inner ones b = 9.5."""
    codes = np.array([[0.0], [1.0], [10.0], [11.0]])
    expected = ((10.5 - 1) / 10.5 + (9.5 - 1) / 9.5) / 2
    assert silhouette(codes, np.array([0, 0, 1, 1])) == pytest.approx(expected)
    assert silhouette(codes, np.zeros(4)) is None
    assert silhouette(codes, np.arange(4)) is None


def test_mmd_in_blocks_is_the_unbiased_one_and_zero_for_equal_laws() -> None:
    x, y = normals(250, 3), 1 + normals(250, 3, seed=1)
    assert block_mmd(x, y).tolist() == [mmd(x, y).item()]
    halves = (mmd(x[:125], y[:125]) + mmd(x[125:], y[125:])).item() / 2
    assert block_mmd(x, y, block=125).mean().item() == pytest.approx(halves)
    values = torch.tensor(
        [block_mmd(normals(1001, 3, seed=i), normals(1001, 3, seed=100 + i)).mean() for i in range(20)]
    )
    assert values.mean().abs() < 4 * values.std() / 20**0.5
    assert values.std() < 0.002
    assert block_mmd(normals(1, 3), normals(1, 3)) is None


def test_the_norm_of_the_mean_code() -> None:
    assert mean_code_norm(np.array([[2.0, 4.0], [4.0, 4.0]])) == 5
    assert mean_code_norm(np.array([[2.0, -3.0], [-2.0, 3.0]])) == 0


# What a decoder makes


def test_gradient_energy_is_the_mean_square_of_neighbours_differences() -> None:
    """A ramp by 0.5 across, 3 rows and 5 columns: 12 differences of 0.5, and 10 of 0."""
    ramp = (0.5 * torch.arange(5.0)).expand(1, 1, 3, 5)
    assert gradient_energy(ramp) == pytest.approx(12 * 0.25 / 22)
    assert gradient_energy(ramp.transpose(2, 3)) == pytest.approx(12 * 0.25 / 22)
    assert gradient_energy(torch.ones(2, 3, 1, 1)) == 0


def test_sharpness_falls_with_blur_and_rises_with_noise() -> None:
    real = torch.rand(20, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    assert sharpness(real, real) == 1
    assert sharpness(real / 2, real) == pytest.approx(0.25)
    assert sharpness(torch.nn.functional.avg_pool2d(real, 3, 1), real) < 0.5
    assert sharpness(real + 0.2 * normals(*real.shape), real) > 1.1
    assert sharpness(real, torch.ones(5, 3, 4, 4)) is None


def test_an_even_morph_is_one_and_a_jump_the_number_of_steps() -> None:
    ends = normals(7, 1, 4), normals(7, 1, 4, seed=1)
    t = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None]
    assert morph_smoothness(ends[0] * (1 - t) + ends[1] * t) == pytest.approx(1)
    jump = torch.where(t < 0.5, ends[0], ends[1])
    assert morph_smoothness(jump) == pytest.approx(10)
    still = ends[0].expand(-1, 11, -1)
    assert morph_smoothness(torch.cat([jump, still])) == pytest.approx(10)
    assert morph_smoothness(still) is None


# On a model


def identity(x: np.ndarray) -> tuple[Model, Dataset]:
    """A linear autoencoder that is the identity: codes and decodings are the rows of the table."""
    dataset = table_dataset(x)
    size = x.shape[1]
    _, model = made(
        dataset, network__name="linear", model__latent=size, training__precision="float64", **POINT
    )
    with torch.no_grad():
        for layer in (model.encoder[1], model.decoder.output):
            layer.weight.copy_(torch.eye(size))
            layer.bias.zero_()
    return model, dataset


def test_codes_from_the_prior_have_no_distance_to_it_and_shifted_ones_do() -> None:
    values = [
        measure(*identity(normals(4000, 2).numpy() + s), ["mmd_prior"])["mmd_prior"] for s in (0, 0.3, 1)
    ]
    assert abs(values[0]) < 0.002
    assert values[0] < values[1] < values[2]
    # E k = (1 + 2 / D)^(-D / 2) = 1/2, and exp(-|m|^2 / (2 (D + 2))) as much for a shift by m.
    assert values[2] == pytest.approx(2 * 0.5 * (1 - np.exp(-2 / 8)), abs=0.02)


def test_a_linear_decoder_morphs_evenly_and_a_mean_code_is_a_mean_row() -> None:
    x = normals(50, 3).numpy()
    values = measure(*identity(x))
    assert values["morph_smoothness"] == pytest.approx(1, abs=1e-5)
    assert values["mean_code_norm"] == pytest.approx(np.linalg.norm(x.mean(0)))
    nothing = ("knn_accuracy", "silhouette", "plausible_share", "sharpness")
    assert [values[name] for name in nothing] == [None] * 4


def test_every_measure_is_described_and_all_come_in_their_order(quick: None) -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=2)
    steps: list[tuple[str, int, int, str]] = []
    observer = SimpleNamespace(note=print, progress=lambda *words: steps.append(words))
    found = readings(Context(model, dataset, observer=observer))
    values = {name: None if reading is None else reading.value for name, reading in found.items()}
    shown = [name for name, metric in METRICS.items() if metric.group != "bound"]
    assert list(values) == shown
    told = [words for words in steps if words[0] == "measuring"]
    assert [words[1:] for words in told[:-1]] == [
        (i, len(shown), METRICS[name].title) for i, name in enumerate(shown)
    ]
    assert told[-1] == ("measuring", len(shown), len(shown))
    assert values == measure(model, dataset)
    assert all(m.better in ("higher", "lower", "") and m.title and m.why for m in METRICS.values())
    assert all(m.group in GROUPS for m in METRICS.values())
    assert all(r is None or (r.items > 0 and np.isfinite(r.value)) for r in found.values())
    assert 0 <= values["knn_accuracy"] <= 1
    assert values["sharpness"] > 0
    # Labels that the images do not tell: there the judge knows nothing, and says nothing.
    assert values["plausible_share"] is None
    assert list(measure(model, dataset, ["sharpness"])) == ["sharpness"]


def test_without_a_prior_the_codes_own_gaussian_stands_in() -> None:
    rows = normals(5000, 2).numpy() @ np.array([[3.0, 1.0], [0.0, 0.5]]) + [7, -4]
    model, dataset = identity(rows)
    for latent in (2, 3):
        data = (
            rows if latent == 2 else np.column_stack([rows, rows.sum(1)])
        )  # the third is no dimension of its own
        model, dataset = identity(data)
        grid = Context(model, dataset, False, 0).grid
        assert grid.shape == (400, latent)
        np.testing.assert_allclose(grid.mean(0), data.mean(0), atol=0.4)
        np.testing.assert_allclose(np.cov(grid.T.numpy()), np.cov(data.T), rtol=0.2, atol=0.2)
    assert measure(model, dataset, ["mmd_prior"], prior=False) == {"mmd_prior": None}


def test_in_two_dimensions_the_grid_is_the_priors_quantiles() -> None:
    grid = Context(*identity(normals(9, 2).numpy()), True, 0).grid
    shares = torch.special.ndtr(grid)
    assert shares.unique(dim=0).shape == (400, 2)
    torch.testing.assert_close(shares.min(0).values, torch.full((2,), 0.025, dtype=torch.float64))
    torch.testing.assert_close(shares.max(0).values, torch.full((2,), 0.975, dtype=torch.float64))


@pytest.mark.parametrize(
    "settings",
    [
        {"posterior__name": "full-gaussian"},
        {"posterior__name": "flow", "prior__name": "mixture", "prior__components": 3},
        {"prior__name": "vamp", "prior__components": 3},
        {"training__precision": "float64", **POINT},
    ],
)
def test_every_family_is_measured_and_repeats(settings: dict[str, object]) -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=2, **settings)
    names = ["mmd_prior", "mean_code_norm", "sharpness", "morph_smoothness"]
    values = measure(model, dataset, names)
    assert all(np.isfinite(value) for value in values.values())
    assert values == measure(model, dataset, names)
    assert values != measure(model, dataset, names, seed=1)


def test_labels_that_are_numbers_are_no_classes() -> None:
    dataset = image_dataset()
    real = replace(dataset, test=replace(dataset.test, labels=dataset.test.labels / 2), classes=None)
    _, model = made(dataset, model__latent=2)
    values = measure(model, real, ["knn_accuracy", "silhouette"])
    assert list(values.values()) == [None, None]


def test_unknown_names_empty_splits_and_diverged_models_are_refused() -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=2)
    with pytest.raises(InputError, match=r"unknown measure 'beauty'.*\(known: .*, codes"):
        measure(model, dataset, ["beauty"])
    nothing = dataset.test.take(slice(0, 0))
    with pytest.raises(InputError, match="empty"):
        measure(model, replace(dataset, test=nothing, valid=nothing, train=nothing))
    with torch.no_grad():
        model.decoder.output.bias.fill_(float("nan"))
    with pytest.raises(LatlasError, match="decoded items are not finite"):
        measure(model, dataset, ["sharpness"])


# What looks like the data


def bars(n: int = 900, seed: int = 0) -> Dataset:
    """Bright bars at one of three places, of a brightness and a width of their own: 12 x 12 uint8."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    columns = np.arange(12)
    left = 1 + 4 * labels[:, None]
    bar = (columns >= left) & (columns < left + rng.integers(2, 4, (n, 1)))
    x = (bar * rng.integers(120, 256, (n, 1)))[:, None, :, None].repeat(12, 1).astype(np.uint8)
    parts = [
        split(part, y) for part, y in zip(np.split(x, [600, 600]), np.split(labels, [600, 600]), strict=True)
    ]
    scaling = Scaling("integer", (0.0,), (255.0,))
    return Dataset("bars", "bars", "image", (1, 12, 12), False, scaling, *parts, classes=("a", "b", "c"))


def test_real_images_are_plausible_and_others_are_not(quick: None) -> None:
    dataset = bars()
    judge = classifier_of(dataset)
    real = classifier.as_tensor(dataset, dataset.test.x)
    generator = torch.Generator().manual_seed(0)
    shares = {
        "real": real,
        "noise": torch.rand(real.shape, generator=generator),
        "black": torch.zeros_like(real),
        "mean": real.mean(0, keepdim=True),
        "upright": real.transpose(2, 3),
        "two in one": (real[dataset.test.labels == 0][:50] + real[dataset.test.labels == 1][:50]) / 2,
    }
    found = {name: judge.plausible(x).mean() for name, x in shares.items()}
    # Either judgement refuses on its own.
    for alone in (replace(judge, distance=np.inf), replace(judge, confidence=0.0)):
        assert alone.plausible(shares["two in one"]).mean() < 0.05
        assert alone.plausible(real).mean() >= 0.95
    assert 0.93 <= found.pop("real") <= 1
    assert max(found.values()) < 0.05


def test_the_judge_is_made_once_for_a_data_set_and_the_same_each_time(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "SEEN", 3200)
    dataset = replace(bars(), fingerprint="bars")
    judge = classifier_of(dataset)
    assert judge is not None
    assert classifier_of(replace(dataset, name="renamed")) is judge
    again = classifier_of(replace(dataset, fingerprint="bars again"))
    assert again is not judge
    monkeypatch.setattr(classifier, "_classifiers", {})
    monkeypatch.setattr(classifier, "fit", lambda *_: pytest.fail("it is kept on disk"))
    kept = classifier_of(dataset)
    assert (kept.confidence, kept.distance) == (judge.confidence, judge.distance)
    real = classifier.as_tensor(dataset, dataset.test.x)
    np.testing.assert_allclose(kept.scores(real), judge.scores(real), rtol=1e-9)
    assert (again.confidence, again.distance) == (judge.confidence, judge.distance)


def test_there_is_no_judge_without_images_or_classes() -> None:
    dataset = bars()
    assert classifier_of(replace(dataset, train=replace(dataset.train, labels=None))) is None
    one = replace(dataset.train, labels=np.zeros_like(dataset.train.labels))
    assert classifier_of(replace(dataset, train=one)) is None
    assert classifier_of(table_dataset(normals(50, 3).numpy())) is None
    for labels in (None, np.full_like(dataset.test.labels, -1)):
        assert classifier_of(replace(dataset, test=replace(dataset.test, labels=labels))) is None


def test_the_judge_learns_of_labelled_images_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "SEEN", 1600)
    dataset = bars()

    def hidden(part: Split) -> Split:
        """The split with as many images more, without labels, that are all noise."""
        noise = np.random.default_rng(0).integers(0, 256, part.x.shape, np.uint8)
        return split(np.concatenate([part.x, noise]), np.concatenate([part.labels, np.full(len(part), -1)]))

    judge = classifier_of(dataset)
    again = classifier_of(replace(dataset, train=hidden(dataset.train), test=hidden(dataset.test)))
    assert (again.accuracy, again.confidence, again.distance) == (
        judge.accuracy,
        judge.confidence,
        judge.distance,
    )


def test_a_judge_that_is_unsure_of_real_images_says_nothing() -> None:
    few = load(DataOptions(source="digits", limit=300))
    judge = classifier_of(few)
    assert judge is not None
    assert judge.plausible(torch.zeros(3, 1, 8, 8)) is None
    assert plausible_share(few, torch.zeros(3, 1, 8, 8)) is None


def test_large_images_are_judged_small() -> None:
    assert classifier.small(torch.rand(2, 3, 64, 48)).shape == (2, 3, 32, 24)
    assert classifier.small(torch.rand(2, 1, 28, 20)).shape == (2, 1, 28, 20)


@pytest.mark.slow
@pytest.mark.usefixtures("real_data")
@pytest.mark.real
def test_garments_are_plausible_and_what_is_none_is_not() -> None:
    dataset = load(DataOptions(source="fashion-mini"))
    judge = classifier_of(dataset)
    real = classifier.as_tensor(dataset, dataset.test.x)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(real.shape, generator=generator)
    look = (real.mean(0) + real.std(0) * torch.randn(real.shape, generator=generator)).clamp(0, 1)
    four = sum(real.roll(i, 0) for i in range(4)) / 4
    assert 0.94 < judge.plausible(real).mean() < 0.97
    assert judge.plausible(real.roll(1, 3)).mean() > 0.8
    for none in (noise, look, 1 - real, real.mean(0, keepdim=True)):
        assert judge.plausible(none).mean() < 0.02
    assert judge.plausible(four).mean() < 0.15
