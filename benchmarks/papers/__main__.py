"""Published results with latlas: python -m benchmarks.papers NAME, from the repository's root.

Trains what the experiment needs (going on where it was stopped), measures it, and writes results/NAME.json and the page
of results. `--steps` and `--limit` make a smoke test of it, whose numbers go to --results alone.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.papers import table
from benchmarks.papers.catalogue import EXPERIMENTS
from benchmarks.papers.work import Work
from latlas.files import write_json


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.papers", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("name", nargs="?", choices=list(EXPERIMENTS))
    parser.add_argument("--table", action="store_true", help="only write the page anew")
    parser.add_argument("--runs", type=Path, default=Path("runs/papers"), help="where runs are kept")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None, help="smoke test: so many steps")
    parser.add_argument("--limit", type=int, default=None, help="smoke test: so many training items")
    parser.add_argument("--results", type=Path, default=table.RESULTS)
    options = parser.parse_args(arguments)
    if options.name:
        work = Work(options.runs, options.name, options.device, options.threads, options.steps, options.limit)
        if not work.whole and options.results == table.RESULTS:
            parser.error("--steps and --limit: a smoke test needs another --results")
        rows = [asdict(row) for row in EXPERIMENTS[options.name].measured(work)]
        found = {"experiment": options.name, **work.about(), "rows": rows}
        options.results.mkdir(parents=True, exist_ok=True)
        write_json(options.results / f"{options.name}.json", found)
        print(json.dumps(found, indent=2))
    elif not options.table:
        parser.error("give the name of an experiment, or --table")
    if options.results == table.RESULTS:
        table.write()


if __name__ == "__main__":
    main()
