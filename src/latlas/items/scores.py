"""Numbers of single items: ELBO, log p(x), squared error, distance of codes, and ranks among training items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latlas.data import Split
from latlas.data.batches import Batches
from latlas.errors import InputError
from latlas.inference import refuse_not_finite
from latlas.items.nearest import CodeSpace
from latlas.items.records import Columns, about, joined
from latlas.metrics.elbo import reconstructed, squared_error
from latlas.metrics.importance import BOUNDS, batch_sizes, summed_weights
from latlas.models import Model, evaluating
from latlas.posteriors import PosteriorValue
from latlas.priors import PriorValue
from latlas.progress import SILENT, Observer

MOST_REFERENCE = 10_000  # training items that others are ranked among, evenly spaced
LEAST_REFERENCE = 20  # fewer have no ranks: a share of so few says nothing
MOST_SAMPLES, MOST_DRAWS = 1000, 100_000
# The end of each number at which an item is unusual.
UNUSUAL = {"elbo": -1, "log_px": -1, "distortion": 1, "rate": 1, "squared_error": 1, "code_distance": 1}
RANKED = ("elbo", "squared_error", "code_distance")


@dataclass(frozen=True)
class Request:
    """What to compute: `samples` draws of z for the ELBO, `draws` of z for log p(x) (None: leave it out), by `seed`.

    `by` is the number that says which items are unusual; "" takes the ELBO, or the squared error where there is none.
    """

    samples: int = 16
    draws: int | None = None
    seed: int = 0
    by: str = ""

    def check(self, model: Model) -> str:
        """The number to order items by; raises InputError for a value out of range, or a number without a meaning."""
        density = model.posterior_family.has_density
        ranges = {"samples": (self.samples, 1, MOST_SAMPLES), "seed": (self.seed, 0, 2**31 - 1)}
        if self.draws is not None:
            ranges["draws"] = (self.draws, 1, MOST_DRAWS)
        for field, (value, least, most) in ranges.items():
            if not least <= value <= most:
                raise InputError(
                    f"expected a whole number from {least} to {most:,}", field=field, value=value
                )
        if self.draws is not None and not density:
            raise InputError(
                "posterior.name = point has no density, so this model has no log p(x)", field="draws"
            )
        given = (
            set(UNUSUAL) - (set() if density else {"elbo", "rate"}) - (set() if self.draws else {"log_px"})
        )
        if self.by and self.by not in given:
            hint = " (log_px needs draws)" if self.by == "log_px" and density else ""
            known = ", ".join(name for name in UNUSUAL if name in given)
            raise InputError(f"expected one of {known}{hint}", field="by", value=self.by)
        return self.by or ("elbo" if density else "squared_error")


def score(
    model: Model, parts: Mapping[str, Split], train: Split, request: Request, observer: Observer = SILENT
) -> Columns:
    """A line for each item of `parts`, the splits of a run's own data by name, or {"": items of other data}.

    Beside name, row, label and split: `place` (1 is the most unusual), `elbo`, `distortion`, `rate` and `log_px` in
    nats, `effective_sample_size` of the latter, `squared_error` per value on the model's scale, `code_distance`, the
    mean distance to the 10 nearest training codes in standard deviations, and `elbo_rank`, `squared_error_rank` and
    `code_distance_rank`, the share of up to 10,000 training items that are less unusual by it.

    The draws of z come from the same noise for every item, so that a number does not depend on the items beside it.
    Raises InputError for a request out of range, LatlasError for numbers that are not finite.
    """
    by = request.check(model)
    rows = train.even_rows(MOST_REFERENCE)
    reference = measured(
        model, train.take(rows), Request(request.samples, None, request.seed), observer, "reference"
    )
    space = CodeSpace.of(reference["mean"], reference.get("std"))
    reference["code_distance"] = space.distance(reference["mean"], np.arange(len(rows)))
    lines = []
    for split, items in parts.items():
        found = measured(model, items, request, observer, split or "items")
        own = _places(rows, len(items)) if split == "train" else np.full(len(items), -1)
        found["code_distance"] = space.distance(found["mean"], own)
        lines.append(about(items, split, model.item.classes) | found)
    columns = joined(lines)
    place = np.empty(len(columns["row"]), np.int64)
    place[most_unusual_first(columns, by)] = np.arange(1, len(place) + 1)
    return _ordered(columns | {"place": place} | _ranks(columns, reference, observer))


def most_unusual_first(columns: Columns, by: str) -> np.ndarray:
    """The order of items by a number, the most unusual first; equal ones keep their order."""
    return np.argsort(-UNUSUAL[by] * columns[by], kind="stable")


def _places(rows: np.ndarray, items: int) -> np.ndarray:
    """The place of each of so many items in `rows`, -1 for those not in it."""
    places = np.full(items, -1)
    places[rows] = np.arange(len(rows))
    return places


def _ranks(columns: Columns, reference: Columns, observer: Observer) -> Columns:
    """The share of training items that are less unusual than each item, by each number that has a rank."""
    count = len(reference["squared_error"])
    if count < LEAST_REFERENCE:
        observer.note(f"no ranks: {count} training items are too few, {LEAST_REFERENCE} are needed")
        return {}
    ranks = {}
    for name in RANKED:
        if name in columns:
            usual = np.sort(UNUSUAL[name] * reference[name])
            ranks[f"{name}_rank"] = np.searchsorted(usual, UNUSUAL[name] * columns[name], "left") / count
    return ranks


def _ordered(columns: Columns) -> Columns:
    names = ("name", "row", "label", "split", "place", "elbo", "distortion", "rate", "log_px", "effective_sample_size",
             "squared_error", "code_distance", *(f"{name}_rank" for name in RANKED))  # fmt: skip
    return {name: columns[name] for name in names if name in columns}


def even_noise(count: int, latent: int, seed: int) -> Tensor:
    """Draws from N(0, I) that fill the space evenly: (count, 1, latent), in double precision.

    They are a scrambled Sobol sequence through the normal quantiles (Owen 1997), whose means are unbiased, and vary far
    less than those of independent draws.
    """
    if latent > torch.quasirandom.SobolEngine.MAXDIM:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn((count, 1, latent), generator=generator, dtype=torch.float64)
    engine = torch.quasirandom.SobolEngine(latent, scramble=True, seed=seed)
    uniform = engine.draw(count, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
    return torch.special.ndtri(uniform)[:, None]


def measured(
    model: Model, items: Split, request: Request, observer: Observer = SILENT, what: str = "items"
) -> Columns:
    """The numbers of each item from one pass, with the `mean` and `std` of its posterior (N, D).

    Raises LatlasError for numbers that are not finite.
    """
    data = Batches(items, model.item.scaling, model.device, model.dtype)
    noise = even_noise(request.samples, model.latent, request.seed).to(model.device, model.dtype)
    generator = torch.Generator().manual_seed(request.seed)
    draws = torch.randn((request.draws or 0, 1, model.latent), generator=generator, dtype=torch.float64)
    together = batch_sizes(model, request.draws)[0] if request.draws else len(items)
    parts: list[dict[str, Tensor]] = []
    with torch.no_grad(), evaluating(model):
        prior = model.prior_value()
        for chunk in model.chunks(len(items), request.samples):
            for start in range(chunk.start, chunk.stop, together):
                rows = np.arange(start, min(start + together, chunk.stop))
                q, target = model.infer(data(rows)), data.targets_of(rows)
                x = data(rows) if target is None else target
                terms = _terms(model, x, q, prior, noise)
                parts.append(terms | (_log_px(model, x, q, prior, draws) if request.draws else {}))
            observer.progress(f"scoring {what}", chunk.stop, len(items))
    columns = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
    refuse_not_finite(model, "numbers", *columns.values())
    return columns


def _terms(model: Model, x: Tensor, q: PosteriorValue, prior: PriorValue, noise: Tensor) -> dict[str, Tensor]:
    """ELBO, distortion and rate at beta 1 of x (B, *shape), by the same noise (K, 1, D) for each."""
    p = model.at(q.rsample(noise.expand(-1, len(x), -1)), x, q, prior)
    given = {"elbo": p.elbo, "distortion": p.distortion, "rate": p.rate, "mean": q.mean, "std": q.stddev}
    found = {name: value.cpu().double() for name, value in given.items() if value is not None}
    return found | {"squared_error": squared_error(reconstructed(model, q), x)}


def _log_px(
    model: Model, x: Tensor, q: PosteriorValue, prior: PriorValue, draws: Tensor
) -> dict[str, Tensor]:
    """log p(x) of x (B, *shape) by importance sampling with the same draws (K, 1, D) for each, and how many of equal
    weight these are worth.
    """
    done = 0

    def weights(n: int) -> Tensor:
        nonlocal done
        noise, done = draws[done : done + n].to(x.device, x.dtype).expand(-1, len(x), -1), done + n
        log_w = model.at(q.rsample(noise), x, q, prior).log_weights()
        assert log_w is not None  # `Request.check` refuses a point posterior
        return log_w.cpu().double()

    at_once = max(1, batch_sizes(model, len(draws))[1] // len(x))
    log_px, _, effective, *_ = summed_weights(weights, len(draws), at_once, BOUNDS)
    return {"log_px": log_px, "effective_sample_size": effective}
