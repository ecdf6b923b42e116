"""A trained model taken out of latlas, and back again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Unpack

from latlas import machine, runs
from latlas.api.bringing import open_run
from latlas.api.exploring import Opened, link, opened_of
from latlas.api.opening import PathLike, RunLike, Where, check, finished, path_of
from latlas.brought import Parts, bring
from latlas.console import Console
from latlas.errors import InputError, LatlasError
from latlas.explorer.onefile import one_file
from latlas.exports import Exported, Written, hub_layout, onnx_files
from latlas.exports.facts import facts
from latlas.exports.graphs import Part, parts_of, quietly, reason, without_std
from latlas.exports.torch_program import torch_program
from latlas.files import check_folder, check_output, write_atomic, write_new_folder
from latlas.html import ENDINGS
from latlas.models import Model
from latlas.runs import Run

FORMATS = ("onnx", "hub", "torch", "html")
Differences = dict[str, float]


def export(
    run: RunLike | Model,
    other: RunLike | None = None,
    *,
    onnx: PathLike | None = None,
    hub: PathLike | None = None,
    torch: PathLike | None = None,
    html: PathLike | None = None,
    **options: Unpack[Where],
) -> Exported:
    """Writes the encoder and the decoder of a finished run for use without latlas, in data units in and out; or its
    explorer as one page.

    `onnx` is a folder for encoder.onnx and decoder.onnx, `torch` a .pt2 file for one program of torch.export; both take
    any number of items, and a `Model` alone will do for them. `hub` is a folder in the layout of the Hugging Face hub,
    which `latlas.load` reads. Folders must be new or empty. Nothing is written that differs from the model by more than
    1e-5 (`latlas.exports.TOLERANCE`); the result has the largest differences, at batches of 1, 2, 7 and 64.

    `html` is a file that opens offline in any browser: the map of the run's test items, which decodes under the
    pointer, and that of an `other` run beside it. It has at most 12 MB, or 18 of two runs, and says what it leaves out
    for that; its networks agree with the model to half a step of a byte. Only it reads the run's data.

    A part that cannot be exported is left out, with a line that says why. Raises InputError for no format, a run that
    is unfinished or without weights, and a place that is taken; LatlasError where no part could be exported, or the
    place cannot be written.
    """
    check(options, Where)
    machine.use_threads(options.get("threads"))
    given = dict(zip(FORMATS, (onnx, hub, torch, html), strict=True))
    targets = {name: path for name, at in given.items() if (path := path_of(at, name)) is not None}
    _check(targets)
    if other is not None and "html" not in targets:
        raise InputError("two runs make one page; say where, or leave one of them out", field="html")
    opened, model = (None, run) if isinstance(run, Model) else _finished(run)
    for name, what in (("hub", "numbers to make a card of"), ("html", "test items to make a map of")):
        if opened is None and name in targets:
            raise InputError(f"a model alone has no {what}; give its run", field=name)
    with Console(options.get("quiet", False)) as console:
        exporter, made = _Exporter(model, opened), {}
        for done, (name, path) in enumerate(targets.items()):
            console.progress("exporting", done, len(targets), name)
            if name == "html":
                assert opened is not None
                made[name] = exporter.page(opened_of(opened, other, options, console), console)
            else:
                made[name] = exporter.make(name, path)
        for line in exporter.left_out:
            console.note(f"left out: {line}")
    written = {name: _write(targets[name], *content) for name, content in made.items()}
    if opened is not None and "html" in targets:
        link(opened, targets["html"])
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
            "say what to write: a folder for onnx or hub, a .pt2 file for torch, an .html file for html",
            field=", ".join(FORMATS),
        )
    if "onnx" in targets:
        onnx_files.require()
    for name, path in targets.items():
        if name == "torch":
            check_output(path, [".pt2"], field=name)
        elif name == "html":
            check_output(path, ENDINGS, field=name)
        else:
            check_folder(path, name)
    if len({path.resolve() for path in targets.values()}) < len(targets):
        raise InputError("each format needs a place of its own", field=", ".join(targets))


def _finished(run: RunLike) -> tuple[Run, Model]:
    """A finished run and its model.

    Raises InputError for an unfinished run, and for one without weights.
    """
    opened = finished(runs.find(run))
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

    def page(self, opened: Opened, console: Console) -> tuple[bytes, Differences, str]:
        """The explorer of runs, as one file."""
        page = one_file(opened, console)
        self.left_out += page.notes
        return (
            page.text.encode(errors="backslashreplace"),
            page.differences,
            onnx_files.checker() if page.differences else "",
        )

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
