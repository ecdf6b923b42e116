"""All that is measured of a trained model, as plain values: what metrics.json holds under `evaluation`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from latlas.build import items
from latlas.measures import MEASURES, Reading, Scene, measure


def assess(scene: Scene, names: Sequence[str]) -> dict[str, Any]:
    """The numbers called `names` of a scene's model, on its test items: `numbers` by name, each with `title`, `group`,
    `unit`, what it `came from`, and the `effort` and `seconds` that they took together.

    Numbers without a meaning are left out. Raises as `measures.measure`.
    """
    begun = time.perf_counter()
    done = lambda n, total: scene.observer.progress("measuring", n, total)  # noqa: E731
    readings = measure(scene, names, done)
    return {
        "numbers": {
            name: described(name, reading, scene.dataset.kind)
            for name, reading in readings.items()
            if reading
        },
        "effort": asdict(scene.effort),
        "seed": scene.seed,
        "seconds": round(time.perf_counter() - begun, 3),
    }


def described(name: str, reading: Reading, kind: str) -> dict[str, Any]:
    """A reading as JSON values, with what it is called and counted in."""
    about = MEASURES[name]
    one = items(kind)[:-1]
    return {
        "title": about.title,
        "group": about.group,
        "unit": about.unit.replace("{item}", one),
        "better": about.better,
        "decimals": about.decimals,
        "why": about.why.replace("{item}", one),
        **reading.to_dict(),
    }
