"""Small classifiers of a data set's images: one network, trained in seconds, kept on disk and known by a hash."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from latlas.data import Dataset, Split
from latlas.data.catalogue import cache_home
from latlas.errors import LatlasError
from latlas.files import write_atomic

MOST_TRAINING, PART = 20_000, 1000
SIDE = 32  # larger images are averaged down to it, which bounds the classifier's time
FEATURES = 64
SEED = 0
SEEN, BATCH, LR = 32_000, 64, 3e-3  # images that training sees, whatever the size of the data
_VERSION = 2  # part of the key: raise it when what is kept changes

Tensors = dict[str, Tensor]
Batch = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


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


def kept(dataset: Dataset, what: str, make: Callable[[], Tensors]) -> Tensors:
    """What `make` gives for a data set, or gave on this machine before: kept in the cache folder, by the data's
    fingerprint.

    Where the folder cannot be written it is made anew each time.
    """
    if not dataset.fingerprint:
        return make()
    key = hashlib.sha256(f"{what} {_VERSION} {SEEN} {dataset.fingerprint}".encode()).hexdigest()[:32]
    path = cache_home() / "classifiers" / f"{key}.safetensors"
    found = _read(path)
    if found is None:
        found = make()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, save({name: t.contiguous() for name, t in found.items()}))
        except (OSError, LatlasError):
            pass
    return found


def _read(path: Path) -> Tensors | None:
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError):
        return None


def network(tensors: Tensors, dataset: Dataset) -> Net:
    """The network whose weights are called `net.` in these tensors, for a data set's images made small."""
    weights = {name[4:]: tensor for name, tensor in tensors.items() if name.startswith("net.")}
    channels, *size = dataset.shape
    with torch.random.fork_rng(devices=[]):  # the first weights, which are thrown away, are drawn
        net = Net((channels, *small(torch.zeros(1, channels, *size)).shape[2:]), len(weights["head.bias"]))
    net.load_state_dict(weights)
    return net.eval().requires_grad_(False)


def identity(tensors: Tensors) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of the tensors: the same for the same classifier alone."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def has_classes(split: Split) -> bool:
    """Whether the items have labels that are classes, and two of them at the least."""
    labels = split.labels
    return labels is not None and np.issubdtype(labels.dtype, np.integer) and len(np.unique(labels)) > 1


def as_tensor(dataset: Dataset, x: np.ndarray) -> Tensor:
    """Images as stored, (N, H, W, C), on [0, 1] and with their channels first."""
    return torch.from_numpy(np.asarray(dataset.scaling.apply(x), np.float32)).permute(0, 3, 1, 2)


def small(x: Tensor) -> Tensor:
    """Images (N, C, H, W) averaged down so that the longer side is 32 at most."""
    height, width = x.shape[2:]
    scale = SIDE / max(height, width)
    size = [max(1, round(side * scale)) for side in (height, width)]
    return x if scale >= 1 else nn.functional.interpolate(x, size, mode="area")


def weights_of(net: Net) -> Tensors:
    """A network's weights, as `network` reads them."""
    return {f"net.{name}": tensor for name, tensor in net.state_dict().items()}


def some(dataset: Dataset, split: Split, most: int, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """Images of a split, drawn without order and made small, and their labels."""
    rows = np.sort(rng.permutation(len(split))[:most])
    parts = [rows[start : start + PART] for start in range(0, len(rows), PART)]
    x = torch.cat([small(as_tensor(dataset, np.asarray(split.x[part]))) for part in parts])
    return x, np.asarray(split.labels)[rows]


def run(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, F), in double precision, and logits (N, outputs) of small images."""
    with torch.no_grad():
        parts = [net(part) for part in x.split(PART)]
    features, logits = (torch.cat(column) for column in zip(*parts, strict=True))
    return features.double(), logits


def fit(x: Tensor, y: Tensor, outputs: int, batch: Batch | None = None) -> Net:
    """A network that tells small images (N, C, H, W) by their classes y (N,), 0 to outputs - 1.

    `batch` makes of a batch of both the one that is learned from.
    """
    rng = np.random.default_rng(SEED)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        net = Net(tuple(x.shape[1:]), outputs)
    steps = max(1, SEEN // min(BATCH, len(x)))
    optimizer = torch.optim.Adam(net.parameters(), LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    order = np.concatenate([rng.permutation(len(x)) for _ in range(1 + SEEN // len(x))])
    for step in range(steps):
        rows = torch.from_numpy(order[step * BATCH : (step + 1) * BATCH])
        images, labels = (x[rows], y[rows]) if batch is None else batch(x[rows], y[rows])
        loss = nn.functional.cross_entropy(net(images)[1], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)
