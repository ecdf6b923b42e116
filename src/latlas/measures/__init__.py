"""Numbers on codes and on what a decoder makes of them, beside the ELBO: each with its claim, on test items."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from latlas.data import Dataset
from latlas.errors import InputError, LatlasError, unknown
from latlas.measures import codes as on_codes
from latlas.measures import decoded as on_decoded
from latlas.measures.critic import as_tensor, critic_of, has_classes
from latlas.models import Model
from latlas.priors import StandardNormal

__all__ = ["MEASURES", "Measure", "measure", "named", "plausible_share"]

MOST_ITEMS, MOST_REAL = 5000, 1000
SIDE = 20
PAIRS, STEPS = 100, 11


@dataclass(frozen=True)
class Measure:
    """A number's name for people, which of two values is the better one, what it says, and how it comes about."""

    title: str
    better: Literal["higher", "lower", ""]
    why: str
    compute: Callable[[_Scene], float | None]


def named(names: Sequence[str]) -> tuple[str, ...]:
    """Names of MEASURES, each once; "all" stands for every one.

    Raises InputError with the nearest known name.
    """
    for name in names:
        if name not in (*MEASURES, "all"):
            raise unknown("measure", name, [*MEASURES, "all"])
    return tuple(MEASURES) if "all" in names else tuple(dict.fromkeys(names))


def measure(
    model: Model,
    dataset: Dataset,
    names: Sequence[str] = ("all",),
    prior: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float | None]:
    """The numbers called `names` of a model, on at most 5,000 test items; None for those without a meaning.

    `prior` says whether the codes were trained towards the model's prior. Those of a plain autoencoder were not:
    it has no `mmd_prior`, and the Gaussian with its codes' mean and covariance stands in for the prior where codes
    are drawn. `progress` is told (done, total). docs/numbers.md defines each number.

    Raises InputError for an unknown name or an empty test split, LatlasError for a model that has diverged.
    """
    names = named(names)
    if not len(dataset.test):
        raise InputError("measures are of test items, and the test split is empty")
    scene = _Scene(model, dataset, prior, seed)
    values: dict[str, float | None] = {}
    for done, name in enumerate(names, 1):
        values[name] = MEASURES[name].compute(scene)
        if progress is not None:
            progress(done, len(names))
    return values


def plausible_share(dataset: Dataset, images: np.ndarray) -> float | None:
    """Share of images (N, H, W, C) in [0, 1] that a small classifier, trained on the data's own, takes for real ones.

    None where it cannot judge: of what has no pictures or no classes, or where it knows too few of the real ones.
    """
    return _share(dataset, torch.from_numpy(np.asarray(images, np.float32)).movedim(-1, 1))


def _share(dataset: Dataset, images: Tensor) -> float | None:
    judge = critic_of(dataset)
    return None if judge is None else float(judge.plausible(images).mean())


@dataclass(frozen=True)
class _Scene:
    """What the numbers of one model share, each made when it is first asked for."""

    model: Model
    dataset: Dataset
    prior: bool
    seed: int

    def noise(self, *shape: int) -> Tensor:
        """From N(0, I), on the CPU: the same for a seed on any device."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(shape, generator=generator, dtype=self.model.dtype)

    @cached_property
    def rows(self) -> np.ndarray:
        """Test items drawn by the seed, in a random order."""
        return np.random.default_rng(self.seed).permutation(len(self.dataset.test))[:MOST_ITEMS]

    @cached_property
    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean codes, and one draw from each posterior: both (N, D), on the CPU in double precision."""
        noise = self.noise(1, len(self.rows), self.model.latent).to(self.model.device)
        q = self.model.posterior(np.asarray(self.dataset.test.x[self.rows]))
        with torch.no_grad():
            codes = [part.cpu().double() for part in (q.mean, q.rsample(noise)[0])]
        return _finite(codes[0], "codes"), _finite(codes[1], "codes")

    @property
    def codes(self) -> np.ndarray:
        return self.posterior[0].numpy()

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Classes of the items, None where they have none."""
        test = self.dataset.test
        return np.asarray(test.labels)[self.rows] if has_classes(test) else None

    def prior_draws(self, n: int) -> Tensor:
        """Codes (n, D) from the model's prior, on the CPU in double precision."""
        like = next(self.model.parameters())
        with torch.no_grad():
            prior = self.model.prior_value()
            return prior.sample(n, torch.Generator().manual_seed(self.seed + 1), like).cpu().double()

    @cached_property
    def grid(self) -> Tensor:
        """400 codes that stand for the latent space: (400, D).

        In two dimensions the quantiles (i + 1/2) / 20 of the standard normal on either axis, else draws from the
        prior. Without a prior these are taken to the mean and covariance of the mean codes.
        """
        latent, normal = self.model.latent, isinstance(self.model.prior, StandardNormal)
        if self.prior and not normal:
            return self.prior_draws(SIDE**2)
        if latent == 2:
            axis = torch.special.ndtri((torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE)
            base = torch.cartesian_prod(axis, axis)
        else:
            base = self.noise(SIDE**2, latent).double()
        if self.prior:
            return base
        codes = self.posterior[0]
        spread = (codes - codes.mean(0)) / math.sqrt(max(1, len(codes) - 1))
        _, scale, axes = torch.linalg.svd(spread, full_matrices=False)
        return codes.mean(0) + base[:, : len(scale)] * scale @ axes

    @cached_property
    def images(self) -> Tensor:
        """What the grid decodes to, (400, C, H, W)."""
        return self.decode(self.grid)

    def decode(self, codes: Tensor) -> Tensor:
        """Means of p(x | z) on the model's scale, on the CPU: codes (N, D) -> (N, *shape)."""
        return _finite(self.model.decode(codes.to(self.model.dtype)).float(), "decoded items")


def _finite(values: Tensor, what: str) -> Tensor:
    if not values.isfinite().all():
        raise LatlasError(
            f"the model's {what} are not finite: it has diverged; train with a lower learning rate"
        )
    return values


def _knn_accuracy(scene: _Scene) -> float | None:
    return None if scene.labels is None else on_codes.knn_accuracy(scene.codes, scene.labels)


def _silhouette(scene: _Scene) -> float | None:
    return None if scene.labels is None else on_codes.silhouette(scene.codes, scene.labels)


def _mmd_prior(scene: _Scene) -> float | None:
    draws = scene.posterior[1]
    return on_codes.block_mmd(draws, scene.prior_draws(len(draws))) if scene.prior else None


def _mean_code_norm(scene: _Scene) -> float:
    return on_codes.mean_code_norm(scene.codes)


def _plausible_share(scene: _Scene) -> float | None:
    return _share(scene.dataset, scene.images)


def _sharpness(scene: _Scene) -> float | None:
    if scene.dataset.kind != "image":
        return None
    real = as_tensor(scene.dataset, np.asarray(scene.dataset.test.x[scene.rows[:MOST_REAL]]))
    return on_decoded.sharpness(scene.images, real)


def _morph_smoothness(scene: _Scene) -> float | None:
    codes = scene.posterior[0]
    if len(codes) < 2:
        return None
    rng = np.random.default_rng(scene.seed)
    pairs = np.stack([rng.choice(len(codes), 2, replace=False) for _ in range(PAIRS)])
    first, last = codes[pairs[:, 0], None], codes[pairs[:, 1], None]
    path = first + (last - first) * torch.linspace(0, 1, STEPS, dtype=codes.dtype)[:, None]
    return on_decoded.morph_smoothness(scene.decode(path.flatten(0, 1)).unflatten(0, path.shape[:2]))


MEASURES: dict[str, Measure] = {
    "knn_accuracy": Measure(
        "k-NN accuracy", "higher",
        "Share of test items whose class is the commonest among their 10 nearest other test codes.",
        _knn_accuracy,
    ),
    "silhouette": Measure(
        "silhouette", "higher",
        "How much nearer codes lie to their own class than to the nearest other one, from −1 to 1.",
        _silhouette,
    ),
    "mmd_prior": Measure(
        "MMD² to prior", "lower",
        "Distance of the aggregate posterior from the prior; 0 for equal laws, and below it by chance.",
        _mmd_prior,
    ),
    "mean_code_norm": Measure(
        "norm of mean code", "lower", "How far the mean of all mean codes lies from the origin.",
        _mean_code_norm,
    ),
    "plausible_share": Measure(
        "plausible share", "higher",
        "Share of the latent space that decodes to images a classifier of real ones is sure of; real: 0.95.",
        _plausible_share,
    ),
    "sharpness": Measure(
        "sharpness", "",
        "Gradient energy of samples against real test images: 1 is as sharp, less is blurred, more is noisy.",
        _sharpness,
    ),
    "morph_smoothness": Measure(
        "largest morph step", "lower",
        "Largest over mean change of the image, on 10 equal steps between two test codes: 1 is even, 10 one jump.",
        _morph_smoothness,
    ),
}  # fmt: skip
