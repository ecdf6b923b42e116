"""pythae's VAE and its own trainer, with the plain loop's networks. Needs pythae: pip install -e ".[bench]"."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable

import numpy as np
import torch
from plain_loop import NETS, Convolutional

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig


class Encoder(BaseEncoder):
    """The plain loop's encoder with pythae's face."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.net = NETS[name]()

    def forward(self, x: torch.Tensor) -> ModelOutput:
        if isinstance(self.net, Convolutional):
            mean, log_var = self.net.encoder(x).chunk(2, dim=1)
        else:
            h = torch.relu(self.net.hidden(x.flatten(1)))
            mean, log_var = self.net.mean(h), self.net.log_var(h)
        return ModelOutput(embedding=mean, log_covariance=log_var)


class Decoder(BaseDecoder):
    """The plain loop's decoder with pythae's face: pythae compares probabilities, so it ends in a sigmoid."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.net = NETS[name]()

    def forward(self, z: torch.Tensor) -> ModelOutput:
        if isinstance(self.net, Convolutional):
            raw = self.net.decoder(z)
        else:
            raw = self.net.out(torch.relu(self.net.up(z))).view(-1, 1, 28, 28)
        return ModelOutput(reconstruction=torch.sigmoid(raw))


def trainer(name: str, images: np.ndarray, batch_size: int, lr: float) -> BaseTrainer:
    """pythae's trainer of one of the plain networks on images (N, H, W, 1) uint8."""
    latent = 2 if name == "fashion" else 20
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=latent, reconstruction_loss="bce")
    x = torch.from_numpy(images).movedim(-1, 1).to(torch.float32).div(255)
    options = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(), num_epochs=1, per_device_train_batch_size=batch_size, learning_rate=lr,
        optimizer_cls="Adam", no_cuda=True,
    )  # fmt: skip
    made = BaseTrainer(
        VAE(config, Encoder(name), Decoder(name)),
        BaseDataset(x, torch.zeros(len(x))),
        training_config=options,
    )
    made.prepare_training()
    return made


def epoch_of(name: str, images: np.ndarray, batch_size: int, lr: float) -> Callable[[], float]:
    """A function that trains for one more epoch by pythae's trainer, and gives its mean loss."""
    made, epochs = trainer(name, images, batch_size, lr), iter(range(1, 10**6))
    return lambda: float(made.train_step(next(epochs)))
