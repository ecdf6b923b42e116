"""Whatever holds items in Python, as a plain type: an array, a data frame, an Arrow table or a list of images."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from latlas.data.arrays import role_of
from latlas.data.arrow import arrow_of
from latlas.data.image_source import Held, ImageSource
from latlas.data.room import refuse_beyond_room
from latlas.data.tables import as_labels
from latlas.errors import InputError, unknown
from latlas.places import expanded
from latlas.text import printable

EXPECTED = "an array, a tensor, a data frame, a list of items, a picture, a data set or the path of a source"
if TYPE_CHECKING:
    import pandas as pd

Form = Literal["array", "frame", "arrow", "images"]
_ANNDATA = ("X", "obs", "var", "obsm", "layers")  # by which an AnnData is known
_HUB = ("features", "column_names")  # by which a Dataset of the hub is known


@dataclass(frozen=True)
class Plain:
    """Items `x` in a plain type, its `form` (an array, a data frame of pandas, an Arrow table, a list of image
    sources), with what their holder says of them: `labels`, the names of `classes` 0, 1, ..., the `names` of items,
    and columns `beside` them, one of which may be that of labels. `what` describes the holder.
    """

    form: Form
    x: Any
    what: str
    name: str = "data"
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    names: Sequence[str] | None = None
    beside: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()


def is_packed(given: Any) -> bool:
    """Whether items come out of an object only one by one, by its own words, or by unpacking."""
    return (
        is_sparse(given)
        or isinstance(given, torch.utils.data.Dataset | DataLoader)
        or _is_of(given, "pyarrow", "Table", "RecordBatch")
        or all(hasattr(given, name) for name in _ANNDATA)
        or all(hasattr(given, name) for name in _HUB)
        or _is_list_of_pairs(given)
    )


def plain(given: Any, where: str, layer: str = "") -> Plain:
    """The items of an object in a plain type; of an AnnData those of a `layer`, if one is named.

    Nothing is copied that does not have to be. Raises InputError for an object that holds no items, or not all of them
    in one order.
    """
    if all(hasattr(given, name) for name in _ANNDATA):
        return _from_anndata(given, where, layer)
    if isinstance(given, DataLoader):
        raise InputError(f"{where}: a DataLoader makes batches of a data set; give that: loader.dataset")
    if hasattr(type(given), "collect"):
        raise InputError(f"{where}: {type(given).__name__} is not computed yet; give its collect()")
    by_items = _is_iterable(given) or isinstance(given, torch.utils.data.Dataset)
    if isinstance(given, IterableDataset) or (by_items and not hasattr(given, "__len__")):
        raise InputError(
            f"{where}: {type(given).__name__} has no length and no order to come back to; give its items as an array,"
            " a list or a data set with a length"
        )
    if all(hasattr(given, name) for name in _HUB):
        return _from_hub(given, where)
    if _is_of(given, "pandas", "DataFrame"):
        return _from_pandas(given)
    if (table := arrow_of(given, where)) is not None:
        return Plain("arrow", table, f"{type(given).__name__} ({table.num_rows:,}, {table.num_columns:,})")
    if isinstance(given, Image.Image):
        raise InputError(f"{where}: a single picture; give a list of them")
    if isinstance(given, list | tuple) and _are_images(given):
        return Plain("images", _images(given), f"{type(given).__name__} of {len(given):,} images")
    if isinstance(given, torch.utils.data.Dataset) or _is_list_of_pairs(given) or _is_sequence(given):
        return _from_dataset(given, where)
    array = array_of(given, where)
    return Plain("array", array, f"{type(given).__name__} {_shape(array)} of {array.dtype}")


def array_of(given: Any, where: str) -> np.ndarray:
    """What is an array, a tensor, a sparse matrix or nested numbers, as an array.

    Raises InputError for another type.
    """
    if isinstance(given, torch.Tensor):
        return of_tensor(given, where)
    if is_sparse(given):
        return _dense(given, where)
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InputError(f"{where}: {np.ma.count_masked(given):,} masked values; fill them")
    if isinstance(given, list | tuple):
        return _of_list(given, where)
    if isinstance(given, np.ndarray) or (hasattr(given, "__array__") and not isinstance(given, np.generic)):
        return np.asarray(given)
    raise InputError(f"{where}: expected {EXPECTED}, got {type(given).__name__}")


def labels_of(given: Any, where: str) -> np.ndarray:
    """Labels (N,) in any type that holds them, in which None or NaN may stand for a missing one."""
    import pandas as pd

    if isinstance(given, pd.DataFrame) and given.shape[1] == 1:
        given = given.iloc[:, 0]
    if isinstance(given, pd.Series | pd.Categorical | pd.Index):
        return as_labels(pd.Series(given))
    if isinstance(given, list | tuple) and not any(isinstance(label, list | tuple) for label in given):
        return _of_labels(_check_texts([_label(label) for label in given], where))
    array = array_of(given, where)
    if array.dtype == object:
        _check_texts(array.ravel(), where)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _check_texts(labels: Any, where: str) -> Any:
    """The labels. Raises InputError for objects whose text is their place in memory, another in each process."""
    for label in labels:
        if type(label).__repr__ is object.__repr__ and type(label).__str__ is object.__str__:
            raise InputError(f"{where}: of type {type(label).__name__}; give numbers or texts")
    return labels


def of_tensor(given: torch.Tensor, where: str) -> np.ndarray:
    """A tensor of any device as an array.

    Raises InputError for one that is sparse or quantised.
    """
    if given.layout != torch.strided or given.is_quantized:
        raise InputError(f"{where}: a sparse or quantised tensor; give a dense one")
    if given.is_meta:
        raise InputError(f"{where}: a tensor on the device meta, which holds no values")
    dense = given.detach().cpu()
    # NumPy has no bfloat16, nor other floats of less than 16 bits.
    dense = dense.float() if dense.dtype.is_floating_point and dense.dtype.itemsize < 4 else dense
    return dense.resolve_conj().resolve_neg().numpy()


def _shape(array: np.ndarray) -> str:
    return f"({', '.join(f'{n:,}' for n in array.shape)})"


def _is_of(given: Any, package: str, *names: str) -> bool:
    """Whether an object is of one of these classes, which stand in a package that may not be imported yet."""
    found = [getattr(sys.modules.get(package), name, None) for name in names]
    return any(kind is not None and isinstance(given, kind) for kind in found)


def is_sparse(given: Any) -> bool:
    return hasattr(given, "nnz") and hasattr(given, "toarray")


def _is_iterable(given: Any) -> bool:
    return isinstance(given, Iterable) and not hasattr(given, "__array__")


def _is_sequence(given: Any) -> bool:
    """Whether items can be had by number, from an object that is nothing else."""
    alike = hasattr(given, "__getitem__") and hasattr(given, "__len__")
    known = isinstance(given, list | tuple | str | bytes | Mapping | np.ndarray | torch.Tensor)
    return alike and not known and not hasattr(given, "__array__") and not is_sparse(given)


def _is_list_of_pairs(given: Any) -> bool:
    """Whether a list is a data set: of (item, label), or of items with names."""
    if not isinstance(given, list) or not given:
        return False
    first = given[0]
    pair = isinstance(first, tuple) and len(first) in (1, 2)
    held = isinstance(first[0], Image.Image | np.ndarray | torch.Tensor) if pair else False
    return isinstance(first, Mapping) or held


def _are_images(items: Sequence[Any]) -> bool:
    return bool(items) and all(isinstance(item, Image.Image | str | os.PathLike) for item in items)


def _images(items: Iterable[Any]) -> list[ImageSource]:
    return [
        Held(f"picture {i}", item) if isinstance(item, Image.Image) else expanded(item).absolute()
        for i, item in enumerate(items)
    ]


def _dense(given: Any, where: str) -> np.ndarray:
    """A sparse matrix with its zeros: the model sees all of them.

    Raises InputError for one that would not fit into memory.
    """
    needed = int(np.prod(given.shape, dtype=np.float64) * np.dtype(given.dtype).itemsize)
    refuse_beyond_room(needed, where, "a sparse matrix with all its zeros", "choose fewer columns")
    return np.asarray(given.toarray())


def _of_list(given: Sequence[Any], where: str) -> np.ndarray:
    """Nested numbers, or items that are arrays or tensors of one shape each."""
    if not given:
        raise InputError(f"{where}: no items; at least one is needed")
    if any(isinstance(item, torch.Tensor) for item in given):
        given = [of_tensor(i, where) if isinstance(i, torch.Tensor) else i for i in given]
    try:
        return np.asarray(given)
    except (ValueError, TypeError, OverflowError):
        shapes = sorted({str(np.shape(i)) for i in given if hasattr(i, "shape")})
        why = f"of different shapes ({', '.join(shapes[:4])})" if shapes else "of different lengths or types"
        raise InputError(f"{where}: a list of items {why}; expected {EXPECTED}") from None


def _from_pandas(frame: pd.DataFrame) -> Plain:
    import pandas as pd
    import pyarrow as pa

    what = f"DataFrame ({len(frame):,}, {frame.shape[1]:,})"
    own = frame.index
    named = (
        not isinstance(own, pd.RangeIndex | pd.MultiIndex) and own.is_unique and own.dtype.kind not in "iuf"
    )
    names = [printable(name) for name in own] if named else None
    if any(_holds_bytes(frame[c]) for c in frame.columns if frame.columns.is_unique):
        return Plain("arrow", pa.Table.from_pandas(frame, preserve_index=False), what)
    return Plain("frame", frame, what, names=names)


def _holds_bytes(column: pd.Series) -> bool:
    """Whether cells are files, as the hub's Parquet files have them."""
    if column.dtype != object:
        return False
    first = next((value for value in column if value is not None), None)
    return isinstance(first, bytes) or (isinstance(first, Mapping) and {"bytes", "path"} <= set(first))


def _from_anndata(given: Any, where: str, layer: str) -> Plain:
    import pandas as pd

    if layer and layer not in given.layers:
        raise InputError(unknown("layer", layer, map(str, given.layers)).message, field="data.layer")
    x = given.layers[layer] if layer else given.X
    if x is None:
        raise InputError(f"{where}: an AnnData without X; say data.layer = {' or '.join(given.layers)}")
    array = array_of(x[:] if not hasattr(x, "__array__") and not is_sparse(x) else x, where)
    frame = pd.DataFrame(array, columns=[str(name) for name in given.var_names], copy=False)
    what = f"AnnData {_shape(array)}" + (f", layer {layer}" if layer else "")
    names = [printable(name) for name in given.obs_names]
    return Plain("frame", frame, what, names=names, beside=pd.DataFrame(given.obs))


def _from_hub(given: Any, where: str) -> Plain:
    """A Dataset of the hub, by its Arrow table; one without, or that makes its items anew, item by item."""
    import pyarrow as pa

    features, names = dict(given.features), [str(name) for name in given.column_names]
    classes = {
        c: tuple(map(str, features[c].names)) for c in names if getattr(features.get(c), "names", None)
    }
    title = getattr(getattr(given, "info", None), "dataset_name", None) or "data"
    what = f"{type(given).__name__} of {len(given):,} items"
    custom = getattr(given, "format", None) or {}
    if hasattr(given, "with_format") and custom.get("type") != "custom":
        table = arrow_of(given.with_format("arrow")[:], where, classes)
        if table is not None:
            return Plain("arrow", table, what, str(title))
    first = given[0] if len(given) else {}
    if any(isinstance(value, Image.Image) for value in first.values()):
        found = _from_dataset(given, where, next(iter(classes)) if len(classes) == 1 else "")
        return replace(found, what=what, name=str(title), classes=next(iter(classes.values()), ()))
    table = arrow_of(pa.table({c: given[c] for c in names}), where, classes)
    assert table is not None
    return Plain("arrow", table, what, str(title))


def _from_dataset(dataset: Any, where: str, label: str = "") -> Plain:
    """A data set whose items are had by number: items, (item, label), or items by name."""
    count = _count(dataset, where)
    what = f"{type(dataset).__name__} of {count:,} items"
    if not count:
        raise InputError(f"{where}: no items; at least one is needed")
    if isinstance(dataset, TensorDataset):
        x, *more = dataset.tensors
        labels = labels_of(more[0], where) if len(more) == 1 else None
        notes = () if len(more) < 2 else (f"{len(more)} tensors beside the items are not used",)
        return Plain("array", of_tensor(x, where), what, labels=labels, notes=notes)
    first = _item(dataset, 0, where, label)
    notes = () if _same(first[0], _item(dataset, 0, where, label)[0]) else (
        "items are made anew each time, as by a random transform: they are read once, and trained on as they came",
    )  # fmt: skip
    stack, values = _Stack(count, where), []
    for i in range(count):
        x, y = _item(dataset, i, where, label) if i else first
        stack.add(i, x)
        values.append(y)
    found, said = _labels(values)
    classes = _classes(dataset, found)
    return Plain(stack.form, stack.items, what, labels=found, classes=classes, notes=(*notes, *said))


def _count(dataset: Any, where: str) -> int:
    try:
        return len(dataset)
    except Exception as error:  # the data set's own code
        why = " ".join(str(error).split())
        raise InputError(f"{where}: its length cannot be had ({type(error).__name__}: {why})") from error


def _item(dataset: Any, i: int, where: str, label: str) -> tuple[Any, Any]:
    """An item and its label, None without one."""
    try:
        item = dataset[i]
    except Exception as error:  # the data set's own code
        why = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where}: item {i} cannot be read ({type(error).__name__}: {why})") from error
    if isinstance(item, Mapping):
        return _of_mapping(item, where, label)
    pair = isinstance(item, tuple) or (
        isinstance(item, list)
        and len(item) == 2
        and isinstance(item[0], Image.Image | np.ndarray | torch.Tensor)
    )
    if not pair:
        return item, None
    if len(item) not in (1, 2):
        raise InputError(f"{where}: items of {len(item)} parts; expected an item, or (item, label)")
    return item[0], item[1] if len(item) == 2 else None


def _of_mapping(item: Mapping[str, Any], where: str, label: str) -> tuple[Any, Any]:
    roles = {name: (role_of(str(name)) or ("", ""))[1] for name in item}
    found = [name for name, role in roles.items() if role == "items"]
    labels = [label] if label in item else [name for name, role in roles.items() if role == "labels"]
    if len(found) != 1:
        raise InputError(
            f"{where}: items of {', '.join(map(repr, item))}; expected one called 'x' or 'image', and perhaps 'label'"
        )
    return item[found[0]], item[labels[0]] if len(labels) == 1 else None


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Image.Image):
        return isinstance(b, Image.Image) and a.size == b.size and a.tobytes() == b.tobytes()
    x, y = np.asarray(a), np.asarray(b)
    return x.shape == y.shape and x.tobytes() == y.tobytes()


class _Stack:
    """Items as they come, in one array or in a list of images."""

    def __init__(self, count: int, where: str) -> None:
        self.count, self.where = count, where
        self.images: list[ImageSource] = []
        self.array: np.ndarray | None = None

    @property
    def form(self) -> Form:
        return "images" if self.array is None else "array"

    @property
    def items(self) -> np.ndarray | list[ImageSource]:
        return self.images if self.array is None else self.array

    def add(self, i: int, item: Any) -> None:
        """Raises InputError for an item of another kind or shape than the first one."""
        if isinstance(item, Image.Image | str | os.PathLike):
            if self.array is not None:
                raise InputError(f"{self.where}: item {i} is a picture, the first is none")
            self.images += _images([item]) if not isinstance(item, Image.Image) else [Held(f"item {i}", item)]
            return
        value = of_tensor(item, self.where) if isinstance(item, torch.Tensor) else np.asarray(item)
        if self.images:
            raise InputError(f"{self.where}: item {i} is no picture, the first is one")
        if self.array is None:
            self.array = np.empty((self.count, *value.shape), value.dtype)
        if value.shape != self.array.shape[1:]:
            raise InputError(
                f"{self.where}: item {i} of shape {value.shape}, the first of {self.array.shape[1:]}; bring them to one"
            )
        if value.dtype != self.array.dtype:
            self.array = self.array.astype(np.result_type(self.array, value))
        self.array[i] = value


def _label(value: Any) -> Any:
    """A label as a number or a text: those of tensors and arrays of one value are that value."""
    return (
        value.item()
        if isinstance(value, np.generic | np.ndarray | torch.Tensor) and _is_one(value)
        else value
    )


def _is_one(value: Any) -> bool:
    return int(np.prod(value.shape)) == 1


def _labels(values: Sequence[Any]) -> tuple[np.ndarray | None, list[str]]:
    """The labels that come with items, and a note where what comes with them is none."""
    read = [_label(value) for value in values]
    kinds = (str, bytes, bool, int, float, np.generic)
    other = next((value for value in read if value is not None and not isinstance(value, kinds)), None)
    if other is not None:
        return None, [f"what comes with each item is no label ({type(other).__name__}), and is left out"]
    if all(value is None for value in read):
        return None, []
    return _of_labels(read), []


def _of_labels(values: Sequence[Any]) -> np.ndarray:
    import pandas as pd

    return as_labels(pd.Series(values, dtype=object).infer_objects())


def _classes(dataset: Any, labels: np.ndarray | None) -> tuple[str, ...]:
    """What a data set calls its classes 0, 1, ..., itself or the one that it is a part of."""
    while not hasattr(dataset, "classes") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    if not isinstance(names, Sequence) or labels is None or labels.dtype.kind not in "iu":
        return ()
    return tuple(names) if all(isinstance(name, str) for name in names) else ()
