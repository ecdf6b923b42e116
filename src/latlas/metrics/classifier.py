"""The plausibility classifier of a data set: it says which images are plausible, and gives features of images.

It is trained once on the data set itself and cached on disk under a hash; that of fashion-mini comes with the package.
Its numbers compare between models of one data set and one classifier, and not with published ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from latlas.data import Dataset, Split, is_labelled
from latlas.data.catalogue import EMBEDDED, cache_home
from latlas.data.sums import is_whole, seal
from latlas.errors import LatlasError
from latlas.files import write_atomic

MOST_TRAINING, MOST_REAL, PART = 20_000, 5000, 1000
SIDE = 32  # larger images are averaged down to it, which bounds the classifier's time
FEATURES = 64
SEED = 0
SEEN, BATCH, LR = 32_000, 64, 3e-3  # images seen in training, whatever the size of the data
IGNORED = -100  # the label that cross_entropy leaves out
LEAST_ACCURACY = 0.5  # on real test images, below which it does not judge what is plausible
SURE = 0.1  # the least threshold on the probability of a class with which it judges
UNSURE, FAR = 0.04, 0.01  # shares of real test images beyond the thresholds on probability and distance
_VERSION = 3  # part of the key: raise it when the cached tensors change

Tensors = dict[str, Tensor]

_classifiers: dict[str, Classifier | None] = {}


class Net(nn.Module):
    """Two convolutions and a hidden layer, whose values before the activation are the features."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * math.ceil(height / 4) * math.ceil(width / 4), FEATURES),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x)
        return features, self.head(features.relu())


@dataclass(frozen=True)
class Classifier:
    """A classifier of images with one class more than the data, for implausible images.

    The hidden layer gives the features (F,), standardised by `mean` and `std` (F,) of the training images. `means`
    (C, F) are the class means and `whiten` (F, F) is the inverse square root of the classes' shared covariance.
    `confidence` and `distance` are the thresholds of a plausible image, None where the classifier is too poor to judge;
    `accuracy` is its accuracy on real test images, and `name` a hash.
    """

    net: Net
    mean: Tensor
    std: Tensor
    means: Tensor
    whiten: Tensor
    accuracy: float
    confidence: float | None = None
    distance: float | None = None
    name: str = ""

    def features(self, x: Tensor) -> np.ndarray:
        """Standardised features (N, F) of images (N, C, H, W) on [0, 1]."""
        parts = [(run(self.net, small(part))[0] - self.mean) / self.std for part in x.split(PART)]
        return torch.cat(parts).numpy()

    def scores(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The largest probability of a class and the Mahalanobis distance from the features to the nearest class mean,
        both (N,), of images (N, C, H, W) on [0, 1].
        """
        features, logits = run(self.net, small(x))
        distance = torch.cdist(features @ self.whiten, self.means @ self.whiten).amin(1)
        return logits.softmax(1)[:, :-1].amax(1).numpy(), distance.numpy()

    def plausible(self, x: Tensor) -> np.ndarray | None:
        """Whether images (N, C, H, W) on [0, 1] are classified as surely, and lie as near, as real ones: (N,).

        An image is plausible where its largest probability of a true class is above the 4 % quantile of the real test
        images, and the Mahalanobis distance from its features to the nearest class mean, with the classes' shared
        covariance, below their 99 % quantile (Lee et al. 2018): about 95 % of the real test images are. None where
        the classifier is right on fewer than half of the real test images, or not sure of them either.
        """
        if self.confidence is None or self.distance is None:
            return None
        confidence, distance = self.scores(x)
        return (confidence >= self.confidence) & (distance <= self.distance)


def classifier_of(dataset: Dataset) -> Classifier | None:
    """The classifier of a data set's images, trained on at most 20,000 of the training split, once on a machine.

    It learns the classes and one more for implausible images (`_implausible`); without that class a classifier is sure
    of any image (Hendrycks et al. 2019). None for data that are not images, have fewer than two classes or no test
    image with a label.
    """
    judged = dataset.split(dataset.measured)
    unseen = dataset.measured != "train" and len(_labelled(judged)) > 0
    if dataset.kind != "image" or not dataset.train.has_classes or not unseen:
        return None
    key = dataset.fingerprint
    if not key or key not in _classifiers:
        _classifiers[key] = _from_tensors(_cached(dataset), dataset)
    return _classifiers[key]


def _from_tensors(tensors: Tensors, dataset: Dataset) -> Classifier:
    statistics = {name: tensors[name] for name in ("mean", "std", "means", "whiten")}
    confidence, distance = tensors["thresholds"].tolist() or (None, None)
    return Classifier(
        _network(tensors, dataset), **statistics, accuracy=tensors["accuracy"].item(), confidence=confidence,
        distance=distance, name=_identity(tensors),
    )  # fmt: skip


def _cached(dataset: Dataset) -> Tensors:
    """The tensors of `fit`, read from the package or the cache folder where one holds them under the data's
    fingerprint, else computed and written to the cache. Where that cannot be written, each process trains anew.
    """
    if not dataset.fingerprint:
        return fit(dataset)
    name = file_name(dataset)
    places = [EMBEDDED / name]
    with contextlib.suppress(LatlasError):  # there is no place for a cache
        places.append(cache_home() / "classifiers" / name)
    for path in places:
        try:
            if path.parent == EMBEDDED or is_whole(path.with_suffix(".sums"), [path]):
                return load(path.read_bytes())
        except (OSError, SafetensorError):
            continue
    tensors = fit(dataset)
    for path in places[1:]:
        with contextlib.suppress(OSError, LatlasError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(tensors, path)
            seal(path.with_suffix(".sums"), [path])
    return tensors


def file_name(dataset: Dataset) -> str:
    """The name of the file that holds a data set's classifier."""
    key = hashlib.sha256(f"classifier {_VERSION} {SEEN} {dataset.fingerprint}".encode()).hexdigest()[:32]
    return f"{key}.safetensors"


def write(tensors: Tensors, path: Path) -> None:
    """Writes the tensors of a classifier."""
    write_atomic(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def fit(dataset: Dataset) -> Tensors:
    """Trains a classifier and returns it as tensors; `thresholds` are empty where it cannot judge what is plausible."""
    rng = np.random.default_rng(SEED)
    x, labels = _subset(dataset, dataset.train, MOST_TRAINING, rng)
    values, codes = np.unique(labels, return_inverse=True)
    y = torch.from_numpy(codes)
    net = _trained(x, y, len(values))
    features, _ = run(net, x)
    means = torch.stack([features[y == c].mean(0) for c in range(len(values))])
    within = features - means[y]
    variance, axes = torch.linalg.eigh(within.T @ within / len(x))
    floor = 1e-3 * variance.mean().clamp_min(1e-12)  # else a feature that never varies decides alone
    # Such a feature must not be blown up by standardising it either.
    std = features.std(0).clamp_min(1e-6 * features.std(0).max().clamp_min(1e-12))
    whiten = axes / (variance + floor).sqrt()
    real, labels = _subset(dataset, dataset.split(dataset.measured), MOST_REAL, rng)
    right = values[run(net, real)[1][:, :-1].argmax(1).numpy()] == labels
    confidence, distance = Classifier(net, features.mean(0), std, means, whiten, right.mean()).scores(real)
    least = float(np.quantile(confidence, UNSURE))
    judges = right.mean() >= LEAST_ACCURACY and least >= SURE  # below that, nearly every image is accepted
    thresholds = [least, float(np.quantile(distance, 1 - FAR))] if judges else []
    return {f"net.{name}": tensor for name, tensor in net.state_dict().items()} | {
        "mean": features.mean(0), "std": std, "means": means, "whiten": whiten,
        "accuracy": torch.tensor(right.mean(), dtype=torch.float64),
        "thresholds": torch.tensor(thresholds, dtype=torch.float64),
    }  # fmt: skip


def _network(tensors: Tensors, dataset: Dataset) -> Net:
    """The network with the weights called `net.*` in these tensors, for the data set's images after `small`."""
    weights = {name[4:]: tensor for name, tensor in tensors.items() if name.startswith("net.")}
    channels, *size = dataset.shape
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights, which are then replaced
        net = Net((channels, *small(torch.zeros(1, channels, *size)).shape[2:]), len(weights["head.bias"]))
    net.load_state_dict(weights)
    return net.eval().requires_grad_(False)


def _identity(tensors: Tensors) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of the tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def as_tensor(dataset: Dataset, x: np.ndarray) -> Tensor:
    """Stored images (N, H, W, C) on [0, 1], as (N, C, H, W)."""
    return torch.from_numpy(np.asarray(dataset.scaling.apply(x), np.float32)).permute(0, 3, 1, 2)


def small(x: Tensor) -> Tensor:
    """Images (N, C, H, W) averaged down so that the longer side is 32 at most."""
    height, width = x.shape[2:]
    scale = SIDE / max(height, width)
    size = [max(1, round(side * scale)) for side in (height, width)]
    return x if scale >= 1 else nn.functional.interpolate(x, size, mode="area")


def _labelled(split: Split) -> np.ndarray:
    """The rows of a split that have a label."""
    return np.empty(0, np.int64) if split.labels is None else np.flatnonzero(is_labelled(split.labels))


def _subset(dataset: Dataset, split: Split, most: int, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """At most `most` labelled images of a split, drawn by `rng` and made small, and their labels."""
    labelled = _labelled(split)
    rows = np.sort(labelled[rng.permutation(len(labelled))[:most]])
    parts = [rows[start : start + PART] for start in range(0, len(rows), PART)]
    x = torch.cat([small(as_tensor(dataset, np.asarray(split.x[part]))) for part in parts])
    return x, np.asarray(split.labels)[rows]


def run(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, F), in double precision, and logits (N, outputs) of small images."""
    with torch.no_grad():
        parts = [net(part) for part in x.split(PART)]
    features, logits = (torch.cat(column) for column in zip(*parts, strict=True))
    return features.double(), logits


def _trained(x: Tensor, y: Tensor, classes: int) -> Net:
    """Trains a network on small images (N, C, H, W) with classes y (N,), 0 to `classes` - 1, and on implausible images
    with class `classes`.
    """
    rng, generator = np.random.default_rng(SEED), torch.Generator().manual_seed(SEED)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        net = Net(tuple(x.shape[1:]), classes + 1)
    steps = max(1, SEEN // min(BATCH, len(x)))
    optimizer = torch.optim.Adam(net.parameters(), LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    order = np.concatenate([rng.permutation(len(x)) for _ in range(1 + SEEN // len(x))])
    moments = x.mean(0), x.std(0)
    for step in range(steps):
        rows = torch.from_numpy(order[step * BATCH : (step + 1) * BATCH])
        real, labels = _blurred(x[rows], generator), y[rows]
        implausible, extra = _implausible(x[rows], labels, moments, classes, generator)
        loss = nn.functional.cross_entropy(net(torch.cat([real, implausible]))[1], torch.cat([labels, extra]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


def _blurred(x: Tensor, generator: torch.Generator) -> Tensor:
    """The images (N, C, H, W), a random half of them blurred: blur is measured by `sharpness`, not here."""
    chosen = torch.rand(len(x), generator=generator) < 0.5
    blurred = x.clone()
    blurred[chosen] = _coarser(x[chosen], 2)
    return blurred


def _coarser(x: Tensor, factor: int) -> Tensor:
    """Averaged down by the factor and enlarged again, linearly: the same shape."""
    size = [max(1, side // factor) for side in x.shape[2:]]
    small = nn.functional.interpolate(x, size, mode="area")
    return nn.functional.interpolate(small, x.shape[2:], mode="bilinear")


def _implausible(
    x: Tensor, y: Tensor, moments: tuple[Tensor, Tensor], classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images unlike the data, made from real ones (N, C, H, W), and their labels (N,).

    Each is the average of two images, two images cut and joined, noise about the mean image or about grey, coarse or
    fine, or one even grey. Two images of one class can make a plausible one: those are labelled to be ignored.
    """
    n, channels, height, width = x.shape

    def chance(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    other, kind = torch.randperm(n, generator=generator), torch.randint(8, (n,), generator=generator)
    cut = 0.3 + 0.4 * chance(n, 1, 1, 1)
    left, top = torch.arange(width) < width * cut, torch.arange(height)[:, None] < height * cut
    from_first = torch.where(chance(n, 1, 1, 1) < 0.5, left, top)
    noise = torch.randn(x.shape, generator=generator)
    coarse = chance(n) >= 0.5
    noise[coarse] = 3 * _coarser(noise[coarse], 4)
    centre = torch.where(chance(n, 1, 1, 1) < 0.7, moments[0], chance(n, 1, 1, 1))
    blend, joined = cut * x + (1 - cut) * x[other], torch.where(from_first, x, x[other])
    noisy = (centre + moments[1].clamp_min(0.1) * noise).clamp(0, 1)
    grey = (1.4 * chance(n, channels, 1, 1) - 0.4).clamp_min(0).expand_as(x)
    implausible = torch.stack([blend, blend, blend, joined, joined, noisy, noisy, grey])[
        kind, torch.arange(n)
    ]
    same = (kind < 5) & (y == y[other])
    return implausible, torch.where(same, IGNORED, classes)
