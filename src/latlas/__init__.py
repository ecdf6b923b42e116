"""latlas: learn, measure and show the latent space of your data."""

from typing import TYPE_CHECKING, Any

from latlas._version import __version__

if TYPE_CHECKING:
    from latlas.api import (
        animate,
        compare_runs,
        decode,
        diagnose,
        encode,
        evaluate,
        evaluation_of,
        export,
        load,
        log,
        morph,
        neighbours,
        plan_study,
        prune,
        reconstruct,
        resume,
        sample,
        score,
        study,
        train,
        vary,
        write_report,
    )
    from latlas.api.scoring import Run
    from latlas.errors import InputError, LatlasError
    from latlas.listing import data_info, fetch_data, list_data, list_recipes, list_runs, show_recipe
    from latlas.models import Model
    from latlas.trackers import Tracker

__all__ = [
    "InputError",
    "LatlasError",
    "Model",
    "Run",
    "Tracker",
    "__version__",
    "animate",
    "compare_runs",
    "data_info",
    "decode",
    "diagnose",
    "encode",
    "evaluate",
    "evaluation_of",
    "export",
    "fetch_data",
    "list_data",
    "list_recipes",
    "list_runs",
    "load",
    "log",
    "morph",
    "neighbours",
    "plan_study",
    "prune",
    "reconstruct",
    "resume",
    "sample",
    "score",
    "show_recipe",
    "study",
    "train",
    "vary",
    "write_report",
]

# Where a name is defined; all others are in api.
_HOMES = {
    "InputError": "errors",
    "LatlasError": "errors",
    "Model": "models",
    "Run": "api.scoring",
    "Tracker": "trackers",
    "data_info": "listing",
    "fetch_data": "listing",
    "list_data": "listing",
    "list_recipes": "listing",
    "list_runs": "listing",
    "show_recipe": "listing",
}


def __getattr__(name: str) -> Any:
    # torch takes a second to import: only those pay who use it.
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"latlas.{_HOMES.get(name, 'api')}"), name)
    raise AttributeError(f"module 'latlas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
