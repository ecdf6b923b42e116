"""A trained model taken out of latlas, and back again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Unpack

from latlas import machine, runs
from latlas.api.bringing import open_run
from latlas.api.opening import PathLike, RunLike, path_of
from latlas.brought import Parts, bring
from latlas.console import Console
from latlas.errors import InputError, LatlasError, check_number
from latlas.exports import Exported, Written, hub_layout, onnx_files
from latlas.exports.facts import facts
from latlas.exports.graphs import Part, parts_of, quietly, reason, without_std
from latlas.exports.torch_program import torch_program
from latlas.files import check_folder, check_output, write_atomic, write_new_folder
from latlas.models import Model
from latlas.runs import Run

FORMATS = ("onnx", "hub", "torch")
Differences = dict[str, float]


def export(
    run: RunLike | Model,
    *,
    onnx: PathLike | None = None,
    hub: PathLike | None = None,
    torch: PathLike | None = None,
    threads: int | None = None,
    quiet: bool = False,
) -> Exported:
    """Writes the encoder and the decoder of a finished run for use without latlas, in data units in and out.

    `onnx` is a folder for encoder.onnx and decoder.onnx, `torch` a .pt2 file for one program of torch.export; both take
    any number of items, and a `Model` alone will do for them. `hub` is a folder in the layout of the Hugging Face hub,
    which `latlas.load` reads. Folders must be new or empty. Nothing is written that differs from the model by more than
    1e-5 (`latlas.exports.TOLERANCE`); the result has the largest differences, at batches of 1, 2, 7 and 64.

    A part that cannot be exported is left out, with a line that says why. Raises InputError for no format, a run that
    is unfinished or without weights, and a place that is taken; LatlasError where no part could be exported, or the
    place cannot be written.
    """
    if threads is not None:
        check_number(threads, "threads")
    machine.use_threads(threads)
    given = dict(zip(FORMATS, (onnx, hub, torch), strict=True))
    targets = {name: path for name, at in given.items() if (path := path_of(at, name)) is not None}
    _check(targets)
    opened, model = (None, run) if isinstance(run, Model) else _finished(run)
    if opened is None and "hub" in targets:
        raise InputError("a model alone has no numbers to make a card of; give its run", field="hub")
    with Console(quiet) as console:
        exporter, made = _Exporter(model, opened), {}
        for done, (name, path) in enumerate(targets.items()):
            console.progress("exporting", done, len(targets), name)
            made[name] = exporter.make(name, path)
        for line in exporter.left_out:
            console.note(f"left out: {line}")
    written = {name: _write(targets[name], *content) for name, content in made.items()}
    return Exported(None if opened is None else opened.path, **written, left_out=tuple(exporter.left_out))


def load(path: RunLike, **parts: Unpack[Parts]) -> Model:
    """The trained model of a run, its folder or its name, or of a folder that `latlas.export` wrote for the hub, ready
    for encode, decode, sample and reconstruct.

    Parts of one's own are given as to `open_run`. Raises InputError if the folder is neither, or a file in it is
    missing or damaged, and for parts that are missing or do not fit the weights.
    """
    folder = (
        None if isinstance(path, Run) or not isinstance(path, str | os.PathLike) else path_of(path, "run")
    )
    if folder is not None and hub_layout.is_hub_folder(folder):
        return hub_layout.read(folder, bring(parts)[0])
    return open_run(path, **parts).model()


def _check(targets: Mapping[str, Path]) -> None:
    """Raises InputError for no format, for one that needs a missing package, and for a place that is taken."""
    if not targets:
        raise InputError(
            "say what to write: a folder for onnx or hub, a .pt2 file for torch", field=", ".join(FORMATS)
        )
    if "onnx" in targets:
        onnx_files.require()
    for name, path in targets.items():
        if name == "torch":
            check_output(path, [".pt2"], field=name)
        else:
            check_folder(path, name)
    if len({path.resolve() for path in targets.values()}) < len(targets):
        raise InputError("each format needs a place of its own", field=", ".join(targets))


def _finished(run: RunLike) -> tuple[Run, Model]:
    """A finished run and its model.

    Raises InputError for an unfinished run, and for one without weights.
    """
    opened = runs.find(run)
    if not opened.finished:
        raise InputError(f"{opened.path}: unfinished; finish it with: latlas train --resume {opened.path}")
    return opened, opened.model()


class _Exporter:
    """Makes the contents of each format; `left_out` collects a line on each part that cannot be exported."""

    def __init__(self, model: Model, run: Run | None) -> None:
        self.model, self.run = model, run
        self.about = facts(model, run)
        self.left_out: list[str] = []
        self.parts: Sequence[Part] = ()

    def make(self, name: str, path: Path) -> tuple[Any, Differences, str]:
        """The content of a format, its differences from the model, and what they were computed by."""
        if name == "hub":
            assert self.run is not None
            return hub_layout.hub_files(self.run, self.model), {}, ""
        if not self.parts:
            self.parts = parts_of(self.model)
            self.left_out += without_std(self.parts[0], self.model)
        return self._onnx() if name == "onnx" else self._torch(path)

    def _onnx(self) -> tuple[dict[str, bytes], Differences, str]:
        contents: dict[str, bytes] = {}
        differences: Differences = {}
        failures = []
        for part in self.parts:
            try:
                with quietly():
                    contents[f"{part.name}.onnx"], found = onnx_files.onnx_file(part, self.about)
                differences |= found
            except Exception as error:  # exporters raise anything
                failures.append(f"{part.name}.onnx: {reason(error)}")
        if not contents:
            raise LatlasError(f"onnx: no part of this model could be exported: {'; '.join(failures)}")
        self.left_out += failures
        return contents, differences, onnx_files.checker()

    def _torch(self, path: Path) -> tuple[bytes, Differences, str]:
        failures: list[str] = []
        for chosen in (self.parts, *([part] for part in self.parts)):
            try:
                with quietly():
                    content, differences = torch_program(chosen, self.about)
            except Exception as error:  # exporters raise anything
                failures.append(reason(error))
                continue
            missing = [part.name for part in self.parts if part not in chosen]
            self.left_out += [f"{name} in {path.name}: {failures[-1]}" for name in missing]
            return content, differences, f"torch {version('torch')}"
        raise LatlasError(f"torch: no part of this model could be exported: {'; '.join(failures[1:])}")


def _write(path: Path, content: Any, differences: Differences, checked_by: str) -> Written:
    if isinstance(content, bytes):
        write_atomic(path, content)
        return Written(path, (path,), differences, checked_by)
    write_new_folder(path, content)
    return Written(path, tuple(path / name for name in content), differences, checked_by)
