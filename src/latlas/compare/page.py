"""The page of one or several comparisons: tables that scroll in their own box, and pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from latlas import html
from latlas.compare.ranking import Column, Comparison, Entry, Picture, listed
from latlas.compare.summary import legend, shown, uncertainty

STYLE = """
main { max-width: 78rem; }
h3 { margin: 2.4rem 0 .8rem; font-size: 1.05rem; }
.scroll { position: relative; overflow-x: auto; border: 1px solid var(--line); border-radius: 10px;
  background: linear-gradient(to left, var(--card) 2rem, transparent) right / 4rem 100% no-repeat local,
    linear-gradient(to left, color-mix(in srgb, var(--ink) 18%, transparent), transparent) right / 1rem 100%
    no-repeat scroll, var(--card); }
.scroll:focus-visible { outline: 3px solid var(--accent); outline-offset: -3px; }
.scroll table { min-width: 100%; width: max-content; }
.scroll th, .scroll td { padding: .6rem .9rem; }
.scroll thead th { white-space: nowrap; vertical-align: bottom; }
.scroll thead th > span:not(.muted) { color: var(--ink); font-size: .95rem; font-weight: 600; }
.scroll tbody tr + tr { border-top: 1px solid var(--line); }
.scroll tbody th { position: sticky; left: 0; max-width: 15rem; background: var(--card); font-weight: 600;
  overflow-wrap: anywhere; }
.scroll th .muted { display: block; font-size: .8rem; font-weight: 400; }
.scroll .value .muted { display: block; font-size: .8rem; }
.baseline { font-style: italic; }
.best { color: var(--accent); font-weight: 700; }
.best .mark::before { content: "● "; font-size: .6em; vertical-align: .25em; }
.within .mark::before { content: "≈ "; color: var(--muted); font-weight: 400; }
.settings td { font-size: .9rem; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
h3 ~ figure, .pair { margin-top: 1rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 0 1.5rem; }
.pair h4 { margin: 0 0 .5rem; font-size: .95rem; overflow-wrap: anywhere; }
.pair figure { margin-bottom: 2rem; }
.terms dt { font-weight: 600; } .terms dd { margin: 0 0 .7rem; color: var(--muted); font-size: .95rem; }
@media (max-width: 40rem) { .scroll tbody th { max-width: 8.5rem; } .scroll th, .scroll td { padding: .5rem .6rem; } }
"""

SPOKEN = {"best": "best", "within": "not distinguishable from the best"}
PARTS = {
    "reconstructions": "The same items, through each model and back",
    "samples": "Samples from the prior",
    "latent": "Where the test items lie",
    "decoded": "What the latent spaces decode to",
}


def page(
    comparisons: Sequence[Comparison], title: str, intro: str = "", notes: Sequence[str] = (), more: str = ""
) -> str:
    """One HTML page with a section for each comparison, without a reference to anything outside itself.

    `intro` is a paragraph below the title, or several with empty lines between; `notes` are listed below it,
    and `more` is HTML that stands before the sections.
    """
    count = sum(len(comparison.runs) for comparison in comparisons)
    line = f"{count} {'model' if count == 1 else 'models'} on {', '.join(c.title for c in comparisons)}"
    words = "".join(f"<p>{escape(part.strip())}</p>\n" for part in intro.split("\n\n") if part.strip())
    said = "".join(f"<li>{escape(note)}</li>\n" for note in notes)
    body = "".join(_section(comparison, number) for number, comparison in enumerate(comparisons, 1))
    bullets = f"<ul>\n{said}</ul>\n" if said else ""
    return html.document(
        title, html.header("latlas comparison", title, line) + words + bullets + more + body, STYLE
    )


def title_of(comparison: Comparison) -> str:
    """What the page of a single comparison is called: its rows by name, or how many there are."""
    names = [entry.name for entry in comparison.runs]
    return " · ".join(names) if len(names) <= 3 else f"{len(names)} models on {comparison.title}"


def _section(comparison: Comparison, number: int) -> str:
    body = [
        f'<p class="headline">{escape(headline(comparison))}</p>\n',
        *(f'<p class="note">{escape(reason)}</p>\n' for reason in comparison.reasons),
        _numbers(comparison),
        *(f'<p class="muted">{escape(note)}</p>\n' for note in comparison.notes),
        html.fold("What the numbers mean", _terms(comparison)),
        _differences(comparison),
    ]
    for part, heading in PARTS.items():
        chosen = [picture for picture in comparison.pictures if picture.part == part]
        body.append(_pictures(heading, chosen, f"{part}-{number}"))
    return html.section(comparison.title, *body)


def headline(comparison: Comparison) -> str:
    """The best of each in a sentence, with what is not distinguishable from it; that nothing is ranked, where it is
    not.
    """
    parts = []
    for column in comparison.ranked:
        groups = [group for group in comparison.groups(column.key) if len(group) > 1]
        if column.key not in ("elbo", "mse") or len(groups) != 1:
            continue
        first = next(e for e in groups[0] if e.name in comparison.best(column.key))
        word = "Highest test ELBO" if column.key == "elbo" else "Smallest test error"
        within = [e.name for e in groups[0] if e.name in comparison.within(column.key)]
        near = f"; not distinguishable from it: {listed(within)}" if within else ""
        parts.append(f"{word}: {first.name}, {shown(first, column)} {column.unit}".rstrip() + near + ".")
    return " ".join(parts) or "Side by side, not ranked."


def _numbers(comparison: Comparison) -> str:
    """A row for each model; of few models with many numbers, which would scroll, a column for each."""
    columns, entries = comparison.columns, comparison.entries
    kinds = {c.key: _kinds(comparison, c.key) for c in columns}
    cells = [[_cell(entry, c, kinds[c.key].get(entry.name, "")) for c in columns] for entry in entries]
    down, across = [_name(entry) for entry in entries], [_head(column) for column in columns]
    corner = "Model"
    if comparison.upright:
        down, across, corner = across, down, ""
        cells = [list(row) for row in zip(*cells, strict=True)]
    heads = "".join(f'<th scope="col" class="value">{title}</th>' for title in across)
    rows = [
        f'<tr><th scope="row">{title}</th>{"".join(row)}</tr>\n'
        for title, row in zip(down, cells, strict=True)
    ]
    head = f'<thead><tr><th scope="col">{corner}</th>{heads}</tr></thead>\n'
    keys = {
        "best": "the best of those that compare" if any(kinds.values()) else "",
        "within": legend(comparison),
    }
    told = "<br>".join(
        f'<span class="{kind}"><span class="mark"></span></span>{escape(text)}'
        for kind, text in keys.items()
        if text
    )
    key = f'<p class="muted">{told}</p>\n' if told else ""
    return scroll("Numbers on the test split", head, "".join(rows)) + key


def _kinds(comparison: Comparison, key: str) -> dict[str, str]:
    """The rows of a column that get a mark, by name: its class."""
    return dict.fromkeys(comparison.within(key), "within") | dict.fromkeys(comparison.best(key), "best")


def _head(column: Column) -> str:
    arrow = {"higher": " ↑", "lower": " ↓", "": ""}[column.better]
    unit = f'<br><span class="muted">{escape(column.unit)}</span>' if column.unit else ""
    return f"{escape(column.title)}{arrow}{unit}"


def _name(entry: Entry) -> str:
    kind = ' class="baseline"' if entry.baseline else ""
    return f"<span{kind}>{escape(entry.name)}</span>{_about(entry)}"


def _about(entry: Entry) -> str:
    values = entry.values
    seeds = f"{entry.seeds} seeds" if entry.seeds > 1 else None
    words = [str(v) for v in (values.get("recipe"), values.get("likelihood"), seeds) if v]
    return "" if entry.baseline else f' <span class="muted">{escape(" · ".join(words))}</span>'


def _cell(entry: Entry, column: Column, kind: str) -> str:
    spread = uncertainty(entry, column)
    below = f' <span class="muted">{escape(spread)}</span>' if spread else ""
    text = escape(shown(entry, column))
    if kind:
        text = f'<span class="mark"></span>{text}<span class="spoken"> ({SPOKEN[kind]})</span>'
    return f'<td class="{f"value {kind}".rstrip()}">{text}{below}</td>'


def scroll(label: str, head: str, rows: str, kind: str = "numbers") -> str:
    """A table in a box of its own, which scrolls where the page is too narrow."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">\n<table class="{kind}">\n'
        f"{head}<tbody>\n{rows}</tbody>\n</table>\n</div>\n"
    )


def _terms(comparison: Comparison) -> str:
    found = "".join(
        f"<dt>{escape(c.title)}</dt><dd>{escape(c.why)}</dd>\n" for c in comparison.columns if c.why
    )
    more = (
        "<dt>±</dt><dd>Beside a single run, the standard error over the test items; beside the mean of several seeds,"
        " their sample standard deviation.</dd>\n"
        "<dt>≈</dt><dd>Each row is tested against the best of those that compare, at 5 %: the means of several seeds"
        " by Welch's t, a single run beside several seeds as one more draw of their spread, PCA beside them as a"
        " fixed number, single runs by their standard errors over the test items. These are taken as independent,"
        " though the items are the same: the mark is given too often rather than too rarely. Where no ± is known,"
        " no row gets it, which does not make a difference sure.</dd>\n"
    )
    return f'<dl class="terms">\n{found}{more}</dl>\n'


def _differences(comparison: Comparison) -> str:
    """The settings in which the runs differ; the longer side of the table goes down the page."""
    differing, runs = comparison.differing(), comparison.runs
    if not differing:
        same = "<p>All settings are the same.</p>\n"
        return f"<h3>What differs</h3>\n{same}" if len(runs) > 1 else ""
    names, keys = [entry.name for entry in runs], list(differing)
    cells = [[_setting(value) for value in differing[key]] for key in keys]
    if len(keys) >= len(names):
        across, down = names, [f"<code>{escape(key).replace('.', '.<wbr>')}</code>" for key in keys]
    else:
        across, down = keys, [escape(name) for name in names]
        cells = [list(row) for row in zip(*cells, strict=True)]
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in across)
    rows = "".join(
        f'<tr><th scope="row">{title}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row)}</tr>\n'
        for title, row in zip(down, cells, strict=True)
    )
    head = f"<thead><tr><td></td>{head}</tr></thead>\n"
    return "<h3>What differs</h3>\n" + scroll("Settings that differ", head, rows, "settings")


def _setting(value: Any) -> str:
    if value is None or value == "" or value == []:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _pictures(heading: str, chosen: Sequence[Picture], name: str) -> str:
    """Pictures of all rows below each other; of single rows side by side, each under its name."""
    if not chosen:
        return ""
    made = []
    for number, picture in enumerate(chosen, 1):
        title = f"<h4>{escape(picture.name)}</h4>\n" if picture.name else ""
        made.append(f"<div>\n{title}{html.picture(picture.png, f'{name}-{number}')}</div>\n")
    body = "".join(made)
    captions = dict.fromkeys(picture.caption for picture in chosen)
    how = "".join(f'<p class="muted">{escape(caption)}</p>\n' for caption in captions)
    if any(picture.name for picture in chosen):
        body = f'<div class="pair">\n{body}</div>\n'
    return f"<h3>{escape(heading)}</h3>\n{how}{body}"
