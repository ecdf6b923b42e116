"""The estimators: scikit-learn's own checks, exact truths, and what one does with them."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import latlas
from latlas.errors import LatlasError
from latlas.sklearn import VAE, Autoencoder, VAEOutlierDetector
from latlas.sklearn.parameters import configured

ESTIMATORS = (VAE, Autoencoder, VAEOutlierDetector)
BARE = {"evaluation.groups": [], "evaluation.diagnose": False, "pictures.draw": False}
X = load_digits().data[:200]
IRIS = load_iris().data


def quick(estimator: type = VAE, /, **options: Any) -> Any:
    return estimator(**{"latent": 2, "steps": 4, "hidden": 16, "random_state": 0, **options})


@parametrize_with_checks([VAE(steps=2, hidden=4), VAEOutlierDetector(steps=2, hidden=4)])
def test_scikit_learn_accepts_it(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([VAEOutlierDetector(), Autoencoder(steps=2, hidden=4)])
def test_scikit_learn_accepts_it_trained_to_the_end(estimator: Any, check: Any) -> None:
    """Which the checks of outliers ask for; and what has all but its posterior in common with a VAE."""
    check(estimator)


@pytest.fixture(scope="module")
def vae() -> VAE:
    return quick().fit(X)


class TestTruths:
    def test_a_linear_autoencoder_in_closed_form_is_pca(self) -> None:
        closed = {"training.method": "pca"}
        linear = {"network": "linear", "likelihood": "gaussian", "sigma": 1.0, "settings": closed}
        ours = Autoencoder(2, **linear, early_stopping=False)
        scaler = StandardScaler().fit(IRIS)
        scaled = scaler.transform(IRIS)
        pca = PCA(2).fit(scaled)
        expected = pca.inverse_transform(pca.transform(scaled))
        ours.fit(IRIS)
        back = ours.inverse_transform(ours.transform(IRIS))
        np.testing.assert_allclose(back, scaler.inverse_transform(expected), atol=1e-4)
        error = ((scaled - expected) ** 2).mean(1)
        np.testing.assert_allclose(ours.reconstruction_error(IRIS), error, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(ours.score(IRIS), -error.mean(), rtol=1e-3)

    def test_a_run_folder_holds_the_same_weights(self, tmp_path: Path) -> None:
        settings = {"objective.schedule": "constant", "optimizer.schedule": "constant"}
        options = {"steps": 40, "batch_size": 16, "early_stopping": True, "lr": 0.1, "settings": settings}
        memory = quick(**options).fit(X)
        assert (
            memory.history_["score"].argmax() < len(memory.history_["score"]) - 1
        )  # the last is not the best
        bare = options | {"settings": settings | BARE}
        folder = quick(**bare, run_dir=tmp_path / "run").fit(X, load_digits().target[:200])
        assert (tmp_path / "run" / "report.html").exists()
        saved = latlas.load(tmp_path / "run").state_dict()
        for name, weights in memory.model_.state_dict().items():
            assert torch.equal(weights, saved[name])
            assert torch.equal(weights, folder.model_.state_dict()[name])
        for name, values in memory.history_.items():
            np.testing.assert_array_equal(values, folder.history_[name])
        assert memory.n_iter_ == folder.n_iter_ == 4
        np.testing.assert_array_equal(memory.transform(X), folder.transform(X))
        assert folder.run_.score(split="train", quiet=True).label.nunique() == 10
        with pytest.raises(ValueError, match=r"run_dir = .*exists already"):
            folder.fit(X)

    def test_scores_are_the_runs_own(self, tmp_path: Path) -> None:
        folder = quick(run_dir=tmp_path / "run", settings=BARE, early_stopping=False).fit(X)
        scores = folder.run_.score(split="train", quiet=True)
        np.testing.assert_allclose(folder.score_samples(X), scores.elbo, rtol=1e-4)
        np.testing.assert_allclose(folder.reconstruction_error(X), scores.squared_error, rtol=1e-4)

    def test_a_setback_ends_where_a_run_folder_ends(self, tmp_path: Path) -> None:
        wild = {"lr": 1e25, "steps": 30, "settings": BARE | {"optimizer.clip": None}}
        with pytest.raises(LatlasError, match="setbacks") as memory:
            quick(**wild).fit(X)
        with pytest.raises(LatlasError, match="setbacks") as folder:
            quick(**wild, run_dir=tmp_path / "run").fit(X)
        assert str(memory.value) == str(folder.value)

    @pytest.mark.parametrize("kind", ESTIMATORS)
    def test_neither_batch_nor_order_matters(self, kind: type) -> None:
        fitted, order = quick(kind).fit(X), np.random.default_rng(0).permutation(len(X))
        whole = fitted.score_samples(X)
        np.testing.assert_allclose(fitted.score_samples(X[order]), whole[order], rtol=1e-11)
        single = np.concatenate([fitted.score_samples(X[i : i + 1]) for i in range(10)])
        np.testing.assert_allclose(single, whole[:10], rtol=1e-11)
        np.testing.assert_allclose(fitted.score(X), whole.mean(), rtol=1e-12)


class TestData:
    @pytest.mark.parametrize(
        "change", [lambda x: x, lambda x: 1000 * x - 5, StandardScaler().fit(IRIS).transform]
    )
    def test_a_scale_of_columns_changes_nothing(self, change: Any) -> None:
        fitted, other = quick().fit(IRIS), quick().fit(change(IRIS))
        np.testing.assert_allclose(other.transform(change(IRIS)), fitted.transform(IRIS), atol=1e-3)
        back = other.inverse_transform(other.transform(change(IRIS)))
        np.testing.assert_allclose(
            back, change(fitted.inverse_transform(fitted.transform(IRIS))), rtol=1e-2, atol=1
        )

    def test_what_never_varies_comes_back(self) -> None:
        x = np.column_stack([IRIS, np.full(len(IRIS), 0.1)])
        fitted = quick(steps=30, lr=0.02).fit(x)
        np.testing.assert_allclose(fitted.inverse_transform(fitted.transform(x))[:, -1], 0.1, atol=0.2)
        assert fitted.score_samples(x[:1] + np.array([0, 0, 0, 0, 5]))[0] < fitted.score_samples(x[:1])[0]
        assert any("never vary" in note for note in fitted.notes_)

    def test_the_values_say_how_they_are_scaled(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (40, 64)).astype(float)
        cases = ((IRIS, "table"), ((IRIS > 2).astype(float), "vector"), (pixels, "vector"))
        assert [quick().fit(x).model_.item.kind for x, _ in cases] == [kind for _, kind in cases]
        unit = MinMaxScaler().fit_transform(IRIS)
        assert quick().fit(unit).model_.item.kind == "table"
        vector = quick(kind="vector").fit(unit)
        assert vector.model_.item.scaling.kind == "none"
        with pytest.raises(ValueError, match=r"inside \[0, 1\]"):
            vector.transform(unit + 1)
        assert quick(kind="table").fit(pixels).model_.item.kind == "table"

    @pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (1, 8, 8), [8, 8]])
    def test_rows_are_images(self, shape: Any) -> None:
        fitted = quick(network="conv", image_shape=shape).fit(X)
        assert fitted.model_.item.shape == (1, 8, 8)
        assert fitted.inverse_transform(fitted.transform(X[:3])).shape == (3, 64)
        assert fitted.sample(2, random_state=0).shape == (2, 64)

    def test_channels_may_stand_first_or_last(self) -> None:
        images = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8)).astype(np.uint8)
        first = quick(image_shape=(3, 8, 8)).fit(images.reshape(20, -1))
        last = quick(image_shape=(8, 8, 3)).fit(images.transpose(0, 2, 3, 1).reshape(20, -1))
        codes = first.transform(images.reshape(20, -1))
        np.testing.assert_array_equal(last.transform(images.transpose(0, 2, 3, 1).reshape(20, -1)), codes)
        back = last.inverse_transform(codes).reshape(20, 8, 8, 3).transpose(0, 3, 1, 2).reshape(20, -1)
        np.testing.assert_array_equal(first.inverse_transform(codes), back)
        assert first.model_.item.scaling.kind == "integer"
        floats = quick(image_shape=(3, 8, 8)).fit(images.reshape(20, -1).astype(float))
        np.testing.assert_array_equal(floats.transform(images.reshape(20, -1)), codes)

    def test_images_are_trained_for_as_long_as_their_network_gains(self) -> None:
        images = np.random.default_rng(0).integers(0, 256, (20, 192)).astype(np.uint8)
        options = {"image_shape": (8, 8, 3), "steps": None, "early_stopping": False}
        assert quick(**options).fit(images).n_iter_ == 16
        assert quick(**options, network="mlp").fit(images).n_iter_ == 200

    def test_single_precision_stays(self, vae: VAE) -> None:
        for dtype, expected in ((np.float32, np.float32), (np.float64, np.float64), (np.int32, np.float64)):
            codes = vae.transform(X.astype(dtype))
            assert codes.dtype == vae.inverse_transform(codes).dtype == expected

    def test_sparse_rows_are_refused_by_scikit_learns_words(self) -> None:
        from scipy.sparse import csr_array

        with pytest.raises(TypeError, match=r"[Ss]parse"):
            quick().fit(csr_array(X))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"latent": 0}, "latent = 0"),
    ({"latent": 2.5}, "latent = 2.5"),
    ({"latent": True}, "latent = True"),
    ({"hidden": (8, -1)}, "hidden"),
    ({"network": "transformer"}, "network = 'transformer'"),
    ({"network": "conv"}, "conv"),
    ({"likelihood": "poisson"}, "likelihood = 'poisson'"),
    ({"likelihood": "bernoulli"}, "bernoulli"),
    ({"sigma": -1.0}, "sigma = -1"),
    ({"beta": -0.5}, "beta = -0.5"),
    ({"beta": "1"}, "beta = '1'"),
    ({"steps": 0}, "steps = 0"),
    ({"batch_size": 0}, "batch_size = 0"),
    ({"lr": 0.0}, "lr = 0"),
    ({"validation_fraction": 1.0}, "validation_fraction = 1"),
    ({"early_stopping": "yes"}, "early_stopping = 'yes'"),
    ({"kind": "image"}, "kind = image"),
    ({"image_shape": (8, 9)}, r"image_shape = .* 72 values, and X has 64 columns"),
    ({"image_shape": 8}, "image_shape = 8: expected"),
    ({"image_shape": (8, 8), "kind": "table"}, "kind = table"),
    ({"settings": {"model.latnt": 3}}, "did you mean latent"),
    ({"settings": {"model.latent": 3}}, "the parameter latent"),
    ({"settings": {"seed": 3}}, "the parameter random_state"),
    ({"settings": [1]}, "settings: expected keys"),
    ({"device": "tpu"}, "device = 'tpu'"),
    ({"n_jobs": 0}, "n_jobs"),
]


class TestParameters:
    @pytest.mark.parametrize(("options", "message"), WRONG, ids=lambda v: str(v)[:40])
    def test_a_wrong_one_is_named(self, options: dict[str, Any], message: str, tmp_path: Path) -> None:
        estimator = quick(**options, run_dir=tmp_path / "run")
        with pytest.raises(ValueError, match=message) as error:
            estimator.fit(X)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "run").exists()

    def test_numbers_of_numpy_are_numbers(self) -> None:
        options = {
            "latent": np.int64(3),
            "lr": np.float32(0.01),
            "hidden": np.array([8, 8]),
            "steps": np.int32(2),
        }
        estimator = quick(**options).fit(X)
        assert estimator.transform(X).shape == (200, 3)
        assert all(getattr(estimator, name) is value for name, value in options.items())

    def test_random_states(self) -> None:
        codes = [quick(random_state=s).fit_transform(IRIS) for s in (7, 7, 8, np.random.RandomState(7))]
        np.testing.assert_array_equal(codes[0], codes[1])
        assert abs(codes[0] - codes[2]).max() > 1e-3
        state = np.random.RandomState(7)
        np.testing.assert_array_equal(quick(random_state=state).fit_transform(IRIS), codes[3])
        assert abs(quick(random_state=state).fit_transform(IRIS) - codes[3]).max() > 1e-3  # it moves on
        assert abs(quick(random_state=None).fit_transform(IRIS) - codes[0]).max() > 1e-3

    def test_another_fit_starts_anew_unless_meant(self, tmp_path: Path) -> None:
        fitted = quick(lr=0.01).fit(IRIS)
        first = fitted.transform(IRIS)
        np.testing.assert_array_equal(fitted.fit(IRIS).transform(IRIS), first)
        fitted.set_params(warm_start=True, lr=1e-12).fit(IRIS)
        np.testing.assert_allclose(fitted.transform(IRIS), first, atol=1e-6)
        with pytest.raises(ValueError, match="3 features, but VAE is expecting 4"):
            fitted.fit(IRIS[:, :3])
        with pytest.raises(ValueError, match="warm_start: the weights of the fit before do not fit"):
            fitted.set_params(latent=3).fit(IRIS)
        with pytest.raises(ValueError, match=r"warm_start = True: .* had no run_dir"):
            fitted.set_params(latent=2, run_dir=tmp_path / "run").fit(IRIS)
        np.testing.assert_allclose(fitted.transform(IRIS), first, atol=1e-6)

    def test_a_warm_start_goes_from_run_to_run(self, tmp_path: Path) -> None:
        fitted = quick(run_dir=tmp_path / "one", settings=BARE).fit(IRIS)
        before = fitted.transform(IRIS)
        fitted.set_params(run_dir=tmp_path / "two", warm_start=True, lr=1e-12).fit(IRIS)
        np.testing.assert_allclose(fitted.transform(IRIS), before, atol=1e-6)
        assert fitted.run_.info["start"]["run"] == str(tmp_path / "one")

    def test_small_data_get_few_steps_and_large_ones_validation(self) -> None:
        given = VAE().get_params(deep=False)
        few, many = (configured(given, "vae", n, "table") for n in (12, 100_000))
        assert (few.training.epochs, few.training.batch_size, few.data.validation) == (200, 32, 0.0)
        assert (many.training.epochs, many.training.batch_size, many.data.validation) == (7, 128, 0.1)
        assert (few.training.patience, many.training.patience) == (None, "clearly-worse")
        rows = np.random.default_rng(0).normal(size=(300, 3))
        notes = " ".join(quick(early_stopping="auto").fit(rows).notes_)
        assert "validation: 30 training items held out" in notes
        assert "validation: none" in " ".join(quick().fit(rows[:90]).notes_)


class TestKeeping:
    def test_weights_survive_and_bytes_are_few(self, vae: VAE, tmp_path: Path) -> None:
        content = pickle.dumps(vae)
        weights = sum(w.nbytes for w in vae.model_.state_dict().values())
        assert len(content) < weights + 10_000
        joblib.dump(vae, tmp_path / "vae.joblib")
        copies = [pickle.loads(content), joblib.load(tmp_path / "vae.joblib", mmap_mode="r")]
        for copy in copies:
            np.testing.assert_array_equal(copy.transform(X), vae.transform(X))
            np.testing.assert_array_equal(copy.score_samples(X), vae.score_samples(X))
            np.testing.assert_array_equal(copy.sample(3, random_state=1), vae.sample(3, random_state=1))
        assert joblib.hash(copies[0]) == joblib.hash(vae)

    def test_data_of_a_run_are_not_pickled(self, tmp_path: Path) -> None:
        fitted = quick(run_dir=tmp_path / "run", settings=BARE).fit(np.tile(X, (5, 1)))
        assert len(pickle.dumps(fitted)) < 50_000
        assert pickle.loads(pickle.dumps(fitted)).run_ == fitted.run_

    def test_a_clone_is_unfitted(self, vae: VAE) -> None:
        assert clone(vae).get_params() == vae.get_params()
        assert not hasattr(clone(vae), "n_iter_")

    def test_nothing_global_changes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)

        def state() -> tuple[Any, ...]:
            numpy = np.random.get_state()  # noqa: NPY002
            filters = list(warnings.filters)
            return torch.get_rng_state().tolist(), numpy[1].tolist(), torch.get_num_threads(), filters  # type: ignore[index]

        before = state()
        fitted = quick(n_jobs=2).fit(X)
        fitted.transform(X)
        fitted.sample(2, random_state=3)
        fitted.score(X)
        assert state() == before
        assert list(tmp_path.iterdir()) == []
        assert capfd.readouterr() == ("", "")

    def test_verbose_says_what_was_decided(self, capfd: pytest.CaptureFixture[str]) -> None:
        quick(verbose=1).fit(X)
        assert "standardised" in capfd.readouterr().err


class TestTogether:
    def test_names_and_frames(self) -> None:
        pytest.importorskip("polars")
        frame = pd.DataFrame(IRIS, columns=[f"c{i}" for i in range(4)], index=np.arange(150) + 7)
        fitted = quick().fit(frame)
        assert fitted.get_feature_names_out().tolist() == ["vae0", "vae1"]
        assert quick(Autoencoder).fit(frame).get_feature_names_out().tolist() == [
            "autoencoder0",
            "autoencoder1",
        ]
        plain = fitted.transform(frame)
        pandas = fitted.set_output(transform="pandas").transform(frame)
        assert pandas.columns.tolist() == ["vae0", "vae1"]
        assert pandas.index.equals(frame.index)
        polars = fitted.set_output(transform="polars").transform(frame)
        assert polars.columns == ["vae0", "vae1"]
        np.testing.assert_array_equal(polars.to_numpy(), plain)
        np.testing.assert_array_equal(fitted.inverse_transform(pandas), fitted.inverse_transform(plain))
        import polars as pl

        np.testing.assert_array_equal(quick().fit(pl.DataFrame(frame)).transform(pl.DataFrame(frame)), plain)
        with pytest.raises(ValueError, match="feature names"):
            fitted.transform(frame.rename(columns={"c0": "other"}))

    def test_pipelines_searches_and_unions(self) -> None:
        y = load_digits().target[:200]
        search = GridSearchCV(quick(), {"latent": [1, 2], "beta": [0.5, 1.0]}, cv=2, error_score="raise").fit(
            X
        )
        assert search.best_params_["latent"] in (1, 2)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        pipeline = make_pipeline(StandardScaler(), quick(), LogisticRegression())
        scores = cross_val_score(pipeline, X, y, cv=2, error_score="raise")
        assert (scores > 0.1).all()
        union = FeatureUnion([("vae", quick()), ("pca", PCA(3))]).fit(X)
        assert union.transform(X).shape == (200, 5)
        assert union.get_feature_names_out()[:2].tolist() == ["vae__vae0", "vae__vae1"]
        columns = ColumnTransformer([("codes", quick(Autoencoder), [0, 1, 2])], remainder="passthrough")
        assert columns.fit_transform(IRIS).shape == (150, 3)
        assert columns.get_feature_names_out().tolist() == [
            "codes__autoencoder0",
            "codes__autoencoder1",
            "remainder__x3",
        ]

    @pytest.mark.slow
    @pytest.mark.parametrize("backend", ["loky", "threading"])
    def test_workers_find_the_same(self, backend: str) -> None:
        alone = cross_val_score(quick(), X, cv=3)
        with joblib.parallel_backend(backend, n_jobs=2):
            np.testing.assert_allclose(cross_val_score(quick(), X, cv=3, n_jobs=2), alone, rtol=1e-5)

    def test_samples_belong_to_a_prior(self, vae: VAE) -> None:
        np.testing.assert_array_equal(vae.sample(4, random_state=5), vae.sample(4, 5))
        assert abs(vae.sample(4, random_state=5) - vae.sample(4, random_state=6)).max() > 0
        assert abs(vae.sample(4, 5, noise=True) - vae.sample(4, 5)).max() > 0
        assert vae.sample().shape == (1, 64)
        assert not hasattr(Autoencoder(), "sample")
        with pytest.raises(ValueError, match="at least 1"):
            vae.sample(0)


class TestOutliers:
    def test_planted_ones_are_found(self) -> None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(300, 6))
        x[:6] = 12 * rng.choice([-1, 1], size=(6, 6))
        for by in ("elbo", "squared_error"):
            detector = quick(VAEOutlierDetector, steps=50, lr=0.02, by=by).fit(x)
            assert (detector.predict(x[:6]) == -1).all()
            assert (detector.predict(x[6:]) == 1).mean() > 0.85
            below = np.sort(detector.score_samples(x))
            low, high = np.percentile(below, [25, 75])
            assert detector.offset_ == pytest.approx(low - 1.5 * (high - low))
            np.testing.assert_allclose(
                detector.decision_function(x), detector.score_samples(x) - detector.offset_
            )

    def test_contamination_is_the_share_of_outliers(self) -> None:
        assert (quick(VAEOutlierDetector, contamination=0.1).fit_predict(X) == -1).sum() == 20

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"contamination": 0.6}, "contamination = 0.6"), ({"contamination": "some"}, "contamination = 'some'"),
         ({"by": "latent"}, "by = latent: expected one of elbo")],
    )  # fmt: skip
    def test_wrong_parameters_are_named(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            quick(VAEOutlierDetector, **options).fit(X)
