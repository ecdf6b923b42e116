"""Binarised items: Bernoulli draws of grey values, once or at every step; and what else published set-ups need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CPU, image_dataset, images, made
from torch import nn
from torch.nn import functional

from latlas import config as configuration
from latlas import experiment, inference, optimizers, pca, runs, training
from latlas.build import objective_of, resolve
from latlas.checkpoints import Progress
from latlas.data import DataOptions, Dataset, load
from latlas.data.batches import Batches
from latlas.data.binarise import drawn_once
from latlas.data.dataset import Scaling
from latlas.data.splits import Raw, as_split, assemble
from latlas.errors import InputError
from latlas.networks import conv, mlp
from latlas.progress import Observer
from latlas.schedules import lr_stages
from latlas.settings import NetworkConfig

UINT8 = Scaling("integer", (0.0,), (255.0,))


def loaded(x: np.ndarray, how: str, seed: int = 0, **options: Any) -> Dataset:
    fields = DataOptions.model_validate({"binarise": how, "binarise_seed": seed, **options})
    return assemble(Raw("x", "x", {"train": as_split(x)}), fields)


@pytest.mark.parametrize(
    ("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0), (np.float64, 1.0)]
)
def test_frequencies_are_the_grey_values(dtype: type, top: float) -> None:
    levels = np.array([0, 0.1, 0.35, 0.8, 1]) * top
    x = np.broadcast_to(levels.astype(dtype), (40_000, 5)).reshape(-1, 5, 1, 1)
    scaling = Scaling() if top == 1 else Scaling("integer", (0.0,), (float(top),))
    drawn = drawn_once(as_split(x), scaling, 0, "test").x
    assert drawn.dtype == x.dtype
    assert set(np.unique(drawn)) == {0, top}
    share = (drawn == top).mean(0).ravel()
    p = levels.astype(dtype).astype(float) / top
    assert np.all(np.abs(share - p) <= 4 * np.sqrt(p * (1 - p) / len(x)))
    assert share[0] == 0
    assert share[-1] == 1


def test_items_are_drawn_independently() -> None:
    x = np.full((4000, 6, 1, 1), 128, np.uint8)
    ones = drawn_once(as_split(x), UINT8, 0, "test").x[:, :, 0, 0] == 255
    correlations = np.corrcoef(ones.T) - np.eye(6)
    assert np.abs(correlations).max() < 4 / np.sqrt(4000)


@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_splits_follow_the_seed_and_the_splits_that_are_drawn_once_are_of_two_values(how: str) -> None:
    x = images(300)
    grey, one, same, other = (loaded(x, *given) for given in [("none", 0), (how, 3), (how, 3), (how, 4)])
    assert one.binary
    assert not grey.binary
    for name in ("valid", "test"):
        a, b, c = (d.split(name).x for d in (one, same, other))
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
        assert set(np.unique(a)) == {0, 255}
        assert np.array_equal(grey.split(name).index, one.split(name).index)
    assert np.array_equal(one.train.x, grey.train.x) == (how == "dynamic")
    assert not np.array_equal(one.valid.x, loaded(x[::-1].copy(), how, 3).valid.x)
    assert len({d.fingerprint for d in (grey, one, other)}) == 3
    assert one.fingerprint == same.fingerprint
    assert "by seed 3" in " ".join(one.notes)
    assert "binarised" not in " ".join(grey.notes)


def test_static_and_dynamic_hold_the_same_test_split() -> None:
    static, dynamic = (loaded(images(300), how, 1) for how in ("static", "dynamic"))
    assert np.array_equal(static.test.x, dynamic.test.x)
    assert set(np.unique(static.train.x)) == {0, 255}
    assert static.fingerprint != dynamic.fingerprint


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (np.random.default_rng(0).integers(0, 2, (50, 4, 4, 1)).astype(np.uint8), "0 or 1 already"),
        (np.random.default_rng(0).normal(size=(50, 3)), "units of their own"),
        (np.random.default_rng(0).normal(size=(50, 4, 4, 1)), "units of their own"),
    ],
)
def test_what_is_no_probability_is_refused(x: np.ndarray, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        loaded(x, "dynamic")


def test_colour_is_drawn_per_channel() -> None:
    x = np.zeros((4000, 2, 2, 3), np.uint8)
    x[..., 1], x[..., 2] = 128, 255
    x[0, 0, 0, 0] = 1
    shares = (loaded(x, "static").train.x == 255).mean((0, 1, 2))
    assert shares == pytest.approx([0, 128 / 255, 1], abs=0.02)


def what_training_saw(how: str, steps: int, seed: int = 0) -> list[torch.Tensor]:
    """The batches' targets, step by step, in the order of rows 0, 1, ... within each epoch."""
    dataset = image_dataset(80)
    config, _ = made(dataset, model__latent=2, data__binarise=how, data__binarise_seed=seed)
    data = Batches(dataset.train, dataset.scaling, CPU)
    noise, rows = training.Noise(config, data), np.arange(16)
    seen = []
    for step in range(steps):
        noise.begin(step)
        seen.append(training.batch_of(data, rows, config, noise)[0])
    return seen


def test_a_step_draws_anew_by_its_seed_and_number_alone() -> None:
    first, again, other = (what_training_saw("dynamic", 3, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])
    assert set(first[0].unique().tolist()) == {0.0, 1.0}
    still = what_training_saw("static", 2)
    assert torch.equal(still[0], still[1])
    many = torch.stack(what_training_saw("dynamic", 2000)).mean(0)
    grey = still[0]
    assert (many - grey).abs().max() < 4.5 * 0.5 / np.sqrt(2000)


def test_the_target_is_the_drawn_item_and_the_corruption_comes_after_it() -> None:
    dataset = image_dataset(60)
    config, model = made(
        dataset, model__latent=2, data__binarise="dynamic", training__steps=1, corruption__name="gaussian"
    )
    seen: list[dict[str, torch.Tensor]] = []
    forward = model.forward

    def watched(x: torch.Tensor, **options: Any) -> Any:
        seen.append({"input": x, "target": options["target"]})
        return forward(x, **options)

    model.forward = watched  # type: ignore[method-assign]
    data = Batches(dataset.train, dataset.scaling, CPU)
    optimizer = optimizers.optimizer_for(config, model)
    objective = objective_of(config, (48,))
    list(training.train(model, data, objective, optimizer, config, Progress()))
    assert set(seen[0]["target"].unique().tolist()) == {0.0, 1.0}
    assert seen[0]["input"].unique().numel() > 100


def trained(folder: Path, stop_at: int | None, how: str = "dynamic") -> runs.Run:
    """A run of 12 steps over 4 epochs; stopped once in the middle and resumed where `stop_at` is given."""
    source = folder.parent / "ramps.npy"
    np.save(source, images(60))
    config = configuration.override(
        configuration.recipe("vae"),
        {"data.source": str(source), "data.binarise": how, "model.latent": 2, "network.hidden": (8,),
         "training.steps": 12, "training.batch_size": 16, "training.device": "cpu", "pictures.draw": False},
        "test",
    )  # fmt: skip
    if stop_at is None:
        return experiment.train(config, folder)

    class Interrupting(Observer):
        def epoch(self, line: str) -> None:
            if line.startswith(f"epoch {stop_at}/"):
                raise KeyboardInterrupt

    with pytest.raises(experiment.Interrupted):
        experiment.train(config, folder, Interrupting())
    return experiment.resume(folder)


def test_a_stopped_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole_run, stopped = trained(tmp_path / "whole", None), trained(tmp_path / "stopped", 2)
    weights = [(r.path / "model.safetensors").read_bytes() for r in (whole_run, stopped)]
    assert weights[0] == weights[1]
    assert whole_run.metrics["splits"]["test"] == stopped.metrics["splits"]["test"]
    assert whole_run.metrics["normalised"] is True
    assert whole_run.config.likelihood.name == "bernoulli"
    other = trained(tmp_path / "static", None, "static")
    assert (other.path / "model.safetensors").read_bytes() != weights[0]
    assert other.metrics["normalised"] is True
    # What one asks a run about is binarised too: its training split, and other items.
    model, source = whole_run.model(), whole_run.path.parent / "ramps.npy"
    for items in (
        inference.items(whole_run, model, "train"),
        inference.items(whole_run, model, source=str(source)),
    ):
        assert set(np.unique(items.x)) == {0, 255}


def test_a_closed_form_has_no_steps_to_draw_at() -> None:
    dataset, recipe = image_dataset(40), configuration.recipe("pca")
    config = configuration.override(recipe, {"data.binarise": "dynamic", "model.latent": 2}, "test")
    with pytest.raises(InputError, match=r"data\.binarise = dynamic"):
        pca.check(resolve(config, dataset)[0], dataset)


def test_none_on_a_command_line_is_none() -> None:
    changed = configuration.override(configuration.recipe("vae"), {"data.binarise": None}, "test")
    assert changed.data.binarise == "none"


def test_a_named_set_is_binarised_like_any_other() -> None:
    digits = load(DataOptions(source="digits", binarise="dynamic"))
    assert set(np.unique(digits.test.x)) == {0, 1}
    assert np.unique(digits.train.x).size > 10


def test_stages_last_as_published() -> None:
    """Burda et al. 2016: 3^i epochs at 10^(-i/7), i = 0 to 7."""
    expected = [10 ** (-i / 7) for i in range(8) for _ in range(3**i)]
    assert len(expected) == 3280
    found = [lr_stages(epoch * 5 + s, 1, 5) for epoch in range(3280) for s in (0, 4)]
    assert found == [rate for rate in expected for _ in range(2)]
    assert lr_stages(5 * 4000, 1, 5) == pytest.approx(0.1)


def test_a_stage_reaches_the_optimiser() -> None:
    dataset = image_dataset(60)
    config, model = made(
        dataset, model__latent=2, optimizer__schedule="stages", optimizer__eps=1e-4, optimizer__name="adam",
        training__epochs=5, training__batch_size=16, training__log_every=1, optimizer__lr=1e-3,
    )  # fmt: skip
    data, optimizer = Batches(dataset.train, dataset.scaling, CPU), optimizers.optimizer_for(config, model)
    assert optimizer.param_groups[0]["eps"] == 1e-4
    objective = objective_of(config, (48,))
    events = training.train(model, data, objective, optimizer, config, Progress())
    lr = [e.lr for e in events if isinstance(e, training.EpochEnded)]
    assert lr == pytest.approx([1e-3 * 10 ** (-i / 7) for i in (0, 1, 1, 1, 2)])


def test_gated_layers_are_the_product_of_a_map_and_a_gate() -> None:
    """h(x) * sigmoid(g(x)), Tomczak and Welling 2018, in encoder and decoder."""
    options = NetworkConfig(activation="gated", hidden=(7, 5))
    encoder, decoder = mlp((1, 4, 4), 6, 3, options)
    maps = [[m for m in part.modules() if isinstance(m, nn.Linear)] for part in (encoder, decoder)]
    assert [(m.in_features, m.out_features) for m in maps[0]] == [(16, 14), (7, 10), (5, 6)]
    assert [(m.in_features, m.out_features) for m in maps[1]] == [(3, 10), (5, 14), (7, 16)]
    x = torch.randn(2, 1, 4, 4)
    hidden = x.flatten(1)
    for layer, width in zip(maps[0], (7, 5), strict=False):
        h = functional.linear(hidden, layer.weight[:width], layer.bias[:width])
        g = functional.linear(hidden, layer.weight[width:], layer.bias[width:])
        hidden = h * torch.sigmoid(g)
    assert torch.allclose(encoder(x), maps[0][-1](hidden), atol=1e-6)
    assert decoder(torch.randn(4, 3)).shape == (4, 1, 4, 4)


def test_gates_are_for_the_mlp() -> None:
    with pytest.raises(InputError, match=r"network\.activation = gated is for network\.name = mlp"):
        conv((1, 8, 8), 6, 3, NetworkConfig(activation="gated"))
