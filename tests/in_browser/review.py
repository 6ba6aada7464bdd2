"""The studies that the browser looks at, and what a person should find of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from mlflow.entities import Run
from sklearn.datasets import load_breast_cancer
from tracking.mlflow_server import Server

from gbtune import SearchSpace, TuningResult, tune_xgb
from gbtune.facts import ReadStudy

STUDY = MODEL = "breast-cancer"
TRIALS = 30
CLASSIC = "workflowType=machine_learning"
FIGURES = (
    "Score by trial",
    "Scores by fold",
    "Importance of the parameters",
    "Confusion matrix",
    "boosting round",
    "log_loss (lower is better)",
    "predicted probability of malignant",
)
"""Headings of the report, and words on the axes of its figures: those are there once a figure is drawn."""


@dataclass(frozen=True)
class Review:
    """A server with its studies: `result` of the first, whose model is version 1; `later` of the second."""

    server: Server
    result: TuningResult
    later: TuningResult

    @cached_property
    def trials(self) -> list[Run]:
        """The runs of the first study's trials, by number."""
        where = f"tags.`mlflow.parentRunId` = '{self.result.run_id}' and tags.`gbtune.kind` = 'trial'"
        found = self.server.client.search_runs([self.experiment], where, max_results=1000)
        return sorted(found, key=lambda run: int(run.data.tags["gbtune.trial"]))

    @cached_property
    def parent(self) -> Run:
        return self.server.client.get_run(self.result.run_id)

    @property
    def experiment(self) -> str:
        return self.parent.info.experiment_id

    @property
    def best(self) -> Run:
        number = int(self.parent.data.tags["gbtune.best_trial"])
        return self.trials[number]

    @property
    def complete(self) -> list[Run]:
        return [run for run in self.trials if run.data.tags["gbtune.state"] == "COMPLETE"]

    @property
    def pruned(self) -> Run:
        return next(run for run in self.trials if run.data.tags["gbtune.state"] == "PRUNED")

    def said(self, label: str) -> str:
        """The numbers after a label of the summary that is printed, such as ``0.0171 ± 0.0070``."""
        line = next(line for line in str(self.result).splitlines() if line.split()[0] == label)
        found = re.search(r"\d\S* ± \S*\d", line)
        assert found is not None, line
        return found[0]

    def most_important(self, count: int) -> list[str]:
        """The parameters that mattered most."""
        shares, _ = ReadStudy(self.result.study).importances
        return list(shares)[:count]

    def page(self, path: str) -> str:
        """The address of a page of MLflow's UI, in its view for training."""
        return f"{self.server.uri}/#/{path}{'&' if '?' in path else '?'}{CLASSIC}"

    def run_page(self, run: Run, tab: str = "") -> str:
        return self.page(f"experiments/{self.experiment}/runs/{run.info.run_id}{tab}")


def patients() -> tuple[pd.DataFrame, pd.Series]:
    """569 rows of real measurements, 30 numbers and one text; two text labels."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X["size"] = pd.cut(X["mean area"], [0, 420, 550, 780, 1e9], labels=["small", "medium", "large", "huge"]).astype(str)
    return X, y.map({0: "malignant", 1: "benign"}).rename("diagnosis")


def run_studies(server: Server) -> Review:
    """Tune twice: the second, shorter search registers a challenger."""
    X, y = patients()
    # fewer trees than the space's slowest learning rates would take
    space = SearchSpace.load("xgboost/core").override(learning_rate=(0.05, 0.3))
    common = {"space": space, "register": MODEL, "tracking": server.uri, "progress": False}
    result = tune_xgb(X, y, **common, study=STUDY, n_trials=TRIALS, seed=0)
    later = tune_xgb(X, y, **common, study=f"{STUDY}-later", n_trials=6, seed=1)
    return Review(server, result, later)
