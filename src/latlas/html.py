"""What every HTML page of latlas shares: its style and frame, the pictures in it, and how numbers are written."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Container, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from latlas.errors import InputError
from latlas.metrics import METRICS, OF_SPLITS

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #fff; --ink: #1b1f27; --muted: #5f6775;
  --line: #e3e5ea; --accent: #0072b2; --warn: #fdf3e3; --warn-ink: #7a4300; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14161a; --card: #1c1f25; --ink: #e8eaee; --muted: #9aa3b2;
    --line: #2d323b; --accent: #6cb8e6; --warn: #33270f; --warn-ink: #f2c98a; }
  figure img { filter: brightness(.93); }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
.over { margin: 0; color: var(--accent); font-size: .8rem; font-weight: 600; letter-spacing: .08em;
  text-transform: uppercase; }
h1 { margin: .2rem 0; font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.15; overflow-wrap: anywhere; }
h2 { margin: 3.2rem 0 1rem; font-size: 1.25rem; }
p { margin: .5rem 0; }
.muted, figcaption, .why td, thead th { color: var(--muted); font-weight: 400; }
.headline { margin: 1.6rem 0; padding-left: 1rem; border-left: 4px solid var(--accent); font-size: 1.25rem;
  line-height: 1.45; }
.note { margin: 1rem 0; padding: .8rem 1rem; border-radius: 8px; background: var(--warn);
  color: var(--warn-ink); }
.warning { padding: .1rem .4rem; border-radius: 4px; background: var(--warn); color: var(--warn-ink); }
.fine { margin: 1rem 0; color: var(--muted); }
.finding { margin: 1rem 0; padding: .9rem 1.1rem; border: 1px solid var(--line); border-left: 5px solid var(--line);
  border-radius: 8px; background: var(--card); }
.finding.serious { border-left-color: #d55e00; }
.finding.worth-a-look { border-left-color: #e69f00; }
.finding h3 { margin: 0 0 .5rem; font-size: 1.05rem; }
.finding h3 span { margin-right: .4rem; color: var(--muted); font-size: .75rem; letter-spacing: .06em;
  text-transform: uppercase; }
.finding dl { display: grid; grid-template-columns: 3.5rem 1fr; gap: .3rem .6rem; margin: 0 0 .7rem; }
.finding dt { color: var(--muted); }
.finding dd { margin: 0; }
.facts { display: flex; flex-wrap: wrap; gap: 1px; margin: 0; background: var(--line);
  border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.facts div { flex: 1 1 9rem; padding: .7rem .9rem; background: var(--card); }
.facts dt { color: var(--muted); font-size: .78rem; }
.facts dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .7rem .4rem 0; text-align: left; vertical-align: top; }
thead th { padding-bottom: .7rem; font-size: .8rem; }
.why td { padding: .1rem .4rem .8rem; font-size: .9rem; }
thead, .why, .plain tr { border-bottom: 1px solid var(--line); }
.plain td { padding: .4rem; font-size: .9rem; }
.value { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.worth { table-layout: fixed; margin-bottom: 2rem; }
.worth th:first-child { width: 46%; }
.worth th:nth-child(2) { width: 24%; }
.worth td, .worth th { overflow-wrap: anywhere; }
.worth td.value + td { padding-left: 1.2rem; font-size: .9rem; }
@media (max-width: 560px) { .worth thead { display: none; } .worth, .worth tbody, .worth tr { display: block; }
  .worth th, .worth td { display: block; width: auto; text-align: left; white-space: normal; padding-top: .15rem; }
  .worth th:first-child { width: auto; padding-top: .7rem; }
  .worth td.value + td:not(:empty)::before { content: "beside it: "; }
  .worth td.value + td { padding-left: .4rem; } }
h3 { margin: 1.6rem 0 .2rem; font-size: 1.05rem; }
figure { margin: 0 0 2.6rem; }
figure label { display: block; overflow-x: auto; cursor: zoom-in; border: 1px solid var(--line);
  border-radius: 10px; background: #fff; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figure input { position: absolute; opacity: 0; }
figure input:checked + img { max-width: none; cursor: zoom-out; }
figure input:focus-visible + img { outline: 3px solid var(--accent); outline-offset: -3px; }
figcaption { padding: .6rem .2rem 0; font-size: .95rem; }
pre { margin: 0; padding: 1rem; overflow-x: auto; border: 1px solid var(--line); border-radius: 8px;
  background: var(--card); font: .83rem/1.6 ui-monospace, "DejaVu Sans Mono", monospace; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .86em; overflow-wrap: anywhere; }
details { margin: .8rem 0; }
summary { padding: .4rem 0; cursor: pointer; font-weight: 600; }
summary:focus-visible { outline: 3px solid var(--accent); }
li { margin: .2rem 0; }
footer { margin-top: 3rem; color: var(--muted); font-size: .85rem; }
@media print { main { padding-top: 0; } figure { break-inside: avoid; } }
"""


def document(title: str, body: str, style: str = "") -> str:
    """A whole page, without a reference to anything outside itself; `style` is added to what all pages have."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)} · latlas</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}"
        "<footer>Written by latlas. This page holds all it shows: it can be moved, mailed and opened offline."
        "</footer>\n</main>\n</body>\n</html>\n"
    )


def header(over: str, title: str, line: str) -> str:
    """What a page begins with: what kind it is, its title, and a line about it."""
    return (
        f'<header>\n<p class="over">{escape(over)}</p>\n<h1>{escape(title)}</h1>\n'
        f'<p class="muted">{escape(line)}</p>\n</header>\n'
    )


def section(title: str, *parts: str) -> str:
    """The parts under a heading; nothing where all are empty."""
    body = "".join(parts)
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}</section>\n" if body else ""


def pre(text: str) -> str:
    """The text as it is, in a box that scrolls."""
    return f"<pre>{escape(text)}</pre>\n" if text else ""


def fold(title: str, body: str) -> str:
    """What opens when its title is clicked."""
    return f"<details>\n<summary>{escape(title)}</summary>\n{body}</details>\n" if body else ""


def picture(png: bytes, name: str) -> str:
    """A PNG, GIF or WebP with the sentence that it carries; a click shows it pixel for pixel. Nothing where it is
    damaged.
    """
    try:
        with Image.open(io.BytesIO(png)) as image:
            width, height = image.size
            text, kind = image.info, str(image.format).lower()
    except OSError:
        return ""
    title = str(text.get("Title") or name)
    reading = (
        f"<figcaption>{escape(str(text['Description']))}</figcaption>\n" if text.get("Description") else ""
    )
    source = f"data:image/{kind};base64,{base64.b64encode(png).decode()}"
    attributes = f'width="{width}" height="{height}" alt="{escape(title)}"'
    return (
        f'<figure id="{escape(name)}">\n<label><input type="checkbox">'
        f'<img src="{source}" {attributes}></label>\n{reading}</figure>\n'
    )


def new_page(out: str | os.PathLike[str]) -> Path:
    """Where a page that somebody asked for goes.

    Raises InputError where there is something already, its folder does not exist, or the name is no page's.
    """
    path = Path(out).expanduser()
    if path.exists() or path.is_symlink():
        raise InputError(f"--out {out}: exists already; choose another name")
    if not path.parent.is_dir():
        raise InputError(f"--out {out}: the folder {path.parent} does not exist")
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out}: expected a name ending in .html")
    return path


def aligned(rows: Sequence[Sequence[str]], right: Container[int] = ()) -> str:
    """Rows of cells for a terminal, in columns as wide as their longest cell; those at `right` end in line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def rounded(value: object, decimals: int) -> str:
    """A number as people read it: thousands apart, a true minus sign, none before zero; a dash where there is none."""
    if not isinstance(value, int | float):
        return "–"
    return f"{value:z,.{decimals}f}".replace("-", "−")


def error(value: float) -> str:
    """An uncertainty: two decimals below 1, else one."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"


def count(value: float | None) -> str | None:
    """A number of things; one decimal where it is not whole."""
    return None if value is None else rounded(value, 0 if value == int(value) else 1)


def duration(seconds: float | None) -> str | None:
    """A time as hours and minutes, minutes and seconds, or seconds."""
    if seconds is None:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
    )


def terms(kind: str) -> tuple[tuple[str, str, str, int, str], ...]:
    """The numbers of a run's splits: key in metrics.json, name, unit, decimals to show, and what it means."""
    rows = ((key, METRICS[key]) for key in OF_SPLITS)
    return tuple((key, m.heading, m.words(m.unit, kind), m.decimals, m.words(m.why, kind)) for key, m in rows)
