"""What a file or a call asks for is compared with limits and with free memory before any of it is taken."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import image_dataset, made
from PIL import Image
from pydantic import ValidationError

from latlas import cli, config, studies, toml_text, training
from latlas.api.learning import configure
from latlas.build import build, check_grid, item_of, resolve
from latlas.data import DataOptions, image_files, load, numpy_files, room
from latlas.data.load import read_source
from latlas.data.spool import spooled
from latlas.data.sums import is_whole, seal
from latlas.errors import InputError, LatlasError
from latlas.limits import LIMITS, Limit
from latlas.machine import use_threads
from latlas.settings import Config

SOME = 2**25  # bytes: more than reading a small file takes, far less than what these files promise


@contextmanager
def taking_little() -> Iterator[None]:
    """Inside the block NumPy and Python take little memory."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < SOME
    finally:
        tracemalloc.stop()


def npy(shape: tuple[int, ...], dtype: str = "|u1", body: bytes = b"") -> bytes:
    """An .npy file of this header, and of these bytes after it."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": dtype, "fortran_order": False, "shape": shape})
    return content.getvalue() + body


def npz(path: Path, entries: dict[str, bytes], zeros: dict[str, int] | None = None) -> Path:
    """An .npz of these entries, and of packed arrays of so many zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        for name, count in (zeros or {}).items():
            with archive.open(name, "w", force_zip64=True) as entry:
                entry.write(npy((count,)))
                for _ in range(count // 2**22):
                    entry.write(bytes(2**22))
    return path


GOOD = npy((60, 8, 8), body=bytes(range(64)) * 60)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((2**20, 2**20, 9), "promises 1048576x1048576x9 of uint8, 9895.6 GB, and 0 B are there"),
        ((2**40, 2**40), "which no machine holds"),
        ((0, 2**62, 4), "which no machine holds"),
        ((-1, 5), "axes"),
        ((1,) * 40, "40 axes"),
    ],
)
def test_headers_are_checked_before_memory_is_taken(
    tmp_path: Path, shape: tuple[int, ...], said: str
) -> None:
    files = [tmp_path / "x.npy", npz(tmp_path / "x.npz", {"x.npy": npy(shape)})]
    files[0].write_bytes(npy(shape))
    for file in files:
        with taking_little(), pytest.raises(InputError, match=f"{file.name}.*{said}"):
            load(DataOptions(source=str(file)))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY", b"\x93NUMPY\x09\x00"])
def test_an_entry_that_is_no_array_is_refused_where_it_is_wanted(tmp_path: Path, content: bytes) -> None:
    wrong = npz(tmp_path / "a.npz", {"x.npy": content, "y.npy": GOOD})
    with pytest.raises(InputError, match=r"a\.npz: 'x': "):
        load(DataOptions(source=str(wrong)))
    with pytest.raises(InputError, match=r"b\.npz: 'x': "):
        load(DataOptions(source=str(npz(tmp_path / "b.npz", {"x": content}))))
    aside = npz(tmp_path / "c.npz", {"x.npy": GOOD, "README.txt": content, "z.npy": content})
    data = load(DataOptions(source=str(aside)))
    assert data.shape == (1, 8, 8)
    assert "arrays not used: README.txt, z" in data.notes


def test_only_the_arrays_that_are_used_are_unpacked(tmp_path: Path) -> None:
    packed = npz(tmp_path / "x.npz", {"x.npy": GOOD}, {"thumbnails.npy": 4 * SOME})
    assert packed.stat().st_size < 2**18
    with taking_little():
        raw = read_source(DataOptions(source=str(packed)))
    np.testing.assert_array_equal(raw.parts["train"].x[3, :, :, 0], np.arange(64).reshape(8, 8))
    assert "arrays not used: thumbnails" in raw.notes


def test_what_is_wanted_of_many_arrays_is_asked_once(tmp_path: Path) -> None:
    asked = []
    arrays = {f"a{i}.npy": npy((1,), body=b"1") for i in range(50)}

    def wanted(found: object) -> list[str]:
        asked.append(found)
        return ["a7"]

    read = numpy_files.read_arrays(npz(tmp_path / "x.npz", arrays), wanted)
    assert len(asked) == 1
    assert [name for name, array in read.items() if array.any()] == ["a7"]
    names = [f"measured_at_a_place_with_a_long_name_{i}" for i in range(3000)]
    many = npz(
        tmp_path / "many.npz", {"x.npy": GOOD} | {f"{name}.npy": npy((1,), body=b"1") for name in names}
    )
    (note,) = read_source(DataOptions(source=str(many))).notes[:1]
    assert note.startswith(f"arrays not used: {names[0]}, ")
    assert len(note) < 300


def test_an_archive_of_too_many_entries_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(LIMITS["entries"].most + 1):
            archive.writestr(f"{i}.npy", b"")
    with pytest.raises(InputError, match=r"x\.npz: 10,001 entries; expected 10,000 at most"):
        load(DataOptions(source=str(path)))


def test_memory_that_runs_out_is_no_fault_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*arguments: object, **more: object) -> None:
        raise MemoryError

    np.savez(tmp_path / "x.npz", x=np.zeros((9, 2)))
    monkeypatch.setattr(np.lib.format, "read_array", short)
    with pytest.raises(LatlasError, match=r"^\S*x\.npz does not fit into memory") as error:
        load(DataOptions(source=str(tmp_path / "x.npz")))
    assert not isinstance(error.value, InputError)


@pytest.mark.parametrize("kind", ["npz", "idx", "csv", "parquet", "parquet of texts", "npy"])
def test_data_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / f"x.{kind.split()[0]}"
    monkeypatch.setattr(room, "free_memory", lambda: float(SOME))
    options = DataOptions(source=str(path), memory="resident")
    if kind == "npz":
        npz(path, {}, {"x.npy": 2 * SOME})
    elif kind == "npy":
        np.lib.format.open_memmap(path, "w+", np.uint8, (2 * SOME // 64, 8, 8))
    elif kind == "idx":
        path = tmp_path / "x-idx.gz"
        packer = zlib.compressobj(wbits=31)
        head = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2 * SOME // 64, 8, 8)
        path.write_bytes(packer.compress(head + bytes(2 * SOME)) + packer.flush())
        options = DataOptions(source=str(path))
    elif kind == "csv":
        path.write_text("a,b\n" + "1.25,2.5\n" * (SOME // 60))
        options = DataOptions(source=str(path))
    elif kind == "parquet":
        pd.DataFrame({c: np.zeros(SOME // 16) for c in "abcd"}).to_parquet(path)
    else:  # a dictionary of one long text, and a few bytes that say that all rows have it
        monkeypatch.setattr(room, "free_memory", lambda: 3e6)
        monkeypatch.setattr(room, "SMALL", 0)
        pd.DataFrame({"a": range(3000), "b": ["long" * 1000] * 3000}).to_parquet(path)
        assert path.stat().st_size < 2**17
    with pytest.raises(
        InputError, match=rf"{path.name}: .* of memory are needed, and [\d.]+ MB are free; free"
    ):
        load(options)


def test_what_a_process_may_take_is_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (taken + 2**30, resource.RLIM_INFINITY))
    assert 0.9 * 2**30 < room.free_memory() < 1.1 * 2**30
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**20, resource.RLIM_INFINITY))
    assert room.free_memory() == 0


# --- images ---


def png(side: int, kind: int = 6, more: bytes = b"") -> bytes:
    """The head of a PNG of so many pixels a side, with little behind it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, kind, 0, 0, 0)
    rest = chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + rest


def folder(path: Path, count: int = 12) -> Path:
    path.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (9, 7), dtype=np.uint8)).save(path / f"{i}.png")
    return path


def test_an_image_of_too_many_pixels_is_left_out_by_name(tmp_path: Path) -> None:
    path = folder(tmp_path / "f")
    (path / "big.png").write_bytes(png(13_000))
    (path / "huge.png").write_bytes(png(60_000))
    with taking_little():
        data = load(DataOptions(source=str(path)))
    (note,) = [note for note in data.notes if note.startswith("left out")]
    assert "big.png (13000x13000 pixels; at most 89,478,485 are decoded at once, save it smaller)" in note
    assert "huge.png (more pixels than twice" in note


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder for this test alone: that of the session knows the same images by their content."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    return tmp_path / ".cache"


@pytest.mark.usefixtures("own_cache")
def test_an_image_without_room_ends_the_call_and_is_not_kept_as_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path / "f")
    Image.new("RGB", (90, 90), "red").save(path / "12.png")
    monkeypatch.setattr(image_files, "LARGE", 8_000)
    monkeypatch.setattr(image_files, "free_memory", lambda: 100_000.0)
    with pytest.raises(LatlasError, match=r"12\.png: 90x90 pixels take 162\.0 kB to decode, and 100\.0 kB"):
        load(DataOptions(source=str(path)))
    monkeypatch.setattr(image_files, "free_memory", lambda: 200_000.0)
    data = load(DataOptions(source=str(path)))
    assert sum(map(len, (data.train, data.valid, data.test))) == 13
    assert not [note for note in data.notes if note.startswith("left out")]


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(24, "Too many open files"), OSError(5, "I/O error")]
)
@pytest.mark.parametrize("at", ["inspect", "decode"])
@pytest.mark.usefixtures("own_cache")
def test_a_passing_failure_is_no_fact_about_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, at: str
) -> None:
    path, fails = folder(tmp_path / "f"), [True]
    open_image, first = image_files.open_image, []

    def short(file: object, page: int | None = None) -> object:
        first.append(file)
        wrong = first.count(file) == (1 if at == "inspect" else 2)
        if fails and str(file).endswith("/7.png") and wrong:
            raise error
        return open_image(file, page)  # type: ignore[arg-type]

    monkeypatch.setattr(image_files, "open_image", short)
    with pytest.raises(LatlasError, match=r"7\.png: .*start again"):
        load(DataOptions(source=str(path)))
    fails.clear()
    data = load(DataOptions(source=str(path)))
    assert sum(map(len, (data.train, data.valid, data.test))) == 12


def test_a_large_jpeg_is_read_at_a_reduced_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (1000, 900), "red").save(tmp_path / "a.jpg", exif=exif)
    monkeypatch.setitem(LIMITS, "pixels", Limit(100_000, ""))
    about = image_files.inspect(tmp_path / "a.jpg")
    assert (about.height, about.width) == (1000, 900)
    assert image_files.decode(tmp_path / "a.jpg", (8, 8), "crop", False).shape == (8, 8, 3)
    with pytest.raises(InputError, match="900x1000 pixels; at most 100,000 are decoded"):
        image_files.decode(tmp_path / "a.jpg", None, "crop", False)


def test_pages_that_a_file_only_promises_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "f")
    frames = struct.pack(">I", 8) + b"acTL" + struct.pack(">II", 2**31, 0)
    frames += struct.pack(">I", zlib.crc32(frames[4:]))
    (path / "film.png").write_bytes(png(2, more=frames))
    with taking_little(), pytest.raises(InputError, match=r"it says that it holds 2,147,483,64\d pages"):
        image_files.inspect(path / "film.png")
    assert read_source(DataOptions(source=str(path), pages="all")).parts["train"].x.shape[0] == 13


def test_items_of_an_image_size_without_room_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path / "f")
    monkeypatch.setattr(room, "free_memory", lambda: 1e9)
    with pytest.raises(InputError, match=r"data\.image_size: .*60000x60000: 7\.2 GB"):
        load(DataOptions(source=str(path), image_size=(60_000, 60_000)))
    with pytest.raises(InputError, match=r"image_size.*65535"):
        config.override(config.recipe("vae"), {"data.image_size": [100_000, 100_000]}, "x")


# --- the cache ---


@pytest.mark.parametrize("damage", ["pixels", "places", "sums", "no sums"])
def test_a_cache_with_other_content_is_made_again(tmp_path: Path, own_cache: Path, damage: str) -> None:
    path = folder(tmp_path / "f")
    first = load(DataOptions(source=str(path)))
    again = load(DataOptions(source=str(path)))
    assert (again.fingerprint, again.notes) == (first.fingerprint, first.notes)
    (cached,) = (own_cache / "latlas" / "decoded").iterdir()
    images, about, sums = (cached / name for name in ("images.npy", "about.json", "sums.json"))
    if damage == "pixels":
        content = bytearray(images.read_bytes())
        content[-5] ^= 1
        images.write_bytes(content)
    elif damage == "places":  # the same images under the names of others
        values = json.loads(about.read_text())
        about.write_text(json.dumps(values | {"rows": values["rows"][::-1]}))
    else:
        sums.write_text("{") if damage == "sums" else sums.unlink()
    mended = load(DataOptions(source=str(path)))
    assert mended.fingerprint == first.fingerprint
    assert any("was damaged: made again" in note for note in mended.notes)
    assert load(DataOptions(source=str(path))).fingerprint == first.fingerprint


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from latlas.data import sums

    file, record = tmp_path / "x.npy", tmp_path / "x.sums"
    file.write_bytes(bytes(1000))
    sums.seal(record, [file])
    reads, read = [], sums._sum
    monkeypatch.setattr(sums, "_sum", lambda path: reads.append(path) or read(path))
    assert all(sums.is_whole(record, [file]) for _ in range(2))
    assert len(reads) == 2  # as it was written within this second
    monkeypatch.setattr(sums, "_SETTLED", 0)
    assert all(sums.is_whole(record, [file]) for _ in range(3))
    assert len(reads) == 3
    status = file.stat()
    file.write_bytes(bytes(999) + b"1")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not sums.is_whole(record, [file])


@pytest.mark.usefixtures("own_cache")
def test_a_damaged_copy_of_an_array_is_made_again() -> None:
    x = np.arange(12.0).reshape(6, 2)
    made_once = spooled("key", x.shape, x.dtype, iter([x]))
    assert spooled("key", x.shape, x.dtype, iter([])).path == made_once.path
    content = bytearray(made_once.path.read_bytes())
    content[-1] ^= 1
    made_once.path.write_bytes(content)
    found = spooled("key", x.shape, x.dtype, iter([x]))
    np.testing.assert_array_equal(found.read(0, 6), x)
    assert "was damaged: made again" in found.note


# --- settings, arguments and files of settings ---

DIGITS = "9" * 5000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (".".join("a" * 32_000) + " = 1", "more than 16 levels"),
        (" . ".join(["'a'"] * 40) + " = 1", "more than 16 levels"),
        ('x = """a"""", ' + ".".join("a" * 40) + " = 1", "more than 16 levels"),
        ("x = " + "[" * 20_000, "more than 16 levels"),
        ("x = " + "{a = " * 20_000, "more than 16 levels"),
        ("seed = " + DIGITS, "a number of too many digits"),
        ("x = [", "Invalid value"),
    ],
)
def test_toml_is_read_within_bounds(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    for read in (config.read, studies.read):
        with taking_little(), pytest.raises(InputError, match=f"x.toml: cannot be read as TOML: .*{said}"):
            read(file)


def test_texts_and_comments_in_toml_may_have_dots_and_brackets() -> None:
    dots = ".".join("a" * 100)
    text = f'# {dots}\na = \'{dots}\'\nb = "\\"{dots}[[["\nc = \'\'\'\n{dots}\n\'\'\'\nd = """{dots}\\""""\n'
    assert toml_text.parsed(text) == {"a": dots, "b": f'"{dots}[[[', "c": f"{dots}\n", "d": f'{dots}"'}


def test_a_source_and_names_that_can_be_none_are_one_short_line() -> None:
    with pytest.raises(InputError, match=r"^'x+… \(100,002 characters\): not a path \(File name too long\)$"):
        load(DataOptions(source="x" * 100_000))
    assert len(str(InputError("wrong", field="data.layer", value="x\n" * 1000))) < 400
    with pytest.raises(InputError, match="expected names with commas between them, in one line"):
        configure("digits", settings={"data.columns": "a\rb"})


def test_a_long_file_is_no_file_of_settings(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    with file.open("wb") as stream:
        stream.truncate(2**40)
    for read in (config.read, studies.read):
        with taking_little(), pytest.raises(InputError, match=r"x\.toml: 1099\.5 GB, and a file of settings"):
            read(file)


def test_of_many_faults_of_a_configuration_the_first_are_explained() -> None:
    with pytest.raises(InputError, match=r"x: unknown key k0\b.*; and 99,9\d\d more$") as error:
        config.parse({f"k{i}": 1 for i in range(100_000)}, "x")  # each takes a millisecond
    assert len(str(error.value)) < 1500
    for key in (
        "data.drop",
        "data.columns",
        "recipe.ids",
        "own.network",
        "evaluation.groups",
        "network.hidden",
    ):
        section, _, name = key.partition(".")
        with pytest.raises(ValidationError) as found:
            Config.model_validate({section: {name: [None] * 10_000}})
        assert found.value.error_count() < 10


@pytest.mark.parametrize("value", [DIGITS, "a." * 30_000 + "a", "[" * 30_000])
def test_a_long_value_is_one_short_line(value: str) -> None:
    with pytest.raises(InputError, match="seed = ") as error:
        config.override(config.recipe("vae"), config.assignments([f"seed={value}"]), "settings")
    assert len(str(error.value)) < 400
    with pytest.raises(InputError, match=r"a value of 100,000 characters"):
        config.assignments(["seed=" + "1" * 100_000])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"model.latent": 10**6},
            r"model.latent = 1000000: a model of [\d,]+ parameters: [\d.]+ GB of memory",
        ),
        (
            {"model.latent": 2**53, "network.name": "linear"},
            "model.latent = 9007199254740992: codes of 60 items",
        ),
        ({"model.latent": 2 * 10**6}, "model.latent = 2000000: codes of 60 items in 2,000,000 dimensions"),
        ({"network.hidden": [10**9, 10**9]}, "a model of|more parameters than can be counted"),
        ({"network.name": "conv", "network.channels": [10**6, 10**6]}, "a model of"),
        ({"posterior.name": "full-gaussian", "model.latent": 30_000}, "a model of"),
        ({"prior.name": "vamp", "prior.components": 10**9}, "a model of"),
        ({"prior.name": "mixture", "prior.components": 10**10}, "a model of"),
        ({"objective.samples": 10**9}, r"objective.samples = 1000000000: [\d,]+ values in a batch"),
        ({"pictures.grid": [1120, 1120], "model.latent": 2}, "pictures.grid.*so many decoded items"),
    ],
)
def test_a_model_is_counted_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], said: str
) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 8e8)
    dataset = image_dataset(60, height=8, width=8)

    def make() -> None:
        resolved, _ = resolve(config.override(config.recipe("vae"), settings, "test"), dataset)
        build(resolved, item_of(dataset))

    with taking_little(), pytest.raises(InputError, match=said):
        make()


def test_images_of_three_colours_need_no_more_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 4.5e7)
    for shape, side in (((1, 32, 32), 29), ((3, 32, 32), 28)):
        check_grid((side - 1, side - 1), shape, "grid")
        with pytest.raises(InputError, match=r"grid = .*so many decoded items"):
            check_grid((side + 2, side + 2), shape, "grid")


def test_counting_draws_nothing() -> None:
    dataset = image_dataset(60)
    state = torch.get_rng_state()
    first, second = (made(dataset, model__latent=3, prior__name="mixture")[1] for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "settings",
    [
        {"training.steps": 2**60}, {"model.latent": 10**30}, {"training.threads": 10**9},
        {"network.hidden": [1] * 2000}, {"network.hidden": [2**60]}, {"posterior.layers": 10**6},
        {"pictures.grid": [100_000, 100_000]}, {"data.seed": 10**40}, {"training.batch_size": 10**40},
    ],
)  # fmt: skip
def test_numbers_beyond_the_limits_are_refused(settings: dict[str, object]) -> None:
    (key,) = settings
    with pytest.raises(InputError, match=key):
        config.override(config.recipe("vae"), settings, "test")


def study_of(tmp_path: Path, grid: str, more: str = "") -> Path:
    file = tmp_path / "s.toml"
    file.write_text(f'[study]\nname = "s"\ndata = ["digits"]\n{more}\n[[runs]]\n[grid]\n{grid}')
    return file


def test_a_grid_is_counted_before_it_is_made(tmp_path: Path) -> None:
    keys = ("model.latent", "training.batch_size", "training.log_every", "training.steps", "prior.components")
    grid = "\n".join(f"{key} = {list(range(1, 61))}" for key in keys)
    said = r"\[grid\]: 777,600,000 runs, and a study has 10,000 at most"
    with taking_little(), pytest.raises(InputError, match=said):
        studies.read(study_of(tmp_path, grid))


def test_seeds_and_jobs_are_counted_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import latlas

    file = study_of(tmp_path, "model.latent = [1, 2, 3]")
    with taking_little(), pytest.raises(InputError, match="seeds = 1000000000: at most 10,000"):
        latlas.plan_study(str(file), seeds=10**9, quiet=True)
    with pytest.raises(InputError, match="15,000 runs, and a study has 10,000 at most"):
        latlas.plan_study(str(file), seeds=5000, quiet=True)
    monkeypatch.setattr("latlas.data.room.free_memory", lambda: 3e8)
    with pytest.raises(InputError, match=r"jobs = 1000: each is a process of its own: 400\.0 MB of memory"):
        latlas.plan_study(str(file), jobs=1000, settings={"training.steps": 1}, quiet=True)
    with pytest.raises(InputError, match="at most 10000 items"):
        studies.read(study_of(tmp_path, "", f"seeds = {list(range(10_001))}"))


def test_threads_that_no_process_has_are_refused() -> None:
    with pytest.raises(InputError, match="threads = 1000000: at most 4,096"):
        use_threads(10**6)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "digits", "--latent", DIGITS), ("train", "digits", "--set", f"seed={DIGITS}"),
        ("train", "digits", "--budget", f"{DIGITS}s"), ("train", "digits", "--image-size", DIGITS),
        ("train", "digits", "--image-size", f"{DIGITS}x1"), ("sample", "none", "-n", DIGITS),
        ("study", "latent-size", "--part", f"{DIGITS}/{DIGITS}"), ("train", "digits", "--lr", DIGITS),
        ("study", "latent-size", "--seeds", DIGITS),
    ],
)  # fmt: skip
def test_five_thousand_digits_are_a_short_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert cli.run(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert len(err) < 700, err[:2000]
    assert "unexpected" not in err


def test_memory_that_runs_out_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def short(*arguments: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(training, "_stepper", short)
    out = tmp_path / "run"
    assert cli.run(["train", "digits", "--steps", "2", "--out", str(out), "--quiet"]) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: training does not fit into memory, of which ")
    assert f"latlas train --resume {out}" in line
    assert room.is_shortage(MemoryError())
    assert not room.is_shortage(RuntimeError("shapes differ"))


def test_every_limit_has_its_reason_and_its_place_in_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs" / "limits.md").read_text(encoding="utf-8")
    assert [limit for limit in LIMITS.values() if not limit.why or f"{limit.most:,}" not in page] == []


def test_a_nested_record_of_sums_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    seal(tmp_path / "sums.json", [tmp_path / "x"])
    assert is_whole(tmp_path / "sums.json", [tmp_path / "x"])
    for name in ("sums.seen", "sums.json"):
        (tmp_path / name).write_text("[" * 100_000)
        assert is_whole(tmp_path / "sums.json", [tmp_path / "x"]) == (name == "sums.seen")
