"""The objective in a stranger's own Optuna study."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
import pandas as pd
import pytest
from stub import SPACE, stub_objective

import gbtune
from gbtune.errors import InvalidArgument, UnknownName
from gbtune.facts import read_records
from gbtune.records import STUDY_KEY, TRIAL_KEY, TrialRecord


def test_an_ordinary_study_optimises_it(family_name: str, breast_cancer: tuple[pd.DataFrame, pd.Series]) -> None:
    objective = gbtune.Objective(family_name, *breast_cancer, space="core", cv=3)
    study = optuna.create_study(
        direction=objective.direction,
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=gbtune.pruners.RacingPruner(),
    )
    study.optimize(objective, n_trials=8)
    record, trials = read_records(study)
    assert record.family == family_name and record.metric == "log_loss" and record.n_folds == 3
    assert [trial.number for trial in trials] == list(range(8))
    assert "n_estimators" not in study.best_params and trials[study.best_trial.number].rounds > 0
    assert study.best_value == trials[study.best_trial.number].score


@pytest.mark.parametrize(
    "pruner",
    [
        gbtune.pruners.RacingPruner(),
        optuna.pruners.MedianPruner(),
        optuna.pruners.NopPruner(),
        optuna.pruners.SuccessiveHalvingPruner(min_resource=10),
        optuna.pruners.HyperbandPruner(min_resource=10, max_resource=100),
    ],
    ids=lambda pruner: type(pruner).__name__,
)
def test_every_pruner_gets_each_step_once_and_values_are_those_of_an_unpruned_evaluation(pruner: Any) -> None:
    objective = stub_objective()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner, study_name="fixed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns of a step that is reported twice
        study.optimize(objective, n_trials=30)
    states = {trial.state.name for trial in study.trials}
    assert states == ({"COMPLETE"} if isinstance(pruner, optuna.pruners.NopPruner) else {"COMPLETE", "PRUNED"})
    for record in read_records(study)[1]:
        if record.state == "complete":
            assert objective.evaluator.evaluate(record.params, seed=0).score == record.score


def test_the_pruner_is_asked_after_every_fold_but_the_last() -> None:
    asked: list[int | None] = []

    class Listening(gbtune.pruners.RacingPruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            asked.append(trial.last_step)
            return super().prune(study, trial)

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=Listening())
    objective = stub_objective()
    study.optimize(objective, n_trials=2)
    n_folds = len(objective.evaluator.folds)
    assert asked == [*range(1, n_folds)] * 2
    assert [list(trial.intermediate_values) for trial in study.trials] == [[*range(1, n_folds + 1)]] * 2


def test_pruned_trials_carry_a_partial_score_only() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=gbtune.pruners.RacingPruner())
    study.optimize(stub_objective(), n_trials=30)
    pruned = [record for record in read_records(study)[1] if record.state == "pruned"]
    assert pruned
    for record in pruned:
        assert record.score is None and record.partial_score is not None
        assert record.reason == "race" and 0 < len(record.fold_scores) < record.n_folds


def test_rounds_as_many_as_folds_are_not_taken_for_the_last_fold() -> None:
    objective = stub_objective(cv=10, schedule="rounds")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=optuna.pruners.MedianPruner(2))
    study.optimize(objective, n_trials=30)
    steps = [trial.last_step for trial in study.trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert 10 in steps, "pruned after ten rounds of all ten folds"


def test_the_schedule_can_be_chosen() -> None:
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner())
    study.optimize(stub_objective(schedule="rounds"), n_trials=1)
    assert min(study.trials[0].intermediate_values) == 10
    with pytest.raises(InvalidArgument, match="schedule"):
        stub_objective(schedule="both")


def test_a_study_of_the_wrong_direction_is_refused_before_training() -> None:
    study = optuna.create_study(direction="maximize")
    with pytest.raises(InvalidArgument, match=r"direction must be 'minimize'"):
        study.optimize(stub_objective(), n_trials=1)


def test_a_failing_booster_leaves_its_traceback_in_the_record() -> None:
    def fail(params: Any, fold: int) -> None:
        raise RuntimeError("the booster says no")

    study = optuna.create_study()
    study.optimize(stub_objective(fail), n_trials=2, catch=(Exception,))
    for record in read_records(study)[1]:
        assert record.state == "failed" and "the booster says no" in (record.error or "")


def test_trials_in_optunas_own_threads_work() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=gbtune.pruners.RacingPruner())
    study.optimize(stub_objective(), n_trials=12, n_jobs=3)
    assert len(read_records(study)[1]) == 12


def test_an_ordinary_kind_of_rounds_is_an_ordinary_parameter() -> None:
    space = gbtune.SearchSpace.load(SPACE).override(n_estimators={"kind": "int", "low": 5, "high": 50, "default": 20})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(stub_objective(space=space), n_trials=4)
    for trial, record in zip(study.trials, read_records(study)[1], strict=True):
        assert record.rounds == trial.params["n_estimators"] and set(record.rounds_grown) == {record.rounds}
        assert record.all_params["n_estimators"] == record.rounds


def test_a_fixed_number_of_rounds_is_kept() -> None:
    space = gbtune.SearchSpace.load(SPACE).fix(n_estimators=33)
    study = optuna.create_study()
    study.optimize(stub_objective(space=space), n_trials=2)
    assert {record.rounds for record in read_records(study)[1]} == {33}


def test_without_rounds_the_librarys_default_is_grown() -> None:
    study = optuna.create_study()
    study.optimize(stub_objective(space=gbtune.SearchSpace.load(SPACE).without("n_estimators")), n_trials=1)
    assert read_records(study)[1][0].rounds == 100


def test_a_grid_over_rounds_costs_one_training_per_cell_of_the_others() -> None:
    space = gbtune.SearchSpace.load(SPACE).override(
        n_estimators={"kind": "rounds", "low": 10, "high": 200, "default": 50, "grid": [10, 50, 200]}
    )
    objective = stub_objective(space=space)
    objective.choose_rounds_from_grid()
    assert len(space.grid()) == 6
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=3)
    for record in read_records(study)[1]:
        assert record.rounds in (10, 50, 200) and set(record.rounds_grown) == {200}


def test_the_study_record_is_written_once() -> None:
    study = optuna.create_study()
    objective = stub_objective()
    study.optimize(objective, n_trials=1)
    first = study.user_attrs[STUDY_KEY]
    study.optimize(objective, n_trials=1)
    assert study.user_attrs[STUDY_KEY] == first


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0"])
def test_a_bad_seed_is_refused(seed: Any) -> None:
    with pytest.raises(InvalidArgument, match="seed must be"):
        stub_objective(seed=seed)


def test_an_unknown_family_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'xgboost'"):
        gbtune.Objective("xgbost", [[1.0], [2.0]], [0, 1])


def test_a_space_for_other_tasks_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="multiclass"):
        stub_objective(space={**SPACE, "tasks": ["multiclass"]})


def test_an_objective_serves_several_studies_at_a_time() -> None:
    objective = stub_objective()
    for _ in range(2):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(objective, n_trials=3)
        assert [TrialRecord.from_json(t.user_attrs[TRIAL_KEY]).duplicate_of for t in study.trials] == [None] * 3


def test_a_study_of_ones_own_refuses_other_data() -> None:
    study = optuna.create_study()
    study.optimize(stub_objective(), n_trials=2)
    with pytest.raises(gbtune.GbtuneError, match=r"folds 4 folds.* then, 3 folds"):
        study.optimize(stub_objective(cv=3), n_trials=1)
