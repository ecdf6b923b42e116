"""Parts of one's own, given to a call by name or carried by a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Unpack

from latlas import runs
from latlas.api.opening import RunLike, with_data
from latlas.api.scoring import Run
from latlas.brought import NOTHING, OF_TRAINING, Parts, bring, check_brought
from latlas.config import settings_of
from latlas.errors import InputError


def parts_of(run: object) -> dict[str, Any]:
    """The parts of one's own that a run carries, by name."""
    brought = run.brought if isinstance(run, runs.Run) else NOTHING
    return {name: part for name in OF_TRAINING if (part := getattr(brought, name)) is not None}


def agree(parts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raises InputError where parts, as settings by dotted key, and settings beside them say different things."""
    for key, value in parts.items():
        if key in settings and settings[key] not in (value, "auto", None):
            raise InputError(
                f"and a part that was given says {value!r}; leave one of them out",
                field=key,
                value=settings[key],
            )


def open_run(run: RunLike, data: Any = None, **parts: Unpack[Parts]) -> Run:
    """A run with what no file holds of it: its data in memory, and the parts of one's own that it was trained with.

    Every call on a run takes what this gives, as latlas.evaluate(latlas.open_run(path, network=(encoder, decoder))).
    The weights are the run's, whatever those of the modules are. A run that `train` gave carries its parts already.
    Raises InputError for a path without a run, and for data and parts that are not the run's.
    """
    found = with_data(run, data)
    brought, settings = bring(parts_of(found) | parts)
    config = found.config
    agree(
        settings, {key: value for key, value in settings_of(config, ()).items() if key != "objective.samples"}
    )
    check_brought(config, brought, tuple(parts_of(Run(found.path, brought))))
    return Run(found.path, replace(brought, data=found.brought.data))
