"""The Python interface: one call for each command; the command line makes the same calls.

A run is given as a `Run`, a run folder, or a name under runs/. `out` is the file that a call writes: None writes
nothing, "" takes the default name in the run folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from matplotlib.figure import Figure

from latlas import (
    animation,
    compare,
    diagnosis,
    evaluation,
    experiment,
    figures,
    html,
    inference,
    machine,
    metrics,
    report,
    studies,
)
from latlas import config as configuration
from latlas.console import Console
from latlas.data import Split
from latlas.errors import InputError
from latlas.files import write_atomic
from latlas.inference import Arrays, Output
from latlas.listing import data_info, fetch_data, list_data, list_recipes, list_runs, show_recipe
from latlas.models import Model
from latlas.runs import Run, dataset_of, find, load
from latlas.settings import Config
from latlas.studies import budget as budgets
from latlas.studies import execute, prepare, results

__all__ = [
    "animate",
    "compare_runs",
    "data_info",
    "decode",
    "diagnose",
    "encode",
    "evaluate",
    "evaluation_of",
    "fetch_data",
    "list_data",
    "list_recipes",
    "list_runs",
    "load",
    "morph",
    "plan_study",
    "reconstruct",
    "resume",
    "sample",
    "show_recipe",
    "study",
    "train",
    "vary",
    "write_report",
]

PathLike = str | os.PathLike[str]
RunLike = Run | PathLike
COMPARISON = "compare.html"

# Short names of the settings that are changed most often, with the configuration's keys.
SHORT = {
    "latent": "model.latent",
    "epochs": "training.epochs",
    "steps": "training.steps",
    "batch_size": "training.batch_size",
    "lr": "optimizer.lr",
    "beta": "objective.beta",
    "seed": "seed",
    "limit": "data.limit",
    "image_size": "data.image_size",
    "layout": "data.layout",
    "label": "data.label",
    "strict": "data.strict",
    "data_dir": "data.data_dir",
    "device": "training.device",
    "threads": "training.threads",
    "patience": "training.patience",
}

QUICK = {"evaluation.groups": (), "evaluation.diagnose": False}


class Where(TypedDict, total=False):
    """Options of every call: the folder of named data sets (default: LATLAS_DATA), the `device` (auto, cpu, cuda,
    cuda:1 or mps), the number of CPU `threads`, and `quiet`, which leaves out notes and progress."""

    data_dir: str
    device: str
    threads: int | None
    quiet: bool


class ItemOptions(Where, total=False):
    """The options of `Where`, and the `split` of the run's own data: train, valid or test."""

    split: str


class EvaluateOptions(Where, total=False):
    """The options of `Where`, and the fields of `latlas.evaluation.Request`."""

    source: PathLike
    split: str
    limit: int | None
    draws: int | None
    samples: int
    seed: int | None
    ais: int | None
    chains: int
    temperatures: int
    corrupt: str
    strength: float | None


class StudyOptions(Where, total=False):
    """The options of `Where`; the folder `out` of the runs and the page (default: studies/NAME); the time `budget` in
    seconds or as "10m"; the number of `seeds`; the `limit` on training images.
    """

    out: PathLike | None
    budget: float | str | None
    seeds: int | None
    limit: int | None


@dataclass(frozen=True)
class _Call:
    """A call on a trained run: the run, its model and the call's options."""

    run: Run
    model: Model
    data_dir: str
    observer: Console


@contextmanager
def _opened(run: RunLike, options: Mapping[str, Any], allowed: type = Where) -> Iterator[_Call]:
    """Loads a run's model, with a console for notes and progress inside the block."""
    _check(options, allowed)
    with Console(options.get("quiet", False)) as console:
        opened = _run(run)
        yield _Call(opened, _model(opened, options), options.get("data_dir", ""), console)


def _check(options: Mapping[str, Any], allowed: type) -> None:
    for name in options:
        if name not in allowed.__annotations__:
            raise TypeError(f"unknown option {name!r} (known: {', '.join(allowed.__annotations__)})")


def _run(run: RunLike) -> Run:
    return run if isinstance(run, Run) else find(run)


def _model(run: Run, options: Mapping[str, Any]) -> Model:
    machine.use_threads(options.get("threads"))
    return run.model().to(machine.choose_device(options.get("device") or "auto"))


def _items(call: _Call, source: PathLike, options: ItemOptions) -> Split:
    split = options.get("split", "test")
    return inference.items(call.run, call.model, split, os.fspath(source), call.data_dir, call.observer)


def _path(out: PathLike | None, run: Run, default: str) -> Path | None:
    """The file for arrays; None if none is to be written."""
    if out is None:
        return None
    return Path(out).expanduser() if os.fspath(out) else run.path / default


def _output(
    run: Run, arrays: Arrays, path: Path | None, picture: str = "", title: str = "",
    draw: Callable[[], Figure] | None = None,
) -> Output:  # fmt: skip
    if path is not None:
        inference.save(path, arrays, picture, title, draw)
    return Output(run, arrays, path, title)


def _default_name(stem: str, items: np.ndarray) -> str:
    """The default file name for items: a picture for images (N, H, W, C), else .npz."""
    return f"{stem}.{'png' if items.ndim == 4 else 'npz'}"


def configure(
    source: str = "", recipe: str = "", file: Path | None = None,
    settings: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None,
) -> Config:  # fmt: skip
    """The configuration of a recipe, then a file, then settings by dotted key, then options by short name.

    Options that are None count as not given. Raises InputError for an unknown recipe, key or value.
    """
    base = configuration.recipe(recipe or "vae")
    if base.recipe.data:
        base = configuration.override(base, {"data.source": base.recipe.data}, recipe)
    if file is not None:
        base = configuration.read(file, base)
    changed = configuration.override(base, settings, "settings") if settings else base
    given = {name: value for name, value in (options or {}).items() if value is not None}
    if "data_dir" in given:
        given["data_dir"] = str(Path(given["data_dir"]).expanduser().absolute())
    changes = {SHORT[name]: value for name, value in given.items()}
    if source:
        changes["data.source"] = source
    return configuration.override(changed, changes, ", ".join(given) or "source") if changes else changed


def train(
    source: PathLike = "",
    recipe: str = "vae",
    *,
    config: PathLike | None = None,
    out: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    quick: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Trains a recipe on a data set and gives the run: its folder, configuration, log and numbers.

    `source` is a named set, a folder of images, an array or a table; by default it is the recipe's data set or
    fashion-mini. `options` are the short names latent, epochs, steps, batch_size, lr, beta, seed, limit, image_size,
    layout, label, strict, data_dir, device, threads and patience. `settings` takes any key of the configuration, as
    {"likelihood.sigma": 0.1}, and `config` is a TOML file of them. `out` is the run folder, which must not exist; by
    default it is runs/<data>-<recipe>-<n>. `quick` leaves out the diagnosis and all numbers but the ELBO, its terms and
    the squared error, which is enough to try things out.

    Raises InputError for anything wrong with the call or the data, before anything is written.
    """
    unknown_names = sorted(set(options) - set(SHORT))
    if unknown_names:
        raise TypeError(f"train() got an unknown option {unknown_names[0]!r} (known: {', '.join(SHORT)})")
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f"source: expected a name or a path, got {type(source).__name__}; save arrays with numpy.save"
        )
    file = None if config is None else Path(config)
    with Console(quiet) as console:
        settings = (QUICK if quick else {}) | dict(settings or {})
        resolved = configure(os.fspath(source), recipe, file, settings, options)
        return experiment.train(resolved, Path(out) if out is not None else None, console)


def resume(path: RunLike, **where: Unpack[Where]) -> Run:
    """Continues a run to its end as if it had never stopped; a finished run is returned unchanged.

    Device and threads are those of the run unless others are given. Raises InputError for data that are missing or have
    changed.
    """
    _check(where, Where)
    folder = path.path if isinstance(path, Run) else Path(path)
    with Console(where.get("quiet", False)) as console:
        return experiment.resume(
            folder, console, where.get("threads"), where.get("device", ""), where.get("data_dir", "")
        )


def evaluate(
    run: RunLike, measures: Sequence[str] | None = ("all",), **options: Unpack[EvaluateOptions]
) -> dict[str, dict[str, Any]]:
    """Measures a run: numbers by name, each with `value`, `stderr`, `unit`, the numbers of `items` and `draws`, and the
    values of other models or baselines `beside` it.

    `measures` are names of `latlas.metrics.METRICS` or of groups; None takes the groups of the run's configuration, and
    "bound" is the group of the ELBO and its terms. The items are those of the test split, of another `split`, or of
    another `source`; `limit` takes so many of them, evenly spaced. `draws` is the number of draws of z per item for
    log p(x), which is then measured on every item; `samples` is that for the ELBO, drawn by `seed`. `ais` is the number
    of items for annealed importance sampling with `chains` and `temperatures`. `corrupt` ("gaussian" or "masking") and
    `strength` are the corruption of items to restore. Further options are those of `Where`.

    Raises InputError for an unknown measure, a value out of range, and data that are missing, have changed or do not
    fit.
    """
    return evaluation_of(run, measures, **options).get("numbers", {})


def evaluation_of(
    run: RunLike,
    measures: Sequence[str] | None = None,
    *,
    keep: bool = False,
    **options: Unpack[EvaluateOptions],
) -> dict[str, Any]:
    """The record that `latlas evaluate --json` prints: the ELBO of a run with its terms, `numbers` by name, and with
    `draws` all results of `importance` sampling.

    The options are those of `evaluate`. `keep` adds numbers of the whole test split to the run's metrics.json and its
    report.
    """
    names = {field.name for field in fields(evaluation.Request)}
    given = {key: value for key, value in options.items() if key in names and value is not None}
    given["source"] = os.fspath(options.get("source", ""))
    with _opened(run, options, EvaluateOptions) as call:
        request = evaluation.Request(measures, **given)  # type: ignore[arg-type]
        return evaluation.evaluate(call.run, call.model, request, call.data_dir, keep, call.observer)


def diagnose(run: RunLike, **where: Unpack[Where]) -> list[diagnosis.Finding]:
    """The findings on a run, the most serious first; empty if nothing is wrong.

    Each finding has `title`, `evidence`, `cause`, `remedy` and the `settings` to change.

    Raises InputError for data that are missing or have changed.
    """
    _check(where, Where)
    with Console(where.get("quiet", False)) as console:
        opened = _run(run)
        dataset = dataset_of(opened, where.get("data_dir", ""), console.progress)
        model = _model(opened, where) if opened.has_weights else None
        context = None if model is None else metrics.context_of(opened, model, dataset, observer=console)
        return diagnosis.of(opened, dataset, context, opened.finished)


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
    with _opened(run, where) as call:
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
    """Encodes a split of the run's own data, or all items of another source.

    The arrays are `mean` (N, D), `std` (N, D) if the posterior has one, `labels` if the data have any, and `index`,
    each item's row. `out` ends in .npz.

    Raises InputError for data that are missing, have changed or do not fit.
    """
    with _opened(run, options, ItemOptions) as call:
        arrays = inference.encode(call.model, _items(call, source, options))
    return _output(call.run, arrays, _path(out, call.run, "codes.npz"))


def reconstruct(
    run: RunLike, source: PathLike = "", *, out: PathLike | None = None, **options: Unpack[ItemOptions]
) -> Output:
    """Reconstructs the items of a split or of another source at the posterior's mean.

    The arrays are `original` and `reconstruction`: images (N, H, W, C) in [0, 1], tables in data units. `out` ends in
    .npz or .png.

    Raises InputError for data that are missing, have changed or do not fit.
    """
    with _opened(run, options, ItemOptions) as call:
        arrays = inference.reconstruct(call.model, _items(call, source, options))
    path = _path(out, call.run, "reconstructions.npz")
    return _output(call.run, arrays, path, "reconstruction", "Reconstructions")


def decode(
    run: RunLike, codes: PathLike | np.ndarray, *, out: PathLike | None = None, **where: Unpack[Where]
) -> Output:
    """Decodes codes (N, D), an array or a file, into `decoded` (N, ...), the means of p(x | z).

    A file is an .npy, or an .npz with `mean` or `z`; `out` ends in .npz or .png. Raises InputError for other codes.
    """
    with _opened(run, where) as call:
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
    with _opened(run, options, ItemOptions) as call:
        items = _items(call, source, options)
    arrays = inference.morph(call.model, items, start, end, steps)
    path = _path(out, call.run, _default_name(f"morph-{start}-{end}", arrays["images"]))
    draw = lambda: figures.morph(arrays["images"][None], arrays["t"], arrays["ends"][None])  # noqa: E731
    return _output(call.run, arrays, path, "images", f"Morph from {start} to {end}", draw)


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
    with _opened(run, options, ItemOptions) as call:
        items = _items(call, image, options)
        what = os.fspath(image) or f"the {options.get('split', 'test')} split"
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
    return _output(call.run, arrays, path, "images", f"{n} variation{'s' * (n > 1)}, {codes}", draw)


def write_report(
    run: RunLike,
    *,
    redraw: bool = False,
    grid: tuple[int, int] | None = None,
    span: tuple[float, float] | None = None,
    data_dir: str = "",
    quiet: bool = False,
) -> Path:
    """Writes report.html again from the run folder and gives its path.

    `redraw` draws the pictures again from the data, as does a `grid` (rows, columns) or a `span` (low, high) of the
    latent manifold. Raises InputError if the data are missing.
    """
    opened = _run(run)
    if redraw or grid or span:
        with Console(quiet) as console:
            experiment.redraw(opened, grid, span, data_dir, console)
    return report.write_report(opened.path)


def animate(
    run: RunLike,
    out: PathLike | None = None,
    what: str = "all",
    *,
    seconds: float = 8.0,
    size: int = 960,
    quiet: bool = False,
) -> animation.Animation:
    """Writes a run's snapshots in order as a film; `what` is all, samples, codes or manifold.

    `out` is a .webp or .gif, by default animation.webp in the run folder. The film is `seconds` long, and the longer
    side of its frames has `size` pixels. A report in the same folder shows it.

    Raises InputError for a run with fewer than two snapshots or without the requested panel.
    """
    opened = _run(run)
    path = Path(out).expanduser() if out else None
    with Console(quiet) as console:
        film = animation.animate(opened, path, what, seconds, size, console)
    if film.path.parent.resolve() == opened.path.resolve() and (opened.path / "report.html").exists():
        report.write_report(opened.path)
    return film


def compare_runs(
    runs: Sequence[RunLike],
    out: PathLike | None = None,
    *,
    pca: bool = True,
    measures: Sequence[str] = (),
    data_dir: str = "",
    quiet: bool = False,
) -> compare.Comparison:
    """Compares finished runs, one row each, and writes the page to `out` unless it is None.

    "" is compare.html in the current folder, which is overwritten. `pca` adds rows of PCA at the runs' latent sizes;
    `measures` are names of `latlas.metrics.METRICS`. Raises InputError for an `out` that exists, an unfinished run, a
    run given twice, an unknown measure, and missing data.
    """
    path = None if out is None else html.new_page(out) if os.fspath(out) else Path(COMPARISON)
    opened = [_run(run) for run in runs]
    with Console(quiet) as console:
        result = compare.gather(
            compare.by_name(opened), pca=pca, measures=measures, data_dir=data_dir, pictures=path is not None,
            observer=console,
        )  # fmt: skip
    if path is not None:
        write_atomic(path, compare.page([result], compare.title_of(result)))
    return result


def plan_study(
    name: PathLike, data: Sequence[str] | str = (), **options: Unpack[StudyOptions]
) -> prepare.Plan:
    """The runs of a study with their estimated times, measured on this machine; nothing is trained or written.

    `name` is the name of a study or a TOML file; `data` replaces the study's data sets. Raises InputError for wrong
    settings or data, a folder that holds something else, and a budget that is too short.
    """
    _check(options, StudyOptions)
    with Console(options.get("quiet", False)) as console:
        return _plan(name, data, options, console, measure=True)


def study(name: PathLike, data: Sequence[str] | str = (), **options: Unpack[StudyOptions]) -> dict[str, Any]:
    """Trains the runs of a study and compares them on one page; after an interruption the same call continues.

    The result holds the `runs`, the `cuts` of a budget and the `results` by data set; `folder`, `page` and `table` are
    paths. Raises InputError as `plan_study` does, and LatlasError at the end if runs failed.
    """
    _check(options, StudyOptions)
    with Console(options.get("quiet", False)) as console:
        plan = _plan(name, data, options, console)
        for line in (execute.headline(plan), *plan.cuts):
            console.note(line)
        values = execute.carry_out(plan, console)
    keys = ("study", "title", "data", "seeds", "budget", "cuts", "estimate_seconds", "runs", "results")
    places = {"folder": plan.out, "page": plan.out / results.PAGE, "table": plan.out / results.TABLE}
    return {**{key: values[key] for key in keys}, **{key: str(path) for key, path in places.items()}}


def _plan(
    name: PathLike, data: Sequence[str] | str, options: StudyOptions, console: Console, measure: bool = False
) -> prepare.Plan:
    budget, seeds, out = options.get("budget"), options.get("seeds"), options.get("out")
    if seeds is not None and seeds < 1:
        raise InputError("at least 1 is needed", field="seeds", value=seeds)
    requested = prepare.Options(
        data=(data,) if isinstance(data, str) else tuple(data),
        out=None if out is None else Path(out),
        budget=budgets.parse_duration(budget) if isinstance(budget, str) else budget,
        seeds=seeds,
        limit=options.get("limit"),
        threads=options.get("threads"),
        device=options.get("device", ""),
        data_dir=options.get("data_dir", ""),
        measure=measure,
    )
    return prepare.plan(studies.read(os.fspath(name)), requested, console)
