"""NumPy's files: what their headers declare is checked before memory is taken, and only what is wanted is unpacked."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from latlas.data.room import refuse_array, within_memory
from latlas.data.stored import HEADERS
from latlas.errors import InputError, LatlasError
from latlas.limits import LIMITS
from latlas.text import listed, shortened, size

_PLAIN = "save plain numbers with numpy.save or numpy.savez"


@dataclass(frozen=True)
class Header:
    """What an .npy file, or an entry of an .npz, declares: its shape and dtype, and the bytes of its header."""

    shape: tuple[int, ...]
    dtype: np.dtype
    length: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def stand_in(self) -> np.ndarray:
        """An array of that shape and dtype that takes no memory."""
        return np.broadcast_to(np.zeros((), self.dtype), self.shape)


Wanted = Callable[[Mapping[str, Any]], Collection[str]]


def read_arrays(path: Path, wanted: Wanted | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name; that of an .npy as `x`.

    `wanted` says by their shapes and types which of them are unpacked; in place of the others stand arrays of zeros
    that take no memory. Raises InputError for a file that cannot be read, or only by unpickling, that is shorter than
    it says, or for whose arrays there is no room.
    """
    try:
        with path.open("rb") as file, within_memory(str(path), "free memory, or save it as an .npy file"):
            if file.read(2) == b"PK":
                return _unpacked(file, path, wanted)
            file.seek(0)
            header = _header(file)
            _check(header, path.stat().st_size, str(path))
            refuse_array(header.nbytes, str(path), f"an array of {_form(header)}")
            file.seek(0)
            return {"x": np.lib.format.read_array(file, allow_pickle=False)}
    except LatlasError:
        raise
    except Exception as error:  # on damaged bytes, the readers of zip, zlib and NumPy's header raise anything
        raise InputError(f"{path}: {_why(error)}") from None


def check_file(path: Path) -> None:
    """Raises InputError for an .npy file whose header cannot be read, or promises other than what is there."""
    try:
        with path.open("rb") as file:
            _check(_header(file), path.stat().st_size, str(path))
    except InputError:
        raise
    except Exception as error:  # as above
        raise InputError(f"{path}: {_why(error)}") from None


def _unpacked(file: IO[bytes], path: Path, wanted: Wanted | None) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        names = [about.filename.removesuffix(".npy") for about in archive.infolist()]
        if len(names) > (most := LIMITS["entries"].most):
            raise InputError(f"{path}: {len(names):,} entries; expected {most:,} at most")
        entries = dict(zip(names, archive.infolist(), strict=True))
        if len(entries) < len(names):
            twice, _ = Counter(names).most_common(1)[0]
            raise InputError(f"{path}: more than one entry called {twice!r}; write it anew with numpy.savez")
        headers: dict[str, Header | str] = {}
        for name, about in entries.items():
            with archive.open(about) as entry:
                try:
                    headers[name] = header = _header(entry)
                    _check(header, about.file_size, f"{path}: {name}")
                except InputError as error:
                    headers[name] = str(error)
                except Exception as error:  # as above
                    headers[name] = f"{path}: {name!r}: {_why(error)}"
        shown = {
            name: h.stand_in() if isinstance(h, Header) else np.zeros(0, "S1") for name, h in headers.items()
        }
        asked = shown if wanted is None else wanted(shown)
        chosen = [name for name in shown if name in asked]
        found = [(name, headers[name]) for name in chosen]
        if wrong := next((h for _, h in found if isinstance(h, str)), ""):
            raise InputError(wrong)
        total = sum(h.nbytes for _, h in found if isinstance(h, Header))
        refuse_array(total, str(path), f"{listed(list(map(repr, chosen)))} once unpacked" if chosen else "")
        for name in chosen:
            with archive.open(entries[name]) as entry:
                shown[name] = np.lib.format.read_array(entry, allow_pickle=False)
        return shown


def _header(file: IO[bytes]) -> Header:
    """The header of an .npy file, at its start.

    Raises ValueError for what is none, and for Python objects.
    """
    read = HEADERS.get(np.lib.format.read_magic(file))
    if read is None:
        raise ValueError("a version of the format that cannot be read")
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("pickle")
    header = Header(shape, dtype, file.tell())
    if len(shape) > LIMITS["axes"].most or any(n < 0 for n in shape):
        raise ValueError(f"an array of {len(shape)} axes, {str(shape)[:60]}")
    if math.prod(max(1, n) for n in shape) * max(1, dtype.itemsize) >= 2**63:
        raise ValueError(f"an array of {_form(header)}, which no machine holds")
    return header


def _check(header: Header, there: int, where: str) -> None:
    """Raises InputError where a file, or an entry, of so many bytes is not what its header declares.

    More bytes are no less damage: a header that lost rows would lose them in silence.
    """
    if header.length + header.nbytes < there:
        raise InputError(
            f"{where}: {size(there)}, and its header promises {_form(header)}, {size(header.nbytes)}: it holds more"
            " than one array, or is damaged; save each array in a file of its own, or get the file again"
        )
    if header.length + header.nbytes > there:
        raise InputError(
            f"{where}: cut short: its header promises {_form(header)}, {size(header.nbytes)}, and"
            f" {size(max(0, there - header.length))} are there; get the file again"
        )


def _form(header: Header) -> str:
    return f"{'x'.join(map(str, header.shape)) or 'one number'} of {header.dtype}"


def _why(error: Exception) -> str:
    if "pickle" in str(error) or "magic string" in str(error):
        return f"holds Python objects or is no NumPy file; {_PLAIN}"
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return f"cannot be read ({shortened(text) or type(error).__name__})"
