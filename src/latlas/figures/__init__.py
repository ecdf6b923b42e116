"""Pictures, as pure functions from arrays to matplotlib figures: no model, no torch, no global state.

`save(figure, path)` writes one as a compact PNG, whole or not at all.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latlas.figures.columns import column_reconstructions, column_samples, column_traversals
    from latlas.figures.curves import losses
    from latlas.figures.images import (
        arrange,
        fitting_columns,
        image_grid,
        image_panels,
        image_rows,
        manifold,
        middle_slice,
        morph,
        mosaic,
        neighbours,
        rgb,
        snapshots,
        strips,
        to_unit_range,
        traces,
        traversals,
        variations,
    )
    from latlas.figures.latents import latent_histogram, latent_scatter, project
    from latlas.figures.panels import Dots, Panel, Sheet, film
    from latlas.figures.plane import Grid, manifold_codes
    from latlas.figures.style import evenly_spaced, png, save

__all__ = [
    "Dots",
    "Grid",
    "Panel",
    "Sheet",
    "arrange",
    "column_reconstructions",
    "column_samples",
    "column_traversals",
    "evenly_spaced",
    "film",
    "fitting_columns",
    "image_grid",
    "image_panels",
    "image_rows",
    "latent_histogram",
    "latent_scatter",
    "losses",
    "manifold",
    "manifold_codes",
    "middle_slice",
    "morph",
    "mosaic",
    "neighbours",
    "png",
    "project",
    "rgb",
    "save",
    "snapshots",
    "strips",
    "to_unit_range",
    "traces",
    "traversals",
    "variations",
]

_ROOMS = ("plane", "columns", "curves", "panels", "images", "latents", "style")


def __getattr__(name: str) -> Any:
    # matplotlib takes half a second to import: only those pay who draw.
    if name in __all__:
        from importlib import import_module

        rooms = (import_module(f"latlas.figures.{room}") for room in _ROOMS)
        return next(getattr(room, name) for room in rooms if hasattr(room, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
