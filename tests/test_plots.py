from __future__ import annotations

import math

import numpy as np
import optuna
import pytest

from gbtune.errors import InvalidArgument
from gbtune.plots import (
    plot_folds,
    plot_history,
    plot_importance,
    plot_learning_curves,
    plot_parallel_coordinates,
)
from gbtune.records import STUDY_KEY, TRIAL_KEY, Direction, StudyRecord, TrialRecord

PLOTS = [plot_history, plot_importance, plot_parallel_coordinates, plot_learning_curves, plot_folds]
START = 1_700_000_000_000


def study_record(direction: Direction = "minimize", **changes: object) -> StudyRecord:
    fields = {
        "uid": "u1",
        "name": "churn",
        "family": "xgboost",
        "space": "xgboost/core",
        "space_version": "1",
        "space_definition": {},
        "metric": "log_loss" if direction == "minimize" else "roc_auc",
        "direction": direction,
        "task": "binary",
        "n_rows": 12_000,
        "n_columns": 24,
        "folds": "5 stratified folds",
        "n_folds": 5,
        "sampler": "tpe",
        "pruner": "race",
        "seed": 0,
        "n_trials": 60,
        "versions": {"xgboost": "3.2.0", "optuna": "5.0.0"},
        "plan": "space xgboost/core, 5 stratified folds, TPE, racing, 60 trials",
        "started_at": START,
    }
    return StudyRecord(**{**fields, **changes})  # type: ignore[arg-type]


def new_study(direction: Direction = "minimize", **changes: object) -> optuna.Study:
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))
    study.set_user_attr(STUDY_KEY, study_record(direction, **changes).to_json())
    return study


def study_by_hand(n_trials: int = 40, direction: Direction = "minimize") -> optuna.Study:
    """A study as a gbtune objective leaves it: the baseline, complete, pruned and failed trials."""
    study = new_study(direction)
    random = np.random.default_rng(0)
    fold_level = random.normal(0, 0.012, 5)
    natural = (lambda loss: loss) if direction == "minimize" else (lambda loss: 1 - loss)
    rounds = np.unique(np.geomspace(1, 1200, 120).astype(int))
    for number in range(n_trials):
        trial = study.ask()
        if number == 0:
            params = {"learning_rate": 0.3, "max_depth": 6, "subsample": 1.0, "reg_lambda": 1.0}
            sampled: tuple[str, ...] = ()
        else:
            params = {
                "learning_rate": trial.suggest_float("learning_rate", 0.005, 0.3, log=True),
                "max_depth": trial.suggest_int("max_depth", 2, 12),
                "subsample": trial.suggest_float("subsample", 0.4, 1.0),
                "reg_lambda": trial.suggest_float("reg_lambda", 1e-3, 100, log=True),
                "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
                "grow_policy": trial.suggest_categorical("grow_policy", ["depthwise", "lossguide"]),
            }
            if params["grow_policy"] == "lossguide":
                params["max_leaves"] = trial.suggest_int("max_leaves", 8, 256, log=True)
            sampled = tuple(trial.params)
        rate, depth = params["learning_rate"], params["max_depth"]
        floor = 0.33 + 0.004 * abs(depth - 6) + 0.02 * abs(math.log10(rate / 0.03)) + random.exponential(0.004)
        speed = rate * (0.3 + 0.1 * depth)
        curve = floor + (0.69 - floor) * np.exp(-speed * rounds) + 0.02 * rate * (rounds * speed / 40) ** 0.7
        grown = 100 if number == 0 else int(rounds[min(len(rounds) - 1, int(curve.argmin()) + 8)])
        kept = rounds <= grown
        at = int(curve[kept].argmin()) if number else int(kept.sum()) - 1
        folds = curve[at] + fold_level + random.normal(0, 0.0015, 5)
        common = {
            "params": params,
            "n_folds": 5,
            "kind": "baseline" if number == 0 else "portfolio" if number < 4 else "sampled",
            "sampled": sampled,
            "rounds": int(rounds[at]),
            "seconds": {"train": 1.2 + grown / 400, "score": 0.05},
            "started_at": START + 2500 * number,
            "ended_at": START + 2500 * (number + 1),
        }
        state = "complete" if number < 5 else ("complete", "pruned", "pruned", "complete", "pruned")[number % 5]
        if number == 9:
            record = TrialRecord(number, "failed", params, sampled=sampled, error="Traceback\nValueError: bad <bin>")
        elif state == "pruned":
            record = TrialRecord(
                number, "pruned", **{**common, "reason": "race", "fold_scores": tuple(natural(folds[:2])),
                "rounds_grown": (grown, grown), "partial_score": float(natural(folds[:2].mean()))}
            )  # fmt: skip
        else:
            record = TrialRecord(
                number, "complete", **{**common, "fold_scores": tuple(natural(folds)), "rounds_grown": (grown,) * 5,
                "score": float(natural(folds.mean())), "curve_rounds": tuple(rounds[kept].tolist()),
                "curve": tuple(natural(curve[kept] + folds.mean() - curve[at]).tolist())}
            )  # fmt: skip
        trial.set_user_attr(TRIAL_KEY, record.to_json())
        states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
        study.tell(trial, record.score, optuna.trial.TrialState[states[record.state]])
    return study
