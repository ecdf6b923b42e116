"""What measuring must bear: items of one's own, failures, rare classes, huge labels; and what it must leave alone."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import image_dataset, images, made, split, table_dataset
from test_measures import POINT, bars
from torch import nn

from latlas import metrics
from latlas.cli import run as latlas
from latlas.data import Dataset, Scaling
from latlas.metrics import METRICS, Context, Value, classifier, context_of, measure
from latlas.metrics.downstream import View, ridge_r2, views
from latlas.metrics.elbo import evaluate
from latlas.metrics.metric import share_of
from latlas.models import Model, evaluating
from latlas.runs import find

SMALL = ("train", "fashion-mini", "--limit", "200", "--steps", "5", "--latent", "2", "-q", "--set",
         "pictures.draw=false")  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(classifier, "SEEN", 3200)
    monkeypatch.setattr(classifier, "_classifiers", {})
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path))


class Told:
    """An observer that remembers its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None: ...


def test_other_items_do_not_change_who_judges(quick: None) -> None:
    dataset = replace(bars(), fingerprint="bars of one's own")
    _, model = made(dataset, model__latent=2)
    few = dataset.test.take(slice(0, 12))
    limited = measure(Context(model, dataset, items_given=few), ["precision"])["precision"]
    whole = measure(Context(model, dataset), ["precision"])["precision"]
    assert limited is not None
    assert whole is not None
    assert limited.by == whole.by
    assert (limited.items, whole.items) == (12, len(dataset.test))


def test_a_number_that_fails_or_is_not_finite_loses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(context: Context) -> Value:
        raise np.linalg.LinAlgError("singular")

    one = METRICS["mean_code_norm"]
    broken = {
        "a": replace(one, compute=fails),
        "b": replace(one, compute=lambda context: Value(math.nan)),
        "c": one,
    }
    monkeypatch.setattr(metrics, "METRICS", broken)
    told, dataset = Told(), image_dataset()
    found = measure(Context(made(dataset, model__latent=2)[1], dataset, observer=told))
    assert [name for name, reading in found.items() if reading] == ["c"]
    assert told.notes == [
        "a could not be measured: LinAlgError: singular",
        "b could not be measured: it is not finite",
    ]


@pytest.mark.parametrize("stuck", [False, True])
def test_an_autoencoder_with_more_dimensions_than_codes_has_samples(quick: None, stuck: bool) -> None:
    dataset = bars(630)
    dataset = replace(dataset, train=dataset.train.take(slice(0, 60)))
    _, model = made(dataset, model__latent=70, **POINT)
    if stuck:
        with torch.no_grad():
            model.encoder[-1].weight.zero_()
    codes = Context(model, dataset, prior=False).sampled_codes(9)
    assert codes.shape == (9, 70)
    assert codes.isfinite().all()
    assert (codes.std(0).max() == 0) == stuck


def test_a_class_too_rare_to_be_drawn_is_no_reason_to_fail() -> None:
    dataset = image_dataset(6000)
    labels = np.zeros(len(dataset.train), np.int64)
    rows = np.random.default_rng(0).permutation(len(labels))
    rare = np.setdiff1d(np.arange(len(labels)), rows[:5000])
    if len(rare):
        labels[rare[0]] = 1
    dataset = replace(dataset, train=replace(dataset.train, labels=labels))
    context = Context(made(dataset, model__latent=2)[1], dataset)
    object.__setattr__(context, "training_rows", np.flatnonzero(labels == 0)[:1000])
    assert context.training_labels is None
    assert measure(context, ["probe_accuracy", "knn_accuracy"]) == {
        "probe_accuracy": None,
        "knn_accuracy": None,
    }


def test_labels_of_any_size_are_explained_alike() -> None:
    x = np.random.default_rng(0).normal(size=(300, 3))
    y = x @ np.array([1.0, -2.0, 0.5]) + 0.1 * np.random.default_rng(1).normal(size=300)
    view = View(x[:200], x[200:])
    small, large, late = (
        ridge_r2(view, (y * s + o)[:200], (y * s + o)[200:]) for s, o in ((1, 0), (1e20, 0), (60, 1.7e9))
    )
    for other in (large, late):
        assert other.value == pytest.approx(small.value, rel=1e-6)
        assert other.stderr == pytest.approx(small.stderr, rel=1e-4)


def test_the_error_of_the_explained_variance_is_that_of_a_ratio() -> None:
    """Rows of uneven length: where numerator and denominator rise together, their ratio is surer than either."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(200, 6)) * rng.uniform(0.2, 2, size=(200, 1))
        dataset = table_dataset(x)
        model = made(
            dataset, network__name="linear", model__latent=3, training__precision="float64", **POINT
        )[1]
        with torch.no_grad():
            model.encoder[1].weight.copy_(torch.eye(3, 6))
            model.decoder.output.weight.copy_(torch.eye(6, 3))
            model.encoder[1].bias.zero_()
            model.decoder.output.bias.zero_()
        found.append(
            measure(Context(model, dataset, prior=False), ["explained_variance"])["explained_variance"]
        )
    values = np.array([reading.value for reading in found])
    assert values.mean() == pytest.approx(0.5, abs=0.05)
    assert np.mean([reading.stderr for reading in found]) == pytest.approx(values.std(), rel=0.3)


def test_no_bits_of_grey_items_by_a_bernoulli_of_0_and_1() -> None:
    x = (images(200) > 60).astype(np.uint8)
    parts = [split(part) for part in np.split(x, [160, 180])]
    dataset = Dataset("b", "b", "image", (1, 8, 6), True, Scaling("none", (0.0,), (1.0,)), *parts)
    _, model = made(dataset, model__latent=2)
    assert measure(Context(model, dataset), ["bits_per_dim"])["bits_per_dim"] is not None
    grey = split(np.random.default_rng(0).random((20, 8, 6, 1)).astype(np.float32))
    assert measure(Context(model, dataset, items_given=grey), ["bits_per_dim"])["bits_per_dim"] is None


def test_measuring_leaves_random_numbers_and_modes_alone(quick: None) -> None:
    dataset = bars()
    _, model = made(dataset, model__latent=2, network__name="conv", network__batch_norm=True)
    model.train()
    next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    modes = [module.training for module in model.modules()]
    before, numpys = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    measure(Context(model, dataset), ["precision", "plausible_share", "log_px", "nmi", "psnr"])
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(before, torch.random.get_rng_state())
    assert (numpys == np.random.get_state()[1]).all()  # noqa: NPY002


def test_all_or_none_is_not_certain() -> None:
    assert share_of([True, True]).stderr == pytest.approx(math.sqrt(4 / 6 * 2 / 6 / 6))
    assert share_of([False] * 96).stderr == pytest.approx(0.014, abs=0.001)


def test_many_draws_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=2)
    data, sizes, forward = Context(model, dataset).batches(dataset.test), [], Model.forward
    monkeypatch.setattr(
        Model,
        "forward",
        lambda self, x, samples=1, **k: (sizes.append(samples), forward(self, x, samples, **k))[1],
    )
    many = evaluate(model, data, 250)
    assert sizes == [100, 100, 50]
    assert many.distortion == pytest.approx(evaluate(model, data, 1).distortion, abs=1)


def test_dynamic_items_are_measured_as_0_and_1(tmp_path: Path) -> None:
    assert latlas([*SMALL, "--set", "data.binarise=dynamic", "--out", str(tmp_path / "run")]) == 0
    run = find(tmp_path / "run")
    from latlas.runs import dataset_of

    context = context_of(run, run.model(), dataset_of(run))
    assert set(np.unique(context.dataset.train.x)) == set(np.unique(context.test.x)) == {0, 255}
    assert len(np.unique(dataset_of(run).train.x)) > 100
    assert context.once(views)["raw values"].train.shape == (200, 784)


def test_training_items_are_not_judged_by_training_items(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert latlas([*SMALL, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    asked = [
        "evaluate",
        str(tmp_path / "run"),
        "--split",
        "train",
        "--measure",
        "downstream",
        "--measure",
        "active_units",
        "--json",
    ]
    assert latlas(asked) == 0
    out, err = capsys.readouterr()
    assert set(json.loads(out)["numbers"]) == {"active_units"}
    assert "not trained on" in err
