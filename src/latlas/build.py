"""Builds models and objectives from configurations; settings that were left to the data are decided here."""

from __future__ import annotations

import copy
import math
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch.nn.parameter import UninitializedParameter, is_lazy

from latlas.brought import NOTHING, Brought, check_brought, named
from latlas.config import override, parse
from latlas.data import Dataset, Like, Scaling, room
from latlas.data.dataset import SPLITS, Kind
from latlas.data.order import steps_per_epoch
from latlas.data.room import refuse_beyond_room, within_memory
from latlas.errors import InputError
from latlas.likelihoods import LIKELIHOODS
from latlas.limits import LIMITS
from latlas.models import Model, evaluating
from latlas.networks import NETWORKS, Network, Networks, ScaledLinear, hidden_for
from latlas.objectives import OBJECTIVES, Objective, OwnObjective
from latlas.posteriors import POSTERIORS
from latlas.priors import PRIORS
from latlas.settings import OWN, AugmentConfig, Config, NetworkConfig
from latlas.text import counted

GOOD_STEPS = 2500  # steps after which small data sets improve slowly, with the default schedule
# A table's sigma starts at 1 and falls to the noise of its columns, its logarithm by the learning rate in a step at
# most: by 7.5 over so many steps of a cosine to 3e-3. They are short steps.
TABLE_STEPS = 5000
MOST_EPOCHS = Network.epochs  # of small sets, which most networks overfit by then
SMALL_IMAGE = 32 * 32
MOST_BY_COMPONENTS = 10_000  # training images; of more, convolutions gain more in minutes
LARGEST_BY_COMPONENTS = 3 * 128 * 128  # values of an image; layers of components grow with them
MOST_EXAMPLES = 1000
NORMALISING = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
_SMALLER = "choose fewer dimensions, or fewer and narrower layers (network.hidden, network.channels)"
_SEEDING = threading.Lock()  # two threads that build at once would draw from each other's seed
SMALLEST_VARIANCE = 1e-6  # of a component, as a share of the largest; smaller ones are rounding
LEAST_REST = 0.1  # share of the spread, at which a learned sigma starts where components leave less
SLOPE_STEP = 0.2  # share of the spread, over which the slope of raw values is taken
STATISTICS_VALUES = 2**25  # most values read for the data's mean and spread: 128 MB as floats


@dataclass(frozen=True)
class Statistics:
    """Statistics of the training split, on the model's scale.

    `mean` (*shape) is the mean item, `spread` the standard deviation of all values, `examples` (N, *shape) some items.
    """

    mean: np.ndarray
    spread: float
    examples: np.ndarray


UNRANKED = "no bits per dimension, and no ranking against Gaussians"


def resolve(config: Config, dataset: Dataset, brought: Brought = NOTHING) -> tuple[Config, list[str]]:
    """The configuration with every setting that was left to the data decided, and a note on each decision.

    Raises InputError if a setting does not fit the data.
    """
    config = named(config, brought)
    changes = _data_settings(dataset)
    notes: list[str] = []

    def choose(key: str, value: Any, reason: str) -> None:
        changes[key] = value
        notes.append(f"{key} = {value} ({reason})")

    if config.likelihood.name == "auto":
        choose("likelihood.name", *_likelihood_for(config, dataset))
    name: str = changes.get("likelihood.name", config.likelihood.name)
    likelihood = LIKELIHOODS[name] if brought.likelihood is None else brought.likelihood
    if not likelihood.has_sigma and config.likelihood.sigma != "learned":
        notes.append(
            f"likelihood.sigma = {config.likelihood.sigma} has no effect: a {likelihood.title} has no sigma"
        )
    if config.likelihood.output == "auto" and brought.likelihood is None:
        changes["likelihood.output"] = likelihood.default_output(dataset.kind)
    if config.network.name == "auto":
        choose("network.name", *_network_for(config.network, dataset))
    if config.optimizer.name == "auto":
        choose("optimizer.name", optimizer_of(override(config, changes, "configuration")), "by the network")
    if config.model.latent is None:
        choose("model.latent", *_latent_for(config, dataset, brought))
    if widths := _widths_for(override(config, changes, "configuration"), dataset.kind):
        choose("network.hidden", *widths)
    if config.training.epochs is None and config.training.steps is None and not config.training.budget:
        epochs = good_epochs(override(config, changes, "configuration"), dataset.kind, len(dataset.train))
        choose("training.epochs", epochs, counted(len(dataset.train), f"training {items(dataset.kind)[:-1]}"))
        if not config.training.patience and dataset.valid and ranks_epochs(config, dataset.shape, brought):
            choose("training.patience", "clearly-worse", "validation says when longer training only overfits")
    check_augment(config.augment, dataset.shape)
    _refuse_beyond_room(config, dataset)
    resolved = override(config, changes, "configuration")
    notes += _long_warmup(resolved, len(dataset.train))
    if refusal := likelihood.refusal(resolved.likelihood, dataset):
        raise InputError(refusal)
    if not likelihood.normalised(dataset.binary):
        own = brought.likelihood is not None
        what = "does not say that it is" if own else "on grey values is a cross-entropy, not"
        notes.append(f"{likelihood.title} {what} a normalised likelihood: {UNRANKED}")
    return resolved, notes


def _data_settings(dataset: Dataset) -> dict[str, Any]:
    """What the data decide: rows in the order of windows stay so, wherever the run is resumed."""
    return {"data.source": dataset.source} | ({"data.memory": "windows"} if dataset.on_disk else {})


def check_augment(options: AugmentConfig, shape: tuple[int, ...]) -> None:
    """Raises InputError for items (*shape) that cannot be mirrored or moved as the options say."""
    if len(shape) == 1 and options != AugmentConfig():
        field = "augment.flip" if options.flip else "augment.shift"
        raise InputError("columns have no order in which to mirror or move them; leave it out", field=field)
    if options.shift and options.shift >= min(shape[1:], default=1):
        raise InputError(
            f"items are of {'x'.join(map(str, shape))}", field="augment.shift", value=options.shift
        )


def _network_for(options: NetworkConfig, dataset: Dataset) -> tuple[str, str]:
    """The network that suits the data and reads the settings that are given, unless one is set, and why."""
    shape = dataset.shape
    reason = f"items of shape {'x'.join(map(str, shape))}"
    if len(shape) == 1 or (len(shape) == 3 and shape[0] == 1 and math.prod(shape) <= SMALL_IMAGE):
        return "mlp", reason
    few = len(dataset.train) <= MOST_BY_COMPONENTS and math.prod(shape) <= LARGEST_BY_COMPONENTS
    unread = options.channels or options.batch_norm or options.output_bias != "data"
    if len(shape) == 3 and few and not unread:
        return "pca-mlp", f"{reason}, {len(dataset.train):,} of them"
    return "conv", reason


def _widths_for(config: Config, kind: Kind) -> tuple[tuple[int, ...], str] | None:
    """The widths of hidden layers unless they are set, and why; None for a network without them."""
    options, latent = config.network, config.model.latent
    known = options.name in NETWORKS and "hidden" in NETWORKS[options.name].reads
    if options.hidden is not None or not known or latent is None:
        return None
    return hidden_for(kind, latent), f"{kind} data, {counted(latent, 'latent dimension')}"


def _latent_for(config: Config, dataset: Dataset, brought: Brought) -> tuple[int, str]:
    """The size of the latent space unless one is set, and why: that of one's own parts, else by the data."""
    for part in (brought.posterior, brought.prior):
        if part is not None:
            return part.latent, f"that of {type(part).__name__}"
    if brought.network is not None:
        width = _outputs_of(brought.network[0], dataset.shape)
        family = POSTERIORS[config.posterior.name]
        fitting = [latent for latent in range(1, width + 1) if family(latent).outputs == width]
        if not fitting:
            raise InputError(
                f"the encoder gives {width:,} values for an item, which fit no size of posterior.name ="
                f" {config.posterior.name}; its last layer decides",
                field="network",
            )
        return fitting[0], f"the encoder's {width:,} outputs"
    size = max(1, min(8, dataset.shape[0] // 2)) if dataset.kind == "table" else 16
    return size, f"{dataset.kind} data"


def _outputs_of(encoder: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """How many values an encoder of one's own gives for an item (*shape)."""
    encoder = copy.deepcopy(encoder)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), evaluating(encoder):
        try:
            codes = encoder.to("cpu", torch.float32)(torch.zeros(2, *shape))
        except Exception as error:  # a network of one's own may raise anything
            raise InputError(
                f"the encoder fails on 2 items of shape {shape} ({type(error).__name__}: {error})",
                field="network",
            ) from None
    if not isinstance(codes, torch.Tensor) or codes.ndim != 2:
        raise InputError(
            "the encoder has to give one tensor (B, outputs), of mean and log-variance torch.cat([mean, log_var], -1)",
            field="network",
        )
    return codes.shape[1]


def good_epochs(config: Config, kind: str, n: int) -> int:
    """The epochs after which a model of n training items of this kind improves slowly."""
    per_epoch = steps_per_epoch(n, config.training.batch_size)
    if kind == "table":
        return max(6, round(TABLE_STEPS / per_epoch))
    return min(most_epochs(config, kind), max(6, round(GOOD_STEPS / per_epoch)))


def optimizer_of(config: Config) -> str:
    """The optimiser that trains the network best; one's own gets that of most."""
    return NETWORKS.get(config.network.name, Network).optimizer


def most_epochs(config: Config, kind: str) -> int:
    """The epochs after which the network overfits a small set; where items are augmented, it takes twice as many."""
    name, augmented = config.network.name, config.augment != AugmentConfig() or config.own.augment
    epochs = NETWORKS[name].epochs if name in NETWORKS and kind == "image" else MOST_EPOCHS
    return min(MOST_EPOCHS, 2 * epochs if augmented else epochs)


def ranks_epochs(config: Config, shape: tuple[int, ...], brought: Brought = NOTHING) -> bool:
    """Whether validation, where there is any, tells which epoch is the best, for items (*shape)."""
    ranks = objective_of(config, shape, brought).score(0.0, 0.0, 0.0) is not None
    return ranks and config.training.method == "gradient"


def _likelihood_for(config: Config, dataset: Dataset) -> tuple[str, str]:
    """The likelihood that suits the data unless one is set, and why."""
    if config.likelihood.sigma != "learned":
        return "gaussian", "sigma is given"
    if dataset.binary:
        return "bernoulli", "0/1 data"
    if dataset.scaling.kind == "minmax":
        return "gaussian", "values with a range of their own"
    if dataset.kind == "image" and dataset.shape[0] == 1:
        return "bernoulli", "grey images"
    return "gaussian", f"{dataset.kind} data"


def steps_of(config: Config, n: int) -> int:
    """The number of optimisation steps of a resolved configuration on n training items.

    Raises InputError where a budget of time has not become a number of steps, which a run of its own alone measures.
    """
    training = config.training
    if training.budget:
        raise InputError(
            "only a run by itself has its steps measured; give steps or epochs",
            field="training.budget",
            value=training.budget,
        )
    return training.steps or (training.epochs or 1) * steps_per_epoch(n, training.batch_size)


def _long_warmup(config: Config, n: int) -> list[str]:
    if config.training.method == "pca" or config.training.budget:
        return []
    steps, warmup = steps_of(config, n), config.objective.warmup or 0
    if warmup <= steps:
        return []
    note = f"objective.warmup = {warmup:,} is longer than training, {counted(steps, 'step')}"
    return [f"{note}: the weight does not reach its full value"]


def items(kind: str) -> str:
    """The word for items of this kind of data: images, signals, volumes or rows."""
    return f"{kind}s" if kind in ("image", "signal", "volume") else "rows"


def unit_of(kind: str) -> str:
    """The unit of the terms of an ELBO on this kind of data."""
    return f"nats per {items(kind)[:-1]}"


def statistics(dataset: Dataset) -> Statistics:
    """Mean item and spread of the training split, or of its targets, from at most 10,000 items (fewer of large ones)
    spaced evenly.
    """
    rows = min(len(dataset.train), 10_000, max(100, STATISTICS_VALUES // math.prod(dataset.shape)))
    chosen = np.linspace(0, len(dataset.train) - 1, rows).astype(np.int64)
    x = dataset.scaling.apply(np.asarray(dataset.train.clean[chosen]))
    x = np.moveaxis(x, -1, 1) if x.ndim > 2 else x
    # Evenly spaced as well: if items are sorted by class, the first ones are all of one class.
    examples = x[:: -(-rows // MOST_EXAMPLES)]
    return Statistics(x.mean(0, dtype=np.float64), float(x.std(dtype=np.float64)), examples)


def build(config: Config, item: Like, about: Statistics | None = None, brought: Brought = NOTHING) -> Model:
    """The model of a resolved configuration, initialised by its seed and the data's statistics; of parts that were
    brought along it has copies.

    Raises InputError if the network does not fit the shape, and for parts of one's own that are missing.
    """
    latent = config.model.latent
    if latent is None:
        raise InputError("model.latent: not decided yet; resolve the configuration with a data set first")
    check_brought(config, brought)
    own = brought.copies()
    # The CPU's generator alone: torch.manual_seed would change a user's CUDA generators as well.
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        posterior = own.posterior or POSTERIORS[config.posterior.name](latent, config.posterior.layers)
        # Seeded again, so that networks of equal shape start from equal weights, whatever the posterior.
        torch.default_generator.manual_seed(config.seed)
        _refuse_beyond_memory(config, item, own, training=about is not None)
        with within_memory("the network", _SMALLER, field="model.latent"):
            networks = own.network or NETWORKS[config.network.name].make(
                item.shape, posterior.outputs, latent, config.network
            )
        _filled(networks, (item.shape, (latent,)))
        examples = about.examples if about else None
        prior = own.prior or PRIORS[config.prior.name].from_config(latent, config.prior, item, examples)
    components = _components_for(networks, config, about)
    spread = _spread(about, components, latent)
    likelihood = own.likelihood or LIKELIHOODS[config.likelihood.name].from_config(
        config.likelihood, item.kind, item.shape, spread
    )
    model = Model(item, networks, posterior, prior, likelihood)
    if about is not None and config.network.output_bias == "data":
        _start_at_mean(model, about.mean)
        _start_at_components(model, components, about)
    if config.training.batch_size == 1 and any(isinstance(m, NORMALISING) for m in model.modules()):
        raise InputError(
            "batch normalisation needs the variance of a batch, and one item has none: take 2 items or more, or"
            " network.batch_norm = false where the network reads it",
            field="training.batch_size",
            value=1,
        )
    model = model.to("cpu", torch.float64 if config.training.precision == "float64" else torch.float32)
    for weights in model.parameters():
        if (
            weights.ndim == 4
        ):  # convolutions run faster with the channels last; other parameters do not change
            weights.data = weights.data.contiguous(memory_format=torch.channels_last)
    return model


def _filled(networks: Networks, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """Gives lazy layers of one's own networks their weights, by a pass of two items of zeros."""
    for network, shape in zip(networks, shapes, strict=True):
        if any(isinstance(p, UninitializedParameter) for p in network.parameters()):
            with torch.no_grad(), evaluating(network):
                network(torch.zeros(2, *shape))


def objective_of(config: Config, shape: tuple[int, ...], brought: Brought = NOTHING) -> Objective:
    """The objective of the configuration, for items (*shape), or the one that was brought along for it.

    Raises InputError where that is missing.
    """
    if config.objective.name == OWN:
        check_brought(config, brought, ("objective",))
        assert brought.objective is not None
        if not isinstance(brought.objective, OwnObjective):
            return brought.objective
        return replace(brought.objective, samples=config.objective.samples, beta=config.objective.beta)
    return OBJECTIVES[config.objective.name].from_config(config.objective, math.prod(shape))


def has_prior(config: Config) -> bool:
    """Whether codes are trained towards the prior; those of a plain autoencoder are not."""
    return has_density(config) or (
        config.own.matches_prior
        if config.objective.name == OWN
        else OBJECTIVES[config.objective.name].matches_prior
    )


def has_density(config: Config) -> bool:
    """Whether the posterior has a density."""
    if config.posterior.name == OWN:
        return config.own.has_density
    return POSTERIORS[config.posterior.name].has_density


def _start_at_mean(model: Model, mean: np.ndarray) -> None:
    bias = getattr(getattr(model.decoder, "output", None), "bias", None)
    if not isinstance(bias, torch.Tensor) or bias.numel() not in (mean.size, mean.shape[0]):
        return
    per_value = bias.numel() == mean.size
    start = (
        mean
        if per_value
        else np.broadcast_to(mean.mean(axis=tuple(range(1, mean.ndim)), keepdims=True), mean.shape)
    )
    with torch.no_grad():
        raw = model.likelihood.raw(torch.tensor(start, dtype=bias.dtype, device=bias.device))
        if raw is None or raw.shape != start.shape:
            return
        # A bias for each channel: its pixels start from one mean and one sigma, so any of them stands for all.
        bias.copy_((raw if per_value else raw.flatten(1)[:, 0]).reshape(bias.shape))


@dataclass(frozen=True)
class Components:
    """Principal components of examples, flat: unit `axes` (k, D), standard deviations `deviations` (k,) along them,
    and the `total` variance over all D values.
    """

    axes: np.ndarray
    deviations: np.ndarray
    total: float

    def rest(self, latent: int) -> float:
        """The standard deviation of a value that the first components leave."""
        left = self.total - float(np.square(self.deviations[:latent]).sum())
        return math.sqrt(max(left, 0.0) / self.axes.shape[1])


def _components(about: Statistics) -> Components:
    """All components that the examples have, by the eigenvectors of their products (N, N)."""
    x = about.examples.reshape(len(about.examples), -1).astype(np.float64)
    x = (x - x.mean(0)) / math.sqrt(len(x))
    values, vectors = np.linalg.eigh(x @ x.T)
    kept = values > SMALLEST_VARIANCE * values[-1]
    deviations = np.sqrt(values[kept][::-1])
    axes = (vectors[:, kept][:, ::-1].T @ x) / deviations[:, None]
    return Components(axes, deviations, float(np.square(x).sum()))


def _components_for(networks: Networks, config: Config, about: Statistics | None) -> Components | None:
    """The components at which networks start; None for networks that have no place for them."""
    first, last = (getattr(net, name, None) for net, name in zip(networks, ("input", "output"), strict=True))
    fits = isinstance(first, ScaledLinear) and isinstance(last, ScaledLinear)
    if about is None or not fits or config.network.output_bias != "data":
        return None
    return _components(about)


def _spread(about: Statistics | None, components: Components | None, latent: int) -> float:
    """The standard deviation at which a learned sigma starts: of all values, or of what components leave of them."""
    if about is None:
        return 1.0
    return about.spread if components is None else max(components.rest(latent), LEAST_REST * about.spread)


def _start_at_components(model: Model, components: Components | None, about: Statistics) -> None:
    """The encoder's first layer gives components of unit variance, and the decoder's last one their sum in raw values,
    to first order about the mean.
    """
    if components is None or not len(components.deviations):  # which is so where all examples are equal
        return
    first, last = model.encoder.input, model.decoder.output
    assert isinstance(first, ScaledLinear)
    assert isinstance(last, ScaledLinear)
    many = min(first.out_features, len(components.deviations))
    axes, deviations = components.axes[:many], components.deviations[:many, None]
    step = SLOPE_STEP * about.spread
    with torch.no_grad():
        around = [model.likelihood.raw(torch.from_numpy(about.mean + side)) for side in (-step, step)]
        if around[0] is None or around[1] is None or around[0].shape != about.mean.shape:
            return
        slope = ((around[1] - around[0]) / (2 * step)).flatten().numpy()
        first.weight[:many] = torch.from_numpy(axes / deviations / first.scale.item()).to(first.weight)
        first.bias[:many] = torch.from_numpy(-(axes / deviations) @ about.mean.flatten()).to(first.bias)
        last.weight[:, :many] = torch.from_numpy((axes * deviations * slope).T / last.scale.item()).to(
            last.weight
        )


def item_of(dataset: Dataset) -> Like:
    """The description of one item of the data set: kind, shape, scaling and names."""
    return Like(dataset.kind, dataset.shape, dataset.scaling, dataset.columns, dataset.classes)


def description(config: Config, model: Model, binary: bool) -> dict[str, Any]:
    """The JSON values from which `from_description` builds the model again."""
    parts = ("recipe", "model", "network", "posterior", "prior", "likelihood", "objective", "own", "training")
    dump = config.model_dump(mode="json")
    return {
        "format": 1,
        "config": {part: dump[part] for part in parts},
        "item": asdict(model.item),
        "parameters": {
            name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
        },
        "normalised": model.likelihood.normalised(binary),
    }


def _refuse_beyond_memory(config: Config, item: Like, own: Brought, training: bool) -> None:
    """Raises InputError for a model that does not fit into memory, counted without making it.

    To train it takes its weights, their gradients and the optimiser's two means, and a checkpoint holds all but the
    gradients twice while it is written.
    """
    latent = config.model.latent or 1
    value_bytes = (8 if config.training.precision == "float64" else 4) * (10 if training else 1)
    needed = value_bytes * _parameters(config, item, own, latent)
    if needed <= room.SMALL or needed <= (free := room.free_memory()):
        return
    fewer = latent > 1 and value_bytes * _parameters(config, item, own, 1) <= free
    field, value = ("model.latent", latent) if fewer else ("", None)
    count = needed / value_bytes
    what = (
        f"a model of {count:,.0f} parameters"
        if math.isfinite(count)
        else "a model of more parameters than can be counted"
    )
    refuse_beyond_room(needed, "", what, _SMALLER, field=field, value=value)


def _parameters(config: Config, item: Like, own: Brought, latent: int) -> float:
    """The number of parameters of a model that is not made; without end where it cannot be counted."""
    try:
        with torch.device("meta"):
            posterior = own.posterior or POSTERIORS[config.posterior.name](latent, config.posterior.layers)
            networks = own.network or NETWORKS[config.network.name].make(
                item.shape, posterior.outputs, latent, config.network
            )
    except (RuntimeError, OverflowError) as error:
        if "overflow" not in str(error).lower():
            raise
        return math.inf
    count = sum(p.numel() for part in (*networks, posterior) for p in part.parameters() if not is_lazy(p))
    return count + (PRIORS[config.prior.name].size(latent, config.prior, item) if own.prior is None else 0)


def check_grid(size: tuple[int, int], shape: tuple[int, ...], field: str) -> None:
    """Raises InputError for so many rows and columns of decoded images (C, H, W) that they do not fit into a page or
    into memory.
    """
    most = LIMITS["grid"].most
    if max(size) > most:
        raise InputError(f"at most {most:,} rows and columns have a pixel each", field=field, value=size)
    pixels = math.prod(shape[1:])
    each = 4 * shape[0] * pixels + 44 * pixels  # as decoded; in three colours, clipped, and as pixels
    what, advice = "so many decoded items", "take fewer rows and columns"
    refuse_beyond_room(math.prod(size) * each, "", what, advice, field=field, value=size)


def _refuse_beyond_room(config: Config, dataset: Dataset) -> None:
    """Raises InputError for batches, codes, and a manifold that is to be drawn, that do not fit into memory."""
    _refuse_large_batches(config, dataset)
    if not dataset.on_disk:  # of what stays there, a part is measured
        count, latent = sum(len(dataset.split(name)) for name in SPLITS), config.model.latent or 1
        refuse_beyond_room(
            8.0 * count * latent, "", f"codes of {count:,} items in {latent:,} dimensions",
            "fewer dimensions are needed", field="model.latent", value=latent,
        )  # fmt: skip
    if config.pictures.draw and dataset.kind == "image" and (config.model.latent or 3) <= 2:
        check_grid(config.pictures.grid, dataset.shape, "pictures.grid")


def _refuse_large_batches(config: Config, dataset: Dataset) -> None:
    """Raises InputError for batches whose values alone do not fit into memory: as items, as outputs, and as their
    gradients.
    """
    items_, samples = min(config.training.batch_size, len(dataset.train)), config.objective.samples
    values = items_ * samples * math.prod(dataset.shape)
    field = "objective.samples" if samples > 1 else "training.batch_size"
    value = samples if samples > 1 else config.training.batch_size
    what = f"{values:,} values in a batch"
    refuse_beyond_room(12.0 * values, "", what, "smaller batches are needed", field=field, value=value)


def from_description(about: dict[str, Any], file: Path | str, brought: Brought = NOTHING) -> Model:
    """The model of a `description` that was read from a file, with fresh weights.

    Raises InputError if a part of the description is missing or damaged.
    """
    try:
        return build(parse(about["config"], str(file)), item_from(about["item"]), brought=brought)
    except InputError as error:
        if "of memory are needed" not in error.message:
            raise
        raise InputError(f"{file}: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: damaged ({type(error).__name__}: {error})") from None


def item_from(item: dict[str, Any]) -> Like:
    """The item that a `description` describes."""
    columns, classes = (None if item[key] is None else tuple(item[key]) for key in ("columns", "classes"))
    found = Like(item["kind"], tuple(item["shape"]), Scaling.from_dict(item["scaling"]), columns, classes)
    if found.kind not in get_args(Kind) or not all(isinstance(n, int) and n > 0 for n in found.shape):
        raise ValueError(f"item.kind = {found.kind}, item.shape = {list(found.shape)}")
    return found
