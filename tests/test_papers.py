"""The published results: a few steps of every experiment, its closed forms, and a page that is what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def write_idx(path: Path, x: np.ndarray) -> None:
    head = b"\0\0\x08" + bytes([x.ndim]) + b"".join(n.to_bytes(4, "big") for n in x.shape)
    path.write_bytes(head + x.astype(np.uint8).tobytes())


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for MNIST, Fashion-MNIST and the static MNIST, of the real shapes, under LATLAS_DATA."""
    home, rng = tmp_path / "data", np.random.default_rng(0)
    for folder in ("MNIST", "FashionMNIST"):
        raw = home / folder / "raw"
        raw.mkdir(parents=True)
        for part, count in (("train", 60_000), ("t10k", 10_000)):
            pixels = np.zeros((count, 28, 28), np.uint8)
            pixels[:, 4:24, 4:24] = rng.integers(0, 256, (20, 20), np.uint8)
            pixels[:, 10, 10] = rng.integers(0, 256, count)
            write_idx(raw / f"{part}-images-idx3-ubyte", pixels)
            write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    (home / "binarized-mnist").mkdir()
    arrays = {
        p: rng.integers(0, 2, (n, 784), np.uint8) for p, n in (("train", 200), ("valid", 40), ("test", 40))
    }
    np.savez(home / "binarized-mnist" / "binarized_mnist.npz", **arrays)
    monkeypatch.setenv("LATLAS_DATA", str(home))
    return home


def smoke(name: str, folder: Path) -> dict[str, Any]:
    from benchmarks.papers.__main__ import main

    given = ["--runs", folder / "runs", "--results", folder / "results", "--device", "cpu", "--steps", 3]
    main([name, *map(str, given), "--limit", "150"])
    found: dict[str, Any] = json.loads((folder / "results" / f"{name}.json").read_text())
    return found


ROWS = {
    "ppca": 9,
    "static-mnist": 4,
    "iwae-order": 5,
    "expost": 9,
    "burda-soon": 4,
    "burda-muon": 4,
    "iwae-soon": 4,
    "iwae-muon": 4,
    "burda-table1": 5,
    "vamp-mnist": 3,
    "vamp-fashion-soon": 2,
    "vamp-fashion-muon": 2,
    "vamp-fashion": 3,
}


def test_the_quick_experiment_takes_a_few_steps(tmp_path: Path) -> None:
    found = smoke("ppca", tmp_path)
    assert len(found["rows"]) == ROWS["ppca"]
    assert set(found["training_seconds"]) == set(found["cpu_seconds"])
    assert all(np.isfinite(row["ours"]) for row in found["rows"])
    before = found["cpu_seconds"]["optimum"]
    again = smoke("ppca", tmp_path)  # finished runs are not trained again, and their time is kept
    assert before <= again["cpu_seconds"]["optimum"] < before + 1
    assert [row["ours"] for row in again["rows"]] == [row["ours"] for row in found["rows"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(ROWS) - {"ppca"}))
def test_every_experiment_takes_a_few_steps(name: str, data: Path, tmp_path: Path) -> None:
    from benchmarks.papers.table import page

    found = smoke(name, tmp_path)
    assert len(found["rows"]) == ROWS[name]
    text = page({name: found})
    assert all(row["what"] in text for row in found["rows"])
    assert str(tmp_path) not in json.dumps(found)
    assert smoke(name, tmp_path)["rows"] == found["rows"]  # runs, and what took long, are found again


def test_every_experiment_has_a_smoke_test() -> None:
    from benchmarks.papers.catalogue import EXPERIMENTS

    assert set(EXPERIMENTS) == set(ROWS)


def test_a_smoke_test_never_overwrites_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.papers.__main__ import main

    with pytest.raises(SystemExit):
        main(["ppca", "--steps", "3", "--runs", str(tmp_path)])
    assert "another --results" in capsys.readouterr().err


def test_the_page_is_what_was_measured() -> None:
    from benchmarks.papers import table

    results = table.read()
    assert results
    assert table.PAGE.read_text(encoding="utf-8") == table.page(results)
    for name, found in results.items():
        assert found["experiment"] == name
        assert "/" not in found["machine"]


def test_the_settings_are_the_published_ones() -> None:
    """What the sources say, held here so that no edit of a file loses it."""
    from latlas import config

    def of(name: str) -> config.Config:
        return config.read(ROOT / "benchmarks" / "papers" / f"{name}.toml")

    burda = of("burda")
    assert burda.network.hidden == (200, 200)
    assert (burda.network.activation, burda.model.latent, burda.training.batch_size) == ("tanh", 50, 20)
    assert (burda.optimizer.lr, burda.optimizer.eps, burda.optimizer.betas) == (1e-3, 1e-4, (0.9, 0.999))
    assert (burda.optimizer.schedule, burda.data.binarise) == ("stages", "dynamic")
    static = of("static-mnist")
    assert (static.network.hidden, static.model.latent, static.network.activation) == (
        (512, 512),
        128,
        "relu",
    )
    assert (static.training.steps, static.training.batch_size, static.optimizer.lr) == (30_000, 128, 1e-3)
    vamp = of("vamp")
    assert (vamp.network.hidden, vamp.model.latent, vamp.network.activation) == ((300, 300), 40, "gated")
    assert (vamp.training.epochs, vamp.training.batch_size, vamp.optimizer.lr) == (2000, 100, 5e-4)
    assert (vamp.training.patience, vamp.prior.components, vamp.objective.warmup) == (50, 500, 100 * 500)


def test_a_gain_is_judged_pair_by_pair() -> None:
    """Parts that differ much from one another say nothing against a gain that all of them show."""
    from benchmarks.papers.experiments import gained

    first = {"parts": [-80.0, -90.0, -100.0, -110.0]}
    second = {"parts": [-79.0, -88.5, -99.5, -109.0]}
    gain, error = gained(first, second)
    assert gain == pytest.approx(1.0)
    assert error == pytest.approx(np.std([1.0, 1.5, 0.5, 1.0], ddof=1) / 2)


def test_the_closed_forms_are_those_of_a_gaussian() -> None:
    """The optimum is the mean log-density of N(0, S) where S has the form that the model can take."""
    from benchmarks.papers import linear

    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    spread = np.array([4.0, 2.0, 0.5, 0.5, 0.5])
    white = rng.normal(size=(400, 5))
    white = (white - white.mean(0)) @ np.linalg.inv(
        np.linalg.cholesky(np.cov(white, rowvar=False, bias=True))
    ).T
    x = white * np.sqrt(spread) @ axes.T
    values = linear.eigenvalues(x)
    assert values == pytest.approx(spread)
    covariance = axes * spread @ axes.T
    quadratic = np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x).mean()
    density = -0.5 * (5 * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + quadratic)
    best, rate, noise = linear.optimum(values, 2)
    assert best == pytest.approx(density)
    assert noise == pytest.approx(0.5)
    assert rate == pytest.approx(0.5 * np.log(8 * 4))
    assert linear.rate_at(values, 2, 0.5) == pytest.approx(rate)
    assert linear.rate_at(values, 2, 3.0) == pytest.approx(0.5 * np.log(4 / 3))
