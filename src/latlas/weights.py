"""Weights: tensors by name as safetensors files and back, and into a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save

from latlas.errors import InputError
from latlas.models import Model


def to_bytes(tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    """The content of a safetensors file of these tensors."""
    plain: dict[str, torch.Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        # Weights that two layers share are written for each of them.
        plain[name] = own.clone() if own.data_ptr() in places else own
        places.add(own.data_ptr())
    return save(plain, metadata)


def read_tensors(
    path: Path, names: Sequence[str] | None = None, content: bytes | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of these names, or all, and the metadata of a safetensors file, or of its `content`.

    Raises InputError if it is missing or damaged.
    """
    try:
        # Not safe_open, which takes no path that is not UTF-8.
        content = path.read_bytes() if content is None else content
        tensors = load_tensors(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        chosen = tensors if names is None else {name: tensors[name] for name in names}
        return chosen, header.get("__metadata__", {})
    except (SafetensorError, OSError, KeyError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file: {error}") from None


def load_weights(model: Model, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Gives a model the weights of a file.

    Raises InputError if they do not fit it.
    """
    if wrong := unlike(model.state_dict(), tensors):
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise InputError(f"{path}: the weights do not fit the model: {'; '.join(wrong[:4])}{more}")
    model.load_state_dict(tensors)


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
