"""The item that somebody names: a row of a split, a name within the run's data, or an image file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from latlas import inference
from latlas.data import Dataset, Split
from latlas.data.dataset import SPLITS
from latlas.errors import InputError
from latlas.models import Model
from latlas.places import expanded
from latlas.progress import SILENT, Observer
from latlas.runs import Run, dataset_of
from latlas.text import counted, listed, printable, whole_number

Item = int | str | os.PathLike[str]


@dataclass(frozen=True)
class Finder:
    """Finds items by row or name in a run's own data, or in another `source`; rows count within `split`."""

    run: Run
    model: Model
    split: str = ""
    source: Any = ""
    data_dir: str = ""
    observer: Observer = SILENT

    @property
    def _elsewhere(self) -> bool:
        return inference.has_source(self.source)

    @cached_property
    def dataset(self) -> Dataset:
        """The run's own data."""
        return dataset_of(self.run, self.data_dir, self.observer.progress)

    @property
    def _splits(self) -> dict[str, Split]:
        return {name: self.dataset.split(name) for name in SPLITS}

    @cached_property
    def _items(self) -> Split:
        """The items whose rows are meant."""
        own = None if self._elsewhere else self.dataset
        arguments = (self.run, self.model, self.split, self.source, self.data_dir, self.observer, own)
        return inference.items(*arguments)

    def find(self, item: Item, field: str) -> tuple[Split, str]:
        """One item, and the split of the run's own data that it is in, "" for other data.

        A number is a row. A text is a name within the data, a row, or else a file that there is; digits that are a name
        as well as a row are the name, but with a `split` the row. Raises InputError that names the argument `field` if
        there is no such item.
        """
        if not isinstance(item, str | os.PathLike):
            if isinstance(item, bool) or not isinstance(item, Integral):
                raise InputError(
                    f"expected a row, a name or an image file, got {type(item).__name__}; other data are the source,"
                    " and the item is a row of them",
                    field=field,
                )
            return self._row(int(item), field)
        text = os.fspath(item)
        if text.removeprefix("-").isdecimal() and not isinstance(item, os.PathLike):
            if self.split or not (found := self._numbered(text)):
                return self._row(sys.maxsize if (row := whole_number(text)) is None else row, field)
            return found
        path = expanded(text)
        if self._elsewhere:
            return self._named({"": self._items}, text, field)
        name = self._own_name(path)
        if path.exists() and not name:
            return self._file(path, field), ""
        return self._named(self._splits, name or text, field)

    def _numbered(self, text: str) -> tuple[Split, str] | None:
        """The item whose name is a number, as ids of tables are."""
        found = _among({"": self._items} if self._elsewhere else self._splits, text)
        if found and (row := whole_number(text)) is not None and row < len(self._items):
            self.observer.note(f"{text} is taken for the item of that name; with a split it is a row")
        return found

    def _row(self, row: int, field: str) -> tuple[Split, str]:
        own = "" if self._elsewhere else inference.split_of(self.run, self.split)
        if not 0 <= row < len(self._items):
            what = "these data" if self._elsewhere else "this split"
            raise InputError(f"rows of {what} are 0 to {len(self._items) - 1}", field=field, value=row)
        return self._items.take(np.array([row])), own

    def _own_name(self, path: Path) -> str:
        """The name of a file within the folder that the run was trained on; "" for other files."""
        root = expanded(self.run.config.data.source).absolute()
        if not path.is_file() or not root.is_dir() or not path.absolute().is_relative_to(root):
            return ""
        name = path.absolute().relative_to(root).as_posix()
        return name if any(printable(name) in _names(items) for items in self._splits.values()) else ""

    def _file(self, path: Path, field: str) -> Split:
        where = (self.data_dir, self.observer)
        found = inference.items(self.run, self.model, "", str(path), *where)
        if len(found) != 1:
            raise InputError(
                f"holds {counted(len(found), 'item')}; give a row as the item, and this as the source",
                field=field,
                value=path,
            )
        return found

    def _named(self, splits: dict[str, Split], text: str, field: str) -> tuple[Split, str]:
        if found := _among(splits, text):
            return found
        known = [name for items in splits.values() for name in _names(items)]
        near = nearest_names(text, known)
        hint = (
            f"near it: {listed(near)}"
            if near
            else f"the first: {known[0]}"
            if known
            else "they have no names"
        )
        raise InputError(
            f"neither a row, a file, nor the name of an item of these data ({hint})", field=field, value=text
        )


def _among(splits: Mapping[str, Split], text: str) -> tuple[Split, str] | None:
    """The item of that name, and its split."""
    for split, items in splits.items():
        names = _names(items)
        if printable(text) in names:
            return items.take(np.array([names.index(printable(text))])), split
    return None


def _names(items: Split) -> list[str]:
    return [] if items.names is None else items.names.tolist()


def nearest_names(text: str, known: Sequence[str]) -> list[str]:
    """Those of the known names that are like a text, by the whole or by what follows the last slash, the nearest first.

    They are the files of its very name if there are any, else the three nearest with all that are as near.
    """
    last = lambda name: name.rpartition("/")[2]  # noqa: E731
    whole = set(get_close_matches(text, known, n=max(1, len(known)), cutoff=0.5))
    ends = {last(name) for name in known}
    like = set(get_close_matches(last(text), ends, n=max(1, len(ends)), cutoff=0.7))
    found = {
        name: max(_ratio(text, name), _ratio(last(text), last(name)))
        for name in known
        if name in whole or last(name) in like
    }
    scores = sorted(found.values(), reverse=True)
    least = 1.0 if scores[:1] == [1.0] else scores[:3][-1] if scores else 1.0
    return sorted((name for name in found if found[name] >= least), key=lambda name: -found[name])


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, other, one).ratio()
