"""What the page is given of one run, as page/contract.d.ts says it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from latlas import metrics, report
from latlas.diagnosis.finding import about_of
from latlas.explorer.blocks import Store, compact, halves
from latlas.explorer.fields import Fields
from latlas.explorer.maps import maps_of
from latlas.explorer.moments import Moments, moments_of
from latlas.explorer.subject import Subject
from latlas.metrics import METRICS
from latlas.runs import measured_numbers
from latlas.text import count, setting

MOST_COLUMNS = 2000  # of items without a name for each, whose columns are described
NUMBERS = ("elbo", "distortion", "rate", "mse")  # of the measured split, that come first


def run_data(subject: Subject, store: Store, name: str, earlier: float = math.inf) -> dict[str, Any]:
    """The data of one run without its networks, thumbnails and values; its blocks' names begin with `name`. What it was
    at `earlier` steps takes about so many bytes at most.
    """
    fields = [Fields(subject, one) for one in maps_of(subject)]
    moments = moments_of(subject, fields, earlier)
    model, item = subject.model, subject.model.item
    activity, collapsed = _activity(subject)
    found: dict[str, Any] = {
        "name": subject.name,
        "path": str(subject.run.path),
        "kind": item.kind if item.kind in ("image", "table") else "vector",
        "shape": subject.shape,
        "latent": model.latent,
        "classes": list(item.classes or ()) if subject.labels is not None else [],
        "facts": _facts(subject),
        "numbers": _numbers(subject.run.metrics, item.kind),
        "findings": _findings(subject.run.metrics, collapsed, fields[0]),
        "items": _items(subject, store, name),
        "sample": {
            "codes": store.put(f"{name}-sample", compact(subject.sample)),
            "typical": float(np.median(subject.distances)),
        },
        "projections": [
            _projection(subject, store, name, at, each, moments) for at, each in enumerate(fields)
        ],
        "activity": activity,
        "collapsed": collapsed,
    }
    if not subject.pictorial:
        found |= _columns(subject)
    if subject.kl is not None:
        found["rates"] = subject.kl.mean(0).astype(float).tolist()
    if subject.context.prior:
        found["prior"] = _prior(subject, store, name)
    return found


def _activity(subject: Subject) -> tuple[list[float], list[int]]:
    """Var(mean codes) / Var(draws) of each dimension, and the inactive dimensions, as the report counts them."""
    between = subject.codes.astype(float).var(0)
    within = 0.0 if subject.deviations is None else np.square(subject.deviations.astype(float)).mean(0)
    total = between + within
    activity = np.divide(between, total, out=np.zeros_like(between), where=total > 0)
    active = metrics.measure(subject.context, ["active_units"])["active_units"]
    inactive = [] if active is None else [at for at, part in enumerate(active.parts) if not part]
    return activity.tolist(), inactive


def _facts(subject: Subject) -> list[dict[str, str]]:
    run = subject.run
    values = run.config.model_dump(mode="json")
    split, _ = measured_numbers(run.metrics)
    facts = {"Data": setting(run.info["data"]["name"]), **report.facts(run.metrics, run.info, values)}
    shown, whole = len(subject.rows), len(subject.context.test)
    part = count(shown) if shown == whole else f"{count(shown)} of {count(whole)}"
    return [
        {"title": title, "value": value}
        for title, value in {**facts, f"Shown {split} items": str(part)}.items()
    ]


def _numbers(measured: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The numbers of the run: those of the measured split, then all others that it was evaluated by."""
    _, split = measured_numbers(measured)
    found = {name: {"value": split.get(name), "stderr": split.get(f"{name}_stderr")} for name in NUMBERS}
    found |= {name: dict(about) for name, about in measured.get("numbers", {}).items() if name in METRICS}
    rows = []
    for name, about in found.items():
        if about.get("value") is None:
            continue
        metric = METRICS[name]
        row = {
            "title": metric.heading,
            "value": float(f"{about['value']:.6g}"),
            "note": metric.words(metric.why, kind),
        }
        row |= {"unit": unit} if (unit := metric.words(metric.unit, kind)) else {}
        row |= {"error": float(f"{about['stderr']:.3g}")} if about.get("stderr") is not None else {}
        rows.append(row)
    return rows


def _findings(measured: Mapping[str, Any], collapsed: list[int], fields: Fields) -> list[dict[str, Any]]:
    """What the diagnosis found, with the dimensions or the part of the first map that it is about."""
    rows = []
    for finding in measured.get("findings", ()):
        row: dict[str, Any] = {
            key: str(finding.get(key, "")) for key in ("level", "title", "evidence", "cause")
        }
        row["advice"] = " ".join(
            [str(finding.get("remedy", "")), *map(str, finding.get("commands", ()))]
        ).strip()
        about, dimensions = about_of(finding)
        if about == "dimensions" and (dimensions or collapsed):
            row["dimensions"] = dimensions or collapsed
        elif about == "places":
            row["regions"] = fields.regions()
        rows.append(row)
    return rows


def _items(subject: Subject, store: Store, name: str) -> dict[str, Any]:
    items, terms = subject.items, subject.terms
    found: dict[str, Any] = {
        "n": len(items), "codes": store.put(f"{name}-codes", compact(subject.codes), first=True),
    }  # fmt: skip
    if subject.labels is not None:
        found["labels"] = store.put(f"{name}-labels", subject.labels, first=True)
    if items.names is not None:
        found["names"] = [str(each) for each in items.names]
    if not np.array_equal(items.index, np.arange(len(items))):
        found["rows"] = store.put(f"{name}-rows", np.asarray(items.index).astype(np.int32), first=True)
    numbers = {
        "elbo": terms.elbo,
        "distortion": terms.distortion,
        "rate": terms.rate,
        "squared_error": terms.squared,
    }
    for key, values in numbers.items():
        if values is not None:
            found[key] = store.put(f"{name}-{key.replace('_', '-')}", values.numpy().astype(np.float32))
    for key, each in (("deviations", subject.deviations), ("kl", subject.kl)):
        if each is not None:
            found[key] = store.put(f"{name}-{key}", halves(each))
    return found


def _columns(subject: Subject) -> dict[str, Any]:
    """The columns of tables and vectors, with the range of the training items, and their scaling."""
    item, train = subject.model.item, subject.context.dataset.train
    found: dict[str, Any] = {}
    width = subject.shape[0]
    if item.scaling.own_range:
        found["scaling"] = {"shift": list(item.scaling.shift), "scale": list(item.scaling.scale)}
    if width <= MOST_COLUMNS and len(train):
        values = np.asarray(train.evenly(10_000).x, np.float64).reshape(-1, width)
        least, most, mean = values.min(0), values.max(0), values.mean(0)
        whole = (values == np.round(values)).all(0)
        names = item.columns or [f"value {at + 1}" for at in range(width)]
        found["columns"] = [
            {
                "name": str(names[at]),
                "least": least[at].item(),
                "most": most[at].item(),
                "mean": mean[at].item(),
                "integer": bool(whole[at]),
            }
            for at in range(width)
        ]
    return found


def _prior(subject: Subject, store: Store, name: str) -> dict[str, Any]:
    prior = subject.model.prior
    if prior.standard_normal:
        return {"name": "standard normal"}
    draws = subject.context.prior_draws(2000).float().numpy()
    return {"name": type(prior).__name__, "draws": store.put(f"{name}-prior-draws", compact(draws))}


def _projection(
    subject: Subject, store: Store, run: str, at: int, fields: Fields, moments: Moments | None
) -> dict[str, Any]:
    name, one, first = f"{run}-map{at}", fields.map, at == 0
    found: dict[str, Any] = {"kind": one.kind, **one.about}
    if one.anchors is not None:
        codes, places = one.anchors
        found["anchors"] = {
            "codes": store.put(f"{name}-anchor-codes", compact(codes), first),
            "places": store.put(f"{name}-anchors", places, first),
        }
    if one.kind == "neighbours" or subject.model.latent == 1:
        found["places"] = store.put(f"{name}-places", one.places.astype(np.float32), first)
    found |= fields.to_dict(store, name)
    if moments is not None:
        found["snapshots"] = moments.to_dict(store, name, at, fields, len(subject.rows))
    return found
