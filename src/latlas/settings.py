"""The shape of a configuration: strict, frozen sections, every field with its bounds and what it means.

Values that may be left to the data are None or "auto" here; `latlas.build.resolve` replaces each of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from latlas.data.options import DataOptions, Section

NetworkName = Literal["auto", "linear", "mlp", "conv", "vanilla", "kmnist", "flowers", "fashion"]
ScheduleName = Literal["constant", "linear", "sigmoid", "cyclical"]
Positive = Annotated[int, Field(ge=1)]


class RecipeInfo(Section):
    """What a recipe is called, what it shows, and the data it was made for."""

    name: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="part of the run folder's name")
    ] = "vae"
    summary: Annotated[str, Field(description="one line")] = ""
    ids: Annotated[tuple[str, ...], Field(description="the tutorial systems it reproduces")] = ()
    data: Annotated[str, Field(description="the data set it was made for; empty: any")] = ""


class ModelConfig(Section):
    """Size of the latent space."""

    latent: Annotated[int | None, Field(ge=1, description="latent dimensions; none given: by the data")] = (
        None
    )


class NetworkConfig(Section):
    """Encoder and decoder."""

    name: Annotated[
        NetworkName, Field(description="auto: mlp for small grey images and tables, else conv")
    ] = "auto"
    hidden: Annotated[tuple[Positive, ...] | None, Field(description="widths of mlp's hidden layers")] = None
    channels: Annotated[
        tuple[Positive, ...] | None,
        Field(min_length=1, description="channels of the convolutions, outermost first"),
    ] = None
    activation: Annotated[
        Literal["silu", "relu", "leaky-relu", "gelu", "elu", "tanh"], Field(description="of mlp and conv")
    ] = "silu"
    batch_norm: Annotated[bool, Field(description="batch normalisation in conv and flowers")] = False
    output_bias: Annotated[
        Literal["data", "default"], Field(description="data: the decoder starts at the training mean")
    ] = "data"


class PosteriorConfig(Section):
    """q(z | x)."""

    name: Annotated[
        Literal["point", "gaussian"],
        Field(description="point: an autoencoder's code; gaussian: diagonal covariance"),
    ] = "gaussian"


class PriorConfig(Section):
    """p(z)."""

    name: Annotated[Literal["standard-normal"], Field(description="standard-normal: N(0, I)")] = (
        "standard-normal"
    )


class LikelihoodConfig(Section):
    """p(x | z)."""

    name: Annotated[
        Literal["auto", "bernoulli", "gaussian"],
        Field(description="auto: bernoulli for 0/1 data and grey images, else gaussian"),
    ] = "auto"
    sigma: Annotated[
        Annotated[float, Field(gt=0)] | Literal["learned"],
        Field(description="standard deviation of the gaussian, on the model's scale: a number or learned"),
    ] = "learned"
    output: Annotated[
        Literal["auto", "sigmoid", "tanh", "identity"],
        Field(description="maps raw decoder outputs to the gaussian's mean; tanh as (t + 1) / 2"),
    ] = "auto"


class ObjectiveConfig(Section):
    """What is minimised, in nats per image."""

    name: Annotated[
        Literal["reconstruction", "elbo"], Field(description="reconstruction: the distortion alone")
    ] = "elbo"
    beta: Annotated[
        float, Field(ge=0, description="weight of the rate while training; reports are always at 1")
    ] = 1.0
    kl: Annotated[
        Literal["analytic", "monte-carlo"], Field(description="the rate in closed form, or by the sampled z")
    ] = "analytic"
    samples: Annotated[int, Field(ge=1, description="draws of z per image and step")] = 1
    free_bits: Annotated[float, Field(ge=0, description="nats per latent dimension that cost nothing")] = 0.0
    schedule: Annotated[ScheduleName, Field(description="how beta rises to its value")] = "constant"
    warmup: Annotated[
        int | None,
        Field(ge=0, description="steps of the rise (cyclical: of one cycle); none given: by run length"),
    ] = None


class OptimizerConfig(Section):
    """How the parameters move."""

    name: Annotated[Literal["adam", "adamw"], Field(description="fused where the device allows")] = "adamw"
    lr: Annotated[float, Field(gt=0, description="learning rate; the peak of its schedule")] = 2e-3
    schedule: Annotated[
        Literal["constant", "cosine", "one-cycle"],
        Field(description="cosine: short warm-up, then down to 0; one-cycle: 30 % up, 70 % down"),
    ] = "cosine"
    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
        Field(description="decay of Adam's two running means"),
    ] = (0.9, 0.99)
    weight_decay: Annotated[
        float, Field(ge=0, description="adamw: decoupled; adam: added to the gradient")
    ] = 0.01
    clip: Annotated[
        float | None, Field(gt=0, description="largest gradient norm; none given: not clipped")
    ] = None


class TrainingConfig(Section):
    """How long, on what, and how often something is kept."""

    epochs: Annotated[
        int | None, Field(ge=1, description="passes over the training images; none given: by size")
    ] = None
    steps: Annotated[int | None, Field(ge=1, description="optimiser steps; overrides epochs")] = None
    batch_size: Annotated[int, Field(ge=2, description="images per step")] = 128
    precision: Annotated[Literal["float32", "float64"], Field(description="of parameters and data")] = (
        "float32"
    )
    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto: cuda, mps, else cpu")
    ] = "auto"
    threads: Annotated[int | None, Field(ge=1, description="CPU threads; none given: torch's choice")] = None
    deterministic: Annotated[bool, Field(description="on CUDA: equal runs give equal bits, at some cost")] = (
        False
    )
    patience: Annotated[
        int | None, Field(ge=1, description="stop after this many epochs without a better validation ELBO")
    ] = None
    log_every: Annotated[int, Field(ge=1, description="steps between log lines")] = 50
    snapshot_every: Annotated[
        int | None,
        Field(ge=1, description="steps between pictures of samples; none given: about 15 over the run"),
    ] = None


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


class Config(Section):
    """Everything that decides a run."""

    recipe: RecipeInfo = RecipeInfo()
    seed: Annotated[int, Field(ge=0, lt=2**31, description="of weights, batch order and noise")] = 0
    data: DataOptions = DataOptions()
    model: ModelConfig = ModelConfig()
    network: NetworkConfig = NetworkConfig()
    posterior: PosteriorConfig = PosteriorConfig()
    prior: PriorConfig = PriorConfig()
    likelihood: LikelihoodConfig = LikelihoodConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    pictures: PicturesConfig = PicturesConfig()

    @model_validator(mode="after")
    def _parts_agree(self) -> Config:
        if self.posterior.name == "point" and self.objective.name == "elbo":
            raise ValueError(
                "objective.name = elbo needs a posterior with a density, and posterior.name = point has none:"
                " set objective.name = reconstruction or posterior.name = gaussian"
            )
        if self.objective.name == "reconstruction" and self.objective.beta != 1:
            raise ValueError(
                "objective.beta: objective.name = reconstruction has no rate to weigh; leave beta out"
            )
        if self.objective.free_bits and self.objective.kl == "monte-carlo":
            raise ValueError("objective.free_bits needs the KL per dimension: set objective.kl = analytic")
        if self.posterior.name == "point" and self.objective.samples > 1:
            raise ValueError(
                "objective.samples: draws from posterior.name = point are all the same; set it to 1"
            )
        return self
