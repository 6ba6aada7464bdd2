"""The held-out loss of the choice among the first trials of a long study: does it rise?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.final_model.rules import BEST, RULES
from benchmarks.replay.tables import markdown

SHIPPED = "top 10 that keep 80 % of the gain"
"""What `gbtune.tune` does by default where at least five configurations do."""
SHOWN = {
    name: RULES[name]
    for name in (BEST, "best, refit + fold models", "top 5, refits", "top 10, refits", SHIPPED, "top 20, refits")
}
DRAWN = {BEST: "#7f7f7f", SHIPPED: "#d62728"}


def table(lines: pd.DataFrame) -> str:
    """Return the mean change since the first checkpoint of every rule, with its standard error over studies."""
    trials, rows = sorted(lines["trials"].unique()), []
    for rule in dict.fromkeys(lines["rule"]):
        part = lines[lines["rule"] == rule]
        change = part.groupby("trials")["change"].agg(["mean", "sem"])
        level = part.groupby("trials")["to_best"].mean()
        rows.append([rule, "change"] + [_estimate(change.loc[n]) for n in trials])
        rows.append(["", f"to {BEST!r} of {trials[0]}"] + [f"{level[n]:+.2f}" for n in trials])
    return markdown(["final model", "% of the loss", *(f"{n:,}" for n in trials)], rows, numbers=len(trials))


def table_by_set(lines: pd.DataFrame) -> str:
    """Return the mean change since the first checkpoint for every set and family, of the rules that are drawn."""
    trials, rows = sorted(lines["trials"].unique()), []
    for (name, family, rule), part in lines[lines["rule"].isin(DRAWN)].groupby(["set", "family", "rule"], sort=False):
        change = part.groupby("trials")["change"].agg(["mean", "sem"])
        studies = str(part["division"].nunique())
        rows.append([str(name), str(family), str(rule), studies] + [_estimate(change.loc[n]) for n in trials])
    rows.sort()
    head = ["set", "family", "final model", "studies", *(f"{n:,}" for n in trials)]
    return markdown(head, rows, numbers=len(trials) + 1)


def _estimate(row: pd.Series) -> str:
    if row["mean"] == 0 and not row["sem"] > 0:
        return "0"
    return f"{row['mean']:+.2f}" + (f" ± {row['sem']:.2f}" if np.isfinite(row["sem"]) else "")


def draw(lines: pd.DataFrame, path: Path) -> None:
    """Draw the loss against the number of trials, a panel for every set, as SVG or PNG.

    The loss is shown in % above that of the best configuration of the first checkpoint; bars are standard errors over
    studies of the change since the first checkpoint.
    """
    # Of all that draws, only this writes a still picture without a browser; it comes with MLflow.
    from matplotlib.figure import Figure

    sets, trials = sorted(lines["set"].unique()), sorted(lines["trials"].unique())
    figure = Figure(figsize=(3.4 * len(sets), 3.2), layout="constrained")
    panels: Any = figure.subplots(1, len(sets), squeeze=False, sharey=True)[0]
    for panel, name in zip(panels, sets, strict=True):
        for rule, colour in DRAWN.items():
            part = lines[(lines["set"] == name) & (lines["rule"] == rule)].groupby("trials")
            panel.errorbar(
                trials, part["to_best"].mean()[trials], part["change"].sem()[trials],
                color=colour, marker="o", markersize=4, capsize=3, label=rule,
            )  # fmt: skip
        panel.axhline(0, color="#cccccc", linewidth=1, zorder=0)
        panel.set_xscale("log")
        panel.set_xticks(trials, [f"{n}" for n in trials], fontsize=7)
        panel.minorticks_off()
        panel.set_title(name, fontsize=10)
        panel.set_xlabel("trials", fontsize=9)
    panels[0].set_ylabel(f"held-out loss, %\n(0: {BEST} of {trials[0]} trials)", fontsize=9)
    panels[0].legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
