"""Several trackers of one run as one: none of them can stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from latlas.progress import SILENT, Observer
from latlas.trackers.tracker import Tracker


class Followers:
    """Passes what it gets on to each tracker; one that fails is named in a note and gets no more.

    As a context it ends the trackers, without numbers, where nobody has.
    """

    def __init__(self, trackers: Sequence[Tracker] = (), observer: Observer = SILENT) -> None:
        self.trackers, self.observer = list(trackers), observer
        self.begun = False

    def __bool__(self) -> bool:
        return bool(self.trackers)

    @property
    def figures(self) -> bool:
        """Whether one of them takes the pictures of the report."""
        return any(getattr(tracker, "figures", True) for tracker in self.trackers)

    def __enter__(self) -> Followers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.begun:
            self.end({})

    def start(self, config: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        self.begun = True
        self._each(lambda tracker: tracker.start(config, info))

    def step(self, step: int, values: Mapping[str, float]) -> None:
        self._each(lambda tracker: tracker.step(step, values))

    def epoch(self, step: int, values: Mapping[str, float]) -> None:
        self._each(lambda tracker: tracker.epoch(step, values))

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        self._each(lambda tracker: tracker.picture(step, name, image))

    def end(self, numbers: Mapping[str, float]) -> None:
        self.begun = False
        self._each(lambda tracker: tracker.end(numbers))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self.trackers):
            try:
                call(tracker)
            except Exception as error:
                self.trackers.remove(tracker)
                name = type(tracker).__name__
                self.observer.note(f"the tracker {name} failed ({error}) and gets no more of this run")
