"""What the estimators share: their parameters, how they are fitted, and the numbers of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.random import RandomState
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from latlas.api.scoring import Run
from latlas.config import override
from latlas.console import Console
from latlas.data import Raw
from latlas.data.ranges import are_bytes
from latlas.data.splits import as_split, code_labels
from latlas.errors import InputError
from latlas.invocation import invoked_by
from latlas.items.records import Columns
from latlas.models import Model
from latlas.progress import Observer
from latlas.settings import Config
from latlas.sklearn.fitted import Fitted, ImageAxes
from latlas.sklearn.fitting import Trained, in_folder, in_memory
from latlas.sklearn.parameters import (
    PARAMETERS,
    check_values,
    configured,
    in_parameters,
    kind_of,
    threads,
    value_errors,
)


@dataclass(eq=False, repr=False)
class LatentModel(BaseEstimator):
    """A model of rows with a latent space: what autoencoders and VAEs have in common."""

    latent: int | None = None
    _: KW_ONLY
    hidden: int | Sequence[int] | None = None
    network: str = "auto"
    likelihood: str = "auto"
    sigma: float | str = "learned"
    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    lr: float = 3e-3
    early_stopping: bool | str = "auto"
    validation_fraction: float = 0.1
    kind: str = "auto"
    image_shape: Sequence[int] | None = None
    settings: Mapping[str, Any] | None = None
    warm_start: bool = False
    run_dir: str | Path | None = None
    random_state: int | RandomState | None = None
    n_jobs: int | None = None
    device: str = "auto"
    verbose: int = 0

    recipe: ClassVar[str]  # whose settings hold where there is no parameter

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__doc__:
            cls.__doc__ += PARAMETERS

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains on the rows of X (N, D); labels y are for the numbers and pictures of a run folder alone.

        Raises ValueError for data or parameters that do not fit, before anything is written.
        """
        again = self.warm_start and hasattr(self, "n_iter_")
        X = validate_data(self, X, dtype="numeric", ensure_min_samples=2, reset=not again)
        given = self.get_params(deep=False)
        with value_errors(), threads(self.n_jobs), Console(quiet=not self.verbose) as console:
            check_values(given)
            axes = None if self.image_shape is None else ImageAxes.of(self.image_shape, X.shape[1])
            items = X if axes is None else _as_stored(axes.images(X))
            config = configured(given, self.recipe, len(X), kind_of(items, self.kind))
            trained = self._train(config, items, y, console, again)
        self._fitted = Fitted(trained.model, trained.about, axes)
        self.n_iter_ = trained.epochs
        self.history_ = dict(trained.history)
        self.notes_ = tuple(map(in_parameters, console.notes))
        self.run_ = None if trained.run is None else Run.of(trained.run)
        return self

    def _train(self, config: Config, items: np.ndarray, y: Any, observer: Observer, again: bool) -> Trained:
        """Trains, from the weights of the fit before where it is meant to go on `again`."""
        if self.run_dir is None:
            start = self.model_.state_dict() if again else None
            return in_memory(config, Raw("X", "X", {"train": as_split(items)}), observer, start)
        if again:
            config = override(config, {"training.start": self._path_to_start()}, "warm_start")
        with invoked_by(f"{' '.join(repr(self).split())}.fit(X)"):
            return in_folder(config, self._labelled(items, y), Path(self.run_dir), observer)

    def _path_to_start(self) -> str:
        if self.run_ is None:
            why = "a run starts from the weights of another, and the fit before had no run_dir"
            raise InputError(why, field="warm_start", value=True)
        return str(self.run_.path.absolute())

    def _labelled(self, items: np.ndarray, y: Any) -> Raw:
        """The items with the names of columns and, where they are one for each, labels."""
        names = getattr(self, "feature_names_in_", None) if items.ndim == 2 else None
        columns = None if names is None else tuple(map(str, names))
        labels = None if y is None else np.asarray(y)
        if labels is None or labels.shape != (len(items),):
            return Raw("X", "X", {"train": as_split(items)}, columns=columns)
        (codes,), classes = code_labels([labels], "y")
        return Raw("X", "X", {"train": as_split(items, codes)}, classes, columns)

    @property
    def model_(self) -> Model:
        """The trained model, on the CPU."""
        return self._fitted.model

    def score_samples(self, X: Any) -> np.ndarray:
        """The score of each row (N,), higher where the model describes it better; by the same noise for every row, so
        that it does not depend on the rows beside it.
        """
        raise NotImplementedError

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`."""
        return float(self.score_samples(X).mean())

    def reconstruction_error(self, X: Any) -> np.ndarray:
        """The squared error of each row's reconstruction (N,): a mean over its values, on the model's scale."""
        return self._numbers(X)["squared_error"]

    def _numbers(self, X: Any) -> Columns:
        X = self._checked(X)
        with value_errors(), threads(self.n_jobs):
            return self._fitted.numbers(X, self.device)

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "n_iter_")
        return validate_data(self, X, dtype="numeric", reset=False)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if state.get("run_") is not None:
            state["run_"] = Run(state["run_"].path)  # without the data, which the folder does not hold either
        return state


def _as_stored(images: np.ndarray) -> np.ndarray:
    """Images of whole numbers from 0 to 255 as the bytes that they are, whatever type holds them."""
    return images.astype(np.uint8, copy=False) if are_bytes(images) else images
