"""Whether a model of several classes has come apart, and what is left of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.stats import entropy

from gbtune.data import Dataset
from gbtune.families import ModelFamily
from gbtune.metrics import Metric
from gbtune.records import FloatArray, TrialRecord

ALARM_ROWS, JUDGE_ROWS, PREFIXES = 100, 5000, 12
"""Of rows: to look at first, and where that alarms to judge by; rounds that are compared."""
FAR = 1.5
"""So many times the loss of the classes' frequencies: a model of a few rounds may be a little above it on some rows."""


def sound_rounds(family: ModelFamily, model: Any, data: Dataset, rounds: int) -> tuple[Any, int, bool]:
    """Return a model of several classes without the rounds in which it came apart, how many it keeps, if it is sound.

    It has come apart if it knows rows that it has learned from far less well than the frequencies of the classes do. In
    a leaf with next to no rows of a class nothing but a penalty bounds the value: with many uneven classes a LightGBM
    that did well on a fold may grow without bound on all rows (docs/performance.md, "Where the library's default takes
    most of the time").

    Parameters
    ----------
    family : ModelFamily
        Of the model.
    model : estimator
        Fitted on `data`. Others are returned as they are: a squared error cannot grow, and of two classes one may be
        overrated on purpose (``scale_pos_weight``).
    data : Dataset
        What it was fitted on.
    rounds : int
        That it has.
    """
    if data.n_classes <= 2:
        return model, rounds, True
    allowed = FAR * float(entropy(_class_frequencies(data)))
    if _loss(model, data, ALARM_ROWS) <= allowed:
        return model, rounds, True
    best, kept, lowest = model, rounds, _loss(model, data, JUDGE_ROWS)
    if lowest <= allowed:  # of a rare class a few rows say little
        return model, rounds, True
    for prefix in np.unique(np.geomspace(1, rounds, PREFIXES + 1).astype(int))[:-1].tolist():
        shorter = family.first_rounds(model, prefix)
        if shorter is not None and (found := _loss(shorter, data, JUDGE_ROWS)) < lowest:
            best, kept, lowest = shorter, prefix, found
    return best, kept, lowest <= allowed


def _loss(model: Any, data: Dataset, count: int) -> float:
    """Return a classifier's log loss on so many of the rows, evenly spread; zero where none of them counts."""
    rows = np.unique(np.linspace(0, data.n_rows - 1, count).astype(np.intp))
    X, y = data.X[rows] if sp.issparse(data.X) else data.X.iloc[rows], data.y[rows]
    weight = np.ones(len(rows)) if data.sample_weight is None else data.sample_weight[rows]
    if not weight.any():
        return 0.0
    probability = np.clip(np.nan_to_num(np.asarray(model.predict_proba(X), dtype=np.float64)), 1e-15, 1)
    return float(np.average(-np.log(probability[np.arange(len(y)), y]), weights=weight))


def _class_frequencies(data: Dataset) -> FloatArray:
    """Return the share of each class, weighted, of shape (n_classes,)."""
    counts = np.bincount(data.y, weights=data.sample_weight, minlength=data.n_classes)
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def has_come_apart(trial: TrialRecord, metric: Metric, data: Dataset) -> bool:
    """Return whether the folds of a complete trial on several classes show what `sound_rounds` is about.

    Examples
    --------
    >>> import numpy as np
    >>> from gbtune.data import Dataset
    >>> from gbtune.soundness import has_come_apart
    >>> from gbtune.metrics import metric_named
    >>> from gbtune.records import TrialRecord
    >>> data = Dataset.from_arrays(np.zeros((6, 1)), [0, 0, 1, 1, 2, 2], task="multiclass")  # a loss of log(3)
    >>> [has_come_apart(TrialRecord(0, "complete", {}, score=s), metric_named("log_loss"), data) for s in (1.2, 33.0)]
    [False, True]
    """
    if trial.score is None or data.n_classes <= 2 or metric.name != "log_loss":
        return False
    return trial.score > FAR * float(entropy(_class_frequencies(data)))
