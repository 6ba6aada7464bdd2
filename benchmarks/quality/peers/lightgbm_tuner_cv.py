"""LightGBMTunerCV of optuna-integration, as in Optuna's example (lightgbm/lightgbm_tuner_cv.py)."""

from __future__ import annotations

import warnings
from typing import Any

import lightgbm
import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna_integration.lightgbm import LightGBMTunerCV

from benchmarks.quality.task import Model, Task

PATIENCE = 100


def fit(X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int) -> Model:
    """Tune step by step, then train on all rows for as many rounds as the best folds took."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    names = {
        "binary": ("binary", "binary_logloss"),
        "multiclass": ("multiclass", "multi_logloss"),
        "regression": ("regression", "rmse"),
    }
    objective, metric = names[task.kind]
    params = {"objective": objective, "metric": metric, "verbosity": -1, "num_threads": task.cores, "seed": seed}
    if task.kind == "multiclass":
        params["num_class"] = task.n_classes
    tuner = LightGBMTunerCV(
        params,
        lightgbm.Dataset(X, label=y),
        folds=task.folds(X, y, seed),
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        time_budget=max(1, round(seconds)),
        optuna_seed=seed,
        show_progress_bar=False,
        return_cvbooster=True,
    )
    tuner.run()
    rounds = tuner.get_best_booster().best_iteration
    booster = lightgbm.train(tuner.best_params, lightgbm.Dataset(X, label=y), num_boost_round=rounds)

    def predict(rows: pd.DataFrame) -> NDArray[Any]:
        values = np.asarray(booster.predict(rows))
        return np.stack([1 - values, values], axis=1) if task.kind == "binary" else values

    return Model(predict, {"trials": len(tuner.study.trials), "rounds": rounds, "cv_score": tuner.best_score})
