"""The tables of the documentation, made from the replays and put between their markers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.replay import portfolio, sampling
from benchmarks.replay.datasets import sources
from benchmarks.replay.portfolio import Entries
from benchmarks.replay.pruning import RACES, Outcome, racing_name
from benchmarks.replay.recording import Recording
from benchmarks.replay.studies import scores

DOCS = Path(__file__).parents[2] / "docs"
FILES = ("replay.md", "samplers.md", "pruners.md", "performance.md", "first-trials.md")
KEPT_AT_LEAST, REGRET_AT_MOST = 0.98, 0.005
"""What a race must reach on half A to be chosen: how often the best is kept, and the mean regret."""
SHUFFLES = 50

Pruned = Mapping[str, Mapping[str, Sequence[Outcome]]]
"""Recording to rule to outcomes."""
Sampled = Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
"""Recording to sampler to the regrets at the budgets of each seed."""


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int) -> str:
    """Return a markdown table; the last `numbers` columns are set to the right."""
    left = len(head) - numbers
    lines = [head, ["---"] * left + ["---:"] * numbers, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def halves(recordings: Iterable[Recording]) -> dict[str, list[str]]:
    """Return the names of the recordings of each half."""
    names: dict[str, list[str]] = {"A": [], "B": []}
    for recording in recordings:
        names[str(recording.about["half"])].append(recording.name)
    return names


def recorded(recordings: Sequence[Recording]) -> str:
    """Table of what was recorded."""
    rows = []
    for recording in recordings:
        about = recording.about
        losses = np.array(scores(recording))
        capped = np.mean([max(map(len, folds)) >= about["cap"] for folds in recording.curves])
        rows.append(
            [
                str(about["set"]),
                str(about["half"]),
                str(about["family"]),
                f"{about['rows']} x {about['columns']}",
                str(about["loss"]),
                str(len(recording.configs)),
                f"{sum(len(fold) for folds in recording.curves for fold in folds) / 1e6:.2f} M",
                f"{capped:.0%}",
                f"{losses.min():.4g}",
                f"{np.median(losses):.4g}",
            ]
        )
    head = [
        "set",
        "half",
        "family",
        "rows x columns",
        "loss",
        "configurations",
        "rounds",
        "at the cap",
        "best",
        "median",
    ]
    return markdown(head, rows, numbers=5)


def origins(recordings: Sequence[Recording]) -> str:
    """Table of sources and licences."""
    names = list(dict.fromkeys(str(recording.about["set"]) for recording in recordings))
    rows = [
        [name, str(sources()[name].half), sources()[name].task, sources()[name].origin, sources()[name].licence]
        for name in names
    ]
    return markdown(["set", "half", "task", "source", "licence of the data"], rows, numbers=0)


def mean_outcome(found: Pruned, rule: str, names: Iterable[str]) -> tuple[float, float, float]:
    """Return mean cost, share kept and mean regret of a rule over the replays of these recordings."""
    outcomes = [outcome for name in names for outcome in found[name][rule]]
    return (
        float(np.mean([outcome.cost for outcome in outcomes])),
        float(np.mean([outcome.kept for outcome in outcomes])),
        float(np.mean([outcome.regret for outcome in outcomes])),
    )


def pruners(found: Pruned, recordings: Sequence[Recording], shipped: Sequence[str]) -> str:
    """Table of all pruners on both halves; the races that are shipped stand out."""
    by_half, rows = halves(recordings), []
    for rule in next(iter(found.values())):
        cells = [f"**{rule}**" if rule in shipped else rule]
        for names in by_half.values():
            cost, kept, regret = mean_outcome(found, rule, names)
            cells += [f"{cost:.2f}", f"{kept:.3f}", f"{regret:.4f}"]
        rows.append(cells)
    return markdown(["pruner", *(f"{what} {half}" for half in "AB" for what in ("cost", "kept", "regret"))], rows, 6)


def pruners_by_set(found: Pruned, rules: Sequence[str]) -> str:
    """Table of a few rules on every recording."""
    rows = []
    for name in found:
        outcomes = [mean_outcome(found, rule, [name]) for rule in rules]
        rows.append([name, *(f"{cost:.2f} / {kept:.2f} / {regret:.4f}" for cost, kept, regret in outcomes)])
    return markdown(["cost / kept / regret", *rules], rows, numbers=len(rules))


def chosen_race(found: Pruned, names: Iterable[str]) -> tuple[float, int]:
    """Return z and start-up of the cheapest race that keeps the best often enough on these recordings."""
    names = list(names)
    outcomes = {race: mean_outcome(found, racing_name(*race), names) for race in RACES}
    safe = {
        race: round(cost, 2)
        for race, (cost, kept, regret) in outcomes.items()
        if kept >= KEPT_AT_LEAST and regret <= REGRET_AT_MOST
    }
    if not safe:
        return max(outcomes, key=lambda race: outcomes[race][1])
    # Of equal costs the safest: the larger margin, then the more start-up trials.
    return min(safe, key=lambda race: (safe[race], -race[0], -race[1]))


def mean_regrets(found: Sampled, sampler: str, names: Iterable[str]) -> np.ndarray:
    """Return a sampler's mean regret at each budget: over the seeds, then over these recordings."""
    return np.mean([np.mean(found[name][sampler], axis=0) for name in names], axis=0)


def quality(found: Mapping[str, Sampled], recordings: Sequence[Recording]) -> str:
    """Table of all samplers on both halves, for each surface."""
    by_half, rows = halves(recordings), []
    for surface, results in found.items():
        for sampler in next(iter(results.values())):
            values = [value for names in by_half.values() for value in mean_regrets(results, sampler, names)]
            rows.append([sampler, surface, *("" if np.isnan(value) else f"{value:.3f}" for value in values)])
    head = [f"{half} at {budget}" for half in "AB" for budget in sampling.BUDGETS]
    return markdown(["sampler", "between cells", *head], rows, numbers=len(head))


def standard_error(values: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean over the first axis."""
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def is_clear(gains: np.ndarray) -> bool:
    """Return whether a mean gain, paired by recording, is more than twice its standard error.

    Examples
    --------
    >>> import numpy as np
    >>> is_clear(np.array([0.3, 0.2, 0.25])), is_clear(np.array([0.3, -0.2, 0.25]))
    (True, False)
    """
    return bool(gains.mean() > 2 * standard_error(gains))


def named(provenance: str) -> str:
    """Return what the tables call a portfolio's entry: its source without what was left out."""
    return provenance.partition("; without")[0].partition(": not evaluated")[0]


def ranking(found: Entries) -> str:
    """Table of a portfolio's entries in their new order."""
    order, places = portfolio.by_mean(found.regrets), found.regrets.argsort(axis=0).argsort(axis=0)
    left_out, rows = portfolio.left_out(found), []
    for entry in [*order, *(entry for entry in range(len(found.provenances)) if entry not in order)]:
        meant = found.regrets[entry] < portfolio.NEVER
        without = [others.index(entry) + 1 for others in left_out if entry in others]
        rows.append(
            [
                str(order.index(entry) + 1) if entry in order else "dropped",
                named(found.provenances[entry]),
                str(entry + 1),
                f"{found.regrets[entry, meant].mean():.3f}" if meant.any() else "",
                f"{(places[entry, meant] < portfolio.WINNERS).sum()} of {meant.sum()}",
                f"{min(without)} to {max(without)}" if without else "never",
            ]
        )
    head = ["place", "entry", "published place", "mean regret", "wins", "place without any one set"]
    return markdown(head, rows, numbers=4)


def portfolios(found: Iterable[Entries], counts: Sequence[int] = (0, 1, 2, 3, 5, 8)) -> str:
    """Table of mean regret after the baseline and the first few entries."""
    rows = []
    for each in found:
        published = [list(range(len(each.provenances)))] * len(each.recordings)
        stream = np.random.default_rng(0)
        shuffled = np.zeros(len(counts))
        for _ in range(SHUFFLES):
            orders = [stream.permutation(len(each.provenances)) for _ in each.recordings]
            shuffled += np.array([portfolio.after(each, orders, count) for count in counts]) / SHUFFLES
        plans = {
            "as published": [portfolio.after(each, published, count) for count in counts],
            "in random order": shuffled,
            "greedily, without the set": [
                portfolio.after(each, portfolio.left_out(each, greedily=True), count) for count in counts
            ],
            "by mean, without the set": [portfolio.after(each, portfolio.left_out(each), count) for count in counts],
        }
        rows += [[each.space, plan, *(f"{value:.3f}" for value in values)] for plan, values in plans.items()]
    return markdown(["space", "order", *(f"after {count}" for count in counts)], rows, numbers=len(counts))


def gains(found: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Table of mean regret of TPE alone and with a portfolio; trial 0, the baseline, is counted."""
    rows = [
        [space, plan, *(f"{value:.3f}" for value in regrets.mean(axis=0))]
        for space, plans in found.items()
        for plan, regrets in plans.items()
    ]
    return markdown(
        ["space", "study", *(f"{budget} trials" for budget in portfolio.BUDGETS)], rows, len(portfolio.BUDGETS)
    )


def write(tables: Mapping[str, str], folder: Path = DOCS) -> list[str]:
    """Put the tables between ``<!-- table: NAME -->`` and ``<!-- end table -->``; return the names that were found."""
    found = []
    for path in (folder / name for name in FILES):
        if not path.exists():
            continue
        text = before = path.read_text(encoding="utf-8")
        for name, table in tables.items():
            pattern = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end table -->)", re.DOTALL)
            text, count = pattern.subn(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text)
            found += [name] * count
        if text != before:
            path.write_text(text, encoding="utf-8")
    return found


def read(name: str, folder: Path = DOCS) -> str:
    """Return a committed table."""
    pattern = re.compile(rf"<!-- table: {re.escape(name)} -->\n(.*?)\n<!-- end table -->", re.DOTALL)
    for path in (folder / file for file in FILES):
        match = pattern.search(path.read_text(encoding="utf-8")) if path.exists() else None
        if match:
            return match[1]
    raise LookupError(f"No table {name!r} in {folder}")
