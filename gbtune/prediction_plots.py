"""Figures of the best trial's predictions of rows that it was not trained on, drawn from a study's diagnostics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna

from gbtune.diagnostics import Diagnostics, stored_diagnostics
from gbtune.facts import read_records
from gbtune.figures import BEST, INK, OTHER, new_figure, safe, say
from gbtune.summary import short

_NONE = "No predictions are stored: gbtune.tune stores those of the best trial at its end."
_Z = 1.96  # of a 95 % interval
_MAX_NAME = 14
"""Of a class, whose whole name is in the hover label: beside a longer one there would be no room for the matrix."""


def plot_confusion(study: optuna.Study) -> Any:
    """Draw how the rows of each class were predicted: counts, coloured by their share of the class.

    Parameters
    ----------
    study : optuna.Study
        One that `gbtune.tune` ran, of a classification.

    Returns
    -------
    plotly.graph_objects.Figure
        It says why where there is nothing to draw.

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.diagnostics import DIAGNOSTICS_KEY, Diagnostics
    >>> from gbtune.plots import plot_confusion
    >>> from gbtune.records import STUDY_KEY, StudyRecord
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> found = Diagnostics(0, "binary", 99, classes=("no", "yes"), confusion=((60, 5), (4, 30)))
    >>> study.set_user_attr(DIAGNOSTICS_KEY, found.to_json())
    >>> plot_confusion(study).data[0].text
    (['60', '5'], ['4', '30'])
    """
    figure, found = _start(study, "Confusion matrix")
    if found is None or not found.confusion:
        return figure if found is None else say(figure, "A confusion matrix needs classes; this is a regression.")
    counts = np.asarray(found.confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    names = [safe(name) for name in _distinct([short(name, _MAX_NAME) for name in found.classes])]
    whole = [safe(name) for name in found.classes]
    figure.add_heatmap(
        x=names,
        y=names,
        z=shares,
        zmin=0,
        zmax=1,
        text=[[f"{n:,}" for n in row] for row in found.confusion],
        texttemplate="%{text}" if len(names) <= 10 else None,
        customdata=np.dstack(
            [shares, *np.meshgrid(np.asarray(whole, dtype=object), np.asarray(whole, dtype=object))]
        ).tolist(),
        colorscale=[[0, "rgba(47,129,214,0.04)"], [1, "rgba(47,129,214,0.75)"]],
        showscale=False,
        xgap=2,
        ygap=2,
        hovertemplate="actual %{customdata[2]}, predicted %{customdata[1]}: %{text} (%{customdata[0]:.1%} of the class)"
        "<extra></extra>",
    )
    figure.update_layout(margin={"l": 10, "r": 16, "t": 10, "b": 10})
    figure.update_xaxes(title_text="predicted", type="category", showgrid=False)
    return figure.update_yaxes(title_text="actual", type="category", autorange="reversed", showgrid=False)


def plot_calibration(study: optuna.Study) -> Any:
    """Draw whether predicted probabilities come true: the share of class 1 among rows with similar predictions.

    Bins of equally many rows, with Wilson's 95 % intervals (J. Am. Stat. Assoc. 1927).

    Parameters
    ----------
    study : optuna.Study
        One that `gbtune.tune` ran, of a binary task.

    Returns
    -------
    plotly.graph_objects.Figure
        It says why where there is nothing to draw.

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.diagnostics import DIAGNOSTICS_KEY, Diagnostics
    >>> from gbtune.plots import plot_calibration
    >>> from gbtune.records import STUDY_KEY, StudyRecord
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> found = Diagnostics(0, "binary", 99, classes=("no", "yes"), calibration=((0.2, 0.25, 50), (0.8, 0.7, 49)))
    >>> study.set_user_attr(DIAGNOSTICS_KEY, found.to_json())
    >>> plot_calibration(study).data[-1].y
    (0.25, 0.7)
    """
    figure, found = _start(study, "Calibration")
    if found is None:
        return figure
    if not found.calibration:
        return say(figure, "Calibration needs a binary task and enough rows for two bins.")
    predicted, observed, rows = zip(*found.calibration, strict=True)
    intervals = [_wilson(share, n) for share, n in zip(observed, rows, strict=True)]
    name = safe(short(found.classes[-1], _MAX_NAME)) if found.classes else "1"
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        name="perfect",
        line={"color": INK, "dash": "dash", "width": 1.5},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=predicted,
        y=observed,
        mode="lines+markers",
        name="best trial",
        marker={"color": BEST, "size": 8},
        line={"color": BEST, "width": 2},
        error_y={
            "array": [max(0.0, high - share) for (_, high), share in zip(intervals, observed, strict=True)],
            "arrayminus": [max(0.0, share - low) for (low, _), share in zip(intervals, observed, strict=True)],
            "color": OTHER,
            "thickness": 1.2,
            "width": 3,
        },
        customdata=rows,
        hovertemplate="predicted %{x:.1%}, came true %{y:.1%} (%{customdata} rows)<extra></extra>",
    )
    figure.update_xaxes(title_text=f"predicted probability of {name}", range=[-0.02, 1.02], tickformat=".0%")
    return figure.update_yaxes(title_text=f"share of {name}", range=[-0.02, 1.02], tickformat=".0%")


def plot_residuals(study: optuna.Study) -> Any:
    """Draw residuals (value less prediction) against predictions, of a few hundred rows.

    The band holds the middle 90 % of all rows' residuals.

    Parameters
    ----------
    study : optuna.Study
        One that `gbtune.tune` ran, of a regression.

    Returns
    -------
    plotly.graph_objects.Figure
        It says why where there is nothing to draw.

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.diagnostics import DIAGNOSTICS_KEY, Diagnostics
    >>> from gbtune.plots import plot_residuals
    >>> from gbtune.records import STUDY_KEY, StudyRecord
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "rmse", "minimize",
    ...                     "regression", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> found = Diagnostics(0, "regression", 99, residuals=((1.0, 0.5),), quantiles=(-2, -1, 0, 1, 2))
    >>> study.set_user_attr(DIAGNOSTICS_KEY, found.to_json())
    >>> plot_residuals(study).data[0].y
    (0.5,)
    """
    figure, found = _start(study, "Residuals against predictions")
    if found is None or not found.residuals:
        return figure if found is None else say(figure, "Residuals are those of a regression; these are classes.")
    predicted, residuals = zip(*found.residuals, strict=True)
    figure.add_scatter(
        x=predicted,
        y=residuals,
        mode="markers",
        name="rows",
        showlegend=False,
        marker={"color": BEST, "size": 6, "opacity": 0.55},
        hovertemplate="predicted %{x:.5g}, residual %{y:.5g}<extra></extra>",
    )
    if found.quantiles:
        figure.add_hrect(
            y0=found.quantiles[0], y1=found.quantiles[-1], fillcolor=OTHER, opacity=0.14, line_width=0, layer="below"
        )
    figure.add_hline(y=0, line={"color": INK, "width": 1.5, "dash": "dash"})
    figure.update_xaxes(title_text="prediction", showgrid=True)
    return figure.update_yaxes(title_text="residual (value less prediction)")


def _start(study: optuna.Study, title: str) -> tuple[Any, Diagnostics | None]:
    """Return an empty figure and the diagnostics; or a figure that says why there are none."""
    read_records(study)  # refuses a study that is not ours
    found, figure = stored_diagnostics(study), new_figure(title)
    if found is None or found.missing:
        return say(figure, _NONE if found is None else safe(found.missing)), None
    return figure, found


def _wilson(share: float, rows: int) -> tuple[float, float]:
    """Return Wilson's interval of a share: it is within 0 and 1, and right for shares near them."""
    z = _Z
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * math.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return middle - half, middle + half


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names without repetition: long ones were cut, and plotly would draw equal ones in one place."""
    return [name if names.index(name) == i else f"{name} ({i})" for i, name in enumerate(names)]
