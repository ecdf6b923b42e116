"""Posteriors q(z | x) from an encoder's outputs.

Each family is a small module. `latent` is the size of a code, `outputs` the number of encoder outputs that it needs;
its call maps them (B, outputs) to a value with `mean` and `stddev` (B, D), `rsample(noise)`, `log_prob(z)`,
`kl_standard_normal()` and `density_work`, the cost of one log-density in values of time and memory. Quantities without
a closed form are None. `has_density` says whether family and value have a density; without one, log-density and KL are
None.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from latlas import divergences
from latlas.errors import InputError, check_number
from latlas.likelihoods import LOG_2PI
from latlas.scales import log_deviation, log_scale

CONTEXT = 16  # encoder outputs on which a flow is conditioned
FLOW_WORK = 2**9  # cost of one log-density of a flow, in values


@dataclass(frozen=True)
class PointPosterior:
    """All mass on one code: an autoencoder. It has no density, so log_prob and KL are None."""

    mean: Tensor
    has_density: ClassVar[bool] = False
    density_work: ClassVar[int] = 0

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
    has_density: ClassVar[bool] = True

    @property
    def density_work(self) -> int:
        return self.mean.shape[1]

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


def log_normal_pairs(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(z_n; m_c, diag(s_c^2)) in nats: z (N, D), mean and log_std (C, D) -> (N, C), in the precision of z.

    By products of matrices, |(z - m) / s|^2 = z^2 / s^2 - 2 z m / s^2 + m^2 / s^2, many times as fast as differences of
    each pair. In double precision they lose less than numbers in single precision have lost before.
    """
    # Numbers in double precision have lost nothing that would hide it, and Apple's devices have none.
    if z.dtype == torch.float64 or z.device.type == "mps":
        return GaussianPosterior(mean, log_std).log_prob(z[:, None])
    z, mean, log_std, kind = z.double(), mean.double(), log_std.double(), z.dtype
    precision = torch.exp(-2 * log_std)
    squared = z.square() @ precision.T - 2 * (z @ (mean * precision).T) + (mean.square() * precision).sum(1)
    return (-0.5 * (squared.clamp(min=0) + LOG_2PI * z.shape[1]) - log_std.sum(1)).to(kind)


def log_pairs(q: PosteriorValue, z: Tensor, count: int) -> Tensor:
    """log q(z_n | x_b) in nats of each code under each of `count` posteriors: z (N, D) -> (N, count)."""
    if type(q) is GaussianPosterior:  # not one that derives from it, whose density may be another
        return log_normal_pairs(z, q.mean, q.log_std)
    found = q.log_prob(z[:, None].expand(-1, count, -1))
    assert found is not None  # a point posterior has no density, and nobody asks for it
    return found


@dataclass(frozen=True)
class FullGaussianPosterior:
    """N(mean, L L^T): mean (B, D) and L (B, D, D), lower triangular with a positive diagonal."""

    mean: Tensor
    factor: Tensor
    has_density: ClassVar[bool] = True

    @property
    def density_work(self) -> int:
        latent = self.mean.shape[1]
        return max(latent, latent**2 // 4)

    @property
    def stddev(self) -> Tensor:
        """Marginal standard deviations, the norms of the rows of L."""
        return self.factor.square().sum(-1).sqrt()

    def rsample(self, noise: Tensor) -> Tensor:
        """z = mean + L noise: noise (K, B, D) from N(0, I) -> z (K, B, D), differentiable."""
        return self.mean + (self.factor @ noise[..., None])[..., 0]

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z | x) = log N(noise; 0, I) - sum_d log L_dd at noise = L^-1 (z - mean), in nats: (K, B)."""
        # All draws of an item are columns of one system: L is not copied for each.
        centred = (z - self.mean).permute(1, 2, 0)
        noise = Whitened.apply(self.factor, centred).permute(2, 0, 1)
        return -(0.5 * (noise.square() + LOG_2PI) + self._log_diagonal()).sum(-1)

    def kl_standard_normal(self) -> Tensor:
        """KL(q, N(0, I)) in nats, its sum split over dimensions (B, D): (mean_d^2 + |L_d|^2 - 1) / 2 - log L_dd,
        each at least 0.
        """
        return 0.5 * (self.mean.square() + self.factor.square().sum(-1) - 1) - self._log_diagonal()

    def _log_diagonal(self) -> Tensor:
        return self.factor.diagonal(dim1=-2, dim2=-1).log()


FAR = 1e9  # standard deviations; no density there differs from nothing


class Whitened(torch.autograd.Function):
    """L^-1 c for L (B, D, D), lower triangular, and c (B, D, K), within +-FAR, and so are its gradients.

    Substitution multiplies by L_ij / L_jj once for each dimension: a few large ratios leave the range of numbers.
    """

    @staticmethod
    def forward(ctx: Any, factor: Tensor, centred: Tensor) -> Tensor:
        noise = _within(torch.linalg.solve_triangular(factor, centred, upper=False))
        ctx.save_for_backward(factor, noise)
        return noise

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        factor, noise = ctx.saved_tensors
        gradient = torch.where(noise.abs() < FAR, gradient, 0.0)
        centred = _within(torch.linalg.solve_triangular(factor.mT, gradient, upper=True))
        return -(centred @ noise.mT).tril(), centred


def _within(values: Tensor) -> Tensor:
    return values.nan_to_num(FAR, FAR, -FAR).clamp(-FAR, FAR)


@dataclass(frozen=True)
class FlowPosterior:
    """The distribution of T(u; context), with u from a diagonal Gaussian and T invertible with a known Jacobian.

    log q(z | x) = log N(u; base) - log |det dT/du| at u = T^-1(z) (Rezende and Mohamed 2015). Mean, standard deviation
    and KL have no closed form; `mean` is the code T(base mean) instead.
    """

    base_mean: Tensor
    base_log_std: Tensor
    context: Tensor
    flow: Flow
    has_density: ClassVar[bool] = True
    density_work: ClassVar[int] = FLOW_WORK

    @property
    def mean(self) -> Tensor:
        return self.flow(self.base_mean, self.context)[0]

    @property
    def stddev(self) -> None:
        return None

    def rsample(self, noise: Tensor) -> Tensor:
        """z = T(base mean + base std * noise): noise (K, B, D) from N(0, I) -> z (K, B, D), differentiable."""
        return self.flow(self._base.rsample(noise), self.context.expand(len(noise), -1, -1))[0]

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z | x) in nats, exact: z (K, B, D) -> (K, B)."""
        u, log_det = self.flow.inverse(z, self.context.expand(len(z), -1, -1))
        return self._base.log_prob(u) + log_det

    def kl_standard_normal(self) -> None:
        return None

    @property
    def _base(self) -> GaussianPosterior:
        return GaussianPosterior(self.base_mean, self.base_log_std)


class Flow(nn.Module):
    """Affine coupling layers (Dinh et al. 2017), conditioned on the item by a context vector.

    A layer leaves every second dimension unchanged and maps the others by z_d = u_d exp(s_d) + t_d, where s and t are
    functions of the unchanged dimensions and the context. Its log |det| is the sum of s. Neighbouring layers leave
    opposite halves unchanged.
    """

    def __init__(self, latent: int, layers: int, context: int, width: int = 64) -> None:
        super().__init__()
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(latent + context, width), nn.SiLU(), nn.Linear(width, 2 * latent))
            for _ in range(layers)
        )
        for net in self.nets:
            # The flow starts as the identity: training begins at a diagonal Gaussian.
            nn.init.zeros_(net[2].weight)  # type: ignore[index]
            nn.init.zeros_(net[2].bias)  # type: ignore[index]
        # Every second dimension, by turns; without arithmetic, which is slow to import where a model is only counted.
        masks = torch.zeros(layers, latent)
        masks[0::2, 1::2] = masks[1::2, 0::2] = 1.0
        self.register_buffer("masks", masks)

    def forward(self, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z = T(u) and log |det dT/du|: u (..., D), context (..., C) -> (..., D), (...)."""
        log_det = u.new_zeros(u.shape[:-1])
        for i in range(len(self.nets)):
            s, t = self._affine(i, u, context)
            u, log_det = u * s.exp() + t, log_det + s.sum(-1)
        return u, log_det

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """u = T^-1(z) and log |det du/dz|: z (..., D), context (..., C) -> (..., D), (...)."""
        log_det = z.new_zeros(z.shape[:-1])
        for i in reversed(range(len(self.nets))):
            s, t = self._affine(i, z, context)
            z, log_det = (z - t) * (-s).exp(), log_det - s.sum(-1)
        return z, log_det

    def _affine(self, layer: int, values: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """s and t of a layer, 0 in its unchanged dimensions; s is bounded, so that nothing overflows."""
        unchanged = self.masks[layer]  # type: ignore[index]
        s, t = self.nets[layer](torch.cat([values * unchanged, context], -1)).chunk(2, -1)
        return 2 * torch.tanh(s / 2) * (1 - unchanged), t * (1 - unchanged)


PosteriorValue = PointPosterior | GaussianPosterior | FullGaussianPosterior | FlowPosterior


def checked_size(latent: int) -> int:
    """The number of dimensions of a latent space.

    Raises InputError unless it is a whole number of at least 1.
    """
    check_number(latent, "latent")
    if latent < 1:
        raise InputError("at least 1 dimension is needed", field="latent", value=latent)
    return latent


class Point(nn.Module):
    """Encoder outputs are the code."""

    has_density: ClassVar[bool] = False

    def __init__(self, latent: int, layers: int = 0) -> None:
        super().__init__()
        self.latent = checked_size(latent)
        self.outputs = latent

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, by dotted key, that make it."""
        return {"posterior.name": "point", "model.latent": self.latent}

    def forward(self, raw: Tensor) -> PointPosterior:
        return PointPosterior(raw)


class DiagonalGaussian(nn.Module):
    """Encoder outputs are the mean and the log-variance."""

    has_density: ClassVar[bool] = True

    def __init__(self, latent: int, layers: int = 0) -> None:
        super().__init__()
        self.latent = checked_size(latent)
        self.outputs = 2 * latent

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, by dotted key, that make it."""
        return {"posterior.name": "gaussian", "model.latent": self.latent}

    def forward(self, raw: Tensor) -> GaussianPosterior:
        mean, log_var = raw.chunk(2, dim=-1)
        return GaussianPosterior(mean, 0.5 * log_scale(log_var))


class FullGaussian(nn.Module):
    """Encoder outputs are the mean, the logarithms of L's diagonal, and L's entries below it."""

    has_density: ClassVar[bool] = True

    def __init__(self, latent: int, layers: int = 0) -> None:
        super().__init__()
        self.latent = checked_size(latent)
        self.outputs = 2 * latent + latent * (latent - 1) // 2

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, by dotted key, that make it."""
        return {"posterior.name": "full-gaussian", "model.latent": self.latent}

    def forward(self, raw: Tensor) -> FullGaussianPosterior:
        below = self.outputs - 2 * self.latent
        mean, log_diagonal, lower = raw.split([self.latent, self.latent, below], dim=-1)
        rows, columns = torch.tril_indices(self.latent, self.latent, offset=-1, device=raw.device)
        factor = torch.diag_embed(log_deviation(log_diagonal).exp())
        factor[:, rows, columns] = lower
        return FullGaussianPosterior(mean, factor)


class FlowedGaussian(nn.Module):
    """Encoder outputs are the base's mean and log-variance, and a context for the coupling layers."""

    has_density: ClassVar[bool] = True

    def __init__(self, latent: int, layers: int = 4) -> None:
        super().__init__()
        self.latent = checked_size(latent)
        self.sizes = [latent, latent, CONTEXT]
        self.outputs = sum(self.sizes)
        self.flow = Flow(latent, layers, CONTEXT)

    @property
    def settings(self) -> None:
        """None: settings make one with new weights."""
        return None

    def forward(self, raw: Tensor) -> FlowPosterior:
        mean, log_var, context = raw.split(self.sizes, dim=-1)
        return FlowPosterior(mean, 0.5 * log_scale(log_var), context, self.flow)


Posterior = Point | DiagonalGaussian | FullGaussian | FlowedGaussian
POSTERIORS: dict[str, type[Posterior]] = {
    "point": Point,
    "gaussian": DiagonalGaussian,
    "full-gaussian": FullGaussian,
    "flow": FlowedGaussian,
}


def frozen(q: PosteriorValue) -> PosteriorValue:
    """The same distribution with constant parameters: the gradient of its log_prob reaches only z."""
    values: dict[str, Any] = {}
    for item in fields(q):
        entry = getattr(q, item.name)
        # A flow's weights are parameters as well; its networks are small, so a copy costs little.
        values[item.name] = (
            entry.detach() if isinstance(entry, Tensor) else copy.deepcopy(entry).requires_grad_(False)
        )
    return type(q)(**values)


def joined(parts: Sequence[PosteriorValue]) -> PosteriorValue:
    """Joins the posteriors of several batches into one value."""
    first = parts[0]
    values = {}
    for item in fields(first):
        entries = [getattr(part, item.name) for part in parts]
        values[item.name] = torch.cat(entries) if isinstance(entries[0], Tensor) else entries[0]
    return type(first)(**values)  # type: ignore[arg-type]


def selected(q: PosteriorValue, rows: Tensor | slice) -> PosteriorValue:
    """The posteriors of the items at `rows`, in that order."""
    values = {item.name: getattr(q, item.name) for item in fields(q)}
    return type(q)(**{k: v[rows] if isinstance(v, Tensor) else v for k, v in values.items()})  # type: ignore[arg-type]
