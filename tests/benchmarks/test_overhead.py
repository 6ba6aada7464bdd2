"""The benchmark of what is not growing trees: counts are exact, seconds add up, and a regression fails."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.overhead import counts, imports, large, memory, share, threads, trials
from benchmarks.overhead.phases import Phases
from benchmarks.overhead.process import apart
from gbtune.families.xgboost import XGBoostPrepared


def test_each_second_belongs_to_one_phase_of_one_thread() -> None:
    clock = iter(range(100))
    phases = Phases(clock=lambda: float(next(clock)), contexts=["refit"])
    grow = phases.timed(lambda: None, "library")
    fit = phases.timed(lambda: [grow(), grow()], "refit")
    whole = phases.timed(lambda: [grow(), fit()], "else")
    whole()
    (seconds,) = phases.seconds().values()
    assert seconds == {"else": 3.0, "library": 1.0, "refit": 3.0, "refit: library": 2.0}
    assert phases.calls() == {"else": 1, "library": 1, "refit": 1, "refit: library": 2}
    other = threading.Thread(target=grow)
    other.start()
    other.join()
    assert len(phases.seconds()) == 2 and phases.total()["library"] == 2.0


def test_what_the_counting_costs_is_taken_off() -> None:
    clock = iter(range(1000))
    phases = Phases(clock=lambda: float(next(clock)))
    phases.calibrate(calls=10)
    inner = phases.timed(lambda: None, "inner")
    phases.timed(lambda: [inner() for _ in range(10)], "outer")()
    assert phases.calls() == {"outer": 1, "inner": 10}
    (seconds,) = phases.seconds().values()
    assert seconds == pytest.approx({"outer": -1.0, "inner": 0.0}), "the outer one is in no other"


def test_a_place_that_is_gone_is_an_error_and_what_is_watched_is_left_as_it_was() -> None:
    before = vars(XGBoostPrepared)["train_fold"]
    with (
        pytest.raises(AttributeError, match="no_such"),
        Phases().watching([("gbtune.families.xgboost:XGBoostPrepared.train_fold", "a"), ("gbtune.data:no_such", "b")]),
    ):
        pass
    assert vars(XGBoostPrepared)["train_fold"] is before


@pytest.mark.parametrize("family", ["lightgbm", "xgboost"])
def test_a_study_does_no_more_than_its_trials_need(family: str) -> None:
    found = counts.measure(trials=1, families=(family,))
    assert counts.problems(found) == []
    native, other = found[f"{family}, log_loss"], found[f"{family}, roc_auc"]
    assert native["rounds"] == native["rounds_needed"] == 600  # the baseline on five folds, and the final model
    assert native["binnings"] == (1 if family == "lightgbm" else 11) and native["evaluations"] == 500
    assert native["rows_scored_in_trials"] == 0 and other["rows_scored_in_trials"] == 569  # at its 100 rounds alone
    assert f"| {family}, log_loss | 1 |" in counts.report(found)


def test_binning_again_and_scoring_beside_the_library_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = XGBoostPrepared._matrices

    def bin_again(self: XGBoostPrepared, max_bin: int, fold: int) -> Any:
        matrices(self, max_bin, fold)
        self._pairs.pop((max_bin, fold))
        return matrices(self, max_bin, fold)

    monkeypatch.setattr(XGBoostPrepared, "_matrices", bin_again)
    found = {"xgboost, log_loss": counts.study("xgboost", None, trials=1)}
    assert counts.problems(found) == ["xgboost, log_loss: 21 binnings, 11 are needed"]
    found["xgboost, log_loss"].update(binnings=11, rows_scored_in_trials=5000)
    assert "5000 rows scored in trials" in counts.problems(found)[0]


@pytest.mark.parametrize("sampler", ["tpe", "grid", "qmc"])
def test_trials_of_a_free_family_cost_something_and_the_sampler_apart(sampler: str) -> None:
    found = trials.study(sampler, [10, 30])
    assert found["trials"] == 30 and found["complete"] >= 3 and list(found["sizes"]) == ["10", "30"]
    assert all(cost > 0 for costs in found["sizes"].values() for cost in costs.values())
    assert "| tpe | 10 |" in trials.report({"tpe": found})


def test_a_study_in_a_journal_is_measured_too(tmp_path: Path) -> None:
    found = trials.study("random", [10], str(tmp_path / "study.journal"))
    assert found["storage"] == "journal" and (tmp_path / "study.journal").stat().st_size > 0


def test_the_seconds_of_all_phases_are_those_of_all_lanes() -> None:
    found = share.study("lightgbm", 400, 5, 4.0, n_jobs=2, tracking=False)
    assert sum(found["phases"].values()) == pytest.approx(2 * found["wall"])
    assert 0 < found["share"] < 1 and found["phases"]["library"] > 0 and found["trials"] >= 1
    assert len(found["share_of_search_by_worker"]) == 2
    text = share.report({"lightgbm": found})
    assert "| library |" in text and "in the library's update and eval calls" in text


def test_what_is_timed_is_there_in_both_families() -> None:
    for family in share.FAMILIES:
        with Phases().watching(share.places(family)):
            pass


def test_gbtune_imports_no_library_and_the_peak_of_memory_is_of_its_own_process() -> None:
    found = apart("benchmarks.overhead.imports:importing")
    assert found["too_early"] == [] and found["modules"] >= 1
    assert imports.problems({"too_early": ["sklearn"]}) == ["import gbtune imports sklearn"]
    assert apart("benchmarks.overhead.memory:peak", "data", "lightgbm", 1000, 5, 1) > 10
    peaks = {"data": 90.0, "fit": 100.0, "study": 120.0, "fit_adds": 10.0, "study_adds": 30.0}
    text = memory.report({"rows": 1000, "columns": 2, "data_mb": 0.016, "n_jobs": 1, "lightgbm": peaks})
    assert "| lightgbm | 90 | 100 | 120 | 10 | 30 |" in text
    with pytest.raises(RuntimeError, match="no_such_function"):
        apart("benchmarks.overhead.memory:no_such_function")


@pytest.mark.parametrize("classes", [2, 3])
def test_boosters_side_by_side_and_threads_are_counted_in_rounds_per_second(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "SECONDS", 0.02)
    found = threads.paces("lightgbm", 400, 4, classes, 2)
    assert found.keys() == {"alone", "side by side", "threads"} and min(found.values()) > 0
    cell = {"family": "lightgbm", "rows": 400, "columns": 4, "classes": classes}
    made_up = {"alone": 100.0, "side by side": 190.0, "threads": 80.0}
    assert f"| lightgbm | 400 | 4 | {classes} | 10 | 1.90 | 0.80 |" in threads.report(
        {"n_jobs": 2, "cells": [{**cell, **made_up}]}
    )


def test_a_large_study_is_compared_with_the_default_on_rows_that_nobody_saw() -> None:
    found = large.study("lightgbm", "sparse", 1000, 6, 8.0, 1)
    assert found["complete"] >= 1 and 0 < found["loss"] < found["default_loss"] + 0.1
    text = large.report({"rows": 1000, "columns": 6, "seconds": 8, "n_jobs": 1, "studies": {"lightgbm, sparse": found}})
    assert "| lightgbm, sparse |" in text and "1,000 x 6, 8 s" in text


def test_the_command_writes_json_and_fails_on_a_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["trials", "binnings", "rounds", "evaluations", "rows_scored", "rows_scored_in_trials"]
    names += ["binnings_needed", "rounds_needed", "evaluations_needed"]
    found = {"xgboost, roc_auc": dict.fromkeys(names, 7)}
    monkeypatch.setattr(counts, "measure", lambda **_: found)
    assert main(["overhead", "counts", "--output", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "overhead-counts.json").read_text(encoding="utf-8"))["counts"] == found
    found["xgboost, roc_auc"]["rounds"] = 14
    assert main(["overhead", "counts", "--output", str(tmp_path)]) == 1
    assert "14 rounds, 7 are needed" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no part 'speed'"):
        main(["overhead", "speed"])
