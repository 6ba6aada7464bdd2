from __future__ import annotations

import dataclasses
import html.parser
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from test_plots import study_record

from gbtune.errors import InvalidArgument
from gbtune.records import TrialRecord
from gbtune.summary import (
    SummaryFacts,
    format_estimate,
    format_score,
    format_seconds,
    paired_gain,
    summary_html,
    summary_markdown,
    summary_text,
    verdict,
)

BEST = TrialRecord(
    7,
    "complete",
    {"learning_rate": 0.0312345, "max_depth": 5, "grow_policy": "lossguide"},
    score=0.30,
    fold_scores=(0.29, 0.31, 0.30),
    rounds=412,
)
BASELINE = TrialRecord(
    0, "complete", {"learning_rate": 0.3, "max_depth": 6}, kind="baseline",
    score=0.33, fold_scores=(0.32, 0.34, 0.33), rounds=100,
)  # fmt: skip
FACTS = SummaryFacts(
    study=study_record(folds="3 folds", n_folds=3),
    best=BEST,
    best_params=BEST.all_params,
    baseline=dataclasses.replace(BASELINE, fold_scores=(0.32, 0.345, 0.325)),
    counts={"complete": 5, "pruned": 4, "failed": 1},
    seconds=133,
    warnings=("max_depth = 5 lies on the upper edge of the space: a wider range may do better.",),
    run_url="http://localhost:5000/#/experiments/1/runs/abc",
    run_id="abc",
    model_uri="models:/m-123",
    registered="churn, version 3",
)
scores = st.lists(st.tuples(*[st.floats(-1e3, 1e3)] * 2), min_size=2, max_size=10)


@given(scores)
def test_a_paired_gain_is_the_mean_difference_with_its_standard_error(pairs):
    best, baseline = zip(*pairs, strict=True)
    gain, error = paired_gain(best, baseline, "maximize")
    differences = np.subtract(best, baseline)
    assert gain == pytest.approx(differences.mean(), abs=1e-9)
    assert error == pytest.approx(stats.sem(differences), abs=1e-9)


@given(scores)
def test_a_gain_changes_its_sign_with_the_direction_and_its_error_does_not(pairs):
    best, baseline = zip(*pairs, strict=True)
    up, down = paired_gain(best, baseline, "maximize"), paired_gain(best, baseline, "minimize")
    assert up[0] == pytest.approx(-down[0])
    assert up[1] == pytest.approx(down[1])


def test_a_gain_is_paired_so_that_levels_of_the_folds_cancel():
    gain, error = paired_gain([1.0, 5.0, 9.0], [2.0, 6.0, 10.0], "minimize")
    assert (gain, error) == (1.0, 0.0)


def test_one_fold_has_a_gain_without_an_error():
    assert paired_gain([0.3], [0.4], "minimize") == (pytest.approx(0.1), None)


@pytest.mark.parametrize(("best", "baseline"), [([], []), ([1.0], [1.0, 2.0])])
def test_a_gain_of_different_folds_is_refused(best, baseline):
    with pytest.raises(InvalidArgument, match="same folds"):
        paired_gain(best, baseline, "minimize")


@pytest.mark.parametrize(
    ("gain", "error", "words"),
    [
        (0.02, 0.01, "no gain beyond noise"),
        (0.0201, 0.01, "better than the default, by 2.0 standard errors"),
        (0.34, 0.01, "by 34 standard errors"),
        (-0.01, 0.01, "no gain beyond noise"),
        (-0.03, 0.01, "worse than the default"),
        (-0.03, 0.0, "worse than the default"),
        (0.03, 0.0, "better than the default on every fold alike"),
        (0.0, 0.0, "no gain"),
        (0.02, None, "one fold"),
    ],
)
def test_a_verdict_follows_the_rule_of_two_standard_errors(gain, error, words):
    assert words in verdict(gain, error)


@given(st.floats(1e-4, 1e6))
def test_a_score_keeps_five_significant_digits(x):
    assert float(format_score(x)) == pytest.approx(x, rel=5.1e-5)
    assert format_score(-x) == f"-{format_score(x)}"


@pytest.mark.parametrize(
    ("x", "text"),
    [(None, "-"), (0.0, "0"), (math.nan, "nan"), (math.inf, "inf"), (0.5, "0.50000"), (1.5e12, "1.5000e+12"),
     (2e-9, "2.0000e-09")],
)  # fmt: skip
def test_odd_scores_have_a_text(x, text):
    assert format_score(x) == text


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (1234.5678, 12.3, "1235 ± 12"),
        (0.5, 0.0, "0.50000"),
        (0.5, math.nan, "0.50000"),
        (0.5, 1e-14, "0.50000"),
        (None, 0.1, "-"),
    ],
)
def test_an_estimate_has_the_digits_that_its_error_allows(x, error, text):
    assert format_estimate(x, error) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (59.6, "1 min 0 s"), (3599.7, "1 h 0 min"), (86400, "24 h 0 min")]
)
def test_durations_never_show_sixty_seconds(seconds, text):
    assert format_seconds(seconds) == text


def test_the_text_reads_as_it_should():
    assert summary_text(FACTS) == (
        "xgboost tuned on 12,000 rows x 24 columns (binary)\n"
        "  score       log_loss 0.3000 ± 0.0058 on 3 folds (lower is better, ± standard error), trial 7\n"
        "  default     log_loss 0.3300 ± 0.0076\n"
        "  gain        0.0300 ± 0.0029, paired by fold: better than the default, by 10 standard errors\n"
        "  trials      10: 5 complete, 4 pruned, 1 failed, in 2 min 13 s\n"
        "  MLflow      http://localhost:5000/#/experiments/1/runs/abc\n"
        "  registered  churn, version 3\n"
        '  load        mlflow.pyfunc.load_model("models:/m-123")\n'
        "  parameters  learning_rate  0.03123    default 0.3\n"
        "              max_depth      5          default 6\n"
        "              grow_policy    lossguide\n"
        "              n_estimators   412        default 100\n"
        "  note        max_depth = 5 lies on the upper edge of the space: a wider range may do better."
    )


def test_text_markdown_and_html_say_the_same():
    page, text, note = summary_html(FACTS), summary_text(FACTS), summary_markdown(FACTS)
    for words in ("0.3000 ± 0.0058", "0.0300 ± 0.0029", "4 pruned", "learning_rate", "0.03123", "upper edge", "churn"):
        assert words in page and words in text and words in note
    assert '<a href="http://localhost:5000/' in page


def test_a_gain_within_noise_is_called_so_in_all_three():
    facts = dataclasses.replace(FACTS, baseline=dataclasses.replace(BASELINE, fold_scores=(0.25, 0.36, 0.30)))
    for words in (summary_text(facts), summary_html(facts), summary_markdown(facts)):
        assert "no gain beyond noise" in words


def test_the_default_as_best_is_said_plainly():
    facts = dataclasses.replace(FACTS, best=BASELINE, baseline=BASELINE)
    assert "the default itself" in summary_text(facts)
    assert "paired by fold: no gain" in summary_text(facts)


def test_nothing_is_said_of_what_is_not_there():
    facts = SummaryFacts(FACTS.study, BEST, BEST.all_params, None, {"complete": 1}, 2.0)
    text = summary_text(facts)
    assert not any(word in text for word in ("gain", "MLflow", "load", "registered", "note", "default", "None"))


def test_a_run_without_a_link_is_named():
    assert "MLflow      run abc" in summary_text(dataclasses.replace(FACTS, run_url=None))


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)


def test_what_comes_from_data_is_escaped_in_html_and_markdown():
    evil = "<script>alert(1)</script>|`x`"
    facts = dataclasses.replace(
        FACTS,
        study=study_record(metric=evil, folds=evil, family=evil),
        best_params={evil: evil},
        warnings=(evil,),
        registered=evil,
        run_url=f"javascript:{evil}",
    )
    tags = _Tags()
    tags.feed(summary_html(facts))
    assert not {"script", "a"} & set(tags.seen)
    note = summary_markdown(facts)
    assert "<" not in note
    table = [line for line in note.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") in (3, 4) for line in table)


def test_what_mattered_is_said_everywhere_and_how_to_run_it_again_in_the_note_alone():
    study = study_record(call="tune_xgb(X, y, space='a|b')", data_fingerprint="abc123")
    facts = dataclasses.replace(FACTS, study=study, importances={"a": 0.61, "b": 0.2, "c": 0.12, "d": 0.07})
    for words in (summary_text(facts), summary_html(facts), summary_markdown(facts)):
        assert "a 61 %, b 20 %, c 12 %" in words
    assert "| reproduce | `gbtune.tune_xgb(X, y, space='a\\|b')` on data abc123 |" in summary_markdown(facts)
    assert "reproduce" not in summary_text(facts)
    drawn = dataclasses.replace(study, seed=None, study_seed=77)
    assert "(the seed drawn was 77)" in summary_markdown(dataclasses.replace(facts, study=drawn))
