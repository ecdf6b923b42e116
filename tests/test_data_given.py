"""Data in memory: every type that holds items is read by the rules of files, and trained on to the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from helpers import images
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

import latlas
from latlas.data import Dataset, load
from latlas.data.given import raw_of_given
from latlas.data.options import MEMORY, DataOptions
from latlas.errors import InputError

COUNT = 48
X = images(COUNT, 8, 6)[..., 0]
Y = np.sort(np.arange(COUNT) % 3)
NAMES = ("ant", "bee", "cat")
SPARSE = scipy.sparse.random(COUNT, 5, 0.6, format="csr", random_state=0)
FRAME = pd.DataFrame(np.random.default_rng(1).normal(size=(COUNT, 4)), columns=list("pqrs"))
FRAME["count"] = np.arange(COUNT) % 7
FRAME["kind"] = np.array(NAMES)[Y]
PLAIN = FRAME.drop(columns="kind")
PICTURES = [Image.fromarray(x) for x in X]


class Items(torch.utils.data.Dataset[Any]):
    """A data set of PyTorch."""

    classes = NAMES

    def __init__(self, items: Any, labels: Any = Y) -> None:
        self.items, self.labels = items, labels

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i], int(self.labels[i])


class Hub:
    """As much of a Dataset of the hub as is asked for."""

    def __init__(self, columns: dict[str, Any], classes: bool = True) -> None:
        self.columns = columns
        self.column_names = list(columns)
        named = type("ClassLabel", (), {"names": list(NAMES)})()
        self.features = {name: named if classes and name == "label" else None for name in columns}

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self.columns[key]
        return {name: values[key] for name, values in self.columns.items()}


class ArrowHub(Hub):
    """One that gives its Arrow table."""

    format: dict[str, Any] = {"type": None}  # noqa: RUF012

    def with_format(self, kind: str) -> Any:
        assert kind == "arrow"
        return Sliced(pa.table(self.columns))


class Sliced:
    """What `[:]` gives the table of."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __getitem__(self, key: slice) -> Any:
        assert key == slice(None)
        return self.table


class AnnData:
    """As much of an AnnData as is asked for."""

    def __init__(self, x: Any) -> None:
        self.X, self.layers, self.obsm = x, {"twice": 2 * x}, {}
        self.var_names = [f"g{i}" for i in range(x.shape[1])]
        self.obs_names = [f"cell{i}" for i in range(x.shape[0])]
        self.obs = pd.DataFrame({"kind": FRAME["kind"].to_numpy()}, index=self.obs_names)
        self.var = pd.DataFrame(index=self.var_names)


class Protocol:
    """A data frame that is known by the protocol of data frames alone."""

    def __dataframe__(self, *arguments: Any, **options: Any) -> Any:
        with pytest.warns(Warning, match="Interchange"):
            return FRAME.__dataframe__(*arguments, **options)


def encoded(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def polars() -> Any:
    library = pytest.importorskip("polars")
    return library.from_pandas(FRAME)


CELLS = [{"bytes": encoded(picture), "path": f"{i:02}.png"} for i, picture in enumerate(PICTURES)]
LABEL = {"label": "kind"}
# By name: the file of the same data, what holds them in memory, and the options of both.
KINDS: dict[str, tuple[str, Callable[[], Any], dict[str, Any]]] = {
    "array": ("x.npz", lambda: (X, Y), {}),
    "array of another byte order": ("x.npz", lambda: (X.astype(">i4"), Y.astype(">i8")), {}),
    "read-only array, labels as a series": ("x.npz", lambda: (frozen(X), pd.Series(Y)), {}),
    "nested lists": ("x.npz", lambda: (X.tolist(), Y.tolist()), {}),
    "list of arrays": ("x.npz", lambda: (list(X), list(Y)), {}),
    "tensor": ("x.npz", lambda: (torch.from_numpy(X), torch.from_numpy(Y)), {}),
    "names of an .npz": ("x.npz", lambda: {"images": X, "labels": Y}, {}),
    "TensorDataset": ("x.npz", lambda: TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), {}),
    "data set of arrays": ("x.npz", lambda: Items(X), {}),
    "subset": ("x.npz", lambda: Subset(Items(X), range(COUNT)), {}),
    "list of pairs": ("x.npz", lambda: list(zip(X, Y, strict=True)), {}),
    "splits": ("splits.npz", lambda: {"train": (X[:30], Y[:30]), "test": (X[30:], Y[30:])}, {}),
    "two pairs": ("splits.npz", lambda: ((X[:30], Y[:30]), (X[30:], Y[30:])), {}),
    "pictures": ("folder", lambda: (PICTURES, FRAME["kind"]), {}),
    "data set of pictures": ("folder", lambda: Items(PICTURES), {}),
    "image files": ("folder", lambda: (sorted(Path("folder").rglob("*.png")), Y), {}),
    "resized pictures": ("folder", lambda: (PICTURES, Y), {"image_size": (5, 7)}),
    "Dataset of the hub": ("folder", lambda: Hub({"image": PICTURES, "label": Y.tolist()}), {}),
    "Dataset of the hub, Arrow": ("folder", lambda: ArrowHub({"image": CELLS, "label": Y.tolist()}), {}),
    "DataFrame of image files": ("folder", lambda: pd.DataFrame({"image": CELLS, "label": Y}), {}),
    "DataFrame": ("t.csv", lambda: FRAME, LABEL),
    "DataFrame, columns chosen": ("t.csv", lambda: FRAME, {"columns": ("p", "s"), "label": "kind"}),
    "DataFrame beside labels": ("t.csv", lambda: (PLAIN, FRAME["kind"]), LABEL),
    "splits of frames": ("hub", lambda: {"train": FRAME[:30], "validation": FRAME[30:]}, LABEL),
    "polars": ("t.csv", polars, LABEL),
    "Arrow table": ("t.csv", lambda: pa.Table.from_pandas(FRAME), LABEL),
    "data frame by protocol": ("t.csv", Protocol, LABEL),
    "columns of the hub": ("t.csv", lambda: Hub({c: FRAME[c].tolist() for c in FRAME}), LABEL),
    "sparse matrix": ("sparse.npy", lambda: SPARSE, {}),
    "sparse mapping": ("sparse.npy", lambda: SPARSE.asformat("dok"), {}),
    "AnnData": ("ann.csv", lambda: AnnData(SPARSE), LABEL),
}  # fmt: skip
ONLY_IN_MEMORY = {"DataFrame beside labels"}  # whose labels have no column


def frozen(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same data in files, in the current folder."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LATLAS_CACHE", str(folder / "cache"))
        np.savez("x.npz", x=X, y=Y)
        np.savez("splits.npz", train=X[:30], train_y=Y[:30], test=X[30:], test_y=Y[30:])
        np.save("sparse.npy", SPARSE.toarray())
        FRAME.to_csv("t.csv", index=False)
        ann = AnnData(SPARSE)
        pd.DataFrame(SPARSE.toarray(), columns=ann.var_names).assign(kind=FRAME["kind"]).to_csv(
            "ann.csv", index=False
        )
        for i, picture in enumerate(PICTURES):
            Path("folder", NAMES[Y[i]]).mkdir(parents=True, exist_ok=True)
            picture.save(f"folder/{NAMES[Y[i]]}/{i:02}.png")
        Path("hub").mkdir()
        FRAME[:30].to_parquet("hub/train-00000-of-00001.parquet")
        FRAME[30:].to_parquet("hub/validation-00000-of-00001.parquet")
        yield folder


def read(given: Any, **options: Any) -> Dataset:
    wanted = DataOptions(source=MEMORY, **options)
    return load(wanted, None, raw_of_given(given, wanted))


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_is_the_data_set_of_its_file(kind: str) -> None:
    file, held, options = KINDS[kind]
    own = {} if kind in ONLY_IN_MEMORY else options
    expected, found = load(DataOptions(source=file, **options)), read(held(), **own)
    assert found.fingerprint == expected.fingerprint
    for field in ("kind", "shape", "scaling", "columns", "binary"):
        assert getattr(found, field) == getattr(expected, field), field
    assert found.source == MEMORY
    assert found.notes[0].startswith("data in memory: ")
    labelled = expected.train.labels is not None
    assert (found.train.labels is not None) == labelled
    # Labels of numbers are named by those who know their names.
    assert found.classes in (expected.classes, NAMES, ("0", "1", "2"))


TRAINED = ("array", "data set of arrays", "pictures", "DataFrame", "sparse matrix")
TRAINED_SLOWLY = ("tensor", "splits", "Dataset of the hub", "polars", "AnnData")
SMALL: dict[str, Any] = {"latent": 2, "steps": 3, "quiet": True, "quick": True, "threads": 1}
SETTINGS = {"pictures.draw": False, "network.hidden": [8], "training.snapshot_every": 1000}


@pytest.fixture(scope="module")
def weights(files: Path) -> Callable[[str, dict[str, Any]], bytes]:
    """The weights that training on a file ends with."""
    made: dict[str, bytes] = {}

    def of(file: str, options: dict[str, Any]) -> bytes:
        if file not in made:
            run = latlas.train(file, out=files / f"of-{file}", settings=SETTINGS, **SMALL, **options)
            made[file] = (run.path / "model.safetensors").read_bytes()
        return made[file]

    return of


@pytest.mark.parametrize(
    "kind", [*TRAINED, *(pytest.param(kind, marks=pytest.mark.slow) for kind in TRAINED_SLOWLY)]
)
def test_every_kind_trains_to_the_same_bits_as_its_file(
    kind: str, weights: Callable[[str, dict[str, Any]], bytes], tmp_path: Path
) -> None:
    file, held, options = KINDS[kind]
    run = latlas.train(held(), out=tmp_path / "run", settings=SETTINGS, **SMALL, **options)
    assert (run.path / "model.safetensors").read_bytes() == weights(file, options)


def test_nothing_given_is_changed_and_arrays_are_not_copied() -> None:
    x, y, frame = X.copy(), Y.copy(), FRAME.copy()
    raw = raw_of_given((x, y), DataOptions(source=MEMORY))
    assert np.shares_memory(raw.parts["train"].x, x)
    read((x, y), validation=0, test=0)
    read(frame, label="kind")
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)
    pd.testing.assert_frame_equal(frame, FRAME)


def test_a_layer_of_an_anndata_its_names_and_its_labels() -> None:
    data = read(AnnData(SPARSE), layer="twice", label="kind")
    assert data.columns == ("g0", "g1", "g2", "g3", "g4")
    assert data.classes == NAMES
    assert data.train.names is not None
    assert data.train.names[0] == f"cell{data.train.index[0]}"
    np.testing.assert_allclose(data.train.x, 2 * SPARSE.toarray()[data.train.index])
    with pytest.raises(InputError, match=r"data\.layer: unknown layer 'twic'; did you mean 'twice'"):
        read(AnnData(SPARSE), layer="twic")
    with pytest.raises(InputError, match="unknown label column in data in memory: 'sort'"):
        read(AnnData(SPARSE), label="sort")


def test_missing_labels_and_factors_are_those_of_arrays() -> None:
    labels = [None if i % 4 else NAMES[y] for i, y in enumerate(Y)]
    data = read((X, labels))
    assert data.classes == NAMES
    assert "labels: 12 of 48 items have one (of 3 classes); the others are trained on without" in data.notes
    factors = read({"x": X, "factors": np.stack([Y, Y % 2], 1), "extra": "text"})
    assert factors.factor_names == ("0", "1")
    assert "arrays not used: extra" in factors.notes


def test_items_of_a_random_transform_are_said_to_be_read_once() -> None:
    class Random(Items):
        def __getitem__(self, i: int) -> Any:
            return np.random.default_rng().random((8, 6)), 0

    assert any("made anew each time" in note for note in read(Random(X)).notes)


def test_what_comes_with_items_and_is_no_label_is_left_out_and_said() -> None:
    data = read([(x, np.zeros(3)) for x in X])
    assert data.train.labels is None
    assert "what comes with each item is no label (ndarray), and is left out" in data.notes


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(X)


class Broken(Items):
    def __getitem__(self, i: int) -> Any:
        if i == 5:
            raise ValueError("bad\nbytes")
        return self.items[i]


class Unmeasured(Items):
    def __len__(self) -> int:
        raise ValueError("not known")


BAD: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "None": (lambda: None, {}, "expected an array, .* got NoneType"),
    "a number": (lambda: 5, {}, "expected an array, .* got int"),
    "bytes": (lambda: b"abc", {}, "got bytes"),
    "three in a tuple": (lambda: (X, Y, Y), {}, r"a tuple of 3; \(items, labels\) was expected"),
    "labels of another number": (lambda: (X, Y[:5]), {}, "48 items in 'x' but 5 labels"),
    "labels of a frame, of another number": (lambda: (PLAIN, Y[:5]), {}, "48 items of train but 5 labels"),
    "labels twice": (lambda: (FRAME, Y), LABEL, r"data\.label = kind: labels are given beside the items"),
    "a generator": (lambda: (x for x in X), {}, "generator has no length and no order to come back to"),
    "an iterable data set": (Endless, {}, "Endless has no length"),
    "a DataLoader": (lambda: DataLoader(Items(X)), {}, "give that: loader.dataset"),
    "a broken item": (lambda: Broken(X), {}, r"item 5 cannot be read \(ValueError: bad bytes\)"),
    "items of two shapes": (lambda: Items([*X[:9], X[0, :4]]), {}, r"item 9 of shape \(4, 6\), the first of \(8, 6\)"),
    "pictures among arrays": (lambda: Items([*X[:9], PICTURES[0]]), {}, "item 9 is a picture, the first is none"),
    "a picture": (lambda: PICTURES[0], {}, "a single picture; give a list of them"),
    "items of three parts": (lambda: [(x, 1, 2) for x in PICTURES], {}, "different lengths or types|3 parts"),
    "a data set of unknown length": (lambda: Unmeasured(X), {}, r"its length cannot be had \(ValueError: not known"),
    "a tensor without values": (lambda: torch.empty(9, 4, device="meta"), {}, "on the device meta"),
    "objects": (lambda: np.array([[1, 2.5]] * 9, dtype=object), {}, r"values of type object; .*x\.astype\(float\)"),
    "numbers as texts": (lambda: PLAIN.astype(str), {}, r"columns 'p' \(numbers as texts\), 'q' .*; give numbers"),
    "labels without a text": (lambda: (X, [object()] * 48), {}, "labels: of type object; give numbers or texts"),
    "numbers too near": (lambda: PLAIN.assign(p=PLAIN["p"] * 1e-300), {}, "values of column .* are too close"),
    "pixels too near": (lambda: X / 1e300, {}, "are too close together to compute with; multiply them"),
    "no items": (list, {}, "no items; at least one is needed"),
    "texts": (lambda: np.array([["a", "b"]] * 9), {}, "values of type <U1"),
    "NaN": (lambda: np.full((20, 3), np.nan), {}, "NaN or infinite values in 20 of 20 items"),
    "masked values": (lambda: np.ma.masked_less(X, 9), {}, "masked values; fill them"),
    "a column of texts": (lambda: FRAME, {}, r"not numbers in column 'kind'.* data\.label = 'kind'"),
    "a column that is not there": (lambda: FRAME, {"drop": ("zz",)}, r"data\.drop: unknown column"),
    "no training data": (lambda: {"test": X}, {}, "nothing to train on"),
    "splits of two types": (lambda: {"train": X, "test": PICTURES}, {}, "splits of different types .array and images"),
    "splits of other columns": (lambda: {"train": PLAIN, "test": FRAME}, {}, "other columns than the first .*'kind'"),
    "two arrays for one": (lambda: {"x_train": X, "train": X}, {}, "has both"),
    "a label of an array": (lambda: X, LABEL, r"data\.label = kind: has no meaning for an array"),
    "a layer of a frame": (lambda: PLAIN, {"layer": "raw"}, r"data\.layer = raw: has no meaning for a table in memory"),
    "a layout of pictures": (lambda: PICTURES, {"layout": "NHW"}, r"data\.layout = NHW: has no meaning for images"),
    "a header of a frame": (lambda: PLAIN, {"header": "yes"}, r"data\.header = yes: has no meaning"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD))
def test_what_is_no_data_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    held, options, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        latlas.train(held(), out=tmp_path / "run", quiet=True, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
