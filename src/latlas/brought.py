"""What a person brings along in Python and no file holds: data in memory, and parts of a model and its training."""

from __future__ import annotations

from dataclasses import dataclass

from latlas.data import Raw
from latlas.likelihoods import Likelihood
from latlas.networks import Networks
from latlas.objectives import Objective
from latlas.posteriors import Posterior
from latlas.priors import Prior


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


NOTHING = Brought()
