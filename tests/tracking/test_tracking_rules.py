"""What is required of the store, which trials get runs, and what becomes of names that MLflow refuses."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

import gbtune
from gbtune.errors import GbtuneError, GbtuneWarning, InvalidArgument, TrackingUnavailable
from gbtune.records import StudyOutcome, TrialRecord
from gbtune.testing import trackers as kit
from gbtune.tracking import MLflowTracker, store, worker
from gbtune.tracking import mlflow as tracker_module
from gbtune.tracking.projection import MAX_CURVE_POINTS, project_study, project_trial
from gbtune.tracking.spool import spools
from gbtune.tracking.study_run import TOP
from gbtune.tracking.sync import story, sync, tracker_for

Runs = Callable[..., list[mlflow.entities.Run]]


def tell(tracker: MLflowTracker, outcome: StudyOutcome | None = None) -> Any:
    outcome = outcome or kit.example_outcome()
    tracker.study_started(kit.example_study())
    for trial in outcome.trials:
        tracker.trial_finished(trial)
    receipt = tracker.study_finished(outcome)
    assert receipt.problems == ()
    return receipt


def many_trials(n: int) -> list[TrialRecord]:
    """A baseline, which is the worst, then ever better ones; each seventh fails."""
    return [
        TrialRecord(
            number,
            "failed" if number % 7 == 6 else "complete",
            {"eta": 0.1 + number / 1000},
            kind="sampled" if number else "baseline",
            score=None if number % 7 == 6 else 0.5 + number / 1000,
            error="Traceback\nValueError: no" if number % 7 == 6 else None,
            started_at=kit.START + number,
            ended_at=kit.START + number,
        )
        for number in range(n)
    ]


def numbers(runs: list[mlflow.entities.Run]) -> list[int]:
    return sorted(int(run.data.tags["gbtune.trial"]) for run in runs)


def best_numbers(trials: list[TrialRecord]) -> list[int]:
    return [0, *[trial.number for trial in trials if trial.score is not None][-TOP:]]


# -- policy ---------------------------------------------------------------------------------------------------


def test_a_required_store_that_is_dead_stops_before_the_first_trial() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    tracker = MLflowTracker(uri, policy="required")
    with pytest.raises(TrackingUnavailable, match="does not answer") as caught:
        tracker.study_started(kit.example_study())
    assert isinstance(caught.value, GbtuneError) and isinstance(caught.value, RuntimeError)
    assert not Path("gbtune-studies").exists()


def test_a_required_store_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_module, "REQUIRED_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        tracker = MLflowTracker(f"http://127.0.0.1:{server.getsockname()[1]}", policy="required")
        with pytest.raises(TrackingUnavailable, match=r"did not answer within 0\.5 s"):
            tracker.study_started(kit.example_study())


def test_a_required_store_that_is_read_only_is_refused(uri: str) -> None:
    mlflow.MlflowClient(tracking_uri=uri).create_experiment("gbtune")
    path = uri.removeprefix("sqlite:///")
    with pytest.raises(TrackingUnavailable, match="readonly"):
        MLflowTracker(f"sqlite:///file:{path}?mode=ro&uri=true", policy="required").study_started(kit.example_study())


def test_a_required_driver_is_asked_for(uri: str) -> None:
    with pytest.raises(TrackingUnavailable, match="pg8000"):
        MLflowTracker("postgresql+pg8000://127.0.0.1:9/db", policy="required").study_started(kit.example_study())


def test_a_required_store_that_answers_is_written_at_once(uri: str, runs: Runs) -> None:
    tracker = MLflowTracker(uri, policy="required")
    tracker.study_started(kit.example_study())
    assert len(runs(gbtune_kind="study")) == 1
    assert tracker.study_finished(kit.example_outcome()).problems == ()


def test_no_tree_is_grown_when_the_required_store_is_away(diabetes: tuple[pd.DataFrame, pd.Series]) -> None:
    grown: list[int] = []

    def metric(y: Any, prediction: Any) -> float:
        grown.append(1)
        return 0.0

    watched = gbtune.Metric("watched", metric, direction="minimize", needs="raw")
    tracker = MLflowTracker("http://127.0.0.1:1", policy="required")
    with pytest.raises(TrackingUnavailable, match=r"127\.0\.0\.1:1"):
        gbtune.tune_lgbm(*diabetes, metric=watched, n_trials=1, cv=2, tracking=tracker, progress=False)
    assert grown == []


# -- detail ---------------------------------------------------------------------------------------------------


def test_the_top_is_the_best_complete_trials_and_the_baseline(uri: str, runs: Runs) -> None:
    trials = many_trials(40)
    receipt = tell(MLflowTracker(uri, detail="top"), kit.example_outcome(trials))
    assert numbers(runs(gbtune_kind="trial")) == best_numbers(trials)
    assert [run.data.tags["gbtune.trial"] for run in runs(gbtune_best="true")] == ["39"]
    # not `load_table`, which searches the store of the fluent interface, whatever the client's
    table = pd.read_json(mlflow.MlflowClient(uri).download_artifacts(receipt.run_id, "trials.json"), orient="split")
    assert table["number"].tolist() == list(range(40))
    assert table["error"].dropna().unique().tolist() == ["ValueError: no"]


def test_a_study_that_goes_on_keeps_to_its_rule(uri: str, runs: Runs) -> None:
    trials = many_trials(60)
    tell(MLflowTracker(uri, detail="top"), kit.example_outcome(trials[:40]))
    tell(MLflowTracker(uri, detail="all"), kit.example_outcome(trials))
    assert numbers(runs(gbtune_kind="trial")) == best_numbers(trials)
    (parent,) = runs(gbtune_kind="study")
    assert parent.data.tags["gbtune.detail"] == "top"


def test_runs_of_a_study_that_began_in_full_are_not_removed(uri: str, runs: Runs) -> None:
    trials = many_trials(30)
    tell(MLflowTracker(uri), kit.example_outcome(trials))
    tell(MLflowTracker(uri, detail="summary"), kit.example_outcome(trials))
    assert numbers(runs(gbtune_kind="trial")) == list(range(30))


def test_a_summary_has_no_runs_of_trials(uri: str, runs: Runs, client: mlflow.MlflowClient) -> None:
    receipt = tell(MLflowTracker(uri, detail="summary"))
    assert [run.info.run_id for run in runs()] == [receipt.run_id]
    assert len(client.get_metric_history(receipt.run_id, "roc_auc")) == 5
    assert "trials.csv" in {item.path for item in client.list_artifacts(receipt.run_id)}


def test_a_synced_study_keeps_to_its_rule(tmp_path: Path, empty_database: Path) -> None:
    trials = many_trials(40)
    ended = kit.example_outcome(trials)
    found = []
    for name in ("healthy", "synced"):
        database = tmp_path / f"{name}.db"
        database.write_bytes(empty_database.read_bytes())
        uri = f"sqlite:///{database}"
        if name == "healthy":
            tell(MLflowTracker(uri, detail="top"), ended)
        else:
            tracker = MLflowTracker("http://127.0.0.1:1", detail="top", flush_seconds=0.1)
            tracker.study_started(kit.example_study())
            with pytest.warns(GbtuneWarning, match="gbtune sync"):
                tracker.study_finished(ended)
            (spool,) = spools(Path("gbtune-studies/example").absolute())
            study, told, _ = spool.read()
            assert sync(study, story(study, told, spool), tracker_for(spool, uri), spool=spool).problems == ()
        client = mlflow.MlflowClient(tracking_uri=uri)
        runs = client.search_runs([client.get_experiment_by_name("gbtune").experiment_id])
        found.append(sorted((run.info.run_name, run.data.tags.get("gbtune.best")) for run in runs))
    assert found[0] == found[1]
    assert len(found[0]) == TOP + 2


@pytest.mark.parametrize("arguments", [{"policy": "strict"}, {"detail": "most"}, {"detail": None}])
def test_unknown_words_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="Known: "):
        MLflowTracker(**arguments)


def test_a_pickled_tracker_keeps_policy_and_detail(uri: str) -> None:
    secret = "postgresql://me:secret@host/db"
    other = pickle.loads(
        pickle.dumps(MLflowTracker(uri, policy="required", detail="top", log_model=False, registry_uri=secret))
    )
    assert (other.policy, other.detail, other.log_model, other.registry_uri) == ("required", "top", False, secret)


# -- names ----------------------------------------------------------------------------------------------------


def test_a_refused_name_is_said_and_no_value_is_lost(uri: str, runs: Runs) -> None:
    trial = TrialRecord(
        0,
        "complete",
        {"a[0]": 1, "a{0}": 2},
        score=0.5,
        extra={"ndcg@5": 0.1, "ndcg_at_5": 0.2, "fine": 0.3},
        started_at=kit.START,
        ended_at=kit.START,
    )
    study = kit.example_study(metric="ndcg@10")
    tracker = MLflowTracker(uri)
    tracker.study_started(study)
    assert tracker.study_finished(kit.example_outcome([trial])).problems == ()
    (run,) = runs(gbtune_kind="trial")
    expected = {"ndcg_at_10": 0.5, "extra/ndcg_at_5": 0.1, "extra/ndcg_at_5_2": 0.2, "extra/fine": 0.3, "trial": 0}
    assert run.data.metrics == expected
    assert run.data.params == {"a_0_": "1", "a_0__2": "2"}
    assert run.data.tags["gbtune.renamed"] == (
        "ndcg@10 -> ndcg_at_10, extra/ndcg@5 -> extra/ndcg_at_5, extra/ndcg_at_5 -> extra/ndcg_at_5_2, "
        "a[0] -> a_0_, a{0} -> a_0__2"
    )
    (parent,) = runs(gbtune_kind="study")
    assert parent.data.tags["gbtune.renamed"] == "ndcg@10 -> ndcg_at_10"


def test_a_run_without_refused_names_has_no_such_tag() -> None:
    assert "gbtune.renamed" not in project_trial(kit.example_study(), kit.example_trials()[0]).tags
    assert "gbtune.renamed" not in project_study(kit.example_study()).tags


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    rounds = tuple(range(1, 201))
    trial = TrialRecord(0, "complete", {}, score=0.5, curve_rounds=rounds, curve=tuple(1.0 / r for r in rounds))
    steps = [point.step for point in project_trial(kit.example_study(), trial).points if point.key.startswith("curve")]
    assert len(steps) == MAX_CURVE_POINTS
    assert (steps[0], steps[-1]) == (1, 200)


def test_where_a_study_is_kept_is_a_tag() -> None:
    tags = project_study(kit.example_study(storage="/data/study.journal")).tags
    assert tags["gbtune.storage"] == "/data/study.journal"
    assert "gbtune.storage" not in project_study(kit.example_study()).tags


# -- the caller's path ----------------------------------------------------------------------------------------


def test_a_store_that_hangs_does_not_hold_up_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "DEAD_SECONDS", 0.3)
    monkeypatch.setattr(store, "PROBE_SECONDS", 60.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        tracker = MLflowTracker(f"http://127.0.0.1:{server.getsockname()[1]}", flush_seconds=0.5)
        tracker.study_started(kit.example_study())
        for trial in kit.example_trials():
            tracker.trial_finished(trial)
        assert tracker._worker.first_error is None  # all is told, and the first probe still waits for its minute
        assert len(tracker._run.spool.trials()) == 5
        with pytest.warns(GbtuneWarning, match="did not answer in time"):
            tracker.study_finished(kit.example_outcome())


def test_the_callers_environment_is_not_written(uri: str) -> None:
    before = dict(os.environ)
    tell(MLflowTracker(uri))
    assert dict(os.environ) == before


def test_the_callers_autologging_is_left_alone(uri: str) -> None:
    script = f"""
import mlflow, sklearn.datasets
import gbtune
mlflow.set_tracking_uri({uri.replace("mlflow.db", "mine.db")!r})
mlflow.lightgbm.autolog(log_models=False)
active = mlflow.start_run()
X, y = sklearn.datasets.load_diabetes(return_X_y=True, as_frame=True)
gbtune.tune_lgbm(X, y, n_trials=2, cv=2, tracking={uri!r}, progress=False)
assert mlflow.active_run().info.run_id == active.info.run_id
assert mlflow.get_tracking_uri().endswith("mine.db")
from mlflow.utils.autologging_utils import autologging_is_disabled, get_autologging_config
assert not autologging_is_disabled("lightgbm")
assert get_autologging_config("lightgbm", "log_models") is False
mlflow.end_run()
assert len(mlflow.search_runs(search_all_experiments=True)) == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    assert len(client.search_runs([experiment])) == 2 + 2


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        ({"reason": "race", "fold_scores": (0.7, 0.72)}, "Stopped by the race after 2 of 5 folds: roc_auc 0.71"),
        ({"reason": "pruner", "fold_scores": (0.7,) * 5, "rounds_grown": (30,) * 5}, "its pruner after 30 rounds: roc"),
        ({"reason": "deadline", "partial_score": None}, "Stopped by the deadline after 0 of 5 folds."),
        ({"reason": "race", "provenance": "TabR"}, "0 of 5 folds: roc_auc 0.71 by then.\n\nPortfolio entry: TabR"),
    ],
)
def test_the_page_of_a_pruned_trial_says_what_stopped_it_and_when(trial: dict[str, Any], words: str) -> None:
    given = {"partial_score": 0.71, "n_folds": 5, "kind": "portfolio", **trial}
    assert (
        words in project_trial(kit.example_study(), TrialRecord(3, "pruned", {}, **given)).tags["mlflow.note.content"]
    )
