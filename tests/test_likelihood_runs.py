"""Every likelihood from the command line to its report: what it says of itself arrives where numbers are used."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import latlas
from latlas import cli, compare
from latlas.likelihoods import LIKELIHOODS
from latlas.metrics import display
from latlas.runs import Run

SMALL = ["network.hidden=[16]", "pictures.draw=false", "evaluation.diagnose=true", "evaluation.items=20",
         "evaluation.draws=4", 'evaluation.groups=["likelihood"]']  # fmt: skip
SOURCES = {
    "bernoulli": ["digits"],
    "continuous-bernoulli": ["digits", "fashion-mini"],
    "discretised-logistic": ["fashion-mini"],
    "gaussian": ["digits"],
    "laplace": ["digits", "fashion-mini", "rows"],
}
DENSITIES = {name for name, each in LIKELIHOODS.items() if each.scale == "density"}


def train(folder: Path, source: str, name: str, *more: str) -> Run:
    out = folder / f"{Path(source).stem}-{name}"
    arguments = [
        "train",
        source,
        "--out",
        str(out),
        "--latent",
        "2",
        "--steps",
        "12",
        "--limit",
        "150",
        "--quiet",
    ]
    for setting in (*SMALL, f"likelihood.name={name}", *more):
        arguments += ["--set", setting]
    assert cli.run(arguments) == 0
    return Run(out)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Run]:
    """Hardly trained runs of every likelihood on each of its sources."""
    folder = tmp_path_factory.mktemp("likelihoods")
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(150, 2)) @ [[1, 2, 0, 1], [0, 1, 3, 1]] + 0.3 * rng.normal(size=(150, 4))
    (folder / "rows.csv").write_text("\n".join(["a,b,c,d", *(",".join(map(str, row)) for row in rows)]))
    where = {"rows": str(folder / "rows.csv")}
    return {(name, source): train(folder, where.get(source, source), name)
            for name, sources in SOURCES.items() for source in sources}  # fmt: skip


def test_every_likelihood_has_its_runs() -> None:
    assert set(SOURCES) == set(LIKELIHOODS)


def test_runs_are_measured_diagnosed_and_reported(
    runs: dict[tuple[str, str], Run], capsys: pytest.CaptureFixture[str]
) -> None:
    for (name, source), run in runs.items():
        metrics = run.metrics
        assert metrics["normalised"] == (name != "bernoulli")
        assert math.isfinite(metrics["splits"]["test"]["elbo"])
        assert math.isfinite(metrics["numbers"]["log_px"]["value"])
        assert ("probabilistic PCA" in metrics["numbers"]["log_px"]["beside"]) == (name in DENSITIES)
        assert ("bits_per_dim" in metrics["numbers"]) == (source == "fashion-mini")
        names = {finding["name"] for finding in metrics["findings"]}
        assert not names & {"diverged", "density-on-binary"}
        assert name == "bernoulli" or "bernoulli-on-grey" not in names
        html = (run.path / "report.html").read_text(encoding="utf-8")
        assert ("not a normalised likelihood" in html) == (name == "bernoulli")
        capsys.readouterr()
        assert cli.run(["diagnose", str(run.path), "--json", "--quiet"]) == 0
        assert {f["name"] for f in json.loads(capsys.readouterr().out)["findings"]} == names


def test_runs_are_loaded_as_they_were_and_draw_noise(runs: dict[tuple[str, str], Run]) -> None:
    for run in runs.values():
        model = latlas.load(run.path)
        noisy, x = model.sample(5, noise=True), model.sample(5)
        assert np.isfinite(noisy).all()
        assert model.reconstruct(x).shape == x.shape == noisy.shape


def test_bits_of_a_probability_are_its_own_and_stand_beside_pca(runs: dict[tuple[str, str], Run]) -> None:
    numbers = runs["discretised-logistic", "fashion-mini"].metrics["numbers"]
    bits, log_px = numbers["bits_per_dim"], numbers["log_px"]["value"]
    assert bits["value"] == pytest.approx(-log_px / (784 * math.log(2)))
    of_density = runs["continuous-bernoulli", "fashion-mini"].metrics["numbers"]["bits_per_dim"]
    assert bits["beside"] == pytest.approx(of_density["beside"])
    assert set(bits["beside"]) == {"probabilistic PCA"}


def test_data_that_are_no_bytes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    setting = "likelihood.name=discretised-logistic"
    assert cli.run(["train", "digits", "--out", out, "--quiet", "--set", setting]) == 2
    assert "a probability of 8-bit integers, and these data are real numbers" in capsys.readouterr().err
    assert not Path(out).exists()


def test_exactly_the_densities_rank(runs: dict[tuple[str, str], Run]) -> None:
    one = {name: [run] for (name, source), run in runs.items() if source == "digits"}
    found = compare.gather(one, pca=False, pictures=False)
    groups = {frozenset(entry.name for entry in group) for group in found.groups("elbo")}
    assert groups == {frozenset(DENSITIES), frozenset({"bernoulli"})}
    assert len(found.groups("mse")) == 1
    (reason,) = found.reasons
    assert "bernoulli (Bernoulli on grey values, a cross-entropy" in reason
    for name in DENSITIES:
        assert LIKELIHOODS[name].title in reason


@pytest.mark.parametrize(
    ("numbers", "explained"),
    [
        ({"elbo": 1.0, "distortion": -2.0}, True),
        ({"elbo": -1.0, "distortion": -0.5}, True),
        ({"elbo": -1.0, "distortion": 0.5, "log_px": 0.1}, True),
        ({"elbo": None, "distortion": -3.0}, True),
        ({"elbo": -1.0, "distortion": 0.5, "rate": 0.5, "mse": 0.1}, False),
        ({"elbo": None, "distortion": 3.0}, False),
        ({}, False),
    ],
)
def test_a_positive_log_density_is_explained(numbers: dict[str, float | None], explained: bool) -> None:
    assert display.on_sign(numbers) == (display.OF_DENSITY if explained else "")


def test_a_positive_log_density_is_explained_where_it_first_appears(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table on one line has a density far above 1."""
    x = np.random.default_rng(0).normal(size=(400, 1)) @ np.ones((1, 10))
    np.save(tmp_path / "x.npy", x + 0.01 * np.random.default_rng(1).normal(size=x.shape))
    sentence = "The likelihood is a density, which can exceed 1 where a probability cannot"
    settings = {"pictures.draw": False, "network.name": "linear", "likelihood.sigma": 0.1}
    run = latlas.train(
        tmp_path / "x.npy",
        out=tmp_path / "run",
        latent=1,
        epochs=15,
        lr=0.03,
        batch_size=16,
        settings=settings,
    )
    assert run.metrics["splits"]["test"]["distortion"] < 0
    assert capsys.readouterr().err.replace("\n", " ").count(sentence) == 1
    assert sentence in (run.path / "report.html").read_text()
    assert cli.run(["evaluate", str(run.path), "--measure", "none", "--quiet"]) == 0
    assert sentence in capsys.readouterr().out
    comparison = latlas.compare_runs([run], pca=False, quiet=True)
    assert any(sentence in note for note in comparison.notes)
