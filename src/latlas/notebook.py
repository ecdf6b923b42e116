"""What calls give as lists and dictionaries, which print as text, and which a notebook shows as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas import frames, html
from latlas.compare import rows, summary
from latlas.diagnosis import Finding
from latlas.diagnosis.wording import as_text, described
from latlas.metrics import display
from latlas.text import aligned, count, printable, printable_lines

if TYPE_CHECKING:
    import pandas as pd


class Findings(list[Finding]):
    """The findings on the run in the folder `run`, the most serious first: a list of `Finding`."""

    def __init__(self, findings: Iterable[Finding], run: Path) -> None:
        super().__init__(findings)
        self.run = run

    def to_frame(self) -> pd.DataFrame:
        """A line for each finding: `level`, `name`, `title`, `weight`, `evidence`, `cause`, `remedy` and `settings`."""
        import pandas as pd

        names = ("level", "name", "title", "weight", "evidence", "cause", "remedy", "settings")
        return pd.DataFrame([asdict(f) | {"level": f.level} for f in self], columns=list(names))

    def __repr__(self) -> str:
        return as_text(self, self.run)

    def _repr_html_(self) -> str:
        return html.fragment(
            title=self.run.resolve().name,
            line=f"findings: {len(self)}" if self else "",
            findings=[described(finding, self.run) for finding in self],
        )


class Numbers(dict[str, dict[str, Any]]):
    """Numbers by name, each a dictionary with its `value`, `stderr`, `unit` and what it came from."""

    def to_frame(self) -> pd.DataFrame:
        """A line for each number: `name`, `value`, `stderr`, `unit`, which end is `better`, `group`, `title`, `items`,
        `draws`, `beside`, `warning`.
        """
        return frames.of_numbers(self)

    def __repr__(self) -> str:
        return display.text(self) or "no numbers"

    def _repr_html_(self) -> str:
        tables = display.tables(self, explained=False)
        return html.fragment(tables=list(tables.items()), headline="" if tables else "No numbers.")


class StudyResults(dict[str, Any]):
    """The results of a study: its `runs`, the `cuts` of a budget, the `results` by data set, and paths."""

    def to_frame(self) -> pd.DataFrame:
        """A line for each row of the study's tables, as its results.csv has them: `data`, `name`, the number of `runs`,
        each value by its key, with KEY_sd over seeds or KEY_stderr over items, `best` and `within`.
        """
        return rows.frame(*rows.lines(self._results))

    @property
    def _results(self) -> Mapping[str, Mapping[str, Any]]:
        return self.get("results") or {}

    @property
    def _line(self) -> str:
        runs = len(self.get("runs", ()))
        return f"{count(runs)} runs on {', '.join(self._results)}" if self._results else "no results"

    def __repr__(self) -> str:
        head = printable(f"{self.get('title') or self.get('study')}: {self._line}")
        tables = [f"{printable(data)}\n{found['text']}" for data, found in self._results.items()]
        places = [[f"{name}:", str(self[name])] for name in ("page", "table") if name in self]
        parts = [head, *tables, *self.get("cuts", ()), *([aligned(places)] if places else [])]
        return printable_lines("\n\n".join(parts))

    def _repr_html_(self) -> str:
        # study.json of earlier versions has no columns, but the table as text.
        known = {data: found for data, found in self._results.items() if "columns" in found}
        texts = [f"{data}\n{found['text']}" for data, found in self._results.items() if data not in known]
        notes = [note for found in known.values() for note in (*found["reasons"], *found["notes"])]
        places = [str(self["page"])] if "page" in self else []
        return html.fragment(
            title=self.get("title") or self.get("study"),
            line=self._line,
            tables=[(data, summary.numbers(found)) for data, found in known.items()],
            marks=summary.marks(known.values()),
            notes=[*dict.fromkeys([*notes, *self.get("cuts", ())]), *places],
            text="\n\n".join(texts),
        )
