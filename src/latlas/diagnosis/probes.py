"""Small measurements of a model: on few items, in bounded time and memory, without gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from latlas import densities
from latlas.diagnosis.evidence import Drift, Gap, Layer
from latlas.metrics.codes import block_mmd
from latlas.metrics.information import log_prior
from latlas.models import Model, evaluating
from latlas.networks import ACTIVATIONS

SAME = 1e-4  # of the widest unit's range in a layer: a unit within it gives one value for every item
AXES = 20  # principal axes along which test and training items are compared
BLOCK = 100  # items per block of the MMD: ten blocks of 1,000 items give it a standard error


@dataclass(frozen=True)
class Passed:
    """Items x (N, *shape) through the model with one draw each: the `error` x - mean of p(x | z); mean codes and draws
    z (N, D), distortion and rate (N,) in nats (rate None without a density), squared error and the likelihood's
    variance per value (N,), and the share of means outside [0, 1]; all but x and error in double precision on the CPU.
    """

    x: Tensor
    error: Tensor
    mean: Tensor
    z: Tensor
    distortion: Tensor
    rate: Tensor | None
    per_dimension: Tensor | None
    squared: Tensor
    variance: Tensor
    outside: float


def through(model: Model, x: Tensor, seed: int = 0) -> Passed:
    """One draw of z for each item of x (N, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((1, len(x), model.latent), generator=generator, dtype=x.dtype).to(x.device)
    found: list[tuple[Tensor, ...]] = []
    errors = []
    with torch.no_grad(), evaluating(model):
        prior = model.prior_value()
        for rows in model.chunks(len(x)):
            q = model.infer(x[rows])
            z = q.rsample(noise[:, rows])
            raw = model.raw(z)
            mean = model.likelihood.mean(raw)[0]
            log_qz, kl = q.log_prob(z), prior.kl(q)
            rate = None if log_qz is None else (log_qz - prior.log_prob(z))[0]
            rate = rate if kl is None else kl.sum(-1)
            errors.append(x[rows] - mean)
            squared = errors[-1].flatten(1).square().mean(1)
            outside = ((mean < -1 / 255) | (mean > 1 + 1 / 255)).flatten(1).double().mean(1)
            nothing = squared.new_zeros(len(squared), 0)
            found.append((q.mean, z[0], -model.likelihood.log_prob(raw, x[rows])[0],
                          nothing if rate is None else rate, nothing if kl is None else kl, squared,
                          model.likelihood.variance(raw)[0].flatten(1).mean(1), outside))  # fmt: skip
    mean, z, distortion, rate, kl, squared, variance, outside = (
        torch.cat(parts).cpu().double() for parts in zip(*found, strict=True)
    )
    return Passed(x, torch.cat(errors), mean, z, distortion, rate if rate.ndim == 1 else None,
                  kl if kl.shape[1] else None, squared, variance, outside.mean().item())  # fmt: skip


def without_codes(model: Model, average: Tensor, x: Tensor) -> Tensor:
    """Distortion of items x (N, *shape) where every one of them is given the same `average` (*shape): (N,)."""
    with torch.no_grad():
        raw = model.likelihood.raw(average)[None, None]
        parts = [-model.likelihood.log_prob(raw.expand(1, r.stop - r.start, *average.shape), x[r])[0]
                 for r in model.chunks(len(x))]  # fmt: skip
    return torch.cat(parts).cpu().double()


def with_others_codes(model: Model, x: Tensor, z: Tensor) -> Tensor:
    """Distortion of items x (N, *shape) when each is given the code (N, D) of another: (N,)."""
    # Half way round: where items lie in the order of their classes, a neighbour's code would nearly fit.
    dealt = z.roll(len(z) // 2, 0).to(x)
    parts = []
    with torch.no_grad(), evaluating(model):
        for rows in model.chunks(len(x)):
            parts.append(-model.likelihood.log_prob(model.raw(dealt[None, rows]), x[rows])[0])
    return torch.cat(parts).cpu().double()


def reach(model: Model, z: Tensor) -> np.ndarray:
    """std of each dimension's draws z (N, D) times the norm of the decoder's first weights on it, as a share of the
    largest: (D,).
    """
    first = next((m for m in model.decoder.modules() if isinstance(m, nn.Linear)), None)
    norms = torch.ones(model.latent) if first is None else first.weight.detach().norm(dim=0).cpu()
    if len(norms) != model.latent:
        return np.ones(model.latent)
    effect = (z.std(0) * norms).numpy()
    return effect / max(effect.max(), np.finfo(float).tiny)


def layers(model: Model, x: Tensor, z: Tensor) -> tuple[Layer, ...]:
    """The layers of activations in encoder and decoder, run on items x (N, *shape) and codes z (N, D)."""
    kinds: tuple[type[nn.Module], ...] = tuple(k for k in ACTIVATIONS.values() if isinstance(k, type))
    ranges: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Callable[..., None]:
        def look(module: nn.Module, inputs: object, output: Tensor) -> None:
            flat = output.detach().movedim(1, -1).flatten(0, -2)
            low, high = flat.amin(0), flat.amax(0)
            if name in ranges:
                low, high = torch.minimum(low, ranges[name][0]), torch.maximum(high, ranges[name][1])
            ranges[name] = low, high

        return look

    parts = (("encoder", model.encoder), ("decoder", model.decoder))
    hooks = [m.register_forward_hook(watch(f"{part}.{name}"))
             for part, net in parts for name, m in net.named_modules() if isinstance(m, kinds)]  # fmt: skip
    try:
        with torch.no_grad(), evaluating(model):
            for rows in model.chunks(len(x)):
                model.encoder(x[rows])
                model.decoder(z[rows].to(x))
    finally:
        for hook in hooks:
            hook.remove()
    found = {name: (high - low).cpu().double() for name, (low, high) in ranges.items()}
    flat = {name: isinstance(model.get_submodule(name), nn.ReLU) for name in found}
    return tuple(Layer(n, len(r), int((r <= SAME * r.max()).sum()), flat[n]) for n, r in found.items())


def spectrum(white: Tensor) -> tuple[np.ndarray, Tensor]:
    """Principal variances of items (N, D), which are in units of the noise, largest first (R,), and their axes, the
    columns of (D, R), orthonormal in those units.

    Axes come from every second item and variances from the others: of many dimensions and few items, variances
    along axes that the same items chose would be too large.
    """
    white = white - white.mean(0)
    axes = principal_axes(white[::2])
    projected = white[1::2] @ axes
    variance = projected.var(0)
    order = variance.argsort(descending=True)
    return variance[order].numpy(), axes[:, order]


def principal_axes(x: Tensor) -> Tensor:
    """Orthonormal principal axes of centred items x (N, D), by the smaller of the two Gram matrices: (D, R)."""
    if len(x) >= x.shape[1]:
        return torch.linalg.eigh(x.T @ x)[1].flip(1)
    values, vectors = torch.linalg.eigh(x @ x.T)
    keep = values > 1e-10 * values[-1]
    return (x.T @ vectors[:, keep] / values[keep].sqrt()).flip(1)


def drift(train: Tensor, test: Tensor, axes: Tensor) -> Drift | None:
    """Test items (N, D) against training items (M, D) along the first axes (D, R); None for too few."""
    count = min(len(train), len(test))
    if count < 2 * BLOCK:
        return None
    first = axes[:, :AXES]
    # Without order: a block of consecutive items may be of one class where a split is sorted.
    generator = torch.Generator().manual_seed(0)
    a, b = (part[torch.randperm(len(part), generator=generator)[:count]] @ first for part in (train, test))
    middle, scale = a.mean(0), a.std(0).clamp(min=1e-12)
    a, b = (a - middle) / scale, (b - middle) / scale
    blocks = block_mmd(a, b, BLOCK)
    if blocks is None:
        return None
    stderr = float(blocks.std() / math.sqrt(len(blocks)))
    return Drift(float(blocks.mean()), stderr, float(b.mean(0).abs().max()))


def density_gap(model: Model, train: np.ndarray, test: Tensor, seed: int = 0) -> Gap | None:
    """A density fitted to training codes (M, D) against the prior, on test codes (N, D); None where none can be
    fitted.
    """
    with torch.no_grad(), evaluating(model):
        like = next(model.parameters())
        prior = log_prior(model.prior_value(), test.to(like))
    half = len(test) // 2
    found: list[tuple[float, Gap]] = []
    for name in ("factored", "full", "mixture"):
        if densities.refusal(name, train) or not half:
            continue
        fitted = densities.fit(name, train, seed)
        more = fitted.log_prob(test.numpy()) - prior
        # Chosen by one half of the codes and judged by the other: the best of three is best by chance as well.
        judged = more[half:]
        shaped = isinstance(fitted, densities.Mixture) and len(fitted.parts) > 1
        stderr = float(judged.std(ddof=1) / math.sqrt(len(judged))) if len(judged) > 1 else math.inf
        found.append((float(more[:half].mean()), Gap(fitted.what, float(judged.mean()), stderr, shaped)))
    return max(found, key=lambda each: each[0])[1] if found else None


def noise_at(model: Model, average: Tensor) -> Tensor:
    """The likelihood's variance of each value (*shape) about the training mean: what a first mode has to beat."""
    with torch.no_grad():
        variance = model.likelihood.variance(model.likelihood.raw(average))
    return variance.clamp(min=1e-12).cpu().double()
