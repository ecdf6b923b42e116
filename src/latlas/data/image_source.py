"""Where an image is: a file, or in memory, as the bytes of a file or as a picture of Pillow."""

from __future__ import annotations

from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Held:
    """An image in memory by a name of its own: what holds the bytes of an image file, or a picture of Pillow."""

    name: str
    content: Any

    def __str__(self) -> str:
        return self.name


ImageSource = Path | Held


def is_encoded(file: ImageSource) -> bool:
    """Whether the bytes of an image file can be had."""
    return isinstance(file, Path) or not isinstance(file.content, Image.Image)


def opened(file: ImageSource) -> BytesIO | BufferedReader:
    """The bytes of an image file, to be read; a picture of Pillow has none."""
    if isinstance(file, Path):
        return file.open("rb")
    return BytesIO(file.content if is_encoded(file) else b"")


def name_within(root: Path, file: ImageSource) -> str:
    """What an image is called among others: its path, below `root` if it is there, or its own name."""
    if not isinstance(file, Path):
        return file.name
    return (file.relative_to(root) if file.is_relative_to(root) else file).as_posix()
