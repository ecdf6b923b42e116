"""The shape of a study: a TOML file of runs, times a grid of settings; every run's configuration is checked
while it is read.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from latlas import config as configuration
from latlas import toml_text
from latlas.data.options import Section
from latlas.errors import InputError, unknown
from latlas.limits import LIMITS
from latlas.places import MOST_BYTES, expanded
from latlas.settings import Config
from latlas.text import briefly, clauses, counted, shortened

# Settings that [settings], [[runs]] and [grid] may not have, and what decides them.
DECIDED_BY = {
    "seed": "[study] seeds",
    "data.source": "[study] data",
    "data.data_dir": "data_dir",
    "recipe": "recipe",
}
# Runs of a study have no pictures and no further numbers of their own: the study's page has those that it asks for.
QUICK = {"pictures.draw": False, "evaluation.groups": (), "evaluation.diagnose": False}
MOST_REASONS = 20  # of a file that is wrong in many places
Seed = Annotated[int, Field(ge=0, lt=2**31)]
_MOST = LIMITS["listed"].most


class Claim(Section):
    """A claim in words, and the comparison that decides it: `number` is better in the row `row` than in `than`."""

    text: Annotated[str, Field(description="the claim, one sentence")]
    number: Annotated[str, Field(description="the measure that decides it; empty: nothing does")] = ""
    row: Annotated[str, Field(description="the name of the row that is claimed to be better")] = ""
    than: Annotated[str, Field(description="the name of the row that it is better than")] = ""
    better: Annotated[
        Literal["", "higher", "lower"], Field(description="the better end; empty: that of the measure")
    ] = ""
    near: Annotated[float | None, Field(description="the value that the better row is nearer to")] = None

    @model_validator(mode="before")
    @classmethod
    def _words_alone(cls, given: object) -> object:
        return {"text": given} if isinstance(given, str) else given


class StudyInfo(Section):
    """What a study is called, what it shows, on which data and how often."""

    name: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="the study, and its folder under studies/")
    ]
    title: Annotated[str, Field(description="heading of its page")] = ""
    summary: Annotated[str, Field(description="one line")] = ""
    ids: Annotated[tuple[str, ...], Field(description="the tutorial systems it reproduces")] = ()
    data: Annotated[
        tuple[str, ...],
        Field(max_length=_MOST, description="data sets; each gets all runs and a table of its own"),
    ] = ()
    seeds: Annotated[
        tuple[Seed, ...],
        Field(min_length=1, max_length=_MOST, description="each run is trained once per seed"),
    ] = (0,)
    pca: Annotated[bool, Field(description="rows of PCA at the runs' latent sizes")] = True
    measures: Annotated[tuple[str, ...], Field(description="further measures, by name; all: every one")] = ()
    columns: Annotated[
        tuple[str, ...], Field(description="an earlier name of measures, read as they are")
    ] = ()
    table: Annotated[
        Literal["", "restoration"],
        Field(
            description="restoration: corrupted, plain and denoising errors, of denoising runs and plain ones"
        ),
    ] = ""
    intro: Annotated[str, Field(description="what is compared, and why")] = ""
    claims: Annotated[tuple[Claim, ...], Field(description="what the numbers are to confirm or refute")] = ()

    @field_validator("data", "seeds", "measures", "columns")
    @classmethod
    def _no_duplicates(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        duplicates = sorted(v for v, count in Counter(values).items() if count > 1)
        if duplicates:
            raise ValueError(f"{duplicates[0]} is named twice")
        return values


class StudyFile(Section):
    """A study's TOML file."""

    study: StudyInfo
    settings: Annotated[dict[str, Any], Field(default_factory=dict)]
    runs: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]
    grid: Annotated[dict[str, Any], Field(default_factory=dict)]


@dataclass(frozen=True)
class Entry:
    """A row of the comparison: its name, and its configuration without data and seed."""

    name: str
    config: Config


@dataclass(frozen=True)
class Study:
    """A study as it was read: `entries` are its runs times its grid, `where` names its file in errors."""

    info: StudyInfo
    entries: tuple[Entry, ...]
    where: str


def study_names() -> list[str]:
    """Names of the studies inside the package."""
    return sorted(
        f.name[:-5] for f in resources.files("latlas.studies").iterdir() if f.name.endswith(".toml")
    )


def source_text(name: str) -> str:
    """The text of the TOML file of the study of that name.

    Raises InputError with the nearest known name.
    """
    if name not in study_names():
        raise unknown("study", name, study_names())
    return (resources.files("latlas.studies") / f"{name}.toml").read_text(encoding="utf-8")


def read(name_or_path: str | Path) -> Study:
    """The study of that name, or in that TOML file, with every configuration checked.

    Raises InputError naming file, key, value and the nearest known key.
    """
    text = str(name_or_path)
    if not text.endswith(".toml") and "/" not in text:
        return parse(source_text(text), f"study {text}", None)
    path = expanded(name_or_path)
    try:
        return parse(toml_text.text_of(path), str(path), path.parent)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', '') or error}") from None


def parse(text: str, where: str, folder: Path | None) -> Study:
    """A study from its TOML; the files that it names are in `folder`.

    Raises InputError as `read` does.
    """
    try:
        values = toml_text.parsed(text)
    except ValueError as error:
        raise InputError(f"{where}: cannot be read as TOML: {error}") from None
    try:
        file = StudyFile.model_validate(values)
    except ValidationError as error:
        reasons = [_explain(dict(e)) for e in error.errors()[:MOST_REASONS]]
        raise InputError(f"{where}: {clauses(reasons, error.error_count())}") from None
    entries = tuple(_entries(file, where, folder))
    names = [entry.name for entry in entries]
    duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
    if duplicates:
        raise InputError(
            f"{where}: two runs are called {duplicates[0]!r}; give each of [[runs]] a name of its own"
        )
    return Study(file.study, entries, where)


def _explain(error: Mapping[str, Any]) -> str:
    place = [str(part) for part in error["loc"]]
    key = shortened(".".join(place))
    if error["type"] == "missing":
        return f"{key}: missing"
    if error["type"] == "extra_forbidden":
        section: type[BaseModel] = StudyInfo if len(place) > 1 else StudyFile
        near = get_close_matches(place[-1], section.model_fields, n=1, cutoff=0.5)
        hint = f"; did you mean {'.'.join([*place[:-1], near[0]])}?" if near else ""
        return f"unknown key {key}{hint} (known: {', '.join(section.model_fields)})"
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return f"{key} = {briefly(error['input'])}: {message}"


def _entries(file: StudyFile, where: str, folder: Path | None) -> Iterator[Entry]:
    points = list(_grid_points(file.grid, f"{where}: [grid]", len(file.runs)))
    shared = _settings(file.settings, f"{where}: [settings]")
    for number, run in enumerate(file.runs, 1):
        place = f"{where}: [[runs]] {number}"
        name, base = _base(run, place, folder)
        own = _settings({k: v for k, v in run.items() if k not in ("name", "recipe", "config")}, place)
        for point in points:
            changes = {**QUICK, **shared, **own, **point}
            parts = [name, *(f"{key.rpartition('.')[2]} {value_text(value)}" for key, value in point.items())]
            yield Entry(" · ".join(parts), configuration.override(base, changes, place))


def _base(run: Mapping[str, Any], place: str, folder: Path | None) -> tuple[str, Config]:
    """The name of a run, and the recipe or the file of settings that its own settings change."""
    for key in ("name", "recipe", "config"):
        if not isinstance(run.get(key, ""), str):
            raise InputError(f"{place}: {key} = {briefly(run[key])}: expected a string")
    recipe, file = run.get("recipe", ""), run.get("config", "")
    if file and folder is None:
        raise InputError(f"{place}: config = {file!r}: only a study in a file of its own names files")
    try:
        base = configuration.recipe(recipe or "vae")
        if file:
            base = configuration.read((folder or Path()) / expanded(file), base)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    return run.get("name", "") or (Path(file).stem if file else recipe or "vae"), base


def _settings(values: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Settings by dotted key, from `objective.beta = 1` and `"objective.beta" = 1` alike."""
    flat = configuration.dotted(values)
    known = configuration.known_keys()
    for key in flat:
        decided = next((d for d in DECIDED_BY if key == d or key.startswith(f"{d}.")), "")
        if decided:
            raise InputError(f"{place}: {key} is not set here: {DECIDED_BY[decided]} says it for every run")
        if key not in known:
            candidates = [*known, "name", "recipe", "config"]
            near = get_close_matches(key, candidates, n=1, cutoff=0.5)
            near = near or [k for k in candidates if k.rpartition(".")[2] == key.rpartition(".")[2]][:1]
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(
                f"{place}: unknown key {shortened(key)}{hint} (latlas recipes show vae lists them)"
            )
    return flat


def for_all(study: Study, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted key that hold for every run of a study.

    Raises InputError for an unknown key, one that the study decides, and one in which its rows differ.
    """
    flat = _settings(settings, "settings")
    rows = [configuration.settings_of(entry.config, ()) for entry in study.entries]
    for key in flat:
        if any(row.get(key) != rows[0].get(key) for row in rows):
            raise InputError(f"{key}: the rows of this study differ in it; leave it out", field="settings")
    return flat


def _grid_points(grid: Mapping[str, Any], place: str, rows: int) -> Iterator[dict[str, Any]]:
    """Every combination of the grid's values, the last key varying fastest; one empty one where there is no grid.

    Raises InputError where they make too many runs of the study's rows.
    """
    flat = _settings(grid, place)
    for key, values in flat.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{place}: {key} = {briefly(values)}: expected a list of values")
    check_runs(rows * math.prod(map(len, flat.values())), place, "fewer values, or fewer keys, are needed")
    for values in itertools.product(*flat.values()):
        yield dict(zip(flat, values, strict=True))


def check_runs(count: int, where: str, advice: str) -> None:
    """Raises InputError for more runs than a study has."""
    if count > (most := LIMITS["runs"].most):
        raise InputError(f"{where}: {counted(count, 'run')}, and a study has {most:,} at most; {advice}")


def value_text(value: Any) -> str:
    """A setting's value as a part of a run's name."""
    if isinstance(value, list | tuple):
        return "x".join(value_text(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def slug(text: str) -> str:
    """A name as a part of a folder's name."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:MOST_BYTES].strip("-.") or "run"


def unique(names: Iterable[str]) -> list[str]:
    """The names, each that occurred before with -2, -3 ... after it."""
    result: list[str] = []
    for name in names:
        candidates = itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2)))
        result.append(next(c for c in candidates if c not in result))
    return result


def seeds_of(info: StudyInfo, count: int | None) -> tuple[int, ...]:
    """The study's seeds, or the first `count` of them; where it has fewer, also the numbers after the greatest."""
    if count is None:
        return info.seeds
    if count > _MOST:
        raise InputError(f"at most {_MOST:,}", field="seeds", value=count)
    more = range(max(info.seeds) + 1, max(info.seeds) + 1 + count)
    return (*info.seeds, *more)[:count]
