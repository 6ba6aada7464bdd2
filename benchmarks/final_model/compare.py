"""From recordings to tables of numbers: every rule in every cell, and the choice among the first trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from benchmarks.final_model.recording import Recording
from benchmarks.final_model.rules import BEST, RULES, Rule

SIZES = {"below 1,000": 1_000, "1,000 to 10,000": 10_000, "above 10,000": 10**9}
"""Training rows: name to the first number that is too large."""
CELL = ["set", "family", "division", "rows"]


def size(rows: int) -> str:
    """Return the name of the class of sizes."""
    return next(name for name, limit in SIZES.items() if rows < limit)


def spread(recording: Recording) -> float:
    """Return the held-out loss of the median complete configuration less that of the best one, each fitted again.

    The best configurations are all recorded; those behind count for as many as they stand for.
    """
    front, behind = recording.ranking[: recording.about["refits"]], recording.ranking[recording.about["refits"] :]
    fitted = [trial for trial in behind if trial["number"] in recording.refits]
    weights = [1.0] * len(front) + [len(behind) / max(len(fitted), 1)] * len(fitted)
    losses = [recording.loss(recording.refits[trial["number"]]) for trial in (*front, *fitted)]
    middle = np.quantile(losses, 0.5, weights=np.array(weights), method="inverted_cdf")
    return float(middle - min(losses))


def cells(recordings: Iterable[Recording], rules: Mapping[str, Rule] = RULES) -> pd.DataFrame:
    """Return a line for each recording and rule.

    Columns: those of `CELL`, ``size``, ``rule``, ``loss``, ``share`` (improvement on `BEST` in % of the `spread`) and
    ``relative`` (in % of the loss). Recordings with checkpoints are not among them.
    """
    lines = []
    for recording in recordings:
        if recording.about["checkpoints"]:
            continue
        about, losses = recording.about, losses_of(recording, rules)
        unit, best = spread(recording), losses[BEST]
        for rule, value in losses.items():
            line = {name: about[name] for name in CELL}
            line |= {"size": size(about["rows"]), "rule": rule, "loss": value, "complete": len(recording.trials)}
            line["share"] = 100 * (best - value) / unit if unit > 0 else np.nan
            line["relative"] = 100 * (best - value) / best
            lines.append(line)
    return pd.DataFrame(lines)


def losses_of(recording: Recording, rules: Mapping[str, Rule]) -> dict[str, float]:
    """Return the held-out loss of each rule whose models are all recorded."""
    found = {}
    for name, rule in rules.items():
        try:
            found[name] = recording.loss(rule(recording))
        except KeyError:
            continue
    return found


def summary(lines: pd.DataFrame) -> pd.DataFrame:
    """Return, for each rule, means over cells of the improvements, and how sure they are.

    Columns: ``share``, ``relative`` (means), ``t`` and ``t_sets`` (of ``relative``, over cells and over the means of
    sets: cells of one set share most of their rows), ``better``, ``worse`` (shares of cells), ``cells``.
    """
    rows = {}
    for rule, part in lines.groupby("rule", sort=False):
        change = part["relative"]
        rows[rule] = {
            "share": part["share"].mean(),
            "relative": change.mean(),
            "t": t_value(change),
            "t_sets": t_value(part.groupby("set")["relative"].mean()),
            "better": (change > 0).mean(),
            "worse": (change < 0).mean(),
            "cells": len(part),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def t_value(values: pd.Series) -> float:
    """Return the mean in standard errors; not a number for fewer than two values."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() / error) if error > 0 else float("nan")


def by_trials(recordings: Iterable[Recording], rules: Mapping[str, Rule]) -> pd.DataFrame:
    """Return the held-out loss of the choice among the first trials, for recordings with checkpoints.

    Columns: those of `CELL`, ``rule``, ``trials``, ``loss``, ``change`` (in % of the loss of the same rule at the first
    checkpoint; below 0 is better) and ``to_best`` (of the loss of `BEST` at the first checkpoint).
    """
    lines = []
    for recording in recordings:
        checkpoints: Sequence[int] = recording.about["checkpoints"]
        at_start: dict[str, float] = {}
        for n_trials in checkpoints:
            losses = losses_of(recording.first(n_trials), {BEST: RULES[BEST], **rules})
            at_start = at_start or losses
            for rule in rules:
                if rule in losses and rule in at_start:
                    line = {name: recording.about[name] for name in CELL}
                    line |= {"rule": rule, "trials": n_trials, "loss": losses[rule]}
                    line["change"] = 100 * (losses[rule] / at_start[rule] - 1)
                    line["to_best"] = 100 * (losses[rule] / at_start[BEST] - 1)
                    lines.append(line)
    return pd.DataFrame(lines)
