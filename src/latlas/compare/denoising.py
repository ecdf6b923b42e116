"""A table of denoising runs beside plain runs: how well each restores the same corrupted items."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from latlas import text
from latlas.config import ASIDE, settings_of
from latlas.data import Dataset
from latlas.data.batches import Batches
from latlas.metrics.reconstruction import Restoration, restoration
from latlas.progress import SILENT, Observer
from latlas.runs import Run, dataset_of
from latlas.settings import CorruptionConfig
from latlas.text import Cell, Table, aligned, listed, rounded

# Settings in which a denoising run and its plain counterpart may differ. Their fingerprints ensure equal data.
FREE = (*ASIDE, "recipe", "data", "seed", "corruption")
HEADS = ("data", "latent", "corruption", "corrupted", "plain", "denoising", "result")
WINS = "wins"
NUMERIC = (1, 3, 4, 5)  # the columns that hold numbers


@dataclass(frozen=True)
class Row:
    """One corruption at one latent size: mean squared errors per value on the test split, on the model's scale.

    `corrupted` is that of the corrupted items, not clipped; `denoising` has that of each model trained on this
    corruption, `plain` that of each model trained on clean items and applied to the same corrupted ones.
    """

    data: str
    latent: int
    corruption: CorruptionConfig
    corrupted: float
    plain: tuple[float, ...]
    denoising: tuple[float, ...]

    @property
    def beats_corrupted(self) -> bool:
        return statistics.fmean(self.denoising) < self.corrupted

    @property
    def beats_plain(self) -> bool | None:
        """None where there is no plain model to compare with."""
        return statistics.fmean(self.denoising) < statistics.fmean(self.plain) if self.plain else None

    @property
    def verdict(self) -> str:
        """In words: whether denoising is better than both, else which of them is better."""
        better = [
            name
            for name, beaten in (("corrupted", self.beats_corrupted), ("plain", self.beats_plain))
            if beaten is False
        ]
        if better:
            return f"loses to {listed(better)}"
        return WINS if self.plain else "beats corrupted; no plain run"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: means over the runs; a sample standard deviation where there are two or more."""
        errors: dict[str, Any] = {"corrupted_mse": self.corrupted}
        for name, values in (("plain", self.plain), ("denoising", self.denoising)):
            errors[f"{name}_mse"] = statistics.fmean(values) if values else None
            errors[f"{name}_mse_sd"] = statistics.stdev(values) if len(values) > 1 else None
            errors[f"{name}_runs"] = len(values)
        return {
            "data": self.data,
            "latent": self.latent,
            "corruption": self.corruption.model_dump(),
            **errors,
            "beats_corrupted": self.beats_corrupted,
            "beats_plain": self.beats_plain,
            "verdict": self.verdict,
        }


def restoration_table(runs: Sequence[Run], data_dir: str = "", observer: Observer = SILENT) -> list[Row]:
    """A row for each data set, latent size and corruption that some run was trained with; seeds share a row.

    Its plain runs are those without a corruption and with otherwise equal settings. Every run of a row restores the
    same corrupted test items. Raises InputError when a run has no weights, or its data are missing or
    have changed.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        corruption = run.config.corruption
        key = "" if corruption.name == "none" else corruption.model_dump_json()
        groups.setdefault((_counterpart(run), key), []).append(run)
    denoised = [(shared, key) for shared, key in groups if key]
    data: dict[str, Dataset] = {}
    rows = []
    for done, (shared, key) in enumerate(denoised):
        observer.progress("restoring", done, len(denoised))
        denoising, plain = groups[shared, key], groups.get((shared, ""), [])
        config = denoising[0].config
        runs_of_row = (*denoising, *plain)
        results = [_restored(run, config.corruption, data, data_dir, observer) for run in runs_of_row]
        errors = [result.restored_mse for result in results]
        rows.append(
            Row(
                data=denoising[0].info["data"]["name"],
                latent=config.model.latent or 0,
                corruption=config.corruption,
                corrupted=results[0].corrupted_mse,
                plain=tuple(errors[len(denoising) :]),
                denoising=tuple(errors[: len(denoising)]),
            )
        )
    observer.progress("restoring", len(denoised), len(denoised))
    return sorted(rows, key=lambda r: (r.data, r.latent, r.corruption.name, r.corruption.strength))


def _counterpart(run: Run) -> str:
    """A key that a denoising run shares with its plain counterpart."""
    return repr((run.info["data"]["fingerprint"], settings_of(run.config, FREE)))


def _restored(
    run: Run, corruption: CorruptionConfig, data: dict[str, Dataset], data_dir: str, observer: Observer
) -> Restoration:
    """The errors of a run's test split; `data` caches the previous run's data set by its fingerprint."""
    fingerprint = run.info["data"]["fingerprint"]
    if fingerprint not in data:
        data.clear()  # one data set at a time: they may be large
        data[fingerprint] = dataset_of(run, data_dir, observer.progress)
    model = run.model()
    split = data[fingerprint].split(data[fingerprint].measured)
    items = Batches(split, model.item.scaling, model.device, model.dtype)
    return restoration(model, items, corruption)


def table(rows: Sequence[Row]) -> Table:
    """The rows as a table: of several models, the mean error and its sample standard deviation."""
    return Table([Cell(head) for head in HEADS], [text.Row(_cells(row)) for row in rows], NUMERIC)


def text_table(rows: Sequence[Row]) -> str:
    """The rows for a terminal."""
    return aligned([HEADS, *([str(cell) for cell in _cells(row)] for row in rows)], NUMERIC)


def _cells(row: Row) -> list[Cell]:
    errors = map(_error, ((row.corrupted,), row.plain, row.denoising))
    result = Cell(row.verdict, style="wins" if row.verdict == WINS else "")
    corruption = f"{row.corruption.name} {row.corruption.strength:g}"
    return [Cell(row.data), Cell(str(row.latent)), Cell(corruption), *errors, result]


def _error(values: Sequence[float]) -> Cell:
    mean = statistics.fmean(values) if values else None
    return Cell(rounded(mean, 5), f"± {statistics.stdev(values):.5f}" if len(values) > 1 else "")
