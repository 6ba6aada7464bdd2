"""The held-out predictions of a study's best evaluation, kept when it is evaluated: later its boosters are gone."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """The out-of-fold predictions of one complete evaluation.

    Parameters
    ----------
    params : mapping
        Of the configuration, without the number of rounds.
    rounds : int
        The common round.
    loss : float
        The score, the smaller the better.
    predictions : tuple of numpy.ndarray, each of shape (n_valid,) or (n_valid, n_classes)
        Of each fold's validation rows, on the response scale, in the family's own precision.
    """

    params: Mapping[str, Any]
    rounds: int
    loss: float
    predictions: tuple[NDArray[np.floating[Any]], ...]


class BestHeldOut:
    """Keeps the predictions of the best evaluation it is told of. Thread-safe.

    One array per fold is held at a time, and predictions are made only for an evaluation that beats all before.

    Parameters
    ----------
    bar : float, default infinity
        An evaluation counts only with a smaller loss than this.

    Examples
    --------
    >>> import numpy as np
    >>> from gbtune.held_out import BestHeldOut
    >>> best = BestHeldOut()
    >>> best.offer({"max_depth": 3}, 120, 0.4, lambda: [np.array([0.2, 0.9])])
    >>> best.offer({"max_depth": 9}, 80, 0.5, lambda: [np.array([0.1, 0.1])])
    >>> best.of({"max_depth": 3}, 120).predictions
    (array([0.2, 0.9]),)
    >>> best.of({"max_depth": 9}, 80) is None
    True
    """

    def __init__(self, bar: float = math.inf) -> None:
        self.bar = bar
        self.found: HeldOut | None = None
        self._lock = threading.Lock()

    def offer(
        self, params: Mapping[str, Any], rounds: int, loss: float, predict: Callable[[], Sequence[NDArray[Any]]]
    ) -> None:
        """Take note of a complete evaluation; `predict` is called, in this thread, if it is the best so far.

        Where it fails nothing is kept: the score stands without predictions.
        """
        if loss < self.bar:
            with contextlib.suppress(Exception):
                predictions = tuple(np.asarray(prediction) for prediction in predict())
                self.take(HeldOut(dict(params), rounds, loss, predictions))

    def take(self, held_out: HeldOut) -> None:
        """Keep what was predicted elsewhere, if it is still the best."""
        with self._lock:  # another thread may have found a better one in the meantime
            if held_out.loss < self.bar:
                self.bar, self.found = held_out.loss, held_out

    def of(self, params: Mapping[str, Any], rounds: int) -> HeldOut | None:
        """Return the predictions of a configuration, if they are those that are kept."""
        kept = self.found
        return kept if kept is not None and (kept.params, kept.rounds) == (dict(params), rounds) else None
