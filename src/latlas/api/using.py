"""A trained run in use, as calls: samples, codes, reconstructions, morphs and variations."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from latlas import figures, inference, items
from latlas.animation import FORMATS, there_and_back
from latlas.api.opening import Call, ItemOptions, PathLike, RunLike, Where, inputs_of, open_run, output_path
from latlas.api.scoring import finder_of
from latlas.data import Split
from latlas.data.memory import as_codes
from latlas.inference import Arrays, Output
from latlas.models import Model
from latlas.places import file_part
from latlas.text import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _items(call: Call, source: Any, options: ItemOptions) -> Split:
    split = options.get("split", "")
    return inference.items(call.run, call.model, split, source, call.data_dir, call.observer)


def _output(
    call: Call, arrays: Arrays, path: Path | None, picture: str = "", title: str = "",
    draw: Callable[[], Figure] | None = None, about: Mapping[str, Any] | None = None,
) -> Output:  # fmt: skip
    if path is not None:
        grid = lambda: figures.image_grid(inference.shown(call.model, arrays[picture]), title=title)  # noqa: E731
        inference.save(path, arrays, picture, (draw or grid) if picture else None)
    notes = {"notes": list(call.observer.notes)} if call.observer.notes and about is not None else {}
    return Output(call.run, arrays, path, title, {**(about or {}), **notes})


class SampleOptions(Where, total=False):
    """The options of `Where`, and the class of the run's own data, `class_name`, that new items are to be of."""

    class_name: str


def sample(
    run: RunLike,
    n: int = 64,
    *,
    seed: int = 0,
    noise: bool = False,
    density: str = "",
    plausible: bool = False,
    out: PathLike | None = None,
    **options: Unpack[SampleOptions],
) -> Output:
    """Draws codes and decodes them to `samples` (n, ...), in data units: means of p(x | z), or draws with `noise`.

    Codes are draws from the prior, or from a `density` (factored, full, mixture or flow) fitted to the run's training
    codes; with a `class_name` only to those of that class, by default full. Draws of a likelihood without bounds may
    lie outside the data's range: arrays keep them, which is noted, and pictures show them clipped.

    With a density the output also has the codes `z`, and its `about` the number of training `codes` and the
    `test_log_density`. With `plausible` its `about` has the `plausible_share` of the samples that a classifier of the
    run's own images takes for real. `out` ends in
    .npz, for images in .png, for tables in .csv or .parquet; without an ending it is a new folder for images.

    Raises InputError for a plain autoencoder without a density, an unknown class, and a value out of range.
    """
    inference.check_count(n, seed)
    class_name = options.get("class_name", "")
    density = density or ("full" if class_name else "")
    with open_run(run, options, SampleOptions) as call:
        inference.check_room(n, call.model, "n", n)
        images = call.model.item.kind == "image"
        stem = "-".join(filter(None, ["samples", density, "of-class" if class_name else ""]))
        path = output_path(out, call.run, f"{stem}.{'png' if images else 'npz'}")
        if path is not None:
            inference.check_samples(path, images)
        about: dict[str, Any] = {"samples": n, "seed": seed, "noise": noise}
        title = counted(n, "sample")
        if density:
            where = (call.data_dir, call.observer, class_name)
            fit = inference.fit_density(call.run, call.model, density, seed, *where)
            arrays = inference.sample_density(call.model, fit.density, n, seed, noise)
            title += f"{' of class ' * bool(class_name)}{class_name} from {fit.density.what}"
            about |= {"density": density, "codes": fit.codes, "test_log_density": fit.test_log_density}
            about |= {"class": class_name} if class_name else {}
        else:
            arrays = inference.sample(call.run, call.model, n, seed, noise)
        if plausible:
            scaled = call.model.item.scaling.apply(arrays["samples"])
            about["plausible_share"] = inference.plausible(call.run, scaled, call.data_dir, call.observer)
        if noise and (note := inference.draws_note(arrays["samples"], call.model)):
            call.observer.note(note)
    if path is None or path.suffix.lower() in (".npz", ".png"):
        return _output(call, arrays, path, "samples", title, about=about)
    _write_samples(path, call.model, arrays["samples"])
    return replace(_output(call, arrays, None, title=title, about=about), path=path)


def _write_samples(path: Path, model: Model, samples: np.ndarray) -> None:
    """Writes rows as a table, or images as a folder of files, for a name without an ending."""
    if path.suffix:
        names = model.item.columns or [str(i) for i in range(samples.shape[1])]
        items.write_table(path, items.frame(dict(zip(names, samples.T, strict=True))))
    else:
        inference.save_images(path, inference.shown(model, samples))


def reconstruct(
    run: RunLike, source: Any = "", *, out: PathLike | None = None, **options: Unpack[ItemOptions]
) -> Output:
    """Reconstructs the items of a split or of another source, as `encode` takes it, at the posterior's mean.

    The arrays are `original` and `reconstruction`, (N, H, W, C) or (N, D), both in data units; `about` is that of
    `encode`. `out` ends in .npz or .png.

    Raises InputError for data that are missing, have changed or do not fit.
    """
    with open_run(run, options, ItemOptions) as call:
        path = _checked(out, call, "reconstructions.npz", source)
        found = _items(call, source, options)
        arrays = inference.reconstruct(call.model, found)
    about = inference.outside(found, call.model)
    return _output(call, arrays, path, "reconstruction", "Reconstructions", about=about)


def decode(run: RunLike, codes: Any, *, out: PathLike | None = None, **where: Unpack[Where]) -> Output:
    """Decodes codes (N, D), an array or a file, into `decoded` (N, ...), the means of p(x | z) in data units.

    A file is an .npy, or an .npz with `mean` or `z`; `out` ends in .npz or .png. Raises InputError for other codes.
    """
    with open_run(run, where) as call:
        path = _checked(out, call, "decoded.npz", codes)
        given = inference.read_codes(Path(codes)) if isinstance(codes, str | os.PathLike) else codes
        array = as_codes(given, call.model.latent).x
        inference.check_room(len(array), call.model, "codes")
        arrays = {"decoded": inference.decode(call.model, array)}
    return _output(call, arrays, path, "decoded", "Decoded codes")


class MorphOptions(ItemOptions, total=False):
    """The options of `ItemOptions`, other data, `source`, that the items are in, and the length of a film in
    `seconds`.
    """

    source: Any
    seconds: float


def morph(
    run: RunLike,
    start: int | PathLike,
    end: int | PathLike,
    *,
    steps: int | None = None,
    out: PathLike | None = None,
    **options: Unpack[MorphOptions],
) -> Output:
    """Decodes codes in so many `steps` on the straight line between the codes of two items, both ends included.

    Each end is a row of the split, an image file, or a name within the run's data, or a row or name within another
    `source`. The arrays are `images` decoded at codes `z`, at `t` from 0 to 1, and `ends`, the two originals, in data
    units. `out` ends in .npz, for images in .png, .gif or .webp; a film runs there and back and takes `seconds`. There
    are 11 steps, 31 of a film, unless said.

    Raises InputError for an item that is not there, and as `encode` does.
    """
    source, seconds = options.get("source", ""), options.get("seconds", 4.0)
    with open_run(run, options, MorphOptions) as call:
        images = call.model.item.kind == "image"
        stem = "-".join(("morph", *(file_part(Path(str(at)).stem) for at in (start, end))))
        path = _checked(out, call, f"{stem}.{'png' if images else 'npz'}", source, tuple(FORMATS))
        film = path is not None and path.suffix.lower() in FORMATS
        finder = finder_of(call, source, options.get("split", ""))
        (first, _), (last, _) = finder.find(start, "start"), finder.find(end, "end")
        arrays = inference.morph(call.model, first, last, (31 if film else 11) if steps is None else steps)
        title = f"Morph from {items.title_of(first)} to {items.title_of(last)}"
        if film and path is not None:
            shown = inference.shown(call.model, arrays["images"])
            there_and_back(path, shown, title, seconds, observer=call.observer)
            return Output(call.run, arrays, path, title)
    seen = lambda key: inference.shown(call.model, arrays[key])[None]  # noqa: E731
    draw = lambda: figures.morph(seen("images"), arrays["t"], seen("ends"))  # noqa: E731
    return _output(call, arrays, path, "images", title, draw, {})


def _checked(
    out: PathLike | None, call: Call, default: str, source: Any = "", more: Sequence[str] = ()
) -> Path | None:
    """The file to write, checked before anything is computed."""
    path = output_path(out, call.run, default)
    if path is not None:
        images = call.model.item.kind == "image"
        inference.check_path(path, images=images, more=more, inputs=inputs_of(call.run, source))
    return path


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
        path = _checked(out, call, f"vary.{'png' if call.model.item.kind == 'image' else 'npz'}", image)
        found = _items(call, image, options)
        own = f"the {inference.split_of(call.run, options.get('split', ''))} split"
        what = os.fspath(image) if isinstance(image, str | os.PathLike) else "what was given"
        what = what if inference.has_source(image) else own
        item = inference.single_item(found, row, what)
        point = not call.model.posterior_family.has_density
        spread = inference.code_spread(call.run, call.model, call.data_dir, call.observer) if point else None
    arrays = inference.vary(call.model, item, n, scale, seed, spread)
    codes = (
        f"its code plus noise, {scale:g} times the standard deviations of the training codes"
        if point
        else "draws from its posterior" + (f" with {scale:g} times its noise" if scale != 1 else "")
    )
    subtitle = f"On the right, decoded: {codes}."

    def draw() -> Figure:
        first, second, many = (
            inference.shown(call.model, arrays[key]) for key in ("original", "reconstruction", "images")
        )
        return figures.variations(first[0], second[0], many, "Variations on an image", subtitle)

    title = f"{counted(n, 'variation')}: {codes}"
    return _output(call, arrays, path, "images", title, draw, {})
