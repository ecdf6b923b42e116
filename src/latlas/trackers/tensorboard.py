"""TensorBoard as a tracker: event files in a folder."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latlas.gallery import FIGURES
from latlas.text import printable

FOLDER = "tensorboard"  # in the run folder


class TensorBoard:
    """Writes event files: `train/NAME` at each logged step, `valid/NAME` and a picture at each epoch; at the end
    `numbers/NAME`, the configuration as text, and the pictures of the report.

    They go to a folder of the run's name in `folder`, or to the run's own, where the report stands beside them: it gets
    no pictures of it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder, self.figures = folder, folder is not None
        self.opened: Any = None
        self.place: tuple[Path, int] | None = None
        self.last, self.config = 0, ""

    def start(self, config: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        self._close()
        _say_errors_once()
        folder = Path(info["run"]) / FOLDER if self.folder is None else self.folder / printable(info["name"])
        self.place = folder, info["step"]
        self.last, self.config = (
            info["step"],
            "".join(f"    {key} = {printable(value)}\n" for key, value in config.items()),
        )

    @property
    def writer(self) -> Any:
        """What writes the files, from the first event on: its import would keep training waiting."""
        if self.place is not None and self.opened is None:
            from torch.utils.tensorboard import SummaryWriter

            folder, step = self.place
            try:
                # purge_step hides events that an interrupted process wrote after the checkpoint.
                self.opened = SummaryWriter(str(folder), purge_step=step + 1)
            except UnicodeEncodeError:  # TensorBoard takes no path that is not UTF-8
                self.place = None
        return self.opened

    def step(self, step: int, values: Mapping[str, float]) -> None:
        self._scalars(
            {name if "/" in name else f"train/{name}": value for name, value in values.items()}, step
        )

    def epoch(self, step: int, values: Mapping[str, float]) -> None:
        # The means over an epoch would be more points on the curves of the steps.
        self._scalars({name: value for name, value in values.items() if name.startswith("valid/")}, step)
        if self.writer is not None:
            self.writer.flush()

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        if self.writer is not None and (self.figures or name not in FIGURES):
            self.writer.add_image(name, image, step, dataformats="HWC")

    def end(self, numbers: Mapping[str, float]) -> None:
        self._scalars({f"numbers/{name}": value for name, value in numbers.items()}, self.last)
        if numbers and self.writer is not None:
            self.writer.add_text("configuration", self.config, self.last)
        self._close()

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        self.last = step
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def _close(self) -> None:
        if self.opened is not None:
            self.opened.close()
        self.opened = self.place = None


def _say_errors_once() -> None:
    """Takes the traceback off standard error that TensorBoard's thread leaves there where it cannot write: whoever
    writes next gets the same error.
    """
    before = threading.excepthook
    if not getattr(before, "of_latlas", False):

        def hook(failed: threading.ExceptHookArgs) -> None:
            if type(failed.thread).__name__ != "_AsyncWriterThread":
                before(failed)

        setattr(hook, "of_latlas", True)  # noqa: B010 - a function has no such attribute for mypy
        threading.excepthook = hook
