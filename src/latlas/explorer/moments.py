"""Earlier moments of training: where a run's snapshots had the items on its maps, and what then decoded there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latlas.errors import LatlasError
from latlas.explorer.blocks import Store, halves
from latlas.explorer.fields import Fields
from latlas.explorer.subject import Subject
from latlas.explorer.thumbnails import SIDE, Pictures, atlas, pictures_in_one, side_for
from latlas.snapshots import WEIGHTS, rows

MOST, MOST_DECODED = 40, 16  # snapshots that are shown; fewer where each is a model that encodes and decodes
MOVED = 2**18  # places, over all snapshots and maps
OF_PLACES = 1 / 5  # share of the room that places take
BYTES = 16 / 3  # of a place: two numbers of float16, as base64
SIDES = (SIDE, 48, 28, 20, 14, 10, 7)  # pixels of a cell of an earlier plane, tried from the largest on
CLEAR = 14  # with smaller ones on all maps, the first has larger ones, and no other any
NO_ROOM = "There is no room in this file for what the model decoded at this step: latlas explore shows it."
NEEDED = "What the model decoded at this step needs its weights of then"


@dataclass(frozen=True)
class Moments:
    """The `steps` in order; at each the codes (m, D) of the items in `rows`, and each map's decoded plane, or None.

    `lacks` says in words why there are planes missing; it is empty for rows of numbers, which have none. Only the first
    so many `maps` have planes.
    """

    steps: list[int]
    rows: np.ndarray
    codes: list[np.ndarray]
    planes: list[list[Pictures] | None]
    lacks: str
    maps: int

    def to_dict(self, store: Store, name: str, at: int, fields: Fields, items: int) -> dict[str, Any]:
        """The page's data of the snapshots on the map `at`, whose fields these are."""
        one = fields.map
        places = np.stack([one.place(codes) for codes in self.codes])
        if (
            one.places.shape[1] == fields.subject.model.latent + 1
        ):  # one dimension: heights mean nothing, and stay
            places[..., 1] = one.places[self.rows, 1]
        found: dict[str, Any] = {
            "steps": self.steps, "places": store.put(f"{name}-snapshots", halves(places)), "lacks": self.lacks,
        }  # fmt: skip
        if len(self.rows) < items:
            found["items"] = store.put(f"{name}-snapshot-items", self.rows.astype(np.int32))
        if one.kind == "neighbours":
            found["note"] = "Codes of then lie among their nearest anchors of the end, as new items do."
        if any(self.planes) and at >= self.maps:
            found["lacks"] = NO_ROOM
        elif any(self.planes):
            grid = fields.plane.to_dict()
            found["backgrounds"] = [
                planes and {**grid, "atlas": atlas(store, f"{name}-plane-{step}", planes[at])}
                for step, planes in zip(self.steps, self.planes, strict=True)
            ]
        return found


def moments_of(subject: Subject, fields: Sequence[Fields], room: float) -> Moments | None:
    """What a run's snapshots show on its maps, in about `room` bytes of a page; None with fewer than two of them.

    Where each has its weights, all items are encoded again, or as many as there is room for; else they are those whose
    codes the snapshots hold. Snapshots whose codes are not finite are left out.
    """
    run = subject.run
    weights = {step for step, _ in run.snapshot_files(WEIGHTS)}
    again = bool(weights) and weights >= {step for step, _ in run.snapshot_files()}
    stored = None if again else _stored(subject)
    if not again and stored is None:
        return None
    steps = _evenly(sorted(weights if stored is None else stored[1]), MOST_DECODED if weights else MOST)
    each = min(MOVED, OF_PLACES * room / BYTES) / max(1, len(steps) * len(fields))
    rows = subject.items.even_rows(max(1, int(min(each, len(subject.rows))))) if stored is None else stored[0]
    cells = _Cells(subject, fields, (1 - OF_PLACES) * room / max(1, len(steps)))
    cells.measure([step for step in (steps[:1] + steps[-1:]) if step in weights])
    found: list[tuple[int, np.ndarray, list[Pictures] | None]] = []
    for done, step in enumerate(steps):
        subject.observer.progress("looking at earlier steps", done, len(steps), f"step {step:,}")
        then = subject.at(step, rows) if step in weights else None
        codes = stored[1][step] if stored is not None else _codes(then)
        if codes is not None and np.isfinite(codes).all():
            found.append((step, codes, cells.of(then)))
    subject.observer.progress("looking at earlier steps", len(steps), len(steps))
    if len(found) < 2:
        return None
    return Moments(
        [step for step, *_ in found], rows, [codes for _, codes, _ in found], [planes for *_, planes in found],
        _lacks(subject, bool(weights), cells.side), len(cells.fields),
    )  # fmt: skip


class _Cells:
    """The planes of earlier steps on these maps, of about `room` bytes for each step."""

    def __init__(self, subject: Subject, fields: Sequence[Fields], room: float) -> None:
        self.subject, self.fields, self.room = subject, fields, room
        self.side = SIDE if subject.pictorial else 0

    def measure(self, steps: Sequence[int]) -> None:
        """Takes the largest pictures that there is room for at these steps, of the first map alone if others would have
        to be too small; none where there is no room.
        """
        if not self.side:
            return
        made = [self.fields[0].decoded(self.subject.at(step, np.arange(1))) for step in steps]
        size = {
            side: max((len(self._pictures(0, one, side)[0]) for one in made), default=0) for side in SIDES
        }
        fits = lambda side, maps: 4 / 3 * maps * size[side] < self.room  # noqa: E731
        self.side = next((side for side in SIDES if side >= CLEAR and fits(side, len(self.fields))), 0)
        if not self.side:
            self.fields = self.fields[:1]
            self.side = next((side for side in SIDES if fits(side, 1)), 0)

    def of(self, then: Subject | None) -> list[Pictures] | None:
        """The planes of these maps, as this subject decodes them; None without one, or without room."""
        if then is None or not self.side:
            return None
        return [self._pictures(at, fields.decoded(then), self.side) for at, fields in enumerate(self.fields)]

    def _pictures(self, at: int, made: np.ndarray, side: int) -> Pictures:
        side = side_for(made.shape[1:3], len(made), side)
        return pictures_in_one([made], len(made), side, self.fields[at].plane.columns, lossless=0)


def _codes(then: Subject | None) -> np.ndarray | None:
    assert then is not None
    try:
        return then.codes
    except LatlasError:  # it had diverged, and came back later
        return None


def _stored(subject: Subject) -> tuple[np.ndarray, dict[int, np.ndarray]] | None:
    """The rows (m,) of the subject's items whose codes the snapshots hold, and these (m, D) by step."""
    index = rows(subject.run)
    if index is None:
        return None
    at = {row: i for i, row in enumerate(np.asarray(subject.items.index).tolist())}
    inside = [i for i, row in enumerate(index.tolist()) if row in at]
    shape = (len(index), subject.model.latent)
    kept = {step: codes[inside] for step, codes in subject.run.snapshots("codes") if codes.shape == shape}
    return (np.array([at[row] for row in index[inside].tolist()], np.int64), kept) if inside else None


def _evenly(steps: list[int], most: int) -> list[int]:
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int))
    return [steps[i] for i in chosen]


def _lacks(subject: Subject, some: bool, side: int) -> str:
    if not subject.pictorial:
        return ""
    if side == 0:
        return NO_ROOM
    if some or not subject.run.config.training.snapshot_weights:
        return f"{NEEDED}: training.snapshot_weights=true keeps them while a run trains."
    return f"{NEEDED}, which are no longer in the run's folder."
