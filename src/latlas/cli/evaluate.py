"""What a trained run is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from latlas.cli.common import (
    DataDir,
    Device,
    Json,
    Quiet,
    RunArgument,
    SourceArgument,
    Split,
    Threads,
    number,
    open_run,
    show,
)

if TYPE_CHECKING:
    from latlas.metrics import Context
    from latlas.progress import Observer
    from latlas.runs import Run


def register(app: typer.Typer) -> None:
    """Adds the command."""
    run = "runs/fashion-mini-vae-1"
    app.command(
        epilog=f"Examples: latlas evaluate {run} --importance 5000 --limit 200 · "
        f"latlas evaluate {run} --ais 20 --measure none · "
        f"latlas evaluate {run} --measure downstream --measure sharpness --json · "
        f"latlas evaluate {run} --corrupt gaussian --strength 0.5 --measure none"
    )(evaluate)


def evaluate(
    run: RunArgument,
    source: SourceArgument = "",
    split: Split = "test",
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Numbers beside the ELBO, by name or group: likelihood, codes, reconstruction, samples, downstream,"
            " disentanglement; all; none. Else as the run's configuration says.",
            show_default=False,
        ),
    ] = None,
    importance: Annotated[
        int | None,
        typer.Option(
            metavar="K", min=1, help="Draws per item for log p(x), taken of every item.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Only N items, evenly spaced over the split.", show_default=False
        ),
    ] = None,
    ais: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Also log p(x) without the encoder, by annealed importance sampling, of N items spread evenly.",
            show_default=False,
        ),
    ] = None,
    chains: Annotated[int, typer.Option(metavar="N", help="Chains per item (--ais).")] = 16,
    temperatures: Annotated[int, typer.Option(metavar="N", help="Steps of annealing (--ais).")] = 300,
    samples: Annotated[int, typer.Option(metavar="N", help="Draws of z per image for the ELBO.")] = 1,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Seed of the ELBO's draws.", show_default=False)
    ] = None,
    corrupt: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Also corrupt the items and restore them: gaussian, masking, none; else as in training.",
            show_default=False,
        ),
    ] = "",
    strength: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Standard deviation of the noise, or share of masked values; else as in training.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = "",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure what a run is worth: ELBO, log p(x), codes, reconstruction, samples, downstream tasks, beside PCA.

    What is measured of the whole test split goes into the run's metrics.json and its report as well.
    """
    from latlas import inference, metrics
    from latlas.build import unit_of
    from latlas.console import Console
    from latlas.errors import InputError
    from latlas.metrics.ais import AIS, check
    from latlas.metrics.context import EVALUATION_SEED
    from latlas.runs import dataset_of

    with Console(quiet) as console:
        found, model = open_run(run, device, threads)
        corruption = metrics.corruption_of(found, corrupt, strength)
        seed = EVALUATION_SEED if seed is None else seed
        annealing = None if ais is None else metrics.Annealing(ais, chains, temperatures, seed)
        effort = metrics.effort_of(
            found, importance, limit is not None, samples=samples, seed=seed, annealing=annealing
        )
        names = _names(found, measure, importance)
        if source and split != "test":
            raise InputError(
                f"--split {split}: splits are of the run's own data; leave it out, or the source"
            )
        if annealing is not None:
            check(annealing)
        if not found.finished:
            console.note("the run is unfinished: these are the numbers of its best weights so far")
        if split == "train" and not source:
            names = _unseen(names, console)
        data = dataset_of(found, data_dir, console.progress) if names or not source else None
        items = inference.items(found, model, split, source, data_dir, console, data)
        items = items if limit is None else items.evenly(limit)
        context = metrics.context_of(found, model, data, items, effort, console, corruption)
        values = metrics.of_split(context) | {
            "samples": samples, "seed": seed, "unit": unit_of(found.info["data"]["kind"]),
            "normalised": found.metrics.get("normalised"), "finished": found.finished,
        }  # fmt: skip
        if corruption.name != "none":
            values["corruption"] = corruption.model_dump()
        if names:
            values |= _measured(context, names, importance)
            _say_what_is_missing(measure, names, values["numbers"], console)
        if annealing is not None:
            values["numbers"] = {**values.get("numbers", {}), **metrics.numbers(context, tuple(AIS))}
        if "numbers" in values and not source and split == "test" and limit is None:
            _keep(found, values["numbers"], console)
    result = {"run": str(found.path), "split": None if source else split, "source": source or None, **values}
    show(result, as_json, _text(source or split, values, corruption))


def _names(run: Run, measure: list[str] | None, importance: int | None) -> tuple[str, ...]:
    """The numbers that were asked for, by name; log p(x) where draws for it were."""
    from latlas.metrics import named

    if measure is None:
        measure = ["likelihood"] if importance else list(run.config.evaluation.groups)
    return () if measure == ["none"] else named(measure)


def _say_what_is_missing(
    asked: list[str] | None, names: tuple[str, ...], numbers: dict[str, Any], observer: Observer
) -> None:
    """Of what was asked for by name, which numbers these items or this model have no meaning for."""
    from latlas.metrics.ais import AIS

    missing = [name for name in names if name not in numbers and name not in AIS]
    if asked is not None and missing:
        observer.note(f"without a meaning for this run and its data: {', '.join(missing)}")


def _unseen(names: tuple[str, ...], observer: Observer) -> tuple[str, ...]:
    """Without the numbers that judge training items by training items."""
    from latlas.metrics import METRICS

    others = tuple(name for name in names if METRICS[name].group != "downstream")
    if others != names:
        observer.note("downstream tasks are left out: they are measured on items that were not trained on")
    return others


def _measured(context: Context, names: tuple[str, ...], draws: int | None) -> dict[str, Any]:
    """`numbers` by name, and all of `importance` sampling where its draws were asked for."""
    from latlas import metrics
    from latlas.errors import InputError
    from latlas.metrics.likelihood import importance

    if draws and context.once(importance) is None:
        raise InputError("--importance: posterior.name = point has no density, so this model has no log p(x)")
    values: dict[str, Any] = {"numbers": metrics.numbers(context, names)}
    found = context.once(importance) if draws else None
    return values if found is None else {**values, "importance": found.to_dict()}


def _keep(run: Run, numbers: dict[str, Any], observer: Observer) -> None:
    from latlas import metrics, report

    if run.finished:
        metrics.keep(run, numbers)
        observer.note(f"kept in {run.path / 'metrics.json'} and {report.write_report(run.path)}")


def _text(what: str, values: dict[str, Any], corruption: Any) -> str:
    from latlas.metrics import display

    text = f"{what}, {values['images']:,} items: distortion {number(values['distortion'])}"
    if values["elbo"] is not None:
        text += f", rate {number(values['rate'])}, ELBO {number(values['elbo'])} ± {number(values['elbo_stderr'])}"
    text += f" {values['unit'] or ''}, mse {values['mse']:.5f}"
    if corruption.name != "none":
        text += (
            f"\n{corruption.name} {corruption.strength:g}: corrupted mse {values['corrupted_mse']:.5f},"
            f" restored mse {values['restored_mse']:.5f}"
        )
    return "\n\n".join(filter(None, [text, display.text(values.get("numbers", {}))]))
