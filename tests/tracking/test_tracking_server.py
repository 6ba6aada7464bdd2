"""A real MLflow server, and its sudden end."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from gbtune import families
from gbtune.data import Dataset
from gbtune.errors import GbtuneWarning
from gbtune.records import ModelBundle
from gbtune.testing import trackers as kit
from gbtune.testing.trackers import check_told_twice
from gbtune.tracking import MLflowTracker


class Server:
    """An MLflow server on the loopback interface, with its own database and artifacts."""

    def __init__(self, folder: Path, database: Path) -> None:
        shutil.copy(database, folder / "server.db")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        self._log = (folder / "server.log").open("wb")
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--workers", "1"]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        self.process = subprocess.Popen(command, cwd=folder, stdout=self._log, stderr=self._log, start_new_session=True)

    def wait(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert self.process.poll() is None, "the server did not start"
                assert time.monotonic() < deadline, "the server did not start in time"
                time.sleep(0.1)

    def kill(self) -> None:
        import os
        import signal

        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)  # the session that we started: server and its workers
            self.process.wait(30)
        self._log.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), empty_database)
    try:
        server.wait()
        yield server
    finally:
        server.kill()


def small_bundle(X: pd.DataFrame, y: pd.Series) -> ModelBundle:
    data = Dataset.from_arrays(X, y)
    return ModelBundle(
        family="lightgbm",
        estimator=families.get("lightgbm").fit(data, {}, 3, 0, loss="log_loss_binary"),
        columns=data.encoder.to_dict(),
        task=data.task,
        classes=data.encoder.classes,
        example=X.head(3),
        requirements=("lightgbm", "pandas", "numpy"),
        recipe={"rounds": 3},
    )


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
    link = f"{server.uri}/#/experiments/{experiment}/runs/{receipt.run_id}?workflowType=machine_learning"
    assert receipt.url == link
    assert len(client.search_runs([experiment])) == 7
    assert "report.html" in {item.path for item in client.list_artifacts(receipt.run_id)}
    assert set(client.get_registered_model("churn").aliases) == {"champion", "challenger"}


def test_a_server_told_twice_has_everything_once(server: Server) -> None:
    check_told_twice(MLflowTracker(server.uri, experiment="told twice"))
    client = mlflow.MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("told twice").experiment_id
    assert len(client.search_runs([experiment])) == 6


def test_a_server_that_dies_during_a_study_fails_nothing(tmp_path: Path, server: Server) -> None:
    """The last test of this file: it kills the server."""
    tracker = MLflowTracker(server.uri, experiment="dies", flush_seconds=2.0)
    tracker.study_started(kit.example_study())
    assert tracker._worker.flush(60.0) == []
    server.kill()
    for trial in kit.example_trials():
        tracker.trial_finished(trial)
    with pytest.warns(GbtuneWarning, match="cannot be written"):
        receipt = tracker.study_finished(kit.example_outcome())
    assert receipt.run_id is not None
    assert "trial 4" in receipt.problems[0]
