"""The trackers that are known by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from latlas.errors import InputError, unknown
from latlas.places import expanded
from latlas.trackers.mlflow import MLflow
from latlas.trackers.tensorboard import TensorBoard
from latlas.trackers.tracker import Tracker

METHODS = ("start", "step", "epoch", "picture", "end")


@dataclass(frozen=True)
class Named:
    """A tracker by name: the `package` that it needs, how it is `made` of a place and an experiment, and whether it has
    experiments.
    """

    package: str
    made: Callable[[str, str], Tracker]
    experiments: bool = False


TRACKERS = {
    "mlflow": Named("mlflow", MLflow, experiments=True),
    "tensorboard": Named("tensorboard", lambda uri, _: TensorBoard(expanded(uri) if uri else None)),
}


def made(to: str | Tracker, uri: str = "", experiment: str = "", field: str = "to") -> Tracker:
    """A tracker by its name, at a place `uri` and in an `experiment`; an object with a tracker's methods is one itself.
    `field` is the argument that names it.

    Raises InputError for an unknown name, a package that is missing, an object that lacks methods, and a place or an
    experiment that has no effect or cannot be used.
    """
    given = {"uri": uri, "experiment": experiment}
    if not isinstance(to, str):
        missing = [name for name in METHODS if not callable(getattr(to, name, None))]
        if missing:
            raise InputError(f"{type(to).__name__} is no tracker: it lacks {', '.join(missing)}", field=field)
        refused = [name for name, value in given.items() if value]
    elif to not in TRACKERS:
        raise unknown("tracker", to, TRACKERS)
    else:
        refused = ["experiment"] if experiment and not TRACKERS[to].experiments else []
    for name in refused:
        raise InputError("has no effect on this tracker; leave it out", field=name, value=given[name])
    if not isinstance(to, str):
        return to
    if importlib.util.find_spec(TRACKERS[to].package) is None:
        raise InputError(f'{to} is not installed: pip install "latlas[{to}]"', field=field)
    try:
        return TRACKERS[to].made(uri, experiment)
    except Exception as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"{to} cannot use it: {first}", field="uri", value=uri or None) from None


def own() -> list[Tracker]:
    """The trackers that every run has: TensorBoard in the run's folder, where it is installed."""
    return [TensorBoard()] if importlib.util.find_spec("tensorboard") is not None else []
