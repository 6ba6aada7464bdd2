"""Figures of a study's parameters: which mattered, and where in the space the good trials lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna

from gbtune.axes import draw_axes, log_ticks, numeric_axis, parameter_axes
from gbtune.facts import best_record, parameter_importances, read_records, sampled_trials, shown_score
from gbtune.figures import BASELINE, BEST, OTHER, new_figure, padded, plain_range, safe, say
from gbtune.summary import format_value

MAX_LINES = 200  # in the parallel coordinates: more is neither readable nor quick to draw
MAX_POINTS = 1000  # the latest, in a slice


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
    importances, reason = parameter_importances(study)
    figure = new_figure("Importance of the parameters")
    if not importances:
        return say(figure, safe(reason))
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
    if len(worst_first) == 1:
        return say(new_figure("Parameters of the trials"), "One trial has nothing to be compared with.")
    # Optuna's own figure would import matplotlib as well, which takes longer than all of these figures.
    scores = numeric_axis(about.metric, [trial.value for trial in worst_first])
    axes = [scores, *parameter_axes(worst_first, first=parameter_importances(study)[0])]
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


def plot_slice(study: optuna.Study, parameter: str) -> Any:
    """Draw the score of the trials against one parameter.

    Pruned trials are drawn hollow, at the score of their folds; scores far worse than the rest lie on the border.

    Parameters
    ----------
    study : optuna.Study
        One that a gbtune objective ran.
    parameter : str
        A sampled parameter.

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
    >>> from gbtune.plots import plot_slice
    >>> from gbtune.records import STUDY_KEY, StudyRecord
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> plot_slice(study, "max_depth").layout.annotations[0].text
    'No trial with max_depth has a score.'
    """
    about, records = read_records(study)
    figure = new_figure(safe(parameter))
    best = best_record(about, records)
    scored = [(r, shown_score(r, best)) for r in records if parameter in r.sampled]
    points = [(r, score) for r, score in scored if score is not None and math.isfinite(score)][-MAX_POINTS:]
    points = [(r, score) for r, score in points if r.params.get(parameter) is not None]
    if not points:
        return say(figure, f"No trial with {safe(parameter)} has a score.")
    low, high = plain_range(about, points)
    values = [r.params[parameter] for r, _ in points]
    words = not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    for name, colour, symbol, chosen in (
        ("pruned", OTHER, "circle-open", [r.state != "complete" for r, _ in points]),
        ("complete", BEST, "circle", [r.state == "complete" and r is not best for r, _ in points]),
        ("best", BASELINE, "star", [r is best for r, _ in points]),
    ):
        at = [i for i, shown in enumerate(chosen) if shown]
        figure.add_scatter(
            x=[safe(format_value(values[i])) for i in at]
            if words
            else np.asarray([values[i] for i in at], dtype=float),
            y=np.clip([points[i][1] for i in at], low, high),
            customdata=[points[i][0].number for i in at],
            mode="markers",
            name=name,
            marker={"color": colour, "size": 13 if name == "best" else 6, "opacity": 0.75, "symbol": symbol},
            hovertemplate="trial %{customdata}: %{x}, %{y:.5g}<extra></extra>",
            cliponaxis=False,
        )
    figure.update_yaxes(title_text=safe(about.metric), range=padded(low, high), nticks=5)
    if words:
        return figure.update_xaxes(type="category", categoryorder="category ascending")
    # The scale of the sampler: a learning rate drawn evenly would press most trials against the axis.
    trials = study.get_trials(deepcopy=False)
    log = any(getattr(trial.distributions.get(parameter), "log", False) for trial in trials) and min(values) > 0
    if log:
        ticks = log_ticks(min(values), max(values))
        return figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    return figure.update_xaxes(nticks=6)
