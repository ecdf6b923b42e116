"""PCA as a model: the closed form against scikit-learn's, and a run made of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import batches, image_dataset, images, made, split, table_dataset
from sklearn.decomposition import PCA

from latlas import cli, experiment, pca, runs
from latlas.config import override, recipe
from latlas.data import Dataset, Scaling
from latlas.errors import InputError
from latlas.metrics.elbo import evaluate
from latlas.models import Model


def rows(dataset: Dataset) -> np.ndarray:
    """The training split on the model's scale, as the model flattens it (N, D)."""
    x = dataset.scaling.apply(dataset.train.x.astype(float))
    return (x.transpose(0, 3, 1, 2) if x.ndim == 4 else x).reshape(len(x), -1).astype(float)


def exact(dataset: Dataset, latent: int) -> Model:
    """PCA in float64."""
    settings = {"network__name": "linear", "posterior__name": "point", "objective__name": "reconstruction"}
    settings |= {"likelihood__name": "gaussian", "likelihood__sigma": 0.5, "likelihood__output": "identity"}
    _, model = made(dataset, **settings, training__precision="float64", model__latent=latent)
    pca.solve(model, dataset)
    return model


def vectors() -> Dataset:
    rng = np.random.default_rng(1)
    x = rng.random((90, 12)) ** 3 @ rng.random((12, 12)) / 12
    return Dataset("v", "v", "vector", (12,), False, Scaling(), *(split(x.astype(np.float64)),) * 3)


def table() -> Dataset:
    rng = np.random.default_rng(0)
    return table_dataset(rng.normal(size=(150, 7)) @ rng.normal(size=(7, 7)) * [1, 5, 9, 0.1, 2, 2, 3] + 4)


DATA = {
    "grey": image_dataset(120),
    "rgb": image_dataset(40, height=5, width=9, channels=3),
    "vectors": vectors(),
    "table": table(),
}


@pytest.fixture(params=DATA.values(), ids=DATA.keys())
def dataset(request: pytest.FixtureRequest) -> Dataset:
    return request.param


@pytest.mark.parametrize("latent", [1, 3, 6])
def test_the_error_is_scikit_learns_and_the_tail_of_the_eigenvalues(dataset: Dataset, latent: int) -> None:
    x, model = rows(dataset), exact(dataset, latent)
    theirs = PCA(latent, svd_solver="full").fit(x)
    error = np.square(x - theirs.inverse_transform(theirs.transform(x))).mean()
    spectrum = np.linalg.eigvalsh(np.cov(x.T, bias=True))
    ours = model.reconstruct(model.to_tensor(dataset.train.x.astype(float)), units="model")
    mse = np.square(x - ours.reshape(len(x), -1).numpy()).mean()
    assert mse == pytest.approx(error, rel=1e-6, abs=1e-12)
    assert mse == pytest.approx(spectrum[:-latent].sum() / x.shape[1], rel=1e-6, abs=1e-12)


def test_the_decoder_spans_the_principal_subspace_and_codes_are_its_coordinates(dataset: Dataset) -> None:
    x, model = rows(dataset), exact(dataset, 2)
    theirs = PCA(2, svd_solver="full").fit(x)
    axes = model.decoder.output.weight.detach().numpy().T
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(axes.T @ axes, theirs.components_.T @ theirs.components_, atol=1e-7)
    np.testing.assert_allclose(model.decoder.output.bias.detach().numpy(), x.mean(0), atol=1e-9)
    assert (axes[np.arange(2), np.abs(axes).argmax(1)] > 0).all()
    codes = model.encode(np.asarray(dataset.train.x))
    np.testing.assert_allclose(codes, (x - x.mean(0)) @ axes.T, atol=1e-6)
    covariance = np.cov(codes.T, bias=True)
    assert abs(covariance[0, 1]) < 1e-6 * covariance[0, 0]
    np.testing.assert_allclose(
        np.diag(covariance), theirs.explained_variance_ * (len(x) - 1) / len(x), rtol=1e-5
    )


def test_large_items_take_another_way_to_the_same_components(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = image_dataset(100, height=12, width=10, channels=3)
    whole = exact(dataset, 4).state_dict()
    monkeypatch.setattr(pca, "LARGEST_COVARIANCE", 100)
    monkeypatch.setattr(pca, "CHUNK_VALUES", 360 * 17)
    again = exact(dataset, 4).state_dict()
    for name, tensor in whole.items():
        np.testing.assert_allclose(again[name].numpy(), tensor.numpy(), atol=1e-4, err_msg=name)


def test_reading_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = exact(DATA["grey"], 3).state_dict()
    monkeypatch.setattr(pca, "CHUNK_VALUES", 48 * 7)
    for name, tensor in exact(DATA["grey"], 3).state_dict().items():
        np.testing.assert_allclose(tensor.numpy(), whole[name].numpy(), atol=1e-9)


def test_as_many_components_as_values_lose_nothing_and_more_are_refused() -> None:
    model = pca.fit(DATA["table"], 7)
    x = DATA["table"].train.x
    np.testing.assert_allclose(model.reconstruct(x), x, atol=1e-4)
    with pytest.raises(InputError, match=r"model.latent = 8: PCA of 150 rows of 7 values has at most 7"):
        pca.fit(DATA["table"], 8)
    with pytest.raises(InputError, match="at most 32"):
        pca.fit(DATA["rgb"], 33)


def test_no_linear_autoencoder_is_better(dataset: Dataset) -> None:
    """Moving any weight raises the error: the closed form is a minimum."""
    model = exact(dataset, 2)
    best = evaluate(model, batches(dataset, "train", model)).mse
    for parameter in model.parameters():
        kept = parameter.detach().clone()
        for sign in (-1, 1):
            parameter.data = kept + sign * 0.02 * kept.abs().max()
            assert evaluate(model, batches(dataset, "train", model)).mse > best
        parameter.data = kept


@pytest.mark.parametrize(
    "settings",
    [
        {"likelihood.output": "sigmoid"}, {"likelihood.sigma": "learned"}, {"likelihood.name": "bernoulli"},
        {"corruption.name": "masking"}, {"model.latent": 49},
    ],
)  # fmt: skip
def test_what_has_no_closed_form_is_refused_before_a_folder_is_made(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    np.save(tmp_path / "x.npy", images(80))
    changes = {"data.source": str(tmp_path / "x.npy"), "model.latent": 2} | settings
    with pytest.raises(InputError):
        experiment.train(override(recipe("pca"), changes, "test"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_the_recipe_is_whole_and_everything_works_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "x.npz", x=images(120), y=np.arange(120) % 3)
    run = tmp_path / "run"
    call = ["train", tmp_path / "x.npz", "--recipe", "pca", "--latent", "2", "--out", run, "-q", "--json"]
    call += ["--set", "pictures.grid=[4, 4]"]
    assert cli.run([str(a) for a in call]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["steps"], printed["latent"], printed["test"]["elbo"]) == (0, 2, None)
    assert printed["training_seconds"] > 0
    assert {p.stem for p in (run / "figures").iterdir()} == {"latent", "manifold", "morph", "reconstructions"}
    assert (run / "report.html").exists()
    assert (run / "log.jsonl").read_text() == ""
    found = runs.find(run)
    dataset = runs.dataset_of(found)
    fitted = pca.fit(dataset, 2)
    for name, tensor in found.model().state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), fitted.state_dict()[name].numpy(), err_msg=name)
    for command in (
        "evaluate RUN",
        "encode RUN",
        "reconstruct RUN",
        "morph RUN --from 0 --to 3",
        "report RUN",
    ):
        words = [str(run) if word == "RUN" else word for word in command.split()]
        assert cli.run([*words, "-q"]) == 0, command
    assert cli.run(["decode", str(run), str(run / "codes.npz")]) == 0
    capsys.readouterr()
    assert cli.run(["animate", str(run)]) == 2
    assert "no snapshots" in capsys.readouterr().err


def test_killed_before_its_end_it_starts_again(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images(80))
    changes = {"data.source": str(tmp_path / "x.npy"), "model.latent": 2, "pictures.draw": False}
    run = experiment.train(override(recipe("pca"), changes, "test"), tmp_path / "run")
    weights = (run.path / "model.safetensors").read_bytes()
    for name in ("metrics.json", "model.safetensors", "checkpoints/end.json"):
        (run.path / name).unlink()
    again = experiment.resume(run.path)
    assert again.finished
    assert (run.path / "model.safetensors").read_bytes() == weights
    assert (again.metrics["steps"], again.metrics["best_step"]) == (0, 0)
