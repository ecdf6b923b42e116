"""A trained run in use, as calls: samples, codes, reconstructions, morphs and variations."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from matplotlib.figure import Figure

from latlas import figures, inference
from latlas.api.opening import Call, ItemOptions, PathLike, RunLike, Where, open_run
from latlas.data import Split, as_source
from latlas.inference import Arrays, Output
from latlas.runs import Run


def _items(call: Call, source: PathLike, options: ItemOptions) -> Split:
    split = options.get("split", "")
    return inference.items(call.run, call.model, split, as_source(source), call.data_dir, call.observer)


def _path(out: PathLike | None, run: Run, default: str) -> Path | None:
    """The file for arrays; None if none is to be written."""
    if out is None:
        return None
    return Path(out).expanduser() if os.fspath(out) else run.path / default


def _output(
    run: Run, arrays: Arrays, path: Path | None, picture: str = "", title: str = "",
    draw: Callable[[], Figure] | None = None, notes: Sequence[str] = (),
) -> Output:  # fmt: skip
    if path is not None:
        inference.save(path, arrays, picture, title, draw)
    return Output(run, arrays, path, title, {"notes": list(notes)} if notes else {})


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
    """Draws codes and decodes them to `samples` (n, ...): means of p(x | z), or draws from it with `noise`.

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
            about["plausible_share"] = inference.plausible(
                call.run, arrays["samples"], call.data_dir, call.observer
            )
    return replace(_output(call.run, arrays, path, "samples", title), about=about)


def encode(
    run: RunLike, source: PathLike = "", *, out: PathLike | None = None, **options: Unpack[ItemOptions]
) -> Output:
    """Encodes a split of the run's own data, or another source: of one with official splits the test split or `split`.

    The arrays are `mean` (N, D), `std` (N, D) if the posterior has one, `labels` if the data have any, and `index`,
    each item's row. `about` has the `notes` on how the data were read. `out` ends in .npz.

    Raises InputError for data that are missing, have changed or do not fit.
    """
    with open_run(run, options, ItemOptions) as call:
        arrays = inference.encode(call.model, _items(call, source, options))
    return _output(call.run, arrays, _path(out, call.run, "codes.npz"), notes=call.observer.notes)


def reconstruct(
    run: RunLike, source: PathLike = "", *, out: PathLike | None = None, **options: Unpack[ItemOptions]
) -> Output:
    """Reconstructs the items of a split or of another source at the posterior's mean.

    The arrays are `original` and `reconstruction`: images (N, H, W, C) in [0, 1], tables in data units. `out` ends in
    .npz or .png.

    Raises InputError for data that are missing, have changed or do not fit.
    """
    with open_run(run, options, ItemOptions) as call:
        arrays = inference.reconstruct(call.model, _items(call, source, options))
    path = _path(out, call.run, "reconstructions.npz")
    return _output(call.run, arrays, path, "reconstruction", "Reconstructions", notes=call.observer.notes)


def decode(
    run: RunLike, codes: PathLike | np.ndarray, *, out: PathLike | None = None, **where: Unpack[Where]
) -> Output:
    """Decodes codes (N, D), an array or a file, into `decoded` (N, ...), the means of p(x | z).

    A file is an .npy, or an .npz with `mean` or `z`; `out` ends in .npz or .png. Raises InputError for other codes.
    """
    with open_run(run, where) as call:
        array = codes if isinstance(codes, np.ndarray) else inference.read_codes(Path(codes))
        arrays = {"decoded": call.model.decode(array)}
    return _output(call.run, arrays, _path(out, call.run, "decoded.npz"), "decoded", "Decoded codes")


def morph(
    run: RunLike,
    start: int,
    end: int,
    *,
    source: PathLike = "",
    steps: int = 11,
    out: PathLike | None = None,
    **options: Unpack[ItemOptions],
) -> Output:
    """Decodes codes on the straight line between the codes of two rows, in so many `steps`, both ends included.

    The arrays are `images` decoded at codes `z`, at `t` from 0 to 1, and `ends`, the two originals. `out` ends in .npz
    or .png.

    Raises InputError for a row outside the split, and as `encode` does.
    """
    with open_run(run, options, ItemOptions) as call:
        items = _items(call, source, options)
    arrays = inference.morph(call.model, items, start, end, steps)
    path = _path(out, call.run, _default_name(f"morph-{start}-{end}", arrays["images"]))
    draw = lambda: figures.morph(arrays["images"][None], arrays["t"], arrays["ends"][None])  # noqa: E731
    return _output(
        call.run, arrays, path, "images", f"Morph from {start} to {end}", draw, call.observer.notes
    )


def vary(
    run: RunLike,
    image: PathLike = "",
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
        what = os.fspath(image) or f"the {options.get('split') or 'test'} split"
        item = inference.single_item(items, row, what)
        point = call.run.config.posterior.name == "point"
        spread = inference.code_spread(call.run, call.model, call.data_dir, call.observer) if point else None
    arrays = inference.vary(call.model, item, n, scale, seed, spread)
    codes = (
        f"its code plus noise, {scale:g} times the standard deviations of the training codes"
        if point
        else f"draws from its posterior, the noise times {scale:g}"
    )
    pair, subtitle = (arrays["original"][0], arrays["reconstruction"][0]), f"On the right, decoded: {codes}."
    draw = lambda: figures.variations(*pair, arrays["images"], "Variations on an image", subtitle)  # noqa: E731
    path = _path(out, call.run, _default_name("vary", arrays["images"]))
    title = f"{n} variation{'s' * (n > 1)}, {codes}"
    return _output(call.run, arrays, path, "images", title, draw, call.observer.notes)
