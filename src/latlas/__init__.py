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
        explore,
        export,
        fit,
        item_of,
        load,
        log,
        morph,
        neighbours,
        open_run,
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
    from latlas.data.load import Item
    from latlas.errors import InputError, LatlasError
    from latlas.likelihoods import (
        Bernoulli,
        ContinuousBernoulli,
        DiscretisedLogistic,
        Gaussian,
        Laplace,
        Likelihood,
    )
    from latlas.listing import data_info, fetch_data, list_data, list_recipes, list_runs, show_recipe
    from latlas.models import Model, Pass
    from latlas.objectives import Elbo, InfoVae, Iwae, Objective, Reconstruction
    from latlas.posteriors import DiagonalGaussian, FlowedGaussian, FullGaussian, Point
    from latlas.priors import Mixture, Prior, StandardNormal
    from latlas.trackers import Tracker

__all__ = [
    "Bernoulli",
    "ContinuousBernoulli",
    "DiagonalGaussian",
    "DiscretisedLogistic",
    "Elbo",
    "FlowedGaussian",
    "FullGaussian",
    "Gaussian",
    "InfoVae",
    "InputError",
    "Item",
    "Iwae",
    "Laplace",
    "LatlasError",
    "Likelihood",
    "Mixture",
    "Model",
    "Objective",
    "Pass",
    "Point",
    "Prior",
    "Reconstruction",
    "Run",
    "StandardNormal",
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
    "explore",
    "export",
    "fetch_data",
    "fit",
    "item_of",
    "list_data",
    "list_recipes",
    "list_runs",
    "load",
    "log",
    "morph",
    "neighbours",
    "open_run",
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
    "Bernoulli": "likelihoods",
    "ContinuousBernoulli": "likelihoods",
    "DiagonalGaussian": "posteriors",
    "DiscretisedLogistic": "likelihoods",
    "Elbo": "objectives",
    "FlowedGaussian": "posteriors",
    "FullGaussian": "posteriors",
    "Gaussian": "likelihoods",
    "InfoVae": "objectives",
    "InputError": "errors",
    "Item": "data.load",
    "Iwae": "objectives",
    "Laplace": "likelihoods",
    "LatlasError": "errors",
    "Likelihood": "likelihoods",
    "Mixture": "priors",
    "Model": "models",
    "Objective": "objectives",
    "Pass": "models",
    "Point": "posteriors",
    "Prior": "priors",
    "Reconstruction": "objectives",
    "Run": "api.scoring",
    "StandardNormal": "priors",
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
