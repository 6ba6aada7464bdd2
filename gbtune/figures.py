"""The common look of the figures: calm, transparent, legible on white and on black."""

from __future__ import annotations

import html
from typing import Any

from gbtune.optional import require

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
