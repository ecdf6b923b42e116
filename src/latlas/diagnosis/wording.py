"""Findings as text for a terminal, and as JSON values."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from latlas.diagnosis import LOOKED_AT
from latlas.diagnosis.finding import Finding
from latlas.runs import Run
from latlas.text import printable

INDENT = "  "


def commands(finding: Finding, run: Path) -> list[str]:
    """The command lines of the remedy: training again with the new settings, or further where only its length changes,
    and the finding's own command. Where they take data in memory, they are calls; none for a run with parts of one's
    own, which no command line has.
    """
    if Run(run).has_own_parts:
        return []
    if Run(run).in_memory:
        return _calls(finding, run)
    if set(finding.settings) == {"training.epochs"}:
        return [
            f"latlas train --resume {shlex.quote(str(run))} --epochs {finding.settings['training.epochs']}"
        ]
    sets = [f"{key}={_setting(value)}" for key, value in finding.settings.items()]
    again = [_command_line("train", config=[str(run / "config.toml")], set=sets)] if sets else []
    own = finding.command.replace("RUN", shlex.quote(str(run)))
    return [*again, *([own] if own else [])]


def _calls(finding: Finding, run: Path) -> list[str]:
    """The remedy of a run on data in memory, `x`, in Python."""
    if set(finding.settings) == {"training.epochs"}:
        return [f"latlas.resume({str(run)!r}, data=x, epochs={finding.settings['training.epochs']})"]
    settings = _plain(finding.settings)
    again = f"latlas.train(x, config={str(run / 'config.toml')!r}, settings={settings!r})"
    own = finding.command.replace("RUN", shlex.quote(str(run)))
    own = Run(run).continued_by if own.startswith("latlas train") else own
    return [*([again] if settings else []), *([own] if own else [])]


def _command_line(command: str, **options: Sequence[str]) -> str:
    """A command line; an option is repeated for each of its values."""
    words = [f"--{name} {shlex.quote(value)}" for name, values in options.items() for value in values]
    return " ".join(["latlas", command, *words])


def _setting(value: Any) -> str:
    if value is None:
        return "none"
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def described(finding: Finding, run: Path) -> dict[str, Any]:
    """The finding as JSON values, with its level and its command lines."""
    plain = asdict(finding) | {
        "settings": _plain(finding.settings), "dimensions": list(finding.dimensions),
    }  # fmt: skip
    del plain["command"], plain["settled"]
    return plain | {"level": finding.level, "commands": commands(finding, run)}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}


def as_text(findings: Sequence[Finding], run: Path, width: int = 100) -> str:
    """All findings, wrapped to `width`; without findings, one line that lists what was checked."""
    if not findings:
        return textwrap.fill(f"Nothing wrong was found. Checked: {LOOKED_AT}.", width)
    count = len(findings)
    head = f"{count} findings, the most serious first" if count > 1 else "one finding"
    return "\n\n".join(
        [f"{printable(run)}: {head}", *(_paragraph(finding, run, width) for finding in findings)]
    )


def _paragraph(finding: Finding, run: Path, width: int) -> str:
    lines = [textwrap.fill(f"{finding.level.upper()}: {finding.title}", width)]
    for label, text in (("seen", finding.evidence), ("why", finding.cause), ("do", finding.remedy)):
        start = f"{INDENT}{label + ':':<6}"
        lines.append(textwrap.fill(text, width, initial_indent=start, subsequent_indent=" " * len(start)))
    # Commands are not wrapped, so that they can be copied.
    lines += [f"{INDENT}      {printable(command)}" for command in commands(finding, run)]
    return "\n".join(lines)
