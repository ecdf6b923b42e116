"""latlas: learn, measure and show the latent space of your data."""

from typing import TYPE_CHECKING, Any

from latlas._version import __version__

if TYPE_CHECKING:
    from latlas.api import compare_runs, diagnose, evaluate, load, resume, train
    from latlas.errors import InputError, LatlasError
    from latlas.models import Model
    from latlas.runs import Run

__all__ = [
    "InputError",
    "LatlasError",
    "Model",
    "Run",
    "__version__",
    "compare_runs",
    "diagnose",
    "evaluate",
    "load",
    "resume",
    "train",
]

_HOMES = {
    "InputError": "errors",
    "LatlasError": "errors",
    "Model": "models",
    "Run": "runs",
    "compare_runs": "api",
    "diagnose": "api",
    "evaluate": "api",
    "load": "api",
    "resume": "api",
    "train": "api",
}


def __getattr__(name: str) -> Any:
    # torch takes a second to import: only those pay who use it.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"latlas.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'latlas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
