"""Lengths of time as people write and read them."""

from __future__ import annotations

import math
import re

from latlas.errors import InputError
from latlas.limits import LIMITS


def parse_duration(text: str, field: str = "budget") -> float:
    """Seconds of a duration such as 90s, 10m, 2h or 1h30m.

    Raises InputError for anything else.
    """
    parts = re.fullmatch(
        r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?", text.strip()
    )
    total = (
        sum(float(n or 0) * unit for n, unit in zip(parts.groups(), (3600, 60, 1), strict=True))
        if parts
        else 0
    )
    if not 0 < total < LIMITS["years"].most * 365 * 86_400:
        raise InputError(
            "expected a duration, as 90s, 10m, 2h or 1h30m, of fewer than 100 years",
            field=field,
            value=text[:60],
        )
    return float(total)


def duration_text(seconds: float) -> str:
    """A duration as `parse_duration` reads it, rounded up to the second: 1m52s."""
    return "".join(f"{n}{unit}" for n, unit in _parts(seconds, ("h", "m", "s"))) or "0s"


def duration_words(seconds: float) -> str:
    """A duration, rounded up to the second: 8 min 20 s."""
    return " ".join(f"{n} {unit}" for n, unit in _parts(seconds, ("h", "min", "s"))) or "0 s"


def _parts(seconds: float, units: tuple[str, str, str]) -> list[tuple[int, str]]:
    whole = math.ceil(seconds - 1e-6)
    numbers = (whole // 3600, whole % 3600 // 60, whole % 60)
    return [(n, unit) for n, unit in zip(numbers, units, strict=True) if n]


def rounded(seconds: float) -> str:
    """A duration, rounded as estimates are: to 5 s up to 90 s, then to minutes."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s" if seconds < 20 else f"{5 * round(seconds / 5)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
