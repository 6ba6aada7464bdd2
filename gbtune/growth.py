"""How much further the final model may grow than its trial, which the plan ended while it was still improving."""

from __future__ import annotations

import numpy as np

from gbtune.metrics import Metric
from gbtune.narrowing import AT_CAP
from gbtune.records import TrialRecord

STEEP = ((0.75, 4), (0.25, 2))
"""The last doubling of its rounds gained at least so much of what the one before had gained, which was something: then
so many times the rounds of the trial, at most (docs/performance.md, "What grows further")."""


def longest(trial: TrialRecord, allowed: int, limit: int, metric: Metric) -> int:
    """Return to how many rounds a trial's configuration may be grown for the final model.

    Those of the trial, unless these were all that the plan allowed for, and its curve was still falling there.

    Parameters
    ----------
    trial : TrialRecord
        Complete.
    allowed : int
        Rounds that the plan left it.
    limit : int
        Rounds that it could have had without the plan.
    metric : Metric
        Of its curve.

    Examples
    --------
    >>> import dataclasses
    >>> from gbtune.growth import longest
    >>> from gbtune.metrics import metric_named
    >>> from gbtune.records import TrialRecord
    >>> loss, rounds = metric_named("log_loss"), tuple(range(1, 21))
    >>> falling = TrialRecord(0, "complete", {}, rounds=20, curve_rounds=rounds, curve=tuple(3 / r for r in rounds))
    >>> longest(falling, 20, 3000, loss), longest(falling, 20, 50, loss), longest(falling, 100, 3000, loss)
    (40, 40, 20)
    >>> steep = dataclasses.replace(falling, curve=tuple(3 - r / 10 for r in rounds))
    >>> longest(steep, 20, 3000, loss), longest(steep, 20, 50, loss)
    (80, 50)
    >>> flat = TrialRecord(0, "complete", {}, rounds=20, curve_rounds=rounds, curve=tuple(9.0**-r for r in rounds))
    >>> longest(flat, 20, 3000, loss)
    20
    """
    if limit <= allowed or trial.rounds < AT_CAP * allowed or len(trial.curve) < 2:
        return trial.rounds
    losses = [metric.loss_of(value) for value in trial.curve]
    quarter, half, end = np.interp([trial.rounds / 4, trial.rounds / 2, trial.rounds], trial.curve_rounds, losses)
    before, last = quarter - half, half - end
    further = next((times for steep, times in STEEP if before > 0 and last >= steep * before), 1)
    return min(limit, further * trial.rounds)
