"""Uses of a trained run, as arrays: codes, reconstructions, samples, morphs and variations."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from latlas import animation, densities, figures
from latlas.build import has_prior
from latlas.data import DataOptions, Dataset, Split, as_source, load_items
from latlas.data.binarise import settled
from latlas.data.dataset import SPLITS
from latlas.data.load import drawn_as
from latlas.data.memory import as_items, names_in
from latlas.data.numpy_files import read_arrays
from latlas.data.ranges import ROUNDING, beyond, beyond_note, narrow_note
from latlas.data.room import refuse_beyond_room
from latlas.data.splits import as_split
from latlas.errors import InputError, LatlasError, alternatives, check_number, unknown
from latlas.files import check_folder, check_output, refuse_special, write_atomic, write_new_folder
from latlas.metrics.samples import plausible_share
from latlas.models import MOST_SAMPLES, Model
from latlas.places import reachable
from latlas.progress import SILENT, Observer
from latlas.runs import Run, dataset_of
from latlas.text import counted, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Arrays = dict[str, np.ndarray]
MOST_VARIATIONS, MOST_SCALE = 1000, 1e6
PICTURES = (".png", *animation.FORMATS)


@dataclass(frozen=True)
class Output:
    """The output of a call on a run: `arrays` by name, and the file `path` that holds them, None without a file.

    `title` describes the arrays in words; `about` holds further values by name. `frame` has a line for each item, of
    calls that give one.
    """

    run: Run
    arrays: Arrays
    path: Path | None
    title: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    frame: pd.DataFrame | None = None


def items(
    run: Run,
    model: Model,
    split: str = "",
    source: Any = "",
    data_dir: str = "",
    observer: Observer = SILENT,
    dataset: Dataset | None = None,
) -> Split:
    """A split of the run's own data in its order, by default `test`, or items of another source that fits the model.

    A source is a path, or whatever `Model.encode` takes. Of one with official splits these are its `split`, or `all`;
    by default its test split. The run's data are read unless `dataset` holds them. Raises InputError if data are
    missing, have changed or do not fit.
    """
    if has_source(source):
        found = _from_source(source, model, run.data_options(data_dir), observer, split)
        note_range(found, model, observer)
        return found
    split = split_of(run, split, observer)
    dataset = dataset or dataset_of(run, data_dir, observer.progress)
    chosen = settled(dataset.split(split), dataset.scaling, run.config.data, split)
    if not len(chosen):
        raise InputError("empty in this run (data.validation = 0)", field="split", value=split)
    return chosen


def split_of(run: Run, split: str, observer: Observer = SILENT) -> str:
    """The split of the run's own data that a call means, by default `test`: where no test items are held out, what
    stands in their place, with a note.
    """
    split = split or "test"
    if split != "test" or run.measured == "test":
        return split
    observer.note(f"nothing is held out for testing in this run: these are its {SPLITS[run.measured]} items")
    return run.measured


def has_source(source: Any) -> bool:
    """Whether other data than the run's own are given: anything but None and an empty text."""
    return source is not None and not (isinstance(source, str) and not source)


def _from_source(source: Any, model: Model, options: DataOptions, observer: Observer, split: str) -> Split:
    if isinstance(source, str | os.PathLike):
        return load_items(as_source(source), model.item, options, observer, split)
    if split:
        raise InputError("an array has no splits; leave it out", field="split", value=split)
    given = as_items(source, model.item)
    for note in given.notes:
        observer.note(note)
    names = names_in(source, options) if given.names is None else given.names
    return drawn_as(replace(as_split(given.x), names=names), model.item, options)


def note_range(items: Split, model: Model, observer: Observer) -> None:
    """Notes values that lie beyond the training range, and data that hardly use it."""
    x, scaling = items.x, model.item.scaling
    for note in (beyond_note(x, scaling, model.item.columns), narrow_note(x, scaling)):
        if note:
            observer.note(note)


def outside(items: Split, model: Model, scored: bool = False) -> dict[str, int]:
    """How many values lie `outside` the training range, in how many items, and how many are `clipped`.

    Values are clipped only where they are `scored` by a likelihood of values inside [0, 1]; elsewhere never.
    """
    found = beyond(items.x, model.item.scaling)
    clipped = found.values if scored and model.likelihood.bounded else 0
    return {"outside": found.values, "items_outside": found.items, "clipped": clipped}


def draws_note(samples: np.ndarray, model: Model) -> str:
    """A line on draws of p(x | z), in data units, that lie beyond the range of the training values; "" without any."""
    scaling = model.item.scaling
    if scaling.kind == "standard":  # a table's columns have no bounds
        return ""
    scaled = scaling.apply(samples)
    out = int(((scaled < -ROUNDING) | (scaled > 1 + ROUNDING)).sum())
    if not out:
        return ""
    low, high = scaling.invert(np.array([0.0, 1.0]))
    return (
        f"{out:,} of {samples.size:,} values lie outside the data's range, {low:g} to {high:g}, as a"
        f" {model.likelihood.title} likelihood knows no bounds: arrays keep them, pictures show them clipped"
    )


def parts(
    run: Run,
    model: Model,
    split: str = "",
    source: Any = "",
    data_dir: str = "",
    observer: Observer = SILENT,
    dataset: Dataset | None = None,
) -> dict[str, Split]:
    """The items of `items` by the name of their split, "" for another source; "all" is every split with items."""
    if has_source(source) or split != "all":
        chosen = items(run, model, split, source, data_dir, observer, dataset)
        return {"" if has_source(source) else split_of(run, split): chosen}
    dataset = dataset or dataset_of(run, data_dir, observer.progress)
    settle = lambda name: settled(dataset.split(name), dataset.scaling, run.config.data, name)  # noqa: E731
    return {name: settle(name) for name in SPLITS if len(dataset.split(name))}


def encode(model: Model, parts: Mapping[str, Split]) -> Arrays:
    """The codes of items by split: `mean` and `std` (N, D), and by item `index`, its row, and where known `labels`,
    `names` and `split`; `classes` names the labels.
    """
    found = [_codes(model, items, split) for split, items in parts.items()]
    shared = [name for name in found[0] if all(name in arrays for arrays in found)]
    arrays = {name: np.concatenate([each[name] for each in found]) for name in shared}
    if "labels" in arrays and model.item.classes:
        arrays["classes"] = np.array(model.item.classes, dtype=str)
    return arrays


def refuse_not_finite(model: Model, what: str, *arrays: np.ndarray) -> None:
    """Raises LatlasError where numbers of items (N, ...) are not finite, which says of how many, and why."""
    whole = np.logical_and.reduce([np.isfinite(x).all(tuple(range(1, x.ndim))) for x in arrays])
    bad = int((~whole).sum())
    if bad:
        weights = all(tensor.isfinite().all() for tensor in model.state_dict().values())
        cause = (
            "its numbers overflow, as they do far outside the training data or after training that diverged"
            if weights
            else "its weights are not finite, as its training diverged"
        )
        raise LatlasError(
            f"the model gives no finite {what} for {bad:,} of {counted(len(whole), 'item')}: {cause}"
        )


def _codes(model: Model, items: Split, split: str) -> Arrays:
    posterior = model.posterior(items)
    arrays = {"mean": posterior.mean.detach().cpu().numpy()}
    if posterior.stddev is not None:
        arrays["std"] = posterior.stddev.detach().cpu().numpy()
    refuse_not_finite(model, "codes", *arrays.values())
    if items.labels is not None:
        arrays["labels"] = items.labels
    arrays["index"] = np.asarray(items.index)
    if items.names is not None:
        arrays["names"] = items.names.astype(str)
    return arrays | ({"split": np.full(len(items), split)} if split else {})


def reconstruct(model: Model, items: Split) -> Arrays:
    """`original` and `reconstruction` at the posterior's mean: (N, H, W, C) or (N, D), both in data units."""
    reconstruction = model.reconstruct(items)
    refuse_not_finite(model, "reconstruction", reconstruction)
    return {
        "original": np.asarray(items.x),
        "reconstruction": reconstruction,
        "index": np.asarray(items.index),
    }


def read_codes(path: Path) -> np.ndarray:
    """Codes (N, D) from an .npy, or from `mean` or `z` of an .npz.

    Raises InputError for anything else.
    """
    refuse_special(path)
    with reachable(path):
        if not path.exists():
            raise InputError(f"{path}: no such file")

    def codes_in(arrays: Mapping[str, Any]) -> list[str]:
        key = next((name for name in ("mean", "z") if name in arrays), None)
        if key is None:
            names = shortened(", ".join(arrays)) or "nothing"
            raise InputError(f"{path}: has {names}; expected codes named mean or z")
        return [key]

    arrays = read_arrays(path, codes_in)
    loaded = arrays["x"] if list(arrays) == ["x"] else arrays[codes_in(arrays)[0]]  # x is that of an .npy
    if loaded.ndim != 2 or not np.issubdtype(loaded.dtype, np.number) or np.iscomplexobj(loaded):
        raise InputError(
            f"{path}: codes of shape {loaded.shape} and type {loaded.dtype}; expected real numbers (N, D)"
        )
    if not np.isfinite(loaded).all():
        row = int(np.argmin(np.isfinite(loaded).all(axis=1)))
        raise InputError(f"{path}: the code in row {row:,} is not finite; leave that row out")
    return loaded


def decode(model: Model, codes: Any) -> np.ndarray:
    """Codes (N, D) decoded to the means of p(x | z), in data units."""
    decoded = model.decode(codes)
    refuse_not_finite(model, "values", decoded)
    return decoded


def morph(model: Model, start: Split, end: Split, steps: int = 11) -> Arrays:
    """The path between the codes of two items: `images` decoded at codes `z`, at shares `t`, and the originals, `ends`.

    Raises InputError for fewer than two steps.
    """
    check_number(steps, "steps")
    if steps < 2:
        raise InputError("at least 2 are needed", field="steps", value=steps)
    check_room(steps, model, "steps", steps)
    ends = as_split(np.concatenate([np.asarray(start.x), np.asarray(end.x)]))
    first, last = model.encode(ends)
    share = np.linspace(0, 1, steps, dtype=first.dtype)[:, None]
    codes = (1 - share) * first + share * last
    return {
        "images": decode(model, codes),
        "z": codes,
        "t": share[:, 0],
        "ends": np.asarray(ends.x),
    }


def sample(run: Run, model: Model, n: int = 64, seed: int = 0, noise: bool = False) -> Arrays:
    """`samples` from the model's prior, by `Model.sample`.

    Raises InputError for a plain autoencoder, whose codes were never trained towards a prior.
    """
    if not has_prior(run.config):
        raise InputError(
            f"{run.path.name}: an autoencoder has no prior to sample from; fit a density to its codes: factored, full,"
            " mixture or flow",
            field="density",
        )
    samples = model.sample(n, seed, noise)
    refuse_not_finite(model, "samples", samples)
    return {"samples": samples}


@dataclass(frozen=True)
class FittedDensity:
    """A density fitted to a run's training codes: `codes` of them, and the mean log-density of test codes, in nats;
    None without test items of its class.
    """

    density: densities.Density
    codes: int
    test_log_density: float | None


def fit_density(
    run: Run, model: Model, name: str, seed: int = 0, data_dir: str = "", observer: Observer = SILENT,
    class_name: str = "",
) -> FittedDensity:  # fmt: skip
    """Fits the density `name` (factored, full, mixture or flow) to the codes of the run's training split, or of those
    of its items that are of one class.

    Codes are draws from the posterior of each item; an autoencoder gives the codes themselves. Raises InputError as
    `densities.fit` does, for an unknown class or one with too few items, and if the run's data are missing.
    """
    densities.check([name])
    dataset = dataset_of(run, data_dir, observer.progress).in_memory()
    train, test = dataset.train, dataset.split(dataset.measured)
    if class_name:
        train, test = (_of_class(dataset, items, class_name) for items in (train, test))
    if not len(train):
        raise InputError("no training item is of this class", field="class_name", value=class_name)
    codes = densities.draws(model, train.x, seed)
    reason = densities.refusal(name, codes)
    if class_name and reason:
        raise InputError(f"density {name}: {reason}", field="class_name", value=class_name)
    progress = lambda n, total: observer.progress(f"fitting the density {name}", n, total)  # noqa: E731
    density = densities.fit(name, codes, seed, progress=progress)
    test_codes = densities.draws(model, test.x, seed + 1) if len(test) else None
    log_density = None if test_codes is None else float(density.log_prob(test_codes).mean())
    return FittedDensity(density, len(codes), log_density)


def _of_class(dataset: Dataset, items: Split, class_name: str) -> Split:
    """The items of one class; raises InputError for an unknown one."""
    if dataset.classes is None or items.labels is None:
        raise InputError("the items of this run have no classes", field="class_name", value=class_name)
    if class_name not in dataset.classes:
        error = unknown("class", class_name, dataset.classes)
        raise InputError(str(error), field="class_name")
    return items.take(np.flatnonzero(items.labels == dataset.classes.index(class_name)))


def sample_density(
    model: Model, density: densities.Density, n: int = 64, seed: int = 0, noise: bool = False
) -> Arrays:
    """`samples` decoded from codes `z` (n, D) of a density: means of p(x | z), or draws from it with `noise`."""
    check_count(n, seed)
    z = density.sample(n, seed)
    if not noise:
        return {"samples": decode(model, z), "z": z}
    codes = torch.as_tensor(z, dtype=model.dtype, device=model.device)
    drawn = model.to_numpy(model.means(codes, torch.Generator(model.device).manual_seed(seed + 1)))
    refuse_not_finite(model, "samples", drawn)
    return {"samples": drawn, "z": z}


def plausible(run: Run, images: np.ndarray, data_dir: str = "", observer: Observer = SILENT) -> float:
    """The share of images (N, H, W, C) in [0, 1] that a small classifier, trained on the run's data, takes for real.

    Raises InputError if the data do not suffice for a classifier.
    """
    dataset = dataset_of(run, data_dir, observer.progress).in_memory()
    observer.progress("training a classifier of real images", 0, 1)
    share = plausible_share(dataset, torch.from_numpy(np.asarray(images, np.float32)).movedim(-1, 1))
    if share is None:
        raise InputError(
            f"{dataset.name}, as this run has it, has no classes of images, or too few images for a small classifier"
            " to be sure of them",
            field="plausible",
        )
    return share.value


def single_item(items: Split, row: int | None = None, what: str = "this split") -> Split:
    """The item at a row; the row is optional if there is only one item.

    Raises InputError if the row is missing or out of range.
    """
    if row is not None:
        check_number(row, "row")
    if row is None and len(items) > 1:
        raise InputError(
            f"{what} has {counted(len(items), 'item')}; say which one, or give an image file", field="row"
        )
    if not 0 <= (row or 0) < len(items):
        raise InputError(f"rows of {what} are 0 to {len(items) - 1}", field="row", value=row)
    return items.take(np.array([row or 0]))


def code_spread(run: Run, model: Model, data_dir: str = "", observer: Observer = SILENT) -> np.ndarray:
    """The standard deviation of each dimension of the codes of the run's training split: (D,)."""
    return densities.draws(model, dataset_of(run, data_dir, observer.progress).train.some.x).std(0)


def vary(
    model: Model, item: Split, n: int = 8, scale: float = 1.0, seed: int = 0, spread: np.ndarray | None = None
) -> Arrays:
    """Variations of one item: `images` decoded at codes `z` (n, D), with `original` and `reconstruction` (1, ...).

    Codes are draws from the item's posterior with the noise multiplied by `scale`. A point posterior has no noise;
    scale * spread * noise is added to its code, where `spread` (D,) is the standard deviation of each dimension. Raises
    InputError if the spread is missing or a number is out of range.
    """
    check_variations(n, scale, seed)
    posterior = model.posterior(item)
    noise = np.random.default_rng(seed).standard_normal((n, 1, model.latent)) * scale
    with torch.no_grad():
        codes = posterior.rsample(torch.from_numpy(noise).to(posterior.mean))[:, 0].cpu().numpy()
    if not posterior.has_density:
        if spread is None:
            raise InputError("vary: an autoencoder's code has no spread of its own; give one")
        codes = codes + (spread * noise[:, 0]).astype(codes.dtype)
    pair = reconstruct(model, item)
    return {"images": decode(model, codes), "z": codes} | {k: pair[k] for k in ("original", "reconstruction")}


def check_room(n: int, model: Model, field: str, value: object = None) -> None:
    """Raises InputError for so many decoded items of a model that they do not fit into memory."""
    copies = 3  # decoded, in data units, and as they are written
    needed = copies * n * math.prod(model.item.shape) * model.dtype.itemsize
    refuse_beyond_room(needed, "", "so many decoded items", "take fewer", field=field, value=value)


def check_count(n: int, seed: int, most: int = MOST_SAMPLES) -> None:
    """Raises InputError if the number of samples or the seed is no whole number, or out of range."""
    check_number(n, "n")
    check_number(seed, "seed")
    if not 1 <= n <= most:
        raise InputError(f"at least 1 is needed, and at most {most:,} come at once", field="n", value=n)
    if not 0 <= seed < 2**63:
        raise InputError("expected a whole number from 0 to 2^63 - 1", field="seed", value=seed)


def check_variations(n: int, scale: float, seed: int) -> None:
    """Raises InputError if an argument of `vary` is out of range."""
    check_count(n, seed, MOST_VARIATIONS)
    check_number(scale, "scale", whole=False)
    if not 0 <= scale <= MOST_SCALE:
        raise InputError(f"expected a number from 0 to {MOST_SCALE:g}", field="scale", value=scale)


def check_path(
    path: Path,
    picture: bool = True,
    images: bool = True,
    more: Sequence[str] = (),
    inputs: Sequence[Path] = (),
) -> None:
    """Raises InputError as `check_output` does; names end in .npz, in one of `more` or, for pictures, in .png."""
    endings = [".npz", *([".png"] if picture else []), *more]
    check_output(path, endings, inputs)
    if path.suffix.lower() in PICTURES and not images:
        others = [ending for ending in endings if ending not in PICTURES]
        raise InputError(f"these items are not images; use {alternatives(others)}", field="out", value=path)


def check_samples(path: Path, images: bool) -> None:
    """Raises InputError as `check_path` does for a file of samples; a name without an ending is that of a folder for
    images, which must be new or empty.
    """
    if path.suffix or not images:
        check_path(path, images=images, more=() if images else (".csv", ".parquet"))
    else:
        check_folder(path)


def save_images(folder: Path, images: np.ndarray) -> None:
    """Writes images (N, H, W, C) in [0, 1] as files 1.png, 2.png, ... in a new folder, whole or not at all."""
    pixels = figures.rgb(images, 1)[0]
    files: dict[str, bytes] = {}
    for number, image in enumerate(pixels, 1):
        content = io.BytesIO()
        Image.fromarray(image).save(content, "PNG")
        files[f"{number:0{len(str(len(pixels)))}}.png"] = content.getvalue()
    write_new_folder(folder, files)


def shown(model: Model, items: np.ndarray) -> np.ndarray:
    """Images in data units as they are drawn: inside [0, 1]."""
    return model.item.scaling.apply(items).clip(0, 1)


def save(path: Path, arrays: Arrays, picture: str = "", draw: Callable[[], Figure] | None = None) -> Path:
    """Writes the arrays as .npz, or the figure that `draw` makes of them as .png.

    `picture` names the array of items, if there is one; its file says that `units` are "data". Raises InputError for
    items that cannot be drawn.
    """
    if path.suffix.lower() in PICTURES and (draw is None or arrays[picture].ndim != 4):
        raise InputError("these items are not images; use .npz", field="out", value=path)
    if draw is not None and path.suffix.lower() == ".png":
        return figures.save(draw(), path)
    content = io.BytesIO()
    units = {"units": np.array("data")} if picture else {}
    np.savez(content, **arrays, **units)  # type: ignore[arg-type]
    write_atomic(path, content.getvalue())
    return path
