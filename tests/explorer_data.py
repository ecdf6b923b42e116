"""Data for the explorer's page without a run: a linear model, of which every answer is known in closed form."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BUNDLE = Path(__file__).resolve().parents[1] / "src" / "latlas" / "explorer" / "bundle"
SIDE = 12  # pixels of a picture's side
HOSTILE = '<img src=x onerror="window.attacked=1">'


def block(array: np.ndarray | bytes) -> dict[str, Any]:
    """A block of the page's data, compressed."""
    if isinstance(array, bytes):
        return {"type": "bytes", "base64": base64.b64encode(array).decode()}
    packed = gzip.compress(np.ascontiguousarray(array).tobytes(), mtime=0)
    return {
        "type": str(array.dtype),
        "shape": list(array.shape),
        "encoding": "gzip",
        "base64": base64.b64encode(packed).decode(),
    }


def atlas(pictures: np.ndarray, columns: int = 16) -> dict[str, Any]:
    """Pictures (n, H, W, C) in [0, 1], in one PNG."""
    n, height, width, channels = pictures.shape
    rows = -(-n // columns)
    whole = np.zeros((rows * height, columns * width, channels), np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * height, i % columns * width
        whole[top : top + height, left : left + width] = np.round(255 * picture.clip(0, 1))
    file = io.BytesIO()
    Image.fromarray(whole[..., 0] if channels == 1 else whole).save(file, "png")
    return {"image": block(file.getvalue()), "tile": [width, height], "columns": columns}


def _field(number: int, value: bytes | int) -> bytes:
    """A field of a protobuf message: a number, or bytes with their length."""

    def varint(n: int) -> bytes:
        low, rest = n & 127, n >> 7
        return bytes([low | 128]) + varint(rest) if rest else bytes([low])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx_linear(weight: np.ndarray, bias: np.ndarray, shape: Sequence[int], given: Sequence[int]) -> bytes:
    """An ONNX file of x -> reshape(x) @ weight + bias, of rows with `shape`, to rows `given`; written by hand."""

    def node(kind: str, inputs: Sequence[str], output: str) -> bytes:
        return (
            b"".join(_field(1, i.encode()) for i in inputs)
            + _field(2, output.encode())
            + _field(4, kind.encode())
        )

    def tensor(name: str, array: np.ndarray) -> bytes:
        kind = 7 if array.dtype == np.int64 else 1
        return (
            b"".join(_field(1, d) for d in array.shape)
            + _field(2, kind)
            + _field(8, name.encode())
            + _field(9, array.tobytes())
        )

    def value(name: str, sizes: Sequence[int]) -> bytes:
        dims = _field(1, _field(2, b"N")) + b"".join(_field(1, _field(1, d)) for d in sizes)
        return _field(1, name.encode()) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))

    constants = {
        "flat": np.array([-1, weight.shape[0]], np.int64),
        "back": np.array([-1, *given], np.int64),
        "w": weight.astype(np.float32),
        "b": bias.astype(np.float32),
    }
    nodes = [
        node("Reshape", ["in", "flat"], "row"),
        node("MatMul", ["row", "w"], "product"),
        node("Add", ["product", "b"], "sum"),
        node("Reshape", ["sum", "back"], "out"),
    ]
    graph = b"".join(_field(1, n) for n in nodes) + _field(2, b"linear")
    graph += b"".join(_field(5, tensor(name, array)) for name, array in constants.items())
    graph += _field(11, value("in", shape)) + _field(12, value("out", given))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 17))


class Linear:
    """x = 0.5 + z A with orthogonal rows of A, and its inverse: decoding and encoding are exact."""

    def __init__(self, latent: int, seed: int = 0, n: int = 240) -> None:
        draw = np.random.default_rng(seed)
        basis = np.linalg.qr(np.random.default_rng(7).normal(size=(SIDE * SIDE, 8)))[0][:, :latent].T
        turn = np.linalg.qr(draw.normal(size=(latent, latent)))[0]
        self.latent, self.weight = latent, (turn @ basis).astype(np.float32)
        self.labels = np.arange(n) % 3
        middles = 1.6 * np.eye(3, latent) if latent > 2 else np.array([[1.5, 0], [-1, 1.3], [-1, -1.3]])
        self.codes = (middles[self.labels] + 0.35 * draw.normal(size=(n, latent))).astype(np.float32)
        self.training = (middles[self.labels] + 0.35 * draw.normal(size=(n, latent))).astype(np.float32)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return (0.5 + codes @ self.weight).reshape(-1, SIDE, SIDE, 1)

    def encode(self, values: np.ndarray) -> np.ndarray:
        return (values.reshape(-1, SIDE * SIDE) - 0.5) @ self.weight.T

    def networks(self) -> dict[str, Any]:
        flat, picture = (self.latent,), (SIDE, SIDE, 1)
        half = np.full(SIDE * SIDE, 0.5)
        decoder = onnx_linear(self.weight, half, flat, picture)
        encoder = onnx_linear(self.weight.T, -half @ self.weight.T, picture, flat)
        return {
            "decoder": {"kind": "onnx", "model": block(decoder)},
            "encoder": {"kind": "onnx", "model": block(encoder)},
        }

    def run(self, name: str, **more: Any) -> dict[str, Any]:
        n = len(self.codes)
        pictures = self.decode(self.codes)
        collapsed = [self.latent - 1] if self.latent > 2 else []
        return {
            "name": name,
            "path": f"runs/{name}",
            "kind": "image",
            "shape": [SIDE, SIDE, 1],
            "latent": self.latent,
            "classes": ["circle", "square", HOSTILE],
            "numbers": [{"title": "ELBO", "value": -12.345, "error": 0.123, "unit": "nats per image"}],
            "findings": [
                {
                    "level": "worth a look",
                    "title": f"A hole {HOSTILE}",
                    "evidence": "12 % of the map lies far from all codes.",
                    "cause": "The classes lie apart.",
                    "advice": "Nothing needs to be done.",
                    "regions": [{"x": 0.0, "y": 0.0, "radius": 0.4}],
                    "dimensions": collapsed,
                }
            ],
            "items": {
                "n": n,
                "codes": block(self.codes),
                "deviations": block(np.full_like(self.codes, 0.1)),
                "labels": block(self.labels.astype(np.int32)),
                "names": [f"folder/{HOSTILE if i == 3 else 'item'}-{i:03}.png" for i in range(n)],
                "elbo": block(np.linspace(-20, -5, n, dtype=np.float32)),
                "squared_error": block(np.linspace(0, 0.01, n, dtype=np.float32)),
                "kl": block(np.abs(self.codes)),
                "thumbnails": atlas(pictures),
                "values": block(pictures.astype(np.float32)),
            },
            "sample": {"codes": block(self.training)},
            "projections": [self.projection()],
            "activity": list(np.linspace(0.9, 0.0, self.latent)),
            "collapsed": collapsed,
            **self.networks(),
            **more,
        }

    def projection(self) -> dict[str, Any]:
        """The identity of two dimensions; else the neighbour rule, with anchors on their first two."""
        box, side = [-4.0, -4.0, 4.0, 4.0], 16
        steps = np.stack([np.linspace(0.9, 1.1, len(self.codes))] * 2, 1).astype(np.float32)
        snapshots = {
            "steps": [0, 50, 100],
            "places": block(np.stack([self.codes[:, :2] * steps * s for s in (0.2, 0.6, 1.0)])),
        }
        centres = -4 + 8 * (np.arange(side) + 0.5) / side
        x, y = (a.ravel() for a in np.meshgrid(centres, centres))
        grid = {"box": box, "columns": side, "rows": side}
        nearest = np.min(np.hypot(x[:, None] - self.codes[:, 0], y[:, None] - self.codes[:, 1]), 1)
        doubt = (255 * np.clip((nearest - 0.4) / 0.8, 0, 1)).astype(np.uint8)
        density = np.exp(-(x**2 + y**2) / 2).astype(np.float32)
        given = {
            "doubt": {**grid, "values": block(doubt)},
            "prior": {
                **grid,
                "values": block(density),
                "levels": [{"value": 0.5, "mass": 0.5}, {"value": 0.1, "mass": 0.9}],
            },
            "snapshots": snapshots,
        }
        if self.latent == 2:
            plane = np.stack([x, y], 1).astype(np.float32)
            pictures = self.decode(plane)
            then = [{**grid, "atlas": atlas(self.decode(s * plane))} for s in (0.1, 0.5, 1)]
            snapshots["backgrounds"] = then
            return {
                "kind": "identity",
                "title": "The two latent dimensions",
                "background": {**grid, "atlas": atlas(pictures)},
                **given,
            }
        places = self.codes[:, :2].copy()
        return {
            "kind": "neighbours",
            "title": "t-SNE",
            "anchors": {"codes": block(self.codes), "places": block(places)},
            "places": block(places),
            "trustworthiness": 0.99,
            "round_trip": {"error": 0.034, "plain": 0.017, "class_agreement": 0.66},
            **given,
        }


def table(n: int = 90, more: int = 0) -> dict[str, Any]:
    """A run on a table: two columns of three are the code, in units of their own; `more` columns hardly move."""
    draw = np.random.default_rng(1)
    codes = draw.normal(size=(n, 2)).astype(np.float32)
    weight = np.array([[0.0] * more + [10, 0, 1], [0.0] * more + [0, 0.5, 1]], np.float32)
    bias = np.array([7.0] * more + [100, 3, 0], np.float32)
    values = codes @ weight + bias
    inverse = np.linalg.pinv(weight)
    names = [*(f"gene {k}" for k in range(more)), "height in cm", HOSTILE, "x"]
    columns = [
        {"name": c, "least": float(v.min()), "most": float(v.max()), "mean": float(v.mean())}
        for c, v in zip(names, values.T, strict=True)
    ]
    return {
        "name": "table",
        "kind": "table",
        "shape": [3 + more],
        "latent": 2,
        "classes": [],
        "columns": columns,
        "scaling": {"shift": values.mean(0).tolist(), "scale": values.std(0).tolist()},
        "items": {
            "n": n,
            "codes": block(codes),
            "values": block(values.astype(np.float32)),
            "names": [f"patient {i}" for i in range(n)],
        },
        "sample": {"codes": block(codes[::-1])},
        "projections": [{"kind": "identity", "title": "The two latent dimensions"}],
        "decoder": {"kind": "onnx", "model": block(onnx_linear(weight, bias, (2,), (3 + more,)))},
        "encoder": {"kind": "onnx", "model": block(onnx_linear(inverse, -bias @ inverse, (3 + more,), (2,)))},
    }


def page(runs: Sequence[dict[str, Any]], title: str = "A linear model", **more: Any) -> str:
    """The one file: style, data, the large runtime, and the two scripts, under a strict policy."""
    style, script, runtime = (
        (BUNDLE / name).read_text("utf-8") for name in ("explorer.css", "explorer.js", "runtime.js")
    )
    start = "latlasExplorer.boot()"
    wasm = base64.b64encode((BUNDLE / "runtime.wasm.gz").read_bytes()).decode()
    data = {
        "format": 1,
        "title": title,
        "version": "0",
        "runs": list(runs),
        "runtime": {"type": "bytes", "encoding": "gzip", "element": "latlas-runtime"},
        **more,
    }
    text = json.dumps(data).replace("<", "\\u003c")
    hashes = [_sha256(s) for s in (script, runtime, start)]
    policy = (
        f"default-src 'none'; script-src {' '.join(hashes)} 'wasm-unsafe-eval'; "
        f"style-src {_sha256(style)}; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>latlas</title>'
        f'<style>{style}</style></head><body><div id="latlas"></div>'
        f'<script type="application/json" id="latlas-data">{text}</script>'
        f"<script>{script}</script><script>{runtime}</script>"
        f'<script type="text/plain" id="latlas-runtime">{wasm}</script>'
        f"<script>{start}</script></body></html>"
    )


def _sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
