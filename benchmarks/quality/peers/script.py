"""What people write by hand: a study with TPE, cross_val_score in the objective, a run in MLflow per trial, a refit."""

from __future__ import annotations

from typing import Any

import mlflow  # noqa: F401  (the callback imports it at its first use)
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna_integration.mlflow import MLflowCallback
from sklearn.model_selection import cross_val_score

from benchmarks.quality.peers.estimators import HAND_WRITTEN, as_model, estimator
from benchmarks.quality.task import Model, Task


def fit(X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int) -> Model:
    """Search until the time is over, then fit the best parameters on all rows."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folds = task.folds(X, y, seed)

    def objective(trial: optuna.Trial) -> float:
        params = {name: suggest(trial, name, limits) for name, limits in HAND_WRITTEN[family].items()}
        model = estimator(family, task, seed, **params)
        return float(cross_val_score(model, X, y, cv=folds, scoring=task.scoring).mean())

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    logged = MLflowCallback(tracking_uri=task.tracking_uri, metric_name=task.scoring)
    study.optimize(objective, timeout=seconds, callbacks=[logged])
    best = estimator(family, task, seed, **study.best_params).fit(X, y)
    return as_model(best, task, trials=len(study.trials), cv_score=study.best_value)


def suggest(trial: optuna.Trial, name: str, limits: tuple[Any, ...]) -> Any:
    """Draw one parameter of a hand-written space."""
    low, high, *log = limits
    if isinstance(low, int):
        return trial.suggest_int(name, low, high)
    return trial.suggest_float(name, low, high, log=bool(log))
