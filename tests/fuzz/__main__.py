"""Cases, and what became of them: `python -m tests.fuzz --cases 20000`; or one again: `--kind npz --case 12`."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["TERM"] = "dumb"

from .kinds import KINDS, plan
from .originals import FOLDER, ROOT, Originals, originals
from .pool import Pool
from .trial import FINE, REFUSED, Kind, Verdict

MANY = 200  # cases of a kind, of which some are fine
KEPT = 3  # cases of one fault whose files are kept
FIXTURE = ROOT / "tests" / "fixtures" / "run-of-format-1"
EVERY = 5.0  # seconds between lines of progress


class Report:
    """Counts verdicts, keeps the files of faulty cases, and shows how far the work is."""

    def __init__(self, total: int, folder: Path, seed: int) -> None:
        self.total, self.folder, self.seed = total, folder, seed
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: Counter[str] = Counter()
        self.faults: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
        self.slowest = self.largest = Verdict("", 0, FINE)
        self.start = self.shown = time.monotonic()
        self.done = 0

    def add(self, verdict: Verdict, place: Path) -> None:
        """Takes a verdict; the files of its case lie at `place`."""
        self.done += 1
        kind = verdict.kind.partition(",")[0]
        self.counts[kind][verdict.what] += 1
        self.seconds[kind] += verdict.seconds
        self.slowest = max(self.slowest, verdict, key=lambda v: v.seconds)
        self.largest = max(self.largest, verdict, key=lambda v: v.taken)
        if verdict.faulty:
            same = self.faults[verdict.what, verdict.place]
            same.append(verdict)
            if len(same) <= KEPT:
                self._keep(verdict, place)
        if time.monotonic() - self.shown > EVERY or self.done == self.total:
            self.shown = time.monotonic()
            left = (self.shown - self.start) / self.done * (self.total - self.done)
            bad = sum(map(len, self.faults.values()))
            print(
                f"{self.done:,} of {self.total:,} cases, {bad:,} faults, {left / 60:.1f} minutes left",
                flush=True,
            )

    @property
    def vacuous(self) -> list[str]:
        """Kinds of which no case at all was fine."""
        return [kind for kind, counts in self.counts.items() if counts.total() >= MANY and not counts[FINE]]

    def _again(self, verdict: Verdict) -> str:
        if verdict.kind not in KINDS:
            return f"python -m tests.fuzz --hostile --only {shlex.quote(verdict.kind)}"
        return f"python -m tests.fuzz --seed {self.seed} --kind {verdict.kind} --case {verdict.number}"

    def _keep(self, verdict: Verdict, place: Path) -> None:
        kept = self.folder / re.sub(r"[^\w.-]+", "-", f"{verdict.kind}-{verdict.number}")[:100]
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        (kept / "verdict.json").write_text(json.dumps(verdict.to_dict(), indent=1), encoding="utf-8")
        (kept / "trace.txt").write_text(
            f"{verdict.words}\n{verdict.message}\n{verdict.trace}\n", "utf-8", "backslashreplace"
        )
        for path in place.rglob("*"):
            # Pipes would be waited for, and what did not change is in the undamaged files.
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 2**24:
                target = kept / "files" / path.relative_to(place)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)

    def table(self) -> str:
        """Counts by kind."""
        kinds = sorted({what for counts in self.counts.values() for what in counts} - {FINE, REFUSED})
        head = ("kind", "cases", FINE, REFUSED, *kinds, "seconds")
        rows = [
            (name, sum(c.values()), c[FINE], c[REFUSED], *(c[k] for k in kinds), round(self.seconds[name]))
            for name, c in self.counts.items()
        ]
        rows.append(("all", *(sum(row[i] for row in rows) for i in range(1, len(head)))))  # type: ignore[misc]
        width = max(len(str(row[0])) for row in rows) + 1
        return "\n".join(
            "".join(f"{v!s:>{12 if i else 0}}" if i else f"{v:{width}}" for i, v in enumerate(row))
            for row in (head, *rows)
        )

    def text(self) -> str:
        """Each fault once: how often, an example, and how to see it again."""
        lines = [
            f"- of {kind} nothing was accepted: its cases test no more than a refusal"
            for kind in self.vacuous
        ]
        for (what, place), same in sorted(self.faults.items(), key=lambda pair: -len(pair[1])):
            first = min(same, key=lambda v: v.number)
            kinds = Counter(v.kind for v in same)
            lines += [f"- {what}: {place} ({len(same)}: {', '.join(f'{k} {n}' for k, n in kinds.items())})",
                      f"  - {_printable(first.words)[:200]}: {_printable(first.message)[:300]}",
                      f"  - {self._again(first)}"]  # fmt: skip
        return "\n".join(lines)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _hostile(options: argparse.Namespace) -> tuple[dict[str, Kind], list[tuple[str, int]]]:
    from . import hostile

    names = hostile.few() if options.few else [name for name in hostile.KINDS if options.only in name]
    return hostile.KINDS, [(name, 0) for name in names[:: options.every]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=500, help="how many, shared out among the kinds")
    parser.add_argument(
        "--kind", action="append", choices=KINDS, help="only cases of this kind; may be repeated"
    )
    parser.add_argument("--case", type=int, help="only the case of this number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--hostile", action="store_true", help="hostile folders through every command instead"
    )
    parser.add_argument("--only", default="", help="of --hostile: cases with this text in their names")
    parser.add_argument("--every", type=int, default=1, help="of --hostile: one case of so many")
    parser.add_argument(
        "--few", action="store_true", help="of --hostile: what takes a moment, with a run that is there"
    )
    parser.add_argument(
        "--folder", type=Path, default=FOLDER / "failed", help="where files of faulty cases go"
    )
    parser.add_argument("--report", type=Path, help="a file for the list of faults")
    options = parser.parse_args()
    kinds, cases = KINDS, plan(options.cases)
    if options.hostile:
        kinds, cases = _hostile(options)
    elif options.kind:
        chosen = [case for case in cases if case[0] in options.kind]
        cases = chosen if options.case is None else [(kind, options.case) for kind in options.kind]
    if not cases:
        parser.error("no case is so called")
    shutil.rmtree(options.folder, ignore_errors=True)
    report = Report(len(cases), options.folder, options.seed)
    if options.few:  # what is imported beforehand takes longer than the cases
        pool = Pool(kinds, options.seed, 1, Originals(FOLDER, FIXTURE), warm=lambda: None)
    else:
        pool = Pool(kinds, options.seed, options.jobs, originals())
    report.start, stopped = time.monotonic(), False
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        pool.carried_out(cases, report.add)
    except KeyboardInterrupt:
        stopped = True
        print("stopped")
    finally:
        pool.close()
    minutes = (time.monotonic() - report.start) / 60
    slow, large = report.slowest, report.largest
    print(report.table())
    print(
        f"{minutes:.1f} minutes; the longest case took {slow.seconds:.1f} s ({slow.kind} {slow.number}),"
        f" the largest {large.taken / 2**20:,.0f} MiB ({large.kind} {large.number})"
    )
    text = report.text()
    print(text or "no faults")
    if text:
        print(f"files: {options.folder}")
    if options.report:
        options.report.write_text(f"{report.table()}\n\n{text or 'no faults'}\n", encoding="utf-8")
    return 1 if text else 130 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
