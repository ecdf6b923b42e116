"""A model as one program of torch.export, which torch runs without latlas."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latlas.exports.graphs import Part, captured, compared

EXTRA = "latlas.json"  # the file inside that says what the program is


class Autoencoding(nn.Module):
    """Items x in data units to mean, standard deviation where there is one, and reconstruction at the mean."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        found = _as_tuple(self.encoder(x))
        return (*found, self.decoder(found[0]))


def torch_program(parts: Sequence[Part], about: Mapping[str, Any]) -> tuple[bytes, dict[str, float]]:
    """The .pt2 file of an encoder and a decoder, or of one of them alone, and the largest difference of each output.

    `torch.export.load(file)` reads it, and `torch.export.unflatten` gives encoder and decoder as its submodules. Raises
    whatever torch raises, LatlasError for a difference that is too large.
    """
    modules = [part.module for part in parts]
    whole = modules[0] if len(parts) == 1 else Autoencoding(*modules)
    content = io.BytesIO()
    extra = {EXTRA: json.dumps({"part": " and ".join(part.name for part in parts), **about})}
    torch.export.save(captured(whole, parts[0].example), content, extra_files=extra)
    content.seek(0)
    program = torch.export.load(content)
    if len(parts) == 1:
        return content.getvalue(), compared(parts[0], _runner(program.module()))
    opened = torch.export.unflatten(program)
    differences: dict[str, float] = {}
    for part in parts:
        differences |= compared(part, _runner(getattr(opened, part.name)))
    return content.getvalue(), differences


def _as_tuple(outputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _runner(module: Callable[[Tensor], Any]) -> Callable[[np.ndarray], Sequence[np.ndarray]]:
    """Runs a module on a batch."""

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [output.numpy() for output in _as_tuple(module(torch.from_numpy(batch)))]

    return run
