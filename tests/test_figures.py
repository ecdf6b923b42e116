"""Pictures: what is drawn is what was given, for any shape, and nothing outside the figure is touched."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import norm
from sklearn.decomposition import PCA

from latlas import figures
from latlas.errors import InputError, LatlasError
from latlas.figures import images as drawing
from latlas.figures import style

SHAPES = [(28, 28, 1), (7, 13, 1), (33, 5, 2), (24, 16, 4), (200, 300, 3), (1, 1, 1)]


def rendered(figure: Figure) -> np.ndarray:
    """The figure's pixels, (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def shown(figure: Figure, pixels: np.ndarray | None = None) -> np.ndarray:
    """The pixels of the figure's one image, as rendered."""
    box = figure.axes[0].get_window_extent()
    pixels = rendered(figure) if pixels is None else pixels
    top = pixels.shape[0] - round(box.y1)
    return pixels[top : top + round(box.height), round(box.x0) : round(box.x0) + round(box.width)]


def texts(figure: Figure) -> list[str]:
    """Every text in the figure."""
    inside = [t.get_text() for axes in figure.axes for t in (*axes.texts, axes.title, axes.xaxis.label)]
    return (
        [t.get_text() for t in figure.texts] + inside + [axes.get_title(loc="left") for axes in figure.axes]
    )


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape)


def pair(original: np.ndarray, reconstruction: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return [("original", original), ("reconstruction", reconstruction)]


def pictures_of(shape: tuple[int, int, int], count: int) -> dict[str, Figure]:
    """One of each picture of images."""
    h, w, c = shape
    x = noise(count, h, w, c)
    return {
        "grid": figures.image_grid(x, "A grid"),
        "pairs": figures.image_rows(pair(x, 1 - x), "Pairs", labels=[f"class {i}" for i in range(count)]),
        "rows": figures.image_rows([("a", x), ("b", 1 - x), ("c", x)], "Rows", columns=4),
        "snapshots": figures.snapshots([(0, x), (50, x), (1000, x)]),
        "manifold": figures.manifold(noise(4, 5, h, w, c), np.linspace(-1, 1, 5), np.linspace(1, -1, 4)),
        "line": figures.manifold(noise(1, 6, h, w, c), np.linspace(-1, 1, 6)),
        "traversals": figures.traversals(noise(3, 5, h, w, c), np.linspace(-3, 3, 5), ["z1", "z2", "z3"]),
        "morph": figures.morph(noise(1, 7, h, w, c), np.linspace(0, 1, 7), noise(1, 2, h, w, c)),
        "morph without ends": figures.morph(noise(2, 7, h, w, c), np.linspace(0, 1, 7)),
    }


@pytest.mark.parametrize("number", range(len(SHAPES)), ids=lambda number: str(SHAPES[number]))
def test_pictures_of_images_take_any_shape(number: int) -> None:
    """All are laid out with each shape, and each is rendered with two of them."""
    shape, count = SHAPES[number], 1 if number % 2 else 11
    for name, figure in list(pictures_of(shape, count).items())[number % 3 :: 3]:
        pixels = rendered(figure)
        assert pixels.shape[1] <= 1700, name
        assert pixels[:8].min() == 255, f"{name}: the margin is white"
        assert pixels.min() < 100, f"{name}: something is drawn"
        content = shown(figure, pixels)
        assert len(np.unique(content)) > 20 or shape == (1, 1, 1), f"{name}: the images are there"


def test_a_grid_shows_each_image_in_its_place() -> None:
    dark = np.array([True, False, False, True, False, True])
    x = np.where(dark[:, None, None, None], 0.0, 1.0) * np.ones((6, 9, 9, 1))
    x[:, 4, 4] = 0.5  # so that white images are told from the paper
    content = shown(figures.image_grid(x, "Chess", columns=3))
    cell = (content.shape[1] + drawing.GAP) // 3
    for i, is_dark in enumerate(dark):
        top, left = i // 3 * cell, i % 3 * cell
        inside = content[top : top + cell - drawing.GAP, left : left + cell - drawing.GAP]
        assert inside[0].mean() == (0 if is_dark else 255)
        middle = inside.shape[0] // 2
        assert inside[middle, middle].tolist() == [128, 128, 128]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 7), st.sampled_from([1, 3]))
@settings(max_examples=25, deadline=None)
def test_small_images_are_drawn_pixel_for_pixel(height: int, width: int, count: int, channels: int) -> None:
    x = np.random.default_rng(height * 100 + width).integers(0, 256, (count, height, width, channels))
    content = shown(figures.image_grid(x / 255, "Exact", columns=count))
    zoom = content.shape[0] // height
    each = width * zoom + drawing.GAP
    for i in range(count):
        cell = content[:, i * each : i * each + width * zoom]
        assert np.array_equal(
            cell[zoom // 2 :: zoom, zoom // 2 :: zoom], np.broadcast_to(x[i], (height, width, 3))
        )


def test_colours_keep_their_channels() -> None:
    x = np.zeros((3, 4, 4, 3))
    x[[0, 1, 2], :, :, [0, 1, 2]] = 1
    content = shown(figures.image_grid(x, "Red, green, blue", columns=3))
    third = content.shape[1] // 3
    for i in range(3):
        assert content[5, i * third + 20].tolist() == [255 * (c == i) for c in range(3)]


def test_channels_that_are_left_out_are_mentioned() -> None:
    assert any("First of 2 channels." in t for t in texts(figures.image_grid(noise(2, 4, 4, 2), "Two")))
    assert any("First 3 of 5 channels" in t for t in texts(figures.image_grid(noise(2, 4, 4, 5), "Five")))
    assert not any("channels" in t for t in texts(figures.image_grid(noise(2, 4, 4, 3), "Three")))


def test_large_images_are_reduced_without_changing_their_mean() -> None:
    x = np.tile(np.linspace(0, 1, 400)[None, None, :, None], (4, 300, 1, 1))
    content = shown(figures.image_grid(x, "Ramps", columns=4))
    assert content.shape[1] < 1300
    one = content[:, : content.shape[1] // 4 - drawing.GAP]
    assert abs(one.mean() - 127.5) < 2
    assert one[10, 2].mean() < 10
    assert one[10, -3].mean() > 240


def test_reconstructions_stand_below_their_originals_with_their_error() -> None:
    original = np.zeros((3, 8, 8, 1))
    reconstruction = np.stack([np.full((8, 8, 1), v) for v in (0.0, 0.5, 1.0)])
    figure = figures.image_rows(pair(original, reconstruction), "Pairs", labels=["a", "b", "c"])
    written = texts(figure)
    assert [t for t in written if t in ("0.000", "0.250", "1")] == ["0.000", "0.250", "1"]
    assert [t for t in written if t in "abc" and t] == ["a", "b", "c"]
    assert {"original", "reconstruction"} <= set(written)
    content = shown(figure)
    each = content.shape[1] // 3
    for i, value in enumerate((0, 128, 255)):
        assert content[36, i * each + 10].mean() == 0
        assert content[-50, i * each + 10].mean() == value


def errors_of(figure: Figure) -> list[tuple[str, bool]]:
    """The errors written under the images, item by item, and whether they are bold."""
    numbers = [t for t in figure.axes[0].texts if t.get_text()[0].isdigit()]
    return [(t.get_text(), t.get_fontweight() == "bold") for t in numbers]


def test_the_smallest_error_of_an_item_is_bold_where_there_are_several() -> None:
    zero, half, one = (np.full((2, 8, 8, 1), v) for v in (0.0, 0.5, 1.0))
    mixed = np.concatenate([half[:1], zero[:1]])
    figure = figures.image_rows([("truth", zero), ("a", one), ("b", mixed), ("c", half)], "Three")
    assert errors_of(figure) == [
        ("1", False), ("0.250", True), ("0.250", True), ("1", False), ("0.000", True), ("0.250", False)
    ]  # fmt: skip
    assert "the smallest of an item in bold" in " ".join(texts(figure))
    alone = figures.image_rows(pair(zero, half), "One")
    assert errors_of(alone) == [("0.250", False)] * 2
    assert "bold" not in " ".join(texts(alone))


def test_rows_start_again_below_after_so_many_columns() -> None:
    levels = [np.full((7, 12, 12, 1), v) for v in (0.0, 0.4, 0.7)]
    figure = figures.image_rows(list(zip("abc", levels, strict=True)), "Seven", columns=4)
    pixels = figure.axes[0].images[0].get_array()
    names = [t for t in figure.axes[0].texts if t.get_text() in "abc"]
    assert [t.get_text() for t in names] == list("abc") * 2
    for text in names:
        level = round(255 * levels["abc".index(text.get_text())].max())
        row = pixels[int(text.get_position()[1]), :, 0]
        runs = int((np.diff((row == level).astype(int), prepend=0) == 1).sum())
        assert runs == (4 if text.get_position()[1] < len(pixels) / 2 else 3)


@pytest.mark.parametrize("shape", [(64, 3), (12, 12), (8, 60)])
def test_errors_stand_under_their_images_and_never_overlap(shape: tuple[int, int]) -> None:
    x = noise(6, *shape, 1)
    figure = figures.image_rows([("x", x), ("y", 1 - x), ("z", x / 2)], "Narrow and wide")
    rendered(figure)
    texts_drawn = [t for t in figure.axes[0].texts if t.get_text()[0].isdigit()]
    boxes = [t.get_window_extent() for t in texts_drawn]
    assert len(boxes) == 12
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    pixels = figure.axes[0].images[0].get_array()
    for text in texts_drawn:
        column, below = (int(v) for v in text.get_position())
        assert pixels[below - figures.images.ERROR // 2 - 1, column, 0] < 255
        assert (pixels[below - 5 : below + 5] == 255).all(), "on white"


def test_names_too_long_for_their_column_are_left_out() -> None:
    x = noise(12, 8, 8, 1)
    names = ["the name of a flower that is very long indeed"] * 12
    figure = figures.image_rows(pair(x, x), "Flowers", labels=names)
    assert not any("the name" in t for t in texts(figure))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match=r"original \(2, 4, 4, 1\) and wrong \(2, 4, 5, 1\) differ in shape"):
        figures.image_rows([("original", noise(2, 4, 4, 1)), ("wrong", noise(2, 4, 5, 1))], "Wrong")


@pytest.mark.parametrize(
    "bad",
    [np.zeros((4, 4)), np.zeros((0, 4, 4, 1)), np.full((1, 4, 4, 1), np.nan), np.full((1, 4, 4, 1), np.inf)],
)
def test_images_that_cannot_be_drawn_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="images:"):
        figures.image_grid(bad, "Bad")


def test_values_outside_the_range_are_clipped() -> None:
    x = np.stack([np.full((4, 4, 1), -3.0), np.full((4, 4, 1), 7.0)])
    content = shown(figures.image_grid(x, "Clipped", columns=2))
    assert content[5, 5].mean() == 0
    assert content[5, -5].mean() == 255


def test_snapshots_go_from_first_to_last_in_sixteen_panels() -> None:
    taken = [(step, np.full((4, 5, 5, 1), step / 2000)) for step in range(0, 2001, 50)]
    figure = figures.snapshots(taken)
    steps = [t for t in texts(figure) if t.startswith("step")]
    assert len(steps) == 16
    assert (steps[0], steps[-1]) == ("step 0", "step 2,000")
    content = shown(figure)
    assert content[60, 10].mean() == 0
    assert content[-10, -10].mean() == 255


def test_the_manifold_has_its_second_dimension_upwards() -> None:
    grid = figures.manifold_codes((3, 5), (-2, 2))
    assert grid.codes.shape == (3, 5, 2)
    assert grid.codes[0, 0].tolist() == [-2, 2]
    assert grid.codes[-1, -1].tolist() == [2, -2]
    images = np.where(grid.codes[..., 1] > 0, 1.0, 0.0)[..., None, None, None] * np.ones((3, 5, 6, 6, 1))
    figure = figures.manifold(images, grid.across, grid.up)
    content = shown(figure)
    assert content[3, 3].mean() == 255
    assert content[-3, 3].mean() == 0
    assert {"−2", "2", "0"} <= set(texts(figure))
    assert "-2" not in texts(figure)


def test_manifold_codes_follow_the_quantiles_of_the_prior_or_of_codes() -> None:
    grid = figures.manifold_codes((4, 4))
    assert np.allclose(norm.cdf(grid.across), [0.125, 0.375, 0.625, 0.875])
    assert np.allclose(grid.up, grid.across[::-1])
    codes = np.stack([np.arange(1001.0), 5 - np.arange(1001.0)], axis=1)
    own = figures.manifold_codes((2, 4), codes=codes)
    assert np.allclose(own.across, [125, 375, 625, 875])
    assert np.allclose(own.up, [-245, -745])
    line = figures.manifold_codes((9, 3), codes=np.arange(7.0)[:, None], latent=1)
    assert line.codes.shape == (1, 3, 1)
    assert len(line.up) == 0
    assert np.allclose(line.codes.ravel(), [1, 3, 5])
    assert figures.manifold_codes((9, 3), (-2, 2), latent=1).codes.ravel().tolist() == [-2, 0, 2]


@pytest.mark.parametrize(("size", "span"), [((0, 3), None), ((3, 3), (1.0, 1.0)), ((3, 3), (2.0, -2.0))])
def test_manifolds_that_are_empty_are_refused(
    size: tuple[int, int], span: tuple[float, float] | None
) -> None:
    with pytest.raises(InputError, match=r"^(grid|span) = "):
        figures.manifold_codes(size, span)


@pytest.mark.parametrize("shape", [(2, 3), (200, 8), (20, 50)])
def test_projection_is_that_of_principal_components(shape: tuple[int, int]) -> None:
    codes, others = np.random.default_rng(0).normal(3, np.linspace(1, 2, shape[1]), (2, *shape))
    known = PCA(2, svd_solver="full").fit(codes)
    plane, how = figures.project(others, codes)
    assert plane == pytest.approx(known.transform(others), abs=1e-12)
    assert f"({known.explained_variance_ratio_.sum():.0%} of the variance)" in how


def test_projection_says_how_much_it_shows() -> None:
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((5000, 4)) * [3, 1, 0.1, 0.1]
    plane, how = figures.project(codes)
    assert plane.shape == (5000, 2)
    assert how == "PCA of 4 dimensions (100% of the variance)."
    assert abs(np.corrcoef(plane[:, 0], codes[:, 0])[0, 1]) > 0.999
    flat, how = figures.project(np.ones((10, 3)))
    assert np.all(flat == 0)
    assert "0%" in how


CODES = np.random.default_rng(1).standard_normal((300, 2))


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (None, None, "The data in latent space"),
        (np.arange(300) % 3, ("cat", "dog", "ape"), "The data in latent space, by class"),
        (np.arange(300) % 10, None, "The data in latent space, by class"),
        (
            np.arange(300) % 25,
            tuple(f"kind {i}" for i in range(25)),
            "Coloured: the 10 most frequent of 25 classes.",
        ),
        (np.zeros(300, int), ("only",), "The data in latent space, by class"),
        (np.linspace(0, 1, 300), None, "The data in latent space, by label"),
        (np.full(300, 2.5, np.float32), None, "The data in latent space, by label"),
        (np.full(300, np.nan), None, "The data in latent space"),
        (np.full(300, -1), ("a", "b"), "The data in latent space"),
        (np.arange(300) % 4 - 1, ("cat", "dog", "ape"), "The data in latent space, by class"),
        (np.where(np.arange(300) % 2, np.nan, np.linspace(0, 1, 300)), None, "Grey: 150 without a label."),
        (np.arange(300) % 26 - 1, None, "Coloured: the 10 most frequent of 25 classes."),
    ],
)
def test_scatter_and_histogram_take_any_labels(
    labels: np.ndarray | None, classes: tuple[str, ...] | None, expected: str
) -> None:
    figure = figures.latent_scatter(CODES, labels, classes)
    assert any(expected in t for t in texts(figure))
    assert rendered(figure).min() < 200
    assert rendered(figures.latent_histogram(CODES[:, 0], labels, classes)).min() < 200


def test_dots_without_a_label_are_grey_and_below_the_others() -> None:
    codes = np.zeros((40, 2))
    codes[0] = [1, 1]
    for labels in (np.arange(40) % 3 - 1, np.where(np.arange(40) % 3, 0.5, np.nan)):
        dots = figures.latent_scatter(codes, labels, ("a", "b")).axes[0].collections[0]
        colours = dots.get_facecolors()[:, :3]
        grey = np.abs(colours * 255 - rgb_of(style.NO_LABEL)).max(1) < 1
        assert grey.sum() == (np.arange(40) % 3 == 0).sum()
        assert grey[: grey.sum()].all()
    axes = figures.latent_histogram(codes[:, 0], np.arange(40) % 3 - 1, ("a", "b")).axes
    assert len(axes) == 3  # two classes, and the others


def test_the_scatter_puts_dots_in_their_class_colour_where_the_codes_are() -> None:
    # Each class has a crowd, where its name stands, and some dots elsewhere.
    codes = np.array([[-1, -1]] * 40 + [[-1, 1]] * 20 + [[1, 1]] * 40 + [[1, -1]] * 20)
    figure = figures.latent_scatter(codes, np.array([0] * 60 + [1] * 60), ("a", "b"), limits=(-2, 2))
    pixels = rendered(figure).astype(int)
    for place, colour in (((-1, 1), style.CLASS_COLOURS[0]), ((1, -1), style.CLASS_COLOURS[1])):
        column, row = figure.axes[0].transData.transform(place)
        seen = pixels[pixels.shape[0] - round(row), round(column)]
        assert np.abs(seen - rgb_of(colour)).max() <= 3
    assert [t.get_text() for t in figure.axes[0].texts] == ["a", "b"]


def test_limits_are_kept_and_what_they_hide_is_counted() -> None:
    figure = figures.latent_scatter(np.array([[0.0, 0.0], [9.0, 0.0], [0.0, -9.0]]), limits=(-4, 4))
    assert figure.axes[0].get_xlim() == (-4, 4)
    assert figure.axes[0].get_ylim() == (-4, 4)
    assert any("2 of 3 dots lie outside" in t for t in texts(figure))
    both = figures.latent_scatter(CODES, limits=((-4, 4), (-5, 6)))
    assert both.axes[0].get_ylim() == (-5, 6)


def test_without_limits_every_dot_is_inside() -> None:
    axes = figures.latent_scatter(CODES * [1, 20]).axes[0]
    for low_high, values in ((axes.get_xlim(), CODES[:, 0]), (axes.get_ylim(), CODES[:, 1] * 20)):
        assert low_high[0] < values.min()
        assert low_high[1] > values.max()


@pytest.mark.parametrize("codes", [np.zeros((3, 3)), np.zeros((0, 2)), np.full((3, 2), np.nan)])
def test_codes_that_cannot_be_drawn_are_refused(codes: np.ndarray) -> None:
    with pytest.raises(InputError, match="codes"):
        figures.latent_scatter(codes)


def test_one_item_is_enough() -> None:
    assert rendered(figures.latent_scatter(np.zeros((1, 2)), np.array([0]), ("a",))).min() < 200
    assert rendered(figures.latent_histogram(np.zeros(1))).min() < 200


def log_of(steps: int, point: bool = False) -> list[dict[str, object]]:
    """A log as training writes it."""
    rows: list[dict[str, object]] = []
    for step in range(1, steps + 1):
        d, r = 200 + 800 / step, 5.0
        terms = {"distortion": d, "rate": None if point else r, "elbo": None if point else -d - r, "loss": d}
        rows.append({"kind": "step", "step": step, "epoch": step / 20, "lr": 1e-3, "beta": 1.0, **terms})
        if step % 20 == 0:
            valid = None if step == 20 else {k: v for k, v in terms.items() if k != "loss"}
            rows.append(
                {
                    "kind": "epoch",
                    "step": step,
                    "epoch": step // 20,
                    "train": terms,
                    "valid": valid,
                    "lr": 1e-3,
                }
            )
    return rows


@pytest.mark.parametrize("steps", [1, 19, 20, 400])
def test_losses_draw_what_the_log_has(steps: int) -> None:
    titles = [axes.get_title(loc="left") for axes in figures.losses(log_of(steps)).axes]
    assert titles == ["ELBO", "distortion", "rate", "learning rate", "beta, the weight of the rate"]
    titles = [axes.get_title(loc="left") for axes in figures.losses(log_of(steps, point=True)).axes]
    assert titles == ["distortion", "learning rate", "beta, the weight of the rate"]


def test_losses_hold_the_values_of_the_log() -> None:
    rows = log_of(100)
    elbo = figures.losses(rows).axes[0]
    by_batch, by_epoch, validation = elbo.lines
    assert np.allclose(by_batch.get_ydata(), [r["elbo"] for r in rows if r["kind"] == "step"])  # type: ignore[arg-type]
    assert by_epoch.get_xdata().tolist() == [20, 40, 60, 80, 100]  # type: ignore[union-attr]
    assert validation.get_xdata().tolist() == [40, 60, 80, 100]  # type: ignore[union-attr]


def test_losses_say_when_the_steep_start_is_cut_off() -> None:
    assert any("outside the axes" in t for t in texts(figures.losses(log_of(400))))
    flat = [row | {"distortion": 200.0, "elbo": -205.0} for row in log_of(60)]
    assert not any("outside the axes" in t for t in texts(figures.losses(flat)))
    with pytest.raises(InputError, match="nothing to draw"):
        figures.losses([])


@pytest.mark.parametrize(("width", "count"), [(1, 50), (3, 1), (13, 50)])
def test_tables_have_pictures_of_their_columns(width: int, count: int) -> None:
    x = noise(count, width) * 1000
    names = [f"column $_{{{i}}} with a long name" for i in range(width)]
    for figure in (
        figures.column_reconstructions(x, x * 0.9, names),
        figures.column_samples(x, x + 5, names),
    ):
        assert len(figure.axes) == min(width, 12)
        assert rendered(figure).min() < 200
        assert any(f"The first 12 of {width} columns" in t for t in texts(figure)) == (width > 12)
    moved = figures.column_traversals(noise(3, 5, width), np.linspace(-3, 3, 5), ["z1", "z2", "z3"], names)
    assert len(moved.axes) == 3
    assert len(moved.axes[0].lines) == min(width, 10)
    assert rendered(moved).min() < 200


def test_columns_show_how_well_they_are_reconstructed() -> None:
    x = np.stack([np.arange(10.0), np.arange(10.0), np.ones(10)], axis=1)
    y = np.stack([np.arange(10.0), np.full(10, 4.5), np.ones(10)], axis=1)
    written = texts(figures.column_reconstructions(x, y, ["exact", "mean", "constant"]))
    assert [t for t in written if t.startswith("R²")] == ["R² = 1.00", "R² = 0.00"]


def test_tables_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        figures.column_reconstructions(noise(4, 3), noise(4, 3), ["a", "b"])
    with pytest.raises(InputError, match="shape"):
        figures.column_traversals(noise(3, 5, 2), np.arange(5), ["z1", "z2"], ["a", "b"])


def test_vectors_become_flat_strips() -> None:
    strips = figures.strips(np.array([[0.0, 1.0, 0.5]]))
    assert strips.shape == (1, 1, 3, 1)
    assert strips.ravel().tolist() == [0, 1, 0.5]
    assert figures.strips(noise(2, 60)).shape == (2, 5, 60, 1)


@pytest.mark.parametrize("text", ["$x$ and $y", "お Kuzushiji ゃ", "a\nb \\frac{1}", "_^{", ""])
def test_any_text_can_be_a_name(text: str) -> None:
    x = noise(2, 8, 8, 1)
    figure = figures.image_rows([("x", x), (text, x)], f"T {text}", text, [text, text])
    rendered(figure)
    labels = np.arange(300) % 2
    rendered(figures.latent_scatter(CODES, labels, (text, "b"), subtitle=text, axis_names=(text, text)))
    rendered(figures.column_samples(noise(5, 2), noise(5, 2), [text, "b"], title=text))


def test_a_saved_picture_is_small_whole_and_says_what_it_shows(tmp_path: Path) -> None:
    path = figures.save(
        figures.image_grid(noise(4, 8, 8, 1), "Four squares"), tmp_path / "a" / "b.png", "Look."
    )
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.png"]
    with Image.open(path) as image:
        assert (image.mode, image.info["Title"], image.info["Description"]) == (
            "RGB",
            "Four squares",
            "Look.",
        )
        assert round(image.info["dpi"][0]) == 150
    assert path.read_bytes() == figures.png(figures.image_grid(noise(4, 8, 8, 1), "Four squares"), "Look.")
    assert path.stat().st_size < 60_000


def test_fewer_colours_take_fewer_bytes_and_look_alike() -> None:
    figure = figures.latent_scatter(CODES, np.arange(300) % 4)
    whole, few = (figures.png(figure, "Look.", colours) for colours in (None, 256))
    assert len(few) < len(whole) / 2
    pictures = [Image.open(io.BytesIO(png)) for png in (whole, few)]
    assert [p.info["Description"] for p in pictures] == ["Look."] * 2
    one, other = (np.asarray(p.convert("RGB"), float) for p in pictures)
    assert np.abs(one - other).mean() < 1


def test_a_picture_that_cannot_be_saved_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LatlasError, match="file"):
        figures.save(figures.image_grid(noise(1, 4, 4, 1), "One"), tmp_path / "file" / "a.png")


def test_drawing_leaves_matplotlib_as_it_was_and_imports_nothing_slow() -> None:
    script = """
import json, sys
import numpy as np, matplotlib
before = dict(matplotlib.rcParams)
from latlas import figures
plane, _ = figures.project(np.random.default_rng(0).random((9, 3)))
figures.png(figures.latent_scatter(plane, np.arange(9) % 3))
slow = ("matplotlib.pyplot", "sklearn", "scipy")  # the last two take as long to import as all pictures to draw
print(json.dumps([dict(matplotlib.rcParams) == before, *(name in sys.modules for name in slow)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == [True, False, False, False]


@pytest.mark.parametrize(
    "make", [lambda: figures.image_grid(noise(3, 5, 5, 1), "A"), lambda: figures.latent_scatter(CODES)]
)
def test_a_users_style_does_not_leak_in(make: Callable[[], Figure]) -> None:
    usual = rendered(make())
    theirs = {"axes.facecolor": "black", "text.color": "red", "font.size": 30, "font.family": "serif"}
    theirs |= {"figure.facecolor": "blue", "savefig.facecolor": "green", "image.interpolation": "bicubic"}
    with mpl.rc_context(theirs):
        styled = rendered(make())
    assert np.array_equal(usual, styled)


def test_threads_draw_the_same_pictures() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def draw(_: int) -> bytes:
        return figures.png(figures.latent_scatter(CODES, np.arange(300) % 4))

    with ThreadPoolExecutor(4) as pool:
        pngs = list(pool.map(draw, range(4)))
    assert len(set(pngs)) == 1
    assert Image.open(io.BytesIO(pngs[0])).size[0] > 1000


def rgb_of(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


# Viénot, Brettel and Mollon (1999): linear RGB as people without one kind of cone see it.
SEEN_BY = {
    "most": np.eye(3),
    "deuteranopes": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
    "protanopes": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(linear: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB."""
    xyz = np.clip(linear, 0, 1) @ XYZ.T / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("people", SEEN_BY)
def test_class_colours_can_be_told_apart(people: str) -> None:
    srgb = np.array([rgb_of(c) for c in style.CLASS_COLOURS]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    colours = lab(linear @ SEEN_BY[people].T)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 999 * np.eye(len(srgb))
    assert distances.min() > 15  # matplotlib's own ten come to 4.5
