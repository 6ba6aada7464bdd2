"""What samplers without memory need to know of a study: a trial's place in it, and which parameters it has.

A sampler that derives everything from these and its seed gives the same values however often a study is interrupted,
in how many processes it runs, and whatever was created anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from gbtune.settled import Settled
from gbtune.slots import POINT_KEY, SLOT_KEY, slot_of


def place_of(study: optuna.Study, trial: FrozenTrial) -> int:
    """Return how many configurations were proposed before a trial's own.

    Of a study by `gbtune.tune` that is the number of earlier slots, less the prescribed points (baseline, portfolio):
    they take no place in a sequence. Of any other study it is the trial's number.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.samplers.places import place_of
    >>> study = optuna.create_study()
    >>> for _ in range(3):
    ...     trial = study.ask()
    >>> place_of(study, study.get_trials()[2])
    2
    """
    if SLOT_KEY not in trial.user_attrs:
        return trial.number
    slot = slot_of(trial)
    proposed = [other for other in _all_trials(study) if POINT_KEY not in other.user_attrs]
    return len({at for other in proposed if (at := slot_of(other)) < slot})


def known_distributions(study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
    """Return each parameter that an earlier trial had, with its latest distribution, sorted by name."""
    slot = slot_of(trial)
    found: dict[str, BaseDistribution] = {}
    for distributions in distinct_spaces(other for other in _all_trials(study) if slot_of(other) < slot):
        found.update(distributions)
    return {name: found[name] for name in sorted(found) if not found[name].single()}


def distinct_spaces(trials: Iterable[FrozenTrial]) -> list[dict[str, BaseDistribution]]:
    """Return the distributions of the last trial with each set of parameters, the latest last: quick to go through."""
    return list(_joined({}, trials).values())


_Spaces = dict[tuple[str, ...], dict[str, BaseDistribution]]
"""Names to the distributions of the last trial with just these parameters, the latest last."""


def _joined(spaces: _Spaces, trials: Iterable[FrozenTrial]) -> _Spaces:
    joined = dict(spaces)
    for trial in trials:
        distributions = trial.distributions
        names = tuple(distributions)
        joined.pop(names, None)
        joined[names] = distributions
    return joined


def _followed_by(spaces: _Spaces, trials: Iterable[FrozenTrial]) -> _Spaces:
    return _joined(spaces, (trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)))


_SETTLED: Settled[_Spaces] = Settled({}, _followed_by)


def told_spaces(study: optuna.Study) -> list[dict[str, BaseDistribution]]:
    """Return `distinct_spaces` of a study's complete and pruned trials.

    A storage's trials are gone through once: samplers ask twice per trial.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.samplers.places import told_spaces
    >>> study = optuna.create_study()
    >>> study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    >>> [list(space) for space in told_spaces(study)]
    [['x']]
    """
    spaces, later = _SETTLED.of(study)
    return list(_followed_by(spaces, later).values())


def _all_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return a study's trials; those, too, that Optuna's Hyperband hides from samplers."""
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def value_at(distribution: BaseDistribution, share: float) -> bool | int | float | str | None:
    """Return the value below which a share of a distribution lies: its quantile function.

    Parameters
    ----------
    distribution : optuna distribution
        Uniform over its values, or over their logarithm.
    share : float
        In [0, 1).

    Examples
    --------
    >>> from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    >>> from gbtune.samplers.places import value_at
    >>> round(value_at(FloatDistribution(0.01, 1.0, log=True), 0.5), 6)
    0.1
    >>> [value_at(IntDistribution(3, 5), share) for share in (0.0, 0.3, 0.34, 0.99)]
    [3, 3, 4, 5]
    >>> value_at(CategoricalDistribution(["gbtree", "dart"]), 0.5)
    'dart'
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(share * len(distribution.choices))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution) and distribution.log:
        return min(max(round(_log_scale(low - 0.5, high + 0.5, share)), distribution.low), distribution.high)
    if distribution.step is not None:
        count = round((high - low) / distribution.step) + 1
        value = low + int(share * count) * distribution.step
        return value if isinstance(distribution, IntDistribution) else min(value, high)
    value = _log_scale(low, high, share) if distribution.log else low + share * (high - low)
    return min(max(value, low), high)


def _log_scale(low: float, high: float, share: float) -> float:
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
