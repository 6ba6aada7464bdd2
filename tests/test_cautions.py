"""What a careful reader is told of a study, on records by hand and on real data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from sklearn.datasets import load_iris
from test_plots import study_record

import gbtune
from gbtune.cautions import find_warnings
from gbtune.diagnostics import Diagnostics
from gbtune.ensemble import FinalModel
from gbtune.records import Direction, TrialRecord
from gbtune.summary import SummaryFacts


def facts(
    folds: Sequence[float] = (0.30, 0.31, 0.29, 0.30, 0.32),
    baseline: Sequence[float] | None = None,
    direction: Direction = "minimize",
    metric: str = "log_loss",
    known: Diagnostics | None = None,
) -> SummaryFacts:
    best = TrialRecord(7, "complete", {}, score=sum(folds) / len(folds) if folds else 0.3, fold_scores=tuple(folds))
    default = None
    if baseline is not None:
        score = sum(baseline) / len(baseline)
        default = TrialRecord(0, "complete", {}, kind="baseline", score=score, fold_scores=tuple(baseline))
    about = study_record(direction, metric=metric)
    return SummaryFacts(about, best, {}, default, {"complete": 2}, 1.0, diagnostics=known)


def warned(given: SummaryFacts) -> str:
    return " ".join(find_warnings(given, [], {}))


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        ((0.30, 0.31, 0.29, 0.30, 0.60), "fold 5 scores 0.60000, the others 0.29000 to 0.31000"),
        ((0.30, 0.01, 0.29, 0.30, 0.31), "fold 2 scores 0.010000, the others 0.29000 to 0.31000"),
        ((0.10, 0.20, 0.30, 0.40, 0.50), None),
        ((0.30, 0.31, 0.29, 0.30, 0.33), None),
        ((0.015, 0.205, 0.039, 0.020, 0.025), None),  # wine: one row of 36 is very wrong
        ((0.30, 0.31, 0.90), None),
        ((), None),
        ((0.30, 0.30, 0.30, 0.30, 0.30), None),
        ((0.3,), None),
    ],
)
def test_one_fold_far_from_the_others_is_pointed_out(folds, words):
    found = warned(facts(folds))
    assert (words in found) if words else not found


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_gain_that_many_folds_do_not_share_is_pointed_out(direction: Direction):
    sign = 1 if direction == "minimize" else -1
    default = [0.50, 0.52, 0.51, 0.49, 0.50, 0.51]
    gains = [0.05, 0.06, 0.05, 0.05, -0.001, -0.001]
    ours = [score - sign * gain for score, gain in zip(default, gains, strict=True)]
    assert "worse on 2 of 6 folds" in warned(facts(ours, default, direction))
    shared = [score - sign * 0.05 - 0.001 * i for i, score in enumerate(default)]
    assert not warned(facts(shared, default, direction))


@pytest.mark.parametrize(
    ("metric", "direction", "score", "suspicious"),
    [
        ("log_loss", "minimize", 0.004, True),
        ("log_loss", "minimize", 0.05, False),
        ("accuracy", "maximize", 1.0, True),
        ("accuracy", "maximize", 0.99, False),
        ("roc_auc", "maximize", 0.99995, True),
        ("roc_auc", "maximize", 0.9995, False),
        ("r2", "maximize", 0.995, True),
        ("r2", "maximize", 0.95, False),
        ("rmse", "minimize", 0.0001, False),
        ("profit", "maximize", 1.0, False),
    ],
)
def test_a_nearly_perfect_score_is_suspicious(metric, direction, score, suspicious):
    found = warned(facts((score,), metric=metric, direction=direction))
    assert ("suspiciously good" in found) is suspicious


def test_values_that_are_nearly_all_explained_are_suspicious_in_any_unit():
    known = Diagnostics(7, "regression", explained=0.9951)
    found = warned(facts(metric="rmse", known=known))
    assert "99.5 % of the target explained" in found and "a column, or copies of rows" in found
    assert not warned(facts(metric="rmse", known=dataclasses.replace(known, explained=0.96)))
    assert not warned(facts(metric="rmse", known=dataclasses.replace(known, trial=3))), "of another trial"


def test_what_the_plan_ended_needs_more_time_and_the_space_more_rounds():
    def ended(cap: int, *further: int) -> SummaryFacts:
        given, rounds = facts(), {"kind": "rounds", "high": cap}
        study = dataclasses.replace(given.study, space_definition={"parameters": {"n_estimators": rounds}})
        best = dataclasses.replace(given.best, rounds=30, rounds_grown=(30,))
        return dataclasses.replace(given, study=study, best=best, final_model=FinalModel((7,), rounds=further))

    by_space, by_plan = ended(30), ended(3000, 80)
    assert "at the last of 30 rounds: a higher cap of n_estimators may do better" in warned(by_space)
    assert "at the last of 30 rounds (the model was grown on to 80): more time may do better" in warned(by_plan)


@pytest.mark.parametrize(("floor", "said"), [(None, True), (0.2, False)])
def test_the_edge_that_the_plan_has_drawn_is_not_the_spaces(floor, said):
    given = facts()
    best = dataclasses.replace(given.best, params={"learning_rate": 0.2, "max_depth": 12}, sampled=("learning_rate",))
    planned = dataclasses.replace(given, best=best, study=dataclasses.replace(given.study, lowest_learning_rate=floor))
    range_ = optuna.distributions.FloatDistribution(0.2, 0.6, log=True)
    assert bool(find_warnings(planned, [], {"learning_rate": range_})) is said


@pytest.mark.parametrize(
    ("metric", "explained", "said"),
    [("log_loss", -0.02, True), ("log_loss", 0.0, True), ("log_loss", 0.02, False), ("roc_auc", -0.5, False)],
)
def test_a_model_that_has_learned_nothing_is_pointed_out(metric, explained, said):
    known = Diagnostics(7, "binary", explained=explained)
    found = warned(facts(metric=metric, known=known))
    assert ("no better than the frequencies of the classes would" in found) is said


def test_of_noise_nothing_is_learned():
    noise = np.random.default_rng(0).normal(size=(60, 3))
    result = gbtune.tune_xgb(noise, noise[::-1, 0] ** 3, n_trials=2, cv=3, tracking=False, progress=False)
    assert any("no better than the mean of the target would" in warning for warning in result.facts.warnings)


def test_a_column_that_tells_the_answer_is_named_beside_the_default():
    known = Diagnostics(7, "binary", explained=0.97, telling=("paid_back",))
    found = warned(facts(baseline=(0.02, 0.02, 0.02, 0.02, 0.03), known=known))
    assert "Column paid_back alone predicts nearly all of it" in found
    assert "(the library's default: 0.022000)" in found


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_a_copy_of_the_target_is_found_and_named(family, breast_cancer):
    X, y = breast_cancer
    result = gbtune.tune(
        X.assign(paid_back=y + 0.5), y, family=family, n_trials=2, cv=3, tracking=False, progress=False
    )
    assert any("paid_back alone predicts" in warning for warning in result.facts.warnings)


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "iris", "diabetes"])
def test_honest_data_raise_no_alarm(name, request):
    X, y = load_iris(return_X_y=True, as_frame=True) if name == "iris" else request.getfixturevalue(name)
    result = gbtune.tune_lgbm(X, y, n_trials=3, tracking=False, progress=False)
    words = " ".join(result.facts.warnings)
    assert "suspiciously" not in words and "Folds disagree" not in words
