"""The HTML page of one or several comparisons: tables, and pictures side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from latlas import html
from latlas.compare.ranking import VALIDATION, Comparison
from latlas.compare.summary import marks, numbers, shown, to_dict
from latlas.html import Embedded
from latlas.text import Cell, Row, Table, listed, setting, transposed

PARTS = {
    "reconstructions": "The same items, through each model and back",
    "samples": "Samples from the prior",
    "latent": "Where the test items lie",
    "decoded": "What the latent spaces decode to",
}


@dataclass(frozen=True)
class Pictures:
    """The pictures of one part of the page: how to read them, and each with the name of its row ("": all rows)."""

    heading: str
    readings: Sequence[str]
    shown: Sequence[tuple[str, Embedded]]

    @property
    def named(self) -> bool:
        """Whether some are of single rows, which are placed side by side."""
        return any(name for name, _ in self.shown)


@dataclass(frozen=True)
class Section:
    """A comparison for the template: `marks` are the styles of marked cells with their meaning, `differing` the
    settings in which runs differ, None where they do not.
    """

    comparison: Comparison
    headline: str
    numbers: Table
    marks: Mapping[str, str]
    differing: Table | None
    pictures: Sequence[Pictures]


def page(
    comparisons: Sequence[Comparison],
    title: str,
    intro: str = "",
    notes: Sequence[str] = (),
    restored: Mapping[str, Table] | None = None,
) -> str:
    """One HTML page with a section for each comparison, without a reference to anything outside itself.

    `intro` is a paragraph below the title, or several with empty lines between; `notes` are listed below it;
    `restored` holds, by data set, the table of `denoising.table`, which stands before the sections.
    """
    count = sum(len(comparison.runs) for comparison in comparisons)
    return html.render(
        "comparison.html.j2",
        title=title,
        line=f"{count} {'model' if count == 1 else 'models'} on {', '.join(c.title for c in comparisons)}",
        intro=[part.strip() for part in intro.split("\n\n") if part.strip()],
        notes=notes,
        restored=restored or {},
        sections=[_section(comparison, at) for at, comparison in enumerate(comparisons, 1)],
    )


def title_of(comparison: Comparison) -> str:
    """The title of the page of a single comparison: the names of its rows, or their number."""
    names = [entry.name for entry in comparison.runs]
    return " · ".join(names) if len(names) <= 3 else f"{len(names)} models on {comparison.title}"


def _section(comparison: Comparison, number: int) -> Section:
    record = to_dict(comparison)
    return Section(
        comparison,
        headline(comparison),
        numbers(record),
        marks([record]),
        _differing(comparison),
        list(_pictures(comparison, number)),
    )


def headline(comparison: Comparison) -> str:
    """The best row by ELBO and by squared error, with those not distinguishable from it; or that nothing is ranked.

    Rows that rank by validation are named with their test number as well.
    """
    parts, titles = [], {column.key: column for column in comparison.columns}
    for column in comparison.ranked:
        key = column.key.removeprefix(VALIDATION)
        groups = [group for group in comparison.groups(column.key) if len(group) > 1]
        if key not in ("elbo", "mse") or len(groups) != 1:
            continue
        first = next(e for e in groups[0] if e.name in comparison.best(column.key))
        split = comparison.measured if key == column.key else "validation"
        word = " ".join(
            filter(
                None,
                ["Highest" if key == "elbo" else "Smallest", split, "ELBO" if key == "elbo" else "error"],
            )
        )
        beside = f" (test {shown(first.number(key), titles[key])})" if key != column.key else ""
        within = [e.name for e in groups[0] if e.name in comparison.within(column.key)]
        near = f"; not distinguishable from it: {listed(within)}" if within else ""
        number = f"{shown(first.number(column.key), column)} {column.unit}".rstrip()
        parts.append(f"{word}: {first.name}, {number}{beside}{near}.")
    return " ".join(parts) or "Side by side, not ranked."


def fragment(comparison: Comparison) -> str:
    """The table of a comparison, with what its marks mean and what is not ranked, for a notebook."""
    record = to_dict(comparison)
    return html.fragment(
        title=title_of(comparison),
        line=f"on {comparison.title}",
        headline=headline(comparison),
        tables=[("", numbers(record))],
        marks=marks([record]),
        notes=[*comparison.reasons, *comparison.notes],
    )


def _differing(comparison: Comparison) -> Table | None:
    """The settings in which the runs differ; the longer side of the table goes down the page."""
    differing, runs = comparison.differing(), comparison.runs
    grid = [[Cell(""), *(Cell(entry.name) for entry in runs)]]
    grid += [
        [Cell(key, style="key"), *(Cell(setting(value)) for value in values)]
        for key, values in differing.items()
    ]
    if len(differing) < len(runs):
        grid = transposed(grid)
    return Table(grid[0], [Row(row) for row in grid[1:]]) if differing else None


def _pictures(comparison: Comparison, number: int) -> Iterator[Pictures]:
    """The pictures by part: those of all rows below each other, those of single rows side by side."""
    for part, heading in PARTS.items():
        chosen = [picture for picture in comparison.pictures if picture.part == part]
        embedded = [
            (picture.name, html.picture(picture.png, f"{part}-{number}-{i}"))
            for i, picture in enumerate(chosen, 1)
        ]
        shown = [(name, picture) for name, picture in embedded if picture]
        if shown:
            yield Pictures(heading, list(dict.fromkeys(picture.caption for picture in chosen)), shown)
