"""VAEOutlierDetector: rows that a VAE finds hard to describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import OutlierMixin

from latlas.errors import InputError
from latlas.items.scores import UNUSUAL
from latlas.sklearn.latent_model import LatentModel
from latlas.sklearn.parameters import value_errors

BY = ("elbo", "distortion", "rate", "squared_error")
FENCE = 1.5  # times the quartiles' distance, below the lower one (Tukey 1977)


@dataclass(eq=False, repr=False, kw_only=True)
class VAEOutlierDetector(OutlierMixin, LatentModel):
    """Outliers by a variational autoencoder: rows of a low ELBO, or another number of theirs.

    A low likelihood says that the model finds a row hard to describe, not that it is foreign, and a high one does not
    say that it is at home (Nalisnick et al. 2019): see "What a likelihood cannot tell" in the documentation.

    Parameters
    ----------
    latent : int, default=None
        Dimensions of the latent space; None: half the columns of a table, at most 8, else 16.
    contamination : "auto" or float, default="auto"
        Share of the rows that are outliers, above 0 and at most 0.5; "auto": those whose score lies more than 1.5
        times the quartiles' distance below the lower quartile of the scores in fit (Tukey 1977).
    by : str, default="elbo"
        The number that tells outliers: "elbo", "distortion", "rate" or "squared_error".
    beta : float, default=1.0
        Weight of the rate in the loss (Higgins et al. 2017). Scores are always at 1.
    """

    beta: float = 1.0
    contamination: float | str = "auto"
    by: str = "elbo"

    recipe: ClassVar[str] = "vae"

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains on the rows of X (N, D) and sets `offset_`, the score below which a row is an outlier.

        Raises ValueError for data or parameters that do not fit, before anything is written.
        """
        with value_errors():
            self._check()
        super().fit(X, y)
        scores = self.score_samples(X)
        if isinstance(self.contamination, str):  # auto
            low, high = np.percentile(scores, [25, 75])
            self.offset_ = float(low - FENCE * (high - low))
        else:
            self.offset_ = float(np.percentile(scores, 100 * self.contamination))
        return self

    def _check(self) -> None:
        if self.by not in BY:
            raise InputError(f"expected one of {', '.join(BY)}", field="by", value=self.by)
        share = self.contamination
        if isinstance(share, str) and share == "auto":
            return
        if isinstance(share, str | bool) or not 0 < share <= 0.5:
            message = "expected auto, or a share above 0 and at most 0.5"
            raise InputError(message, field="contamination", value=repr(share))

    def score_samples(self, X: Any) -> np.ndarray:
        """The score of each row by the number that `by` names, higher for usual rows: X (N, D) -> (N,).

        For "elbo" it is that of `VAE.score_samples`, for the others their negative.
        """
        return -UNUSUAL[self.by] * self._numbers(X)[self.by]

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` less `offset_`: below 0 for outliers, (N,)."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """-1 for outliers and 1 for the others: (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)
