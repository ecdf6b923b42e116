"""What an export wrote, and how far it is from the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Written:
    """One format: its `path`, the `files` there, and by output (mean, std, x) the largest `differences` from the model,
    as `checked_by` computed them; none of the hub's layout, which holds the weights themselves.
    """

    path: Path
    files: tuple[Path, ...]
    differences: dict[str, float]
    checked_by: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        about = {"path": str(self.path), "files": [str(file) for file in self.files]}
        return about | (
            {"differences": self.differences, "checked_by": self.checked_by} if self.checked_by else {}
        )


@dataclass(frozen=True)
class Exported:
    """What `latlas.export` wrote of a run, None for a model alone: each format, None where it was not asked for, and a
    line on each part that was `left_out`.
    """

    run: Path | None = None
    onnx: Written | None = None
    hub: Written | None = None
    torch: Written | None = None
    html: Written | None = None
    left_out: tuple[str, ...] = ()

    @property
    def formats(self) -> dict[str, Written]:
        """The formats that were written, by name."""
        known = {"onnx": self.onnx, "hub": self.hub, "torch": self.torch, "html": self.html}
        return {name: written for name, written in known.items() if written is not None}
