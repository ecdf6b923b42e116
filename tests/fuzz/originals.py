"""The undamaged files: data, a trained run, a study, codes and a cache, made once for each state of the sources."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .containers import npy, npz, zip_bomb

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "fuzz"
WHOLE = ".whole"  # the last file to be written
SMALL: dict[str, Any] = {
    "network.hidden": [8], "training.batch_size": 16, "training.keep": "all", "training.snapshot_every": 15,
    "training.snapshot_weights": True, "pictures.draw": False, "evaluation.groups": ["codes"],
}  # fmt: skip
STUDY = """[study]
name = "small"
data = ["{data}"]
seeds = [0]
measures = ["mse"]
claims = [{{ text = "more is better", number = "mse", row = "two", than = "one" }}]

[settings]
training.steps = 3
network.hidden = [4]

[[runs]]
name = "one"
model.latent = 1

[[runs]]
name = "two"
model.latent = 2

[grid]
likelihood.name = ["bernoulli"]
"""


def pixels(count: int = 60, height: int = 8, width: int = 6) -> np.ndarray:
    """Grey images (count, height, width), uint8, no two alike."""
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    steps = np.arange(count)[:, None, None]
    return ((across * (steps % 7) * 5 + down * (steps % 11) * 3 + steps) % 256).astype(np.uint8)


def table(rows: int = 40, columns: int = 3) -> np.ndarray:
    """Numbers (rows, columns) that text files hold exactly."""
    return np.round(np.sin(np.arange(rows * columns)).reshape(rows, columns) * 8, 3)


def idx(array: np.ndarray) -> bytes:
    """The IDX file of an array of bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def encoded(array: np.ndarray, kind: str, **options: Any) -> bytes:
    """An image file by Pillow."""
    content = io.BytesIO()
    Image.fromarray(array).save(content, kind, **options)
    return content.getvalue()


def parquet(**options: Any) -> bytes:
    """A Parquet file of the table, with a column of texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values, content = table(), io.BytesIO()
    columns = {f"c{i}": values[:, i] for i in range(values.shape[1])}
    kinds = pa.array(["ab"[i % 2] for i in range(len(values))])
    pq.write_table(pa.table(columns | {"kind": kinds, "whole": np.arange(len(values))}), content, **options)
    return content.getvalue()


def text_table(separator: str = ",") -> bytes:
    """The table as text, with a head and labels."""
    rows = [separator.join((*map(str, row), "ab"[i % 2])) for i, row in enumerate(table().tolist())]
    return "\n".join([separator.join(("a", "b", "c", "kind")), *rows, ""]).encode()


def _tiffs() -> dict[str, bytes]:
    import tifffile

    def written(array: np.ndarray, **options: Any) -> bytes:
        content = io.BytesIO()
        tifffile.imwrite(content, array, **options)
        return content.getvalue()

    grey = pixels(1)[0] + np.arange(6, dtype=np.uint8)
    deep, colour = grey.astype(np.uint16) * 200, np.stack([grey, grey + 9, grey + 40], -1)
    return {
        "grey": encoded(grey, "TIFF"), "colour": encoded(colour, "TIFF", compression="tiff_lzw"),
        "packed": encoded(grey, "TIFF", compression="packbits"), "deflated": written(colour, photometric="rgb",
        compression="zlib"),
        "deep": written(deep), "white": written(deep, photometric="miniswhite"), "pages": written(pixels(3),
        photometric="minisblack"),
        "big": written(grey, bigtiff=True), "float": written(grey.astype(np.float32)), "order": written(deep,
        byteorder=">"),
    }  # fmt: skip


class Originals:
    """The files at `folder`, and what is read from them undamaged."""

    def __init__(self, folder: Path, run: Path | None = None) -> None:
        self.folder, self.run = folder, run or folder / "run"

    @property
    def study(self) -> Path:
        return self.folder / "study"

    @cached_property
    def bomb(self) -> bytes:
        return (self.folder / "bomb.npz").read_bytes()

    @cached_property
    def files(self) -> dict[str, dict[str, bytes]]:
        """Data files by kind and name."""
        grey, values = pixels(), table()
        pair = {"x": grey, "y": np.arange(60) % 3}
        colour = np.stack([grey[5], grey[9], grey[33]], -1)
        halves = {
            "x_train": grey[:40],
            "y_train": np.arange(40) % 3,
            "x_test": grey[40:],
            "y_test": np.arange(20) % 3,
        }
        formats = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TGA", "ICO", "JPEG2000", "AVIF")
        return {
            "idx": {"images-idx3-ubyte": idx(grey), "images-idx3-ubyte.gz": gzip.compress(idx(grey), mtime=0)},
            "npy": {"grey.npy": npy(grey), "table.npy": npy(values),
            "wide.npy": npy(np.asfortranarray(values.astype(np.float32)))},
            "npz": {"pair.npz": npz(pair), "packed.npz": npz(pair, packed=True), "halves.npz": npz(halves)},
            "csv": {"t.csv": text_table(), "t.tsv": text_table("\t"), "s.csv": text_table(";")},
            "parquet": {"t.parquet": parquet(), "z.parquet": parquet(compression="zstd"),
            "p.parquet": parquet(compression="none", use_dictionary=False)},
            "image": {f"image.{name.lower()}": encoded(colour, name) for name in formats},
            "tiff": {f"{name}.tiff": data for name, data in _tiffs().items()},
        }  # fmt: skip

    @cached_property
    def run_files(self) -> dict[str, bytes]:
        """The files of the run by name."""
        return {
            p.relative_to(self.run).as_posix(): p.read_bytes()
            for p in sorted(self.run.rglob("*"))
            if p.is_file()
        }

    def once(self, name: str, make: Callable[[Path], Any]) -> Any:
        """What is made of an undamaged copy of the run, once in each process."""
        known = self.__dict__.setdefault("_made", {})
        if name not in known:
            with tempfile.TemporaryDirectory() as place:
                known[name] = make(Path(shutil.copytree(self.run, Path(place) / "run")))
        return known[name]


def _state() -> str:
    """The state of the sources that the files depend on."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (*sorted((ROOT / "src" / "latlas").rglob("*.py")), Path(__file__)):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def originals() -> Originals:
    """The undamaged files, made if this state of the sources has none yet."""
    folder = FOLDER / f"originals-{_state()}"
    if not (folder / WHOLE).exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        for old in FOLDER.glob("originals-*"):
            shutil.rmtree(old)
        folder.mkdir()
        _make(folder)
        (folder / WHOLE).touch()
    return Originals(folder)


def _make(folder: Path) -> None:
    """Trains the run and the study in a process of their own, so that none of their threads is in one that forks."""
    (folder / "data.npz").write_bytes(npz({"x": pixels(), "y": np.arange(60) % 3}))
    (folder / "table.csv").write_bytes(text_table())
    (folder / "bomb.npz").write_bytes(zip_bomb("x", 3 * 2**30))
    (folder / "photos").mkdir()
    for i, image in enumerate(pixels(9)):
        (folder / "photos" / f"{i}.png").write_bytes(encoded(image, "PNG"))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _train(folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the undamaged files could not be made")


def _train(folder: Path) -> None:
    import latlas

    os.environ["LATLAS_CACHE"] = str(folder / "cache")
    settings = SMALL | {"pictures.draw": True}
    run = latlas.train(
        folder / "data.npz", out=folder / "run", latent=2, steps=30, quiet=True, threads=1, settings=settings
    )
    latlas.encode(run, out=folder / "codes.npz", quiet=True)
    (folder / "study.toml").write_text(STUDY.format(data=folder / "data.npz"), encoding="utf-8")
    latlas.study(folder / "study.toml", out=folder / "study", quiet=True, threads=1)
