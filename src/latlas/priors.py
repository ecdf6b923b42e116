"""p(z): each family has `sample`, `log_prob` and, where one is known, the closed-form KL from a posterior."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latlas.likelihoods import LOG_2PI
from latlas.posteriors import PosteriorValue


class StandardNormal(nn.Module):
    """N(0, I) in `latent` dimensions."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def sample(self, n: int, generator: torch.Generator, like: Tensor) -> Tensor:
        """n draws (n, D) on the generator's device, in the dtype and on the device of `like`."""
        noise = torch.randn((n, self.latent), generator=generator, dtype=like.dtype, device=generator.device)
        return noise.to(like.device)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats: z (K, B, D) -> (K, B)."""
        return -0.5 * (z.square() + LOG_2PI).sum(-1)

    def kl(self, posterior: PosteriorValue) -> Tensor | None:
        """KL(q(z | x), p(z)) per dimension (B, D), in nats; None where q has no density."""
        return posterior.kl_standard_normal()


Prior = StandardNormal
PRIORS: dict[str, type[Prior]] = {"standard-normal": StandardNormal}
