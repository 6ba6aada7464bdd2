"""Prescribed points come in their order; the entries of a portfolio by what the first of them have shown."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from gbtune.metrics import metric_named
from gbtune.points import PrescribedPoints, promising_first
from gbtune.records import TrialRecord
from gbtune.slots import POINT_KEY, SLOT_KEY, Slots
from gbtune.spaces import SearchSpace
from gbtune.study import PORTFOLIO, Point

SPACE = SearchSpace.load(
    {
        "schema": 1,
        "family": "stub",
        "name": "trees",
        "parameters": {
            "extra": {"kind": "categorical", "choices": [False, True], "default": False},
            "learning_rate": {"kind": "float", "low": 0.01, "high": 0.5, "default": 0.1, "log": True},
        },
    }
)
ENTRIES = [{"extra": number % 2 == 0, "learning_rate": 0.01 * (number + 1)} for number in range(8)]
WARM = Point({"extra": True, "learning_rate": 0.5}, "warm_start")


def order(metric: str, scores: list[float | None], *, adaptive: bool = True) -> list[dict[str, Any]]:
    """All points in the order in which they come, when the first ones end with these scores (None: pruned)."""
    study, given = optuna.create_study(), []
    points = PrescribedPoints(
        [WARM, *(Point(entry, PORTFOLIO) for entry in ENTRIES)], SPACE, metric_named(metric), adaptive=adaptive
    )
    slots, ends = Slots(study), iter(scores)
    while (found := points.next(slots, SPACE)) is not None:
        params, attributes = found
        given.append(params)
        trial = study.ask()
        for key, value in {SLOT_KEY: trial.number, POINT_KEY: attributes[POINT_KEY]}.items():
            trial.set_user_attr(key, value)
        study.tell(trial, 0.0)
        slots.read()
        kind = WARM.kind if len(given) == 1 else PORTFOLIO
        score = next(ends, None) if kind == PORTFOLIO else 0.0
        state: Any = "complete" if score is not None else "pruned"
        points.note(TrialRecord(trial.number, state, params, kind=kind, score=score))
    return given


def test_a_value_that_lost_twice_comes_last() -> None:
    with_extra = [entry for entry in ENTRIES[4:] if entry["extra"]]
    without = [entry for entry in ENTRIES[4:] if not entry["extra"]]
    assert order("rmse", [0.4, 0.2, 0.5, 0.3]) == [WARM.params, *ENTRIES[:4], *without, *with_extra]
    assert order("rmse", [None, 0.2, None, 0.3])[5:] == [*without, *with_extra], "what was pruned has lost"
    assert order("roc_auc", [0.4, 0.2, 0.5, 0.3])[5:] == [*with_extra, *without], "larger is better"


@pytest.mark.parametrize("scores", [[0.4, 0.2, 0.25, 0.3], [0.4, 0.2, 0.5], [None, None, None, None]])
def test_where_it_is_not_clear_the_order_stays(scores: list[float | None]) -> None:
    assert order("rmse", scores)[1:5] == ENTRIES[:4]
    if len(scores) == 4:
        assert order("rmse", scores)[1:] == ENTRIES


def test_a_study_that_is_the_same_every_time_keeps_the_order() -> None:
    assert order("rmse", [0.4, 0.2, 0.5, 0.3], adaptive=False) == [WARM.params, *ENTRIES]


def test_numbers_are_no_kinds() -> None:
    tried = [({"depth": depth}, float(depth)) for depth in (3, 3, 9, 9)]
    assert promising_first([("deep", {"depth": 9}), ("shallow", {"depth": 3})], tried) == ["deep", "shallow"]


def test_a_floor_that_was_raised_meanwhile_holds_for_what_comes() -> None:
    points = PrescribedPoints([Point(ENTRIES[0], PORTFOLIO)], SPACE, metric_named("rmse"))
    found = points.next(Slots(optuna.create_study()), SPACE.override(learning_rate=(0.2, 0.5)))
    assert found is not None and found[0] == {"extra": True, "learning_rate": 0.2}
