"""Runs for other trackers, as calls."""

from __future__ import annotations

from typing import Any

from latlas import trackers
from latlas.api.opening import PathLike, RunLike, path_of
from latlas.console import Console
from latlas.errors import LatlasError
from latlas.runs import find
from latlas.trackers import Tracker, replay


def log(
    run: RunLike, to: str | Tracker, *, uri: PathLike = "", experiment: str = "", quiet: bool = False
) -> dict[str, Any]:
    """Copies the configuration, log, numbers and pictures of a finished or running run to a tracker, and says how many
    `steps`, `epochs`, `pictures` and `numbers` it had.

    `to` is mlflow, tensorboard, or an object with the methods of `latlas.Tracker`. `uri` is where MLflow keeps runs (a
    folder, sqlite:///FILE or a server; by default what MLFLOW_TRACKING_URI says), or a folder for TensorBoard's files,
    which else go to the run's own; `experiment` is one of MLflow's, by default latlas. A run that is copied again adds
    to its copy in MLflow what is new. Raises InputError for an unknown or missing tracker, and an object that is none;
    LatlasError if the tracker fails.
    """
    opened = find(run)
    opened.check_writable()  # TensorBoard's files go into the run's folder
    place = "" if not uri else str(uri) if "://" in str(uri) else str(path_of(uri, "uri"))
    tracker = trackers.made(to, place, experiment)
    name = to if isinstance(to, str) else type(to).__name__
    with Console(quiet) as console:
        if not opened.finished:
            console.note(f"{opened.path}: the run is unfinished: its log until now, without numbers")
        try:
            counts = replay.give(opened, tracker)
        except LatlasError:
            raise
        except Exception as error:
            raise LatlasError(f"{name} failed: {str(error).partition(chr(10))[0]}") from error
    return {"run": str(opened.path), "to": name, "uri": place or None, **counts}


def chosen(given: Any) -> list[Tracker]:
    """The trackers that a call names: one, or a list of them.

    Raises InputError as `log` does.
    """
    several = given if isinstance(given, list | tuple) else [] if given is None else [given]
    return [trackers.made(one, field="tracker") for one in several]
