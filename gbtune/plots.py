"""Figures of a study, drawn from its records with plotly.

Every function takes the `optuna.Study` of a result and returns a plotly ``Figure``. Backgrounds are
transparent and colours hold on white and on black. Where there is nothing to draw, the figure
says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna

from gbtune.axes import draw_axes, numeric_axis, parameter_axes
from gbtune.facts import best_record, read_records, sampled_trials
from gbtune.figures import (
    BASELINE,
    BEST,
    INK,
    OTHER,
    curve_colours,
    describe_trial,
    fold_points,
    loss_of,
    new_figure,
    outside,
    plain_range,
    safe,
    say,
    score_title,
)
from gbtune.records import TrialRecord
from gbtune.summary import format_score, paired_gain, verdict
from gbtune.views import StudyView

MAX_LINES = 200  # in the parallel coordinates: more is neither readable nor quick to draw


def plot_history(study: optuna.Study) -> Any:
    """Draw the score of every trial, the best so far and the baseline.

    Pruned trials are drawn hollow at their partial score: it stems from fewer folds. Scores far
    worse than the rest sit as triangles on the border of the figure.

    Parameters
    ----------
    study : optuna.Study
        One that a gbtune objective ran.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.plots import plot_history
    >>> from gbtune.records import STUDY_KEY, TRIAL_KEY, StudyRecord, TrialRecord
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> for number, score in enumerate([0.5, 0.4]):
    ...     record = TrialRecord(number, "complete", {}, score=score)
    ...     study.add_trial(optuna.trial.create_trial(value=score, user_attrs={TRIAL_KEY: record.to_json()}))
    >>> [trace.name for trace in plot_history(study).data]
    ['complete', 'best so far']
    """
    about, records = read_records(study)
    shown = [(r, _shown_score(r)) for r in records]
    points = [(r, score) for r, score in shown if score is not None and math.isfinite(score)]
    figure = new_figure("Score by trial")
    if not points:
        return say(figure, "There is no score yet: no trial finished a fold.")
    low, high = plain_range(about, points)
    for state, symbol, colour in (("pruned", "circle-open", OTHER), ("complete", "circle", BEST)):
        group = [(r, score) for r, score in points if r.state == state]
        if group:
            figure.add_scatter(
                x=[r.number for r, _ in group],
                y=[min(max(score, low), high) for _, score in group],
                mode="markers",
                name="pruned (score of its folds)" if state == "pruned" else state,
                marker={
                    "color": colour,
                    "size": 7,
                    "opacity": 0.75,
                    "symbol": [
                        symbol if low <= score <= high else outside(symbol, up=score > high) for _, score in group
                    ],
                },
                text=[describe_trial(r, score) for r, score in group],
                hovertemplate="%{text}<extra></extra>",
                cliponaxis=False,
            )
    complete = [(r.number, score) for r, score in points if r.state == "complete"]
    if complete:
        running = np.minimum if about.direction == "minimize" else np.maximum
        so_far = running.accumulate([score for _, score in complete])
        figure.add_scatter(
            x=[number for number, _ in complete] + [points[-1][0].number],
            y=[*so_far, so_far[-1]],
            mode="lines",
            name="best so far",
            line={"color": BEST, "width": 2, "shape": "hv"},
            hoverinfo="skip",
        )
    baseline = _baseline(records)
    if baseline is not None:
        numbers = [r.number for r, _ in points]
        figure.add_scatter(
            x=[min(numbers), max(numbers)],
            y=[baseline.score, baseline.score],
            mode="lines",
            name="library default",
            line={"color": BASELINE, "width": 1.5, "dash": "dash"},
            hovertemplate=f"library default {format_score(baseline.score)}<extra></extra>",
        )
    margin = 0.05 * (high - low) or 1e-9
    figure.update_yaxes(title_text=score_title(about), range=[low - margin, high + margin])
    return figure.update_xaxes(title_text="trial", rangemode="nonnegative")


def plot_importance(study: optuna.Study) -> Any:
    """Draw how much each parameter matters: its share in what separates good trials from bad ones.

    Optuna's default evaluator, PED-ANOVA (Watanabe et al., IJCAI 2023,
    https://arxiv.org/abs/2304.10255), over the complete trials that were sampled.

    Parameters
    ----------
    study : optuna.Study
        One that a gbtune objective ran.

    Returns
    -------
    plotly.graph_objects.Figure
        It says why there is no importance where there is none.

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.plots import plot_importance
    >>> from gbtune.records import STUDY_KEY, StudyRecord
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> plot_importance(study).layout.annotations[0].text
    'Importance needs at least 10 complete trials; there are 0.'
    """
    read_records(study)  # refuses a study that is not ours
    trials = sampled_trials(study)
    figure = new_figure("Importance of the parameters")
    varied = sorted({n for t in trials for n in t.params if len({repr(u.params.get(n)) for u in trials}) > 1})
    if len(trials) < 10:
        return say(figure, f"Importance needs at least 10 complete trials; there are {len(trials)}.")
    if len({t.value for t in trials}) == 1:
        return say(figure, "Every trial has the same score, so no parameter matters more than another.")
    if len(varied) < 2:
        which = f"only {safe(varied[0])} was" if varied else "none was"
        return say(figure, f"Importance compares parameters; {which} varied.")
    importances = optuna.importance.get_param_importances(StudyView(study, trials), params=varied)
    names = sorted(importances, key=lambda name: importances[name])
    shares = [float(importances[name]) for name in names]
    figure.add_bar(
        x=shares,
        y=[safe(name) for name in names],
        orientation="h",
        marker={"color": BEST},
        text=[f"{share:.0%}" for share in shares],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{text}<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(title_text="share", tickformat=".0%", range=[0, max(shares) * 1.12], showgrid=True)
    return figure.update_yaxes(type="category", showgrid=False, automargin=True, ticksuffix=" ")


def plot_parallel_coordinates(study: optuna.Study) -> Any:
    """Draw each complete trial as a line through its parameters; the better, the stronger the line.

    At most the 200 best sampled trials are drawn.

    Parameters
    ----------
    study : optuna.Study
        One that a gbtune objective ran.

    Returns
    -------
    plotly.graph_objects.Figure
        Best at least 100 pixels wide per parameter.

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.plots import plot_parallel_coordinates
    >>> from gbtune.records import STUDY_KEY, StudyRecord
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> plot_parallel_coordinates(study).layout.annotations[0].text
    'No sampled trial has completed yet.'
    """
    about, _ = read_records(study)
    worst_first = sampled_trials(study)[-MAX_LINES:]
    if not worst_first:
        return say(new_figure("Parameters of the trials"), "No sampled trial has completed yet.")
    # Optuna's own figure would import matplotlib as well, which takes longer than all of these figures.
    axes = [numeric_axis(about.metric, [trial.value for trial in worst_first]), *parameter_axes(worst_first)]
    figure = new_figure("Parameters of the trials")
    for i in range(len(worst_first)):
        rank = (i + 1) / len(worst_first)
        best = i + 1 == len(worst_first)
        figure.add_scatter(
            x=list(range(len(axes))),
            y=[axis.places[i] for axis in axes],
            customdata=[[safe(axis.name), safe(axis.labels[i])] for axis in axes],
            mode="lines",
            name="best trial" if best else None,
            showlegend=best,
            line={"color": BEST if best else OTHER, "width": 3 if best else 1.2},
            opacity=1.0 if best else 0.1 + 0.7 * rank**2,
            hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
        )
    return draw_axes(figure, axes).update_layout(
        legend={"y": -0.02, "yanchor": "top"}, margin={"l": 44, "r": 70}, hovermode="closest"
    )


def plot_learning_curves(study: optuna.Study, top: int = 5) -> Any:
    """Draw the mean validation curves of the best trials and the baseline, the chosen round marked.

    Parameters
    ----------
    study : optuna.Study
        One that a gbtune objective ran.
    top : int, default 5
        How many of the best trials.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.plots import plot_learning_curves
    >>> from gbtune.records import STUDY_KEY, StudyRecord
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> plot_learning_curves(study).layout.annotations[0].text
    'No complete trial has a curve.'
    """
    about, records = read_records(study)
    figure = new_figure("Learning curves of the best trials")
    ranked = sorted(
        (r for r in records if r.score is not None and math.isfinite(r.score) and r.curve and r.duplicate_of is None),
        key=lambda r: loss_of(about)(r.score or 0.0),
    )
    chosen = [r for r in ranked if r.kind != "baseline"][:top] + [r for r in ranked if r.kind == "baseline"]
    if not chosen:
        return say(figure, "No complete trial has a curve.")
    for r, colour in reversed(list(zip(chosen, curve_colours(chosen), strict=True))):
        name = "library default" if r.kind == "baseline" else f"trial {r.number}"
        curve = np.asarray(r.curve, dtype=float)
        figure.add_scatter(
            x=r.curve_rounds,
            y=curve,
            mode="lines",
            name=name,
            legendgroup=name,
            line={
                "color": colour,
                "width": 2.5 if r is chosen[0] else 1.5,
                "dash": "dash" if r.kind == "baseline" else "solid",
            },
            hovertemplate=f"{name}, round %{{x}}: %{{y:.5g}}<extra></extra>",
        )
        figure.add_scatter(
            x=[r.rounds],
            y=[r.score],
            mode="markers",
            legendgroup=name,
            showlegend=False,
            marker={"color": colour, "size": 9, "symbol": "diamond"},
            hovertemplate=f"{name}, chosen round {r.rounds}: {format_score(r.score)}<extra></extra>",
        )
    figure.update_layout(legend={"traceorder": "reversed"})
    # The first rounds fall steeply and would flatten everything worth seeing: shown to scale from
    # a third of the way to the chosen round.
    worst = max(
        loss_of(about)(value)
        for r in chosen
        for round_, value in zip(r.curve_rounds, r.curve, strict=True)
        if round_ >= r.rounds / 3
    )
    best = min(loss_of(about)(r.score or 0.0) for r in chosen)
    margin = 0.06 * (worst - best) or 1e-9
    ends = sorted(loss_of(about)(loss) for loss in (best - margin, worst + margin))
    figure.update_xaxes(title_text="boosting round (diamond: the chosen one)", rangemode="tozero")
    return figure.update_yaxes(title_text=score_title(about), range=ends)


def plot_folds(study: optuna.Study) -> Any:
    """Draw the best trial's score beside the baseline's on every fold.

    Parameters
    ----------
    study : optuna.Study
        One that a gbtune objective ran.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.plots import plot_folds
    >>> from gbtune.records import STUDY_KEY, StudyRecord
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> plot_folds(study).layout.annotations[0].text
    'No trial has completed yet.'
    """
    about, records = read_records(study)
    best, baseline = best_record(about, records), _baseline(records)
    figure = new_figure("Scores by fold")
    if best is None or not best.fold_scores:
        return say(figure, "No trial has completed yet.")
    folds = [f"fold {i}" for i in range(1, len(best.fold_scores) + 1)]
    paired = baseline is not None and baseline is not best and len(baseline.fold_scores) == len(folds)
    if paired and baseline is not None:
        lines_x = [x for a, b in zip(best.fold_scores, baseline.fold_scores, strict=True) for x in (a, b, None)]
        figure.add_scatter(
            x=lines_x,
            y=[fold for fold in folds for _ in range(3)],
            mode="lines",
            line={"color": INK, "width": 2},
            opacity=0.6,
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_scatter(**fold_points(baseline, folds, "library default", BASELINE))
        gain, error = paired_gain(best.fold_scores, baseline.fold_scores, about.direction)
        figure.layout.meta = {"gain": gain, "verdict": verdict(gain, error)}
    name = "library default (best)" if best.kind == "baseline" else f"best (trial {best.number})"
    figure.add_scatter(**fold_points(best, folds, name, BEST))
    figure.update_xaxes(title_text=score_title(about), showgrid=True)
    return figure.update_yaxes(type="category", autorange="reversed", showgrid=True, ticksuffix=" ")


def _shown_score(record: TrialRecord) -> float | None:
    return record.score if record.state == "complete" else record.partial_score


def _baseline(records: Sequence[TrialRecord]) -> TrialRecord | None:
    return next((r for r in records if r.kind == "baseline" and r.score is not None), None)
