"""The numbers and the log of a run as DataFrames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from latlas.build import unit_of
from latlas.errors import unknown
from latlas.metrics import METRICS, OF_SPLITS, OLD_NAMES, display
from latlas.runs import Run, values_of
from latlas.text import printable

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = (
    "name",
    "split",
    "value",
    "stderr",
    "unit",
    "better",
    "group",
    "title",
    "items",
    "draws",
    "beside",
    "warning",
)
KINDS = ("step", "epoch")
SPLITS_SHOWN = ("test", "valid", "train")  # in this order


def numbers(run: Run) -> pd.DataFrame:
    """Every number of a run, a row each: `name`, `split`, `value`, `stderr` (NaN where unknown), `unit`, which end is
    `better` (higher, lower or ""), `group`, `title`, the numbers of `items` and `draws`, what stands `beside` it, and a
    `warning`.

    Without a row before the run is evaluated. Raises InputError if metrics.json is damaged.
    """
    metrics, kind = run.metrics, run.info["data"]["kind"]
    main, splits = metrics.get("measured", "test"), metrics.get("splits", {})
    measured = {OLD_NAMES.get(name, name): about for name, about in metrics.get("numbers", {}).items()}
    rows = []
    for split in (name for name in SPLITS_SHOWN if splits.get(name)):
        own = measured if split == main else {}
        found = (_of_split(name, splits[split], own.get(name, {}), kind) for name in OF_SPLITS)
        rows += [row | {"split": split} for row in found if row is not None]
        rows += [_row(name, about) | {"split": split} for name, about in own.items() if name not in OF_SPLITS]
    return _frame(rows, NUMBERS)


def of_numbers(measured: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """What `latlas.evaluate` gives as a DataFrame, a row for each number, as `numbers` has them, without `split`."""
    rows = [_row(name, about) for name, about in measured.items()]
    return _frame(rows, [name for name in NUMBERS if name != "split"])


def _of_split(
    name: str, values: Mapping[str, Any], about: Mapping[str, Any], kind: str
) -> dict[str, Any] | None:
    """The row of a number that every split has; None where it has no meaning."""
    if values.get(name) is None:
        return None
    metric = METRICS[name]
    known = {
        "unit": unit_of(kind) if metric.group == "bound" else metric.words(metric.unit, kind),
        "better": metric.better,
        "group": metric.group,
        "title": metric.title,
    }
    own = {"value": values[name], "stderr": values.get(f"{name}_stderr"), "items": values.get("images")}
    return _row(name, {**known, **about, **{key: value for key, value in own.items() if value is not None}})


def _row(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: about.get(key) for key in NUMBERS if key not in ("name", "split", "beside")}
    kept |= {key: about.get(key) or "" for key in ("unit", "better", "group", "title", "warning")}
    return {"name": name, **kept, "beside": display.beside(about)}


def history(run: Run, kind: str = "") -> pd.DataFrame:
    """The log of a run, a row for each logged step and each epoch, or for those of one `kind` alone: `kind`, `step`,
    `epoch`, the terms of training as `train_loss`, `train_elbo` and so on, those of validation as `valid_elbo` and so
    on, `lr`, `beta`, `seconds`, `images_per_second`, and whether an epoch was the `best` until then.

    A step's terms are means over the items since the row of a step before, an epoch's over the epoch; what a row lacks
    is NaN. Raises InputError for another kind.
    """
    if kind and kind not in KINDS:
        raise unknown("kind of rows", kind, KINDS)
    rows = [row for row in run.log() if row["kind"] in ([kind] if kind else KINDS)]
    flat = [{key.replace("/", "_"): value for key, value in values_of(row).items()} for row in rows]
    places = [{key: row.get(key) for key in ("kind", "step", "epoch")} for row in rows]
    frame = _frame([place | values for place, values in zip(places, flat, strict=True)], list(_names(flat)))
    for name in frame.columns.difference(["kind", "step", "best"]):
        frame[name] = frame[name].astype("float64")
    frame["step"] = frame["step"].astype("int64")
    if "best" in frame:
        frame["best"] = frame["best"].astype("boolean")
    return frame


def _names(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The columns of a log: where a row stands, then terms of training, of validation, and the rest."""
    found = dict.fromkeys(name for row in rows for name in row)
    yield from ("kind", "step", "epoch")
    for group in ("train_", "valid_"):
        yield from (name for name in found if name.startswith(group))
    yield from (name for name in found if not name.startswith(("train_", "valid_")))


def _frame(rows: list[dict[str, Any]], columns: Any) -> pd.DataFrame:
    import pandas as pd

    shown = [
        {key: printable(value) if isinstance(value, str) else value for key, value in row.items()}
        for row in rows
    ]
    frame = pd.DataFrame(shown, columns=list(columns))
    for name in ("value", "stderr", "items", "draws"):
        if name in frame:
            frame[name] = frame[name].astype("float64")
    return frame
