"""gbtune itself: the short call, with a timeout, and everything else as it comes."""

from __future__ import annotations

from typing import Any

import lightgbm  # noqa: F401  (gbtune imports the libraries when they are first used: all peers' clocks start after that)
import optuna  # noqa: F401  (likewise)
import pandas as pd
import sklearn.model_selection
import xgboost  # noqa: F401  (likewise)
from numpy.typing import NDArray

import gbtune
from benchmarks.quality.task import N_FOLDS, Model, Task


def fit(X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int) -> Model:
    """Tune, with tracking on, as a user does; groups and times are said by its documented arguments."""
    known: dict[str, Any] = {}
    if task.split == "time":
        known["cv"] = sklearn.model_selection.TimeSeriesSplit(N_FOLDS)
    elif task.split == "group":
        known["groups"] = task.groups
    result = gbtune.tune(
        X,
        y,
        family=family,
        task=task.kind,
        timeout=seconds,
        seed=seed,
        tracking=task.tracking_uri or True,
        progress=False,
        **known,
    )
    notes = {"trials": len(result.trials), "cv_score": result.best_score, "warnings": list(result.warnings)}
    return Model(result.predict_proba if task.is_classification else result.predict, notes)
