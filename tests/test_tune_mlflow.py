"""The one line with MLflow: what a person finds in the store, and what the registered model predicts elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from quick import quick_space

import gbtune

ROOT = Path(__file__).parents[1]
Frame = tuple[pd.DataFrame, pd.Series]

PREDICT = """
import json, sys
sys.modules["gbtune"] = None  # the model needs no gbtune
import mlflow, numpy as np, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
X = pd.read_parquet(sys.argv[3])
print(json.dumps([list(model.predict(X)), np.asarray(model.predict(X, params={"proba": True})).tolist()]))
"""


@pytest.fixture
def store(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return uri


def test_a_study_lands_in_mlflow_and_its_model_predicts_in_a_fresh_process(
    family_name: str, mixed: Frame, store: str, tmp_path: Path
) -> None:
    import mlflow

    X, y = mixed
    arguments = {"tracking": store, "register": "sugar", "progress": False}
    result = gbtune.tune(X, y, family=family_name, space=quick_space(family_name), n_trials=10, **arguments)
    client = mlflow.MlflowClient(store, store)
    parent = client.get_run(result.run_id)
    assert parent.data.metrics[result.record.metric] == pytest.approx(result.best_score)
    assert parent.data.tags["gbtune.state"] == "complete" and parent.info.status == "FINISHED"
    assert {file.path for file in client.list_artifacts(result.run_id)} >= {
        "report.html",
        "best_params.json",
        "search_space.json",
        "trials.json",
    }
    path = client.download_artifacts(result.run_id, "best_params.json", str(tmp_path))
    assert json.loads(Path(path).read_text(encoding="utf-8")) == result.best_params
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{result.run_id}'")
    trials = {run.data.tags["gbtune.trial"]: run for run in children if run.data.tags["gbtune.kind"] == "trial"}
    assert len(trials) == 10 and len(children) == 11
    for record in result.trials.to_dict("records"):
        run = trials[str(record["number"])]
        assert run.info.status == {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}[record["state"]]
        assert (result.record.metric in run.data.metrics) == (record["state"] == "complete")
    assert f'mlflow.set_tracking_uri("{store}"); mlflow.pyfunc.load_model("models:/sugar/1")' in repr(result)
    # The model's own page names its version and parameters.
    version = client.get_model_version_by_alias("sugar", "champion")
    logged = client.get_logged_model(version.tags["gbtune.model_id"])
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "sugar", "version": "1"}]
    assert logged.params == {name: str(value) for name, value in result.best_params.items()}
    # A new process, without gbtune: known rows, unseen and missing categories, integers where floats were.
    rows = X.head(60).copy()
    rows.loc[rows.index[:9], "sex"] = "never seen"
    rows.loc[rows.index[9:15], "sex"] = None
    rows["bmi"] = rows["bmi"].round().astype("Int64")
    rows.to_parquet(tmp_path / "rows.parquet")
    command = [sys.executable, "-c", PREDICT, store, "models:/sugar@champion", str(tmp_path / "rows.parquet")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    labels, proba = json.loads(done.stdout.strip().splitlines()[-1])
    assert labels == list(result.predict(rows))
    np.testing.assert_allclose(proba, result.predict_proba(rows), rtol=0, atol=1e-12)


def test_the_second_version_is_a_challenger_and_the_champion_stays(diabetes: Frame, store: str) -> None:
    import mlflow

    for _ in range(2):
        gbtune.tune_xgb(
            *diabetes, space=quick_space("xgboost"), n_trials=2, tracking=store, register="sugar", progress=False
        )
    client = mlflow.MlflowClient(store, store)
    assert int(client.get_model_version_by_alias("sugar", "champion").version) == 1
    assert int(client.get_model_version_by_alias("sugar", "challenger").version) == 2


def test_the_environments_store_is_read_and_the_callers_world_is_untouched(
    diabetes: Frame, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    with mlflow.start_run(experiment_id="0") as mine:  # whatever experiment another test chose
        before, uri = dict(os.environ), mlflow.get_tracking_uri()
        result = gbtune.tune_lgbm(*diabetes, space=quick_space("lightgbm"), n_trials=2, progress=False)
        assert dict(os.environ) == before and mlflow.get_tracking_uri() == uri == store
        active = mlflow.active_run()
        assert active is not None and active.info.run_id == mine.info.run_id != result.run_id
    run = mlflow.MlflowClient(store).get_run(mine.info.run_id)
    assert not run.data.params and not run.data.metrics


def test_a_dead_server_costs_no_trial_and_is_named_once(diabetes: Frame, store: str) -> None:
    with pytest.warns(gbtune.GbtuneWarning, match="cannot be written|lacks parts of the study") as warned:
        result = gbtune.tune_xgb(
            *diabetes, space=quick_space("xgboost"), n_trials=3, tracking="http://127.0.0.1:9", progress=False
        )
    assert len(warned) == 1 and len(result.trials) == 3
    assert result.receipt.problems and "Not written" in repr(result)


def test_a_study_of_ones_own_is_logged_by_the_callback(diabetes: Frame, store: str) -> None:
    import mlflow
    import optuna

    objective = gbtune.Objective("lightgbm", *diabetes, space=quick_space("lightgbm"), cv=3)
    study = optuna.create_study(
        direction=objective.direction,
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=gbtune.pruners.RacingPruner(),
    )
    tracker = gbtune.MLflowTracker(store)
    study.optimize(objective, n_trials=8, callbacks=[tracker], catch=(Exception,))
    receipt = tracker.close()
    assert receipt.problems == ()
    client = mlflow.MlflowClient(store)
    parent = client.get_run(receipt.run_id)
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{receipt.run_id}'")
    assert len([run for run in children if run.data.tags["gbtune.kind"] == "trial"]) == 8


@pytest.mark.nightly
def test_the_quickstart_runs(tmp_path: Path) -> None:
    script = ROOT / "docs" / "quickstart.py"
    done = subprocess.run(
        [sys.executable, str(script)], check=True, capture_output=True, text=True, cwd=tmp_path, timeout=900
    )
    assert done.stdout.count("parameters") == 2 and (tmp_path / "mlflow.db").is_file()
