"""One planted fault for each verdict, to see that the fuzzer finds it: prints what it said of each, as JSON."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from . import pool, trial
from .damage import SCRIPT
from .originals import Originals
from .trial import Case, Commanded, Kind, Verdict


def _refuse(text: str) -> None:
    from latlas.errors import InputError

    raise InputError(text)


def _told(code: int, text: str) -> None:
    print(text, file=sys.stderr)
    raise Commanded(code)


def _lines() -> None:
    from latlas.errors import LatlasError

    class Long(LatlasError):
        def __str__(self) -> str:
            return "one\ntwo"

    raise Long


def _forever() -> None:
    while True:
        pass


def _fault_in_c() -> None:
    ctypes.string_at(0)


PLANTED: dict[str, Case] = {
    "fine": Case("", lambda: 1),
    "refused": Case("", lambda: _refuse("x.npz: cannot be read")),
    "refused by a command": Case("", lambda: _told(2, "error: x.npz: cannot be read")),
    "exception": Case("", lambda: {}["x"]),
    "exit": Case("", lambda: sys.exit(3)),
    "interrupt": Case("", lambda: (_ for _ in ()).throw(KeyboardInterrupt)),
    "unexpected": Case("", lambda: _told(1, "error: KeyError: 'x' (unexpected; --debug shows where)")),
    "another exit code": Case("", lambda: _told(120, "error: x")),
    "nothing said": Case("", lambda: _told(1, "")),
    "several lines": Case("", _lines),
    "a long line": Case("", lambda: _refuse("x" * 5000)),
    "an escape": Case("", lambda: print("\x1b[31mred")),
    "warning": Case("", lambda: warnings.warn("x", RuntimeWarning, stacklevel=1)),
    "silent": Case("", lambda: 2, lambda found: "" if found == 1 else f"{found}, not 1"),
    "memory": Case("", lambda: len(bytearray(b"x") * 2**27)),
    "crash": Case("", _fault_in_c),
    "abort": Case("", os.abort),
    "computing": Case("", _forever),
    "waiting": Case("", lambda: time.sleep(60)),
    "script": Case("", lambda: Path("page.html").write_text(f"<p>{SCRIPT}</p>")),
    "outside": Case("", lambda: 1, after=lambda said: "something outside was changed"),
    "fine after all": Case("", lambda: 1),
}


def _kind(case: Case) -> Kind:
    def make(rng: Random, originals: Originals) -> Case:
        return case

    return Kind(1, make)


def main() -> None:
    trial.MOST_MEMORY, pool.MOST_SECONDS = 2**26, 0.7
    found: dict[str, Any] = {}
    each: Callable[[Verdict, Path], None] = lambda verdict, place: found.update({verdict.kind: verdict.what})  # noqa: E731
    kinds = {name: _kind(case) for name, case in PLANTED.items()}
    workers = pool.Pool(kinds, 0, 2, Originals(Path(tempfile.gettempdir())), warm=lambda: None)
    try:
        workers.carried_out([(name, 0) for name in kinds], each)
    finally:
        workers.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
