"""p(x | z) as functions of the decoder's raw outputs; a likelihood owns its sigmoid or tanh and its sigma.

Each class says about itself what others need to know of it (`Likelihood`), and builds itself from a configuration.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from latlas.data import Dataset
from latlas.scales import log_scale
from latlas.settings import LikelihoodConfig

LOG_2, LOG_2PI = math.log(2), math.log(2 * math.pi)
HALF_STEP = 1 / 510  # between neighbouring 8-bit values on [0, 1]
VARIANCE_DRAWS = 64  # for the variance of a likelihood that does not say it
LOG_SIGMAS = (-30.0, 30.0)  # beyond them a learned sigma's logarithm is bent, so that no sigma overflows
SMALLEST_SIGMA = {"image": 1 / 255, "signal": 1 / 255, "volume": 1 / 255, "vector": 1 / 255, "table": 1e-3}

Scale = Literal["density", "probability"]
Shape = tuple[int, ...]


class Likelihood(nn.Module, ABC):
    """p(x | z): a module of the decoder's raw outputs (K, B, ...); items x are (B, *shape), on the model's scale.

    One of your own needs `log_prob`, `mean` and `sample`; everything else has a default. `title` is what people call
    it, by default the class's name. `scale` says whether exp(log_prob) is a density over values or a probability of
    them; numbers of one scale rank beside each other. `has_sigma`: whether `likelihood.sigma` means something to it.
    `bounded`: whether it is one of values inside [0, 1] alone, so that others are clipped to it.
    """

    title: ClassVar[str] = ""
    scale: ClassVar[Scale] = "density"
    has_sigma: ClassVar[bool] = False
    bounded: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.title = cls.__dict__.get("title") or cls.__name__

    @abstractmethod
    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """log p(x | z) in nats, summed over an item's values: (K, B)."""

    @abstractmethod
    def mean(self, raw: Tensor) -> Tensor:
        """The mean of p(x | z): (K, B, *shape)."""

    @abstractmethod
    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw of x from p(x | z): (K, B, *shape)."""

    @staticmethod
    def normalised(binary: bool) -> bool:
        """Whether exp(log_prob) sums or integrates to one over the data's space; `binary` data are 0 or 1.

        Without it there are no bits per dimension, and no ranking beside other likelihoods.
        """
        return False

    def variance(self, raw: Tensor) -> Tensor:
        """The variance of each value under p(x | z), (K, B, *shape): by default that of a number of draws."""
        generator = torch.Generator(raw.device).manual_seed(0)
        mean, total = self.mean(raw), torch.zeros(())
        for _ in range(VARIANCE_DRAWS):
            total = total + (self.sample(raw, generator) - mean).square()
        return total / VARIANCE_DRAWS

    def raw(self, mean: Tensor) -> Tensor | None:
        """Raw outputs whose mean is the given one, kept finite: the inverse of `mean`; None where it is not known."""
        return None

    @property
    def sigma(self) -> Tensor | None:
        """The standard deviation, on the model's scale, where it has one: one number, or one per value (*shape)."""
        return None

    def calibration(self, errors: Tensor) -> tuple[float, float] | None:
        """The sigma of greatest likelihood where x - mean is `errors`, and how many nats per value the present sigma
        costs beside it; None where there is no closed form.
        """
        return None

    @staticmethod
    def default_output(kind: str) -> str:
        """What `likelihood.output = auto` stands for with data of this kind: image, vector or table."""
        return "identity"

    @staticmethod
    def refusal(options: LikelihoodConfig, data: Dataset) -> str:
        """Why it cannot take these data with these options, and what to set instead; "" where it can."""
        return ""

    @classmethod
    def from_config(cls, options: LikelihoodConfig, kind: str, shape: Shape, spread: float) -> Self:
        """The likelihood that resolved options name, of items (*shape); `spread` is the data's standard deviation."""
        return cls()

    @property
    def settings(self) -> dict[str, Any] | None:
        """The settings, by dotted key, that make it; None where it is one's own or they do not tell all of it."""
        return None


class Bernoulli(Likelihood):
    """Independent Bernoullis with logits `raw`: log p(x | z) = sum_j x_j log m_j + (1 - x_j) log(1 - m_j), m
    = sigmoid(raw).

    On 0/1 data this is a probability. On values between, it is the cross-entropy that tutorials use, and not
    a normalised likelihood.
    """

    title: ClassVar[str] = "Bernoulli"
    scale: ClassVar[Scale] = "probability"
    bounded: ClassVar[bool] = True

    @staticmethod
    def normalised(binary: bool) -> bool:
        return binary

    @staticmethod
    def default_output(kind: str) -> str:
        return "sigmoid"

    @staticmethod
    def refusal(options: LikelihoodConfig, data: Dataset) -> str:
        return _outside_unit_interval(options, data)

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability in nats: raw (K, B, *shape), x (B, *shape) -> (K, B)."""
        target = x.clamp(0, 1).expand_as(raw)
        loss = functional.binary_cross_entropy_with_logits(raw, target, reduction="none")
        return -loss.flatten(2).sum(2)

    def mean(self, raw: Tensor) -> Tensor:
        """The mean of p(x | z), same shape as raw."""
        return torch.sigmoid(raw)

    def variance(self, raw: Tensor) -> Tensor:
        """m (1 - m), same shape as raw."""
        mean = self.mean(raw)
        return mean * (1 - mean)

    def raw(self, mean: Tensor) -> Tensor:
        """Raw outputs whose mean is the given one, kept finite: the inverse of `mean`."""
        return torch.logit(mean.clamp(1e-3, 1 - 1e-3))

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw of x from p(x | z), same shape as raw."""
        return torch.bernoulli(self.mean(raw), generator=generator)

    @property
    def settings(self) -> dict[str, Any]:
        return {"likelihood.name": "bernoulli"}


class ContinuousBernoulli(Likelihood):
    """The density exp(eta x) on [0, 1], normalised: log p(x | z) = sum_j eta_j (x_j - 1/2) - log(sinh(u_j) / u_j), u =
    eta / 2, eta = `raw` (Loaiza-Ganem and Cunningham 2019).

    It is what makes a density of the cross-entropy of values between 0 and 1. Its mean is 1/2 + (coth u - 1/u) / 2,
    and not the sigmoid of eta.
    """

    title: ClassVar[str] = "continuous Bernoulli"
    bounded: ClassVar[bool] = True

    @staticmethod
    def normalised(binary: bool) -> bool:
        return True

    @staticmethod
    def default_output(kind: str) -> str:
        return "sigmoid"

    @staticmethod
    def refusal(options: LikelihoodConfig, data: Dataset) -> str:
        return _outside_unit_interval(options, data)

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-density in nats: raw (K, B, *shape), x (B, *shape) -> (K, B)."""
        return (raw * (x.clamp(0, 1) - 0.5) - _LogSinhc.apply(raw / 2)).flatten(2).sum(2)

    def mean(self, raw: Tensor) -> Tensor:
        """The mean of p(x | z), same shape as raw."""
        return 0.5 + 0.5 * _langevin(raw / 2)

    def variance(self, raw: Tensor) -> Tensor:
        """(1 / u^2 - 1 / sinh(u)^2) / 4, same shape as raw."""
        return 0.25 * _langevin_slope(raw / 2)

    def raw(self, mean: Tensor) -> Tensor:
        """Raw outputs whose mean is the given one, by Newton's method: the inverse of `mean`."""
        # Kept at |eta| <= 100: about 1 / mean is far for an optimiser to come back from.
        aim = 2 * mean.cpu().double().clamp(0.01, 0.99) - 1  # not every accelerator has double precision
        side, aim = aim.sign(), aim.abs()
        u = aim * (3 - aim**2) / (1 - aim**2)  # within 5 % (Cohen 1991)
        for _ in range(5):
            u = u - (_langevin(u) - aim) / _langevin_slope(u)
        return (2 * side * u).to(mean)

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw of x from p(x | z) by its inverse distribution function, same shape as raw."""
        level = torch.rand(raw.shape, generator=generator, device=raw.device, dtype=raw.dtype)
        # The side on which the density falls, where nothing overflows; the other is its mirror image.
        falling = -raw.abs().clamp(min=1e-6)
        x = torch.log1p(level * torch.expm1(falling)) / falling
        return torch.where(raw > 0, 1 - x, x)

    @property
    def settings(self) -> dict[str, Any]:
        return {"likelihood.name": "continuous-bernoulli"}


class LocationScale(Likelihood):
    """What likelihoods with a location m and a standard deviation sigma share.

    m is sigmoid(raw), (tanh(raw) + 1) / 2 or raw itself; sigma is one number, fixed or learned, or one learned
    number for each value of an item of that `shape`. A learned sigma is `smallest` (1/255 for images) plus a
    learned part, and starts at `start`.
    """

    has_sigma: ClassVar[bool] = True

    def __init__(
        self,
        sigma: float | str = "learned",
        output: str = "sigmoid",
        start: float = 1.0,
        smallest: float = 1 / 255,
        shape: Shape = (),
    ) -> None:
        super().__init__()
        self.output = output
        self.smallest = smallest
        self.learned = isinstance(sigma, str)
        # Where it starts, and how small it may become, are left to the data by every setting.
        self.by_settings = (start, smallest) == (1.0, 1 / 255)
        self.given = sigma
        value = max(start - smallest, 1e-6) if self.learned else float(sigma)
        first = torch.full(shape if sigma == "per-pixel" else (), math.log(value), dtype=torch.float64)
        if self.learned:
            self.log_sigma = nn.Parameter(first)
        else:
            self.register_buffer("log_sigma", first)

    @classmethod
    def from_config(cls, options: LikelihoodConfig, kind: str, shape: Shape, spread: float) -> Self:
        return cls(options.sigma, options.output, spread, SMALLEST_SIGMA[kind], shape)

    @staticmethod
    def normalised(binary: bool) -> bool:
        return True

    @staticmethod
    def default_output(kind: str) -> str:
        return "identity" if kind == "table" else "sigmoid"

    @staticmethod
    def refusal(options: LikelihoodConfig, data: Dataset) -> str:
        if data.kind != "table" or options.output not in ("sigmoid", "tanh"):
            return ""
        return (
            f"likelihood.output = {options.output} gives values inside [0, 1], and a standardised table"
            " has others: use likelihood.output=identity"
        )

    @property
    def sigma(self) -> Tensor:
        """The standard deviation, on the model's scale: one number, or one for each value (*shape)."""
        return self._log_sigma().exp()

    def _log_sigma(self) -> Tensor:
        # A sum, not a clamp: below a clamp there is no gradient, and sigma could never come back.
        if not self.learned:
            return self.log_sigma
        return torch.log(self.smallest + log_scale(self.log_sigma, *LOG_SIGMAS).exp())

    def mean(self, raw: Tensor) -> Tensor:
        """The mean of p(x | z), same shape as raw: m, unless a likelihood says otherwise."""
        return self._location(raw)

    def _location(self, raw: Tensor) -> Tensor:
        if self.output == "sigmoid":
            return torch.sigmoid(raw)
        return (torch.tanh(raw) + 1) / 2 if self.output == "tanh" else raw

    def variance(self, raw: Tensor) -> Tensor:
        """sigma^2, same shape as raw."""
        return self.sigma.square().expand_as(raw)

    def raw(self, mean: Tensor) -> Tensor:
        """Raw outputs whose mean is the given one, kept finite: the inverse of `mean`."""
        return self._raw_at(mean)

    def _raw_at(self, location: Tensor) -> Tensor:
        if self.output == "identity":
            return location
        logit = torch.logit(location.clamp(1e-3, 1 - 1e-3))
        return logit if self.output == "sigmoid" else logit / 2

    @property
    def settings(self) -> dict[str, Any] | None:
        name = next((name for name, family in LIKELIHOODS.items() if family is type(self)), "")
        if not (self.by_settings and name):
            return None
        return {"likelihood.name": name, "likelihood.sigma": self.given, "likelihood.output": self.output}

    def _over(self, best: Tensor) -> float:
        """By which factor sigma is larger than `best`; of many sigmas, the root of their mean square."""
        return float(self.sigma.detach().square().mean().sqrt() / best)


class Gaussian(LocationScale):
    """N(m, sigma^2 I): log p(x | z) = -|x - m|^2 / (2 sigma^2) - d log sigma - d/2 log(2 pi)."""

    title: ClassVar[str] = "Gaussian"

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-density in nats: raw (K, B, *shape), x (B, *shape) -> (K, B)."""
        log_sigma = self._log_sigma()
        squared = (x - self.mean(raw)).square()
        if log_sigma.ndim:
            each = 0.5 * squared * torch.exp(-2 * log_sigma) + log_sigma + 0.5 * LOG_2PI
            return -each.flatten(2).sum(2)
        summed = squared.flatten(2).sum(2)
        return -0.5 * summed * torch.exp(-2 * log_sigma) - x[0].numel() * (log_sigma + 0.5 * LOG_2PI)

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw of x from p(x | z), same shape as raw."""
        noise = torch.randn(raw.shape, generator=generator, device=raw.device, dtype=raw.dtype)
        return self.mean(raw) + self.sigma * noise

    def calibration(self, errors: Tensor) -> tuple[float, float]:
        """The root of the mean squared error; a sigma f times as large costs (1 / f^2 - 1) / 2 + log f."""
        best = errors.square().mean().sqrt()
        f = self._over(best)
        return best.item(), 0.5 * (1 / f**2 - 1) + math.log(f)


class Laplace(LocationScale):
    """Laplace distributions of standard deviation sigma around m: log p(x | z) = -|x - m|_1 / b - d log(2 b), b = sigma
    / sqrt(2).
    """

    title: ClassVar[str] = "Laplace"

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-density in nats: raw (K, B, *shape), x (B, *shape) -> (K, B)."""
        log_sigma = self._log_sigma()
        each = (x - self.mean(raw)).abs() * (math.sqrt(2) * torch.exp(-log_sigma)) + log_sigma + 0.5 * LOG_2
        return -each.flatten(2).sum(2)

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw of x from p(x | z), same shape as raw."""
        # The difference of two exponential variables; a uniform one's logarithm would be infinite at its ends.
        first, second = (torch.empty_like(raw).exponential_(generator=generator) for _ in range(2))
        return self.mean(raw) + self.sigma / math.sqrt(2) * (first - second)

    def calibration(self, errors: Tensor) -> tuple[float, float]:
        """sqrt(2) times the mean absolute error; a sigma f times as large costs 1 / f - 1 + log f."""
        best = math.sqrt(2) * errors.abs().mean()
        f = self._over(best)
        return best.item(), 1 / f - 1 + math.log(f)


class DiscretisedLogistic(LocationScale):
    """The probability of 8-bit values k / 255 where a logistic around m is rounded to them, and clipped: P(k) = S(b) -
    S(a), S the sigmoid, a and b = (k / 255 -+ 1/510 - m) / s, s = sigma sqrt(3) / pi, and a = -inf at k = 0, b = inf at
    k = 255 (Kingma et al. 2016; Salimans et al. 2017).

    m may lie outside [0, 1]: what is black or white throughout has it far out. `mean` is that of the clipped logistic,
    `variance` that of the logistic before, sigma^2.
    """

    title: ClassVar[str] = "discretised logistic"
    scale: ClassVar[Scale] = "probability"
    bounded: ClassVar[bool] = True

    @staticmethod
    def default_output(kind: str) -> str:
        return "identity"

    @staticmethod
    def refusal(options: LikelihoodConfig, data: Dataset) -> str:
        if data.scaling.kind == "integer" and data.scaling.scale == (255.0,):
            return ""
        held = {"integer": "16-bit integers", "standard": "a standardised table"}.get(
            data.scaling.kind, "real numbers"
        )
        held, other = ("0 or 1", "bernoulli") if data.binary else (held, "gaussian")
        return (
            f"likelihood.name = {options.name} is a probability of 8-bit integers, and these data are {held}: use"
            f" likelihood.name={other}"
        )

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability in nats of the 8-bit values nearest to x: raw (K, B, *shape), x (B, *shape) -> (K, B)."""
        scale, centred = self._scale(), torch.round(255 * x) / 255 - self._location(raw)
        above = functional.logsigmoid((centred + HALF_STEP) / scale)
        below = functional.logsigmoid((HALF_STEP - centred) / scale)
        # S(b) - S(a) = S(b) S(-a) (1 - exp(a - b)): no difference of nearly equal numbers.
        width = torch.log(-torch.expm1(-2 * HALF_STEP / scale))
        black, white = x < HALF_STEP, x > 1 - HALF_STEP
        each = torch.where(white, 0.0, above) + torch.where(black, 0.0, below)
        return (each + torch.where(black | white, 0.0, width)).flatten(2).sum(2)

    def mean(self, raw: Tensor) -> Tensor:
        """The mean of p(x | z), up to rounding: s log(1 + exp(m / s)) - s log(1 + exp((m - 1) / s))."""
        scale, location = self._scale(), self._location(raw)
        return scale * (
            functional.logsigmoid((1 - location) / scale) - functional.logsigmoid(-location / scale)
        )

    def raw(self, mean: Tensor) -> Tensor:
        """Raw outputs whose mean is the given one, kept finite: the inverse of `mean`."""
        scale, mean = self._scale(), mean.clamp(1e-3, 1 - 1e-3)
        from_ends = torch.log(-torch.expm1(-mean / scale)) - torch.log(-torch.expm1((mean - 1) / scale))
        return self._raw_at(mean + scale * from_ends)

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw of x from p(x | z), on the grid k / 255: same shape as raw."""
        level = torch.rand(raw.shape, generator=generator, device=raw.device, dtype=raw.dtype)
        drawn = self._location(raw) + self._scale() * torch.logit(level)
        return (torch.round(255 * drawn) / 255).clamp(0, 1)

    def _scale(self) -> Tensor:
        return self.sigma * (math.sqrt(3) / math.pi)


# log(sinh(u) / u) = sum_n c_n u^(2n), n from 1, up to rounding where |u| < NEAR.
SERIES = (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775, -691 / 3831077250, 2 / 127702575)
NEAR = 0.25


class _LogSinhc(torch.autograd.Function):
    """log(sinh(u) / u), 0 at 0, whose derivative is computed as such: that of the formula cancels near 0."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        size = u.abs().clamp(min=1e-30)
        return size + torch.log(torch.expm1(-2 * size) / (-2 * size))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * _langevin(*ctx.saved_tensors)


def _langevin(u: Tensor) -> Tensor:
    """coth u - 1/u, the derivative of log(sinh(u) / u): 0 at 0, and 1 far above it."""
    near, far = _parted(u)
    return torch.where(u.abs() < NEAR, _series(near, 1), 1 / torch.tanh(far) - 1 / far)


def _langevin_slope(u: Tensor) -> Tensor:
    """1 / u^2 - 1 / sinh(u)^2, the second derivative of log(sinh(u) / u): 1/3 at 0."""
    near, far = _parted(u)
    return torch.where(u.abs() < NEAR, _series(near, 2), 1 / far.square() - 1 / torch.sinh(far).square())


def _parted(u: Tensor) -> tuple[Tensor, Tensor]:
    """u for a series near 0 and for a formula away from it, each with a harmless value in the place of the other's:
    a gradient of NaN times 0 would be NaN.
    """
    near = u.abs() < NEAR
    return torch.where(near, u, 0.0), torch.where(near, 1.0, u)


def _series(u: Tensor, derivative: int) -> Tensor:
    """The first or second derivative of the series of log(sinh(u) / u)."""
    squared = u.square()
    total = torch.zeros_like(u)
    for power, coefficient in reversed(list(enumerate(SERIES, 1))):
        total = total * squared + coefficient * math.perm(2 * power, derivative)
    return total * u ** (2 - derivative)


def _outside_unit_interval(options: LikelihoodConfig, data: Dataset) -> str:
    """Why a likelihood of values inside [0, 1], whose parameter is sigmoid(raw), cannot take these data."""
    if data.kind == "table":
        return (
            f"likelihood.name = {options.name} takes values inside [0, 1], and a standardised table has others: "
            "use likelihood.name=gaussian"
        )
    if options.output in ("tanh", "identity"):
        return f"likelihood.output = {options.output}: a {options.name}'s output is always the sigmoid"
    return ""


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous-bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "laplace": Laplace,
    "discretised-logistic": DiscretisedLogistic,
}
