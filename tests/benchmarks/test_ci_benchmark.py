"""The benchmark passes on its own baseline, and fails, in words, when a regression is planted."""

from __future__ import annotations

import doctest
import functools
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
import pandas as pd
import pytest
from quick import quick_space

import gbtune
from benchmarks import counting
from benchmarks.__main__ import main
from benchmarks.ci import anytime, bookkeeping, judging, report, studies
from benchmarks.ci import run as ci
from benchmarks.counting import counted_bookkeeping, counted_work
from gbtune import evaluation
from gbtune.evaluation import Evaluator
from gbtune.families.xgboost import XGBoostPrepared
from gbtune.records import TRIAL_KEY, TrialRecord
from gbtune.slots import Slots
from gbtune.spaces import SearchSpace

CASE, TRIALS, REPLAYS = "diabetes-xgboost", 8, 2


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline of one short case, written by the code as it is."""
    path = tmp_path_factory.mktemp("baseline") / "baseline.json"
    assert ci.run(path.parent, update=True, trials=TRIALS, only=CASE, baseline=path) == 0
    return path


@functools.cache
def replays() -> dict[str, float]:
    """The replays of the code as it is."""
    return anytime.measure(seeds=REPLAYS)


def report_of(baseline: Path, output: Path) -> str:
    """Run the case; return the report if it fails, and nothing if it passes."""
    code = ci.run(output, trials=TRIALS, only=CASE, baseline=baseline)
    suite = ET.parse(output / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", str(code))
    return (output / "report.md").read_text(encoding="utf-8") if code else ""


# -- the three that must fail -------------------------------------------------------------------------------


def test_unchanged_code_passes(baseline: Path, tmp_path: Path) -> None:
    assert report_of(baseline, tmp_path) == ""
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Not worse than the baseline") and f"| {CASE} |" in text


def test_binning_in_every_trial_is_a_regression(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrices = XGBoostPrepared._matrices

    def bin_again(self: XGBoostPrepared, max_bin: int, fold: int) -> Any:
        self._pairs.pop((max_bin, fold), None)
        return matrices(self, max_bin, fold)

    monkeypatch.setattr(XGBoostPrepared, "_matrices", bin_again)
    assert f"- **{CASE}**: binned matrices built rose from 11 to" in report_of(baseline, tmp_path)


def test_a_study_without_its_portfolio_is_a_regression(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SearchSpace, "portfolio_for", lambda self, task: ())
    text = report_of(baseline, tmp_path)
    assert f"- **{CASE}**: trials among the first 10 that the sampler drew rose from" in text


@pytest.mark.parametrize("plant", ["none of it", "in reverse"])
def test_quality_at_any_time_shows_what_the_portfolio_is_worth(plant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, portfolio_for = replays(), SearchSpace.portfolio_for
    planted: Callable[[SearchSpace, str], Any] = {
        "none of it": lambda self, task: (),
        "in reverse": lambda self, task: portfolio_for(self, task)[::-1],
    }[plant]
    monkeypatch.setattr(SearchSpace, "portfolio_for", planted)
    words = judging.problems(before, anytime.measure(seeds=REPLAYS))
    assert words[0].startswith("share of the default's loss left after 5 trials rose from")


def test_growing_past_the_best_for_twice_as_long_is_a_regression(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = evaluation.patience
    monkeypatch.setattr(evaluation, "patience", lambda params: 2 * patience(params))
    assert f"- **{CASE}**: boosting rounds grown rose from" in report_of(baseline, tmp_path)


def test_training_everything_twice_is_a_regression(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = Evaluator.evaluate

    def twice(self: Evaluator, params: Any, **arguments: Any) -> Any:
        evaluate(self, params, **{**arguments, "report": None})
        return evaluate(self, params, **arguments)

    monkeypatch.setattr(Evaluator, "evaluate", twice)
    text = report_of(baseline, tmp_path)
    assert f"- **{CASE}**: boosting rounds grown rose from" in text
    assert f"- **{CASE}**: rows that the library evaluated rose from" in text


# -- the study without a booster ----------------------------------------------------------------------------


def test_looking_through_all_trials_at_each_is_a_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    before, again = bookkeeping.measure(40), bookkeeping.measure(40)
    assert before["trials"] == 40 and judging.problems(before, again) == []
    read = Slots.read

    def thorough(self: Slots) -> Any:
        for trial in self.study.get_trials(deepcopy=False):
            TrialRecord.from_json(trial.user_attrs.get(TRIAL_KEY, '{"number":0,"state":"running","params":{}}'))
        return read(self)

    monkeypatch.setattr(Slots, "read", thorough)
    words = " ".join(judging.problems(before, bookkeeping.measure(40)))
    assert "trial records read rose from" in words and "calls of gbtune's functions rose from" in words


# -- the judge, by hand -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "before", "passes", "fails"),
    [
        ("binnings", 11, 11, 12),
        ("rounds", 1000, 1050, 1051),
        ("rows_predicted", 400, 800, 801),
        ("left_after_5", 0.8, 0.8007, 0.8009),
        ("loss_at_end", 0.1, 0.1009, 0.1011),
        ("held_out_loss", 2.0, 2.09, 2.11),
        ("held_out_loss", 2.0, 1.0, float("nan")),
        ("records_read", 0, 0, 1),
    ],
)
def test_a_number_fails_beyond_its_tolerance(name: str, before: float, passes: float, fails: float) -> None:
    assert judging.problems({name: before}, {name: passes}) == []
    (words,) = judging.problems({name: before}, {name: fails})
    assert words.startswith(f"{judging.RULES[name].words} rose from ")


def test_seconds_are_shown_and_never_judged() -> None:
    assert judging.problems({"seconds": 1, "pruned": 0}, {"seconds": 99, "pruned": 99}) == []
    assert "| seconds (only shown) | 1 → 99 (+9800 %) |" in report.markdown(
        {"case": {"seconds": 1}}, {"case": {"seconds": 99}}, {"case": []}, {}
    )


def test_what_the_baseline_lacks_fails_and_says_what_to_do() -> None:
    (words,) = judging.problems({}, {"binnings": 11, "seconds": 3})
    assert words == "not both in the baseline and measured: binned matrices built. Write the baseline with --update"


def test_shares_are_read_after_trials_and_after_rounds() -> None:
    scores = [0.8, None, 0.6, 0.4, 0.4, 0.2]
    rounds = [500, 3000, 6500, 1, 9000, 1]
    study = [
        TrialRecord(number, "pruned" if score is None else "complete", {}, score=score, rounds_grown=(grown,))
        for number, (score, grown) in enumerate(zip(scores, rounds, strict=True))
    ]
    assert anytime.shares_left(study) == pytest.approx(
        {"left_after_5": 0.5, "left_after_10": 0.25, "left_after_20": 0.25, "left_after_rounds": 0.75}
    )


# -- the counts ---------------------------------------------------------------------------------------------


def test_the_counts_are_those_of_a_trial_by_hand(family_name: str, diabetes: tuple[pd.DataFrame, pd.Series]) -> None:
    space = quick_space(family_name).fix(n_estimators=20)
    with counted_work() as work, counted_bookkeeping() as books:
        objective = gbtune.Objective(family_name, *diabetes, space=space, cv=4, metric="mae")
        study = optuna.create_study(direction="minimize")
        study.optimize(objective, n_trials=1)
        objective.family.fit(objective.data, {}, 30, 0, loss="squared_error", prepared=objective.evaluator.prepared)
    assert work.rounds == 4 * 20 + 30, "on each fold, and of the final model"
    assert (work.evaluations, work.rows_evaluated) == (4 * 20, 442 * 20), "on each fold's validation rows"
    assert work.binnings == (1 + 2 * 4 if family_name == "xgboost" else 1)
    assert (work.scorings, work.rows_scored) == (work.predictions, work.rows_predicted) == (4, 442), "once, at the end"
    assert books.storage["create_new_trial"] == 1
    assert (books.records_written, books.records_read) == (3 + 1, 0), "after each fold but the last, and at the end"


@pytest.mark.parametrize("module", [anytime, counting, judging], ids=lambda module: module.__name__)
def test_the_examples_run(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


def test_nothing_is_counted_after_the_block(diabetes: tuple[pd.DataFrame, pd.Series]) -> None:
    import lightgbm

    with counted_work() as work:
        pass
    lightgbm.train({"verbosity": -1}, lightgbm.Dataset(*diabetes), num_boost_round=1)
    assert work.rounds == work.binnings == 0


# -- the command --------------------------------------------------------------------------------------------


def test_an_update_of_one_case_keeps_the_others(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "baseline.json"
    content = json.loads(baseline.read_text(encoding="utf-8"))
    other = {**content["cases"][CASE], "binnings": 99}
    path.write_text(json.dumps({**content, "cases": {CASE: other, "bookkeeping": {"trials": 7}}}), encoding="utf-8")
    monkeypatch.setattr(studies, "measure", lambda *_: content["cases"][CASE])
    assert ci.run(tmp_path, update=True, trials=TRIALS, only=CASE, baseline=path) == 0
    assert "99 → 11 (-89 %)" in capsys.readouterr().out
    written = json.loads(path.read_text(encoding="utf-8"))["cases"]
    assert written == {CASE: content["cases"][CASE], "bookkeeping": {"trials": 7}}


def test_another_number_of_trials_or_an_unknown_case_is_refused(baseline: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"The baseline has {TRIALS} trials a study, this run 3"):
        ci.run(tmp_path, trials=3, only=CASE, baseline=baseline)
    with pytest.raises(SystemExit, match=r"No case has 'wine' in its name\. There are: cancer_means-xgboost"):
        ci.run(tmp_path, trials=TRIALS, only="wine", baseline=baseline)


def test_the_committed_baseline_has_every_number() -> None:
    committed = json.loads(ci.BASELINE.read_text(encoding="utf-8"))
    assert set(committed["cases"]) == set(ci.cases()) and committed["trials"] == ci.TRIALS
    assert {name for numbers in committed["cases"].values() for name in numbers} == set(judging.RULES)


def test_the_command_line_names_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0 and "ci" in capsys.readouterr().out
