"""Measures the explorer's maps of runs, and the way from a map back to codes, on items that the map was not made of.

python benchmarks/explorer_inverse.py RUN [RUN ...] prints a table of finished runs with more than two dimensions, and
writes it to results/explorer_inverse.md.
"""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from latlas.api.exploring import opened_of
from latlas.console import Console
from latlas.explorer.maps import HELD_OUT, MOST_ANCHORS, NEIGHBOURS, maps_of
from latlas.explorer.onefile import MOST_ITEMS
from latlas.explorer.subject import Subject
from latlas.machine import processor

COLUMNS = (
    "data", "dimensions", "training", "map and its inverse",
    "error", "own code", "mean picture", "class", "trustworthiness",
)  # fmt: skip
RESULTS = Path(__file__).parent / "results" / "explorer_inverse.md"
HEAD = f"""# Maps of the explorer, and the way back

Of at most {MOST_ITEMS:,} test items, as a file holds them. The t-SNE is made of at most {MOST_ANCHORS:,} of them;
at most {HELD_OUT} others are placed by the map and decoded from their place; PCA is of all, and measured on as many.
Errors are squared, per value on the model's scale, on which images lie in [0, 1]: of the picture decoded from the
place, of the one decoded from the item's own code, and of the mean picture of these items. Class: how often the code
nearest to the place's is of the item's class.
Trustworthiness: Venna and Kaski (2001), {NEIGHBOURS} neighbours, 1 is best. Made by
`benchmarks/explorer_inverse.py`.

| {" | ".join(COLUMNS)} |
{"|---" * len(COLUMNS)}|
"""
INVERSES = {
    "neighbours": "{title}, 4 nearest anchors",
    "pca": "{title} plane, affine",
    "axes": "{title}, the others at their mean",
}


def rows_of(run: str) -> list[str]:
    """A row for each map of a run."""
    with Console() as console:
        ((opened, context),) = opened_of(run, None, {}, console)
        subject = Subject(opened, context, context.test.even_rows(min(MOST_ITEMS, len(context.test))))
        maps = maps_of(subject)
    trained = opened.config.training
    length = f"{trained.epochs} epochs" if trained.epochs else f"{trained.steps} steps"
    about = f"| {opened.info['data']['name']} | {context.model.latent} | {length} |"
    rows = []
    for one in maps:
        trip = one.about["round_trip"]
        agreement = f"{trip['class_agreement']:.0%}" if "class_agreement" in trip else "no classes"
        title = INVERSES[one.kind].format(title=one.about["title"])
        numbers = " | ".join(f"{trip[name]:.4f}" for name in ("error", "plain", "mean_image"))
        rows.append(f"{about} {title} | {numbers} | {agreement} | {one.about['trustworthiness']:.3f} |")
    return rows


def main() -> None:
    table = "\n".join(row for run in sys.argv[1:] for row in rows_of(run))
    print(table)
    made = f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {platform.platform()}."
    RESULTS.write_text(f"{HEAD}{table}\n\n{made}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
