"""Weights: tensors by name as safetensors files with a checksum and back, and into a model."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch.overrides import TorchFunctionMode

from latlas import reading
from latlas.data.room import refuse_beyond_room
from latlas.errors import InputError
from latlas.models import Model

LARGEST_HEADER = 2**24  # bytes of names and shapes
# A header begins with the SHA-256 of the whole file, in which the places of its own digits are zeros.
_BEGINNING = b'{"__metadata__":{"sha256":"'
_ZEROS = b"0" * 64
_DIGEST = slice(8 + len(_BEGINNING), 8 + len(_BEGINNING) + len(_ZEROS))
_CHANGED = 3  # bytes of the beginning that may differ where a file with a checksum is damaged just there
# Functions that make a tensor, and those whose first two numbers are its sides.
_MAKERS = ("empty", "zeros", "ones", "full", "rand", "randn", "randint", "arange", "linspace", "randperm")
_SQUARE = ("eye", "tril_indices", "triu_indices")


def to_bytes(tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    """The content of a safetensors file of these tensors, whose metadata begin with the checksum `sha256`."""
    plain: dict[str, torch.Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        # Weights that two layers share are written for each of them.
        plain[name] = own.clone() if own.data_ptr() in places else own
        places.add(own.data_ptr())
    bare = save(plain)
    begin = 8 + int.from_bytes(bare[:8], "little")
    header = {"__metadata__": {"sha256": _ZEROS.decode(), **metadata}, **json.loads(bare[8:begin])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors lie at multiples of 8 bytes
    head, data = bytearray(len(text).to_bytes(8, "little") + text), memoryview(bare)[begin:]
    head[_DIGEST] = _digest(head, data)
    return b"".join([head, data])


def _digest(*parts: Any) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest().encode()


def _check_digest(content: bytes, named: bool) -> None:
    """Raises ValueError where the bytes are not those that were written; a file without a checksum is left alone.

    `named`: whether its metadata have one, wherever it stands.
    """
    there = content[8 : 8 + len(_BEGINNING)]
    different = sum(a != b for a, b in zip(there, _BEGINNING, strict=False))
    if not different:
        view = memoryview(content)
        whole = _digest(view[: _DIGEST.start], _ZEROS, view[_DIGEST.stop :])
        if whole == content[_DIGEST]:
            return
    if named or different <= _CHANGED:
        raise ValueError("its checksum is of other bytes")


def read_tensors(folder: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file of a folder.

    Raises InputError if it is missing, damaged or larger than the free memory.
    """
    path = folder / name
    with reading.opened(folder, name) as stream:
        _header(stream, path)
        there = reading.check_size(stream, path, reading.MOST_OF_WEIGHTS)
        refuse_beyond_room(2 * there, str(path), "the file and its tensors, side by side", "free some")
        stream.seek(0)
        content = stream.read()
    return tensors_in(content, path)


def tensors_in(content: bytes, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file's `content`.

    Raises InputError, which names the `path`, if it is damaged.
    """
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header.get("__metadata__", {})
        _check_digest(content, "sha256" in metadata)
        # Not safe_open, which takes no path that is not UTF-8.
        return load_tensors(content), metadata
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise _damaged(path, error) from None


class Damaged(InputError):
    """A file of tensors is not as it was written."""


def _damaged(path: Path, reason: object) -> Damaged:
    return Damaged(f"{path}: damaged or not a safetensors file: {str(reason)[:200]}")


def metadata(folder: Path, name: str) -> dict[str, str]:
    """The metadata of a safetensors file of a folder, whose tensors are neither read nor checked.

    Raises InputError if it has none.
    """
    with reading.opened(folder, name) as stream:
        found = _header(stream, folder / name).get("__metadata__", {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _damaged(folder / name, "metadata are texts")
    return found


def declared(folder: Path, name: str) -> list[int]:
    """How many values each tensor of a safetensors file of a folder has, by its header.

    Raises InputError if it says more than its file can hold.
    """
    path = folder / name
    with reading.opened(folder, name) as stream:
        header, there = _header(stream, path), reading.check_size(stream, path, reading.MOST_OF_WEIGHTS)
    try:
        shapes = [about["shape"] for key, about in header.items() if key != "__metadata__"]
        counts = [math.prod(int(side) for side in shape) for shape in shapes]
    except (KeyError, TypeError, ValueError):
        raise _damaged(path, "a tensor without a shape") from None
    if sum(counts) > there:
        raise _damaged(path, "its tensors have more values than the file has bytes")
    return counts


def _header(stream: BinaryIO, path: Path) -> dict[str, Any]:
    length = int.from_bytes(stream.read(8), "little")
    if not 0 < length <= LARGEST_HEADER:
        raise _damaged(path, "its header has no length that can be")
    try:
        found = reading.parsed(stream.read(length), "header")
    except InputError as error:
        raise _damaged(path, error) from None
    try:
        ends = [about["data_offsets"][1] for name, about in found.items() if name != "__metadata__"]
        end, there = 8 + length + max(ends, default=0), os.fstat(stream.fileno()).st_size
    except (AttributeError, KeyError, IndexError, TypeError):
        raise _damaged(path, "its header describes no tensors") from None
    if end != there:  # before anything is read that only takes room
        raise _damaged(path, f"it has {there:,} bytes, and its tensors end at {end:,}")
    return found


class Allowance(TorchFunctionMode):
    """Inside this block tensors are made for a model of so many values, in so many tensors, and no more.

    A description of a model may come from anybody: what it asks for is counted before it is allocated. Raises
    InputError with this `reason`.
    """

    def __init__(self, counts: Sequence[int], reason: str) -> None:
        super().__init__()
        # Several times what is there, as some parts are counted before they are made, or made of others.
        self.values, self.tensors = 3 * sum(counts) + 2**20, 6 * len(counts) + 500
        self.reason = reason

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _MAKERS or name in _SQUARE:
            self.values -= _values(name, args, kwargs or {})
            self.tensors -= 1
            if self.values < 0 or self.tensors < 0:
                raise InputError(self.reason)
        return func(*args, **(kwargs or {}))


def _values(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """How many values the tensor has that one of `_MAKERS` or `_SQUARE` makes of these arguments, or more."""
    given = [*args, kwargs.get("size"), kwargs.get("end"), kwargs.get("steps"), kwargs.get("n")]
    sides = next((list(one) for one in given if isinstance(one, list | tuple)), None)
    numbers = [abs(one) for one in given if isinstance(one, int) and not isinstance(one, bool)]
    if sides is not None:
        return math.prod(sides)
    if name in ("arange", "linspace", "randperm"):
        return max(numbers, default=0)
    if name in _SQUARE:  # eye(n) is of n rows and as many columns
        return math.prod(numbers[:2] if len(numbers) > 1 else 2 * numbers)
    return math.prod(numbers)


def load_weights(model: Model, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Gives a model the weights of a file.

    Raises InputError if they do not fit it, or are not finite where the model's are: masks of one's own hold -inf.
    """
    own = model.state_dict()
    if wrong := unlike(own, tensors):
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise InputError(f"{path}: the weights do not fit the model: {'; '.join(wrong[:4])}{more}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() != own[name].is_floating_point() or tensor.is_complex():
            kinds = f"{_kind(tensor)} there and {_kind(own[name])} here"
            raise InputError(f"{path}: the weights do not fit the model: {name} is {kinds}")
        given = tensor.to(own[name].dtype)
        if not (given.isfinite() | (given == own[name])).all():
            raise Damaged(f"{path}: damaged: {name} holds numbers that are not finite")
    model.load_state_dict(tensors)


def _kind(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def unlike(own: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> Sequence[str]:
    """How weights by name differ from others that were stored: in shape, or by a name that only one of them has."""
    shape = lambda tensor: "x".join(map(str, tensor.shape)) or "a number"  # noqa: E731
    shapes = [
        f"{name} is {shape(other[name])} there and {shape(own[name])} here"
        for name in own
        if name in other and own[name].shape != other[name].shape
    ]
    missing = [f"{name} is missing there" for name in own if name not in other]
    return [*shapes, *missing, *(f"{name} is not in this model" for name in other if name not in own)]
