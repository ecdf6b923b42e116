"""Which pictures a run gets, with a small model that stands for any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from latlas import gallery
from latlas.data.dataset import Dataset, Kind, Scaling, Split

ALL = {"reconstructions", "samples", "snapshots", "latent", "manifold", "traversals", "morph", "losses"}
LOG = [
    {"kind": "step", "step": s, "distortion": 9 / s, "rate": 1.0, "elbo": -9 / s - 1, "lr": 0.1, "beta": 1.0}
    for s in range(1, 9)
]


class Linear:
    """A linear autoencoder with random orthonormal axes: numpy in and out, as a model is."""

    def __init__(self, data: Dataset, latent: int) -> None:
        x = self._flat(data.train.x, data.scaling)
        self.data, self.latent, self.mean = data, latent, x.mean(0)
        self.axes = np.linalg.svd(x - self.mean, full_matrices=False)[2][:latent]
        self.scale = ((x - self.mean) @ self.axes.T).std(0) + 1e-9
        self.asked: list[tuple[int, int]] = []

    @staticmethod
    def _flat(x: np.ndarray, scaling: Scaling) -> np.ndarray:
        return scaling.apply(x).reshape(len(x), -1).astype(float)

    def encode(self, x: np.ndarray) -> np.ndarray:
        return ((self._flat(x, self.data.scaling) - self.mean) @ self.axes.T / self.scale).astype(np.float32)

    def decode(self, z: np.ndarray) -> np.ndarray:
        assert z.ndim == 2
        out = (self.mean + (z * self.scale) @ self.axes).reshape(len(z), *self.data.train.x.shape[1:])
        return self.data.scaling.invert(out) if self.data.kind == "table" else np.clip(out, 0, 1)

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        self.asked.append((n, seed))
        return self.decode(np.random.default_rng(seed).standard_normal((n, self.latent)))

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        return self.decode(self.encode(x))

    def pseudo_inputs(self) -> np.ndarray | None:
        return None


def dataset(
    x: np.ndarray, kind: Kind, labels: np.ndarray | None, classes: tuple[str, ...] | None = None
) -> Dataset:
    """A data set of one split, thrice."""
    scaling = Scaling("integer", (0.0,), (255.0,)) if x.dtype == np.uint8 else Scaling()
    if kind == "table":
        scaling = Scaling("standard", tuple(x.mean(0)), tuple(x.std(0)))
    split = Split(x, labels, np.arange(len(x)))
    shape = x.shape[1:] if kind != "image" else (x.shape[3], *x.shape[1:3])
    return Dataset("data", "data", kind, shape, False, scaling, split, split, split, classes)


def digits(kind: Kind = "image", labelled: bool = True) -> Dataset:
    flat, target = load_digits(return_X_y=True)
    flat, target = flat[:300], target[:300].astype(np.int64)
    pixels = np.round(flat * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1)
    x = {"image": pixels, "vector": flat / 16, "table": flat[:, 2:7]}[kind]
    return dataset(x, kind, *((target, tuple("0123456789")) if labelled else (None, None)))


def drawn(run: Path, data: Dataset, latent: int, settings: gallery.Settings | None = None) -> set[str]:
    """The names of the pictures of a run, each looked into."""
    paths = gallery.draw(run, Linear(data, latent), data, LOG, settings or gallery.Settings())
    assert all(path.parent == run / "figures" for path in paths)
    assert {p.name for p in (run / "figures").iterdir()} == {p.name for p in paths}, (
        "nothing half-written is left"
    )
    for path in paths:
        with Image.open(path) as image:
            assert image.info["Title"]
            assert image.info["Description"].endswith(".")
            assert np.asarray(image).min() < 128
    return {p.stem for p in paths}


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not rendered: for tests of what the model was asked."""
    monkeypatch.setattr("latlas.figures.style.png", lambda figure, reading: b"")


def keep_snapshots(run: Path, shape: tuple[int, ...], dtype: type = np.float32) -> None:
    (run / "snapshots").mkdir(parents=True)
    for step in (0, 50, 100):
        np.savez(
            run / "snapshots" / f"{step:08d}.npz",
            samples=np.full((4, *shape), 0.5 * 255 ** (dtype is np.uint8), dtype),
        )


@pytest.mark.parametrize(("latent", "missing"), [(1, {"traversals"}), (2, {"traversals"}), (3, {"manifold"})])
def test_images_get_every_picture_that_their_latent_space_allows(
    tmp_path: Path, latent: int, missing: set[str]
) -> None:
    keep_snapshots(tmp_path, (8, 8, 1), np.uint8)
    assert drawn(tmp_path, digits(), latent) == ALL - missing


def test_a_run_without_snapshots_and_log_gets_the_rest(tmp_path: Path) -> None:
    data = digits(labelled=False)
    paths = gallery.draw(tmp_path, Linear(data, 2), data)
    assert [p.stem for p in paths] == ["reconstructions", "samples", "latent", "manifold", "morph"]


def test_without_a_prior_nothing_is_sampled_and_the_manifold_follows_the_codes(
    tmp_path: Path, unrendered: None
) -> None:
    data = digits()
    model = Linear(data, 2)
    model.scale = model.scale / 50  # codes far outside a standard normal's range, as an autoencoder's may be
    asked: list[np.ndarray] = []
    decode = model.decode
    model.decode = lambda z: (asked.append(z), decode(z))[1]  # type: ignore[method-assign]
    paths = gallery.draw(tmp_path, model, data, LOG, gallery.Settings(prior=False, size=(6, 7)))
    assert model.asked == []
    assert "samples" not in {p.stem for p in paths}
    grid = next(z for z in asked if len(z) == 42)
    assert grid.std(axis=0).min() > 20
    assert np.abs(grid).max() <= np.abs(model.encode(data.test.x)).max() + 1e-3


@pytest.mark.parametrize(("count", "shown", "said"), [(9, 9, "All 9,"), (500, 64, "64 of 500,")])
def test_pseudo_inputs_of_a_vampprior_are_a_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int, shown: int, said: str
) -> None:
    data, seen, real = digits(), [], gallery.figures.image_grid
    model, learned = Linear(data, 2), np.random.default_rng(0).random((count, 8, 8, 1))
    model.pseudo_inputs = lambda: learned  # type: ignore[method-assign]
    monkeypatch.setattr(gallery.figures, "image_grid", lambda *a: (seen.append(a), real(*a))[1])
    assert "pseudo-inputs" in {p.stem for p in gallery.draw(tmp_path, model, data)}
    images, _, how = next(call for call in seen if "Pseudo" in call[1])
    assert len(images) == shown
    assert np.array_equal(images[[0, -1]], learned[[0, -1]])
    assert how.startswith(said)


def test_the_manifold_spans_what_is_asked_for(tmp_path: Path, unrendered: None) -> None:
    data = digits()
    model = Linear(data, 2)
    asked: list[np.ndarray] = []
    decode = model.decode
    model.decode = lambda z: (asked.append(z), decode(z))[1]  # type: ignore[method-assign]
    gallery.draw(tmp_path, model, data, (), gallery.Settings(size=(8, 8), span=(-8, 8)))
    grid = next(z for z in asked if len(z) == 64 and np.ptp(z) == 16)
    assert grid[0].tolist() == [-8, 8]
    assert grid[-1].tolist() == [8, -8]


@pytest.mark.parametrize("prior", [True, False])
def test_traversals_move_one_dimension_at_a_time(tmp_path: Path, prior: bool, unrendered: None) -> None:
    data = digits()
    model = Linear(data, 20)
    model.scale = model.scale * np.linspace(0.5, 2, 20)  # dimensions of different variance
    asked: list[np.ndarray] = []
    decode = model.decode
    model.decode = lambda z: (asked.append(z), decode(z))[1]  # type: ignore[method-assign]
    gallery.draw(tmp_path, model, data, (), gallery.Settings(prior=prior))
    paths = next(z for z in asked if len(z) == 16 * 13).reshape(16, 13, 20)
    moved = np.ptp(paths, axis=1) > 0
    assert moved.sum(axis=1).tolist() == [1] * 16
    codes = model.encode(data.test.x)
    dimensions = moved.argmax(axis=1)
    assert len(set(dimensions.tolist())) == 16
    assert codes.var(axis=0)[dimensions].min() >= np.delete(codes.var(axis=0), dimensions).max()
    ends = paths[np.arange(16), :, dimensions][:, [0, -1]]
    if prior:
        assert np.allclose(ends, [-3, 3])
    else:
        assert np.allclose(ends[:, 1] - ends[:, 0], 6 * codes.std(axis=0)[dimensions], rtol=1e-4)


def test_morphs_join_two_classes_and_begin_and_end_at_codes(tmp_path: Path, unrendered: None) -> None:
    data = digits()
    model = Linear(data, 5)
    asked: list[np.ndarray] = []
    decode = model.decode
    model.decode = lambda z: (asked.append(z), decode(z))[1]  # type: ignore[method-assign]
    gallery.draw(tmp_path, model, data)
    paths = next(z for z in asked if len(z) == 4 * 11).reshape(4, 11, 5)
    codes = model.encode(data.test.x)
    ends = [np.abs(codes - z).sum(1).argmin() for z in paths[:, [0, -1]].reshape(-1, 5)]
    assert np.allclose(codes[ends], paths[:, [0, -1]].reshape(-1, 5), atol=1e-5)
    labels = np.asarray(data.test.labels)[ends].reshape(4, 2)
    assert (labels[:, 0] != labels[:, 1]).all()
    assert np.allclose(paths[:, 5], (paths[:, 0] + paths[:, -1]) / 2, atol=1e-5)


COLUMNS = {"reconstructions", "samples", "latent", "losses"}


@pytest.mark.parametrize(
    ("kind", "latent", "expected"),
    [
        ("table", 3, COLUMNS | {"traversals"}),
        ("table", 2, COLUMNS),
        ("vector", 3, COLUMNS | {"traversals", "snapshots"}),
        ("vector", 2, COLUMNS | {"snapshots"}),
    ],
)
def test_tables_and_vectors_get_their_own_pictures(
    tmp_path: Path, kind: Kind, latent: int, expected: set[str]
) -> None:
    data = digits(kind)
    keep_snapshots(tmp_path, data.shape)
    assert drawn(tmp_path, data, latent) == expected


@pytest.mark.parametrize(("count", "latent"), [(1, 1), (1, 2), (1, 4), (2, 4), (3, 4)])
def test_few_items_are_enough(tmp_path: Path, count: int, latent: int, unrendered: None) -> None:
    data = digits()
    small = replace(data, test=data.test.take(slice(0, count)))
    paths = gallery.draw(tmp_path, Linear(data, latent), small, LOG)
    assert {"reconstructions", "samples", "losses"} <= {p.stem for p in paths}
    assert ("morph" in {p.stem for p in paths}) == (count > 1)


def test_real_labels_and_many_classes(tmp_path: Path, unrendered: None) -> None:
    data = digits()
    real = np.linspace(0, 1, len(data.test)).astype(np.float32)
    many = (np.arange(len(data.test)) % 25).astype(np.int64)
    for name, labels, classes in (("r", real, None), ("m", many, tuple(f"kind {i}" for i in range(25)))):
        test = Split(data.test.x, labels, data.test.index)
        data = replace(data, test=test, classes=classes)
        assert "latent" in {p.stem for p in gallery.draw(tmp_path / name, Linear(data, 2), data)}


def test_at_most_so_many_dots_and_always_the_same(tmp_path: Path) -> None:
    data = digits()
    model = Linear(data, 2)
    seen: list[int] = []
    encode = model.encode
    model.encode = lambda x: (seen.append(len(x)), encode(x))[1]  # type: ignore[method-assign]
    settings = gallery.Settings(dots=100, size=(4, 4))
    first = [p.read_bytes() for p in gallery.draw(tmp_path / "a", model, data, LOG, settings)]
    second = [p.read_bytes() for p in gallery.draw(tmp_path / "b", model, data, LOG, settings)]
    assert max(seen) == 100
    assert first == second
    assert model.asked == [(64, 0)] * 2


def test_originals_come_before_reconstructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unrendered: None
) -> None:
    data, seen, real = digits(), [], gallery.figures.reconstructions

    def spy(original: np.ndarray, reconstruction: np.ndarray, *rest: Any, **more: Any) -> Any:
        seen.append((original, reconstruction))
        return real(original, reconstruction, *rest, **more)

    monkeypatch.setattr(gallery.figures, "reconstructions", spy)
    gallery.draw(tmp_path, Linear(data, 2), data, LOG)
    stored = {np.float32(row).tobytes() for row in data.scaling.apply(data.test.x)}
    assert all(np.float32(row).tobytes() in stored for row in seen[0][0])
    assert not np.allclose(*seen[0])
