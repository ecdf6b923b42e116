"""Every network, for every shape: sizes come back, gradients flow, and the tutorials' layers are as published."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import batches, image_dataset, made, table_dataset
from torch import nn

from latlas.build import resolve
from latlas.config import override, recipe
from latlas.data import DataOptions, Dataset, load
from latlas.errors import InputError
from latlas.models import Model
from latlas.networks import ACTIVATIONS, NETWORKS, Beside, ScaledLinear, halvings
from latlas.settings import NetworkConfig

SHAPES = [(1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 28, 20), (2, 17, 31), (4, 9, 8), (3, 7, 45), (1, 1, 16)]
VECTORS = [(5,), (784,), (1,)]
SMALLEST = {"flowers": 8, "fashion": 7}


def fits(name: str, shape: tuple[int, ...]) -> bool:
    if len(shape) == 1:
        return name in ("linear", "mlp", "pca-mlp")
    return shape[1:] == (28, 28) if name == "kmnist" else min(shape[1:]) >= SMALLEST.get(name, 1)


@pytest.mark.parametrize("shape", SHAPES + VECTORS, ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_encodes_to_its_outputs_and_decodes_to_the_shape(name: str, shape: tuple[int, ...]) -> None:
    if not fits(name, shape):
        with pytest.raises(InputError, match=f"network.name = {name}"):
            NETWORKS[name].make(shape, 6, 3, NetworkConfig())
        return
    encoder, decoder = NETWORKS[name].make(shape, 6, 3, NetworkConfig())
    x = torch.rand(4, *shape)
    code = encoder(x)
    assert code.shape == (4, 6)
    out = decoder(code[:, :3])
    assert out.shape == x.shape
    out.square().sum().backward()
    missing = [n for net in (encoder, decoder) for n, p in net.named_parameters() if p.grad is None]
    assert missing == []


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_decoder_names_its_output_layer(name: str) -> None:
    _, decoder = NETWORKS[name].make((1, 28, 28), 6, 3, NetworkConfig())
    layer = decoder.output
    assert isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    weights = [m for m in decoder.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    assert weights[-1] is layer


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"gated"}))
def test_options_reach_the_layers(activation: str) -> None:
    options = NetworkConfig.model_validate(
        {"activation": activation, "hidden": (7, 5), "channels": (4, 6), "batch_norm": True}
    )
    kind = type(ACTIVATIONS[activation]())
    encoder, decoder = NETWORKS["mlp"].make((1, 8, 8), 6, 3, options)
    assert [m.out_features for m in encoder.modules() if isinstance(m, nn.Linear)] == [7, 5, 6]
    assert [m.out_features for m in decoder.modules() if isinstance(m, nn.Linear)] == [5, 7, 64]
    assert sum(isinstance(m, kind) for m in encoder.modules()) == 2
    encoder, decoder = NETWORKS["conv"].make((1, 8, 8), 6, 3, options)
    assert [m.out_channels for m in encoder.modules() if isinstance(m, nn.Conv2d)] == [4, 6]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in decoder.modules()) == 1


def test_halvings_are_what_stride_two_convolutions_give() -> None:
    x, layer = torch.zeros(1, 1, 45, 28), nn.Conv2d(1, 1, 3, 2, 1)
    for size in halvings((45, 28), 6)[1:]:
        x = layer(x)
        assert tuple(x.shape[2:]) == size


def plain(model: Model) -> Model:
    """The model with nothing beside its linear maps."""
    for network in (model.encoder, model.decoder):
        for layer in [m.body[-1] for m in network.modules() if isinstance(m, Beside)]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def test_a_step_moves_a_scaled_layer_a_tenth_as_far() -> None:
    layer, moved = ScaledLinear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
    one = torch.eye(3)
    for network in (layer, moved):
        before = network(one).detach()
        network(one).sum().backward()
        torch.optim.Adam(network.parameters(), lr=0.01).step()
        expected = 0.001 if network is layer else 0.01
        assert torch.allclose((network(one) - before).abs(), torch.tensor(expected), rtol=1e-4)


@pytest.mark.parametrize("latent", [1, 3, 40])
def test_the_pca_mlp_starts_at_pca(latent: int) -> None:
    """Components have mean 0 and variance 1, and what the linear maps give back is PCA's reconstruction."""
    rows = np.random.default_rng(0).normal(size=(90, 7)) @ np.diag([9, 5, 3, 2, 1, 0.5, 0.1])
    dataset = table_dataset(rows + 4)
    _, model = made(dataset, network__name="pca-mlp", model__latent=latent, training__precision="float64")
    x = batches(dataset, "train", plain(model))(np.arange(90))
    components = model.encoder[:2](x)
    assert torch.allclose(components.mean(0), torch.zeros(7, dtype=torch.float64), atol=1e-5)
    covariance = components.T @ components / 90
    assert torch.allclose(covariance, torch.eye(7, dtype=torch.float64), atol=1e-5)
    axes = np.linalg.svd(rows - rows.mean(0))[2][:latent]
    expected = rows.mean(0) + (rows - rows.mean(0)) @ axes.T @ axes + 4
    back = model.decoder(model.encoder(x)[:, :latent])
    assert np.allclose(back.detach().numpy(), expected, atol=1e-4)
    left = np.sqrt(np.square(rows + 4 - expected).mean())
    assert model.likelihood.sigma.item() == pytest.approx(max(left, 0.1 * (rows + 4).std()), rel=1e-3)


def test_the_pca_mlp_starts_at_pca_where_means_are_bounded() -> None:
    dataset = image_dataset(channels=3)
    _, model = made(dataset, network__name="pca-mlp", model__latent=6)
    x = batches(dataset, "train", plain(model))(np.arange(100))
    back = model.likelihood.mean(model.decoder(model.encoder(x)[:, :6]))
    assert (back - x).square().mean() < 0.05 * (x - x.mean(0)).square().mean()


@pytest.mark.parametrize("dataset", [image_dataset(n=10, channels=3), table_dataset(np.ones((20, 3)))])
def test_the_pca_mlp_takes_data_of_fewer_components_than_it_has(dataset: Dataset) -> None:
    _, model = made(dataset, network__name="pca-mlp", model__latent=3, likelihood__name="gaussian")
    x = batches(dataset, "train", model)(np.arange(5))
    assert all(p.isfinite().all() for p in model.parameters())
    assert model.decoder(model.encoder(x)[:, :3]).isfinite().all()


def test_the_pca_mlp_has_twice_as_many_components_as_dimensions() -> None:
    for latent, many in ((3, 64), (50, 100)):
        encoder, decoder = NETWORKS["pca-mlp"].make((3, 8, 8), 2 * latent, latent, NetworkConfig(hidden=()))
        assert encoder.input.out_features == decoder.output.in_features == many


def channels(network: nn.Module, kind: type) -> list[tuple[int, int]]:
    return [(m.in_channels, m.out_channels) for m in network.modules() if isinstance(m, kind)]


def test_vanilla_is_as_published() -> None:
    encoder, decoder = NETWORKS["vanilla"].make((3, 64, 64), 256, 128, NetworkConfig())
    assert channels(encoder, nn.Conv2d) == [(3, 32), (32, 64), (64, 128), (128, 256), (256, 512)]
    ups = [(512, 256), (256, 128), (128, 64), (64, 32), (32, 32)]
    assert channels(decoder, nn.ConvTranspose2d) == ups
    assert channels(decoder, nn.Conv2d) == [(32, 3)]
    assert encoder[-1].in_features == 512 * 2 * 2
    for network in (encoder, decoder):
        assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 5
        assert sum(isinstance(m, nn.LeakyReLU) for m in network.modules()) == 5


def test_kmnist_is_as_published() -> None:
    encoder, decoder = NETWORKS["kmnist"].make((1, 28, 28), 4, 2, NetworkConfig())
    assert channels(encoder, nn.Conv2d) == [(1, 28), (28, 56), (56, 112), (112, 224)]
    assert encoder[-1].in_features == 896
    assert channels(decoder, nn.ConvTranspose2d) == [(224, 112), (112, 56), (56, 28), (28, 1)]
    sizes, x = [], decoder.body[:2](torch.zeros(2, 2))
    for layer in [*decoder.body[2:], decoder.output]:
        x = layer(x)
        if isinstance(layer, nn.ConvTranspose2d):
            assert layer.bias is None
            sizes.append(x.shape[-1])
    assert sizes == [4, 8, 14, 28]


def test_flowers_is_as_published() -> None:
    encoder, decoder = NETWORKS["flowers"].make((3, 32, 32), 20, 10, NetworkConfig())
    assert channels(encoder, nn.Conv2d) == [(3, 16), (16, 32), (32, 64)]
    assert sum(isinstance(m, nn.MaxPool2d) for m in encoder.modules()) == 3
    assert encoder[-1].in_features == 64 * 4 * 4
    assert channels(decoder, nn.ConvTranspose2d) == [(64, 32), (32, 16), (16, 3)]
    with_norm, _ = NETWORKS["flowers"].make((3, 32, 32), 20, 10, NetworkConfig(batch_norm=True))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in with_norm.modules()) == 3


def test_fashion_is_as_published() -> None:
    encoder, decoder = NETWORKS["fashion"].make((1, 28, 28), 4, 2, NetworkConfig())
    assert channels(encoder, nn.Conv2d) == [(1, 32), (32, 64)]
    assert encoder[-1].in_features == 2304
    assert decoder.body[0].out_features == 7 * 7 * 32
    assert channels(decoder, nn.ConvTranspose2d) == [(32, 64), (64, 32), (32, 1)]


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_network_reads_the_settings_that_it_names_and_no_others(name: str) -> None:
    def layers(**settings: object) -> str:
        return str(NETWORKS[name].make((1, 28, 28), 6, 3, NetworkConfig.model_validate(settings)))

    other = {"hidden": (7,), "channels": (4, 6), "activation": "elu", "batch_norm": True}
    assert {key for key, value in other.items() if layers(**{key: value}) != layers()} == set(
        NETWORKS[name].reads
    )


@pytest.mark.parametrize(
    ("latent", "hidden"), [(1, (512, 256, 256)), (3, (512, 256, 256)), (4, (512, 256)), (20, (512, 256))]
)
def test_the_default_is_deeper_for_few_latent_dimensions(latent: int, hidden: tuple[int, ...]) -> None:
    digits = load(DataOptions(source="digits"))
    config, notes = resolve(override(recipe("vae"), {"model.latent": latent}, "test"), digits)
    assert config.network.hidden == hidden
    assert any(note.startswith(f"network.hidden = {hidden}") for note in notes)
    given, _ = resolve(override(config, {"network.hidden": [32]}, "test"), digits)
    assert given.network.hidden == (32,)
