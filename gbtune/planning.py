"""The budget plan: what fits into the time, decided by a short probe before the first trial."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
from optuna.distributions import FloatDistribution

from gbtune.evaluation import Evaluator
from gbtune.families.base import FoldFit
from gbtune.rounds import Rounds
from gbtune.row_sample import on_sample
from gbtune.spaces import SearchSpace

PROBE_ROUNDS = 8
PROBE_SHARE = 0.03
"""The probe grows for at most this share of the time (after its first two rounds)."""
SEARCH_SHARE = 0.7
"""Of the time; the rest is for the refit, for trials that are cut, and for writing."""
TYPICAL_COST = 1.2
"""A searched configuration's round costs so many times a default one's."""
ROUNDS_TIMES_RATE = 8.0
"""A trial grows about 8 / learning_rate rounds, those past its best included. Tuned models have 15 / learning_rate (the
median of Gorishniy et al. 2023, TabR), configurations that lose have fewer."""
RACED_FOLDS, RACE_COST = 3, 0.6
"""With so many folds there is a race, and an average trial of it grows so large a part of them."""
USUAL_RATE, USUAL_TRIALS = 0.05, 5
"""So many trials are wanted where the slowest learning rate is .05; at half that rate, twice as many: more time goes
into trials and into rounds alike."""
FASTEST = 0.04
"""Folds are given up before the slowest learning rate becomes faster than this."""
CAP_TIMES_RATE = 20.0
FEWEST_TRIALS, LEAST_ROUNDS = 3, 10
"""A trial grows at most a fourth of the rounds that there are; a third of them where that is within 20 / rate. At least
ten, if a trial and the final model have the time for them: a model of a few rounds is better than none."""
SAMPLE_SHARE, SAMPLE_ROWS, LEAST_SAVING = 8, 100_000, 4
"""Where even a hold-out is too slow, trials learn from an eighth of its rows, at least 100,000; where that is more than
a fourth, from all."""
SAMPLE_SEARCH_SHARE = 0.45
"""Of the time, for the search on a sample; as much is for the final model on all rows."""
PARALLEL = 0.75
"""So much of a round is shared among threads: a booster of many cells is 1.6 times as fast with two."""
LEAST_RANGE = 1.5
"""A floor leaves a range of learning rates: the highest is so many times the lowest."""
RATES = (0.005, 0.006, 0.008, 0.01, 0.0125, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.16)
"""Floors are chosen among these: plans of equal studies are mostly equal, though no two probes are."""


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
        Slower ones take too long; None: no floor.
    seconds_per_round : float or None
        Of a default booster on a fold of average size with one thread; None when nothing was probed.
    reason : str
        For the printed line; empty when nothing was given up.
    train_rows : int, default 0
        Trials learn from a sample of so many rows of their training part; 0: from all.
    times_a_trials_round : float, optional
        How long a round takes on all rows, in those of a trial. None: in proportion to the rows.
    """

    n_folds: int
    rounds: Rounds
    lowest_learning_rate: float | None = None
    seconds_per_round: float | None = None
    reason: str = ""
    train_rows: int = 0
    times_a_trials_round: float | None = None


def make_plan(
    evaluator: Evaluator,
    space: SearchSpace,
    *,
    timeout: float | None,
    n_jobs: int,
    may_drop_folds: bool,
    seed: int,
    n_trials: int | None = None,
    interrupted: Callable[[], str | None] = lambda: None,
) -> Plan:
    """Decide on folds, slowest learning rate and round cap.

    A trial at learning rate r grows about ``8 / r`` rounds on each fold. Slow rates and folds are kept as far as
    enough such trials fit into the time. Where even a hold-out of many rows is too slow, trials learn from a sample of
    its rows, and more time is kept for the final model on all: docs/performance.md has the measurements.

    The plan depends on the speed of the machine and on `n_jobs`. To be independent of both, choose `cv` and leave out
    the timeout.

    Parameters
    ----------
    evaluator : Evaluator
        With all its folds; its matrix is binned by the probe, and stays binned.
    space : SearchSpace
        Whose learning rates are tried.
    timeout : float or None
        Seconds left; None: no plan is needed.
    n_jobs : int
        Trials side by side.
    may_drop_folds : bool
        False when the user chose the folds.
    seed : int
        The study's seed.
    n_trials : int, optional
        No more than so many are wanted.
    interrupted : callable, optional
        Ends the probe early.

    Returns
    -------
    Plan
        All folds, all rates and the space's own cap whenever they fit comfortably.
    """
    rounds = evaluator.rounds
    if timeout is None:
        return Plan(len(evaluator.folds), rounds)
    range_ = learning_rates(space)
    lowest, highest = (USUAL_RATE, RATES[-1]) if range_ is None else (range_.low, range_.high / LEAST_RANGE)
    budget = _Budget(timeout, n_jobs, lowest, math.inf if n_trials is None else n_trials)
    probed = probe(evaluator, PROBE_SHARE * timeout, seed, interrupted)
    means = _with_enough_folds(evaluator, probed, budget, may_drop_folds)
    if means.n_folds == 1 < len(evaluator.folds) and means.rate > max(FASTEST, lowest) and not rounds.choices:
        rows = sample_rows(len(evaluator.folds.splits[0][0]))
        if rows:
            sample = on_sample(evaluator.folds.first(1), evaluator.data, rows, seed=seed)
            in_trial = probe(evaluator.with_folds(sample), PROBE_SHARE * timeout, seed, interrupted)
            means = _with_sample(evaluator, probed, in_trial, rows, budget)
    given_up = [_folds(means, len(evaluator.folds))]
    floor = None
    if not rounds.choices:
        rate = max(lowest, min(means.rate, highest))
        rounds = _capped(rounds, means, rate, budget)
        if rate > lowest or rounds.cap < evaluator.rounds.cap:  # a cap goes with a floor: whoever reads one has both
            floor = rate
        given_up += [
            f"learning rate at least {rate:.3g}" if rate > lowest and range_ is not None else "",
            f"at most {rounds.cap} rounds" if rounds.cap < evaluator.rounds.cap else "",
        ]
    return Plan(
        means.n_folds,
        rounds,
        floor,
        means.seconds_per_round,
        _reason(means.seconds_per_round, timeout, given_up),
        means.train_rows,
        means.times_a_trials_round,
    )


@dataclasses.dataclass(frozen=True)
class _Budget:
    """Time, cores, and what is wanted of them."""

    timeout: float
    n_jobs: int
    lowest_rate: float
    n_trials: float

    def rounds(self, share: float, seconds: float, cores: float) -> float:
        """Return how many rounds of so many seconds, of a default booster, fit into a share of the time."""
        return share * self.timeout * cores / (seconds * TYPICAL_COST)


@dataclasses.dataclass(frozen=True)
class _Means:
    """What there is time for."""

    n_folds: int
    seconds_per_round: float
    """On one of the folds."""
    rounds: float
    """On all folds of all trials."""
    rounds_on_each: float
    """On each fold, of trials that a race may end early."""
    rate: float
    """The slowest learning rate that they allow for; infinity: none does."""
    final_rounds: float = math.inf
    """Of the final model."""
    train_rows: int = 0
    times_a_trials_round: float | None = None


def _with_enough_folds(evaluator: Evaluator, per_round: float, budget: _Budget, may_drop_folds: bool) -> _Means:
    """Return what there is time for on as many folds as leave a slow enough learning rate, else on the fewest."""
    n_folds = len(evaluator.folds)
    rounds = budget.rounds(SEARCH_SHARE, per_round, budget.n_jobs)
    for folds in [n_folds, *(k for k in (3, 1) if k < n_folds and may_drop_folds)]:
        races = folds >= RACED_FOLDS and evaluator.folds.exchangeable
        on_each = rounds / (folds * RACE_COST if races else folds)
        rate = slowest_rate(on_each, budget.lowest_rate, budget.n_trials)
        if rate <= max(FASTEST, budget.lowest_rate):
            break
    return _Means(folds, per_round, rounds, on_each, rate)


def _with_sample(
    evaluator: Evaluator,
    on_training_rows: float,
    in_trial: float,
    train_rows: int,
    budget: _Budget,
) -> _Means:
    """Return what there is time for where trials learn from a sample of a hold-out, and the final model from all."""
    on_all = on_training_rows * evaluator.data.n_rows / len(evaluator.folds.splits[0][0])
    rounds = budget.rounds(SAMPLE_SEARCH_SHARE, in_trial, budget.n_jobs)
    # The final model, with all cores, has no more time than the search had.
    final = budget.rounds(SAMPLE_SEARCH_SHARE, on_all, speed_up(budget.n_jobs))
    rate = slowest_rate(min(rounds, final * USUAL_TRIALS), budget.lowest_rate, budget.n_trials)
    return _Means(1, in_trial, rounds, rounds, rate, final, train_rows, on_all / in_trial)


def _capped(rounds: Rounds, means: _Means, rate: float, budget: _Budget) -> Rounds:
    """Return how many rounds a trial may grow at this learning rate."""
    alone = means.rounds / (2 * budget.n_jobs * means.n_folds)  # in one trial and, as many again, in the final model
    least = min(LEAST_ROUNDS, max(1, int(alone)))
    enough = min(CAP_TIMES_RATE / rate, means.rounds_on_each / min(FEWEST_TRIALS, budget.n_trials))
    cap = max(least, int(max(enough, means.rounds_on_each / min(FEWEST_TRIALS + 1, budget.n_trials))))
    return Rounds(min(cap, rounds.cap, max(least, int(min(means.final_rounds, rounds.cap)))))


def sample_rows(training_rows: int) -> int:
    """Return from how many of a hold-out's training rows trials learn where all are too many; 0: from all the same.

    A tenth of the rows is nearly a tenth of the time only where they are many: docs/performance.md, "Large data".

    Examples
    --------
    >>> from gbtune.planning import sample_rows
    >>> [sample_rows(rows) for rows in (300_000, 400_000, 800_000, 8_000_000)]
    [0, 100000, 100000, 1000000]
    """
    rows = max(SAMPLE_ROWS, training_rows // SAMPLE_SHARE)
    return rows if LEAST_SAVING * rows <= training_rows else 0


def speed_up(threads: int) -> float:
    """Return how many times as fast a booster of many cells is with so many threads.

    What two threads gain was measured (docs/performance.md, "Threads"); more are supposed to gain by Amdahl's law.

    Examples
    --------
    >>> from gbtune.planning import speed_up
    >>> [round(speed_up(threads), 2) for threads in (1, 2, 4, 16)]
    [1.0, 1.6, 2.29, 3.37]
    """
    return 1 / (1 - PARALLEL + PARALLEL / threads)


def slowest_rate(affordable: float, lowest: float, n_trials: float = math.inf) -> float:
    """Return the slowest learning rate at which enough trials fit into so many rounds; infinity if none is.

    Parameters
    ----------
    affordable : float
        Rounds that can be grown on each fold.
    lowest : float
        Not slower than this.
    n_trials : float, optional
        No more than so many are wanted.

    Examples
    --------
    >>> from gbtune.planning import slowest_rate
    >>> [slowest_rate(rounds, 0.005) for rounds in (30_000, 4_000, 1_000, 10)]
    [0.01, 0.025, 0.05, inf]
    >>> slowest_rate(4_000, 0.005, n_trials=2)
    0.005
    """
    for rate in [lowest, *(rate for rate in RATES if rate > lowest)]:
        if min(n_trials, USUAL_TRIALS * USUAL_RATE / rate) * ROUNDS_TIMES_RATE / rate <= affordable:
            return rate
    return math.inf


def learning_rates(space: SearchSpace) -> FloatDistribution | None:
    """Return the range of a space's learning rate; None where it is fixed or one of a few values."""
    found = space.distributions(rounds=False).get("learning_rate")
    return found if isinstance(found, FloatDistribution) else None


def probe(evaluator: Evaluator, limit: float, seed: int, interrupted: Callable[[], str | None] = lambda: None) -> float:
    """Return the seconds of one round on a fold of average size, with the library's default parameters.

    Binning happens here, if it has not yet, and is not counted. At least two rounds are grown: the first one also
    sets the booster up.
    """
    times = [time.perf_counter()]

    def on_round(_: FoldFit) -> bool:
        times.append(time.perf_counter())
        spent = times[-1] - times[0]
        return interrupted() is not None or (len(times) > 2 and spent > limit)

    # The first fold is binned in any case, but of folds in time it has the fewest rows.
    rows = np.array([len(train) for train, _ in evaluator.folds.splits])
    typical = 0 if evaluator.folds.exchangeable else int(np.abs(rows - rows.mean()).argmin())
    fit = evaluator.prepared.train_fold(evaluator.family.default_params, typical, 0, seed)
    times[0] = time.perf_counter()
    fit.grow(PROBE_ROUNDS, on_round)
    grown = len(times) - 1
    return (times[-1] - times[1]) / (grown - 1) if grown > 1 else times[-1] - times[0]


def _folds(means: _Means, n_folds: int) -> str:
    if means.n_folds == n_folds:
        return ""
    folds = "a hold-out" if means.n_folds == 1 else f"{means.n_folds} of {n_folds} folds"
    return folds + (f" on a sample of {means.train_rows:,} training rows" if means.train_rows else "")


def _reason(per_round: float, timeout: float, given_up: Sequence[str]) -> str:
    words, milliseconds = ", ".join(word for word in given_up if word), per_round * 1000
    exact = f"{milliseconds:.{0 if milliseconds >= 10 else 1}f}"
    return f"{words}: {exact} ms a round on one fold, {timeout:.0f} s" if words else ""
