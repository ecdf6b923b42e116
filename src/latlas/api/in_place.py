"""A model trained in place, without a run folder: the one loop, as an iterator of what happens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from latlas import config as configuration
from latlas import optimizers, probing, training
from latlas.brought import Brought, bring
from latlas.build import check_augment, good_epochs, objective_of
from latlas.build import item_of as described
from latlas.checkpoints import Progress
from latlas.data import DataOptions, as_source
from latlas.data import load as read
from latlas.data.batches import Batches
from latlas.data.given import raw_of_given
from latlas.data.load import Item
from latlas.data.memory import as_items
from latlas.data.splits import as_split, assemble
from latlas.distributed import World
from latlas.errors import InputError
from latlas.models import Model
from latlas.networks import Network
from latlas.settings import Config

# What may be said of the training of a model that is there; the rest of a configuration says what it is, or how a run
# is kept.
_OPTIONS = {
    "steps": "training.steps",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "lr": "optimizer.lr",
    "beta": "objective.beta",
    "seed": "seed",
    "log_every": "training.log_every",
}
_SECTIONS = ("training", "optimizer", "objective", "corruption", "augment", "seed")


def item_of(x: Any, layout: str = "auto", kind: str = "auto") -> Item:
    """What one item of data is: its kind, shape, scaling and names, by the rules by which `train` reads data.

    `x` is an array, a tensor, a data frame, a list of items or the path of a source. Raises InputError for data that
    are unclear.
    """
    options = DataOptions.model_validate({"layout": layout, "kind": kind, "validation": 0, "test": 0})
    if isinstance(x, str | os.PathLike):
        return described(read(options.model_copy(update={"source": as_source(x)})))
    return described(assemble(raw_of_given(x, options), options))


def fit(
    model: Model, x: Any, *, settings: Mapping[str, Any] | None = None, stop: Callable[[], bool] | None = None,
    **options: Any,
) -> Iterator[training.Event]:  # fmt: skip
    """Trains a model in place, by the loop that trains runs, and yields what happens: `Logged`, `EpochEnded` and more.

    Nothing happens before the first event is asked for; `for event in latlas.fit(...)` trains to the end, and `stop()`
    ends it earlier. `x` are items as `Model.encode` takes them. `options` are `objective`, a function of a Pass, an
    Objective or a name (by default the ELBO, and for a point posterior the distortion), `augment`, and steps, epochs,
    batch_size, lr, beta, seed and log_every; `settings` takes keys of training, optimizer, objective, corruption and
    augment; the optimiser is Muon unless `optimizer.name` says. Nothing is written, validated or stopped early. Raises
    InputError for anything wrong with the call, the data or the model, before anything changes.
    """
    if not isinstance(model, Model):
        raise InputError(f"expected a latlas.Model, got {type(model).__name__}", field="model")
    parts: dict[str, Any] = {name: options.pop(name) for name in ("objective", "augment") if name in options}
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        known = ", ".join(("objective", "augment", *_OPTIONS))
        raise TypeError(f"fit() got an unknown option {unknown[0]!r} (known: {known})")
    items = as_items(x, model.item)
    brought, config = _configured(model, len(items.x), parts, {**(settings or {}), **_by_key(options)})
    check_augment(config.augment, model.item.shape)
    data = Batches(as_split(items.x), model.item.scaling, model.device, model.dtype, brought.augment)
    if len(data) < 2:
        raise InputError(f"{len(data)} item: at least 2 are needed", field="x")
    rows = data(np.arange(min(len(data), probing.PROBED)))
    if brought.augment is not None:
        probing.probe_augment(brought.augment, rows, config.augment)
    objective = probing.probe(model, objective_of(config, model.item.shape, brought), rows)
    optimizer = optimizers.optimizer_for(config, model)
    events = training.train(
        model, data, objective, optimizer, config, Progress(), World(stop=stop or (lambda: False))
    )
    return _restoring(model, events)


def _by_key(options: Mapping[str, Any]) -> dict[str, Any]:
    return {_OPTIONS[name]: value for name, value in options.items() if value is not None}


def _configured(
    model: Model, n: int, parts: Mapping[str, Any], changes: dict[str, Any]
) -> tuple[Brought, Config]:
    """What was brought along, and the configuration of training."""
    for key in changes:
        if key.partition(".")[0] not in _SECTIONS:
            raise InputError("it is not read where a model is trained in place; leave it out", field=key)
    density = model.posterior_family.has_density
    given = {"objective": "elbo" if density else "reconstruction"} | {
        k: v for k, v in parts.items() if v is not None
    }
    brought, settings = bring(given)
    settings |= {} if density else {"posterior.name": "point"}
    own = brought.objective is not None or not density
    fresh: dict[str, Any] = {"objective": {}} if own else {}
    # Nobody knows here what the model's parts do in Python, which a graph of kernels would do once.
    changed = {"training.capture": "off"} | fresh | settings | changes
    config = configuration.override(configuration.recipe("vae"), changed, ", ".join(changes) or "objective")
    if config.optimizer.name == "auto":
        config = configuration.override(config, {"optimizer.name": Network.optimizer}, "optimizer")
    if config.training.epochs is None and config.training.steps is None:
        epochs = good_epochs(config, model.item.kind, n)
        config = configuration.override(config, {"training.epochs": epochs}, "epochs")
    return brought, config


def _restoring(model: Model, events: Iterator[training.Event]) -> Iterator[training.Event]:
    """The events; after them, each module is in the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield from events
    finally:
        for module, mode in modes.items():
            module.training = mode
