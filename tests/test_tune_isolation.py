"""tune(isolation="process"): the same study, and a crash costs one trial."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from quick import quick_space
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_absolute_error

import gbtune

QUIET: dict[str, Any] = {"progress": False, "tracking": False, "isolation": "process"}


def table(result: gbtune.TuningResult) -> list[Any]:
    return [(t.params, t.state, t.value, t.intermediate_values) for t in result.study.trials]


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_processes_and_threads_give_the_same_study(family: str) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    arguments: dict[str, Any] = {**QUIET, "family": family, "space": quick_space(family), "n_trials": 10, "n_jobs": 2}
    by_process = gbtune.tune(X, y, **arguments)
    by_thread = gbtune.tune(X, y, **{**arguments, "isolation": "thread"})
    assert table(by_process) == table(by_thread)
    assert (by_process.predict(X) == by_thread.predict(X)).all()


def test_pruners_with_steps_in_rounds_work_in_processes(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=10)
    results = [
        gbtune.tune_lgbm(
            X, y, space=quick_space("lightgbm"), pruner=pruner, n_trials=8, **{**QUIET, "isolation": isolation}
        )
        for isolation in ("process", "thread")
    ]
    assert table(results[0]) == table(results[1])


def deadly(folder: Path, is_last: Callable[[int], bool]) -> gbtune.Metric:
    """A metric that kills its process at chosen calls, as native code out of memory would."""

    def score(y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        calls = folder / "calls"
        with calls.open("a") as file:
            file.write("x")
        if is_last(calls.stat().st_size):
            os.kill(os.getpid(), signal.SIGKILL)
        return float(mean_absolute_error(y_true, y_pred, sample_weight=sample_weight))

    return gbtune.Metric("own_error", score, "minimize", "raw")


def test_a_worker_that_dies_costs_its_trial_alone(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    metric = deadly(tmp_path, lambda call: call == 300)
    space = quick_space("lightgbm")
    result = gbtune.tune_lgbm(X, y, space=space, metric=metric, n_trials=12, n_jobs=1, **QUIET)
    failed = result.trials[result.trials["state"] == "failed"]
    assert len(result.trials) == 12 and len(failed) == 1
    assert failed["reason"].tolist() == ["worker"]
    assert failed.filter(like="param_").notna().any(axis=1).all()
    record = next(trial for trial in result.study.trials if trial.state == optuna.trial.TrialState.FAIL)
    assert "killed by signal 9" in record.user_attrs["gbtune:trial"]
    assert "1 trial failed" in repr(result)


def test_three_dead_workers_in_a_row_end_the_study_with_the_reason(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    metric = deadly(tmp_path, lambda call: call > 300)
    space = quick_space("lightgbm")
    with pytest.raises(gbtune.GbtuneError, match=r"3 worker processes in a row died(.|\n)*killed by signal 9"):
        gbtune.tune_lgbm(X, y, space=space, metric=metric, n_trials=30, n_jobs=1, **QUIET)


def test_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        """
import gbtune
from sklearn.datasets import load_diabetes
X, y = load_diabetes(return_X_y=True, as_frame=True)
print("once")
space = gbtune.SearchSpace.load("xgboost/core").override(learning_rate=(0.1, 0.3), n_estimators=(10, 60))
result = gbtune.tune_xgb(X, y, space=space, n_trials=2, isolation="process", tracking=False, progress=False)
print(len(result.trials))
"""
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["once", "2"] and done.stderr == ""


def test_an_unknown_isolation_is_refused() -> None:
    with pytest.raises(gbtune.GbtuneError, match="'thread' or 'process'"):
        gbtune.tune_xgb(np.zeros((40, 2)), np.arange(40.0), isolation="fork")  # type: ignore[arg-type]


def test_a_warning_says_when_memory_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    monkeypatch.setattr("gbtune.tuning.usable_memory", lambda: 1000)
    with pytest.warns(gbtune.GbtuneWarning, match="Memory may not suffice") as caught:
        result = gbtune.tune_lgbm(X, y, space=quick_space("lightgbm"), n_trials=2, progress=False, tracking=False)
    assert len(caught) == 1 and len(result.trials) == 2
