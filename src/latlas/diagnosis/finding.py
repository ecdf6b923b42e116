"""One finding of a diagnosis, in words that need no other page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

About = Literal["dimensions", "places"]
SERIOUS, WORTH_A_LOOK = 0.7, 0.35  # least weights of these two levels; below them a finding is a notice


@dataclass(frozen=True)
class Finding:
    """One fault of a run. Its `weight` from 0 to 1 orders the findings and gives their `level`.

    `evidence` states the numbers, `cause` explains them, `remedy` says what to do. `settings` are the configuration's
    dotted keys to change, with their new values. `command` is a command that helps without training again. `settled`
    says whether the settings alone explain it, so that longer training would not change it. `about` says what of latent
    space it is about, if anything: the `dimensions` given, numbered from 0, or places of it without data.
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
    about: About | None = None
    dimensions: tuple[int, ...] = ()

    @property
    def finite(self) -> bool:
        """Whether it was made from finite numbers; others show nothing, and JSON cannot hold them."""
        try:
            json.dumps([self.weight, dict(self.settings)], allow_nan=False, default=float)
        except ValueError:
            return False
        words = re.findall(r"[\w.]+", f"{self.title} {self.evidence} {self.remedy}")
        return not {"nan", "inf"} & set(words)

    @property
    def level(self) -> str:
        """The weight in words: serious, worth a look, or notice."""
        if self.weight >= SERIOUS:
            return "serious"
        return "worth a look" if self.weight >= WORTH_A_LOOK else "notice"


# What findings were about by name, in files from before they said so.
_BEFORE: Mapping[str, About] = {
    "posterior-collapse": "dimensions", "dimensions-collapsed": "dimensions", "too-many-dimensions": "dimensions",
    "prior-mismatch": "places",
}  # fmt: skip


def about_of(stored: Mapping[str, Any]) -> tuple[About | None, list[int]]:
    """What a finding of metrics.json is about, and its dimensions, none where the file is from before it named them."""
    about = stored.get("about") if "about" in stored else _BEFORE.get(str(stored.get("name")))
    if about not in ("dimensions", "places"):
        return None, []
    return about, [at for at in stored.get("dimensions") or () if isinstance(at, int)]


def short(value: float) -> str:
    """A number with three significant digits; with an exponent only if it is very small or very large."""
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def rounded(value: float) -> float:
    """A setting with two significant digits: no rule is more precise."""
    return float(f"{value:.2g}")
