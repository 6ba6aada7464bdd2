"""Hyperband: brackets by place."""

from __future__ import annotations

import collections

import optuna
import pytest

from gbtune.errors import InvalidArgument
from gbtune.pruners import HyperbandPruner
from gbtune.pruners.hyperband import _turns


def test_the_brackets_have_the_shares_of_the_paper() -> None:
    # Algorithm 1 of Li et al. 2018 begins ceil((s_max + 1) * eta ** s / (s + 1)) configurations: 27 * 5 / 4 is 33.75.
    pruner = HyperbandPruner(1, 81, 3)
    turns = collections.Counter(pruner.bracket_of(number) for number in range(143))
    assert [turns[bracket] for bracket in range(5)] == [81, 34, 15, 8, 5]
    theirs = optuna.pruners.HyperbandPruner(1, 81, 3)
    theirs._try_initialization(optuna.create_study())
    assert theirs._trial_allocation_budgets == [81, 34, 15, 8, 5]


@pytest.mark.parametrize("shares", [[1], [27, 12, 6, 4], [3, 3]])
def test_turns_are_spread_evenly(shares: list[int]) -> None:
    order, total = _turns(shares), sum(shares)
    assert len(order) == total
    for end in range(1, total + 1):
        for bracket, share in enumerate(shares):
            assert abs(order[:end].count(bracket) - share * end / total) < 2


def test_the_largest_resource_is_exact_where_logarithms_are_not() -> None:
    # math.log(243, 3) is a little below 5.
    assert HyperbandPruner(1, 243, 3).n_brackets == 6 and HyperbandPruner(1, 242, 3).n_brackets == 5


@pytest.mark.parametrize("bad", [(0, 10, 3), (11, 10, 3), (1, 10, 1)])
def test_bad_resources_are_refused(bad: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidArgument, match=r"resource|reduction_factor"):
        HyperbandPruner(*bad)


def _states(name: str, pruner: optuna.pruners.BasePruner, **arguments: object) -> list[str]:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for step in range(1, 28):
            trial.report(x + 1 / step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner, study_name=name)
    study.optimize(objective, n_trials=40)
    return [f"{trial.state.name} {trial.last_step}" for trial in study.trials]


def test_it_halves_and_does_not_depend_on_the_name_of_the_study() -> None:
    ours = _states("one", HyperbandPruner(1, 27))
    assert ours == _states("two", HyperbandPruner(1, 27))
    stopped = {state for state in ours if state.startswith("PRUNED")}
    assert stopped <= {f"PRUNED {step}" for step in (1, 3, 9, 27)} and len(stopped) >= 3


def test_a_trial_competes_within_its_bracket_alone() -> None:
    pruner = HyperbandPruner(1, 27)
    study = optuna.create_study(pruner=pruner)
    answers = []
    for number in range(49):
        trial = study.ask()
        trial.report(float(number), 1)  # each is worse than all before
        answers.append(trial.should_prune())
        study.tell(trial, float(number))
    first = [number for number in range(49) if pruner.bracket_of(number) == 0]
    assert answers == [number in first[1:] for number in range(49)], "the others' first rungs are at steps 3, 9, 27"
