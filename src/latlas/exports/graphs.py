"""A model as two graphs in data units, items to codes and codes to items, and how far other programs of them are from
it.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from latlas.data import Like
from latlas.errors import LatlasError
from latlas.models import Model

BATCHES = (1, 2, 7, 64)  # sizes at which a program is compared with the model
CAPTURED = 3  # the size that it is captured at: another one
TOLERANCE = 1e-5  # largest difference of a program from the model, relative to the size of what is compared
LONGEST_REASON = 300  # characters of what an exporter says


class Units(nn.Module):
    """Data units to the model's scale and back, as `Scaling` does, in the type that items have outside.

    Values with a range of their own have 64 bits there: their offset may be large beside their spread.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, item: Like) -> None:
        super().__init__()
        self.channels, self.plain = len(item.shape) > 1, item.scaling.kind == "none"
        self.shifted = any(item.scaling.shift)
        self.dtype = torch.float64 if item.scaling.own_range else torch.float32
        self.register_buffer("shift", torch.tensor(item.scaling.shift, dtype=self.dtype))
        self.register_buffer("scale", torch.tensor(item.scaling.scale, dtype=self.dtype))

    def apply_to(self, x: Tensor) -> Tensor:
        """Items, their channels last, in data units to the model's scale and layout."""
        centred = x - self.shift if self.shifted else x
        scaled = (centred if self.plain else centred / self.scale).to(torch.float32)
        return scaled.movedim(-1, 1) if self.channels else scaled

    def invert(self, x: Tensor) -> Tensor:
        """The inverse of `apply_to`."""
        scaled = (x.movedim(1, -1) if self.channels else x).to(self.dtype)
        centred = scaled if self.plain else scaled * self.scale
        return centred + self.shift if self.shifted else centred


class Encoding(nn.Module):
    """Items x (N, H, W, C) or (N, D) in data units to the posterior's mean (N, D), or to its mean and its standard
    deviation where it has one.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.units, self.encoder, self.posterior = Units(model.item), model.encoder, model.posterior_family

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        q = self.posterior(self.encoder(self.units.apply_to(x)))
        return q.mean if q.stddev is None else (q.mean, q.stddev)


class Decoding(nn.Module):
    """Codes z (N, D) to the mean of p(x | z), in data units: (N, H, W, C) or (N, D)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.units, self.decoder, self.likelihood = Units(model.item), model.decoder, model.likelihood

    def forward(self, z: Tensor) -> Tensor:
        return self.units.invert(self.likelihood.mean(self.decoder(z)))


@dataclass(frozen=True, eq=False)
class Part:
    """A graph of a model, with what it takes and gives, by name.

    `inputs` are 64 items or codes, and `expected` what the model itself gives for them; a program's outputs are
    compared with these after `scaled`, relative to `size`.
    """

    name: str
    module: nn.Module
    taken: str
    given: tuple[str, ...]
    inputs: np.ndarray
    expected: tuple[np.ndarray, ...]
    size: float = 1.0
    scaled: Callable[[np.ndarray], np.ndarray] = lambda x: x

    @property
    def example(self) -> Tensor:
        """Inputs of the batch size that the graph is captured at."""
        return torch.from_numpy(self.inputs[:CAPTURED])


def parts_of(model: Model) -> tuple[Part, Part]:
    """The encoder and the decoder of a model as graphs; the model itself is not changed.

    They compute in float32, whatever the model was trained in. Items are compared on the model's scale, on which images
    lie in [0, 1] and a table's columns have a standard deviation of 1; codes relative to the largest mean or standard
    deviation among them.
    """
    model = copy.deepcopy(model).cpu().eval()
    single = copy.deepcopy(model).float()
    for tensor in (*single.parameters(), *single.buffers()):
        tensor.data = tensor.data.contiguous()  # programs are saved in that layout
    with torch.no_grad():
        drawn = model.prior_value().sample(
            max(BATCHES), torch.Generator().manual_seed(0), next(model.parameters())
        )
        x = _items(model, drawn)
        q = model.infer(model.to_tensor(x))
        codes = torch.cat([drawn[::2], q.mean[1::2]])  # those of the prior, and those of the items
        found = [q.mean] if q.stddev is None else [q.mean, q.stddev]
    moments = tuple(each.double().numpy() for each in found)
    encoder = Part(
        "encoder", Encoding(single).eval(), "x", ("mean", "std")[: len(moments)], x, moments,
        max(float(np.abs(each).max()) for each in moments) or 1.0,
    )  # fmt: skip
    means = model.to_numpy(model.means(codes), units="model").astype(np.float64)
    decoder = Part(
        "decoder", Decoding(single).eval(), "z", ("x",), codes.float().numpy(), (means,),
        scaled=lambda items: model.item.scaling.apply(items.astype(np.float64)),
    )  # fmt: skip
    return encoder, decoder


def _items(model: Model, codes: Tensor) -> np.ndarray:
    """An item for each code, in data units: from decoded ones to noise over the range of the data, in even steps."""
    decoded = model.means(codes)
    generator = torch.Generator().manual_seed(1)
    spread = torch.randn if model.item.scaling.kind == "standard" else torch.rand
    noise = spread(decoded.shape, generator=generator, dtype=decoded.dtype)
    share = torch.linspace(0, 1, len(codes), dtype=decoded.dtype).view(-1, *[1] * (decoded.ndim - 1))
    x = model.to_numpy((1 - share) * decoded + share * noise)
    return x.astype(np.float64 if model.item.scaling.own_range else np.float32)


def captured(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The program of a module that takes any number of items or codes."""
    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where the code stands on this machine
    return program


def compared(part: Part, run: Callable[[np.ndarray], Sequence[np.ndarray]]) -> dict[str, float]:
    """The largest difference of each output of a program from the model's, at every size of BATCHES.

    Raises LatlasError above TOLERANCE.
    """
    worst = dict.fromkeys(part.given, 0.0)
    for n in BATCHES:
        for name, output, expected in zip(part.given, run(part.inputs[:n]), part.expected, strict=True):
            if output.shape != expected[:n].shape:
                raise LatlasError(f"{name} of {n} items has the shape {output.shape}")
            difference = np.abs(part.scaled(output) - expected[:n]).max() / part.size
            worst[name] = float(np.maximum(worst[name], difference))  # of NaN and a number it is NaN
    for name, difference in worst.items():
        if not difference <= TOLERANCE:
            raise LatlasError(
                f"{name} differs from the model's by {difference:.1e}, and at most {TOLERANCE:.0e} is right"
            )
    return worst


def without_std(part: Part, model: Model) -> tuple[str, ...]:
    """A line where the encoder gives no standard deviation, and why."""
    if "std" in part.given:
        return ()
    has_density = model.posterior_family.has_density
    why = "this posterior's has no closed form" if has_density else "a point posterior has none"
    return (f"std: {why}; the encoder gives mean alone",)


def reason(error: Exception) -> str:
    """What went wrong, on one line, as exporters write pages."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if "data-dependent" in line:
        at = re.search(r"raised this error:\s*File [^\n]*\n\s*(\S[^\n]*)", str(error))
        return f"its way through depends on the values in it{f', at: {at[1]}' if at else ''}"
    text = line if isinstance(error, LatlasError) else f"{type(error).__name__}: {line}".removesuffix(": ")
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the exporters' warnings, log lines and listings of graphs, which are about their own insides."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
