"""Tables and a picture from files of results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.quality import compare, results
from benchmarks.quality.peers import PEERS
from benchmarks.replay.tables import markdown

TENTH, AHEAD = 0.1, 0.8
"""The promise: this share of the script's time, and ahead of each peer in this share of pairs."""


def run(paths: Sequence[Path], markdown_path: Path | None, picture: Path | None, first: str) -> int:
    """Print the tables; write them and the picture where asked."""
    for path in paths:
        if not path.exists():
            raise SystemExit(f"There is no file {path}. Make it with: python -m benchmarks quality run --out {path}")
    records, sittings, unreadable = results.read(paths)
    found = compare.table(records, sittings)
    text = report(found, records, sittings, unreadable, first)
    print(text)
    if markdown_path is not None:
        markdown_path.write_text(text + "\n", encoding="utf-8")
    if picture is not None:
        from benchmarks.quality.picture import write

        write(found.all_runs, picture)
    return 0


def report(
    found: compare.Table,
    records: Sequence[Mapping[str, Any]],
    sittings: Sequence[Mapping[str, Any]],
    unreadable: int,
    first: str,
) -> str:
    """Return all tables as Markdown."""
    runs = found.runs
    parts = [counted(found, records, sittings, unreadable)]
    if len(runs) and first in set(runs["peer"]):
        parts.append(f"## What {first} promises\n\n" + promises(found, first))
    for budget in sorted(runs["budget"].unique()) if len(runs) else ():
        parts.append(f"## At {budget:g} s\n\n" + standings(runs[runs["budget"] == budget], first))
    if len(runs):
        parts.append("## Who beats whom\n\n" + pairs(runs))
    everything = found.all_runs
    if len(everything):
        if everything["budget"].nunique() > 1:
            parts.append("## Time to the hand-written script's quality\n\n" + times(everything))
        parts.append("## Every set\n\n" + sets(everything))
    parts.append("## Not there\n\n" + absent(found, records, sittings))
    return "\n\n".join(parts)


def counted(
    found: compare.Table,
    records: Sequence[Mapping[str, Any]],
    sittings: Sequence[Mapping[str, Any]],
    unreadable: int,
) -> str:
    """Return what the report is about."""
    states = pd.Series([record["status"] for record in records], dtype=object).value_counts()
    lines = [
        f"{len(records)} runs: {', '.join(f'{count} {state}' for state, count in states.items()) or 'none'}. "
        f"{len(found.missing)} planned runs are not there yet; cells without them are not ranked "
        f"({len(found.unranked)} runs wait for that)."
    ]
    if unreadable:
        lines.append(f"{unreadable} lines could not be read.")
    if found.other_rows:
        lines.append("LEFT OUT, since their runs had different rows: " + "; ".join(found.other_rows) + ".")
    versions = {f"{name} {version}" for sitting in sittings for name, version in sitting["versions"].items()}
    if versions:
        lines.append("Versions: " + ", ".join(sorted(versions)) + ".")
    return "\n".join(lines)


def promises(found: compare.Table, first: str) -> str:
    """Return, in a sentence each, what holds of: first by mean rank, ahead of each peer, in a tenth of the time."""
    lines = []
    ranks = compare.means(found.runs, "rank")["mean"]
    duels = compare.against(found.runs, first)
    for budget in sorted(found.runs["budget"].unique()):
        order = ranks[budget].sort_values()
        if first not in order:
            continue
        place = int((order < order[first]).sum()) + 1
        ours = duels[duels["budget"] == budget].sort_values("rate")
        behind = [f"{peer} {rate:.0%}" for peer, rate in zip(ours["peer"], ours["rate"], strict=True) if rate < AHEAD]
        words = (
            f"not ahead in {AHEAD:.0%} of pairs of {', '.join(behind)}" if behind else f"ahead of each in {AHEAD:.0%}"
        )
        lines.append(f"- {budget:g} s: place {place} of {len(order)} by mean rank; {words}.")
    shares = compare.times_to(found.all_runs)
    ours = shares.loc[shares["peer"] == first, "share"]
    if found.all_runs["budget"].nunique() > 1 and len(ours):
        median = ours.median()
        words = "it does not get there in the median" if math.isinf(median) else f"{median:.3f} of its time (median)"
        lines.append(f"- To the script's quality at {found.all_runs['budget'].max():g} s: {words}; promised {TENTH:g}.")
    return "\n".join(lines)


def standings(runs: pd.DataFrame, first: str) -> str:
    """Return the table of one budget, best mean rank first."""
    rank, regret = (compare.means(runs, column).droplevel("budget") for column in ("rank", "regret"))
    duels = compare.against(runs, first)
    duels = duels.set_index("peer") if len(duels) else duels
    by_family = runs.groupby(["peer", "family"])["rank"].mean().unstack()
    families = list(by_family.columns)
    rows = []
    for peer in rank.sort_values("mean").index:
        ours = runs[runs["peer"] == peer]
        seconds = ours.loc[ours["status"] == "ok", "seconds"]
        bad = ours["status"].ne("ok")
        if peer in duels.index:
            duel = duels.loc[peer]
            counts = f"{duel['won']:.0f} / {duel['tied']:.0f} / {duel['lost']:.0f}"
            deviation = "" if math.isnan(duel["spread"]) else f" ± {duel['spread']:.0%}"
            duel_words = f"{counts}: {duel['rate']:.0%}{deviation}"
        else:
            duel_words = ""
        rows.append(
            [
                peer,
                spread(rank.loc[peer]),
                *(number(by_family.loc[peer, family]) for family in families),
                spread(regret.loc[peer], digits=3),
                duel_words,
                f"{seconds.median():.1f} / {seconds.max():.1f}" if len(seconds) else "",
                str(len(ours)),
                str(bad.sum()) if bad.any() else "",
            ]
        )
    head = [
        "peer",
        "mean rank",
        *families,
        "regret",
        f"{first} won / tied / lost",
        "s: median / most",
        "cells",
        "failed",
    ]
    cells = runs.groupby(compare.CELL).ngroups
    note = (
        f"{cells} cells (set x family x seed). Mean rank: 1 is best, a failed run is last; also by family. "
        "Normalised regret: 0 the best of a cell, 1 its median peer or worse. ± is the standard deviation over seeds."
    )
    return f"{note}\n\n{markdown(head, rows, numbers=len(head) - 1)}"


def pairs(runs: pd.DataFrame) -> str:
    """Return the matrix of win rates over all budgets."""
    shares = compare.wins(runs)
    order = shares.mean(axis=1).sort_values(ascending=False).index
    words = shares.map(lambda share: "" if math.isnan(share) else f"{share:.0%}")
    rows = [[str(row), *words.loc[row, order]] for row in order]
    note = "Share of common cells, over all budgets, in which the row has the smaller held-out loss; a tie is half."
    return f"{note}\n\n{markdown(['', *order], rows, numbers=len(order))}"


def times(runs: pd.DataFrame) -> str:
    """Return how long each peer takes to the script's quality at its largest budget."""
    each = compare.times_to(runs)
    if each.empty:
        return "The script has no results."
    largest = runs["budget"].max()
    rows = []
    for peer, part in sorted(each.groupby("peer"), key=lambda item: item[1]["share"].median()):
        median, share = part["seconds"].median(), part["share"].median()
        rows.append(
            [
                str(peer),
                "never" if math.isinf(median) else f"{median:.0f}",
                "" if math.isinf(share) else f"{share:.3f}",
                f"{(part['share'] <= TENTH).mean():.0%}",
                f"{part['share'].lt(math.inf).mean():.0%}",
                str(len(part)),
            ]
        )
    head = ["peer", "median s", "share of its time", "within a tenth", "ever", "sets x families"]
    note = (
        f"To the mean held-out loss of the script at {largest:g} s, in real seconds; nothing is interpolated, so no "
        f"time is shorter than the smallest budget, {runs['budget'].min():g} s, but for the peers without a budget."
    )
    return f"{note}\n\n{markdown(head, rows, numbers=5)}"


def sets(runs: pd.DataFrame) -> str:
    """Return the mean losses of every set, family and budget; the best in bold."""
    order = [peer for peer in PEERS if peer in set(runs["peer"])]
    mean = runs.groupby(["set", "family", "budget", "peer"])["loss"].mean().unstack()
    metrics = runs[runs["metric"] != ""].groupby("set")["metric"].first()
    rows = []
    for (name, family, budget), losses in mean.iterrows():
        best = losses.min()
        rows.append(
            [
                str(name),
                str(metrics.get(name, "")),
                str(family),
                f"{budget:g}",
                *(_loss(losses[p], best) for p in order),
            ]
        )
    note = "Held-out loss, mean over seeds; FAILED if it did in one of them."
    return f"{note}\n\n{markdown(['set', 'loss', 'family', 's', *order], rows, numbers=len(order) + 1)}"


def absent(found: compare.Table, records: Sequence[Mapping[str, Any]], sittings: Iterable[Mapping[str, Any]]) -> str:
    """Return what failed, what was skipped and what is still to be run."""
    lines = []
    skipped = {what: why for sitting in sittings for what, why in sitting["skipped"].items()}
    there = {record["peer"] for record in records} | {record["set"] for record in records}
    lines += [f"- skipped {what}: needs {why}" for what, why in skipped.items() if what not in there]
    for record in records:
        if record["status"] != "ok":
            budget = "" if record["budget"] is None else f", {record['budget']:g} s"
            error = " ".join(str(record.get("error", "")).split())[:160].replace("|", "/")
            lines.append(
                f"- {record['status']}: {record['peer']} on {record['set']}, {record['family']}{budget}, "
                f"seed {record['seed']}: {error}"
            )
    if found.missing:
        counts = pd.Series([run.peer for run in found.missing]).value_counts()
        lines.append("- not run yet: " + ", ".join(f"{peer} {count}" for peer, count in counts.items()))
    return "\n".join(lines) or "Nothing is missing, nothing failed."


def number(value: float) -> str:
    """Return two digits; empty for NaN."""
    return "" if math.isnan(value) else f"{value:.2f}"


def spread(row: pd.Series, digits: int = 2) -> str:
    """Return a mean with its spread over seeds, if there are several."""
    mean = f"{row['mean']:.{digits}f}"
    return mean if math.isnan(row["spread"]) else f"{mean} ± {row['spread']:.{digits}f}"


def _loss(value: float, best: float) -> str:
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "FAILED"
    text = f"{value:.5g}"
    return f"**{text}**" if value <= best + compare.TIE * abs(best) else text
