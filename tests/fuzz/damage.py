"""Changes of bytes, texts and trees of values, each drawn from a generator: what a disk, a network or a person does."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

SCRIPT = '<script>alert("fuzz")</script>'  # in no page as it stands
# Values for a leaf of JSON or TOML, as text: wrong types, extremes, texts that are something else where they are shown.
RAW = (
    "null", "true", "false", "0", "-1", "1", "1e308", "-1e308", "1e-320", "1e400", "NaN", "Infinity",
    "-Infinity", "3.5",
    "9223372036854775808", "-9223372036854775809", "4294967296", "100000000000", "7" * 5000, '""', '"x"', '"0"',
    '"nan"',
    json.dumps(SCRIPT), json.dumps("\x1b[31mred\x07\x1b]0;title\x07"), json.dumps("a\nb\r\u202e\u0000"),
    json.dumps("\ud800"), json.dumps("../../../etc/passwd"), json.dumps("/etc/passwd"),
    json.dumps("=1+cmd|' /C calc'!A0"),
    json.dumps("x" * 100_000), json.dumps("{{ 7 * 7 }}"), "[]", "{}", "[[]]", "[null]", '{"": 0}', '{"a": {"b": []}}',
    "[1, 2, 3]", "[" * 60 + "]" * 60, "[" * 100_000 + "]" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000,
    "[" + "0," * 50_000 + "0]",
)  # fmt: skip
EXTREMES = (
    0,
    1,
    2**7,
    2**8 - 1,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)


def flipped(data: bytes, rng: Random, most: int = 1) -> bytes:
    """The bytes with up to `most` bits turned over."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, most) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: Random) -> bytes:
    """The first part of the bytes."""
    return data[: rng.randrange(len(data) + 1)]


def spliced(data: bytes, rng: Random) -> bytes:
    """The bytes with a piece of themselves written over or into another place, or taken out."""
    start, size = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 8, 16, 64, 256, 4096))
    piece, at = data[start : start + size], rng.randrange(len(data) + 1)
    how = rng.randrange(4)
    if how == 0:
        return data[:at] + piece + data[at + len(piece) :]
    if how == 1:
        return data[:at] + piece + data[at:]
    if how == 2:
        return data[:start] + data[start + size :]
    return data[:at] + bytes([rng.choice((0, 255, 10, 32))]) * len(piece) + data[at + len(piece) :]


def extreme(data: bytes, rng: Random, head: int = 128) -> bytes:
    """The bytes with an integer of 1 to 8 bytes set to an extreme, mostly near their beginning."""
    size, order = rng.choice((1, 2, 4, 8)), rng.choice("<>")
    if len(data) < size:
        return data + b"\xff" * size
    last = len(data) - size
    at = rng.randint(0, min(head, last) if rng.random() < 0.8 else last)
    value = rng.choice(EXTREMES) & (2 ** (8 * size) - 1)
    return data[:at] + struct.pack(order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size], value) + data[at + size :]


def noise(data: bytes, rng: Random) -> bytes:
    """Other bytes altogether, or none, or a few after the end."""
    return rng.choice(
        (b"", rng.randbytes(rng.choice((1, 7, 64, 1000))), data + rng.randbytes(rng.choice((1, 8, 512))))
    )


Change = Callable[[bytes, Random], bytes]


def damaged(data: bytes, rng: Random) -> bytes:
    """The bytes with one to three changes that know nothing of their format."""
    changes: Sequence[Change] = (flipped, lambda d, r: flipped(d, r, 8), cut, spliced, extreme, noise)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choices(changes, (4, 3, 2, 4, 4, 1))[0](data, rng)
    return data


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all nodes of a tree of dictionaries and lists but its root."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [found for key, child in children for found in [(*path, key), *_places(child, (*path, key))]]


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


class Raw(str):
    """A value that stands in the text as it is."""


def tree_changed(tree: Any, rng: Random) -> Any:
    """A tree with one node replaced by a `Raw` value or by another node, taken away, renamed or wrapped."""
    places = _places(tree)
    if not places:
        return Raw(rng.choice(RAW))
    path = rng.choice(places)
    parent, key = _at(tree, path[:-1]), path[-1]
    how = rng.random()
    if how < 0.62:
        parent[key] = Raw(rng.choice(RAW))
    elif how < 0.74:
        del parent[key]
    elif how < 0.84:
        parent[key] = json.loads(json.dumps(_at(tree, rng.choice(places))))
    elif how < 0.9 and isinstance(parent, dict):
        parent[
            rng.choice((SCRIPT, "", "x" * 300, "\x1b[2J", "__class__", str(key).upper(), f"{key}.{key}"))
        ] = parent.pop(key)
    elif how < 0.95:
        parent[key] = [parent[key]]
    else:
        parent[key] = {"value": parent[key]}
    return tree


def as_json(tree: Any, spaced: bool = True) -> bytes:
    """JSON text of a tree in which `Raw` values stand as they are."""
    raw: list[str] = []

    def marked(value: Any) -> Any:
        if isinstance(value, Raw):
            raw.append(str(value))
            return f"@raw{len(raw) - 1}@"
        if isinstance(value, dict):
            return {key: marked(child) for key, child in value.items()}
        return [marked(child) for child in value] if isinstance(value, list) else value

    text = json.dumps(marked(tree), separators=None if spaced else (",", ":"))
    for number, value in enumerate(raw):
        text = text.replace(f'"@raw{number}@"', value)
    return text.encode("utf-8", "surrogatepass")


def json_damaged(data: bytes, rng: Random) -> bytes:
    """JSON with wrong values in it, or damaged as bytes."""
    if rng.random() < 0.2:
        return damaged(data, rng)
    tree = json.loads(data)
    for _ in range(rng.choice((1, 1, 2))):
        tree = tree_changed(tree, rng)
        if isinstance(tree, Raw):
            break
    return as_json(tree)


def lines_damaged(data: bytes, rng: Random) -> bytes:
    """JSON lines, one of them damaged, dropped or doubled."""
    lines = data.splitlines() or [b"{}"]
    at = rng.randrange(len(lines))
    how = rng.random()
    if how < 0.7:
        lines[at] = json_damaged(lines[at], rng)
    elif how < 0.8:
        lines.insert(at, lines[at])
    elif how < 0.9:
        del lines[at]
    else:
        return damaged(data, rng)
    return b"\n".join(lines) + b"\n"


TOML = (
    *(text for text in RAW if not text.startswith(("null", "NaN", "Infinity", "-Infinity", "{"))), "nan", "inf", "-inf",
    "1_000_000_000", "0x7fffffffffffffff", "1979-05-27T07:32:00Z", "{ a = 1 }", "'''" + "x\n" * 1000 + "'''",
    "[1, 'a']",
    "10" + "0" * 4400,
)  # fmt: skip


def toml_damaged(data: bytes, rng: Random) -> bytes:
    """TOML with a value, a key or a section changed, or damaged as bytes."""
    how = rng.random()
    lines = data.decode("utf-8", "replace").split("\n")
    valued = [i for i, line in enumerate(lines) if "=" in line]
    if how < 0.15 or not valued:
        return damaged(data, rng)
    at = rng.choice(valued)
    key, _, value = lines[at].partition("=")
    if how < 0.65:
        lines[at] = f"{key}= {rng.choice(TOML)}"
    elif how < 0.72:
        name = key.strip()
        other = rng.choice(("x", f"{name}s", "a.b", '""', f"{name}.x", ".".join(name * 20)))
        lines[at] = f"{other} ={value}"
    elif how < 0.78:
        lines.insert(at, lines[at])
    elif how < 0.84:
        lines[at] = lines[rng.choice(valued)]
    elif how < 0.9:
        del lines[at]
    elif how < 0.95:
        heads = [i for i, line in enumerate(lines) if line.startswith("[")]
        place = rng.choice(heads) if heads else 0
        lines[place] = rng.choice(("[x]", "[[x]]", "[model.network]", "", f"[{SCRIPT!r}]", "[data]"))
    else:
        deep = ".".join("a" * rng.choice((50, 500, 32_000)))
        lines.insert(
            rng.choice((0, at)), rng.choice((f"{deep} = 1", f"[{deep}]", "x = " + "[" * 5000 + "]" * 5000))
        )
    return "\n".join(lines).encode("utf-8", "surrogatepass")


NUMBERS = ("0", "1", "-1", "2", "3", "7", "1e9", "nan", "inf", "-inf", "1e400", "", " ", "abc", "1.5", "0x10",
    "9" * 5000,
           "1" + "0" * 12, "-0", "١٢", "1,5", "\x1b[31m", SCRIPT, "x" * 300, "true", "none", "a=b",
           "\ud800")  # fmt: skip
