"""Pictures, as pure functions from arrays to matplotlib figures: no model, no torch, no global state.

`save(figure, path)` writes one as a compact PNG, whole or not at all.
"""

from latlas.figures.codes import Grid, manifold_codes, project
from latlas.figures.curves import losses
from latlas.figures.images import image_grid, manifold, morph, reconstructions, snapshots, traversals
from latlas.figures.latents import latent_histogram, latent_scatter
from latlas.figures.style import png, save, some
from latlas.figures.vectors import column_reconstructions, column_samples, column_traversals, strips

__all__ = [
    "Grid",
    "column_reconstructions",
    "column_samples",
    "column_traversals",
    "image_grid",
    "latent_histogram",
    "latent_scatter",
    "losses",
    "manifold",
    "manifold_codes",
    "morph",
    "png",
    "project",
    "reconstructions",
    "save",
    "snapshots",
    "some",
    "strips",
    "traversals",
]
