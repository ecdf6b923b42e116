"""Pictures, as pure functions from arrays to matplotlib figures: no model, no torch, no global state.

`save(figure, path)` writes one as a compact PNG, whole or not at all.
"""

from latlas.figures.columns import column_reconstructions, column_samples, column_traversals
from latlas.figures.curves import losses
from latlas.figures.film import Dots, Panel, Sheet, film
from latlas.figures.images import (
    image_grid,
    image_panels,
    image_rows,
    manifold,
    middle_slice,
    morph,
    neighbours,
    rgb,
    snapshots,
    strips,
    to_unit_range,
    traces,
    traversals,
    variations,
)
from latlas.figures.latents import Grid, latent_histogram, latent_scatter, manifold_codes, project
from latlas.figures.style import evenly_spaced, png, save

__all__ = [
    "Dots",
    "Grid",
    "Panel",
    "Sheet",
    "column_reconstructions",
    "column_samples",
    "column_traversals",
    "evenly_spaced",
    "film",
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
