"""Runs the studies, fits their best configurations in every way that a rule may ask for, and keeps the predictions."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import gbtune
from benchmarks.final_model.plan import Case
from benchmarks.final_model.recording import KINDS, SCALES, Predictions, Recording
from benchmarks.quality.sets import Divided, divide, missing
from benchmarks.quality.task import N_FOLDS
from gbtune import families
from gbtune.data import Dataset
from gbtune.facts import read_records
from gbtune.families.base import Prepared
from gbtune.records import Folds, TrialRecord
from gbtune.seeds import seed as derive_seed
from gbtune.spaces import SearchSpace

MOST_TEST_ROWS = 3000
_PREFIX = {
    "lightgbm": lambda rounds: {"num_iteration": rounds},
    "xgboost": lambda rounds: {"iteration_range": (0, rounds)},
}
"""Family to the argument of ``predict`` that takes the first rounds only."""


def run(cases: Sequence[Case], out: Path, folder: Path | None, minutes: float | None) -> int:
    """Record what is not there yet; return the exit code: 1 if there was nothing that could be recorded."""
    out.mkdir(parents=True, exist_ok=True)
    lacking = {name: missing(name, folder) for name in dict.fromkeys(case.set for case in cases)}
    for name, why in lacking.items():
        if why:
            print(f"SKIPPED {name}: needs {why}", file=sys.stderr, flush=True)
    able = [case for case in cases if not lacking[case.set]]
    started, read = time.monotonic(), functools.lru_cache(maxsize=1)(divide)  # both families come one after the other
    for case in able:
        if case.path(out).exists():
            continue
        if minutes is not None and time.monotonic() - started > 60 * minutes:
            print(f"The {minutes:g} minutes are over.")
            break
        made = record(case, drawn(read(case.set, folder, case.division), case))
        made.save(case.path(out))
        seconds = ", ".join(f"{name} {spent:.0f} s" for name, spent in made.about["seconds"].items())
        print(f"{case.name}: {len(made.trials)} of {case.n_trials} trials complete; {seconds}", flush=True)
    return 0 if able else 1


def drawn(data: Divided, case: Case) -> Divided:
    """Return as many training rows as the case wants, in their order, and at most `MOST_TEST_ROWS` held-out ones."""
    rows = _some(len(data.y), case.rows or len(data.y), case.division)
    if data.n_classes and len(np.unique(data.y[rows])) < data.n_classes:
        raise SystemExit(f"{case.name}: so few rows lack a class. Give the case more rows.")
    test = _some(len(data.y_test), MOST_TEST_ROWS, case.division)
    return dataclasses.replace(
        data,
        groups=None if data.groups is None else data.groups[rows],
        X=data.X.iloc[rows].reset_index(drop=True),
        y=data.y[rows],
        X_test=data.X_test.iloc[test].reset_index(drop=True),
        y_test=data.y_test[test],
    )


def _some(n_rows: int, count: int, seed: int) -> NDArray[np.intp]:
    if n_rows <= count:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, count, replace=False))


def record(case: Case, data: Divided) -> Recording:
    """Run one study on the training rows of `data`, and fit its models.

    Parameters
    ----------
    case : Case
        What is run and kept.
    data : Divided
        Its rows; the held-out ones are predicted, and nothing else.
    """
    known: dict[str, Any] = {"task": data.kind, "seed": case.division, "space": _space(case)}
    if data.split == "time":
        from sklearn.model_selection import TimeSeriesSplit

        known["cv"] = TimeSeriesSplit(N_FOLDS)
    elif data.split == "group":
        known["groups"] = data.groups
    started = time.process_time()
    limits: dict[str, Any] = {"n_trials": case.n_trials, "n_jobs": 1, "ensemble": 1}
    result = gbtune.tune(data.X, data.y, family=case.family, tracking=False, progress=False, **limits, **known)
    searched = time.process_time()
    about, trials = read_records(result.study)
    models = Models(gbtune.Objective(case.family, data.X, data.y, **known), data.X_test)
    assert models.folds.fingerprint == about.folds_fingerprint  # the same data and folds as in the study
    complete = [t for t in trials if t.state == "complete" and t.score is not None and t.duplicate_of is None]
    kept, seconds = _models(case, models, complete)
    return Recording(
        {
            "set": case.set,
            "family": case.family,
            "division": case.division,
            "kind": data.kind,
            "n_classes": data.n_classes,
            "rows": len(data.y),
            "columns": data.X.shape[1],
            "split": data.split,
            "fingerprint": data.fingerprint,
            "space": about.space,
            "lowest_rate": case.lowest_rate,
            "n_trials": case.n_trials,
            "checkpoints": list(case.checkpoints),
            "refits": case.depth.refits,
            "seconds": {"search": searched - started, **seconds},
            "versions": {name: importlib.metadata.version(name) for name in ("gbtune", case.family)},
        },
        tuple(
            {
                "number": trial.number,
                "loss": trial.score,
                "fold_losses": list(trial.fold_scores),
                "rounds": trial.rounds,
                "kind": trial.kind,
            }
            for trial in complete
        ),
        data.y_test,
        data.y,
        **kept,
    )


def _space(case: Case) -> SearchSpace:
    space = SearchSpace.load(families.get(case.family).default_space, family=case.family)
    rate: Any = space.distributions(rounds=False)["learning_rate"]
    if case.lowest_rate > rate.low:
        space = space.override(learning_rate=(case.lowest_rate, rate.high))
    return space


def _models(
    case: Case, models: Models, complete: Sequence[TrialRecord]
) -> tuple[dict[str, Predictions], dict[str, float]]:
    """Fit what the case keeps; return the predictions, and the seconds of one core that each kind took."""
    depth, seconds = case.depth, {}
    kept: dict[str, dict[int, NDArray[np.float64]]] = {name: {} for name in KINDS}
    by_number = {trial.number: trial for trial in complete}

    started = time.process_time()
    chosen = _chosen(case, complete, depth.refits, depth.further)
    slots = {number: position for position, number in enumerate(chosen)}  # each has a seed of its own
    for number in chosen:
        kept["refits"][number] = models.refit(by_number[number], slots[number])
    seconds["refits"] = time.process_time() - started

    started = time.process_time()
    for number in _chosen(case, complete, depth.folds):
        kept["folds"][number], kept["out_of_fold"][number] = models.fold_models(by_number[number])
    seconds["fold models"] = time.process_time() - started

    started = time.process_time()
    for number in _chosen(case, complete, depth.scaled):
        kept["scaled"][number] = models.scaled(by_number[number], slots[number])
    for number in _chosen(case, complete, min(depth.seeds, 1)):
        others = [models.refit(by_number[number], len(chosen) + position) for position in range(depth.seeds)]
        kept["seeds"][number] = np.stack(others)
    seconds["others"] = time.process_time() - started
    return kept, seconds


def _chosen(case: Case, complete: Sequence[TrialRecord], best: int, further: int = 0) -> list[int]:
    """Return the numbers of the best trials at each checkpoint and at the end, and of some evenly spread behind."""
    found: dict[int, None] = {}
    for n_trials in (*case.checkpoints, case.n_trials):
        ranking = sorted((t for t in complete if t.number < n_trials), key=lambda t: (t.score, t.number))
        found |= dict.fromkeys(trial.number for trial in ranking[:best])
    behind = [trial.number for trial in ranking[best:]]
    places = np.unique(np.linspace(0, len(behind) - 1, min(further, len(behind))).round().astype(int))
    return [*found, *(behind[place] for place in places if behind[place] not in found)]


class Models:
    """Fits configurations on the rows of a study, and predicts held-out rows on the response scale.

    Parameters
    ----------
    objective : Objective
        Of the study: data, folds, training loss, seed.
    X_test : DataFrame
        Held-out rows.
    """

    def __init__(self, objective: gbtune.Objective, X_test: pd.DataFrame) -> None:
        evaluator = objective.evaluator
        self.family, self.loss, self.study_seed = objective.family, evaluator.loss, objective.study_seed
        self.data, self.folds, self.prepared = objective.data, evaluator.folds, evaluator.prepared
        self.X_test = objective.data.encoder.encode(X_test)
        self._parts = [self._part(train) for train, _ in self.folds.splits]

    def refit(self, trial: TrialRecord, slot: int) -> NDArray[np.float64]:
        """Return what the configuration predicts, fitted on all rows. The slot gives the seed; 0 is `gbtune.tune`'s."""
        seed = derive_seed(self.study_seed, "booster", slot=slot)
        return self._predict(self._fit(self.data, self.prepared, trial, trial.rounds, seed), self.X_test)

    def scaled(self, trial: TrialRecord, slot: int) -> NDArray[np.float64]:
        """Return the predictions after `SCALES` times the common round, stacked: the first rounds of one long fit."""
        wanted = [max(1, round(scale * trial.rounds)) for scale in SCALES]
        seed = derive_seed(self.study_seed, "booster", slot=slot)
        model = self._fit(self.data, self.prepared, trial, max(wanted), seed)
        if _trees(model) == max(wanted):
            return np.stack([self._predict(model, self.X_test, **_PREFIX[self.family.name](r)) for r in wanted])
        # Rounds without a split have left no tree, so trees do not count rounds.
        fits = (self._fit(self.data, self.prepared, trial, rounds, seed) for rounds in wanted)
        return np.stack([self._predict(fit, self.X_test) for fit in fits])

    def fold_models(self, trial: TrialRecord) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the held-out predictions of the fold models, stacked, and their predictions of validation rows."""
        shape = (self.data.n_rows, self.data.n_classes) if self.data.n_classes > 2 else (self.data.n_rows,)
        held_out, out_of_fold = [], np.full(shape, np.nan)
        for fold, ((data, prepared), (_, valid)) in enumerate(zip(self._parts, self.folds.splits, strict=True)):
            seed = derive_seed(self.study_seed, "booster", fold=fold)
            model = self._fit(data, prepared, trial, trial.rounds, seed)
            held_out.append(self._predict(model, self.X_test))
            out_of_fold[valid] = self._predict(model, _rows(self.data.X, valid))
        return np.stack(held_out), out_of_fold

    def _part(self, rows: NDArray[np.intp]) -> tuple[Dataset, Prepared]:
        data = dataclasses.replace(self.data, X=_rows(self.data.X, rows), y=self.data.y[rows], groups=None)
        return data, self.family.prepare(data, Folds((), "none", data.n_rows), self.loss)

    def _fit(self, data: Dataset, prepared: Prepared, trial: TrialRecord, rounds: int, seed: int) -> Any:
        params = {name: value for name, value in trial.params.items() if name != "n_estimators"}
        return self.family.fit(data, params, rounds, seed, loss=self.loss, prepared=prepared)

    def _predict(self, model: Any, X: Any, **first_rounds: Any) -> NDArray[np.float64]:
        if not self.data.n_classes:
            return np.asarray(model.predict(X, **first_rounds), dtype=np.float64)
        proba = np.asarray(model.predict_proba(X, **first_rounds), dtype=np.float64)
        return proba[:, 1] if proba.shape[1] == 2 else proba / proba.sum(axis=1, keepdims=True)


def _rows(X: pd.DataFrame, rows: NDArray[np.intp]) -> pd.DataFrame:
    return X.iloc[rows].reset_index(drop=True)


def _trees(model: Any) -> int:
    """Return the boosting rounds that left trees."""
    if hasattr(model, "booster_"):
        return int(model.booster_.current_iteration())
    return int(model.get_booster().num_boosted_rounds())
