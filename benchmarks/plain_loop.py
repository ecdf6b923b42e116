"""What a tutorial writes: an image data set with a transform per item, two plain networks and their loss."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset


class Images(Dataset[Tensor]):
    """Grey images one at a time, as data sets give them: array to picture to tensor in [0, 1]."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        picture = Image.fromarray(self.images[index, :, :, 0])
        return torch.from_numpy(np.array(picture, np.uint8)).unsqueeze(0).to(torch.float32).div(255)


class MLP(nn.Module):
    """784-400-20-400-784 with ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mean, self.log_var = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.up, self.out = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.hidden(x.flatten(1)))
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        return self.out(F.relu(self.up(z))).view_as(x), mean, log_var


class Convolutional(nn.Module):
    """Convolutions 32, 64 (k3 s2) to 2 dimensions; transposed convolutions 64, 32 (k3 s2), 1 (k3)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 3, 2), nn.ReLU(),
            nn.Flatten(), nn.Linear(2304, 4),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(2, 7 * 7 * 32), nn.ReLU(), nn.Unflatten(1, (32, 7, 7)),
            nn.ConvTranspose2d(32, 64, 3, 2, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 3, 1, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        return self.decoder(z), mean, log_var


NETS: dict[str, type[nn.Module]] = {"mlp": MLP, "fashion": Convolutional}


def vae_loss(logits: Tensor, mean: Tensor, log_var: Tensor, x: Tensor) -> Tensor:
    """Binary cross-entropy plus KL divergence, per image."""
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
    return (bce + kl) / len(x)
