"""TPE on spaces with and without conditions."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
import pytest

from gbtune.samplers import GroupedTPESampler
from gbtune.samplers.places import told_spaces
from gbtune.samplers.tpe import parameter_groups
from gbtune.views import StudyView


def plain(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("rate", 0.01, 1.0, log=True)
    return (trial.suggest_int("depth", 1, 9) - 4) ** 2 + rate + len(trial.suggest_categorical("kind", ["a", "bb"]))


def conditional(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("rate", 0.01, 1.0, log=True)
    if trial.suggest_categorical("kind", ["a", "b"]) == "b":
        return rate + abs(trial.suggest_float("u", 0, 1) - trial.suggest_float("v", 0, 1))
    return rate + trial.suggest_float("w", 0, 1)


def params_of(sampler: optuna.samplers.BaseSampler, objective: Any, n_trials: int = 40) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=n_trials)
    return [trial.params for trial in study.trials]


def test_without_conditions_the_draws_are_those_of_optuna() -> None:
    assert params_of(GroupedTPESampler(seed=0), plain) == params_of(optuna.samplers.TPESampler(seed=0), plain)


def test_the_groups_are_those_of_optuna() -> None:
    sampler = GroupedTPESampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    study.optimize(conditional, n_trials=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        theirs = optuna.samplers.TPESampler(group=True)
    trial = study.trials[-1]
    assert sampler.infer_relative_search_space(study, trial) == theirs.infer_relative_search_space(study, trial)
    groups = [set(group) for group in theirs._search_space_group.search_spaces]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, parameter_groups(study)))


def read_anew(study: optuna.Study) -> list[dict[str, Any]]:
    """The distributions of the last told trial with each set of parameters, from the last trial to the first."""
    told = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    last: dict[tuple[str, ...], dict[str, Any]] = {}
    for trial in reversed(study.get_trials(deepcopy=False, states=told)):
        last.setdefault(tuple(trial.distributions), trial.distributions)
    return list(last.values())[::-1]


def test_what_is_remembered_of_a_study_is_what_reading_it_anew_finds() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    left_open, ends = [], [optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL, None]
    for number in range(24):
        trial = study.ask()
        value = conditional(trial) if number % 2 else trial.suggest_int("depth", 1, 9)
        if number % 5 == 0:
            left_open.append(trial)
        else:
            state = ends[number % 3]
            study.tell(trial, value if state is None else None, state)
        for seen in (study, StudyView(study, study.get_trials(deepcopy=False)[::2])):
            assert told_spaces(seen) == read_anew(seen)
    for trial in left_open:
        study.tell(trial, 0.0)
        assert told_spaces(study) == read_anew(study)


def test_conditional_parameters_are_learnt_jointly() -> None:
    """u and v are good when they are equal: only a sampler of both at once can find that out."""

    def distances(sampler: optuna.samplers.BaseSampler) -> float:
        late = params_of(sampler, conditional, 120)[60:]
        found = [abs(params["u"] - params["v"]) for params in late if "u" in params]
        return sum(found) / len(found)

    ours = [distances(GroupedTPESampler(seed=seed)) for seed in range(3)]
    separate = [distances(optuna.samplers.TPESampler(seed=seed)) for seed in range(3)]
    assert sum(ours) < sum(separate)


@pytest.mark.parametrize("directions", [["minimize"], ["minimize", "maximize"]])
def test_it_works_with_one_value_and_with_two(directions: list[str]) -> None:
    study = optuna.create_study(directions=directions, sampler=GroupedTPESampler(seed=0))
    study.optimize(lambda trial: [conditional(trial)] * len(directions), n_trials=14)
    assert len(study.best_trials) >= 1
