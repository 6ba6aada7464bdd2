"""Real faults, and `sync` afterwards: the experiment is that of a study that met none."""

from __future__ import annotations

import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pandas as pd
import pytest
from mlflow_server import Server, contents, full_disk, small_bundle

import gbtune
from gbtune.errors import GbtuneWarning
from gbtune.records import Receipt, StudyOutcome, TrialRecord
from gbtune.testing import trackers as kit
from gbtune.tracking import MLflowTracker, worker
from gbtune.tracking.spool import Spool, spools
from gbtune.tracking.sync import story, sync, tracker_for

Data = tuple[pd.DataFrame, pd.Series]
optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module")
def ended(breast_cancer: Data) -> StudyOutcome:
    return kit.example_outcome(model=small_bundle(*breast_cancer), register="churn")


@pytest.fixture
def healthy(uri: str, client: mlflow.MlflowClient, ended: StudyOutcome) -> dict[str, Any]:
    """What a study looks like that met no fault."""
    tracker = MLflowTracker(uri)
    tracker.study_started(kit.example_study())
    for trial in kit.example_trials():
        tracker.trial_finished(trial)
    assert tracker.study_finished(ended).problems == ()
    return contents(client)


@pytest.fixture
def fresh(server: Server, request: pytest.FixtureRequest) -> Iterator[Callable[[], dict[str, Any]]]:
    """The server's experiment of this test, as its contents; nothing is left of it for the next test."""
    name = "gbtune"
    yield lambda: contents(server.client, name)
    server.go_on()
    server.start()
    client = server.client
    found = client.get_experiment_by_name(name)
    if found is None:  # the test failed before
        return
    client.rename_experiment(found.experiment_id, request.node.name)
    for model in client.search_registered_models("name = 'churn'"):
        client.delete_registered_model(model.name)


@pytest.fixture(autouse=True)
def _no_retries_of_mlflows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the process from which `tune` writes: a call that is given up must not get through minutes later."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def idle(tracker: MLflowTracker) -> bool:
    return not tracker._worker._waiting and tracker._worker._busy is None


def finish(tracker: MLflowTracker, outcome: StudyOutcome) -> Receipt:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GbtuneWarning)
        return tracker.study_finished(outcome)


def sync_what_is_left(uri: str, folder: Path | None = None) -> Receipt:
    (spool,) = spools(folder or Path("gbtune-studies/example").absolute())
    study, told, _ = spool.read()
    return sync(study, story(study, told, spool), tracker_for(spool, uri), spool=spool)


def check_same(found: dict[str, Any], healthy: dict[str, Any]) -> None:
    assert found["runs"].keys() == healthy["runs"].keys()
    for name, run in healthy["runs"].items():
        assert found["runs"][name] == run, name
    for model, other in zip(found["models"], healthy["models"], strict=True):
        for part, value in other.items():
            assert model[part] == value, part

    assert found["versions"] == healthy["versions"]


def test_a_server_killed_before_the_first_trial(
    server: Server, fresh: Callable[[], Any], healthy: dict[str, Any], ended: StudyOutcome
) -> None:
    server.kill()
    tracker = MLflowTracker(server.uri, flush_seconds=2.0)
    tracker.study_started(kit.example_study())
    with pytest.warns(GbtuneWarning, match="gbtune sync"):
        receipt = tracker.study_finished(ended)
    assert receipt.run_id is None
    folder = Path("gbtune-studies/example").absolute()
    assert receipt.problems[-1] == f"Finish with: gbtune sync {folder} --tracking-uri {server.uri}"
    server.start()
    assert sync_what_is_left(server.uri).problems == ()
    check_same(fresh(), healthy)
    assert not Path("gbtune-studies").exists()


def test_a_server_killed_in_mid_study(
    server: Server, fresh: Callable[[], Any], healthy: dict[str, Any], ended: StudyOutcome
) -> None:
    tracker = MLflowTracker(server.uri, flush_seconds=2.0)
    tracker.study_started(kit.example_study())
    for trial in kit.example_trials()[:2]:
        tracker.trial_finished(trial)
    until(lambda: idle(tracker))
    server.kill()
    for trial in kit.example_trials()[2:]:
        tracker.trial_finished(trial)
    receipt = finish(tracker, ended)
    assert receipt.run_id is not None
    assert any("trial 4" in problem for problem in receipt.problems)
    server.start()
    again = sync_what_is_left(server.uri)
    assert (again.problems, again.run_id) == ((), receipt.run_id)
    check_same(fresh(), healthy)


def test_a_server_killed_during_the_upload_of_the_model(
    server: Server,
    fresh: Callable[[], Any],
    healthy: dict[str, Any],
    ended: StudyOutcome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = mlflow.MlflowClient.log_artifact, mlflow.MlflowClient.log_model_artifacts
    released = threading.Event()

    def killed_in_between(self: Any, model_id: str, folder: str) -> None:
        server.kill()
        released.wait(60)  # MLflow's own attempts go on for minutes

    monkeypatch.setattr(mlflow.MlflowClient, "log_model_artifacts", killed_in_between)
    tracker = MLflowTracker(server.uri, flush_seconds=15.0)
    tracker.study_started(kit.example_study())
    for trial in kit.example_trials():
        tracker.trial_finished(trial)
    until(lambda: idle(tracker))
    monkeypatch.setattr(worker, "UPLOAD_SECONDS", 1.0)
    tracker.flush_seconds = 3.0
    receipt = finish(tracker, ended)
    assert receipt.problems[0].startswith("Not written: the model (")
    monkeypatch.setattr(mlflow.MlflowClient, "log_model_artifacts", real[1])
    server.start()
    assert sync_what_is_left(server.uri).model_uri == "models:/churn/1"
    check_same(fresh(), healthy)
    released.set()


def test_a_server_that_hangs_in_mid_study_and_goes_on_later(
    server: Server,
    fresh: Callable[[], Any],
    healthy: dict[str, Any],
    ended: StudyOutcome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "ATTEMPT_SECONDS", 0.5)
    tracker = MLflowTracker(server.uri, flush_seconds=3.0)
    tracker.study_started(kit.example_study())
    tracker.trial_finished(kit.example_trials()[0])
    until(lambda: idle(tracker))
    server.hang()
    for trial in kit.example_trials()[1:]:
        tracker.trial_finished(trial)
    until(lambda: tracker._worker.first_error is not None)
    assert isinstance(tracker._worker.first_error, TimeoutError)
    assert "trial 1" in finish(tracker, ended).problems[0]
    server.go_on()  # and carries out what it was asked meanwhile
    until(server.answers)
    monkeypatch.setattr(worker, "ATTEMPT_SECONDS", 10.0)
    assert sync_what_is_left(server.uri).problems == ()
    check_same(fresh(), healthy)


def test_a_sync_after_all_is_written_changes_nothing(
    uri: str, client: mlflow.MlflowClient, healthy: dict[str, Any], ended: StudyOutcome
) -> None:
    receipt = sync(kit.example_study(), ended, MLflowTracker(uri))
    assert receipt.problems == ()
    check_same(contents(client), healthy)


def test_what_a_hung_server_did_twice_is_once_after_a_sync(
    uri: str, client: mlflow.MlflowClient, healthy: dict[str, Any], ended: StudyOutcome
) -> None:
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    before = {run.info.run_id for run in client.search_runs([experiment])}
    for run in client.search_runs([experiment]):
        if run.info.run_name in ("#0001 xgboost", "example", "final"):
            tags = {k: v for k, v in run.data.tags.items() if k.startswith("gbtune.") or k == "mlflow.parentRunId"}
            client.create_run(experiment, run.info.start_time, tags, run.info.run_name)
    (version,) = client.search_model_versions("name = 'churn'")
    client.create_model_version("churn", version.source, version.run_id, version.tags)
    (model,) = client.search_logged_models([experiment])
    client.create_logged_model(experiment, model.name, model.source_run_id)
    assert sync(kit.example_study(), ended, MLflowTracker(uri)).problems == ()
    check_same(contents(client), healthy)
    assert {run.info.run_id for run in client.search_runs([experiment])} == before


def test_a_second_run_of_the_study_hands_its_children_over(
    uri: str, client: mlflow.MlflowClient, healthy: dict[str, Any], ended: StudyOutcome
) -> None:
    """Two processes that start at once may each create the study's run; the oldest is kept."""
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`gbtune.kind` = 'study'")
    tags = {k: v for k, v in parent.data.tags.items() if k.startswith("gbtune.")}
    older = client.create_run(experiment, parent.info.start_time - 1, tags, "example")
    client.set_terminated(older.info.run_id)
    receipt = sync(kit.example_study(), ended, MLflowTracker(uri))
    assert (receipt.problems, receipt.run_id) == ((), older.info.run_id)
    runs = client.search_runs([experiment])
    assert len(runs) == len(healthy["runs"])
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs}
    assert parents == {None, older.info.run_id}
    assert client.get_run(older.info.run_id).data.metrics["gain"] == pytest.approx(0.04)


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_a_tuned_study_whose_server_is_away_can_be_rebuilt_anywhere(
    server: Server, family: str, diabetes: Data, tmp_path: Path, empty_database: Path, request: pytest.FixtureRequest
) -> None:
    experiment = request.node.name
    away = server.uri.rpartition(":")[0] + ":1"
    with pytest.warns(GbtuneWarning, match="does not answer"):
        tracker = MLflowTracker(away, experiment=experiment, flush_seconds=1.0)
        call = gbtune.tune_xgb if family == "xgboost" else gbtune.tune_lgbm
        result = call(*diabetes, n_trials=4, cv=2, tracking=tracker, progress=False)
    (left,) = spools(next(Path("gbtune-studies").absolute().iterdir()))
    study, trials, outcome = left.read()
    assert outcome is not None
    assert [trial.number for trial in trials] == [trial.number for trial in result.study.trials]
    found = []
    for name in ("first", "second"):
        database = shutil.copy(empty_database, tmp_path / f"{name}.db")
        copied = Spool(Path(shutil.copytree(left.folder, tmp_path / name)))
        uri = f"sqlite:///{database}"
        assert sync(study, story(study, trials, copied), tracker_for(copied, uri), spool=copied).problems == ()
        assert not copied.folder.exists()
        found.append(contents(mlflow.MlflowClient(tracking_uri=uri), experiment))
    receipt = sync(study, outcome, tracker_for(left, server.uri), spool=left)
    found.append(contents(server.client, experiment))
    assert found[0] == found[1] == found[2]
    assert len(found[0]["runs"]) == len(trials) + 2
    mlflow.set_tracking_uri(server.uri)
    try:
        loaded = mlflow.pyfunc.load_model(receipt.model_uri)
    finally:
        mlflow.set_tracking_uri(None)
    X = diabetes[0].head(20)
    assert loaded.predict(X) == pytest.approx(result.predict(X))


def test_a_tuned_study_whose_server_hangs_from_its_third_trial_on(
    server: Server, diabetes: Data, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ATTEMPT_SECONDS", 0.5)

    class HangsAtTheThird(MLflowTracker):
        def trial_finished(self, trial: TrialRecord) -> None:
            if trial.number == 2:
                until(lambda: idle(self))
                server.hang()
            super().trial_finished(trial)

    tracker = HangsAtTheThird(server.uri, experiment="hangs", flush_seconds=2.0)
    try:
        with pytest.warns(GbtuneWarning, match="gbtune sync|no answer within"):
            result = gbtune.tune_lgbm(*diabetes, n_trials=5, cv=2, tracking=tracker, progress=False)
    finally:
        server.go_on()
    until(server.answers)
    monkeypatch.setattr(worker, "ATTEMPT_SECONDS", 10.0)
    assert result.best_score == result.study.best_value
    (folder,) = Path("gbtune-studies").absolute().iterdir()
    copied = Path(shutil.copytree(next(folder.glob("spool-*")), tmp_path / "copied"))
    elsewhere = f"sqlite:///{shutil.copy(empty_database, tmp_path / 'elsewhere.db')}"
    assert sync_what_is_left(elsewhere, copied).problems == ()
    assert sync_what_is_left(server.uri, folder).problems == ()
    rebuilt = contents(mlflow.MlflowClient(tracking_uri=elsewhere), "hangs")
    assert contents(server.client, "hangs") == rebuilt
    assert len(rebuilt["runs"]) == len(result.study.trials) + 2


def test_a_store_without_space_gets_the_rest_later(
    tmp_path: Path, empty_database: Path, healthy: dict[str, Any], ended: StudyOutcome
) -> None:
    database = tmp_path / "full" / "mlflow.db"
    database.parent.mkdir()
    shutil.copy(empty_database, database)
    uri = f"sqlite:///{database}"
    tracker = MLflowTracker(uri, flush_seconds=2.0)
    tracker.study_started(kit.example_study())
    tracker.trial_finished(kit.example_trials()[0])
    until(lambda: idle(tracker))
    with full_disk(database.stat().st_size):
        for trial in kit.example_trials()[1:]:
            tracker.trial_finished(trial)
        receipt = finish(tracker, ended)
    assert "full" in receipt.problems[0] or "disk I/O" in receipt.problems[0]
    assert sync_what_is_left(uri, database.parent / "gbtune-studies" / "example").problems == ()
    check_same(contents(mlflow.MlflowClient(tracking_uri=uri)), healthy)


def test_a_read_only_store_gets_all_of_it_elsewhere_or_later(
    tmp_path: Path, empty_database: Path, healthy: dict[str, Any], ended: StudyOutcome
) -> None:
    database = tmp_path / "read-only.db"
    shutil.copy(empty_database, database)
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{database}").create_experiment(
        "gbtune", artifact_location=(tmp_path / "artifacts").as_uri()
    )
    tracker = MLflowTracker(f"sqlite:///file:{database}?mode=ro&uri=true", flush_seconds=2.0)
    tracker.study_started(kit.example_study())
    for trial in kit.example_trials():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GbtuneWarning)
            tracker.trial_finished(trial)
    assert "readonly" in finish(tracker, ended).problems[0]
    assert sync_what_is_left(f"sqlite:///{database}").problems == ()
    check_same(contents(mlflow.MlflowClient(tracking_uri=f"sqlite:///{database}")), healthy)


def test_a_missing_driver_costs_nothing_but_time(uri: str, healthy: dict[str, Any], ended: StudyOutcome) -> None:
    tracker = MLflowTracker("mysql+pymysql://me:secret@127.0.0.1:9/db", flush_seconds=2.0)
    tracker.study_started(kit.example_study("other"))
    receipt = finish(tracker, ended)
    assert "pymysql" in receipt.problems[0]
    assert sync_what_is_left(uri).problems == ()
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    assert len(client.search_runs([experiment], "tags.`gbtune.study_uid` = 'other'")) == len(healthy["runs"])
