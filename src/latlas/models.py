"""Model: encoder, decoder, posterior, prior and likelihood together. Pass: the results of one forward pass."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latlas import posteriors, waiting
from latlas.data import Like
from latlas.data.memory import Given, Units, as_codes, as_items, check_units
from latlas.data.ranges import native
from latlas.draws import drawn
from latlas.errors import InputError, check_number
from latlas.likelihoods import SMALLEST_SIGMA, Gaussian, Likelihood
from latlas.posteriors import Posterior, PosteriorValue, joined
from latlas.priors import Prior, PriorValue, StandardNormal
from latlas.text import counted

MOST_SAMPLES = 1_000_000
CHUNK_VALUES = 2**22  # values per batch in encode, decode and so on: bounds memory for images of any size


@dataclass(frozen=True)
class Pass:
    """One pass of B images with K draws of z each; all terms are per image and in nats.

    z (K, B, D) are the draws. log_px = log p(x | z) is (K, B). log_pz and log_qz (K, B) are None for a point posterior.
    kl (B, D) is the exact KL(q, p) per dimension, None without a closed form. raw (K, B, *shape) are the decoder's
    outputs at z, q is the posterior of the draws, and prior_draws (B, D) are draws from p(z), None unless requested.
    """

    z: Tensor
    log_px: Tensor
    log_pz: Tensor | None
    log_qz: Tensor | None
    kl: Tensor | None
    raw: Tensor | None = None
    q: PosteriorValue | None = None
    prior_draws: Tensor | None = None

    @property
    def distortion(self) -> Tensor:
        """-E_q log p(x | z), estimated by the mean over the draws: (B,)."""
        return -self.log_px.mean(0)

    @property
    def sampled_rate(self) -> Tensor | None:
        """E_q [log q(z | x) - log p(z)], estimated by the mean over the draws: (B,); it can be negative."""
        if self.log_qz is None or self.log_pz is None:
            return None
        return (self.log_qz - self.log_pz).mean(0)

    @property
    def rate(self) -> Tensor | None:
        """KL(q(z | x), p(z)), in closed form or else from the draws: (B,); None for a point posterior."""
        return self.sampled_rate if self.kl is None else self.kl.sum(-1)

    @property
    def elbo(self) -> Tensor | None:
        """The evidence lower bound, -(distortion + rate), at beta 1: (B,); None for a point posterior."""
        rate = self.rate
        return None if rate is None else -(self.distortion + rate)

    def log_weights(self, beta: float = 1.0, freeze_q: bool = False) -> Tensor | None:
        """log w_k = log p(x | z_k) + beta (log p(z_k) - log q(z_k | x)): (K, B); None for a point posterior.

        `freeze_q` treats q's own parameters as constants, so that the gradient of log q(z | x) reaches only z.
        """
        if self.log_qz is None or self.log_pz is None:
            return None
        q = self.q if freeze_q else None
        log_qz = self.log_qz if q is None else posteriors.frozen(q).log_prob(self.z)
        assert log_qz is not None  # a frozen posterior has a density as well
        return self.log_px + beta * (self.log_pz - log_qz)

    def bound(self, beta: float = 1.0, freeze_q: bool = False) -> Tensor | None:
        """The importance-weighted bound of K draws, log 1/K sum_k w_k: (B,); None for a point posterior.

        At beta 1 its expectation lies between ELBO and log p(x) and never falls as K grows (Burda et al. 2016).
        """
        log_w = self.log_weights(beta, freeze_q)
        return None if log_w is None else log_w.logsumexp(0) - math.log(len(log_w))


class Model(nn.Module):
    """An autoencoder or variational autoencoder: q(z | x), p(z) and p(x | z) in one module.

    `encode`, `decode`, `reconstruct`, `posterior` and `sample` take items in the units of the training data and give
    them in these units, whatever type holds them. `units="model"` is the model's scale instead, both ways: images
    inside [0, 1], tables standardised. Items are arrays or tensors, (N, H, W, C) or (N, C, H, W) or (N, D), data
    frames, lists, pictures, or the path of a source; results have the type and the axes of what was given, and are
    arrays (N, H, W, C) or (N, D) otherwise. These methods run without gradients, in evaluation mode, in chunks.
    `forward` is for training: it takes tensors (N, C, ...) or (N, D) on the model's scale.

    `item` says what an item is (`latlas.item_of` reads it off data). Of the networks the encoder maps items (B, *shape)
    to the posterior's outputs (B, outputs), the decoder codes (B, D) to raw outputs of the likelihood, (B, *shape). By
    default the prior is N(0, I), and the likelihood a Gaussian with a learned sigma. Raises InputError for parts that
    are none, and for a prior of another size than the posterior.
    """

    def __init__(
        self,
        item: Like,
        networks: tuple[nn.Module, nn.Module],
        posterior: Posterior,
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__()
        self.mixed = False  # whether the networks compute in bfloat16; see `mixed`
        _check_parts(item, networks, posterior)
        _check_others(prior, likelihood)
        self.item = item
        self.latent = posterior.latent
        self.encoder, self.decoder = networks
        self.posterior_family = posterior
        self.prior = StandardNormal(self.latent) if prior is None else prior
        self.likelihood = default_likelihood(item) if likelihood is None else likelihood
        if self.prior.latent != self.latent:
            raise InputError(
                f"of {self.prior.latent} dimensions, and the posterior is of {self.latent}", field="prior"
            )
        waiting.watch()  # whoever has a model computes with it

    def infer(self, x: Tensor) -> PosteriorValue:
        """q(z | x), differentiable: x (B, *shape)."""
        outputs = self._computed(self.encoder, x)
        if outputs.shape[-1] != self.posterior_family.outputs:
            raise InputError(
                f"the encoder gives {tuple(outputs.shape)} for {len(x)} items, and the posterior"
                f" {type(self.posterior_family).__name__} takes ({len(x)}, {self.posterior_family.outputs})",
                field="network",
            )
        return self.posterior_family(outputs)

    def raw(self, z: Tensor) -> Tensor:
        """The decoder's raw outputs, differentiable: z (K, B, D) -> (K, B, *shape)."""
        flat = self._computed(self.decoder, z.flatten(0, 1))
        return flat.unflatten(0, z.shape[:2])

    def _computed(self, network: nn.Module, x: Tensor) -> Tensor:
        """What a network gives for x, in the precision of x however it was computed."""
        if not self.mixed:
            return network(x)
        with torch.autocast(x.device.type, torch.bfloat16):
            return network(x).to(x.dtype)

    def forward(
        self,
        x: Tensor,
        samples: int = 1,
        target: Tensor | None = None,
        generator: torch.Generator | None = None,
        prior_draws: bool = False,
        q: PosteriorValue | None = None,
        prior: PriorValue | None = None,
    ) -> Pass:
        """The pass x -> q(z | x) -> z -> p(target | z): x (B, *shape), K = `samples` draws; the default target is x.

        `q` and `prior` are q(z | x) and p(z) if they are already known, so that items are encoded only once.
        `prior_draws` adds one draw from the prior per image. Tensors are on the model's scale; anything else is taken
        in data units, as in `encode`.
        """
        x = self._on_scale(x)
        target = None if target is None else self._on_scale(target)
        q = self.infer(x) if q is None else q
        prior = self.prior_value() if prior is None else prior
        like: dict[str, Any] = {"device": x.device, "dtype": x.dtype}
        noise = (
            drawn(
                lambda n: torch.randn((samples, n, self.latent), generator=generator, **like),
                len(x), generator, axis=1,
            )
            if q.has_density
            else x.new_zeros(samples, len(x), self.latent)
        )  # fmt: skip
        p = self.at(q.rsample(noise), x if target is None else target, q, prior)
        if not prior_draws:
            return p
        with torch.no_grad():
            draw = lambda n: prior.sample(n, generator or torch.default_generator, x)  # noqa: E731
            return replace(p, prior_draws=drawn(draw, len(x), generator))

    def at(
        self, z: Tensor, x: Tensor, q: PosteriorValue | None = None, prior: PriorValue | None = None
    ) -> Pass:
        """The pass of items x (B, *shape) at given codes z (K, B, D).

        log p(x | z) is always there; log q(z | x) and log p(z) are there if `q` and `prior` are given.
        """
        raw = self.raw(z)
        point = q is not None and not q.has_density
        return Pass(
            z=z,
            log_px=self.likelihood.log_prob(raw, x),
            log_pz=None if prior is None or point else prior.log_prob(z),
            log_qz=None if q is None else q.log_prob(z),
            kl=None if q is None or prior is None else prior.kl(q),
            raw=raw,
            q=q,
        )

    def prior_value(self) -> PriorValue:
        """The current p(z), differentiable; a VampPrior depends on the encoder."""
        if not self.prior.uses_encoder:
            return self.prior(self.infer)
        # In evaluation mode: batch normalisation must not mix pseudo-inputs with data.
        with evaluating(self.encoder):
            return self.prior(self.infer)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def parameter_count(self) -> int:
        """The number of parameters."""
        return sum(p.numel() for p in self.parameters())

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def posterior(self, x: Any, units: Units = "data") -> PosteriorValue:
        """The distribution q(z | x) of each item, with mean and stddev (N, D) as tensors."""
        return self._posterior(as_items(x, self.item, units), units)

    def _posterior(self, given: Given, units: Units) -> PosteriorValue:
        if not len(given.x):
            raise InputError("no items: at least one is needed")
        with torch.no_grad(), evaluating(self):
            parts = [self.infer(self.to_tensor(given.x[rows], units)) for rows in self.chunks(len(given.x))]
        return joined(parts)

    def _codes(self, given: Given, units: Units) -> Tensor:
        posterior = self._posterior(given, units)
        with torch.no_grad(), evaluating(self):
            return posterior.mean

    def encode(self, x: Any, units: Units = "data") -> Any:
        """The posterior's mean (N, D): a tensor for a tensor, else a numpy array."""
        given = as_items(x, self.item, units)
        return given.codes(self._codes(given, units).cpu().numpy())

    def decode(self, z: Any, units: Units = "data") -> Any:
        """The mean of p(x | z): z (N, D) -> (N, H, W, C) or (N, D), for a tensor a tensor with the channels first."""
        check_units(units)
        given = as_codes(z, self.latent)
        codes = torch.as_tensor(np.array(given.x, np.float64), dtype=self.dtype, device=self.device)
        items = self.to_numpy(self.means(codes), units)
        first = isinstance(z, Tensor) and len(self.item.shape) > 1
        return given.back(np.moveaxis(items, -1, 1) if first else items)

    def means(self, codes: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """The means of p(x | z), or draws with a generator's noise, on the model's scale: z (N, D) -> (N, *shape)."""
        with torch.no_grad(), evaluating(self):
            raws = (self.decoder(codes[rows]) for rows in self.chunks(len(codes)))
            if noise is None:
                return torch.cat([self.likelihood.mean(raw) for raw in raws])
            return torch.cat([self.likelihood.sample(raw, noise) for raw in raws])

    def reconstruct(self, x: Any, units: Units = "data") -> Any:
        """The mean of p(x | z) at the posterior's mean, in the units, type and axes of x."""
        given = as_items(x, self.item, units)
        return given.back(self.to_numpy(self.means(self._codes(given, units)), units))

    def sample(self, n: int = 64, seed: int = 0, noise: bool = False, units: Units = "data") -> np.ndarray:
        """n items from the prior, (n, H, W, C) or (n, D): means of p(x | z), or draws from it with `noise`.

        A seed gives the same codes on every device.
        """
        check_units(units)
        check_number(n, "n")
        check_number(seed, "seed")
        if not 1 <= n <= MOST_SAMPLES:
            raise InputError(
                f"{counted(n, 'sample')}: at least 1 is needed, and at most {MOST_SAMPLES:,} come at once"
            )
        if not 0 <= seed < 2**63:
            raise InputError(f"seed {seed}: expected a whole number from 0 to 2^63 - 1")
        with torch.no_grad(), evaluating(self):
            like = next(self.parameters())
            codes = self.prior_value().sample(n, torch.Generator().manual_seed(seed), like)
        generator = torch.Generator(self.device).manual_seed(seed + 1) if noise else None
        return self.to_numpy(self.means(codes, generator), units)

    def pseudo_inputs(self, units: Units = "data") -> np.ndarray | None:
        """The pseudo-inputs of a VampPrior, (C, H, W, C') or (C, D); None for any other prior."""
        with torch.no_grad():
            inputs = self.prior.pseudo_inputs
            return None if inputs is None else self.to_numpy(inputs, units)

    def to_tensor(self, x: np.ndarray, units: Units = "data") -> Tensor:
        """Converts items (N, H, W, C) or (N, D) to the model's scale and layout, on its device, without a check."""
        plain = np.asarray(x)
        plain = self.item.scaling.apply(plain) if units == "data" else native(plain)
        real = torch.as_tensor(plain, dtype=self.dtype, device=self.device)
        return real.movedim(-1, 1) if real.ndim > 2 else real

    def to_numpy(self, x: Tensor, units: Units = "data") -> np.ndarray:
        """Converts from the model's scale and layout to (N, H, W, C) or (N, D), by default in data units."""
        array = (x.movedim(1, -1) if x.ndim > 2 else x).contiguous().cpu().numpy()
        return self.item.scaling.invert(array) if units == "data" else array

    def _on_scale(self, x: Any) -> Tensor:
        """Items as tensors on the model's scale: tensors are there already."""
        if not isinstance(x, Tensor):
            return self.to_tensor(np.asarray(as_items(x, self.item).x))
        if not x.is_floating_point():
            raise InputError(
                f"items: a tensor of type {str(x.dtype).removeprefix('torch.')}; to call the model, give floats on its"
                " scale, or an array in data units"
            )
        if tuple(x.shape[1:]) != self.item.shape:
            raise InputError(f"items of shape {tuple(x.shape[1:])}: this model takes {self.item.shape}")
        return x

    def chunks(self, n: int, samples: int = 1) -> list[slice]:
        """Rows 0 to n in parts that bound memory for any size of an item and any number of draws."""
        size = max(1, min(1000, CHUNK_VALUES // (samples * math.prod(self.item.shape))))
        return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _check_parts(item: Any, networks: Any, posterior: Any) -> None:
    """Raises InputError for parts of a model that are none."""
    if not isinstance(item, Like):
        raise InputError(
            f"expected what an item is, as latlas.item_of(x) or latlas.Item says it, got {type(item).__name__}",
            field="item",
        )
    pair = isinstance(networks, tuple | list) and len(networks) == 2
    if not pair or not all(isinstance(network, nn.Module) for network in networks):
        raise InputError("expected two modules, (encoder, decoder)", field="networks")
    if not isinstance(posterior, nn.Module) or not hasattr(posterior, "outputs"):
        raise InputError(
            f"expected one such as latlas.DiagonalGaussian(16), got {type(posterior).__name__}",
            field="posterior",
        )


def _check_others(prior: Any, likelihood: Any) -> None:
    """Raises InputError for a prior and a likelihood that are neither None nor one."""
    for field, part, family in (("prior", prior, Prior), ("likelihood", likelihood, Likelihood)):
        if not isinstance(part, family | None):
            raise InputError(
                f"expected one of latlas.{family.__name__}, got {type(part).__name__}", field=field
            )


def default_likelihood(item: Like) -> Likelihood:
    """A Gaussian with a learned sigma for items of a kind: it starts at 1 for standardised columns, else at 1/4."""
    start = 1.0 if item.kind == "table" else 0.25
    return Gaussian("learned", Gaussian.default_output(item.kind), start, SMALLEST_SIGMA[item.kind])


class evaluating:
    """Puts a model in evaluation mode inside the block, and restores each module's own mode after it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.modes = {module: module.training for module in self.model.modules()}
        self.model.eval()

    def __exit__(self, *exc: object) -> None:
        for module, training in self.modes.items():
            module.training = training


class mixed:
    """Inside the block a model's encoder and decoder compute in bfloat16, if `on`; densities, rates and everything else
    stay in the precision of its weights.
    """

    def __init__(self, model: Model, on: bool = True) -> None:
        self.model, self.on = model, on

    def __enter__(self) -> None:
        self.before, self.model.mixed = self.model.mixed, self.on

    def __exit__(self, *exc: object) -> None:
        self.model.mixed = self.before
