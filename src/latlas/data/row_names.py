"""What the rows of a table are called, and rows that are none: sums below the values, and units above them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from latlas.data.delimited import is_value
from latlas.errors import InputError
from latlas.text import printable

if TYPE_CHECKING:
    import pandas as pd

ID = re.compile(
    r"(?:.*[_ .-])?(?:id|ids|idx|index|uuid|guid|key|row|rownum|no|nr)|unnamed: 0|.*[a-z]I[Dd]", re.I
)
_NAME = re.compile(r"(?:.*[_ .-])?(?:name|title|file|filename|path|code|sample|subject|patient|email)", re.I)
_SUMMARY = re.compile(
    r"(?:grand |sub-?)?totals?|sums?|averages?|avg|means?|count|summe|gesamt|mittelwert|durchschnitt|moyenne|somme",
    re.I,
)
_FEW = 3  # rows at most that are taken for something else than values
_MOST_SHOWN = 40  # characters of a cell


def names_of_rows(
    frame: pd.DataFrame, texts: Callable[[str], pd.Series], index: Sequence[str], others: Sequence[str]
) -> tuple[str, np.ndarray | None]:
    """The column that tells the rows apart, and its cells as texts (N,); "" and None without one.

    It is the first of `index`, which the file itself calls the names of its rows, or of the `others`: an id by its
    name, else a name by its name, else texts, else whole numbers. No cell is empty, and all are different.
    """
    kinds = {name: _kind(frame[name]) for name in others if name in frame}
    ranked = sorted(
        (name for name in kinds if kinds[name]),
        key=lambda name: (not ID.fullmatch(name), not _NAME.fullmatch(name), kinds[name] != "text"),
    )
    for name in (*(name for name in index if name in frame and _kind(frame[name])), *ranked):
        cells = texts(name)
        if len(cells) and not cells.isna().any():
            found = np.array([_text(cell) for cell in cells.tolist()], dtype=object)
            if len(set(found.tolist())) == len(found) and "" not in found:
                return name, found
    return "", None


def _kind(column: pd.Series) -> str:
    """Whether a column may hold ids: whole numbers, or texts and what else is not a number; "" for others."""
    from pandas.api.types import infer_dtype

    kind = infer_dtype(column, skipna=True)
    if kind == "integer":
        return "whole"
    return (
        ""
        if kind in ("floating", "mixed-integer-float", "boolean", "decimal", "complex", "empty")
        else "text"
    )


def _text(cell: object) -> str:
    text = cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else str(cell)
    return printable(text.strip())


def refuse_stray(frame: pd.DataFrame, where: str, row: Callable[[int], str]) -> None:
    """Raises InputError that names rows of units, of sums or of names among rows of numbers.

    They are at most three; either a text in them says that they sum others up, or half of their cells are no numbers.
    """
    from pandas.api.types import is_numeric_dtype

    texts = [c for c in frame if not is_numeric_dtype(frame[c])]
    if not texts:
        return
    cells = frame[texts].astype(object)
    wrong = cells.notna() & ~cells.map(lambda cell: is_value(str(cell).strip()))
    rows = np.flatnonzero(wrong.any(axis=1).to_numpy())
    if not 0 < len(rows) <= min(_FEW, (len(frame) - 1) // 2):
        return
    empty = frame.isna().to_numpy().sum(axis=1)
    for at in rows.tolist():
        is_summary = any(_SUMMARY.fullmatch(str(cell).strip(" :")) for cell in cells.iloc[at])
        if not is_summary and 2 * (wrong.iloc[at].sum() + empty[at]) <= frame.shape[1]:
            return
    named = [f"{row(at)} ({_shown(frame.iloc[at])})" for at in rows.tolist()]
    raise InputError(
        f"{where}: {', '.join(named)} {'is no row' if len(rows) == 1 else 'are no rows'} of values as the others are;"
        f" remove {'it' if len(rows) == 1 else 'them'} from the file"
    )


def summary_note(frame: pd.DataFrame, others: pd.DataFrame, where: str, row: Callable[[int], str]) -> str:
    """A line on a last row that one of the columns beside the features, `others`, calls a total or a mean; "" without.

    Raises InputError for such a row whose values are the sums or means of the rows above it, or are missing.
    """
    at = len(frame) - 1
    names = [str(cell).strip() for cell in others.iloc[at].tolist()] if at > 1 else []
    name = next((name for name in names if _SUMMARY.fullmatch(name.strip(" :"))), "")
    if not name or (others.iloc[:at].astype(str) == name).to_numpy().any():
        return ""
    values, above = _real(frame.iloc[at:])[0], _real(frame.iloc[:at])
    known = ~np.isnan(values)
    alike = [
        np.isclose(values, of(above, axis=0), rtol=1e-3, atol=1e-9) & known for of in (np.nansum, np.nanmean)
    ]
    what = f"{row(at)} ({name!r})"
    if not known.all() or max(part.sum() for part in alike) * 2 > len(values):
        raise InputError(f"{where}: {what} sums up the rows above it; remove it from the file")
    return f"{what} is read as a row of values; remove it from the file if it sums the others up"


def _real(frame: pd.DataFrame) -> np.ndarray:
    import pandas as pd

    return np.column_stack([pd.to_numeric(frame[c], errors="coerce").to_numpy(np.float64, na_value=np.nan)
                            for c in frame])  # fmt: skip


def _shown(cells: pd.Series) -> str:
    """The first cells of a row, as they stand in the file."""
    values = ["" if cell is None or cell != cell else cell for cell in cells.tolist()]
    texts = [f"{v:g}" if isinstance(v, float) else str(v).strip()[:_MOST_SHOWN] for v in values]
    return ", ".join(map(repr, texts[:4])) + (", ..." if len(texts) > 4 else "")
