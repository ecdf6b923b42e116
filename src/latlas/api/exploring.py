"""A run to walk through: as one file, live in a browser, or inside a notebook."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from latlas import html, report
from latlas.api.opening import RunLike, Where, check, finished, model_of, with_data
from latlas.console import Console, in_notebook
from latlas.errors import check_number
from latlas.explorer import onefile, server
from latlas.metrics import Context, context_of
from latlas.runs import Run, dataset_of
from latlas.text import printable

Opened = Sequence[tuple[Run, Context]]


class Explorer:
    """The explorer as a page of its own inside a notebook; `page` is the whole file."""

    def __init__(self, page: str, name: str) -> None:
        self.page, self.name = page, name

    def __repr__(self) -> str:
        return f"<Explorer of {printable(self.name)}: shown in a notebook; latlas.export writes it to a file>"

    def _repr_html_(self) -> str:
        # Without allow-same-origin the page can reach neither the notebook nor its server.
        return html.render("frame.html.j2", name=self.name, page=self.page)


def explore(
    run: RunLike, other: RunLike | None = None, *, port: int = 0, browser: bool = True,
    started: Callable[[str], None] | None = None, **options: Unpack[Where],
) -> Explorer | None:  # fmt: skip
    """Opens a page on which one walks through the latent space of a finished run, or of two beside each other.

    The page is served from this machine to itself alone, at a free port unless `port` is given, and at an address that
    nobody else knows; it is opened in the `browser`, and the call ends with Ctrl-C. `started` is called with the
    address, which is printed without it. In a notebook the result shows the page, and nothing is served. Raises
    InputError for an unfinished run, missing data, and a port that is taken.
    """
    check_number(port, "port")
    if in_notebook():
        with Console(options.get("quiet", False)) as console:
            page = onefile.one_file(opened_of(run, other, options, console), console)
            for note in page.notes:
                console.note(note)
        return Explorer(page.text, page.title)
    own = server.bound(port)
    try:
        with Console(options.get("quiet", False)) as console:
            served = server.live(opened_of(run, other, options, console))
        server.serve(served, own, _starting(browser, started))
    finally:
        own.close()
    return None


def _starting(browser: bool, started: Callable[[str], None] | None) -> Callable[[str], None]:
    def start(address: str) -> None:
        if started is not None:
            started(address)
        else:
            print(f"explore at {address} (Ctrl-C ends it)", flush=True)
        if browser and _has_screen():
            webbrowser.open(address)

    return start


def _has_screen() -> bool:
    """Whether a browser of this machine can show a window; text browsers would take the terminal."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def opened_of(run: RunLike, other: RunLike | None, options: Mapping[str, Any], console: Console) -> Opened:
    """The runs with the contexts that measure them.

    Raises InputError for an unfinished run, and for data that are missing or have changed.
    """
    check(options, Where)
    found = []
    for each in [run] if other is None else [run, other]:
        opened = finished(with_data(each, options.get("data"), console))
        model = model_of(opened, options)
        dataset = dataset_of(opened, os.fspath(options.get("data_dir") or ""), console.progress)
        found.append((opened, context_of(opened, model, dataset, observer=console)))
    return found


def link(run: Run, path: Path) -> None:
    """Writes the run's report anew where the page at this path is the run's own atlas.html, which it links to."""
    if path.resolve() == (run.path / report.ATLAS).resolve() and (run.path / "report.html").exists():
        report.write_report(run.path)
