"""The report of a run: one HTML page that holds its numbers, pictures and settings, and opens offline."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from latlas import html as pages
from latlas.errors import InputError
from latlas.files import write_atomic
from latlas.gallery import FIGURES
from latlas.report import findings, numbers
from latlas.runs import Run

LARGEST_FILM = 3_000_000  # bytes


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
        findings.html(metrics.get("findings")),
        _facts(metrics, info, config),
        _numbers(metrics, str(info.get("data", {}).get("kind", "image"))),
        _pictures(path / "figures"),
        numbers.html(metrics.get("numbers", {})),
        _film(path),
        pages.section("Go on from here", _commands(name, metrics, config)),
        pages.section(
            "How it was made",
            _choices(info),
            pages.fold("Configuration", pages.pre(toml)),
            _environment(info),
        ),
    ]
    return pages.document(name, "".join(parts))


def _parsed(toml: str) -> dict[str, Any]:
    try:
        return tomllib.loads(toml)
    except tomllib.TOMLDecodeError:
        return {}


def _header(name: str, metrics: Mapping[str, Any], info: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    data = metrics.get("data") or info.get("data", {}).get("name") or config.get("data", {}).get("source")
    recipe = metrics.get("recipe") or config.get("recipe", {}).get("name")
    made = str(info.get("created", ""))[:10]
    line = " · ".join(str(p) for p in (data, recipe and f"recipe {recipe}", made) if p)
    return pages.header("latlas run", name, line)


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
        best = f" Best validation ELBO so far: {pages.rounded(max(seen), 1)}." if seen else ""
        return f"Unfinished: the log ends at step {last['step']:,}, epoch {last.get('epoch', 0):.3g}.{best}"
    unit = str(metrics.get("unit", "nats per image"))
    items = f"{test['images']:,} {unit.rpartition(' ')[2]}s"
    if test.get("elbo") is None:
        value = pages.rounded(test["distortion"], 1)
        return f"Test distortion {value} {unit}, mean squared error {test['mse']:.4g} ({items})."
    error = test.get("elbo_stderr")
    spread = f"± {pages.error(error)}, " if error is not None else ""
    elbo, distortion, rate = (pages.rounded(test[key], 1) for key in ("elbo", "distortion", "rate"))
    return f"Test ELBO {elbo} {unit} ({spread}{items}): distortion {distortion} + rate {rate}."


def _facts(metrics: Mapping[str, Any], info: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The run in a few words: what was trained, how large, how long."""
    shape = info.get("data", {}).get("shape")
    facts = {
        "Items": " × ".join(str(n) for n in shape) if shape else None,
        "Training items": pages.count(info.get("data", {}).get("train")),
        "Network": metrics.get("network") or config.get("network", {}).get("name"),
        "Likelihood": metrics.get("likelihood") or config.get("likelihood", {}).get("name"),
        "Latent dimensions": metrics.get("latent") or config.get("model", {}).get("latent"),
        "Parameters": pages.count(metrics.get("parameters")),
        "Epochs": pages.count(metrics.get("epochs")),
        "Steps": pages.count(metrics.get("steps")),
        "Time": pages.duration(metrics.get("seconds")),
        "Training speed": f"{metrics['images_per_second']:,.0f} items/s"
        if metrics.get("images_per_second")
        else None,
    }
    known = [(k, v) for k, v in facts.items() if v not in (None, "")]
    body = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>\n" for k, v in known)
    return f'<dl class="facts">\n{body}</dl>\n' if known else ""


def _numbers(metrics: Mapping[str, Any], kind: str) -> str:
    """The table of results, each term explained."""
    splits = metrics.get("splits", {})
    shown = [s for s in ("test", "valid", "train") if splits.get(s)]
    if not shown:
        return ""
    unit = str(metrics.get("unit", "nats per image"))
    rows = []
    for key, name, units, decimals, why in pages.terms(unit, kind):
        if all(splits[s].get(key) is None for s in shown):
            continue
        cells = "".join(f'<td class="value">{_value(splits[s], key, decimals)}</td>' for s in shown)
        label = f'<th scope="row">{name} <span class="muted">{escape(units)}</span></th>'
        rows.append(f"<tr>{label}{cells}</tr>\n")
        rows.append(f'<tr class="why"><td colspan="{len(shown) + 1}">{escape(why)}</td></tr>\n')
    heads = "".join(f'<th scope="col" class="value">{_split(s, splits[s])}</th>' for s in shown)
    head = f'<thead><tr><th scope="col">Term</th>{heads}</tr></thead>\n'
    table = f"<table>\n{head}<tbody>\n{''.join(rows)}</tbody>\n</table>\n"
    return pages.section("The numbers", table, _caveat(metrics))


def _value(split: Mapping[str, Any], key: str, decimals: int) -> str:
    text = pages.rounded(split.get(key), decimals)
    if key == "elbo" and split.get("elbo_stderr") is not None:
        text += f'<br><span class="muted">± {pages.error(split["elbo_stderr"])}</span>'
    return text


def _split(name: str, split: Mapping[str, Any]) -> str:
    label = {"valid": "validation"}.get(name, name)
    return f"{label}<br>{pages.rounded(split.get('images'), 0)} items"


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
    files = {p.stem: p for p in sorted(folder.glob("*.png")) if p.is_file()}
    names = [n for n in FIGURES if n in files] + [n for n in files if n not in FIGURES]
    return pages.section("Pictures", *(pages.picture(files[name].read_bytes(), name) for name in names))


def _film(run: Path) -> str:
    """The film that `latlas animate` has made of the run, where it is small enough for a page."""
    files = [run / f"animation{ending}" for ending in (".webp", ".gif")]
    found = [f for f in files if f.is_file() and f.stat().st_size <= LARGEST_FILM][:1]
    shown = "".join(pages.picture(f.read_bytes(), "animation") for f in found)
    about = "<p>From before training to its end: each frame is the model after so many steps.</p>\n"
    return pages.section("Training, played in order", about, shown) if shown else ""


def _commands(name: str, metrics: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Command lines for this run, from the folder that it lies in."""
    run = shlex.quote(name)
    test = metrics.get("splits", {}).get("test")
    lines = {
        f"latlas reconstruct {run} --out pairs.npz": "the test items, through the model and back",
        f"latlas encode {run} --out codes.npz": "their codes, for your own plots",
        f"latlas morph {run} --from 3 --to 17": "the path from one test item to another",
        f"latlas evaluate {run}": "the numbers above, once more",
        f"latlas diagnose {run}": "what is wrong, and what to change",
    }
    if test:
        lines |= {f"latlas vary {run} --row 17": "new items like one of the test items"}
    prior = test and (test.get("elbo") is not None or config.get("objective", {}).get("name") == "infovae")
    if test and prior:
        lines = {f"latlas sample {run} -n 64 --out samples.png": "new items from the prior"} | lines
    elif test:
        lines = {f"latlas sample {run} --density mixture": "new items from a density of the codes"} | lines
    if not test:
        lines = {f"latlas train --resume {run}": "go on where the last checkpoint stands"}
    body = "\n".join(f"# {why}\n{command}\n" for command, why in lines.items())
    return "<p>In the folder that holds this run:</p>\n" + pages.pre(body)


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
    return pages.fold("Environment and data", table if rows else "")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if key == "notes" or value is None:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
