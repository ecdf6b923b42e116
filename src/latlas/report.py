"""The report of a run: one HTML page with its numbers, pictures and settings, which opens offline."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from latlas import config as configuration
from latlas import continuing, html, reading
from latlas.brought import OF_MODEL, given_parts
from latlas.data.dataset import SPLITS
from latlas.data.options import MEMORY
from latlas.errors import InputError, LatlasError
from latlas.files import write_atomic
from latlas.gallery import FIGURES
from latlas.html import Embedded
from latlas.metrics import METRICS, OF_SPLITS, display
from latlas.runs import Run, measured_numbers
from latlas.text import Cell, Row, Table, count, counted, duration, error, rounded, setting

LARGEST_FILM = 3_000_000  # bytes
MOST_PICTURES = 100  # in a report
ATLAS = "atlas.html"  # the explorer of a run, in its folder


def write_report(path: Path) -> Path:
    """Writes `report.html` into a run folder from the files in it; parts without a file are left out.

    Raises InputError if there is no such folder, LatlasError if the page cannot be written.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such run folder")
    write_atomic(path / "report.html", page(path))
    return path / "report.html"


def page(path: Path) -> str:
    """The report of a run folder as HTML, without references to other files."""
    run = Run(path)
    info = run.info if (path / "run.json").exists() else {}
    toml = reading.text(path, "config.toml") if (path / "config.toml").exists() else ""
    metrics, config = run.metrics, _kept(run)
    name, (pictures, left_out) = path.resolve().name, _pictures(path)
    return html.render(
        "report.html.j2",
        title=name,
        line=_line(metrics, info, config),
        headline=display.headline(metrics, run.log()),
        findings=metrics.get("findings"),
        facts=facts(metrics, info, config),
        results=results_table(metrics, str(info.get("data", {}).get("kind", "image"))),
        normalised=metrics.get("normalised") is not False,
        pictures=pictures,
        groups=display.tables(metrics.get("numbers", {})),
        film=_film(path),
        atlas=ATLAS if (path / ATLAS).is_file() else "",
        commands=_commands(name, metrics, info, config),
        notes=[*(info.get("notes") or []), *continuing.history(info), *display.skipped(metrics), *left_out],
        configuration=toml,
        environment=Table((), [Row((Cell(k), Cell(v, style="code"))) for k, v in _flat(info)]),
    )


PICTURES = ("reconstructions", "manifold", "samples", "latent")  # of which a notebook shows two


def fragment(run: Run) -> str:
    """What a notebook shows of a run: its result in a sentence, what to look at, its numbers, and two pictures."""
    info, metrics, config = run.info, run.metrics, _kept(run)
    results = results_table(metrics, info["data"]["kind"])
    found = {name: _bytes(run.path, f"figures/{name}.png") for name in PICTURES}
    pictures = [html.thumbnail(content, name) for name, content in found.items() if content][:2]
    where = "report.html" if (run.path / "report.html").is_file() else "no report yet"
    return html.fragment(
        title=run.name,
        line=_line(metrics, info, config),
        headline=display.headline(metrics, run.log()),
        findings=metrics.get("findings"),
        short=True,
        tables=[]
        if results is None
        else [("", replace(results, rows=[replace(r, why="") for r in results.rows]))],
        pictures=[picture for picture in pictures if picture],
        notes=[f"{run.path}: {where}"],
    )


def one_line(run: Run) -> str:
    """A run on a line: its folder, data, recipe and day, and its result; or what is wrong with the folder."""
    try:
        line = _line(run.metrics, run.info, _kept(run))
        return f"<Run {run.path}: {line}. {display.headline(run.metrics, run.log())}>"
    except LatlasError as error:
        return f"<Run {run.path}: {error}>"
    except OSError as error:
        return f"<Run {run.path}: {error.strerror}>"


def _kept(run: Run) -> dict[str, Any]:
    """The values of config.toml; empty without one.

    Raises InputError if it is no configuration.
    """
    if not (run.path / "config.toml").exists():
        return {}
    values = reading.toml(run.path, "config.toml")
    configuration.parse(values, str(run.path / "config.toml"))
    return values


def _line(metrics: Mapping[str, Any], info: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The data, the recipe and the day."""
    data = metrics.get("data") or info.get("data", {}).get("name") or config.get("data", {}).get("source")
    recipe = metrics.get("recipe") or config.get("recipe", {}).get("name")
    day = str(info.get("created", ""))[:10]
    return " · ".join(str(p) for p in (data, recipe and f"recipe {recipe}", day) if p)


def facts(metrics: Mapping[str, Any], info: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, str]:
    """Facts on the run by name: data, network, size and time."""
    shape, table = info.get("data", {}).get("shape"), info.get("data", {}).get("kind") == "table"
    speed = metrics.get("images_per_second")
    facts = {
        "Columns" if table else "Item size": " × ".join(str(n) for n in shape) if shape else None,
        "Training items": count(info.get("data", {}).get("train")),
        "Network": metrics.get("network") or config.get("network", {}).get("name"),
        "Likelihood": metrics.get("likelihood") or config.get("likelihood", {}).get("name"),
        **_own_parts(config.get("own", {})),
        "Latent dimensions": metrics.get("latent") or config.get("model", {}).get("latent"),
        "Parameters": count(metrics.get("parameters")),
        "Epochs": count(metrics.get("epochs")),
        "Trained further": ", ".join(f"from epoch {part['epoch']:g}" for part in info.get("parts", [])),
        "Steps": count(metrics.get("steps")),
        "Time": duration(metrics.get("seconds")),
        "Training speed": f"{speed:,.0f} items/s" if speed else None,
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _own_parts(own: Mapping[str, Any]) -> dict[str, str]:
    """The parts of one's own that are no fact of their own elsewhere."""
    return {f"Own {name}": str(own.get(name, "")) for name in ("posterior", "prior", "objective", "augment")}


def results_table(metrics: Mapping[str, Any], kind: str) -> Table | None:
    """The terms of the ELBO and the errors on each split, with explanations; None without splits."""
    splits = {name: metrics.get("splits", {}).get(name) for name in ("test", "valid", "train")}
    splits = {name: split for name, split in splits.items() if split}
    if not splits:
        return None
    heads = [
        Cell(SPLITS[name], f"{counted(split.get('images') or 0, 'item')}") for name, split in splits.items()
    ]
    numbers, measured, rows = metrics.get("numbers", {}), measured_numbers(metrics)[0], []
    for key in OF_SPLITS:
        if any(split.get(key) is not None for split in splits.values()):
            metric = METRICS[key]
            cells = (_value(split, key, metric.decimals) for split in splits.values())
            beside = display.beside(numbers.get(key, {}))
            why = (
                f"{metric.words(metric.why, kind)}{f' On the {measured} items: {beside}.' if beside else ''}"
            )
            rows.append(Row((Cell(metric.heading, metric.words(metric.unit, kind)), *cells), why))
    return Table((Cell("Term"), *heads), rows, numeric=range(1, len(splits) + 1))


def _value(split: Mapping[str, Any], key: str, decimals: int) -> Cell:
    stderr = split.get("elbo_stderr") if key == "elbo" else None
    return Cell(rounded(split.get(key), decimals), "" if stderr is None else f"± {error(stderr)}")


def _pictures(folder: Path) -> tuple[list[Embedded], list[str]]:
    """The pictures of a run in reading order, and a note on each that cannot be read."""
    files = {p.stem: p.name for p in sorted((folder / "figures").glob("*.png"))}
    found, notes = [], []
    names = [*(n for n in FIGURES if n in files), *(n for n in files if n not in FIGURES)]
    if len(names) > MOST_PICTURES:
        notes.append(f"left out: all pictures but {MOST_PICTURES} of {len(names):,}")
    for name in names[:MOST_PICTURES]:
        try:
            content = reading.content(folder, f"figures/{files[name]}")
            reading.picture(content, f"figures/{files[name]}").close()
            found.append(html.picture(content, name))
        except InputError as error:
            notes.append(f"left out: {error}")
    return [picture for picture in found if picture], notes


def _bytes(folder: Path, name: str) -> bytes:
    """The bytes of a picture; none where it is missing or is no file of this folder."""
    try:
        return reading.content(folder, name) if (folder / name).exists() else b""
    except InputError:
        return b""


def _film(run: Path) -> Embedded | None:
    """The film of the run by `latlas animate`, if it is small enough for a page."""
    for name in ("animation.webp", "animation.gif"):
        content = _bytes(run, name)
        if content and len(content) <= LARGEST_FILM:
            return html.picture(content, "animation")
    return None


def _commands(
    name: str, metrics: Mapping[str, Any], info: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, str]:
    """Command lines for this run, each with its purpose; they run in the folder that holds the run."""
    run = shlex.quote(name)
    split, test = measured_numbers(metrics)
    if not test:
        if config.get("data", {}).get("source") == MEMORY:
            return {
                f"latlas.resume({name!r}, data=x)": "continue from the last checkpoint, in Python with the data"
            }
        return {f"latlas train --resume {run}": "continue from the last checkpoint"}
    if given := given_parts(config.get("own", {}), OF_MODEL):
        return {
            f"run = latlas.open_run({name!r}, {given})": "in Python, with your own parts; every call takes it",
            "latlas.evaluate(run)": "the numbers above, measured again",
        }
    kind = info.get("data", {}).get("kind", "image")
    samples = {"image": "samples.png", "table": "samples.csv"}.get(kind, "samples.npz")
    if test.get("elbo") is not None or config.get("objective", {}).get("name") == "infovae":
        sample = {f"latlas sample {run} -n 64 --out {samples}": "new items from the prior"}
    else:
        sample = {f"latlas sample {run} --density mixture": "new items from a density of the codes"}
    if config.get("data", {}).get("source") == MEMORY:
        return sample | _calls(name, split)
    last = min(17, int(test.get("images", 18)) - 1)
    first = min(3, last)
    return sample | {
        f"latlas reconstruct {run} --out pairs.npz": f"the {split} items and their reconstructions",
        f"latlas encode {run} --split all --out codes.csv": "the codes of all items, as a table",
        f"latlas score {run} --out scores.csv": f"which of the {split} items are unusual",
        f"latlas neighbours {run} {last}": f"the training items nearest to one of the {split} items",
        f"latlas morph {run} --from {first} --to {last}": f"the path from one {split} item to another",
        f"latlas vary {run} --row {last}": f"new items like one of the {split} items",
        f"latlas evaluate {run}": "the numbers above, measured again",
        f"latlas diagnose {run}": "what is wrong, and what to change",
    }


def _calls(name: str, split: str) -> dict[str, str]:
    """Calls for a run that was trained on data in memory, `x`, each with its purpose."""
    return {
        f"latlas.reconstruct({name!r}, data=x, out='pairs.npz')": f"the {split} items and their reconstructions",
        f"latlas.encode({name!r}, split='all', data=x, out='codes.csv')": "the codes of all items, as a table",
        f"latlas.score({name!r}, data=x, out='scores.csv')": f"which of the {split} items are unusual",
        f"latlas.evaluate({name!r}, data=x)": "the numbers above, measured again, in Python with the data",
        f"latlas.diagnose({name!r}, data=x)": "what is wrong, and what to change",
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """All values of run.json by dotted key."""
    for key, value in values.items():
        if key in ("notes", "parts") or value is None:  # parts are told among the notes
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, setting(value)
