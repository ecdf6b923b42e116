"""Priors p(z): each is a small module that builds itself from a configuration; its call gives the distribution.

The call takes the encoder, which only the VampPrior uses: it is a mixture of posteriors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from latlas.data import Like
from latlas.likelihoods import LOG_2PI
from latlas.posteriors import PosteriorValue, log_normal_pairs, log_pairs
from latlas.scales import log_deviation, log_sum_exp
from latlas.settings import PriorConfig

Infer = Callable[[Tensor], PosteriorValue]
MOST_VALUES = 2**24  # most values of all codes under all components at once: bounds memory


class PriorValue(Protocol):
    """The distribution p(z) under the current encoder."""

    def sample(self, n: int, generator: torch.Generator, like: Tensor) -> Tensor:
        """n draws (n, D) on the generator's device, in the dtype and on the device of `like`."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats: z (K, B, D) -> (K, B)."""
        ...

    def kl(self, posterior: PosteriorValue) -> Tensor | None:
        """KL(q(z | x), p(z)) per dimension (B, D), in nats; None without a closed form."""
        ...


class Prior(nn.Module):
    """A prior in `latent` dimensions; its call takes x -> q(z | x) and gives the current p(z).

    One of your own that does not depend on the encoder needs `sample` and `log_prob`, as `PriorValue` has them, and
    `kl` where it has a closed form. `standard_normal` says whether it is N(0, I); `uses_encoder` whether p(z) depends
    on the encoder.
    """

    standard_normal = False
    uses_encoder = False

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    @classmethod
    def from_config(cls, latent: int, options: PriorConfig, item: Like, examples: np.ndarray | None) -> Self:
        """The prior of the options, initialised from torch's own generator.

        `examples` (N, *shape) are items of the training split on the model's scale; None if the model's weights are
        loaded afterwards.
        """
        return cls(latent)

    @staticmethod
    def size(latent: int, options: PriorConfig, item: Like) -> int:
        """How many parameters that prior has."""
        return 0

    def forward(self, infer: Infer) -> PriorValue:
        """p(z) under the encoder x -> q(z | x): this module itself, where it has `sample` and `log_prob`."""
        return self  # type: ignore[return-value]

    def kl(self, posterior: PosteriorValue) -> Tensor | None:
        """KL(q(z | x), p(z)) per dimension (B, D), in nats; None without a closed form."""
        return None

    @property
    def pseudo_inputs(self) -> Tensor | None:
        """The pseudo-inputs (C, *shape), on the model's scale; None for a prior without them."""
        return None

    @property
    def settings(self) -> dict[str, Any] | None:
        """The settings, by dotted key, that make it; None where it is one's own or has weights."""
        return None


class StandardNormal(Prior):
    """N(0, I) in `latent` dimensions."""

    standard_normal = True

    @property
    def settings(self) -> dict[str, Any]:
        return {"prior.name": "standard-normal", "model.latent": self.latent}

    def sample(self, n: int, generator: torch.Generator, like: Tensor) -> Tensor:
        """n draws (n, D) on the generator's device, in the dtype and on the device of `like`."""
        return _noise((n, self.latent), generator, like)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats: z (K, B, D) -> (K, B)."""
        return -0.5 * (z.square() + LOG_2PI).sum(-1)

    def kl(self, posterior: PosteriorValue) -> Tensor | None:
        """KL(q(z | x), p(z)) per dimension (B, D), in nats; None without a closed form."""
        return posterior.kl_standard_normal()


class Mixture(Prior):
    """sum_c w_c N(m_c, diag(s_c^2)) with learned weights, means and standard deviations."""

    def __init__(self, latent: int, components: int) -> None:
        super().__init__(latent)
        self.means = nn.Parameter(torch.randn(components, latent))
        self.log_stds = nn.Parameter(torch.zeros(components, latent))
        self.logits = nn.Parameter(torch.zeros(components))

    @classmethod
    def from_config(cls, latent: int, options: PriorConfig, item: Like, examples: np.ndarray | None) -> Self:
        return cls(latent, options.components)

    @staticmethod
    def size(latent: int, options: PriorConfig, item: Like) -> int:
        return options.components * (2 * latent + 1)

    def sample(self, n: int, generator: torch.Generator, like: Tensor) -> Tensor:
        """n draws (n, D) on the generator's device, in the dtype and on the device of `like`."""
        weights = self.logits.softmax(0).to(generator.device)
        chosen = torch.multinomial(weights, n, replacement=True, generator=generator).to(like.device)
        stds = log_deviation(self.log_stds)[chosen].exp()
        return self.means[chosen] + stds * _noise((n, self.latent), generator, like)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats: z (K, B, D) -> (K, B)."""
        each = log_normal_pairs(z.flatten(0, 1), self.means, log_deviation(self.log_stds))
        return log_sum_exp(each + self.logits.log_softmax(0)).unflatten(0, z.shape[:2])


class Vamp(Prior):
    """The mean of the posteriors of learned pseudo-inputs u: 1/C sum_c q(z | u_c) (Tomczak and Welling 2018).

    Pseudo-inputs start at items of the training split.
    """

    uses_encoder = True

    def __init__(self, latent: int, pseudo_inputs: Tensor, bounded: bool) -> None:
        super().__init__(latent)
        self.bounded = bounded
        start = torch.logit(pseudo_inputs.clamp(0.02, 0.98)) if bounded else pseudo_inputs
        self.raw_inputs = nn.Parameter(start)

    @classmethod
    def from_config(cls, latent: int, options: PriorConfig, item: Like, examples: np.ndarray | None) -> Self:
        if examples is None:
            return cls(latent, torch.zeros(options.components, *item.shape), item.kind != "table")
        chosen = torch.randint(len(examples), (options.components,)).numpy()
        return cls(latent, torch.from_numpy(examples[chosen]), item.kind != "table")

    @staticmethod
    def size(latent: int, options: PriorConfig, item: Like) -> int:
        return options.components * math.prod(item.shape)

    @property
    def pseudo_inputs(self) -> Tensor:
        """The pseudo-inputs (C, *shape), on the model's scale."""
        return torch.sigmoid(self.raw_inputs) if self.bounded else self.raw_inputs

    def forward(self, infer: Infer) -> VampValue:
        return VampValue(infer(self.pseudo_inputs), len(self.raw_inputs), self.latent)


@dataclass(frozen=True)
class VampValue:
    """The VampPrior under the current encoder: a mixture of `components` posteriors q(z | u_c)."""

    posterior: PosteriorValue
    components: int
    latent: int

    def sample(self, n: int, generator: torch.Generator, like: Tensor) -> Tensor:
        """n draws (n, D) on the generator's device, in the dtype and on the device of `like`."""
        device = generator.device
        chosen = torch.randint(self.components, (n,), generator=generator, device=device).to(like.device)
        noise = _noise((n, self.latent), generator, like)
        # rsample gives a draw of every posterior for every noise; in parts, to bound memory.
        parts = []
        for rows in range(0, n, 256):
            part = noise[rows : rows + 256]
            draws = self.posterior.rsample(part[:, None].expand(-1, self.components, -1))
            parts.append(draws[torch.arange(len(part), device=like.device), chosen[rows : rows + 256]])
        return torch.cat(parts)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats: z (K, B, D) -> (K, B)."""
        rows = max(1, MOST_VALUES // (self.components * self.latent))
        parts = [self._mean_density(part) for part in z.flatten(0, 1).split(rows)]
        return torch.cat(parts).unflatten(0, z.shape[:2])

    def _mean_density(self, z: Tensor) -> Tensor:
        return log_sum_exp(log_pairs(self.posterior, z, self.components)) - math.log(self.components)

    def kl(self, posterior: PosteriorValue) -> None:
        return None


def _noise(shape: tuple[int, int], generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)


PRIORS: dict[str, type[Prior]] = {"standard-normal": StandardNormal, "mixture": Mixture, "vamp": Vamp}
