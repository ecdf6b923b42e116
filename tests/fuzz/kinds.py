"""All kinds of file that cases are made of."""

from __future__ import annotations

from .data_kinds import KINDS as DATA
from .run_kinds import KINDS as RUNS
from .trial import Kind
from .user_kinds import KINDS as USER

KINDS: dict[str, Kind] = {**DATA, **RUNS, **USER}


def plan(count: int) -> list[tuple[str, int]]:
    """So many cases, shared out among the kinds, in an order in which the kinds take turns."""
    whole = sum(kind.share for kind in KINDS.values())
    numbers = {name: max(1, round(count * kind.share / whole)) for name, kind in KINDS.items()}
    turns = [((i + 0.5) / total, name, i) for name, total in numbers.items() for i in range(total)]
    return [(name, i) for _, name, i in sorted(turns)]
