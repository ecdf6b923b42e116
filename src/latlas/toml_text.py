"""TOML that somebody wrote, read within bounds: tomllib's time and memory grow with the square of a key's length."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from latlas.errors import InputError
from latlas.files import refuse_special
from latlas.limits import LIMITS
from latlas.text import size

# Texts and comments, in which dots and brackets mean nothing.
_TEXTS = re.compile(
    r'"""(?:[^\\]|\\.)*?(?:"{3,5}|\Z)|' r"'''.*?(?:'{3,5}|\Z)|"
    r'"(?:[^"\\\n]|\\.)*"?|' r"'[^'\n]*'?|#[^\n]*", re.DOTALL,
)  # fmt: skip
_BETWEEN = re.compile(r"[=,\[\]{}\n]")  # what keys and values stand between


def parsed(text: str) -> dict[str, Any]:
    """The values of a TOML text.

    Raises ValueError for what is no TOML, too long, nested too deeply or a number of too many digits.
    """
    if len(text) > (longest := LIMITS["toml_bytes"].most):
        raise ValueError(f"{size(len(text))}, and at most {size(longest)} are read")
    most = LIMITS["toml_depth"].most
    if _depth(text) > most:
        raise ValueError(f"a key or value of more than {most} levels; settings have two")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except (ValueError, OverflowError):  # Python's own limit, 4,300 digits
        raise ValueError("a number of too many digits") from None


def _depth(text: str) -> int:
    """The most parts that a dotted key has, or the levels of brackets within each other, in a text that may be none."""
    bare = _TEXTS.sub("s", text)
    level = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", bare):
        level = level + 1 if bracket in "[{" else max(0, level - 1)
        deepest = max(deepest, level)
    return max(deepest, 1 + max(part.count(".") for part in _BETWEEN.split(bare)))


def text_of(path: Path) -> str:
    """The text of a TOML file.

    Raises InputError for a pipe, a device and a file that is far too long, OSError and UnicodeDecodeError for one that
    cannot be read.
    """
    refuse_special(path)
    most = LIMITS["toml_bytes"].most
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise InputError(
            f"{path}: {size(path.stat().st_size)}, and a file of settings has {size(most)} at most; is it another file?"
        )
    return content.decode("utf-8").replace("\r\n", "\n")
