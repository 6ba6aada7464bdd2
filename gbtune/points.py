"""The points that a study evaluates before its sampler is asked: baseline, warm start, portfolio, a grid's cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from gbtune.metrics import Metric
from gbtune.records import TrialRecord
from gbtune.slots import Slots, is_cut
from gbtune.spaces import SearchSpace
from gbtune.study import PORTFOLIO, Point

ENOUGH = 2
"""So many trials with one value must be ahead of at least so many with another."""


class PrescribedPoints:
    """The points that are left to evaluate, in the order in which they come.

    Parameters
    ----------
    points : iterable of Point
        In the order in which they were prescribed.
    space : SearchSpace
        That they lie in.
    metric : Metric
        Of the trials.
    adaptive : bool, default False
        The entries of a portfolio come in an order that depends on how the first ones did: `promising_first`.
    """

    def __init__(self, points: Iterable[Point], space: SearchSpace, metric: Metric, *, adaptive: bool = False) -> None:
        self.by_key = {point.key: point for point in points}  # JSON: not to be made for each trial again
        self._left = list(self.by_key)[::-1]  # the next one last
        self._space, self._metric, self._adaptive = space, metric, adaptive
        self._tried: list[tuple[Mapping[str, Any], float]] = []

    def note(self, record: TrialRecord) -> None:
        """Take note of a finished trial."""
        if self._adaptive and record.kind == PORTFOLIO and not is_cut(record):
            loss = math.inf if record.score is None else self._metric.loss_of(record.score)
            self._tried.append((record.params, loss))

    def next(self, slots: Slots, space: SearchSpace) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return parameters and user attributes of the next point that no trial evaluates; None if there is none.

        Parameters
        ----------
        slots : Slots
            That know what is evaluated.
        space : SearchSpace
            As it is now: the floor on the learning rate may have been raised since the points were made.
        """
        while self._left and slots.has_evaluated(self._left[-1]):
            self._left.pop()
        for key in self._in_order():
            if not slots.is_taken(key):
                point = self.by_key[key]
                return dict(point.params) if space is self._space else space.project(point.params), point.user_attrs
        return None

    def _in_order(self) -> Iterable[str]:
        if len(self._tried) < 2 * ENOUGH:
            return reversed(self._left)
        entries = [(key, self.by_key[key].params) for key in reversed(self._left) if self._is_entry(key)]
        others = [key for key in reversed(self._left) if not self._is_entry(key)]
        return others + promising_first(entries, self._tried)

    def _is_entry(self, key: str) -> bool:
        return self.by_key[key].kind == PORTFOLIO


def promising_first(
    entries: Iterable[tuple[str, Mapping[str, Any]]], tried: Iterable[tuple[Mapping[str, Any], float]]
) -> list[str]:
    """Return entries in their order, but last those with a value that has lost so far.

    The value of a categorical parameter has lost if at least two trials had it, and two others with another value are
    ahead of all of them. A short study then spends its few trials on the kind of trees that suits
    the data; the others come later.

    Parameters
    ----------
    entries : iterable of (str, mapping)
        Names and parameters of what was not tried yet.
    tried : iterable of (mapping, float)
        Parameters and loss (smaller is better) of what was; infinity for what was pruned.

    Examples
    --------
    >>> from gbtune.points import promising_first
    >>> entries = [("a", {"extra": True}), ("b", {"extra": False}), ("c", {"extra": True})]
    >>> tried = [({"extra": False}, 0.2), ({"extra": True}, 0.4), ({"extra": False}, 0.3), ({"extra": True}, 0.5)]
    >>> promising_first(entries, tried)
    ['b', 'a', 'c']
    """
    losses: dict[str, dict[Any, list[float]]] = {}
    for params, loss in tried:
        for name, value in params.items():
            if isinstance(value, bool | str):
                losses.setdefault(name, {}).setdefault(value, []).append(loss)
    lost = {
        (name, value)
        for name, by_value in losses.items()
        for value, mine in by_value.items()
        for other in by_value.values()
        if min(len(mine), len(other)) >= ENOUGH and min(mine) > sorted(other)[ENOUGH - 1]
    }
    ordered = sorted(entries, key=lambda entry: any(entry[1].get(name) == value for name, value in lost))
    return [key for key, _ in ordered]
