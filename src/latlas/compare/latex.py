"""A comparison as a LaTeX table, with the rules of booktabs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from latlas.compare.summary import cells, to_dict
from latlas.errors import one_or_many, unknown
from latlas.text import Cell, printable

if TYPE_CHECKING:
    from latlas.compare.ranking import Column, Comparison

ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "": ""}
_NUMBER = re.compile(r"−?[\d,]+(\.\d+)?")
# A [ or a * at the start of a row would belong to the end of the row before it.
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "²": "$^2$", "–": "--", "−": "$-$", "±": r"$\pm$", "×": r"$\times$",
    "·": r"$\cdot$", "[": "{[}", "*": "{*}", "≈": r"$\approx$",
}  # fmt: skip


def escaped(text: object) -> str:
    """The text as LaTeX prints it, on one line."""
    return "".join(_SPECIAL.get(character, character) for character in printable(text))


def table(comparison: Comparison, columns: Sequence[str] | str | None = None) -> str:
    """The rows as a `tabular` with their uncertainty, as the page shows them, or with these `columns` by key alone.

    Of a group of rows that compare the best number is bold, but only where it differs from every other by more than the
    noise (`Comparison.clearly_best`). Comments say what it needs, what ± is, and what is not ranked. Raises InputError
    for an unknown column.
    """
    shown = replace(comparison, columns=_chosen(comparison, columns))
    grid = [["", *(f"{escaped(c.title)}{ARROWS[c.better]}" for c in shown.columns)]]
    units = ["", *(f"({escaped(c.unit)})" if c.unit else "" for c in shown.columns)]
    bold = {column.key: shown.clearly_best(column.key) for column in shown.columns}
    for entry, numbers in zip(shown.entries, cells(to_dict(shown)), strict=True):
        seeds = f" ({entry.seeds} seeds)" if entry.seeds > 1 else ""
        marked = zip(shown.columns, numbers, strict=True)
        grid.append(
            [escaped(f"{entry.name}{seeds}"), *(_cell(n, entry.name in bold[c.key]) for c, n in marked)]
        )
    if shown.upright:
        grid[0] = [f"{title} {unit}".rstrip() for title, unit in zip(grid[0], units, strict=True)]
        grid = [list(row) for row in zip(*grid, strict=True)]
    head = [grid[0]] + [units] * (not shown.upright and any(units))
    line = lambda row: f"{' & '.join(row)} \\\\"  # noqa: E731
    return "\n".join([
        *(f"% {printable(comment)}" for comment in _comments(shown)),
        rf"\begin{{tabular}}{{l{'r' * (len(grid[0]) - 1)}}}",
        r"\toprule", *map(line, head), r"\midrule", *map(line, grid[1:]), r"\bottomrule",
        r"\end{tabular}", "",
    ])  # fmt: skip


def _chosen(comparison: Comparison, names: Sequence[str] | str | None) -> tuple[Column, ...]:
    known = {column.key: column for column in comparison.columns}
    chosen = list(known) if names is None else one_or_many(names, "columns")
    for name in chosen:
        if name not in known:
            raise unknown("column", name, known)
    return tuple(known[name] for name in dict.fromkeys(chosen))


def _cell(cell: Cell, bold: bool) -> str:
    """A number with its uncertainty in mathematics, where it is bold by itself; other text as it is."""
    if not _NUMBER.fullmatch(cell.text):
        return escaped(str(cell))
    number = _plain(rf"\mathbf{{{cell.text}}}" if bold else cell.text)
    return f"${number} {_plain(cell.note)}".rstrip() + "$"


def _plain(text: str) -> str:
    return text.replace("−", "-").replace(",", "{,}").replace("±", r"\pm")


def _comments(comparison: Comparison) -> list[str]:
    return [
        r"Needs \usepackage{booktabs}.",
        "± is the standard error over the test items, or over several seeds their sample standard deviation.",
        "Bold: the best of those that compare, where it differs from each of them by more than its noise (5 %).",
        *(f"Not ranked: {reason}" for reason in comparison.reasons),
        *comparison.notes,
    ]
