"""A real MLflow server that tests kill, stop and start again; and what a store holds, for comparison."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from gbtune import families
from gbtune.data import Dataset
from gbtune.records import ModelBundle

HOLD_IDS = ("mlflow.parentRunId", "gbtune.run_id", "gbtune.model_id", "gbtune.model_uri")
"""Tags whose values differ from store to store."""


class Server:
    """An MLflow server on the loopback interface, with its own database and artifacts."""

    def __init__(self, folder: Path, database: Path) -> None:
        shutil.copy(database, folder / "server.db")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = folder
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri=self.uri)

    def start(self) -> None:
        """Start it if it is not there; returns once it answers."""
        if self.process is not None:
            return
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        # The server's runner of background jobs, which tracking does not use, keeps a core busy.
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while not self.answers():
            assert self.process.poll() is None, "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.1)

    def answers(self, timeout: float = 5.0) -> bool:
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=timeout).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(30)
        self.process = None

    def hang(self) -> None:
        """From now on it takes connections and does not answer."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)  # the session that we started: server and its workers


def contents(client: mlflow.MlflowClient, experiment: str = "gbtune", register: str = "churn") -> dict[str, Any]:
    """All that an experiment shows of one study, without ids, folders and times of writing."""
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    names = {run.info.run_id: run.info.run_name for run in runs}
    described = {run.info.run_name: describe(client, run, names) for run in runs}
    assert len(described) == len(runs), f"the same name twice: {sorted(names.values())}"
    models = client.search_logged_models([found.experiment_id])
    versions = client.search_model_versions(f"name = '{register}'")
    return {
        "runs": described,
        "models": [
            {
                "name": model.name,
                "status": str(model.status),
                "run": names.get(model.source_run_id),
                "params": model.params,
                "tags": without_ids(model.tags),
                "metrics": sorted((m.key, m.value, m.timestamp, m.step) for m in model.metrics or []),
                "files": files(client, model.model_id),
            }
            for model in models
        ],
        "versions": [
            (
                int(v.version),
                names.get(v.run_id),
                without_ids(v.tags),
                words_without_ids(v.description),
                sorted(v.aliases),
            )
            for v in versions
        ],
    }


def describe(client: mlflow.MlflowClient, run: Any, names: dict[str, str]) -> dict[str, Any]:
    run_id = run.info.run_id
    history = {key: client.get_metric_history(run_id, key) for key in run.data.metrics}
    outputs = run.outputs.model_outputs if run.outputs else []
    return {
        "status": run.info.status,
        "times": (run.info.start_time, run.info.end_time),
        "parent": names.get(run.data.tags.get("mlflow.parentRunId", "")),
        "tags": without_ids(run.data.tags),
        "params": run.data.params,
        "metrics": {key: sorted((m.step, m.value, m.timestamp) for m in points) for key, points in history.items()},
        "data": [(item.dataset.name, item.dataset.digest, item.dataset.schema) for item in run.inputs.dataset_inputs],
        "files": sorted(item.path for item in client.list_artifacts(run_id)),
        "models": len(outputs or []),
    }


def without_ids(tags: dict[str, str]) -> dict[str, str]:
    """Tags without ids of runs and models; a server writes a version as a number where SQLite has text."""
    shown = {key: value for key, value in tags.items() if key not in HOLD_IDS}
    if "mlflow.modelVersions" in shown:
        shown["mlflow.modelVersions"] = re.sub(r'"version": "(\d+)"', r'"version": \1', shown["mlflow.modelVersions"])
    if "mlflow.note.content" in shown:
        shown["mlflow.note.content"] = words_without_ids(shown["mlflow.note.content"])
    return shown


def words_without_ids(note: str | None) -> str:
    ids = r"(?<=experiments/)\d+|(?<=runs/)[0-9a-f]{32}|m-[0-9a-f]{32}|(?<=set_tracking_uri\().*(?=\))"
    return re.sub(ids, "...", note or "")


def files(client: mlflow.MlflowClient, model_id: str) -> list[str]:
    def walk(path: str | None) -> list[str]:
        found = client.list_logged_model_artifacts(model_id, path)
        return [name for item in found for name in (walk(item.path) if item.is_dir else [item.path])]

    return sorted(walk(None))


def small_bundle(X: pd.DataFrame, y: pd.Series) -> ModelBundle:
    """A LightGBM model of three trees."""
    data = Dataset.from_arrays(X, y)
    return ModelBundle(
        family="lightgbm",
        estimator=families.get("lightgbm").fit(data, {}, 3, 0, loss="log_loss_binary"),
        columns=data.encoder.to_dict(),
        task=data.task,
        classes=data.encoder.classes,
        example=X.head(3),
        requirements=("lightgbm", "pandas", "numpy"),
        recipe={"rounds": 3, "params": {"learning_rate": 0.1}},
    )


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """Files of this process cannot grow beyond some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
