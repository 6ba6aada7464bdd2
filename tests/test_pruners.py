"""Racing: who is stopped, who is not, and which protocol fits which pruner."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbtune.errors import InvalidArgument, UnknownName
from gbtune.pruners import Protocol, RacingPruner, describe, protocol_of, resolve_pruner
from gbtune.records import TRIAL_KEY, TrialRecord

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


def test_a_wider_margin_never_stops_what_a_narrower_one_keeps() -> None:
    assert RacingPruner(z=1.0).behind(FINISHED, np.array([0.325])) or not RacingPruner(z=2.0).behind(
        FINISHED, np.array([0.325])
    )


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


def test_nothing_is_stopped_by_a_number_that_is_none() -> None:
    assert not RacingPruner().behind(FINISHED, np.array([np.nan]))


def _study(direction: str, scores: np.ndarray) -> optuna.Study:
    study = optuna.create_study(direction=direction, pruner=RacingPruner())
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


def test_trials_without_a_record_are_left_alone() -> None:
    study = optuna.create_study(pruner=RacingPruner())
    trial = study.ask()
    trial.report(1.0, 0)
    assert not trial.should_prune()


@pytest.mark.parametrize("z", [-1.0, float("nan"), float("inf")])
def test_a_bad_margin_is_refused(z: float) -> None:
    with pytest.raises(InvalidArgument, match="z must be"):
        RacingPruner(z=z)


def test_a_bad_startup_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="n_startup_trials"):
        RacingPruner(n_startup_trials=1)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_each_pruner_gets_the_protocol_that_fits_it() -> None:
    folds, rounds = Protocol("folds"), Protocol("rounds")
    pruners = optuna.pruners
    assert protocol_of(RacingPruner()) == folds
    assert protocol_of(pruners.MedianPruner()) == folds
    assert protocol_of(pruners.PercentilePruner(25.0)) == folds
    assert protocol_of(pruners.NopPruner()) == folds
    assert protocol_of(pruners.WilcoxonPruner()) == Protocol("folds", "fold")
    assert protocol_of(pruners.SuccessiveHalvingPruner()) == rounds
    assert protocol_of(pruners.HyperbandPruner()) == rounds

    class Mine(pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return False

    assert protocol_of(Mine()) == rounds
    assert describe(Mine()) == "Mine" and describe(pruners.NopPruner()) == "none"


def test_names_are_resolved_and_the_race_is_safer_on_few_rows() -> None:
    assert resolve_pruner("race", n_rows=5000).z == 1.5  # type: ignore[attr-defined]
    assert resolve_pruner("race", n_rows=500).z == 2.0  # type: ignore[attr-defined]
    assert isinstance(resolve_pruner("race", n_rows=5000, exchangeable=False), optuna.pruners.NopPruner)
    assert isinstance(resolve_pruner("median", n_rows=5), optuna.pruners.MedianPruner)
    assert isinstance(resolve_pruner(None, n_rows=5), optuna.pruners.NopPruner)
    mine = optuna.pruners.HyperbandPruner()
    assert resolve_pruner(mine, n_rows=5) is mine


def test_an_unknown_pruner_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'race'"):
        resolve_pruner("rase", n_rows=5)
    with pytest.raises(InvalidArgument, match="BasePruner"):
        resolve_pruner(3, n_rows=5)  # type: ignore[arg-type]
