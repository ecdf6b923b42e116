"""What an exported file says about itself."""

from __future__ import annotations

from typing import Any

from latlas._version import __version__
from latlas.data import Like
from latlas.models import Model
from latlas.runs import Run, measured_numbers


def facts(model: Model, run: Run | None = None) -> dict[str, Any]:
    """What to know of a model in order to use it, as JSON values by name, and of its run the data and the ELBO."""
    item = model.item
    about = {
        "latlas": __version__,
        "kind": item.kind,
        "shape": list(item.outside),
        "units": units(item),
        "scaling": item.scaling.to_dict(),
        "columns": item.columns,
        "classes": item.classes,
        "latent": model.latent,
        "latent_names": [f"z{i + 1}" for i in range(model.latent)],
        "likelihood": getattr(model.likelihood, "title", type(model.likelihood).__name__),
        "prior": "standard normal" if model.prior.standard_normal else type(model.prior).__name__,
        **(_of_run(run) if run else {}),
    }
    return {name: value for name, value in about.items() if value is not None}


def _of_run(run: Run) -> dict[str, Any]:
    metrics = run.metrics
    split, numbers = measured_numbers(metrics)
    return {
        "run": run.name,
        "data": metrics.get("data"),
        "recipe": metrics.get("recipe"),
        "elbo": numbers.get("elbo"),
        "elbo_stderr": numbers.get("elbo_stderr") if numbers.get("elbo") is not None else None,
        "elbo_unit": metrics.get("unit"),
        "elbo_split": split,
    }


def units(item: Like) -> str:
    """The units of the data, in words."""
    scaling = item.scaling
    if scaling.kind == "integer":
        return f"from 0 to {scaling.scale[0]:g}"
    if scaling.kind == "none":
        return "from 0 to 1"
    return "each column's own" if scaling.kind == "standard" else "the data's own range"
