from __future__ import annotations

import html.parser
import re

import optuna
import pytest
from test_plots import new_study, study_by_hand

from gbtune import report
from gbtune.diagnostics import DIAGNOSTICS_KEY, Diagnostics
from gbtune.errors import InvalidArgument
from gbtune.records import TRIAL_KEY, TrialRecord
from gbtune.report import render_report
from gbtune.report_sections import MAX_ROWS

FIGURES = {"time", "slices-0", "slices-5", "history", "folds", "learning_curves", "importance", "parallel_coordinates"}


class _Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(study_by_hand(40), "| a | b |", "Churn <2026>")


def test_the_page_is_well_formed_and_holds_words_figures_and_tables(page):
    parsed = _Page(page)
    assert parsed.open == []
    ids = {attrs.get("id", "") for _, attrs in parsed.tags}
    assert {f"figure-{name}" for name in FIGURES} <= ids
    for words in ("Churn <2026>", "xgboost tuned on 12,000 rows", "paired by fold: better than the default",
                  "library default", "learning_rate", "1 trial failed", "| a | b |", "xgboost 3.2.0"):  # fmt: skip
        assert words in parsed.text


def test_the_page_needs_no_network_and_holds_plotly_once(page):
    parsed = _Page(page)
    loading = {"src", "srcset", "data", "poster", "action", "background"}
    assert not [attrs for tag, attrs in parsed.tags if loading & set(attrs) or tag in ("link", "iframe", "img", "base")]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1] and "@import" not in style[1]
    assert len(re.findall(r"plotly\.js v\d", page)) == 1
    assert 4e6 < len(page) < 7e6


def test_the_page_fits_phones_and_the_dark(page):
    viewport = [attrs for tag, attrs in _Page(page).tags if tag == "meta" and attrs.get("name") == "viewport"]
    assert viewport[0]["content"] == "width=device-width, initial-scale=1"
    assert "prefers-color-scheme: dark" in page


def test_two_renderings_of_a_study_are_equal(page):
    study = study_by_hand(12)
    assert render_report(study) == render_report(study)


def study_where_everything_is_called(word: str) -> optuna.Study:
    study = new_study(name=word, metric=word, family=word, folds=word, plan=word, sampler=word, versions={word: word})
    for number in range(12):
        trial = study.ask()
        value = trial.suggest_float(word, 0, 1) + trial.suggest_float("b", 0, 1)
        kind = trial.suggest_categorical("c", [word, "y"])
        record = TrialRecord(
            number, "complete", {word: trial.params[word], "c": kind}, sampled=(word, "c"), score=value,
            provenance=word, fold_scores=(value, value), curve_rounds=(1, 2), curve=(1.0, value), rounds=2,
        )  # fmt: skip
        trial.set_user_attr(TRIAL_KEY, record.to_json())
        study.tell(trial, value)
    failed = study.ask()
    failed.set_user_attr(TRIAL_KEY, TrialRecord(12, "failed", {}, error=word).to_json())
    study.tell(failed, state=optuna.trial.TrialState.FAIL)
    return study


def test_what_comes_from_data_is_escaped_everywhere():
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    plain = _Page(render_report(study_where_everything_is_called("plain"), "plain", "plain"))
    parsed = _Page(render_report(study_where_everything_is_called(evil), evil, evil))
    assert [tag for tag, _ in parsed.tags] == [tag for tag, _ in plain.tags]
    assert evil in parsed.text


def test_a_figure_that_is_empty_says_why_in_words():
    assert "Importance needs at least 10 complete trials; there are 4." in _Page(render_report(study_by_hand(5))).text


def test_a_figure_that_fails_leaves_its_place_and_the_rest(monkeypatch):
    def plot_broken(study: optuna.Study) -> object:
        raise RuntimeError("no <luck>")

    monkeypatch.setattr(report, "_FIGURES", ((plot_broken, 300, "never seen", ""), *report._FIGURES[1:]))
    parsed = _Page(render_report(study_by_hand(12)))
    assert "This figure could not be drawn. RuntimeError: no <luck>" in parsed.text
    assert "never seen" not in parsed.text
    assert "figure-folds" in {attrs.get("id") for _, attrs in parsed.tags}


def test_without_any_figure_the_page_is_small_and_still_says_everything(monkeypatch):
    def plot_broken(study: optuna.Study) -> object:
        raise RuntimeError("no plotly")

    monkeypatch.setattr(report, "_FIGURES", ((plot_broken, 300, "", ""),))
    page = render_report(study_by_hand(12))
    assert len(page) < 50_000
    assert "Best parameters" in page


def test_an_empty_study_has_a_page():
    parsed = _Page(render_report(new_study()))
    assert "No trial completed." in parsed.text
    assert "0 trials" in parsed.text


def test_a_study_of_failures_has_a_page_with_the_tracebacks():
    study = new_study()
    for number in range(3):
        trial = study.ask()
        record = TrialRecord(number, "failed", {}, error="Traceback (most recent call last):\nMemoryError: too big")
        trial.set_user_attr(TRIAL_KEY, record.to_json())
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    text = _Page(render_report(study)).text
    assert "3 x MemoryError: too big" in text
    assert "3 trials failed. The first error: MemoryError: too big" in text


def test_a_gain_within_noise_is_warned_of():
    study = new_study()
    for number, folds in enumerate([(0.30, 0.40, 0.35), (0.31, 0.37, 0.34)]):
        record = TrialRecord(
            number, "complete", {}, kind="sampled" if number else "baseline", score=sum(folds) / 3, fold_scores=folds
        )
        trial = study.ask()
        trial.set_user_attr(TRIAL_KEY, record.to_json())
        study.tell(trial, record.score)
    assert "Gain over the library's default: no gain beyond noise" in _Page(render_report(study)).text


def test_the_table_of_trials_holds_the_best_rows_of_a_long_study():
    study = new_study()
    for number in range(MAX_ROWS + 20):
        score = 1 - number / 1000
        record = TrialRecord(number, "complete", {}, score=score, fold_scores=(score,))
        state = optuna.trial.TrialState.COMPLETE
        study.add_trial(optuna.trial.create_trial(state=state, value=score, user_attrs={TRIAL_KEY: record.to_json()}))
    page = render_report(study)
    table = page[page.index("<h2>Trials</h2>") :]
    assert table.count("<tr") == MAX_ROWS + 1
    assert f"The {MAX_ROWS} best of {MAX_ROWS + 20}, best first." in table
    assert '<tr class="best"><th>219</th>' in table
    assert "<th>5</th>" not in table


def test_a_study_that_is_not_ours_is_refused():
    with pytest.raises(InvalidArgument, match="gbtune:study"):
        render_report(optuna.create_study())


def reported(diagnostics: Diagnostics, **changes: object) -> _Page:
    study = new_study(**changes)  # type: ignore[arg-type]
    for number in range(3):
        record = TrialRecord(number, "complete", {}, score=0.5 - number / 10, fold_scores=(0.5 - number / 10,))
        trial = study.ask()
        trial.set_user_attr(TRIAL_KEY, record.to_json())
        study.tell(trial, record.score)
    study.set_user_attr(DIAGNOSTICS_KEY, diagnostics.to_json())
    return _Page(render_report(study))


SLICES = (
    ("town", "<b>Hull</b>", 80, 0.45, 0.02),
    ("age", "above 30 to 50", 90, 0.31, 0.02),
    ("town", "York", 70, 0.2, 0.1),
)


def test_the_page_shows_the_predictions_that_fit_the_task_and_the_worst_slices():
    found = Diagnostics(2, "binary", 300, score=0.3, classes=("no", "yes"), confusion=((150, 10), (20, 120)),
                        calibration=((0.1, 0.1, 150), (0.9, 0.9, 150)), slices=SLICES, n_slices=9,
                        slice_metric="log_loss", slice_score=0.3)  # fmt: skip
    page = reported(found)
    ids = {attrs.get("id") for _, attrs in page.tags}
    assert {"figure-predictions-0", "figure-predictions-1"} <= ids
    rows = page.text[page.text.index("log_loss by slice of the data") :]
    assert rows.index("town: <b>Hull</b>") < rows.index("age: above 30 to 50") < rows.index("town: York")
    for words in (
        "0.450 ± 0.020",
        "+0.15",
        "beyond noise",
        "within noise",
        "better",
        "Of 9 slices of at least 30 rows",
    ):
        assert words in rows


def test_of_a_regression_the_page_shows_residuals():
    found = Diagnostics(2, "regression", 300, score=0.3, residuals=((1.0, 0.1),), quantiles=(-1, -0.5, 0, 0.5, 1))
    page = reported(found, metric="rmse", task="regression")
    assert "figure-predictions-0" in {attrs.get("id") for _, attrs in page.tags}
    assert "by slice" not in page.text


def test_the_page_says_why_there_are_no_predictions():
    assert "No time <left>." in reported(Diagnostics(2, "binary", missing="No time <left>.")).text


def test_a_study_without_stored_predictions_has_no_section_of_them(page):
    assert "held out" not in _Page(page).text


def test_the_page_says_how_to_find_the_same_again():
    page = reported(Diagnostics(2, "binary"), call="tune_xgb(X, y, space='<mine>')", data_fingerprint="abc123")
    assert "To find the same again: gbtune.tune_xgb(X, y, space='<mine>') on data abc123." in page.text
