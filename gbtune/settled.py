"""What the finished trials of a study add up to, read once: pruners and samplers look at all of them at every step."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class _Read(Generic[T]):
    trials: list[FrozenTrial]
    """The first trials, all finished. Storages keep these objects, so that comparing them is comparing addresses."""
    sum: T


class Settled(Generic[T]):
    """What the first, finished trials of each study add up to. Thread-safe: whoever is late reads once more.

    Parameters
    ----------
    nothing : T
        Of no trial.
    followed_by : callable
        ``followed_by(sum, trials)`` returns what these trials make of a sum, which it does not change.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.settled import Settled
    >>> count = Settled(0, lambda sum, trials: sum + len(trials))
    >>> study = optuna.create_study()
    >>> study.optimize(lambda trial: 0.0, n_trials=3)
    >>> running = study.ask()
    >>> sum, later = count.of(study)
    >>> sum, [trial.state.name for trial in later]
    (3, ['RUNNING'])
    """

    def __init__(self, nothing: T, followed_by: Callable[[T, list[FrozenTrial]], T]) -> None:
        self._nothing, self._followed_by = _Read([], nothing), followed_by
        # By study; None: whatever was shown of any, last.
        self._reads: weakref.WeakKeyDictionary[BaseStorage, dict[int | None, _Read[T]]] = weakref.WeakKeyDictionary()

    def of(self, study: optuna.Study) -> tuple[T, list[FrozenTrial]]:
        """Return the sum of the trials before the first one that is not finished, and the trials from there on."""
        reads, trials = self._reads.setdefault(study._storage, {}), study.get_trials(deepcopy=False)
        whole = type(study) is optuna.Study  # its trials only follow each other; a view shows whichever it likes
        key = study._study_id if whole else None
        read = reads.get(key, self._nothing)
        known = len(read.trials)
        first = max(0, known - 1) if whole else 0  # the last one tells a study from one that had its id before
        if trials[first:known] != read.trials[first:]:
            read, known = self._nothing, 0
        end = next((place for place in range(known, len(trials)) if not trials[place].state.is_finished()), len(trials))
        if end > known:
            more = trials[known:end]
            read = reads[key] = _Read(read.trials + more, self._followed_by(read.sum, more))
        return read.sum, trials[end:]
