"""How a study looks in MLflow's own UI: its saved view, its note, its links, its space file."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow_server import Server, small_bundle

from gbtune import SearchSpace, tune_lgbm
from gbtune.errors import InvalidSpace
from gbtune.records import StudyRecord, TrialRecord
from gbtune.testing import trackers as kit
from gbtune.tracking import MLflowTracker
from gbtune.tracking.note import study_note
from gbtune.tracking.projection import MAX_TAG, project_trial
from gbtune.tracking.sync import sync
from gbtune.tracking.view import MAX_AXES, MAX_COLUMNS, MAX_VIEW, TAG, view_key, view_tag, view_text

Runs = Callable[..., list[mlflow.entities.Run]]


def view(study: StudyRecord | None = None, *args: Any, **settings: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(view_text(study or kit.example_study(), *args, **settings))
    return found


def charts(found: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [chart for chart in found["compareRunCharts"] if chart["type"] == kind]


def tell(tracker: MLflowTracker, **outcome: Any) -> Any:
    tracker.study_started(kit.example_study())
    for trial in kit.example_trials():
        tracker.trial_finished(trial)
    return tracker.study_finished(dataclasses.replace(kit.example_outcome(), **outcome))


def saved(client: mlflow.MlflowClient, uid: str = "contract") -> str | None:
    text: str | None = client.get_experiment_by_name("gbtune").tags.get(view_tag(kit.example_study(uid)))
    return text


# -- the view ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("direction", "ascending"), [("minimize", True), ("maximize", False)])
def test_the_best_trial_is_the_first_row(direction: str, ascending: bool) -> None:
    found = view(kit.example_study(direction=direction))
    assert (found["orderByKey"], found["orderByAsc"]) == ("metrics.`roc_auc`", ascending)


def test_the_rows_are_the_trials_of_this_study_alone_and_its_own_run(
    tracker: MLflowTracker, client: mlflow.MlflowClient, breast_cancer: tuple[pd.DataFrame, pd.Series]
) -> None:
    """So that whoever has only this link finds the note, the report and the model."""
    tell(tracker, model=small_bundle(*breast_cancer))
    tracker.study_started(kit.example_study("other"))
    tracker.study_finished(kit.example_outcome())
    found = json.loads(saved(client) or "")
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    order = f"{found['orderByKey']} {'ASC' if found['orderByAsc'] else 'DESC'}"
    names = [run.info.run_name for run in client.search_runs([experiment], found["searchFilter"], order_by=[order])]
    assert names[:4] == ["#0001 xgboost", "example", "#0002 xgboost", "#0000 xgboost"]
    assert sorted(names[4:]) == ["#0003 xgboost", "#0004 xgboost"]


def test_the_columns_are_score_state_spread_rounds_and_what_mattered_first() -> None:
    columns = view(importances={"max_depth": 0.9, "eta": 0.1})["selectedColumns"]
    names = ["metrics.`roc_auc`", "tags.`gbtune.state`", "metrics.`cv/std`", "params.`n_estimators`"]
    assert columns == [*names, "params.`max_depth`", "params.`eta`"]


def test_before_anything_is_known_the_columns_are_the_space_in_its_order() -> None:
    space = SearchSpace.load("xgboost/core")
    study = kit.example_study(space_definition=space.to_dict())
    varied = [name for name in space.to_dict()["parameters"] if name != "n_estimators"]
    columns = view(study)["selectedColumns"]
    assert columns[-len(varied) :] == [f"params.`{name}`" for name in varied]
    assert columns.count("params.`n_estimators`") == 1


def test_a_study_that_gbtune_does_not_run_shows_what_its_trials_sampled() -> None:
    study = kit.example_study(space_definition={}, family="", metric="value")
    trials = [TrialRecord(0, "complete", {"x": 1, "fixed": 2}, sampled=("x",), score=1.0)]
    columns = view(study, trials)["selectedColumns"]
    assert columns[-1] == "params.`x`" and not any("fixed" in c or "n_estimators" in c for c in columns)


def test_the_charts_are_parallel_coordinates_curves_and_scatters() -> None:
    found = view(importances=dict.fromkeys("abcdefghij", 0.1))
    (parallel,) = charts(found, "PARALLEL")
    assert parallel["selectedParams"] == list("abcdefghij")[:MAX_AXES]
    assert (parallel["selectedMetrics"], parallel["showAllRuns"]) == (["roc_auc"], True)
    (line,) = charts(found, "LINE")
    assert line["metricKey"] == "curve/roc_auc"
    assert [chart["xaxis"]["key"] for chart in charts(found, "SCATTER")] == ["a", "b", "trial"]
    assert {chart["yaxis"]["key"] for chart in charts(found, "SCATTER")} == {"roc_auc"}
    sections = {section["uuid"]: section for section in found["compareRunSections"]}
    assert all(sections[chart["metricSectionId"]]["display"] for chart in found["compareRunCharts"])
    assert len({chart["uuid"] for chart in found["compareRunCharts"]}) == len(found["compareRunCharts"])


def test_what_is_no_review_is_folded_away() -> None:
    study = kit.example_study(extra_metrics=("log_loss",))
    found = view(study)
    folded = {section["name"] for section in found["compareRunSections"] if not section["display"]}
    for trial in kit.example_trials():
        keys = {point.key for point in project_trial(study, trial).points} - {charts(found, "LINE")[0]["metricKey"]}
        assert {key.rpartition("/")[0] or "Model metrics" for key in keys} <= folded


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_curves_show_where_they_differ(direction: str) -> None:
    """The first rounds are far from all the rest and would flatten it to one line."""
    fall = 0.2 + 0.5 * np.exp(-np.arange(50) / 3)
    curve = fall if direction == "minimize" else 1 - fall
    trial = TrialRecord(0, "complete", {}, score=0.2, curve=tuple(curve), curve_rounds=tuple(range(1, 51)))
    worst = dataclasses.replace(trial, number=1, state="pruned", curve=(99.0, math.nan))
    (line,) = charts(view(kit.example_study(direction=direction), [trial, worst]), "LINE")
    low, high = line["range"]["yMin"], line["range"]["yMax"]
    assert low < curve[-1] < high
    assert high - low < 0.2
    (before,) = charts(view(kit.example_study(direction=direction)), "LINE")
    assert "range" not in before


def test_many_parameters_of_long_names_fit_into_a_tag() -> None:
    long = {f"{'a long name ' * 20}{i}": 0.1 for i in range(50)}
    text = view_text(kit.example_study(), importances=long)
    assert len(text) <= MAX_VIEW
    assert json.loads(text)["compareRunCharts"]
    short = view(importances={f"p{i}": 0.1 for i in range(50)})
    assert sum(column.startswith("params") for column in short["selectedColumns"]) == 1 + MAX_COLUMNS


def test_names_that_mlflow_refuses_are_the_ones_it_got() -> None:
    found = view(kit.example_study(metric="ndcg@5"), importances={"a[0]": 1.0})
    assert found["orderByKey"] == "metrics.`ndcg_at_5`"
    assert charts(found, "PARALLEL")[0]["selectedParams"] == ["a_0_"]
    assert charts(found, "LINE")[0]["metricKey"] == "curve/ndcg_at_5"


def test_the_installed_mlflow_still_reads_the_format() -> None:
    """Only a browser can tell for sure (tests/in_browser); this sees at least that the words of the format are gone."""
    build = Path(mlflow.__file__).parent / "server" / "js" / "build"
    if not build.is_dir():
        pytest.skip("this MLflow comes without its UI")
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in build.rglob("*.js"))
    found = view(importances={"eta": 1.0}, trials=kit.example_trials())
    words = {TAG, "viewStateShareKey", "compareRunsMode", "workflowType", "machine_learning", "SHOW_ALL", *found}
    for part in (*found["compareRunCharts"], *found["compareRunSections"]):
        words |= set(part)
    words |= {f'"{chart["type"]}"' for chart in found["compareRunCharts"]}
    missing = sorted(word for word in words if word not in scripts)
    assert not missing, (
        f"The UI of MLflow {mlflow.__version__} knows none of {missing}: it may no longer read gbtune's saved view. "
        "Open a study's link, compare with docs/images, and mend gbtune/tracking/view.py; nothing else depends on it."
    )


# -- in a store -------------------------------------------------------------------------------------------------


def test_the_view_is_there_from_the_start_and_knows_what_mattered_at_the_end(
    tracker: MLflowTracker, client: mlflow.MlflowClient, runs: Runs
) -> None:
    tracker.study_started(kit.example_study())
    assert tracker._worker.flush(60.0) == []
    assert saved(client) == view_text(kit.example_study())
    assert runs(gbtune_kind="study")[0].data.tags["gbtune.view"] == view_key(kit.example_study())
    outcome = dataclasses.replace(kit.example_outcome(), importances={"max_depth": 0.9, "eta": 0.1})
    assert tracker.study_finished(outcome).problems == ()
    assert saved(client) == view_text(kit.example_study(), outcome.trials, outcome.importances)


def test_a_study_costs_two_calls_for_its_view(
    tracker: MLflowTracker, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = mlflow.MlflowClient.set_experiment_tag
    monkeypatch.setattr(
        mlflow.MlflowClient, "set_experiment_tag", lambda self, *words: (calls.append(words), real(self, *words))
    )
    tell(tracker)
    assert len(calls) == 2


def test_a_resumed_study_keeps_its_view_until_it_ends(uri: str, client: mlflow.MlflowClient) -> None:
    tell(MLflowTracker(uri), importances={"max_depth": 1.0})
    before = saved(client)
    tracker = MLflowTracker(uri)
    tracker.study_started(kit.example_study())
    assert tracker._worker.flush(60.0) == []
    assert saved(client) == before
    tracker.study_finished(dataclasses.replace(kit.example_outcome(), importances={"eta": 1.0}))
    assert saved(client) != before


def test_two_studies_of_one_experiment_have_a_view_each(uri: str, client: mlflow.MlflowClient) -> None:
    for uid in ("one", "other"):
        tracker = MLflowTracker(uri)
        tracker.study_started(kit.example_study(uid))
        assert tracker.study_finished(kit.example_outcome([])).problems == ()
    assert "'one'" in (saved(client, "one") or "") and "'other'" in (saved(client, "other") or "")


def test_sync_builds_the_view_in_a_store_that_never_saw_the_study(uri: str, client: mlflow.MlflowClient) -> None:
    outcome = dataclasses.replace(kit.example_outcome(), importances={"max_depth": 1.0})
    assert sync(kit.example_study(), outcome, MLflowTracker(uri)).problems == ()
    assert saved(client) == view_text(kit.example_study(), outcome.trials, outcome.importances)


def test_a_view_that_cannot_be_written_costs_nothing_else(
    server: Server, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    def refuse(self: Any, *_: Any) -> None:
        raise mlflow.MlflowException("no tags of experiments here")

    monkeypatch.setattr(mlflow.MlflowClient, "set_experiment_tag", refuse)
    receipt = tell(MLflowTracker(server.uri, experiment="no view"))
    assert receipt.problems == () and not recwarn.list
    client = mlflow.MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("no view").experiment_id
    page = f"/#/experiments/{experiment}/runs/{receipt.run_id}?workflowType=machine_learning"
    assert receipt.url == server.uri + page
    tags = client.get_run(receipt.run_id).data.tags
    assert "gbtune.view" not in tags and "viewStateShareKey" not in tags["mlflow.note.content"]


def test_a_study_whose_trials_have_no_runs_has_no_view(uri: str, client: mlflow.MlflowClient) -> None:
    tell(MLflowTracker(uri, detail="summary"))
    assert saved(client) is None


# -- links ------------------------------------------------------------------------------------------------------


def test_the_link_of_a_server_opens_the_view(server: Server) -> None:
    receipt = tell(MLflowTracker(server.uri, experiment="linked"))
    experiment = mlflow.MlflowClient(server.uri).get_experiment_by_name("linked").experiment_id
    key = view_key(kit.example_study())
    where = f"{server.uri}/#/experiments/{experiment}/runs?viewStateShareKey={key}&workflowType=machine_learning"
    assert receipt.url == where


def test_without_a_server_the_link_is_a_command(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = MLflowTracker(uri)
    tracker.study_started(kit.example_study(name="my study"))
    url = tracker.study_finished(kit.example_outcome()).url
    assert shlex.split(url or "") == ["gbtune", "ui", "my study"]  # the default store of this folder
    monkeypatch.chdir("/")
    assert shlex.split(tell(MLflowTracker(uri)).url) == ["gbtune", "ui", "example", "--tracking-uri", uri]


# -- the note ---------------------------------------------------------------------------------------------------


def test_the_note_says_how_to_load_the_model_and_it_can_be_loaded(
    uri: str, client: mlflow.MlflowClient, breast_cancer: tuple[pd.DataFrame, pd.Series]
) -> None:
    bundle = small_bundle(*breast_cancer)
    receipt = tell(MLflowTracker(uri, register="churn"), model=bundle)
    run = client.get_run(receipt.run_id)
    assert run.data.tags["gbtune.model_uri"] == receipt.model_uri == "models:/churn/1"
    (code,) = re.findall("```python\n(.*?)```", run.data.tags["mlflow.note.content"], re.S)
    names: dict[str, Any] = {"X_new": breast_cancer[0].head(3)}
    try:
        exec(code, names)
    finally:
        mlflow.set_tracking_uri(None)
    assert len(names["model"].predict(names["X_new"])) == 3


def test_the_note_keeps_the_model_as_long_as_the_best_trial_is_the_same(
    uri: str, client: mlflow.MlflowClient, breast_cancer: tuple[pd.DataFrame, pd.Series]
) -> None:
    receipt = tell(MLflowTracker(uri), model=small_bundle(*breast_cancer))

    def note() -> str:
        return str(client.get_run(receipt.run_id).data.tags["mlflow.note.content"])

    assert "load_model" in note()
    tell(MLflowTracker(uri))
    assert "load_model" in note()
    tell(MLflowTracker(uri), best=kit.example_trials()[2])
    assert "load_model" not in note()


def test_links_in_the_note_work_under_every_name_of_the_server(
    tracker: MLflowTracker, client: mlflow.MlflowClient
) -> None:
    receipt = tell(tracker)
    note = client.get_run(receipt.run_id).data.tags["mlflow.note.content"]
    links = dict(re.findall(r"\[([^]]+)\]\(([^)]+)\)", note))
    assert set(links) == {"all trials", "charts", "report", "trial table", "search space"}
    assert all(link.startswith("#/experiments/") and "workflowType=machine_learning" in link for link in links.values())
    files = {item.path for item in client.list_artifacts(receipt.run_id)}
    linked = {link.partition("/artifacts/")[2].partition("?")[0] for link in links.values() if "/artifacts/" in link}
    assert linked and linked <= files


def test_a_long_summary_loses_rows_of_its_table_and_the_rest_of_the_note_is_whole() -> None:
    table = "\n".join(["| parameter | best |", "|---|---|", *(f"| p{i} | {'x' * 50} |" for i in range(500))])
    where: dict[str, Any] = {"experiment_id": "1", "run_id": "2", "has_view": True, "model_uri": "models:/a/1"}
    text = study_note(kit.example_study(), f"# Head\n\n{table}\n\n- a warning", **where)
    assert len(text) <= MAX_TAG
    assert text.startswith("Look at: ") and text.endswith("```") and "viewStateShareKey" in text
    assert "# Head" in text and "- a warning" in text and "models:/a/1" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert 50 < len(rows) < 500 and all(line.endswith("|") for line in rows)


# -- a real study -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, diabetes: tuple[pd.DataFrame, pd.Series]) -> tuple[Any, Path]:
    """A study of real trials, and the folder of its artifacts."""
    folder = tmp_path_factory.mktemp("study")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    result = tune_lgbm(*diabetes, n_trials=6, cv=3, n_jobs=1, tracking=MLflowTracker(uri), progress=False)
    return result, Path(mlflow.MlflowClient(tracking_uri=uri).download_artifacts(result.run_id, ""))


def test_the_space_file_loads_as_the_space(told: tuple[Any, Path]) -> None:
    result, folder = told
    space = SearchSpace.load(folder / "search_space.json")
    assert space == SearchSpace.load(str(folder / "search_space.json"))
    assert space.to_dict() == result.record.space_definition
    broken = folder / "broken.json"
    for text in ("[1]", "{"):
        broken.write_text(text)
        with pytest.raises(InvalidSpace, match="not valid JSON"):
            SearchSpace.load(broken)


def test_the_environment_is_the_versions_that_the_study_ran_with(told: tuple[Any, Path]) -> None:
    environment = json.loads((told[1] / "environment.json").read_text())
    assert environment == told[0].record.versions
    assert {"python", "gbtune", "optuna", "lightgbm", "numpy"} <= set(environment)


def test_a_complete_trial_shows_the_spread_of_its_folds(told: tuple[Any, Path]) -> None:
    result, _ = told
    client = mlflow.MlflowClient(tracking_uri=result.receipt.tracking_uri)
    trials = client.search_runs(["1"], "tags.`gbtune.kind` = 'trial'")
    assert len(trials) == 6
    for run in trials:
        metrics = run.data.metrics
        folds = [value for key, value in metrics.items() if key.startswith("cv/fold")]
        assert metrics["trial"] == int(run.data.tags["gbtune.trial"])
        assert metrics.get("cv/std") == (pytest.approx(np.std(folds, ddof=1)) if len(folds) > 1 else None)
        complete = run.data.tags["gbtune.state"] == "COMPLETE"
        assert (f"curve/{result.record.metric}" in metrics) is complete
        assert (f"partial_curve/{result.record.metric}" in metrics) is not complete
