"""One finding of a diagnosis, in words that need no other page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SERIOUS, WORTH_A_LOOK = 0.7, 0.35  # least weights of these two levels; below them a finding is a notice


@dataclass(frozen=True)
class Finding:
    """One fault of a run. Its `weight` from 0 to 1 orders the findings and gives their `level`.

    `evidence` states the numbers, `cause` explains them, `remedy` says what to do. `settings` are the configuration's
    dotted keys to change, with their new values. `command` is a command that helps without training again. `settled`
    says whether the settings alone explain it, so that longer training would not change it.
    """

    name: str
    title: str
    weight: float
    evidence: str
    cause: str
    remedy: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    settled: bool = False

    @property
    def finite(self) -> bool:
        """Whether it was made from finite numbers; others show nothing, and JSON cannot hold them."""
        numbers = [self.weight, *(v for v in self.settings.values() if isinstance(v, float))]
        words = re.findall(r"[\w.]+", f"{self.title} {self.evidence} {self.remedy}")
        return all(map(math.isfinite, numbers)) and not {"nan", "inf"} & set(words)

    @property
    def level(self) -> str:
        """The weight in words: serious, worth a look, or notice."""
        if self.weight >= SERIOUS:
            return "serious"
        return "worth a look" if self.weight >= WORTH_A_LOOK else "notice"


def short(value: float) -> str:
    """A number with three significant digits; with an exponent only if it is very small or very large."""
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def rounded(value: float) -> float:
    """A setting with two significant digits: no rule is more precise."""
    return float(f"{value:.2g}")
