"""Diagnosis of a run: evidence is gathered once, and each rule turns it into one finding or none."""

from __future__ import annotations

from dataclasses import replace

from latlas.data import Dataset
from latlas.diagnosis import latent_rules, likelihood_rules, network_rules, training_rules
from latlas.diagnosis.evidence import Evidence
from latlas.diagnosis.finding import Finding
from latlas.diagnosis.measurements import gather
from latlas.diagnosis.precedence import ordered
from latlas.diagnosis.rule import Rule
from latlas.metrics import Context
from latlas.runs import Run
from latlas.settings import OWN_READS

__all__ = ["LOOKED_AT", "RULES", "Evidence", "Finding", "Rule", "diagnose", "gather", "of"]

RULES: tuple[Rule, ...] = (
    training_rules.not_finite,
    training_rules.unfinished,
    latent_rules.collapsed,
    latent_rules.partly_collapsed,
    latent_rules.ignored,
    latent_rules.holes,
    likelihood_rules.noise_off,
    likelihood_rules.bernoulli_on_grey,
    likelihood_rules.density_on_binary,
    likelihood_rules.outside_range,
    likelihood_rules.loss_scale,
    training_rules.overfits,
    training_rules.underfits,
    training_rules.rate_too_high,
    training_rules.clipped,
    training_rules.rate_too_low,
    network_rules.dead_units,
    network_rules.unlike_test,
    latent_rules.too_few,
    latent_rules.too_many,
    training_rules.nothing_held_out,
)

LOOKED_AT = (
    "posterior collapse and inactive dimensions, whether the decoder uses the codes, holes in the prior, sigma and"
    " likelihood, the weight of the rate, over- and underfitting, learning rate and gradients, dead units, test data"
    " that differ from the training data, the number of dimensions"
)


def diagnose(evidence: Evidence) -> list[Finding]:
    """The findings of all rules, the most serious first, without those that follow from another; empty if nothing is
    wrong."""
    findings = [finding for rule in RULES if (finding := rule(evidence)) is not None and finding.finite]
    return [_without_own(finding, evidence) for finding in ordered(findings, evidence.config)]


def _without_own(finding: Finding, evidence: Evidence) -> Finding:
    """The finding without settings that a part of one's own does not read."""
    read = {
        key: value
        for key, value in finding.settings.items()
        if (section := key.partition(".")[0]) not in OWN_READS or not evidence.owns(section)
    }
    return replace(finding, settings=read)


def of(run: Run, dataset: Dataset, context: Context | None, finished: bool) -> list[Finding]:
    """The findings on a run, from its folder, its data and the context of its model.

    The context is None if the run has no weights yet. `finished` says whether training is over.
    """
    return diagnose(gather(run.config, dataset, context, run.log(), finished, run.brought))
