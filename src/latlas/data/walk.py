"""The files below a folder: links are followed, loops are seen, and what is no data is passed over by name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latlas.files import special_kind

# What file managers, storage boxes and archives leave behind; everything else that is hidden begins with a dot.
_SYSTEM = frozenset(
    ("__macosx", "@eadir", "@recycle", "@recently-snapshot", "@tmp", "@__thumb", "#recycle", "#snapshot",
     "$recycle.bin", "recycler", "system volume information", "lost+found", "lost.dir", "__pycache__", "thumbs.db",
     "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r")
)  # fmt: skip
_SYSTEM_PREFIXES = (".", "@syno", "~$")


@dataclass
class Found:
    """What lies below a folder, by its path from there: `files`, the `folders` read, and what was passed over.

    `again` are links to what is read elsewhere already, with its path there.
    """

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    broken_links: list[str] = field(default_factory=list)
    special: list[tuple[str, str]] = field(default_factory=list)
    again: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def walk(root: Path) -> Found:
    """Every file below a folder, through links to files and folders, each folder once.

    What is there itself goes before what is linked, so that of two ways to one folder the link is passed over.
    """
    found = Found()
    seen: dict[tuple[int, int] | str, str] = {}
    folders, links, file_links = [""], list[str](), list[str]()
    while folders or links:
        if not folders:
            links.sort(key=natural_key)
        path = folders.pop() if folders else links.pop(0)
        try:
            identity = _identity(root / path)
            if identity in seen:
                found.again.append((path, seen[identity] or "."))
                continue
            seen[identity] = path
            found.folders.append(path)
            with os.scandir(root / path) as entries:
                for entry in entries:
                    below = f"{path}/{entry.name}" if path else entry.name
                    _sort_in(entry, below, found, folders, links, file_links)
        except OSError as error:
            found.unreadable.append((path or ".", error.strerror or type(error).__name__))
    _add_linked(root, sorted(file_links, key=natural_key), found)
    return found


def _sort_in(
    entry: os.DirEntry[str],
    path: str,
    found: Found,
    folders: list[str],
    links: list[str],
    file_links: list[str],
) -> None:
    if is_hidden(entry.name):
        found.hidden.append(path)
    elif entry.is_dir(follow_symlinks=False):
        folders.append(path)
    elif entry.is_file(follow_symlinks=False):
        found.files.append(path)
    else:
        try:
            mode = entry.stat().st_mode
        except OSError:  # nothing is there, or links that lead in a circle
            found.broken_links.append(path)
            return
        kind = special_kind(mode)
        if kind:
            found.special.append((path, kind))
        else:
            (links if entry.is_dir() else file_links).append(path)


def _identity(folder: Path) -> tuple[int, int] | str:
    status = folder.stat()
    # Some file systems number nothing.
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(folder)


def _add_linked(root: Path, links: Sequence[str], found: Found) -> None:
    """Adds the links to files, but for those to a file that is read already."""
    if not links:
        return
    files = [Path(file) for file in found.files]
    parents = {folder: Path(os.path.realpath(root / folder)) for folder in {file.parent for file in files}}
    read = {str(parents[file.parent] / file.name): file.as_posix() for file in files}
    for link in links:
        first = read.setdefault(os.path.realpath(root / link), link)
        if first == link:
            found.files.append(link)
        else:
            found.again.append((link, first))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or is a system's own."""
    lower = name.lower()
    return lower in _SYSTEM or lower.startswith(_SYSTEM_PREFIXES)


def natural_key(path: str | Path) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """Sorts img2 before img10, folder by folder."""
    return tuple(
        (*map(_number_or_text, re.findall(r"\d+|\D+", part.lower())), (2, 0, part))
        for part in Path(path).parts
    )


def _number_or_text(piece: str) -> tuple[int, int, str]:
    return (0, int(piece), "") if piece.isdecimal() else (1, 0, piece)
