"""The common look of the figures: calm, transparent, legible on white and on black."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gbtune.optional import require
from gbtune.records import StudyRecord, TrialRecord
from gbtune.summary import format_score, format_value

BEST = "#2f81d6"
OTHER = "#7f93a8"
BASELINE = "#d08a2e"
INK = "#808891"
GRID = "rgba(128,136,145,0.25)"
CURVES = (BEST, "#2a9d8f", "#9467bd", "#c2607f", "#7b8f3a", "#5c9ec9", "#a97c50", OTHER)


def new_figure(title: str) -> Any:
    """Return an empty figure with a title and the common look."""
    go = require("plotly.graph_objects", pip="plotly", needed_for="Drawing figures")
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "ticks": "", "title": {"standoff": 8}}
    return go.Figure(
        layout={
            "template": "none",
            "showlegend": True,
            "title": {"text": title, "x": 0, "xref": "paper", "yref": "container", "y": 0.98, "yanchor": "top"},
            "font": {
                "family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif",
                "size": 12,
                "color": INK,
            },
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": {**axis, "showgrid": False, "automargin": True},
            "yaxis": {**axis, "automargin": True},
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1.02,
                "yanchor": "bottom",
                "bgcolor": "rgba(0,0,0,0)",
            },
            "margin": {"l": 10, "r": 16, "t": 76, "b": 10},
            "hoverlabel": {"bgcolor": "#1f2933", "bordercolor": "#1f2933", "font": {"color": "#ffffff"}},
        }
    )


def say(figure: Any, reason: str) -> Any:
    """Write into an empty figure why it is empty."""
    figure.add_annotation(text=reason, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font_size=13)
    return figure.update_xaxes(visible=False).update_yaxes(visible=False)


def safe(text: object) -> str:
    """Escape a text for plotly, which reads some HTML: names and values are data."""
    return html.escape(str(text), quote=False)


def loss_of(about: StudyRecord) -> Callable[[float], float]:
    """Return the map from score to loss (lower is better), its own inverse."""
    return (lambda x: x) if about.direction == "minimize" else (lambda x: -x)


def score_title(about: StudyRecord) -> str:
    """Return the title of an axis of scores."""
    return f"{safe(about.metric)} ({'lower' if about.direction == 'minimize' else 'higher'} is better)"


def plain_range(about: StudyRecord, points: Sequence[tuple[TrialRecord, float]]) -> tuple[float, float]:
    """Return the ends of the scores to show to scale: far worse ones would flatten the rest (Tukey's fences)."""
    losses = np.asarray([loss_of(about)(score) for _, score in points])
    q1, q3 = np.quantile(losses, [0.25, 0.75])
    fence = max(q3 + 1.5 * (q3 - q1), *(loss_of(about)(s) for r, s in points if r.kind == "baseline"), q3)
    ends = loss_of(about)(float(losses.min())), loss_of(about)(float(losses[losses <= fence].max()))
    return min(ends), max(ends)


def padded(low: float, high: float, share: float = 0.05) -> tuple[float, float]:
    """Return the ends of an axis: a little beyond the values, and not a hair's breadth where all are equal."""
    equal = high - low <= 1e-6 * abs(high)
    margin = 0.01 * abs(high) or 1e-9 if equal else share * (high - low)
    return low - margin, high + margin


def outside(symbol: str, *, up: bool) -> str:
    """Return the triangle for a point outside the range."""
    return f"triangle-{'up' if up else 'down'}{'-open' if symbol.endswith('open') else ''}"


def describe_trial(record: TrialRecord, score: float) -> str:
    """Return a trial's score and parameters for its hover label."""
    where = f"{len(record.fold_scores)} of {record.n_folds} folds" if record.state == "pruned" else record.kind
    params = [f"{safe(n)} = {safe(format_value(record.params[n]))}" for n in record.sampled if n in record.params]
    return "<br>".join([f"<b>trial {record.number}</b>: {format_score(score)} ({where})", *params])


def curve_colours(chosen: Sequence[TrialRecord]) -> list[str]:
    """Return one colour for each trial; the baseline has its own."""
    others = iter(CURVES * (1 + len(chosen) // len(CURVES)))
    return [BASELINE if r.kind == "baseline" else next(others) for r in chosen]


def fold_points(record: TrialRecord, folds: Sequence[str], name: str, colour: str) -> dict[str, Any]:
    """Return the trace of one trial's fold scores."""
    return {
        "x": record.fold_scores,
        "y": folds,
        "mode": "markers",
        "name": name,
        "marker": {"color": colour, "size": 11},
        "text": [format_score(score) for score in record.fold_scores],
        "hovertemplate": f"{name}, %{{y}}: %{{text}}<extra></extra>",
    }
