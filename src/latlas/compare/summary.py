"""A comparison as JSON values, and as a table of text."""

from __future__ import annotations

import math
from typing import Any

from latlas.compare.ranking import VALIDATION, Column, Comparison, Entry
from latlas.compare.significance import Source
from latlas.text import Cell, aligned, duration, error, rounded

NATS = ("elbo", "distortion", "rate")
FIXED = ("latent", "parameters")  # columns without a spread over seeds
MARKS = {"best": "*", "within": "≈"}
WITHIN: dict[Source, str] = {
    "seeds": "the spread over seeds (Welch's t, 5 %)",
    "seed": "the spread over seeds of one of the two, the other having one seed or none (Student's t, 5 %)",
    "items": "the standard error over test items (5 %), which says nothing of other seeds",
}


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON values: rows with `values`, `spread`, `stderrs`, the columns in which they are the `best`
    and those in which they are `within` the spread of the best; `groups`, by column, of the rows that rank; whether
    all are `comparable`, else the `reasons`; `settings` that differ.
    """
    ranked = [column.key for column in comparison.ranked]
    reasons = comparison.reasons
    return {
        "data": comparison.title,
        "unit": comparison.unit,
        "comparable": not reasons,
        "reasons": reasons,
        "notes": list(comparison.notes),
        "entries": [_entry(comparison, entry, ranked) for entry in comparison.entries],
        "groups": {key: [[e.name for e in group] for group in comparison.groups(key)] for key in ranked},
        "settings": {
            key: dict(zip((e.name for e in comparison.runs), values, strict=True))
            for key, values in comparison.differing().items()
        },
    }


def _entry(comparison: Comparison, entry: Entry, ranked: list[str]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "runs": list(entry.runs),
        "data": entry.data_name,
        "values": {key: _finite(value) for key, value in entry.values.items()},
        "spread": entry.spread,
        "stderrs": entry.stderrs,
        "best": [key for key in ranked if entry.name in comparison.best(key)],
        "within": [key for key in ranked if entry.name in comparison.within(key)],
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shown(entry: Entry, column: Column) -> str:
    """A number as text; a dash where there is none."""
    value = entry.number(column.key)
    if column.key == "training_seconds":
        return duration(value) or "–"
    return rounded(value, column.decimals)


def uncertainty(entry: Entry, column: Column) -> str:
    """± the spread over seeds, or the standard error of a single run over the test items; "" where there is none."""
    number = entry.spread.get(column.key, entry.stderrs.get(column.key))
    if number is None or column.key in FIXED:
        return ""
    if column.key == "training_seconds":
        return f"± {duration(number)}"
    return f"± {error(number) if column.key.removeprefix(VALIDATION) in NATS else rounded(number, column.decimals)}"


def legend(comparison: Comparison) -> str:
    """The explanation of the mark ≈, for rows that are not distinguishable from the best; "" where no row has it."""
    spreads = " or ".join(WITHIN[source] for source in comparison.variations)
    return f"not distinguishable from the best: the difference is within {spreads}" if spreads else ""


def cells(comparison: Comparison) -> list[list[Cell]]:
    """The numbers of each row with their uncertainty; the style is "best", "within" or ""."""
    styles = {
        c.key: dict.fromkeys(comparison.within(c.key), "within")
        | dict.fromkeys(comparison.best(c.key), "best")
        for c in comparison.columns
    }
    return [
        [Cell(shown(e, c), uncertainty(e, c), styles[c.key].get(e.name, "")) for c in comparison.columns]
        for e in comparison.entries
    ]


def text_table(comparison: Comparison) -> str:
    """The table for a terminal: the best of each group with a star, what is not distinguishable from it with ≈;
    below it the reasons and notes.
    """
    columns = comparison.columns
    rows = [
        ["", *(f"{c.title}{' ↑' * (c.better == 'higher')}{' ↓' * (c.better == 'lower')}" for c in columns)]
    ]
    marked = False
    for entry, numbers in zip(comparison.entries, cells(comparison), strict=True):
        name = f"{entry.name} ({entry.seeds} seeds)" if entry.seeds > 1 else entry.name
        rows.append([name, *(f"{cell} {MARKS.get(cell.style, '')}".rstrip() for cell in numbers)])
        marked = marked or any(cell.style for cell in numbers)
    if comparison.upright:
        rows = [list(row) for row in zip(*rows, strict=True)]
    lines = [aligned(rows, range(1, len(rows[0])))]
    if marked:
        lines.append("* the best of those that compare")
    if within := legend(comparison):
        lines.append(f"≈ {within}")
    return "\n".join([*lines, *(f"not ranked: {reason}" for reason in comparison.reasons), *comparison.notes])
