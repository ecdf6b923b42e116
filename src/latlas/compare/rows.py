"""Comparisons as rows of plain values: for CSV files and DataFrames."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from latlas.compare.ranking import Comparison
from latlas.compare.summary import to_dict
from latlas.text import csv_cell

if TYPE_CHECKING:
    import pandas as pd

FIXED = ("latent", "parameters", "seed")  # columns without a spread over seeds
Records = Mapping[str, Mapping[str, Any]]


def lines(records: Records) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns and rows of comparisons by data set, each as `summary.to_dict` gives it: a row's data set, its name,
    the number of its runs, and each value, with its standard deviation over seeds as NAME_sd, or the standard error of
    a single run over its items as NAME_stderr; and the columns in which it is `best` or `within`.
    """
    entries = [(data, entry) for data, record in records.items() for entry in record["entries"]]
    heads = ["data", "name", "runs"]
    for key in dict.fromkeys(key for _, entry in entries for key in entry["values"]):
        if any(entry["values"].get(key) is not None for _, entry in entries):
            spread = key not in FIXED and any(key in entry["spread"] for _, entry in entries)
            error = any(key in entry["stderrs"] for _, entry in entries)
            heads += [key, *([f"{key}_sd"] if spread else []), *([f"{key}_stderr"] if error else [])]
    rows = []
    for data, entry in entries:
        deviations = {f"{key}_sd": value for key, value in entry["spread"].items()}
        errors = {f"{key}_stderr": value for key, value in entry["stderrs"].items()}
        marks = {key: ", ".join(entry.get(key, ())) for key in ("best", "within")}
        about = {"data": data, "name": entry["name"], "runs": len(entry["runs"])}
        rows.append({**about, **entry["values"], **deviations, **errors, **marks})
    return [*heads, "best", "within"], rows


def of(comparison: Comparison) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns and rows of one comparison, each row with the name of its own data."""
    heads, rows = lines({comparison.title: to_dict(comparison)})
    names = [entry.data_name for entry in comparison.entries]
    return heads, [row | {"data": name} for row, name in zip(rows, names, strict=True)]


def to_csv(comparison: Comparison) -> str:
    """A comparison as CSV, a line for each row."""
    return csv_text(*of(comparison))


def frame(heads: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a DataFrame, with those of their values that have a column."""
    import pandas as pd

    return pd.DataFrame([{head: row.get(head) for head in heads} for row in rows], columns=list(heads))


def csv_text(heads: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV, with those of their values that have a column, each a `csv_cell`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for cells in (heads, *([row.get(head) for head in heads] for row in rows)):
        writer.writerow(map(csv_cell, cells))
    return stream.getvalue()
