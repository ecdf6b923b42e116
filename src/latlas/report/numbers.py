"""The numbers of an assessment as people read them: lines for a terminal, and a section of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from latlas import html as pages
from latlas.metrics.metric import GROUPS
from latlas.settings import OLD_GROUPS

Numbers = Mapping[str, Mapping[str, Any]]
MOST_PARTS = 16  # numbers per dimension that a row shows


def text(numbers: Numbers) -> str:
    """A block of lines for each group: what, value, unit, what it stands beside, what it came from."""
    blocks = []
    for title, members in _groups(numbers):
        rows = [[title, "", "", "", ""]]
        for about in members.values():
            cells = (_value(about), about["unit"], _beside(about), _origin(about))
            rows.append([f"  {about['title']}", *cells])
        blocks.append(pages.aligned(rows, right=(1,)))
        blocks += [
            f"  ! {about['title']}: {about['warning']}" for about in members.values() if about.get("warning")
        ]
    return "\n".join(blocks)


def html(numbers: Numbers) -> str:
    """The section of the report: a table for each group, each number explained."""
    parts = []
    for title, members in _groups(numbers):
        head = '<th scope="col">Number</th><th scope="col" class="value">Value</th><th scope="col">Beside it</th>'
        body = "".join(_row(name, about) for name, about in members.items())
        parts.append(
            f'<h3>{escape(title)}</h3>\n<table class="worth">\n<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}</tbody>\n</table>\n"
        )
    return pages.section("What it is worth", *parts)


def _groups(numbers: Numbers) -> Iterator[tuple[str, Numbers]]:
    for group, title in GROUPS.items():
        members = {name: about for name, about in numbers.items() if _group(about) == group}
        if members:
            yield title, members


def _group(about: Mapping[str, Any]) -> str:
    group = about.get("group", "")
    return OLD_GROUPS.get(group, group)


def _value(about: Mapping[str, Any]) -> str:
    decimals = int(about.get("decimals", 3))
    shown = pages.rounded(about["value"], decimals)
    stderr = about.get("stderr")
    return shown if stderr is None else f"{shown} ± {pages.rounded(stderr, decimals)}"


def _beside(about: Mapping[str, Any]) -> str:
    beside = about.get("beside", {})
    decimals = int(about.get("decimals", 3))
    return ", ".join(f"{name} {pages.rounded(value, decimals)}" for name, value in beside.items())


def _origin(about: Mapping[str, Any]) -> str:
    """What the number came from: 1,000 items, 100 draws each."""
    draws = about.get("draws")
    what = about.get("what", "items")
    return f"{about['items']:,} {what[:-1] if about['items'] == 1 else what}" + (
        f" × {draws:,} draws" if draws and draws > 1 else ""
    )


def _row(name: str, about: Mapping[str, Any]) -> str:
    unit = f' <span class="muted">{escape(about["unit"])}</span>' if about["unit"] else ""
    cells = (
        f'<th scope="row">{escape(about["title"])}{unit}</th><td class="value">{escape(_value(about))}</td>'
        f"<td>{escape(_beside(about))}</td>"
    )
    parts = [float(p) for p in about.get("parts", ())]
    each = ", ".join(pages.rounded(p, 2) for p in parts[:MOST_PARTS]) + (
        ", …" if len(parts) > MOST_PARTS else ""
    )
    by = f", by {about['by']}" if about.get("by") else ""
    told = [about["why"], f"Of {_origin(about)}{by}.", f"Per dimension: {each}." if parts else ""]
    why = f"{escape(' '.join(t for t in told if t))} <code>{escape(name)}</code>"
    if about.get("warning"):
        warning = about["warning"]
        why += f' <span class="warning">{escape(warning[:1].upper() + warning[1:])}.</span>'
    return f'<tr>{cells}</tr>\n<tr class="why"><td colspan="3">{why}</td></tr>\n'
