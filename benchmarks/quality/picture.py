"""Quality against time, as one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.quality import compare
from benchmarks.quality.peers import PEERS

COLUMNS = 4
TICKS = (0.3, 1, 3, 10, 30, 100, 300)
COLOURS = (
    "#d62728", "#7f7f7f", "#4d4d4d", "#1f77b4", "#17becf", "#9467bd", "#2ca02c", "#98df8a", "#bcbd22", "#ff7f0e",
    "#8c564b", "#e377c2",
)  # fmt: skip


def write(runs: pd.DataFrame, path: Path) -> None:
    """Draw the mean over all sets, and every set and family for itself.

    Parameters
    ----------
    runs : DataFrame
        As in `compare.Table`.
    path : Path
        Of the file; Plotly is in it (some 5 MB), so that it shows without a network.
    """
    overall, each = overview(runs), details(runs)
    page = (
        "<!doctype html><html><head><meta charset='utf-8'><title>Quality against time</title></head>"
        "<body style='font-family: sans-serif'>"
        + overall.to_html(full_html=False, include_plotlyjs=True)
        + each.to_html(full_html=False, include_plotlyjs=False)
        + "</body></html>"
    )
    path.write_text(page, encoding="utf-8")


def overview(runs: pd.DataFrame) -> Any:
    """Return the mean of all sets on one scale."""
    import plotly.graph_objects as go

    figure = go.Figure()
    points = compare.scaled_over_budgets(runs)
    for peer, colour in _peers(runs):
        part = points[points["peer"] == peer].sort_values("budget")
        if not PEERS[peer].budgeted:
            part = part.head(1)
        if len(part):
            figure.add_scatter(
                x=part["seconds"], y=part["scaled"], name=peer, mode="lines+markers",
                line={"color": colour, "width": 4 if peer == "gbtune" else 2}, marker={"size": 9},
            )  # fmt: skip
    figure.update_layout(
        title="Held-out loss against real seconds: 0 is the best of all peers at any budget, 1 the median",
        template="plotly_white", height=560, xaxis_title="seconds (mean)", yaxis_title="scaled loss (mean)",
    )  # fmt: skip
    return figure.update_xaxes(type="log", tickvals=TICKS).update_yaxes(rangemode="tozero")


def details(runs: pd.DataFrame) -> Any:
    """Return a small picture for every set and family."""
    from plotly.subplots import make_subplots

    finite = runs[np.isfinite(runs["loss"])]
    cells = list(dict.fromkeys(zip(finite["set"], finite["family"], strict=True)))
    cells.sort()
    n_rows = max(1, -(-len(cells) // COLUMNS))
    figure = make_subplots(n_rows, COLUMNS, subplot_titles=[f"{name}, {family}" for name, family in cells])
    for position, (name, family) in enumerate(cells):
        here = finite[(finite["set"] == name) & (finite["family"] == family)]
        for peer, colour in _peers(runs):
            part = here[here["peer"] == peer].groupby("budget")[["seconds", "loss"]].mean()
            if not PEERS[peer].budgeted:
                part = part.head(1)
            figure.add_scatter(
                x=part["seconds"], y=part["loss"], name=peer, mode="lines+markers", line={"color": colour},
                legendgroup=peer, showlegend=position == 0, row=position // COLUMNS + 1, col=position % COLUMNS + 1,
            )  # fmt: skip
    figure.update_layout(template="plotly_white", height=max(320, 260 * n_rows), title="Held-out loss of every set")
    return figure.update_xaxes(type="log", tickvals=TICKS)


def _peers(runs: pd.DataFrame) -> list[tuple[str, str]]:
    there = set(runs["peer"])
    return [(peer, colour) for peer, colour in zip(PEERS, COLOURS, strict=True) if peer in there]
