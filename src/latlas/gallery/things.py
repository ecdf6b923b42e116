"""Pictures of items: reconstructed, restored, made up, and over training."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from latlas import densities, figures
from latlas.gallery.scene import Scene
from latlas.runs import Run


def reconstructions(scene: Scene) -> Figure | None:
    if scene.table:
        x = scene.items.x[:1000]
        return figures.column_reconstructions(
            scene.stored(x), np.asarray(scene.model.reconstruct(x)), scene.columns
        )
    columns = scene.across()
    rows = scene.varied(2 * columns)
    x = scene.items.x[rows]
    return figures.reconstructions(
        scene.images(scene.stored(x)),
        scene.images(np.asarray(scene.model.reconstruct(x))),
        scene.class_names(rows),
        subtitle="Test items the model has not been trained on, decoded from their mean code.",
        columns=columns,
    )


def restored(scene: Scene) -> Figure | None:
    if scene.settings.restore is None or scene.table:
        return None
    columns = scene.across()
    rows = scene.varied(columns)
    x = scene.items.x[rows]
    corrupted, restored = scene.settings.restore(x)
    return figures.restored(
        scene.images(scene.stored(x)),
        scene.images(np.asarray(corrupted)),
        scene.images(np.asarray(restored)),
        scene.class_names(rows),
        subtitle=f"Test items the model has not been trained on. {scene.settings.damage}",
        columns=columns,
    )


def samples(scene: Scene) -> Figure | None:
    if not scene.settings.prior:
        return None
    how = "Means of p(x|z) for codes z drawn from the prior."
    made = np.asarray(scene.model.sample(_how_many(scene), seed=scene.settings.seed))
    return _sampled(scene, made, "Samples from the prior", how)


def pseudo_inputs(scene: Scene) -> Figure | None:
    """What a VampPrior has learned to ask its encoder for."""
    learned = scene.model.pseudo_inputs()
    if learned is None or scene.table:
        return None
    shown = learned[figures.some(len(learned), _how_many(scene))]
    how = f"{len(shown)} of {len(learned)}" if len(shown) < len(learned) else f"All {len(learned)}"
    how += ", learned: the prior is the mean of their posteriors."
    return figures.image_grid(scene.images(shown), "Pseudo-inputs of the VampPrior", how)


def fitted(scene: Scene) -> dict[str, Figure]:
    """A picture of samples for each density that can be fitted to the training codes."""
    names, seed, train = scene.settings.densities, scene.settings.seed, scene.data.train
    if not names:
        return {}
    codes, unseen = densities.codes_of(scene.model, train.x, scene.data.test.x, seed)
    whose = f"{len(codes):,} of {len(train):,}" if len(codes) < len(train) else f"{len(codes):,}"
    pictures = {}
    for name in [n for n in names if not densities.refusal(n, codes)]:
        density = densities.fit(name, codes, seed)
        score = f"{density.log_prob(unseen).mean():.2f}".replace("-", "−")
        how = f"Means of p(x|z) for z from {density.what}, fitted to the codes of {whose} training items."
        how += f" Log-density of test codes: {score} nats per code."
        made = scene.decode(density.sample(_how_many(scene), seed))
        pictures[f"samples-{name}"] = _sampled(scene, made, f"Samples from {density.what}", how)
    return pictures


def snapshots(scene: Scene, run: Run) -> Figure | None:
    kept = run.snapshots()
    if scene.table or not kept:
        return None
    taken = [(step, scene.images(figures.unit(samples))) for step, samples in kept]
    how = "Each panel decodes the same codes, after so many optimisation steps."
    return figures.snapshots(taken, "The same noise, decoded over training", how)


def _how_many(scene: Scene) -> int:
    return len(scene.items) if scene.table else 64 if scene.pictorial else 24


def _sampled(scene: Scene, made: np.ndarray, title: str, how: str) -> Figure:
    if scene.table:
        return figures.column_samples(scene.stored(scene.items.x), made, scene.columns, subtitle=how)
    return figures.image_grid(scene.images(made), title, how)
