"""Pruners with a name keep the contract; pruners with a fault do not."""

from __future__ import annotations

import itertools
from typing import Any

import optuna
import pytest

from gbtune import pruners
from gbtune.testing import PrunerContract, check_pruner
from gbtune.testing.pruners import PRUNER, PrunerCase


class TestNamed(PrunerContract):
    n_trials = 16

    # one of each schedule; the others take minutes
    @pytest.fixture(
        params=[
            name if name in ("race", "hyperband") else pytest.param(name, marks=pytest.mark.nightly)
            for name in pruners.NAMES
            if name != "patient"
        ]
    )
    def pruner(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)


@pytest.mark.nightly
class TestPatient(PrunerContract):
    n_trials = 30  # it waits, so it takes more trials until one is pruned

    @pytest.fixture
    def pruner(self) -> str:
        return "patient"


class TestThreshold(PrunerContract):
    symmetric = False

    @pytest.fixture
    def pruner(self) -> Any:
        return lambda: optuna.pruners.ThresholdPruner(upper=75.0)


def test_none_prunes_nothing_and_keeps_the_rest_of_the_contract() -> None:
    report = check_pruner(None, prunes=False, n_trials=14)
    assert report.not_implied == ("a_hopeless_trial_is_pruned",)
    assert set(report.ran) == set(PRUNER.checks) - {"a_hopeless_trial_is_pruned"}


Median = optuna.pruners.MedianPruner


class Writes(Median):
    """Corrects what it is shown."""

    def prune(self, study: Any, trial: Any) -> bool:
        trial.user_attrs.clear()
        return bool(super().prune(study, trial))


class Vague(Median):
    def prune(self, study: Any, trial: Any) -> Any:
        return "yes" if super().prune(study, trial) else ""


class Never(Median):
    def prune(self, study: Any, trial: Any) -> bool:
        return False


class Always(optuna.pruners.NopPruner):
    """Stops everything but the baseline."""

    def prune(self, study: Any, trial: Any) -> bool:
        return True


class Counting(Median):
    """Keeps its memory in itself, and across studies."""

    asked = itertools.count()

    def prune(self, study: Any, trial: Any) -> bool:
        return next(self.asked) % 7 == 6


class OneSided(Median):
    """Believes that smaller is better, always."""

    def prune(self, study: Any, trial: Any) -> bool:
        return trial.last_step == 1 and trial.intermediate_values[1] > 70


class Fragile(Median):
    """Believes that every finished trial has a value."""

    def prune(self, study: Any, trial: Any) -> bool:
        finished = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
        return bool(finished) and min(t.values[0] for t in finished) < 0


@pytest.mark.parametrize(
    ("kind", "sees"),
    [
        (Writes, "it_changes_nothing_it_is_shown"),
        (Vague, "it_changes_nothing_it_is_shown"),
        (Never, "a_hopeless_trial_is_pruned"),
        (Always, "a_hopeless_trial_is_pruned"),
        (Counting, "the_number_of_cores_changes_nothing"),
        (Counting, "a_stopped_study_goes_on_as_if_it_had_not"),
        (OneSided, "maximising_is_the_mirror_of_minimising"),
        (Fragile, "failed_trials_are_survived"),
    ],
)
def test_the_check_that_is_meant_for_a_fault_sees_it(kind: Any, sees: str) -> None:
    with pytest.raises(AssertionError):
        PRUNER.run_check(sees, PrunerCase(kind))


def test_a_step_reported_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from gbtune import objective

    judge = objective.should_prune

    def asked_twice(trial: Any) -> bool:
        return judge(trial) | judge(trial)

    monkeypatch.setattr(objective, "should_prune", asked_twice)
    with pytest.raises(AssertionError, match=r"was judged after the steps \[1, 1, "):
        PRUNER.run_check("each_step_is_reported_once_and_in_order", PrunerCase("median"))


def test_a_pruned_baseline_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from gbtune import objective

    monkeypatch.setattr(objective, "BASELINE", "nothing is called so")
    with pytest.raises(AssertionError, match="The baseline: pruned"):
        PRUNER.run_check("the_baseline_is_never_pruned", PrunerCase(lambda: optuna.pruners.ThresholdPruner(upper=74.0)))
