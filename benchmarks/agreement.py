"""Puts latlas's terms beside pythae's plain VAE loss: the same networks, images and draws, so they must agree.

Needs pythae: pip install -e ".[bench]". Prints a table and writes results/agreement.md.
"""

from __future__ import annotations

import math
import platform
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from latlas import config as configuration
from latlas.build import build, item_of, resolve, statistics
from latlas.data import DataOptions, Dataset, load
from latlas.models import Model, evaluating

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

IMAGES, SEED = 500, 0
RESULTS = Path(__file__).parent / "results" / "agreement.md"
CASES = {
    "bernoulli": ("bce", {"likelihood.name": "bernoulli"}),
    "gaussian, sigma 1": ("mse", {"likelihood.name": "gaussian", "likelihood.sigma": 1.0}),
}


class Encoder(BaseEncoder):
    """latlas's encoder with pythae's face."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> ModelOutput:
        q = self.model.infer(x)
        return ModelOutput(embedding=q.mean, log_covariance=2 * q.log_std)


class Decoder(BaseDecoder):
    """latlas's decoder, with the sigmoid that its likelihood owns, with pythae's face."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.model.likelihood.mean(self.model.raw(z[None])[0]))


def rows(dataset: Dataset) -> Iterator[tuple[str, str, float, float]]:
    """Likelihood, term, latlas's value and pythae's, in nats per image."""
    for name, (loss, settings) in CASES.items():
        changes = {"model.latent": 8, "training.precision": "float64", **settings}
        config, _ = resolve(configuration.override(configuration.recipe("vae"), changes, name), dataset)
        model = build(config, item_of(dataset), statistics(dataset))
        x = model.to_tensor(np.asarray(dataset.test.x[:IMAGES]))
        about = VAEConfig(input_dim=dataset.shape, latent_dim=8, reconstruction_loss=loss)
        peer = VAE(about, Encoder(model), Decoder(model))
        with torch.no_grad(), evaluating(model), evaluating(peer):
            torch.manual_seed(SEED)
            theirs = peer({"data": x})
            log_px = model.likelihood.log_prob(model.raw(theirs.z[None]), x)[0]
            rate = model.infer(x).kl_standard_normal().sum(-1).mean().item()
        # The constant of the Gaussian density, which a squared error leaves out.
        constant = 0.5 * math.prod(dataset.shape) * math.log(2 * math.pi) if loss == "mse" else 0.0
        distortion = -log_px.mean().item() - constant
        yield name, "distortion", distortion, theirs.recon_loss.item()
        yield name, "rate", rate, theirs.reg_loss.item()
        yield name, "loss", distortion + rate, theirs.loss.item()


def main() -> None:
    dataset = load(DataOptions(source="fashion-mini"))
    lines = ["| likelihood | term | latlas | pythae | difference |", "|---|---|---|---|---|"]
    for name, term, ours, theirs in rows(dataset):
        assert math.isclose(ours, theirs, rel_tol=1e-9), f"{name}, {term}: {ours} and {theirs}"
        lines.append(f"| {name} | {term} | {ours:.6f} | {theirs:.6f} | {ours - theirs:.1e} |")
    head = (
        f"# Agreement with pythae {version('pythae')}\n\nAn untrained VAE on {IMAGES} images of fashion-mini, the same"
        " networks, draws and images, double precision; nats per image. For the Gaussian the constant d/2 log(2 pi),"
        " which pythae leaves out, is taken off.\n\n"
    )
    tail = f"\n\n{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, torch {torch.__version__}\n"
    print("\n".join(lines))
    RESULTS.write_text(head + "\n".join(lines) + tail, encoding="utf-8")


if __name__ == "__main__":
    main()
