"""latlas evaluate"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from latlas.cli.common import (
    DataDir,
    Device,
    Draws,
    Json,
    Measures,
    Quiet,
    RunArgument,
    Samples,
    SourceArgument,
    Split,
    Threads,
    examples,
    names_of,
    number,
    option,
    show,
)
from latlas.text import counted, printable


def register(app: typer.Typer) -> None:
    """Adds the command."""
    run = "runs/fashion-mini-vae-1"
    app.command(
        epilog=examples(
            f"latlas evaluate {run} --importance 5000 --limit 200",
            f"latlas evaluate {run} --ais 20 --measure none",
            f"latlas evaluate {run} --measure downstream,sharpness --json",
            f"latlas evaluate {run} --corrupt gaussian --strength 0.5 --measure none",
        )
    )(evaluate)


def evaluate(
    run: RunArgument,
    source: SourceArgument = "",
    split: Split = "",
    measures: Measures = None,
    draws: Draws = None,
    limit: Annotated[
        int | None, option(metavar="N", min=1, help="Only N items, evenly spaced over the split.")
    ] = None,
    ais: Annotated[
        int | None,
        option(
            metavar="N",
            min=1,
            help="Also log p(x) of N evenly spaced items by annealed importance sampling, without the encoder.",
        ),
    ] = None,
    chains: Annotated[int, typer.Option(metavar="N", help="Chains per item (--ais).")] = 16,
    temperatures: Annotated[int, typer.Option(metavar="N", help="Steps of annealing (--ais).")] = 300,
    samples: Samples = 1,
    seed: Annotated[int | None, option(metavar="N", min=0, help="Seed of the ELBO's draws.")] = None,
    corrupt: Annotated[
        str,
        option(
            metavar="NAME",
            help="Also corrupt the items and restore them: gaussian, masking, none. By default as in training.",
        ),
    ] = "",
    strength: Annotated[
        float | None,
        option(
            metavar="X",
            help="Standard deviation of the noise, or share of masked values. By default as in training.",
        ),
    ] = None,
    data_dir: DataDir = "",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a run, with PCA for comparison: ELBO, log p(x), codes, reconstruction, samples, downstream tasks.

    Without --measure it measures the groups of the run's configuration. Numbers of the whole test split also go into
    the run's metrics.json and its report.
    """
    from latlas import api

    names = names_of(measures)
    result = api.evaluation_of(
        run,
        [] if names == ["none"] else names,
        keep=True,
        source=source, split=split, limit=limit, draws=draws, samples=samples, seed=seed,
        ais=ais, chains=chains, temperatures=temperatures, corrupt=corrupt, strength=strength,
        data_dir=data_dir, device=device, threads=threads, quiet=quiet,
    )  # fmt: skip
    show(result, as_json, _text(result))


def _text(values: dict[str, Any]) -> str:
    from latlas.metrics.display import on_outlier, on_sign
    from latlas.metrics.display import text as numbers_text

    what = printable(values["source"] or values["split"])
    text = f"{what}, {counted(values['images'], 'item')}: distortion {number(values['distortion'])}"
    if values["elbo"] is not None:
        text += f", rate {number(values['rate'])}, ELBO {number(values['elbo'])} ± {number(values['elbo_stderr'])}"
    text += f" {values['unit'] or ''}, mse {values['mse']:.5f}"
    if "corruption" in values:
        corruption = values["corruption"]
        text += (
            f"\n{corruption['name']} {corruption['strength']:g}: corrupted mse {values['corrupted_mse']:.5f},"
            f" restored mse {values['restored_mse']:.5f}"
        )
    numbers = values.get("numbers", {})
    sign = on_sign(values | {name: about.get("value") for name, about in numbers.items()})
    lone = on_outlier(values, (values["unit"] or "item").rpartition(" ")[2])
    return "\n\n".join(filter(None, [text, lone, sign, numbers_text(numbers)]))
