"""The report of a run: one HTML page that holds its numbers, pictures and settings, and opens offline."""

from __future__ import annotations

import base64
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from latlas.errors import InputError
from latlas.files import write_atomic
from latlas.runs import Run

ORDER = ("reconstructions", "samples", "latent", "manifold", "traversals", "morph", "snapshots", "losses")

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


def write_report(path: Path) -> Path:
    """Writes `report.html` into a run folder, from what is in the folder; what is missing is left out.

    Raises InputError when there is no such folder, LatlasError when the page cannot be written.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such run folder")
    write_atomic(path / "report.html", page(path))
    return path / "report.html"


def page(path: Path) -> str:
    """The report of a run folder as HTML, without a reference to anything outside itself."""
    run = Run(path)
    info = run.info if (path / "run.json").exists() else {}
    toml = (path / "config.toml").read_text(encoding="utf-8") if (path / "config.toml").exists() else ""
    metrics, config = run.metrics, _parsed(toml)
    name = path.resolve().name
    parts = [
        _header(name, metrics, info, config),
        _headline(metrics, run.log()),
        _facts(metrics, info, config),
        _numbers(metrics, str(info.get("data", {}).get("kind", "image"))),
        _pictures(path / "figures"),
        _section("Go on from here", _commands(name, metrics)),
        _section("How it was made", _choices(info), _fold("Configuration", _pre(toml)), _environment(info)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(name)} · latlas</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{''.join(parts)}"
        "<footer>Written by latlas. This page holds all it shows: it can be moved, mailed and opened offline."
        "</footer>\n</main>\n</body>\n</html>\n"
    )


def _parsed(toml: str) -> dict[str, Any]:
    try:
        return tomllib.loads(toml)
    except tomllib.TOMLDecodeError:
        return {}


def _section(title: str, *parts: str) -> str:
    body = "".join(parts)
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}</section>\n" if body else ""


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>\n" if text else ""


def _fold(title: str, body: str) -> str:
    return f"<details>\n<summary>{escape(title)}</summary>\n{body}</details>\n" if body else ""


def _rounded(value: object, decimals: int) -> str:
    """A number as people read it: thousands apart, a true minus sign; a dash where there is none."""
    if not isinstance(value, int | float):
        return "–"
    return f"{value:,.{decimals}f}".replace("-", "−")


def _error(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"


def _header(name: str, metrics: Mapping[str, Any], info: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    data = metrics.get("data") or info.get("data", {}).get("name") or config.get("data", {}).get("source")
    recipe = metrics.get("recipe") or config.get("recipe", {}).get("name")
    made = str(info.get("created", ""))[:10]
    line = " · ".join(str(p) for p in (data, recipe and f"recipe {recipe}", made) if p)
    return (
        f'<header>\n<p class="over">latlas run</p>\n<h1>{escape(name)}</h1>\n'
        f'<p class="muted">{escape(line)}</p>\n</header>\n'
    )


def _headline(metrics: Mapping[str, Any], log: list[dict[str, Any]]) -> str:
    """The result in one sentence; how far the run came where it is unfinished."""
    return f'<p class="headline">{escape(headline(metrics, log))}</p>\n'


def headline(metrics: Mapping[str, Any], log: Iterable[Mapping[str, Any]]) -> str:
    """The result of a run in one sentence; how far it came where it is unfinished."""
    test = metrics.get("splits", {}).get("test")
    if not test:
        steps = [row for row in log if "step" in row]
        if not steps:
            return "Unfinished: no step is logged yet."
        last = steps[-1]
        seen = [row["valid"]["elbo"] for row in steps if (row.get("valid") or {}).get("elbo") is not None]
        best = f" Best validation ELBO so far: {_rounded(max(seen), 1)}." if seen else ""
        return f"Unfinished: the log ends at step {last['step']:,}, epoch {last.get('epoch', 0):.3g}.{best}"
    unit = str(metrics.get("unit", "nats per image"))
    items = f"{test['images']:,} {unit.rpartition(' ')[2]}s"
    if test.get("elbo") is None:
        value = _rounded(test["distortion"], 1)
        return f"Test distortion {value} {unit}, mean squared error {test['mse']:.4g} ({items})."
    error = test.get("elbo_stderr")
    spread = f"± {_error(error)}, " if error is not None else ""
    elbo, distortion, rate = (_rounded(test[key], 1) for key in ("elbo", "distortion", "rate"))
    return f"Test ELBO {elbo} {unit} ({spread}{items}): distortion {distortion} + rate {rate}."


def _facts(metrics: Mapping[str, Any], info: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The run in a few words: what was trained, how large, how long."""
    shape = info.get("data", {}).get("shape")
    facts = {
        "Items": " × ".join(str(n) for n in shape) if shape else None,
        "Training items": _count(info.get("data", {}).get("train")),
        "Network": metrics.get("network") or config.get("network", {}).get("name"),
        "Likelihood": metrics.get("likelihood") or config.get("likelihood", {}).get("name"),
        "Latent dimensions": metrics.get("latent") or config.get("model", {}).get("latent"),
        "Parameters": _count(metrics.get("parameters")),
        "Epochs": _count(metrics.get("epochs")),
        "Steps": _count(metrics.get("steps")),
        "Time": _duration(metrics.get("seconds")),
        "Training speed": f"{metrics['images_per_second']:,.0f} items/s"
        if metrics.get("images_per_second")
        else None,
    }
    known = [(k, v) for k, v in facts.items() if v not in (None, "")]
    body = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>\n" for k, v in known)
    return f'<dl class="facts">\n{body}</dl>\n' if known else ""


def _count(value: float | None) -> str | None:
    return None if value is None else _rounded(value, 0 if value == int(value) else 1)


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
    )


def _numbers(metrics: Mapping[str, Any], kind: str) -> str:
    """The table of results, each term explained."""
    splits = metrics.get("splits", {})
    shown = [s for s in ("test", "valid", "train") if splits.get(s)]
    if not shown:
        return ""
    unit = str(metrics.get("unit", "nats per image"))
    item = unit.rpartition(" ")[2]
    scale = "in standardised units" if kind == "table" else "on a scale from 0 to 1"
    terms = (
        ("elbo", "ELBO", unit, 2, "Evidence lower bound, −(distortion + rate): at most the logarithm of the "
         "probability that the model gives to what it has not seen. Higher is better."),
        ("distortion", "Distortion", unit, 2, f"How badly the decoder predicts each {item} from its code: "
         "minus the expected log p(x|z). Lower is better."),
        ("rate", "Rate", unit, 2, f"How much a code tells about its {item}: the divergence KL(q(z|x), p(z)) "
         "of the code from the prior. Near 0, the codes say nothing."),
        ("mse", "Mean squared error", f"per value, {scale}", 5, f"Between each {item} and what is decoded "
         "from its mean code. Lower is better."),
    )  # fmt: skip
    rows = []
    for key, name, units, decimals, why in terms:
        if all(splits[s].get(key) is None for s in shown):
            continue
        cells = "".join(f'<td class="value">{_value(splits[s], key, decimals)}</td>' for s in shown)
        label = f'<th scope="row">{name} <span class="muted">{escape(units)}</span></th>'
        rows.append(f"<tr>{label}{cells}</tr>\n")
        rows.append(f'<tr class="why"><td colspan="{len(shown) + 1}">{escape(why)}</td></tr>\n')
    heads = "".join(f'<th scope="col" class="value">{_split(s, splits[s])}</th>' for s in shown)
    head = f'<thead><tr><th scope="col">Term</th>{heads}</tr></thead>\n'
    table = f"<table>\n{head}<tbody>\n{''.join(rows)}</tbody>\n</table>\n"
    return _section("The numbers", table, _caveat(metrics))


def _value(split: Mapping[str, Any], key: str, decimals: int) -> str:
    text = _rounded(split.get(key), decimals)
    if key == "elbo" and split.get("elbo_stderr") is not None:
        text += f'<br><span class="muted">± {_error(split["elbo_stderr"])}</span>'
    return text


def _split(name: str, split: Mapping[str, Any]) -> str:
    label = {"valid": "validation"}.get(name, name)
    return f"{label}<br>{_rounded(split.get('images'), 0)} items"


def _caveat(metrics: Mapping[str, Any]) -> str:
    if metrics.get("normalised") is not False:
        return ""
    return (
        '<p class="note">Bernoulli on grey values is not a normalised likelihood: these numbers compare '
        "with other runs of the same likelihood on the same data, not with Gaussian ones, and there are no "
        "bits per dimension.</p>\n"
    )


def _pictures(folder: Path) -> str:
    """The PNG files of a folder, in reading order, with the sentence that each carries."""
    files = {p.stem: p for p in sorted(folder.glob("*.png"))}
    names = [n for n in ORDER if n in files] + [n for n in files if n not in ORDER]
    return _section("Pictures", *(_picture(files[name]) for name in names))


def _picture(path: Path) -> str:
    try:
        with Image.open(path) as image:
            width, height = image.size
            text = image.info
    except OSError:
        return ""
    title = str(text.get("Title") or path.stem)
    reading = (
        f"<figcaption>{escape(str(text['Description']))}</figcaption>\n" if text.get("Description") else ""
    )
    source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    attributes = f'width="{width}" height="{height}" alt="{escape(title)}"'
    return (
        f'<figure id="{escape(path.stem)}">\n<label><input type="checkbox">'
        f'<img src="{source}" {attributes}></label>\n{reading}</figure>\n'
    )


def _commands(name: str, metrics: Mapping[str, Any]) -> str:
    """Command lines for this run, from the folder that it lies in."""
    run = shlex.quote(name)
    test = metrics.get("splits", {}).get("test")
    lines = {
        f"latlas reconstruct {run} --out pairs.npz": "the test items, through the model and back",
        f"latlas encode {run} --out codes.npz": "their codes, for your own plots",
        f"latlas morph {run} --from 3 --to 17": "the path from one test item to another",
        f"latlas evaluate {run}": "the numbers above, once more",
    }
    if test and test.get("elbo") is not None:
        lines = {f"latlas sample {run} -n 64 --out samples.png": "new items from the prior"} | lines
    if not test:
        lines = {f"latlas train --resume {run}": "go on where the last checkpoint stands"}
    body = "\n".join(f"# {why}\n{command}\n" for command, why in lines.items())
    return "<p>In the folder that holds this run:</p>\n" + _pre(body)


def _choices(info: Mapping[str, Any]) -> str:
    notes = "".join(f"<li>{escape(str(note))}</li>\n" for note in info.get("notes") or [])
    return f"<p>Chosen because of the data:</p>\n<ul>\n{notes}</ul>\n" if notes else ""


def _environment(info: Mapping[str, Any]) -> str:
    """Everything that run.json says, as a table."""
    rows = "".join(
        f"<tr><td>{escape(key)}</td><td><code>{escape(value)}</code></td></tr>\n"
        for key, value in _flat(info)
    )
    table = f'<table class="plain">\n<tbody>\n{rows}</tbody>\n</table>\n'
    return _fold("Environment and data", table if rows else "")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if key == "notes" or value is None:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
