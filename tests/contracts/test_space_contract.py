"""Every space that comes with gbtune keeps the contract; spaces with a fault do not."""

from __future__ import annotations

from typing import Any

import pytest
from contracts.planted import failures

from gbtune import families
from gbtune.families.base import ModelFamily
from gbtune.spaces import SearchSpace, available
from gbtune.testing import SpaceContract, check_space
from gbtune.testing.spaces import SPACE, SpaceCase, as_toml

DEFAULTS = ("xgboost/core", "lightgbm/diverse")


class TestDefaultSpaces(SpaceContract):
    @pytest.fixture(params=DEFAULTS)
    def space(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)


@pytest.mark.parametrize("key", [key for key in available() if key not in DEFAULTS])
def test_a_built_in_space_keeps_the_contract(key: str) -> None:
    # Studies of the default spaces are run above; of the others, every end of every range is trained.
    loaded = SearchSpace.load(key)
    case = SpaceCase(loaded, families.get(loaded.family))
    for name in SPACE.checks:
        if name != "a_study_of_it_runs":
            SPACE.run_check(name, case)


TABLE: dict[str, Any] = {
    "schema": 1,
    "family": "lightgbm",
    "name": "planted",
    "summary": "a few parameters of LightGBM",
    "sources": ["this test"],
    "tasks": ["regression"],
    "parameters": {
        "num_leaves": {"kind": "int", "low": 4, "high": 8, "default": 6},
        "data_sample_strategy": {"kind": "categorical", "choices": ["bagging", "goss"], "default": "bagging"},
        "top_rate": {
            "kind": "float",
            "low": 0.1,
            "high": 0.3,
            "step": 0.1,
            "default": 0.2,
            "when": {"data_sample_strategy": "goss"},
        },
        "n_estimators": {"kind": "rounds", "low": 5, "high": 20, "default": 10},
    },
    "portfolio": [{"params": {"num_leaves": 5}, "provenance": "this test"}],
}


def with_parameter(name: str, **table: Any) -> dict[str, Any]:
    return {**TABLE, "parameters": {**TABLE["parameters"], name: table}}


def failing(table: Any, family: ModelFamily | None = None) -> set[str]:
    space = SearchSpace.load(table)
    case = SpaceCase(space, family or families.get(space.family))
    return set(failures(SPACE, lambda: case))


def test_a_sound_space_passes_with_every_check_implied() -> None:
    report = check_space(TABLE)
    assert report.not_implied == () and not report.gaps
    assert set(report.ran) == set(SPACE.checks) and report.count == 21


@pytest.mark.parametrize(
    ("table", "sees"),
    [
        ({**TABLE, "summary": ""}, "it_says_where_its_numbers_come_from"),
        ({**TABLE, "sources": []}, "it_says_where_its_numbers_come_from"),
        (with_parameter("depth", kind="int", low=1, high=3, default=2), "each_parameter_is_one_of_the_familys"),
        (with_parameter("subsample", kind="float", low=0.5, high=1.5, default=1.0), "the_family_trains_at_both_ends"),
        (with_parameter("num_leaves", kind="int", low=1, high=8, default=4), "the_family_trains_at_both_ends"),
        (
            with_parameter("boosting_type", kind="categorical", choices=["gbdt", "dart"], default="gbdt"),
            "each_parameter_is_one_of_the_familys",
        ),
    ],
)
def test_a_fault_in_the_file_is_seen(table: dict[str, Any], sees: str) -> None:
    assert any(name.startswith(sees) for name in failing(table))


class Drifting(SearchSpace):
    """Its doors do not agree."""

    def suggest(self, trial: Any, rounds: bool = True) -> dict[str, Any]:
        trial.suggest_float("learning_rate", 0.1, 0.2)
        return super().suggest(trial, rounds)


class Moving(SearchSpace):
    def project(self, point: Any) -> dict[str, Any]:
        return {**super().project(point), "num_leaves": 4}


class Repeating(SearchSpace):
    def grid(self, rounds: bool = False) -> list[dict[str, Any]]:
        return super().grid(rounds) * 2


class Forgetting(SearchSpace):
    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "portfolio": []}


class Closed(SearchSpace):
    def complete(self, sampled: Any) -> dict[str, Any]:
        return {name: value for name, value in super().complete(sampled).items() if name != "top_rate"}


@pytest.mark.parametrize(
    ("kind", "sees"),
    [
        (Drifting, "suggested_values_are_those_of_the_distributions"),
        (Moving, "suggested_values_are_those_of_the_distributions"),
        (Repeating, "each_cell_of_the_grid_is_a_point_of_it"),
        (Forgetting, "what_is_written_reads_back"),
        (Closed, "each_conditional_parameter_can_be_reached"),
    ],
)
def test_doors_that_disagree_are_seen(kind: type[SearchSpace], sees: str) -> None:
    space = kind.load(TABLE)
    assert sees in failing(space)


def test_a_task_without_a_training_loss_is_seen() -> None:
    import copy
    import dataclasses

    family = copy.copy(families.get("lightgbm"))
    losses = frozenset({"log_loss_binary"})
    family.capabilities = dataclasses.replace(family.capabilities, losses=losses)  # type: ignore[misc]
    assert "a_study_of_it_runs" in failing(TABLE, family)


def test_a_toml_text_holds_every_kind_of_value(tmp_path: Any) -> None:
    table = with_parameter(
        "min_split_gain", kind="float", low=1e-12, high=1.0, log=True, default=0.5, why='a "tiny" one'
    )
    path = tmp_path / "planted.toml"
    path.write_text(as_toml(SearchSpace.load(table).to_dict()), encoding="utf-8")
    assert SearchSpace.load(path) == SearchSpace.load(table)
