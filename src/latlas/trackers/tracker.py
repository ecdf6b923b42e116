"""What a tracker gets of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np


class Tracker(Protocol):
    """Follows a run while it trains, or gets its log afterwards; any object with these five methods is one.

    They are called in the order of the steps: `start`, then `step`, `epoch` and `picture`, at last `end`. Where
    training goes back to an earlier step, `start` is called again with that step. What a tracker does changes nothing
    of the run; one that raises an exception is named in a note and gets no more.
    """

    def start(self, config: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        """Training begins, or goes on from `info["step"]`: what came of later steps is void.

        `config` is the configuration by dotted key. `info` is run.json (versions, machine, data), with the `run`
        folder, its `name` and the `step`.
        """

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """The values of a logged step by name: `train/loss`, `train/elbo` and the other terms, means over the items
        since the logged step before, in nats per item; `lr`, `beta`, `images_per_second`.
        """

    def epoch(self, step: int, values: Mapping[str, float]) -> None:
        """The values at the end of an epoch by name: `epoch`, `train/elbo` and the other terms, means over the epoch;
        `valid/elbo` and the other numbers of the validation split; `lr`, `seconds`, `score`.
        """

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """A picture (height, width, 1 or 3), uint8: of images, at each epoch, originals over their reconstructions; at
        the end those of the report.
        """

    def end(self, numbers: Mapping[str, float]) -> None:
        """The run is over, with its numbers by split and name, `test_elbo`, and their standard errors,
        `test_elbo_stderr`; without any where it was stopped or is not over yet.
        """
