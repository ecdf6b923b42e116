"""Densities fitted to the codes of a trained model: Gaussians, a mixture of Gaussians, a flow.

A plain autoencoder has no distribution to draw codes from. Such a density, fitted after training, supplies one (Ghosh
et al. 2020, "From variational to deterministic autoencoders"). Codes are float64 arrays (N, D).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from latlas.data.stored import Items
from latlas.errors import InputError
from latlas.likelihoods import LOG_2PI
from latlas.text import counted

MOST_CODES = 20_000  # codes that are fitted to, evenly spaced over a split: more change little but the time
COMPONENTS = (1, 2, 3, 5, 10, 20)  # numbers of Gaussians that are tried for a mixture
FLOOR = 1e-6  # least standard deviation along any direction, as a share of the largest
HELD_OUT = 0.1
BLOCK = 1000  # items encoded at a time
FLOW_STEPS, FLOW_BATCH, FLOW_EVERY, FLOW_PATIENCE = 1000, 256, 25, 10
FLOW_WORK = 30_000  # most steps x dimensions: a step in many dimensions takes longer


Progress = Callable[[int, int], None]


class Density(Protocol):
    """A distribution of codes. `what` names it in a sentence; `dimensions` is D."""

    @property
    def what(self) -> str: ...
    @property
    def dimensions(self) -> int: ...
    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """n codes (n, D); a seed always gives the same ones."""

    def log_prob(self, codes: np.ndarray) -> np.ndarray:
        """log p(z) in nats: (N, D) -> (N,)."""


class Infers(Protocol):
    """A model as `draws` uses it: it gives q(z | x) of stored items."""

    def posterior(self, x: np.ndarray, /) -> Any: ...


@dataclass(frozen=True)
class Gaussian:
    """N(mean, axes diag(std^2) axes^T); the columns of `axes` (D, D) are its orthonormal principal axes."""

    what: str
    mean: np.ndarray
    axes: np.ndarray
    std: np.ndarray

    @property
    def dimensions(self) -> int:
        return len(self.mean)

    def whiten(self, codes: np.ndarray) -> np.ndarray:
        """Codes (N, D) in standard deviations along the axes: N(0, I) if the codes follow this Gaussian."""
        return (codes - self.mean) @ self.axes / self.std

    def colour(self, white: np.ndarray) -> np.ndarray:
        """The inverse of `whiten`."""
        return self.mean + (white * self.std) @ self.axes.T

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        return self.colour(np.random.default_rng(seed).standard_normal((n, self.dimensions)))

    def log_prob(self, codes: np.ndarray) -> np.ndarray:
        white = self.whiten(_checked(codes, self.dimensions))
        return -0.5 * (white**2 + LOG_2PI).sum(1) - np.log(self.std).sum()


@dataclass(frozen=True)
class Mixture:
    """The mixture sum_k weights[k] N_k, for codes whitened by `base`."""

    base: Gaussian
    weights: np.ndarray
    parts: tuple[Gaussian, ...]

    @property
    def what(self) -> str:
        return (
            f"a mixture of {len(self.parts)} Gaussians" if len(self.parts) > 1 else "a mixture of 1 Gaussian"
        )

    @property
    def dimensions(self) -> int:
        return self.base.dimensions

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(self.parts), n, p=self.weights)
        noise = rng.standard_normal((n, self.dimensions))
        white = np.empty_like(noise)
        for k, part in enumerate(self.parts):
            white[chosen == k] = part.colour(noise[chosen == k])
        return self.base.colour(white)

    def log_prob(self, codes: np.ndarray) -> np.ndarray:
        from scipy.special import logsumexp

        white = self.base.whiten(_checked(codes, self.dimensions))
        joint = np.stack([part.log_prob(white) for part in self.parts]) + np.log(self.weights)[:, None]
        return logsumexp(joint, axis=0) - np.log(self.base.std).sum()


@dataclass(frozen=True)
class Flow:
    """A neural spline flow (Durkan et al. 2019) for codes whitened by `base`; `network()` is zuko's distribution."""

    base: Gaussian
    network: Callable[[], Any]

    @property
    def what(self) -> str:
        return "a neural spline flow"

    @property
    def dimensions(self) -> int:
        return self.base.dimensions

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        noise = torch.from_numpy(np.random.default_rng(seed).standard_normal((n, self.dimensions)))
        with torch.no_grad():
            white = torch.cat([self.network().transform.inv(block) for block in noise.split(BLOCK)])
        return self.base.colour(white.numpy())

    def log_prob(self, codes: np.ndarray) -> np.ndarray:
        white = torch.from_numpy(self.base.whiten(_checked(codes, self.dimensions)))
        with torch.no_grad():
            parts = [self.network().log_prob(block) for block in white.split(BLOCK)]
        return torch.cat(parts).numpy() - np.log(self.base.std).sum()


@dataclass(frozen=True)
class Options:
    """Options of a fit; each family reads those that it needs."""

    seed: int = 0
    progress: Progress | None = None


def fit(name: str, codes: np.ndarray, seed: int = 0, progress: Progress | None = None) -> Density:
    """Fits the density `name` (factored, full, mixture or flow) to codes (N, D) by maximum likelihood.

    factored and full are the Gaussian with the codes' mean and their (diagonal) covariance, 1/N. mixture is fitted by
    expectation maximisation: Gaussians of full covariance, in the number that gives held-out codes the largest
    likelihood. flow is a neural spline flow, trained until held-out codes stop getting likelier. A direction in
    which the codes do not vary gets 1e-6 of the largest standard deviation. `progress` is called with the steps done
    and their total while a flow is trained, which may end early.

    Raises InputError for an unknown name, for codes that are not finite or too few, and for flow without zuko.
    """
    check([name])
    codes = _checked(codes)
    reason = refusal(name, codes)
    if reason:
        raise InputError(f"density {name}: {reason}")
    return FITS[name](codes, Options(seed, progress))


def refusal(name: str, codes: np.ndarray) -> str:
    """The reason why the density `name` cannot be fitted to these codes (N, D); empty if it can."""
    n, d = codes.shape
    if n < 2 or not np.ptp(codes, axis=0).any():
        return f"{n} {'code' if n == 1 else 'equal codes'} without any spread; codes that differ are needed"
    needed = {"factored": 2, "flow": max(20, d + 1)}.get(name, d + 1)
    if n < needed:
        have = f"{counted(n, 'code')} of {counted(d, 'dimension')}"
        return f"{have}; at least {needed} are needed: give more data, or use factored"
    return ""


def check(names: Sequence[str]) -> None:
    """Raises InputError for a name that is no density, and for flow if zuko is not installed."""
    for name in names:
        if name not in FITS:
            raise InputError(f"expected {', '.join(FITS)}", field="density", value=name)
    if "flow" in names:
        _zuko()


def codes_of(model: Infers, train: Items, test: Items, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The codes to fit a density to, and the codes to evaluate it on: `draws` of stored items."""
    return draws(model, train, seed), draws(model, test, seed + 1)


def draws(model: Infers, x: Items, seed: int = 0) -> np.ndarray:
    """A draw from q(z | x) for each stored item (N, ...), or for 20,000 evenly spaced ones: codes (n, D).

    A point posterior gives the code itself. Draws are used and not means, because the decoder was trained on draws, and
    means of a variational model spread less.
    """
    rng, codes = np.random.default_rng(seed), []
    chosen = np.unique(np.linspace(0, len(x) - 1, min(MOST_CODES, len(x))).round().astype(np.int64))
    for start in range(0, len(chosen), BLOCK):
        q = model.posterior(np.asarray(x[chosen[start : start + BLOCK]]))
        noise = torch.from_numpy(rng.standard_normal((1, *q.mean.shape)))
        with torch.no_grad():
            codes.append(q.rsample(noise.to(q.mean))[0].cpu().double().numpy())
    return np.concatenate(codes)


def _checked(codes: np.ndarray, dimensions: int | None = None) -> np.ndarray:
    array = np.asarray(codes)
    if array.ndim != 2 or 0 in array.shape or (dimensions or array.shape[1]) != array.shape[1]:
        raise InputError(f"codes of shape {array.shape}: expected (N, {dimensions or 'D'})")
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array) or not np.isfinite(array).all():
        raise InputError("codes: expected finite real numbers")
    return array.astype(np.float64)


def _factored(codes: np.ndarray, options: Options) -> Gaussian:
    std, what = codes.std(0), "one Gaussian with independent dimensions"
    return Gaussian(what, codes.mean(0), np.eye(codes.shape[1]), np.maximum(std, FLOOR * std.max()))


def _full(codes: np.ndarray, options: Options) -> Gaussian:
    covariance = np.cov(codes, rowvar=False, bias=True).reshape(codes.shape[1], -1)
    return _by_covariance(codes.mean(0), covariance)


def _by_covariance(mean: np.ndarray, covariance: np.ndarray) -> Gaussian:
    variance, axes = np.linalg.eigh(covariance)
    std = np.sqrt(np.maximum(variance, FLOOR**2 * variance.max()))
    return Gaussian("one Gaussian with a full covariance", mean, axes, std)


def _held_out_split(codes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits codes by the seed into codes to fit to and at least one held-out code."""
    order = np.random.default_rng(seed).permutation(len(codes))
    held_out = max(1, round(HELD_OUT * len(codes)))
    return codes[order[held_out:]], codes[order[:held_out]]


def _mixture(codes: np.ndarray, options: Options) -> Mixture:
    base, seed = _full(codes, options), options.seed
    white = base.whiten(codes)
    best = _expectation_maximised(white, _best_components(white, seed), seed)
    parts = zip(best.means_, best.covariances_, strict=True)
    return Mixture(base, best.weights_, tuple(_by_covariance(mean, covariance) for mean, covariance in parts))


def _best_components(white: np.ndarray, seed: int) -> int:
    subset = white[np.random.default_rng(seed).permutation(len(white))[: MOST_CODES // 4]]
    train, held_out = _held_out_split(subset, seed)
    if len(train) < 2:
        return 1
    # Each Gaussian has a mean and a covariance to learn: with fewer codes than parameters it only memorises them.
    tried = [k for k in COMPONENTS if k == 1 or k * 2 * (white.shape[1] + 1) <= len(train)]
    scores = {k: _expectation_maximised(train, k, seed).score(held_out) for k in tried}
    return max(scores, key=scores.__getitem__)


def _expectation_maximised(white: np.ndarray, components: int, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(components, random_state=seed % 2**32, reg_covar=1e-6)
    with warnings.catch_warnings():
        # The last step is good enough; equal codes give k-means fewer clusters than requested.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(white)


def _zuko() -> Any:
    try:
        import zuko
    except ImportError:
        raise InputError(
            'density flow needs the package zuko: pip install "latlas[flows]", or use mixture'
        ) from None
    return zuko


def _flow(codes: np.ndarray, options: Options) -> Flow:
    base = _full(codes, options)
    train, held_out = (
        torch.from_numpy(part).float() for part in _held_out_split(base.whiten(codes), options.seed)
    )
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(options.seed)
        network = _zuko().flows.NSF(codes.shape[1], transforms=3, hidden_features=(64, 64))
        best = _trained(network, train, held_out, options.progress)
    network.load_state_dict(best)
    return Flow(base, network.double().requires_grad_(False))


def _trained(
    network: torch.nn.Module, train: torch.Tensor, held_out: torch.Tensor, progress: Progress | None
) -> dict[str, Any]:
    """Maximises the likelihood by Adam in one cycle; gives the parameters with the best held-out likelihood."""
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    steps = max(FLOW_STEPS // 4, min(FLOW_STEPS, FLOW_WORK // train.shape[1]))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    best, best_score, stale = copy.deepcopy(network.state_dict()), -np.inf, 0
    for step in range(steps):
        batch = train[torch.randint(len(train), (min(FLOW_BATCH, len(train)),))]
        loss = -network().log_prob(batch).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % FLOW_EVERY:
            continue
        if progress is not None:
            progress(step + 1, steps)
        with torch.no_grad():
            score = network().log_prob(held_out[:BLOCK]).mean().item()
        if score > best_score:
            best, best_score, stale = copy.deepcopy(network.state_dict()), score, 0
        else:
            stale += 1
        if stale == FLOW_PATIENCE:
            break
    return best


FITS: dict[str, Callable[[np.ndarray, Options], Density]] = {
    "factored": _factored,
    "full": _full,
    "mixture": _mixture,
    "flow": _flow,
}
