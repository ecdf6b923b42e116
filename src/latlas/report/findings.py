"""What is wrong with a run, at the top of its report: seen, why, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from latlas import html as pages


def html(findings: Sequence[Mapping[str, Any]] | None) -> str:
    """A card for each finding, the weightiest first; a line where nothing was found, nothing where none was sought."""
    if findings is None:
        return ""
    if not findings:
        return '<p class="fine">Diagnosis: nothing wrong was found.</p>\n'
    return pages.section("What to look at", *(_card(finding) for finding in findings))


def _card(finding: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<dt>{label}</dt><dd>{escape(str(finding[key]))}</dd>\n"
        for label, key in (("Seen", "evidence"), ("Why", "cause"), ("Do", "remedy"))
    )
    level = str(finding["level"])
    commands = pages.pre("\n".join(finding.get("commands", [])))
    return (
        f'<article class="finding {level.replace(" ", "-")}">\n<h3><span>{escape(level)}</span> '
        f"{escape(str(finding['title']))}</h3>\n<dl>\n{rows}</dl>\n{commands}</article>\n"
    )
