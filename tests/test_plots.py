from __future__ import annotations

import contextlib
import json
import math

import numpy as np
import optuna
import pytest

from gbtune.diagnostics import DIAGNOSTICS_KEY, Diagnostics
from gbtune.errors import InvalidArgument
from gbtune.facts import best_record, parameter_importances, read_records
from gbtune.plots import (
    plot_calibration,
    plot_confusion,
    plot_folds,
    plot_history,
    plot_importance,
    plot_learning_curves,
    plot_parallel_coordinates,
    plot_residuals,
    plot_slice,
    plot_time,
)
from gbtune.records import STUDY_KEY, TRIAL_KEY, Direction, StudyRecord, TrialRecord

PLOTS = [plot_history, plot_importance, plot_parallel_coordinates, plot_learning_curves, plot_folds, plot_time]
START = 1_700_000_000_000


def study_record(direction: Direction = "minimize", **changes: object) -> StudyRecord:
    fields = {
        "uid": "u1",
        "name": "churn",
        "family": "xgboost",
        "space": "xgboost/core",
        "space_version": "1",
        "space_definition": {},
        "metric": "log_loss" if direction == "minimize" else "roc_auc",
        "direction": direction,
        "task": "binary",
        "n_rows": 12_000,
        "n_columns": 24,
        "folds": "5 stratified folds",
        "n_folds": 5,
        "sampler": "tpe",
        "pruner": "race",
        "seed": 0,
        "n_trials": 60,
        "versions": {"xgboost": "3.2.0", "optuna": "5.0.0"},
        "plan": "space xgboost/core, 5 stratified folds, TPE, racing, 60 trials",
        "started_at": START,
    }
    return StudyRecord(**{**fields, **changes})  # type: ignore[arg-type]


def new_study(direction: Direction = "minimize", **changes: object) -> optuna.Study:
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))
    study.set_user_attr(STUDY_KEY, study_record(direction, **changes).to_json())
    return study


def study_by_hand(n_trials: int = 40, direction: Direction = "minimize") -> optuna.Study:
    """A study as a gbtune objective leaves it: the baseline, complete, pruned and failed trials."""
    study = new_study(direction)
    random = np.random.default_rng(0)
    fold_level = random.normal(0, 0.012, 5)
    natural = (lambda loss: loss) if direction == "minimize" else (lambda loss: 1 - loss)
    rounds = np.unique(np.geomspace(1, 1200, 120).astype(int))
    for number in range(n_trials):
        trial = study.ask()
        if number == 0:
            params = {"learning_rate": 0.3, "max_depth": 6, "subsample": 1.0, "reg_lambda": 1.0}
            sampled: tuple[str, ...] = ()
        else:
            params = {
                "learning_rate": trial.suggest_float("learning_rate", 0.005, 0.3, log=True),
                "max_depth": trial.suggest_int("max_depth", 2, 12),
                "subsample": trial.suggest_float("subsample", 0.4, 1.0),
                "reg_lambda": trial.suggest_float("reg_lambda", 1e-3, 100, log=True),
                "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
                "grow_policy": trial.suggest_categorical("grow_policy", ["depthwise", "lossguide"]),
            }
            if params["grow_policy"] == "lossguide":
                params["max_leaves"] = trial.suggest_int("max_leaves", 8, 256, log=True)
            sampled = tuple(trial.params)
        rate, depth = params["learning_rate"], params["max_depth"]
        floor = 0.33 + 0.004 * abs(depth - 6) + 0.02 * abs(math.log10(rate / 0.03)) + random.exponential(0.004)
        speed = rate * (0.3 + 0.1 * depth)
        curve = floor + (0.69 - floor) * np.exp(-speed * rounds) + 0.02 * rate * (rounds * speed / 40) ** 0.7
        grown = 100 if number == 0 else int(rounds[min(len(rounds) - 1, int(curve.argmin()) + 8)])
        kept = rounds <= grown
        at = int(curve[kept].argmin()) if number else int(kept.sum()) - 1
        folds = curve[at] + fold_level + random.normal(0, 0.0015, 5)
        common = {
            "params": params,
            "n_folds": 5,
            "kind": "baseline" if number == 0 else "portfolio" if number < 4 else "sampled",
            "sampled": sampled,
            "rounds": int(rounds[at]),
            "seconds": {"train": 1.2 + grown / 400, "score": 0.05},
            "started_at": START + 2500 * number,
            "ended_at": START + 2500 * (number + 1),
        }
        state = "complete" if number < 5 else ("complete", "pruned", "pruned", "complete", "pruned")[number % 5]
        if number == 9:
            record = TrialRecord(number, "failed", params, sampled=sampled, error="Traceback\nValueError: bad <bin>")
        elif state == "pruned":
            record = TrialRecord(
                number, "pruned", **{**common, "reason": "race", "fold_scores": tuple(natural(folds[:2])),
                "rounds_grown": (grown, grown), "partial_score": float(natural(folds[:2].mean()))}
            )  # fmt: skip
        else:
            record = TrialRecord(
                number, "complete", **{**common, "fold_scores": tuple(natural(folds)), "rounds_grown": (grown,) * 5,
                "score": float(natural(folds.mean())), "curve_rounds": tuple(rounds[kept].tolist()),
                "curve": tuple(natural(curve[kept] + folds.mean() - curve[at]).tolist())}
            )  # fmt: skip
        trial.set_user_attr(TRIAL_KEY, record.to_json())
        states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
        study.tell(trial, record.score, optuna.trial.TrialState[states[record.state]])
    return study


def names(figure: object) -> list[str]:
    return [trace.name for trace in figure.data if trace.name]  # type: ignore[attr-defined]


def reason(figure: object) -> str:
    assert not figure.data  # type: ignore[attr-defined]
    return figure.layout.annotations[0].text  # type: ignore[attr-defined,no-any-return]


@pytest.fixture(scope="module", params=["minimize", "maximize"])
def study(request: pytest.FixtureRequest) -> optuna.Study:
    return study_by_hand(40, request.param)


@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_draws_a_full_study_on_a_transparent_ground(plot, study):
    figure = plot(study)
    assert figure.data
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.title.text


@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_says_why_it_is_empty_before_the_first_trial(plot):
    assert reason(plot(new_study())).endswith((".", "0."))


@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_refuses_a_study_that_is_not_ours(plot):
    with pytest.raises(InvalidArgument, match="gbtune:study"):
        plot(optuna.create_study())


@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_leaves_the_study_as_it_was(plot, study):
    before = [(t.number, t.state, t.value, dict(t.params)) for t in study.trials]
    plot(study)
    assert [(t.number, t.state, t.value, dict(t.params)) for t in study.trials] == before


def test_history_has_every_scored_trial_the_best_so_far_and_the_baseline(study):
    figure = plot_history(study)
    assert set(names(figure)) == {"complete", "pruned", "best so far", "library default"}
    trace = {t.name: t for t in figure.data}
    states = [t.state.name for t in study.trials]
    assert len(trace["complete"].x) == states.count("COMPLETE")
    assert len(trace["pruned"].x) == states.count("PRUNED")
    assert trace["best so far"].y[-1] == study.best_value
    steps = np.diff(trace["best so far"].y)
    assert (steps <= 0).all() if study.direction.name == "MINIMIZE" else (steps >= 0).all()
    assert trace["library default"].y[0] == study.trials[0].value


def test_a_pruned_trial_is_drawn_where_it_stood_beside_the_best_one_on_its_folds(study):
    about, records = read_records(study)
    best, pruned = best_record(about, records), {r.number: r for r in records if r.state == "pruned"}
    trace = next(t for t in plot_history(study).data if t.name == "pruned")
    low, high = min(trace.y), max(trace.y)
    for number, shown in zip(trace.x, trace.y, strict=True):
        folds = pruned[number].fold_scores
        behind = np.mean(np.subtract(folds, best.fold_scores[: len(folds)]))
        assert shown == pytest.approx(best.score + behind) or shown in (low, high)


def test_history_keeps_far_worse_trials_on_its_border_as_triangles():
    study = new_study()
    for number, score in enumerate([0.50, 0.51, 0.52, 0.50, 0.49, 0.51, 90.0]):
        trial = study.ask()
        trial.set_user_attr(TRIAL_KEY, TrialRecord(number, "complete", {}, score=score).to_json())
        study.tell(trial, score)
    figure = plot_history(study)
    assert max(figure.data[0].y) == 0.52
    assert figure.data[0].marker.symbol[-1] == "triangle-up"
    assert "90.000" in figure.data[0].text[-1]
    assert figure.layout.yaxis.range[1] < 1


def test_importance_shares_sum_to_one_and_name_sampled_parameters(study):
    bars = plot_importance(study).data[0]
    assert sum(bars.x) == pytest.approx(1)
    assert set(bars.y) == {name for t in study.trials for name in t.params}


@pytest.mark.parametrize(
    ("n", "parameters", "score", "words"),
    [
        (4, 2, None, "at least 10 complete trials; there are 4"),
        (12, 1, None, "only p0 was varied"),
        (12, 2, 0.5, "same score"),
    ],
)
def test_importance_says_why_there_is_none(n, parameters, score, words):
    study = new_study()
    for number in range(n):
        trial = study.ask()
        value = sum(trial.suggest_float(f"p{i}", 0, 1) for i in range(parameters))
        record = TrialRecord(number, "complete", trial.params, score=score or value)
        trial.set_user_attr(TRIAL_KEY, record.to_json())
        study.tell(trial, record.score)
    assert words in reason(plot_importance(study))


def test_parallel_coordinates_draw_complete_sampled_trials_with_the_best_on_top(study):
    figure = plot_parallel_coordinates(study)
    sampled = [t for t in study.trials if t.state.name == "COMPLETE" and t.params]
    assert len(figure.data) == len(sampled)
    assert figure.data[-1].name == "best trial"
    assert figure.data[-1].line.width > figure.data[0].line.width
    axes, by_importance = list(figure.layout.xaxis.ticktext)[1:], list(parameter_importances(study)[0])
    assert sorted(axes) == sorted({n for t in sampled for n in t.params})
    assert axes[: len(by_importance)] == by_importance
    shown_score = float(figure.data[-1].customdata[0][1])
    assert shown_score == pytest.approx(study.best_value, rel=1e-2)


def test_a_baseline_outside_the_space_does_not_stretch_importance_and_coordinates():
    study = new_study()
    study.enqueue_trial({"a": 50.0, "b": 0.5})
    for number in range(13):
        trial = study.ask()
        context = pytest.warns(UserWarning, match="out of range") if number == 0 else contextlib.nullcontext()
        with context:
            params = {name: trial.suggest_float(name, 0, 1) for name in "ab"}
        record = TrialRecord(number, "complete", params, score=params["a"], kind="sampled" if number else "baseline")
        trial.set_user_attr(TRIAL_KEY, record.to_json())
        study.tell(trial, record.score)
    assert study.trials[0].params["a"] == 50.0
    assert len(plot_parallel_coordinates(study).data) == 12
    assert sum(plot_importance(study).data[0].x) == pytest.approx(1)


def test_learning_curves_show_the_best_trials_the_baseline_and_the_chosen_rounds(study):
    figure = plot_learning_curves(study, top=3)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    assert len(lines) == len(marks) == 4
    assert {trace.name for trace in lines} >= {"library default", f"trial {study.best_trial.number}"}
    for line, mark in zip(lines, marks, strict=True):
        assert mark.x[0] in line.x
        assert mark.y[0] == pytest.approx(line.y[list(line.x).index(mark.x[0])])


def test_folds_pair_the_best_with_the_baseline(study):
    figure = plot_folds(study)
    assert names(figure) == ["library default", f"best (trial {study.best_trial.number})"]
    default, best = figure.data[-2:]
    assert list(default.y) == list(best.y) == [f"fold {i}" for i in range(1, 6)]
    assert np.mean(best.x) == pytest.approx(study.best_value)
    assert (figure.layout.meta["gain"] > 0) is True


def test_folds_show_the_baseline_alone_when_it_is_the_best():
    figure = plot_folds(study_by_hand(1))
    assert names(figure) == ["library default (best)"]


def test_names_and_values_are_escaped_for_plotly():
    study = new_study(metric="<b>m</b>")
    for number in range(12):
        trial = study.ask()
        value = trial.suggest_float("<i>a</i>", 0, 1) + trial.suggest_float("b", 0, 1)
        kind = trial.suggest_categorical("c", ["<u>x</u>", "y"])
        params = {"<i>a</i>": trial.params["<i>a</i>"], "c": kind}
        record = TrialRecord(
            number, "complete", params, sampled=tuple(params), score=value, fold_scores=(value, value),
            curve_rounds=(1, 2), curve=(1.0, value), rounds=2,
        )  # fmt: skip
        trial.set_user_attr(TRIAL_KEY, record.to_json())
        study.tell(trial, value)
    for plot in PLOTS:
        drawn = json.dumps(plot(study).to_plotly_json(), default=list)
        assert not any(tag in drawn for tag in ("<i>", "<u>", "<b>m"))


def test_a_slice_has_every_scored_trial_of_its_parameter_on_the_samplers_scale(study):
    figure = plot_slice(study, "learning_rate")
    trace = {t.name: t for t in figure.data}
    sampled = [t for t in study.trials if "learning_rate" in t.params and t.state.name != "FAIL"]
    assert sum(len(t.x) for t in figure.data) == len(sampled)
    assert list(trace["best"].customdata) == [study.best_trial.number]
    assert figure.layout.xaxis.type == "log"
    assert plot_slice(study, "max_depth").layout.xaxis.type is None
    words = plot_slice(study, "grow_policy")
    assert words.layout.xaxis.type == "category"
    assert set(words.data[1].x) <= {"depthwise", "lossguide"}


def test_a_slice_without_trials_says_so(study):
    assert reason(plot_slice(study, "<b>gamma</b>")) == "No trial with &lt;b&gt;gamma&lt;/b&gt; has a score."


def test_the_time_is_summed_by_phase_and_state(study):
    figure = plot_time(study)
    rows = dict(zip(figure.data[0].y, zip(*[t.x for t in figure.data], strict=True), strict=True))
    assert set(rows) == {"1 library default", "18 complete", "20 pruned", "1 failed"}
    assert sum(rows["1 library default"]) == pytest.approx(2.5, abs=0.05)  # each trial by hand lasts 2.5 s
    assert sum(rows["20 pruned"]) >= 20 * 2.5 - 1e-6
    assert all(seconds >= 0 for row in rows.values() for seconds in row)
    assert "of work in 1 min 40 s on 1 core." in figure.layout.meta["words"]


def test_the_refit_is_part_of_the_time():
    study = study_by_hand(6)
    study.set_user_attr(DIAGNOSTICS_KEY, Diagnostics(0, "binary", refit_seconds=3.5).to_json())
    assert plot_time(study).data[0].x[-1] == 3.5


PREDICTIONS = [plot_confusion, plot_calibration, plot_residuals]


def with_diagnostics(**fields: object) -> optuna.Study:
    study = study_by_hand(6)
    study.set_user_attr(DIAGNOSTICS_KEY, Diagnostics(1, **fields).to_json())  # type: ignore[arg-type]
    return study


@pytest.mark.parametrize("plot", PREDICTIONS)
def test_figures_of_predictions_say_why_there_are_none(plot):
    assert "gbtune.tune stores" in reason(plot(study_by_hand(6)))
    assert reason(plot(with_diagnostics(task="binary", missing="No <time>."))) == "No &lt;time&gt;."
    with pytest.raises(InvalidArgument, match="gbtune:study"):
        plot(optuna.create_study())


def test_the_confusion_matrix_shows_counts_and_colours_shares_of_the_actual_class():
    long = "a class of a very long name"
    figure = plot_confusion(
        with_diagnostics(
            task="multiclass", classes=(long, long + " too", "<i>"), confusion=((8, 2, 0), (1, 9, 0), (0, 0, 0))
        )
    )
    cells = figure.data[0]
    assert cells.text[0] == ["8", "2", "0"]
    np.testing.assert_allclose(cells.z, [[0.8, 0.2, 0], [0.1, 0.9, 0], [0, 0, 0]])
    assert len(set(cells.x)) == 3 and "&lt;i&gt;" in cells.x, "equal beginnings are told apart"
    assert cells.customdata[0][1][2] == long and cells.customdata[0][1][1] == f"{long} too"


def test_calibration_has_intervals_within_zero_and_one():
    figure = plot_calibration(
        with_diagnostics(task="binary", classes=("no", "yes"), calibration=((0.01, 0.0, 20), (0.9, 1.0, 20)))
    )
    drawn = figure.data[-1]
    assert (np.asarray(drawn.y) + drawn.error_y.array <= 1 + 1e-9).all()
    assert (np.asarray(drawn.y) - drawn.error_y.arrayminus >= -1e-9).all()
    assert drawn.error_y.array[0] == pytest.approx(0.161, abs=0.001)  # Wilson's upper end of 0 of 20
