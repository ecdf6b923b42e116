"""Blocks of the page's data: where the bytes of an array or a picture stand, in the page or behind an address."""

from __future__ import annotations

import base64
import gzip
from typing import Any, Protocol

import numpy as np

Block = dict[str, Any]
MOST_WHOLE = 2**18  # numbers of a block that are kept as float32


class Store(Protocol):
    """Where blocks are put."""

    def put(self, name: str, content: np.ndarray | bytes, first: bool = False) -> Block:
        """The block of an array or of bytes; `first` is what the first picture needs. Names are those of no other."""


class Inlined:
    """Blocks inside the page: `first` ones in the JSON, others as text of elements behind the scripts, by their id."""

    def __init__(self) -> None:
        self.elements: dict[str, str] = {}

    def put(self, name: str, content: np.ndarray | bytes, first: bool = False) -> Block:
        about = _about(content)
        if isinstance(content, bytes):  # pictures and models, which are compressed as they are
            text = base64.b64encode(content).decode()
        else:
            text, about["encoding"] = packed(_plain(content)), "gzip"
        if first:
            return about | {"base64": text}
        key = f"latlas-{name}"
        self.elements[key] = text
        return about | {"element": key}


class Addressed:
    """Blocks behind addresses of the local server, by their name."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def put(self, name: str, content: np.ndarray | bytes, first: bool = False) -> Block:
        self.contents[name] = content if isinstance(content, bytes) else _plain(content)
        return _about(content) | {"url": f"blocks/{name}"}


def packed(content: bytes) -> str:
    """Bytes compressed, as base64; equal bytes give equal text."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def compact(values: np.ndarray) -> np.ndarray:
    """Numbers as float32, or where there are very many of them as float16."""
    small = np.asarray(values, np.float32)
    return small if small.size <= MOST_WHOLE else halves(small)


def halves(values: np.ndarray) -> np.ndarray:
    """Numbers as float16, those beyond its range at its ends."""
    end = float(np.finfo(np.float16).max)
    return np.clip(np.asarray(values, np.float32), -end, end).astype(np.float16)


def _about(content: np.ndarray | bytes) -> Block:
    if isinstance(content, bytes):
        return {"type": "bytes"}
    return {"type": str(content.dtype), "shape": list(content.shape)}


def _plain(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
