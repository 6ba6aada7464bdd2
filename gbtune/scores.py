"""Score functions on class codes and response-scale predictions, almost all scikit-learn's.

They never warn and are defined where rows of a fold lack a class. `gbtune.metrics` gives them
names and directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

LEAST_MEAN = 1e-16
"""Predicted counts below it are taken for it, as XGBoost does in its Poisson likelihood."""


def _sklearn(name: str) -> Callable[..., Any]:
    import sklearn.metrics

    return cast("Callable[..., Any]", getattr(sklearn.metrics, name))


def from_sklearn(function_name: str, **settings: Any) -> Callable[..., float]:
    """Return a function that calls the one of scikit-learn, importing it at the first call."""

    def score(y_true: NDArray[Any], y_pred: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> float:
        return float(_sklearn(function_name)(y_true, y_pred, sample_weight=sample_weight, **settings))

    return score


def log_loss(y_true: NDArray[Any], y_pred: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> float:
    """Over all classes of the study: rows of a fold may lack some."""
    n_classes = y_pred.shape[1] if y_pred.ndim == 2 else 2
    labels = np.arange(n_classes)
    return float(_sklearn("log_loss")(y_true, y_pred, sample_weight=sample_weight, labels=labels))


def balanced_accuracy(y_true: NDArray[Any], y_pred: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> float:
    """Mean recall over the classes that occur."""
    # scikit-learn's own warns about a predicted class that these rows lack; this is the same number
    present = np.unique(y_true)
    recall = _sklearn("recall_score")
    return float(recall(y_true, y_pred, labels=present, average="macro", sample_weight=sample_weight, zero_division=0))


def roc_auc(y_true: NDArray[Any], y_pred: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> float:
    """Binary; NaN where one class is absent."""
    if np.all(y_true == y_true[0]):
        return math.nan  # `Metric.score` raises with the name; scikit-learn would warn
    return float(_sklearn("roc_auc_score")(y_true, y_pred, sample_weight=sample_weight))


def roc_auc_ovr(average: str) -> Callable[..., float]:
    """One against the rest, over the classes that occur: for a class without rows it is not defined."""

    def score(y_true: NDArray[Any], y_pred: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> float:
        present = np.unique(y_true)
        if len(present) < 2:
            return math.nan
        members = (y_true[:, None] == present).astype(np.int64)
        function = _sklearn("roc_auc_score")
        return float(function(members, y_pred[:, present], average=average, sample_weight=sample_weight))

    return score


def average_precision(y_true: NDArray[Any], y_pred: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> float:
    """Binary; NaN where class 1 is absent."""
    if not y_true.any():
        return math.nan
    return float(_sklearn("average_precision_score")(y_true, y_pred, sample_weight=sample_weight))


def rmsle(y_true: NDArray[Any], y_pred: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> float:
    """Root mean squared logarithmic error; predictions below 0 count as 0."""
    function = _sklearn("root_mean_squared_log_error")
    return float(function(y_true, np.maximum(y_pred, 0.0), sample_weight=sample_weight))


def poisson_deviance(y_true: NDArray[Any], y_pred: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> float:
    """Mean Poisson deviance; predictions below `LEAST_MEAN` count as that."""
    function = _sklearn("mean_poisson_deviance")
    return float(function(y_true, np.maximum(y_pred, LEAST_MEAN), sample_weight=sample_weight))
