"""Bad input: one clear error before any booster is built."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold

import gbtune

X = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40.0) % 7})
Y = np.arange(40) % 2
NUMBERS = np.linspace(0, 1, 40)


@pytest.fixture(autouse=True)
def no_booster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building any booster or binned matrix fails the test."""
    import lightgbm
    import xgboost

    def built(*_: Any, **__: Any) -> None:
        raise AssertionError("a booster was built")

    for owner, name in (
        (xgboost, "QuantileDMatrix"),
        (xgboost, "Booster"),
        (lightgbm, "Dataset"),
        (lightgbm, "Booster"),
    ):
        monkeypatch.setattr(getattr(owner, name), "__init__", built)


def changed(column: str, values: Any) -> pd.DataFrame:
    return X.assign(**{column: values})


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "lengths differ": ({"y": Y[:-1]}, r"40.*39|39.*40"),
    "weights of another length": ({"sample_weight": np.ones(3)}, "sample_weight"),
    "groups of another length": ({"groups": np.ones(3)}, "groups"),
    "no rows": ({"X": X.iloc[:0], "y": Y[:0]}, "at least one row|empty"),
    "no columns": ({"X": X[[]]}, "column"),
    "one class": ({"y": np.zeros(40, dtype=int), "task": "binary"}, "two different values"),
    "y missing": ({"y": np.where(NUMBERS > 0.9, np.nan, NUMBERS)}, "y "),
    "y infinite": ({"y": np.where(NUMBERS > 0.9, np.inf, NUMBERS)}, "y "),
    "negative weight": ({"sample_weight": np.r_[-1.0, np.ones(39)]}, "sample_weight"),
    "infinite weight": ({"sample_weight": np.r_[np.inf, np.ones(39)]}, "sample_weight"),
    "weights all zero": ({"sample_weight": np.zeros(40)}, "sample_weight"),
    "no groups for a group splitter": ({"cv": GroupKFold(3)}, "groups"),
    "a date column": ({"X": changed("day", pd.date_range("2024-01-01", periods=40))}, "'day'"),
    "a column of lists": ({"X": changed("lists", [[1]] * 40)}, "'lists'"),
    "duplicate columns": ({"X": pd.concat([X, X[["a"]]], axis=1)}, "'a'"),
    "unknown space": ({"space": "cores"}, "Did you mean 'xgboost/core'|Did you mean 'core'"),
    "unknown sampler": ({"sampler": "tpo"}, "Did you mean 'tpe'"),
    "unknown pruner": ({"pruner": "races"}, "Did you mean 'race'"),
    "unknown metric": ({"metric": "roc_acu"}, "Did you mean 'roc_auc'"),
    "unknown parameter": (
        {
            "space": {
                "schema": 1,
                "family": "xgboost",
                "name": "mine",
                "parameters": {"max_deep": {"kind": "int", "low": 1, "high": 3, "default": 2}},
            }
        },
        "max_deep.*Did you mean 'max_depth'",
    ),
    "unknown argument": ({"n_trial": 3}, "Did you mean 'n_trials'"),
    "unknown task": ({"task": "clasification"}, "classification"),
    "a metric of another task": ({"metric": "neg_root_mean_squared_error"}, "binary"),
    "a bare function as metric": ({"metric": f1_score}, r"gbtune\.Metric"),
    "no trials": ({"n_trials": 0}, "n_trials"),
    "half a trial": ({"n_trials": 1.5}, "n_trials"),
    "no time": ({"timeout": 0}, "timeout"),
    "endless time": ({"timeout": float("inf")}, "timeout"),
    "no cores": ({"n_jobs": 0}, "n_jobs"),
    "one fold": ({"cv": 1}, "cv"),
    "a hold-out of all": ({"cv": 1.5}, "cv"),
    "more folds than rows": ({"cv": 50}, "cv|folds"),
    "a bad tracker": ({"tracking": 3}, "tracking"),
    "a name without a tracker": ({"tracking": False, "register": "model"}, "register"),
    "a negative seed": ({"seed": -1}, "seed"),
    "a study that is none": ({"study": 3}, "study"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_bad_input_is_one_clear_error_before_any_booster(case: str, family: str) -> None:
    change, words = BAD[case]
    if case == "unknown space" and family == "lightgbm":
        words = words.replace("xgboost", "lightgbm")
    if case == "unknown parameter" and family == "lightgbm":
        change = {"space": {**change["space"], "family": "lightgbm"}}
    arguments = {"X": X, "y": Y, "tracking": False, "progress": False, **change}
    with pytest.raises(gbtune.GbtuneError) as error:
        gbtune.tune(arguments.pop("X"), arguments.pop("y"), family=family, **arguments)
    assert isinstance(error.value, ValueError)
    assert re.search(words, str(error.value), re.DOTALL), str(error.value)


def test_a_missing_library_comes_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(ImportError, match="python -m pip install xgboost"):
        gbtune.tune_xgb(X, Y, tracking=False, progress=False)
