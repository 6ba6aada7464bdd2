"""The libraries' scikit-learn classes as a user sets them up: native categories, all cores."""

from __future__ import annotations

from typing import Any

import lightgbm
import xgboost

from benchmarks.quality.task import Model, Task

HAND_WRITTEN: dict[str, dict[str, tuple[Any, ...]]] = {
    "lightgbm": {
        "n_estimators": (100, 1000),
        "learning_rate": (0.01, 0.3, "log"),
        "num_leaves": (2, 256),
        "min_child_samples": (5, 100),
        "subsample": (0.4, 1.0),
        "subsample_freq": (1, 7),
        "colsample_bytree": (0.4, 1.0),
        "reg_alpha": (1e-8, 10.0, "log"),
        "reg_lambda": (1e-8, 10.0, "log"),
    },
    "xgboost": {
        "n_estimators": (100, 1000),
        "learning_rate": (0.01, 0.3, "log"),
        "max_depth": (3, 9),
        "min_child_weight": (1, 10),
        "subsample": (0.2, 1.0),
        "colsample_bytree": (0.2, 1.0),
        "gamma": (1e-8, 1.0, "log"),
        "reg_alpha": (1e-8, 1.0, "log"),
        "reg_lambda": (1e-8, 1.0, "log"),
    },
}
"""What people search by hand: the ranges of Optuna's own examples (optuna-examples, lightgbm/lightgbm_simple.py and
xgboost/xgboost_simple.py; of the latter tree boosters only, every depth, and min_child_weight from its default on).
They have the 100 to 1000 trees and the learning rates of .01 to .3 of the usual tutorials in place of the examples'
100 or 10 trees and rates from 1e-8, which no budget here would forgive. Pairs of int are whole numbers.
"""


def estimator(family: str, task: Task, seed: int, *, n_jobs: int | None = None, **params: Any) -> Any:
    """Return an unfitted model; `n_jobs` None: all cores."""
    common = {"random_state": seed, "n_jobs": task.cores if n_jobs is None else n_jobs, **params}
    if family == "lightgbm":
        kind = lightgbm.LGBMClassifier if task.is_classification else lightgbm.LGBMRegressor
        return kind(verbosity=-1, **common)
    kind = xgboost.XGBClassifier if task.is_classification else xgboost.XGBRegressor
    return kind(enable_categorical=True, **common)


def as_model(fitted: Any, task: Task, **notes: Any) -> Model:
    """Return a fitted estimator as what the benchmark scores."""
    return Model(fitted.predict_proba if task.is_classification else fitted.predict, notes)
