"""Temporaries of a process: files and folders that it writes under a name of their own, and renames once whole.

Their process holds a lock on each. What a killed process left behind is removed by the next one of the same user that
makes a temporary in the same folder: at once where the lock tells that nobody writes it any more, and after a day where
it cannot tell, as of another machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from latlas.errors import LatlasError

try:
    import fcntl
except ImportError:  # not on Windows; there age alone tells
    fcntl = None  # type: ignore[assignment]

SAFE_AGE = 86_400.0  # seconds without a change, after which nobody writes a temporary that no lock tells of
_NAME = re.compile(r"\.latlas\.tmp-([0-9a-f]{8})-[0-9a-f]{16}")
_SWEPT: set[Path] = set()


@cache
def machine_name() -> str:
    """What processes have in common that see each other's locks: the boot of a kernel, or else the host's name."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return socket.gethostname()


@contextlib.contextmanager
def temporary(parent: Path, folder: bool = False, mode: int = 0o777) -> Iterator[Path]:
    """A new file, empty, or a new folder in `parent`; after the block it is gone, unless it was renamed.

    Raises OSError where it cannot be made.
    """
    if (place := parent.absolute()) not in _SWEPT:
        sweep(place)
        _SWEPT.add(place)
    path, handle = _made(parent, folder, mode)
    try:
        yield path
    finally:
        _remove(path)
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for this process alone, where the system keeps temporary files; after the block it is gone.

    Raises LatlasError where there is no such place.
    """
    with contextlib.ExitStack() as stack:
        try:
            parent = Path(tempfile.gettempdir())
            path = stack.enter_context(temporary(parent, folder=True, mode=0o700))
        except OSError as error:
            raise LatlasError(
                f"no place for temporary files ({error.strerror}); let TMPDIR name a folder that can be written"
            ) from None
        yield path


def tidy(folder: Path) -> None:
    """Removes what killed processes left in a folder and in the folders in it."""
    with contextlib.suppress(OSError):
        inside = [Path(entry) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        for each in (folder, *inside):
            sweep(each)


def sweep(folder: Path) -> None:
    """Removes the temporaries in a folder that no process writes any more; what cannot be removed stays."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found is not None:
                with contextlib.suppress(OSError):
                    _sweep_one(Path(entry), found[1])


def _sweep_one(path: Path, machine: str) -> None:
    about = path.lstat()
    if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
        return  # no temporary of ours
    if hasattr(os, "geteuid") and about.st_uid != os.geteuid():
        return
    if fcntl is None:
        if _is_old(path):
            _remove(path)
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        own = machine == _machine()
    except BlockingIOError:
        return  # a living process writes it
    except OSError:
        own = False  # a file system without locks
    try:
        if own or _is_old(path):
            _remove(path)
    finally:
        os.close(handle)


def _is_old(path: Path) -> bool:
    """Whether neither it nor what is in it has changed for so long that nobody writes it."""
    newest = max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
    return time.time() - newest > SAFE_AGE


def _made(parent: Path, folder: bool, mode: int) -> tuple[Path, int | None]:
    """A new temporary and the handle that holds its lock."""
    while True:
        path = parent / f".latlas.tmp-{_machine()}-{secrets.token_hex(8)}"
        if folder:
            path.mkdir(mode)
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        if fcntl is None:
            return path, None
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process swept it before it had its lock
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():
            return path, handle
        os.close(handle)


def _machine() -> str:
    return hashlib.sha256(machine_name().encode()).hexdigest()[:8]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):  # it was not renamed
        with contextlib.suppress(OSError):
            path.unlink()
