"""Principal component analysis: as a model, the closed form of a linear autoencoder, and as a density."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from latlas.build import build, item_of, items, resolve
from latlas.config import override, recipe
from latlas.data import Dataset
from latlas.data.batches import Batches
from latlas.errors import InputError
from latlas.likelihoods import LOG_2PI, Gaussian
from latlas.models import CHUNK_VALUES, Model
from latlas.settings import Config
from latlas.text import counted

LARGEST_COVARIANCE = 2048  # values per item up to which the whole covariance matrix is decomposed
MOST_PASSES, TOLERANCE = 60, 1e-8  # of subspace iteration; relative growth of the variance at which it ends

Chunks = Callable[[], Iterator[np.ndarray]]


def fit(dataset: Dataset, latent: int, seed: int = 0) -> Model:
    """The linear autoencoder with the least squared error on the training split: z = V (x - m), x' = V^T z + m.

    m is the mean (D,) and the rows of V (latent, D) are the first principal axes, on the model's scale, each
    with its largest entry positive; codes are the raw projections, uncorrelated on the training split. Raises
    InputError for more latent dimensions than PCA has components, min(N, D). Pearson 1901; Baldi and Hornik
    1989.
    """
    unresolved = override(recipe("pca"), {"model.latent": latent, "seed": seed}, "pca")
    config, _ = resolve(unresolved, dataset)
    check(config, dataset)
    model = build(config, item_of(dataset))
    solve(model, dataset, seed)
    return model.eval()


def check(config: Config, dataset: Dataset) -> None:
    """Raises InputError, naming the setting, if a resolved configuration has no closed form on these data."""
    likelihood, latent = config.likelihood, config.model.latent or 1
    if (likelihood.name, likelihood.output) != ("gaussian", "identity") or isinstance(likelihood.sigma, str):
        raise InputError(
            "training.method = pca is the closed form of likelihood.name = gaussian with likelihood.output ="
            " identity and a number for likelihood.sigma: take the recipe pca, or set these three"
        )
    if config.corruption.name != "none":
        raise InputError(
            f"corruption.name = {config.corruption.name}: training.method = pca has no noisy inputs; leave it out"
        )
    if config.data.binarise == "dynamic":
        raise InputError(
            "data.binarise = dynamic: training.method = pca has no steps to draw items at; set it to static"
        )
    count, size = len(dataset.train), math.prod(dataset.shape)
    if latent > min(count, size):
        raise InputError(
            f"model.latent = {latent}: PCA of {counted(count, items(dataset.kind)[:-1])} of {counted(size, 'value')}"
            " has at most"
            f" {min(count, size):,} components; set a smaller model.latent"
        )


def solve(model: Model, dataset: Dataset, seed: int = 0) -> None:
    """Sets the weights of a linear model to the closed form.

    For items of few values these are the exact eigenvectors of the covariance; for others subspace iteration finds
    them, from random directions by `seed`. Data are read in parts, so memory does not grow with the number of items.
    """
    encoder, decoder = model.encoder[1], model.decoder.output  # type: ignore[index]
    if not isinstance(encoder, nn.Linear) or not isinstance(decoder, nn.Linear):
        raise InputError("PCA: the model's networks are not linear; build it with network.name = linear")
    if not isinstance(model.likelihood, Gaussian) or model.likelihood.output != "identity":
        raise InputError("PCA: the model's likelihood is not a gaussian with likelihood.output = identity")
    chunks, count, size = _chunks(dataset), len(dataset.train), math.prod(dataset.shape)
    mean = sum(part.sum(0) for part in chunks()) / count
    axes = (
        _exact(chunks, mean, model.latent)
        if size <= LARGEST_COVARIANCE
        else _iterated(chunks, mean, model.latent, min(count, size), seed)
    )
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    weights = (
        (encoder.weight, axes),
        (encoder.bias, -axes @ mean),
        (decoder.weight, axes.T),
        (decoder.bias, mean),
    )
    with torch.no_grad():
        for parameter, value in weights:
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))


@dataclass(frozen=True)
class Probabilistic:
    """Probabilistic PCA at maximum likelihood: x ~ N(m, W W^T + sigma^2 I) (Tipping and Bishop 1999).

    With l_1 >= ... >= l_D the eigenvalues of the training split's covariance (1/N) and k components, W W^T = sum_i (l_i
    - sigma^2) v_i v_i^T and sigma^2 = `noise` is the mean of the other l: `mean` (D,), `axes` v (k, D), `variances`
    l (k,). On the model's scale.
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    noise: float

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """log p(x) in nats, exact, without a matrix of D x D: x (N, D) -> (N,)."""
        centred = x - self.mean
        squares = (centred @ self.axes.T) ** 2
        size, latent = x.shape[1], len(self.axes)
        log_det = np.log(self.variances).sum() + (size - latent) * math.log(self.noise)
        inside = (squares / self.variances).sum(1)
        outside = ((centred**2).sum(1) - squares.sum(1)) / self.noise
        return -0.5 * (size * LOG_2PI + log_det + inside + outside)


def probabilistic(model: Model, dataset: Dataset) -> Probabilistic | None:
    """Probabilistic PCA with the axes of a PCA `model` of the same training split, by one more pass over it.

    None if there is no noise: with as many components as values, or with data inside the components' span.
    """
    decoder = model.decoder.output
    if not isinstance(decoder, nn.Linear):
        raise InputError("PCA: the model's networks are not linear; build it with network.name = linear")
    mean = decoder.bias.detach().double().numpy()
    # A model's weights may be in single precision: the axes are made orthonormal again.
    axes = np.linalg.qr(decoder.weight.detach().double().numpy())[0].T
    variances, total = np.zeros(len(axes)), 0.0
    for part in _chunks(dataset)():
        centred = part - mean
        variances += ((centred @ axes.T) ** 2).sum(0) / len(dataset.train)
        total += float((centred**2).sum()) / len(dataset.train)
    rest = len(mean) - len(axes)
    noise = (total - variances.sum()) / rest if rest else 0.0
    return Probabilistic(mean, axes, variances, noise) if noise > 1e-12 * total else None


def _chunks(dataset: Dataset) -> Chunks:
    """The training split in parts of whole items (n, D), on the model's scale and in double precision."""
    data = Batches(dataset.train, dataset.scaling, torch.device("cpu"), torch.float64)
    step = max(1, CHUNK_VALUES // math.prod(dataset.shape))

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(data), step):
            yield data(np.arange(start, min(start + step, len(data)))).flatten(1).numpy()

    return chunks


def _exact(chunks: Chunks, mean: np.ndarray, latent: int) -> np.ndarray:
    """The first eigenvectors (latent, D) of the scatter matrix."""
    scatter = np.zeros((len(mean), len(mean)))
    for part in chunks():
        centred = part - mean
        scatter += centred.T @ centred
    return np.linalg.eigh(scatter)[1].T[::-1][:latent]


def _iterated(chunks: Chunks, mean: np.ndarray, latent: int, rank: int, seed: int) -> np.ndarray:
    """The same by subspace iteration with extra directions, exact in the limit (Halko et al. 2011)."""
    directions = np.random.default_rng(seed).normal(size=(len(mean), min(rank, 2 * latent + 10)))
    before = 0.0
    for _ in range(MOST_PASSES):
        basis = np.linalg.qr(directions)[0]
        directions = np.zeros_like(basis)
        for part in chunks():
            centred = part - mean
            directions += centred.T @ (centred @ basis)
        values, inside = np.linalg.eigh(basis.T @ directions)
        variance = float(values[::-1][:latent].sum())
        if variance - before <= TOLERANCE * variance:
            break
        before = variance
    return (basis @ inside).T[::-1][:latent]
