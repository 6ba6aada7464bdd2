"""How a study's space narrows: floors on the learning rate and on the L2 penalty, from the plan and from trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from optuna.distributions import FloatDistribution

from gbtune.families import ModelFamily
from gbtune.metrics import Metric
from gbtune.objective import BASELINE, Objective
from gbtune.planning import LEAST_RANGE, Plan, learning_rates
from gbtune.records import TrialRecord
from gbtune.soundness import has_come_apart
from gbtune.spaces import SearchSpace

AT_CAP = 0.95
"""A trial whose best round is beyond this share of the cap was still improving."""

MANY_CLASSES = 20
"""With more of them, most have next to no rows in most leaves, where nothing but a penalty bounds the values. (With ten
classes no model has come apart, and a high penalty takes four times the rounds: docs/performance.md.)"""


class Narrowing:
    """The floors of a study's coming trials.

    Only where time alone ends the study do trials raise them: others are the same every time.

    Parameters
    ----------
    objective : Objective
        Whose space narrows.
    plan : Plan
        Of the study.
    say : callable
        Told, in a line, what a trial changed.
    by_trials : bool
        Whether trials raise floors.
    """

    def __init__(self, objective: Objective, plan: Plan, say: Callable[[str], Any], *, by_trials: bool) -> None:
        self.objective, self.plan, self.say, self.by_trials = objective, plan, say, by_trials

    def note(self, trial: TrialRecord, baseline: TrialRecord | None) -> None:
        """Take note of a finished trial.

        Parameters
        ----------
        trial : TrialRecord
            The default's, too.
        baseline : TrialRecord or None
            The library's default, once it is complete.
        """
        if not self.by_trials or trial.state != "complete":
            return
        if trial.kind == BASELINE:
            self._penalize(trial)
        if baseline is not None and self.plan.lowest_learning_rate is not None:
            self._learn_faster(trial, baseline)

    def _learn_faster(self, trial: TrialRecord, baseline: TrialRecord) -> None:
        objective = self.objective
        rate = raised_rate(trial, baseline, self.plan.rounds.cap, objective.metric)
        faster = None if rate is None else with_lowest_rate(objective.space, rate)
        if faster is None:
            return
        objective.space = faster
        self.say(
            f"gbtune: learning rate at least {_low(faster, 'learning_rate'):.3g} from here: trial {trial.number}, with "
            f"{trial.params['learning_rate']:.3g}, was still improving at its last round, and is behind the default"
        )

    def _penalize(self, baseline: TrialRecord) -> None:
        objective = self.objective
        if not has_come_apart(baseline, objective.metric, objective.data):
            return
        penalized = with_penalty(objective.space, objective.family)
        if penalized is None:
            return
        objective.space = penalized
        self.say(
            f"gbtune: reg_lambda at least {_low(penalized, 'reg_lambda'):g} from here: with the library's default the "
            f"{objective.metric.name} of {baseline.score:.3g} is far worse than that of the classes' frequencies"
        )


def narrowed(objective: Objective, plan: Plan) -> tuple[SearchSpace, tuple[str, ...]]:
    """Return an objective's space for a study that begins, or goes on, and what the data are the reason for, in words.

    The plan's own reason is with the plan.
    """
    space, words = objective.space, list[str]()
    if plan.lowest_learning_rate is not None:
        space = with_lowest_rate(space, plan.lowest_learning_rate) or space
    if objective.data.n_classes > MANY_CLASSES and (penalized := with_penalty(space, objective.family)):
        space = penalized
        words.append(
            f"reg_lambda at least {_low(space, 'reg_lambda'):g}: with {objective.data.n_classes} classes leaf values "
            "have no other bound"
        )
    return space, tuple(words)


def raised_rate(trial: TrialRecord, baseline: TrialRecord, cap: int, metric: Metric) -> float | None:
    """Return the slowest rate worth trying after a trial that grew to the cap and lost to the default, or None.

    Such a trial was not finished: it takes twice the rate, and at least as much as brings it, within the cap, as far as
    the default came (rounds times rate). On a million rows XGBoost's default, with its rate of .3, is ahead of
    anything at .04 that has a minute.

    Parameters
    ----------
    trial, baseline : TrialRecord
        Both complete.
    cap : int
        The plan's, on rounds.
    metric : Metric
        Of the scores.

    Examples
    --------
    >>> from gbtune.metrics import metric_named
    >>> from gbtune.narrowing import raised_rate
    >>> from gbtune.records import TrialRecord
    >>> loss = metric_named("log_loss")
    >>> default = TrialRecord(0, "complete", {"learning_rate": 0.3}, kind="baseline", score=0.34, rounds=100)
    >>> raised_rate(TrialRecord(1, "complete", {"learning_rate": 0.04}, score=0.39, rounds=499), default, 500, loss)
    0.08
    >>> raised_rate(TrialRecord(1, "complete", {"learning_rate": 0.04}, score=0.39, rounds=150), default, 150, loss)
    0.2
    >>> raised_rate(TrialRecord(2, "complete", {"learning_rate": 0.04}, score=0.39, rounds=123), default, 500, loss)
    """
    rate = trial.params.get("learning_rate")
    if rate is None or trial.score is None or baseline.score is None or trial.rounds < AT_CAP * cap:
        return None
    if metric.loss_of(trial.score) <= metric.loss_of(baseline.score):
        return None
    return max(2 * float(rate), float(baseline.params.get("learning_rate", 0.0)) * baseline.rounds / cap)


def with_lowest_rate(space: SearchSpace, rate: float) -> SearchSpace | None:
    """Return a space with a floor on its learning rate; None where it is above that already, or has no range.

    A part of the range is left: the floor is at most its highest rate by `gbtune.planning.LEAST_RANGE`.
    """
    range_ = learning_rates(space)
    if range_ is None:
        return None
    low = _on_a_step(range_, min(rate, range_.high / LEAST_RANGE))
    return space.override(learning_rate=(low, range_.high)) if low > range_.low else None


def with_penalty(space: SearchSpace, family: ModelFamily) -> SearchSpace | None:
    """Return a space with a floor on its L2 penalty, its own default; None where it is as high, or has no range.

    None, too, where the library's own default, which gave reason to, is as high.
    """
    penalty, default = space.distributions(rounds=False).get("reg_lambda"), space.defaults().get("reg_lambda")
    if default is None or not isinstance(penalty, FloatDistribution):
        return None
    low = _on_a_step(penalty, float(default))
    if not max(penalty.low, family.default_params.get("reg_lambda", 0.0)) < low < penalty.high:
        return None
    return space.override(reg_lambda=(low, penalty.high))


def _on_a_step(range_: FloatDistribution, low: float) -> float:
    """Return the lowest value of a range that is not below `low`."""
    if range_.step is None:
        return low
    return float(range_.low + math.ceil((low - range_.low) / range_.step) * range_.step)


def _low(space: SearchSpace, name: str) -> float:
    range_ = space.distributions(rounds=False)[name]
    assert isinstance(range_, FloatDistribution)
    return range_.low
