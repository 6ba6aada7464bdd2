"""FLAML's AutoML, held to one family."""

from __future__ import annotations

from typing import Any

import pandas as pd
from flaml import AutoML
from numpy.typing import NDArray

from benchmarks.quality.peers.estimators import as_model
from benchmarks.quality.task import Model, Task

ESTIMATORS = {"lightgbm": ["lgbm"], "xgboost": ["xgboost", "xgb_limitdepth"]}


def cv(X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int) -> Model:
    """Cross-validate every configuration."""
    return _fit(X, y, task, family, seconds, seed, "cv")


def auto(X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int) -> Model:
    """Let FLAML choose between folds and a hold-out, as it does by default."""
    return _fit(X, y, task, family, seconds, seed, "auto")


def _fit(
    X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int, eval_method: str
) -> Model:
    automl = AutoML()
    settings: dict[str, Any] = {
        "task": "classification" if task.is_classification else "regression",
        "metric": "log_loss" if task.is_classification else "rmse",
        "time_budget": seconds,
        "estimator_list": ESTIMATORS[family],
        "eval_method": eval_method,
        "n_jobs": task.cores,
        "seed": seed,
        "verbose": 0,
    }
    if task.split == "time":
        settings["split_type"] = "time"
    elif task.split == "group":
        settings |= {"split_type": "group", "groups": task.groups}
    automl.fit(X_train=X, y_train=y, **settings)
    if automl.best_estimator is None or automl.model is None:
        raise RuntimeError("FLAML ended without a model: the time was too short for its first one.")
    return as_model(automl, task, best=automl.best_estimator, cv_score=automl.best_loss)
