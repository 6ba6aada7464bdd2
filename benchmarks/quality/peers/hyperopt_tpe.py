"""hyperopt's TPE on the hand-written ranges."""

from __future__ import annotations

import math
from typing import Any

import hyperopt
import numpy as np
import pandas as pd
from hyperopt import hp
from hyperopt.pyll import scope
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_score

from benchmarks.quality.peers.estimators import HAND_WRITTEN, as_model, estimator
from benchmarks.quality.task import Model, Task


def fit(X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int) -> Model:
    """Search until the time is over, then fit the best parameters on all rows."""
    folds = task.folds(X, y, seed)

    def objective(params: dict[str, Any]) -> float:
        model = estimator(family, task, seed, **params)
        return -float(cross_val_score(model, X, y, cv=folds, scoring=task.scoring).mean())

    space = {name: expression(name, limits) for name, limits in HAND_WRITTEN[family].items()}
    trials = hyperopt.Trials()
    best = hyperopt.fmin(
        objective,
        space,
        algo=hyperopt.tpe.suggest,
        timeout=max(1, round(seconds)),  # it takes whole seconds only
        max_evals=None,
        trials=trials,
        rstate=np.random.default_rng(seed),
        show_progressbar=False,
        verbose=False,
    )
    params = hyperopt.space_eval(space, best)
    fitted = estimator(family, task, seed, **params).fit(X, y)
    return as_model(fitted, task, trials=len(trials), cv_score=min(trials.losses()))


def expression(name: str, limits: tuple[Any, ...]) -> Any:
    """Return one parameter of a hand-written space as hyperopt's expression."""
    low, high, *log = limits
    if isinstance(low, int):
        return scope.int(hp.quniform(name, low, high, 1))
    return hp.loguniform(name, math.log(low), math.log(high)) if log else hp.uniform(name, low, high)
