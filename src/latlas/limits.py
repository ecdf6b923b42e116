"""The most of what a person or a file may ask for, each with its reason. What memory decides has no number here: it is
compared with the memory that is free (`latlas.data.room`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """The largest number of something, and why it is not larger."""

    most: int
    why: str


LIMITS = {
    "toml_bytes": Limit(2**20, "a configuration or a study is written by hand; the longest here has 4 kB"),
    "toml_depth": Limit(16, "settings are two levels deep; the reader's time grows with the square of the depth"),
    "value_length": Limit(65_536, "of one KEY=VALUE, which is read as TOML too"),
    "runs": Limit(10_000, "rows of a study, or its runs with all data and seeds: each is a folder and a training"),
    "listed": Limit(10_000, "entries of a list in a study, as seeds"),
    "layers": Limit(1_000, "layers of a network or a flow; each is made before it is known whether they fit"),
    "count": Limit(2**53, "any other whole number, as of steps: floating point counts so far"),
    "threads": Limit(4_096, "threads of one process; more than systems let a process start"),
    "axes": Limit(32, "axes of an array in a file; items have four at most"),
    "entries": Limit(10_000, "arrays in one .npz file, whose headers are all read"),
    "columns": Limit(1_000_000, "columns of a table, each with a name, a mean and a deviation"),
    "pages": Limit(100_000, "pages or frames of one image file, which a few bytes can promise by the thousand million"),
    "side": Limit(65_535, "height or width of an image; most formats write them in 16 bits"),
    "pixels": Limit(89_478_485, "pixels of an image as it is decoded, Pillow's mark; a large JPEG is reduced before"),
    "film": Limit(2**27, "pixels of a film, all frames together, which are held in memory"),
    "grid": Limit(1_120, "rows or columns of the manifold: a page has as many pixels"),
    "years": Limit(100, "of a budget of time"),
}  # fmt: skip
