"""Files that are either whole or not there, however the process ends, and folders that one process writes at a time."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latlas.errors import InputError, LatlasError, alternatives
from latlas.places import reachable
from latlas.temporaries import temporary


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes the file under another name, flushes it to disk and renames it: readers see the old or the new
    one.

    Raises LatlasError naming the file when it cannot be written (full disk, no permission); what was there
    stays.
    """
    # A name that is not UTF-8 becomes an escape, as a page or a log must never fail for it.
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    try:
        with temporary(path.parent) as new:
            with new.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(path)
    except OSError as error:
        raise LatlasError(f"{path}: cannot be written: {error.strerror or error}") from None


def check_output(path: Path, endings: Sequence[str], inputs: Sequence[Path] = (), field: str = "out") -> None:
    """Checks the name of a file to write; a file that is there already is overwritten, as all outputs are.

    Raises InputError for another ending, a folder that does not exist, a folder in the file's place, and a file of the
    call's own `inputs`.
    """
    if path.suffix.lower() not in endings:
        raise InputError(f"expected a name ending in {alternatives(endings)}", field=field, value=path)
    with reachable(path, field):
        _check_parent(path, field)
        if path.is_dir():
            raise InputError("is a folder; give the name of a file", field=field, value=path)
        if any(other.is_file() and path.exists() and path.samefile(other) for other in inputs):
            raise InputError(
                "holds the data that this call reads; choose another name", field=field, value=path
            )


def check_folder(path: Path, field: str = "out") -> None:
    """Checks the name of a folder to write; one that holds something is never written over.

    Raises InputError for a file, for a folder with something in it, and where the folder around it does not exist.
    """
    with reachable(path, field):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError("exists already; choose a new or an empty folder", field=field, value=path)
        _check_parent(path, field)


def _check_parent(path: Path, field: str) -> None:
    """Raises InputError where nothing can be written beside a path, before anything is computed."""
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist", field=field, value=path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"the folder {path.parent} cannot be written", field=field, value=path)


Contents = Mapping[str, bytes | str | Mapping[str, Any]]
"""Files of a folder by name: bytes, text, or values that are written as JSON."""


def write_folder(parent: Path, contents: Contents, place: Callable[[Path], Path]) -> Path:
    """Writes a folder of files under another name inside `parent`, and lets `place` rename it: others see all of its
    files or none.

    Raises LatlasError when it cannot be written; then nothing of it stays.
    """
    try:
        with temporary(parent, folder=True) as new:
            for name, content in contents.items():
                (new / name).parent.mkdir(exist_ok=True)
                write = write_json if isinstance(content, Mapping) else write_atomic
                write(new / name, content)  # type: ignore[arg-type]
            return place(new)
    except OSError as error:
        raise LatlasError(f"{parent}: cannot be written: {error.strerror}") from None


def write_new_folder(path: Path, contents: Contents) -> Path:
    """Writes a folder, which is new or empty, whole or not at all.

    Raises LatlasError when it cannot be written.
    """

    def place(temporary: Path) -> Path:
        try:
            return temporary.replace(target)  # fails where something was put into it meanwhile
        except OSError as error:
            raise LatlasError(f"{path}: cannot be made: {error.strerror}") from None

    target = path.resolve()
    return write_folder(target.parent, contents, place)


_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def special_kind(mode: int) -> str:
    """What a file of this mode is if it is neither a file nor a folder, and so never to be waited for; else empty."""
    return _SPECIAL.get(stat.S_IFMT(mode), "")


def refuse_special(path: Path) -> None:
    """Raises InputError for a pipe, a socket or a device, from which reading may never end."""
    try:
        kind = special_kind(path.stat().st_mode)
    except (OSError, ValueError):
        return  # whoever opens it says what is wrong
    if kind:
        raise InputError(f"{path}: {kind}, not a file; write its contents to a file and give that")


def usual_mode(path: Path) -> None:
    """Gives a file the mode of any new one: a temporary file's 0600 would keep colleagues out of a shared folder."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON as `write_atomic` does."""
    write_atomic(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


class Busy(InputError):
    """A run folder that another process holds."""


@contextlib.contextmanager
def exclusively(folder: Path) -> Iterator[None]:
    """Holds a run folder's lock, so that one process at a time trains it; where the system, or the file system, has no
    locks, nothing is held.

    Raises Busy when another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    # Never by a link, nor emptied: the folder may be somebody else's, and the link lead to anything.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(folder / ".lock", flags, 0o666)
    except OSError as error:
        raise LatlasError(f"{folder / '.lock'}: cannot be written: {error.strerror}") from None
    with os.fdopen(handle, "r+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{folder}: another process is training this run") from None
        except OSError:
            pass  # a file system without locks
        yield
