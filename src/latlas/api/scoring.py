"""Single items as calls: codes, scores and neighbours, each a line for every item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np

from latlas import figures, files, frames, html, inference, items, report, runs
from latlas.api.exploring import Explorer, explore
from latlas.api.opening import Call, ItemOptions, PathLike, RunLike, Where, inputs_of, open_run, output_path
from latlas.data import Split
from latlas.errors import InputError, LatlasError
from latlas.files import write_atomic
from latlas.inference import Output
from latlas.items import unusual
from latlas.progress import Once
from latlas.text import counted, printable

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".csv", ".parquet")
PAGE = "unusual.html"


class ScoreOptions(ItemOptions, total=False):
    """The options of `ItemOptions`; `draws` of z per item for log p(x), which is left out otherwise; `samples` of z per
    item for the ELBO; their `seed`; the number `by` which items are unusual; how many of them, `top`, stand on `page`.
    """

    draws: int | None
    samples: int
    seed: int
    by: str
    top: int
    page: PathLike | None


class NeighbourOptions(Where, total=False):
    """The options of `Where`; the `split` that a row is in; another `source` that the item is in."""

    split: str
    source: Any


def encode(
    run: RunLike, source: Any = "", *, out: PathLike | None = None, **options: Unpack[ItemOptions]
) -> Output:
    """Encodes a split of the run's own data, every split (`split` = "all"), or all items of another source.

    The arrays are `mean` (N, D), `std` (N, D) if the posterior has one, `index`, each item's row, and where they are
    known `labels` with their `classes`, `names`, the paths of image files, and `split`. `frame` has a line for each
    item. `out` ends in .npz, .csv or .parquet.

    Raises InputError for data that are missing, have changed or do not fit.
    """
    with open_run(run, options, ItemOptions) as call:
        path = output_path(out, call.run, "codes.npz")
        if path is not None:
            inference.check_path(path, picture=False, more=TABLES, inputs=inputs_of(call.run, source))
        parts = _parts(call, source, options)
        arrays = inference.encode(call.model, parts)
    counts = [inference.outside(part, call.model) for part in parts.values()]
    about = {key: sum(count[key] for count in counts) for key in counts[0]} | _notes(call)
    output = Output(call.run, arrays, path, about=about, frame=items.codes_frame(arrays))
    return _written(output, lambda at: inference.save(at, arrays))


def score(
    run: RunLike, source: Any = "", *, out: PathLike | None = None, **options: Unpack[ScoreOptions]
) -> Output:
    """Scores each item of a split, of every split, or of another source: how well the model knows it.

    The arrays, and the columns of `frame`, are name, row, label and split where known; `place`, 1 for the most unusual;
    `elbo`, `distortion`, `rate` and `log_px` in nats; `squared_error` per value on the model's scale; `code_distance`
    to the nearest training codes; and ranks, the share of training items that are less unusual (docs/per-item.md). Its
    `about` says `by` which number items are unusual, and the `most_unusual` lines. A `page` shows these with their
    reconstructions; "" is unusual.html in the run folder. `out` ends in .csv, .parquet or .npz.

    Raises InputError for a value out of range, and data that are missing, have changed or do not fit.
    """
    names = ("samples", "draws", "seed", "by")
    request = items.Request(**{name: options[name] for name in names if name in options})  # type: ignore[literal-required]
    top, wanted = options.get("top", 10), options.get("page")
    if not 0 <= top <= unusual.MOST_SHOWN:
        raise InputError(f"expected 0 to {unusual.MOST_SHOWN}", field="top", value=top)
    with open_run(run, options, ScoreOptions) as call:
        by = request.check(call.model)
        path, page = output_path(out, call.run, "scores.csv"), output_path(wanted, call.run, PAGE, "page")
        if path is not None:
            inference.check_path(path, picture=False, more=TABLES, inputs=inputs_of(call.run, source))
        if page is not None:
            files.check_output(page, html.ENDINGS, field="page")
        dataset = runs.dataset_of(call.run, call.data_dir, call.observer.progress)
        parts = _parts(call, source, options, dataset)
        train = inference.items(call.run, call.model, "train", "", call.data_dir, call.observer, dataset)
        columns = items.score(call.model, parts, train, request, call.observer)
        if page is not None:
            write_atomic(
                page, unusual.page(call.model, parts, columns, by, top, call.run.path.resolve().name)
            )
    frame, first = items.frame(columns), unusual.most_unusual(columns, by, top)
    about = {
        "by": by,
        "page": None if page is None else str(page),
        "most_unusual": items.lines(columns, first),
    }
    output = Output(
        call.run, columns, path, f"scores of {counted(len(frame), 'item')}, ordered by {by}", about, frame
    )
    return _written(output, lambda at: inference.save(at, _plain(columns)))


def neighbours(
    run: RunLike,
    item: int | PathLike,
    n: int = 10,
    *,
    values: bool = False,
    out: PathLike | None = None,
    **options: Unpack[NeighbourOptions],
) -> Output:
    """The `n` training items nearest to one item by their codes, and with `values` also by their values, as pixels.

    The item is a row of the `split`, an image file, or a name within the run's data; or a row or name within another
    `source`. The columns of `frame` are `space` (codes or values), `place`, `distance`, name, row and label. An image
    also has the arrays `item` (1, H, W, C) and `images`, a row of each neighbour, in data units. `out` ends in .csv,
    .parquet or .npz, or in .png for images.

    Raises InputError for an item that is not there, and as `encode` does.
    """
    with open_run(run, options, NeighbourOptions) as call:
        images = call.model.item.kind == "image"
        path = output_path(out, call.run, "neighbours.png" if images else "neighbours.csv")
        source = options.get("source", "")
        if path is not None:
            inference.check_path(path, images=images, more=TABLES, inputs=inputs_of(call.run, source))
        finder = finder_of(call, source, options.get("split", ""))
        one, split = finder.find(item, "item")
        train = inference.items(
            call.run, call.model, "train", "", call.data_dir, call.observer, finder.dataset
        )
        own = int(np.flatnonzero(np.asarray(train.index) == one.index[0])[0]) if split == "train" else -1
        columns, rows = items.nearest_items(call.model, one, train, n, values, own, call.observer)
        pictures = {"item": one, "images": train.take(rows)} if images else {}
        arrays = {key: np.asarray(part.x) for key, part in pictures.items()}
        seen = {key: inference.shown(call.model, x) for key, x in arrays.items()}
    title = f"The training items nearest to {items.title_of(one)}"
    about = {"split": split or None, "neighbours": items.lines(columns, np.arange(len(rows)))} | _notes(call)
    output = Output(call.run, columns | arrays, path, title, about, items.frame(columns))
    draw = lambda: figures.neighbours(  # noqa: E731
        seen["item"][0], seen["images"], columns["space"], columns["distance"], title
    )
    return _written(
        output, lambda at: inference.save(at, _plain(output.arrays), "images" if images else "", draw)
    )


def finder_of(call: Call, source: Any, split: str) -> items.Finder:
    """Finds the items that a call's arguments name."""
    return items.Finder(call.run, call.model, split, source, call.data_dir, Once(call.observer))


def _parts(call: Call, source: Any, options: Any, dataset: Any = None) -> dict[str, Split]:
    split = options.get("split", "")
    return inference.parts(call.run, call.model, split, source, call.data_dir, call.observer, dataset)


def _notes(call: Call) -> dict[str, Any]:
    """The notes on how the data were read, if any."""
    return {"notes": list(call.observer.notes)} if call.observer.notes else {}


def _written(output: Output, save: Callable[[Path], object]) -> Output:
    """Writes the output's frame, or other files by `save`."""
    if output.path is not None and output.frame is not None:
        if output.path.suffix.lower() in TABLES:
            items.write_table(output.path, output.frame)
        else:
            save(output.path)
    return output


def _plain(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of texts as NumPy's own type, which needs no pickle; no text is ""."""
    return {
        key: np.array(["" if v is None else v for v in column.tolist()], str)
        if column.dtype == object
        else column
        for key, column in columns.items()
    }


@dataclass(frozen=True, eq=False)
class Run(runs.Run):
    """A run folder, with its items, numbers and log as DataFrames; a notebook shows its result."""

    def __repr__(self) -> str:
        return printable(report.one_line(self))

    def _repr_html_(self) -> str | None:
        try:
            return report.fragment(self)
        except (LatlasError, OSError):  # its line of text says what is wrong
            return None

    def numbers(self) -> pd.DataFrame:
        """Its numbers, a line for each number of a split: `name`, `split`, `value`, `stderr`, `unit`, which end is
        `better`, `group`, `title`, `items`, `draws`, `beside`, `warning`. Without a line before the run is evaluated.
        """
        return frames.numbers(self)

    def history(self, kind: str = "") -> pd.DataFrame:
        """Its log, a line for each logged step and each epoch, or for those of one `kind`, "step" or "epoch", alone:
        `step`, `epoch`, the terms as `train_loss`, `train_elbo`, `valid_elbo` and so on, `lr`, `beta`, `seconds`.

        Raises InputError for another kind.
        """
        return frames.history(self, kind)

    @classmethod
    def of(cls, run: runs.Run) -> Self:
        """The same run, with these calls."""
        return cls(run.path, run.brought)

    def encode(self, source: Any = "", **options: Unpack[ItemOptions]) -> pd.DataFrame:
        """The codes of a split or another source, a line for each item, as `latlas.encode` gives them in `frame`."""
        return _frame(encode(self, source, **options))

    def score(self, source: Any = "", **options: Unpack[ScoreOptions]) -> pd.DataFrame:
        """The scores of a split or another source, a line for each item, as `latlas.score` gives them in `frame`."""
        return _frame(score(self, source, **options))

    def neighbours(
        self, item: int | PathLike, n: int = 10, *, values: bool = False, **options: Unpack[NeighbourOptions]
    ) -> pd.DataFrame:
        """The training items nearest to one, a line for each, as `latlas.neighbours` gives them in `frame`."""
        return _frame(neighbours(self, item, n, values=values, **options))

    def explore(
        self, other: RunLike | None = None, *, port: int = 0, browser: bool = True, **options: Unpack[Where]
    ) -> Explorer | None:
        """A page on which one walks through its latent space, as `latlas.explore` gives it: in a notebook inside it,
        else live in the browser.
        """
        return explore(self, other, port=port, browser=browser, **options)


def _frame(output: Output) -> pd.DataFrame:
    assert output.frame is not None
    return output.frame
