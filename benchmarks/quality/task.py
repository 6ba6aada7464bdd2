"""What a peer is told about a data set, the same for all: kind of task, how its rows belong together, cores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Kind = Literal["binary", "multiclass", "regression"]
Split = Literal["random", "group", "time"]
Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]

N_FOLDS = 5
"""Of every peer that cross-validates on folds it is given: the default of scikit-learn and of gbtune."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What a user knows of the data beside X and y.

    Parameters
    ----------
    kind : {"binary", "multiclass", "regression"}
        Log loss is minimised for classes, the root of the mean squared error for regression.
    n_classes : int
        y is 0..n_classes-1, and every class is in it; 0 for regression.
    split : {"random", "group", "time"}
        How the held-out quarter was taken. ``"time"``: rows are in the order of their times.
    groups : ndarray of shape (n_rows,), optional
        Of the training rows, for ``"group"``.
    cores : int
        How many the run may use.
    tracking_uri : str
        An MLflow store of this run's own, for peers that log.
    """

    kind: Kind
    n_classes: int
    split: Split
    groups: NDArray[Any] | None
    cores: int
    tracking_uri: str = ""

    @property
    def is_classification(self) -> bool:
        """Whether y holds classes."""
        return self.kind != "regression"

    @property
    def scoring(self) -> str:
        """scikit-learn's name of the metric."""
        return "neg_log_loss" if self.is_classification else "neg_root_mean_squared_error"

    def folds(self, X: pd.DataFrame, y: NDArray[Any], seed: int) -> Folds:
        """Return five pairs of training and validation rows that respect classes, groups and time."""
        from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

        if self.split == "time":
            splitter: Any = TimeSeriesSplit(N_FOLDS)
        elif self.split == "group":
            splitter = GroupKFold(N_FOLDS, shuffle=True, random_state=seed)
        else:
            kind = StratifiedKFold if self.is_classification else KFold
            splitter = kind(N_FOLDS, shuffle=True, random_state=seed)
        return list(splitter.split(X, y, self.groups))

    def holdout(self, X: pd.DataFrame, y: NDArray[Any], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return four fifths to train on and one fifth to stop on (of time: the last one)."""
        if self.split == "time":
            rows = np.arange(len(y))
            return rows[: -len(y) // N_FOLDS], rows[-len(y) // N_FOLDS :]
        return self.folds(X, y, seed)[0]


@dataclasses.dataclass(frozen=True)
class Model:
    """What a peer hands back.

    Parameters
    ----------
    predict : callable
        From X to probabilities of shape (n_rows, n_classes), or to values of shape (n_rows,).
    notes : mapping
        JSON-able; kept with the result, e.g. the number of trials.
    """

    predict: Callable[[pd.DataFrame], NDArray[Any]]
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
