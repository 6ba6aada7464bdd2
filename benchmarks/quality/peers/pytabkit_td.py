"""pytabkit's tuned defaults (Holzmüller, Grinsztajn, Steinwart 2024, arXiv:2407.04491), by its own estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytabkit
from numpy.typing import NDArray

from benchmarks.quality.peers.estimators import as_model
from benchmarks.quality.task import Model, Task


def fit(X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int) -> Model:
    """Fit on four fifths, stop on the last fifth by log loss (its default is the share of errors).

    It refuses missing numbers: they become the median, with a column that says so.
    """
    kind = "Classifier" if task.is_classification else "Regressor"
    prefix = "LGBM" if family == "lightgbm" else "XGB"
    metric = {"val_metric_name": "cross_entropy"} if task.is_classification else {}
    model = getattr(pytabkit, f"{prefix}_TD_{kind}")(n_threads=task.cores, random_state=seed, **metric)
    numbers = X.select_dtypes("number")
    holed = [name for name in numbers if numbers[name].isna().any()]
    medians = numbers.median().fillna(0)

    def filled(rows: pd.DataFrame) -> pd.DataFrame:
        gaps = rows[holed].isna().astype(np.int8).add_prefix("missing_")
        return pd.concat([rows.fillna(medians), gaps], axis="columns")

    model.fit(filled(X), y, val_idxs=task.holdout(X, y, seed)[1])
    fitted = as_model(model, task)
    return Model(lambda rows: fitted.predict(filled(rows)))
