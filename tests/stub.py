"""A fake problem: the stub family on one real column, with a space of two parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.datasets import load_diabetes

from gbtune.families import ModelFamily
from gbtune.objective import Objective
from gbtune.testing.families import StubFamily

SPACE: dict[str, Any] = {
    "schema": 1,
    "family": "stub",
    "name": "core",
    "parameters": {
        "learning_rate": {"kind": "float", "low": 0.01, "high": 0.5, "log": True, "default": 0.1, "grid": [0.05, 0.2]},
        "split": {"kind": "float", "low": 0.1, "high": 0.9, "default": 0.5, "grid": [0.3, 0.5, 0.7]},
        "n_estimators": {"kind": "rounds", "low": 10, "high": 200, "default": 50},
    },
}


def stub_objective(on_train: Callable[[Any, int], None] | None = None, **arguments: Any) -> Objective:
    """An objective that needs no booster; `on_train` sees, and may break, each training."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    family: ModelFamily = StubFamily() if on_train is None else StubFamily(on_train)
    return Objective(family, X[["bmi"]], y, **{"space": SPACE, "cv": 4, **arguments})
