"""log p(x) by annealed importance sampling, from decoder, likelihood and prior alone, with a check of its error.

Chains go from the prior to the posterior through f_t(z) = p(z) p(x | z)^beta_t (Neal 2001). They do not use the
encoder, so they also reach what the encoder misses (Wu et al. 2017). Only a VampPrior needs the encoder, for p(z).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latlas.data.batches import Batches
from latlas.errors import InputError, LatlasError
from latlas.metrics.context import Annealing, Context
from latlas.metrics.elbo import Progress
from latlas.metrics.importance import log_likelihood
from latlas.metrics.metric import Metric, Value, standard_error
from latlas.models import Model, evaluating
from latlas.priors import PriorValue

SIMULATED = 10
DIVERGED = "log p(x) by annealing is not finite: the model has diverged; train with a lower learning rate, optimizer.lr"
DRAWS = 1000  # of the importance sampling that it is compared with
LOOSE = 1.0  # nats between the bounds above which a warning is given
POWER = 3  # of the schedule: increments are smallest near the prior, where log p(x | z) differs most between chains
LEAPS = 2  # leapfrog steps of a transition; more temperatures help more than more steps
ACCEPTANCE, ADAPTATION, FIRST, PILOTS, WARM = 0.65, 0.5, 0.5, 4, 20  # of the pilot that tunes step sizes
JITTER = 0.2  # of step sizes: a fixed length can send every trajectory back to where it began
BACKWARD = 4  # values held for a gradient per output of the model: bounds memory


@dataclass(frozen=True)
class Annealed:
    """log p(x) by annealed importance sampling: means over the images of a split, in nats per image.

    `log_px` is the log of the mean weight of `chains` chains over `temperatures` increments of beta, a lower bound
    in the mean; `stderr` is over images, None for one. `acceptance` is that of the transitions, and `effective` the
    median over images of (sum w)^2 / sum w^2, as a share of the chains. The other fields check it on `simulated` items
    that the model itself drew: `lower` is the same estimate, `upper` a bound from above, by chains that go back from
    the code that made each item, and `gap` = upper - lower bounds the mean error of the lower one.
    """

    images: int
    chains: int
    temperatures: int
    log_px: float
    stderr: float | None
    acceptance: float
    effective: float
    simulated: int
    lower: float
    upper: float
    gap: float

    def to_dict(self) -> dict[str, float | None]:
        return asdict(self)


@dataclass(frozen=True)
class Weights:
    """Log weights (K, B) in double precision, and the transitions' chance of acceptance, a mean per item (B,)."""

    logs: Tensor
    acceptance: Tensor

    @property
    def log_mean(self) -> Tensor:
        """log 1/K sum w, per item (B,): of `forward`, a lower bound on log p(x) in the mean, as E w = p(x)."""
        return self.logs.logsumexp(0) - math.log(len(self.logs))

    @property
    def log_harmonic_mean(self) -> Tensor:
        """-log 1/K sum 1/w, per item (B,): of `reverse`, an upper bound on log p(x), as E 1/w = 1/p(x)."""
        return math.log(len(self.logs)) - (-self.logs).logsumexp(0)

    @property
    def effective(self) -> Tensor:
        """(sum w)^2 / (K sum w^2), per item (B,): 1 where all weights are equal, 1/K where one has all the weight."""
        return torch.exp(2 * self.logs.logsumexp(0) - (2 * self.logs).logsumexp(0)) / len(self.logs)


@dataclass(frozen=True)
class State:
    """Where chains are: z (K, B, D), log p(z) and log p(x | z) there (K, B), and both gradients (K, B, D)."""

    z: Tensor
    log_pz: Tensor
    log_px: Tensor
    slope_pz: Tensor
    slope_px: Tensor

    def log_density(self, beta: float) -> Tensor:
        """log p(z) + beta log p(x | z): (K, B)."""
        return self.log_pz + beta * self.log_px

    def slope(self, beta: float) -> Tensor:
        """The gradient of `log_density`: (K, B, D)."""
        return self.slope_pz + beta * self.slope_px


@dataclass(frozen=True)
class Target:
    """p(z) p(x | z)^beta of items x (B, *shape), for a model in evaluation mode and its prior as it is."""

    model: Model
    prior: PriorValue
    x: Tensor

    def at(self, z: Tensor) -> State:
        """The state at z (K, B, D)."""
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            p = self.model.at(z, self.x, None, self.prior)
            assert p.log_pz is not None  # `check` refuses models without a prior
            (slope_pz,) = torch.autograd.grad(p.log_pz.sum(), z)
            (slope_px,) = torch.autograd.grad(p.log_px.sum(), z)
        return State(z.detach(), p.log_pz.detach(), p.log_px.detach(), slope_pz, slope_px)

    def draw(self, chains: int, generator: torch.Generator) -> State:
        """Chains at draws of the prior."""
        codes = self.prior.sample(chains * len(self.x), generator, self.x)
        return self.at(codes.unflatten(0, (chains, len(self.x))))


def schedule(steps: int) -> list[float]:
    """beta_0 = 0 to beta_T = 1, T = steps: (t / T)^3, as for power posteriors (Friel and Pettitt 2008)."""
    return [(t / steps) ** POWER for t in range(steps + 1)]


def transition(
    target: Target, state: State, beta: float, size: Tensor, generator: torch.Generator
) -> tuple[State, Tensor]:
    """One step of Hamiltonian Monte Carlo, which leaves p(z) p(x | z)^beta invariant: leapfrog steps of length `size`
    (B,), accepted or rejected (Neal 2011). Returns the state, and the probability of acceptance (K, B).
    """
    chains = state.log_px.shape
    like: dict[str, Any] = {"device": state.z.device, "dtype": state.z.dtype}
    shake = 1 + JITTER * (2 * torch.rand(chains, generator=generator, **like) - 1)
    length = (size * shake)[..., None]
    first = momentum = torch.randn(state.z.shape, generator=generator, **like)
    new = state
    for _ in range(LEAPS):
        momentum = momentum + length / 2 * new.slope(beta)
        new = target.at(new.z + length * momentum)
        momentum = momentum + length / 2 * new.slope(beta)
    kinetic = 0.5 * (first.square() - momentum.square()).sum(-1)
    gain = new.log_density(beta) - state.log_density(beta) + kinetic
    # A trajectory that diverges has NaN here: it is never accepted.
    chance = gain.nan_to_num(nan=-math.inf).clamp(max=0).exp()
    accepted = torch.rand(chains, generator=generator, **like) < chance
    values = {}
    for field in fields(State):
        one, other = getattr(new, field.name), getattr(state, field.name)
        values[field.name] = torch.where(accepted if one.ndim == 2 else accepted[..., None], one, other)
    return State(**values), chance


def tune(target: Target, betas: list[float], generator: torch.Generator, done: Callable[[], None]) -> Tensor:
    """Step sizes (T - 1, B) for each transition and item, by pilot chains that aim at an acceptance of 0.65.

    The chains whose weights count keep these sizes fixed. If they adapted their own, their transitions would depend on
    the past, would not leave f_t invariant, and E w would not be p(x).
    """
    state = target.draw(PILOTS, generator)
    size = torch.full((len(target.x),), FIRST, dtype=state.z.dtype, device=state.z.device)
    sizes = []
    for t, beta in enumerate([betas[1]] * WARM + betas[1:-1]):
        if t >= WARM:
            sizes.append(size)
            done()
        state, chance = transition(target, state, beta, size, generator)
        size = size * torch.exp(ADAPTATION * (chance.mean(0) - ACCEPTANCE))
    return torch.stack(sizes)


def forward(
    target: Target, betas: list[float], sizes: Tensor, chains: int, generator: torch.Generator,
    done: Callable[[], None],
) -> Weights:  # fmt: skip
    """Chains from the prior to the posterior: log w = sum_t (beta_t - beta_(t-1)) log p(x | z_(t-1)), where z_t
    follows from z_(t-1) by a transition at beta_t (Neal 2001); E w = p(x).
    """
    state = target.draw(chains, generator)
    logs, chances = betas[1] * state.log_px.double(), []
    for t, size in enumerate(sizes, 1):
        state, chance = transition(target, state, betas[t], size, generator)
        logs = logs + (betas[t + 1] - betas[t]) * state.log_px.double()
        chances.append(chance.mean(0))
        done()
    return Weights(logs.cpu(), torch.stack(chances).mean(0).cpu())


def reverse(
    target: Target, betas: list[float], sizes: Tensor, z: Tensor, generator: torch.Generator,
    done: Callable[[], None],
) -> Weights:  # fmt: skip
    """Chains from codes z (K, B, D) of the exact posterior back to the prior, the transitions of `forward` in
    reverse order, with the weights that `forward` would have given them; E 1/w = 1/p(x) (Grosse et al. 2015).
    """
    state = target.at(z)
    logs, chances = (betas[-1] - betas[-2]) * state.log_px.double(), []
    for t in range(len(sizes), 0, -1):
        state, chance = transition(target, state, betas[t], sizes[t - 1], generator)
        logs = logs + (betas[t] - betas[t - 1]) * state.log_px.double()
        chances.append(chance.mean(0))
        done()
    return Weights(logs.cpu(), torch.stack(chances).mean(0).cpu())


def simulate(model: Model, prior: PriorValue, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """z (n, D) from the prior and x (n, *shape) from p(x | z): each z is an exact draw of its x's posterior."""
    like = next(model.parameters())
    z = prior.sample(n, generator, like)
    raw = torch.cat([model.raw(z[None, rows])[0] for rows in model.chunks(n)])
    if not raw.isfinite().all():
        raise LatlasError(DIVERGED)
    return z, model.likelihood.sample(raw, generator)


def annealed(
    model: Model,
    data: Batches,
    effort: Annealing,
    simulated: int = SIMULATED,
    progress: Progress | None = None,
) -> Annealed:
    """log p(x) of every item of a split, by chains with as many increments of beta (at least 2) as the effort has
    temperatures, and both bounds for `simulated` items. `progress` is called with (done, total) transitions.

    Raises LatlasError where numbers are not finite.
    """
    chains, steps = effort.chains, effort.temperatures
    chunks, checks = model.chunks(len(data), BACKWARD * chains), model.chunks(simulated, BACKWARD * chains)
    total, past = (2 * len(chunks) + 3 * len(checks)) * (steps - 1), 0

    def done() -> None:
        nonlocal past
        past += 1
        if progress is not None:
            progress(past, total)

    generator = torch.Generator(data.device).manual_seed(effort.seed)
    betas = schedule(steps)
    weights, lower, upper = [], [], []
    with torch.no_grad(), evaluating(model):
        prior = model.prior_value()
        z, x = simulate(model, prior, simulated, generator)
        for rows in chunks:
            target = Target(model, prior, data(np.arange(rows.start, rows.stop)))
            sizes = tune(target, betas, generator, done)
            weights.append(forward(target, betas, sizes, chains, generator, done))
        for rows in checks:
            target = Target(model, prior, x[rows])
            sizes = tune(target, betas, generator, done)
            lower.append(forward(target, betas, sizes, chains, generator, done).log_mean)
            codes = z[rows].expand(chains, -1, -1)
            upper.append(reverse(target, betas, sizes, codes, generator, done).log_harmonic_mean)
    return _summary(weights, torch.cat(lower), torch.cat(upper), chains, steps)


def _summary(weights: list[Weights], lower: Tensor, upper: Tensor, chains: int, steps: int) -> Annealed:
    log_px = torch.cat([w.log_mean for w in weights])
    if not torch.cat([log_px, lower, upper]).isfinite().all():
        raise LatlasError(DIVERGED)
    return Annealed(
        images=len(log_px),
        chains=chains,
        temperatures=steps,
        log_px=log_px.mean().item(),
        stderr=standard_error(log_px.numpy()),
        acceptance=torch.cat([w.acceptance for w in weights]).mean().item(),
        effective=torch.cat([w.effective for w in weights]).quantile(0.5).item(),
        simulated=len(lower),
        lower=lower.mean().item(),
        upper=upper.mean().item(),
        gap=(upper - lower).mean().item(),
    )


def check(effort: Annealing, prior: bool) -> None:
    """Raises InputError for a model without a prior, or a number out of range."""
    if not prior:
        raise InputError("a plain autoencoder has no prior, hence no p(x) to estimate", field="ais")
    if effort.items < 1:
        raise InputError("at least 1 item is needed", field="ais", value=effort.items)
    if not 1 <= effort.chains <= 200:
        raise InputError(
            "at least 1 is needed, and at most 200 are taken", field="chains", value=effort.chains
        )
    if not 2 <= effort.temperatures <= 100_000:
        raise InputError(
            "at least 2 are needed, and at most 100,000 are taken",
            field="temperatures",
            value=effort.temperatures,
        )
    if not 0 <= effort.seed < 2**63:
        raise InputError("expected a whole number from 0 to 2^63 - 1", field="seed", value=effort.seed)


def without_encoder(context: Context) -> tuple[Annealed, float | None] | None:
    """log p(x) of evenly spaced test items by annealing, and by 1,000 draws from q(z | x) for the same items (None for
    a point posterior). None where the effort has no annealing.

    Raises InputError for a model without a prior, or a number out of range.
    """
    effort = context.effort.annealing
    if effort is None:
        return None
    check(effort, context.prior)
    rows = context.test.even_rows(effort.items)
    data = context.batches(context.test.take(rows))
    done = lambda n, total: context.observer.progress("annealing", n, total)  # noqa: E731
    estimate = annealed(context.model, data.targets or data, effort, progress=done)
    if not context.model.posterior_family.has_density:
        return estimate, None
    q = context.posteriors(rows)
    return estimate, log_likelihood(context.model, data, DRAWS, effort.seed, q).log_px


def _annealed_log_px(context: Context) -> Value | None:
    estimates = context.once(without_encoder)
    if estimates is None:
        return None
    own, with_encoder = estimates
    loose = "the lower and the upper bound are far apart: more temperatures would bring them together"
    return Value(
        own.log_px, own.stderr, own.images, own.chains,
        {} if with_encoder is None else {"with the encoder": with_encoder},
        by=f"{own.temperatures:,} temperatures", warning=loose if own.gap > LOOSE else "",
    )  # fmt: skip


def _annealed_gap(context: Context) -> Value | None:
    estimates = context.once(without_encoder)
    if estimates is None:
        return None
    own, _ = estimates
    return Value(own.gap, None, own.simulated, own.chains, {"lower": own.lower, "upper": own.upper})


def _hidden(context: Context) -> Value | None:
    own, with_encoder = context.once(without_encoder) or (None, None)
    if own is None or with_encoder is None:
        return None
    return Value(own.log_px - with_encoder, None, own.images, own.chains)


AIS: dict[str, Metric] = {
    "annealed_log_px": Metric(
        "log p(x), annealed", "likelihood", "nats per {item}", "higher",
        "By annealed importance sampling from the prior: a lower bound that does not depend on the encoder.",
        _annealed_log_px, 2,
    ),
    "annealed_gap": Metric(
        "annealed, both sides", "likelihood", "nats per {item}", "lower",
        "Upper minus lower bound for items that the model itself drew, whose codes are known: the lower bound can be "
        "off by as much.",
        _annealed_gap, 2,
    ),
    "hidden": Metric(
        "hidden by the encoder", "likelihood", "nats per {item}", "lower",
        "log p(x), annealed, minus importance sampling of the same items with the encoder's draws.",
        _hidden, 2,
    ),
}  # fmt: skip
