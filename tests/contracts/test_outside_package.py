"""A stranger's package, installed: its family and space are found, tuned, tracked, saved and loaded by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from contracts.pages import ROOT, install

SCRIPT = """
import json, sys
import mlflow, numpy as np
from sklearn.datasets import load_diabetes
import gbtune
from gbtune.spaces import available
from gbtune.tracking import MLflowTracker

X, y = load_diabetes(return_X_y=True, as_frame=True)
X["sex"] = X["sex"].gt(0).map({True: "one", False: "two"})
uri = "sqlite:///mlflow.db"
result = gbtune.tune(
    X, y, family="histgb", cv=3, n_trials=4, n_jobs=2, progress=False, tracking=MLflowTracker(uri), register="stranger"
)
mlflow.set_tracking_uri(uri)
registered = mlflow.pyfunc.load_model("models:/stranger/1")
result.save("model")
again = gbtune.TuningResult.load("model")
runs = mlflow.search_runs(search_all_experiments=True)
print(json.dumps({
    "families": gbtune.families.available(),
    "spaces": available("histgb"),
    "best": result.best_params,
    "score": result.best_score,
    "baseline": result.baseline_score,
    "states": [trial.state.name for trial in result.study.trials],
    "runs": len(runs),
    "estimator": type(result.model).__name__,
    "same": bool(np.array_equal(registered.predict(X), result.predict(X))),
    "again": bool(np.array_equal(again.predict(X), result.predict(X))),
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a process with the package on its path found out."""
    folder = tmp_path_factory.mktemp("outside")
    packages, here = folder / "packages", folder / "here"
    here.mkdir()
    install(ROOT / "tests" / "outside_package", packages)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "MLFLOW_"))}
    path = os.pathsep.join(filter(None, [str(packages), env.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=here,
        env={**env, "PYTHONPATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_family_and_space_are_found_by_name(told: dict[str, object]) -> None:
    assert told["families"] == ["histgb", "lightgbm", "xgboost"]
    assert told["spaces"] == ["histgb/core"]


def test_a_study_runs_to_a_model_of_the_library(told: dict[str, object]) -> None:
    states = told["states"]
    assert isinstance(states, list) and len(states) == 4 and set(states) <= {"COMPLETE", "PRUNED"}
    assert told["estimator"] == "HistGradientBoostingRegressor"
    best = told["best"]
    assert isinstance(best, dict) and "n_estimators" in best and "max_leaf_nodes" in best


def test_every_trial_is_in_mlflow_with_the_model(told: dict[str, object]) -> None:
    assert told["runs"] == 4 + 2, "a run for the study, one per trial, one for the final model"
    assert told["same"], "the registered model predicts what the result does, categories included"


def test_a_saved_result_predicts_the_same(told: dict[str, object]) -> None:
    assert told["again"]
