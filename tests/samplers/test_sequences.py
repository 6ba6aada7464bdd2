"""Samplers whose values follow from a trial's place: the Sobol' sequence and the grid that comes round again."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import qmc

from gbtune.errors import InvalidArgument
from gbtune.samplers import GridCycleSampler, SobolSampler
from gbtune.samplers.places import place_of, value_at
from gbtune.slots import POINT_KEY, SLOT_KEY

DISTRIBUTIONS: list[BaseDistribution] = [
    FloatDistribution(-1.0, 2.0),
    FloatDistribution(1e-4, 10.0, log=True),
    FloatDistribution(0.1, 0.9, step=0.1),
    IntDistribution(-3, 7),
    IntDistribution(2, 20, step=3),
    IntDistribution(1, 1000, log=True),
    CategoricalDistribution(["a", "b", "c"]),
]


def asked(
    sampler: optuna.samplers.BaseSampler, space: dict[str, BaseDistribution], n_trials: int
) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=sampler)
    for _ in range(n_trials):
        study.tell(study.ask(space), 0.0)
    return [trial.params for trial in study.trials]


# -- quantiles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_a_quantile_is_a_value_of_its_distribution(distribution: BaseDistribution) -> None:
    for share in [0.0, 0.1, 0.5, 0.9, np.nextafter(1.0, 0.0)]:
        value = value_at(distribution, float(share))
        assert distribution._contains(distribution.to_internal_repr(value)), value


@pytest.mark.parametrize("distribution", [d for d in DISTRIBUTIONS if not isinstance(d, FloatDistribution) or d.step])
def test_equal_shares_give_finite_values_their_optuna_frequencies(distribution: BaseDistribution) -> None:
    ours = Counter(value_at(distribution, float(share)) for share in (np.arange(20_000) + 0.5) / 20_000)
    random = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study()
    trial = study.ask()._get_latest_trial()
    theirs = Counter(random.sample_independent(study, trial, "x", distribution) for _ in range(20_000))
    for value in [value for value, count in theirs.items() if count > 400]:
        found = sum(count for other, count in ours.items() if other == pytest.approx(value))
        assert found == pytest.approx(theirs[value], rel=0.3)


# -- Sobol' ---------------------------------------------------------------------------------------------------


def test_the_sequence_is_that_of_scipy() -> None:
    space = {name: FloatDistribution(0.0, 1.0) for name in "xyz"}
    found = asked(SobolSampler(seed=3, distributions=space), dict(reversed(space.items())), 16)
    expected = qmc.Sobol(3, scramble=True, seed=3).random(16)
    np.testing.assert_array_equal([[params[name] for name in "xyz"] for params in found], expected)


def test_the_sequence_covers_the_space_more_evenly_than_random_points() -> None:
    space: dict[str, BaseDistribution] = {name: FloatDistribution(0.0, 1.0) for name in "abcde"}

    def discrepancy(sampler: optuna.samplers.BaseSampler) -> float:
        return float(qmc.discrepancy(np.array([[p[name] for name in "abcde"] for p in asked(sampler, space, 64)])))

    ours = [discrepancy(SobolSampler(seed=seed, distributions=space)) for seed in range(5)]
    random = [discrepancy(optuna.samplers.RandomSampler(seed=seed)) for seed in range(5)]
    assert max(ours) < min(random)


def test_without_known_parameters_the_sequence_begins_with_the_second_trial() -> None:
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0), "c": CategoricalDistribution(["a", "b"])}
    known = asked(SobolSampler(seed=1, distributions=space), space, 9)
    found = asked(SobolSampler(seed=1), space, 9)
    assert found[1:] == known[1:]
    assert found[0] != known[0] and 0 <= found[0]["x"] <= 1


def test_conditional_parameters_have_their_own_dimension() -> None:
    space: dict[str, BaseDistribution] = {
        "policy": CategoricalDistribution(["depth", "loss"]),
        "leaves": IntDistribution(1, 8),
        "rate": FloatDistribution(0.0, 1.0),
    }
    study = optuna.create_study(sampler=SobolSampler(seed=0, distributions=space))
    for _ in range(32):
        trial = study.ask()
        if trial.suggest_categorical("policy", ["depth", "loss"]) == "loss":
            trial.suggest_int("leaves", 1, 8)
        trial.suggest_float("rate", 0.0, 1.0)
        study.tell(trial, 0.0)
    assert Counter(trial.params["policy"] for trial in study.trials) == {"depth": 16, "loss": 16}
    leaves = Counter(trial.params["leaves"] for trial in study.trials if "leaves" in trial.params)
    assert set(leaves.values()) == {2}, "two of sixteen in each eighth"


def test_a_narrower_range_than_the_first_is_kept_to() -> None:
    wide: dict[str, BaseDistribution] = {"rate": FloatDistribution(0.001, 1.0, log=True)}
    narrow: dict[str, BaseDistribution] = {"rate": FloatDistribution(0.1, 1.0, log=True)}
    found = [params["rate"] for params in asked(SobolSampler(seed=0, distributions=wide), narrow, 33)]
    assert min(found) >= 0.1
    assert sum(rate < 10**-0.5 for rate in found[1:]) == 16


# -- grid -----------------------------------------------------------------------------------------------------


def test_every_cell_comes_once_before_any_comes_again() -> None:
    grid = {"depth": [3, 6, 9], "rate": [0.05, 0.1]}
    space: dict[str, BaseDistribution] = {"depth": IntDistribution(1, 12), "rate": FloatDistribution(0.01, 0.3)}
    found = [(p["depth"], p["rate"]) for p in asked(GridCycleSampler(grid, seed=5), space, 14)]
    assert sorted(found[:6]) == sorted(found[6:12]) == list(itertools.product(*grid.values()))
    assert found[12:] == found[:2]


def test_without_values_all_those_of_the_distributions_are_the_grid() -> None:
    space: dict[str, BaseDistribution] = {
        "booster": CategoricalDistribution(["gbtree", "dart"]),
        "depth": IntDistribution(2, 6, step=2),
        "share": FloatDistribution(0.1, 0.3, step=0.1),
    }
    found = [tuple(params[name] for name in space) for params in asked(GridCycleSampler(seed=0), space, 18)]
    assert sorted(found) == sorted(itertools.product(["gbtree", "dart"], [2, 4, 6], [0.1, 0.2, 0.3]))


def test_the_order_is_drawn_from_the_seed() -> None:
    space: dict[str, BaseDistribution] = {"depth": IntDistribution(1, 8)}
    orders = {tuple(p["depth"] for p in asked(GridCycleSampler(seed=seed), space, 8)) for seed in (0, 0, 1, 2)}
    assert len(orders) == 3
    assert all(sorted(order) == list(range(1, 9)) for order in orders)


def test_a_value_outside_of_a_range_that_was_narrowed_is_left_out() -> None:
    space: dict[str, BaseDistribution] = {"rate": FloatDistribution(0.08, 0.3)}
    found = Counter(p["rate"] for p in asked(GridCycleSampler({"rate": [0.03, 0.1, 0.3]}, seed=0), space, 8))
    assert found == {0.1: 4, 0.3: 4}
    assert asked(GridCycleSampler({"rate": [0.03]}, seed=0), space, 1) == [{"rate": 0.08}]


@pytest.mark.parametrize(
    ("values", "words"),
    [({"a": []}, "at least one value"), ({"a": [1, 1]}, "each once"), ({"a": range(400), "b": range(300)}, "120,000")],
)
def test_a_grid_that_is_none_is_refused(values: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        GridCycleSampler(values)


def test_a_continuous_range_needs_values() -> None:
    with pytest.raises(InvalidArgument, match=r"'x'.*continuous.*grid="):
        asked(GridCycleSampler(seed=0), {"x": FloatDistribution(0.0, 1.0)}, 1)
    with pytest.raises(InvalidArgument, match="100,000 cells"):
        asked(GridCycleSampler(seed=0), {"x": IntDistribution(0, 10**6)}, 1)


# -- places ---------------------------------------------------------------------------------------------------


def test_prescribed_points_and_second_runs_take_no_place() -> None:
    study = optuna.create_study()
    for slot, point in [(0, "baseline"), (1, None), (2, "portfolio"), (1, None), (3, None)]:
        attributes: dict[str, Any] = {SLOT_KEY: slot, **({} if point is None else {POINT_KEY: point})}
        study.add_trial(optuna.create_trial(value=0.0, user_attrs=attributes))
    assert [place_of(study, trial) for trial in study.trials] == [0, 0, 1, 0, 1]
