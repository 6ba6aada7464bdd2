"""What samplers and pruners see of a study that was interrupted, and what a record is read from."""

from __future__ import annotations

import optuna
import pandas as pd
import pytest

import gbtune
from gbtune.records import TRIAL_KEY, TrialRecord
from gbtune.slots import ALONE_KEY, SLOT_KEY, in_slot_order, record_of, should_prune


def trial_of(study: optuna.Study, slot: int, value: float | None = None) -> optuna.trial.FrozenTrial:
    """A trial that fills a slot: complete with a value, otherwise running."""
    trial = study.ask()
    trial.set_user_attr(SLOT_KEY, slot)
    if value is not None:
        study.tell(trial, value)
    return study.get_trials(deepcopy=False)[trial.number]


def went_on() -> optuna.Study:
    """A study whose trial 1 was cut off: trial 2 fills its slot, and slots are behind the numbers from there."""
    study = optuna.create_study()
    trial_of(study, 0, 0.0)
    cut = study.ask()
    cut.set_user_attr(SLOT_KEY, 1)
    study.tell(cut, state=optuna.trial.TrialState.PRUNED)
    for number in range(2, 6):
        trial_of(study, number - 1, float(number))
    return study


def test_a_study_that_went_on_is_seen_as_if_nothing_had_interrupted_it() -> None:
    study = went_on()
    seen, trial = in_slot_order(study, trial_of(study, 5))
    assert [t.number for t in seen.get_trials(deepcopy=False)] == [0, 1, 2, 3, 4, 5] and trial.number == 5
    # Slot 4 was told before its generation, 4 to 11, was.
    assert [t.value for t in seen.get_trials(deepcopy=False)] == [0.0, 2.0, 3.0, 4.0, None, None]
    assert [t.number for t in study.get_trials(deepcopy=False)] == [*range(7)], "the study itself is as it was"


def test_what_is_finished_is_seen_as_the_same_objects_after_every_fold() -> None:
    study = went_on()
    running = trial_of(study, 5)
    first, again = (in_slot_order(study, running)[0].get_trials(deepcopy=False) for _ in range(2))
    assert all(one is other for one, other in zip(first[:4], again[:4], strict=True))
    alone = study.ask()
    alone.set_user_attr(SLOT_KEY, 6)
    alone.set_user_attr(ALONE_KEY, True)
    seen = in_slot_order(study, study.get_trials(deepcopy=False)[alone.number])[0].get_trials(deepcopy=False)
    assert [t.value for t in seen] == [0.0, 2.0, 3.0, 4.0, 5.0, None, None], "alone, it waits for no generation"


def test_a_pruner_is_asked_about_the_slot() -> None:
    asked: list[tuple[int, list[int]]] = []

    class Asked(optuna.pruners.NopPruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            asked.append((trial.number, [t.number for t in study.get_trials(deepcopy=False)]))
            return True

    study = went_on()
    study.pruner = Asked()
    trial = study.ask()
    trial.set_user_attr(SLOT_KEY, 5)
    assert should_prune(trial) and asked == [(5, [0, 1, 2, 3, 4, 5])]


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc"])
def test_a_record_that_was_just_written_is_what_its_text_says(
    family_name: str, breast_cancer: tuple[pd.DataFrame, pd.Series], metric: str
) -> None:
    objective = gbtune.Objective(family_name, *breast_cancer, metric=metric, cv=3)
    study = optuna.create_study(direction=objective.direction, pruner=gbtune.pruners.RacingPruner())
    study.optimize(objective, n_trials=5)
    for trial in study.get_trials(deepcopy=False):
        record = record_of(trial)
        assert record == TrialRecord.from_json(trial.user_attrs[TRIAL_KEY]) and record is record_of(trial)
