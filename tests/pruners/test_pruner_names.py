"""Names, the protocol that fits each pruner, and what Optuna asks of any."""

from __future__ import annotations

import math
import pickle
from typing import Any

import optuna
import pytest

from gbtune.errors import GbtuneWarning, InvalidArgument, UnknownName
from gbtune.pruners import (
    NAMES,
    BaselinePruner,
    HyperbandPruner,
    Protocol,
    RacingPruner,
    describe,
    protocol_of,
    report_fold,
    resolve_pruner,
)

FOLDS, ROUNDS = Protocol("folds"), Protocol("rounds")
BY_NAME = {
    "race": FOLDS,
    "median": FOLDS,
    "percentile": FOLDS,
    "threshold": FOLDS,
    "wilcoxon": Protocol("folds", "fold"),
    "hyperband": ROUNDS,
    "successive-halving": ROUNDS,
    "patient": ROUNDS,
}


def resolved(pruner: Any, **facts: Any) -> Any:
    return resolve_pruner(pruner, **{"n_rows": 5000, "n_folds": 5, "max_rounds": 3000, **facts})


def test_every_name_gets_the_protocol_that_fits_it() -> None:
    assert {name: protocol_of(resolved(name)) for name in NAMES} == BY_NAME


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_object_gets_the_protocol_that_fits_it() -> None:
    class Mine(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return False

    pruners = optuna.pruners
    assert protocol_of(pruners.NopPruner()) == FOLDS
    assert protocol_of(pruners.ThresholdPruner(upper=1.0)) == FOLDS
    assert protocol_of(pruners.HyperbandPruner()) == ROUNDS == protocol_of(Mine())
    assert protocol_of(pruners.PatientPruner(None, patience=1)) == ROUNDS
    assert protocol_of(pruners.PatientPruner(pruners.MedianPruner(), patience=1)) == ROUNDS
    assert protocol_of(pruners.PatientPruner(RacingPruner(), patience=1)) == FOLDS
    assert protocol_of(pruners.PatientPruner(pruners.WilcoxonPruner(), patience=1)) == Protocol("folds", "fold")


def test_the_race_is_safer_on_few_rows_and_off_where_folds_are_not_exchangeable() -> None:
    assert resolved("race").z == 1.5 and resolved("race", n_rows=500).z == 2.0
    assert isinstance(resolved("race", exchangeable=False), optuna.pruners.NopPruner)


@pytest.mark.parametrize(("name", "fewest"), [("race", 3), ("wilcoxon", 3), ("median", 2), ("threshold", 2)])
def test_a_name_that_cannot_prune_on_so_few_folds_says_none(name: str, fewest: int) -> None:
    assert describe(resolved(name, n_folds=fewest)) != "none" == describe(resolved(name, n_folds=fewest - 1))


def test_pruners_of_curves_work_on_a_hold_out() -> None:
    assert all(describe(resolved(name, n_folds=1)) != "none" for name in BY_NAME if BY_NAME[name] == ROUNDS)


@pytest.mark.parametrize("n_folds", [3, 4, 5, 10])
def test_wilcoxon_can_act_after_the_third_fold_or_the_last_but_one(n_folds: int) -> None:
    threshold = resolved("wilcoxon", n_folds=n_folds)._p_threshold
    acting = math.ceil(math.log2(1 / threshold))
    assert acting == min(3, n_folds - 1), "after k folds the smallest p-value is 2 ** -k"


def test_steps_begin_at_a_share_of_the_round_cap_and_at_a_report() -> None:
    assert resolved("successive-halving")._min_resource == 111
    assert resolved("successive-halving", max_rounds=60)._min_resource == 10
    assert resolved("hyperband").n_brackets == 4 and resolved("hyperband", max_rounds=60).n_brackets == 2
    assert resolved("hyperband", max_rounds=5).n_brackets == 1


def test_an_object_is_returned_as_it_is_and_none_prunes_nothing() -> None:
    mine = optuna.pruners.HyperbandPruner()
    assert resolved(mine) is mine
    assert isinstance(resolved(None), optuna.pruners.NopPruner)


def test_an_unknown_pruner_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'race'"):
        resolved("rase")
    with pytest.raises(UnknownName, match="Did you mean 'successive-halving'"):
        resolved("successive_halving")
    with pytest.raises(InvalidArgument, match="BasePruner"):
        resolved(3)


def test_descriptions_tell_pruners_apart() -> None:
    assert describe(resolved("race")) == "race (z=1.5)"
    assert describe(resolved("hyperband")) == "hyperband (4 brackets from 111 rounds)"
    assert len({describe(resolved(name)) for name in (*NAMES, None)}) == len(NAMES) + 1


# -- what Optuna asks of a pruner (optuna.testing has no classes for them) ---------------------------------------

OURS = [RacingPruner(), BaselinePruner(), HyperbandPruner(1, 27)]


@pytest.mark.parametrize("pruner", OURS, ids=repr)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
class TestContract:
    def test_without_reports_nothing_is_pruned(self, pruner: optuna.pruners.BasePruner, direction: str) -> None:
        study = optuna.create_study(direction=direction, pruner=pruner)
        trial = study.ask()
        if isinstance(pruner, RacingPruner):
            with pytest.warns(GbtuneWarning, match="nothing is pruned"):
                assert trial.should_prune() is False
        else:
            assert trial.should_prune() is False

    def test_the_first_trial_is_not_pruned(self, pruner: optuna.pruners.BasePruner, direction: str) -> None:
        trial = optuna.create_study(direction=direction, pruner=pruner).ask()
        for k in range(1, 6):
            report_fold(trial, [1.0] * k, n_folds=5)
            assert trial.should_prune() is False

    def test_nan_is_not_an_error(self, pruner: optuna.pruners.BasePruner, direction: str) -> None:
        trial = optuna.create_study(direction=direction, pruner=pruner).ask()
        report_fold(trial, [math.nan], n_folds=5)
        assert isinstance(trial.should_prune(), bool)

    def test_it_can_be_pickled(self, pruner: optuna.pruners.BasePruner, direction: str) -> None:
        assert repr(pickle.loads(pickle.dumps(pruner))) == repr(pruner)


@pytest.mark.parametrize("pruner", [RacingPruner(), BaselinePruner()], ids=repr)
@pytest.mark.parametrize("sign", [1, -1])
def test_asked_twice_it_answers_the_same(pruner: optuna.pruners.BasePruner, sign: int) -> None:
    study = optuna.create_study(direction="minimize" if sign > 0 else "maximize", pruner=pruner)
    for row in ([0.1, 0.2, 0.3], [0.2, 0.25, 0.4], [0.3, 0.3, 0.3], [0.3, 0.4, 0.3]):
        trial = study.ask()
        report_fold(trial, [sign * value for value in row], n_folds=3)
        study.tell(trial, sign * sum(row) / 3)
    trial = study.ask()
    report_fold(trial, [sign * 9.0], n_folds=3)
    assert [trial.should_prune() for _ in range(3)] == [True] * 3
