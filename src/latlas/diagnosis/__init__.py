"""What is wrong with a run: evidence gathered once, and rules that each say one thing or nothing."""

from __future__ import annotations

from collections.abc import Callable

from latlas.data import Dataset
from latlas.diagnosis import fit, latents, likelihood, parts
from latlas.diagnosis.evidence import Evidence
from latlas.diagnosis.finding import Finding
from latlas.diagnosis.gathering import gather
from latlas.models import Model
from latlas.observer import SILENT, Observer
from latlas.runs import Run

__all__ = ["LOOKED_AT", "RULES", "Evidence", "Finding", "diagnose", "gather", "of"]

Rule = Callable[[Evidence], Finding | None]

RULES: tuple[Rule, ...] = (
    fit.not_finite,
    fit.unfinished,
    latents.collapsed,
    latents.partly_collapsed,
    latents.ignored,
    latents.holes,
    likelihood.noise_off,
    likelihood.bernoulli_on_grey,
    likelihood.gaussian_on_binary,
    likelihood.outside_range,
    likelihood.loss_scale,
    fit.overfits,
    fit.underfits,
    fit.rate_too_high,
    fit.clipped,
    fit.rate_too_low,
    parts.dead_units,
    parts.unlike_test,
    latents.too_few,
    latents.too_many,
    fit.nothing_held_out,
)

LOOKED_AT = (
    "collapse and idle dimensions, whether the decoder reads its codes, holes in the prior, sigma and likelihood,"
    " the weight of the rate, over- and underfitting, learning rate and gradients, dead units, test data unlike the"
    " training data, the number of dimensions"
)


def diagnose(evidence: Evidence) -> list[Finding]:
    """What is wrong by the evidence, the weightiest first; empty where nothing is."""
    found = [finding for rule in RULES if (finding := rule(evidence)) is not None]
    return sorted(found, key=lambda finding: -finding.weight)


def of(
    run: Run, model: Model | None, dataset: Dataset, finished: bool, observer: Observer = SILENT
) -> list[Finding]:
    """What is wrong with a run, from its folder, its model (None where there are no weights yet) and its data;
    `finished` says whether its training is over.
    """
    return diagnose(gather(run.config, model, dataset, run.log(), finished, observer))
