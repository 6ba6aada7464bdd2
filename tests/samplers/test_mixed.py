"""Different samplers for different parameters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.testing.pytest_samplers import FixedSampler
from optuna.trial import TrialState

import gbtune
from gbtune.errors import InvalidArgument, InvalidSpace, UnknownName
from gbtune.samplers import GroupedTPESampler, MixedSampler, resolve_sampler
from gbtune.samplers.tpe import parameter_groups

CORE = gbtune.SearchSpace.load("xgboost/core")
WIDE = gbtune.SearchSpace.load("xgboost/wide")


def valley(trial: optuna.Trial) -> float:
    depth = trial.suggest_int("max_depth", 1, 8)
    rate = trial.suggest_float("learning_rate", 0.01, 1.0, log=True)
    return (depth - 5) ** 2 / 100 + math.log10(rate / 0.2) ** 2


def conditional(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("learning_rate", 0.01, 1.0, log=True)
    share = trial.suggest_float("subsample", 0.5, 1.0)
    if trial.suggest_categorical("booster", ["gbtree", "dart"]) == "dart":
        return rate + trial.suggest_float("rate_drop", 0.0, 0.5) + trial.suggest_float("skip_drop", 0.0, 0.5)
    return rate + share


def finished(sampler: optuna.samplers.BaseSampler, n_trials: int = 30, objective: Any = valley) -> optuna.Study:
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=n_trials)
    return study


class Diary(optuna.samplers.RandomSampler):
    """Notes what it is asked."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.entries: list[tuple[str, Any]] = []

    def reseed_rng(self) -> None:
        self.entries.append(("reseed", None))

    def before_trial(self, study: optuna.Study, trial: Any) -> None:
        self.entries.append(("before", trial.number))

    def infer_relative_search_space(self, study: optuna.Study, trial: Any) -> dict[str, Any]:
        spaces = [other.distributions for other in study.get_trials(states=(TrialState.COMPLETE,))]
        return spaces[0] if spaces else {}

    def sample_relative(self, study: optuna.Study, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        self.entries.append(("relative", sorted(search_space)))
        return {}

    def sample_independent(self, study: optuna.Study, trial: Any, name: str, distribution: Any) -> Any:
        self.entries.append(("independent", name))
        return super().sample_independent(study, trial, name, distribution)

    def after_trial(self, study: optuna.Study, trial: Any, state: TrialState, values: Any) -> None:
        self.entries.append(("after", (trial.number, state, values)))


# -- as anyone's sampler --------------------------------------------------------------------------------------


def test_a_grid_beside_tpe_comes_equally_often_while_tpe_learns() -> None:
    study = finished(MixedSampler({"max_depth": "grid", "*": "tpe"}, seed=0), n_trials=48)
    assert set(Counter(trial.params["max_depth"] for trial in study.trials).values()) == {6}
    late = [trial.params["learning_rate"] for trial in study.trials[-16:]]
    assert sum(0.1 < rate < 0.4 for rate in late) > 9, "a random one has five in sixteen there"


def test_the_same_seed_gives_the_same_study_and_another_another() -> None:
    samplers = [MixedSampler({"max_depth": "qmc", "*": "tpe"}, seed=seed) for seed in (3, 3, 4)]
    first, again, other = ([trial.params for trial in finished(sampler).trials] for sampler in samplers)
    assert first == again != other


def test_samplers_of_one_mixture_do_not_draw_the_same() -> None:
    study = finished(MixedSampler({"rate_drop": "random", "*": "tpe"}, seed=0), 8, conditional)
    pairs = [
        (2 * trial.params["rate_drop"], 2 * trial.params["skip_drop"])
        for trial in study.trials
        if "rate_drop" in trial.params
    ]
    assert pairs and all(abs(a - b) > 1e-6 for a, b in pairs)


def test_a_mixture_of_one_is_that_sampler() -> None:
    mixed = finished(MixedSampler({"*": GroupedTPESampler(seed=1)}), objective=conditional)
    alone = finished(GroupedTPESampler(seed=1), objective=conditional)
    assert [trial.params for trial in mixed.trials] == [trial.params for trial in alone.trials]


def test_the_exact_name_wins_then_the_first_pattern_and_the_star_is_last() -> None:
    def fixed(value: float) -> FixedSampler:
        return FixedSampler({}, {}, value)

    study = optuna.create_study(
        sampler=MixedSampler({"*": fixed(0.1), "reg_*": fixed(0.2), "reg_[ab]*": fixed(0.3), "reg_beta": fixed(0.4)})
    )
    trial = study.ask()
    found = {name: trial.suggest_float(name, 0, 1) for name in ("reg_beta", "reg_alpha", "rate")}
    assert found == {"reg_beta": 0.4, "reg_alpha": 0.2, "rate": 0.1}


def test_each_sampler_is_told_all_and_asked_only_for_its_own() -> None:
    depth, others = Diary(), Diary()
    study = finished(MixedSampler({"max_depth": depth, "a*": others, "*": others}), n_trials=2)
    study.sampler.reseed_rng()
    values = [[trial.value] for trial in study.trials]
    for diary, own in ((depth, "max_depth"), (others, "learning_rate")):
        assert diary.entries == [
            ("before", 0),
            ("relative", []),
            ("independent", own),
            ("after", (0, TrialState.COMPLETE, values[0])),
            ("before", 1),
            ("relative", [own]),
            ("independent", own),
            ("after", (1, TrialState.COMPLETE, values[1])),
            ("reseed", None),
        ]


def test_conditional_parameters_are_sampled_together_with_what_they_come_with() -> None:
    study = finished(MixedSampler({"learning_rate": "random", "*": "tpe"}, seed=0), 24, conditional)
    groups = [sorted(group) for group in parameter_groups(study)]
    assert groups == [["booster", "learning_rate", "subsample"], ["rate_drop", "skip_drop"]]
    relative = study.sampler.infer_relative_search_space(study, study.trials[-1])
    assert sorted(relative) == ["booster", "rate_drop", "skip_drop", "subsample"]


def test_values_may_be_given_to_a_grid() -> None:
    sampler = MixedSampler({"learning_rate": "grid", "*": "random"}, grid={"learning_rate": [0.1, 0.3]}, seed=0)
    rates = [trial.params["learning_rate"] for trial in finished(sampler, 6).trials]
    assert Counter(rates) == {0.1: 3, 0.3: 3}


def test_a_fixed_parameter_of_a_mixture_stays_fixed() -> None:
    study = optuna.create_study(sampler=MixedSampler({"max_depth": "grid", "*": "tpe"}, seed=0))
    study.enqueue_trial({"max_depth": 7})
    study.optimize(valley, n_trials=9)
    assert study.trials[0].params["max_depth"] == 7


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, InvalidArgument, "must map"),
        ({"x": 3}, InvalidArgument, "'x': 3"),
        ({1: "tpe"}, InvalidArgument, "1: 'tpe'"),
        ({"*": "tpee"}, UnknownName, "Did you mean 'tpe'"),
        ("tpe", InvalidArgument, "must map"),
    ],
)
def test_what_is_no_mixture_is_refused_when_it_is_made(given: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        MixedSampler(given)


def test_grid_values_for_a_parameter_of_another_sampler_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="'learning_rate', whose sampler is not 'grid'"):
        MixedSampler({"max_depth": "grid", "*": "tpe"}, grid={"learning_rate": [0.1]})


def test_two_of_cma_es_would_overwrite_each_other_and_are_refused() -> None:
    pytest.importorskip("cmaes")
    one = optuna.samplers.CmaEsSampler(seed=0)
    for other in (optuna.samplers.CmaEsSampler(seed=0), "cmaes"):
        both: Mapping[str, Any] = {"max_depth": one, "*": other}
        with pytest.raises(InvalidArgument, match="CMA-ES once"):
            MixedSampler(both)
        with pytest.raises(InvalidArgument, match="CMA-ES once"):
            resolve_sampler(both, CORE, study_seed=0)
    MixedSampler({"max_depth": one, "reg_*": one, "*": "tpe"})


def test_a_parameter_without_a_sampler_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match=r"'learning_rate' matches none of 'max_depth', 'reg_\*'"):
        finished(MixedSampler({"max_depth": "tpe", "reg_*": "random"}), 1)


# -- as tune's argument ---------------------------------------------------------------------------------------


def test_a_mapping_is_a_mixture_over_the_grid_values_of_the_space() -> None:
    plan = resolve_sampler({"*": "tpe", "max_depth": "grid"}, CORE, study_seed=0)
    assert plan.name == "max_depth: grid, *: tpe" and not plan.exhaustive and not plan.points
    study = optuna.create_study(sampler=plan.sampler)
    for _ in range(16):
        trial = study.ask()
        study.tell(trial, CORE.suggest(trial, rounds=False)["learning_rate"])
    assert Counter(trial.params["max_depth"] for trial in study.trials) == {3: 4, 6: 4, 9: 4, 12: 4}


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"max_dept": "grid", "*": "tpe"}, UnknownName, "Did you mean 'max_depth'"),
        ({"max_leaves": "tpe"}, InvalidArgument, "'max_depth' matches none of 'max_leaves'.*'\\*' for all"),
        ({"n_estimators": "grid", "*": "tpe"}, InvalidArgument, "one training answers every value"),
        ({"*": "qcm"}, UnknownName, "Did you mean 'qmc'"),
    ],
)
def test_a_mapping_that_does_not_fit_the_space_is_refused(given: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        resolve_sampler(given, WIDE, study_seed=0)


def test_a_parameter_without_a_finite_grid_is_named() -> None:
    space = CORE.override(subsample={"kind": "float", "low": 0.5, "high": 1.0, "default": 1.0})
    with pytest.raises(InvalidSpace, match="subsample"):
        resolve_sampler({"subsample": "grid", "*": "tpe"}, space, study_seed=0)


def test_a_pattern_may_match_nothing() -> None:
    assert resolve_sampler({"cat_*": "random", "*": "tpe"}, CORE, study_seed=0).name == "cat_*: random, *: tpe"
