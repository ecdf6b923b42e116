"""log p(x) by annealed importance sampling, from decoder, likelihood and prior alone, and how far to trust it.

Chains go from the prior to the posterior through f_t(z) = p(z) p(x | z)^beta_t (Neal 2001). No encoder proposes
anything, so what the encoder misses is found as well (Wu et al. 2017); a VampPrior alone still asks it for p(z).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latlas.build import has_prior
from latlas.data import Split
from latlas.data.batches import Batches
from latlas.errors import InputError, LatlasError
from latlas.metrics.elbo import EVALUATION_SEED, log_likelihood
from latlas.models import Model, evaluating
from latlas.priors import PriorValue
from latlas.progress import SILENT, Observer
from latlas.settings import Config

CHAINS, TEMPERATURES, SIMULATED = 16, 300, 10
DIVERGED = (
    "log p(x) by annealing is not finite: the model has diverged; train with a lower learning rate (--lr)"
)
DRAWS = 1000  # of importance sampling beside it
POWER = 3  # of the schedule: increments are smallest near the prior, where log p(x | z) differs most between chains
LEAPS = 2  # leapfrog steps of a transition; more temperatures win more than more steps
ACCEPTANCE, RATE, FIRST, PILOTS, WARM = 0.65, 0.5, 0.5, 4, 20  # of the pilot that tunes step sizes
JITTER = 0.2  # of step sizes: a fixed length can send every trajectory back to where it began
BACKWARD = 4  # values kept for a gradient, for each of a model's outputs: bounds memory


@dataclass(frozen=True)
class Annealed:
    """log p(x) by annealed importance sampling: means over the images of a split, in nats per image.

    `log_px` is the log of the mean weight of `chains` chains over `temperatures` increments of beta, a lower bound
    in the mean; `stderr` is over images, None for one. `acceptance` is that of the transitions, and `effective` the
    median over images of (sum w)^2 / sum w^2, as a share of the chains. The rest checks it on `simulated` items that
    the model itself drew: `lower` is the same estimate, `upper` a bound from above, by chains that go back from the
    very code behind each item, and `gap` = upper - lower how far the lower one can be off, in the mean.
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
        """(sum w)^2 / (K sum w^2), per item (B,): 1 where all weights are equal, 1/K where one holds everything."""
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
            log_pz = self.prior.log_prob(z)
            log_px = self.model.likelihood.log_prob(self.model.raw(z), self.x)
            (slope_pz,) = torch.autograd.grad(log_pz.sum(), z)
            (slope_px,) = torch.autograd.grad(log_px.sum(), z)
        return State(z.detach(), log_pz.detach(), log_px.detach(), slope_pz, slope_px)

    def draw(self, chains: int, generator: torch.Generator) -> State:
        """Chains at draws of the prior."""
        codes = self.prior.sample(chains * len(self.x), generator, self.x)
        return self.at(codes.unflatten(0, (chains, len(self.x))))


def schedule(steps: int) -> list[float]:
    """beta_0 = 0 to beta_T = 1, T = steps: (t / T)^3, as power posteriors have it (Friel and Pettitt 2008)."""
    return [(t / steps) ** POWER for t in range(steps + 1)]


def transition(
    target: Target, state: State, beta: float, size: Tensor, generator: torch.Generator
) -> tuple[State, Tensor]:
    """One step of Hamiltonian Monte Carlo, which leaves p(z) p(x | z)^beta as it is: leapfrog steps of length `size`
    (B,), accepted or refused (Neal 2011). Gives the state, and the chance of acceptance (K, B).
    """
    chains = state.log_px.shape
    of: dict[str, Any] = {"device": state.z.device, "dtype": state.z.dtype}
    shake = 1 + JITTER * (2 * torch.rand(chains, generator=generator, **of) - 1)
    length = (size * shake)[..., None]
    first = momentum = torch.randn(state.z.shape, generator=generator, **of)
    new = state
    for _ in range(LEAPS):
        momentum = momentum + length / 2 * new.slope(beta)
        new = target.at(new.z + length * momentum)
        momentum = momentum + length / 2 * new.slope(beta)
    kinetic = 0.5 * (first.square() - momentum.square()).sum(-1)
    gain = new.log_density(beta) - state.log_density(beta) + kinetic
    # A trajectory that left for infinity has no number, and no chance.
    chance = gain.nan_to_num(nan=-math.inf).clamp(max=0).exp()
    taken = torch.rand(chains, generator=generator, **of) < chance
    chosen = {}
    for item in fields(State):
        one, other = getattr(new, item.name), getattr(state, item.name)
        chosen[item.name] = torch.where(taken if one.ndim == 2 else taken[..., None], one, other)
    return State(**chosen), chance


def tune(target: Target, betas: list[float], generator: torch.Generator, done: Callable[[], None]) -> Tensor:
    """Step sizes (T - 1, B) for each transition and item, by pilot chains that aim at an acceptance of 0.65.

    The chains that are weighed take these sizes as given. Were they to adapt their own, their steps would depend on
    where they have been, their transitions would no longer leave f_t as it is, and E w would not be p(x).
    """
    state = target.draw(PILOTS, generator)
    size = torch.full((len(target.x),), FIRST, dtype=state.z.dtype, device=state.z.device)
    sizes = []
    for t, beta in enumerate([betas[1]] * WARM + betas[1:-1]):
        if t >= WARM:
            sizes.append(size)
            done()
        state, chance = transition(target, state, beta, size, generator)
        size = size * torch.exp(RATE * (chance.mean(0) - ACCEPTANCE))
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
    model: Model, data: Batches, chains: int = CHAINS, steps: int = TEMPERATURES, simulated: int = SIMULATED,
    seed: int = EVALUATION_SEED, progress: Callable[[int, int], None] | None = None,
) -> Annealed:  # fmt: skip
    """log p(x) of a whole split, by `chains` chains of `steps` increments of beta (at least 2) for each item, and the
    bounds of as many `simulated` items. `progress` is told (done, total) of transitions.

    Raises LatlasError where numbers are not finite.
    """
    parts, checks = model.chunks(len(data), BACKWARD * chains), model.chunks(simulated, BACKWARD * chains)
    total, told = (2 * len(parts) + 3 * len(checks)) * (steps - 1), 0

    def done() -> None:
        nonlocal told
        told += 1
        if progress is not None:
            progress(told, total)

    generator = torch.Generator(data.device).manual_seed(seed)
    betas = schedule(steps)
    found, lower, upper = [], [], []
    with torch.no_grad(), evaluating(model):
        prior = model.prior_value()
        z, x = simulate(model, prior, simulated, generator)
        for rows in parts:
            target = Target(model, prior, data(np.arange(rows.start, rows.stop)))
            sizes = tune(target, betas, generator, done)
            found.append(forward(target, betas, sizes, chains, generator, done))
        for rows in checks:
            target = Target(model, prior, x[rows])
            sizes = tune(target, betas, generator, done)
            lower.append(forward(target, betas, sizes, chains, generator, done).log_mean)
            codes = z[rows].expand(chains, -1, -1)
            upper.append(reverse(target, betas, sizes, codes, generator, done).log_harmonic_mean)
    return _summary(found, torch.cat(lower), torch.cat(upper), chains, steps)


def _summary(found: list[Weights], lower: Tensor, upper: Tensor, chains: int, steps: int) -> Annealed:
    log_px = torch.cat([weights.log_mean for weights in found])
    if not torch.cat([log_px, lower, upper]).isfinite().all():
        raise LatlasError(DIVERGED)
    return Annealed(
        images=len(log_px),
        chains=chains,
        temperatures=steps,
        log_px=log_px.mean().item(),
        stderr=log_px.std().item() / math.sqrt(len(log_px)) if len(log_px) > 1 else None,
        acceptance=torch.cat([weights.acceptance for weights in found]).mean().item(),
        effective=torch.cat([weights.effective for weights in found]).quantile(0.5).item(),
        simulated=len(lower),
        lower=lower.mean().item(),
        upper=upper.mean().item(),
        gap=(upper - lower).mean().item(),
    )


def check(config: Config, chains: int, temperatures: int, seed: int) -> None:
    """Raises InputError for a model without a prior, or a number out of range."""
    if not has_prior(config):
        raise InputError("--ais: a plain autoencoder has no prior, hence no p(x) that one could estimate")
    if not 1 <= chains <= 200:
        raise InputError(f"--chains {chains}: at least 1 is needed, and at most 200 are taken")
    if not 2 <= temperatures <= 100_000:
        raise InputError(
            f"--temperatures {temperatures}: at least 2 are needed, and at most 100,000 are taken"
        )
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed {seed}: expected a whole number from 0 to 2^63 - 1")


def compared(
    config: Config, model: Model, items: Split, chains: int = CHAINS, temperatures: int = TEMPERATURES,
    seed: int = EVALUATION_SEED, observer: Observer = SILENT,
) -> dict[str, Any]:  # fmt: skip
    """The numbers of `annealed` for a run's model, as plain values, beside importance sampling of the same items.

    `importance` is log p(x) by 1,000 draws from q(z | x), and `hidden` = log_px - importance what the encoder hides;
    both are None for a point posterior. Raises InputError for a model without a prior, or a number out of range.
    """
    check(config, chains, temperatures, seed)
    data = Batches(items, model.item.scaling, model.device, model.dtype)
    done = lambda n, total: observer.progress("annealing", n, total)  # noqa: E731
    result = annealed(model, data, chains, temperatures, seed=seed, progress=done)
    weighed = None
    if model.posterior_family.has_density:
        weighed = log_likelihood(model, data, DRAWS, seed).log_px
    hidden = None if weighed is None else result.log_px - weighed
    return result.to_dict() | {"importance": weighed, "hidden": hidden}
