"""What MLflowTracker writes, into real SQLite stores."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import logging
import os
import pickle
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from gbtune.errors import InvalidArgument
from gbtune.records import StudyRecord
from gbtune.testing import trackers as kit
from gbtune.testing.trackers import RecordingTracker, TrackerContract, check_tracker
from gbtune.tracking import MLflowTracker
from gbtune.tracking.base import Tracker
from gbtune.tracking.store import _is_local_disk

Runs = Callable[..., list[mlflow.entities.Run]]


class TestMLflowTracker(TrackerContract):
    """The contract, with a real store."""


class TestRecordingTracker(TrackerContract):
    @pytest.fixture
    def tracker(self) -> Tracker:
        return RecordingTracker()


def tell(tracker: Tracker, outcome: Any = None) -> Any:
    tracker.study_started(kit.example_study())
    for trial in kit.example_trials():
        tracker.trial_finished(trial)
    return tracker.study_finished(outcome or kit.example_outcome())


def test_the_contract_class_and_the_plain_functions_are_the_same_checks() -> None:
    tests = [name for name, _ in inspect.getmembers(TrackerContract) if name.startswith("test_")]
    assert len(tests) - 1 == len(kit.CHECKS) == check_tracker(RecordingTracker).count  # one test counts the others


def test_the_contract_catches_a_tracker_that_makes_duplicates() -> None:
    class Forgetful(RecordingTracker):
        def study_finished(self, outcome: Any) -> Any:
            super().study_finished(outcome)
            return dataclasses.replace(super().study_finished(outcome), run_id=f"run-{len(self.outcomes)}")

    with pytest.raises(AssertionError, match="told twice"):
        check_tracker(Forgetful)


def test_the_tracker_interface_has_three_methods() -> None:
    assert Tracker.__abstractmethods__ == {"study_started", "trial_finished", "study_finished"}


def test_every_trial_is_a_child_with_its_true_times_and_status(tracker: MLflowTracker, runs: Runs) -> None:
    receipt = tell(tracker)
    children = runs(gbtune_kind="trial")
    assert [run.info.run_name for run in children] == [f"#{i:04d} xgboost" for i in range(5)]
    assert [run.info.status for run in children] == ["FINISHED", "FINISHED", "FINISHED", "KILLED", "FAILED"]
    assert [run.data.tags["gbtune.state"] for run in children] == ["COMPLETE"] * 3 + ["PRUNED", "FAIL"]
    for run, trial in zip(children, kit.example_trials(), strict=True):
        assert (run.info.start_time, run.info.end_time) == (trial.started_at, trial.ended_at)
        assert run.data.tags["mlflow.parentRunId"] == receipt.run_id
        assert run.data.tags["gbtune.trial_uid"] == f"contract:{trial.number}"


def test_a_complete_trial_shows_parameters_rounds_scores_curve_and_seconds(
    tracker: MLflowTracker, runs: Runs, client: mlflow.MlflowClient
) -> None:
    tell(tracker)
    run = runs(gbtune_trial="1")[0]
    trial = kit.example_trials()[1]
    assert run.data.params == {
        "eta": "0.11",
        "max_depth": "4",
        "grow_policy": "depthwise",
        "n_estimators": "30",
    }
    expected = {"roc_auc": 0.74, "cv/fold0": 0.73, "cv/fold1": 0.75, "time/train": 0.5, "extra/log_loss": 0.4}
    assert expected.items() <= run.data.metrics.items()
    curve = client.get_metric_history(run.info.run_id, "curve/roc_auc")
    assert [(m.step, m.value) for m in curve] == list(zip(trial.curve_rounds, trial.curve, strict=True))
    assert {m.timestamp for m in curve} == {trial.ended_at}
    tags = run.data.tags
    assert tags["gbtune.provenance"] == "an example portfolio"
    assert tags["gbtune.space"] == "xgboost/core"
    assert tags["gbtune.space_version"] == "1"
    assert tags["gbtune.sampled"] == "eta, max_depth"


def test_a_pruned_trial_has_a_partial_score_and_no_value_of_the_metric(tracker: MLflowTracker, runs: Runs) -> None:
    tell(tracker)
    run = runs(gbtune_trial="3")[0]
    assert run.data.metrics["partial_score"] == 0.5
    assert "roc_auc" not in run.data.metrics
    assert run.data.tags["gbtune.reason"] == "race"


def test_what_mlflow_would_refuse_or_distort_is_made_safe_and_said(tracker: MLflowTracker, runs: Runs) -> None:
    tell(tracker)
    run = runs(gbtune_trial="3")[0]
    assert run.data.params["eta"] == "inf"
    assert len(run.data.params["note_at__x_"]) == 6000
    assert run.data.tags["gbtune.long_params"] == "note_at__x_ (9000 characters)"
    assert run.data.tags["gbtune.nonfinite"] == "extra/gap, extra/ndcg@5"
    assert not any(name.startswith("extra/") for name in run.data.metrics)


def test_a_failed_trial_says_why(tracker: MLflowTracker, runs: Runs) -> None:
    tell(tracker)
    run = runs(gbtune_trial="4")[0]
    assert run.data.tags["gbtune.error"] == "ValueError: eta is negative"
    note = run.data.tags["mlflow.note.content"]
    assert len(note) <= 8000
    assert "Traceback" in note and "eta is negative" in note


def test_the_study_shows_data_folds_versions_and_budget(tracker: MLflowTracker, runs: Runs) -> None:
    tell(tracker)
    (run,) = runs(gbtune_kind="study")
    expected = {"family": "xgboost", "folds": "2 stratified folds", "seed": "0", "n_trials": "5", "sampler": "tpe"}
    assert expected.items() <= run.data.params.items()
    assert run.data.tags["gbtune.state"] == "complete"
    assert run.data.tags["gbtune.version.optuna"] == "5.0.0"
    assert run.data.tags["mlflow.note.content"].partition("\n\n")[2].startswith("# example")
    assert run.data.tags["gbtune.best_trial"] == "1"
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.digest == "0123456789abcdef"
    schema = json.loads(data.dataset.schema)["mlflow_colspec"]
    assert [(column["name"], column["type"]) for column in schema] == [("age", "double"), ("town", "string")]
    assert (run.info.start_time, run.info.end_time) == (kit.START, kit.START + 10_000)


def test_the_study_shows_the_best_score_after_each_trial(tracker: MLflowTracker, client: mlflow.MlflowClient) -> None:
    receipt = tell(tracker)
    history = client.get_metric_history(receipt.run_id, "roc_auc")
    best = sorted((m.step, m.value) for m in history)
    assert best == [(0, 0.70), (1, 0.74), (2, 0.74), (3, 0.74), (4, 0.74)]
    assert client.get_run(receipt.run_id).data.metrics["gain_se"] == 0.005


def test_the_files_of_the_study_can_be_read_back(
    tracker: MLflowTracker,
    client: mlflow.MlflowClient,
    tmp_path: Path,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receipt = tell(tracker)
    names = {item.path for item in client.list_artifacts(receipt.run_id)}
    files = ("trials.json", "trials.csv", "best_params.json", "search_space.json", "environment.json", "report.html")
    assert names == set(files)
    folder = Path(client.download_artifacts(receipt.run_id, ""))
    assert json.loads((folder / "best_params.json").read_text()) == kit.example_outcome().best_params
    assert json.loads((folder / "search_space.json").read_text())["name"] == "core"
    assert "report" in (folder / "report.html").read_text()
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    # `load_table` searches the store of the fluent interface, whatever the client's
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", client.tracking_uri)
    table = client.load_table(experiment, "trials.json", run_ids=[receipt.run_id])
    assert table["roc_auc"].dropna().tolist() == pytest.approx([0.70, 0.74, 0.72])
    assert table["run_id"].tolist() == [run.info.run_id for run in runs(gbtune_kind="trial")]
    assert folder.is_relative_to(tmp_path / "mlartifacts")


def test_the_best_trial_is_marked_and_the_mark_moves(tracker: MLflowTracker, runs: Runs) -> None:
    trials = kit.example_trials()
    tell(tracker, kit.example_outcome(trials[:1]))
    assert [run.data.tags["gbtune.trial"] for run in runs(gbtune_best="true")] == ["0"]
    tell(tracker)
    assert [run.data.tags["gbtune.trial"] for run in runs(gbtune_best="true")] == ["1"]
    assert "mlflow.runColor" not in runs(gbtune_trial="0")[0].data.tags


def test_telling_a_study_twice_changes_nothing(uri: str, runs: Runs, client: mlflow.MlflowClient) -> None:
    first = tell(MLflowTracker(uri))
    before = [run.to_dictionary() for run in runs()]
    curve = client.get_metric_history(first.run_id, "roc_auc")
    second = tell(MLflowTracker(uri))
    assert first == second
    assert [run.to_dictionary() for run in runs()] == before
    assert client.get_metric_history(first.run_id, "roc_auc") == curve


def test_an_unfinished_study_is_completed_from_its_trials(uri: str, runs: Runs) -> None:
    tracker = MLflowTracker(uri)
    tracker.study_started(kit.example_study())
    tracker.trial_finished(kit.example_trials()[2])
    tracker.study_finished(kit.example_outcome([]))
    assert len(runs(gbtune_kind="trial")) == 1
    tell(MLflowTracker(uri))
    assert sorted(run.data.tags["gbtune.trial"] for run in runs(gbtune_kind="trial")) == list("01234")


def test_a_trial_whose_writing_was_cut_off_is_repaired(uri: str, runs: Runs, client: mlflow.MlflowClient) -> None:
    receipt = tell(MLflowTracker(uri), kit.example_outcome([]))
    child = runs(gbtune_trial="2")[0]
    client.delete_run(child.info.run_id)
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    tags = {k: v for k, v in child.data.tags.items() if k.startswith(("gbtune.", "mlflow.parent"))}
    half = client.create_run(experiment, start_time=child.info.start_time, tags=tags)  # the process died here
    assert half.info.status == "RUNNING"
    assert tell(MLflowTracker(uri)).run_id == receipt.run_id
    (repaired,) = runs(gbtune_trial="2")
    assert repaired.info.run_id == half.info.run_id
    assert (repaired.info.status, repaired.data.metrics["roc_auc"]) == ("FINISHED", 0.72)


def test_a_create_that_was_not_answered_makes_no_duplicate(
    uri: str, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mlflow.MlflowClient.create_run
    lost = threading.Event()

    def lose_one_answer(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = real(self, *args, **kwargs)
        if kwargs["tags"].get("gbtune.trial") == "1" and not lost.is_set():
            lost.set()
            raise ConnectionResetError("the answer was lost")
        return run

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", lose_one_answer)
    with pytest.warns(UserWarning, match="answer was lost"):
        receipt = tell(MLflowTracker(uri))
    assert lost.is_set() and not receipt.problems
    assert len(runs(gbtune_trial="1")) == 1


def test_no_run_is_running_when_the_process_is_killed(uri: str, runs: Runs) -> None:
    tracker = MLflowTracker(uri)
    tracker.study_started(kit.example_study())
    for trial in kit.example_trials():
        tracker.trial_finished(trial)
    assert tracker._worker.flush(60.0) == []  # and here it dies
    assert {run.info.status for run in runs()} == {"FINISHED", "KILLED", "FAILED"}
    assert runs(gbtune_kind="study")[0].data.tags["gbtune.state"] == "running"


@pytest.mark.parametrize(("state", "status"), [("interrupted", "FINISHED"), ("failed", "FAILED")])
def test_how_a_study_ended_is_a_tag(tracker: MLflowTracker, runs: Runs, state: str, status: str) -> None:
    tell(tracker, kit.example_outcome(state=state))
    (run,) = runs(gbtune_kind="study")
    assert (run.data.tags["gbtune.state"], run.info.status) == (state, status)


def test_a_resumed_study_keeps_its_first_parameters(uri: str, runs: Runs) -> None:
    tell(MLflowTracker(uri))
    tracker = MLflowTracker(uri)
    tracker.study_started(kit.example_study(n_trials=100))
    assert tracker.study_finished(kit.example_outcome()).problems == ()
    (run,) = runs(gbtune_kind="study")
    assert run.data.params["n_trials"] == "5"


def test_the_default_store_lies_in_the_current_folder_with_absolute_places(tmp_path: Path) -> None:
    tracker = MLflowTracker()
    receipt = tell(tracker)
    assert receipt.problems == ()
    assert tracker.tracking_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert receipt.url == "gbtune ui example"
    made = {path.name for path in tmp_path.iterdir()} - {"mlflow.db-shm", "mlflow.db-wal"}
    assert made == {"mlflow.db", "mlartifacts"}
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    assert mode == ("wal" if _is_local_disk(tmp_path) else "delete")


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch, uri: str, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracker = MLflowTracker()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    assert tell(tracker).problems == ()
    assert not (tmp_path / "other.db").exists()


def test_the_callers_world_is_untouched(
    uri: str, tmp_path: Path, empty_database: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = f"sqlite:///{tmp_path / 'mine.db'}"
    (tmp_path / "mine.db").write_bytes(empty_database.read_bytes())
    mlflow.set_tracking_uri(mine)
    try:
        mlflow.set_experiment("mine")
        capfd.readouterr()
        with mlflow.start_run() as active:
            environment = dict(os.environ)
            filters = [list(logging.getLogger(name).filters) for name in ("mlflow", "mlflow.store.db.utils")]
            receipt = tell(MLflowTracker(uri))
            assert receipt.problems == ()
            assert mlflow.active_run().info.run_id == active.info.run_id
            assert mlflow.get_tracking_uri() == mine
            assert dict(os.environ) == environment
            assert filters == [logging.getLogger(name).filters for name in ("mlflow", "mlflow.store.db.utils")]
            mlflow.log_metric("still", 1.0)
        run = mlflow.get_run(active.info.run_id)
        assert (run.data.metrics, run.data.params) == ({"still": 1.0}, {})
        assert mlflow.get_experiment(run.info.experiment_id).name == "mine"
        assert len(mlflow.search_runs(search_all_experiments=True)) == 1
        out, err = capfd.readouterr()
        assert (out, err) == ("", "")
    finally:
        mlflow.set_tracking_uri(None)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        os.environ.pop("MLFLOW_EXPERIMENT_ID", None)


def test_a_copy_of_a_tracker_has_the_settings_and_its_own_life(uri: str) -> None:
    tracker = MLflowTracker(uri, experiment="mine", register="model", flush_seconds=3.0)
    tracker.study_started(kit.example_study())
    for other in (copy.deepcopy(tracker), pickle.loads(pickle.dumps(tracker))):
        assert repr(other) == repr(tracker)
        assert (other.register, other.flush_seconds) == ("model", 3.0)
        assert other._run is None
    tracker.study_finished(kit.example_outcome([]))


def test_a_password_is_not_shown() -> None:
    tracker = MLflowTracker("postgresql://me:secret@127.0.0.1:9/db")
    assert "secret" not in repr(tracker)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tracking_uri": "mlflow.db"}, "must be a URI"),
        ({"experiment": ""}, "experiment must be a name"),
        ({"register": "a/b"}, "without '/' and ':'"),
        ({"flush_seconds": 0}, "positive number of seconds"),
    ],
)
def test_a_mistake_in_the_arguments_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        MLflowTracker(**arguments)


def test_trials_before_the_study_are_refused(tracker: MLflowTracker) -> None:
    with pytest.raises(InvalidArgument, match="after study_started"):
        tracker.trial_finished(kit.example_trials()[0])
    with pytest.raises(InvalidArgument, match="after study_started"):
        tracker.study_finished(kit.example_outcome())


def test_a_wide_table_still_has_a_data_input(tracker: MLflowTracker, runs: Runs) -> None:
    columns = {f"column {i} with a long name " + "x" * 50: "number" for i in range(12_000)}
    wide: StudyRecord = kit.example_study(columns=columns, n_columns=len(columns))
    tracker.study_started(wide)
    assert tracker.study_finished(kit.example_outcome()).problems == ()
    (data,) = runs(gbtune_kind="study")[0].inputs.dataset_inputs
    assert json.loads(data.dataset.schema)["n_columns"] == 12_000
