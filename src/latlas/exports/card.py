"""The card of a model on the Hugging Face hub: what it is, how good, what is wrong with it, and how to load it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from latlas import html, report
from latlas.build import has_prior, items
from latlas.exports.facts import units
from latlas.html import Embedded
from latlas.metrics import METRICS, display
from latlas.models import Model
from latlas.runs import Run, measured_numbers
from latlas.text import Cell, Table, printable, setting

CARD = "README.md"
NEW_ITEMS = 16  # in the example of a card
# What Markdown would take for its own, but for a _ inside a word, which it leaves alone.
_MARKUP = re.compile(r"[\\`*\[\]<>|#~]|(?<!\w)_|_(?!\w)")


def card(run: Run, model: Model, pictures: Mapping[str, Embedded]) -> str:
    """The card of a finished run, in Markdown with front matter; `pictures` are those that stand beside it, by path."""
    metrics, info, item = run.metrics, run.info, model.item
    split, numbers = measured_numbers(metrics)
    shapes = f"({', '.join(map(str, item.outside))})"
    tables = display.tables(metrics.get("numbers", {}))
    return html.render(
        "card.md.j2",
        name=printable(run.name),
        title=escaped(run.name),
        tags=_tags(run),
        task="image-feature-extraction" if item.kind == "image" else "feature-extraction",
        data=printable(info["data"]["name"]),
        split=split,
        measures=_measures(metrics, numbers, item.kind),
        headline=escaped(display.headline(metrics, ())),
        samples=has_prior(run.config),
        count=NEW_ITEMS,
        latent=model.latent,
        item="image" if item.kind == "image" else "row",
        shape=shapes,
        units=units(item),
        columns=", ".join(map(escaped, item.columns or ())),
        facts={key: escaped(value) for key, value in _facts(run).items()},
        images=f"{numbers.get('images', 0):,} {items(item.kind)}",
        results=_markdown(report.results_table(metrics, item.kind)),
        groups={title: _markdown(table) for title, table in tables.items()},
        warnings=[
            escaped(f"{row.cells[0].text}: {row.warning}") for t in tables.values() for row in t.rows if row.warning
        ],
        pictures={path: {"title": escaped(p.title), "caption": escaped(p.caption)} for path, p in pictures.items()},
        findings=_findings(metrics.get("findings")),
        normalised=metrics.get("normalised") is not False,
        trained_on=f"{info['data']['train']:,} {items(item.kind)} of {escaped(info['data']['name'])}",
        seed=run.config.seed,
        command=printable(info.get("command") or "the command was not kept"),
        versions=", ".join(escaped(f"{key} {info[key]}") for key in ("latlas", "torch") if key in info),
        day=escaped(str(info.get("created", ""))[:10]),
    )  # fmt: skip


def escaped(text: object) -> str:
    """A text on one line whose signs are no markup."""
    return _MARKUP.sub(lambda sign: f"\\{sign[0]}", printable(text))


def _findings(findings: Sequence[Mapping[str, Any]] | None) -> list[dict[str, str]] | None:
    """What the findings say, each without markup of its own; None without a diagnosis."""
    told = ("title", "level", "evidence", "cause", "remedy")
    if findings is None:
        return None
    return [{key: escaped(finding.get(key, "")) for key in told} for finding in findings]


def _tags(run: Run) -> list[str]:
    elbo = measured_numbers(run.metrics)[1].get("elbo")
    kind = "autoencoder" if elbo is None else "variational-autoencoder"
    return ["latlas", kind, "representation-learning", *(["generative"] if has_prior(run.config) else [])]


def _facts(run: Run) -> dict[str, str]:
    """The data, the network and how long it was trained, by name."""
    values = run.config.model_dump(mode="json")
    return {"Data": setting(run.info["data"]["name"]), **report.facts(run.metrics, run.info, values)}


def _measures(metrics: Mapping[str, Any], numbers: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The numbers of the measured split for the hub's own table, of those that say how good a model is: name, title
    with unit, and value.
    """
    good = [name for name, metric in METRICS.items() if metric.better]
    found = {name: numbers[name] for name in good if numbers.get(name) is not None}
    found |= {name: about["value"] for name, about in metrics.get("numbers", {}).items() if name in good}
    rows = []
    for name, value in found.items():
        unit = METRICS[name].words(METRICS[name].unit, kind)
        title = ", ".join(filter(None, [METRICS[name].heading, unit]))
        rows.append({"name": name, "title": title, "value": float(f"{value:.6g}")})
    return rows


def _markdown(table: Table | None) -> str:
    """A table in Markdown; units stand behind a comma."""
    if table is None:
        return ""
    rules = ["---:" if i in table.numeric else "---" for i in range(len(table.head))]
    head, *rows = (
        [_cell(cell) for cell in cells] for cells in (table.head, *(row.cells for row in table.rows))
    )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rules, *rows])


def _cell(cell: Cell) -> str:
    between = " " if cell.note.startswith("±") else ", "
    return escaped(between.join(filter(None, [cell.text, cell.note])))
