"""The explorer as one HTML file, which opens offline: page, data, networks and their runtime inside."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latlas import html
from latlas._version import __version__
from latlas.data.ranges import blocks
from latlas.explorer.blocks import Block, Inlined, packed
from latlas.explorer.run_data import run_data
from latlas.explorer.subject import Subject
from latlas.explorer.thumbnails import Pictures, atlas, pictures_in_one, side_for
from latlas.exports.facts import facts
from latlas.exports.graphs import parts_of, quietly, reason
from latlas.exports.halves import halved
from latlas.exports.onnx_files import onnx_file
from latlas.metrics import Context
from latlas.progress import Observer
from latlas.runs import Run
from latlas.snapshots import WEIGHTS
from latlas.text import size

BUNDLE = Path(__file__).parent / "bundle"
START = "latlasExplorer.boot()"
LARGEST = 12_000_000  # bytes of a file
SECOND = 6_000_000  # bytes that a second run may add: the runtime is there once
MOST_ITEMS = 10_000
SIDES = (64, 48, 32, 28, 20)  # of thumbnails, that are tried from the largest on
LEAST_ITEMS = 500
MAPS = 400_000  # bytes that maps and what lies beneath them take
EARLIER = 1 / 3  # share of the room of a run's data that snapshots with weights may take
MOST_VALUES = 2**24  # of all items, above which there is never room for them
RUNTIME = "latlas-runtime"
Networks = dict[str, bytes]


@dataclass(frozen=True)
class Page:
    """A page, and what was left out of it or made smaller, a line each; `differences` are those of the networks."""

    title: str
    text: str
    notes: tuple[str, ...]
    differences: dict[str, float]


def largest(runs: int) -> int:
    """The bytes that a file of so many runs may have."""
    return LARGEST + SECOND * (runs - 1)


def bundled(name: str) -> str:
    return (BUNDLE / name).read_text(encoding="utf-8")


def one_file(opened: Sequence[tuple[Run, Context]], observer: Observer) -> Page:
    """The page of one run in at most 12 MB, or of two beside each other in at most 18 MB, where that can be.

    Raises LatlasError for a model that has diverged.
    """
    notes: list[str] = []
    made = [_networks(run, context, notes) for run, context in opened]
    networks = [each for each, _ in made]
    wasm = base64.b64encode((BUNDLE / "runtime.wasm.gz").read_bytes()).decode()
    room = _room(networks, wasm, len(opened), notes)
    with_networks = any(networks)
    store, subjects, runs = Inlined(), [], []
    for at, (run, context) in enumerate(opened):
        subject, thumbnails = _chosen(run, context, room[at], notes)
        data = run_data(subject, store, f"run{at}", _earlier(run, room[at]))
        runs.append(_filled(data, subject, thumbnails, networks[at], store, f"run{at}"))
        subjects.append(subject)
    data = shared(runs, subjects)
    if with_networks:
        store.elements[RUNTIME] = wasm
        data["runtime"] = {"type": "bytes", "encoding": "gzip", "element": RUNTIME}
    most = largest(len(runs))
    left = most - len(_rendered(data, store.elements, with_networks)) - 1000
    for at, subject in enumerate(subjects):
        left -= _add_values(subject, runs[at], store, f"run{at}", left)
    text = _rendered(data, store.elements, with_networks)
    if len(text) > most:
        notes.append(
            f"the file has {size(len(text))}, more than {size(most)}; latlas explore shows the same live"
        )
    return Page(
        data["title"], text, tuple(notes), {key: value for _, found in made for key, value in found.items()}
    )


def shared(runs: list[dict[str, Any]], subjects: Sequence[Subject]) -> dict[str, Any]:
    """The page's data around those of its runs."""
    data: dict[str, Any] = {
        "format": 1, "title": " and ".join(run["name"] for run in runs), "version": __version__, "runs": runs,
    }  # fmt: skip
    if len(runs) > 1:
        data["same_items"] = _same_items(*subjects)
    return data


def _same_items(one: Subject, other: Subject) -> bool:
    """Whether item i of both runs is the same, whatever they were trained and validated on."""
    if not np.array_equal(one.rows, other.rows):
        return False
    first, second = one.items.x, other.items.x
    return first.shape == second.shape and all(map(np.array_equal, blocks(first), blocks(second)))


def as_json(data: dict[str, Any]) -> str:
    """JSON that may stand inside a page."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _rendered(data: dict[str, Any], elements: dict[str, str], with_networks: bool) -> str:
    style, scripts = bundled("explorer.css"), [bundled("explorer.js")]
    if with_networks:
        scripts.append(bundled("runtime.js"))
    policy = (
        f"default-src 'none'; script-src {' '.join(map(hash_of, [*scripts, START]))} 'wasm-unsafe-eval'; "
        f"style-src {hash_of(style)}; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return html.render(
        "explorer.html.j2", title=data["title"], policy=policy, style=html.verbatim(style), address="",
        data=html.verbatim(as_json(data)), scripts=[*map(html.verbatim, scripts)], elements=elements,
        start=html.verbatim(START), notice=html.verbatim(bundled("LICENSES.txt") if with_networks else ""),
    )  # fmt: skip


def hash_of(text: str) -> str:
    """The hash by which a page's policy allows a script or a style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _networks(run: Run, context: Context, notes: list[str]) -> tuple[Networks, dict[str, float]]:
    """Encoder and decoder as ONNX, with weights of 16 bits where they do as well, and their differences from the model;
    a line for each that cannot be had.
    """
    name, model = run.path.resolve().name, context.model
    missing = [each for each in ("onnx", "onnxscript") if importlib.util.find_spec(each) is None]
    if missing:
        notes.append(
            f'{name}: the page does not decode, as the package {missing[0]} is missing: pip install "latlas[onnx]"'
        )
        return {}, {}
    found: Networks = {}
    differences: dict[str, float] = {}
    parts = parts_of(model)
    for done, part in enumerate(parts):
        context.observer.progress("exporting networks", done, len(parts), part.name)
        try:
            with quietly():
                content, exact = onnx_file(part, facts(model, run))
                found[part.name], difference = halved(content, part)
            differences |= exact if not difference else {f"{part.name}, 16 bits": difference}
        except Exception as error:  # exporters raise anything
            notes.append(f"{name}: no {part.name} in the page: {reason(error)}")
    context.observer.progress("exporting networks", len(parts), len(parts))
    return found, differences


def _room(networks: list[Networks], wasm: str, runs: int, notes: list[str]) -> list[float]:
    """The bytes that are left for each run's data; takes networks away that are too large for a file."""
    fixed = sum(len(bundled(name)) for name in ("explorer.js", "explorer.css", "LICENSES.txt"))
    left = (largest(runs) - fixed) / runs
    runtime = (len(wasm) + len(bundled("runtime.js"))) / runs
    for at, own in enumerate(networks):
        weight = sum(len(packed(content)) for content in own.values())
        if own and left - runtime - weight < LARGEST / 20:
            notes.append(
                f"the networks of run {at + 1} ({size(weight)}) are too large for a file of {size(largest(runs))}: it"
                " shows the map and does not decode; latlas explore does"
            )
            networks[at] = {}
    used = [sum(len(packed(content)) for content in own.values()) for own in networks]
    return [left - (runtime if any(networks) else 0.0) - weight for weight in used]


def _chosen(run: Run, context: Context, room: float, notes: list[str]) -> tuple[Subject, Pictures | None]:
    """The most items with the largest thumbnails for which there is room."""
    name, latent, whole = run.path.resolve().name, context.model.latent, len(context.test)
    n = min(whole, MOST_ITEMS)
    while True:
        rows = context.test.even_rows(n)
        subject = Subject(run, context, rows)
        left = (
            room - MAPS - _earlier(run, room) - 12.0 * n * (latent + 3)
        )  # codes, deviations, KL and numbers
        thumbnails = _thumbnails(subject, left)
        if ((thumbnails or not subject.pictorial) and left > 0) or n <= LEAST_ITEMS:
            break
        n = max(LEAST_ITEMS, n // 2)
    if n < whole:
        notes.append(
            f"{name}: {n:,} of {whole:,} items are in the file, evenly spaced; latlas explore shows more"
        )
    return subject, thumbnails


def _earlier(run: Run, room: float) -> float:
    """The bytes that there are for what snapshots with weights show."""
    return max(0.0, EARLIER * room) if run.snapshot_files(WEIGHTS) else 0.0


def _thumbnails(subject: Subject, left: float) -> Pictures | None:
    """The largest thumbnails that there is room for; None where there is none."""
    if not subject.pictorial:
        return None
    n = len(subject.rows)
    sides = sorted({side_for(subject.shape[:2], n, most) for most in SIDES}, reverse=True)
    for side in sides:
        pictures = pictures_in_one(subject.parts(), n, side)
        if 4 * len(pictures[0]) / 3 < 0.8 * left:
            return pictures
    return None


def _add_values(subject: Subject, data: dict[str, Any], store: Inlined, name: str, left: float) -> int:
    """Adds the items' values where there is room for them: bytes of images, else float32. Gives the bytes they take."""
    if len(subject.rows) * np.prod(subject.shape) > MOST_VALUES:
        return 0
    values = subject.values(subject.items)
    if subject.pictorial:
        values = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    own = Inlined()
    block = own.put(f"{name}-values", values)
    taken = sum(map(len, own.elements.values()))
    if taken > left:
        return 0
    data["items"]["values"] = block
    store.elements |= own.elements
    return taken


def _filled(
    data: dict[str, Any],
    subject: Subject,
    thumbnails: Pictures | None,
    networks: Networks,
    store: Inlined,
    name: str,
) -> dict[str, Any]:
    if thumbnails:
        data["items"]["thumbnails"] = atlas(store, f"{name}-thumbnails", thumbnails)
    for part, content in networks.items():
        data[part] = {
            "kind": "onnx",
            "model": _network(store, f"{name}-{part}", content),
            **_units(subject, part),
        }
    return data


def _network(store: Inlined, name: str, content: bytes) -> Block:
    """The model compressed, as weights take most of a file."""
    block = store.put(name, np.frombuffer(content, np.uint8))
    return {"type": "bytes", **{key: value for key, value in block.items() if key not in ("type", "shape")}}


def _units(subject: Subject, part: str) -> dict[str, Any]:
    """What a network takes, and its items' units, which are those of the data: those of images in the page are not."""
    item = subject.model.item
    scaling = item.scaling
    about: dict[str, Any] = {"type": "float64"} if scaling.own_range and part == "encoder" else {}
    if not subject.pictorial and len(item.outside) > 1 and part == "encoder":
        about["shape"] = list(item.outside)  # of signals and volumes, which the page has as rows
    if subject.pictorial and scaling.kind != "none":
        about["units"] = {"shift": list(scaling.shift), "scale": list(scaling.scale)}
    return about
