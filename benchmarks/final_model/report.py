"""Tables and a picture from a folder of recordings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmarks.final_model import compare, curves
from benchmarks.final_model.recording import Recording, recordings
from benchmarks.final_model.rules import BEST
from benchmarks.replay.tables import DOCS, markdown, write

PICTURE = DOCS / "images" / "trials.svg"
BY_SET = (
    "top 3, refits", "top 5, refits", "top 10, refits", "best, refit + fold models", "top 5, refits + fold models",
    "best, 5 seeds",
)  # fmt: skip


def run(folder: Path, *, update: bool = False, picture: Path | None = None) -> int:
    """Print the tables; write them and the picture where asked."""
    found = list(recordings(folder)) if folder.is_dir() else []
    if not found:
        raise SystemExit(
            f"There are no recordings in {folder}. Make some: python -m benchmarks final-model record --out {folder}"
        )
    made = tables(found)
    for name, table in made.items():
        print(f"## {name}\n\n{table}\n")
    by_trials = compare.by_trials(found, curves.SHOWN)
    if len(by_trials):
        for path in [picture] * bool(picture) + [PICTURE] * update:
            curves.draw(by_trials, path)
    if update:
        print("written: " + ", ".join(write(made)))
    return 0


def tables(found: Iterable[Recording]) -> dict[str, str]:
    """Return all tables, by the names of their markers in the documentation."""
    found = list(found)
    lines, made = compare.cells(found), {"recorded": recorded(found)}
    for name in compare.SIZES if len(lines) else ():
        part = lines[lines["size"] == name]
        if len(part):
            made[f"final models, {name} rows"] = ranked(part)
            made[f"sets, {name} rows"] = by_set(part)
    if len(lines):
        made["families"] = by_family(lines)
        made["costs"] = costs([recording for recording in found if not recording.about["checkpoints"]])
    by_trials = compare.by_trials(found, curves.SHOWN)
    if len(by_trials):
        made["trials"] = curves.table(by_trials)
        made["trials, by set"] = curves.table_by_set(by_trials)
        made["picture"] = f"![Held-out loss against the number of trials](images/{PICTURE.name})"
    return made


def recorded(found: Iterable[Recording]) -> str:
    """Return what there is: sets, rows, divisions, trials."""
    lines = pd.DataFrame([{**recording.about, "complete": len(recording.trials)} for recording in found])
    rows = []
    for (name, n_rows, n_trials), part in lines.groupby(["set", "rows", "n_trials"]):
        studies = part["family"].value_counts().sort_index()
        floor = part["lowest_rate"].max()
        rows.append(
            [
                str(name),
                f"{n_rows:,} x {part['columns'].max()}",
                part["kind"].iloc[0],
                part["split"].iloc[0],
                ", ".join(f"{family} {count}" for family, count in studies.items()),
                str(n_trials),
                f"{part['complete'].median():.0f}",
                f"{floor:g}" if floor else "",
            ]
        )
    head = ["set", "training rows x columns", "task", "held out", "studies", "trials", "complete", "lowest rate"]
    return markdown(head, rows, numbers=3)


def ranked(lines: pd.DataFrame) -> str:
    """Return the table of all rules, best first, the reference among them."""
    found = compare.summary(lines).sort_values("relative", ascending=False)
    rows = [
        [
            f"**{rule}**" if rule == BEST else str(rule),
            *(("", "", "", "", "") if rule == BEST else _numbers(row)),
            f"{row['cells']:.0f}",
        ]
        for rule, row in found.iterrows()
    ]
    head = ["final model", "of the spread", "of the loss", "t", "t of sets", "better / worse", "cells"]
    return markdown(head, rows, numbers=6)


def _numbers(row: pd.Series) -> list[str]:
    return [
        f"{row['share']:+.0f} %",
        f"{row['relative']:+.2f} %",
        number(row["t"]),
        number(row["t_sets"]),
        f"{row['better']:.0%} / {row['worse']:.0%}",
    ]


def by_set(lines: pd.DataFrame) -> str:
    """Return the mean change of the loss of some rules for every set."""
    part = lines[lines["rule"].isin(BY_SET)]
    means = part.pivot_table(index=["set", "rows"], columns="rule", values="relative")
    complete = part.groupby(["set", "rows"])["complete"].median()
    shown = [rule for rule in BY_SET if rule in means]
    rows = [
        [str(name), f"{n_rows:,}", f"{complete[name, n_rows]:.0f}"]
        + ["" if math.isnan(value) else f"{value:+.2f} %" for value in means.loc[(name, n_rows), shown]]
        for name, n_rows in means.index
    ]
    return markdown(["set", "rows", "complete trials", *shown], rows, numbers=len(shown) + 2)


def by_family(lines: pd.DataFrame) -> str:
    """Return the mean change of the loss by family and size."""
    part = lines[lines["rule"].isin(BY_SET)]
    rows = []
    for (name, family), cells in part.groupby(["size", "family"]):
        found = compare.summary(cells)
        rows.append(
            [str(name), str(family)]
            + [
                f"{found.loc[rule, 'relative']:+.2f} % ({number(found.loc[rule, 't'])})" if rule in found.index else ""
                for rule in BY_SET
            ]
        )
    return markdown(["rows", "family", *BY_SET], rows, numbers=len(BY_SET))


def costs(found: Iterable[Recording]) -> str:
    """Return the seconds of one core of the search, and of fits beside it, for each size."""
    lines = pd.DataFrame(
        [
            {
                "size": compare.size(recording.about["rows"]),
                "search": recording.about["seconds"]["search"],
                "refit": recording.about["seconds"]["refits"] / len(recording.refits),
                "folds": recording.about["seconds"]["fold models"] / max(len(recording.folds), 1),
            }
            for recording in found
        ]
    )
    rows = []
    for name, part in lines.groupby("size"):
        rows.append(
            [
                str(name),
                f"{part['search'].median():.0f} s",
                f"{100 * (part['refit'] / part['search']).median():.1f} %",
                f"{1000 * (part['refit'] / part['search']).median():.0f} %",
                f"{100 * (part['folds'] / part['search']).median():.1f} %",
            ]
        )
    head = ["rows", "search, median", "one refit", "ten refits", "five fold models of one configuration"]
    return markdown(head, rows, numbers=4)


def number(value: float) -> str:
    """Return a t value, or nothing where there is none."""
    return "" if math.isnan(value) else f"{value:.1f}"
