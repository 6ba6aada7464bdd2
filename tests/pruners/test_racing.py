"""The race: who is stopped, who is not, and what it says when it cannot know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from gbtune.errors import GbtuneWarning, InvalidArgument
from gbtune.pruners import BaselinePruner, RacingPruner, report_fold
from gbtune.pruners.folds import complete_trials
from gbtune.records import TRIAL_KEY, TrialRecord
from gbtune.views import StudyView

FINISHED = np.array([[0.30, 0.32, 0.28, 0.31, 0.29], [0.32, 0.33, 0.31, 0.33, 0.30], [0.33, 0.36, 0.30, 0.34, 0.33]])


def test_a_trial_far_behind_is_stopped_after_the_first_fold() -> None:
    assert RacingPruner().behind(FINISHED, np.array([0.40]))


def test_a_trial_as_good_as_the_best_goes_on() -> None:
    assert not RacingPruner().behind(FINISHED, FINISHED[0, :1])


def test_the_margin_shrinks_with_the_folds() -> None:
    pruner = RacingPruner(z=1.5)
    spread = [np.std(other - FINISHED[0], ddof=1) for other in FINISHED[1:]]
    s = np.sqrt(np.mean(np.square(spread)))
    for k in range(1, 5):
        margin = 1.5 * s * np.sqrt(1 / k - 1 / 5)
        assert pruner.behind(FINISHED, FINISHED[0, :k] + margin * 1.001)
        assert not pruner.behind(FINISHED, FINISHED[0, :k] + margin * 0.999)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.floats(0, 3), st.floats(0, 3))
def test_a_wider_margin_never_stops_what_a_narrower_one_keeps(scores: list[float], z: float, wider: float) -> None:
    current = np.array(scores)
    if RacingPruner(z=z + wider).behind(FINISHED, current):
        assert RacingPruner(z=z).behind(FINISHED, current)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.floats(0, 3))
def test_an_improvement_never_turns_going_on_into_stopping(scores: list[float], z: float) -> None:
    current, pruner = np.array(scores), RacingPruner(z=z)
    if not pruner.behind(FINISHED, current):
        assert not pruner.behind(FINISHED, current - 0.05)


@pytest.mark.parametrize("n_folds", [1, 2])
def test_nothing_is_stopped_with_fewer_than_three_folds(n_folds: int) -> None:
    assert not RacingPruner().behind(FINISHED[:, :n_folds], np.array([9.0]))


def test_nothing_is_stopped_when_finished_trials_do_not_differ() -> None:
    assert not RacingPruner().behind(np.ones((4, 5)), np.array([9.0]))


def test_a_score_that_is_no_number_stops_nothing_and_hides_nobody() -> None:
    assert not RacingPruner().behind(FINISHED, np.array([np.nan]))
    broken = np.vstack([FINISHED, np.full(5, np.nan), np.full(5, np.inf)])
    assert RacingPruner().behind(broken, np.array([0.40]))
    assert not RacingPruner().behind(broken[3:], np.array([0.40]))


def _study(direction: str, scores: np.ndarray, pruner: optuna.pruners.BasePruner | None = None) -> optuna.Study:
    study = optuna.create_study(direction=direction, pruner=pruner or RacingPruner())
    for number, row in enumerate(scores):
        trial = study.ask()
        record = TrialRecord(number, "complete", {}, fold_scores=tuple(row), n_folds=len(row))
        trial.set_user_attr(TRIAL_KEY, record.to_json())
        study.tell(trial, row.mean())
    return study


def _should_stop(study: optuna.Study, scores: list[float]) -> bool:
    trial = study.ask()
    record = TrialRecord(trial.number, "running", {}, fold_scores=tuple(scores), n_folds=5)
    trial.set_user_attr(TRIAL_KEY, record.to_json())
    return trial.should_prune()


def test_it_reads_the_fold_scores_from_the_records() -> None:
    study = _study("minimize", FINISHED)
    assert _should_stop(study, [0.40]) and not _should_stop(study, [0.29])


def test_a_score_that_is_maximised_is_raced_the_other_way_round() -> None:
    study = _study("maximize", -FINISHED)
    assert _should_stop(study, [-0.40]) and not _should_stop(study, [-0.29])


def test_it_waits_for_the_startup_trials() -> None:
    assert not _should_stop(_study("minimize", FINISHED[:2]), [9.0])


@pytest.mark.parametrize("z", [-1.0, float("nan"), float("inf")])
def test_a_bad_margin_is_refused(z: float) -> None:
    with pytest.raises(InvalidArgument, match="z must be"):
        RacingPruner(z=z)


def test_a_bad_startup_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="n_startup_trials"):
        RacingPruner(n_startup_trials=1)


# -- what it says when it cannot know ---------------------------------------------------------------------------


def test_a_trial_that_tells_no_folds_goes_on_with_a_warning_that_has_the_missing_line() -> None:
    study = _study("minimize", FINISHED)
    trial = study.ask()
    with pytest.warns(GbtuneWarning, match=r"report_fold\(trial, scores, n_folds=\.\.\.\)") as caught:
        assert not trial.should_prune()
    assert caught[0].filename == __file__, "it names the line that asked"
    trial.report(1.0, 0)
    with pytest.warns(GbtuneWarning, match="has told no fold's score"):
        assert not trial.should_prune()


def test_complete_trials_that_never_told_their_last_fold_are_complained_about() -> None:
    study = optuna.create_study(pruner=RacingPruner())
    for row in FINISHED:
        trial = study.ask()
        report_fold(trial, row[:4], n_folds=5)
        study.tell(trial, row.mean())
    trial = study.ask()
    report_fold(trial, [0.4], n_folds=5)
    with pytest.warns(GbtuneWarning, match=r"there are 0 among 3.*the last one included"):
        assert not trial.should_prune()


def test_another_number_of_folds_is_complained_about() -> None:
    study = _study("minimize", FINISHED)
    trial = study.ask()
    report_fold(trial, [0.4], n_folds=10)
    with pytest.warns(GbtuneWarning, match="the same n_folds in every trial"):
        assert not trial.should_prune()


def test_steps_that_are_rounds_are_complained_about() -> None:
    study = _study("minimize", FINISHED)
    trial = study.ask()
    record = TrialRecord(trial.number, "running", {}, fold_scores=(0.4,) * 5, n_folds=5)
    trial.set_user_attr(TRIAL_KEY, record.to_json())
    trial.report(0.4, 10)
    with pytest.warns(GbtuneWarning, match="boosting rounds"):
        assert not trial.should_prune()


# -- the baseline as a threshold --------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_worse_than_the_baseline_on_the_same_folds_is_stopped(sign: int) -> None:
    study = _study("minimize" if sign > 0 else "maximize", sign * FINISHED, BaselinePruner())
    assert _should_stop(study, [sign * 0.31]) and not _should_stop(study, [sign * 0.29])
    assert not _should_stop(study, [sign * 0.29, sign * 0.325]), "0.31 on average, as the first trial"
    assert not _should_stop(study, [sign * 0.40] * 5), "all folds are trained: nothing is left to save"


def test_a_study_without_a_baseline_stops_nothing() -> None:
    assert not _should_stop(_study("minimize", FINISHED[:0], BaselinePruner()), [9.0])
    study = _study("minimize", FINISHED, BaselinePruner())
    trial = study.ask()
    report_fold(trial, [9.0], n_folds=3)
    assert not trial.should_prune(), "the others have five folds"


def test_the_baseline_is_the_threshold_wherever_it_stands() -> None:
    study = _study("minimize", FINISHED, BaselinePruner())
    trial = study.ask()
    record = TrialRecord(3, "complete", {}, kind="baseline", fold_scores=(0.5,) * 5, n_folds=5)
    trial.set_user_attr(TRIAL_KEY, record.to_json())
    study.tell(trial, 0.5)
    assert not _should_stop(study, [0.4]) and _should_stop(study, [0.51])


def test_trials_are_read_once_and_views_and_other_studies_of_a_storage_are_told_apart() -> None:
    storage = optuna.storages.InMemoryStorage()
    studies = [optuna.create_study(storage=storage, study_name=name) for name in ("one", "other")]

    def tell(study: optuna.Study, scores: list[float], state: TrialState = TrialState.COMPLETE) -> None:
        trial = study.ask()
        report_fold(trial, scores, n_folds=len(scores))
        study.tell(trial, sum(scores) if state == TrialState.COMPLETE else None, state)

    for number in range(3):
        tell(studies[0], [number, number])
        tell(studies[1], [number + 10, number + 10])
    first = [complete_trials(study).scores(2).tolist() for study in studies]
    assert first == [[[0, 0], [1, 1], [2, 2]], [[10, 10], [11, 11], [12, 12]]]
    found = complete_trials(studies[0])
    assert complete_trials(studies[0]) is found, "nothing is read again while nothing is complete"
    tell(studies[0], [7, 7], TrialState.PRUNED)
    assert complete_trials(studies[0]) is found
    running = studies[0].ask()
    tell(studies[0], [3, 3])
    assert complete_trials(studies[0]).scores(2).tolist()[-1] == [3, 3]
    report_fold(running, [5, 5], n_folds=2)
    studies[0].tell(running, 10)
    assert [number for number, _ in complete_trials(studies[0]).told] == [0, 1, 2, 4, 5]
    view = StudyView(studies[0], studies[0].trials[1:3])
    assert complete_trials(view).scores(2).tolist() == [[1, 1], [2, 2]]
    for _ in range(100):
        tell(studies[0], [9, 9], TrialState.PRUNED)
    assert len(complete_trials(studies[0])) == 5


def test_a_study_that_got_the_number_of_a_deleted_one_has_only_its_own_trials(tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/studies.db")
    for score in (1.0, 2.0, 3.0):
        trial = study.ask()
        report_fold(trial, [score, score], n_folds=2)
        study.tell(trial, score)
    assert len(complete_trials(study)) == 3
    storage = study._storage
    optuna.delete_study(study_name=study.study_name, storage=storage)
    other = optuna.create_study(storage=storage)
    assert (other._storage, other._study_id) == (storage, study._study_id), "SQLite gives the number away again"
    assert len(complete_trials(other)) == 0
