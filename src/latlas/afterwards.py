"""The sections of a configuration on what is measured and drawn once training is over."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from latlas.data.options import Positive, Section

Group = Literal["likelihood", "codes", "reconstruction", "samples", "use", "factors"]
MEASURED: tuple[Group, ...] = ("likelihood", "codes", "reconstruction", "samples", "use", "factors")
DIAGNOSED = True


class EvaluationConfig(Section):
    """What is measured on the test split once training is over, beside ELBO and errors."""

    groups: Annotated[
        tuple[Group, ...],
        Field(
            default_factory=lambda: MEASURED,
            description="groups of numbers; none: the ELBO and its terms alone",
        ),
    ]
    draws: Annotated[int, Field(ge=1, le=1_000_000, description="draws of z per item for log p(x)")] = 100
    items: Annotated[
        int, Field(ge=1, description="test items, evenly spaced, that costly numbers such as log p(x) take")
    ] = 1000
    diagnose: Annotated[
        bool,
        Field(
            default_factory=lambda: DIAGNOSED,
            description="say what is wrong with the model, where something is",
        ),
    ]


class PicturesConfig(Section):
    """What the run's pictures show."""

    draw: Annotated[bool, Field(description="false: numbers and report alone, as for many runs in a row")] = (
        True
    )
    grid: Annotated[
        tuple[Positive, Positive], Field(description="rows and columns of the latent manifold")
    ] = (20, 20)
    span: Annotated[
        tuple[float, float] | None,
        Field(description="range of the manifold's two dimensions; none given: the prior's quantiles"),
    ] = None
    densities: Annotated[
        tuple[Literal["factored", "full", "mixture", "flow"], ...],
        Field(description="densities fitted to the training codes, each with a picture of its samples"),
    ] = ()
