"""A registered model behind MLflow's scoring server answers JSON with what the result itself predicts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow_server import Server
from sklearn.datasets import load_diabetes

import gbtune
from gbtune.data import Dataset
from gbtune.records import ModelBundle
from gbtune.testing import StubFamily
from gbtune.tracking import MLflowTracker
from gbtune.tracking.model_registry import save_pyfunc

N_ROWS = 25

# Several models in one server: MLflow's own scoring application for each, below the model's name.
MANY_MODELS = """
import sys
import mlflow.pyfunc
import uvicorn
from fastapi import FastAPI
from mlflow.pyfunc.scoring_server import init

server = FastAPI()
for uri in sys.argv[2:]:
    server.mount("/" + uri.removeprefix("models:/"), init(mlflow.pyfunc.load_model(uri)))
server.get("/health")(lambda: "OK")
uvicorn.run(server, port=int(sys.argv[1]), log_level="warning")
"""


class Served:
    """A model behind an address, and the result that it came from."""

    def __init__(self, address: str, result: gbtune.TuningResult, rows: pd.DataFrame) -> None:
        self.address, self.result, self.rows = address, result, rows

    def post(self, payload: Any) -> tuple[int, Any]:
        """Status and answer; of a refusal, what it says."""
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        request = urllib.request.Request(f"{self.address}/invocations", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return 200, json.load(answer)["predictions"]
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)["message"]

    def predicted(self, payload: dict[str, Any], **params: Any) -> Any:
        status, answer = self.post({**payload, "params": params} if params else payload)
        assert status == 200, answer
        return answer


def payloads(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The same rows in each form of JSON that MLflow documents; what is missing is null."""
    records = json.loads(rows.to_json(orient="records", double_precision=15))
    return {
        "dataframe_split": {"dataframe_split": json.loads(rows.to_json(orient="split", double_precision=15))},
        "dataframe_records": {"dataframe_records": records},
        "inputs": {"inputs": {name: [record[name] for record in records] for name in rows.columns}},
    }


@pytest.fixture(scope="module")
def tuned(
    mixed: tuple[pd.DataFrame, pd.Series], one_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, gbtune.TuningResult]:
    """Each family on text labels, on numbers, and one on boolean labels; registered on a server."""
    X, labels = mixed
    numbers = load_diabetes().target
    kinds = {"xgboost labels": labels, "lightgbm labels": labels, "xgboost booleans": numbers > 140}
    kinds["lightgbm numbers"] = numbers
    one_server.start()
    results = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("tuned"))
        for name, y in kinds.items():
            tracker = MLflowTracker(one_server.uri, experiment="served", detail="summary")
            results[name] = gbtune.tune(
                X, y, family=name.split()[0], n_trials=1, cv=2, progress=False, tracking=tracker, register=name
            )
            assert results[name].receipt.problems == ()
    return results


@pytest.fixture(scope="module")
def served(
    tuned: dict[str, gbtune.TuningResult],
    mixed: tuple[pd.DataFrame, pd.Series],
    one_server: Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Served]]:
    """The first model as users serve it, all the others in one server; neither has a gbtune."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "gbtune.py").write_text("raise ImportError('this model needs gbtune')")
    environment = {**os.environ, "PYTHONPATH": str(folder), "MLFLOW_TRACKING_URI": one_server.uri}
    environment["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), environment.get("PATH", "")))
    # By alias as well as by number.
    uris = {name: f"models:/{name}@champion" if "numbers" in name else f"models:/{name}/1" for name in tuned}
    first, *others = tuned
    served_by_mlflow = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    ports = free_ports(2)
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("w"))
        settings: dict[str, Any] = {"env": environment, "stdout": log, "stderr": log, "cwd": folder}
        commands = [
            [*served_by_mlflow, "-m", f"models:/{first}@champion", "-p", str(ports[0])],
            [sys.executable, "-c", MANY_MODELS, str(ports[1]), *(uris[name] for name in others)],
        ]
        servers = [stack.enter_context(running(command, settings)) for command in commands]
        for port, server in zip(ports, servers, strict=True):
            wait_for(f"http://127.0.0.1:{port}/health", server, folder / "log")
        addresses = {first: f"http://127.0.0.1:{ports[0]}"}
        addresses |= {
            name: f"http://127.0.0.1:{ports[1]}/{uris[name].removeprefix('models:/')}".replace(" ", "%20")
            for name in others
        }
        rows = mixed[0].head(N_ROWS)
        yield {name: Served(addresses[name], tuned[name], rows) for name in tuned}


@contextmanager
def running(command: list[str], settings: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, **settings) as process:
        yield process
        process.terminate()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return


def test_every_form_of_json_is_answered_with_the_results_own_predictions(served: dict[str, Served]) -> None:
    for name, model in served.items():
        assert model.rows.isna().any().any()
        expected = model.result.predict(model.rows).tolist()
        assert len(set(expected)) > 1, name
        for form, payload in payloads(model.rows).items():
            assert model.predicted(payload) == expected, (name, form)


def test_probabilities_are_a_parameter_of_the_request(served: dict[str, Served]) -> None:
    for name in ("xgboost labels", "lightgbm labels", "xgboost booleans"):
        model = served[name]
        expected = model.result.predict_proba(model.rows)
        for form, payload in payloads(model.rows).items():
            np.testing.assert_array_equal(model.predicted(payload, proba=True), expected, err_msg=f"{name} {form}")


def test_a_single_row_may_lack_any_of_its_values(served: dict[str, Served]) -> None:
    for name, model in served.items():
        row = model.rows.dropna().head(1)
        for column in row.columns:
            without = row.astype(object).assign(**{column: None})
            expected = model.result.predict(without).tolist()
            assert model.predicted(payloads(without)["dataframe_records"]) == expected, (name, column)


def test_types_that_training_did_not_have_are_understood(served: dict[str, Served]) -> None:
    for name, model in served.items():
        rows = model.rows.dropna()
        changes = {
            "integers where there were fractions": {"bmi": rows["bmi"].round().astype(int)},
            "fractions where there were integers": {"bp": rows["bp"].astype(float) + 0.5},
            "a category that training never saw": {"sex": "neither", "s5": "z"},
            "other columns as well, in another order": {"unasked": 1},
        }
        for what, change in changes.items():
            changed = rows.assign(**change)
            expected = model.result.predict(changed[rows.columns]).tolist()
            sent = changed[changed.columns[::-1]]
            assert model.predicted(payloads(sent)["dataframe_split"]) == expected, (name, what)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bmi": "large"}, "Column 'bmi' was numbers in training and now holds text"),
        ({"bmi": float("inf")}, "Column 'bmi' holds infinite values"),
        ({"sex": 1.0}, "Column 'sex' held values such as 'one' in training"),
    ],
)
def test_rows_that_cannot_be_right_are_refused_in_words(
    change: dict[str, Any], words: str, served: dict[str, Served]
) -> None:
    for model in served.values():
        (record,) = payloads(model.rows.dropna().head(1))["dataframe_records"]["dataframe_records"]
        status, message = model.post({"dataframe_records": [{**record, **change}]})
        assert status == 400
        assert words in message


def test_a_request_that_is_none_is_refused_in_words(served: dict[str, Served]) -> None:
    model = served["xgboost labels"]
    (record,) = payloads(model.rows.head(1))["dataframe_records"]["dataframe_records"]
    lacking = {name: value for name, value in record.items() if name != "bmi"}
    for payload, words in (
        ({"dataframe_records": [lacking]}, "missing inputs ['bmi']"),
        ({"dataframe_records": [record], "params": {"proba": "yes"}}, "'proba'"),
        ({"rows": [record]}, "exactly one of the input fields"),
        (b"{not JSON", "valid JSON"),
    ):
        status, message = model.post(payload)
        assert (status, words in message) == (400, True), message


def test_the_artifact_says_what_it_needs_and_that_gbtune_is_not_among_it(
    tuned: dict[str, gbtune.TuningResult], one_server: Server, tmp_path: Path
) -> None:
    for name in ("xgboost labels", "lightgbm numbers"):
        model_id = one_server.client.get_model_version(name, "1").tags["gbtune.model_id"]
        place = one_server.client.get_logged_model(model_id).artifact_location
        path = Path(mlflow.artifacts.download_artifacts(place, dst_path=str(tmp_path), tracking_uri=one_server.uri))
        about = mlflow.models.Model.load(path).metadata["gbtune"]
        needs = dict(line.split("==") for line in (path / "requirements.txt").read_text().split())
        assert about["needs_gbtune"] is False
        assert about["version"] == gbtune.__version__
        assert dict(line.split("==") for line in about["needs"]) == needs
        library = name.split()[0]
        installed = tuned[name].record.versions
        assert needs[library] == installed[library] and needs["pandas"] == pd.__version__
        assert needs["mlflow"] == mlflow.__version__ and "gbtune" not in needs


def test_a_model_of_a_plug_in_family_says_that_it_needs_gbtune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, diabetes: tuple[pd.DataFrame, pd.Series]
) -> None:
    metadata = tmp_path / "site" / "stub_family-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stub-family\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[gbtune.families]\nstub = gbtune.testing:StubFamily\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    X, y = diabetes
    data = Dataset.from_arrays(X[["bmi"]], y)
    bundle = ModelBundle(
        family="stub",
        estimator=StubFamily().fit(data, {}, 9, 0, loss="squared_error"),
        columns=data.encoder.to_dict(),
        task=data.task,
        classes=data.classes,
        example=X[["bmi"]].head(3),
        requirements=("numpy",),
        recipe={},
    )
    save_pyfunc(bundle, tmp_path / "model")
    about = mlflow.models.Model.load(tmp_path / "model").metadata["gbtune"]
    assert about["needs_gbtune"] is True
    assert f"gbtune=={gbtune.__version__}" in (tmp_path / "model" / "requirements.txt").read_text().split()
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict(X[["bmi"]]), bundle.estimator.predict(X[["bmi"]]))
