"""log p(x) by importance sampling: exact values where they are known, and the bounds between."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import CPU, batches, image_dataset, made, split, table_dataset

import latlas
from latlas import cli
from latlas.cli.train import summary
from latlas.data import Dataset
from latlas.data.batches import Batches
from latlas.errors import InputError, LatlasError
from latlas.metrics import elbo, importance
from latlas.metrics.display import headline
from latlas.metrics.importance import Importance, log_likelihood
from latlas.models import Model

POINT = {"posterior__name": "point", "objective__name": "reconstruction"}
# p(z) = N(0, 1), p(x | z) = N(z, 1), q = p(z), x = 2: log p(x), and E log of the mean of k weights.
EXACT, BOUNDS = -2.265512, {5: -2.42216, 50: -2.27827}


def linear_model(dataset: Dataset, latent: int, sigma: float = 1.0, **settings: object) -> Model:
    options = {"network__name": "linear", "model__latent": latent, "likelihood__sigma": sigma}
    return made(dataset, **options | {"training__precision": "float64"} | settings)[1]


def set_weights(layer: torch.nn.Module, weight: torch.Tensor, bias: torch.Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def prior_as_posterior(repeats: int) -> tuple[Model, Batches]:
    """The closed case: a row for each repetition, all of them x = 2."""
    dataset = table_dataset(np.full((repeats, 1), 2.0))
    model = linear_model(dataset, 1)
    set_weights(model.encoder[1], torch.zeros(2, 1), torch.zeros(2))
    set_weights(model.decoder.output, torch.ones(1, 1), torch.zeros(1))
    return model, batches(dataset, "test", model)


def weighed(repeats: int, samples: int) -> Importance:
    return log_likelihood(*prior_as_posterior(repeats), samples)


@pytest.mark.parametrize(("samples", "repeats"), [(5, 40_000), (50, 10_000)])
def test_the_closed_case_agrees_with_quadrature(samples: int, repeats: int) -> None:
    result = weighed(repeats, samples)
    assert abs(result.log_px - BOUNDS[samples]) < 4 * result.stderr
    assert result.stderr < 0.005
    assert (result.images, result.samples) == (repeats, samples)


def test_many_draws_reach_log_p_and_one_draw_is_the_elbo() -> None:
    many = weighed(100, 20_000)
    assert many.log_px == pytest.approx(EXACT, abs=0.003)
    elbo = -0.5 * math.log(2 * math.pi) - 0.5 * (2**2 + 1)  # E log N(2; z, 1); the rate is 0
    one = weighed(40_000, 1)
    assert abs(one.log_px - elbo) < 4 * one.stderr
    assert one.log_px == pytest.approx(one.elbo)
    assert one.gap == pytest.approx(0, abs=1e-12)
    assert one.effective == pytest.approx(1)
    assert many.elbo == pytest.approx(elbo, abs=0.01)
    assert many.gap == pytest.approx(EXACT - elbo, abs=0.01)


def test_the_bound_never_falls_with_more_draws() -> None:
    values = [weighed(4000, samples).log_px for samples in (1, 2, 5, 20, 100)]
    assert values == sorted(values)


def exact_model(stretch: float, n: int = 50) -> tuple[Model, Batches, float]:
    """A linear Gaussian model whose columns are orthogonal, hence its posterior N(m, diag) known; its standard
    deviations times `stretch`; the exact mean of log p(x), x ~ N(b, W W^T + sigma^2 I).
    """
    sigma, scales = 0.5, torch.tensor([2.0, 0.7], dtype=torch.float64)
    axes = torch.linalg.qr(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()).Q
    w, b = axes * scales, torch.tensor([1.0, -2.0, 0.0, 3.0], dtype=torch.float64)
    law = torch.distributions.MultivariateNormal(b, w @ w.T + sigma**2 * torch.eye(4, dtype=torch.float64))
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal(b.numpy(), law.covariance_matrix.numpy(), n)
    dataset = table_dataset(x)
    model = linear_model(dataset, 2, sigma)
    variance = sigma**2 / (scales**2 + sigma**2)
    to_mean = (w / (scales**2 + sigma**2)).T
    weight = torch.cat([to_mean, torch.zeros(2, 4)])
    bias = torch.cat([-to_mean @ b, torch.log(variance) + 2 * math.log(stretch)])
    set_weights(model.encoder[1], weight, bias)
    set_weights(model.decoder.output, w, b)
    return model, batches(dataset, "test", model), law.log_prob(torch.from_numpy(x)).mean().item()


@pytest.mark.parametrize("samples", [1, 3, 250])
def test_the_exact_posterior_gives_log_p_with_any_number_of_draws(samples: int) -> None:
    model, data, exact = exact_model(stretch=1)
    result = log_likelihood(model, data, samples)
    assert result.log_px == pytest.approx(exact, abs=1e-9)
    assert result.elbo == pytest.approx(exact, abs=1e-9)
    assert result.effective == pytest.approx(1, abs=1e-9)


def test_another_posterior_converges_to_the_same_and_its_gap_is_the_kl() -> None:
    """KL(N(m, 1.5^2 s^2), N(m, s^2)) is (1.5^2 - 1) / 2 - log 1.5 in each of two dimensions."""
    model, data, exact = exact_model(stretch=1.5)
    result = log_likelihood(model, data, 5000)
    assert result.log_px == pytest.approx(exact, abs=0.004)
    assert result.gap == pytest.approx(2 * ((1.5**2 - 1) / 2 - math.log(1.5)), abs=0.02)
    assert 0.3 < result.effective < 0.9


def test_memory_stays_bounded_whatever_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data, _ = exact_model(stretch=1.5)
    raw, infer, codes, encoded = model.raw, model.infer, [], []

    def decoded(z: torch.Tensor) -> torch.Tensor:
        codes.append(len(z) * z.shape[1])
        return raw(z)

    def counted(x: torch.Tensor) -> object:
        encoded.append(len(x))
        return infer(x)

    monkeypatch.setattr(importance, "LARGEST", 1000)  # 250 codes of a row of four values
    monkeypatch.setattr(model, "raw", decoded)
    monkeypatch.setattr(model, "infer", counted)
    log_likelihood(model, data, 2 * importance.BLOCK + 7)
    assert max(codes) == 250
    assert sum(codes) == 50 * (2 * importance.BLOCK + 7)
    assert encoded == [50]  # once, whatever is drawn


def test_a_seed_repeats_and_progress_is_told() -> None:
    model, data, _ = exact_model(stretch=1.5)
    told: list[tuple[int, int]] = []
    first = log_likelihood(model, data, 10, seed=1, progress=lambda *done: told.append(done))
    assert first == log_likelihood(model, data, 10, seed=1)
    assert first != log_likelihood(model, data, 10, seed=2)
    assert told[-1] == (50, 50)


@pytest.mark.parametrize(
    "settings",
    [
        {"posterior__name": "full-gaussian"},
        {"posterior__name": "flow", "prior__name": "mixture", "prior__components": 3},
        {"prior__name": "vamp", "prior__components": 3},
    ],
)
def test_every_family_has_a_bound_above_its_elbo(settings: dict[str, object]) -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=2, **settings)
    result = log_likelihood(model, batches(dataset, "test", model), 20)
    assert result.gap > 0
    expected = elbo.evaluate(model, batches(dataset, "test", model), samples=200).elbo
    assert result.elbo == pytest.approx(expected, abs=1.0)


def test_a_point_posterior_is_refused_and_so_is_a_diverged_model() -> None:
    dataset = image_dataset()
    _, point = made(dataset, **POINT)
    with pytest.raises(InputError, match=r"posterior.name = point"):
        log_likelihood(point, batches(dataset, "test", point), 5)
    _, model = made(dataset)
    with torch.no_grad():
        model.decoder.output.bias.fill_(float("nan"))
    with pytest.raises(LatlasError, match="diverged"):
        log_likelihood(model, batches(dataset, "test", model), 5)


def test_one_item_has_no_standard_error() -> None:
    dataset = image_dataset()
    _, model = made(dataset)
    one = Batches(split(dataset.test.x[:1]), dataset.scaling, CPU)
    assert log_likelihood(model, one, 5).stderr is None


def test_limited_items_are_spread_over_the_split() -> None:
    items = image_dataset().train
    assert items.evenly(3).index.tolist() == [0, 80, 159]
    assert items.evenly(1000) is items


@pytest.mark.parametrize("named", [False, True])
def test_one_item_that_weighs_more_than_all_noise_is_named(
    tmp_path: Path, named: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The row far out is found, the mean without it is that of all others, and every place says so."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.standard_normal((400, 3)), columns=["a", "b", "c"])
    if named:
        rows["who"] = [f"cell {number}" for number in range(len(rows))]
    rows.to_csv(tmp_path / "plain.csv", index=False)
    settings = {
        "evaluation.groups": [],
        "evaluation.diagnose": False,
        "pictures.draw": False,
        "data.test": 0.25,
    }
    drop = {"drop": "who"} if named else {}
    given = {"latent": 2, "steps": 20, "quiet": True, "settings": settings, **drop}
    run = latlas.train(tmp_path / "plain.csv", out=tmp_path / "plain", **given)
    assert "outlier" not in run.metrics["splits"]["test"]
    frame = latlas.score(run, split="test", quiet=True).frame
    row = int(frame["row"][7])
    rows.loc[row, ["a", "b", "c"]] = 300.0
    rows.to_csv(tmp_path / "far.csv", index=False)
    run = latlas.train(tmp_path / "far.csv", out=tmp_path / "far", **given)
    numbers = run.metrics["splits"]["test"]
    found, frame = numbers["outlier"], latlas.score(run, split="test", quiet=True).frame
    assert (found["row"], found["name"]) == (row, f"cell {row}" if named else None)
    others = frame["elbo"][frame["row"] != row]
    assert len(others) == numbers["images"] - 1
    # Scores take more draws of z than the mean of a split does.
    assert found["elbo"] == pytest.approx(others.mean(), abs=5 * found["stderr"])
    assert found["elbo"] - found["cost"] == pytest.approx(numbers["elbo"])
    assert found["stderr"] < numbers["elbo_stderr"] / 10
    said = f"{f'The row cell {row}' if named else f'Row {row}'} alone costs "
    assert said in headline(run.metrics, run.log())
    assert said in summary(run.path, run.metrics)
    assert said in (run.path / "report.html").read_text()
    assert cli.run(["evaluate", str(run.path), "--measure", "none", "--quiet"]) == 0
    assert said in capsys.readouterr().out


def test_no_item_is_named_of_few_of_equal_ones_or_for_less_than_anyone_reads() -> None:
    def named(values: np.ndarray) -> int | None:
        terms = SimpleNamespace(elbo=torch.from_numpy(values))
        items = SimpleNamespace(index=10 + np.arange(len(values)), names=None)
        found = elbo.outlier(SimpleNamespace(once=lambda _: terms, test=items))  # type: ignore[arg-type]
        return None if found is None else found.row

    rng = np.random.default_rng(0)
    assert not any(named(rng.standard_normal(size)) for size in (1, 2, 3, 5, 20) for _ in range(200))
    assert not any(named(rng.standard_normal(size)) for size in (21, 30, 100) for _ in range(200))
    assert named(np.full(400, -123.456789)) is None
    quiet = -1.0 + 1e-5 * rng.standard_normal(400)
    quiet[7] -= 1.0  # costs .0025 nats of the mean, 5,000 of its standard errors
    assert named(quiet) is None
    quiet[7] -= 10.0
    assert named(quiet) == 17
