"""Densities fitted to codes: exact where a formula is known, normalised always, and drawn from in runs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import image_dataset, images, made, table_dataset
from matplotlib.figure import Figure
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from latlas import cli, config, densities, experiment, gallery, inference
from latlas.data import Dataset
from latlas.errors import InputError
from latlas.metrics import Context
from latlas.runs import Run, dataset_of

NAMES = ("factored", "full", "mixture", "flow")


def correlated(n: int = 2000, seed: int = 0) -> np.ndarray:
    """Codes from a Gaussian in three dimensions of very different widths."""
    root = np.array([[2, 0, 0], [1.5, 0.3, 0], [-40, 10, 90]])
    return np.random.default_rng(seed).standard_normal((n, 3)) @ root.T + [1, -20, 300]


def banana(n: int = 2000, seed: int = 0) -> np.ndarray:
    """(a, a^2 + b), a from N(0, 1), b from N(0, 0.3^2): far from any Gaussian, its density known."""
    a, b = np.random.default_rng(seed).standard_normal((2, n))
    return np.stack([a, a**2 + 0.3 * b], 1)


def banana_log_prob(z: np.ndarray) -> np.ndarray:
    return norm.logpdf(z[:, 0]) + norm.logpdf(z[:, 1], z[:, 0] ** 2, 0.3)


@pytest.fixture(scope="module")
def flow() -> densities.Density:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(densities, "FLOW_STEPS", 80)
        return densities.fit("flow", banana())


def test_gaussians_have_the_log_density_of_scipy() -> None:
    codes, points = correlated(), correlated(50, seed=1)
    covariance = np.cov(codes, rowvar=False, bias=True)
    for name, theirs in (("factored", np.diag(np.diag(covariance))), ("full", covariance)):
        mine = densities.fit(name, codes).log_prob(points)
        np.testing.assert_allclose(mine, multivariate_normal(codes.mean(0), theirs).logpdf(points), rtol=1e-9)


def test_a_mixture_has_the_log_density_of_its_gaussians_in_the_codes_own_units() -> None:
    codes = np.concatenate([correlated(500), correlated(500, seed=1) * [1, 2, 0.5] + 30])
    fit = densities.fit("mixture", codes)
    assert isinstance(fit, densities.Mixture)
    map_back = fit.base.axes * fit.base.std
    parts = []
    for weight, part in zip(fit.weights, fit.parts, strict=True):
        root = map_back @ part.axes * part.std
        law = multivariate_normal(fit.base.colour(part.mean[None])[0], root @ root.T)
        parts.append(np.log(weight) + law.logpdf(codes[:40]))
    np.testing.assert_allclose(fit.log_prob(codes[:40]), logsumexp(parts, axis=0), rtol=1e-9)
    assert fit.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["factored", "full"])
def test_samples_have_the_codes_moments(name: str) -> None:
    codes = correlated()
    drawn = densities.fit(name, codes).sample(100_000, seed=3)
    covariance = np.cov(codes, rowvar=False, bias=True)
    wanted = np.diag(np.diag(covariance)) if name == "factored" else covariance
    width = codes.std(0)
    assert (np.abs(drawn.mean(0) - codes.mean(0)) < 5 * width / 100_000**0.5).all()
    assert (np.abs(np.cov(drawn, rowvar=False) - wanted) < 8 * np.outer(width, width) / 100_000**0.5).all()


def test_a_mixture_finds_two_clusters_and_beats_one_gaussian() -> None:
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((4000, 2)) + 6 * rng.choice([-1, 1], (4000, 1))
    train, test = codes[:3000], codes[3000:]
    mixture, full = densities.fit("mixture", train), densities.fit("full", train)
    truth = logsumexp([multivariate_normal(m).logpdf(test) for m in ([6, 6], [-6, -6])], axis=0) - np.log(2)
    assert mixture.what == "a mixture of 2 Gaussians"
    assert mixture.log_prob(test).mean() == pytest.approx(truth.mean(), abs=0.02)
    assert mixture.log_prob(test).mean() > full.log_prob(test).mean() + 0.5
    drawn = mixture.sample(20_000, seed=1)
    assert (drawn.mean(1) > 0).mean() == pytest.approx((train.mean(1) > 0).mean(), abs=0.02)
    assert np.abs(drawn.mean(1)).min() > 1  # none between the two
    assert drawn[drawn[:, 0] > 0].std(0) == pytest.approx([1, 1], abs=0.05)


def test_a_flow_follows_a_banana(flow: densities.Density) -> None:
    test = banana(1000, seed=9)
    full = densities.fit("full", banana()).log_prob(test).mean()
    assert flow.log_prob(test).mean() > full + 0.5
    assert flow.log_prob(test).mean() < banana_log_prob(test).mean() + 0.02  # nothing beats the truth
    drawn = flow.sample(4000, seed=1)
    residual = drawn[:, 1] - drawn[:, 0] ** 2
    assert np.median(np.abs(residual)) < 0.5  # of one Gaussian it is above 1
    np.testing.assert_allclose(drawn.mean(0), [0, 1], atol=0.25)


def test_every_density_integrates_to_one(flow: densities.Density) -> None:
    codes = banana()
    fits = [densities.fit(name, codes) for name in ("factored", "full", "mixture")] + [flow]
    for fit in fits:
        # A grid as wide as the codes' own Gaussian needs; midpoints converge fast for smooth densities.
        x, y = np.linspace(-7, 7, 150), np.linspace(-9, 25, 280)
        grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        mass = np.exp(fit.log_prob(grid)).sum() * (x[1] - x[0]) * (y[1] - y[0])
        assert mass == pytest.approx(1, abs=0.01), fit.what


@pytest.mark.slow
def test_a_whole_flow_comes_near_the_truth_and_repeats() -> None:
    fits = [densities.fit("flow", banana(4000), seed=2) for _ in range(2)]
    test = banana(2000, seed=9)
    assert fits[0].log_prob(test).mean() > banana_log_prob(test).mean() - 0.1
    assert (fits[0].log_prob(test) == fits[1].log_prob(test)).all()


@pytest.mark.parametrize("name", NAMES[:3])
def test_other_units_shift_the_log_density_by_their_size(name: str) -> None:
    codes = banana(500)
    here, there = densities.fit(name, codes), densities.fit(name, codes * [1000, 0.01] + 7)
    np.testing.assert_allclose(
        there.log_prob(codes * [1000, 0.01] + 7), here.log_prob(codes) - np.log(10), atol=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_the_seeds(name: str, flow: densities.Density) -> None:
    fit = flow if name == "flow" else densities.fit(name, banana(300))
    first, again, other = fit.sample(7, seed=1), fit.sample(7, seed=1), fit.sample(7, seed=2)
    assert first.shape == (7, 2)
    assert first.dtype == np.float64
    assert (first == again).all()
    assert not (first == other).any()


@pytest.mark.parametrize("name", NAMES[:3])
def test_a_constant_dimension_is_drawn_at_its_value(name: str) -> None:
    codes = np.concatenate([banana(400), np.full((400, 1), 5.0)], 1)
    fit = densities.fit(name, codes)
    assert np.isfinite(fit.log_prob(codes)).all()
    np.testing.assert_allclose(fit.sample(100)[:, 2], 5, atol=1e-3)


@pytest.mark.parametrize("name", NAMES[:3])
def test_one_latent_dimension_is_enough(name: str) -> None:
    codes = np.random.default_rng(0).standard_normal((400, 1)) * 3
    fit = densities.fit(name, codes)
    assert fit.sample(5).shape == (5, 1)
    assert fit.log_prob(codes).mean() == pytest.approx(norm.logpdf(codes, 0, 3).mean(), abs=0.05)


@pytest.mark.parametrize(
    ("name", "codes", "message"),
    [
        ("gaussian", np.eye(3), "density = gaussian: expected factored, full, mixture, flow"),
        ("factored", np.ones((1, 4)), "1 code without any spread"),
        ("factored", np.ones((9, 4)), "9 equal codes without any spread"),
        ("full", np.random.default_rng(0).normal(size=(5, 8)), "5 codes of 8 dimensions; at least 9 are needed"),
        ("mixture", np.random.default_rng(0).normal(size=(8, 8)), "or use factored"),
        ("flow", np.random.default_rng(0).normal(size=(19, 2)), "19 codes of 2 dimensions; at least 20 are needed"),
        ("full", np.array([[1.0, np.nan], [0, 1]]), "finite real numbers"),
        ("full", np.ones(7), "codes of shape (7,): expected (N, D)"),
        ("full", np.ones((0, 7)), "codes of shape (0, 7)"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused(name: str, codes: np.ndarray, message: str) -> None:
    with pytest.raises(InputError) as error:
        densities.fit(name, codes)
    assert message in str(error.value)


def test_codes_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"codes of shape \(4, 3\): expected \(N, 2\)"):
        densities.fit("full", banana(50)).log_prob(np.ones((4, 3)))


@pytest.fixture
def without_zuko(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zuko", None)


def test_without_zuko_the_remedy_is_named_before_anything_is_trained(
    without_zuko: None, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r'pip install "latlas\[flows\]"'):
        densities.fit("flow", banana(50))
    asked = config.override(config.recipe("ae"), {"pictures.densities": ["flow"]}, "test")
    with pytest.raises(InputError, match="zuko"):
        experiment.train(asked, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


OBJECTIVES = {"point": "reconstruction"}


@pytest.mark.parametrize("posterior", ["point", "gaussian", "full-gaussian", "flow"])
def test_draws_are_of_each_items_posterior(posterior: str) -> None:
    data = image_dataset(60)
    objective = OBJECTIVES.get(posterior, "elbo")
    _, model = made(data, posterior__name=posterior, objective__name=objective, model__latent=3)
    x, q = data.train.x, model.posterior(data.train.x)
    codes = densities.draws(model, x, seed=4)
    assert codes.shape == (len(x), 3)
    assert codes.dtype == np.float64
    assert (codes == densities.draws(model, x, seed=4)).all()
    if posterior == "point":
        np.testing.assert_array_equal(codes, model.encode(x))
        return
    assert not (codes == densities.draws(model, x, seed=5)).any()
    if q.stddev is not None:
        many = np.stack([densities.draws(model, x[:2], seed=s) for s in range(300)])
        error = (many.mean(0) - q.mean[:2].numpy()) / q.stddev[:2].numpy() * 300**0.5
        assert np.abs(error).max() < 4.5
        np.testing.assert_allclose(many.std(0), q.stddev[:2].numpy(), rtol=0.2)


def test_of_many_items_some_are_drawn_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(densities, "MOST_CODES", 5)
    data = image_dataset(60)
    _, model = made(data, posterior__name="point", objective__name="reconstruction", model__latent=2)
    x = data.train.x  # 48 items
    codes, rows = densities.draws(model, x), [0, 12, 24, 35, 47]
    np.testing.assert_allclose(codes, model.encode(x[rows]), atol=1e-6)


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Figures are made but not rendered; their names, titles and captions."""
    made: dict[str, str] = {}

    def keep(figure: Figure, path: Path, caption: str = "") -> Path:
        made[path.stem] = f"{figure.get_label()} {caption}"
        return path

    monkeypatch.setattr(gallery.figures, "save", keep)
    return made


def draw(data: Dataset, **settings: Any) -> None:
    wanted = gallery.Settings(densities=("factored", "full", "mixture"), size=(2, 2), dots=30, **settings)
    gallery.draw(Run(Path("none")), Context(made(data, model__latent=3)[1], data), wanted)


def test_pictures_of_every_density_beside_the_priors(
    unrendered: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said, real = [], gallery.figures.image_grid
    monkeypatch.setattr(gallery.figures, "image_grid", lambda *a, **k: (said.append(a[2]), real(*a, **k))[1])
    data = image_dataset(60)
    draw(data)
    names = ["samples", "samples-factored", "samples-full", "samples-mixture"]
    assert [n for n in unrendered if n.startswith("samples")] == names
    assert "one Gaussian with independent dimensions" in unrendered["samples-factored"]
    assert len({unrendered[n] for n in names}) == 4
    # The number in the picture is that of the density, for test codes.
    _, model = made(data, model__latent=3)
    fit = densities.fit("full", densities.draws(model, data.train.x, 0))
    score = fit.log_prob(densities.draws(model, data.test.x, 1)).mean()
    assert f"{score:.2f} nats per code".replace("-", "−") in said[2]
    assert "48 training items" in said[2]


def test_codes_are_drawn_once_for_all_densities(
    unrendered: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = [], densities.draws
    monkeypatch.setattr(
        densities, "draws", lambda model, x, seed: (calls.append(len(x)), real(model, x, seed))[1]
    )
    draw(image_dataset(60))
    assert calls == [48, 6]


@pytest.mark.parametrize(("table", "left", "names"), [(True, 60, 4), (False, 3, 1)])
def test_tables_have_pictures_too_and_few_codes_no_more_than_they_can_bear(
    unrendered: dict[str, str], table: bool, left: int, names: int
) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4))
    data = table_dataset(x) if table else image_dataset(60)
    draw(replace(data, train=data.train.take(slice(0, left))), prior=table)
    found = [n for n in unrendered if n.startswith("samples")]
    assert len(found) == names
    assert "samples-factored" in found


def test_the_recipe_asks_for_densities_of_an_autoencoder() -> None:
    asked = config.recipe("ae-density")
    assert asked.recipe.ids == ("A6",)
    assert asked.pictures.densities == ("factored", "full", "mixture")
    assert (asked.posterior.name, asked.objective.name) == ("point", "reconstruction")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained autoencoder's run, with its pictures."""
    folder = tmp_path_factory.mktemp("work")
    np.savez(folder / "ramps.npz", x=images(120))
    arguments = ["train", folder / "ramps.npz", "--recipe", "ae-density", "--out", folder / "run", "--latent", 2,
                 "--steps", 15, "-q", "--set", "network.hidden=[16]", "--set", "pictures.grid=[2,2]"]  # fmt: skip
    assert cli.run([str(a) for a in arguments]) == 0
    return folder / "run"


def test_a_run_keeps_its_pictures_and_its_report_shows_them_in_order(run: Path) -> None:
    names = ["samples-factored", "samples-full", "samples-mixture"]
    assert all((run / "figures" / f"{name}.png").exists() for name in names)
    page = (run / "report.html").read_text()
    places = [page.index(f'id="{name}"') for name in ["reconstructions", *names, "latent"]]
    assert places == sorted(places)
    assert "--density mixture" in page


def test_sampling_a_density(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def sample(*arguments: object) -> tuple[int, str, str]:
        code = cli.run(["sample", str(run), *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    results = {}
    for name in ("factored", "full", "mixture"):
        path = tmp_path / f"{name}.npz"
        code, out, _ = sample("--density", name, "-n", 6, "--seed", 2, "--out", path, "--json", "-q")
        assert code == 0
        results[name] = json.loads(out)
        assert results[name]["codes"] == Run(run).info["data"]["train"]
        archive = np.load(path)
        assert archive["samples"].shape == (6, 8, 6, 1)
        assert archive["z"].shape == (6, 2)
    assert results["full"]["test_log_density"] != results["factored"]["test_log_density"]
    first = np.load(tmp_path / "full.npz")["samples"]
    assert sample("--density", "full", "-n", 6, "--seed", 2, "--noise", "--out", tmp_path / "n.npz")[0] == 0
    noisy = np.load(tmp_path / "n.npz")
    np.testing.assert_array_equal(noisy["z"], np.load(tmp_path / "full.npz")["z"])
    assert set(np.unique(noisy["samples"])) <= {0, 255}  # a Bernoulli's draws, in data units
    assert noisy["samples"].mean() == pytest.approx(first.mean(), abs=25)
    assert sample("--density", "factored")[0] == 0
    assert (run / "samples-factored.png").exists()


@pytest.mark.slow
def test_samples_are_judged_by_the_runs_own_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "samples.npz"
    settings = ["--set", "pictures.draw=false"]
    assert (
        cli.run(["train", "digits", "--latent", "2", "--steps", "60", "--out", str(run), "-q", *settings])
        == 0
    )
    capsys.readouterr()
    assert cli.run(["sample", str(run), "--plausible", "--out", str(out), "--json", "-q"]) == 0
    share = json.loads(capsys.readouterr().out)["plausible_share"]
    dataset = dataset_of(Run(run))
    assert share == inference.plausible(Run(run), np.load(out)["samples"])
    real, noise = dataset.scaling.apply(dataset.test.x), np.random.default_rng(0).random((200, 8, 8, 1))
    assert inference.plausible(Run(run), real) > 0.94
    assert inference.plausible(Run(run), noise) < min(share, 0.05)
    assert cli.run(["sample", str(run), "--plausible"]) == 0
    assert f"{share:.1%} plausible: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "",
            "an autoencoder has no prior to sample from; fit a density to its codes: factored, full",
        ),
        ("--density gauss", "--density gauss: expected factored"),
        ("--density full -n 0", "-n 0: at least 1 is needed"),
        ("--density full --seed -1", "--seed -1: expected a whole number"),
        ("--density full --out x.gif", "expected a name ending in .npz or .png"),
        (
            "--density full --plausible",
            "--plausible: ramps, as this run has it, has no classes of images, or too few",
        ),
    ],
)
def test_wrong_samples_are_refused(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    assert cli.run(["sample", str(run), *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err.splitlines()[-1]
