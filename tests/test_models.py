"""Pass and Model: the terms of the bound, and one face in numpy and torch."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from helpers import image_dataset, images, made, table_dataset

from latlas.errors import InputError
from latlas.likelihoods import LIKELIHOODS
from latlas.models import Model
from latlas.objectives import OBJECTIVES
from latlas.posteriors import POSTERIORS, GaussianPosterior, log_normal_pairs, log_pairs

AUTOENCODER = {"posterior__name": "point", "objective__name": "reconstruction"}


@pytest.fixture(scope="module")
def model() -> Model:
    return made(image_dataset(), model__latent=3, training__precision="float64")[1]


@pytest.fixture(scope="module")
def x(model: Model) -> torch.Tensor:
    return model.to_tensor(images(16, seed=1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_bound_is_minus_distortion_minus_rate(model: Model, x: torch.Tensor) -> None:
    p = model(x, samples=5, generator=generator())
    assert p.z.shape == (5, 16, 3)
    assert p.log_px.shape == p.log_pz.shape == p.log_qz.shape == (5, 16)
    torch.testing.assert_close(p.distortion, -p.log_px.mean(0))
    torch.testing.assert_close(p.rate, p.kl.sum(-1))
    torch.testing.assert_close(p.elbo, -(p.distortion + p.rate))
    torch.testing.assert_close(p.sampled_rate, (p.log_qz - p.log_pz).mean(0))


def test_the_rate_is_never_negative(model: Model, x: torch.Tensor) -> None:
    assert (model(x, generator=generator()).rate >= 0).all()


def test_the_monte_carlo_bound_equals_the_analytic_one_in_expectation(model: Model, x: torch.Tensor) -> None:
    p = model(x[:4], samples=20_000, generator=generator())
    error = (p.sampled_rate - p.rate).abs()
    assert (error < 4 * (p.log_qz - p.log_pz).std(0) / 20_000**0.5).all()


def test_each_images_terms_are_its_own(x: torch.Tensor) -> None:
    """An image's numbers do not depend on which images share its batch: per-image terms, no batch sums."""
    _, model = made(image_dataset(), **AUTOENCODER)
    alone = torch.cat([model(item[None].float()).distortion for item in x])
    torch.testing.assert_close(model(x.float()).distortion, alone, rtol=1e-5, atol=1e-4)


def test_the_target_may_differ_from_the_input(model: Model, x: torch.Tensor) -> None:
    clean = model(x, generator=generator())
    other = model(x, target=1 - x, generator=generator())
    assert torch.equal(clean.z, other.z)
    expected = model.likelihood.log_prob(model.raw(clean.z), 1 - x)
    torch.testing.assert_close(other.log_px, expected)


def test_an_autoencoder_has_no_rate(x: torch.Tensor) -> None:
    _, model = made(image_dataset(), training__precision="float64", **AUTOENCODER)
    p = model(x)
    assert p.rate is None
    assert p.elbo is None
    torch.testing.assert_close(p.z[0], model.encode(x, units="model"))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_numpy_in_numpy_out_tensor_in_tensor_out(channels: int) -> None:
    dataset = image_dataset(channels=channels)
    _, model = made(dataset, model__latent=3)
    stored = dataset.test.x
    tensor = torch.from_numpy(stored / np.float32(255)).permute(0, 3, 1, 2).float()
    codes = model.encode(stored)
    assert isinstance(codes, np.ndarray)
    assert codes.shape == (len(stored), 3)
    np.testing.assert_allclose(codes, model.encode(tensor, units="model").numpy(), rtol=1e-5, atol=1e-6)
    back, tensors = (model.decode(z, units="model") for z in (codes, torch.from_numpy(codes)))
    assert back.shape == stored.shape
    assert tensors.shape == tensor.shape
    np.testing.assert_allclose(back, tensors.permute(0, 2, 3, 1).numpy(), rtol=1e-6)
    assert back.min() >= 0
    assert back.max() <= 1
    np.testing.assert_allclose(model.decode(codes), 255 * back, rtol=1e-5)
    np.testing.assert_allclose(model.reconstruct(stored), 255 * back, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(
        model.encode(tensor.mul(255).round().to(torch.uint8)).numpy(), codes, atol=1e-5
    )


@pytest.mark.parametrize("dtype", ["u2", ">u2", "i4", "i8", "u4", "f4", "f8", ">f4"])
def test_the_same_values_give_the_same_codes_whatever_holds_them(model: Model, dtype: str) -> None:
    x = images(5)
    given = x.astype(dtype)
    np.testing.assert_allclose(model.encode(given), model.encode(x), atol=1e-5)
    z = model.encode(x)
    np.testing.assert_allclose(model.decode(z[::-1]), model.decode(z)[::-1], atol=1e-6)
    longs = torch.from_numpy(x.astype(np.int64)).permute(0, 3, 1, 2)
    np.testing.assert_allclose(model.encode(longs).numpy(), z, atol=1e-5)


def test_grey_images_may_leave_out_the_channel_axis(model: Model) -> None:
    x = images(5)
    np.testing.assert_allclose(model.encode(x[..., 0]), model.encode(x))


def test_tables_come_back_in_data_units() -> None:
    from dataclasses import replace

    from latlas.data import Scaling

    rng = np.random.default_rng(0)
    x = (rng.normal(size=(60, 4)) * [1, 10, 100, 0.1] + [5, -50, 0, 3]).astype(np.float32)
    scaling = Scaling("standard", tuple(x.mean(0).tolist()), tuple(x.std(0).tolist()))
    dataset = replace(table_dataset(x), scaling=scaling)
    _, model = made(dataset, network__name="linear", model__latent=4, **AUTOENCODER)
    with torch.no_grad():
        model.encoder[1].weight.copy_(torch.eye(4))
        model.encoder[1].bias.zero_()
        model.decoder.output.weight.copy_(torch.eye(4))
        model.decoder.output.bias.zero_()
    np.testing.assert_allclose(model.reconstruct(x), x, rtol=1e-4, atol=1e-3)
    standardised = model.reconstruct(model.to_tensor(x), units="model")
    torch.testing.assert_close(standardised, model.to_tensor(x))


def test_samples_are_the_same_for_a_seed_and_differ_between_seeds(model: Model) -> None:
    first = model.sample(7, seed=3)
    np.testing.assert_array_equal(first, model.sample(7, seed=3))
    assert np.abs(first - model.sample(7, seed=4)).max() > 0
    noisy = model.sample(7, seed=3, noise=True)
    assert set(np.unique(noisy)) == {0.0, 255.0}


def test_using_a_model_leaves_its_mode_and_weights_alone() -> None:
    _, model = made(image_dataset(height=8, width=8), network__name="conv", network__batch_norm=True)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    model.reconstruct(images(9, 8, 8))
    model.sample(3)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_prior_that_asks_the_encoder_does_not_change_it_and_leaves_the_data_aside() -> None:
    settings = {
        "network__name": "conv",
        "network__batch_norm": True,
        "prior__name": "vamp",
        "prior__components": 4,
    }
    _, model = made(image_dataset(height=8, width=8), **settings)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    z = torch.zeros(1, 2, model.latent)
    in_evaluation = model.eval().prior_value().log_prob(z)
    torch.testing.assert_close(model.train().prior_value().log_prob(z), in_evaluation)
    assert model.encoder.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_one_image_alone_decodes_as_in_company(model: Model) -> None:
    x = images(5)
    np.testing.assert_allclose(model.reconstruct(x[:1]), model.reconstruct(x)[:1], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.encode(np.zeros((2, 9, 9, 1), np.uint8)), r"items of shape \(9, 9, 1\).*takes \(8, 6, 1\)"),
        (lambda m: m.encode(torch.zeros(2, 1, 9, 9)), r"\(1, 9, 9\).*\(1, 8, 6\)"),
        (lambda m: m.encode(np.full((2, 8, 6, 1), 0.7)), r"floats inside \[0, 1\].*0 to 255: multiply them by 255"),
        (lambda m: m.encode(np.zeros((0, 8, 6, 1), np.uint8)), "no items"),
        (lambda m: m.encode(images(2).astype(int) + 1000), "items"),
        (lambda m: m.encode(np.full((2, 8, 6, 1), np.nan)), "NaN"),
        (lambda m: m.encode(images(2).astype(complex)), "complex"),
        (lambda m: m.encode(torch.full((2, 1, 8, 6), 7.0), units="model"), r"inside \[0, 1\]"),
        (lambda m: m.encode(torch.full((2, 1, 8, 6), float("nan"))), "NaN or infinite values in 2 of 2"),
        (lambda m: m.decode(np.full((2, 3), np.inf)), "NaN or infinite values in 2 of 2"),
        (lambda m: m.sample(2, seed=2**70), "seed"),
        (lambda m: m.decode(np.zeros((2, 5))), r"codes of shape \(2, 5\).*\(N, 3\)"),
        (lambda m: m.decode(np.zeros((0, 3))), "empty"),
        (lambda m: m.sample(0), "at least 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(model: Model, call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(model)  # type: ignore[operator]


@pytest.mark.parametrize("choice", ["data", "default"])
def test_the_decoder_starts_at_the_training_mean_only_if_asked(choice: str) -> None:
    dataset = image_dataset()
    _, model = made(dataset, network__output_bias=choice)
    start = model.likelihood.mean(model.decoder.output.bias.detach()).numpy()
    mean = dataset.scaling.apply(dataset.train.x).mean(0).ravel().clip(1e-3, 1 - 1e-3)
    assert np.allclose(start, mean, atol=1e-4) == (choice == "data")


@pytest.mark.parametrize("name", sorted(name for name, each in LIKELIHOODS.items() if each.has_sigma))
def test_a_bias_for_each_channel_starts_at_its_mean_with_a_sigma_for_each_pixel(name: str) -> None:
    dataset = image_dataset(channels=3, height=8, width=8)
    _, model = made(dataset, network__name="conv", likelihood__name=name, likelihood__sigma="per-pixel")
    bias = model.decoder.output.bias.detach()
    assert bias.shape == (3,)
    start = model.likelihood.mean(bias[:, None, None].expand(model.item.shape)).detach().numpy()
    mean = dataset.scaling.apply(dataset.train.x).mean((0, 1, 2))
    np.testing.assert_allclose(start, np.broadcast_to(mean[:, None, None], (3, 8, 8)), atol=1e-4)


@pytest.mark.parametrize("prior", ["standard-normal", "mixture", "vamp"])
@pytest.mark.parametrize("posterior", sorted(POSTERIORS))
@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_losses_and_gradients_are_finite_however_far_out_an_item_is(
    likelihood: str, posterior: str, prior: str
) -> None:
    """Of every objective, in single precision, at network outputs about 1e4 and 1e8 times as large as at the start."""
    if posterior == "point" and prior != "standard-normal":
        pytest.skip("the configuration refuses it")
    objectives = [{"name": "reconstruction"}, {"name": "infovae"}]
    if posterior != "point":
        objectives += [
            {"name": "elbo"},
            {"name": "elbo", "kl": "monte-carlo", "samples": 2},
            {"name": "iwae"},
        ]
        objectives += [{"name": "iwae", "gradient": "dreg", "samples": 2}, {"name": "infovae", "alpha": 0.5}]
    if prior != "standard-normal":
        objectives = [o for o in objectives if o["name"] in ("elbo", "iwae")]
    dataset = image_dataset()
    config, model = made(
        dataset, model__latent=3, network__hidden=(8,), likelihood__name=likelihood, posterior__name=posterior,
        prior__name=prior, prior__components=4, objective__name=str(objectives[0]["name"]),
    )  # fmt: skip
    start, x = copy.deepcopy(model.state_dict()), model.to_tensor(images(12, seed=1))
    for encoder, decoder in ((1e4, 1.0), (1e8, 1.0), (1.0, 1e8), (1e4, 1e4)):
        model.load_state_dict(start)
        with torch.no_grad():
            model.encoder[-1].weight.mul_(encoder)
            model.decoder.output.weight.mul_(decoder)
        for options in objectives:
            chosen = config.objective.model_copy(update=options)
            objective = OBJECTIVES[chosen.name].from_config(chosen, x[0].numel())
            model.zero_grad()
            loss = objective.loss(model(x, generator=generator(), **objective.needs))
            loss.backward()
            assert loss.isfinite(), (encoder, decoder, options)
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            assert all(g.isfinite().all() for g in gradients), (encoder, decoder, options)


@pytest.mark.parametrize("name", [name for name, family in POSTERIORS.items() if family.has_density])
def test_each_code_under_each_posterior_is_what_each_pair_is_by_itself(name: str) -> None:
    family, rng = POSTERIORS[name](3), generator()
    q = family(torch.randn(5, family.outputs, generator=rng))
    z = torch.randn(7, 3, generator=rng)
    pairs = torch.stack([q.log_prob(code.expand(1, 5, -1))[0] for code in z])
    torch.testing.assert_close(log_pairs(q, z, 5), pairs, rtol=1e-5, atol=1e-5)


def test_a_posterior_that_derives_from_a_gaussian_has_its_own_density() -> None:
    class Flat(GaussianPosterior):
        def log_prob(self, z: torch.Tensor) -> torch.Tensor:
            return torch.zeros(z.shape[:2])

    assert not log_pairs(Flat(torch.zeros(5, 3), torch.zeros(5, 3)), torch.ones(7, 3), 5).any()


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-11), (torch.float32, 5e-5)])
def test_densities_of_all_pairs_and_their_gradients_are_exact(dtype: torch.dtype, error: float) -> None:
    z, mean = (torch.randn(n, 4, generator=generator(n), dtype=dtype) for n in (6, 5))
    log_std = 0.5 * torch.randn(5, 4, generator=generator(), dtype=dtype)
    given = [t.requires_grad_() for t in (z, mean, log_std)]
    known = torch.distributions.Normal(mean, log_std.exp()).log_prob(z[:, None]).sum(-1)
    torch.testing.assert_close(log_normal_pairs(*given), known, rtol=0, atol=error)
    weights = torch.linspace(-1, 1, 30, dtype=dtype).view(6, 5)
    for ours, theirs in zip(
        torch.autograd.grad((weights * log_normal_pairs(*given)).sum(), given),
        torch.autograd.grad((weights * known).sum(), given),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=error)


@pytest.mark.parametrize("std", [1.0, 1e-2, 1e-4, 1e-5])
def test_densities_of_narrow_posteriors_far_out_are_exact_in_single_precision(std: float) -> None:
    """As exact as the codes are themselves: what is lost is less than the square of their rounding, in deviations."""
    mean = 30 + torch.randn(20, 8, generator=generator())
    z = mean + std * torch.randn(20, 8, generator=generator(1))
    log_std = torch.full((20, 8), math.log(std))
    found = log_normal_pairs(z, mean, log_std).diagonal()
    scaled = (z.double() - mean.double()) / log_std.double().exp()
    known = torch.distributions.Normal(0.0, 1.0).log_prob(scaled).sum(1) - log_std.double().sum(1)
    rounding = torch.finfo(torch.float32).eps * 30 / std
    assert (found <= 8 * -math.log(std * math.sqrt(2 * math.pi)) + 1e-3).all()
    torch.testing.assert_close(found.double(), known, rtol=1e-6, atol=rounding**2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("far", [1e3, 1e5, 1e6])
def test_no_density_is_above_its_peak_however_far_out(far: float, dtype: torch.dtype) -> None:
    """In double precision it is exact there as well: codes have lost nothing."""
    mean = far * torch.randn(20, 8, generator=generator(), dtype=dtype)
    log_std = torch.full((20, 8), -12.0, dtype=dtype)
    z = mean + log_std.exp() * torch.randn(20, 8, generator=generator(1), dtype=dtype)
    found, peak = log_normal_pairs(z, mean, log_std), 8 * (12 - 0.5 * math.log(2 * math.pi))
    assert (found <= peak + 1e-3).all()
    if dtype == torch.float64:
        known = GaussianPosterior(mean, log_std).log_prob(z[None])[0]
        torch.testing.assert_close(found.diagonal(), known, rtol=0, atol=1e-9)


def test_a_network_without_memory_for_it_is_refused() -> None:
    from latlas.data.room import within_memory

    with (
        pytest.raises(InputError, match=r"model\.latent: the network does not fit into memory"),
        within_memory("the network", "take fewer", field="model.latent"),
    ):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="other"), within_memory("the network", "take fewer"):
        raise RuntimeError("other")
