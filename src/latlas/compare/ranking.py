"""What compares with what: rows of numbers, the groups in which they rank, and why they do not beyond them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from latlas.compare.significance import Estimate, Source, close
from latlas.data import Scaling
from latlas.metrics import METRICS

Better = Literal["higher", "lower", ""]
Value = float | str | None
Part = Literal["reconstructions", "samples", "latent", "decoded"]  # of the page
MOST_NAMES = 6  # that a sentence lists
MOST_COLUMNS = 9  # that a page shows at once
SOURCES: tuple[Source, ...] = get_args(Source)

SCALES = {
    "cross-entropy": "Bernoulli on grey values, a cross-entropy and no normalised likelihood",
    "probability": "Bernoulli, a probability of 0/1 data",
    "density": "Gaussian, a density",
}


@dataclass(frozen=True)
class Column:
    """A column of the table: `key` in the values, what it is called and counted in, and which end is better."""

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
    images_per_second, likelihood, recipe, seed and the measures; None where one has no meaning. `spread` is the
    sample standard deviation over two or more runs; `stderrs` the standard errors of a single run's numbers over
    the test items. `data` is the fingerprint of the data, `scale` what kind of number the likelihood is: density,
    probability or cross-entropy ("" for PCA). `settings` is the configuration by dotted key.
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

    @property
    def baseline(self) -> bool:
        """Whether this is PCA, computed here, and not a run."""
        return not self.runs

    @property
    def seeds(self) -> int:
        """How many runs, each of another seed, this is the mean of; 0 for PCA, which has none."""
        return len(self.runs)

    @property
    def drawn_to_prior(self) -> bool:
        """Whether something drew the codes to a prior: not so in PCA and plain autoencoders."""
        return self.number("elbo") is not None or self.settings.get("objective.name") == "infovae"

    def number(self, key: str) -> float | None:
        """The value where it is a number."""
        value = self.values.get(key)
        return value if isinstance(value, int | float) else None

    def estimate(self, key: str) -> Estimate:
        """The number with what is known of how it varies. Raises LookupError where there is no number."""
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


@dataclass(frozen=True)
class Comparison:
    """Rows, columns and pictures. `unit` is that of the ELBO; `notes` say what was left out."""

    title: str
    unit: str
    entries: tuple[Entry, ...]
    columns: tuple[Column, ...]
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def runs(self) -> list[Entry]:
        """The rows that are runs."""
        return [entry for entry in self.entries if not entry.baseline]

    @property
    def upright(self) -> bool:
        """Whether models are better put across and numbers down: few models, and more numbers than fit across."""
        return len(self.columns) > MOST_COLUMNS and len(self.entries) < len(self.columns)

    @property
    def ranked(self) -> list[Column]:
        """The columns that have a better end."""
        return [column for column in self.columns if column.better]

    @property
    def reasons(self) -> list[str]:
        """Why what is not ranked is not, a sentence each; empty where every row compares with every other."""
        return list(_reasons(self))

    def groups(self, key: str) -> list[list[Entry]]:
        """The rows that have this number, and a finite one, in the groups inside which it ranks."""
        found: dict[Any, list[Entry]] = {}
        for entry in self.entries:
            number = entry.number(key)
            if number is not None and math.isfinite(number):
                found.setdefault(_alike(entry, key), []).append(entry)
        return list(found.values())

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
        the spread over seeds or, of single runs, the standard errors over the test items (two-sided, 5 %).

        Each is tested against the row with the best number alone, which is not among them, nor is what `best` names.
        A row that is not named is distinguishable, or nothing is known to tell by.
        """
        return set(self._within(key))

    @property
    def yardsticks(self) -> list[Source]:
        """By what the rows that `within` names, in any column, are not distinguishable."""
        found = {source for column in self.ranked for source in self._within(column.key).values()}
        return [source for source in SOURCES if source in found]

    def _within(self, key: str) -> dict[str, Source]:
        found: dict[str, Source] = {}
        best = self.best(key)
        for column, group in self._rivals(key):
            estimates = {entry.name: entry.estimate(key) for entry in group}
            end = max if column.better == "higher" else min
            first = end(estimates.values(), key=lambda estimate: estimate.value)
            for name, estimate in estimates.items():
                source = None if name in best else close(estimate, first)
                if source is not None:
                    found[name] = source
        return found

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


def _alike(entry: Entry, key: str) -> tuple[Any, ...]:
    """What two rows must share for this number of theirs to compare."""
    group = _group(key)
    if key in ("elbo", "distortion", "rate") or (group == "likelihood" and key != "bits_per_dim"):
        # Without a rate to pay for, a distortion says nothing about one that was.
        return entry.data, entry.scaling, entry.scale, entry.number("elbo") is None
    if group == "codes":
        # Nothing draws the codes of PCA or of a plain autoencoder to the origin.
        return entry.data, entry.number("latent"), "" if entry.drawn_to_prior else entry.name
    if key == "restored_mse":
        damage = [entry.settings.get(f"corruption.{part}") for part in ("name", "strength")]
        return entry.data, entry.scaling, *damage
    return (entry.data, entry.scaling) if key == "mse" or group == "reconstruction" else (entry.data,)


def _group(key: str) -> str:
    """What a measure is about; "" for a number that is none."""
    return METRICS[key].group if key in METRICS else ""


def _reasons(comparison: Comparison) -> Iterable[str]:
    runs = comparison.runs
    sets = _split(runs, lambda e: e.data)
    if len(sets) > 1:
        nothing = all(len(group) == 1 for group in sets)
        parts = [f"{names(group)} ({_about(group[0], sets)})" for group in sets]
        what = "nothing is ranked" if nothing else "nothing is ranked between them"
        twins = len({group[0].data_name for group in sets}) < len(sets)
        hint = (
            " Runs compare on the same splits: data.limit and data.validation decide them." if twins else ""
        )
        yield f"The data are not the same for {listed(parts)}: {what}.{hint}"
    for group in sets:
        scalings = _split(group, lambda e: e.scaling)
        if len(scalings) > 1:
            yield (
                f"The data are scaled otherwise for {listed([names(part) for part in scalings])}: errors and"
                " likelihoods are on different scales and are not ranked between them."
            )
        scales = _split(group, lambda e: e.scale)
        if len(scales) > 1:
            parts = [f"{names(part)} ({SCALES[part[0].scale]})" for part in scales]
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
    damages = _split(
        [e for e in runs if e.number("restored_mse") is not None], lambda e: _alike(e, "restored_mse")
    )
    if len(damages) > 1 and len(sets) == 1:
        models = listed([names(part) for part in damages])
        yield f"The inputs of {models} are damaged otherwise: their restored errors do not rank."


def _split(entries: Sequence[Entry], by: Any) -> list[list[Entry]]:
    parts: dict[Any, list[Entry]] = {}
    for entry in entries:
        parts.setdefault(by(entry), []).append(entry)
    return list(parts.values())


def _about(entry: Entry, sets: Sequence[Sequence[Entry]]) -> str:
    """What the data of a row are called; with a part of the fingerprint where another set has the same name."""
    same = sum(group[0].data_name == entry.data_name for group in sets)
    return entry.data_name if same == 1 else f"{entry.data_name}, content {entry.data[:8]}"


def names(entries: Sequence[Entry]) -> str:
    """The rows by name, as a part of a sentence."""
    return listed([entry.name for entry in entries])


def listed(parts: Sequence[str]) -> str:
    """a, b and c; of many the first few."""
    if len(parts) > MOST_NAMES:
        return f"{', '.join(parts[: MOST_NAMES - 1])} and {len(parts) - MOST_NAMES + 1} others"
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
