"""What is read back from the folder of a run or a study: data of bounded size, and never instructions.

Nothing is read or written through a link that leads out of the folder, and everything wrong is an InputError of one
line that names the file.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import stat
import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from latlas import toml_text
from latlas.errors import InputError
from latlas.files import special_kind
from latlas.limits import LIMITS
from latlas.text import listed, size

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

# Bytes of the largest file of each kind that is read; of others the caller says it.
MOST = {
    ".json": 2**27,  # a table of a million columns has a name, a mean and a deviation of each in model.json
    ".jsonl": 2**27,
    ".toml": LIMITS["toml_bytes"].most,
    ".png": 2**26,
    ".webp": 2**26,
    ".gif": 2**26,
}
MOST_OF_WEIGHTS = 2**50  # bytes: they are compared with the free memory instead
MOST_OF_A_LINE = 2**20  # bytes of a row of a log
MOST_PIXELS = 2**26  # of a picture
DEEPEST = 32  # objects and lists inside each other; latlas writes no more than 8
MOST_DIGITS = 400  # of a number: the largest float has 309
# Of a JSON text, each in a few bytes: what they become takes far more memory, and so do the faults in them.
MOST_ENTRIES, MOST_KEYS = 2**23, 2**17  # lists, objects and their entries; keys of one object
UNPACKED, RATIO = 2**22, 100  # bytes that few may unpack to; more are so many times the packed ones at most
PICTURES = ("PNG", "WEBP", "GIF")  # the formats of a run's pictures: no other reader is ever started
REMOVE = "remove it"

_ARRAY_ERRORS = (OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, OverflowError, MemoryError,
                 RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, tokenize.TokenError)  # fmt: skip
PICTURE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, TypeError, OverflowError, RuntimeError, MemoryError,
                  KeyError, IndexError, zlib.error, struct.error)  # fmt: skip
Shape = TypeVar("Shape", bound=BaseModel)


def inside(folder: Path, name: str) -> Path:
    """Where a file of a folder really lies.

    Raises InputError where a link leads out of the folder; the folder itself may be a link.
    """
    path = folder / name
    try:
        found = path.resolve()
        if found.is_relative_to(folder.resolve()):
            return found
    except (OSError, RuntimeError, ValueError):
        raise InputError(f"{path}: a link that leads nowhere; {REMOVE}") from None
    raise InputError(
        f"{path}: leads out of {folder} by a link, and nothing outside a folder is read or written for it; put the"
        " file itself there, or remove the link"
    )


def opened(folder: Path, name: str) -> BinaryIO:
    """A file of a folder, opened to be read.

    Raises InputError where it is missing, cannot be read, is no file, or a link leads out of the folder.
    """
    path = folder / name
    try:
        # Not to wait for a pipe, and not to follow a link that was put there this moment.
        flags = (
            os.O_RDONLY
            | getattr(os, "O_NOFOLLOW", 0)
            | getattr(os, "O_NONBLOCK", 0)
            | getattr(os, "O_BINARY", 0)
        )
        handle = os.open(inside(folder, name), flags)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read: {reason}") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise InputError(f"{path}: {special_kind(mode) or 'a folder'}, and a file is expected; {REMOVE}")
    return os.fdopen(handle, "rb")


def content(folder: Path, name: str, most: int | None = None) -> bytes:
    """The bytes of a file of a folder, `most` of them or, unless given, as many as `MOST` says of its kind.

    Raises InputError as `opened` does, and for a larger file.
    """
    most = MOST[Path(name).suffix.lower()] if most is None else most
    with opened(folder, name) as stream:
        there = check_size(stream, folder / name, most)
        try:
            found = stream.read(there + 1)
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read: {error.strerror}") from None
    if len(found) > most:  # it has grown
        raise _too_large(folder / name, len(found), most)
    return found


def check_size(stream: BinaryIO, path: Path, most: int) -> int:
    """The bytes of an open file.

    Raises InputError for more than `most`.
    """
    there = os.fstat(stream.fileno()).st_size
    if there > most:
        raise _too_large(path, there, most)
    return there


def _too_large(path: Path, there: int, most: int) -> InputError:
    return InputError(f"{path}: {size(there)}, and such a file has {size(most)} at most; {REMOVE}")


def text(folder: Path, name: str) -> str:
    """The text of a file of a folder; bytes that are not UTF-8 become U+FFFD, the sign for what cannot be read.

    Raises InputError as `content` does.
    """
    return content(folder, name).decode("utf-8", "replace")


def check_writable(folder: Path, names: Iterable[str]) -> None:
    """Raises InputError where one of these files or folders, or what lies in it, is a link out of the folder, or
    neither a file nor a folder.

    Files that are renamed into their place need no check: they replace a link.
    """
    for name in names:
        for found in _entries(folder / name):
            inside(folder, str(found.relative_to(folder)))
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                if kind := special_kind(found.lstat().st_mode):
                    raise InputError(f"{found}: {kind}, where a file belongs; {REMOVE}")


def _entries(path: Path) -> Iterator[Path]:
    if path.is_symlink() or path.exists():
        yield path
        if path.is_dir() and not path.is_symlink():
            for parent, folders, files in os.walk(path):
                yield from (Path(parent) / name for name in (*folders, *files))


def parsed(data: bytes | str, where: str, finite: bool = True, remedy: str = REMOVE) -> Any:
    """The value of a JSON text; without `finite`, NaN and infinite numbers are values as well.

    Raises InputError for another text, for one that is nested too deeply, has too many entries, says a key twice or has
    a number of too many digits.
    """
    try:
        written = data.decode("utf-8") if isinstance(data, bytes) else data
        nested = written.count("[") + written.count("{")
        if nested + written.count(",") > MOST_ENTRIES:
            raise ValueError(f"more than {MOST_ENTRIES:,} entries")
        if nested > DEEPEST:
            _check_depth(written)
        number = _finite if finite else float
        constant = _constant if finite else float
        return json.loads(
            written, object_pairs_hook=_once, parse_float=number, parse_int=_whole, parse_constant=constant
        )
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: damaged: not as JSON is written ({_reason(error)}); {remedy}") from None


def _reason(error: Exception) -> str:
    return str(error) if len(str(error)) < 200 else type(error).__name__


def _check_depth(written: str) -> None:
    """Raises ValueError for objects and lists that lie too deep inside each other."""
    depth = 0
    # A text that never ends is one too: looked for anew from each quote, it would take the square of its length.
    for sign in re.finditer(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', written, re.DOTALL):
        first = sign[0][0]
        depth += 1 if first in "[{" else -1 if first in "]}" else 0
        if depth > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} deep")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MOST_KEYS:
        raise ValueError(f"an object of {len(pairs):,} keys, and {MOST_KEYS:,} are the most")
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"{shown(twice)} stands there twice")
    return found


def _finite(digits: str) -> float:
    value = float(digits) if len(digits) <= MOST_DIGITS else math.inf
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def json_object(folder: Path, name: str, remedy: str = REMOVE) -> dict[str, Any]:
    """The object in a JSON file of a folder.

    Raises InputError for anything else.
    """
    value = parsed(content(folder, name), str(folder / name), remedy=remedy)
    if not isinstance(value, dict):
        raise InputError(f"{folder / name}: damaged: expected a JSON object, got {shown(value)}; {remedy}")
    return value


def json_of(shape: type[Shape], folder: Path, name: str, remedy: str = REMOVE) -> dict[str, Any]:
    """The object in a JSON file of a folder, whose shape is checked and which is given as it stands there.

    Raises InputError that names the field which is wrong.
    """
    value = json_object(folder, name, remedy)
    validated(shape, value, str(folder / name), remedy)
    return value


def validated(shape: type[Shape], value: object, where: str, remedy: str = REMOVE) -> Shape:
    """A value as that shape.

    Raises InputError that names the first field which is wrong, its value, what is expected and what to do.
    """
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"])) or "it"
    if first["type"] == "missing":
        said = f"{shown(place)} is missing"
    else:
        expected = re.sub("^Value error, | after validation", "", first["msg"])
        expected = re.sub("^(Input should be|[A-Z][a-z]+ should have)", "expected", expected)
        said = f"{place if place.isprintable() else shown(place)} is {shown(first['input'])}; {expected}"
    raise InputError(f"{where}: damaged: {said[:400]}; {remedy}")


def shown(value: object) -> str:
    """A value of a damaged file in at most 60 characters, for a message."""
    if isinstance(value, dict | list | tuple):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value):,}"
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    found = json.dumps(value, ensure_ascii=True) if isinstance(value, str) else repr(value)
    return found if len(found) <= 60 else f"{found[:57]}..."


def toml(folder: Path, name: str) -> dict[str, Any]:
    """The values of a TOML file of a folder.

    Raises InputError as `content` and `toml_values` do.
    """
    return toml_values(text(folder, name), str(folder / name))


def toml_values(given: str, where: str) -> dict[str, Any]:
    """The values of a TOML text.

    Raises InputError for what `toml_text.parsed` does not read.
    """
    try:
        return toml_text.parsed(given)
    except ValueError as error:
        raise InputError(f"{where}: cannot be read as TOML: {_reason(error)}") from None


def rows(folder: Path, name: str, shape: type[BaseModel], remedy: str) -> list[dict[str, Any]]:
    """The rows of a file with a JSON object on each line, without a last line that a killed process left incomplete.

    Raises InputError for another line and for a row of another shape, with the number of its line.
    """
    found = []
    with opened(folder, name) as stream:
        check_size(stream, folder / name, MOST[".jsonl"])
        number = 0
        while line := stream.readline(MOST_OF_A_LINE):
            number += 1
            where = f"{folder / name}: line {number}"
            if line.strip():
                try:
                    row = parsed(line, where, remedy=remedy)
                except InputError:
                    if line.endswith(b"\n") or len(line) == MOST_OF_A_LINE:
                        raise
                    break
                validated(shape, row, where, remedy)
                found.append(row)
    return found


@dataclass(frozen=True)
class Expected:
    """What an array has to be: of one of these `kinds` of NumPy's, as "iu", and of this shape; None is any number."""

    kinds: str
    shape: tuple[int | None, ...]

    def fits(self, dtype: np.dtype, there: tuple[int, ...]) -> bool:
        same = len(there) == len(self.shape)
        return (
            dtype.kind in self.kinds
            and same
            and all(n in (None, m) for n, m in zip(self.shape, there, strict=True))
        )

    def __str__(self) -> str:
        words = {"f": "floats", "i": "integers", "u": "unsigned integers", "b": "truth values"}
        numbers = " or ".join(words[kind] for kind in self.kinds)
        return f"{numbers} of shape ({', '.join('N' if n is None else str(n) for n in self.shape)})"


def arrays(
    folder: Path, name: str, expected: Mapping[str, Expected], room: float, remedy: str = REMOVE
) -> dict[str, np.ndarray]:
    """The arrays of these names in an .npz file of a folder, those that it has; no other one is unpacked.

    Raises InputError where it is no such file, or one of them is no array of the shape and type that are expected, or
    says that it is larger than it is, or they take more bytes than there is `room`; that is seen before one is
    unpacked.
    """
    try:
        with opened(folder, name) as stream, zipfile.ZipFile(stream) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            found = {key: members[key] for key in expected if key in members}
            if (needed := sum(info.file_size for info in found.values())) > room:
                more = f"{listed(list(found))} take {size(needed)}, too much for the free memory"
                raise InputError(f"{folder / name}: {more}")
            return {key: _member(archive, info, expected[key]) for key, info in found.items()}
    except _ARRAY_ERRORS as error:
        said = f" ({error})" if isinstance(error, _Unfit) else ""
        raise InputError(f"{folder / name}: damaged, or not written by latlas{said}; {remedy}") from None


class _Unfit(ValueError):
    """An array that is none, or another than is expected."""


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, expected: Expected) -> np.ndarray:
    if info.file_size > max(UNPACKED, RATIO * info.compress_size):
        raise _Unfit(f"{info.filename} would unpack {size(info.compress_size)} to {size(info.file_size)}")
    with archive.open(info) as member:
        return _array(member, info.filename.removesuffix(".npy"), info.file_size, expected)


def _array(stream: Any, name: str, there: int, expected: Expected) -> np.ndarray:
    """The array of a stream in NumPy's format that has so many bytes.

    Raises ValueError, as NumPy does, and for another array than is expected.
    """
    import numpy as np

    kind = np.lib.format.read_magic(stream)
    if kind not in ((1, 0), (2, 0)):
        raise _Unfit(f"{name} is of NumPy's format {kind[0]}.{kind[1]}, not 1.0 or 2.0")
    header = np.lib.format.read_array_header_1_0 if kind == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    if not expected.fits(dtype, shape):
        raise _Unfit(f"{name} is {dtype} of shape {shape}"[:120] + f"; expected {expected}")
    bytes_ = math.prod(shape) * dtype.itemsize
    if stream.tell() + bytes_ != there:
        raise _Unfit(
            f"{name} says that it has {size(bytes_)}, and {size(max(0, there - stream.tell()))} are there"
        )
    found = stream.read(bytes_)
    if len(found) != bytes_:
        raise _Unfit(f"{name} ends early")
    array = np.frombuffer(found, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))


def picture(data: bytes, where: str) -> Image:
    """A picture of a run, not yet decoded: a PNG, WebP or GIF.

    Raises InputError where it is none, has too many pixels or unpacks texts without end.
    """
    import warnings

    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata and of films that Pillow takes for pictures
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=PICTURES)
            if math.prod(image.size) > MOST_PIXELS or getattr(image, "n_frames", 1) > 10_000:
                raise ValueError(f"{image.width}x{image.height} pixels")
            return image
    except (*PICTURE_ERRORS, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{where}: no picture that can be read ({_reason(error)}); {REMOVE}") from None


def pixels(folder: Path, name: str) -> np.ndarray:
    """The pixels (H, W, 3) of a picture of a folder.

    Raises InputError as `content` and `picture` do.
    """
    import numpy as np

    try:
        with picture(content(folder, name), str(folder / name)) as image:
            return np.asarray(image.convert("RGB"))
    except PICTURE_ERRORS as error:
        raise InputError(
            f"{folder / name}: no picture that can be read ({_reason(error)}); {REMOVE}"
        ) from None
