"""All that latlas does, as calls; the command line makes the same ones.

A run is given as a `Run`, a run folder, or a name under runs/. An `out` is the file that a call writes: None writes
nothing, and "" takes the call's usual name, in the run folder.
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

# Short names for what people change most, and the configuration's keys that they stand for.
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
"""What `train(quick=True)` leaves out; `evaluate` and `diagnose` make up for it at any time."""


class Where(TypedDict, total=False):
    """Where a call works: named data sets lie in `data_dir` (else LATLAS_DATA), `device` is auto, cpu, cuda, cuda:1 or
    mps, `threads` are those of the CPU; `quiet` leaves out notes and progress.
    """

    data_dir: str
    device: str
    threads: int | None
    quiet: bool


class ItemOptions(Where, total=False):
    """Those of `Where`, and the `split` of the run's own data: train, valid or test."""

    split: str


class EvaluateOptions(Where, total=False):
    """Those of `Where`, and what `latlas.evaluation.Request` explains."""

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
    """Those of `Where`, the folder `out` of the runs and the page (else studies/NAME), the `budget` of time in seconds
    or as "10m", the number of `seeds` and the `limit` on training images.
    """

    out: PathLike | None
    budget: float | str | None
    seeds: int | None
    limit: int | None


@dataclass(frozen=True)
class _Use:
    """A trained run in use."""

    run: Run
    model: Model
    data_dir: str
    observer: Console


@contextmanager
def _use(run: RunLike, options: Mapping[str, Any], known: type = Where) -> Iterator[_Use]:
    _check(options, known)
    with Console(options.get("quiet", False)) as console:
        found = _run(run)
        yield _Use(found, _model(found, options), options.get("data_dir", ""), console)


def _check(options: Mapping[str, Any], known: type) -> None:
    for name in options:
        if name not in known.__annotations__:
            raise TypeError(f"unknown option {name!r} (known: {', '.join(known.__annotations__)})")


def _run(run: RunLike) -> Run:
    return run if isinstance(run, Run) else find(run)


def _model(run: Run, options: Mapping[str, Any]) -> Model:
    machine.use_threads(options.get("threads"))
    return run.model().to(machine.choose_device(options.get("device") or "auto"))


def _items(use: _Use, source: PathLike, options: ItemOptions) -> Split:
    split = options.get("split", "test")
    return inference.items(use.run, use.model, split, os.fspath(source), use.data_dir, use.observer)


def _path(out: PathLike | None, run: Run, usual: str) -> Path | None:
    """Where arrays are to go, if anywhere."""
    if out is None:
        return None
    return Path(out).expanduser() if os.fspath(out) else run.path / usual


def _output(
    run: Run, arrays: Arrays, path: Path | None, picture: str = "", title: str = "",
    draw: Callable[[], Figure] | None = None,
) -> Output:  # fmt: skip
    if path is not None:
        inference.save(path, arrays, picture, title, draw)
    return Output(run, arrays, path, title)


def _usual(stem: str, items: np.ndarray) -> str:
    """The usual name of a file of such items: a picture where they are images (N, H, W, C)."""
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

    `source` is a named set, a folder of images, an array or a table (else the recipe's, or fashion-mini);
    `options` are the short names latent, epochs, steps, batch_size, lr, beta, seed, limit, image_size,
    layout, label, strict, data_dir, device, threads and patience; `settings` takes any key of the
    configuration, as {"likelihood.sigma": 0.1}, and `config` is a TOML file of them. `out` is the run folder, which
    must not exist; else runs/<data>-<recipe>-<n>. `quick` leaves out the diagnosis and all numbers but the ELBO, its
    terms and the squared error: for trying things out.

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
    """Continues a run to its end, as if it had never stopped; a finished one is returned as it is.

    It goes on with the device and threads that it had, unless others are given. Raises InputError for data that are
    missing or have changed.
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
    """What a run is worth: numbers by name, each with `value`, `stderr`, `unit`, the `items` and `draws` that it came
    from, and what stands `beside` it.

    `measures` are names of `latlas.metrics.METRICS`, or groups of them (None: as the run's configuration says); "bound"
    is the group of the ELBO and its terms. They are of the test split, or of another `split`, all of another `source`,
    or `limit` items of these. `draws` of z per item are for log p(x), then of every item; `samples` of z per item,
    drawn by `seed`, for the ELBO. `ais` items take annealed importance sampling, by `chains` and `temperatures`.
    `corrupt` ("gaussian" or "masking") and `strength` say what the items suffer before they are restored.
    Further options are those of `Where`.

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
    """What `latlas evaluate --json` prints: the ELBO of a run with its terms, `numbers` by name, and the whole of
    `importance` sampling where `draws` are given.

    The options are those of `evaluate`. `keep` adds numbers of the whole test split to the run's metrics.json and its
    report.
    """
    names = {field.name for field in fields(evaluation.Request)}
    given = {key: value for key, value in options.items() if key in names and value is not None}
    given["source"] = os.fspath(options.get("source", ""))
    with _use(run, options, EvaluateOptions) as use:
        asked = evaluation.Request(measures, **given)  # type: ignore[arg-type]
        return evaluation.evaluate(use.run, use.model, asked, use.data_dir, keep, use.observer)


def diagnose(run: RunLike, **where: Unpack[Where]) -> list[diagnosis.Finding]:
    """What is wrong with a run, the weightiest first: each finding with `title`, `evidence`, `cause`, `remedy` and the
    `settings` to change; empty where nothing is.

    Raises InputError for data that are missing or have changed.
    """
    _check(where, Where)
    with Console(where.get("quiet", False)) as console:
        found = _run(run)
        dataset = dataset_of(found, where.get("data_dir", ""), console.progress)
        model = _model(found, where) if found.has_weights else None
        context = None if model is None else metrics.context_of(found, model, dataset, observer=console)
        return diagnosis.of(found, dataset, context, found.finished)


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
    """Draws new items and decodes them: `samples` (n, ...), means of p(x | z), or draws from it where `noise`.

    Codes are draws from the prior, or from a `density` (factored, full, mixture or flow) fitted to the run's training
    codes: then the output is also `about` the number of `codes` and their `test_log_density`, and has `z`. `plausible`
    asks a classifier of the run's own images for the `plausible_share`. `out` ends in .npz or .png.

    Raises InputError for a plain autoencoder without a density, and a value out of range.
    """
    inference.check_count(n, seed)
    with _use(run, where) as use:
        images = use.model.item.kind == "image"
        path = _path(out, use.run, f"samples{'-' * bool(density)}{density}.{'png' if images else 'npz'}")
        if path is not None:
            inference.check_path(path, images=images)
        about: dict[str, Any] = {"samples": n, "seed": seed, "noise": noise}
        title = f"{n} samples"
        if density:
            fit = inference.fitted(use.run, use.model, density, seed, use.data_dir, use.observer)
            arrays = inference.sample_density(use.model, fit.density, n, seed, noise)
            title += f" from {fit.density.what}"
            about |= {"density": density, "codes": fit.codes, "test_log_density": fit.test}
        else:
            arrays = inference.sample(use.run, use.model, n, seed, noise)
        if plausible:
            about["plausible_share"] = inference.plausible(
                use.run, arrays["samples"], use.data_dir, use.observer
            )
    return replace(_output(use.run, arrays, path, "samples", title), about=about)


def encode(
    run: RunLike, source: PathLike = "", *, out: PathLike | None = None, **options: Unpack[ItemOptions]
) -> Output:
    """Codes of a split of the run's own data, or of all of another source: `mean` (N, D), `std` (N, D) where the
    posterior has one, `labels` where there are any, and each item's row, `index`. `out` ends in .npz.

    Raises InputError for data that are missing, have changed or do not fit.
    """
    with _use(run, options, ItemOptions) as use:
        arrays = inference.encode(use.model, _items(use, source, options))
    return _output(use.run, arrays, _path(out, use.run, "codes.npz"))


def reconstruct(
    run: RunLike, source: PathLike = "", *, out: PathLike | None = None, **options: Unpack[ItemOptions]
) -> Output:
    """Items of a split, or of another source, as `original` and `reconstruction` at the posterior's mean: images
    (N, H, W, C) in [0, 1], tables in data units. `out` ends in .npz or .png.

    Raises InputError for data that are missing, have changed or do not fit.
    """
    with _use(run, options, ItemOptions) as use:
        arrays = inference.reconstruct(use.model, _items(use, source, options))
    path = _path(out, use.run, "reconstructions.npz")
    return _output(use.run, arrays, path, "reconstruction", "Reconstructions")


def decode(
    run: RunLike, codes: PathLike | np.ndarray, *, out: PathLike | None = None, **where: Unpack[Where]
) -> Output:
    """Decodes codes (N, D), an array or a file of one, into `decoded` (N, ...), the means of p(x | z).

    A file is an .npy, or an .npz with `mean` or `z`; `out` ends in .npz or .png. Raises InputError for other codes.
    """
    with _use(run, where) as use:
        array = codes if isinstance(codes, np.ndarray) else inference.read_codes(Path(codes))
        arrays = {"decoded": use.model.decode(array)}
    return _output(use.run, arrays, _path(out, use.run, "decoded.npz"), "decoded", "Decoded codes")


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
    """Walks in a straight line between the codes of two rows: `images` decoded at `z`, at `t` from 0 to 1, in so many
    `steps`, both ends included; `ends`, the two originals. `out` ends in .npz or .png.

    Raises InputError for a row outside the split, and as `encode`.
    """
    with _use(run, options, ItemOptions) as use:
        items = _items(use, source, options)
    arrays = inference.morph(use.model, items, start, end, steps)
    path = _path(out, use.run, _usual(f"morph-{start}-{end}", arrays["images"]))
    draw = lambda: figures.morph(arrays["images"][None], arrays["t"], arrays["ends"][None])  # noqa: E731
    return _output(use.run, arrays, path, "images", f"Morph from {start} to {end}", draw)


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
    """Makes `n` items like one item: `images` decoded at `z`, draws from around its code, whose noise is multiplied by
    `scale`; with them `original` and `reconstruction`.

    The item is an `image` file or other data, or a `row` of the split; where there are many, `row` says which. An
    autoencoder gives a code without noise: it gets that of the training codes. `out` ends in .npz or .png.
    Raises InputError where it is not said which item, and as `encode`.
    """
    inference.check_variations(n, scale, seed)
    with _use(run, options, ItemOptions) as use:
        items = _items(use, image, options)
        item = inference.one(items, row, os.fspath(image) or f"the {options.get('split', 'test')} split")
        point = use.run.config.posterior.name == "point"
        spread = inference.spread(use.run, use.model, use.data_dir, use.observer) if point else None
    arrays = inference.vary(use.model, item, n, scale, seed, spread)
    how = (
        f"its code plus noise, {scale:g} times the standard deviations of the training codes"
        if point
        else f"draws from its posterior, the noise times {scale:g}"
    )
    pair, subtitle = (arrays["original"][0], arrays["reconstruction"][0]), f"On the right, decoded: {how}."
    draw = lambda: figures.variations(*pair, arrays["images"], "Variations on an image", subtitle)  # noqa: E731
    path = _path(out, use.run, _usual("vary", arrays["images"]))
    return _output(use.run, arrays, path, "images", f"{n} variation{'s' * (n > 1)}, {how}", draw)


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

    `redraw` draws the pictures anew, from the data; so do a `grid` (rows, columns) or a `span` (low, high) of the
    latent manifold. Raises InputError when data are needed and missing.
    """
    found = _run(run)
    if redraw or grid or span:
        with Console(quiet) as console:
            experiment.redraw(found, grid, span, data_dir, console)
    return report.write_report(found.path)


def animate(
    run: RunLike,
    out: PathLike | None = None,
    what: str = "all",
    *,
    seconds: float = 8.0,
    size: int = 960,
    quiet: bool = False,
) -> animation.Animation:
    """Plays a run's snapshots in order, as a film: `what` is all, samples, codes or manifold.

    The film goes to `out`, a .webp or .gif (else animation.webp in the run folder), is `seconds` long, and its frames
    are `size` pixels at the longer side. A report in the same folder shows it.

    Raises InputError for a run with fewer than two snapshots, or without what was asked for.
    """
    found = _run(run)
    path = Path(out).expanduser() if out else None
    with Console(quiet) as console:
        film = animation.animate(found, path, what, seconds, size, console)
    if film.path.parent.resolve() == found.path.resolve() and (found.path / "report.html").exists():
        report.write_report(found.path)
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
    """Compares finished runs, a row each, and writes the page to `out` where one is given ("": compare.html in the
    current folder, written over).

    `pca` adds rows of PCA at the runs' latent sizes; `measures` are names of `latlas.metrics.METRICS`. Raises
    InputError for an `out` that exists, an unfinished run, one given twice, an unknown measure, and data that are
    missing.
    """
    path = None if out is None else html.new_page(out) if os.fspath(out) else Path(COMPARISON)
    found = [_run(run) for run in runs]
    with Console(quiet) as console:
        result = compare.gather(
            compare.by_name(found), pca=pca, measures=measures, data_dir=data_dir, pictures=path is not None,
            observer=console,
        )  # fmt: skip
    if path is not None:
        write_atomic(path, compare.page([result], compare.title_of(result)))
    return result


def plan_study(
    name: PathLike, data: Sequence[str] | str = (), **options: Unpack[StudyOptions]
) -> prepare.Plan:
    """The runs of a study and how long they take, measured here; nothing is trained and nothing is written.

    `name` is a study's, or a TOML file; `data` are other data sets than its own. Raises InputError for wrong settings
    or data, a folder with something else in it, and a budget that is too short.
    """
    _check(options, StudyOptions)
    with Console(options.get("quiet", False)) as console:
        return _plan(name, data, options, console, measure=True)


def study(name: PathLike, data: Sequence[str] | str = (), **options: Unpack[StudyOptions]) -> dict[str, Any]:
    """Trains the runs of a study and compares them on one page; the same call goes on where it stopped.

    Gives the runs, what a budget cut, and `results` by data set; `folder`, `page` and `table` say where they are.
    Raises InputError as `plan_study`, and LatlasError at the end where runs failed.
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
    asked = prepare.Options(
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
    return prepare.plan(studies.read(os.fspath(name)), asked, console)
