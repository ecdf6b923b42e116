"""How a call opens a trained run: its options, the run, the model and the console."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from latlas import machine
from latlas.console import Console
from latlas.data import as_source
from latlas.data.given import raw_of_given
from latlas.data.load import read_source
from latlas.errors import InputError, check_number
from latlas.models import Model
from latlas.places import expanded
from latlas.progress import SILENT, Observer
from latlas.runs import Run, dataset_of, find

_TEXTS = ("data_dir", "device", "split")  # options that are texts
PathLike = str | os.PathLike[str]
RunLike = Run | PathLike


class Common(TypedDict, total=False):
    """Options of every call: the folder of named data sets (default: LATLAS_DATA), the `device` (auto, cpu, cuda,
    cuda:1 or mps), the number of CPU `threads`, and `quiet`, which leaves out notes and progress."""

    data_dir: str
    device: str
    threads: int | None
    quiet: bool


class Where(Common, total=False):
    """Options of every call on a run: those of `Common`, and the run's own `data`, where it was trained on data in
    memory and is given by its folder, or where its files have moved."""

    data: Any


class ItemOptions(Where, total=False):
    """The options of `Where`, and the `split`: train, valid or test, of the run's own data or of a source with such
    splits, or all of them. By default test, and everything of a source without."""

    split: str


@dataclass(frozen=True)
class Call:
    """A call on a trained run: the run, its model and the call's options."""

    run: Run
    model: Model
    data_dir: str
    observer: Console


@contextmanager
def open_run(run: RunLike, options: Mapping[str, Any], allowed: type = Where) -> Iterator[Call]:
    """Loads a run's model, with a console for notes and progress inside the block."""
    check(options, allowed)
    with Console(options.get("quiet", False)) as console:
        opened = with_data(run, options.get("data"), console)
        yield Call(opened, model_of(opened, options), os.fspath(options.get("data_dir") or ""), console)


def with_data(run: RunLike, data: Any, observer: Observer = SILENT) -> Run:
    """The run, with the data that it was trained on if they are passed: in memory, or a path to where they are now.

    Raises InputError for other data.
    """
    opened = find(run)
    if data is None:
        return opened
    options = opened.data_options()
    if isinstance(data, str | os.PathLike):
        raw = read_source(options.model_copy(update={"source": as_source(data)}), observer.progress)
    else:
        raw = raw_of_given(data, options, observer.progress, new=False)
    opened = replace(opened, brought=replace(opened.brought, data=raw))
    dataset_of(opened)
    return opened


def finished(run: Run) -> Run:
    """The run itself.

    Raises InputError, with what finishes it, for one that is unfinished.
    """
    if not run.finished:
        raise InputError(f"{run.path}: unfinished; finish it with: {run.continued_by}")
    return run


def check(options: Mapping[str, Any], allowed: type) -> None:
    for name, value in options.items():
        if name not in allowed.__annotations__:
            raise TypeError(f"unknown option {name!r} (known: {', '.join(allowed.__annotations__)})")
        if name in _TEXTS and not isinstance(value, str | os.PathLike | None):
            raise InputError(f"expected a text, got {type(value).__name__}", field=name)
    if options.get("threads") is not None:
        check_number(options["threads"], "threads")


def checked_settings(settings: object) -> Mapping[str, Any]:
    """Settings by dotted key, none for None.

    Raises InputError for anything else.
    """
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        raise InputError(
            f'expected keys with values, as {{"likelihood.sigma": 0.1}}, got {type(settings).__name__}',
            field="settings",
        )
    return settings


def output_path(out: PathLike | None, run: Run, default: str, field: str = "out") -> Path | None:
    """The file to write: None if none is to be written, `default` in the run folder for ""."""
    path = path_of(out, field)
    return path if path is None or os.fspath(out or "") else run.path / default


def inputs_of(run: Run, source: Any = "") -> list[Path]:
    """The files and folders of the data that a call reads, which it must not overwrite."""
    given = [source] if isinstance(source, str | os.PathLike) else []
    own = [] if run.in_memory else [run.config.data.source]
    return [expanded(at) for at in (*given, *own) if os.fspath(at)]


def path_of(path: PathLike | None, field: str) -> Path | None:
    """The path with a leading ~ expanded; None for None.

    Raises InputError for something that is no path.
    """
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"expected a path, got {type(path).__name__}", field=field)
    return expanded(path)


def model_of(run: Run, options: Mapping[str, Any]) -> Model:
    machine.use_threads(options.get("threads"))
    return run.model().to(machine.choose_device(options.get("device") or "auto"))
