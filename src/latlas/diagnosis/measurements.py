"""Measures the evidence on a run, by a few passes over at most 1,000 items of each split, and from its log."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latlas import densities, training
from latlas.brought import NOTHING, Brought
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

MOST_ITEMS = 1000  # items of a split that are passed through the model
FEW_ITEMS = 5  # test items whose mean residual is worth knowing
MOST_ROWS = 4000  # training items for the principal axes
MOST_CODES = 2000  # training codes that a density is fitted to
MOST_VALUES = 2**22  # values read for each of these: bounds time and memory for items of any size
DEAD_RANGE = 1e-4  # largest range of a dead unit, as a share of the widest range in its layer
AXES = 20  # principal axes along which test and training items are compared
BLOCK = 100  # items per block of the MMD: ten blocks of 1,000 items give it a standard error

NEAREST_STEPS, NEAREST_RATE = 300, 0.05  # towards raw outputs of a given mean


def gather(
    config: Config,
    dataset: Dataset,
    context: Context | None,
    log: Sequence[Mapping[str, Any]] = (),
    finished: bool = True,
    brought: Brought = NOTHING,
) -> Evidence:
    """The evidence on a run, from its resolved configuration, its data, its model's context and the rows of its log.

    The context is None if the run broke off before it had weights.
    """
    rows = [dict(row) for row in log]
    # Where nothing is held out for testing, the rules read what is measured in its place.
    measured = len(dataset.split(dataset.measured))
    evidence = Evidence(
        config=config,
        kind=dataset.kind,
        values=math.prod(dataset.shape),
        binary=dataset.binary,
        counts={name: len(dataset.split(name)) for name in ("train", "valid")} | {"test": measured},
        plan=training.plan(config, len(dataset.train)),
        finished=finished,
        steps=tuple(row for row in rows if row["kind"] == "step"),
        epochs=tuple(row for row in rows if row["kind"] == "epoch"),
        brought=brought,
    )
    if context is None:
        return replace(evidence, weights=False)
    model, outputs = context.model, _outputs(context, dataset)
    finite = all(bool(p.distortion.isfinite().all() and p.z.isfinite().all()) for p in outputs.values())
    if not finite:
        return replace(evidence, finite=False)
    average = torch.from_numpy(statistics(dataset).mean).to(model.device, model.dtype)
    test = outputs.setdefault("test", outputs[dataset.measured])
    evidence = replace(
        evidence,
        scores={name: _scores(evidence.weight, model, p, average) for name, p in outputs.items()},
        noise=_noise(model, outputs["train"], test, average),
        latents=_latents(model, test) if len(test.x) > 1 else None,
        outside=test.outside,
        layers=layers(model, test.x, test.z),
    )
    context.observer.progress("diagnosing the run", 4, 5)
    evidence = replace(evidence, **_compared_with_training(context, dataset, test, average))
    context.observer.progress("diagnosing the run", 5, 5)
    return evidence


def _outputs(context: Context, dataset: Dataset) -> dict[str, Outputs]:
    """The model's outputs for items of each split, by name; the codes of test items are those of the context."""
    outputs = {}
    for at, name in enumerate(("train", "valid", "test")):
        split = dataset.split(name)
        if len(split):
            rows = split.even_rows(_item_count(split, dataset, MOST_ITEMS))
            q = context.posteriors(rows) if name == "test" and context.items_given is None else None
            data = Batches(split, dataset.scaling, context.model.device, context.model.dtype)
            outputs[name] = outputs_of(context.model, data(rows), at, q, data.targets_of(rows))
        context.observer.progress("diagnosing the run", at + 1, 5)
    return outputs


def _item_count(split: Split, dataset: Dataset, most: int) -> int:
    """How many items to read: at most `most`, fewer if they are large, but 50 if the split has them."""
    return min(len(split), most, max(50, MOST_VALUES // math.prod(dataset.shape)))


def _items(split: Split, rows: np.ndarray, dataset: Dataset, model: Model) -> Tensor:
    """These rows of a split on the model's scale: (N, *shape)."""
    return Batches(split, dataset.scaling, model.device, model.dtype)(rows)


@dataclass(frozen=True)
class Outputs:
    """A model's outputs for items x (N, *shape), with one draw of z per item.

    `error` is `clean` minus the mean of p(x | z), shaped as x; `clean` is x, or targets of its own. `mean` codes and
    draws `z` are (N, D). `distortion` and `rate` (N,) are in nats, the rate `per_dimension` (N, D); rates are None
    without a density. `squared` error and the likelihood's `variance` are means over an item's values (N,). `outside`
    is the share of means outside [0, 1]. All but x, clean and error are in double precision on the CPU.
    """

    x: Tensor
    clean: Tensor
    error: Tensor
    mean: Tensor
    z: Tensor
    distortion: Tensor
    rate: Tensor | None
    per_dimension: Tensor | None
    squared: Tensor
    variance: Tensor
    outside: float


def outputs_of(
    model: Model, x: Tensor, seed: int = 0, q: PosteriorValue | None = None, target: Tensor | None = None
) -> Outputs:
    """The model's outputs for items x (N, *shape), with noise by the seed; `q`: their posteriors if known; `target`:
    what outputs are compared with, if not x.
    """
    clean = x if target is None else target
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((1, len(x), model.latent), generator=generator, dtype=x.dtype).to(x.device)
    parts: list[tuple[Tensor, ...]] = []
    errors = []
    with torch.no_grad(), evaluating(model):
        prior = model.prior_value()
        for rows in model.chunks(len(x)):
            posterior = model.infer(x[rows]) if q is None else selected(q, rows)
            p = model.at(posterior.rsample(noise[:, rows]), clean[rows], posterior, prior)
            assert p.raw is not None
            mean = model.likelihood.mean(p.raw)[0]
            errors.append(clean[rows] - mean)
            squared = errors[-1].flatten(1).square().mean(1)
            outside = ((mean < -1 / 255) | (mean > 1 + 1 / 255)).flatten(1).double().mean(1)
            absent = squared.new_zeros(len(squared), 0)
            parts.append((posterior.mean, p.z[0], p.distortion, absent if p.rate is None else p.rate,
                          absent if p.kl is None else p.kl, squared,
                          model.likelihood.variance(p.raw)[0].flatten(1).mean(1), outside))  # fmt: skip
    mean, z, distortion, rate, kl, squared, variance, outside = (
        torch.cat(part).cpu().double() for part in zip(*parts, strict=True)
    )
    return Outputs(x, clean, torch.cat(errors), mean, z, distortion, rate if rate.ndim == 1 else None,
                   kl if kl.shape[1] else None, squared, variance, outside.mean().item())  # fmt: skip


def _scores(weight: float, model: Model, p: Outputs, average: Tensor) -> Scores:
    cost = p.distortion + (weight * p.rate if p.rate is not None and weight else 0)
    baseline = baseline_distortion(model, average, p.clean)
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
    stderr = standard_error(values.cpu().numpy())
    return math.inf if stderr is None else stderr


def _noise(model: Model, p: Outputs, test: Outputs, average: Tensor) -> Noise:
    spread = (p.clean - average).square().mean().item()
    residual = p.squared.mean().item()
    best = model.likelihood.calibration(p.error.double()) if residual > 0 else None
    unseen = test.squared.mean().item() if len(test.x) >= FEW_ITEMS else None
    best_sigma, excess = best or (None, None)
    return Noise(p.variance.mean().item(), residual, spread, best_sigma, excess, unseen)


def _latents(model: Model, p: Outputs) -> Latents:
    rise = shuffled_distortion(model, p.clean, p.z) - p.distortion
    activity = p.mean.var(0) / p.z.var(0).clamp(min=1e-30)
    return Latents(
        activity=activity.numpy(),
        reach=reach(model, p.z),
        rate=None if p.per_dimension is None else p.per_dimension.mean(0).numpy(),
        shuffled=rise.mean().item(),
        shuffled_stderr=_error(rise),
    )


def _compared_with_training(
    context: Context, dataset: Dataset, test: Outputs, average: Tensor
) -> dict[str, Any]:
    """The evidence that compares test items with the principal axes and the codes of the training split."""
    model, train = context.model, dataset.train
    scale = noise_variance(model, average).flatten().sqrt()
    rows = train.even_rows(_item_count(train, dataset, MOST_ROWS))
    white = _items(train, rows, dataset, model).flatten(1).cpu().double() / scale
    modes, axes = spectrum(white)
    compared: dict[str, Any] = {"modes": modes}
    compared["drift"] = drift(white[1::2], test.x.flatten(1).cpu().double() / scale, axes)
    if context.prior:
        # The noise differs from that of the test items.
        codes = densities.draws(model, train.evenly(MOST_CODES).x, seed=7)
        compared["gap"] = density_gap(model, codes, test.z)
    return compared


def baseline_distortion(model: Model, average: Tensor, x: Tensor) -> Tensor:
    """Distortion of items x (N, *shape) of a model without codes, which predicts `average` (*shape): (N,) in nats."""
    with torch.no_grad():
        raw = raw_of_mean(model, average)[None, None]
        parts = [-model.likelihood.log_prob(raw.expand(1, r.stop - r.start, *raw.shape[2:]), x[r])[0]
                 for r in model.chunks(len(x))]  # fmt: skip
    return torch.cat(parts).cpu().double()


def raw_of_mean(model: Model, average: Tensor) -> Tensor:
    """Raw outputs (*raw shape) with which the mean of p(x | z) is `average` (*shape): the likelihood's own, or for one
    that does not say them those that come nearest, by gradient steps from the decoder's output at the code 0.
    """
    known = model.likelihood.raw(average)
    if known is not None:
        return known
    with evaluating(model), torch.no_grad():
        start = model.decoder(average.new_zeros(1, model.latent))[0]
    with torch.enable_grad():
        raw = start.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([raw], lr=NEAREST_RATE)
        for _ in range(NEAREST_STEPS):
            loss = (model.likelihood.mean(raw[None, None])[0, 0] - average).square().sum()
            (raw.grad,) = torch.autograd.grad(loss, [raw])
            optimizer.step()
    return raw.detach()


def shuffled_distortion(model: Model, x: Tensor, z: Tensor) -> Tensor:
    """Distortion of items x (N, *shape) with shuffled codes z (N, D): each has the code of another: (N,) in nats."""
    # Rolled by half the items: if they are sorted by class, the code of a neighbour would nearly fit.
    shuffled = z.roll(len(z) // 2, 0).to(x)
    parts = []
    with torch.no_grad(), evaluating(model):
        for rows in model.chunks(len(x)):
            parts.append(model.at(shuffled[None, rows], x[rows]).distortion)
    return torch.cat(parts).cpu().double()


def _reading_codes(model: Model, z: Tensor) -> list[nn.Linear]:
    """The linear layers of the decoder that are given the codes z (1, D) themselves."""
    found: list[nn.Linear] = []

    def look(layer: nn.Module, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        if isinstance(layer, nn.Linear) and any(value is codes for value in (*given, *named.values())):
            found.append(layer)

    codes = z.to(model.device, model.dtype)
    linear = [module for module in model.decoder.modules() if isinstance(module, nn.Linear)]
    hooks = [layer.register_forward_pre_hook(look, with_kwargs=True) for layer in linear]
    try:
        with torch.no_grad(), evaluating(model):
            model.decoder(codes)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def reach(model: Model, z: Tensor) -> np.ndarray:
    """The effect of each latent dimension on the decoder, as a share of the largest: (D,).

    It is the standard deviation of the draws z (N, D) times the norm of the decoder's first weights on that
    dimension.
    """
    layers = _reading_codes(model, z[:1])
    if not layers:
        return np.ones(model.latent)
    norms = torch.cat([layer.weight.detach() for layer in layers]).norm(dim=0).cpu()
    effect = (z.std(0) * norms).numpy()
    return effect / max(effect.max(), np.finfo(float).tiny)


def layers(model: Model, x: Tensor, z: Tensor) -> tuple[Layer, ...]:
    """The layers of activations in encoder and decoder, for items x (N, *shape) and codes z (N, D)."""
    kinds: tuple[type[nn.Module], ...] = tuple(k for k in ACTIVATIONS.values() if isinstance(k, type))
    ranges: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Callable[..., None]:
        def record(module: nn.Module, inputs: object, output: Tensor) -> None:
            flat = output.detach().movedim(1, -1).flatten(0, -2)
            low, high = flat.amin(0), flat.amax(0)
            if name in ranges:
                low, high = torch.minimum(low, ranges[name][0]), torch.maximum(high, ranges[name][1])
            ranges[name] = low, high

        return record

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
    widths = {name: (high - low).cpu().double() for name, (low, high) in ranges.items()}
    flat = {name: isinstance(model.get_submodule(name), nn.ReLU) for name in widths}
    return tuple(Layer(n, len(w), int((w <= DEAD_RANGE * w.max()).sum()), flat[n]) for n, w in widths.items())


def spectrum(white: Tensor) -> tuple[np.ndarray, Tensor]:
    """Principal variances (R,) of items (N, D), largest first, and their orthonormal axes, the columns of (D, R).

    Items, variances and axes are in units of the noise. Axes are computed from every second item and variances from the
    others: with few items in many dimensions, variances along axes fitted to the same items would be too large.
    """
    white = white - white.mean(0)
    axes = principal_axes(white[::2])
    projected = white[1::2] @ axes
    if len(projected) < 2:  # one item does not vary
        return np.zeros(0), axes[:, :0]
    variance = projected.var(0)
    order = variance.argsort(descending=True)
    return variance[order].numpy(), axes[:, order]


def principal_axes(x: Tensor) -> Tensor:
    """Orthonormal principal axes (D, R) of centred items x (N, D), from the smaller of the two Gram matrices."""
    if len(x) >= x.shape[1]:
        return torch.linalg.eigh(x.T @ x)[1].flip(1)
    values, vectors = torch.linalg.eigh(x @ x.T)
    keep = values > 1e-10 * values[-1]
    return (x.T @ vectors[:, keep] / values[keep].sqrt()).flip(1)


def drift(train: Tensor, test: Tensor, axes: Tensor) -> Drift | None:
    """The drift of test items (N, D) from training items (M, D) along the first axes (D, R); None for too few items."""
    count = min(len(train), len(test))
    if count < 2 * BLOCK:
        return None
    first = axes[:, :AXES]
    # Shuffled, because a block of consecutive items of a sorted split may be of one class.
    generator = torch.Generator().manual_seed(0)
    a, b = (part[torch.randperm(len(part), generator=generator)[:count]] @ first for part in (train, test))
    mean, scale = a.mean(0), a.std(0).clamp(min=1e-12)
    a, b = (a - mean) / scale, (b - mean) / scale
    blocks = block_mmd(a, b, BLOCK)
    if blocks is None:
        return None
    stderr = float(blocks.std() / math.sqrt(len(blocks)))
    return Drift(float(blocks.mean()), stderr, float(b.mean(0).abs().max()))


def density_gap(model: Model, train: np.ndarray, test: Tensor, seed: int = 0) -> Gap | None:
    """The gap of test codes (N, D) between the prior and the best density fitted to training codes (M, D).

    None if no density can be fitted.
    """
    with torch.no_grad(), evaluating(model):
        like = next(model.parameters())
        prior = log_prior(model.prior_value(), test.to(like))
    half = len(test) // 2
    gaps: list[tuple[float, Gap]] = []
    for name in ("factored", "full", "mixture"):
        if densities.refusal(name, train) or not half:
            continue
        fitted = densities.fit(name, train, seed)
        difference = fitted.log_prob(test.numpy()) - prior
        # One half of the codes selects the density, the other measures it: the best of three is best partly by chance.
        measured = difference[half:]
        is_mixture = isinstance(fitted, densities.Mixture) and len(fitted.parts) > 1
        gap = Gap(fitted.what, float(measured.mean()), _error(torch.from_numpy(measured)), is_mixture)
        gaps.append((float(difference[:half].mean()), gap))
    return max(gaps, key=lambda scored: scored[0])[1] if gaps else None


def noise_variance(model: Model, average: Tensor) -> Tensor:
    """The likelihood's variance of each value (*shape) at the training mean, which a mode has to exceed."""
    with torch.no_grad():
        variance = model.likelihood.variance(raw_of_mean(model, average)[None, None])[0, 0]
    return variance.clamp(min=1e-12).cpu().double()
