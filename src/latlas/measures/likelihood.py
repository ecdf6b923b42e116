"""Numbers on the likelihood: how probable the model finds what it has not seen, and how tight its bound is."""

from __future__ import annotations

from latlas.measures.reading import Measure, Reading
from latlas.measures.scene import Scene


def _log_px(scene: Scene) -> Reading | None:
    weighed = scene.importance
    if weighed is None:
        return None
    return Reading(weighed.log_px, weighed.stderr, weighed.images, weighed.samples)


def _gap(scene: Scene) -> Reading | None:
    weighed = scene.importance
    return None if weighed is None else Reading(weighed.gap, None, weighed.images, weighed.samples)


LIKELIHOOD: dict[str, Measure] = {
    "log_px": Measure(
        "log p(x)", "likelihood", "nats per {item}", "higher",
        "The logarithm of the probability of what was not seen, by importance sampling: a lower bound, tighter than "
        "the ELBO.",
        _log_px, 2,
    ),
    "gap": Measure(
        "tightness gap", "likelihood", "nats per {item}", "lower",
        "log p(x) minus the ELBO of the same draws: what a better posterior could win, from below.",
        _gap, 2,
    ),
}  # fmt: skip
