"""Figures of a study, drawn from its records with plotly.

Every function takes the `optuna.Study` of a result and returns a plotly ``Figure``. Backgrounds are
transparent and colours hold on white and on black. Where there is nothing to draw, the figure
says why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna

from gbtune.diagnostics import stored_diagnostics
from gbtune.facts import best_record, read_records, shown_score
from gbtune.figures import (
    BASELINE,
    BEST,
    CURVES,
    INK,
    OTHER,
    curve_colours,
    describe_trial,
    fold_points,
    loss_of,
    new_figure,
    outside,
    padded,
    plain_range,
    say,
    score_title,
)
from gbtune.parameter_plots import plot_importance, plot_parallel_coordinates, plot_slice
from gbtune.prediction_plots import plot_calibration, plot_confusion, plot_residuals
from gbtune.records import TrialRecord
from gbtune.slots import is_cut
from gbtune.summary import format_score, format_seconds, paired_gain, plural, verdict

__all__ = [
    "plot_calibration",
    "plot_confusion",
    "plot_folds",
    "plot_history",
    "plot_importance",
    "plot_learning_curves",
    "plot_parallel_coordinates",
    "plot_residuals",
    "plot_slice",
    "plot_time",
]
TIME_ROWS = ("library default", "complete", "pruned", "failed", "interrupted")


def plot_history(study: optuna.Study) -> Any:
    """Draw the score of every trial, the best so far and the baseline.

    Pruned trials are drawn hollow, where they stood beside the best trial on the folds that they ran. Scores far
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
    best = best_record(about, records)
    shown = [(r, shown_score(r, best)) for r in records]
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
                name="pruned" if state == "pruned" else state,
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
    figure.update_yaxes(title_text=score_title(about), range=padded(low, high))
    return figure.update_xaxes(title_text="trial", rangemode="nonnegative")


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
    if not any(len(r.curve) > 1 for r in chosen):
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
    ends = sorted(loss_of(about)(loss) for loss in padded(best, worst, 0.06))
    figure.update_xaxes(title_text="boosting round", rangemode="tozero")
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


def plot_time(study: optuna.Study) -> Any:
    """Draw where the time went: seconds of training, scoring and the rest, by the trials' state.

    The rest is asking for parameters, writing records and waiting, e.g. for a worker or for the trial that trains the
    same configuration. Trials that ran side by side count in full, so the bars may sum to more than the wall time.

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
    >>> from gbtune.plots import plot_time
    >>> from gbtune.records import STUDY_KEY, TRIAL_KEY, StudyRecord, TrialRecord
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> record = TrialRecord(0, "complete", {}, score=0.5, seconds={"train": 2.0}, started_at=1, ended_at=2501)
    >>> study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={TRIAL_KEY: record.to_json()}))
    >>> [(trace.name, *trace.x) for trace in plot_time(study).data]
    [('training', 2.0), ('scoring', 0.0), ('waiting and the rest', 0.5)]
    """
    about, records = read_records(study)
    figure = new_figure("Where the time went")
    groups: dict[str, list[float]] = {}
    counts: Counter[str] = Counter()
    for r in records:
        group = "library default" if r.kind == "baseline" else "interrupted" if is_cut(r) else r.state
        train, score = r.seconds.get("train", 0.0), r.seconds.get("score", 0.0)
        rest = max(0.0, (r.ended_at - r.started_at) / 1000 - train - score) if r.started_at and r.ended_at else 0.0
        counts[group] += 1
        for i, seconds in enumerate((train, score, rest)):
            groups.setdefault(group, [0.0, 0.0, 0.0])[i] += seconds
    rows = [(f"{counts[name]} {name}", groups[name]) for name in TIME_ROWS if name in groups]
    diagnostics = stored_diagnostics(study)
    if diagnostics is not None and diagnostics.refit_seconds:
        rows.append(("final model", [diagnostics.refit_seconds, 0.0, 0.0]))
    if not any(sum(seconds) for _, seconds in rows):
        return say(figure, "No trial has a time yet.")
    for i, (phase, colour) in enumerate((("training", BEST), ("scoring", CURVES[1]), ("waiting and the rest", OTHER))):
        figure.add_bar(
            x=[seconds[i] for _, seconds in rows],
            y=[name for name, _ in rows],
            orientation="h",
            name=phase,
            marker={"color": colour},
            text=[format_seconds(seconds[i]) for _, seconds in rows],
            textposition="none",
            hovertemplate=f"%{{y}}, {phase}: %{{text}}<extra></extra>",
        )
    trial_seconds = sum(sum(seconds) for _, seconds in rows)
    wall = max((r.ended_at for r in records), default=0) - about.started_at
    words = f"{format_seconds(trial_seconds)} of work in {format_seconds(max(wall, 0) / 1000)}"
    cores = plural(about.n_jobs, "core")
    figure.layout.meta = {"words": f"{words} on {cores}." if about.started_at and wall > 0 else ""}
    figure.update_layout(barmode="stack", bargap=0.35, legend={"traceorder": "normal"})
    figure.update_xaxes(title_text="seconds", showgrid=True, rangemode="tozero")
    return figure.update_yaxes(type="category", autorange="reversed", ticksuffix=" ")


def _baseline(records: Sequence[TrialRecord]) -> TrialRecord | None:
    return next((r for r in records if r.kind == "baseline" and r.score is not None), None)
