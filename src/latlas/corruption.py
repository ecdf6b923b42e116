"""What a denoising model's inputs suffer: additive Gaussian noise, or masking."""

from __future__ import annotations

import torch
from torch import Tensor

from latlas.draws import drawn
from latlas.settings import CorruptionConfig


def corrupt(x: Tensor, options: CorruptionConfig, generator: torch.Generator | None = None) -> Tensor:
    """Items x (B, *shape) on the model's scale, corrupted: shaped as x, on its device, x itself for "none".

    gaussian: x + strength * e, e ~ N(0, 1), not clipped to [0, 1], so that its expected squared error is
    strength^2 per value. masking: each value becomes 0 with probability strength, all channels (B, C, ...) of
    a place together; 0 is black in an image and the column's mean in a table. Every item is corrupted anew at
    each call; a generator's state decides how (Vincent et al. 2008, Extracting and composing robust features
    with denoising autoencoders).
    """
    if options.name == "gaussian":
        draw = lambda n: torch.randn((n, *x.shape[1:]), generator=generator, device=x.device, dtype=x.dtype)  # noqa: E731
        noise = drawn(draw, len(x), generator)
        return x + options.strength * noise
    if options.name == "masking":
        place = (1, *x.shape[2:]) if x.ndim > 2 else x.shape[1:]
        draw = lambda n: torch.rand((n, *place), generator=generator, device=x.device)  # noqa: E731
        return x.masked_fill(drawn(draw, len(x), generator) < options.strength, 0.0)
    return x


def describe(options: CorruptionConfig) -> str:
    """What the items suffer, in a sentence; nothing for "none"."""
    share = f"{100 * options.strength:g} %"
    return {
        "none": "",
        "gaussian": f"Corrupted by Gaussian noise of standard deviation {options.strength:g}.",
        "masking": f"Corrupted by masking: {share} of the values, drawn at random, are set to 0.",
    }[options.name]
