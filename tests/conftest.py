"""Shared fixtures: small real data sets."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

settings.register_profile("gbtune", deadline=None)  # machines are shared: no timed assertions
settings.load_profile("gbtune")

# Before MLflow is imported: its telemetry asks the network, and writes into the environment that a test compares.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")

FAMILIES = ("xgboost", "lightgbm")
TOGETHER = (
    "tests/benchmarks/test_ci_benchmark.py",
    "tests/contracts/test_outside_package.py",
    "tests/in_browser/",
    "tests/test_cli_ui.py",
    "tests/test_mlflow_doc.py",
    "tests/tracking/test_tracking_serving.py",
)
"""Files whose tests share something that takes long to start, so that one worker runs them all."""


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal out tests one by one, and those of `TOGETHER` as wholes."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((start for start in TOGETHER if nodeid.startswith(start)), nodeid)

    return Scheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _control_c_is_heard() -> None:
    """A suite that runs in the background (``nohup``, ``&`` in a script) is started with the signal ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real SQLite store, made once, for copies: MLflow takes three seconds for each new one."""
    import mlflow

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def new_store(tmp_path: Path, empty_database: Path) -> Callable[[str], str]:
    """Return the address of an empty store in this test's folder, by the name of its file."""
    return lambda name: f"sqlite:///{shutil.copy(empty_database, tmp_path / name)}"


@pytest.fixture
def uri(new_store: Callable[[str], str]) -> str:
    """The address of an empty store: mlflow.db in this test's folder."""
    return new_store("mlflow.db")


@pytest.fixture(params=FAMILIES)
def family_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def breast_cancer() -> tuple[pd.DataFrame, pd.Series]:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return X, y


@pytest.fixture(scope="session")
def cancer_means(breast_cancer: tuple[pd.DataFrame, pd.Series]) -> tuple[pd.DataFrame, pd.Series]:
    """The first ten columns of breast cancer, the means: a third of the time, and more trials that are pruned."""
    X, y = breast_cancer
    return X.iloc[:, :10], y


@pytest.fixture(scope="session")
def diabetes() -> tuple[pd.DataFrame, pd.Series]:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return X, y


@pytest.fixture(scope="session")
def wine() -> tuple[pd.DataFrame, pd.Series]:
    X, y = load_wine(return_X_y=True, as_frame=True)
    return X, y


@pytest.fixture(scope="session")
def mixed() -> tuple[pd.DataFrame, pd.Series]:
    """442 rows of real measurements with a string, a category and missing values; three string labels."""
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": X["age"].where(random.random(len(X)) > 0.1),
            "bmi": X["bmi"],
            "bp": X["bp"].round().astype("Int64"),
            "sex": X["sex"].map({1.0: "one", 2.0: "two"}),
            "s5": pd.cut(X["s5"], 5, labels=list("abcde")),
            "high": X["s6"] > 91,
        }
    )
    frame.loc[random.choice(len(X), 30, replace=False), "sex"] = None
    target = pd.cut(y, [0, 100, 190, 400], labels=["low", "middle", "high"]).astype(str)
    return frame, target
