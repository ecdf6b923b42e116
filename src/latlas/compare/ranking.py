"""Rows of numbers, the groups of rows that are comparable, and the reasons why others are not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from latlas.compare.significance import Estimate, Source, standard_error, variation_that_covers
from latlas.data import Scaling
from latlas.metrics import METRICS
from latlas.objectives import OBJECTIVES
from latlas.text import listed

if TYPE_CHECKING:
    import pandas as pd

Better = Literal["higher", "lower", ""]
Value = float | str | None
Part = Literal["reconstructions", "samples", "latent", "decoded"]  # of the page
MOST_COLUMNS = 9  # that a page shows at once
SOURCES: tuple[Source, ...] = get_args(Source)

SCALES = {
    "cross-entropy": " on grey values, a cross-entropy and no normalised likelihood",
    "probability": ", a probability of the stored values",
    "density": ", a density",
}


VALIDATION = "valid_"  # before the name of a number: that of the validation split


@dataclass(frozen=True)
class Column:
    """A column of the table: its `key` in the values, its title and unit, and which end is better."""

    key: str
    title: str
    unit: str
    decimals: int
    better: Better
    why: str = ""


@dataclass(frozen=True)
class Entry:
    """A row: the mean over runs that differ in their seed only, or PCA.

    `values` by column: elbo, distortion, rate (nats per item), mse, latent, parameters, training_seconds,
    images_per_second, likelihood, recipe, seed and the measures; None where one has no meaning. They are of the test
    split; valid_elbo, valid_distortion and valid_mse of the validation split. `spread` is the
    sample standard deviation over two or more runs; `stderrs` the standard errors of a single run's numbers over
    the test items. `data` is the fingerprint of the data, `scale` the kind of the likelihood: density, probability or
    cross-entropy ("" for PCA), `likelihood` its title. `settings` is the configuration by dotted key. `by_seed` holds
    the values of each run, with NAME_stderr.
    """

    name: str
    values: dict[str, Value]
    data: str
    data_name: str
    scale: str
    scaling: Scaling
    spread: dict[str, float] = field(default_factory=dict)
    stderrs: dict[str, float] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    likelihood: str = ""
    by_seed: tuple[dict[str, Value], ...] = ()

    @property
    def baseline(self) -> bool:
        """Whether this is PCA computed for the comparison, not a run."""
        return not self.runs

    @property
    def seeds(self) -> int:
        """The number of runs, each with a seed of its own, of which this is the mean; 0 for PCA."""
        return len(self.runs)

    @property
    def matched_to_prior(self) -> bool:
        """Whether training matched the codes to a prior; false for PCA and plain autoencoders."""
        objective = OBJECTIVES.get(self.settings.get("objective.name", ""))
        matches = self.settings.get("own.matches_prior") if objective is None else objective.matches_prior
        return self.number("elbo") is not None or bool(matches)

    def number(self, key: str) -> float | None:
        """The value where it is a number."""
        value = self.values.get(key)
        return value if isinstance(value, int | float) else None

    def estimate(self, key: str) -> Estimate:
        """The number and how much it varies, where that is known. Raises LookupError where there is no number."""
        value = self.number(key)
        if value is None:
            raise LookupError(f"{self.name} has no number {key}")
        fixed = self.baseline or self.settings.get("training.method") == "pca"
        return Estimate(value, self.seeds, self.spread.get(key), self.stderrs.get(key), fixed)


@dataclass(frozen=True)
class Picture:
    """A PNG, how to read it, the `part` of the page it belongs to, and the `name` of its row ("": all of them)."""

    part: Part
    name: str
    png: bytes
    caption: str


@dataclass(frozen=True, repr=False)
class Comparison:
    """Rows, columns and pictures. `unit` is that of the ELBO; `notes` name what was left out.

    It prints as a table of text, and a notebook shows the table of its page.
    `measured` is the split that the numbers are of, test unless nothing is held out: "" if that differs between rows.
    """

    title: str
    unit: str
    entries: tuple[Entry, ...]
    columns: tuple[Column, ...]
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    measured: str = "test"

    @property
    def by_validation(self) -> bool:
        """Whether rows rank by the validation split where they have numbers of it."""
        return any(column.key.startswith(VALIDATION) for column in self.columns)

    @property
    def runs(self) -> list[Entry]:
        """The rows that are runs."""
        return [entry for entry in self.entries if not entry.baseline]

    @property
    def upright(self) -> bool:
        """Whether the table has a column for each model and a row for each number: few models, and many numbers."""
        return upright(self.columns, self.entries)

    @property
    def ranked(self) -> list[Column]:
        """The columns that have a better end."""
        return [column for column in self.columns if column.better]

    @property
    def reasons(self) -> list[str]:
        """The reasons why rows do not rank, a sentence each; empty where every row compares with every other."""
        return list(_reasons(self))

    def groups(self, key: str) -> list[list[Entry]]:
        """The rows in which this number is finite, in the groups within which it ranks."""
        groups: dict[Any, list[Entry]] = {}
        for entry in self.entries:
            number = entry.number(key)
            if number is not None and math.isfinite(number):
                groups.setdefault(_comparable_by(entry, key), []).append(entry)
        return list(groups.values())

    def best(self, key: str) -> set[str]:
        """The names of the rows with the best number, as it is shown, of each group of two or more; none for a
        column without a better end.
        """
        names: set[str] = set()
        for column, group in self._rivals(key):
            values = {entry.name: round(entry.number(key) or 0.0, column.decimals) for entry in group}
            end = max(values.values()) if column.better == "higher" else min(values.values())
            names |= {name for name, value in values.items() if value == end}
        return names

    def within(self, key: str) -> set[str]:
        """The names of the rows that are not distinguishable from the best of their group: the difference is within
        the spread over seeds or, for single runs, the standard errors over the test items (two-sided, 5 %).

        Each row is tested against the one with the best number alone. The rows that `best` names are not among them.
        A row that is not named is distinguishable, or how much it varies is not known.
        """
        return set(self._within(key))

    @property
    def variations(self) -> list[Source]:
        """The variations within which the rows are that `within` names, in any column."""
        sources = {source for column in self.ranked for source in self._within(column.key).values()}
        return [source for source in SOURCES if source in sources]

    def _within(self, key: str) -> dict[str, Source]:
        sources: dict[str, Source] = {}
        best = self.best(key)
        for column, group in self._rivals(key):
            first = _first(column, group).estimate(key)
            for entry in group:
                source = None if entry.name in best else variation_that_covers(entry.estimate(key), first)
                if source is not None:
                    sources[entry.name] = source
        return sources

    def clearly_best(self, key: str) -> set[str]:
        """The names of the rows with the best number of their group that differs from every other of the group by more
        than the noise (as `within` tests it), which for each of them has to be known.
        """
        names: set[str] = set()
        best = self.best(key)
        for column, group in self._rivals(key):
            first = _first(column, group)
            others = [entry for entry in group if entry is not first]
            if all(e.name not in best and _differ(first.estimate(key), e.estimate(key)) for e in others):
                names.add(first.name)
        return names

    def to_frame(self) -> pd.DataFrame:
        """The rows as a DataFrame, a line each: `data`, `name`, the number of `runs`, each value by its key, with its
        standard deviation over seeds as KEY_sd or its standard error over the items as KEY_stderr, and the columns in
        which the row is `best`, or `within` the noise of the best.
        """
        from latlas.compare import rows

        return rows.frame(*rows.of(self))

    def to_latex(self, columns: Sequence[str] | str | None = None) -> str:
        """The rows as a LaTeX table with the rules of booktabs and their uncertainty, of all columns or of these.

        The best number is bold only where it is `clearly_best`. Raises InputError for an unknown column.
        """
        from latlas.compare import latex

        return latex.table(self, columns)

    def __repr__(self) -> str:
        from latlas.compare import summary

        return summary.text_table(self)

    def _repr_html_(self) -> str:
        from latlas.compare.page import fragment

        return fragment(self)

    def _rivals(self, key: str) -> list[tuple[Column, list[Entry]]]:
        """The groups of two or more, with the column, where it has a better end."""
        column = next((c for c in self.ranked if c.key == key), None)
        return [(column, group) for group in self.groups(key) if len(group) > 1] if column else []

    def differing(self) -> dict[str, list[Any]]:
        """The settings in which the runs differ: by dotted key, the value of each run."""
        runs = self.runs
        shared = [key for key in (runs[0].settings if runs else ()) if all(key in e.settings for e in runs)]
        rows = {key: [entry.settings[key] for entry in runs] for key in shared}
        return {key: values for key, values in rows.items() if any(v != values[0] for v in values)}


def upright(columns: Sequence[Any], entries: Sequence[Any]) -> bool:
    """Whether a table of these columns and rows is better turned: few models, and many numbers."""
    return len(columns) > MOST_COLUMNS and len(entries) < len(columns)


def _first(column: Column, group: Sequence[Entry]) -> Entry:
    """The row of a group with the best number."""
    end = max if column.better == "higher" else min
    return end(group, key=lambda entry: entry.estimate(column.key).value)


def _differ(one: Estimate, other: Estimate) -> bool:
    """Whether two numbers differ by more than a noise that is known."""
    return standard_error(one, other) is not None and variation_that_covers(one, other) is None


def _comparable_by(entry: Entry, key: str) -> tuple[Any, ...]:
    """A key that is equal for rows in which this number is comparable."""
    key = key.removeprefix(VALIDATION)
    group = _group(key)
    if key in ("elbo", "distortion", "rate") or (group == "likelihood" and key != "bits_per_dim"):
        # A distortion trained without a rate is not comparable with one trained with it.
        return entry.data, entry.scaling, entry.scale, entry.number("elbo") is None
    if group == "codes":
        # Training does not match the codes of PCA or of a plain autoencoder to a prior.
        return entry.data, entry.number("latent"), "" if entry.matched_to_prior else entry.name
    if key == "restored_mse":
        corruption = [entry.settings.get(f"corruption.{part}") for part in ("name", "strength")]
        return entry.data, entry.scaling, *corruption
    return (entry.data, entry.scaling) if key == "mse" or group == "reconstruction" else (entry.data,)


def _group(key: str) -> str:
    """The group of a measure; "" for another number."""
    return METRICS[key].group if key in METRICS else ""


def _reasons(comparison: Comparison) -> Iterable[str]:
    runs = comparison.runs
    sets = _split(runs, lambda e: e.data)
    if len(sets) > 1:
        all_differ = all(len(group) == 1 for group in sets)
        parts = [f"{names(group)} ({_data_name(group[0], sets)})" for group in sets]
        what = "nothing is ranked" if all_differ else "nothing is ranked between them"
        same_name = len({group[0].data_name for group in sets}) < len(sets)
        hint = (
            " Runs compare on the same splits: data.limit and data.validation decide them."
            if same_name
            else ""
        )
        yield f"The data are not the same for {listed(parts)}: {what}.{hint}"
    for group in sets:
        scalings = _split(group, lambda e: e.scaling)
        if len(scalings) > 1:
            yield (
                f"The data are scaled differently for {listed([names(part) for part in scalings])}: errors and"
                " likelihoods are on different scales and are not ranked between them."
            )
        scales = _split(group, lambda e: e.scale)
        if len(scales) > 1:
            parts = [f"{names(part)} ({_likelihoods(part)})" for part in scales]
            yield f"ELBO, distortion and rate do not compare between {listed(parts)}; the mean squared error does."
        without = [entry for entry in group if entry.number("elbo") is None]
        if 0 < len(without) < len(group):
            one = len(without) == 1
            yield (
                f"{names(without)} {'has' if one else 'have'} no ELBO and no rate: the posterior is a point, "
                "which has no density; a distortion ranks only beside others without a rate."
            )
    sizes = {
        e.number("latent")
        for e in runs
        if any(_group(key) == "codes" and e.number(key) is not None for key in e.values)
    }
    if len(sizes) > 1:
        yield "Numbers on codes depend on the latent size: they rank among equal sizes."
    restored = [e for e in runs if e.number("restored_mse") is not None]
    corruptions = _split(restored, lambda e: _comparable_by(e, "restored_mse"))
    if len(corruptions) > 1 and len(sets) == 1:
        models = listed([names(part) for part in corruptions])
        yield f"The inputs of {models} are corrupted differently: their restored errors do not rank."


def _likelihoods(entries: Sequence[Entry]) -> str:
    """The likelihoods of rows of one scale, and what kind of number that is."""
    return listed(list(dict.fromkeys(e.likelihood for e in entries))) + SCALES[entries[0].scale]


def _split(entries: Sequence[Entry], by: Any) -> list[list[Entry]]:
    parts: dict[Any, list[Entry]] = {}
    for entry in entries:
        parts.setdefault(by(entry), []).append(entry)
    return list(parts.values())


def _data_name(entry: Entry, sets: Sequence[Sequence[Entry]]) -> str:
    """The name of a row's data, with a part of their fingerprint where other data have the same name."""
    same = sum(group[0].data_name == entry.data_name for group in sets)
    return entry.data_name if same == 1 else f"{entry.data_name}, content {entry.data[:8]}"


def names(entries: Sequence[Entry]) -> str:
    """The rows by name, as a part of a sentence."""
    return listed([entry.name for entry in entries])
