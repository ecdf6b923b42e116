"""Paths as people write them, and names of files that are made of other names."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from latlas.errors import InputError

MOST_BYTES = 80  # of a part of a file's name; systems take 255 for the whole of it


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with a leading ~ or ~name expanded; as it is where there is no such home, as shells leave it."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def file_part(name: object, most: int = MOST_BYTES) -> str:
    """A name as a part of a file's name, in so many bytes at most: letters, digits and _, all else a hyphen."""
    return re.sub(r"\W+", "-", str(name)).encode("utf-8", "ignore")[:most].decode("utf-8", "ignore")


@contextlib.contextmanager
def reachable(value: object, field: str = "") -> Iterator[None]:
    """Turns what a system says of a path that is too long, or that it does not show, into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot be used as a path: {error.strerror}", field=field, value=value) from None


def working_folder_is_gone() -> bool:
    """Whether the folder that this process works in was removed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False
