"""Random numbers for a batch of which this process has a share: drawn for the whole batch, then cut.

So a batch has the same noise however many processes share it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """The items `start` to `stop` of a batch of `total`, those of one process.

    A process that has none computes one of the batch all the same, with weight 0: it takes part in whatever the
    processes do together.
    """

    start: int
    stop: int
    total: int

    @classmethod
    def of(cls, rank: int, size: int, total: int) -> Share:
        """The share of one of `size` processes; shares differ by one item at most."""
        return cls(rank * total // size, (rank + 1) * total // size, total)

    @property
    def rows(self) -> slice:
        """The items that this process computes."""
        first = min(self.start, self.total - 1)
        return slice(first, max(self.stop, first + 1))

    @property
    def weight(self) -> float:
        """How much a mean over these items counts in that of the whole batch."""
        return (self.stop - self.start) / self.total


class Draws(torch.Generator):
    """A generator for the items of a batch, of which this process has a `share`; None is all of it."""

    share: Share | None = None


def share_of(generator: torch.Generator | None) -> Share | None:
    """The share of a batch that a generator draws for; None is all of it."""
    return generator.share if isinstance(generator, Draws) else None


def drawn(
    draw: Callable[[int], Tensor], items: int, generator: torch.Generator | None, axis: int = 0
) -> Tensor:
    """What `draw` gives for so many items, along an axis; for a share of a batch it is cut from the draws for all."""
    share = share_of(generator)
    if share is None:
        return draw(items)
    return draw(share.total).narrow(axis, share.rows.start, items)


def bernoulli(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draws of 0 and 1 with probabilities x (B, *shape), the channels last in memory, cut as `drawn` cuts."""
    share = share_of(generator)
    if share is None:
        return torch.bernoulli(x, generator=generator)
    # A draw takes the same random numbers whatever its probability is: the other items need not be read for it.
    last = x.movedim(1, -1) if x.ndim > 2 else x
    wide = last.new_zeros(share.total, *last.shape[1:])
    wide[share.rows] = last
    return torch.bernoulli(wide.movedim(-1, 1) if x.ndim > 2 else wide, generator=generator)[share.rows]
