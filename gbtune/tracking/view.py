"""A study's view in MLflow's own UI: which columns, which order, which charts; JSON in a tag of the experiment.

MLflow's UI opens a saved view by its key (``viewStateShareKey`` in the link): the tag ``mlflow.sharedViewState.<key>``
of the experiment holds the state of its table and charts. The format is MLflow's own and not documented; the field
names here were read in the UI of MLflow 3.17. Nothing depends on it: a UI that does not know a field ignores it, one
that does not know the format shows the experiment's runs. Pure; no MLflow here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gbtune.records import StudyRecord, TrialRecord
from gbtune.tracking.projection import SPREAD, TRIAL_NUMBER, curve_name, safe_key

TAG = "mlflow.sharedViewState."
"""What comes before the key in the name of the experiment's tag."""
CLASSIC = "workflowType=machine_learning"
"""Without it a link opens MLflow's view for language models, which lacks the registry."""
MAX_VIEW = 5000
"""Characters of a tag of an experiment that every MLflow store takes."""
MAX_COLUMNS = 8
"""Parameters with a column of their own."""
MIDDLE = 0.8
"""Share of the points of all learning curves that their chart shows."""
_FIRST_COLUMNS = {"0": 73, "attributes.`Run Name`": 190, "runDateAndNestInfo": 150}
"""MLflow's own: a box to tick, the run's name, its date; with their widths in pixels."""
MAX_AXES = 6
"""Parameters in the parallel coordinates: with more, no line can be followed."""


def view_key(study: StudyRecord) -> str:
    """Return the key of a study's view: one per study, for ever.

    Examples
    --------
    >>> from gbtune.testing.trackers import example_study
    >>> from gbtune.tracking.view import view_key
    >>> view_key(example_study())
    'gbtune-cc8321d6375c494d'
    """
    return f"gbtune-{hashlib.sha256(study.uid.encode()).hexdigest()[:16]}"


def view_tag(study: StudyRecord) -> str:
    """Return the name of the experiment's tag that holds a study's view."""
    return f"{TAG}{view_key(study)}"


def view_page(study: StudyRecord, experiment_id: str, *, charts: bool = False) -> str:
    """Return the link to a study's view, relative to MLflow's page; `charts` beside the table.

    Examples
    --------
    >>> from gbtune.testing.trackers import example_study
    >>> from gbtune.tracking.view import view_page
    >>> view_page(example_study(), "1")
    '#/experiments/1/runs?viewStateShareKey=gbtune-cc8321d6375c494d&workflowType=machine_learning'
    """
    mode = "&compareRunsMode=CHART" if charts else ""
    return f"{experiment_page(experiment_id, view_key(study))}{mode}"


def experiment_page(experiment_id: str, key: str | None = None) -> str:
    """Return the link to an experiment's runs, in the view of a key if one is given, relative to MLflow's page.

    Examples
    --------
    >>> from gbtune.tracking.view import experiment_page
    >>> experiment_page("1")
    '#/experiments/1/runs?workflowType=machine_learning'
    """
    return f"#/experiments/{experiment_id}/runs?{f'viewStateShareKey={key}&' if key else ''}{CLASSIC}"


def run_page(experiment_id: str, run_id: str, part: str = "") -> str:
    """Return the link to a run's page, or to a part of it, relative to MLflow's page.

    Examples
    --------
    >>> from gbtune.tracking.view import run_page
    >>> run_page("1", "2", "artifacts/report.html")
    '#/experiments/1/runs/2/artifacts/report.html?workflowType=machine_learning'
    """
    return f"#/experiments/{experiment_id}/runs/{run_id}{part and f'/{part}'}?{CLASSIC}"


def view_text(
    study: StudyRecord, trials: Sequence[TrialRecord] = (), importances: Mapping[str, float] | None = None
) -> str:
    """Return a study's view: its trials by score, the parameters that mattered, charts.

    Parameters
    ----------
    study : StudyRecord
        What is tuned.
    trials : sequence of TrialRecord, optional
        Those known; none yet when the study starts.
    importances : mapping of str to float, optional
        Parameters that mattered, the largest share first. Default: those of the search space, in its order.

    Returns
    -------
    str
        JSON of at most `MAX_VIEW` characters; with many parameters of long names, some of them have no column.

    Examples
    --------
    >>> import json
    >>> from gbtune.testing.trackers import example_study
    >>> from gbtune.tracking.view import view_text
    >>> view = json.loads(view_text(example_study(), importances={"eta": 0.8, "max_depth": 0.2}))
    >>> view["orderByKey"], view["orderByAsc"]
    ('metrics.`roc_auc`', False)
    >>> [chart["displayName"] for chart in view["compareRunCharts"]]
    ['Parameters and score', 'Learning curves', 'roc_auc by eta', 'roc_auc by max_depth', 'roc_auc by trial']
    """
    names = list(importances or {}) or _varied(study, trials)
    for shown in range(min(len(names), MAX_COLUMNS), -1, -1):
        text = json.dumps(_state(study, [safe_key(name) for name in names[:shown]], trials), separators=(",", ":"))
        if len(text) <= MAX_VIEW:
            return text
    return text


def _varied(study: StudyRecord, trials: Iterable[TrialRecord]) -> list[str]:
    """Return the parameters that a sampler chooses, in the order of the space, then as the trials have them."""
    space = study.space_definition.get("parameters") or {}
    names = [name for name, kind in space.items() if kind.get("kind") not in ("fixed", "rounds")]
    seen = {name for trial in trials for name in trial.sampled}
    sampled = dict.fromkeys(name for trial in trials for name in trial.sampled)
    return [name for name in names if not seen or name in seen] + [name for name in sampled if name not in names]


def _state(study: StudyRecord, params: list[str], trials: Sequence[TrialRecord]) -> dict[str, Any]:
    metric = safe_key(study.metric)
    score, state = _column("metrics", metric), _column("tags", "gbtune.state")
    columns = {score: 110, state: 100, _column("metrics", SPREAD): 100}
    columns |= {_column("params", name): 45 + 7 * len(name) for name in (*_rounds(study), *params)}
    widths = {**_FIRST_COLUMNS, **columns}
    folded = ["cv", *(["extra"] if study.extra_metrics else []), "partial_curve", "rounds", "time"]
    sections = [
        _section("search", "What the trials found", columns=1, height=420),
        _section("curves", "Learning curves and single parameters", columns=2, height=360),
        # MLflow makes a chart of each other metric, in a section of its prefix: there, but folded
        *(_section(name, name, display=False) for name in folded),
        _section("other", "Model metrics", display=False),
    ]
    return {
        # with the study's own run, which has no parameters and so no point in the charts: from here it is found
        "searchFilter": f"tags.`gbtune.study_uid` = '{study.uid}' and tags.`gbtune.kind` != 'final'",
        "orderByKey": score,
        "orderByAsc": study.direction == "minimize",
        "selectedColumns": list(columns),
        "columnOrder": list(widths),
        "columnWidths": widths,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": _charts(study, metric, params, trials),
        "compareRunSections": sections,
        "isAccordionReordered": True,
    }


def _rounds(study: StudyRecord) -> tuple[str, ...]:
    return ("n_estimators",) if study.family else ()


def _charts(study: StudyRecord, metric: str, params: list[str], trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    score = {"key": metric, "type": "METRIC"}
    charts: list[dict[str, Any]] = []
    if params:
        axes = {"selectedParams": params[:MAX_AXES], "selectedMetrics": [metric], "showAllRuns": True}
        charts.append(_chart("PARALLEL", "search", "Parameters and score", **axes))
    curve = {"metricKey": safe_key(curve_name(study)), "xAxisKey": "step", "displayPoints": False}
    charts.append(_chart("LINE", "curves", "Learning curves", **curve, **_range(study, trials)))
    for name in params[:2]:
        x = {"key": name, "type": "PARAM"}
        charts.append(_chart("SCATTER", "curves", f"{metric} by {name}", xaxis=x, yaxis=score))
    x = {"key": TRIAL_NUMBER, "type": "METRIC"}
    charts.append(_chart("SCATTER", "curves", f"{metric} by trial", xaxis=x, yaxis=score))
    return charts


def _range(study: StudyRecord, trials: Iterable[TrialRecord]) -> dict[str, Any]:
    """Return where the curves differ: their first rounds, far from all the rest, would flatten them to one line."""
    curves = [np.asarray(trial.curve) for trial in trials if trial.state == "complete" and len(trial.curve)]
    values = np.concatenate(curves) if curves else np.empty(0)
    values = values[np.isfinite(values)]
    if not len(values):
        return {}
    low, high = values.min(), values.max()
    if study.direction == "minimize":
        high = np.quantile(values, MIDDLE)
    else:
        low = np.quantile(values, 1 - MIDDLE)
    margin = 0.05 * (high - low)
    return {"range": {"yMin": float(low - margin), "yMax": float(high + margin)}} if margin > 0 else {}


def _chart(kind: str, section: str, title: str, **settings: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": f"gbtune-{title}",
        "metricSectionId": section,
        "displayName": title,
        "isGenerated": False,
        "deleted": False,
        **settings,
    }


def _section(uuid: str, name: str, *, display: bool = True, columns: int = 3, height: int = 300) -> dict[str, Any]:
    place = {"columns": columns, "cardHeight": height}
    return {"uuid": uuid, "name": name, "display": display, "isReordered": False, "isGenerated": False, **place}


def _column(kind: str, name: str) -> str:
    """Return how MLflow names a column."""
    return f"{kind}.`{name}`"
