"""A quasi-random sequence that a study can be interrupted in."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from gbtune.samplers.places import known_distributions, place_of, value_at
from gbtune.seeds import fresh_study_seed
from gbtune.seeds import seed as derive_seed

_LOCK = threading.Lock()  # scipy fills a table that all its Sobol' engines share


class SobolSampler(optuna.samplers.BaseSampler):
    """A scrambled Sobol' sequence: fills the space more evenly than random points do.

    A trial's point follows from the seed and the trial's place in the study. `optuna.samplers.QMCSampler` keeps the
    position in a study attribute instead, which a trial that was cut off has already moved on.

    Parameters
    ----------
    seed : int, optional
        Of the scrambling. Default: random. Workers that share a study need the same one.
    distributions : mapping of str to optuna distribution, optional
        The parameters of the sequence, one dimension each; where a condition makes one inactive, its coordinate is
        unused. Default: the parameters that earlier trials had; a trial with none before it is random.

    Notes
    -----
    Sobol' 1967; scrambling by Matousek 1998, as in `scipy.stats.qmc.Sobol`. Bergstra and Bengio 2012 (JMLR 13)
    compare quasi-random with random search. A power of two is the best number of trials.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.samplers import SobolSampler
    >>> study = optuna.create_study(sampler=SobolSampler(seed=0))
    >>> study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=17)
    >>> sorted(int(16 * trial.params["x"]) for trial in study.trials[1:]) == list(range(16))
    False
    >>> {int(8 * trial.params["x"]) for trial in study.trials} == set(range(8))
    True
    """

    def __init__(self, seed: int | None = None, *, distributions: Mapping[str, BaseDistribution] | None = None) -> None:
        self._seed = fresh_study_seed() if seed is None else seed
        self._distributions = None if distributions is None else dict(distributions)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the dimensions of the sequence."""
        known = known_distributions(study, trial)
        if self._distributions is None:
            return known
        given = {name: known.get(name, self._distributions[name]) for name in sorted(self._distributions)}
        return {name: distribution for name, distribution in given.items() if not distribution.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the sequence's point at the trial's place."""
        if not search_space:
            return {}
        from scipy.stats import qmc  # takes a while

        place = place_of(study, trial)
        with _LOCK:
            engine = qmc.Sobol(len(search_space), scramble=True, seed=self._seed)
            if place:
                engine.fast_forward(place)
            point = engine.random(1)[0]
        return {
            name: value_at(search_space[name], float(u)) for name, u in zip(sorted(search_space), point, strict=True)
        }

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value that follows from seed, place and name."""
        stream = derive_seed(self._seed, f"sobol {param_name}", slot=place_of(study, trial))
        return value_at(param_distribution, float(np.random.default_rng(stream).random()))
