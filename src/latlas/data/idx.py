"""IDX files, the format of MNIST and its kin, plain or gzipped, alone or a folder of them."""

from __future__ import annotations

import contextlib
import gzip
import math
import re
import threading
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from io import BufferedIOBase, BytesIO
from pathlib import Path

import numpy as np

from latlas.data.room import refuse_array
from latlas.errors import InputError, LatlasError
from latlas.limits import LIMITS

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PARTS = {"train": "train", "t10k": "test", "test": "test", "valid": "valid", "val": "valid"}
_NAME = re.compile(r"(?:^|[-_.])(train|t10k|test|valid|val)[-_.]?(images|labels)[-_.]idx\d[-_]\w+(?:\.gz)?$")
_MAX_DEFLATE = 1040  # deflate cannot pack more than about 1,032 bytes into one
_AHEAD: dict[Path, Future[bytes | None]] = {}  # files that a thread unpacks


def unpack_ahead(files: Mapping[Path, int]) -> None:
    """Unpacks gzipped files of so many bytes each in a thread, for `read_idx` to find; plain ones are left alone.

    Each file is one call, which keeps nothing else from running. What is not of that size, `read_idx` reads itself.
    """
    promised = {path: Future[bytes | None]() for path in files if path.suffix == ".gz"}

    def unpack() -> None:
        for path, future in promised.items():
            content = None
            try:
                content = _unpacked(path, files[path])
            finally:
                future.set_result(content)

    with contextlib.suppress(RuntimeError):  # a process that may have no more threads
        threading.Thread(target=unpack, name="unpack", daemon=True).start()
        _AHEAD.update(promised)


def _unpacked(path: Path, size: int) -> bytes | None:
    """The content of a gzipped file of so many bytes; None where it is not whole, or of another size."""
    with contextlib.suppress(OSError, zlib.error, MemoryError), path.open("rb") as file:
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        packed = file.read(size + 2**16)  # nothing that deflate packs grows by more
        content = unpacker.decompress(packed, size + 1)
        if unpacker.eof and not unpacker.unused_data and len(content) == size:
            return content
    return None


def read_idx(path: Path) -> np.ndarray:
    """The array of one IDX file, in the machine's byte order and writable.

    Raises InputError for a file that is no IDX file, is cut short, has bytes left over or does not unpack.
    """
    ahead = _AHEAD.pop(path, None)
    try:
        if ahead is not None and (content := ahead.result()) is not None:
            return _read(BytesIO(content), path)
        with path.open("rb") as plain:
            if path.suffix != ".gz":
                return _read(plain, path)
            with gzip.GzipFile(fileobj=plain) as file:
                return _read(file, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged or cut short ({error}); get the file again") from None
    except MemoryError:
        raise LatlasError(f"{path}: does not fit into memory; free some") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read(file: BufferedIOBase, path: Path) -> np.ndarray:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or head[3] == 0:
        raise InputError(f"{path}: not an IDX file (starts with {head.hex() or 'nothing'})")
    raw = file.read(4 * head[3])
    if len(raw) < 4 * head[3]:
        raise InputError(f"{path}: cut short within its header; get the file again")
    shape = tuple(int(n) for n in np.frombuffer(raw, ">u4"))
    dtype = np.dtype(_TYPES[head[2]])
    size = math.prod(shape) * dtype.itemsize
    if size > path.stat().st_size * (_MAX_DEFLATE if path.suffix == ".gz" else 1):
        raise InputError(f"{path}: cut short: its header promises {size:,} bytes; get the file again")
    if len(shape) > (most := LIMITS["axes"].most) or math.prod(max(1, n) for n in shape) >= 2**60:
        raise InputError(
            f"{path}: its header promises {len(shape)} dimensions, {shape_text(shape)[:40]}; at most {most} that memory"
            " holds are read; get the file again"
        )
    refuse_array(size, str(path), f"an array of {shape_text(shape)} once read")
    x = np.empty(shape, dtype)
    count = _fill(file, x)
    if count < size:
        raise InputError(f"{path}: cut short: {count:,} of {size:,} bytes; get the file again")
    if file.read(1):
        raise InputError(f"{path}: more bytes than the {size:,} that its header promises; get the file again")
    return x.astype(dtype.newbyteorder("="), copy=False)


def _fill(file: BufferedIOBase, x: np.ndarray) -> int:
    """Reads until the array is full or the file ends; the number of bytes read."""
    view = x.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            break
        done += count
    return done


def idx_files(folder: Path) -> dict[str, dict[str, Path]]:
    """Part (train, valid, test) to role (images, labels) to file; empty where the folder holds no IDX files.

    Raises InputError where two files claim the same role.
    """
    files: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _NAME.search(path.name.lower())
        if not match or not path.is_file():
            continue
        part, role = _PARTS[match[1]], match[2]
        other = files.setdefault(part, {}).get(role)
        if other is not None and other.name.removesuffix(".gz") != path.name.removesuffix(".gz"):
            raise InputError(f"{folder}: both {other.name} and {path.name} hold the {part} {role}; keep one")
        # A plain file sorts before its gzipped twin and reads faster.
        files[part].setdefault(role, path)
    return files


def read_idx_folder(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Part to (images, labels or None) of a folder of IDX files.

    Raises InputError where images are missing or the numbers of images and labels differ.
    """
    parts: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for part, roles in idx_files(folder).items():
        if "images" not in roles:
            raise InputError(f"{folder}: {roles['labels'].name} has no images beside it")
        x = read_idx(roles["images"])
        y = read_idx(roles["labels"]) if "labels" in roles else None
        if y is not None and (y.ndim != 1 or len(y) != len(x)):
            raise InputError(f"{folder}: {len(x):,} {part} images but labels of shape {shape_text(y.shape)}")
        parts[part] = (x, y)
    if parts and "train" not in parts:
        raise InputError(f"{folder}: IDX files without training images (train-images-idx3-ubyte)")
    return parts


def shape_text(shape: Sequence[int]) -> str:
    """A shape as people write it: 60000x28x28."""
    return "x".join(str(n) for n in shape) or "a single number"
