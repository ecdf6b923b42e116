"""The item that somebody names: a row of a split, a name within the run's data, or an image file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latlas import inference
from latlas.data import Dataset, Split
from latlas.data.dataset import SPLITS
from latlas.errors import InputError
from latlas.models import Model
from latlas.progress import SILENT, Observer
from latlas.runs import Run, dataset_of
from latlas.text import listed, printable

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

        A number is a row. A text is a file that there is, or else a name within the data. Raises InputError that names
        the argument `field` if there is no such item.
        """
        text = os.fspath(item) if isinstance(item, os.PathLike) else str(item)
        if text.removeprefix("-").isdecimal() and not isinstance(item, os.PathLike):
            own = "" if self._elsewhere else inference.split_of(self.run, self.split)
            return self._row(int(text), field), own
        path = Path(text).expanduser()
        if self._elsewhere:
            return self._named({"": self._items}, text, field)
        name = self._own_name(path)
        if path.exists() and not name:
            return self._file(path, field), ""
        return self._named(self._splits, name or text, field)

    def _row(self, row: int, field: str) -> Split:
        if not 0 <= row < len(self._items):
            what = "these data" if self._elsewhere else "this split"
            raise InputError(f"rows of {what} are 0 to {len(self._items) - 1}", field=field, value=row)
        return self._items.take(np.array([row]))

    def _own_name(self, path: Path) -> str:
        """The name of a file within the folder that the run was trained on; "" for other files."""
        root = Path(self.run.config.data.source).expanduser().absolute()
        if not path.is_file() or not root.is_dir() or not path.absolute().is_relative_to(root):
            return ""
        name = path.absolute().relative_to(root).as_posix()
        return name if any(printable(name) in _names(items) for items in self._splits.values()) else ""

    def _file(self, path: Path, field: str) -> Split:
        where = (self.data_dir, self.observer)
        found = inference.items(self.run, self.model, "", str(path), *where)
        if len(found) != 1:
            raise InputError(
                f"holds {len(found):,} items; give a row as the item, and this as the source",
                field=field,
                value=path,
            )
        return found

    def _named(self, splits: dict[str, Split], text: str, field: str) -> tuple[Split, str]:
        known: list[str] = []
        for split, items in splits.items():
            names = _names(items)
            if printable(text) in names:
                return items.take(np.array([names.index(printable(text))])), split
            known += names
        near = get_close_matches(text, known, n=3, cutoff=0.5)
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


def _names(items: Split) -> list[str]:
    return [] if items.names is None else items.names.tolist()
