"""A real MLflow server, and clients and trackers of a real store (`uri`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow_server import Server

from gbtune.tracking import MLflowTracker


@pytest.fixture(scope="session")
def one_server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), empty_database)
    yield server
    server.kill()


@pytest.fixture
def server(one_server: Server) -> Server:
    """One server for all tests, each with its own experiment: it takes five seconds to start."""
    one_server.start()
    return one_server


@pytest.fixture
def client(uri: str) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=uri)


@pytest.fixture
def tracker(uri: str) -> MLflowTracker:
    return MLflowTracker(uri)


@pytest.fixture
def runs(client: mlflow.MlflowClient) -> Callable[..., list[mlflow.entities.Run]]:
    """Runs with the given tags, by start time; tags are written with an underscore for the dot."""

    def search(**tags: str) -> list[mlflow.entities.Run]:
        experiment = client.get_experiment_by_name("gbtune")
        found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
        wanted = {name.replace("_", ".", 1): value for name, value in tags.items()}
        return [run for run in found if wanted.items() <= run.data.tags.items()]

    return search


@pytest.fixture(autouse=True)
def world_untouched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test sees the developer's own MLflow settings."""
    settings = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID")
    for name in settings:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    for name in settings:  # MLflow's own calls write them
        os.environ.pop(name, None)
