"""Studies on real data with real boosters: what they cost, in counts, and how good the model is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import gbtune
from benchmarks.counting import counted_work

TRIALS = 30
FIRST = 10
"""Of so many first trials it is counted how many the sampler chose, where the portfolio should."""
FAMILIES = ("xgboost", "lightgbm")
Data = tuple[pd.DataFrame, NDArray[Any]]


def cancer_means() -> Data:
    """569 rows, two classes, and of the 30 columns the ten means: a third of the time."""
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return X.iloc[:, :10], y.to_numpy()


def diabetes() -> Data:
    """442 rows, 10 columns, values."""
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return X, y.to_numpy()


LOADERS: Mapping[str, Callable[[], Data]] = {"cancer_means": cancer_means, "diabetes": diabetes}


def measure(data: str, family: str, trials: int = TRIALS) -> dict[str, float]:
    """Tune on three quarters of the rows, and say what it took and how good it is.

    Parameters
    ----------
    data : str
        A name in `LOADERS`.
    family : {"xgboost", "lightgbm"}
        The library.
    trials : int, default 30
        Of the study.

    Returns
    -------
    dict of str to float
        As `benchmarks.ci.judging.RULES` explains them.
    """
    from sklearn.metrics import log_loss, root_mean_squared_error
    from sklearn.model_selection import train_test_split

    X, y = LOADERS[data]()
    classes = y if y.dtype.kind == "i" else None
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=0, stratify=classes)
    started = time.perf_counter()
    with counted_work() as work:
        result = gbtune.tune(X_train, y_train, family=family, n_trials=trials, seed=0, tracking=False, progress=False)
    seconds = time.perf_counter() - started
    if classes is None:
        held_out = root_mean_squared_error(y_test, result.predict(X_test))
    else:
        probability = result.predict_proba(X_test)  # in float32, some: rows sum to one only roughly
        held_out = log_loss(y_test, probability / probability.sum(axis=1, keepdims=True))
    return {
        "binnings": work.binnings,
        "rounds": work.rounds,
        "rows_evaluated": work.rows_evaluated,
        "rows_predicted": work.rows_predicted,
        "rows_scored": work.rows_scored,
        "sampled": int((result.trials.sort_values("number")["kind"][:FIRST] == "sampled").sum()),
        "loss_at_end": result.best_score,
        "held_out_loss": float(held_out),
        "default_loss": float(result.baseline_score or np.nan),
        "pruned": int((result.trials["state"] == "pruned").sum()),
        "seconds": round(seconds, 2),
    }
