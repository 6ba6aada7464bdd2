"""Hyperband whose brackets depend on a trial's place in the study alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from gbtune.errors import InvalidArgument
from gbtune.views import StudyView


class HyperbandPruner(optuna.pruners.BasePruner):
    """Successive halving in brackets that begin later and later, for learning curves.

    Bracket b halves (keeps one in `reduction_factor`) at ``min_resource * reduction_factor ** (b + i)`` steps, for
    i = 0, 1, ..., with Optuna's own asynchronous `SuccessiveHalvingPruner`. Trials take turns among the
    brackets, in the proportions of the paper.

    Differs from `optuna.pruners.HyperbandPruner` in two ways. The bracket follows from the trial's place in the study,
    not from a checksum of the study's name: the same seed gives the same study under any name, and after an
    interruption. And samplers see all trials, not those of one bracket, so that TPE need not begin anew in each.

    Parameters
    ----------
    min_resource : int
        Steps before the first bracket halves.
    max_resource : int
        Steps a trial can have at most.
    reduction_factor : int, default 3
        One trial in so many goes on. The paper recommends 3 or 4.

    Raises
    ------
    InvalidArgument
        Unless ``1 <= min_resource <= max_resource`` and `reduction_factor` is at least 2.

    Notes
    -----
    Li et al., "Hyperband", JMLR 18 (2018); the asynchronous halving is that of Li et al., "A system for massively
    parallel hyperparameter tuning", MLSys 2020.

    Examples
    --------
    >>> from gbtune.pruners import HyperbandPruner
    >>> pruner = HyperbandPruner(min_resource=10, max_resource=270)
    >>> [pruner.bracket_of(number) for number in range(8)]
    [0, 1, 0, 2, 0, 3, 0, 1]
    """

    def __init__(self, min_resource: int, max_resource: int, reduction_factor: int = 3) -> None:
        if not 1 <= min_resource <= max_resource:
            raise InvalidArgument(
                "HyperbandPruner: 1 <= min_resource <= max_resource must hold, "
                f"got min_resource={min_resource!r}, max_resource={max_resource!r}."
            )
        if reduction_factor < 2:
            raise InvalidArgument(f"HyperbandPruner: reduction_factor must be at least 2, got {reduction_factor!r}.")
        self.min_resource, self.max_resource, self.reduction_factor = min_resource, max_resource, reduction_factor
        last = 0
        while min_resource * reduction_factor ** (last + 1) <= max_resource:
            last += 1
        self._brackets = [
            optuna.pruners.SuccessiveHalvingPruner(min_resource, reduction_factor, min_early_stopping_rate=bracket)
            for bracket in range(last + 1)
        ]
        # Of the paper's algorithm 1: with s = last - bracket halvings to come, so many configurations begin.
        self._turns = _turns([math.ceil((last + 1) * reduction_factor**s / (s + 1)) for s in range(last, -1, -1)])

    @property
    def n_brackets(self) -> int:
        """Number of brackets."""
        return len(self._brackets)

    def bracket_of(self, number: int) -> int:
        """Return the bracket of the trial of a number, 0-based; 0 halves the earliest."""
        return self._turns[number % len(self._turns)]

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Say whether the running `trial` is to be stopped."""
        bracket = self.bracket_of(trial.number)
        rivals = [other for other in study.get_trials(deepcopy=False) if self.bracket_of(other.number) == bracket]
        return self._brackets[bracket].prune(StudyView(study, rivals), trial)

    def __repr__(self) -> str:
        return (
            f"HyperbandPruner(min_resource={self.min_resource}, max_resource={self.max_resource}, "
            f"reduction_factor={self.reduction_factor})"
        )


def _turns(shares: Sequence[int]) -> list[int]:
    """Return an order in which each bracket has its share of turns, as evenly spread as can be."""
    credit, order = np.zeros(len(shares), dtype=int), []
    for _ in range(sum(shares)):
        credit += shares
        order.append(int(credit.argmax()))
        credit[order[-1]] -= sum(shares)
    return order
