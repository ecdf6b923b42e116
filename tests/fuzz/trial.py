"""One case carried out, and its verdict."""

from __future__ import annotations

import os
import re
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from .damage import SCRIPT
from .limits import MOST_MEMORY, Memory, confine
from .originals import Originals

MOST_LINE = 2000  # characters of an error that still is a line to read
FINE, REFUSED = "fine", "refused"
FAULTS = ("exception", "warning", "output", "silent", "memory", "slow", "crash", "script", "outside")


@dataclass(frozen=True)
class Case:
    """What a case is: in words, what is called, what must be true of what that gives ("" where it is), and what must be
    true afterwards however it ended, given all that it wrote on the terminal.
    """

    words: str
    act: Callable[[], Any]
    check: Callable[[Any], str] = lambda value: ""
    after: Callable[[str], str] = lambda said: ""


@dataclass(frozen=True)
class Kind:
    """A kind of file: its share of all cases, a function that puts a damaged one into the working folder, and the
    seconds that a case may take where undamaged files take many.
    """

    share: float
    make: Callable[[Random, Originals], Case]
    seconds: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What became of a case; `place` says where a fault is, so that the same one is counted once."""

    kind: str
    number: int
    what: str
    words: str = ""
    message: str = ""
    place: str = ""
    trace: str = ""
    seconds: float = 0.0
    taken: int = 0

    @property
    def faulty(self) -> bool:
        return self.what not in (FINE, REFUSED)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Said:
    """What was written on standard output and error, each a file, since the last look."""

    handles: tuple[int, int]
    text: tuple[str, str] = ("", "")

    def look(self) -> tuple[str, str]:
        sys.stdout.flush()
        sys.stderr.flush()
        texts = []
        for handle in self.handles:
            size = os.lseek(handle, 0, os.SEEK_CUR)
            texts.append(os.pread(handle, min(size, 10**6), 0).decode("utf-8", "replace"))
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
        self.text = texts[0], texts[1]
        return self.text


class Commanded(Exception):
    """A command line that ended with exit code 1 or 2, or another: its code and what it said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def command(*words: str) -> int:
    """Runs a command line in this process.

    Raises Commanded unless it ends well.
    """
    from latlas import cli

    code = cli.run(list(words))
    if code:
        raise Commanded(code)
    return code


def rng_of(seed: int, kind: str, number: int) -> Random:
    return Random(f"{seed}/{kind}/{number}")


@contextmanager
def _recorded() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def run_case(
    kinds: Mapping[str, Kind],
    kind: str,
    number: int,
    seed: int,
    place: Path,
    originals: Originals,
    said: Said,
) -> Verdict:
    """Makes a case inside the folder `place`, which becomes the working folder, carries it out and judges it."""
    os.chdir("/")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    os.chdir(place)
    os.environ["LATLAS_CACHE"] = str(place / "cache")
    case = kinds[kind].make(rng_of(seed, kind, number), originals)
    said.look()
    confine()
    memory = Memory()
    about = {"kind": kind, "number": number, "words": case.words}
    with _recorded() as caught:
        outcome = _carried_out(case, said)
    outcome["taken"] = memory.taken
    if outcome["what"] in (FINE, REFUSED):
        outcome |= _judged(outcome, caught, place)
    if outcome["what"] in (FINE, REFUSED) and (wrong := case.after("".join(said.text) + outcome["message"])):
        outcome |= {"what": "outside", "message": wrong, "place": wrong[:60]}
    return Verdict(**about, **{key: value for key, value in outcome.items() if key != "code"})


def _carried_out(case: Case, said: Said) -> dict[str, Any]:
    from latlas.errors import LatlasError

    try:
        wrong = case.check(case.act())
        out, err = said.look()
        if wrong:
            return {"what": "silent", "message": wrong, "place": re.sub(r"\d+", "N", wrong)[:60]}
        return {"what": FINE, "message": err, "code": 0} | _unprintable(out + err)
    except LatlasError as error:
        out, err = said.look()
        return {"what": REFUSED, "message": str(error)} | _wrong_line(str(error)) | _unprintable(out + err)
    except Commanded as error:
        out, err = said.look()
        return {"what": REFUSED, "message": err} | _wrong_end(error.code, err) | _unprintable(out + err)
    except BaseException as error:  # a test of everything that may come
        said.look()
        return {"what": "exception", "message": f"{type(error).__name__}: {error}"[:500], "place": place_of(error),
                "trace": "".join(traceback.format_exception(error))[-6000:]}  # fmt: skip


def place_of(error: BaseException) -> str:
    """The innermost function of latlas in which an error arose."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/latlas/" in f.filename and "site-packages" not in f.filename] or list(
        frames
    )
    return (
        f"{type(error).__name__} {Path(own[-1].filename).name}:{own[-1].name}"
        if own
        else type(error).__name__
    )


def _wrong_line(text: str) -> dict[str, Any]:
    if not text.strip() or "\n" in text or len(text) > MOST_LINE:
        what = "several lines" if "\n" in text else f"{len(text):,} characters" if text.strip() else "nothing"
        return {
            "what": "output",
            "message": f"an error of {what}: {text[:300]}",
            "place": f"error line {'long' if len(text) > MOST_LINE else 'no line'}",
        }
    return {}


def _wrong_end(code: int, err: str) -> dict[str, Any]:
    lines = err.strip().splitlines()
    last = lines[-1] if lines else ""
    if "(unexpected; --debug" in err:
        return {"what": "exception", "message": last[:500], "place": f"command {last[:60]}"}
    if code not in (1, 2) or not last.startswith(("error: ", "interrupted")):
        return {"what": "output", "message": f"exit code {code}: {err[-300:]}", "place": f"exit code {code}"}
    return _wrong_line(last)


def _unprintable(text: str) -> dict[str, Any]:
    found = next((c for c in text if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160), "")
    return (
        {"what": "output", "message": f"{found!r} on the terminal", "place": "raw control character"}
        if found
        else {}
    )


def _judged(outcome: dict[str, Any], caught: list[warnings.WarningMessage], place: Path) -> dict[str, Any]:
    """A fault of a case that ended well or in a refusal, if it has one."""
    if outcome["taken"] > MOST_MEMORY:
        return {"what": "memory", "message": f"took {outcome['taken'] / 2**30:.1f} GiB", "place": "memory"}
    if caught:
        first = caught[0]
        where = f"{Path(first.filename).name}:{first.lineno}"
        return {
            "what": "warning",
            "message": f"{first.category.__name__}: {first.message} ({where})"[:500],
            "place": f"{first.category.__name__} {where}",
        }
    if outcome["what"] == FINE and "Traceback" in outcome["message"]:
        return {"what": "output", "message": outcome["message"][-500:], "place": "traceback printed"}
    for page in (*place.glob("*.html"), *place.glob("*/*.html")):
        if page.is_file() and SCRIPT.encode() in page.read_bytes():
            return {
                "what": "script",
                "message": f"a script of the data stands in {page.name}",
                "place": f"script in {page.name}",
            }
    return {}
