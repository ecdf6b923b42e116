"""The pictures of one run: what a model makes of its test items, drawn into the run's `figures` folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from latlas import figures
from latlas.data.dataset import Dataset
from latlas.gallery import space, things
from latlas.gallery.scene import Codec, Scene, Settings, scene_of
from latlas.gallery.space import plane
from latlas.metrics import Context
from latlas.runs import Run

__all__ = ["Codec", "Scene", "Settings", "draw", "picture", "plane", "scene_of"]


MAKERS: dict[str, Callable[[Scene], Figure | None]] = {
    "reconstructions": things.reconstructions,
    "restored": things.restored,
    "samples": things.samples,
    "pseudo-inputs": things.pseudo_inputs,
    "latent": space.latent,
    "manifold": space.manifold,
    "traversals": space.traversals,
    "morph": space.morph,
}


def draw(
    run: Path,
    model: Codec,
    data: Dataset,
    log: Iterable[Mapping[str, Any]] = (),
    settings: Settings = Settings(),
    context: Context | None = None,
) -> list[Path]:
    """Draws the pictures that the run has the parts for into `run/figures`; the paths written.

    Uses the test split, the samples in `run/snapshots` and the rows of log.jsonl. Each file is
    written whole or not at all.
    """
    scene = scene_of(model, data, settings, context)
    pictures = {
        **{name: make(scene) for name, make in MAKERS.items()},
        **things.fitted(scene),
        "snapshots": things.snapshots(scene, Run(run)),
        "losses": _losses(list(log), settings.unit),
    }
    return [
        figures.save(figure, run / "figures" / f"{name}.png", scene.reading(name))
        for name, figure in pictures.items()
        if figure is not None
    ]


def picture(scene: Scene, name: str) -> Figure | None:
    """One of MAKERS' pictures; None without the parts for it."""
    return MAKERS[name](scene)


def _losses(log: list[Mapping[str, Any]], unit: str) -> Figure | None:
    if not any(row.get("kind") in ("step", "epoch") for row in log):
        return None
    return figures.losses(log, unit)
