"""How a source is to be read: the `data` section of a configuration."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from latlas.errors import InputError
from latlas.limits import LIMITS
from latlas.places import expanded

MEMORY = "data in memory"  # the source of data that no file holds
Positive = Annotated[int, Field(ge=1)]
Names = Annotated[
    tuple[str, ...], Field(fail_fast=True)
]  # one fault is said: those of millions would take gigabytes
Side = Annotated[int, Field(ge=1, le=LIMITS["side"].most)]
Layout = Literal["auto", "NHWC", "NCHW", "NHW", "NCL", "NLC", "NL", "NCDHW", "NDHWC", "NDHW", "ND"]
KindOption = Literal["auto", "image", "signal", "volume", "vector", "table"]


def path_text(path: str) -> str:
    """A path as it can be written down: one that is not UTF-8 becomes a file:// address, which holds any bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return expanded(path).absolute().as_uri()
    return path


def path_of(text: str) -> Path:
    """The path that `path_text` wrote down."""
    return Path(os.fsdecode(unquote_to_bytes(text[7:])) if text.startswith("file:///") else text)


class Section(BaseModel):
    """A strict, frozen part of a configuration: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @field_validator("*")
    @classmethod
    def _is_a_count(cls, value: object) -> object:
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and abs(number) > (most := LIMITS["count"].most):
                raise ValueError(f"at most {most:,}")
        return value


class DataOptions(Section):
    """The data set, and how it is read and split."""

    source: Annotated[
        str, Field(description="a named set, a folder, an .npy, .npz, .csv or .parquet file")
    ] = "fashion-mini"
    data_dir: Annotated[
        str, Field(description="where named sets are; empty: LATLAS_DATA, else the cache folder")
    ] = ""
    label: Annotated[str, Field(description="the table's column of labels; empty: none")] = ""
    header: Annotated[
        Literal["auto", "yes", "no"],
        Field(description="whether a text table's first row names the columns; auto: by evidence"),
    ] = "auto"
    drop: Annotated[Names, Field(description="columns of a table that are left out")] = ()
    columns: Annotated[
        Names, Field(description="the columns of a table that are trained on; empty: all others")
    ] = ()
    separator: Annotated[
        str, Field(description="between a text table's values: a character, tab or space; empty: by evidence")
    ] = ""
    decimal: Annotated[
        Literal["auto", ".", ","], Field(description="a text table's decimal mark; auto: by evidence")
    ] = "auto"
    encoding: Annotated[
        str, Field(description="a text table's encoding; empty: by its byte-order mark, else UTF-8")
    ] = ""
    layer: Annotated[
        str, Field(description="of an AnnData in memory: the layer that is trained on; empty: X")
    ] = ""
    layout: Annotated[Layout, Field(description="axes of an array; auto reads them off the shape")] = "auto"
    kind: Annotated[
        KindOption,
        Field(
            description="of an array or a table file; signal: (N, C, L); volume: (N, C, D, H, W); vector: values on one"
            " scale, as pixels; table: standardised columns; auto: by the shape and the values"
        ),
    ] = "auto"
    image_size: Annotated[
        tuple[Side, Side] | None, Field(description="height and width that images are resized and cropped to")
    ] = None
    resize: Annotated[
        Literal["crop", "squash"],
        Field(description="crop: short side and centre; squash: both sides, aspect lost"),
    ] = "crop"
    pages: Annotated[
        Literal["first", "all"] | None,
        Field(
            description="of image files with several pages or frames; all: each one is an item; none given: the first"
            " frame of an animation, and stacks are refused"
        ),
    ] = None
    constant: Annotated[
        Literal["refuse", "keep"],
        Field(
            description="columns of a table that never vary in training; keep: less their value, not scaled"
        ),
    ] = "refuse"
    bits: Annotated[
        int | None,
        Field(
            ge=8,
            le=16,
            description="of unsigned 16-bit values, white being 2^bits - 1; none given: the fewest that hold the"
            " training values",
        ),
    ] = None
    memory: Annotated[
        Literal["auto", "resident", "windows"],
        Field(
            description="resident: data are held in memory; windows: they stay on disk, and are read in windows; auto:"
            " windows where they do not fit"
        ),
    ] = "auto"
    strict: Annotated[
        bool, Field(description="refuse a folder with a broken file instead of leaving it out")
    ] = False
    validation: Annotated[
        float | None,
        Field(ge=0, lt=1, description="share of training held out; none given: the official split, else 0.1"),
    ] = None
    test: Annotated[
        float,
        Field(ge=0, lt=1, description="share held out for testing where no official split is; 0: nothing is"),
    ] = 0.1
    limit: Annotated[int | None, Field(ge=1, description="train on the first N images only")] = None
    seed: Annotated[int, Field(ge=0, description="seed of the splits")] = 0
    binarise: Annotated[
        Literal["none", "static", "dynamic"],
        Field(
            description="items of 0 and 1, drawn with grey values as probabilities; static: once; dynamic: the"
            " training items anew at every step"
        ),
    ] = "none"
    binarise_seed: Annotated[int, Field(ge=0, lt=2**31, description="seed of these draws")] = 0

    @field_validator("header", mode="before")
    @classmethod
    def _yes_or_no(cls, header: object) -> object:
        return {True: "yes", False: "no"}.get(header, header) if isinstance(header, bool) else header

    @field_validator("label", mode="before")
    @classmethod
    def _name(cls, label: object) -> object:
        # Columns of a table without a header are called 0, 1, ...
        return str(label) if isinstance(label, int) else label

    @field_validator("drop", "columns", mode="before")
    @classmethod
    def _names(cls, names: object, info: ValidationInfo) -> object:
        if isinstance(names, str) and info.field_name == "columns":
            try:
                names = next(csv.reader([names], skipinitialspace=True), [])
            except csv.Error:
                raise ValueError("expected names with commas between them, in one line") from None
        if isinstance(names, str | int):
            names = [names]
        return (
            [str(n) if isinstance(n, int) else n for n in names] if isinstance(names, list | tuple) else names
        )

    @field_validator("separator")
    @classmethod
    def _one_character(cls, separator: str) -> str:
        separator = {"tab": "\t", "\\t": "\t", "space": " "}.get(separator, separator)
        if len(separator) > 1 or separator in ('"', "\n", "\r"):
            raise ValueError("expected one character, tab or space")
        return separator

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            "".encode(encoding or "utf-8")
        except LookupError:
            raise ValueError(
                "no such encoding; known are utf-8, utf-16, cp1252, shift_jis and others"
            ) from None
        return encoding

    @field_validator("binarise", mode="before")
    @classmethod
    def _nothing_is_none(cls, how: object) -> object:
        # A command line's "none" stands for no value everywhere else.
        return "none" if how is None else how

    @field_validator("source", "data_dir", mode="before")
    @classmethod
    def _can_be_written(cls, path: object) -> object:
        return path_text(path) if isinstance(path, str) else path


def used(options: DataOptions, unused: Sequence[str], what: str, strict: bool = True) -> DataOptions:
    """The options without those that have no meaning for a kind of source.

    Raises InputError, where it is `strict`, if one of those is set.
    """
    defaults = {field: DataOptions.model_fields[field].default for field in unused}
    for field, default in defaults.items():
        value = getattr(options, field)
        if strict and value != default:
            raise InputError(f"has no meaning for {what}; leave it out", field=f"data.{field}", value=value)
    return options.model_copy(update=defaults)
