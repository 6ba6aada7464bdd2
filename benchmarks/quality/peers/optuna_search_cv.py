"""OptunaSearchCV of optuna-integration, on the hand-written ranges."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna_integration.sklearn import OptunaSearchCV

from benchmarks.quality.peers.estimators import HAND_WRITTEN, as_model, estimator
from benchmarks.quality.task import Model, Task


def fit(X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int) -> Model:
    """Search until the time is over; it refits by itself."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    search = OptunaSearchCV(
        estimator(family, task, seed),
        {name: distribution(limits) for name, limits in HAND_WRITTEN[family].items()},
        cv=task.folds(X, y, seed),
        scoring=task.scoring,
        n_trials=None,
        timeout=seconds,
        random_state=seed,
    )
    search.fit(X, y)
    return as_model(search.best_estimator_, task, trials=len(search.trials_), cv_score=search.best_score_)


def distribution(limits: tuple[Any, ...]) -> BaseDistribution:
    """Return one parameter of a hand-written space as Optuna's distribution."""
    low, high, *log = limits
    return IntDistribution(low, high) if isinstance(low, int) else FloatDistribution(low, high, log=bool(log))
