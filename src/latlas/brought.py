"""What a person brings along in Python and no file holds: data in memory, and parts of a model and its training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from torch import nn

from latlas.augmentation import Augment
from latlas.config import override
from latlas.data import Raw
from latlas.data.options import MEMORY
from latlas.errors import InputError
from latlas.likelihoods import Likelihood
from latlas.networks import Networks
from latlas.objectives import Objective, OwnObjective
from latlas.posteriors import Posterior
from latlas.priors import Prior
from latlas.settings import OWN, Config, ObjectiveConfig


class Parts(TypedDict, total=False):
    """Parts of one's own: a `network` (encoder, decoder), a `posterior`, a `prior`, a `likelihood`, an `objective`, a
    function of a Pass to a scalar, and a function `augment` of a training batch. A text is the name of one of latlas's.
    """

    network: Networks | str
    posterior: Posterior | str
    prior: Prior | str
    likelihood: Likelihood | str
    objective: Objective | Callable[..., Any] | str
    augment: Augment


# The parts that make a model, and those that its training needs as well.
OF_MODEL = ("network", "posterior", "prior", "likelihood")
OF_TRAINING = (*OF_MODEL, "objective", "augment")


@dataclass(frozen=True, eq=False)
class Brought:
    """Data, and parts that stand in for those that a configuration names; None where the configuration decides.

    A run folder does not hold them: who opens the run again brings them along.
    """

    data: Raw | None = None
    network: Networks | None = None
    posterior: Posterior | None = None
    prior: Prior | None = None
    likelihood: Likelihood | None = None
    objective: Objective | None = None
    augment: Augment | None = None

    @property
    def has_parts(self) -> bool:
        """Whether parts were brought along."""
        return any(getattr(self, name) is not None for name in OF_TRAINING)

    def copies(self) -> Brought:
        """Copies of the modules, so that one run does not change the weights of another; what they share stays shared.

        Raises InputError for modules that cannot be copied.
        """
        modules = {name: getattr(self, name) for name in OF_MODEL}
        try:
            return replace(self, **copy.deepcopy(modules))
        except Exception as error:  # modules hold anything, and copying may fail in as many ways
            given = ", ".join(name for name in OF_MODEL if modules[name] is not None)
            raise InputError(
                f"cannot be copied, as it has to be for each run ({type(error).__name__}: {error})",
                field=given,
            ) from None


NOTHING = Brought()


def given_parts(own: Mapping[str, Any], names: Sequence[str] = OF_TRAINING) -> str:
    """The parts of one's own that the section `own` of a configuration names, as arguments of a call; "" for none."""
    return ", ".join(
        f"{name}={'(encoder, decoder)' if name == 'network' else '...'}" for name in names if own.get(name)
    )


def resume_call(path: str, config: Config) -> str:
    """The call that continues a run that takes what no file holds; "" for any other."""
    data, parts = ", data=x" * (config.data.source == MEMORY), given_parts(config.own.model_dump())
    run = f"latlas.open_run({path!r}{data}, {parts})" if parts else f"{path!r}{data}"
    return f"latlas.resume({run})" if data or parts else ""


def bring(given: Mapping[str, Any]) -> tuple[Brought, dict[str, Any]]:
    """What was given by name, as parts of one's own, and as settings by dotted key.

    A text, and a part of latlas's own without weights, are settings, and need not be brought along again. Raises
    InputError for what is no such part.
    """
    parts: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for name, part in given.items():
        if name not in OF_TRAINING:
            raise TypeError(f"unknown part {name!r} (known: {', '.join(OF_TRAINING)})")
        if part is None:
            continue
        if isinstance(part, str) and name != "augment":
            found: dict[str, Any] | None = {f"{name}.name": part}
        else:
            part = _CHECKS[name](part)
            found = getattr(part, "settings", None) if name not in ("network", "augment") else None
        if found is None:
            parts[name] = part
            found = {} if name == "augment" else {f"{name}.name": OWN}
            if name == "objective" and not isinstance(part, OwnObjective):
                found |= {"objective.samples": part.samples, "objective.beta": part.beta}
        for key, value in found.items():
            if settings.setdefault(key, value) != value:
                raise InputError(f"{settings[key]} by one part and {value} by another: {name}", field=key)
    return Brought(**parts), settings


def _network(part: Any) -> Networks:
    pair = isinstance(part, tuple | list) and len(part) == 2 and all(isinstance(m, nn.Module) for m in part)
    if not pair:
        raise InputError(
            f"expected two modules, (encoder, decoder), or the name of a network, got {_what(part)}",
            field="network",
        )
    return part[0], part[1]


def _module(name: str, family: type, needs: str) -> Callable[[Any], Any]:
    def check(part: Any) -> Any:
        if isinstance(part, family):
            return part
        raise InputError(f"expected {needs}, got {_what(part)}", field=name)

    return check


def _posterior(part: Any) -> Posterior:
    missing = [name for name in ("latent", "outputs", "has_density") if not hasattr(part, name)]
    if isinstance(part, nn.Module) and not missing:
        return part  # type: ignore[return-value]
    lacks = f" without {', '.join(missing)}" if isinstance(part, nn.Module) else ""
    raise InputError(
        f"expected a module such as latlas.DiagonalGaussian(16), got {_what(part)}{lacks}", field="posterior"
    )


def _objective(part: Any) -> Objective:
    if isinstance(part, Objective):
        return part
    if not callable(part) or isinstance(part, type):
        raise InputError(
            f"expected a function of a Pass, an Objective or the name of one, got {_what(part)}",
            field="objective",
        )
    if isinstance(part, nn.Module) and any(p.requires_grad for p in part.parameters()):
        raise InputError(
            "an objective's weights are not trained: put them into the likelihood or the prior, or freeze them by"
            " requires_grad_(False)",
            field="objective",
        )
    return OwnObjective.of(part, ObjectiveConfig())


def _augment(part: Any) -> Augment:
    if not callable(part) or isinstance(part, type):
        raise InputError(
            f"expected a function of items (B, ...) to items of the same shape, got {_what(part)}; flips and shifts"
            " are the settings augment.flip and augment.shift",
            field="augment",
        )
    return part


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "network": _network,
    "posterior": _posterior,
    "prior": _module("prior", Prior, "a subclass of latlas.Prior, made, or the name of a prior"),
    "likelihood": _module(
        "likelihood", Likelihood, "a subclass of latlas.Likelihood, made, or the name of a likelihood"
    ),
    "objective": _objective,
    "augment": _augment,
}


def _what(part: Any) -> str:
    return f"the class {part.__name__}, not one made of it" if isinstance(part, type) else type(part).__name__


def named(config: Config, brought: Brought) -> Config:
    """The configuration with the names of the parts that were brought along.

    Raises InputError for a part that the configuration has as one's own and that is missing, and for settings that a
    part of one's own does not read.
    """
    changes: dict[str, Any] = {"own": {}}
    for name in OF_TRAINING:
        part = getattr(brought, name)
        if part is None and own_title(config, name):
            check_brought(config, brought, OF_TRAINING)
        if part is not None:
            title: Any = tuple(map(title_of, part)) if name == "network" else title_of(part)
            changes |= {f"own.{name}": title} | ({} if name == "augment" else {f"{name}.name": OWN})
    if brought.posterior is not None:
        changes["own.has_density"] = bool(brought.posterior.has_density)
    return override(config, changes, "configuration")


def check_brought(config: Config, brought: Brought, parts: tuple[str, ...] = OF_MODEL) -> None:
    """Raises InputError where parts of one's own are missing, or where there are some that the configuration lacks."""
    own = {name: own_title(config, name) for name in parts}
    missing = {name: title for name, title in own.items() if title and getattr(brought, name) is None}
    if missing:
        listed = " and ".join(f"{name} ({title})" for name, title in missing.items())
        how = given_parts(own, parts)  # all of them, so that the call works as it is shown
        raise InputError(
            f"{listed}: made of your own, which no file holds; bring {'it' if len(missing) == 1 else 'them'} along:"
            f" latlas.open_run(run, {how}), or the same in latlas.load and latlas.train"
        )
    for name, title in own.items():
        if getattr(brought, name) is not None and not title:
            kind = getattr(getattr(config, name), "name", "none") if name != "augment" else "none"
            raise InputError(f"this run's own is {kind}, of latlas itself; leave it out", field=name)


def own_title(config: Config, name: str) -> str:
    """What a part of one's own is called, "" where the configuration's is latlas's."""
    title = getattr(config.own, name)
    if name == "augment":
        return str(title)
    if getattr(config, name).name != OWN:
        return ""
    return (" and ".join(title) if isinstance(title, tuple) else title) or OWN


def shown(config: Config, name: str) -> str:
    """A part as people read it: the name of latlas's, or the class of one's own."""
    title = own_title(config, name)
    return f"own: {title}" if title else str(getattr(config, name).name)


def title_of(part: Any) -> str:
    """The full name of a part's class, or of a function."""
    function: Any = part.function if isinstance(part, OwnObjective) else part
    about = function if hasattr(function, "__qualname__") else type(function)
    home = str(about.__module__ or "")
    home = "torch.nn" if home.startswith("torch.nn.") else "" if home == "__main__" else home
    return f"{home}.{about.__qualname__}".removeprefix(".")
