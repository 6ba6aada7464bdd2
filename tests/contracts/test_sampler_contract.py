"""Samplers with a name keep the contract; samplers with a fault do not."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from typing import Any

import optuna
import pytest

from gbtune.samplers.names import EXTRAS, NAMES
from gbtune.testing import SamplerContract, check_sampler
from gbtune.testing.samplers import SAMPLER, SamplerCase

# A Gaussian process takes a second per trial: tests/samplers runs it.
INSTALLED = [name for name in NAMES if name != "gp" and (name not in EXTRAS or find_spec(EXTRAS[name]))]


class TestNamed(SamplerContract):
    n_trials = 16

    @pytest.fixture(
        params=[name if name in ("tpe", "qmc") else pytest.param(name, marks=pytest.mark.nightly) for name in INSTALLED]
    )
    def sampler(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)


class TestMixed(SamplerContract):
    n_trials = 16

    @pytest.fixture
    def sampler(self) -> dict[str, str]:
        return {"depth": "grid", "*": "tpe"}


class TestObject(SamplerContract):
    n_trials = 16

    @pytest.fixture
    def sampler(self) -> Any:
        return lambda seed: optuna.samplers.TPESampler(seed=seed)


Random = optuna.samplers.RandomSampler


class Global(Random):
    """Draws from a stream that all studies share."""

    stream = itertools.count()

    def __init__(self, seed: int | None) -> None:
        super().__init__(seed=next(self.stream))


class Deaf(Random):
    def __init__(self, seed: int | None) -> None:
        super().__init__(seed=0)


class Wide(Random):
    """Leaves the range."""

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        value = super().sample_independent(study, trial, name, distribution)
        return value * 2 if name == "learning_rate" else value


class Stuck(Random):
    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        return "left" if name == "side" else super().sample_independent(study, trial, name, distribution)


class Fragile(Random):
    """Believes that every trial has a value."""

    def sample_relative(self, study: Any, trial: Any, space: Any) -> dict[str, Any]:
        done = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
        min((t.values[0] for t in done), default=0)
        return {}


class Minimising(Random):
    def sample_relative(self, study: Any, trial: Any, space: Any) -> dict[str, Any]:
        if study.direction.name != "MINIMIZE":
            raise ValueError("it only minimises")
        return {}


class Greedy(Random):
    """Cannot do with one parameter."""

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if done and sum(not each.single() for each in done[0].distributions.values()) == 1:
            raise ValueError("it needs two")
        return {}


def seeded(kind: Any) -> Any:
    return lambda seed: kind(seed)


@pytest.mark.parametrize(
    ("kind", "sees"),
    [
        (Global, "the_same_seed_repeats_the_study"),
        (Deaf, "another_seed_is_another_study"),
        (Wide, "configurations_are_points_of_the_space"),
        (Stuck, "configurations_are_points_of_the_space"),
        (Fragile, "failed_and_pruned_trials_are_survived"),
        (Minimising, "both_directions_are_served"),
        (Greedy, "one_parameter_is_enough"),
    ],
)
def test_the_check_that_is_meant_for_a_fault_sees_it(kind: Any, sees: str) -> None:
    with pytest.raises(AssertionError):
        SAMPLER.run_check(sees, SamplerCase(seeded(kind), n_trials=12))


def test_an_object_that_claims_to_go_on_is_held_to_it() -> None:
    case = SamplerCase(lambda seed: Random(seed=seed), resumable=True, n_trials=14)
    with pytest.raises(AssertionError, match="continued, the study is another one"):
        SAMPLER.run_check("a_stopped_study_goes_on_as_if_it_had_not", case)


def test_a_study_that_depends_on_the_number_of_cores_is_seen() -> None:
    class TwoCores(SamplerCase):
        def run(self, *, seed: int | None = 0, **arguments: Any) -> Any:
            return super().run(seed=arguments.get("n_jobs", 1), **arguments)

    with pytest.raises(AssertionError, match=r"With two cores the study is another one\. Slot 0 was"):
        SAMPLER.run_check("the_number_of_cores_changes_nothing", TwoCores("random", n_trials=8))


def test_the_report_counts() -> None:
    report = check_sampler("random", n_trials=12)
    assert report.count == 15 and set(report.ran) == set(SAMPLER.checks)
