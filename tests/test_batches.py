"""Batches are the scaled items, for every kind of data that is stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import images, split

from latlas.data import Scaling
from latlas.data.batches import Batches

RNG = np.random.default_rng(0)
CASES = {
    "bytes": (images(9, 6, 5, 3), Scaling("integer", (0.0,), (255.0,))),
    "0/1": ((images(9) > 60).astype(np.uint8), Scaling()),
    "16 bits": (images(9).astype(np.uint16) * 257, Scaling("integer", (0.0,), (65535.0,))),
    "floats": (RNG.random((9, 6, 5, 1), np.float32), Scaling()),
    "min-max": (RNG.normal(size=(9, 6, 5, 1)).astype(np.float32), Scaling("minmax", (-4.0,), (8.0,))),
    "table": (RNG.normal(size=(9, 3)) + 1.7e9, Scaling("standard", (1.7e9,) * 3, (2.0, 1.0, 0.5))),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_batches_are_the_scaled_items(case: str) -> None:
    stored, scaling = CASES[case]
    rows = np.array([4, 0, 8])
    got = Batches(split(stored), scaling, torch.device("cpu"))(rows)
    want = scaling.apply(stored)[rows]
    want = want.transpose(0, 3, 1, 2) if want.ndim == 4 else want
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6, atol=1e-7)
    assert 0.05 < got.std() < 5


def test_batches_do_not_change_what_is_stored() -> None:
    for stored, scaling in CASES.values():
        before = stored.copy()
        batch = Batches(split(stored), scaling, torch.device("cpu"))(np.arange(3))
        batch.add_(1)
        np.testing.assert_array_equal(stored, before)


def test_images_keep_their_channels_last_in_memory() -> None:
    stored, scaling = CASES["bytes"]
    batch = Batches(split(stored), scaling, torch.device("cpu"))(np.arange(4))
    assert batch.is_contiguous(memory_format=torch.channels_last)
