"""VAE and Autoencoder: rows to codes and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.random import RandomState
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted

from latlas.sklearn.latent_model import LatentModel
from latlas.sklearn.parameters import seed_of, threads, value_errors


class Codes(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Rows to codes and back, for a `LatentModel`."""

    def transform(self, X: Any) -> np.ndarray:
        """The codes of rows, their posterior's means: X (N, D) -> (N, latent), float32 for float32, else float64."""
        X = self._checked(X)
        with value_errors(), threads(self.n_jobs):
            return self._fitted.encode(X, self.device).astype(_float_of(X), copy=False)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """The means of p(x | z) at codes X (N, latent), in data units: (N, D)."""
        check_is_fitted(self, "n_iter_")
        codes = check_array(X, dtype="numeric", input_name="X")
        with value_errors(), threads(self.n_jobs):
            return self._fitted.decode(codes, self.device).astype(_float_of(codes), copy=False)

    @property
    def _n_features_out(self) -> int:
        return self.model_.latent

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _float_of(X: np.ndarray) -> type[np.floating]:
    return np.float32 if X.dtype == np.float32 else np.float64


@dataclass(eq=False, repr=False, kw_only=True)
class VAE(Codes, LatentModel):
    """A variational autoencoder: codes, reconstructions, samples and the ELBO of rows (Kingma and Welling 2014).

    Parameters
    ----------
    latent : int, default=None
        Dimensions of the latent space; None: half the columns of a table, at most 8, else 16.
    beta : float, default=1.0
        Weight of the rate in the loss (Higgins et al. 2017). Scores are always at 1.
    """

    lr: float = 3e-3
    beta: float = 1.0

    recipe: ClassVar[str] = "vae"

    def score_samples(self, X: Any) -> np.ndarray:
        """The ELBO of each row at beta 1, in nats on the model's scale: X (N, D) -> (N,).

        It is a lower bound on log p(x), by 16 draws of z that are the same for every row.
        """
        return self._numbers(X)["elbo"]

    def sample(
        self, n: int = 1, random_state: int | RandomState | None = None, noise: bool = False
    ) -> np.ndarray:
        """n rows from the prior, in data units (n, D): means of p(x | z), or draws from it with `noise`."""
        check_is_fitted(self, "n_iter_")
        with value_errors(), threads(self.n_jobs):
            return self._fitted.sample(n, seed_of(random_state), noise, self.device)


@dataclass(eq=False, repr=False, kw_only=True)
class Autoencoder(Codes, LatentModel):
    """An autoencoder: a point for a code, no prior, and so nothing to sample from (Hinton and Salakhutdinov 2006).

    Parameters
    ----------
    latent : int, default=None
        Dimensions of the latent space; None: half the columns of a table, at most 8, else 16.
    """

    lr: float = 2e-3

    recipe: ClassVar[str] = "ae"

    def score_samples(self, X: Any) -> np.ndarray:
        """Minus the reconstruction error of each row, as an autoencoder has no ELBO: X (N, D) -> (N,)."""
        return -self.reconstruction_error(X)
