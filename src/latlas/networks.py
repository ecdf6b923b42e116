"""Encoders and decoders from tensor to tensor: plain networks for any shape, and those of the four tutorials.

A network function takes the shape of one item, (C, H, W) or (D,), the number of encoder outputs and the latent size. It
gives (encoder, decoder): the encoder maps (B, *shape) -> (B, outputs), the decoder (B, latent) -> (B, *shape), raw,
without a final nonlinearity. Each decoder is a Sequential whose `output` layer's bias shifts the result per channel or
per value. An encoder with a ScaledLinear layer `input` has principal components there, and in its decoder's `output`: a
model starts at those of its data. NETWORKS holds each function with the settings that it reads.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latlas.errors import InputError
from latlas.settings import NetworkConfig
from latlas.text import counted

Shape = tuple[int, ...]
Networks = tuple[nn.Module, nn.Module]

HIDDEN = (512, 512)  # widths of an mlp's layers where nothing decides on others
DEEP_UP_TO = 3  # latent dimensions


def hidden_for(kind: str, latent: int) -> tuple[int, ...]:
    """Default widths of an mlp's layers for data of a kind: what was best in benchmarks/results/ablations.md at equal
    time. A few latent dimensions need a decoder that bends more, many do not.
    """
    if kind == "table":
        return 128, 128
    return (512, 256, 256) if latent <= DEEP_UP_TO else (512, 256)


COMPONENTS = 64  # of pca-mlp; twice the latent size where that is more

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
    "gated": nn.GLU,
}


def decoder_of(body: Sequence[nn.Module], output: nn.Module, *after: nn.Module) -> nn.Sequential:
    """A decoder: a body, the named output layer, and layers that only reshape."""
    parts = [("body", nn.Sequential(*body)), ("output", output), ("after", nn.Sequential(*after))]
    return nn.Sequential(OrderedDict(parts))


def linear(shape: Shape, outputs: int, latent: int, options: NetworkConfig) -> Networks:
    """One affine map each way; with a point posterior and a Gaussian likelihood its optimum spans PCA's subspace."""
    size = math.prod(shape)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, outputs))
    return encoder, decoder_of([], nn.Linear(latent, size), nn.Unflatten(1, shape))


def mlp(shape: Shape, outputs: int, latent: int, options: NetworkConfig) -> Networks:
    """Fully connected layers of the widths `hidden`, mirrored in the decoder.

    A layer of the activation `gated` is h(x) * sigmoid(g(x)), h and g affine (Tomczak and Welling 2018).
    """
    size = math.prod(shape)
    hidden = HIDDEN if options.hidden is None else options.hidden
    down = _dense(size, hidden, options.activation)
    up = _dense(latent, hidden[::-1], options.activation)
    encoder = nn.Sequential(nn.Flatten(), *down, nn.Linear(hidden[-1] if hidden else size, outputs))
    output = nn.Linear(hidden[0] if hidden else latent, size)
    return encoder, decoder_of(up, output, nn.Unflatten(1, shape))


class ScaledLinear(nn.Linear):
    """An affine map of which a step moves a tenth as much: W (x / 10) + b.

    Adam moves each weight by about the rate. Those of principal components are small, and at the full rate the first
    steps would undo where they start.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.register_buffer("scale", torch.tensor(0.1))
        self.scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        return nn.functional.linear(self.scale * x, self.weight, self.bias)


class Beside(nn.Module):
    """A linear map plus what layers beside it give: it starts as the identity, as far as there are values for it."""

    def __init__(self, inputs: int, outputs: int, latent: int, body: Sequence[nn.Module]) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.body = nn.Sequential(*body)
        with torch.no_grad():
            self.linear.weight.zero_()[:latent].fill_diagonal_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        return self.linear(x) + self.body(x)


def pca_mlp(shape: Shape, outputs: int, latent: int, options: NetworkConfig) -> Networks:
    """Principal components, then the layers of `mlp` with a linear map beside them; mirrored in the decoder.

    It starts as probabilistic PCA does, but for the variance of its codes: steps are left for what is not linear.
    """
    size = math.prod(shape)
    many = min(size, max(COMPONENTS, 2 * latent))
    hidden = HIDDEN if options.hidden is None else options.hidden
    down, up = (
        [*_dense(values, widths, options.activation), nn.Linear(widths[-1] if widths else values, last)]
        for values, widths, last in ((many, hidden, outputs), (latent, hidden[::-1], many))
    )
    parts = [
        ("flat", nn.Flatten()),
        ("input", ScaledLinear(size, many)),
        ("body", Beside(many, outputs, latent, down)),
    ]
    body = Beside(latent, many, many, up)
    return nn.Sequential(OrderedDict(parts)), decoder_of(
        [body], ScaledLinear(many, size), nn.Unflatten(1, shape)
    )


def _dense(size: int, widths: Sequence[int], activation: str) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width in widths:
        # One map gives h and g side by side; GLU multiplies h by the sigmoid of g.
        outputs = 2 * width if activation == "gated" else width
        layers += [nn.Linear(size, outputs), ACTIVATIONS[activation]()]
        size = width
    return layers


# Convolution, transposed convolution and batch normalisation in so many dimensions.
LAYERS: dict[int, tuple[type[nn.Module], type[nn.Module], type[nn.Module]]] = {
    1: (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d),
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d),
    3: (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d),
}


def conv(shape: Shape, outputs: int, latent: int, options: NetworkConfig) -> Networks:
    """Stride-2 convolutions down to about 4 values along the longest side, and the corresponding transposed ones up
    again: of images, of signals (C, L) and of volumes (C, D, H, W).

    `channels` has one entry per level, outermost first. Its default is 32, 64, 128, ... for as many halvings as
    bring the longest side to about 4. Raises InputError for vectors and tables, and for gated layers.
    """
    if len(shape) - 1 not in LAYERS:
        image_shape(shape, "conv")
    if options.activation == "gated":
        raise InputError("network.activation = gated is for network.name = mlp; choose another for conv")
    channels, *space = shape
    levels = max(1, round(math.log2(max(space) / 4)))
    widths = options.channels or tuple(min(256, 32 * 2**i) for i in range(levels))
    activation, layer = ACTIVATIONS[options.activation], LAYERS[len(space)][0]
    sizes = halvings(tuple(space), len(widths))
    down: list[nn.Module] = []
    for before, after in zip((channels, *widths), widths, strict=False):
        down += [layer(before, after, 3, 2, 1), *_norm(options, after, len(space)), activation()]
    features = widths[-1] * math.prod(sizes[-1])
    up: list[nn.Module] = [
        nn.Linear(latent, features),
        activation(),
        nn.Unflatten(1, (widths[-1], *sizes[-1])),
    ]
    for level in range(len(widths) - 1, 0, -1):
        wider = double(widths[level], widths[level - 1], sizes[level])
        up += [wider, *_norm(options, widths[level - 1], len(space)), activation()]
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(features, outputs))
    return encoder, decoder_of(up, double(widths[0], channels, sizes[0]))


def _norm(options: NetworkConfig, channels: int, dimensions: int) -> list[nn.Module]:
    return [LAYERS[dimensions][2](channels)] if options.batch_norm else []


def halvings(size: Shape, levels: int) -> list[Shape]:
    """The sizes after convolutions of kernel 3, stride 2, padding 1: ceil(side / 2) per level."""
    sizes = [size]
    for _ in range(levels):
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    return sizes


def double(before: int, after: int, target: Shape, bias: bool = True) -> nn.Module:
    """The transposed convolution (kernel 3, stride 2, padding 1) from ceil(target / 2) to exactly `target` values along
    each side.
    """
    padding = tuple(1 - side % 2 for side in target)
    return LAYERS[len(target)][1](before, after, 3, 2, 1, output_padding=padding, bias=bias)


def image_shape(shape: Shape, network: str) -> tuple[int, int, int]:
    """The shape as (channels, height, width).

    Raises InputError for anything but images.
    """
    if len(shape) != 3:
        size = "x".join(map(str, shape))
        what, other = (
            (f"a vector of {counted(shape[0], 'value')}", "mlp")
            if len(shape) == 1
            else (f"of shape {size}", "conv or mlp")
        )
        raise InputError(
            f"network.name = {network} takes images, and an item here is {what}: use network.name={other}"
        )
    return shape[0], shape[1], shape[2]


def vanilla(shape: Shape, outputs: int, latent: int, options: NetworkConfig) -> Networks:
    """The vanilla convolutional VAE for 64x64 RGB: five blocks of 32 to 512 channels (`channels` changes
    them).
    """
    channels, height, width = image_shape(shape, "vanilla")
    widths = options.channels or (32, 64, 128, 256, 512)
    sizes = halvings((height, width), len(widths))
    down: list[nn.Module] = []
    for before, after in zip((channels, *widths), widths, strict=False):
        down += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU()]
    features = widths[-1] * math.prod(sizes[-1])
    up: list[nn.Module] = [nn.Linear(latent, features), nn.Unflatten(1, (widths[-1], *sizes[-1]))]
    for level in range(len(widths) - 1, -1, -1):
        after = widths[max(level - 1, 0)]
        up += [double(widths[level], after, sizes[level]), nn.BatchNorm2d(after), nn.LeakyReLU()]
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(features, outputs))
    return encoder, decoder_of(up, nn.Conv2d(widths[0], channels, 3, padding=1))


def kmnist(shape: Shape, outputs: int, latent: int, options: NetworkConfig) -> Networks:
    """The Kuzushiji-MNIST VAE: 28, 56, 112, 224 channels to 896 features; 1-4-8-14-28 pixels back.

    Raises InputError for images other than 28x28: the decoder's kernels make just that size.
    """
    channels, height, width = image_shape(shape, "kmnist")
    if (height, width) != (28, 28):
        raise InputError(
            f"network.name = kmnist makes 28x28 images, and these are {height}x{width}: "
            "use network.name = conv, or data.image_size = 28x28"
        )
    down: list[nn.Module] = []
    for before, after in ((channels, 28), (28, 56), (56, 112), (112, 224)):
        down += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU()]
    up: list[nn.Module] = [nn.Linear(latent, 224), nn.Unflatten(1, (224, 1, 1))]
    for before, after, stride, padding in ((224, 112, 1, 0), (112, 56, 2, 1), (56, 28, 2, 2)):
        layer = nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False)
        up += [layer, nn.BatchNorm2d(after), nn.LeakyReLU()]
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(896, outputs))
    return encoder, decoder_of(up, nn.ConvTranspose2d(28, channels, 4, 2, 1, bias=False))


def flowers(shape: Shape, outputs: int, latent: int, options: NetworkConfig) -> Networks:
    """The Flowers102 VAE: convolutions of 16, 32, 64 channels, each with ReLU and 2x2 max-pooling, and back.

    `batch_norm` adds batch normalisation after each convolution. Raises InputError for images too small.
    """
    channels, height, width = image_shape(shape, "flowers")
    widths = options.channels or (16, 32, 64)
    sizes = [(height >> i, width >> i) for i in range(len(widths) + 1)]
    if min(sizes[-1]) < 1:
        raise InputError(
            f"network.name = flowers: {len(widths)} halvings of {height}x{width} images leave nothing"
        )

    def norm(n: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(n)] if options.batch_norm else []

    down: list[nn.Module] = []
    for before, after in zip((channels, *widths), widths, strict=False):
        down += [nn.Conv2d(before, after, 3, padding="same"), *norm(after), nn.ReLU(), nn.MaxPool2d(2)]
    features = widths[-1] * math.prod(sizes[-1])
    up: list[nn.Module] = [nn.Linear(latent, features), nn.Unflatten(1, (widths[-1], *sizes[-1]))]
    for level in range(len(widths) - 1, 0, -1):
        up += [_twice(widths[level], widths[level - 1], sizes[level]), *norm(widths[level - 1]), nn.ReLU()]
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(features, outputs))
    return encoder, decoder_of(up, _twice(widths[0], channels, sizes[0]))


def _twice(before: int, after: int, target: tuple[int, int]) -> nn.ConvTranspose2d:
    height, width = target
    return nn.ConvTranspose2d(before, after, 2, 2, output_padding=(height % 2, width % 2))


def fashion(shape: Shape, outputs: int, latent: int, options: NetworkConfig) -> Networks:
    """The Fashion-MNIST VAE: convolutions of 32, 64 without padding, then dense; decoder dense 7*7*32, 64,
    32, out.

    Raises InputError for images under 7 pixels.
    """
    channels, height, width = image_shape(shape, "fashion")
    if min(height, width) < 7:
        raise InputError(
            f"network.name = fashion needs images of 7 pixels or more, and these are {height}x{width}"
        )
    second = ((height - 3) // 4) * ((width - 3) // 4)
    encoder = nn.Sequential(
        nn.Conv2d(channels, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 3, 2), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * second, outputs),
    )  # fmt: skip
    sizes = halvings((height, width), 2)
    body = [
        nn.Linear(latent, 32 * math.prod(sizes[2])), nn.ReLU(), nn.Unflatten(1, (32, *sizes[2])),
        double(32, 64, sizes[1]), nn.ReLU(), double(64, 32, sizes[0]), nn.ReLU(),
    ]  # fmt: skip
    return encoder, decoder_of(body, nn.ConvTranspose2d(32, channels, 3, padding=1))


@dataclass(frozen=True)
class Network:
    """A network function, the settings of `NetworkConfig` that it `reads`, the `epochs` after which it overfits small
    sets, and the `optimizer` that trains it best.
    """

    make: Callable[[Shape, int, int, NetworkConfig], Networks]
    reads: tuple[str, ...] = ()
    epochs: int = 200
    optimizer: str = "muon"


NETWORKS = {
    "linear": Network(linear, optimizer="adamw"),
    "mlp": Network(mlp, ("hidden", "activation")),
    "pca-mlp": Network(pca_mlp, ("hidden", "activation"), 16, "adamw"),
    "conv": Network(conv, ("channels", "activation", "batch_norm")),
    "vanilla": Network(vanilla, ("channels",)),
    "kmnist": Network(kmnist),
    "flowers": Network(flowers, ("channels", "batch_norm")),
    "fashion": Network(fashion),
}
