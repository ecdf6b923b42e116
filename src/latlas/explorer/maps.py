"""Maps of latent space: two dimensions as they are; more by t-SNE of anchors, PCA, or two of the dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latlas.explorer.subject import Subject, nearest, weighted

MOST_ANCHORS = 2000
ANCHORS = 0.8  # share of the items that are anchors at most: the rest are placed by the rule, and measure it
LEAST_ANCHORS = 20  # fewer make no map of neighbours
HELD_OUT = 400  # items that the way to the map and back is measured on
NEIGHBOURS = 12  # of trustworthiness


@dataclass(frozen=True)
class Map:
    """A map: codes (N, D) to places (N, 2) by `place`, and back by `code_at`; what the page needs to do the same.

    `anchors` are the codes and places of a map of neighbours; `held_out` the rows of items that it was not made of.
    `places` are those of the items. `about` holds the fields of the page's data.
    """

    kind: str
    place: Callable[[np.ndarray], np.ndarray]
    code_at: Callable[[np.ndarray], np.ndarray]
    places: np.ndarray
    held_out: np.ndarray
    about: Mapping[str, Any] = field(default_factory=dict)
    anchors: tuple[np.ndarray, np.ndarray] | None = None


def maps_of(subject: Subject) -> list[Map]:
    """The maps of a run; the first is shown first."""
    latent = subject.model.latent
    if latent == 1:
        return [_line(subject)]
    if latent == 2:
        title, codes = {"title": "The two latent dimensions"}, subject.codes
        return [Map("identity", _same, _same, codes, np.arange(0), title)]
    found = [_axes(subject)]
    if len(subject.codes) > 1:  # one item spreads along no component
        found.insert(0, _pca(subject))
    if int(ANCHORS * len(subject.codes)) >= LEAST_ANCHORS:
        found.insert(0, _tsne(subject))
    return [_measured(subject, each) for each in found]


def _same(codes: np.ndarray) -> np.ndarray:
    return np.asarray(codes, np.float32)


def _line(subject: Subject) -> Map:
    """One dimension across; heights are random, and mean nothing."""
    mean, components = np.zeros(1, np.float32), np.array([[1.0], [0.0]], np.float32)
    codes = subject.codes
    heights = np.random.default_rng(0).uniform(-0.2, 0.2, len(codes)) * np.ptp(codes)
    places = np.stack([codes[:, 0], heights], 1).astype(np.float32)
    about = {
        "title": "The one latent dimension", "note": "It lies across; heights are random and mean nothing.",
        "mean": mean.tolist(), "components": components.tolist(),
    }  # fmt: skip
    return Map("pca", *_linear(mean, components), places, np.arange(0), about)


def _linear(
    mean: np.ndarray, components: np.ndarray
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """Orthonormal components (2, D) as a map and its inverse."""
    place = lambda codes: ((codes - mean) @ components.T).astype(np.float32)  # noqa: E731
    code_at = lambda places: (mean + places @ components).astype(np.float32)  # noqa: E731
    return place, code_at


def _pca(subject: Subject) -> Map:
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore", divide="ignore"):
        pca = PCA(2, svd_solver="full").fit(subject.codes.astype(np.float64))
    share = float(np.nan_to_num(pca.explained_variance_ratio_.sum()))
    mean, components = pca.mean_.astype(np.float32), pca.components_.astype(np.float32)
    place, code_at = _linear(mean, components)
    about = {
        "title": "PCA", "note": f"The plane of the largest variance, {share:.0%} of all.",
        "mean": mean.tolist(), "components": components.tolist(),
    }  # fmt: skip
    return Map("pca", place, code_at, place(subject.codes), _held_out(subject, np.arange(0)), about)


def _axes(subject: Subject) -> Map:
    """The two dimensions that tell most, the others at their mean."""
    telling = subject.codes.var(0) if subject.kl is None else subject.kl.mean(0)
    first, second = np.argsort(-telling, kind="stable")[:2].tolist()
    rest = subject.codes.mean(0)

    def code_at(places: np.ndarray) -> np.ndarray:
        codes = np.repeat(rest[None], len(places), 0)
        codes[:, [first, second]] = places
        return codes

    place = lambda codes: np.asarray(codes, np.float32)[:, [first, second]]  # noqa: E731
    about = {
        "title": f"Dimensions {first + 1} and {second + 1}", "note": "The two most active; the others at their mean.",
        "axes": [first, second], "rest": rest.tolist(),
    }  # fmt: skip
    return Map("axes", place, code_at, place(subject.codes), _held_out(subject, np.arange(0)), about)


def _tsne(subject: Subject) -> Map:
    """t-SNE (van der Maaten & Hinton 2008) of evenly spaced items; all others are placed by their nearest anchors."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    items = subject.items
    rows = items.even_rows(min(MOST_ANCHORS, int(ANCHORS * len(items))))
    anchors = subject.codes[rows]
    perplexity = min(30.0, (len(rows) - 1) / 3)
    subject.observer.progress("making a map by t-SNE", 0, 1, f"{len(rows):,} anchors")
    with threadpool_limits(1):  # sums of several threads differ from run to run in their last bits
        tsne = TSNE(perplexity=perplexity, init="random" if anchors.shape[1] < 2 else "pca", random_state=0)
        places = np.asarray(tsne.fit_transform(anchors), np.float32)
    subject.observer.progress("making a map by t-SNE", 1, 1)
    place, code_at = weighted(anchors, places), weighted(places, anchors)
    whole = place(subject.codes)
    whole[rows] = places
    note = (
        f"{len(rows):,} anchors; other codes lie among their nearest anchors, and places decode the same way."
    )
    held_out = _held_out(subject, rows)
    return Map(
        "neighbours",
        place,
        code_at,
        whole,
        held_out,
        {"title": "t-SNE", "note": note, "neighbours": 4},
        (anchors, places),
    )


def _held_out(subject: Subject, rows: np.ndarray) -> np.ndarray:
    others = np.setdiff1d(np.arange(len(subject.codes)), rows)
    return (
        others[np.linspace(0, len(others) - 1, min(HELD_OUT, len(others))).round().astype(int)]
        if len(others)
        else others
    )


def _measured(subject: Subject, one: Map) -> Map:
    """The map with its trustworthiness, and what decoding from a place costs on held-out items."""
    from sklearn.manifold import trustworthiness

    rows = subject.items.even_rows(MOST_ANCHORS)
    found: dict[str, Any] = {}
    if len(rows) > 2 * NEIGHBOURS + 2:
        trust = trustworthiness(subject.codes[rows], one.places[rows], n_neighbors=NEIGHBOURS)
        found["trustworthiness"] = round(float(trust), 4)
    if len(one.held_out):
        found["round_trip"] = _round_trip(subject, one)
    return Map(
        one.kind, one.place, one.code_at, one.places, one.held_out, {**one.about, **found}, one.anchors
    )


def _round_trip(subject: Subject, one: Map) -> dict[str, float]:
    """The squared error, per value on the model's scale, of held-out items decoded from their place; beside it that of
    their own codes and that of the mean item; and how often the code nearest to the place's has the right class.
    """
    rows = one.held_out
    values = subject.scaled(subject.values(subject.items.take(rows)))
    codes = subject.codes[rows]
    back = one.code_at(one.place(codes))
    error = lambda made: float(np.square(subject.scaled(made) - values).mean())  # noqa: E731
    found = {
        "error": error(subject.decode(back)), "plain": error(subject.decode(codes)),
        "mean_image": float(np.square(values - values.mean(0)).mean()),
    }  # fmt: skip
    if subject.labels is not None:
        # Not the item itself, which lies there: the nearest of the others.
        own = nearest(subject.codes, back, 2)[1]
        other = np.where(own[:, 0] == rows, own[:, -1], own[:, 0])
        known = subject.labels[rows] >= 0
        if known.any():
            found["class_agreement"] = float((subject.labels[other] == subject.labels[rows])[known].mean())
    return {name: round(value, 5) for name, value in found.items()}
