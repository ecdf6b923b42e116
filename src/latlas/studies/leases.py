"""Who trains which run: leases, small files in the folder that a study's processes share, on one host or on several.

A lease is a file NAME.1, which exactly one process can create. Where its owner is dead, one process can create NAME.2
and go on, and so forth. None is removed while the study goes on, so that nobody takes an old one for the newest.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from latlas import reading
from latlas.errors import InputError, LatlasError
from latlas.formats import Count, Stored, Text
from latlas.temporaries import machine_name, temporary

try:
    import fcntl
except ImportError:  # not on Windows; there every owner is judged by its signs of life
    fcntl = None  # type: ignore[assignment]

FOLDER = ".leases"
MOST_OF_A_NOTE = 2**20  # bytes
FAILED = ".failed"  # the ending of a note on a run that failed
BEAT = 2.0  # seconds between two signs of life
EXPIRES = 180.0  # seconds without one, after which an owner that cannot be asked counts as dead
_ROOM = 1024  # bytes of a lease, so that one write replaces all of it

State = Literal["held", "dead", "released"]


class _Written(Stored):
    """What a lease says."""

    machine: Text = ""
    host: Text = ""
    pid: Count = 0
    locked: bool = False
    released: bool = False
    done: Count = 0
    total: Count = 0


@dataclass(frozen=True)
class Seen:
    """The newest lease of a name: held by a living process, left by a dead one, or given back; its owner's `pid` on
    this machine, and how far its work is.
    """

    state: State
    pid: int = 0
    host: str = ""
    done: int = 0
    total: int = 0


class Lease:
    """A name that this process holds; inside its block a thread gives signs of life, and then it is given back.

    `asked` says whether the work is to stop; so does `stopping`, which is also true where the lease is lost.
    """

    def __init__(self, path: Path, generation: int, asked: Callable[[], bool] | None = None) -> None:
        self._file, self._successor = _file(path, generation), _file(path, generation + 1)
        self.asked = asked or (lambda: False)
        self.stopping = self.lost = False
        self.done = self.total = 0
        # Raises FileExistsError where another process was quicker.
        self._handle = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        self._locked = _lock(self._handle)
        self._end, self._thread = threading.Event(), threading.Thread(target=self._live, daemon=True)
        self._write()

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._write(released=True)
        os.close(self._handle)

    def _live(self) -> None:
        while not self._end.wait(BEAT):
            self.lost = self.lost or self._successor.exists()
            self.stopping = self.stopping or self.lost or self.asked()
            if not self.lost:
                with contextlib.suppress(OSError):
                    self._write()

    def _write(self, released: bool = False) -> None:
        values = {"machine": machine_name(), "host": socket.gethostname(), "pid": os.getpid(), "locked": self._locked,
                  "released": released, "done": self.done, "total": self.total}  # fmt: skip
        os.lseek(self._handle, 0, os.SEEK_SET)
        os.write(self._handle, json.dumps(values).ljust(_ROOM).encode())
        os.utime(self._file)  # other hosts see the time at once, the contents somewhat later


def _file(path: Path, generation: int) -> Path:
    return path.with_name(f"{path.name}.{generation}")


def _lock(handle: int) -> bool:
    """Locks a lease for as long as this process lives; whether that could be done."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def take(
    out: Path, name: str, asked: Callable[[], bool] | None = None, only_dead: bool = False
) -> Lease | None:
    """The lease of that name; None where a living process holds it or, with `only_dead`, where no process died with it.

    Raises LatlasError where the folder cannot be written.
    """
    folder = out / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        newest = _newest(folder).get(name, 0)
        seen = _seen(_file(folder / name, newest)) if newest else Seen("released")
        if seen.state == "held" or (only_dead and seen.state != "dead"):
            return None
        return Lease(folder / name, newest + 1, asked)
    except (FileExistsError, FileNotFoundError):
        return None  # another process was quicker, or has finished the study
    except OSError as error:
        raise LatlasError(f"{folder}: cannot be written: {error.strerror}") from None


def look(out: Path, names: Collection[str]) -> dict[str, Seen]:
    """The newest lease of each of these names, where it has one."""
    folder = out / FOLDER
    newest = _newest(folder)
    return {name: _seen(_file(folder / name, newest[name])) for name in names if name in newest}


def _newest(folder: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name, _, number = entry.name.rpartition(".")
            if number.isdecimal():
                found[name] = max(found.get(name, 0), int(number))
    return found


def _seen(file: Path) -> Seen:
    said = _Written()
    try:
        if not file.exists():
            return Seen("released")
        with contextlib.suppress(InputError):  # it is being written this moment, or is none
            text = reading.content(file.parent.parent, f"{FOLDER}/{file.name}", MOST_OF_A_NOTE)
            said = reading.validated(_Written, reading.parsed(text, str(file)), str(file))
        living = not said.released and _lives(file, said)
    except FileNotFoundError:
        return Seen("released")
    state: State = "released" if said.released else "held" if living else "dead"
    own = said.machine == machine_name()
    return Seen(state, said.pid if own else 0, said.host, said.done, said.total)


def _lives(file: Path, said: _Written) -> bool:
    """Whether the owner of a lease lives: on this machine its lock tells, elsewhere its last sign of life."""
    if fcntl is not None and said.locked and said.machine == machine_name():
        with file.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
            return False
    return now(file.parent) - file.stat().st_mtime < EXPIRES


def now(folder: Path) -> float:
    """The time by the clock of the file system, which all hosts share."""
    with temporary(folder) as probe:
        return probe.stat().st_mtime


def begin(out: Path) -> float:
    """Makes the folder of the leases; gives the time, after which runs that fail have failed in this call.

    Raises LatlasError where it cannot be written.
    """
    try:
        (out / FOLDER).mkdir(exist_ok=True)
        return now(out / FOLDER)
    except OSError as error:
        raise LatlasError(f"{out / FOLDER}: cannot be written: {error.strerror}") from None


def fail(out: Path, name: str, reason: str) -> None:
    """Notes why a run failed, for all processes of the study."""
    with contextlib.suppress(OSError):  # then the next process tries the run, and says it again
        (out / FOLDER / f"{name}{FAILED}").write_text(reason, encoding="utf-8", errors="replace")


def failures(out: Path, since: float = 0.0) -> dict[str, str]:
    """Why runs failed, by name; only of failures after the time `since`."""
    found: dict[str, str] = {}
    for path in sorted((out / FOLDER).glob(f"*{FAILED}")):
        with contextlib.suppress(FileNotFoundError, InputError):  # it was removed, or is no such note
            if path.stat().st_mtime >= since:
                said = reading.content(out, f"{FOLDER}/{path.name}", MOST_OF_A_NOTE)
                found[path.name.removesuffix(FAILED)] = said.decode("utf-8", "replace")
    return found


def forget_failure(out: Path, name: str) -> None:
    """Removes the note that a run failed, as it is tried again."""
    (out / FOLDER / f"{name}{FAILED}").unlink(missing_ok=True)


def request_stop(out: Path, session: str) -> Path:
    """The file that asks all processes of a session to stop."""
    return out / FOLDER / f".stop-{session}"


def clear(out: Path) -> None:
    """Removes all leases, once nothing is left to train."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)
