"""Optuna's TPE for spaces with conditions."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from gbtune.samplers.places import told_spaces


class GroupedTPESampler(optuna.samplers.TPESampler):
    """TPE that models together what is sampled together: conditions cost no joint sampling.

    Plain `optuna.samplers.TPESampler` models jointly only what all trials have in common, and each conditional
    parameter by itself. This one partitions the parameters into groups that always occur together, as Optuna's
    ``TPESampler(group=True)`` does. Unlike that one it warns of no experiment, and keeps nothing between the two calls
    of a trial, so that a sampler may be made anew for each. Without conditions there is one group, and the
    draws are those of the plain sampler.

    Parameters
    ----------
    seed : int, optional
        Default: random.
    n_startup_trials : int, default 10
        Trials before the first that is not random.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.samplers import GroupedTPESampler
    >>> def objective(trial):
    ...     if trial.suggest_categorical("booster", ["gbtree", "dart"]) == "dart":
    ...         return trial.suggest_float("rate_drop", 0, 1) + trial.suggest_float("skip_drop", 0, 1)
    ...     return 0.5
    >>> study = optuna.create_study(sampler=GroupedTPESampler(seed=0))
    >>> study.optimize(objective, n_trials=12)
    >>> sorted(study.sampler.infer_relative_search_space(study, study.trials[-1]))
    ['booster', 'rate_drop', 'skip_drop']
    """

    def __init__(self, seed: int | None = None, *, n_startup_trials: int = 10) -> None:
        super().__init__(seed=seed, n_startup_trials=n_startup_trials)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters of all groups."""
        if len(study.directions) > 1:
            return super().infer_relative_search_space(study, trial)
        return {name: distribution for group in parameter_groups(study) for name, distribution in group.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample each group together."""
        if len(study.directions) > 1:
            return super().sample_relative(study, trial, search_space)
        params: dict[str, Any] = {}
        left = dict(search_space)
        for group in parameter_groups(study):
            together = {name: left.pop(name) for name in group if name in left}
            params |= super().sample_relative(study, trial, together)
        return params | super().sample_relative(study, trial, left)


def parameter_groups(study: optuna.Study) -> list[dict[str, BaseDistribution]]:
    """Return the sets of parameters that always occur together, each with its latest distributions.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.samplers.tpe import parameter_groups
    >>> study = optuna.create_study()
    >>> for names in (["a", "b"], ["a", "b", "c"]):
    ...     trial = study.ask({name: optuna.distributions.FloatDistribution(0, 1) for name in names})
    ...     _ = study.tell(trial, 0.0)
    >>> [list(group) for group in parameter_groups(study)]
    [['a', 'b'], ['c']]
    """
    spaces = told_spaces(study)
    found: dict[str, BaseDistribution] = {}
    for space in spaces:
        found.update(space)
    groups: dict[tuple[bool, ...], dict[str, BaseDistribution]] = {}
    for name in sorted(found):  # one order in every process
        if not found[name].single():
            groups.setdefault(tuple(name in space for space in spaces), {})[name] = found[name]
    return list(groups.values())
