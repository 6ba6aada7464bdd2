"""Held-out scores of predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.task import Kind

LOSS = {"binary": "log_loss", "multiclass": "log_loss", "regression": "rmse"}
"""What is compared; the rest is shown."""


class BadPrediction(ValueError):
    """The predictions are not what was asked for."""


def scores(kind: Kind, y: NDArray[Any], predicted: NDArray[Any], n_classes: int) -> dict[str, float]:
    """Return the loss and secondary scores.

    Parameters
    ----------
    kind : {"binary", "multiclass", "regression"}
        Of task.
    y : ndarray of shape (n_rows,)
        Held-out class codes or values.
    predicted : ndarray
        Probabilities of shape (n_rows, n_classes), or values of shape (n_rows,).
    n_classes : int
        0 for regression.

    Raises
    ------
    BadPrediction
        If the shape is another, a value is not finite, or the probabilities of a row do not sum to one.
    """
    from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score, root_mean_squared_error

    values = np.asarray(predicted, dtype=float)
    shape = (len(y),) if kind == "regression" else (len(y), n_classes)
    if values.shape != shape:
        raise BadPrediction(f"predictions must have the shape {shape}, got {values.shape}")
    if not np.isfinite(values).all():
        raise BadPrediction(f"{np.sum(~np.isfinite(values))} predictions are not finite")
    if kind == "regression":
        return {"rmse": float(root_mean_squared_error(y, values)), "r2": float(r2_score(y, values))}
    sums = values.sum(axis=1)
    if (values < -1e-6).any() or np.abs(sums - 1).max() > 1e-3:
        raise BadPrediction(f"probabilities must sum to one, got sums from {sums.min():.4g} to {sums.max():.4g}")
    values = np.clip(values, 0, 1) / np.clip(values, 0, 1).sum(axis=1, keepdims=True)
    found = {
        "log_loss": float(log_loss(y, values, labels=np.arange(n_classes))),
        "accuracy": float(accuracy_score(y, values.argmax(axis=1))),
    }
    if kind == "binary":
        found["roc_auc"] = float(roc_auc_score(y, values[:, 1]))
    return found
