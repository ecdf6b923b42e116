"""Pictures, as pure functions from arrays to matplotlib figures: no model, no torch, no global state.

`save(figure, path)` writes one as a compact PNG, whole or not at all.
"""

from latlas.figures.codes import Grid, manifold_codes, project
from latlas.figures.curves import losses
from latlas.figures.film import Dots, Panel, Sheet, film
from latlas.figures.images import (
    image_grid,
    image_panels,
    manifold,
    morph,
    reconstructions,
    snapshots,
    traversals,
    unit,
)
from latlas.figures.latents import latent_histogram, latent_scatter
from latlas.figures.readings import reading
from latlas.figures.restored import restored
from latlas.figures.side_by_side import reconstructions_of
from latlas.figures.style import png, save, some
from latlas.figures.variations import variations
from latlas.figures.vectors import column_reconstructions, column_samples, column_traversals, strips

__all__ = [
    "Dots",
    "Grid",
    "Panel",
    "Sheet",
    "column_reconstructions",
    "column_samples",
    "column_traversals",
    "film",
    "image_grid",
    "image_panels",
    "latent_histogram",
    "latent_scatter",
    "losses",
    "manifold",
    "manifold_codes",
    "morph",
    "png",
    "project",
    "reading",
    "reconstructions",
    "reconstructions_of",
    "restored",
    "save",
    "snapshots",
    "some",
    "strips",
    "traversals",
    "unit",
    "variations",
]
