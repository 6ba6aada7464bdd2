"""The logged model predicts in a fresh process, without gbtune, what gbtune predicts."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from gbtune import families
from gbtune.data import Dataset
from gbtune.errors import InvalidArgument
from gbtune.records import ModelBundle
from gbtune.testing import trackers as kit
from gbtune.tracking import MLflowTracker, model_script
from gbtune.tracking.model_registry import check_model_name, save_pyfunc

Runs = Callable[..., list[mlflow.entities.Run]]
N_ROWS = 240
LOSSES = {"binary": "log_loss_binary", "multiclass": "log_loss_multiclass", "regression": "squared_error"}
TARGETS = ("text labels", "integer labels", "boolean labels", "numbers")


def raw_columns() -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "count": random.integers(0, 50, N_ROWS),
            "sometimes": pd.array(random.integers(0, 50, N_ROWS), dtype="Int64"),
            "length [m]": random.normal(size=N_ROWS),
            "town": random.choice(["York", "Bath", "Hull"], N_ROWS),
            "floor": pd.Categorical(random.integers(1, 4, N_ROWS)),
            "garden": random.random(N_ROWS) > 0.5,
        }
    )
    frame.loc[::7, "sometimes"] = pd.NA
    frame.loc[::11, "town"] = None
    return frame


def new_data() -> dict[str, pd.DataFrame]:
    """What comes later in other types than training had."""
    frame = raw_columns().head(40)
    return {
        "as in training": frame,
        "integers that are now missing": frame.assign(count=frame["count"].where(frame.index % 3 > 0)),
        "small types": frame.astype({"count": "int32", "length [m]": "float32"}),
        "complete integers": frame.assign(sometimes=frame["sometimes"].fillna(3).astype("int64")),
        "unseen categories": frame.assign(town="Leeds", floor=9),
        "categories as text": frame.assign(floor=frame["floor"].astype(str)),
        "objects": frame.astype(object),
        "other order and one more": frame[frame.columns[::-1]].assign(more=1),
    }


def target(frame: pd.DataFrame, kind: str) -> np.ndarray[Any, Any]:
    signal = (frame["count"] + 20 * (frame["town"] == "York")).to_numpy(dtype=float)
    bins = np.digitize(signal, [15, 40])
    return {
        "text labels": np.where(signal > 30, "yes", "no"),
        "integer labels": np.array([7, 3, 5])[bins],
        "boolean labels": signal > 30,
        "numbers": signal,
    }[kind]


class Tuned:
    """A fitted model and what gbtune itself predicts with it."""

    def __init__(self, family_name: str, X: Any, y: Any) -> None:
        family = families.get(family_name)
        data = Dataset.from_arrays(X, y)
        params = {"max_depth": 3, "learning_rate": 0.3}
        self.data = data
        self.estimator = family.fit(data, params, 8, 0, loss=LOSSES[data.task], threads=1)
        library = {"xgboost": "xgboost-cpu", "lightgbm": "lightgbm"}[family_name]
        self.bundle = ModelBundle(
            family=family_name,
            estimator=self.estimator,
            columns=data.encoder.to_dict(),
            task=data.task,
            classes=data.encoder.classes,
            example=X.head(5) if isinstance(X, pd.DataFrame) else X[:5],
            requirements=(library, "pandas", "numpy"),
            recipe={"params": params, "rounds": 8, "family": family_name, "rows": data.n_rows},
        )

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        prediction = self.estimator.predict(self.data.encoder.encode(X))
        if self.data.task == "regression":
            return np.asarray(prediction)
        return self.data.encoder.decode(np.asarray(prediction, dtype=np.int64))

    def predict_proba(self, X: Any) -> np.ndarray[Any, Any]:
        return np.asarray(self.estimator.predict_proba(self.data.encoder.encode(X)), dtype=np.float64)


def known(X: pd.DataFrame) -> pd.DataFrame:
    return X[raw_columns().columns]  # gbtune refuses columns it has not seen; MLflow drops them


FRESH_PROCESS = """
import pickle, sys
sys.modules["gbtune"] = None  # an import would fail
import mlflow
inputs, models, answers = sys.argv[1], sys.argv[2], sys.argv[3]
with open(inputs, "rb") as file:
    inputs = pickle.load(file)
with open(models, "rb") as file:
    models = pickle.load(file)
found = {}
for name, (uri, datasets, proba) in models.items():
    model = mlflow.pyfunc.load_model(uri)
    for title in datasets:
        found[name, title] = model.predict(inputs[title])
        if proba:
            found[name, title, "proba"] = model.predict(inputs[title], params={"proba": True})
with open(answers, "wb") as file:
    pickle.dump(found, file)
"""


def predict_in_a_fresh_process(folder: Path, uri: str, inputs: Any, models: Any, environment: dict[str, str]) -> Any:
    paths = [folder / name for name in ("inputs.pkl", "models.pkl", "answers.pkl")]
    paths[0].write_bytes(pickle.dumps(inputs))
    paths[1].write_bytes(pickle.dumps(models))
    subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, *map(str, paths)],
        check=True,
        timeout=300,
        cwd=folder,
        env={**environment, "MLFLOW_TRACKING_URI": uri},
    )
    return pickle.loads(paths[2].read_bytes())


def finish(tracker: MLflowTracker, bundle: ModelBundle, uid: str = "contract") -> Any:
    tracker.study_started(kit.example_study(uid))
    return tracker.study_finished(kit.example_outcome(model=bundle))


def test_a_registered_model_predicts_what_gbtune_predicts(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = raw_columns()
    tuned, models = {}, {}
    inputs: dict[str, Any] = new_data()
    for family_name in ("xgboost", "lightgbm"):
        for kind in TARGETS:
            name = f"{family_name} {kind}"
            tuned[name] = Tuned(family_name, X, target(X, kind))
            tracker = MLflowTracker(uri, register=name)
            assert finish(tracker, tuned[name].bundle, uid=name).problems == ()
            models[name] = (f"models:/{name}@champion", list(inputs), kind != "numbers")
    matrix = np.column_stack([X["count"], X["length [m]"]]).astype(float)
    sparse = sp.csr_matrix(np.where(matrix > 0.5, matrix, 0.0))
    unnamed = {"rows without names": matrix[:40], "sparse rows": sparse[:40]}
    for title, values in {"rows without names": matrix, "sparse rows": sparse}.items():
        family_name = "xgboost" if sp.issparse(values) else "lightgbm"
        tuned[title] = Tuned(family_name, values, target(X, "text labels"))
        save_pyfunc(tuned[title].bundle, tmp_path / title)
        models[title] = (str(tmp_path / title), [title], True)
    found = predict_in_a_fresh_process(tmp_path, uri, {**inputs, **unnamed}, models, dict(os.environ))
    for name, (_, titles, proba) in models.items():
        for title in titles:
            rows = known(inputs[title]) if title in inputs else unnamed[title]
            expected = tuned[name].predict(rows)
            assert found[name, title].tolist() == expected.tolist(), (name, title)
            if proba:
                np.testing.assert_array_equal(found[name, title, "proba"], tuned[name].predict_proba(rows))
    assert len(found) == 2 * (3 * 2 + 1) * len(inputs) + 4


def test_the_artifact_has_no_pickle_and_names_its_requirements(tmp_path: Path) -> None:
    X = raw_columns()
    save_pyfunc(Tuned("xgboost", X, target(X, "text labels")).bundle, tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert {"model.ubj", "schema.json", "recipe.json", "MLmodel", "input_example.json"} <= names
    assert not any(name.endswith((".pkl", ".pickle", ".joblib")) for name in names)
    requirements = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert requirements[:3] == ["xgboost-cpu", "pandas", "numpy"]
    assert f"mlflow=={mlflow.__version__}" in requirements
    meta = mlflow.models.Model.load(tmp_path / "model")
    assert meta.signature.inputs.input_names() == list(X.columns)
    assert [param.name for param in meta.signature.params.params] == ["proba"]
    assert meta.metadata["gbtune"]["classes"] == ["no", "yes"]


def test_the_callers_project_files_stay_out_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname='mine'\nversion='1'\n")
    (tmp_path / "uv.lock").write_text("version = 1\n")
    X = raw_columns()
    save_pyfunc(Tuned("lightgbm", X, target(X, "numbers")).bundle, tmp_path / "model")
    assert not {"pyproject.toml", "uv.lock"} & {path.name for path in (tmp_path / "model").rglob("*")}


@pytest.mark.parametrize("kind", ["text labels", "numbers"])
def test_the_loader_encodes_as_the_encoder_does(kind: str) -> None:
    X = raw_columns()
    encoder = Dataset.from_arrays(X, target(X, kind)).encoder
    schema = json.loads(json.dumps(encoder.to_dict()))
    for title, frame in new_data().items():
        pd.testing.assert_frame_equal(
            model_script.encode(known(frame), schema), encoder.encode(known(frame)), obj=title
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": "text"}, "now holds text"),
        ({"count": np.inf}, "infinite"),
        ({"floor": "ground"}, "held values such as 1"),
        ({"town": pd.Timestamp("2020-01-01")}, "holds datetime64"),
    ],
)
def test_the_loader_refuses_what_the_encoder_refuses(change: dict[str, Any], message: str) -> None:
    X = raw_columns()
    encoder = Dataset.from_arrays(X, target(X, "numbers")).encoder
    wrong = X.assign(**change)
    with pytest.raises(ValueError, match=message):
        model_script.encode(wrong, encoder.to_dict())
    with pytest.raises(ValueError, match=r"in training|finite"):
        encoder.encode(wrong)


def test_the_loader_names_missing_and_unexpected_columns() -> None:
    X = raw_columns()
    schema = Dataset.from_arrays(X, target(X, "numbers")).encoder.to_dict()
    with pytest.raises(ValueError, match=r"Missing: \['town'\]; unexpected: \['city'\]"):
        model_script.encode(X.rename(columns={"town": "city"}), schema)


def test_probabilities_of_a_regression_are_refused(tmp_path: Path) -> None:
    X = raw_columns()
    save_pyfunc(Tuned("lightgbm", X, target(X, "numbers")).bundle, tmp_path / "model")
    with pytest.raises(mlflow.MlflowException, match="leave out proba"):
        model_script._load_pyfunc(str(tmp_path / "model" / "data" / "model")).predict(X, {"proba": True})


def test_the_model_comes_from_the_child_final_and_is_attached_to_the_study(
    uri: str, runs: Runs, client: mlflow.MlflowClient
) -> None:
    X = raw_columns()
    receipt = finish(MLflowTracker(uri), Tuned("xgboost", X, target(X, "text labels")).bundle)
    assert receipt.problems == ()
    (final,) = runs(gbtune_kind="final")
    (parent,) = runs(gbtune_kind="study")
    assert (final.info.run_name, final.info.status) == ("final", "FINISHED")
    assert final.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert final.data.metrics["roc_auc"] == 0.74
    (output,) = final.outputs.model_outputs
    assert [o.model_id for o in parent.outputs.model_outputs] == [output.model_id]
    assert receipt.model_uri == f"models:/{output.model_id}"
    model = client.get_logged_model(output.model_id)
    assert str(model.status) == "READY"
    assert model.source_run_id == final.info.run_id
    assert {metric.key: metric.value for metric in model.metrics}["roc_auc"] == 0.74
    assert client.search_registered_models() == []


def test_the_first_version_is_champion_and_the_next_a_challenger(uri: str, client: mlflow.MlflowClient) -> None:
    X = raw_columns()
    bundle = Tuned("lightgbm", X, target(X, "text labels")).bundle
    tracker = MLflowTracker(uri, register="churn")
    receipts = [finish(tracker, bundle, uid) for uid in ("first", "second")]
    assert [receipt.model_uri for receipt in receipts] == ["models:/churn/1", "models:/churn/2"]
    assert int(client.get_model_version_by_alias("churn", "champion").version) == 1
    assert int(client.get_model_version_by_alias("churn", "challenger").version) == 2
    version = client.get_model_version("churn", "2")
    assert version.description.startswith("# example")
    assert version.tags["gbtune.study_uid"] == "second"
    assert version.tags["gbtune.score.roc_auc"] == "0.74"
    assert version.tags["gbtune.data_fingerprint"] == "0123456789abcdef"


def test_the_name_in_the_outcome_goes_before_the_trackers(uri: str, client: mlflow.MlflowClient) -> None:
    X = raw_columns()
    tracker = MLflowTracker(uri, register="the tracker's")
    tracker.study_started(kit.example_study())
    bundle = Tuned("lightgbm", X, target(X, "numbers")).bundle
    receipt = tracker.study_finished(kit.example_outcome(model=bundle, register="it's mine"))
    assert receipt.model_uri == "models:/it's mine/1"
    assert [model.name for model in client.search_registered_models()] == ["it's mine"]


def test_a_registry_that_refuses_costs_only_the_registration(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("you may not register models")

    monkeypatch.setattr(mlflow.MlflowClient, "create_registered_model", refuse)
    X = raw_columns()
    with pytest.warns(UserWarning, match="may not register"):
        receipt = finish(MLflowTracker(uri, register="churn"), Tuned("lightgbm", X, target(X, "numbers")).bundle)
    assert receipt.model_uri is not None
    assert receipt.model_uri.startswith("models:/m-")
    problem, remedy = receipt.problems
    assert "the model" in problem and "may not register" in problem
    assert "gbtune sync" in remedy


def test_the_same_model_is_logged_and_registered_once(uri: str, client: mlflow.MlflowClient, runs: Runs) -> None:
    X = raw_columns()
    bundle = Tuned("lightgbm", X, target(X, "text labels")).bundle
    receipts = [finish(MLflowTracker(uri, register="churn"), bundle) for _ in range(2)]
    assert receipts[0] == receipts[1]
    assert len(client.search_model_versions("name = 'churn'")) == 1
    assert len(runs(gbtune_kind="final")) == 1
    assert len(runs(gbtune_kind="study")[0].outputs.model_outputs) == 1


def test_a_model_whose_upload_broke_off_is_logged_anew(
    uri: str, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mlflow.MlflowClient.log_model_artifacts
    broken = [True]

    def break_off(self: Any, *args: Any) -> None:
        if broken:
            broken.clear()
            raise ConnectionError("broke off")
        real(self, *args)

    monkeypatch.setattr(mlflow.MlflowClient, "log_model_artifacts", break_off)
    X = raw_columns()
    with pytest.warns(UserWarning, match="broke off"):
        receipt = finish(MLflowTracker(uri), Tuned("lightgbm", X, target(X, "numbers")).bundle)
    assert receipt.problems == ()
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    statuses = [str(model.status) for model in client.search_logged_models([experiment])]
    assert statuses == ["READY"]


def test_the_model_is_left_out_on_request(uri: str, runs: Runs) -> None:
    X = raw_columns()
    bundle = Tuned("lightgbm", X, target(X, "numbers")).bundle
    receipt = finish(MLflowTracker(uri, log_model=False), bundle)
    assert receipt.problems == ()
    assert receipt.model_uri is None
    assert runs(gbtune_kind="final") == []


@pytest.mark.parametrize("name", ["a/b", "a:b", "", "  "])
def test_a_name_that_the_registry_refuses_is_refused_at_once(name: str) -> None:
    with pytest.raises(InvalidArgument, match="register must be a model name"):
        check_model_name(name)
