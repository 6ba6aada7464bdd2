"""The portfolio of a default space is made of candidates that were recorded, and they can be recorded again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.first_trials import record, report
from benchmarks.first_trials.candidates import (
    ENTRIES_AS_NUMBERS,
    FAMILIES,
    LOWEST_RATE,
    ORDERS,
    RESULTS,
    SETS,
    candidates,
    read,
    write,
)
from benchmarks.quality.sets import divide
from benchmarks.replay import tables
from gbtune import families
from gbtune.spaces import SearchSpace


@pytest.mark.parametrize("space", ORDERS)
def test_a_portfolio_has_the_recorded_candidates_in_their_order(space: str) -> None:
    known = candidates(space.partition("/")[0])
    loaded = SearchSpace.load(space)
    for entry, (name, _) in zip(loaded.portfolio, ORDERS[space], strict=True):
        tried, recorded = loaded.complete(loaded.project(entry.params)), known[name]
        assert max(LOWEST_RATE, tried["learning_rate"]) == recorded["learning_rate"]
        shape = ("num_leaves", "max_depth", "colsample_bytree", "colsample_bynode", "extra_trees")
        assert {part: tried[part] for part in shape if part in recorded and part in tried} == {
            part: loaded.project(recorded)[part] for part in shape if part in recorded and part in tried
        }, name
        assert (not tried.get("enable_categorical", True)) == (name in ENTRIES_AS_NUMBERS), name


def test_the_default_space_of_each_family_was_chosen_here() -> None:
    assert {f"{name}/{families.get(name).default_space}" for name in FAMILIES} <= set(ORDERS)


def test_everything_is_recorded_for_all_candidates() -> None:
    results = read(RESULTS)
    for family in FAMILIES:
        assert set(results[family]) == set(SETS)
        assert all(found.keys() == candidates(family).keys() for found in results[family].values())


def test_the_tables_of_the_documentation_are_those_of_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["first-trials", "report"]) == 0
    printed = capsys.readouterr().out
    for name, table in report.tables(read(RESULTS)).items():
        assert tables.read(name) == table and table in printed


def test_a_recording_answers_anew_as_it_is_committed(tmp_path: Path) -> None:
    committed = read(RESULTS)["lightgbm"]["diabetes"]
    few = {name: candidates("lightgbm")[name] for name in ("native 1", "AutoGluon 2023 LightGBM_r96")}
    found = record.outcomes("lightgbm", divide("diabetes", None, record.DIVISION), few)
    for name, outcome in found.items():
        assert outcome.rounds == pytest.approx(committed[name].rounds, abs=5)
        assert outcome.loss == pytest.approx(committed[name].loss, rel=0.01)
    write({"lightgbm": {"diabetes": found}}, tmp_path / "again.json")
    assert read(tmp_path / "again.json") == {"lightgbm": {"diabetes": found}}
