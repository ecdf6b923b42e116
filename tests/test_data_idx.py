"""IDX files: what is written is read, and what is damaged is refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from latlas.data import DataOptions, idx, load
from latlas.data.idx import idx_files, read_idx, read_idx_folder, unpack_ahead
from latlas.errors import InputError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(x: np.ndarray) -> bytes:
    """An array as an IDX file."""
    head = bytes((0, 0, CODES[x.dtype.str[1:]], x.ndim)) + struct.pack(f">{x.ndim}I", *x.shape)
    return head + x.astype(x.dtype.newbyteorder(">")).tobytes()


def write_set(folder: Path, train: int = 20, test: int = 8, suffix: str = "") -> dict[str, np.ndarray]:
    """A small set of IDX files as MNIST names them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", train), ("t10k", test)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 5, 4)).astype(np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = (np.arange(count) % 3).astype(np.uint8)
    for name, x in arrays.items():
        data = idx_bytes(x)
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(data) if suffix else data)
    return arrays


@pytest.mark.parametrize("dtype", list(CODES))
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (2, 3, 4, 2), (0, 3)])
def test_round_trip(tmp_path: Path, dtype: str, suffix: str, shape: tuple[int, ...]) -> None:
    x = (np.random.default_rng(0).normal(size=shape) * 50).astype(dtype)
    path = tmp_path / f"x-idx{suffix}"
    path.write_bytes(gzip.compress(idx_bytes(x)) if suffix else idx_bytes(x))
    y = read_idx(path)
    assert y.dtype == np.dtype(dtype)
    assert y.dtype.isnative
    assert y.flags.writeable
    np.testing.assert_array_equal(x, y)


def test_every_cut_is_refused(tmp_path: Path) -> None:
    data = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 4))
    packed = gzip.compress(data)
    for cut in range(len(data)):
        (tmp_path / "x-idx2-ubyte").write_bytes(data[:cut])
        with pytest.raises(InputError, match=r"cut short|not an IDX"):
            read_idx(tmp_path / "x-idx2-ubyte")
    for cut in range(len(packed)):
        (tmp_path / "x-idx2-ubyte.gz").write_bytes(packed[:cut])
        with pytest.raises(InputError, match=r"cut short|not an IDX"):
            read_idx(tmp_path / "x-idx2-ubyte.gz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GIF89a", "not an IDX file"),
        (b"\0\0\x07\1" + bytes(8), "not an IDX file"),
        (b"\0\0\x08\0", "not an IDX file"),
        (idx_bytes(np.zeros(3, np.uint8)) + b"!", "more bytes"),
        (b"\0\0\x08\3" + b"\xff" * 12, "cut short"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    for name, content in (("a-idx", data), ("b-idx.gz", gzip.compress(data))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_idx(tmp_path / name)


def test_a_gz_that_is_none_and_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "x-idx.gz").write_bytes(b"plain")
    with pytest.raises(InputError, match="damaged"):
        read_idx(tmp_path / "x-idx.gz")
    with pytest.raises(InputError, match="No such file"):
        read_idx(tmp_path / "none-idx")


def test_what_was_unpacked_ahead_is_read_once(tmp_path: Path) -> None:
    x, path = np.arange(12, dtype=np.uint8).reshape(3, 4), tmp_path / "x-idx.gz"
    path.write_bytes(gzip.compress(idx_bytes(x)))
    unpack_ahead({path: len(idx_bytes(x))})
    assert idx._AHEAD[path].result() == idx_bytes(x)
    path.write_bytes(b"another file by now")
    np.testing.assert_array_equal(read_idx(path), x)
    with pytest.raises(InputError, match="damaged"):
        read_idx(path)


@pytest.mark.parametrize("size", [19, 21, 0])
def test_ahead_files_of_another_size_are_read_as_ever(tmp_path: Path, size: int) -> None:
    x, path = np.arange(12, dtype=np.uint8).reshape(3, 4), tmp_path / "x-idx.gz"
    path.write_bytes(gzip.compress(idx_bytes(x)))
    unpack_ahead({path: size, tmp_path / "none-idx.gz": 20, tmp_path / "plain-idx": 20})
    assert set(idx._AHEAD) >= {path, tmp_path / "none-idx.gz"}
    assert idx._AHEAD[path].result() is None
    np.testing.assert_array_equal(read_idx(path), x)
    with pytest.raises(InputError, match="No such file"):
        read_idx(tmp_path / "none-idx.gz")


@pytest.mark.parametrize("fault", ["start", "unpack"])
def test_a_thread_that_fails_leaves_the_file_to_be_read(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, path = np.arange(12, dtype=np.uint8).reshape(3, 4), tmp_path / "x-idx.gz"
    path.write_bytes(gzip.compress(idx_bytes(x)))

    def fail(*_: object) -> None:
        raise {"start": RuntimeError, "unpack": OverflowError}[fault]("no")

    monkeypatch.setattr(*((idx.threading.Thread, "start") if fault == "start" else (idx, "_unpacked")), fail)
    monkeypatch.setattr(idx.threading, "excepthook", lambda _: None)
    unpack_ahead({path: len(idx_bytes(x))})
    np.testing.assert_array_equal(read_idx(path), x)


def test_damage_is_named_where_files_were_unpacked_ahead(tmp_path: Path) -> None:
    data = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 4))
    packed, path = gzip.compress(data), tmp_path / "x-idx.gz"
    checksum = packed[:-6] + bytes((packed[-6] ^ 1,)) + packed[-5:]
    for content in (*(packed[:cut] for cut in range(len(packed))), checksum):
        path.write_bytes(content)
        unpack_ahead({path: len(data)})
        with pytest.raises(InputError, match=r"cut short|not an IDX"):
            read_idx(path)
    path.write_bytes(packed + packed)  # gzip reads both members
    unpack_ahead({path: len(data)})
    with pytest.raises(InputError, match="more bytes"):
        read_idx(path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("inside", ["", "raw"])
def test_a_folder_is_a_data_set_with_its_official_test(tmp_path: Path, suffix: str, inside: str) -> None:
    arrays = write_set(tmp_path / "my set" / inside, suffix=suffix)
    dataset = load(DataOptions(source=str(tmp_path / "my set"), validation=0))
    np.testing.assert_array_equal(dataset.train.x[..., 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(dataset.test.x[..., 0], arrays["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(dataset.test.labels, arrays["t10k-labels-idx1-ubyte"])
    assert dataset.classes == ("0", "1", "2")
    assert dataset.shape == (1, 5, 4)
    assert dataset.name == "my-set"
    assert Path(dataset.source).is_absolute()
    assert load(DataOptions(source=str(tmp_path / "my set" / inside), validation=0)).name == "my-set"


def test_a_plain_file_wins_over_its_gz_and_two_sets_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_set(tmp_path, suffix=".gz")
    assert idx_files(tmp_path)["train"]["images"].name == "train-images-idx3-ubyte"
    (tmp_path / "emnist-train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(InputError, match="keep one"):
        idx_files(tmp_path)


def test_folders_that_do_not_add_up(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(19, np.uint8)))
    with pytest.raises(InputError, match="20 train images but labels of shape 19"):
        read_idx_folder(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    with pytest.raises(InputError, match="no images beside it"):
        read_idx_folder(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="without training images"):
        read_idx_folder(tmp_path)


def test_one_file_is_a_source_too(tmp_path: Path) -> None:
    arrays = write_set(tmp_path)
    dataset = load(DataOptions(source=str(tmp_path / "train-images-idx3-ubyte")))
    assert len(dataset.train) + len(dataset.valid) + len(dataset.test) == len(
        arrays["train-images-idx3-ubyte"]
    )
    assert dataset.train.labels is None
