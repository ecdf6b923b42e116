"""The page of results, from results/*.json alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.papers.catalogue import EXPERIMENTS
from benchmarks.papers.experiments import Experiment
from benchmarks.papers.work import HERE

RESULTS, PAGE = HERE / "results", HERE / "README.md"
HEAD = """# Published results, reproduced

Numbers that others have published, beside what latlas reaches in the same set-up. Log-likelihoods are in nats per
image, higher is better; ± is the standard error over test images (of a gain: pair by pair, on the same images). Where
we fall short, the page says so. Each experiment is one command:

```text
LATLAS_DATA=FOLDER python -m benchmarks.papers {names}
python -m benchmarks.papers --table   # writes this page from results/*.json
```

A run that was stopped goes on where it was when the command is given again (runs are kept under `runs/papers`). The
static MNIST of Larochelle is read from `binarized-mnist/binarized_mnist.npz` under `LATLAS_DATA`: arrays `train`,
`valid` and `test` of 0 and 1, (N, 784). Times are of training: by the clock, and of the processor, which is the
one to compare with.
"""
TABLE_HEAD = "| quantity | ours | published | difference | source |\n|---|---|---|---|---|"


def page(results: dict[str, dict[str, Any]]) -> str:
    """The whole page, from results by name."""
    names = "|".join(EXPERIMENTS)
    parts = [HEAD.format(names="{" + names + "}")]
    parts += [section(EXPERIMENTS[name], name, results[name]) for name in EXPERIMENTS if name in results]
    waiting = [
        f"- `{n}`: {x.title}. {x.paper}. {x.setup}" for n, x in EXPERIMENTS.items() if n not in results
    ]
    if waiting:
        what = "## Ready, not run yet\n\nLong runs; tests take a few steps of each."
        parts.append(what + "\n\n" + "\n".join(waiting) + "\n")
    return "\n".join(parts)


def section(experiment: Experiment, name: str, found: dict[str, Any]) -> str:
    """Set-up, differences and the table of one experiment."""
    lines = [f"## {experiment.title}", "", f"`{name}`. {experiment.paper}.", "", experiment.setup, ""]
    lines += [f"Different here: {experiment.differs}", "", TABLE_HEAD]
    lines += [line(row) for row in found["rows"]]
    return "\n".join([*lines, "", facts(found), ""])


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    digits, published = row["digits"], row["published"]
    ours = f"{row['ours']:,.{digits}f}" + ("" if row["stderr"] is None else f" ± {row['stderr']:.2f}")
    given = "" if published is None else f"{published:,.{digits}f}"
    difference = "" if published is None else f"{row['ours'] - published:+,.{digits}f}"
    source = row["source"]
    if row["claim"]:
        source = "; ".join(filter(None, (source, f"{row['claim']}: {'yes' if row['held'] else '**no**'}")))
    return f"| {row['what']} | {ours} | {given} | {difference} | {source} |"


def facts(found: dict[str, Any]) -> str:
    """When, on what, and for how long."""
    times = ", ".join(
        f"{label} {seconds / 60:.1f} min ({found['cpu_seconds'][label] / 60:.1f} of the processor)"
        for label, seconds in found["training_seconds"].items()
    )
    threads = "1 thread" if found["threads"] == 1 else f"{found['threads']} threads"
    return f"{found['date']}; {found['machine']}, {threads}; torch {found['torch']}; trained for {times}."


def read(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Results by experiment."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def write() -> None:
    """Writes the page."""
    PAGE.write_text(page(read()), encoding="utf-8")
