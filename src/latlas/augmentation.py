"""What happens at random to the items of a training batch: mirrored, moved, or by a function of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from latlas.draws import drawn, share_of
from latlas.settings import AugmentConfig

Augment = Callable[
    ..., Tensor
]  # of items (B, *shape) on the model's scale, and of a generator if it takes two


def augmented(x: Tensor, options: AugmentConfig, own: Augment | None, generator: torch.Generator) -> Tensor:
    """Items (B, *shape) mirrored and moved as the options say, then changed by a function of one's own.

    The generator's state decides how. A mirrored item has its last axis reversed, each with probability 1/2. A moved
    one is shifted along every axis but that of channels by -shift to shift values, each equally likely; what comes in
    repeats the edge. What is left to torch's own generators is decided by the same state.
    """
    if options.flip:
        chance = drawn(lambda n: torch.rand(n, generator=generator, device=x.device), len(x), generator)
        chosen = chance < 0.5
        x = torch.where(chosen.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)
    if options.shift:
        x = _moved(x, options.shift, generator)
    if own is None:
        return x
    with seeded(generator):
        return own(x, generator) if _takes_generator(own) else own(x)


def _moved(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    axes = x.shape[2:]
    wide = functional.pad(x, [most] * (2 * len(axes)), mode="replicate")
    draw = lambda n: torch.randint(2 * most + 1, (n, len(axes)), generator=generator, device=x.device)  # noqa: E731
    starts = drawn(draw, len(x), generator)
    for axis, size in enumerate(axes):
        rows = starts[:, axis, None] + torch.arange(size, device=x.device)
        index = rows.view(len(x), *[1] * (1 + axis), size, *[1] * (wide.ndim - 3 - axis))
        wide = wide.gather(2 + axis, index.expand(*wide.shape[: 2 + axis], size, *wide.shape[3 + axis :]))
    return wide


def _takes_generator(own: Augment) -> bool:
    try:
        names = inspect.signature(getattr(own, "forward", own)).parameters
    except (TypeError, ValueError):  # some that are written in C do not say
        return False
    return "generator" in names


class seeded:
    """Seeds torch's own generators, of the CPU and of a generator's device, as that generator was seeded last, inside
    the block: what draws from them, as dropout does, is then a function of the same seed.
    """

    def __init__(self, generator: torch.Generator) -> None:
        device = generator.device
        self.cuda = device if device.type == "cuda" else None
        share = share_of(generator)
        self.seed = (generator.initial_seed() + (share.start if share else 0)) % 2**64
        self.fork = torch.random.fork_rng(devices=[] if self.cuda is None else [self.cuda])

    def __enter__(self) -> None:
        self.fork.__enter__()
        torch.default_generator.manual_seed(self.seed)
        if self.cuda is not None:
            with torch.cuda.device(self.cuda):
                torch.cuda.manual_seed(self.seed)

    def __exit__(self, *exc: object) -> None:
        self.fork.__exit__(*exc)  # type: ignore[arg-type]
