"""The files of a study's run: trial table, best parameters, search space, environment, report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gbtune.records import StudyOutcome, StudyRecord, TrialRecord

TABLE_FILE, SPACE_FILE, REPORT_FILE = "trials.json", "search_space.json", "report.html"
LOGGED_TABLES = json.dumps([{"path": TABLE_FILE, "type": "table"}])
"""Value of the tag ``mlflow.loggedArtifacts``: the UI then shows the file as a table."""


def trials_frame(trials: list[TrialRecord], metric: str, run_ids: Mapping[int, str] | None = None) -> pd.DataFrame:
    """Return the trial table: one row per trial, parameters as ``params.<name>``.

    Parameters
    ----------
    trials : list of TrialRecord
        In the order of the rows.
    metric : str
        Name of the score's column.
    run_ids : mapping of int to str, optional
        Trial number to run id, for a column ``run_id``.

    Examples
    --------
    >>> from gbtune.records import TrialRecord
    >>> from gbtune.tracking.artifacts import trials_frame
    >>> trials_frame([TrialRecord(0, "complete", {"eta": 0.1}, score=0.9)], "auc")[["number", "auc", "params.eta"]]
       number  auc  params.eta
    0       0  0.9         0.1
    """
    rows = []
    for trial in trials:
        row: dict[str, Any] = {
            "number": trial.number,
            "state": trial.state,
            "reason": trial.reason,
            "origin": trial.kind,
            metric: trial.score,
            "partial_score": trial.partial_score,
            "seconds": max(0, trial.ended_at - trial.started_at) / 1000,
        }
        row |= {f"params.{name}": value for name, value in trial.all_params.items()}
        row |= {f"cv.fold{fold}": score for fold, score in enumerate(trial.fold_scores)}
        row |= {f"extra.{name}": value for name, value in trial.extra.items()}
        row |= {"provenance": trial.provenance or None, "duplicate_of": trial.duplicate_of}
        row["error"] = trial.error.strip().splitlines()[-1] if trial.error else None
        row["run_id"] = (run_ids or {}).get(trial.number)
        rows.append(row)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame(rows, columns=columns)


def write_artifacts(folder: Path, study: StudyRecord, outcome: StudyOutcome, run_ids: Mapping[int, str]) -> list[Path]:
    """Write the files of the study's run into `folder` and return them."""
    table = trials_frame(outcome.trials, study.metric, run_ids)
    texts = {
        TABLE_FILE: table.to_json(orient="split", index=False, double_precision=15),
        "trials.csv": table.to_csv(index=False),
        "best_params.json": json_text(outcome.best_params),
        SPACE_FILE: json_text(study.space_definition) if study.space_definition else "",
        "environment.json": json_text(study.versions) if study.versions else "",
        REPORT_FILE: outcome.report_html,
    }
    paths = []
    for name, text in texts.items():
        if text:
            path = folder / name
            path.write_text(text, encoding="utf-8")
            paths.append(path)
    return paths


def dataset_input(study: StudyRecord) -> Any:
    """Return the data set as MLflow shows it: name, digest, schema and shape, never the data."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.validation import MAX_DATASET_SCHEMA_SIZE

    types = {"number": "double", "category": "string"}
    columns = [{"name": name, "type": types.get(kind, kind), "required": True} for name, kind in study.columns.items()]
    schema = json.dumps({"mlflow_colspec": columns})
    if not columns or len(schema) > MAX_DATASET_SCHEMA_SIZE:
        schema = json.dumps({"mlflow_colspec": [], "n_columns": study.n_columns})
    dataset = Dataset(
        name=f"{study.n_rows} rows x {study.n_columns} columns",
        digest=study.data_fingerprint[:36] or "unknown",
        source_type="code",
        source=json.dumps({"tags": {}}),
        schema=schema,
        profile=json.dumps({"num_rows": study.n_rows, "num_elements": study.n_rows * study.n_columns}),
    )
    return DatasetInput(dataset=dataset, tags=[InputTag("mlflow.data.context", "tuning")])


def json_text(value: object) -> str:
    """Return readable JSON with exact numbers; numpy values become plain ones."""
    return json.dumps(value, indent=2, default=_plain)


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
