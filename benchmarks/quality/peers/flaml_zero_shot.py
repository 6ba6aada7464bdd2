"""FLAML's zero-shot defaults: parameters looked up by the size and kind of the data, no search."""

from __future__ import annotations

from typing import Any

import flaml.default
import pandas as pd
from numpy.typing import NDArray

from benchmarks.quality.peers.estimators import as_model
from benchmarks.quality.task import Model, Task


def fit(X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int) -> Model:
    """Fit the drop-in estimator of `flaml.default`."""
    kind = "Classifier" if task.is_classification else "Regressor"
    prefix, extra = ("LGBM", {"verbosity": -1}) if family == "lightgbm" else ("XGB", {"enable_categorical": True})
    model = getattr(flaml.default, prefix + kind)(n_jobs=task.cores, random_state=seed, **extra)
    return as_model(model.fit(X, y), task)
