"""Which pictures a run gets, with a small model that stands for any."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from latlas import densities, gallery, report
from latlas.config import override, recipe
from latlas.data.dataset import Dataset, Kind, Scaling, Split
from latlas.gallery import FIGURES
from latlas.metrics import Context
from latlas.progress import SILENT
from latlas.runs import Run

ALL = {"reconstructions", "samples", "snapshots", "latent", "manifold", "traversals", "morph", "losses"}
LOG = [
    {"kind": "step", "step": s, "distortion": 9 / s, "rate": 1.0, "elbo": -9 / s - 1, "lr": 0.1, "beta": 1.0}
    for s in range(1, 9)
]


class Linear:
    """A linear autoencoder with random orthonormal axes: splits in, arrays out, in units as a model has them."""

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

    def decode(self, z: np.ndarray, units: str = "data") -> np.ndarray:
        assert z.ndim == 2
        out = (self.mean + (z * self.scale) @ self.axes).reshape(len(z), *self.data.train.x.shape[1:])
        out = out if self.data.kind == "table" else np.clip(out, 0, 1)
        return self.data.scaling.invert(out) if units == "data" else out

    def sample(self, n: int, seed: int = 0, noise: bool = False, units: str = "data") -> np.ndarray:
        self.asked.append((n, seed))
        return self.decode(np.random.default_rng(seed).standard_normal((n, self.latent)), units)

    def reconstruct(self, items: Split, units: str = "data") -> np.ndarray:
        return self.decode(self.encode(items.x), units)

    def pseudo_inputs(self, units: str = "data") -> np.ndarray | None:
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


def context(model: Linear, data: Dataset) -> Context:
    """What pictures ask of a context."""
    codes_of = lambda rows: model.encode(data.test.x[rows])  # noqa: E731
    face = SimpleNamespace(model=model, dataset=data, test=data.test, observer=SILENT, codes_of=codes_of)
    return cast(Context, face)


def draw(
    run: Path,
    model: Linear,
    data: Dataset,
    log: list[dict[str, Any]] = LOG,
    settings: gallery.Settings | None = None,
) -> list[Path]:
    """The pictures of a run with this log."""
    run.mkdir(exist_ok=True)
    (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    return gallery.draw(Run(run), context(model, data), settings or gallery.Settings())


def test_items_without_a_label_come_last_and_have_no_name(tmp_path: Path) -> None:
    data = digits("image")
    labels = data.test.labels.copy()
    labels[::2] = -1
    data = replace(data, test=replace(data.test, labels=labels))
    drawing = gallery.drawing_of(context(Linear(data, 2), data))
    rows = drawing.varied_rows(len(labels))
    shown = drawing.items.labels[rows]
    assert (shown[: (shown >= 0).sum()] >= 0).all()
    assert set(drawing.class_names(rows[-3:])) == {"–"}


def drawn(run: Path, data: Dataset, latent: int) -> set[str]:
    """The names of the pictures of a run. Those of three dimensions are rendered, and looked into."""
    with pytest.MonkeyPatch.context() as patch:
        if latent < 3:
            patch.setattr("latlas.figures.style.png", lambda figure, caption: b"")
        paths = draw(run, Linear(data, latent), data)
    assert all(path.parent == run / "figures" for path in paths)
    assert {p.name for p in (run / "figures").iterdir()} == {p.name for p in paths}, (
        "nothing half-written is left"
    )
    for path in paths if latent > 2 else ():
        with Image.open(path) as image:
            assert image.info["Title"]
            assert image.info["Description"].endswith(".")
            assert np.asarray(image).min() < 128
    return {p.stem for p in paths}


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not rendered: for tests of what the model was asked."""
    monkeypatch.setattr("latlas.figures.style.png", lambda figure, caption: b"")


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
    paths = gallery.draw(Run(tmp_path), context(Linear(data, 2), data), gallery.Settings())
    assert [p.stem for p in paths] == ["reconstructions", "samples", "latent", "manifold", "morph"]


def test_without_a_prior_nothing_is_sampled_and_the_manifold_follows_the_codes(
    tmp_path: Path, unrendered: None
) -> None:
    data = digits()
    model = Linear(data, 2)
    model.scale = model.scale / 50  # codes far outside a standard normal's range, as an autoencoder's may be
    asked: list[np.ndarray] = []
    decode = model.decode
    model.decode = lambda z, units="data": (asked.append(z), decode(z, units))[1]  # type: ignore[method-assign]
    paths = draw(tmp_path, model, data, LOG, gallery.Settings(prior=False, size=(6, 7)))
    assert model.asked == []
    assert "samples" not in {p.stem for p in paths}
    grid = next(z for z in asked if len(z) == 42)
    assert grid.std(axis=0).min() > 20
    assert np.abs(grid).max() <= np.abs(model.encode(data.test.x)).max() + 1e-3


@pytest.mark.parametrize("spread", [1, 50])
def test_the_plane_follows_codes_that_lie_elsewhere_than_the_prior(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spread: float, unrendered: None
) -> None:
    data, seen, real = digits(), [], gallery.figures.manifold
    model = Linear(data, 2)
    model.scale = model.scale / spread
    monkeypatch.setattr(gallery.figures, "manifold", lambda *a: (seen.append(a), real(*a))[1])
    draw(tmp_path, model, data, [], gallery.Settings(size=(6, 7)))
    ((_, across, _, _, subtitle),) = seen
    if spread == 1:
        assert subtitle == "Codes at evenly spaced quantiles of the prior."
        assert np.abs(across).max() < 2
    else:
        assert "the test items' own codes" in subtitle
        assert "lie outside the middle of the prior" in subtitle
        assert np.abs(across).max() > 20


@pytest.mark.parametrize(("count", "shown", "said"), [(9, 9, "All 9,"), (500, 64, "64 of 500,")])
def test_pseudo_inputs_of_a_vampprior_are_a_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int, shown: int, said: str, unrendered: None
) -> None:
    data, seen, real = digits(), [], gallery.figures.image_grid
    model, learned = Linear(data, 2), np.random.default_rng(0).random((count, 8, 8, 1))
    model.pseudo_inputs = lambda units: learned  # type: ignore[method-assign]
    monkeypatch.setattr(gallery.figures, "image_grid", lambda *a: (seen.append(a), real(*a))[1])
    assert "pseudo-inputs" in {p.stem for p in draw(tmp_path, model, data)}
    images, _, how = next(call for call in seen if "Pseudo" in call[1])
    assert len(images) == shown
    assert np.array_equal(images[[0, -1]], learned[[0, -1]])
    assert how.startswith(said)


def test_the_manifold_spans_what_is_asked_for(tmp_path: Path, unrendered: None) -> None:
    data = digits()
    model = Linear(data, 2)
    asked: list[np.ndarray] = []
    decode = model.decode
    model.decode = lambda z, units="data": (asked.append(z), decode(z, units))[1]  # type: ignore[method-assign]
    draw(tmp_path, model, data, [], gallery.Settings(size=(8, 8), span=(-8, 8)))
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
    model.decode = lambda z, units="data": (asked.append(z), decode(z, units))[1]  # type: ignore[method-assign]
    draw(tmp_path, model, data, [], gallery.Settings(prior=prior))
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
    model.decode = lambda z, units="data": (asked.append(z), decode(z, units))[1]  # type: ignore[method-assign]
    draw(tmp_path, model, data)
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
    paths = draw(tmp_path, Linear(data, latent), small)
    assert {"reconstructions", "samples", "losses"} <= {p.stem for p in paths}
    assert ("morph" in {p.stem for p in paths}) == (count > 1)


def test_real_labels_and_many_classes(tmp_path: Path, unrendered: None) -> None:
    data = digits()
    real = np.linspace(0, 1, len(data.test)).astype(np.float32)
    many = (np.arange(len(data.test)) % 25).astype(np.int64)
    for name, labels, classes in (("r", real, None), ("m", many, tuple(f"kind {i}" for i in range(25)))):
        test = Split(data.test.x, labels, data.test.index)
        data = replace(data, test=test, classes=classes)
        assert "latent" in {p.stem for p in draw(tmp_path / name, Linear(data, 2), data)}


def test_at_most_so_many_dots_and_always_the_same(tmp_path: Path) -> None:
    data = digits()
    model = Linear(data, 2)
    seen: list[int] = []
    encode = model.encode
    model.encode = lambda x: (seen.append(len(x)), encode(x))[1]  # type: ignore[method-assign]
    settings = gallery.Settings(dots=100, size=(4, 4))
    first = [p.read_bytes() for p in draw(tmp_path / "a", model, data, LOG, settings)]
    second = [p.read_bytes() for p in draw(tmp_path / "b", model, data, LOG, settings)]
    assert max(seen) == 100
    assert first == second
    assert model.asked == [(64, 0)] * 2


def test_originals_come_before_reconstructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unrendered: None
) -> None:
    data, seen, real = digits(), [], gallery.figures.image_rows
    monkeypatch.setattr(
        gallery.figures, "image_rows", lambda rows, *a: (seen.append(rows), real(rows, *a))[1]
    )
    draw(tmp_path, Linear(data, 2), data)
    ((first, original), (second, reconstruction)) = seen[0]
    assert (first, second) == ("original", "reconstruction")
    stored = {np.float32(row).tobytes() for row in data.scaling.apply(data.test.x)}
    assert all(np.float32(row).tobytes() in stored for row in original)
    assert np.abs(original - reconstruction).mean() > 0.01
    model, shown = Linear(data, 2), np.round(original * 255).astype(np.uint8)
    assert np.allclose(reconstruction, model.decode(model.encode(shown), "model"), atol=1e-6)


def test_every_picture_has_its_place_and_its_captions() -> None:
    of_densities = [f"samples-{name}" for name in densities.FITS]
    assert list(FIGURES) == [
        "reconstructions", "restored", "samples", "pseudo-inputs", *of_densities, "latent", "manifold",
        "traversals", "morph", "snapshots", "losses",
    ]  # fmt: skip
    for entry in FIGURES.values():
        for text in (entry.caption, *entry.by_kind.values()):
            assert re.fullmatch(r"[A-Z].*[^ ]\.", text), text
    captions = [gallery.caption(name, "image") for name in FIGURES]
    assert len(set(captions)) == len(captions)
    of_columns = {name for name in FIGURES if gallery.caption(name, "table") != FIGURES[name].caption}
    assert of_columns == {"reconstructions", "samples", *of_densities, "traversals"}
    for kind in get_args(Kind):
        lines = gallery.caption("traversals", kind).startswith("A steep line")
        assert lines == (kind in ("table", "vector"))


@pytest.fixture
def emptied_figures() -> Iterator[dict[str, gallery.FigureEntry]]:
    """FIGURES without its entries, which come back after the test in their order."""
    entries = dict(FIGURES)
    FIGURES.clear()
    yield FIGURES
    FIGURES.clear()
    FIGURES.update(entries)


def test_an_entry_is_all_that_a_new_picture_takes(
    tmp_path: Path, emptied_figures: dict[str, gallery.FigureEntry]
) -> None:
    """Its file, its caption and its place in the report follow."""
    emptied_figures["second"] = gallery.FigureEntry(
        lambda drawing: gallery.figures.losses(LOG, title=f"{len(drawing.codes)} codes"), "How many codes."
    )
    emptied_figures["nothing"] = gallery.FigureEntry(lambda drawing: None, "Never drawn.")
    emptied_figures["first"] = gallery.FigureEntry(lambda drawing: gallery.figures.losses(LOG), "A log.")
    data = digits()
    assert [p.name for p in draw(tmp_path, Linear(data, 2), data)] == ["second.png", "first.png"]
    page = report.write_report(tmp_path).read_text()
    places = [page.index(text) for text in ('id="second"', "How many codes.", 'id="first"', "A log.")]
    assert places == sorted(places)


def test_settings_are_those_of_the_configuration() -> None:
    changes = {"pictures.grid": [3, 4], "pictures.span": [-2.0, 2.0], "pictures.densities": ["full"]}
    config = override(recipe("denoising-ae"), changes, "test")
    settings = gallery.settings_of(config)
    assert (settings.size, settings.span, settings.densities) == ((3, 4), (-2, 2), ("full",))
    assert settings.corruption == config.corruption
    assert not settings.prior
    assert gallery.settings_of(recipe("vae")).prior


def test_the_guide_to_run_folders_names_every_picture() -> None:
    guide = (Path(__file__).parents[1] / "docs" / "run-folder.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z-]+)\.png` \|", guide, re.MULTILINE)
    assert listed == list(FIGURES)
