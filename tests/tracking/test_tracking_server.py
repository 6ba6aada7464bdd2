"""A real MLflow server, and its sudden end."""

from __future__ import annotations

import mlflow
import pandas as pd
import pytest
from mlflow_server import Server, small_bundle

from gbtune.testing import trackers as kit
from gbtune.testing.trackers import check_told_twice
from gbtune.tracking import MLflowTracker
from gbtune.tracking.view import view_key


def test_a_server_gets_the_study_the_model_and_the_registry(
    server: Server, capfd: pytest.CaptureFixture[str], breast_cancer: tuple[pd.DataFrame, pd.Series]
) -> None:
    tracker = MLflowTracker(server.uri, register="churn")
    tracker.study_started(kit.example_study())
    for trial in kit.example_trials():
        tracker.trial_finished(trial)
    receipt = tracker.study_finished(kit.example_outcome(model=small_bundle(*breast_cancer)))
    assert receipt.problems == ()
    assert receipt.model_uri == "models:/churn/1"
    assert capfd.readouterr() == ("", "")
    client = mlflow.MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    key = view_key(kit.example_study())
    link = f"{server.uri}/#/experiments/{experiment}/runs?viewStateShareKey={key}&workflowType=machine_learning"
    assert receipt.url == link
    assert len(client.search_runs([experiment])) == 7
    assert "report.html" in {item.path for item in client.list_artifacts(receipt.run_id)}
    assert set(client.get_registered_model("churn").aliases) == {"champion", "challenger"}


def test_a_server_told_twice_has_everything_once(server: Server) -> None:
    check_told_twice(MLflowTracker(server.uri, experiment="told twice"))
    client = mlflow.MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("told twice").experiment_id
    assert len(client.search_runs([experiment])) == 6
