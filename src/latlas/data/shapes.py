"""A data set whose factors are known: coloured shapes of several sizes and places, computed, not downloaded."""

from __future__ import annotations

import numpy as np

from latlas.data.dataset import Split

SIDE = 32
SHAPES = ("square", "ellipse", "heart")
COLOURS = ((238, 76, 84), (250, 196, 64), (92, 200, 100), (66, 200, 214), (88, 118, 246), (208, 96, 222))
SIZES = (3, 4, 5, 6)  # half the side of the square; the other shapes have its area
PLACES = tuple(range(9, 24, 2))  # of the middle, in whole pixels: the largest shape just stays inside
FACTORS = ("shape", "colour", "size", "x", "y")
COUNTS = (len(SHAPES), len(COLOURS), len(SIZES), len(PLACES), len(PLACES))
TEST_SHARE = 0.2
_SEED = 0
_FINE = 8  # points along each side of a pixel at which coverage is computed
_WIDE = 1.6  # the ellipse's long axis over its short one
_HEART_AREA = 3.662  # of (x^2 + y^2 - 1)^3 <= x^2 y^3


def read_shapes() -> dict[str, Split]:
    """Every combination of the five factors once; a fifth of them, drawn by a fixed seed, is the test split.

    x (N, 32, 32, 3) uint8, labels the shape, factors (N, 5) as FACTORS names them, index the combination's number.
    """
    factors = np.stack([axis.ravel() for axis in np.indices(COUNTS)], axis=1)
    images = draw(factors)
    order = np.random.default_rng(_SEED).permutation(len(factors))
    count = round(TEST_SHARE * len(factors))
    rows = {"train": np.sort(order[count:]), "test": np.sort(order[:count])}
    return {part: Split(images[r], factors[r, 0], r, factors[r]) for part, r in rows.items()}


def draw(factors: np.ndarray) -> np.ndarray:
    """The images (N, 32, 32, 3) uint8, on black, of factors (N, 5)."""
    cover = np.stack([[_cover(shape, size) for size in SIZES] for shape in SHAPES])[..., None]
    colours = np.asarray(COLOURS, np.float64)[:, None, None, None]
    centred = np.rint(cover[:, None] * colours).astype(np.uint8)  # by shape, colour and size
    images = centred[tuple(factors[:, :3].T)]
    for x, y in np.unique(factors[:, 3:], axis=0):
        at_place = (factors[:, 3:] == (x, y)).all(1)
        images[at_place] = np.roll(
            images[at_place], (PLACES[y] - SIDE // 2, PLACES[x] - SIDE // 2), axis=(1, 2)
        )
    return images


def _cover(shape: str, size: int) -> np.ndarray:
    """The share of each pixel that a shape in the middle covers, (32, 32): its edges are smooth."""
    points = ((np.arange(SIDE * _FINE) + 0.5) / _FINE - SIDE / 2) / size
    return _inside(shape, points[None], -points[:, None]).reshape(SIDE, _FINE, SIDE, _FINE).mean((1, 3))


def _inside(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points lie in a shape about the origin whose area is 4."""
    if shape == "square":
        return (np.abs(x) <= 1) & (np.abs(y) <= 1)
    if shape == "ellipse":
        return x**2 / _WIDE + y**2 * _WIDE <= 4 / np.pi
    shrink = np.sqrt(_HEART_AREA / 4)
    x, y = x * shrink, y * shrink + 0.12  # its middle is not the origin of the equation
    return (x**2 + y**2 - 1) ** 3 <= x**2 * y**3
