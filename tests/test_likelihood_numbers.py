"""Numbers on likelihood and reconstruction: exact truths first, then what they must not be fooled by."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import batches, image_dataset, made, split, table_dataset
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA
from test_evaluation import BOUNDS, EXACT, exact_model, linear_model, prior_as_posterior, set_weights

from latlas import pca
from latlas.data import Dataset, Scaling
from latlas.errors import LatlasError
from latlas.metrics import Context, Effort, measure
from latlas.metrics.elbo import evaluate
from latlas.metrics.importance import log_likelihood, summed_weights, weights_of
from latlas.metrics.likelihood import Dequantised
from latlas.metrics.ssim import ssim
from latlas.models import Model

GAUSSIAN = {
    "likelihood__name": "gaussian",
    "likelihood__output": "identity",
    "training__precision": "float64",
}


def values(model: Model, dataset: Dataset, *names: str, draws: int = 20) -> dict[str, float | None]:
    found = measure(Context(model, dataset, effort=Effort(draws)), names)
    return {name: None if reading is None else reading.value for name, reading in found.items()}


# The bounds of one set of draws


def test_the_bounds_of_the_same_draws_agree_with_quadrature() -> None:
    found = log_likelihood(*prior_as_posterior(3000), 500)
    assert [b.draws for b in found.bounds] == [5, 50]
    for bound in found.bounds:
        assert bound.stderr < 0.004
        assert abs(bound.value - BOUNDS[bound.draws]) < 4 * bound.stderr
    # Each mean of logarithms lies below the logarithm of the mean: so for any draws, not only on average.
    assert found.elbo < found.bounds[0].value < found.bounds[1].value < found.log_px
    alone = log_likelihood(*prior_as_posterior(3000), 5)
    assert alone.bounds[0].value == pytest.approx(alone.log_px)
    assert found.bounds[0].stderr < alone.bounds[0].stderr / 5
    assert log_likelihood(*prior_as_posterior(9), 4).bounds == ()


def test_what_the_halves_say_is_missing_is_what_is_missing() -> None:
    """With v the variance of w / E w, log p - E L_K is v / 2K to first order."""
    found = log_likelihood(*prior_as_posterior(4000), 100)
    assert found.bias == pytest.approx(EXACT - found.log_px, abs=4 * found.stderr)
    assert found.bias == pytest.approx(EXACT - (2 * found.log_px - EXACT) - found.bias, abs=0.01)
    assert 0.004 < found.bias < 0.012
    assert log_likelihood(*prior_as_posterior(9), 1).bias is None


@pytest.mark.parametrize("at_once", [1, 7, 3000])
def test_sums_are_those_of_all_weights_at_once(at_once: int) -> None:
    log_w = 3 * torch.randn(2113, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 900
    drawn = iter(log_w)
    found = summed_weights(
        lambda n: torch.stack([next(drawn) for _ in range(n)]), 2113, at_once, (5, 50, 3000)
    )
    w = np.exp(log_w.numpy() + 900)

    def bound(x: np.ndarray) -> np.ndarray:
        return np.log(x.mean(0)) - 900

    expected = [bound(w), log_w.numpy().mean(0), w.sum(0) ** 2 / (w**2).sum(0)]
    expected += [(bound(w[::2]) + bound(w[1::2])) / 2]
    expected += [np.mean([bound(w[i : i + k]) for i in range(0, 2113 // k * k, k)], 0) for k in (5, 50)]
    # A block of 1,000 draws is whole groups of 5 and of 50: only the last is cut.
    np.testing.assert_allclose(found[:-1].numpy(), np.stack(expected), rtol=1e-12)
    assert found[-1].isnan().all()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_weights_are_those_of_torch_distributions(likelihood: str) -> None:
    dataset = image_dataset()
    settings = {"model__latent": 3, "likelihood__name": likelihood, "training__precision": "float64"}
    _, model = made(dataset, **settings)
    x = batches(dataset, "test", model)(np.arange(6))
    with torch.no_grad():
        draw = weights_of(model, x, model.infer(x), model.prior_value(), torch.Generator().manual_seed(3))
        log_w = torch.cat([draw(4), draw(3)])
        generator = torch.Generator().manual_seed(3)
        noise = torch.cat([torch.randn(n, 6, 3, generator=generator, dtype=torch.float64) for n in (4, 3)])
        q = torch.distributions.Normal(model.infer(x).mean, model.infer(x).stddev)
        z = q.loc + q.scale * noise
        raw = model.raw(z)
        if likelihood == "bernoulli":
            log_px = x * torch.sigmoid(raw).log() + (1 - x) * torch.sigmoid(-raw).log()
        else:
            log_px = torch.distributions.Normal(torch.sigmoid(raw), model.likelihood.sigma).log_prob(x)
        prior = torch.distributions.Normal(torch.zeros_like(z), 1.0)
        expected = log_px.flatten(2).sum(2) + (prior.log_prob(z) - q.log_prob(z)).sum(2)
        torch.testing.assert_close(log_w, expected)
        p = model(x, samples=7, generator=torch.Generator().manual_seed(5))
        elbo = p.log_px.mean(0) - torch.distributions.kl_divergence(
            q, torch.distributions.Normal(0.0, 1.0)
        ).sum(1)
    torch.testing.assert_close(p.elbo, elbo)


@pytest.mark.parametrize("stretch", [1.5, 2.5])
def test_errors_fall_as_draws_grow(stretch: float) -> None:
    model, data, exact = exact_model(stretch)
    errors = [exact - log_likelihood(model, data, k).log_px for k in (3, 30, 300, 3000)]
    assert errors[0] > 2 * errors[1] > 4 * abs(errors[2])
    assert abs(errors[3]) < 0.01


def test_a_warning_comes_with_a_wrong_encoder_and_not_with_a_right_one() -> None:
    model, data, exact = exact_model(stretch=1.2)
    right = log_likelihood(model, data, 100)
    assert right.warning == ""
    assert right.low == 0
    with torch.no_grad():
        model.encoder[1].bias[:2] += 3  # means five or more standard deviations away
    wrong = log_likelihood(model, data, 100)
    assert exact - wrong.log_px > wrong.bias > 0.5
    assert wrong.low > 0.9
    assert wrong.warning.startswith("too low by about ")
    assert "an effective sample size below 10 of 100 draws; raise evaluation.draws" in wrong.warning
    found = measure(Context(model, table_dataset(data.stored), effort=Effort(100)), ["log_px", "gap"])
    assert [bool(reading.warning) for reading in found.values()] == [True, False]  # said once


# Probabilistic PCA


def correlated(n: int = 400, size: int = 6) -> Dataset:
    rng = np.random.default_rng(1)
    return table_dataset(rng.normal(size=(n, size)) @ rng.normal(size=(size, size)) + rng.normal(size=size))


def exact_pca(dataset: Dataset, latent: int) -> Model:
    """PCA in double precision."""
    point = {"posterior__name": "point", "objective__name": "reconstruction"}
    _, model = made(dataset, network__name="linear", model__latent=latent, **GAUSSIAN, **point)
    pca.solve(model, dataset)
    return model


def test_probabilistic_pca_is_tippings_closed_form_and_scikit_learns() -> None:
    dataset = correlated()
    x, k, size = np.asarray(dataset.train.x), 2, 6
    ours = pca.probabilistic(exact_pca(dataset, k), dataset)
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    noise = eigenvalues[k:].mean()
    best = -0.5 * (
        size * math.log(2 * math.pi) + np.log(eigenvalues[:k]).sum() + (size - k) * math.log(noise) + size
    )
    assert ours.log_prob(x).mean() == pytest.approx(best, abs=1e-9)
    theirs = PCA(k, svd_solver="full").fit(x)
    # Theirs are the variances of 1 / (N - 1).
    theirs.explained_variance_ *= (len(x) - 1) / len(x)
    theirs.noise_variance_ *= (len(x) - 1) / len(x)
    other = x[:50] + 1
    np.testing.assert_allclose(ours.log_prob(other), theirs.score_samples(other), atol=1e-6)
    # The model's own weights are in single precision.
    assert pca.probabilistic(pca.fit(dataset, k), dataset).log_prob(other) == pytest.approx(
        theirs.score_samples(other), rel=1e-5
    )


def test_probabilistic_pca_needs_no_covariance_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = image_dataset(120, height=12, width=10, channels=3)
    x = batches(dataset, "test", pca.fit(dataset, 4))(np.arange(12)).flatten(1).double().numpy()
    whole = pca.probabilistic(pca.fit(dataset, 4), dataset).log_prob(x)
    monkeypatch.setattr(pca, "LARGEST_COVARIANCE", 100)
    monkeypatch.setattr(pca, "CHUNK_VALUES", 360 * 17)
    np.testing.assert_allclose(pca.probabilistic(pca.fit(dataset, 4), dataset).log_prob(x), whole, rtol=1e-4)


def test_no_density_is_left_where_components_explain_everything() -> None:
    dataset = correlated()
    assert pca.probabilistic(exact_pca(dataset, 6), dataset) is None
    flat = table_dataset(np.outer(np.arange(9.0), [1, 2, 3]))
    assert pca.probabilistic(exact_pca(flat, 1), flat) is None


def optimum(dataset: Dataset, latent: int) -> tuple[Model, pca.Probabilistic]:
    """The linear VAE whose decoder is that of probabilistic PCA, and whose posterior is exact."""
    best = pca.probabilistic(exact_pca(dataset, latent), dataset)
    model = linear_model(dataset, latent, math.sqrt(best.noise), **GAUSSIAN)
    w = best.axes.T * np.sqrt(best.variances - best.noise)
    to_mean = w.T / best.variances[:, None]
    weight = np.concatenate([to_mean, np.zeros_like(to_mean)])
    bias = np.concatenate([-to_mean @ best.mean, np.log(best.noise / best.variances)])
    set_weights(model.encoder[1], torch.from_numpy(weight), torch.from_numpy(bias))
    set_weights(model.decoder.output, torch.from_numpy(w), torch.from_numpy(best.mean))
    return model, best


def test_at_its_optimum_a_linear_vae_is_probabilistic_pca() -> None:
    dataset = correlated()
    model, best = optimum(dataset, 2)
    exact = best.log_prob(np.asarray(dataset.test.x)).mean()
    found = measure(Context(model, dataset, effort=Effort(50)), ["likelihood"])
    assert found["log_px"].value == pytest.approx(exact, abs=1e-6)
    assert found["log_px"].beside["probabilistic PCA"] == pytest.approx(exact, rel=1e-6)
    assert found["log_px"].beside["ELBO of these"] == pytest.approx(exact, rel=1e-6)
    assert found["log_px"].warning == ""
    assert found["gap"].value == pytest.approx(0, abs=1e-9)
    assert found["gap"].stderr == pytest.approx(0, abs=1e-9)
    assert found["effective_sample_size"].value == pytest.approx(50)
    for name in ("iwae_5", "iwae_50"):
        assert found[name].value == pytest.approx(exact, abs=1e-6)
        assert (found[name].items, found[name].draws) == (400, 50)
    result = evaluate(model, batches(dataset, "test", model), samples=50)
    assert result.elbo == pytest.approx(exact, abs=0.05)
    assert result.rate == pytest.approx(0.5 * np.log(best.variances / best.noise).sum())
    # No other weights have a higher ELBO, and none a higher log p(x).
    for parameter in (model.encoder[1].weight, model.decoder.output.weight):
        with torch.no_grad():
            parameter += 0.05
        assert log_likelihood(model, batches(dataset, "test", model), 50).log_px < exact


# Bits per dimension


def eight_bit(rows: np.ndarray) -> Dataset:
    """The same rows (N, D) of uint8 in all three splits."""
    x = rows.astype(np.uint8)
    scaling = Scaling("integer", (0.0,), (255.0,))
    return Dataset("rows", "rows", "vector", (x.shape[1],), False, scaling, *[split(x)] * 3)


def test_bits_are_those_of_the_density_at_the_dequantised_items() -> None:
    dataset = eight_bit(np.random.default_rng(0).normal(size=(200, 3)) @ np.diag([40, 20, 9]) + 128)
    model, best = optimum(dataset, 1)
    context = Context(model, dataset, effort=Effort(10))
    y = Dequantised(context.few, context.batches(context.few), 0)(np.arange(200)).numpy()
    found = measure(context, ["bits_per_dim"])["bits_per_dim"]
    assert found.value == pytest.approx(8 - best.log_prob(y).mean() / (3 * math.log(2)), abs=1e-9)
    assert found.beside["probabilistic PCA"] == pytest.approx(found.value, abs=1e-5)
    assert (found.items, found.draws) == (200, 10)
    # The entropy of the rounded normals, up to the noise of 200 rows: log2 sigma + log2(2 pi e) / 2 each.
    entropy = np.mean([math.log2(s * math.sqrt(2 * math.pi * math.e)) for s in (40, 20, 9)])
    assert found.value == pytest.approx(entropy, abs=0.15)


def spikes(dataset: Dataset, width: float) -> Model:
    """A density that is normalised, with a spike of `width` at each of 256 grey values."""
    settings = {"network__name": "linear", "model__latent": 1, "likelihood__sigma": width} | GAUSSIAN
    _, model = made(dataset, prior__name="mixture", prior__components=256, **settings)
    set_weights(
        model.encoder[1],
        torch.tensor([[1.0], [0.0]]),
        torch.tensor([0.0, 2 * math.log(width / math.sqrt(2))]),
    )
    set_weights(model.decoder.output, torch.ones(1, 1), torch.zeros(1))
    with torch.no_grad():
        model.prior.means.copy_(torch.linspace(0, 1, 256)[:, None])
        model.prior.log_stds.fill_(math.log(width))
        model.prior.logits.zero_()
    return model


@pytest.mark.parametrize("width", [1e-5, 1e-3, 3e-3])
def test_no_model_stores_evenly_spread_bytes_in_fewer_than_eight_bits(width: float) -> None:
    dataset = eight_bit(np.arange(256)[:, None])
    model = spikes(dataset, width)
    bits = values(model, dataset, "bits_per_dim", draws=10)["bits_per_dim"]
    assert bits >= 8
    raw = log_likelihood(model, batches(dataset, "test", model), 10).log_px
    if width == 1e-5:
        assert 8 - raw / math.log(2) < 2  # what the density at the raw points would claim
    if width == 3e-3:
        assert bits < 8.2


def test_noise_is_uniform_and_belongs_to_its_item() -> None:
    dataset = image_dataset()
    _, model = made(dataset)
    context = Context(model, dataset)
    data = Dequantised(dataset.test, context.batches(dataset.test), 0)
    y = data(np.arange(20))
    assert y.shape == (20, 1, 8, 6)
    assert y.dtype == torch.float32
    noise = 256 * y.permute(0, 2, 3, 1).double().numpy() - dataset.test.x
    assert noise.min() >= 0
    assert noise.max() <= 1
    assert noise.mean() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / noise.size))
    assert noise.var() == pytest.approx(1 / 12, abs=0.01)
    assert len(np.unique(noise.round(6))) > 0.9 * noise.size
    assert torch.equal(data(np.array([7, 3])), y[[7, 3]])
    assert not torch.equal(Dequantised(dataset.test, context.batches(dataset.test), 1)(np.arange(20)), y)


def test_a_bernoulli_on_bits_is_exact_and_on_grey_values_has_none() -> None:
    rows = (np.random.default_rng(0).random((50, 5)) < 0.3).astype(np.uint8)
    binary = Dataset("bits", "bits", "vector", (5,), True, Scaling(), *[split(rows)] * 3)
    _, model = made(binary, model__latent=2)
    found = values(model, binary, "log_px", "bits_per_dim")
    assert found["bits_per_dim"] == pytest.approx(-found["log_px"] / (5 * math.log(2)))
    grey = image_dataset()
    _, model = made(grey, model__latent=2, likelihood__name="bernoulli")
    found = measure(Context(model, grey, effort=Effort(5)), ["bits_per_dim", "log_px"])
    assert found["bits_per_dim"] is None
    assert set(found["log_px"].beside) == {"ELBO of these"}


def test_real_numbers_have_no_bits_and_a_point_no_likelihood() -> None:
    table = correlated()
    assert values(linear_model(table, 2), table, "bits_per_dim") == {"bits_per_dim": None}
    images = image_dataset()
    point = {"posterior__name": "point", "objective__name": "reconstruction"}
    assert set(values(made(images, model__latent=2, **point)[1], images, "likelihood").values()) == {None}
    few = values(made(images, model__latent=2)[1], images, "iwae_5", "iwae_50", draws=7)
    assert few["iwae_50"] is None
    assert few["iwae_5"] < 0


# Reconstruction


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ssim_of_equal_images_is_one_and_of_even_ones_known() -> None:
    x = noise(3, 2, 20, 13)
    torch.testing.assert_close(ssim(x, x), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(ssim(x.float(), x.float()), torch.ones(3, dtype=torch.float64))
    a, b = torch.full((1, 1, 15, 15), 0.3), torch.full((1, 1, 15, 15), 0.7)
    assert ssim(a, b).item() == pytest.approx((2 * 0.3 * 0.7 + 1e-4) / (0.3**2 + 0.7**2 + 1e-4), rel=1e-5)
    assert ssim(x, 1 - x).max() < 0


def test_ssim_is_wangs_with_scipys_gaussian_windows() -> None:
    a, b = noise(2, 3, 24, 17), 0.7 * noise(2, 3, 24, 17) + 0.3 * noise(2, 3, 24, 17, seed=1)

    def mean(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5]  # an 11 x 11 window, where it lies inside

    expected = []
    for one, other in zip(a.numpy(), b.numpy(), strict=True):
        channels = []
        for x, y in zip(one, other, strict=True):
            mx, my = mean(x), mean(y)
            vx, vy, c = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
            top = (2 * mx * my + 0.01**2) * (2 * c + 0.03**2)
            channels.append((top / ((mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2))).mean())
        expected.append(np.mean(channels))
    np.testing.assert_allclose(ssim(a, b).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("shape", [(8, 6), (1, 1), (2, 30), (11, 10)])
def test_ssim_of_small_images_has_a_smaller_window(shape: tuple[int, int]) -> None:
    x, y = noise(4, 1, *shape), noise(4, 1, *shape, seed=1)
    torch.testing.assert_close(ssim(x, x), torch.ones(4, dtype=torch.float64))
    assert (ssim(x, y) < 0.99).any()
    assert ssim(x, y).isfinite().all()


def test_errors_of_images_are_those_of_the_whole_split_and_stand_beside_pca() -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=2)
    found = measure(Context(model, dataset), ["reconstruction"])
    again = evaluate(model, batches(dataset, "test", model))
    assert found["mse"].value == pytest.approx(again.mse, rel=1e-6)
    each = -10 * np.log10(
        ((model.reconstruct(dataset.test.x) - dataset.test.x) ** 2 / 255**2).reshape(20, -1).mean(1)
    )
    assert found["psnr"].value == pytest.approx(each.mean(), rel=1e-5)
    assert found["psnr"].stderr == pytest.approx(each.std(ddof=1) / math.sqrt(20), rel=1e-5)
    assert found["explained_variance"] is None
    assert found["ssim"].value < found["ssim"].beside["PCA"] <= 1
    linear = measure(Context(pca.fit(dataset, 2), dataset, prior=False), ["reconstruction"])
    for name in ("mse", "psnr", "ssim"):
        assert linear[name].value == pytest.approx(linear[name].beside["PCA"])
        assert found[name].beside["PCA"] == pytest.approx(linear[name].value)


def test_explained_variance_is_pcas_own_ratio() -> None:
    dataset = correlated()
    found = measure(Context(exact_pca(dataset, 2), dataset, prior=False), ["reconstruction"])
    ratio = PCA(2).fit(dataset.train.x).explained_variance_ratio_.sum()
    assert found["explained_variance"].value == pytest.approx(ratio)
    assert found["explained_variance"].beside == {"PCA": pytest.approx(ratio, rel=1e-5)}
    assert (found["psnr"], found["ssim"]) == (None, None)


def test_what_comes_back_exactly_counts_as_a_hundred_decibels() -> None:
    dataset = image_dataset()
    whole = exact_pca(dataset, 48)
    assert values(whole, dataset, "psnr")["psnr"] == pytest.approx(100)
    with torch.no_grad():
        whole.decoder.output.bias.fill_(float("nan"))
    with pytest.raises(LatlasError, match="reconstructions are not finite"):
        values(whole, dataset, "mse")
