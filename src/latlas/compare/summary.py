"""A comparison as JSON values, and as a table of text."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from latlas.compare.ranking import VALIDATION, Column, Comparison, Entry, Value, upright
from latlas.compare.significance import Source
from latlas.text import Cell, Row, Table, aligned, duration, error, printable, rounded, transposed

NATS = ("elbo", "distortion", "rate")
FIXED = ("latent", "parameters")  # columns without a spread over seeds
MARKS = {"best": "*", "within": "≈"}
WITHIN: dict[Source, str] = {
    "seeds": "the spread over seeds (Welch's t, 5 %)",
    "seed": "the spread over seeds of one of the two, the other having one seed or none (Student's t, 5 %)",
    "items": "the standard error over test items (5 %), which says nothing of other seeds",
}


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON values: `columns`; rows with `values`, `spread`, `stderrs`, the columns in which they are
    the `best` and those in which they are `within` the spread of the best, which the `legend` explains; `groups`, by
    column, of the rows that rank; whether all are `comparable`, else the `reasons`; `settings` that differ.
    """
    ranked = [column.key for column in comparison.ranked]
    reasons = comparison.reasons
    return {
        "data": comparison.title,
        "unit": comparison.unit,
        "comparable": not reasons,
        "reasons": reasons,
        "notes": list(comparison.notes),
        "columns": [asdict(column) for column in comparison.columns],
        "legend": legend(comparison),
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


def shown(value: Value, column: Column) -> str:
    """A number as text; a dash where there is none."""
    if column.key == "training_seconds" and isinstance(value, int | float):
        return duration(value) or "–"
    return rounded(value, column.decimals)


def _uncertainty(entry: Mapping[str, Any], column: Column) -> str:
    """± the spread over seeds, or the standard error of a single run over the test items; "" where there is none."""
    number = entry["spread"].get(column.key, entry["stderrs"].get(column.key))
    if number is None or column.key in FIXED:
        return ""
    if column.key == "training_seconds":
        return f"± {duration(number)}"
    return f"± {error(number) if column.key.removeprefix(VALIDATION) in NATS else rounded(number, column.decimals)}"


def legend(comparison: Comparison) -> str:
    """The explanation of the mark ≈, for rows that are not distinguishable from the best; "" where no row has it."""
    spreads = " or ".join(WITHIN[source] for source in comparison.variations)
    return f"not distinguishable from the best: the difference is within {spreads}" if spreads else ""


BEST = "the best of those that compare"


def marks(records: Collection[Mapping[str, Any]]) -> dict[str, str]:
    """The styles of the cells that are marked in tables of what `to_dict` gives, with their meaning."""
    entries = [entry for record in records for entry in record["entries"]]
    within = list(dict.fromkeys(record["legend"] for record in records if record["legend"]))
    found = {"best": BEST if any(e["best"] for e in entries) else "", "within": "; ".join(within)}
    return {style: meaning for style, meaning in found.items() if meaning}


def cells(record: Mapping[str, Any]) -> list[list[Cell]]:
    """The numbers of each row of what `to_dict` gives, with their uncertainty; the style is "best", "within" or ""."""
    columns = [Column(**column) for column in record["columns"]]
    return [
        [Cell(shown(e["values"].get(c.key), c), _uncertainty(e, c), _mark(e, c)) for c in columns]
        for e in record["entries"]
    ]


def _mark(entry: Mapping[str, Any], column: Column) -> str:
    return next((mark for mark in ("best", "within") if column.key in entry[mark]), "")


def numbers(record: Mapping[str, Any]) -> Table:
    """The table of what `to_dict` gives, a row for each model; for few models with many numbers, a column for each, so
    that the page need not scroll.
    """
    columns, entries = [Column(**column) for column in record["columns"]], record["entries"]
    grid = [[Cell("Model"), *map(_head, columns)]]
    grid += [[_name(entry), *row] for entry, row in zip(entries, cells(record), strict=True)]
    if upright(columns, entries):
        grid[0][0] = Cell("")
        grid = transposed(grid)
    return Table(grid[0], [Row(row) for row in grid[1:]], numeric=range(1, len(grid[0])))


def _head(column: Column) -> Cell:
    arrow = {"higher": " ↑", "lower": " ↓", "": ""}[column.better]
    return Cell(f"{column.title}{arrow}", column.unit)


def _name(entry: Mapping[str, Any]) -> Cell:
    if not entry["runs"]:
        return Cell(entry["name"], style="name baseline")
    seeds = f"{len(entry['runs'])} seeds" if len(entry["runs"]) > 1 else None
    words = (entry["values"].get("recipe"), entry["values"].get("likelihood"), seeds)
    return Cell(entry["name"], " · ".join(str(word) for word in words if word), "name")


def text_table(comparison: Comparison) -> str:
    """The table for a terminal: the best of each group with a star, what is not distinguishable from it with ≈;
    below it the reasons and notes.
    """
    columns = comparison.columns
    rows = [
        ["", *(f"{c.title}{' ↑' * (c.better == 'higher')}{' ↓' * (c.better == 'lower')}" for c in columns)]
    ]
    marked = False
    for entry, row in zip(comparison.entries, cells(to_dict(comparison)), strict=True):
        name = f"{entry.name} ({entry.seeds} seeds)" if entry.seeds > 1 else entry.name
        rows.append([name, *(f"{cell} {MARKS.get(cell.style, '')}".rstrip() for cell in row)])
        marked = marked or any(cell.style for cell in row)
    if comparison.upright:
        rows = [list(row) for row in zip(*rows, strict=True)]
    lines = [aligned(rows, range(1, len(rows[0])))]
    if marked:
        lines.append(f"* {BEST}")
    if within := legend(comparison):
        lines.append(f"≈ {within}")
    said = [*(f"not ranked: {reason}" for reason in comparison.reasons), *comparison.notes]
    return "\n".join([*lines, *map(printable, said)])
