"""Whole runs on the real data sets that LATLAS_DATA names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

import latlas
from latlas.data import DataOptions, load

pytestmark = pytest.mark.real


def pca_error(name: str, data_dir: Path, latent: int) -> float:
    """PCA's test error per pixel on [0, 1], fitted to the whole training set."""
    dataset = load(DataOptions(source=name, data_dir=str(data_dir), validation=0))
    train, test = (split.x.reshape(len(split), -1) / 255.0 for split in (dataset.train, dataset.test))
    pca = PCA(latent, random_state=0).fit(train)
    return float(np.square(test - pca.inverse_transform(pca.transform(test))).mean())


def train(name: str, out: Path, data_dir: Path, **options: Any) -> dict[str, Any]:
    settings = options.pop("settings", {}) | {"pictures.draw": False}
    run = latlas.train(name, out=out, data_dir=str(data_dir), settings=settings, quiet=True, **options)
    return run.metrics


@pytest.mark.slow
def test_the_linear_autoencoder_reaches_pca_on_mnist(real_data: Path, tmp_path: Path) -> None:
    metrics = train("mnist", tmp_path / "run", real_data, recipe="linear-ae", latent=16)
    best = pca_error("mnist", real_data, 16)
    assert best * 0.995 < metrics["splits"]["test"]["mse"] < best * 1.01


@pytest.mark.slow
def test_an_mlp_autoencoder_beats_pca_on_mnist(real_data: Path, tmp_path: Path) -> None:
    metrics = train("mnist", tmp_path / "run", real_data, recipe="mlp-ae", latent=8, epochs=2)
    assert metrics["splits"]["test"]["mse"] < 0.8 * pca_error("mnist", real_data, 8)


@pytest.mark.slow
def test_the_defaults_pass_the_tutorials_result_in_one_epoch(real_data: Path, tmp_path: Path) -> None:
    """The Fashion-MNIST tutorial's own settings end at a test ELBO of -267.2 after 50 epochs."""
    metrics = train("fashion-mnist", tmp_path / "run", real_data, latent=2, epochs=2)
    test = metrics["splits"]["test"]
    assert test["images"] == 10_000
    assert test["elbo"] > -265
    assert 5 < test["rate"] < 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "source"),
    [
        ("vanilla-vae", "flowers102"),
        ("flowers-vae", "flowers102"),
        ("kmnist-vae", "KMNIST-7k"),
        ("kmnist-vae-128", "KMNIST-7k"),
        ("fashion-vae", "fashion-mnist"),
        ("fashion-vae-mc", "mnist"),
        ("conv-ae", "mnist"),
    ],
)
def test_every_tutorials_network_learns_its_data(
    real_data: Path, tmp_path: Path, recipe: str, source: str, private_home: Path
) -> None:
    """A few steps bring the distortion down from where it begins."""
    name = str(real_data / source) if source == "KMNIST-7k" else source
    run = latlas.train(
        name, recipe=recipe, out=tmp_path / "run", data_dir=str(real_data), steps=40, quiet=True,
        settings={"pictures.draw": False, "training.log_every": 10, "optimizer.lr": 1e-3}, limit=1000,
    )  # fmt: skip
    distortions = [row["distortion"] for row in run.log() if row["kind"] == "step"]
    assert distortions[-1] < distortions[0]
    test = run.metrics["splits"]["test"]
    assert test["images"] == {"flowers102": 6149}.get(source, 10_000)
    if test["elbo"] is not None:
        assert test["elbo"] == pytest.approx(-(test["distortion"] + test["rate"]))
