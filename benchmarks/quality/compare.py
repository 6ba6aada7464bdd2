"""Ranks, wins, regret and times from results: plain arithmetic on one table.

A *cell* is a set, a family, a budget and a seed: the same rows and the same seconds for all its peers. Peers without a
budget stand in the cells of every budget. A run that failed or was killed has an infinite loss: it ranks last.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.quality.plan import Profile, Run

TIE = 1e-6
"""Losses that differ by less than this share are equal."""
CELL = ["set", "family", "budget", "seed"]
WORST = 1.0
"""Of normalised regret: as bad as the median peer, or worse."""


@dataclasses.dataclass(frozen=True)
class Table:
    """All runs of whole cells, and what is not in them.

    Parameters
    ----------
    runs : DataFrame
        A row per cell and peer: ``set, family, budget, seed, peer, loss, seconds, status, rank, regret``.
    unranked : DataFrame
        The same less rank and regret, of cells in which planned runs are still missing, or that have one peer only.
    missing : tuple of Run
        Planned and not run.
    other_rows : tuple of str
        Sets (with seed) whose results were got on different rows, so that they cannot be compared.
    """

    runs: pd.DataFrame
    unranked: pd.DataFrame
    missing: tuple[Run, ...]
    other_rows: tuple[str, ...]

    @property
    def all_runs(self) -> pd.DataFrame:
        """Ranked or not: for what does not compare within cells."""
        return pd.concat([part for part in (self.runs, self.unranked) if len(part)] or [self.runs], ignore_index=True)


def table(records: Sequence[Mapping[str, Any]], sittings: Iterable[Mapping[str, Any]]) -> Table:
    """Return what can be compared.

    Parameters
    ----------
    records : sequence of mapping
        Lines of results.
    sittings : iterable of mapping
        What was planned; the peers that a sitting had to skip are missing, and said to be.
    """
    planned = planned_runs(sittings)
    there = {Run.of(record) for record in records}
    missing = tuple(run for run in planned if run not in there and not planned[run])
    budgets = sorted({float(record["budget"]) for record in records if record["budget"] is not None})
    rows = pd.DataFrame([_row(record, budget) for record in records for budget in _budgets(record, budgets)])
    if rows.empty:
        return Table(rows, rows, missing, ())
    rows, foreign = _same_rows(rows)
    holes = {(run.set, run.family, budget, run.seed) for run in missing for budget in _budgets(vars(run), budgets)}
    cells = pd.MultiIndex.from_frame(rows[CELL])
    is_whole = rows.groupby(CELL)["peer"].transform("size").to_numpy() > 1
    if holes:
        is_whole &= ~cells.isin(list(holes))
    unranked, rows = rows[~is_whole], rows[is_whole].copy()
    rows["rank"] = rows.groupby(CELL)["loss"].transform(ranks)
    rows["regret"] = rows.groupby(CELL)["loss"].transform(regrets)
    return Table(rows.reset_index(drop=True), unranked.reset_index(drop=True), missing, foreign)


def planned_runs(sittings: Iterable[Mapping[str, Any]]) -> dict[Run, bool]:
    """Return every planned run, and whether it could not be done for want of a package or file."""
    planned: dict[Run, bool] = {}
    for sitting in sittings:
        profile = Profile(
            *(tuple(sitting[name]) for name in ("sets", "peers", "budgets", "seeds", "families")),
        )
        for run in profile.runs():
            is_skipped = run.set in sitting["skipped"] or run.peer in sitting["skipped"]
            planned[run] = planned.get(run, True) and is_skipped
    return planned


def ranks(losses: pd.Series) -> pd.Series:
    """Return 1 for the smallest loss; equal ones share the mean of their ranks; infinite ones share the last."""
    return _tied(losses).rank(method="average")


def regrets(losses: pd.Series) -> pd.Series:
    """Return (loss - best) / (median - best) within a cell, at most 1; a failed run has 1.

    0 is the best peer of the cell; 1 is its median peer, or worse. The median is of the finite losses. If best and
    median are equal, all that are worse have 1.
    """
    tied = _tied(losses)
    finite = tied[np.isfinite(tied)]
    if finite.empty:
        return pd.Series(WORST, index=losses.index)
    best, scale = finite.min(), finite.median() - finite.min()
    above = tied - best
    scaled = above / scale if scale > 0 else above.gt(0).astype(float)
    return scaled.clip(0.0, WORST)


def _tied(losses: pd.Series) -> pd.Series:
    """Return the losses, each of them that is within `TIE` of the next smaller one made equal to it."""
    ordered = losses.sort_values()
    kept, last = [], -math.inf
    for value in ordered:
        if not (math.isfinite(last) and value - last <= TIE * abs(last)):
            last = value
        kept.append(last)
    return pd.Series(kept, index=ordered.index).reindex(losses.index)


def wins(runs: pd.DataFrame) -> pd.DataFrame:
    """Return, for each pair, the share of their common cells in which the row beats the column; a tie is half a win."""
    wide = runs.pivot_table(index=CELL, columns="peer", values="rank", aggfunc="first")
    shares = {
        row: {column: _share(wide[row], wide[column]) if row != column else math.nan for column in wide.columns}
        for row in wide.columns
    }
    return pd.DataFrame(shares).T.loc[list(wide.columns), list(wide.columns)]


def _share(ours: pd.Series, theirs: pd.Series) -> float:
    common = ours.notna() & theirs.notna()
    if not common.any():
        return math.nan
    return float(((ours < theirs)[common] + 0.5 * (ours == theirs)[common]).mean())


def against(runs: pd.DataFrame, first: str) -> pd.DataFrame:
    """Return, for each budget and peer, in how many cells `first` beats it, ties with it and loses to it.

    ``rate`` is the share of wins, a tie being half; ``spread`` is the standard deviation of the rates of single seeds.
    """
    wide = runs.pivot_table(index=CELL, columns="peer", values="rank", aggfunc="first")
    if first not in wide:
        return pd.DataFrame()
    rows = []
    for budget, part in wide.groupby(level="budget"):
        for peer in part.columns.drop(first):
            pair = part[[first, peer]].dropna()
            if len(pair):
                difference = pair[peer] - pair[first]
                won, tied = int((difference > 0).sum()), int((difference == 0).sum())
                points = (np.sign(difference) + 1) / 2
                spread = points.groupby(level="seed").mean().std(ddof=1)
                rows.append((budget, peer, won, tied, len(pair) - won - tied, points.mean(), spread))
    return pd.DataFrame(rows, columns=["budget", "peer", "won", "tied", "lost", "rate", "spread"])


def means(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the mean over sets and families of each budget and peer, and its spread over seeds.

    The spread is the standard deviation (``ddof=1``) of the means of single seeds; NaN for one seed.
    """
    by_seed = runs.groupby(["budget", "peer", "seed"])[column].mean()
    spread = by_seed.groupby(level=["budget", "peer"]).std(ddof=1)
    return pd.DataFrame({"mean": runs.groupby(["budget", "peer"])[column].mean(), "spread": spread})


def times_to(runs: pd.DataFrame, peer: str = "script") -> pd.DataFrame:
    """Return how long each peer takes to the quality that `peer` has at its largest budget.

    For each set and family, losses and real seconds are averaged over the seeds that both have. A peer's time is the
    smallest of its mean seconds at which its mean loss is not above the target (within `TIE`); infinite if it never is.
    Nothing is interpolated between budgets, so times are too long rather than too short, and a peer can be no faster
    than its smallest budget.

    Returns
    -------
    DataFrame
        A row per set, family and peer: ``seconds``, and their ``share`` of the seconds that `peer` took to the target.
    """
    rows = []
    is_target = (runs["peer"] == peer) & (runs["budget"] == runs["budget"].max()) & np.isfinite(runs["loss"])
    last = runs[is_target].set_index("seed")[["set", "family", "loss", "seconds"]]
    last = last.rename(columns={"loss": "target", "seconds": "target_seconds"})
    targets = {key: part[["target", "target_seconds"]] for key, part in last.groupby(["set", "family"])}
    for (name, family, other), part in runs.groupby(["set", "family", "peer"]):
        target = targets.get((name, family))
        if target is None:
            continue
        reached = []
        for _, ours in part.groupby("budget"):
            paired = ours.set_index("seed")[["loss", "seconds"]].join(target, how="inner")
            loss, seconds, goal, goal_seconds = paired.mean()
            if len(paired) and loss <= goal + TIE * abs(goal):
                reached.append((float(seconds), float(seconds / goal_seconds)))
        rows.append((name, family, other, *min(reached, default=(math.inf, math.inf))))
    return pd.DataFrame(rows, columns=["set", "family", "peer", "seconds", "share"])


def scaled_over_budgets(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per budget and peer: mean seconds and mean loss on one scale for all budgets.

    Within a set, family and seed, 0 is the best of all peers at any budget and 1 the median of all; at most 2.
    """

    def scale(losses: pd.Series) -> pd.Series:
        finite = losses[np.isfinite(losses)]
        span = finite.median() - finite.min() if len(finite) else 0.0
        return ((losses - finite.min()) / span).clip(0, 2) if span > 0 else pd.Series(0.0, index=losses.index)

    scaled = runs.assign(scaled=runs.groupby(["set", "family", "seed"])["loss"].transform(scale))
    return scaled.groupby(["peer", "budget"], as_index=False)[["seconds", "scaled"]].mean()


def _budgets(record: Mapping[str, Any], budgets: Sequence[float]) -> Sequence[float]:
    """Return the budgets whose cells a run stands in: its own, or all."""
    return (budgets or [0.0]) if record["budget"] is None else [float(record["budget"])]


def _row(record: Mapping[str, Any], budget: float) -> dict[str, Any]:
    loss = record["loss"] if record["status"] == "ok" else None
    return {
        "set": record["set"], "family": record["family"], "budget": budget, "seed": record["seed"],
        "peer": record["peer"], "loss": math.inf if loss is None else float(loss),
        "seconds": float(record.get("seconds") or 0.0), "status": record["status"], "rows": record.get("rows", ""),
        "metric": record.get("metric", ""), "is_fixed": record["budget"] is None,
    }  # fmt: skip


def _same_rows(rows: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Leave out sets that were run on different rows, and name them."""
    kinds = rows[rows["rows"] != ""].groupby(["set", "seed"])["rows"].nunique()
    foreign = kinds[kinds > 1].index
    is_foreign = pd.MultiIndex.from_frame(rows[["set", "seed"]]).isin(foreign)
    return rows[~is_foreign].copy(), tuple(f"{name}, seed {seed}" for name, seed in foreign)
