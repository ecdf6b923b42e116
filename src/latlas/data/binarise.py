"""Items of 0 and 1, drawn with their grey values as probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from latlas.data.dataset import Scaling, Split
from latlas.data.options import DataOptions
from latlas.data.ranges import Range, blocks
from latlas.errors import InputError

_STREAMS = {"train": 0, "valid": 1, "test": 2}  # of the seed: splits are drawn independently


def binarise(
    parts: Mapping[str, Split], training_range: Range, options: DataOptions, where: str
) -> tuple[dict[str, Split], str]:
    """The splits with x ~ Bernoulli(grey value), and a note that says so ('' for `none`).

    static: every split is drawn once. dynamic: validation and test are drawn once; the training split stays grey,
    and `training.train` draws a batch's items anew at every step (Salakhutdinov and Murray 2008). Whatever else
    reads the training split (its mean, PCA, pseudo-inputs, densities fitted to codes) then sees the probabilities.
    Values stay in the units they are stored in: 0, and the largest one.

    Raises InputError for items that are no probabilities, or are 0 and 1 already.
    """
    how, seed = options.binarise, options.binarise_seed
    if how == "none":
        return dict(parts), ""
    if parts["train"].on_disk:
        raise InputError(
            f"{where}: these data stay on disk, and only data in memory are binarised; leave it out, or set"
            " data.memory = resident",
            field="data.binarise",
            value=how,
        )
    if training_range.binary:
        raise InputError(f"{where}: data.binarise = {how}: these items are 0 or 1 already; leave it out")
    if training_range.scaling.kind not in ("none", "integer"):
        raise InputError(
            f"{where}: data.binarise = {how}: probabilities are wanted, unsigned integers or images inside [0, 1],"
            " and these values have units of their own; leave it out"
        )
    fixed = [name for name in parts if how == "static" or name != "train"]
    drawn = {k: drawn_once(s, training_range.scaling, seed, k) if k in fixed else s for k, s in parts.items()}
    what = "all splits once" if how == "static" else "validation and test once, training at every step"
    return drawn, f"binarised, x ~ Bernoulli(grey value): {what}, by seed {seed}"


def drawn_once(split: Split, scaling: Scaling, seed: int, name: str) -> Split:
    """The split with each value drawn as 0 or the largest one, by the seed and the split's name (train, valid, test);
    0 and the largest value stay what they are.
    """
    rng = np.random.default_rng([seed, _STREAMS[name]])
    top = scaling.largest(split.x.dtype)
    x = np.empty_like(split.x)
    start = 0
    for block in blocks(split.x):
        ones = rng.random(block.shape, np.float32) < scaling.apply(block)
        x[start : start + len(block)] = np.where(ones, top, 0).astype(x.dtype)
        start += len(block)
    return replace(split, x=x)


def settled(split: Split, scaling: Scaling, options: DataOptions, name: str) -> Split:
    """A split to measure on: the grey items of a dynamically binarised training split are drawn once."""
    grey = options.binarise == "dynamic" and name == "train"
    return drawn_once(split, scaling, options.binarise_seed, name) if grey else split
