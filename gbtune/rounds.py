"""How many boosting rounds an evaluation may grow, and which of them may be chosen."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Rounds:
    """How many boosting rounds an evaluation may grow, and which of them may be chosen.

    Parameters
    ----------
    cap : int
        At most so many rounds.
    choices : tuple of int, default ()
        The only rounds that may be chosen, e.g. the grid of ``n_estimators``. All of them are grown to; there is
        no early stopping. Empty: any round up to the early stop.

    Examples
    --------
    >>> from gbtune.rounds import Rounds
    >>> Rounds.exactly(100)
    Rounds(cap=100, choices=(100,))
    """

    cap: int
    choices: tuple[int, ...] = ()

    @classmethod
    def exactly(cls, count: int) -> Rounds:
        """Return the policy that grows and scores exactly `count` rounds."""
        return cls(count, (count,))

    @classmethod
    def among(cls, choices: Sequence[int]) -> Rounds:
        """Return the policy that chooses among `choices`."""
        return cls(max(choices), tuple(sorted(choices)))

    @property
    def checkpoints(self) -> frozenset[int]:
        """Where a metric is read that is not the training loss: at the choices, or 1.15 times apart up to the cap."""
        return frozenset(self.choices) or _checkpoints(self.cap)


@functools.cache
def _checkpoints(cap: int) -> frozenset[int]:
    return frozenset(round(1.15**power) for power in range(math.ceil(math.log(cap, 1.15)) + 1)) | {cap}
