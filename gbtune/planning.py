"""The budget plan: what fits into the time, decided by a short probe before the first trial."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from gbtune.evaluation import Evaluator, Rounds
from gbtune.families.base import FoldFit

PROBE_ROUNDS = 8
PROBE_SHARE = 0.03
"""The probe grows for at most this share of the time (after its first two rounds)."""
TYPICAL_ROUNDS = 300
"""15 / learning_rate is the median best round of tuned models: 300 rounds at a rate of .05."""
TYPICAL_COST = 1.5
"""A searched configuration's round costs so many times a default one's: deeper trees, slower rates."""
SEARCH_SHARE = 0.7
"""Of the time; the rest is for the refit, for trials that are cut, and for writing."""
WANTED_TRIALS = {5: 12, 3: 8, 1: 8}
"""Folds to full trials that must fit. Racing makes about twice as many of them."""
FEWEST_TRIALS, ENOUGH_ROUNDS = 3, 100
"""Trials are given up, down to three, before the cap on rounds falls below a hundred."""
LEAST_ROUNDS = 10
ROUNDS_TIMES_RATE = 10.0
"""Below 10 / cap a learning rate cannot come near its best within the cap."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a study does within its time.

    Parameters
    ----------
    n_folds : int
        The first so many folds are used.
    rounds : Rounds
        The cap on boosting rounds.
    lowest_learning_rate : float or None
        Slower ones cannot come near their best within the cap; None: no floor.
    seconds_per_round : float or None
        Of a default booster on one fold with one thread; None when nothing was probed.
    reason : str
        For the printed line; empty when nothing was given up.
    """

    n_folds: int
    rounds: Rounds
    lowest_learning_rate: float | None = None
    seconds_per_round: float | None = None
    reason: str = ""


def make_plan(
    evaluator: Evaluator,
    *,
    timeout: float | None,
    n_jobs: int,
    may_drop_folds: bool,
    seed: int,
    interrupted: Callable[[], str | None] = lambda: None,
) -> Plan:
    """Decide on folds, round cap and slowest learning rate.

    The plan depends on the speed of the machine and on `n_jobs`. To be independent of both, choose `cv` and leave out
    the timeout.

    Parameters
    ----------
    evaluator : Evaluator
        With all its folds; its matrix is binned by the probe, and stays binned.
    timeout : float or None
        Seconds left; None: no plan is needed.
    n_jobs : int
        Trials side by side.
    may_drop_folds : bool
        False when the user chose the folds.
    seed : int
        The study's seed.
    interrupted : callable, optional
        Ends the probe early.

    Returns
    -------
    Plan
        All folds and the space's own cap whenever they fit comfortably.
    """
    n_folds, rounds = len(evaluator.folds), evaluator.rounds
    if timeout is None:
        return Plan(n_folds, rounds)
    per_round = probe(evaluator, PROBE_SHARE * timeout, seed, interrupted)
    core_seconds = SEARCH_SHARE * timeout * n_jobs
    round_budget = core_seconds / (per_round * TYPICAL_COST)
    typical = min(TYPICAL_ROUNDS, rounds.cap)
    options = [n_folds, *(k for k in (3, 1) if k < n_folds)] if may_drop_folds else [n_folds]
    for folds in options:
        if round_budget >= _wanted(folds) * folds * typical:
            return Plan(folds, rounds, None, per_round, _reason(per_round, timeout, n_folds, folds, None, None))
    folds = options[-1]
    affordable = round_budget / folds
    cap = max(affordable / _wanted(folds), min(ENOUGH_ROUNDS, affordable / FEWEST_TRIALS))
    cap = min(rounds.cap, max(LEAST_ROUNDS, int(cap)))
    if rounds.choices or cap >= typical:
        return Plan(folds, rounds, None, per_round, _reason(per_round, timeout, n_folds, folds, None, None))
    floor = ROUNDS_TIMES_RATE / cap
    return Plan(folds, Rounds(cap), floor, per_round, _reason(per_round, timeout, n_folds, folds, cap, floor))


def probe(evaluator: Evaluator, limit: float, seed: int, interrupted: Callable[[], str | None] = lambda: None) -> float:
    """Return the seconds of one round on the first fold, with the library's default parameters.

    Binning happens here, if it has not yet, and is not counted. At least two rounds are grown: the first one also
    sets the booster up.
    """
    times = [time.perf_counter()]

    def on_round(_: FoldFit) -> bool:
        times.append(time.perf_counter())
        spent = times[-1] - times[0]
        return interrupted() is not None or (len(times) > 2 and spent > limit)

    fit = evaluator.prepared.train_fold(evaluator.family.default_params, 0, 0, seed)
    times[0] = time.perf_counter()
    fit.grow(PROBE_ROUNDS, on_round)
    grown = len(times) - 1
    return (times[-1] - times[1]) / (grown - 1) if grown > 1 else times[-1] - times[0]


def _wanted(folds: int) -> int:
    return WANTED_TRIALS[max(known for known in WANTED_TRIALS if known <= folds)]


def _reason(per_round: float, timeout: float, all_folds: int, folds: int, cap: int | None, floor: float | None) -> str:
    given_up = []
    if folds < all_folds:
        given_up.append("a hold-out" if folds == 1 else f"{folds} of {all_folds} folds")
    if cap is not None and floor is not None:
        given_up.append(f"at most {cap} rounds, learning rate at least {floor:.2g}")
    if not given_up:
        return ""
    return f"{', '.join(given_up)}: {per_round * 1000:.0f} ms a round on one fold, {timeout:.0f} s"
