"""The page of the most unusual items: each beside its reconstruction, with its numbers."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from latlas import figures, html, inference
from latlas.data import Split
from latlas.items.records import Columns, lines
from latlas.items.scores import most_unusual_first
from latlas.models import Model
from latlas.text import Cell, Row, Table, counted, rounded

MOST_SHOWN = 500
FARTHEST = 5  # columns of a table's row that are shown
SIDE = 400  # least pixels of the longer side of an embedded image, so that its pixels stay sharp
TITLES = {
    "elbo": ("ELBO", 2), "log_px": ("log p(x)", 2), "distortion": ("distortion", 2), "rate": ("rate", 2),
    "squared_error": ("squared error", 5), "code_distance": ("distance of its code", 2),
}  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """An item for the template: its name, what else is known of it, its pictures and its tables."""

    title: str
    about: str
    pictures: list[html.Embedded]
    numbers: Table
    columns: Table | None


def most_unusual(columns: Columns, by: str, top: int) -> np.ndarray:
    """The lines of the `top` most unusual items, in order."""
    return most_unusual_first(columns, by)[:top]


def page(model: Model, parts: Mapping[str, Split], columns: Columns, by: str, top: int, title: str) -> str:
    """One HTML page with the `top` most unusual of the scored `parts`, without a reference to anything outside."""
    shown = []
    for line in most_unusual(columns, by, top).tolist():
        (known,) = lines(columns, np.array([line]))
        item = _item(parts, line)
        images = _images(model, item) if model.item.kind == "image" else {}
        shown.append(
            Shown(
                name_of(columns, line),
                ", ".join(str(known[key]) for key in ("label", "split") if known.get(key) is not None),
                [_picture(image, f"{name}-{line}", name) for name, image in images.items()],
                _numbers(columns, line),
                None if images else _farthest(model, item),
            )
        )
    return html.render(
        "unusual.html.j2", title=title, by=TITLES[by][0], shown=shown, items=len(columns["row"]),
        line=f"The {len(shown):,} most unusual of {counted(len(columns['row']), 'item')}, by {TITLES[by][0]}",
    )  # fmt: skip


def name_of(columns: Columns, line: int) -> str:
    """The name of an item, or its row."""
    return str(columns["name"][line]) if "name" in columns else f"row {columns['row'][line]}"


def _item(parts: Mapping[str, Split], line: int) -> Split:
    for items in parts.values():
        if line < len(items):
            return items.take(np.array([line]))
        line -= len(items)
    raise IndexError(line)


def _images(model: Model, item: Split) -> dict[str, np.ndarray]:
    """An image and its reconstruction, inside [0, 1]."""
    pair = inference.reconstruct(model, item)
    return {key: inference.shown(model, pair[key])[0] for key in ("original", "reconstruction")}


def _picture(image: np.ndarray, name: str, title: str) -> html.Embedded:
    pixels = figures.rgb(image, 0)[0]
    zoom = max(1, SIDE // max(pixels.shape[:2]))
    content = io.BytesIO()
    Image.fromarray(pixels.repeat(zoom, 0).repeat(zoom, 1)).save(content, "PNG", optimize=True)
    shown = html.picture(content.getvalue(), name, title)
    assert shown is not None  # it was written just now
    return shown


def _numbers(columns: Columns, line: int) -> Table:
    """The numbers of an item, each with the share of training items that are less unusual."""
    rows = []
    for name, (title, decimals) in TITLES.items():
        if name in columns:
            rank = columns.get(f"{name}_rank")
            share = "" if rank is None else f"{100 * rank[line]:.1f} %"
            value = rounded(float(columns[name][line]), decimals)
            rows.append(Row([Cell(title), Cell(value), Cell(share)]))
    return Table([Cell(""), Cell("value"), Cell("rank among", "training items")], rows, numeric=(1, 2))


def _farthest(model: Model, item: Split) -> Table:
    """The columns that are farthest from their reconstruction, in standard deviations of the training split."""
    pair, scaling = inference.reconstruct(model, item), model.item.scaling
    original, reconstruction = pair["original"][0], pair["reconstruction"][0]
    scale = np.broadcast_to(np.asarray(scaling.scale if scaling.kind == "standard" else 1.0), original.shape)
    away = (original.astype(float) - reconstruction) / scale
    names = model.item.columns or [f"column {i}" for i in range(len(original))]
    rows = [
        Row(
            [
                Cell(str(names[i])),
                *(
                    Cell(f"{value:.4g}".replace("-", "−"))
                    for value in (original[i], reconstruction[i], away[i])
                ),
            ]
        )
        for i in np.argsort(-np.abs(away), kind="stable")[:FARTHEST].tolist()
    ]
    head = [Cell("column"), Cell("value"), Cell("reconstruction"), Cell("difference,", "std. deviations")]
    return Table(head, rows, numeric=(1, 2, 3))
