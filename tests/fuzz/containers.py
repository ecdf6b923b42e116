"""Damage that keeps a container whole: headers and members of .npy, .npz, safetensors, PNG, TIFF, JPEG and others."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from random import Random
from typing import Any

import numpy as np

from .damage import EXTREMES, SCRIPT, Raw, as_json, damaged, flipped, tree_changed

MIB = 2**20
_SEAL = b'{"__metadata__":{"sha256":"'  # how the header of a file of tensors with a checksum begins


def npy(array: np.ndarray) -> bytes:
    """The .npy file of an array."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def npz(arrays: dict[str, np.ndarray], packed: bool = False) -> bytes:
    """The .npz file of arrays."""
    content = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


SHAPES = ("()", "(0,)", "(-1,)", "(4,)", "(2, 2)", "(1,) * 70", "(" + "1, " * 70 + ")",
    "(9223372036854775807,)", "(0, 0, 0)",
          "(4611686018427387904, 4)", "(72, 1099511627776)", "('a',)", "(2.0, 3)", "(True, 60)", "4", "[4]",
          "(" * 300)  # fmt: skip
DTYPES = ("'<f8'", "'>f4'", "'<f2'", "'|b1'", "'<i8'", "'>u2'", "'<c16'", "'|O'", "'<U7'", "'|S3'", "'|V8'",
    "'<M8[s]'", "'<f16'",
          "[('a', '<f4'), ('b', '<i2')]", "'<f9'", "'<U999999999'", "'|S0'", "None", "'O'",
          "[('a', '<f4', (9999999, 99))]")  # fmt: skip


def npy_header_changed(data: bytes, rng: Random) -> bytes:
    """An .npy file whose header says another shape, type or order, with its length right."""
    size = struct.unpack("<H", data[8:10])[0]
    header, body = data[10 : 10 + size].decode("latin1"), data[10 + size :]
    about: dict[str, str] = {
        "descr": repr(eval(header)["descr"]),
        "fortran_order": "False",
        "shape": repr(eval(header)["shape"]),
    }
    how = rng.random()
    if how < 0.45:
        about["shape"] = rng.choice(SHAPES)
    elif how < 0.8:
        about["descr"] = rng.choice(DTYPES)
    elif how < 0.9:
        about["fortran_order"] = rng.choice(("True", "1", "None"))
    else:
        key = rng.choice(list(about))
        about[rng.choice(("x", key * 2))] = about.pop(key)
    text = "{" + ", ".join(f"'{key}': {value}" for key, value in about.items()) + ", }"
    text = text.ljust(-(-(len(text) + 11) // 64) * 64 - 11) + "\n"
    return data[:6] + b"\1\0" + struct.pack("<H", len(text)) + text.encode("latin1") + body


def npy_damaged(data: bytes, rng: Random) -> bytes:
    """An .npy file damaged in its header or anywhere."""
    return npy_header_changed(data, rng) if rng.random() < 0.5 else damaged(data, rng)


def zipped(members: list[tuple[str, bytes]], packed: bool = False) -> bytes:
    """A zip file of members, whose names may occur twice."""
    content = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(content, "w", kind) as archive:
        for name, data in members:
            # Not by writestr's name, which warns of those that occur twice.
            info = zipfile.ZipInfo(name)
            info.compress_type = kind
            archive.NameToInfo.pop(name, None)
            archive.writestr(info, data)
    return content.getvalue()


def npz_damaged(data: bytes, rng: Random) -> tuple[bytes, bool]:
    """An .npz file with members swapped, renamed, doubled or replaced, or damaged as bytes; and whether its sums are
    right.
    """
    if rng.random() < 0.35:
        return damaged(data, rng), False
    if rng.random() < 0.15:
        return flipped(data, rng), False
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at, other = rng.randrange(len(members)), rng.randrange(len(members))
    name, content = members[at]
    how = rng.randrange(7)
    if how == 0:
        members[at], members[other] = (name, members[other][1]), (members[other][0], content)
    elif how == 1:
        members[at] = (
            rng.choice(
                (
                    name.removesuffix(".npy"),
                    "x",
                    "y.npy",
                    "../x.npy",
                    "/x.npy",
                    "",
                    "x" * 5000,
                    f"{SCRIPT}.npy",
                )
            ),
            content,
        )
    elif how == 2:
        members.insert(
            rng.randrange(len(members) + 1),
            (rng.choice((name, "x", "mean", "y.npy", "note.txt")), rng.choice((b"", b"text", content[:7]))),
        )
    elif how == 3:
        del members[at]
    elif how == 4:
        members[at] = name, npy(rng.choice(ODD_ARRAYS)())
    else:
        members[at] = name, npy_damaged(content, rng)
    return zipped(members, rng.random() < 0.5), True


ODD_ARRAYS = (
    lambda: np.zeros(0), lambda: np.zeros((0, 3)), lambda: np.zeros((3, 0, 2)), lambda: np.array(3.0),
    lambda: np.array("text"),
    lambda: np.full((9, 4), np.nan), lambda: np.full((9, 4), np.inf), lambda: np.full((9, 4), 1e308),
    lambda: np.arange(60),
    lambda: np.zeros((60, 8, 8), bool), lambda: np.zeros((60, 8, 8)), lambda: np.full((60, 2), 1e30, np.float32),
    lambda: np.array(["a", "b"] * 30), lambda: np.arange(60).astype("datetime64[D]"), lambda: np.ones((5, 5), complex),
    lambda: np.zeros((1,) * 32, np.uint8), lambda: np.array([f"\x1b[31m{SCRIPT}"] * 60),
    lambda: np.arange(60)[:, None] % 2,
    lambda: np.array([2**63] * 60, np.uint64), lambda: np.array([b"\xe9"] * 60), lambda: np.ones((60, 3), np.float16),
)  # fmt: skip


def zip_bomb(name: str, size: int) -> bytes:
    """An .npz file of a few megabytes whose array of zeros, `name`, unpacks to about `size` bytes."""
    piece, count = bytes(64 * MIB), -(-size // (64 * MIB))
    header = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (count * 8 * MIB, 8)}
    np.lib.format.write_array_header_1_0(header, about)
    head = header.getvalue()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    body = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = start + body * count + packer.flush()
    total, crc = len(head) + len(piece) * count, zlib.crc32(head)
    for _ in range(count):
        crc = zlib.crc32(piece, crc)
    file = f"{name}.npy".encode()
    local = (
        struct.pack(
            "<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(packed), min(total, 2**32 - 1), len(file), 0
        )
        + file
    )
    central = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, len(packed), min(total,
    2**32 - 1),
                          len(file), 0, 0, 0, 0, 0, 0) + file  # fmt: skip
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local) + len(packed), 0)
    return local + packed + central + end


def safetensors_damaged(data: bytes, rng: Random) -> bytes:
    """A safetensors file with wrong shapes, types, offsets, names or values, or damaged as bytes."""
    how = rng.random()
    if how < 0.04:
        return data  # what is whole is read, which every damage keeps from being seen
    if how < 0.2:
        return flipped(data, rng)
    if how < 0.4:
        return damaged(data, rng)
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])
    names = [name for name in header if name != "__metadata__"]
    name, other = rng.choice(names), rng.choice(names)
    about = header[name]
    if how < 0.55:
        header = tree_changed(header, rng)
    elif how < 0.65:
        about["shape"] = rng.choice(
            (
                about["shape"][::-1],
                [int(np.prod(about["shape"]))],
                [*about["shape"], 1],
                [1, *about["shape"]],
                [2**62, 4],
                [0],
                [-1],
                [],
            )
        )
    elif how < 0.72:
        header[name], header[other] = header[other], header[name]
    elif how < 0.78:
        about["dtype"] = rng.choice(("I32", "U32", "F16", "F64", "BF16", "BOOL", "X", "F8_E4M3"))
    elif how < 0.84:
        about["data_offsets"] = rng.choice(
            ([0, 4], [4, 0], [0, 2**63], [len(body), len(body)], header[other]["data_offsets"])
        )
    elif how < 0.92:
        start, end = about["data_offsets"]
        value = rng.choice((np.nan, np.inf, -np.inf, 1e38, 0.0, 1e-40))
        body[start:end] = np.full((end - start) // 4, value, "<f4").tobytes().ljust(end - start, b"\0")
    else:
        header = _resized(header, name, body, rng)
    # Without spaces, as those who write such files do: so the checksum stands where it is looked for.
    text = as_json(header, spaced=False) if isinstance(header, dict | Raw) else b"{}"
    length = rng.choice((2**64 - 1, 2**40, 0, len(text) + 8)) if rng.random() < 0.05 else len(text)
    return length.to_bytes(8, "little") + text + bytes(body)


def resealed(data: bytes) -> bytes:
    """A safetensors file with the checksum of its bytes, as somebody gives it who changed them on purpose."""
    start = 8 + len(_SEAL)
    if data[8:start] != _SEAL:
        return data
    head, rest = data[:start], data[start + 64 :]
    return head + hashlib.sha256(head + b"0" * 64 + rest).hexdigest().encode() + rest


def _resized(header: dict[str, Any], name: str, body: bytearray, rng: Random) -> dict[str, Any]:
    """The header with one tensor of another shape, all of the file valid: its data are appended."""
    shape = rng.choice(([1], [2, 2], [], [3, 5, 7], [100_000], [*header[name]["shape"], 3]))
    dtype, width = rng.choice((("F32", 4), ("F32", 4), ("F64", 8), ("I64", 8), ("F16", 2)))
    # Nothing may lie between tensors, so all of them are written anew, one after the other.
    old, start = bytes(body), 0
    body.clear()
    for key, about in header.items():
        if key == "__metadata__":
            continue
        data = old[slice(*about["data_offsets"])]
        if key == name:
            about["shape"], about["dtype"] = shape, dtype
            data = bytes(width * int(np.prod(shape)))
        about["data_offsets"] = [start, start + len(data)]
        start += len(data)
        body += data
    return header


def png_damaged(data: bytes, rng: Random) -> bytes:
    """A PNG with a chunk changed, its sum right again; or damaged as bytes."""
    if rng.random() < 0.4 or not data.startswith(b"\x89PNG"):
        return damaged(data, rng)
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    number = rng.randrange(len(chunks)) if rng.random() < 0.5 else 0
    kind, content = chunks[number]
    how = rng.random()
    if kind == b"IHDR" and how < 0.7:
        width, height = (struct.unpack(">I", content[i : i + 4])[0] for i in (0, 4))
        width, height = rng.choice(
            (
                (13_000, 13_000),
                (2**31 - 1, 1),
                (0, height),
                (100_000, 100_000),
                (width, height),
                (2 * width, height),
            )
        )
        depth, colour = rng.choice((1, 2, 4, 8, 16, 7)), rng.choice((0, 2, 3, 4, 6, 5))
        chunks[number] = kind, struct.pack(">IIBB", width, height, depth, colour) + content[10:]
    elif how < 0.8:
        chunks[number] = kind, damaged(content, rng)
    elif how < 0.9:
        chunks.insert(1, _text_chunk(rng))
    else:
        chunks[number], chunks[-1] = chunks[-1], chunks[number]
    body = b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )
    return data[:8] + body


def _text_chunk(rng: Random) -> tuple[bytes, bytes]:
    """A chunk of text: a bomb, a script, an escape, or one that is no text."""
    texts = (bytes(3 * MIB), SCRIPT.encode(), b"\x1b[31m", b"\xff\xfe", b"x" * 70_000)
    text = rng.choice(texts)
    return rng.choice((
        (b"zTXt", b"Title\0\0" + zlib.compress(text, 9)), (b"tEXt", b"Title\0" + text), (b"tEXt",
        b"Description\0" + text),
        (b"iTXt", b"Title\0\1\0\0\0" + zlib.compress(text, 9)), (b"gAMA", struct.pack(">I", rng.choice((0, 1,
        2**31 - 1)))),
        (b"eXIf", b"MM\0*\0\0\0\x08" + rng.randbytes(30)), (b"iCCP", b"p\0\0" + zlib.compress(text, 9)),
        (b"acTL", struct.pack(">II", rng.choice((0, 1, 2**31)), 0)), (b"tRNS", rng.randbytes(rng.choice((1, 2,
        6, 300)))),
    ))  # fmt: skip


def tiff_damaged(data: bytes, rng: Random) -> bytes:
    """A TIFF with the type, count or value of a tag set to an extreme, or damaged as bytes."""
    if rng.random() < 0.4 or data[:2] not in (b"II", b"MM"):
        return damaged(data, rng)
    order = "<" if data[:2] == b"II" else ">"
    changed = bytearray(data)
    start = struct.unpack(order + "I", data[4:8])[0]
    if start + 2 > len(data):
        return damaged(data, rng)
    count = struct.unpack(order + "H", data[start : start + 2])[0]
    for _ in range(rng.choice((1, 1, 2))):
        entry = start + 2 + 12 * rng.randrange(max(1, count))
        if entry + 12 > len(data):
            break
        if rng.random() < 0.2:
            changed[entry : entry + 2] = struct.pack(
                order + "H", rng.choice((256, 257, 258, 259, 262, 277, 278, 338, 339, 65535))
            )
        elif rng.random() < 0.3:
            changed[entry + 2 : entry + 4] = struct.pack(order + "H", rng.choice((1, 2, 3, 4, 5, 12, 13, 99)))
        elif rng.random() < 0.3:
            changed[entry + 4 : entry + 8] = struct.pack(order + "I", rng.choice(EXTREMES) & 0xFFFFFFFF)
        else:
            changed[entry + 8 : entry + 12] = struct.pack(
                order + "I", rng.choice((*EXTREMES, 3, 5, 12, start)) & 0xFFFFFFFF
            )
    return bytes(changed)


# Where other formats say their width and height: what stands before, the offset from there, and how it is packed.
_SIZES = {b"GIF8": (6, "<HH"), b"BM": (18, "<ii"), b"\xff\xc0": (5, ">HH"), b"VP8 ": (14, "<HH")}


def image_damaged(data: bytes, rng: Random) -> bytes:
    """An image file of any format, damaged where it says its size or as its format allows."""
    if data.startswith(b"\x89PNG"):
        return png_damaged(data, rng)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return tiff_damaged(data, rng)
    for mark, (offset, form) in _SIZES.items():
        at = data.find(mark)
        if at >= 0 and rng.random() < 0.25:
            size = rng.choice(((0, 5), (1, 1), (5, 4), (6, 10), (32_767, 32_767), (13_000, 13_000)))
            place = at + offset
            return data[:place] + struct.pack(form, *size) + data[place + struct.calcsize(form) :]
    if data[:1] == b"P" and rng.random() < 0.4:
        number = rng.choice((b"0", b"-1", b"13000", b"99999999999", b"65536", b"9" * 5000, b"1e3", b"#"))
        words = data.split(b"\n", 3)
        words[rng.randrange(1, len(words) - 1)] = number + b" " + number
        return b"\n".join(words)
    return damaged(data, rng)
