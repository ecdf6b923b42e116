"""A trained run in use, as calls: samples, codes, reconstructions, morphs and variations."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from matplotlib.figure import Figure

from latlas import figures, inference
from latlas.api.opening import Call, ItemOptions, PathLike, RunLike, Where, open_run, path_of
from latlas.data import Split
from latlas.data.items import as_codes
from latlas.inference import Arrays, Output
from latlas.runs import Run


def _items(call: Call, source: Any, options: ItemOptions) -> Split:
    split = options.get("split", "")
    return inference.items(call.run, call.model, split, source, call.data_dir, call.observer)


def _path(out: PathLike | None, run: Run, default: str) -> Path | None:
    """The file for arrays; None if none is to be written."""
    path = path_of(out, "out")
    return path if path is None or os.fspath(out or "") else run.path / default


def _output(
    call: Call, arrays: Arrays, path: Path | None, picture: str = "", title: str = "",
    draw: Callable[[], Figure] | None = None, about: Mapping[str, Any] | None = None,
) -> Output:  # fmt: skip
    if path is not None:
        grid = lambda: figures.image_grid(inference.shown(call.model, arrays[picture]), title=title)  # noqa: E731
        inference.save(path, arrays, picture, (draw or grid) if picture else None)
    notes = {"notes": list(call.observer.notes)} if call.observer.notes and about is not None else {}
    return Output(call.run, arrays, path, title, {**(about or {}), **notes})


def _default_name(stem: str, items: np.ndarray) -> str:
    """The default file name for items: a picture for images (N, H, W, C), else .npz."""
    return f"{stem}.{'png' if items.ndim == 4 else 'npz'}"


def sample(
    run: RunLike,
    n: int = 64,
    *,
    seed: int = 0,
    noise: bool = False,
    density: str = "",
    plausible: bool = False,
    out: PathLike | None = None,
    **where: Unpack[Where],
) -> Output:
    """Draws codes and decodes them to `samples` (n, ...), in data units: means of p(x | z), or draws with `noise`.

    Codes are draws from the prior, or from a `density` (factored, full, mixture or flow) fitted to the run's training
    codes. With a density the output also has the codes `z`, and its `about` the number of training `codes` and the
    `test_log_density`. With `plausible` its `about` has the `plausible_share` of the samples that a classifier of the
    run's own images takes for real. `out` ends in .npz or .png.

    Raises InputError for a plain autoencoder without a density, and a value out of range.
    """
    inference.check_count(n, seed)
    with open_run(run, where) as call:
        images = call.model.item.kind == "image"
        path = _path(out, call.run, f"samples{'-' * bool(density)}{density}.{'png' if images else 'npz'}")
        if path is not None:
            inference.check_path(path, images=images)
        about: dict[str, Any] = {"samples": n, "seed": seed, "noise": noise}
        title = f"{n} samples"
        if density:
            fit = inference.fit_density(call.run, call.model, density, seed, call.data_dir, call.observer)
            arrays = inference.sample_density(call.model, fit.density, n, seed, noise)
            title += f" from {fit.density.what}"
            about |= {"density": density, "codes": fit.codes, "test_log_density": fit.test_log_density}
        else:
            arrays = inference.sample(call.run, call.model, n, seed, noise)
        if plausible:
            scaled = call.model.item.scaling.apply(arrays["samples"])
            about["plausible_share"] = inference.plausible(call.run, scaled, call.data_dir, call.observer)
    return _output(call, arrays, path, "samples", title, about=about)


def encode(
    run: RunLike, source: Any = "", *, out: PathLike | None = None, **options: Unpack[ItemOptions]
) -> Output:
    """Encodes a split of the run's own data, or another source: a path, or what `Model.encode` takes.

    Of a source with official splits it is the test split, or `split`. The arrays are `mean` (N, D), `std` (N, D) if the
    posterior has one, `labels` if the data have any, and `index`, each item's row. `about` counts the values `outside`
    the training range and those `clipped`, which are none, and has the `notes` on how the data were read. `out` ends in
    .npz.

    Raises InputError for data that are missing, have changed or do not fit.
    """
    with open_run(run, options, ItemOptions) as call:
        items = _items(call, source, options)
        arrays = inference.encode(call.model, items)
    about = inference.outside(items, call.model)
    return _output(call, arrays, _path(out, call.run, "codes.npz"), about=about)


def reconstruct(
    run: RunLike, source: Any = "", *, out: PathLike | None = None, **options: Unpack[ItemOptions]
) -> Output:
    """Reconstructs the items of a split or of another source, as `encode` takes it, at the posterior's mean.

    The arrays are `original` and `reconstruction`, (N, H, W, C) or (N, D), both in data units; `about` is that of
    `encode`. `out` ends in .npz or .png.

    Raises InputError for data that are missing, have changed or do not fit.
    """
    with open_run(run, options, ItemOptions) as call:
        items = _items(call, source, options)
        arrays = inference.reconstruct(call.model, items)
    path, about = _path(out, call.run, "reconstructions.npz"), inference.outside(items, call.model)
    return _output(call, arrays, path, "reconstruction", "Reconstructions", about=about)


def decode(run: RunLike, codes: Any, *, out: PathLike | None = None, **where: Unpack[Where]) -> Output:
    """Decodes codes (N, D), an array or a file, into `decoded` (N, ...), the means of p(x | z) in data units.

    A file is an .npy, or an .npz with `mean` or `z`; `out` ends in .npz or .png. Raises InputError for other codes.
    """
    with open_run(run, where) as call:
        given = inference.read_codes(Path(codes)) if isinstance(codes, str | os.PathLike) else codes
        array = as_codes(given, call.model.latent).x
        arrays = {"decoded": call.model.decode(array)}
    return _output(call, arrays, _path(out, call.run, "decoded.npz"), "decoded", "Decoded codes")


def morph(
    run: RunLike,
    start: int,
    end: int,
    *,
    source: Any = "",
    steps: int = 11,
    out: PathLike | None = None,
    **options: Unpack[ItemOptions],
) -> Output:
    """Decodes codes on the straight line between the codes of two rows, in so many `steps`, both ends included.

    The arrays are `images` decoded at codes `z`, at `t` from 0 to 1, and `ends`, the two originals, in data units.
    `out` ends in .npz or .png.

    Raises InputError for a row outside the split, and as `encode` does.
    """
    with open_run(run, options, ItemOptions) as call:
        items = _items(call, source, options)
    arrays = inference.morph(call.model, items, start, end, steps)
    path = _path(out, call.run, _default_name(f"morph-{start}-{end}", arrays["images"]))
    seen = lambda key: inference.shown(call.model, arrays[key])[None]  # noqa: E731
    draw = lambda: figures.morph(seen("images"), arrays["t"], seen("ends"))  # noqa: E731
    return _output(call, arrays, path, "images", f"Morph from {start} to {end}", draw, {})


def vary(
    run: RunLike,
    image: Any = "",
    row: int | None = None,
    *,
    n: int = 8,
    scale: float = 1.0,
    seed: int = 0,
    out: PathLike | None = None,
    **options: Unpack[ItemOptions],
) -> Output:
    """Makes `n` variations of one item: `images` decoded at codes `z`, with its `original` and `reconstruction`.

    Codes are draws from the item's posterior with the noise multiplied by `scale`. The item is the `row` of a split, an
    `image` file, or the `row` of other data. An autoencoder's code has no noise; it gets noise with the standard
    deviations of the training codes. `out` ends in .npz or .png.

    Raises InputError if the row is missing, and as `encode` does.
    """
    inference.check_variations(n, scale, seed)
    with open_run(run, options, ItemOptions) as call:
        items = _items(call, image, options)
        own = f"the {inference.split_of(call.run, options.get('split', ''))} split"
        what = os.fspath(image) if isinstance(image, str | os.PathLike) else "what was given"
        what = what if inference.has_source(image) else own
        item = inference.single_item(items, row, what)
        point = call.run.config.posterior.name == "point"
        spread = inference.code_spread(call.run, call.model, call.data_dir, call.observer) if point else None
    arrays = inference.vary(call.model, item, n, scale, seed, spread)
    codes = (
        f"its code plus noise, {scale:g} times the standard deviations of the training codes"
        if point
        else f"draws from its posterior, the noise times {scale:g}"
    )
    subtitle = f"On the right, decoded: {codes}."

    def draw() -> Figure:
        first, second, many = (
            inference.shown(call.model, arrays[key]) for key in ("original", "reconstruction", "images")
        )
        return figures.variations(first[0], second[0], many, "Variations on an image", subtitle)

    path = _path(out, call.run, _default_name("vary", arrays["images"]))
    title = f"{n} variation{'s' * (n > 1)}, {codes}"
    return _output(call, arrays, path, "images", title, draw, {})
