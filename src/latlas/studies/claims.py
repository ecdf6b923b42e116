"""What a study's numbers say of its claims: confirmed, refuted, or within the variation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from latlas.compare.significance import variation_that_covers
from latlas.metrics import METRICS
from latlas.text import rounded

if TYPE_CHECKING:
    from latlas.compare import Comparison, Entry
    from latlas.studies.study import Claim

Verdict = Literal["confirmed", "refuted", "undecided", "not measured"]


def verdict(claim: Claim, comparison: Comparison) -> tuple[Verdict, str]:
    """The verdict on a claim by a comparison, and the two numbers that it rests on.

    A claim says that the `number` of the row `row` is better than that of the row `than`: above or below it, or nearer
    to the value `near`. It is undecided where the variation over seeds, or of a single run over its items, is as large
    as the difference; not measured where it names no number, or the comparison lacks one of the two.
    """
    rows = {entry.name: entry for entry in comparison.entries}
    one, other = rows.get(claim.row), rows.get(claim.than)
    if one is None or other is None or claim.number not in METRICS:
        return "not measured", ""
    values = one.number(claim.number), other.number(claim.number)
    if values[0] is None or values[1] is None:
        return "not measured", ""
    metric = METRICS[claim.number]
    numbers = " against ".join(rounded(value, metric.decimals) for value in values)
    shown = f"{metric.heading} {numbers}"
    source = variation_that_covers(one.estimate(claim.number), other.estimate(claim.number))
    if source is not None:
        return "undecided", f"{shown}, within the variation over {'items' if source == 'items' else 'seeds'}"
    if not _known(one, claim.number) or not _known(other, claim.number):
        shown += ", of a variation that is not known"
    gain = _gain(claim, values[0], values[1])
    return "confirmed" if gain > 0 else "refuted", shown


def _gain(claim: Claim, value: float, other: float) -> float:
    if claim.near is not None:
        return abs(other - claim.near) - abs(value - claim.near)
    better = claim.better or METRICS[claim.number].better
    return value - other if better == "higher" else other - value


def _known(entry: Entry, number: str) -> bool:
    return number in entry.spread or number in entry.stderrs


def lines(claims: tuple[Claim, ...], comparisons: dict[str, Comparison]) -> list[str]:
    """Each claim with its verdict on each data set."""
    told = []
    for claim in claims:
        found = {data: verdict(claim, comparison) for data, comparison in comparisons.items()}
        if all(word == "not measured" for word, _ in found.values()):
            told.append(f"To be checked here: {claim.text}")
            continue
        said = [f"{word} on {data}" + (f" ({why})" if why else "") for data, (word, why) in found.items()]
        told.append(f"Claim: {claim.text} {'; '.join(said).capitalize()}.")
    return told
