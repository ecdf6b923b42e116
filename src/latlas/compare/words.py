"""A comparison as plain values, and as a table of text."""

from __future__ import annotations

import math
from typing import Any

from latlas.compare.ranking import Column, Comparison, Entry
from latlas.pages import aligned, duration, error, rounded


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON values: rows with `values`, `spread` and what they are `best` in; `groups`, by column,
    of the rows that rank among each other; `comparable` with the `reasons` why not; `settings` that differ.
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
        "elbo_stderr": entry.stderr,
        "spread": entry.spread,
        "best": [key for key in ranked if entry.name in comparison.best(key)],
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shown(entry: Entry, column: Column) -> str:
    """A number as people read it; a dash where there is none."""
    value = entry.number(column.key)
    if column.key == "training_seconds":
        return duration(value) or "–"
    return rounded(value, column.decimals)


def uncertainty(entry: Entry, column: Column) -> str:
    """± the spread over seeds, or the ELBO's standard error over the test items; "" where there is none."""
    spread = entry.spread.get(column.key)
    if spread is not None and column.key not in ("latent", "parameters"):
        if column.key == "training_seconds":
            return f"± {duration(spread)}"
        nats = column.key in ("elbo", "distortion", "rate")
        return f"± {error(spread) if nats else rounded(spread, column.decimals)}"
    return f"± {error(entry.stderr)}" if column.key == "elbo" and entry.stderr is not None else ""


def text_table(comparison: Comparison) -> str:
    """The table for a terminal: the best of each group with a star; below it the reasons and notes."""
    head = [
        "",
        *(
            f"{c.title}{' ↑' * (c.better == 'higher')}{' ↓' * (c.better == 'lower')}"
            for c in comparison.columns
        ),
    ]
    best = {column.key: comparison.best(column.key) for column in comparison.columns}
    rows = [head]
    for entry in comparison.entries:
        cells = [
            f"{shown(entry, column)} {uncertainty(entry, column)}".strip()
            + (" *" if entry.name in best[column.key] else "")
            for column in comparison.columns
        ]
        rows.append([entry.name, *cells])
    if comparison.upright:
        rows = [list(row) for row in zip(*rows, strict=True)]
    lines = [aligned(rows, range(1, len(rows[0])))]
    if any(best.values()):
        lines.append("* the best of those that compare")
    return "\n".join([*lines, *(f"not ranked: {reason}" for reason in comparison.reasons), *comparison.notes])
