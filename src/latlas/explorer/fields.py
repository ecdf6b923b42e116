"""What lies beneath a map: how far places can be trusted, where prior and data are, and what decodes there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from latlas.explorer.blocks import Store
from latlas.explorer.maps import Map
from latlas.explorer.subject import Subject, nearest
from latlas.explorer.thumbnails import atlas, pictures_in_one, side_for

COLUMNS, COARSE = 56, 24  # of the grids of doubt and densities, and of the decoded plane
MOST_VALUES = 2**25  # of the decoded grid, above which it is coarser
DRAWS = 5000  # of the prior, placed on a map
MASSES = (0.5, 0.9)
MOST_REGIONS = 3


@dataclass(frozen=True)
class Grid:
    """Cells over `box` = (x0, y0, x1, y1), row by row from the lowest."""

    box: tuple[float, float, float, float]
    columns: int
    rows: int

    @staticmethod
    def over(places: np.ndarray, columns: int, least: float = 0.0) -> Grid:
        """Cells as high as they are wide over places (N, 2), with a margin, and over [-least, least] on both axes."""
        low, high = places.min(0).astype(float), places.max(0).astype(float)
        if least:
            low, high = np.minimum(low, -least), np.maximum(high, least)
        margin = 0.06 * max(float((high - low).max()), 1e-6)
        (x0, y0), (x1, y1) = low - margin, high + margin
        rows = int(np.clip(round(columns * (y1 - y0) / (x1 - x0)), 4, 2 * columns))
        return Grid((float(x0), float(y0), float(x1), float(y1)), columns, rows)

    @property
    def cell(self) -> tuple[float, float]:
        x0, y0, x1, y1 = self.box
        return (x1 - x0) / self.columns, (y1 - y0) / self.rows

    @cached_property
    def centres(self) -> np.ndarray:
        """(rows * columns, 2)"""
        (dx, dy), (x0, y0) = self.cell, self.box[:2]
        x, y = np.meshgrid(x0 + dx * (np.arange(self.columns) + 0.5), y0 + dy * (np.arange(self.rows) + 0.5))
        return np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)

    def coarser(self, columns: int) -> Grid:
        rows = max(2, round(columns * self.rows / self.columns))
        return Grid(self.box, columns, rows)

    def to_dict(self) -> dict[str, Any]:
        return {"box": list(self.box), "columns": self.columns, "rows": self.rows}


class Fields:
    """The fields of one map."""

    def __init__(self, subject: Subject, one: Map) -> None:
        self.subject, self.map = subject, one
        size = math.prod(subject.shape)
        columns = int(np.clip(math.isqrt(MOST_VALUES // size), COARSE, COLUMNS))
        normal = one.kind == "identity" and subject.context.prior and subject.model.prior.standard_normal
        self.grid = Grid.over(one.places, columns, 2.2 if normal else 0.0)

    @cached_property
    def codes(self) -> np.ndarray:
        return self.map.code_at(self.grid.centres)

    @cached_property
    def plane(self) -> Grid:
        """The cells of the decoded plane."""
        return self.grid.coarser(COARSE)

    def decoded(self, subject: Subject) -> np.ndarray:
        """The plane's cells as a subject decodes them, this one or one of an earlier step: (cells, H, W, C)."""
        return subject.decode(self.map.code_at(self.plane.centres))

    @cached_property
    def doubt(self) -> np.ndarray:
        """How little each cell can be trusted, (rows, columns), from 0 to 1: the largest of three reasons.

        Its code is further from the data than test items are; its picture does not come back to it (or, on a map of
        neighbours, it lies far from all anchors, or these have nothing to do with each other); its picture has little
        in common with that of the cell beside it.
        """
        subject = self.subject
        usual = float(np.quantile(subject.distances, 0.95))
        away = ramp(nearest(subject.sample, self.codes, 1)[0][:, 0] / usual, 1, 3)
        subject.observer.progress("measuring doubt", 0, 1, self.map.about["title"])
        made = subject.decode(self.codes)
        back = self._disagreeing() if self.map.anchors else self._not_coming_back(made, usual)
        torn = self._torn(subject.scaled(made), away)
        subject.observer.progress("measuring doubt", 1, 1)
        return np.maximum(np.maximum(away, back), torn).reshape(self.grid.rows, self.grid.columns)

    def _not_coming_back(self, made: np.ndarray, usual: float) -> np.ndarray:
        subject = self.subject
        error = np.linalg.norm(subject.encode(made)[0] - self.codes, axis=1)
        own = subject.codes[subject.items.even_rows(500)]
        usually = np.linalg.norm(subject.encode(subject.decode(own))[0] - own, axis=1)
        return ramp(error / max(float(np.quantile(usually, 0.95)), usual), 1.5, 5)

    def _disagreeing(self) -> np.ndarray:
        assert self.map.anchors is not None
        codes, places = self.map.anchors
        apart = nearest(places, places, 2)[0][:, -1]
        distance = nearest(places, self.grid.centres, 1)[0][:, 0]

        def spread(asked: np.ndarray) -> np.ndarray:
            near = codes[nearest(places, asked, 4)[1]]
            return np.sqrt(np.square(near - near.mean(1, keepdims=True)).sum(-1).mean(1))

        usual = max(float(np.quantile(spread(places), 0.95)), 1e-9)
        away = ramp(distance / max(float(np.quantile(apart, 0.95)), 1e-9), 2, 5)
        return np.maximum(away, ramp(spread(self.grid.centres) / usual, 1, 2))

    def _torn(self, made: np.ndarray, away: np.ndarray) -> np.ndarray:
        """Where the picture changes far more from cell to cell than it usually does among the data."""
        rows, columns = self.grid.rows, self.grid.columns
        pictures = made.reshape(rows, columns, -1)
        across = np.sqrt(np.square(np.diff(pictures, axis=1)).mean(-1))
        up = np.sqrt(np.square(np.diff(pictures, axis=0)).mean(-1))
        change = np.zeros((rows, columns))
        for step, before, after in (
            (across, np.s_[:, :-1], np.s_[:, 1:]),
            (up, np.s_[:-1], np.s_[1:]),
        ):
            change[before] = np.maximum(change[before], step)
            change[after] = np.maximum(change[after], step)
        trusted = change.ravel()[away < 0.5]
        usual = float(np.quantile(trusted, 0.9)) if len(trusted) else 0.0
        return ramp(change.ravel() / usual, 2, 4) if usual > 0 else np.zeros(rows * columns)

    @cached_property
    def prior(self) -> np.ndarray | None:
        """The prior's density on the map, (rows, columns), up to a factor; None for a plain autoencoder."""
        subject = self.subject
        if not subject.context.prior:
            return None
        if self.map.kind != "identity":
            return self._density(self.map.place(subject.context.prior_draws(DRAWS).float().numpy()))
        with torch.no_grad():
            z = torch.from_numpy(self.codes).to(subject.model.device, subject.model.dtype)
            log_pz = subject.model.prior_value().log_prob(z).cpu().double().numpy()
        return np.exp(log_pz - log_pz.max()).reshape(self.grid.rows, self.grid.columns)

    @cached_property
    def posterior(self) -> np.ndarray:
        """The density of draws from the items' posteriors on the map."""
        if self.map.kind == "pca" and self.subject.model.latent == 1:
            return self._density(self.map.places)
        return self._density(self.map.place(self.subject.drawn))

    def _density(self, places: np.ndarray) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        (x0, y0, x1, y1), rows, columns = self.grid.box, self.grid.rows, self.grid.columns
        counts = np.histogram2d(places[:, 1], places[:, 0], (rows, columns), ((y0, y1), (x0, x1)))[0]
        smooth = gaussian_filter(counts, 1.3, mode="constant")
        return smooth / (smooth.max() or 1.0)

    def regions(self) -> list[dict[str, float]]:
        """Circles of the map in which the prior has much mass and the data have none, the largest first."""
        from scipy.ndimage import label

        if self.prior is None:
            return []
        holes = (self.prior >= level_of(self.prior, MASSES[-1])) & (self.doubt > 0.6)
        parts, count = label(holes)
        found = []
        for part in range(1, count + 1):
            inside = (parts == part).ravel()
            mass = float(self.prior.ravel()[inside].sum())
            x, y = np.average(self.grid.centres[inside], axis=0, weights=self.prior.ravel()[inside])
            radius = math.sqrt(inside.sum() * math.prod(self.grid.cell) / math.pi)
            found.append((mass, {"x": float(x), "y": float(y), "radius": radius}))
        return [region for _, region in sorted(found, key=lambda pair: -pair[0])[:MOST_REGIONS]]

    def to_dict(self, store: Store, name: str) -> dict[str, Any]:
        """The page's fields: doubt, densities and, of images, the decoded plane."""
        doubt = np.rint(255 * self.doubt).astype(np.uint8)
        found: dict[str, Any] = {
            "doubt": {**self.grid.to_dict(), "values": store.put(f"{name}-doubt", doubt)}
        }
        for kind, density in (("prior", self.prior), ("posterior", self.posterior)):
            if density is not None and density.max() > 0:
                levels = [{"value": level_of(density, mass), "mass": mass} for mass in MASSES]
                values = store.put(f"{name}-{kind}", density.astype(np.float32))
                found[kind] = {**self.grid.to_dict(), "values": values, "levels": levels}
        if self.subject.pictorial:
            made = self.decoded(self.subject)
            side = side_for(made.shape[1:3], len(made))
            pictures = pictures_in_one([made], len(made), side, self.plane.columns)
            found["background"] = {**self.plane.to_dict(), "atlas": atlas(store, f"{name}-plane", pictures)}
        return found


def ramp(value: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 at `start` and below, 1 at `end` and above, smooth between."""
    t = np.clip((np.nan_to_num(value, nan=end) - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def level_of(density: np.ndarray, mass: float) -> float:
    """The level above which the cells hold this share of the mass."""
    ordered = np.sort(density.ravel())[::-1]
    total = np.cumsum(ordered)
    return float(ordered[np.searchsorted(total, mass * total[-1]).clip(0, len(ordered) - 1)])
