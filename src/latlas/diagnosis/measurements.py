"""From a run's context and its log to the evidence: a few passes over at most 1,000 items of each split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latlas import densities, training
from latlas.build import statistics
from latlas.data import Dataset, Split
from latlas.data.batches import Batches
from latlas.diagnosis.evidence import Drift, Evidence, Gap, Latents, Layer, Noise, Scores
from latlas.metrics import Context
from latlas.metrics.codes import block_mmd
from latlas.metrics.information import log_prior
from latlas.metrics.metric import standard_error
from latlas.models import Model, evaluating
from latlas.networks import ACTIVATIONS
from latlas.posteriors import PosteriorValue, selected
from latlas.settings import Config

MOST_ITEMS = 1000  # of a split, in passes through the model
MOST_ROWS = 4000  # of the training split, for its principal axes
MOST_CODES = 2000  # of the training split, that a density is fitted to
MOST_VALUES = 2**22  # of all items read for one of these: bounds time and memory whatever the size of an item
SAME = 1e-4  # of the widest unit's range in a layer: a unit within it gives one value for every item
AXES = 20  # principal axes along which test and training items are compared
BLOCK = 100  # items per block of the MMD: ten blocks of 1,000 items give it a standard error


def gather(
    config: Config,
    dataset: Dataset,
    context: Context | None,
    log: Sequence[Mapping[str, Any]] = (),
    finished: bool = True,
) -> Evidence:
    """The evidence on a run of a resolved configuration: its data, the context of its model, and the rows of its log.

    No context stands for a run that broke off before there were weights.
    """
    rows = [dict(row) for row in log]
    known = Evidence(
        config=config,
        kind=dataset.kind,
        values=math.prod(dataset.shape),
        binary=dataset.binary,
        counts={name: len(dataset.split(name)) for name in ("train", "valid", "test")},
        plan=training.plan(config, len(dataset.train)),
        finished=finished,
        steps=tuple(row for row in rows if row["kind"] == "step"),
        epochs=tuple(row for row in rows if row["kind"] == "epoch"),
    )
    if context is None:
        return replace(known, weights=False)
    model, passed = context.model, _passes(context, dataset)
    finite = all(bool(p.distortion.isfinite().all() and p.z.isfinite().all()) for p in passed.values())
    if not finite:
        return replace(known, finite=False)
    average = torch.from_numpy(statistics(dataset).mean).to(model.device, model.dtype)
    known = replace(
        known,
        scores={name: _scores(known.weight, model, p, average) for name, p in passed.items()},
        noise=_noise(model, passed["train"], average),
        latents=_latents(model, passed["test"]),
        outside=passed["test"].outside,
        layers=layers(model, passed["test"].x, passed["test"].z),
    )
    context.observer.progress("diagnosing", 4, 5)
    known = replace(known, **_against_training(context, dataset, passed["test"], average))
    context.observer.progress("diagnosing", 5, 5)
    return known


def _passes(context: Context, dataset: Dataset) -> dict[str, Passed]:
    """Some items of each split through the model, each with one draw; test items were encoded already."""
    passed = {}
    for at, name in enumerate(("train", "valid", "test")):
        split = dataset.split(name)
        if len(split):
            rows = split.even_rows(_affordable(split, dataset, MOST_ITEMS))
            q = context.posteriors(rows) if name == "test" and context.items_given is None else None
            passed[name] = through(context.model, _read(split, rows, dataset, context.model), at, q)
        context.observer.progress("diagnosing", at + 1, 5)
    return passed


def _affordable(split: Split, dataset: Dataset, most: int) -> int:
    """At most so many items, fewer of large ones, and 50 at least where there are so many."""
    return min(len(split), most, max(50, MOST_VALUES // math.prod(dataset.shape)))


def _read(split: Split, rows: np.ndarray, dataset: Dataset, model: Model) -> Tensor:
    """Items as the model sees them: (N, *shape)."""
    return Batches(split, dataset.scaling, model.device, model.dtype)(rows)


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


def through(model: Model, x: Tensor, seed: int = 0, q: PosteriorValue | None = None) -> Passed:
    """One draw of z for each item of x (N, *shape); `q` are their posteriors where they are known already."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((1, len(x), model.latent), generator=generator, dtype=x.dtype).to(x.device)
    parts: list[tuple[Tensor, ...]] = []
    errors = []
    with torch.no_grad(), evaluating(model):
        prior = model.prior_value()
        for rows in model.chunks(len(x)):
            of_x = model.infer(x[rows]) if q is None else selected(q, rows)
            p = model.at(of_x.rsample(noise[:, rows]), x[rows], of_x, prior)
            assert p.raw is not None
            mean = model.likelihood.mean(p.raw)[0]
            errors.append(x[rows] - mean)
            squared = errors[-1].flatten(1).square().mean(1)
            outside = ((mean < -1 / 255) | (mean > 1 + 1 / 255)).flatten(1).double().mean(1)
            nothing = squared.new_zeros(len(squared), 0)
            parts.append((of_x.mean, p.z[0], p.distortion, nothing if p.rate is None else p.rate,
                          nothing if p.kl is None else p.kl, squared,
                          model.likelihood.variance(p.raw)[0].flatten(1).mean(1), outside))  # fmt: skip
    mean, z, distortion, rate, kl, squared, variance, outside = (
        torch.cat(part).cpu().double() for part in zip(*parts, strict=True)
    )
    return Passed(x, torch.cat(errors), mean, z, distortion, rate if rate.ndim == 1 else None,
                  kl if kl.shape[1] else None, squared, variance, outside.mean().item())  # fmt: skip


def _scores(weight: float, model: Model, p: Passed, average: Tensor) -> Scores:
    cost = p.distortion + (weight * p.rate if p.rate is not None and weight else 0)
    baseline = without_codes(model, average, p.x)
    gain = baseline - cost
    return Scores(
        items=len(cost),
        distortion=p.distortion.mean().item(),
        rate=None if p.rate is None else p.rate.mean().item(),
        cost=cost.mean().item(),
        stderr=_error(cost),
        baseline=baseline.mean().item(),
        gain=gain.mean().item(),
        gain_stderr=_error(gain),
    )


def _error(values: Tensor) -> float:
    known = standard_error(values.cpu().numpy())
    return math.inf if known is None else known


def _noise(model: Model, p: Passed, average: Tensor) -> Noise:
    spread = (p.x - average).square().mean().item()
    residual = p.squared.mean().item()
    best = model.likelihood.calibration(p.error.double()) if residual > 0 else None
    return Noise(p.variance.mean().item(), residual, spread, *(best or ()))


def _latents(model: Model, p: Passed) -> Latents:
    more = with_others_codes(model, p.x, p.z) - p.distortion
    activity = p.mean.var(0) / p.z.var(0).clamp(min=1e-30)
    return Latents(
        activity=activity.numpy(),
        reach=reach(model, p.z),
        rate=None if p.per_dimension is None else p.per_dimension.mean(0).numpy(),
        shuffled=more.mean().item(),
        shuffled_stderr=_error(more),
    )


def _against_training(context: Context, dataset: Dataset, test: Passed, average: Tensor) -> dict[str, Any]:
    """Evidence that compares with the training split's axes and codes."""
    model, train = context.model, dataset.train
    scale = noise_at(model, average).flatten().sqrt()
    rows = train.even_rows(_affordable(train, dataset, MOST_ROWS))
    white = _read(train, rows, dataset, model).flatten(1).cpu().double() / scale
    modes, axes = spectrum(white)
    found: dict[str, Any] = {"modes": modes}
    found["drift"] = drift(white[1::2], test.x.flatten(1).cpu().double() / scale, axes)
    if context.prior:
        # Other noise than the test items'.
        codes = densities.draws(model, train.evenly(MOST_CODES).x, seed=7)
        found["gap"] = density_gap(model, codes, test.z)
    return found


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
            parts.append(model.at(dealt[None, rows], x[rows]).distortion)
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
        stderr = _error(torch.from_numpy(judged))
        found.append((float(more[:half].mean()), Gap(fitted.what, float(judged.mean()), stderr, shaped)))
    return max(found, key=lambda each: each[0])[1] if found else None


def noise_at(model: Model, average: Tensor) -> Tensor:
    """The likelihood's variance of each value (*shape) about the training mean: what a first mode has to beat."""
    with torch.no_grad():
        variance = model.likelihood.variance(model.likelihood.raw(average))
    return variance.clamp(min=1e-12).cpu().double()
