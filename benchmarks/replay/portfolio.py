"""Portfolios re-ranked by recorded runs, each order scored only on a set that it was not chosen on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.replay.family import ReplayFamily
from benchmarks.replay.recording import Recording
from benchmarks.replay.sampling import SURFACES, Make, regrets, search
from benchmarks.replay.studies import Point, scores, spread
from gbtune.rounds import Rounds
from gbtune.samplers import resolve_sampler

BUDGETS = (5, 10, 20)
NEVER = 1e9
"""Regret of an entry that is not meant for a task."""
WINNERS = 3
"""So many entries win on a set; those that win on none are dropped."""


@dataclasses.dataclass(frozen=True)
class Entries:
    """The recorded entries of one space's portfolio and how they did.

    Parameters
    ----------
    space : str
        E.g. ``"xgboost/core"``.
    provenances : tuple of str
        One per entry, in the order in which they were published.
    regrets : array of shape (n_entries, n_sets)
        Loss beyond the best of the recording, in units of its (median - best).
    baseline : array of shape (n_sets,)
        The same of the library's default, trial 0.
    recordings : tuple of Recording
        The sets.
    """

    space: str
    provenances: tuple[str, ...]
    regrets: np.ndarray
    baseline: np.ndarray
    recordings: tuple[Recording, ...]


def entries(recordings: Sequence[Recording], space: str) -> Entries:
    """Collect the entries of a space from the recordings of its family."""
    mine = tuple(recording for recording in recordings if recording.about["family"] == space.partition("/")[0])
    chosen = [positions_of(recording, space) for recording in mine]
    columns, baseline = [], []
    for recording, positions in zip(mine, chosen, strict=True):
        losses, lowest, unit = np.array(scores(recording)), min(scores(recording)), spread(recording)
        meant = [_is_meant(recording.configs[position], str(recording.about["task"])) for position in positions]
        columns.append(np.where(meant, (losses[positions] - lowest) / unit, NEVER))
        baseline.append((baseline_loss(recording) - lowest) / unit)
    provenances = tuple(str(mine[0].configs[position]["provenance"]) for position in chosen[0])
    return Entries(space, provenances, np.array(columns).T, np.array(baseline), mine)


def positions_of(recording: Recording, space: str) -> list[int]:
    """Return where a recording has the entries of a space, in the order in which they were published."""
    return [index for index, config in enumerate(recording.configs) if config.get("space") == space]


def baseline_loss(recording: Recording) -> float:
    """Return the loss of the library's default parameters at their default number of rounds."""
    family = ReplayFamily(recording)
    result = family.objective().evaluator.evaluate(
        family.default_params, seed=0, rounds=Rounds.exactly(family.default_rounds)
    )
    assert result.score is not None
    return result.score


def by_mean(regrets: np.ndarray) -> list[int]:
    """Return the entries that win somewhere, in the order of their mean regret on the sets that they are meant for.

    An entry wins on a set if it is among the `WINNERS` best there.

    Parameters
    ----------
    regrets : array of shape (n_entries, n_sets)
        Smaller is better; `NEVER` where an entry is not meant for a set's task.

    Examples
    --------
    >>> import numpy as np
    >>> regrets = np.array([[0.3, 0.3], [0.1, 0.4], [0.9, 0.2], [0.4, 0.5], [0.2, NEVER]])
    >>> by_mean(regrets)
    [4, 1, 0, 2]
    """
    meant = np.where(regrets < NEVER, regrets, np.nan)
    places = regrets.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    wins = (places < WINNERS) & ~np.isnan(meant)
    means = [np.nanmean(row) if won.any() else np.inf for row, won in zip(meant, wins, strict=True)]
    return [int(entry) for entry in np.argsort(means, kind="stable") if np.isfinite(means[entry])]


def greedy(regrets: np.ndarray, start: np.ndarray) -> list[int]:
    """Return the entries in the order in which each adds most to those before it; the rest add nothing.

    Compared with `by_mean`, and not used: on as few sets as these it follows them too closely.

    Parameters
    ----------
    regrets : array of shape (n_entries, n_sets)
        As in `by_mean`.
    start : array of shape (n_sets,)
        Of what is evaluated anyway: the baseline.

    Examples
    --------
    >>> import numpy as np
    >>> greedy(np.array([[0.3, 0.3], [0.0, 0.9], [0.9, 0.2], [0.4, 0.4]]), start=np.array([1.0, 1.0]))
    [0, 1, 2]
    """
    order: list[int] = []
    best = start.astype(float)
    while True:
        after = np.minimum(regrets, best).mean(axis=1)
        following = int(after.argmin())
        if after[following] >= best.mean():
            return order
        order.append(following)
        best = np.minimum(best, regrets[following])


def left_out(found: Entries, *, greedily: bool = False) -> list[list[int]]:
    """Return, for each set, the order that all other sets ask for."""
    orders = []
    for held_out in range(len(found.recordings)):
        others = np.arange(len(found.recordings)) != held_out
        regrets = found.regrets[:, others]
        orders.append(greedy(regrets, found.baseline[others]) if greedily else by_mean(regrets))
    return orders


def after(found: Entries, orders: Sequence[Sequence[int]], count: int) -> float:
    """Return the mean regret over sets after the baseline and the first `count` entries meant for the set's task."""
    best = []
    for column, order in enumerate(orders):
        values = [value for value in found.regrets[list(order), column] if value < NEVER]
        best.append(min([found.baseline[column], *values[:count]]))
    return float(np.mean(best))


def points(found: Entries, column: int, order: Sequence[int]) -> list[Point]:
    """Return what a study of one set enqueues: the entries meant for its task, in order."""
    recording = found.recordings[column]
    positions, family = positions_of(recording, found.space), ReplayFamily(recording)
    return [
        family.space.project(recording.configs[positions[entry]]["entry"])
        for entry in order
        if found.regrets[entry, column] < NEVER
    ]


def gains(found: Entries, seeds: int, budgets: Sequence[int] = BUDGETS) -> dict[str, np.ndarray]:
    """Return mean regrets of TPE alone and after the portfolio, shape (n_sets, n_budgets); trial 0 is the baseline."""
    as_published = [list(range(len(found.provenances)))] * len(found.recordings)
    plans: dict[str, list[list[int]]] = {
        "tpe alone": [[]] * len(found.recordings),
        "published order, then tpe": as_published,
        "re-ranked without this set, then tpe": left_out(found),
    }
    return {
        plan: np.array([_regrets(found, column, order, seeds, budgets) for column, order in enumerate(orders)])
        for plan, orders in plans.items()
    }


def _regrets(found: Entries, column: int, order: Sequence[int], seeds: int, budgets: Sequence[int]) -> np.ndarray:
    recording = found.recordings[column]
    family, first = ReplayFamily(recording), points(found, column, order)
    unit, lowest = spread(recording), min(scores(recording))
    rows = []
    for seed in range(seeds):
        sampler = resolve_sampler("tpe", family.space, study_seed=seed).sampler
        losses = search(family, sampler, max(budgets), points=first, baseline=baseline_loss(recording))
        best = np.minimum.accumulate(losses)
        rows.append([(best[budget - 1] - lowest) / unit for budget in budgets])
    return np.mean(rows, axis=0)


def as_tuned(recording: Recording, make: Make, kind: str, seeds: int, budgets: Sequence[int]) -> np.ndarray:
    """Return a sampler's mean regret at each budget, after the baseline and the shipped portfolio as in `tune`."""
    family, task = ReplayFamily(recording), str(recording.about["task"])
    first = [
        family.space.project(each.params) for each in family.space.portfolio if not each.tasks or task in each.tasks
    ]
    baseline, surface = baseline_loss(recording), SURFACES[kind](family)
    rows = []
    for seed in range(seeds):
        sampler = make(family, seed).sampler
        losses = search(family, sampler, max(budgets), surface=surface, points=first, baseline=baseline)
        rows.append(regrets(recording, losses, budgets))
    return np.mean(rows, axis=0)


def _is_meant(config: Any, task: str) -> bool:
    return not config["tasks"] or task in config["tasks"]
