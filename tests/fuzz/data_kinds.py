"""Damaged data files: refused, or read as another reader of the format reads them."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from .containers import image_damaged, npy_damaged, npz_damaged
from .damage import NUMBERS, SCRIPT, damaged
from .originals import Originals, encoded, pixels
from .trial import Case, Kind

Read = Callable[[Path], Any]
UNKNOWN = object()  # what another reader cannot tell


def read(path: str, use: bool, run: Path, **options: Any) -> Any:
    """The items of a source as training reads them; with `use`, as those of a trained run are read."""
    from latlas.data import DataOptions
    from latlas.data.load import load_items, read_source
    from latlas.data.splits import assemble
    from latlas.runs import Run

    if use:
        own = Run(run)
        return np.asarray(load_items(path, own.item, own.config.data, split="all").x)
    wanted = DataOptions(source=path, **options)
    raw = read_source(wanted)
    items = {part: np.asarray(split.x) for part, split in raw.parts.items()}
    assemble(raw, wanted)
    return next(iter(items.values())) if len(items) == 1 else items


def same_values(found: Any, reference: Any) -> str:
    """Whether the items have the values that another reader gives, in any order of their axes."""
    if reference is UNKNOWN or not isinstance(found, np.ndarray):
        return ""
    if isinstance(reference, Exception):
        return f"read, though another reader says: {type(reference).__name__}"
    candidates = reference if isinstance(reference, list) else [reference]
    if any(_equal(found, one) for one in candidates):
        return ""
    return f"read as {found.dtype} {found.shape}, other values than another reader's"


def _equal(found: np.ndarray, other: np.ndarray) -> bool:
    if found.size != other.size or other.dtype.kind not in "buif" or not len(other):
        return False
    one, two = (a.reshape(len(found), -1).astype(np.float64) for a in (found, other.reshape(len(found), -1)))
    # float32 is what models take; a table's float64 stays.
    return bool(np.allclose(np.sort(one, 1), np.sort(two, 1), rtol=1e-6, atol=0, equal_nan=True))


def _by(reader: Read) -> Read:
    def tried(path: Path) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return reader(path)
        except Exception as error:  # whatever the other reader says
            return error

    return tried


def _numpy(path: Path) -> Any:
    try:
        loaded = np.load(path, allow_pickle=False)
    except ValueError as error:
        return UNKNOWN if "pickle" in str(error) else error
    if isinstance(loaded, np.ndarray):
        return loaded
    arrays = []
    with loaded:
        for name in dict.fromkeys(info.filename for info in loaded.zip.infolist()):
            try:
                content = loaded.zip.read(name)  # all of it, so that its sum is checked
                arrays.append(np.load(io.BytesIO(content), allow_pickle=False))
            except (
                ValueError,
                OSError,
                EOFError,
                zipfile.BadZipFile,
                struct.error,
                zlib.error,
                NotImplementedError,
            ):
                continue
    return [a for a in arrays if isinstance(a, np.ndarray) and a.ndim]


def _idx(path: Path) -> Any:
    import gzip

    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    kinds = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    values = np.frombuffer(data[4 + 4 * data[3] :], kinds[data[2]])
    return values.reshape(shape)


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    frame = pq.read_table(path).to_pandas().select_dtypes("number")
    return (
        UNKNOWN
        if frame.isna().any(axis=None) or not len(frame)
        else [frame.to_numpy(np.float64), frame.drop(columns="whole", errors="ignore").to_numpy(np.float64)]
    )


def _text(path: Path) -> Any:
    try:
        lines = path.read_bytes().decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return UNKNOWN  # latlas reads it as another encoding, and says so
    separator = {".tsv": "\t"}.get(path.suffix, ";" if path.name == "s.csv" else ",")
    cells = [line.split(separator) for line in lines[1:] if line.strip()]
    if any(len(row) != 4 for row in cells) or '"' in "".join(lines):
        return UNKNOWN
    try:
        return np.array([[float(c.replace("_", "x")) for c in row[:3]] for row in cells])
    except ValueError:
        return UNKNOWN


def _pillow(path: Path) -> Any:
    from PIL import Image

    with Image.open(path) as image:
        tags = getattr(image, "tag_v2", {})
        # Pages, turned pictures and values below white are read by rules of latlas's own.
        if (
            image.mode not in ("L", "RGB")
            or getattr(image, "n_frames", 1) > 1
            or image.getexif().get(274, 1) != 1
        ):
            return UNKNOWN
        if (
            tags.get(262, 1) == 0
            or len(tags.get(258, (8,))) != len(image.getbands())
            or "transparency" in image.info
        ):
            return UNKNOWN
        image.load()
        return np.asarray(image)[None]


def _written(name: str, data: bytes) -> Path:
    path = Path(name)
    path.write_bytes(data)
    return path


def _data(kind: str, damage: Callable[[bytes, Random], bytes], reference: Read, options: Callable[[Random],
    dict[str, Any]] = lambda rng: {}) -> Callable[[Random, Originals], Case]:  # fmt: skip
    def make(rng: Random, originals: Originals) -> Case:
        files = originals.files[kind]
        name = rng.choice(list(files))
        path = _written(name, damage(files[name], rng))
        use, chosen = rng.random() < 0.25, options(rng)
        words = f"{name} damaged, {'used' if use else 'trained on'}{f' with {chosen}' if chosen else ''}"
        check = lambda found: "" if use or chosen else same_values(found, _by(reference)(path))  # noqa: E731
        return Case(words, lambda: read(name, use, originals.run, **chosen), check)

    return make


def _array_options(rng: Random) -> dict[str, Any]:
    if rng.random() < 0.7:
        return {}
    return rng.choice((
        {"kind": "vector"}, {"kind": "table"}, {"kind": "signal"}, {"layout": "NCHW"}, {"layout": "NHWC"},
        {"memory": "windows"},
        {"limit": 3}, {"binarise": "static"}, {"image_size": (5, 5)}, {"validation": 0.5, "test": 0.0},
        {"kind": "image"},
    ))  # fmt: skip


def _cells_damaged(data: bytes, rng: Random) -> bytes:
    """A text table with a cell, a row or its encoding changed, or damaged as bytes."""
    how = rng.random()
    if how < 0.3:
        return damaged(data, rng)
    lines = data.decode().split("\n")
    separator = next(s for s in ("\t", ";", ",") if s in lines[0])
    row = rng.randrange(len(lines) - 1)
    cells = lines[row].split(separator)
    at = rng.randrange(len(cells))
    if how < 0.7:
        cells[at] = rng.choice(
            (
                *NUMBERS,
                '"',
                '"a',
                '"1"',
                "=cmd|' /C calc'!A0",
                "\0",
                "\r",
                "é",
                "1" * 200_000,
                "1e-400",
                "1_000",
                "0b1",
            )
        )
    elif how < 0.78:
        del cells[at]
    elif how < 0.86:
        cells.insert(at, cells[at])
    elif how < 0.92:
        cells = cells * rng.choice((2, 3, 5000))
    else:
        codec = rng.choice(("utf-16", "utf-8-sig", "cp1252", "utf-16-be"))
        return data.replace(b"kind", "größe".encode()).decode().encode(codec)
    lines[row] = separator.join(cells)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _text_options(rng: Random) -> dict[str, Any]:
    label = {"label": "kind"}
    return rng.choice(
        (
            label,
            label,
            label,
            {},
            {"drop": ("kind",)},
            {"columns": ("a", "b")},
            {"header": "no"},
            label | {"decimal": ","},
        )
    )


def _text_case(rng: Random, originals: Originals) -> Case:
    files = originals.files["csv"]
    name = rng.choice(list(files))
    path = _written(name, _cells_damaged(files[name], rng))
    options = _text_options(rng)
    plain = options == {"label": "kind"}
    check = lambda found: same_values(found, _by(_text)(path)) if plain else ""  # noqa: E731
    return Case(f"{name} damaged, with {options}", lambda: read(name, False, originals.run, **options), check)


def _parquet_case(rng: Random, originals: Originals) -> Case:
    files = originals.files["parquet"]
    name = rng.choice(list(files))
    if rng.random() < 0.2:
        path = _written(name, _odd_parquet(rng))
        return Case(f"{name} of odd columns", lambda: read(name, False, originals.run))
    path = _written(name, damaged(files[name], rng))
    check = lambda found: same_values(found, _by(_parquet)(path))  # noqa: E731
    options = {"label": "kind"}
    return Case(f"{name} damaged", lambda: read(name, False, originals.run, **options), check)


def _odd_parquet(rng: Random) -> bytes:
    """A valid Parquet file of columns that are no numbers, or few, or none."""
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    count = rng.choice((0, 1, 2, 9, 30))
    makers: tuple[Callable[[], Any], ...] = (
        lambda: pa.array([[1.0] * (i % 3) for i in range(count)]), lambda: pa.array([None] * count, pa.float64()),
        lambda: pa.array([{"a": i} for i in range(count)], pa.struct([("a", pa.int64())])),
        lambda: pa.array([decimal.Decimal(i) for i in range(count)], pa.decimal128(30, 2)),
        lambda: pa.array([encoded(pixels(1)[0], "PNG")] * count, pa.binary()),
        lambda: pa.array([b"\xff\x00"] * count, pa.binary()),
        lambda: pa.array([f"\x1b[31m{SCRIPT}"] * count, pa.string()), lambda: pa.array(range(count),
        pa.timestamp("us")),
        lambda: pa.array(["a", "b", None] * (count // 3 + 1))[:count].dictionary_encode(),
        lambda: pa.array([float("nan")] * count), lambda: pa.array([2**63 - 1 - i for i in range(count)], pa.int64()),
        lambda: pa.array([[[1, 2], [3, 4]]] * count, pa.list_(pa.list_(pa.uint8()))), lambda: pa.array([True,
        False] * count)[:count],
        lambda: pa.array([1.5 * i for i in range(count)]), lambda: pa.nulls(count),
        lambda: pa.array([i * 1e300 for i in range(count)]),
    )  # fmt: skip
    chosen = [rng.choice(makers)() for _ in range(rng.choice((1, 1, 2, 3)))]
    names = [
        rng.choice(("x", "image", "label", "c", "", SCRIPT, "\x1b[2J")) + str(i) * rng.randrange(2)
        for i in range(len(chosen))
    ]
    content = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays(
            chosen, names=[f"{n}{i}" if names.count(n) > 1 else n for i, n in enumerate(names)]
        ),
        content,
    )
    return content.getvalue()


ODD_NAMES = ("train", "test", "a", "b", "@eaDir", ".hidden", "x" * 200, "a\nb", "\x1b[31mred",
    SCRIPT.replace("/", "_"), b"br\xe9ken".decode("utf-8", "surrogateescape"),
             "$x^2", "[bold]", "\u202e", "val", "labels", "Train", "CON")  # fmt: skip


def _folder_case(rng: Random, originals: Originals) -> Case:
    """A folder of images with odd names, links, pipes and broken files."""
    root = Path("folder")
    images = list(originals.files["image"].values())
    good = [encoded(image, "PNG") for image in pixels(6)]
    folders = [root, *(root / rng.choice(ODD_NAMES) for _ in range(rng.choice((0, 1, 2, 3))))]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for _ in range(rng.choice((0, 1, 2, 5))):
            stem = rng.choice((*ODD_NAMES, *"0123456789"))
            content = rng.choice(good) if rng.random() < 0.7 else image_damaged(rng.choice(images), rng)
            (folder / f"{stem}{rng.choice(('.png', '.png', '.PNG', '.jpg', '.gif', '.tiff'))}").write_bytes(
                content
            )
    odd = _odd_entry(rng.choice(folders), rng, originals) if rng.random() < 0.4 else ""
    options = rng.choice(({}, {}, {"image_size": (5, 5)}, {"strict": True}, {"pages": "all"}, {"limit": 2}))
    use = rng.random() < 0.25
    return Case(
        f"folder of {len(folders)} {odd} {options}", lambda: read("folder", use, originals.run, **options)
    )


def _odd_entry(folder: Path, rng: Random, originals: Originals) -> str:
    name = folder / rng.choice(("z.png", "z", "z.csv", "labels.csv"))
    how = rng.choice(("fifo", "loop", "dangling", "device", "outside", "text", "deep", "empty"))
    if name.exists():
        return ""
    if how == "fifo":
        os.mkfifo(name)
    elif how == "loop":
        name.symlink_to(Path("folder").absolute())
    elif how == "dangling":
        name.symlink_to("nowhere")
    elif how == "device":
        name.symlink_to("/dev/zero")
    elif how == "outside":
        name.symlink_to(originals.folder / rng.choice(("photos", "photos/1.png", "table.csv")))
    elif how == "text":
        name.write_bytes(rng.choice((b"a,b\n1,2\n", b"\0\1", SCRIPT.encode())))
    elif how == "deep":
        deep = name.parent.joinpath(*"d" * 40)
        deep.mkdir(parents=True, exist_ok=True)
        (deep / "x.png").write_bytes(encoded(pixels(1)[0], "PNG"))
    else:
        name.mkdir()
    return how


def _image_case(kind: str) -> Callable[[Random, Originals], Case]:
    """A damaged image beside two whole ones of its format."""

    def make(rng: Random, originals: Originals) -> Case:
        files = originals.files[kind]
        name = rng.choice(list(files))
        suffix = Path(name).suffix.replace(".jpeg2000", ".jp2")
        Path("images").mkdir()
        for number, content in enumerate((image_damaged(files[name], rng), files[name], files[name])):
            _written(f"images/{number}{suffix}", content)
        wish = rng.random()
        options = {"pages": "all"} if name == "pages.tiff" else {}
        if wish < 0.25:
            options |= rng.choice(
                ({"image_size": (5, 5)}, {"pages": "all"}, {"bits": 12}, {"strict": True},
                 {"image_size": (64, 64), "resize": "squash"})
            )  # fmt: skip

        def act() -> Any:
            from latlas.data import DataOptions
            from latlas.data.load import read_source

            split = read_source(DataOptions(source="images", **options)).parts["train"]
            rows = [i for i, own in enumerate(split.names.tolist()) if own == f"0{suffix}"]
            return np.asarray(split.x)[rows] if rows else UNKNOWN

        def check(found: Any) -> str:
            plain = (
                wish >= 0.25
                and name != "pages.tiff"
                and isinstance(found, np.ndarray)
                and found.dtype == np.uint8
            )
            reference = _by(_pillow)(Path(f"images/0{suffix}")) if plain else UNKNOWN
            if isinstance(reference, np.ndarray) and reference.ndim == 3 and found.shape[-1] == 3:
                reference = np.stack([reference] * 3, -1)  # grey among colour
            resized = isinstance(reference, np.ndarray) and found.shape[1:3] != reference.shape[1:3]
            return "" if resized else same_values(found, reference)

        return Case(f"{name} damaged{f', with {options}' if options else ''}", act, check)

    return make


def _npz_case(rng: Random, originals: Originals) -> Case:
    if rng.random() < 0.01:
        _written("bomb.npz", originals.bomb)
        return Case("an .npz that unpacks to 3 GiB", lambda: read("bomb.npz", False, originals.run))
    return _data("npz", lambda data, r: npz_damaged(data, r)[0], _numpy, _array_options)(rng, originals)


KINDS = {
    "idx": Kind(3, _data("idx", damaged, _idx)),
    "npy": Kind(6, _data("npy", npy_damaged, _numpy, _array_options)),
    "npz": Kind(8, _npz_case),
    "csv": Kind(6, _text_case),
    "parquet": Kind(6, _parquet_case),
    "image": Kind(8, _image_case("image")),
    "tiff": Kind(6, _image_case("tiff")),
    "folder": Kind(4, _folder_case),
}
