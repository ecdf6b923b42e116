"""The estimators' parameters: what they mean, how they become a configuration, and errors that name them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from joblib import effective_n_jobs
from sklearn.utils import check_random_state

from latlas.build import MOST_EPOCHS, good_epochs, ranks_epochs
from latlas.config import override, recipe
from latlas.data import DataOptions
from latlas.data.ranges import check_numeric, decide
from latlas.errors import InputError, check_number
from latlas.settings import Config

# What every estimator takes; each class puts its own parameters before these in its docstring.
PARAMETERS = """\
    hidden : int or sequence of int, default=None
        Widths of the hidden layers, mirrored in the decoder; None: (128, 128) for tables; for
        vectors and images (512, 256), and (512, 256, 256) with up to 3 latent dimensions.
    network : str, default="auto"
        "linear", "mlp", "pca-mlp" or, with `image_shape`, "conv"; "auto": by the data.
    likelihood : str, default="auto"
        p(x | z): "gaussian", "laplace", "bernoulli", "continuous-bernoulli" or "discretised-logistic"; "auto": by the
        data. Scores of different likelihoods do not rank beside each other.
    sigma : float, "learned" or "per-pixel", default="learned"
        Standard deviation of a likelihood that has one, on the model's scale.
    epochs, steps : int, default=None
        Passes over the data, or steps of the optimiser; None: by the size of the data.
    batch_size : int, default=None
        Rows in a step; None: an eighth of the rows, from 32 to 128.
    lr : float
        Largest learning rate; it rises for a moment, then falls to 0 in a cosine.
    early_stopping : bool or "auto", default="auto"
        Whether to hold rows out, keep the weights of the epoch that is best on them, and stop when it stays clearly
        worse; "auto": where at least 10 rows would be held out.
    validation_fraction : float, default=0.1
        Share of the rows that early stopping holds out.
    kind : "auto", "table" or "vector", default="auto"
        How rows are scaled. A table's columns are standardised; a vector's values share one scale. "auto": a table,
        but for columns of 0 and 1 and for rows that look like pixels from 0 to 255.
    image_shape : tuple of int, default=None
        (height, width), (height, width, channels) or (channels, height, width) of the image that each row holds.
    settings : mapping, default=None
        Any other key of latlas's configuration, as {"prior.name": "mixture"}.
    warm_start : bool, default=False
        Whether another fit starts from the weights of the one before; else it starts anew.
    run_dir : path, default=None
        A new folder for a whole run: weights, log, numbers, pictures, report.
    random_state : int, RandomState or None, default=None
        Of the weights, the order of the rows, the noise and the rows that are held out.
    n_jobs : int, default=None
        CPU threads; -1: all; None: torch's choice.
    device : str, default="auto"
        Where to compute: "cpu", "cuda", "cuda:1", "mps"; "auto": the fastest there is.
    verbose : int, default=0
        Whether to say on standard error what was decided and how training goes.

    Attributes
    ----------
    model_ : latlas.Model
        The trained model, on the CPU.
    n_iter_ : int
        Epochs that were trained.
    history_ : dict of arrays
        `step`, `loss` and validation's `score`, at each validation.
    notes_ : tuple of str
        What was decided, a line each.
    run_ : latlas.Run or None
        The run, where `run_dir` was given.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.
    """

# The configuration's key of each parameter that is one setting.
KEYS = {
    "latent": "model.latent",
    "hidden": "network.hidden",
    "network": "network.name",
    "likelihood": "likelihood.name",
    "sigma": "likelihood.sigma",
    "beta": "objective.beta",
    "epochs": "training.epochs",
    "steps": "training.steps",
    "batch_size": "training.batch_size",
    "lr": "optimizer.lr",
    "device": "training.device",
}
# Keys that other parameters decide.
DECIDED = {
    "seed": "random_state",
    "data.seed": "random_state",
    "data.validation": "validation_fraction and early_stopping",
    "data.kind": "kind",
    "data.image_size": "image_shape",
    "training.threads": "n_jobs",
    "training.start": "warm_start",
}
WHOLE, REAL = ("latent", "epochs", "steps", "batch_size"), ("beta", "lr", "validation_fraction")
LEAST_BATCH, MOST_BATCH, SHARE_OF_BATCH = 32, 128, 8
LEAST_HELD_OUT = 10  # fewer rows do not tell which epoch is the best
UNITS = DataOptions(constant="keep")


class InvalidInput(InputError, ValueError):
    """An InputError that is the ValueError which scikit-learn expects."""


@contextmanager
def value_errors() -> Iterator[None]:
    """Inside the block an InputError becomes a ValueError that names parameters of estimators."""
    try:
        yield
    except InputError as error:
        line = error.about("run_dir") if error.field == "out" else str(error)
        raise InvalidInput(in_parameters(line)) from None


def in_parameters(text: str) -> str:
    """A sentence on settings in the estimators' words: model.latent is called latent."""
    for name, key in {**KEYS, "kind": "data.kind", "image_shape": "data.image_size"}.items():
        text = re.sub(rf"\b{re.escape(key)}\b", name, text)
    return text


@contextmanager
def threads(n_jobs: int | None) -> Iterator[None]:
    """Inside the block torch computes with so many threads; None changes nothing."""
    if n_jobs is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(effective_n_jobs(n_jobs))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seed_of(random_state: Any) -> int:
    """A whole number itself where it is a seed, else a seed drawn from the random state."""
    state = plain(random_state)
    if isinstance(state, int) and not isinstance(state, bool) and 0 <= state < 2**31:
        return state
    return int(check_random_state(random_state).randint(2**31 - 1))


def plain(value: Any) -> Any:
    """A NumPy scalar or array as Python's own numbers."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def kind_of(items: np.ndarray, kind: str) -> str:
    """What rows (N, D) or images (N, H, W, C) are: image, vector or table.

    Raises InputError for another kind and for values that nothing can be learned from.
    """
    if kind not in ("auto", "table", "vector"):
        raise InputError("expected auto, table or vector", field="kind", value=kind)
    check_numeric(items, "X")
    if items.ndim == 4 and kind != "auto":
        raise InputError("the rows are images, by image_shape; leave it out", field="kind", value=kind)
    return decide(items, "X", options=UNITS.model_copy(update={"kind": kind})).kind


def check_values(given: Mapping[str, Any]) -> None:
    """Raises InputError for parameters of another type, or out of range where the configuration does not tell."""
    for name in WHOLE:
        if given[name] is not None:
            check_number(given[name], name)
            if given[name] < 1:
                raise InputError("at least 1 is needed", field=name, value=given[name])
    for name in REAL:
        if name in given:
            check_number(given[name], name, whole=False)
    if not 0 < given["validation_fraction"] < 1:
        share = given["validation_fraction"]
        raise InputError("expected a number between 0 and 1", field="validation_fraction", value=share)
    if not isinstance(given["early_stopping"], bool | np.bool_) and given["early_stopping"] != "auto":
        stop = repr(given["early_stopping"])
        raise InputError("expected True, False or auto", field="early_stopping", value=stop)
    settings = {} if given["settings"] is None else given["settings"]
    if not isinstance(settings, Mapping):
        raise InputError('expected keys with values, as {"prior.name": "mixture"}', field="settings")
    owners = {key: name for name, key in KEYS.items() if name in given} | DECIDED
    for key in settings:
        if key in owners:
            raise InputError(f"{key} is set by the parameter {owners[key]}", field="settings")


def configured(given: Mapping[str, Any], base: str, n: int, kind: str) -> Config:
    """The configuration of n rows of a kind, by the parameters of an estimator and the recipe `base`.

    Raises InputError for a parameter that is wrong.
    """
    share, stop = given["validation_fraction"], given["early_stopping"]
    stop = n * share >= LEAST_HELD_OUT if stop == "auto" else stop
    seed, size = seed_of(given["random_state"]), given["batch_size"]
    changes = {key: plain(given[name]) for name, key in KEYS.items() if name in given}
    changes |= {"seed": seed, "data.seed": seed, "data.kind": kind, "data.test": 0.0, "data.constant": "keep"}
    changes["data.validation"] = plain(share) if stop else 0.0
    if size is None:
        size = min(MOST_BATCH, max(LEAST_BATCH, n // SHARE_OF_BATCH))
    changes["training.batch_size"] = plain(size)
    if isinstance(changes["network.hidden"], int):
        changes["network.hidden"] = (changes["network.hidden"],)
    config = override(recipe(base), changes | dict(given["settings"] or {}), "parameters")
    # Images are trained for as long as suits the network that they get.
    if given["epochs"] is None and given["steps"] is None and kind != "image":
        epochs = good_epochs(config, kind, n - round(share * n) if stop else n)
        config = override(config, {"training.epochs": min(MOST_EPOCHS, epochs)}, "epochs")
    if stop and config.training.patience is None and ranks_epochs(config, (1,)):
        config = override(config, {"training.patience": "clearly-worse"}, "early_stopping")
    return config
