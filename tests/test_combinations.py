"""Every part with every other: a combination either trains, or is refused by name with the reason."""

from __future__ import annotations

import itertools
from collections import Counter
from functools import cache
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers import batches, image_dataset, made, table_dataset

from latlas.build import objective_of
from latlas.data import Dataset
from latlas.errors import InputError
from latlas.networks import NETWORKS
from latlas.posteriors import POSTERIORS
from latlas.priors import PRIORS
from latlas.settings import OWN, Config

LIKELIHOODS: dict[str, dict[str, Any]] = {
    "bernoulli": {"likelihood__name": "bernoulli"},
    "continuous-bernoulli": {"likelihood__name": "continuous-bernoulli"},
    "discretised-logistic": {"likelihood__name": "discretised-logistic"},
    "laplace": {"likelihood__name": "laplace"},
    "fixed": {"likelihood__name": "gaussian", "likelihood__sigma": 0.5},
    "learned": {"likelihood__name": "gaussian", "likelihood__sigma": "learned"},
    "per-pixel": {"likelihood__name": "gaussian", "likelihood__sigma": "per-pixel"},
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "reconstruction": {"objective__name": "reconstruction"},
    "elbo": {"objective__name": "elbo"},
    "free-bits": {"objective__name": "elbo", "objective__free_bits": 0.1},
    "capacity": {"objective__name": "elbo", "objective__capacity": 5.0},
    "iwae": {"objective__name": "iwae", "objective__samples": 2},
    "dreg": {"objective__name": "iwae", "objective__samples": 2, "objective__gradient": "dreg"},
    "mmd": {"objective__name": "infovae", "objective__info_lambda": 50.0},
    "infovae": {"objective__name": "infovae", "objective__alpha": 0.5, "objective__info_lambda": 50.0},
}
PARTS: dict[str, list[str]] = {
    "network": sorted(NETWORKS),
    "posterior": sorted(POSTERIORS),
    "prior": list(PRIORS),
    "likelihood": list(LIKELIHOODS),
    "objective": list(OBJECTIVES),
}
Cell = tuple[str, str, str, str, str]
ALL_CELLS: list[Cell] = list(itertools.product(*PARTS.values()))  # type: ignore[arg-type]


@cache
def pairs(cell: Cell) -> frozenset[tuple[int, str, int, str]]:
    """The values of a cell, by twos."""
    return frozenset((i, cell[i], j, cell[j]) for i, j in itertools.combinations(range(5), 2))


@cache
def pairwise() -> list[Cell]:
    """A few cells in which every two values of different parts meet, found greedily."""
    # Of the refused cells each pair needs only one as well, so both kinds are covered apart.
    chosen: list[Cell] = []
    for kind in (True, False):
        cells = [cell for cell in ALL_CELLS if (reason(cell) == "") == kind]
        missing: set[tuple[int, str, int, str]] = set().union(*map(pairs, cells))
        while missing:
            best = max(cells, key=lambda cell: len(pairs(cell) & missing))
            chosen.append(best)
            missing -= pairs(best)
    return chosen


PLAIN = ("linear", "mlp", "conv")


def quick_and_slow() -> list[Any]:
    """The cells of `pairwise`; of those that train a published network, which takes a second, two of each are quick."""
    count: Counter[str] = Counter()
    made = []
    for cell in pairwise():
        count[cell[0]] += not reason(cell)
        slow = cell[0] not in PLAIN and not reason(cell) and count[cell[0]] > 2
        made.append(pytest.param(cell, id=" ".join(cell), marks=[pytest.mark.slow] * slow))
    return made


def reason(cell: Cell) -> str:
    """A word of the reason for which a cell has no meaning; nothing where it has one."""
    _, posterior, prior, _, objective = cell
    bounds = ("elbo", "free-bits", "capacity", "iwae", "dreg")
    rate = posterior != "point" and objective in (*bounds, "infovae")
    if posterior == "point" and objective in bounds:
        return "needs a posterior with a density"
    if posterior == "point" and objective == "infovae":
        return "objective.alpha"
    if prior != "standard-normal" and not rate:
        return f"prior.name = {prior} is learned through the rate"
    if objective == "free-bits" and (posterior == "flow" or prior != "standard-normal"):
        return "objective.free_bits needs"
    return ""


@pytest.fixture(scope="module")
def data() -> Dataset:
    return image_dataset(50, height=28, width=28)


def check(cell: Cell, data: Dataset) -> None:
    network, posterior, prior, likelihood, objective = cell
    settings = {
        "network__name": network, "posterior__name": posterior, "prior__name": prior, "model__latent": 3,
        "prior__components": 5, "network__hidden": (16,), "network__channels": (4, 8), "posterior__layers": 2,
    }  # fmt: skip
    settings |= {"training__epochs": 1} | LIKELIHOODS[likelihood] | OBJECTIVES[objective]
    if why := reason(cell):
        with pytest.raises(InputError, match=why):
            made(data, **settings)
        return
    config, model = made(data, **settings)
    assert_trains(config, model, batches(data, "train", model)(np.arange(8)))
    codes = model.encode(data.test.x)
    assert codes.shape == (len(data.test), 3)
    for items in (model.decode(codes), model.reconstruct(data.test.x), model.sample(len(data.test))):
        assert items.shape == data.test.x.shape
        assert np.isfinite(items).all()


def assert_trains(config: Any, model: Any, x: torch.Tensor) -> None:
    """One fixed batch, one fixed noise: 30 steps end at a lower loss."""
    objective = objective_of(config, x[0].shape)
    # Small steps: a VampPrior behind batch normalisation follows the encoder with a lag, which large ones run ahead of.
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    losses = []
    model.train()
    for _ in range(31):
        generator = torch.Generator().manual_seed(0)
        p = model(x, generator=generator, **objective.needs)
        loss = objective.loss(p, 1.0, 2.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(np.isfinite(losses))
    assert losses[-1] < losses[0]
    learned = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert learned == [], "parameters that nothing trains"


def test_the_table_has_every_choice_and_each_of_them_trains_with_something() -> None:
    names = {section: get_args(Config.model_fields[section].annotation.model_fields["name"].annotation)
             for section in ("likelihood", "objective")}  # fmt: skip
    assert {s["objective__name"] for s in OBJECTIVES.values()} == set(names["objective"]) - {OWN}
    assert {s["likelihood__name"] for s in LIKELIHOODS.values()} == set(names["likelihood"]) - {"auto", OWN}
    quick = [param.values[0] for param in quick_and_slow() if not param.marks]
    trained = {value for cell in quick if not reason(cell) for value in cell}
    assert trained == {value for values in PARTS.values() for value in values}


@pytest.mark.parametrize("cell", quick_and_slow())
def test_pairs(cell: Cell, data: Dataset) -> None:
    check(cell, data)


@pytest.mark.slow
@pytest.mark.parametrize("network", PARTS["network"])
def test_every_combination(network: str, data: Dataset) -> None:
    # All of them with one network: others differ from it before the encoder's output and after the decoder's input
    # only, and `test_pairs` has each of them with every other part. Of those every ninth that has not the second
    # gradient of one bound: 9 has no divisor in common with 7 likelihoods and 7 objectives, so all pairs of them meet.
    cells = [cell for cell in ALL_CELLS if cell[0] == network]
    for cell in cells if network == "mlp" else [cell for cell in cells if cell[-1] != "dreg"][::9]:
        check(cell, data)


@pytest.mark.parametrize("posterior", PARTS["posterior"])
@pytest.mark.parametrize("prior", PARTS["prior"])
def test_tables(posterior: str, prior: str) -> None:
    data = table_dataset(np.random.default_rng(0).normal(size=(60, 4)))
    objective = "mmd" if posterior == "point" else "elbo"
    settings = {
        "posterior__name": posterior,
        "prior__name": prior,
        "model__latent": 2,
        "prior__components": 4,
    }
    settings |= {"training__epochs": 1, "likelihood__sigma": "per-pixel"} | OBJECTIVES[objective]
    if posterior == "point" and prior != "standard-normal":
        with pytest.raises(InputError, match="learned through the rate"):
            made(data, **settings)
        return
    config, model = made(data, **settings)
    assert_trains(config, model, batches(data, "train", model)(np.arange(8)))
    assert model.sample(5).shape == (5, 4)
