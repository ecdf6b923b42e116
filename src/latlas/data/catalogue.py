"""The named sets, read from catalogue.toml, and the folders where their files are looked for."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from latlas.data.options import Positive, Section, path_of
from latlas.errors import InputError, LatlasError, unknown
from latlas.places import expanded

Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Mirror = Annotated[str, Field(pattern="^https?://.+/$")]
EMBEDDED = Path(__file__).parent / "embedded"  # what comes with the package


class Named(Section):
    """One named set; catalogue.toml says what each field means."""

    name: str
    title: str
    reader: Literal["embedded", "digits", "shapes", "idx", "flowers"]
    items: tuple[Count, Count, Count]
    shape: tuple[Positive, Positive, Positive]
    classes: tuple[str, ...]
    licence: str
    credit: str
    folder: str = ""
    images: Annotated[str, Field(pattern=r"^([^/{}]+/[^/{}]*\{:0\d+d\}[^/{}]*)?$")] = ""
    files: Annotated[dict[str, Sha256], Field(default_factory=dict)]
    mirrors: tuple[Mirror, ...] = ()
    megabytes: Count = 0

    @model_validator(mode="after")
    def _files_have_a_place_and_a_source(self) -> Named:
        if len({bool(self.files), bool(self.folder), bool(self.mirrors)}) > 1:
            raise ValueError("files, folder and mirrors belong together: give all three or none")
        return self

    def image_files(self, folder: Path) -> list[Path]:
        """The path of each image in the set's folder, in order; none where images are not files of their own."""
        count = sum(self.items) if self.images else 0
        return [folder / self.images.format(number) for number in range(1, count + 1)]


def read(path: Path) -> dict[str, Named]:
    """The named sets in a TOML file, by name.

    Raises InputError naming each field that is wrong.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        entries = {name: {"name": name, **table} for name, table in tables.items()}
        return TypeAdapter(dict[str, Named]).validate_python(entries)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise InputError(f"{path}: {'; '.join(faults)}") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as a catalogue of data sets: {error}") from None


NAMED = read(Path(__file__).with_suffix(".toml"))


def named(name: str) -> Named:
    """The entry of a named set.

    Raises InputError with the nearest name as a hint.
    """
    if name not in NAMED:
        raise unknown("data set", name, NAMED)
    return NAMED[name]


def cache_home() -> Path:
    """Where decoded folders and downloads go: LATLAS_CACHE, else the user's cache folder.

    Raises LatlasError for a user without a home.
    """
    if own := os.environ.get("LATLAS_CACHE"):
        return expanded(own)
    try:
        path = Path(platformdirs.user_cache_dir("latlas", appauthor=False))
    except RuntimeError:  # older versions of platformdirs give a relative path
        path = Path()
    if not path.is_absolute():
        raise LatlasError(
            "this user has no home folder to keep a cache in; let HOME or LATLAS_CACHE name one"
        )
    return path


def data_home(data_dir: str = "") -> Path:
    """Where named sets are: the folder given, else LATLAS_DATA, else the user's cache folder."""
    given = data_dir or os.environ.get("LATLAS_DATA")
    return expanded(path_of(given)).absolute() if given else cache_home().absolute()
