"""p(x | z) as functions of the decoder's raw outputs; a likelihood owns its sigmoid or tanh and its sigma."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from latlas.errors import InputError
from latlas.settings import LikelihoodConfig

LOG_2PI = math.log(2 * math.pi)
SMALLEST_SIGMA = {"image": 1 / 255, "vector": 1 / 255, "table": 1e-3}


class Bernoulli(nn.Module):
    """Independent Bernoullis with logits `raw`: log p(x | z) = sum_j x_j log m_j + (1 - x_j) log(1 - m_j), m
    = sigmoid(raw).

    On 0/1 data this is a probability. On values between, it is the cross-entropy that tutorials use, and not
    a normalised likelihood.
    """

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability in nats: raw (K, B, *shape), x (B, *shape) -> (K, B)."""
        loss = functional.binary_cross_entropy_with_logits(raw, x.expand_as(raw), reduction="none")
        return -loss.flatten(2).sum(2)

    def mean(self, raw: Tensor) -> Tensor:
        """The mean of p(x | z), same shape as raw."""
        return torch.sigmoid(raw)

    def raw(self, mean: Tensor) -> Tensor:
        """Raw outputs whose mean is the given one, kept finite: the inverse of `mean`."""
        return torch.logit(mean.clamp(1e-3, 1 - 1e-3))

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw of x from p(x | z), same shape as raw."""
        return torch.bernoulli(self.mean(raw), generator=generator)


class Gaussian(nn.Module):
    """N(m, sigma^2 I): log p(x | z) = -|x - m|^2 / (2 sigma^2) - d log sigma - d/2 log(2 pi).

    m is sigmoid(raw), (tanh(raw) + 1) / 2 or raw itself; sigma is one number, fixed or learned, or one learned
    number for each value of an item of that `shape`. A learned sigma is `smallest` (1/255 for images) plus a
    learned part, and starts at `start`.
    """

    def __init__(
        self,
        sigma: float | str = "learned",
        output: str = "sigmoid",
        start: float = 1.0,
        smallest: float = 1 / 255,
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.output = output
        self.smallest = smallest
        self.learned = isinstance(sigma, str)
        value = max(start - smallest, 1e-6) if self.learned else float(sigma)
        first = torch.full(shape if sigma == "per-pixel" else (), math.log(value), dtype=torch.float64)
        if self.learned:
            self.log_sigma = nn.Parameter(first)
        else:
            self.register_buffer("log_sigma", first)

    @property
    def sigma(self) -> Tensor:
        """The standard deviation, on the model's scale: one number, or one for each value (*shape)."""
        return self._log_sigma().exp()

    def _log_sigma(self) -> Tensor:
        # A sum, not a clamp: below a clamp there is no gradient, and sigma could never come back.
        return torch.log(self.smallest + self.log_sigma.exp()) if self.learned else self.log_sigma

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-density in nats: raw (K, B, *shape), x (B, *shape) -> (K, B)."""
        log_sigma = self._log_sigma()
        squared = (x - self.mean(raw)).square()
        if log_sigma.ndim:
            each = 0.5 * squared * torch.exp(-2 * log_sigma) + log_sigma + 0.5 * LOG_2PI
            return -each.flatten(2).sum(2)
        summed = squared.flatten(2).sum(2)
        return -0.5 * summed * torch.exp(-2 * log_sigma) - x[0].numel() * (log_sigma + 0.5 * LOG_2PI)

    def mean(self, raw: Tensor) -> Tensor:
        """The mean of p(x | z), same shape as raw."""
        if self.output == "sigmoid":
            return torch.sigmoid(raw)
        return (torch.tanh(raw) + 1) / 2 if self.output == "tanh" else raw

    def raw(self, mean: Tensor) -> Tensor:
        """Raw outputs whose mean is the given one, kept finite: the inverse of `mean`."""
        if self.output == "identity":
            return mean
        logit = torch.logit(mean.clamp(1e-3, 1 - 1e-3))
        return logit if self.output == "sigmoid" else logit / 2

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw of x from p(x | z), same shape as raw."""
        noise = torch.randn(raw.shape, generator=generator, device=raw.device, dtype=raw.dtype)
        return self.mean(raw) + self.sigma * noise


Likelihood = Bernoulli | Gaussian


def build(options: LikelihoodConfig, kind: str, shape: tuple[int, ...], spread: float = 1.0) -> Likelihood:
    """The likelihood that resolved options name, of items (*shape); `spread` is the data's standard deviation,
    where a learned sigma starts.
    """
    if options.name == "bernoulli":
        return Bernoulli()
    return Gaussian(options.sigma, options.output, spread, SMALLEST_SIGMA[kind], shape)


def check(options: LikelihoodConfig, kind: str) -> None:
    """Raises InputError where the likelihood cannot take such data."""
    if kind == "table" and options.name == "bernoulli":
        raise InputError(
            "likelihood.name = bernoulli takes values inside [0, 1], and a standardised table has others: "
            "use likelihood.name=gaussian"
        )
    if kind == "table" and options.output in ("sigmoid", "tanh"):
        raise InputError(
            f"likelihood.output = {options.output} gives values inside [0, 1], and a standardised table"
            " has others: use likelihood.output=identity"
        )
    if options.name == "bernoulli" and options.output in ("tanh", "identity"):
        raise InputError(f"likelihood.output = {options.output}: a bernoulli's output is always the sigmoid")


def normalised(name: str, binary: bool) -> bool:
    """Whether log p(x | z) integrates to one over the data's space: not so for Bernoulli on values between 0
    and 1.
    """
    return name != "bernoulli" or binary
