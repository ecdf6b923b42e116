"""Which findings come of runs whose fault is known: a grid of data, length of training and fault.

What counts as true of each cell stands in this file, decided before any run was looked at: `NAMES` says which findings
name a fault. Findings of fact, such as overfitting, are checked on items that neither training nor the diagnosis saw.

    python benchmarks/diagnoses.py FOLDER             trains what FOLDER lacks, judges all, writes results/diagnoses.md
    python benchmarks/diagnoses.py FOLDER --trained   judges what is trained already

Trained cells stay in FOLDER, so that a stopped grid goes on, and changed rules are tried without training again.
"""

from __future__ import annotations

import itertools
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from latlas import config as configuration
from latlas import densities, diagnosis, optimizers, training
from latlas.build import build, has_prior, item_of, objective_of, resolve, statistics
from latlas.checkpoints import Progress
from latlas.data import DataOptions, Dataset, Scaling, Split, load
from latlas.data.batches import Batches
from latlas.metrics import Context
from latlas.metrics.elbo import evaluate
from latlas.models import Model
from latlas.settings import Config

RESULTS = Path(__file__).parent / "results" / "diagnoses.md"
# Residual standard deviation of a good model of each set, of which the fault "sigma" takes ten times.
SETS = {"digits": 0.15, "fashion-mini": 0.12, "shapes": 0.08, "mnist": 0.15, "table": 0.3}
ITEMS = (10, 65, 600, 8000)  # in all: a tenth each for validation and test
FRESH = 1000  # items that are kept aside to tell what is true
STEPS = {"6 steps": 6, "a fifth": 120, "full": 600}
BETWEEN = 10  # least steps between validations, for speed: an epoch of few items is one step
FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "beta 500": {"objective.beta": 500.0},
    "sigma 10 x": {"likelihood.sigma": 10.0},  # times that of SETS
    "lr 30 x": {"optimizer.lr": 0.06},
    "lr / 30": {"optimizer.lr": 2e-3 / 30},
    "1 dimension": {"model.latent": 1},
    "64 dimensions": {"model.latent": 64},
}
COLLAPSE = {"posterior-collapse", "dimensions-collapsed"}
# The findings that name each fault. Others are false in its cells, unless `is_true` finds them to be so.
NAMES: dict[str, set[str]] = {
    "none": set(),
    "beta 500": {*COLLAPSE, "distortion-without-weight"},
    "sigma 10 x": {*COLLAPSE, "sigma-miscalibrated"},
    "lr 30 x": {*COLLAPSE, "learning-rate-too-high", "diverged", "dead-units", "codes-ignored"},
    "lr / 30": {"learning-rate-too-low"},
    "1 dimension": {"too-few-dimensions"},
    "64 dimensions": {"too-many-dimensions"},
}
# Those that six steps can show: what the settings alone make certain. Everything else is said too soon.
CERTAIN_AT_ONCE = {"distortion-without-weight", "sigma-miscalibrated", "diverged"}
LEARNS_MORE = 0.03  # least share of the gain that twice the steps add where training ended too early
OVERFIT = 0.1  # least share of the training gain that fresh items miss where a model overfits
GAP = 0.5  # nats by which a density beats the prior on fresh items where codes leave the prior


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    data: str
    items: int
    length: str
    fault: str
    steps: int

    @property
    def file(self) -> str:
        words = (self.data, str(self.items), str(self.steps), self.fault)
        return "-".join(words).replace(" ", "").replace("/", "over")


def cells() -> Iterator[Cell]:
    for data, items, (length, steps), fault in itertools.product(SETS, ITEMS, STEPS.items(), FAULTS):
        yield Cell(data, items, length, fault, steps)


@cache
def pool(name: str) -> Dataset:
    """All items of a set as its training split, shuffled."""
    if name == "table":
        return table()
    dataset = load(DataOptions(source=name))
    x = np.concatenate([dataset.train.x, dataset.valid.x, dataset.test.x])
    if name != "digits":  # half the height and width, for speed
        x = x[:, ::2, ::2]
        dataset = replace(dataset, shape=(x.shape[3], *x.shape[1:3]))
    x = x[np.random.default_rng(0).permutation(len(x))[: max(ITEMS) + FRESH]]
    return replace(dataset, train=Split(x, None, np.arange(len(x))))


def table() -> Dataset:
    """Ten columns, smooth functions of three normal variables, with noise of standard deviation 0.3."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(max(ITEMS) + FRESH, 3))
    x = np.tanh(z @ rng.normal(size=(3, 10))) + 0.5 * z @ rng.normal(size=(3, 10))
    x = (x + 0.3 * rng.normal(size=x.shape)).astype(np.float32)
    scaling = Scaling("standard", (0.0,) * 10, (1.0,) * 10)
    rows = Split(x, None, np.arange(len(x)))
    return Dataset("table", "table", "table", (10,), False, scaling, rows, rows, rows)


def dataset_of(cell: Cell) -> tuple[Dataset, Split]:
    """The data of a cell, and fresh items; a set with too few items keeps a sixth of them fresh."""
    whole = pool(cell.data)
    fresh = min(FRESH, len(whole.train) // 6)
    n = min(cell.items, len(whole.train) - fresh)
    held = max(1, n // 10)
    cuts = [n - 2 * held, n - held, n, len(whole.train) - fresh]
    train, valid, test, _, rest = (
        whole.train.take(rows) for rows in np.split(np.arange(len(whole.train)), cuts)
    )
    return replace(whole, train=train, valid=valid, test=test), rest


def configured(cell: Cell, dataset: Dataset) -> Config:
    changes = {
        "training.steps": cell.steps,
        "network.name": "mlp",
        "network.hidden": (128,),
        **FAULTS[cell.fault],
    }
    if "likelihood.sigma" in changes:
        changes["likelihood.sigma"] *= SETS[cell.data]
    return resolve(configuration.override(configuration.recipe("vae"), changes, cell.file), dataset)[0]


def trained(cell: Cell, folder: Path) -> tuple[Config, Dataset, Model, list[dict[str, Any]]]:
    """The model of a cell, as a run keeps it, and the rows of its log; from the folder where it was trained before."""
    dataset, _ = dataset_of(cell)
    config = configured(cell, dataset)
    model = build(config, item_of(dataset), statistics(dataset))
    weights, log = folder / f"{cell.file}.safetensors", folder / f"{cell.file}.json"
    if not log.exists():
        rows = learn(model, config, dataset)
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
        log.write_text(json.dumps(rows), encoding="utf-8")
    model.load_state_dict(load_file(weights))
    return config, dataset, model.eval(), json.loads(log.read_text("utf-8"))


def learn(model: Model, config: Config, dataset: Dataset) -> list[dict[str, Any]]:
    """Trains the model; it ends with the weights of the epoch that is best on validation, as a run does."""
    train, valid = (
        Batches(s, dataset.scaling, model.device, model.dtype) for s in (dataset.train, dataset.valid)
    )
    objective, optimizer = objective_of(config, dataset.shape), optimizers.optimizer_for(config, model)
    warmup = training.plan(config, len(train)).warmup
    rows: list[dict[str, Any]] = []
    best, kept, validated = -np.inf, model.state_dict(), -BETWEEN
    try:
        for event in training.train(model, train, objective, optimizer, config, Progress()):
            if isinstance(event, training.Logged):
                rows.append({"kind": "step", "step": event.step, "lr": event.lr, **event.values})
            elif isinstance(event, training.EpochEnded) and event.step >= validated + BETWEEN:
                validated = event.step
                held = evaluate(model, valid)
                score = objective.score(held.distortion, held.rate, None)
                rows.append(
                    {"kind": "epoch", "step": event.step, "epoch": event.epoch, "valid": held.to_dict()}
                )
                if event.step < warmup or score > best:
                    best = -np.inf if event.step < warmup else score
                    kept = {k: v.clone() for k, v in model.state_dict().items()}
    except Exception as error:  # what breaks off is diagnosed as well, with its last good weights
        print(f"  broke off: {error}")
    model.load_state_dict(kept)
    return rows


def findings_of(
    cell: Cell, folder: Path, fresh: bool = False
) -> tuple[diagnosis.Evidence, list[diagnosis.Finding]]:
    """The evidence on a cell and its findings; `fresh`: with fresh items as the test split."""
    config, dataset, model, rows = trained(cell, folder)
    if fresh:
        dataset = replace(dataset, test=dataset_of(cell)[1])
    evidence = diagnosis.gather(config, dataset, Context(model, dataset, has_prior(config)), rows)
    return evidence, diagnosis.diagnose(evidence)


def is_true(name: str, cell: Cell, folder: Path) -> bool:
    """Whether a finding is true of a cell."""
    soon = cell.length == "6 steps"
    if name == "underfitting":
        return soon or learns_more(cell, folder)
    if soon:
        return name in NAMES[cell.fault] & CERTAIN_AT_ONCE
    if name in NAMES[cell.fault]:
        return True
    if name not in ("overfitting", "prior-mismatch", "too-many-dimensions"):
        return False
    e, _ = findings_of(cell, folder, fresh=True)
    train, fresh = e.scores["train"], e.scores["test"]
    if name == "overfitting":
        return train.gain > 0 and train.gain - fresh.gain > OVERFIT * train.gain
    if name == "prior-mismatch":
        return e.gap is not None and e.gap.nats > max(GAP, 3 * e.gap.stderr)
    return cell.length == "full" and e.latents is not None and float(e.latents.active.mean()) < 0.5


def learns_more(cell: Cell, folder: Path) -> bool:
    """Whether a run twice as long gains more on training items."""
    longer = replace(cell, steps=2 * cell.steps)
    before, after = (findings_of(c, folder)[0].scores["train"].gain for c in (cell, longer))
    return after - before > LEARNS_MORE * abs(after)


def expected(cell: Cell) -> set[str]:
    """The findings of which one should come; empty where none needs to."""
    if cell.length == "6 steps":
        return {"underfitting"}
    if cell.fault == "lr / 30" or (cell.length == "a fifth" and cell.fault != "none"):
        return NAMES[cell.fault] | {"underfitting"}
    return NAMES[cell.fault]


def judged(cell: Cell, folder: Path) -> dict[str, Any]:
    """What was found of a cell, and which of it is false."""
    names = [finding.name for finding in findings_of(cell, folder)[1]]
    wrong = [name for name in names if not is_true(name, cell, folder)]
    missed = bool(expected(cell)) and not expected(cell) & set(names)
    return {**asdict(cell), "found": names, "false": wrong, "missed": missed}


def page(rows: list[Mapping[str, Any]]) -> str:
    """The results as Markdown."""
    findings = sum(len(row["found"]) for row in rows)
    wrong = [(row, name) for row in rows for name in row["false"]]
    lines = [
        "# Findings on runs whose fault is known", "",
        f"{len(rows)} of {len(list(cells()))} runs: {', '.join(SETS)}; {', '.join(f'{n:,}' for n in ITEMS)} items in"
        f" all, a tenth each for validation and test; 6 steps, a fifth ({STEPS['a fifth']:,}) and full"
        f" ({STEPS['full']:,}); an MLP with 128 hidden units, elsewhere the defaults. Images but the digits"
        " have half their height and width; a set with fewer items keeps a sixth fresh.", "",
        f"**{findings} findings, {len(wrong)} of them false: {100 * len(wrong) / max(1, findings):.1f} in 100.**"
        f" Runs with a false finding: {len({id(row) for row, _ in wrong})} of {len(rows)}.", "",
        "Of the sets judged, in how many the fault was named (after 6 steps: that they are too few):", "",
        f"| fault | training | {' | '.join(f'{n:,} items' for n in ITEMS)} |", f"|---|---|{'---|' * len(ITEMS)}",
    ]  # fmt: skip
    for fault, length in itertools.product(FAULTS, STEPS):
        counts = []
        for n in ITEMS:
            own = [row for row in rows if (row["fault"], row["length"], row["items"]) == (fault, length, n)]
            asked = fault != "none" or length == "6 steps"
            hits = sum(not row["missed"] for row in own) if asked else sum(not row["found"] for row in own)
            counts.append(f"{'' if asked else 'silent '}{hits} of {len(own)}" if own else "–")
        lines.append(f"| {fault} | {length} | {' | '.join(counts)} |")
    lines += ["", "False findings:", ""]
    lines += [
        f"- {name}: {row['data']}, {row['items']:,} items, {row['length']}, {row['fault']}"
        for row, name in wrong
    ]
    missed = Counter((row["fault"], row["length"], row["items"]) for row in rows if row["missed"])
    lines += ["", "Missed:", ""]
    for fault, length, n in missed:
        sets = [
            r["data"]
            for r in rows
            if r["missed"] and (r["fault"], r["length"], r["items"]) == (fault, length, n)
        ]
        lines.append(f"- {fault}, {length}, {n:,} items: {', '.join(sets)}")
    lines += [
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, torch {torch.__version__}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    folder, started = Path(sys.argv[1]), time.process_time()
    densities.COMPONENTS = (1, 4)  # nearly all the time of a diagnosis goes into trying out mixtures
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for cell in cells():
        if "--trained" in sys.argv and not (folder / f"{cell.file}.json").exists():
            continue
        rows.append(judged(cell, folder))
        print(f"{time.process_time() - started:6.0f} s  {cell.file}: {rows[-1]['found']}  false: {rows[-1]['false']}",
              "MISSED" if rows[-1]["missed"] else "", flush=True)  # fmt: skip
    RESULTS.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
