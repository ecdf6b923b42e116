"""The sections of a configuration: strict and frozen, every field with its bounds and its meaning.

Values that may be left to the data are None or "auto" here; `latlas.build.resolve` replaces them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from latlas.data.options import DataOptions, Names, Positive, Section
from latlas.durations import parse_duration
from latlas.errors import InputError
from latlas.limits import LIMITS

NetworkName = Literal[
    "auto", "linear", "mlp", "pca-mlp", "conv", "vanilla", "kmnist", "flowers", "fashion", "own"
]
GridSide = Annotated[int, Field(ge=1, le=LIMITS["grid"].most)]
Widths = Annotated[tuple[Positive, ...], Field(fail_fast=True)]
OWN = "own"  # the name of a part that was brought along in Python
ScheduleName = Literal["constant", "linear", "sigmoid", "cyclical"]
# Former names of groups of numbers, which are still read in configurations and in metrics.json.
OLD_GROUPS = {"use": "downstream", "factors": "disentanglement"}
Group = Annotated[
    Literal["likelihood", "codes", "reconstruction", "samples", "downstream", "disentanglement"],
    BeforeValidator(lambda name: OLD_GROUPS.get(name, name) if isinstance(name, str) else name),
]


def _listed(names: object) -> object:
    """A text as a list of one name."""
    return (names,) if isinstance(names, str) else names


def _length_of_time(text: str) -> str:
    if text:
        try:
            parse_duration(text)
        except InputError as error:
            raise ValueError(error.message) from None
    return text


def _device_name(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ValueError("expected auto, cpu, cuda, cuda:1 or mps")
    return name


class RecipeInfo(Section):
    """The recipe's name, summary and data."""

    name: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="part of the run folder's name")
    ] = "vae"
    summary: Annotated[str, Field(description="one line")] = ""
    ids: Annotated[Names, Field(description="the tutorial systems it reproduces")] = ()
    data: Annotated[str, Field(description="the data set that it is for; empty: any")] = ""


class ModelConfig(Section):
    """Size of the latent space."""

    latent: Annotated[int | None, Field(ge=1, description="dimensions; none given: by the data")] = None


class NetworkConfig(Section):
    """Encoder and decoder."""

    name: Annotated[
        NetworkName,
        Field(
            description="auto: mlp for small grey images and tables, pca-mlp for up to 10,000 others, else conv"
        ),
    ] = "auto"
    hidden: Annotated[
        Widths | None,
        Field(max_length=LIMITS["layers"].most, description="widths of the hidden layers of mlp and pca-mlp"),
    ] = None
    channels: Annotated[
        Widths | None,
        Field(min_length=1, max_length=32, description="channels of the convolutions, outermost first"),
    ] = None
    activation: Annotated[
        Literal["silu", "relu", "leaky-relu", "gelu", "elu", "tanh", "gated"],
        Field(description="of mlp, pca-mlp and conv; gated, not conv: layers h(x) * sigmoid(g(x))"),
    ] = "silu"
    batch_norm: Annotated[bool, Field(description="batch normalisation in conv and flowers")] = False
    output_bias: Annotated[
        Literal["data", "default"], Field(description="data: the decoder starts at the training mean")
    ] = "data"


class PosteriorConfig(Section):
    """q(z | x)."""

    name: Annotated[
        Literal["point", "gaussian", "full-gaussian", "flow", "own"],
        Field(
            description="point: an autoencoder's code; gaussian: diagonal covariance; flow: coupling layers"
        ),
    ] = "gaussian"
    layers: Annotated[
        int, Field(ge=1, le=LIMITS["layers"].most, description="coupling layers of the flow")
    ] = 4


class PriorConfig(Section):
    """p(z)."""

    name: Annotated[
        Literal["standard-normal", "mixture", "vamp", "own"],
        Field(description="mixture: learned Gaussians; vamp: posteriors of learned pseudo-inputs"),
    ] = "standard-normal"
    components: Annotated[int, Field(ge=1, description="Gaussians of mixture, pseudo-inputs of vamp")] = 50


class LikelihoodConfig(Section):
    """p(x | z)."""

    name: Annotated[
        Literal[
            "auto", "bernoulli", "continuous-bernoulli", "gaussian", "laplace", "discretised-logistic", "own"
        ],
        Field(
            description="auto: bernoulli for 0/1 data and grey images of bytes or inside [0, 1], else gaussian"
        ),
    ] = "auto"
    sigma: Annotated[
        Annotated[float, Field(gt=0)] | Literal["learned", "per-pixel"],
        Field(
            description="standard deviation, of a likelihood that has one, on the model's scale: a number,"
            " learned, or per-pixel, one learned for each value of an item"
        ),
    ] = "learned"
    output: Annotated[
        Literal["auto", "sigmoid", "tanh", "identity"],
        Field(description="maps raw decoder outputs to the mean where there is a sigma; tanh as (t + 1) / 2"),
    ] = "auto"


class ObjectiveConfig(Section):
    """The loss, in nats per image."""

    name: Annotated[
        Literal["reconstruction", "elbo", "iwae", "infovae", "own"],
        Field(
            description="reconstruction: the distortion alone; iwae: the importance-weighted bound of `samples`"
            " draws; infovae: distortion + (1 - alpha) rate + (alpha + info_lambda - 1) MMD^2 between codes and"
            " prior, at alpha 1 the MMD-VAE"
        ),
    ] = "elbo"
    beta: Annotated[float, Field(ge=0, description="weight of the regulariser; reports are always at 1")] = (
        1.0
    )
    kl: Annotated[
        Literal["analytic", "monte-carlo"], Field(description="closed form, or as in iwae by the draws")
    ] = "analytic"
    samples: Annotated[int, Field(ge=1, description="draws of z per image and step")] = 1
    gradient: Annotated[
        Literal["standard", "dreg"],
        Field(description="of iwae; dreg: doubly reparameterised, equal in the mean with less noise"),
    ] = "standard"
    free_bits: Annotated[float, Field(ge=0, description="nats per latent dimension that cost nothing")] = 0.0
    capacity: Annotated[
        float | None,
        Field(
            gt=0, description="nats that the rate is drawn to, as beta |rate - C|, C rising from 0 in warmup"
        ),
    ] = None
    alpha: Annotated[float, Field(le=1, description="infovae: 1 takes the rate out, 0 leaves it whole")] = 1.0
    info_lambda: Annotated[
        float | None,
        Field(ge=0, description="infovae's: weight of MMD^2 at alpha 1; none given: the values per item"),
    ] = None
    kernel: Annotated[
        Literal["authors", "rbf", "imq"],
        Field(
            description="of the MMD; authors: exp(-|x - y|^2 / dim^2); rbf: exp(-|x - y|^2 / (2 dim));"
            " imq: inverse multiquadrics of seven scales, as WAE"
        ),
    ] = "authors"
    estimator: Annotated[
        Literal["biased", "unbiased"],
        Field(description="of MMD^2; unbiased: about 0 for equal distributions"),
    ] = "biased"
    schedule: Annotated[ScheduleName, Field(description="how beta rises to its value")] = "constant"
    warmup: Annotated[
        int | None,
        Field(ge=0, description="steps of the rise (cyclical: of one cycle); none given: by run length"),
    ] = None


class CorruptionConfig(Section):
    """Corruption of a denoising model's inputs; the loss compares outputs with the clean ones."""

    name: Annotated[
        Literal["none", "gaussian", "masking"],
        Field(description="gaussian: additive noise; masking: values set to 0"),
    ] = "none"
    strength: Annotated[
        float,
        Field(
            ge=0,
            description="standard deviation of the noise, or share of masked values, on the model's scale",
        ),
    ] = 0.3

    @field_validator("name", mode="before")
    @classmethod
    def _nothing_is_none(cls, name: object) -> object:
        # Everywhere else on a command line "none" means no value.
        return "none" if name is None else name


class AugmentConfig(Section):
    """What happens at random to the items of every training batch, before they are corrupted; see `corruption` for
    noise."""

    flip: Annotated[bool, Field(description="mirror every second item, left to right")] = False
    shift: Annotated[
        int,
        Field(ge=0, description="most values by which an item is moved along each axis; edges are repeated"),
    ] = 0


class OwnConfig(Section):
    """Parts of one's own, which no file holds: their classes or functions, and what others ask of them.

    It is filled in when a run begins; a person brings the parts along and does not write it.
    """

    network: Annotated[Names, Field(description="classes of encoder and decoder")] = ()
    posterior: Annotated[str, Field(description="class of the posterior")] = ""
    prior: Annotated[str, Field(description="class of the prior")] = ""
    likelihood: Annotated[str, Field(description="class of the likelihood")] = ""
    objective: Annotated[str, Field(description="function or class of the objective")] = ""
    augment: Annotated[str, Field(description="function that augments training batches")] = ""
    has_density: Annotated[bool, Field(description="whether the posterior has a density")] = True
    matches_prior: Annotated[
        bool, Field(description="whether the objective compares codes with draws from the prior")
    ] = False
    rate_weight: Annotated[
        float, Field(description="weight of the rate in the objective, by its gradient at the start")
    ] = 1.0


class OptimizerConfig(Section):
    """The optimiser of the parameters."""

    name: Annotated[
        Literal["auto", "adam", "adamw", "muon"],
        Field(
            description="muon: all directions of a matrix move alike, the rest as with adamw; auto: by the network"
        ),
    ] = "adamw"
    lr: Annotated[float, Field(gt=0, description="learning rate; the peak of its schedule")] = 2e-3
    short_factor: Annotated[
        float,
        Field(
            ge=1,
            le=100,
            description="the most by which a budget of few steps multiplies lr; 1: it leaves lr alone",
        ),
    ] = 1.0
    schedule: Annotated[
        Literal["constant", "cosine", "one-cycle", "stages"],
        Field(
            description="cosine: warm-up, then to 0; one-cycle: 30 % up, 70 % down; stages: Burda et al. 2016"
        ),
    ] = "cosine"
    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
        Field(description="decay of Adam's two running means"),
    ] = (0.9, 0.99)
    eps: Annotated[float, Field(gt=0, description="in the denominator of Adam's step")] = 1e-8
    weight_decay: Annotated[
        float, Field(ge=0, description="adamw and muon: decoupled; adam: added to the gradient")
    ] = 0.01
    clip: Annotated[
        float | None, Field(gt=0, description="largest gradient norm; none given: not clipped")
    ] = None


class TrainingConfig(Section):
    """Length, device and precision of training, and how often it is logged and snapshots are written."""

    method: Annotated[
        Literal["gradient", "pca"],
        Field(description="pca: no steps, the closed form of a linear autoencoder"),
    ] = "gradient"
    epochs: Annotated[
        int | None, Field(ge=1, description="passes over the training images; none given: by size")
    ] = None
    steps: Annotated[int | None, Field(ge=1, description="optimiser steps; overrides epochs")] = None
    budget: Annotated[
        str,
        AfterValidator(_length_of_time),
        Field(
            description="how long to train, as 60s, 10m or 2h: measured before training, it becomes the number of"
            " steps, with which the schedules end; overrides steps and epochs"
        ),
    ] = ""
    batch_size: Annotated[
        int, Field(ge=1, description="images per step; batch normalisation needs 2 at least")
    ] = 128
    precision: Annotated[
        Literal["float32", "bfloat16", "float64"],
        Field(
            description="of all numbers; bfloat16: of encoder and decoder in training alone, the rest in float32; fast"
            " on GPUs and on CPUs with instructions for it"
        ),
    ] = "float32"
    device: Annotated[str, AfterValidator(_device_name), Field(description="auto: cuda, mps, else cpu")] = (
        "auto"
    )
    capture: Annotated[
        Literal["auto", "on", "off"],
        Field(
            description="on CUDA, a whole step as one graph of kernels; auto: where all parts are latlas's own; on:"
            " with parts of one's own too, whose Python then runs once; off: never"
        ),
    ] = "auto"
    threads: Annotated[
        int | None,
        Field(ge=1, le=LIMITS["threads"].most, description="CPU threads; none given: torch's choice"),
    ] = None
    deterministic: Annotated[bool, Field(description="on CUDA: equal runs, equal bits, at a cost")] = False
    patience: Annotated[
        Positive | Literal["clearly-worse"] | None,
        Field(
            description="stop after this many epochs in which validation got no better; clearly-worse: once it"
            " has stayed clearly below its best for a fifth of training; none given: never, or clearly-worse where the"
            " length is by size"
        ),
    ] = None
    start: Annotated[
        str, Field(description="a run whose weights training starts from; empty: random weights")
    ] = ""
    keep: Annotated[
        Literal["best", "all"],
        Field(
            description="of a finished run; best: its weights; all: checkpoints with the optimiser's state too"
        ),
    ] = "best"
    log_every: Annotated[int, Field(ge=1, description="steps between log lines")] = 50
    snapshot_every: Annotated[
        int | None,
        Field(
            ge=1, description="steps between snapshots of samples, codes and manifold; none given: about 15"
        ),
    ] = None
    snapshot_epochs: Annotated[
        int | None, Field(ge=1, description="epochs between snapshots, instead of snapshot_every")
    ] = None
    snapshot_weights: Annotated[
        bool,
        Field(description="keep the weights of each snapshot too, for the explorer's plane at that step"),
    ] = False


class EvaluationConfig(Section):
    """Numbers that are measured on the test split after training, in addition to the ELBO and errors."""

    groups: Annotated[
        tuple[Group, ...],
        Field(fail_fast=True, description="groups of numbers; none: the ELBO and its terms alone"),
        BeforeValidator(_listed),
    ] = ("likelihood", "codes", "reconstruction", "samples", "downstream", "disentanglement")
    draws: Annotated[int, Field(ge=1, le=1_000_000, description="draws of z per item for log p(x)")] = 100
    items: Annotated[
        int, Field(ge=1, description="test items, evenly spaced, that costly numbers such as log p(x) take")
    ] = 1000
    diagnose: Annotated[bool, Field(description="report what is wrong with the model")] = True


class PicturesConfig(Section):
    """The run's pictures."""

    draw: Annotated[bool, Field(description="false: numbers and report alone, as for many runs in a row")] = (
        True
    )
    grid: Annotated[
        tuple[GridSide, GridSide], Field(description="rows and columns of the latent manifold")
    ] = (20, 20)
    span: Annotated[
        tuple[float, float] | None,
        Field(description="range of the manifold's two dimensions; none given: the prior's quantiles"),
    ] = None
    densities: Annotated[
        tuple[Literal["factored", "full", "mixture", "flow"], ...],
        BeforeValidator(_listed),
        Field(description="densities fitted to the training codes, each with a picture of its samples"),
    ] = ()


class Config(Section):
    """All settings of a run."""

    recipe: RecipeInfo = RecipeInfo()
    seed: Annotated[int, Field(ge=0, lt=2**31, description="of weights, batch order and noise")] = 0
    data: DataOptions = DataOptions()
    model: ModelConfig = ModelConfig()
    network: NetworkConfig = NetworkConfig()
    posterior: PosteriorConfig = PosteriorConfig()
    prior: PriorConfig = PriorConfig()
    likelihood: LikelihoodConfig = LikelihoodConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    own: OwnConfig = OwnConfig()
    augment: AugmentConfig = AugmentConfig()
    corruption: CorruptionConfig = CorruptionConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    pictures: PicturesConfig = PicturesConfig()

    @model_validator(mode="after")
    def _parts_agree(self) -> Config:
        for wrong, reason in chain(_not_read(self), _disagreements(self), _unfit_settings(self)):
            if wrong:
                raise ValueError(reason)
        return self


def _disagreements(config: Config) -> Iterator[tuple[bool, str]]:
    """Combinations without a meaning, each with the reason and the setting to change."""
    posterior, prior, objective = config.posterior.name, config.prior.name, config.objective
    point = posterior == "point"
    yield (
        point and objective.name in ("elbo", "iwae"),
        f"objective.name = {objective.name} needs a posterior with a density, and posterior.name = point has none:"
        " set objective.name = reconstruction or infovae, or posterior.name = gaussian",
    )
    yield (
        point and objective.name == "infovae" and objective.alpha != 1,
        "objective.alpha: below 1 it weighs the rate, and posterior.name = point has none: set it to 1",
    )
    yield (
        prior not in ("standard-normal", OWN) and (point or not _has_rate(objective)),
        f"prior.name = {prior} is learned through the rate, and there is none here: set prior.name = standard-normal,"
        " or objective.name = elbo with posterior.name = gaussian",
    )
    yield (
        objective.name == "reconstruction" and objective.beta != 1,
        "objective.beta: objective.name = reconstruction has nothing to weigh; leave beta out",
    )
    closed_form = posterior not in ("flow", OWN) and prior == "standard-normal" and objective.kl == "analytic"
    yield (
        bool(objective.free_bits) and not (objective.name == "elbo" and closed_form),
        "objective.free_bits needs the ELBO with a KL per dimension in closed form: posterior.name = gaussian or"
        " full-gaussian, prior.name = standard-normal, objective.kl = analytic",
    )
    yield (
        objective.capacity is not None and (objective.name != "elbo" or bool(objective.free_bits)),
        "objective.capacity: it draws the rate of objective.name = elbo to a value, without free_bits",
    )
    yield (
        # Unless given, lambda is the number of values of an item, which is at least 1.
        objective.name == "infovae" and objective.alpha + _least_lambda(objective) < 1,
        "objective.info_lambda: with alpha + info_lambda below 1 the MMD would be rewarded; raise it",
    )
    yield (
        point and objective.samples > 1,
        "objective.samples: draws from posterior.name = point are all the same; set it to 1",
    )


def _unfit_settings(config: Config) -> Iterator[tuple[bool, str]]:
    """Settings that their own part cannot use, each with the reason and the setting to change."""
    yield (
        config.corruption.name == "masking" and config.corruption.strength > 1,
        "corruption.strength: of masking it is a share of the values, from 0 to 1",
    )
    yield (
        config.objective.name == "iwae" and config.objective.beta != 1,
        "objective.beta: objective.name = iwae is a bound at 1 alone; leave beta out, a schedule may raise it to 1",
    )
    yield (
        config.objective.name != "iwae" and config.objective.gradient != "standard",
        "objective.gradient: another than standard needs objective.name = iwae; leave it out",
    )
    yield (
        config.training.patience is not None and config.objective.name == "infovae",
        "training.patience: validation does not rank the epochs of objective.name = infovae; leave it out",
    )
    yield (
        config.training.batch_size == 1
        and config.objective.name == "infovae"
        and config.objective.estimator == "unbiased",
        "training.batch_size = 1: the unbiased MMD compares the codes of two items at the least; raise it, or set"
        " objective.estimator = biased",
    )
    yield (
        bool(config.training.start) and config.training.method == "pca",
        "training.start: training.method = pca is a closed form, which starts from nothing; leave it out",
    )
    yield (
        config.training.snapshot_weights and config.training.method == "pca",
        "training.snapshot_weights: training.method = pca takes no steps and has no snapshots; leave it out",
    )
    yield (
        config.training.precision == "bfloat16" and config.training.method == "pca",
        "training.precision = bfloat16: training.method = pca takes no steps, and steps alone are in it; leave it out",
    )
    parts = (config.network.name, config.posterior.name, config.objective.name)
    yield (
        config.training.method == "pca" and parts != ("linear", "point", "reconstruction"),
        "training.method = pca is the closed form of network.name = linear with posterior.name = point and"
        " objective.name = reconstruction",
    )


def _not_read(config: Config) -> Iterator[tuple[bool, str]]:
    """Settings that a part of one's own does not read."""
    for section, read in OWN_READS.items():
        part = getattr(config, section)
        for key, field in type(part).model_fields.items():
            yield (
                part.name == OWN and key not in read and getattr(part, key) != field.default,
                f"{section}.{key}: it is not read by a part of your own; leave it out",
            )


# The settings that hold for a part of one's own as well.
OWN_READS = {
    "network": ("name", "output_bias"),
    "posterior": ("name",),
    "prior": ("name",),
    "likelihood": ("name",),
    "objective": ("name", "beta", "schedule", "warmup", "samples"),
}


def _least_lambda(objective: ObjectiveConfig) -> float:
    return 1.0 if objective.info_lambda is None else objective.info_lambda


def _has_rate(objective: ObjectiveConfig) -> bool:
    return objective.name in ("elbo", "iwae", OWN) or (objective.name == "infovae" and objective.alpha < 1)
