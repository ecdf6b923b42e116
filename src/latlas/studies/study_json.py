"""study.json: the plan of a study, what its budget cut, how far its runs are, and its results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from latlas import reading
from latlas.errors import InputError, LatlasError
from latlas.files import write_json
from latlas.formats import Count, Many, Number, Stored, Text

NAME = "study.json"
PLANNED_ANEW = "take it away, and the study is planned anew"
WRITTEN = (NAME, ".leases")  # of a study's folder, beside the folders of its runs

Seconds = Annotated[Number, Field(ge=0)]


class Row(Stored):
    """A run in study.json."""

    folder: Text
    state: Text = ""
    estimate_seconds: Seconds | None = None


class Budget(Stored):
    """A budget in study.json: its seconds, the share of the steps and the number of seeds that it left."""

    seconds: Seconds
    share: Annotated[Number, Field(gt=0, le=1)]
    seeds: Count
    of_seeds: Count | None = None


class Result(Stored):
    """The comparison on a data set in study.json."""

    text: Text


class Written(Stored):
    """The parts of study.json from which planning goes on, and those that are shown."""

    baseline_seconds: Seconds = 0.0
    budget: Budget | None = None
    asked_seeds: Count | None = None
    runs: Many[Row] = Field(default_factory=list)
    created: Text = ""
    title: Text = ""
    cuts: Many[Text] = Field(default_factory=list)
    results: dict[Text, Result] | None = None


def read(out: Path, study: str) -> dict[str, Any]:
    """What the folder's study.json says; empty where the folder is new or empty.

    Raises InputError where the folder holds another study, or something else.
    """
    path = out / NAME
    reading.check_writable(out, WRITTEN)
    if not path.is_file():
        # Another process of the same study may be writing the first hidden file this moment.
        if out.exists() and not (out.is_dir() and all(at.name.startswith(".") for at in out.iterdir())):
            raise InputError(
                f"exists already and is no study ({NAME} is missing); choose another", field="out", value=out
            )
        return {}
    values = reading.json_object(out, NAME, PLANNED_ANEW)
    if values.get("study") != study:
        named = reading.shown(values.get("study"))
        raise InputError(
            f"holds the study {named}, not {reading.shown(study)}; choose another", field="out", value=out
        )
    reading.validated(Written, values, str(path), PLANNED_ANEW)
    return values


def write(out: Path, values: dict[str, Any]) -> None:
    """Writes study.json, whole or not at all."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LatlasError(f"{out}: cannot be made: {error.strerror}") from None
    write_json(out / NAME, values)
