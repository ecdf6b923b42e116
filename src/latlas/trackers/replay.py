"""A run's log, pictures and numbers given to a tracker afterwards, as training gives them while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latlas import reading
from latlas.config import settings_of
from latlas.gallery import FIGURES
from latlas.metrics import OF_SPLITS
from latlas.runs import Run, values_of
from latlas.trackers.tracker import Tracker


def give(run: Run, tracker: Tracker) -> dict[str, int]:
    """Gives a finished or unfinished run to a tracker, and says how many steps, epochs, pictures and numbers it had."""
    tracker.start(settings_of(run.config, ()), about(run, 0))
    counts, last = {"steps": 0, "epochs": 0, "pictures": 0, "numbers": 0}, 0
    for row in run.log():
        if row["kind"] in ("step", "epoch"):
            last = row["step"]
            method = tracker.step if row["kind"] == "step" else tracker.epoch
            method(last, values(row))
            counts[f"{row['kind']}s"] += 1
    counts["pictures"] = pictures(run, tracker, last)
    found = numbers(run.metrics) if run.finished else {}
    tracker.end(found)
    return counts | {"numbers": len(found)}


def about(run: Run, step: int) -> dict[str, Any]:
    """run.json, the run's folder and name, and the step from which training goes on."""
    return run.info | {"run": str(run.path), "name": run.path.resolve().name, "step": step}


def values(row: Mapping[str, Any]) -> dict[str, float]:
    """The values of a row of the log, as a tracker gets them."""
    found = {name: float(value) for name, value in values_of(row).items() if name != "best"}
    return found | ({"epoch": float(row["epoch"])} if row["kind"] == "epoch" else {})


def pictures(run: Run, tracker: Tracker, step: int) -> int:
    """Gives the pictures of the run's folder to a tracker, unless its `figures` is false, and counts them."""
    if not getattr(tracker, "figures", True):
        return 0
    names = [name for name in FIGURES if (run.path / "figures" / f"{name}.png").is_file()]
    for name in names:
        tracker.picture(step, name, reading.pixels(run.path, f"figures/{name}.png"))
    return len(names)


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of metrics.json by split and name, with their standard errors as NAME_stderr."""
    found: dict[str, Any] = {}
    for split, own in metrics.get("splits", {}).items():
        for name in OF_SPLITS:
            found |= {f"{split}_{key}": own.get(key) for key in (name, f"{name}_stderr")}
    split = metrics.get("measured", "test")
    for name, about in metrics.get("numbers", {}).items():
        more = {f"{split}_{name}": about.get("value"), f"{split}_{name}_stderr": about.get("stderr")}
        found |= {key: value for key, value in more.items() if found.get(key) is None}
    return {key: float(value) for key, value in found.items() if value is not None}
