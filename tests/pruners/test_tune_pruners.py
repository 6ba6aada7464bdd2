"""Every pruner by its name, through the one line, on both families; and through interruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from stub import stub_objective
from test_resume import after, by_slot, go_on, never_stopped, opened
from test_tune import QUIET, study_of

import gbtune
from gbtune.facts import read_records
from gbtune.pruners import NAMES, describe, resolve_pruner
from gbtune.storage import journal
from gbtune.study import Clock

Frame = tuple[pd.DataFrame, pd.Series]


SLOW = {"learning_rate": (0.03, 0.6), "n_estimators": (10, 150)}
QUICK = {"learning_rate": (0.1, 0.6), "n_estimators": (10, 60)}


def arguments(family: str, name: str) -> dict[str, Any]:
    """Short trials, good and bad ones; where patience is asked for, some are past their best long before they end."""
    ranges: dict[str, Any] = SLOW if name == "patient" else QUICK
    space = gbtune.SearchSpace.load("core", family=family).override(**ranges)
    return {"family": family, "space": space, "pruner": name, "sampler": "random", "cv": 4, "n_trials": 20, **QUIET}


@pytest.fixture(scope="module")
def small(breast_cancer: Frame) -> Frame:
    return breast_cancer[0].iloc[:160, :6], breast_cancer[1].iloc[:160]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_prunes_and_changes_no_value(name: str, family_name: str, small: Frame) -> None:
    result = gbtune.tune(*small, n_jobs=2, **arguments(family_name, name))
    records = read_records(result.study)[1]
    reason = "race" if name == "race" else "pruner"
    pruned = [record for record in records if record.state == "pruned"]
    assert pruned and {record.reason for record in pruned} == {reason}
    assert records[0].kind == "baseline" and records[0].state == "complete"
    complete = [record for record in records if record.state == "complete" and record.kind != "baseline"]
    assert complete
    plain = gbtune.Objective(family_name, *small, space=arguments(family_name, name)["space"], cv=4).evaluator
    for record in complete[-4:]:
        assert plain.evaluate(record.params, seed=0).score == record.score
    assert result.record.pruner == describe(result.study.pruner)
    if family_name == "lightgbm":  # the quicker one; test_study.py has the boosters side by side
        alone = gbtune.tune(*small, n_jobs=1, **arguments(family_name, name))
        assert study_of(alone) == study_of(result)


@pytest.mark.parametrize("name", ["threshold", "hyperband"])
def test_a_metric_that_is_maximised_is_pruned_too(name: str, small: Frame) -> None:
    result = gbtune.tune(*small, metric="roc_auc", **arguments("lightgbm", name))
    pruned = [record for record in read_records(result.study)[1] if record.state == "pruned"]
    assert pruned and all(record.score is None for record in pruned)
    scores = [record.partial_score for record in pruned if record.partial_score is not None]
    assert sum(scores) / len(scores) < result.best_score


def by_name(name: str) -> optuna.pruners.BasePruner:
    return resolve_pruner(name, n_rows=442, n_folds=4, max_rounds=200)


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_study_ends_as_if_it_never_had_been(name: str, tmp_path: Path) -> None:
    for trainings in (9, 20, 31):
        clock = Clock(None)
        stop = stub_objective(after(trainings, clock.interrupt.set))
        go_on(opened(journal(tmp_path / "kept.journal"), by_name(name)), 20, clock=clock, objective=stop, n_jobs=2)
    study = opened(journal(tmp_path / "kept.journal"), by_name(name))
    go_on(study, 20)
    assert len(study.trials) > 20, "some were cut off and run again"
    assert by_slot(study) == never_stopped(20, by_name(name))


def test_optunas_own_hyperband_goes_on_after_an_interruption_too(tmp_path: Path) -> None:
    pruner = optuna.pruners.HyperbandPruner(min_resource=10, max_resource=200)
    for trainings in (9, 20):
        clock = Clock(None)
        stop = stub_objective(after(trainings, clock.interrupt.set))
        go_on(opened(journal(tmp_path / "kept.journal"), pruner), 24, clock=clock, objective=stop)
    study = opened(journal(tmp_path / "kept.journal"), pruner)
    go_on(study, 24)
    assert sorted(by_slot(study)) == list(range(24))


def test_the_name_of_a_study_changes_nothing(small: Frame, tmp_path: Path) -> None:
    kept = gbtune.tune(*small, study="kept", storage=tmp_path / "kept.journal", **arguments("lightgbm", "hyperband"))
    assert study_of(kept) == study_of(gbtune.tune(*small, **arguments("lightgbm", "hyperband")))


def test_a_hold_out_is_not_raced_and_the_record_says_so(small: Frame) -> None:
    held_out = gbtune.tune(*small, **{**arguments("lightgbm", "race"), "cv": 0.3, "n_trials": 1})
    assert held_out.record.pruner == "none"
