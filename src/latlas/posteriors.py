"""q(z | x): what an encoder's outputs stand for.

Each family is a small module with `outputs(latent)`, the encoder outputs that it needs, and a call from those
outputs (B, outputs) to a value of one face: `mean` and `stddev` (B, D), `rsample(noise)`, `log_prob(z)`,
`kl_standard_normal()`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latlas import divergences
from latlas.likelihoods import LOG_2PI


@dataclass(frozen=True)
class PointPosterior:
    """All mass on one code: an autoencoder. It has no density, so log_prob and KL are None."""

    mean: Tensor

    @property
    def stddev(self) -> None:
        return None

    def rsample(self, noise: Tensor) -> Tensor:
        """The code itself: noise (K, B, D) -> (K, B, D)."""
        return self.mean.expand(noise.shape)

    def log_prob(self, z: Tensor) -> None:
        return None

    def kl_standard_normal(self) -> None:
        return None


@dataclass(frozen=True)
class GaussianPosterior:
    """N(mean, diag(std^2)), with log_std = log_var / 2; mean and log_std (B, D)."""

    mean: Tensor
    log_std: Tensor

    @property
    def stddev(self) -> Tensor:
        return self.log_std.exp()

    def rsample(self, noise: Tensor) -> Tensor:
        """z = mean + std * noise: noise (K, B, D) from N(0, I) -> z (K, B, D), differentiable (Kingma and
        Welling 2014).
        """
        return self.mean + self.stddev * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z | x) in nats: z (K, B, D) -> (K, B)."""
        scaled = (z - self.mean) * torch.exp(-self.log_std)
        return -(0.5 * (scaled.square() + LOG_2PI) + self.log_std).sum(-1)

    def kl_standard_normal(self) -> Tensor:
        """KL(q, N(0, I)) per dimension (B, D), in nats."""
        return divergences.kl_standard_normal(self.mean, self.log_std)


PosteriorValue = PointPosterior | GaussianPosterior


class Point(nn.Module):
    """Encoder outputs are the code."""

    def outputs(self, latent: int) -> int:
        return latent

    def forward(self, raw: Tensor) -> PointPosterior:
        return PointPosterior(raw)


class DiagonalGaussian(nn.Module):
    """Encoder outputs are the mean and the log-variance."""

    def outputs(self, latent: int) -> int:
        return 2 * latent

    def forward(self, raw: Tensor) -> GaussianPosterior:
        mean, log_var = raw.chunk(2, dim=-1)
        return GaussianPosterior(mean, 0.5 * log_var)


Posterior = Point | DiagonalGaussian
POSTERIORS: dict[str, type[Posterior]] = {"point": Point, "gaussian": DiagonalGaussian}
