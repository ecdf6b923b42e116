"""A rule of the diagnosis: what it needs before it may speak, and the noise that it compares a difference with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from latlas.diagnosis.evidence import Evidence
from latlas.diagnosis.finding import Finding
from latlas.text import counted

SIGNIFICANT = 3.0  # standard errors that a difference needs with many items
FEW_STEPS = 100  # with fewer steps nothing was trained: a model's state says nothing of its settings
SOME_STEPS = 200  # with fewer, a model does not yet show how much of its latent space it will use


@dataclass(frozen=True)
class Rule:
    """Judges the evidence on a run; is silent where there are fewer items or steps than the rule `needs`.

    `needs` holds the least number of items by split (train, valid, test) and of steps of training ("steps"). `noise`
    says in words what size of chance a difference has to exceed.
    """

    judge: Callable[[Evidence], Finding | None]
    noise: str
    needs: Mapping[str, int]

    @property
    def __name__(self) -> str:
        return self.judge.__name__

    def __call__(self, e: Evidence) -> Finding | None:
        return self.judge(e) if self.knows(e) else None

    def knows(self, e: Evidence) -> bool:
        """Whether there are as many items and steps as the rule needs."""
        have = {**e.counts, "steps": e.trained_steps}
        return all(have[what] >= least for what, least in self.needs.items())

    @property
    def needs_text(self) -> str:
        """What the rule needs, in words: 20 test items, 100 steps."""
        names = {"train": "training ", "valid": "validation ", "test": "test "}
        words = [
            counted(n, "step" if what == "steps" else f"{names[what]}item") for what, n in self.needs.items()
        ]
        return ", ".join(words) or "nothing"


def rule(noise: str, **needs: int) -> Callable[[Callable[[Evidence], Finding | None]], Rule]:
    """Makes a function from evidence to a finding, or to None, a rule."""
    return lambda judge: Rule(judge, noise, needs)


def standard_errors(items: int) -> float:
    """How many standard errors a difference needs that was measured on so many items: 3 for many.

    By Student's t, so that chance exceeds it as rarely for few items: 6.6 for 5, 3.3 for 20. Infinite for one item.
    """
    if items < 2:
        return math.inf
    from scipy.special import ndtr, stdtrit

    return float(stdtrit(items - 1, ndtr(SIGNIFICANT)))
