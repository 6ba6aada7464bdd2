"""Trains the candidates: two folds to find the rounds, a refit that is scored on rows that nobody saw."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.final_model.plan import Case, Depth
from benchmarks.final_model.record import drawn
from benchmarks.first_trials.candidates import CAP, LOWEST_RATE, SETS, Outcome, candidates, read, write
from benchmarks.quality.sets import Divided, divide, missing
from gbtune import families
from gbtune.data import Dataset
from gbtune.evaluation import Evaluator
from gbtune.metrics import metric_named
from gbtune.resampling import make_folds
from gbtune.rounds import Rounds
from gbtune.study_metrics import resolve_metrics

DIVISION, N_FOLDS, SEED, WORKERS = 7, 2, 0, 2
"""A division of the rows that the quality benchmark has not. Folds in time are all used, for they differ."""


def run(chosen: Iterable[str], sets: Iterable[str], folder: Path | None, out: Path) -> int:
    """Record what is not in the file yet, set by set and candidate by candidate; return the exit code."""
    results, sets = read(out), list(sets)
    for family in chosen:
        for name in sets:
            known = results.setdefault(family, {}).setdefault(name, {})
            lacking = {each: params for each, params in candidates(family).items() if each not in known}
            if not lacking:
                continue
            if why := missing(name, folder):
                print(f"SKIPPED {name}: needs {why}", flush=True)
                continue
            started = time.monotonic()
            data = drawn(divide(name, folder, DIVISION), Case(name, family, DIVISION, 0, Depth(0), SETS[name]))
            known |= outcomes(family, data, lacking)
            write(results, out)
            print(f"{family} {name}: {time.monotonic() - started:.0f} s", flush=True)
    return 0


def outcomes(family: str, data: Divided, configurations: Mapping[str, Mapping[str, Any]]) -> dict[str, Outcome]:
    """Return how each configuration does on one set.

    Parameters
    ----------
    family : str
        ``"lightgbm"`` or ``"xgboost"``.
    data : Divided
        With its held-out quarter.
    configurations : mapping
        Name to parameters.
    """
    from sklearn.model_selection import TimeSeriesSplit

    library = families.get(family)
    dataset = Dataset.from_arrays(data.X, data.y, task=data.kind, groups=data.groups)
    in_time = data.split == "time"
    folds = make_folds(TimeSeriesSplit(5) if in_time else None, dataset, seed=SEED)
    metric = resolve_metrics("log_loss" if data.n_classes else "rmse", dataset.task, {})[0]
    evaluator = Evaluator(library, dataset, folds, [metric], Rounds(CAP))
    evaluator = evaluator.limited(len(folds) if in_time else N_FOLDS, Rounds(CAP))
    held_out = dataset.encoder.encode(data.X_test)

    def outcome(params: Mapping[str, Any]) -> Outcome:
        wanted = {**params, "learning_rate": max(LOWEST_RATE, params["learning_rate"])}
        began = time.thread_time()
        found = evaluator.evaluate(wanted, seed=SEED)
        seconds = time.thread_time() - began
        model = library.fit(dataset, wanted, found.rounds, SEED, loss=evaluator.loss, prepared=evaluator.prepared)
        loss = metric_named(metric.name).score(data.y_test, _predicted(model, held_out, data.n_classes), None)
        assert found.score is not None
        return Outcome(float(f"{found.score:.6g}"), found.rounds, float(f"{loss:.6g}"), round(seconds, 3))

    with ThreadPoolExecutor(WORKERS) as pool:
        return dict(zip(configurations, pool.map(outcome, configurations.values()), strict=True))


def _predicted(model: Any, X: Any, n_classes: int) -> NDArray[np.float64]:
    if not n_classes:
        return np.asarray(model.predict(X), dtype=np.float64)
    probabilities = np.asarray(model.predict_proba(X), dtype=np.float64)
    return probabilities / probabilities.sum(axis=1, keepdims=True)
