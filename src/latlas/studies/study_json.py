"""study.json: the plan of a study, what its budget cut, how far its runs are, and its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from latlas.errors import InputError, LatlasError
from latlas.files import write_json

NAME = "study.json"


class Row(BaseModel):
    """A run in study.json."""

    folder: str
    estimate_seconds: float | None = None


class Budget(BaseModel):
    """A budget in study.json: its seconds, the share of the steps and the number of seeds that it left."""

    seconds: float
    share: float
    seeds: int
    of_seeds: int | None = None


class Written(BaseModel):
    """The parts of study.json from which planning goes on."""

    baseline_seconds: float = 0.0
    budget: Budget | None = None
    asked_seeds: int | None = None
    runs: list[Row] = []


def read(out: Path, study: str) -> dict[str, Any]:
    """What the folder's study.json says; empty where the folder is new or empty.

    Raises InputError where the folder holds another study, or something else.
    """
    path = out / NAME
    if not path.is_file():
        # Another process of the same study may be writing the first hidden file this moment.
        if out.exists() and not (out.is_dir() and all(at.name.startswith(".") for at in out.iterdir())):
            raise InputError(
                f"exists already and is no study ({NAME} is missing); choose another", field="out", value=out
            )
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not isinstance(values, dict) or values.get("study") != study:
        named = values.get("study") if isinstance(values, dict) else None
        raise InputError(f"holds the study {named!r}, not {study!r}; choose another", field="out", value=out)
    try:
        Written.model_validate(values)
    except ValidationError:
        raise InputError(f"{path}: damaged; take it away, and the study is planned anew") from None
    return values


def write(out: Path, values: dict[str, Any]) -> None:
    """Writes study.json, whole or not at all."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LatlasError(f"{out}: cannot be made: {error.strerror}") from None
    write_json(out / NAME, values)
