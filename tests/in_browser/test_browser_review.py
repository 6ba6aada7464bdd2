"""A person reviews a study in MLflow's UI, with nothing but the link."""

from __future__ import annotations

import re

import mlflow
import pytest
from in_browser.chromium import Browser
from in_browser.review import FIGURES, MODEL, STUDY, TRIALS, Review

# one server and one study for all: they go to one worker
pytestmark = pytest.mark.nightly


@pytest.fixture(autouse=True)
def undisturbed(browser: Browser, review: Review) -> None:
    """On its first page MLflow opens a chat about language models; a person closes it once."""
    browser.dismiss_assistant(review.server.uri)


def open_saved_view(browser: Browser, url: str, *texts: str) -> str:
    """Open a link to a saved view; the format of these is MLflow's own, so a new version may no longer know it."""
    try:
        return browser.open(url, "matching runs", *texts)
    except AssertionError as error:
        pytest.fail(
            f"MLflow {mlflow.__version__} ignores gbtune's saved view: its link does not show the trials by score. "
            f"Nothing else depends on it. What MLflow must read is in gbtune/tracking/view.py.\n{error}",
            pytrace=False,
        )


def test_the_studys_link_opens_its_trials_best_first(browser: Browser, review: Review) -> None:
    assert review.result.url is not None
    shown = open_saved_view(
        browser, review.result.url, "log_loss", "cv/std", "gbtune.state", "n_estimators", "COMPLETE"
    )
    best_first = [run.info.run_name for run in sorted(review.complete, key=lambda run: run.data.metrics["log_loss"])]
    named = re.findall(r"#\d{4} xgboost", shown)
    assert named[:10] == best_first[:10]
    assert set(named) <= {run.info.run_name for run in review.trials}, "and nothing of other studies"
    for param in review.most_important(2):
        assert param in shown
    assert str(review.best.data.metrics["log_loss"])[:6] in shown
    browser.picture("view")
    browser.click(STUDY, among="a")
    browser.read("Description", "Child runs")


def test_the_views_charts_show_all_trials(browser: Browser, review: Review) -> None:
    browser.size(1400, 1560)  # MLflow draws a chart when it comes into sight
    url, params = review.result.url, review.most_important(2)
    titles = [f"{param} vs. log_loss" for param in params]
    open_saved_view(browser, f"{url}&compareRunsMode=CHART", "curve/log_loss", "Showing all runs", *titles)
    # each is an axis of the parallel coordinates, a title and an axis of a scatter
    browser.wait(
        lambda: all(browser.text().count(param) >= 3 for param in params),
        lambda: f"{params} are not the axes of the charts:\n{browser.text()[:3000]}",
    )
    browser.picture("view-charts")


def test_the_runs_table_has_one_row_for_the_study_and_the_trials_under_it(browser: Browser, review: Review) -> None:
    shown = browser.open(review.page(f"experiments/{review.experiment}/runs"), "matching runs", STUDY)
    assert "Model registry" in shown, "the view for training, not the one for language models"
    assert "#0000" not in shown, "the trials are folded"
    browser.picture("runs")
    browser.unfold(STUDY)
    browser.read(f"#{TRIALS - 1:04d} xgboost", "final")
    browser.picture("runs-unfolded")


def test_a_trial_says_its_parameters_its_scores_and_where_they_came_from(browser: Browser, review: Review) -> None:
    best = review.best
    name = best.info.run_name
    shown = browser.open(review.run_page(best), name, "Parameters (", "Metrics (")
    for param, value in review.result.best_params.items():
        assert param in shown and str(value) in shown, f"{param} = {value} is not on the best trial's page"
    assert "cv/fold4" in shown and "log_loss" in shown
    assert "Finished" in shown
    browser.picture("trial")
    browser.open(review.run_page(best, "/model-metrics"), name, "curve", "log_loss")
    browser.picture("trial-curve")


def test_a_pruned_trial_has_a_partial_score_and_no_score(browser: Browser, review: Review) -> None:
    pruned = review.pruned
    shown = browser.open(review.run_page(pruned), pruned.info.run_name, "partial_score", "PRUNED", "Metrics (")
    metrics = shown.partition("Metrics (")[2].partition("Parameters (")[0].splitlines()
    assert "log_loss" not in metrics
    browser.picture("trial-pruned")


def test_the_studys_page_says_in_words_what_was_found(browser: Browser, review: Review) -> None:
    browser.size(1400, 1150)
    shown = browser.open(review.run_page(review.parent), STUDY, "Show more", "Datasets", "569 rows x 31 columns")
    browser.click("Show more")
    shown = browser.read("Show less")
    note = shown.partition("Description")[2].partition("Show less")[0]
    assert "569 rows x 31 columns" in note
    assert review.said("score") in note and review.said("gain") in note, "how good, and how sure"
    assert all(param in note for param in review.most_important(2)), "what mattered"
    assert all(param in note for param in review.result.best_params), "the best parameters"
    assert f"n_trials={TRIALS}" in note and "tune_xgb(" in note, "how to run it again"
    assert f'mlflow.pyfunc.load_model("models:/{MODEL}/1")' in note, "how to load the model"
    assert "COMPLETE" not in note
    browser.picture("study")
    with browser.follow("report"):
        browser.read("report.html", "best_params.json")


def test_a_warning_is_said_where_the_study_is_described(browser: Browser, review: Review) -> None:
    shown = "lies on the lower edge of the space"
    assert shown in str(review.later), "the short study ends at the edge of its space"
    browser.open(review.run_page(review.server.client.get_run(review.later.run_id)), "Show more")
    browser.click("Show more")
    browser.read("Show less", shown)


def test_the_report_is_read_inside_mlflow(browser: Browser, review: Review) -> None:
    browser.open(review.run_page(review.parent, "/artifacts/report.html"), "report.html", "trials.csv")
    with browser.frame():
        browser.read(STUDY, review.said("score"), review.said("gain"), *FIGURES)
    browser.picture("report-in-mlflow")


def test_the_trial_table_is_read_inside_mlflow(browser: Browser, review: Review) -> None:
    browser.open(review.run_page(review.parent, "/artifacts/trials.json"), "number", "params.max_depth", "cv.fold4")
