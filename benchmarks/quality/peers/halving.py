"""HalvingRandomSearchCV of scikit-learn on the hand-written ranges.

It knows no time limit. So a few candidates are timed on a tenth of the rows, as a careful user would, and as many are
raced as the time should allow.
"""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

import joblib
import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import NDArray
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  (the next import needs it)
from sklearn.model_selection import HalvingRandomSearchCV, ParameterSampler

from benchmarks.quality.peers.estimators import HAND_WRITTEN, as_model, estimator
from benchmarks.quality.task import N_FOLDS, Model, Task

FACTOR = 3
PROBES, PROBED_SHARE, PROBED_ROWS, FEW_ROWS = 3, 10, 1000, 100
"""Candidates are timed on a tenth of the rows, at least so many, and on few ones: small fits are not free."""
SHARE = 0.9
"""Of the time that is left after the probes; the refit is in it."""
CANDIDATES = (3, 6, 9, 18, 27, 54, 81, 162, 243, 486, 729)


def fit(X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, seconds: float, seed: int) -> Model:
    """Race as many candidates as fit; it refits by itself."""
    started = time.monotonic()
    space = {name: distribution(limits) for name, limits in HAND_WRITTEN[family].items()}
    fixed, per_row = cost_of_fit(X, y, task, family, space, seed)
    left = SHARE * (seconds - (time.monotonic() - started))
    refit = fixed + per_row * len(y)
    n_candidates = CANDIDATES[0]
    for n in CANDIDATES:
        if (work(n, len(y), task, fixed, per_row) + refit) / task.cores <= left:
            n_candidates = n
    search = HalvingRandomSearchCV(
        estimator(family, task, seed, n_jobs=1),
        space,
        n_candidates=n_candidates,
        factor=FACTOR,
        min_resources="exhaust",
        cv=task.folds(X, y, seed),
        scoring=task.scoring,
        random_state=seed,
        n_jobs=task.cores,
    )
    with warnings.catch_warnings(), joblib.parallel_config("threading"):  # processes take seconds to start
        warnings.simplefilter("ignore")  # the first rungs are so small that classes are missing in some folds
        search.fit(X, y)
    return as_model(search.best_estimator_, task, trials=n_candidates, cv_score=float(search.best_score_))


def cost_of_fit(
    X: pd.DataFrame, y: NDArray[Any], task: Task, family: str, space: dict[str, Any], seed: int
) -> tuple[float, float]:
    """Return the seconds of a candidate's fit with one thread, and those that each row adds."""
    rows = np.arange(len(y)) if task.split == "time" else np.random.default_rng(seed).permutation(len(y))
    sizes = [min(len(y), FEW_ROWS), min(len(y), max(PROBED_ROWS, len(y) // PROBED_SHARE))]
    means = []
    for size in sizes:
        kept, taken = rows[:size], []
        labels = np.unique(y[kept], return_inverse=True)[1] if task.is_classification else y[kept]
        for params in ParameterSampler(space, PROBES, random_state=seed):
            started = time.monotonic()
            estimator(family, task, seed, n_jobs=1, **params).fit(X.iloc[kept], labels)
            taken.append(time.monotonic() - started)
        means.append(float(np.mean(taken)))
    per_row = max(0.0, (means[1] - means[0]) / max(1, sizes[1] - sizes[0]))
    return max(0.0, means[0] - per_row * sizes[0]), per_row


def work(n_candidates: int, n_rows: int, task: Task, fixed: float, per_row: float) -> float:
    """Return the seconds of a race with one thread.

    A rung has a third of the candidates, on three times the rows; the last one has all rows, and there are at most as
    many rungs as scikit-learn's smallest number of rows allows.
    """
    smallest = N_FOLDS * 2 * max(1, task.n_classes)
    wanted, possible = (1 + math.floor(math.log(n, FACTOR) + 1e-9) for n in (n_candidates, n_rows / smallest))
    rungs = max(1, min(wanted, possible))
    seconds = 0.0
    for rung in range(rungs):
        rows = n_rows / FACTOR ** (rungs - 1 - rung)
        seconds += math.ceil(n_candidates / FACTOR**rung) * N_FOLDS * (fixed + per_row * rows)
    return seconds


def distribution(limits: tuple[Any, ...]) -> Any:
    """Return one parameter of a hand-written space as scipy's distribution."""
    low, high, *log = limits
    if isinstance(low, int):
        return scipy.stats.randint(low, high + 1)
    return scipy.stats.loguniform(low, high) if log else scipy.stats.uniform(low, high - low)
