"""Tests whether two rows differ by more than the variation over seeds or, for single runs, over the test items."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

# Where a variation comes from: the seeds of both rows, the seeds of one of them, the test items.
Source = Literal["seeds", "seed", "items"]
LEVEL = 0.05  # of the two-sided test


@dataclass(frozen=True)
class Estimate:
    """A row's number, and how much it varies, where that is known.

    `value` is the mean over `runs` runs, `spread` their sample standard deviation; `stderr` is the standard error of a
    single run's value over the test items. `fixed`: it does not depend on a seed, as for PCA, a closed form.
    """

    value: float
    runs: int = 1
    spread: float | None = None
    stderr: float | None = None
    fixed: bool = False

    @property
    def several(self) -> bool:
        """Whether its spread over seeds is known."""
        return self.runs > 1 and self.spread is not None


def variation_that_covers(one: Estimate, other: Estimate) -> Source | None:
    """The variation that is as large as the difference of two rows: 2 P(T > |difference| / standard error) > 5 %.

    T follows Student's t. None where the rows are distinguishable, and where no variation is known.
    """
    from scipy.special import stdtr

    variation = standard_error(one, other)
    if variation is None:
        return None
    source, error, degrees = variation
    difference = abs(one.value - other.value)
    if error == 0:
        return source if difference == 0 else None
    return source if 2 * stdtr(degrees, -difference / error) > LEVEL else None


def standard_error(one: Estimate, other: Estimate) -> tuple[Source, float, float] | None:
    """Where the variation of two rows comes from, the standard error of their difference and its degrees of freedom;
    None where it is unknown.

    For n1 and n2 seeds, each two or more: sqrt(s1^2 / n1 + s2^2 / n2), with the degrees of freedom of Welch (1947).
    For one seed against n with spread s: s sqrt(1 + 1 / n), n - 1, as for one more draw of the same spread;
    s sqrt(1 / n) for a fixed number. For one seed each: sqrt(e1^2 + e2^2) of the errors over the test items, normal. As
    two models' numbers on the same items mostly correlate positively, that error is rather too large than too small.
    """
    match [e for e in (one, other) if e.several]:
        case [first, second]:
            a, b = ((e.spread or 0.0) ** 2 / e.runs for e in (first, second))
            squares = a * a / (first.runs - 1) + b * b / (second.runs - 1)
            return "seeds", math.sqrt(a + b), (a + b) ** 2 / squares if squares else math.inf
        case [several]:
            single = other if several is one else one
            draws = 1 / several.runs + (0 if single.fixed else 1)
            return "seed", (several.spread or 0.0) * math.sqrt(draws), several.runs - 1
    if one.stderr is None or other.stderr is None:
        return None
    return "items", math.hypot(one.stderr, other.stderr), math.inf
