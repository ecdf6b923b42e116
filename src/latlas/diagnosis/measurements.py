"""From a run, its model and its data to the evidence: a few passes over at most 1,000 items of each split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latlas import densities, training
from latlas.build import has_prior, statistics
from latlas.data import Dataset, Split
from latlas.data.batches import Batches
from latlas.diagnosis import probes
from latlas.diagnosis.evidence import Evidence, Latents, Noise, Scores
from latlas.models import Model
from latlas.progress import SILENT, Observer
from latlas.settings import Config

MOST_ITEMS = 1000  # of a split, in passes through the model
MOST_ROWS = 4000  # of the training split, for its principal axes
MOST_CODES = 2000  # of the training split, that a density is fitted to
MOST_VALUES = 2**22  # of all items read for one of these: bounds time and memory whatever the size of an item


def gather(
    config: Config,
    model: Model | None,
    dataset: Dataset,
    log: Sequence[Mapping[str, Any]] = (),
    finished: bool = True,
    observer: Observer = SILENT,
) -> Evidence:
    """The evidence on a model of a resolved configuration, its data and the rows of its log; None stands for a model
    whose training broke off before there were weights.
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
    if model is None:
        return replace(known, weights=False)
    passed = {}
    for at, name in enumerate(("train", "valid", "test")):
        if len(dataset.split(name)):
            passed[name] = probes.through(model, few(dataset, dataset.split(name), model, MOST_ITEMS), at)
        observer.progress("diagnosing", at + 1, 5)
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
        layers=probes.layers(model, passed["test"].x, passed["test"].z),
    )
    observer.progress("diagnosing", 4, 5)
    return replace(known, **_against_training(config, model, dataset, passed["test"], average))


def few(dataset: Dataset, split: Split, model: Model, most: int) -> Tensor:
    """Items of a split as the model sees them, spaced evenly: (N, *shape), at least 50 where there are so many."""
    count = min(len(split), most, max(50, MOST_VALUES // math.prod(dataset.shape)))
    chosen = split.evenly(count)
    return Batches(chosen, dataset.scaling, model.device, model.dtype)(np.arange(len(chosen)))


def _scores(weight: float, model: Model, p: probes.Passed, average: Tensor) -> Scores:
    cost = p.distortion + (weight * p.rate if p.rate is not None and weight else 0)
    baseline = probes.without_codes(model, average, p.x)
    gain = baseline - cost
    return Scores(
        items=len(cost),
        distortion=p.distortion.mean().item(),
        rate=None if p.rate is None else p.rate.mean().item(),
        cost=cost.mean().item(),
        stderr=_stderr(cost),
        baseline=baseline.mean().item(),
        gain=gain.mean().item(),
        gain_stderr=_stderr(gain),
    )


def _stderr(values: Tensor) -> float:
    return values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.inf


def _noise(model: Model, p: probes.Passed, average: Tensor) -> Noise:
    spread = (p.x - average).square().mean().item()
    residual = p.squared.mean().item()
    best = model.likelihood.calibration(p.error.double()) if residual > 0 else None
    return Noise(p.variance.mean().item(), residual, spread, *(best or ()))


def _latents(model: Model, p: probes.Passed) -> Latents:
    more = probes.with_others_codes(model, p.x, p.z) - p.distortion
    activity = p.mean.var(0) / p.z.var(0).clamp(min=1e-30)
    return Latents(
        activity=activity.numpy(),
        reach=probes.reach(model, p.z),
        rate=None if p.per_dimension is None else p.per_dimension.mean(0).numpy(),
        shuffled=more.mean().item(),
        shuffled_stderr=_stderr(more),
    )


def _against_training(
    config: Config, model: Model, dataset: Dataset, test: probes.Passed, average: Tensor
) -> dict[str, Any]:
    """Evidence that compares with the training split's axes and codes."""
    scale = probes.noise_at(model, average).flatten().sqrt()
    white = few(dataset, dataset.train, model, MOST_ROWS).flatten(1).cpu().double() / scale
    modes, axes = probes.spectrum(white)
    found: dict[str, Any] = {"modes": modes}
    found["drift"] = probes.drift(white[1::2], test.x.flatten(1).cpu().double() / scale, axes)
    if has_prior(config):
        codes = densities.draws(
            model, dataset.train.evenly(MOST_CODES).x, seed=7
        )  # other noise than the test items'
        found["gap"] = probes.density_gap(model, codes, test.z)
    return found
