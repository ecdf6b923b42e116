"""Named sets: what comes with latlas, what is found, and what is refused with both ways to get it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from test_data_idx import write_set

from latlas import cli
from latlas.data import DataOptions, cache_home, catalogue, data_home, idx, load, source_info, sources
from latlas.data.catalogue import NAMED, Named
from latlas.data.named import EMBEDDED, READERS, read_ahead
from latlas.errors import InputError

FASHION = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle_boot".replace(
    "_", "-"
).split()

FASHION_MINI = EMBEDDED / "fashion_mini.npz"


def test_fashion_mini_is_whole_balanced_small_and_licensed() -> None:
    dataset = load(DataOptions())
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (7200, 800, 2000)
    assert (dataset.kind, dataset.shape, dataset.binary) == ("image", (1, 28, 28), False)
    assert dataset.classes is not None
    assert [c.replace(" ", "-") for c in dataset.classes] == FASHION
    full = load(DataOptions(validation=0))
    assert np.bincount(full.train.labels).tolist() == [800] * 10  # type: ignore[arg-type]
    assert np.bincount(full.test.labels).tolist() == [200] * 10  # type: ignore[arg-type]
    assert FASHION_MINI.stat().st_size < 5_000_000
    licence = (EMBEDDED / "LICENSE-fashion-mnist").read_text(encoding="utf-8")
    assert "2017 Zalando SE" in licence
    assert "Permission is hereby granted" in licence


def test_digits_lie_inside_zero_and_one() -> None:
    dataset = load(DataOptions(source="digits"))
    assert dataset.shape == (1, 8, 8)
    assert len(dataset.train) + len(dataset.valid) + len(dataset.test) == 1797
    assert (dataset.train.x.min(), dataset.train.x.max()) == (0, 1)
    assert dataset.scaling.kind == "none"
    assert dataset.classes == tuple("0123456789")


@pytest.mark.parametrize("name", [n for n, e in NAMED.items() if e.files])
def test_a_missing_set_says_both_ways_to_get_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        load(DataOptions(source=name, data_dir=str(tmp_path)))
    line = str(caught.value)
    assert line.startswith(f"{name}: ")
    assert f"`latlas data fetch {name}`" in line
    assert str(tmp_path / NAMED[name].folder) in line
    assert "LATLAS_DATA" in line
    assert "\n" not in line
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_a_set_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "KMNIST" / "raw"
    write_set(folder)
    with pytest.raises(InputError, match=r"holds train images 20x5x4 .* give the folder itself: .*raw$"):
        load(DataOptions(source="kmnist", data_dir=str(tmp_path)))
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="no test labels in"):
        load(DataOptions(source="kmnist", data_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "nonsense"}, "'nonsense' is neither a named set .* nor an existing file or folder$"),
        ({"source": "fashon-mnist"}, "did you mean 'fashion-mnist'"),
        ({"source": ""}, "'' is neither"),
        ({"source": "digits", "image_size": (9, 9)}, "digits: images are 8x8; image_size is for"),
        ({"source": "digits", "label": "y"}, "data.label = y: has no meaning for a named set"),
        ({"source": "digits", "layout": "NHW"}, "data.layout = NHW: has no meaning for a named set"),
    ],
)
def test_bad_names_and_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(DataOptions(**options))  # type: ignore[arg-type]


def test_where_data_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LATLAS_CACHE", raising=False)
    assert data_home() == cache_home()
    assert "latlas" in data_home().parts
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path / "cache"))
    assert data_home() == tmp_path / "cache"
    monkeypatch.setenv("LATLAS_DATA", str(tmp_path / "env"))
    assert data_home() == tmp_path / "env"
    assert data_home(str(tmp_path / "given")) == tmp_path / "given"
    assert data_home("~/x").is_absolute()


def test_the_catalogue_is_complete() -> None:
    assert sources() == ["fashion-mini", "digits", "shapes", "mnist", "fashion-mnist", "kmnist", "flowers102"]
    for name in sources():
        info = source_info(name)
        assert info["present"] == (name in ("fashion-mini", "digits", "shapes"))
        assert info["licence"]
        assert info["credit"]
        assert len(set(info["classes"])) == {"flowers102": 102, "shapes": 3}.get(name, 10)
        assert all(len(s) == 64 and int(s, 16) for s in info["files"].values())
        assert len(info["mirrors"]) == (0 if info["present"] else 2)
        assert all(m.endswith("/") for m in info["mirrors"])
    with pytest.raises(InputError, match="unknown data set"):
        source_info("cifar")


CATALOGUE = Path(catalogue.__file__).with_suffix(".toml")


def test_each_reader_that_the_catalogue_may_name_exists() -> None:
    assert set(get_args(Named.model_fields["reader"].annotation)) == set(READERS)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A named set of 20 and 8 images of 5x4 values, of which the catalogue alone knows."""
    table = (
        CATALOGUE.read_text(encoding="utf-8").replace("[kmnist", "[small").replace("KMNIST/raw", "Small/raw")
    )
    for old, new in (("[60_000, 0, 10_000]", "[20, 0, 8]"), ("[1, 28, 28]", "[1, 5, 4]")):
        table = table.replace(old, new)
    path = tmp_path / "catalogue.toml"
    path.write_text(table, encoding="utf-8")
    monkeypatch.setitem(NAMED, "small", catalogue.read(path)["small"])


def test_the_catalogue_alone_adds_a_set(tmp_path: Path, small: None) -> None:
    write_set(tmp_path / "Small" / "raw")
    assert "small" in sources()
    assert source_info("small", str(tmp_path))["present"]
    dataset = load(DataOptions(source="small", data_dir=str(tmp_path), validation=0))
    assert (dataset.shape, len(dataset.train), len(dataset.test)) == ((1, 5, 4), 20, 8)
    assert dataset.classes == NAMED["kmnist"].classes


def test_training_unpacks_a_set_while_it_starts(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = write_set(tmp_path / "Small" / "raw", suffix=".gz")
    # The setting is read after that.
    assert cli.run(["train", "small", "--data-dir", str(tmp_path), "--set", "no.such=1"]) == 2
    unpacked = [path for path in idx._AHEAD if path.is_relative_to(tmp_path)]
    assert len(unpacked) == 4
    monkeypatch.setattr(idx.gzip, "GzipFile", None)
    dataset = load(DataOptions(source="small", data_dir=str(tmp_path), validation=0))
    np.testing.assert_array_equal(dataset.train.x[..., 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(dataset.test.labels, arrays["t10k-labels-idx1-ubyte"])
    assert not set(unpacked) & set(idx._AHEAD)


@pytest.mark.parametrize("source", ["digits", "flowers102", "small", "no-such-set", "./folder"])
def test_what_cannot_be_unpacked_ahead_is_left_alone(tmp_path: Path, small: None, source: str) -> None:
    read_ahead(source, str(tmp_path))
    assert not [path for path in idx._AHEAD if path.is_relative_to(tmp_path)]


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('licence = "CC BY 4.0"', 'license = "CC BY 4.0"', r"digits\.licence: .*; digits\.license: "),
        ('reader = "digits"', 'reader = "csv"', r"digits\.reader: .*'embedded', 'digits'"),
        ("items = [1_797, 0, 0]", "items = [1_797, 0]", r"digits\.items\.2: "),
        ("shape = [3, 64, 64]", "shape = [3, 64, 0]", r"flowers102\.shape\.2: "),
        ("{:05d}", "{}", r"flowers102\.images: "),
        ("440fcabf", "440fcab", r"mnist\.files\.train-images-idx3-ubyte\.gz: "),
        ("mnist/dataset/kmnist/", "mnist/dataset/kmnist", r"kmnist\.mirrors\.0: "),
        ('folder = "flowers-102"\n', "", r"flowers102: .*files, folder and mirrors belong together"),
        ("[digits]", "[digits", r"cannot be read as a catalogue"),
    ],
)
def test_a_damaged_catalogue_names_the_field(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    text = CATALOGUE.read_text(encoding="utf-8")
    assert right in text
    path = tmp_path / "catalogue.toml"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    with pytest.raises(InputError, match=f"^{path}: {message}") as caught:
        catalogue.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.real
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_sets(real_data: Path, name: str) -> None:
    start = time.process_time()
    dataset = load(DataOptions(source=name, data_dir=str(real_data), validation=0))
    assert time.process_time() - start < 5
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (60_000, 0, 10_000)
    assert dataset.train.labels is not None
    assert dataset.train.labels[:5].tolist() == ([5, 0, 4, 1, 9] if name == "mnist" else [9, 0, 0, 3, 0])
    mean = dataset.train.x.mean() / 255  # the published means
    assert mean == pytest.approx({"mnist": 0.1307, "fashion-mnist": 0.2860}[name], abs=1e-4)
    assert source_info(name, str(real_data))["present"]


@pytest.mark.real
def test_fashion_mini_holds_official_images(real_data: Path) -> None:
    full = load(DataOptions(source="fashion-mnist", data_dir=str(real_data), validation=0))
    mini = load(DataOptions(validation=0))
    with np.load(FASHION_MINI, allow_pickle=False) as file:
        for part in ("train", "test"):
            rows = file[f"{part}_index"]
            assert len(np.unique(rows)) == len(rows)
            np.testing.assert_array_equal(mini.split(part).x, full.split(part).x[rows])
            np.testing.assert_array_equal(mini.split(part).labels, full.split(part).labels[rows])  # type: ignore[index]


@pytest.mark.real
def test_a_part_of_kmnist_is_a_folder_not_the_set(real_data: Path, tmp_path: Path) -> None:
    dataset = load(DataOptions(source=str(real_data / "KMNIST-7k"), validation=0))
    assert (len(dataset.train), len(dataset.test)) == (7_011, 10_000)
    (tmp_path / "KMNIST").symlink_to(real_data / "KMNIST-7k")
    with pytest.raises(InputError, match=r"kmnist: .* holds train images 7011x28x28 and 7,011 labels"):
        load(DataOptions(source="kmnist", data_dir=str(tmp_path)))


@pytest.mark.real
def test_binarized_mnist(real_data: Path) -> None:
    path = str(real_data / "binarized-mnist" / "binarized_mnist.npz")
    dataset = load(DataOptions(source=path))
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (50_000, 10_000, 10_000)
    assert (dataset.kind, dataset.binary, dataset.shape) == ("vector", True, (784,))
    assert load(DataOptions(source=path, image_size=(28, 28))).shape == (1, 28, 28)


@pytest.mark.slow
@pytest.mark.real
def test_flowers(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path))
    options = DataOptions(source="flowers102", data_dir=str(real_data), image_size=(16, 16), resize="squash")
    dataset = load(options)
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (1_020, 1_020, 6_149)
    assert dataset.shape == (3, 16, 16)
    assert np.bincount(dataset.train.labels).tolist() == [10] * 102  # type: ignore[arg-type]
    assert np.bincount(dataset.valid.labels).tolist() == [10] * 102  # type: ignore[arg-type]
    assert (
        len(np.unique(np.concatenate([s.index for s in (dataset.train, dataset.valid, dataset.test)])))
        == 8_189
    )
    again = load(options)
    assert again.fingerprint == dataset.fingerprint
