"""The library itself, untuned."""

from __future__ import annotations

from typing import Any

import lightgbm
import pandas as pd
from numpy.typing import NDArray

from benchmarks.quality.peers.estimators import as_model, estimator
from benchmarks.quality.task import Model, Task

MOST_ROUNDS, PATIENCE = 10_000, 50


def default(X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int) -> Model:
    """100 rounds, whatever the budget."""
    return as_model(estimator(family, task, seed).fit(X, y), task)


def early_stopping(X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int) -> Model:
    """Default parameters, as many rounds as a fifth of the rows asks for; no refit, as in both libraries' guides."""
    train, valid = task.holdout(X, y, seed)
    extra: dict[str, Any] = {} if family == "lightgbm" else {"early_stopping_rounds": PATIENCE}
    model = estimator(family, task, seed, n_estimators=MOST_ROUNDS, **extra)
    watched = {"eval_set": [(X.iloc[valid], y[valid])]}
    if family == "lightgbm":
        model.fit(X.iloc[train], y[train], **watched, callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)])
        return as_model(model, task, rounds=model.best_iteration_)
    model.fit(X.iloc[train], y[train], **watched, verbose=False)
    return as_model(model, task, rounds=model.best_iteration + 1)
