"""Which finding yields to which, their order, and what is said of a setting that the recipe chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from latlas import config as configuration
from latlas.diagnosis.finding import WORTH_A_LOOK, Finding
from latlas.settings import Config
from latlas.text import listed, setting

# What only longer training can tell, unless the settings alone settle it (`Finding.settled`).
UNTRAINED = frozenset({
    "posterior-collapse", "dimensions-collapsed", "codes-ignored", "prior-mismatch", "sigma-miscalibrated",
    "bernoulli-on-grey", "output-outside-range", "learning-rate-too-high", "always-clipped", "too-few-dimensions",
    "too-many-dimensions",
})  # fmt: skip
# By finding: those that follow from it, or that mean nothing beside it.
YIELD_TO: dict[str, frozenset[str]] = {
    "diverged": UNTRAINED | {"overfitting", "underfitting", "learning-rate-too-low", "dead-units", "unfinished",
                             "rate-without-weight", "distortion-without-weight", "test-unlike-training"},
    "unfinished": UNTRAINED | {"underfitting"},
    "learning-rate-too-low": UNTRAINED | {"underfitting"},
    "underfitting": UNTRAINED,
    "posterior-collapse": frozenset({"dimensions-collapsed", "codes-ignored", "prior-mismatch", "overfitting",
                                     "distortion-without-weight", "too-many-dimensions", "too-few-dimensions",
                                     "dead-units"}),
    "codes-ignored": frozenset({"prior-mismatch", "overfitting", "too-few-dimensions", "too-many-dimensions",
                                "sigma-miscalibrated"}),
    "dimensions-collapsed": frozenset({"too-many-dimensions"}),
    "rate-without-weight": frozenset({"sigma-miscalibrated", "prior-mismatch"}),
    "overfitting": frozenset({"bernoulli-on-grey", "prior-mismatch"}),
    "test-unlike-training": frozenset({"prior-mismatch"}),
}  # fmt: skip
TOO_SOON = ("unfinished", "learning-rate-too-low", "underfitting")
# These are about a setting alone: where the recipe chose it, they are no fault of the run.
ABOUT_SETTINGS = frozenset({
    "sigma-miscalibrated", "rate-without-weight", "distortion-without-weight", "bernoulli-on-grey", "density-on-binary",
    "output-outside-range", "always-clipped", "no-validation",
})  # fmt: skip
CHOSEN = 0.9 * WORTH_A_LOOK  # most weight of a finding on a setting that the recipe chose: a notice


def ordered(findings: Sequence[Finding], config: Config) -> list[Finding]:
    """The findings that follow from no other one, the most serious first; those on what the recipe chose say so."""
    rank = {name: at for at, name in enumerate(YIELD_TO)}
    kept: list[Finding] = []
    # A finding that itself yields makes no other one yield.
    for finding in sorted(findings, key=lambda f: rank.get(f.name, len(rank))):
        if not any(_yields(finding, other) for other in kept):
            kept.append(finding)
    return sorted((_as_chosen(f, config) for f in kept), key=lambda f: -f.weight)


def _yields(finding: Finding, other: Finding) -> bool:
    settled = finding.settled and other.name in TOO_SOON
    return not settled and finding.name in YIELD_TO.get(other.name, ())


def _as_chosen(finding: Finding, config: Config) -> Finding:
    """The finding; where the recipe itself sets what is to be changed, it says so, and is no more than a notice."""
    own = _of_recipe(config)
    chosen = [f"{key} = {setting(own[key])}" for key in finding.settings if key in own]
    if not chosen:
        return finding
    about_settings = finding.name in ABOUT_SETTINGS
    return replace(
        finding,
        weight=min(finding.weight, CHOSEN) if about_settings else finding.weight,
        cause=f"{finding.cause} The recipe {config.recipe.name} chose it so: it sets {listed(chosen)}.",
    )


def _of_recipe(config: Config) -> dict[str, Any]:
    """The settings in which the run's recipe differs from the defaults, and the run does not differ from its recipe."""
    if config.recipe.name not in configuration.recipe_names():
        return {}
    own, default, of_run = (
        configuration.settings_of(c) for c in (configuration.recipe(config.recipe.name), Config(), config)
    )
    return {key: value for key, value in own.items() if default[key] != value == of_run[key]}
