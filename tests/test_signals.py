"""Signals (N, C, L) and volumes (N, C, D, H, W): read as what they are, trained, and given back as they came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import latlas
from latlas.data.arrays import orient
from latlas.data.batches import Batches
from latlas.errors import InputError
from latlas.figures import middle_slice, traces
from latlas.networks import NETWORKS
from latlas.runs import dataset_of
from latlas.settings import NetworkConfig


def signals(n: int = 60, channels: int = 2, length: int = 72) -> np.ndarray:
    """Sine waves of random frequency, (N, C, L), from about -1 to 1."""
    rng = np.random.default_rng(0)
    return np.sin(2 * np.pi * rng.uniform(1, 4, (n, channels, 1)) * np.linspace(0, 1, length))


def volumes(n: int = 60) -> np.ndarray:
    """Ramps of random strength in a box, (N, 1, D, H, W), inside [0, 1]."""
    axes = [np.linspace(0, 1, size) for size in (6, 7, 9)]
    ramp = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    return np.random.default_rng(0).random((n, 1, 1, 1, 1)) * ramp


@pytest.mark.parametrize("shape", [(2, 33), (1, 96), (1, 5, 6, 7), (3, 8, 8), (2, 9, 4, 17)])
def test_conv_gives_back_the_shape_in_one_two_and_three_dimensions(shape: tuple[int, ...]) -> None:
    for options in (NetworkConfig(), NetworkConfig(channels=(4, 8), batch_norm=True)):
        encoder, decoder = NETWORKS["conv"].make(shape, 6, 3, options)
        assert encoder(torch.zeros(2, *shape)).shape == (2, 6)
        assert decoder(torch.zeros(2, 3)).shape == (2, *shape)
    kinds = {nn.Conv1d: 2, nn.Conv2d: 3, nn.Conv3d: 4}
    assert {kinds[type(m)] for m in encoder.modules() if type(m) in kinds} == {len(shape)}


@pytest.mark.parametrize(("shape", "options", "stored"), [
    ((9, 3, 200), {}, (9, 200, 3)),
    ((9, 200, 3), {"layout": "NLC"}, (9, 200, 3)),
    ((9, 5, 40), {"kind": "signal"}, (9, 40, 5)),
    ((9, 40), {"kind": "signal"}, (9, 40, 1)),
    ((9, 40), {"layout": "NL"}, (9, 40, 1)),
    ((9, 40, 40), {"layout": "NCL"}, (9, 40, 40)),
    ((9, 1, 5, 6, 7), {}, (9, 5, 6, 7, 1)),
    ((9, 5, 6, 7, 2), {}, (9, 5, 6, 7, 2)),
    ((9, 5, 6, 7), {"kind": "volume"}, (9, 5, 6, 7, 1)),
    ((9, 5, 6, 7), {"layout": "NDHW"}, (9, 5, 6, 7, 1)),
    ((9, 12, 20), {}, (9, 12, 20, 1)),  # grey images, as ever
])  # fmt: skip
def test_axes_are_read_as_what_they_are(
    shape: tuple[int, ...], options: dict[str, str], stored: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).random(shape)
    assert orient(x, options.get("layout", "auto"), None, "x", options.get("kind", "auto")).shape == stored


@pytest.mark.parametrize(("shape", "options", "message"), [
    ((9, 20, 100), {}, "say data.kind = signal, or data.layout = NHW"),
    ((9, 40, 40), {"kind": "signal"}, "may be NCL or NLC"),
    ((9, 3, 5, 6, 3), {}, "may be NCDHW or NDHWC"),
    ((9, 3, 5), {"layout": "NCDHW"}, "layout NCDHW needs 5 axes"),
    ((9, 3, 5, 6), {"kind": "signal"}, "data.kind = signal: .*are no signals"),
])  # fmt: skip
def test_axes_that_are_unclear_are_refused(
    shape: tuple[int, ...], options: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        orient(
            np.random.default_rng(0).random(shape),
            options.get("layout", "auto"),
            None,
            "x",
            options.get("kind", "auto"),
        )


def trained(tmp_path: Path, name: str, x: np.ndarray, **options: Any) -> latlas.Run:
    np.save(tmp_path / f"{name}.npy", x)
    settings = {
        "network.channels": [8, 16],
        "training.snapshot_every": 10,
        "pictures.grid": [4, 4],
        **options.pop("settings", {}),
    }
    return latlas.train(
        tmp_path / f"{name}.npy",
        latent=3,
        steps=10,
        out=tmp_path / name,
        quiet=True,
        settings=settings,
        **options,
    )


@pytest.mark.parametrize(("name", "x"), [("signals", signals()), ("volumes", volumes())])
def test_a_run_on_them_is_measured_drawn_and_used(tmp_path: Path, name: str, x: np.ndarray) -> None:
    run = trained(tmp_path, name, x, settings={"corruption.name": "masking", "corruption.strength": 0.2})
    assert run.config.network.name == "conv"
    assert run.info["data"]["kind"] == name[:-1]
    assert run.metrics["unit"] == f"nats per {name[:-1]}"
    assert any(f"read as 60 {name}" in note for note in run.info["notes"])
    drawn = {path.stem for path in (run.path / "figures").glob("*.png")}
    assert {"reconstructions", "restored", "samples", "latent", "traversals", "snapshots", "losses"} <= drawn
    model = run.model()
    again = model.reconstruct(x[:4])
    assert again.shape == x[:4].shape
    assert model.decode(torch.zeros(3, 3)).shape == (3, *x.shape[1:])
    data = dataset_of(run)
    batch = Batches(data.train, data.scaling, torch.device("cpu"))(np.arange(2))
    assert batch.shape == (2, *x.shape[1:])
    assert torch.allclose(model.to_tensor(data.train.x[:2]), batch)
    assert latlas.morph(run, 0, 1, steps=3, quiet=True).arrays["images"].shape[0] == 3
    assert latlas.sample(run, 3, quiet=True).arrays["samples"].shape == (3, *np.moveaxis(x, 1, -1).shape[1:])


def test_both_orders_of_axes_train_to_the_same_weights(tmp_path: Path) -> None:
    x = signals()
    options: dict[str, Any] = {"settings": {"pictures.draw": False}}
    first, last = (
        trained(tmp_path, "ncl", x, **options),
        trained(tmp_path, "nlc", np.moveaxis(x, 1, 2), **options),
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(*(run.model().state_dict().values() for run in (first, last)), strict=True)
    )


def test_a_flip_and_a_shift_of_signals() -> None:
    from latlas.augmentation import augmented
    from latlas.settings import AugmentConfig

    x = torch.from_numpy(signals(8)).float()
    generator = torch.Generator().manual_seed(0)
    for item, original in zip(augmented(x, AugmentConfig(flip=True), None, generator), x, strict=True):
        assert torch.equal(item, original) or torch.equal(item, original.flip(-1))
    moved = augmented(torch.from_numpy(volumes(5)), AugmentConfig(shift=1), None, generator)
    assert moved.shape == volumes(5).shape


def test_the_picture_of_a_signal_is_its_curve() -> None:
    level = traces(np.full((1, 30, 1), 0.25))[0, ..., 0]
    rows = np.flatnonzero(level.any(axis=1))
    assert abs(rows.mean() - 0.75 * 63) < 1
    assert level[rows].all(axis=1).any()
    colours = {
        tuple(pixel) for pixel in traces(np.stack([np.zeros((4, 9)), np.ones((4, 9))], -1))[0].reshape(-1, 3)
    }
    assert len(colours) == 3  # two channels on a ground
    assert middle_slice(volumes(4).transpose(0, 2, 3, 4, 1)).shape == (4, 7, 9, 1)
